# What a person types. `make` alone lists it; the work is done by cargo and by scripts/.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

CARGO ?= cargo
# Where cargo builds: the reader's own choice wins.
TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
WASM := wasm32-wasip2
# Every folder below plugins/ is a component: plugins/NAME is the crate berth-plugin-NAME and becomes NAME.wasm.
PLUGINS := $(notdir $(patsubst %/Cargo.toml,%,$(wildcard plugins/*/Cargo.toml)))
PLUGIN_PACKAGES := $(foreach p,$(PLUGINS),-p berth-plugin-$(p))
KILL_ROUNDS ?= 200

.PHONY: help
help: ## list these
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: tools
tools: ## install what building needs and the machine lacks (compiler, wasm target)
	@scripts/install-tools.sh

.PHONY: servers
servers: tools ## install the database servers that the tests need
	@scripts/install-servers.sh --all

.PHONY: plugins
plugins: tools ## build the components, for release and for the tests
	$(CARGO) build --locked --profile plugin --target $(WASM) $(PLUGIN_PACKAGES)
	@scripts/place-plugins.sh "$(TARGET_DIR)" $(PLUGINS)

.PHONY: build
build: plugins ## build everything for release: target/release/berth and target/release/plugins/
	$(CARGO) build --locked --release -p berth

.PHONY: fmt
fmt: tools ## format the code
	$(CARGO) fmt --all
	$(CARGO) fmt --manifest-path benches/Cargo.toml

.PHONY: lint
lint: tools ## check format, clippy (natively, and the components for wasm), shell scripts
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path benches/Cargo.toml --check
	@# Its dependencies change with those of the host, and nothing else here builds it.
	$(CARGO) update --quiet --workspace --locked --manifest-path benches/Cargo.toml
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --locked --target $(WASM) -p berth-sdk $(PLUGIN_PACKAGES) -- -D warnings
	@if command -v shellcheck >/dev/null; then shellcheck -x scripts/*.sh examples/*.sh benches/*.sh .ci/run; \
	else echo "shellcheck is not installed: the scripts were not checked"; fi

# Host, unit tests and integration tests are built by one call with one set of features, so nothing is
# compiled twice, and the integration tests find the host they start.
.PHONY: test
test: servers plugins ## run all tests, with real servers (installs those it needs)
	@scripts/install-schemathesis.sh "$(TARGET_DIR)"
	@scripts/install-sdks.sh "$(TARGET_DIR)"
	@rm -f "$(TARGET_DIR)/not-tried.txt"
	$(CARGO) build --locked --workspace --bins --tests
	$(CARGO) test --locked --workspace --no-fail-fast
	@if [ -s "$(TARGET_DIR)/not-tried.txt" ]; then \
	echo; echo "Passed over, as BERTH_TEST_MAY_SKIP=1 allows:"; sort -u "$(TARGET_DIR)/not-tried.txt"; fi

.PHONY: soak
soak: servers plugins ## kill host, shim and server at random moments, KILL_ROUNDS=200 times
	$(CARGO) build --locked --workspace --bins --tests
	BERTH_KILL_ROUNDS=$(KILL_ROUNDS) $(CARGO) test --locked -p berth-tests --test it -- --nocapture kills_at_random_moments

.PHONY: bench
bench: servers build ## measure the figures of the README, each beside its peer
	@benches/run.sh

.PHONY: demo
demo: ## a real database in one command, of ENGINE=postgresql|mysql|redis (mongodb with MONGOD=/path/to/mongod); runs until Ctrl-C
	@scripts/demo.sh up

.PHONY: demo-clean
demo-clean: ## remove what `make demo` made
	@scripts/demo.sh clean

.PHONY: clean
clean: ## remove what was built
	$(CARGO) clean
	rm -rf benches/target
