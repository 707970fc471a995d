//! Who may import whom: the modules of the host point downwards only, and an outside crate is named where
//! its subject is.

use std::collections::BTreeSet;

use super::source::Source;
use super::words::lines_with_word;

/// Each module of the host, and those it may import. The order of the map in ARCHITECTURE.md.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("trace", &[]),
    // What a test says that it cannot be tried here; only tests have it.
    ("skip", &[]),
    ("store", &["model", "skip"]),
    ("shim", &["model", "skip"]),
    ("runtime", &["model", "shim", "trace"]),
    ("operations", &["model", "runtime", "store", "trace"]),
    ("supervisor", &["model", "operations", "runtime", "store"]),
    (
        "service",
        &["model", "operations", "runtime", "store", "supervisor"],
    ),
    ("api", &["model", "service", "trace"]),
    ("telemetry", &[]),
    (
        "config",
        &[
            "model",
            "operations",
            "runtime",
            "service",
            "supervisor",
            "api",
            "telemetry",
        ],
    ),
    ("app", &ALL),
    ("cli", &ALL),
    ("main", &ALL),
];

/// The composition root and the command line above it.
const ALL: [&str; 15] = [
    "model",
    "trace",
    "skip",
    "store",
    "shim",
    "runtime",
    "operations",
    "supervisor",
    "service",
    "api",
    "config",
    "telemetry",
    "app",
    "cli",
    "main",
];

/// An outside crate, and the path prefixes below `host/src/` that may name it.
const CRATES: &[(&str, &[&str])] = &[
    ("sled", &["store/sled/", "store/mod.rs"]),
    ("wasmtime", &["runtime/"]),
    ("wasmtime_wasi", &["runtime/"]),
    ("berth_bindings", &["runtime/"]),
    ("wasmparser", &["runtime/"]),
    ("axum", &["api/", "app.rs", "app/"]),
    ("axum_server", &["app.rs", "app/", "api/"]),
    ("kube", &["runtime/capability/"]),
    ("clap", &["cli/", "cli.rs", "main.rs"]),
    ("opentelemetry", &["trace.rs", "telemetry.rs"]),
    ("opentelemetry_sdk", &["trace.rs", "telemetry.rs"]),
    ("opentelemetry_otlp", &["telemetry.rs"]),
    ("opentelemetry_http", &["telemetry.rs"]),
    ("tracing_opentelemetry", &["trace.rs", "telemetry.rs"]),
    ("governor", &["api/"]),
];

/// Literals that name a concrete target, and where they may stand beside the composition root.
const TARGETS: [&str; 2] = ["\"local\"", "\"kubernetes\""];
const NAMES_TARGETS: [&str; 3] = ["app.rs", "app/", "runtime/capability/"];

/// Paths that name a concrete store, and where they may stand.
const STORES: [&str; 6] = [
    "store::sled",
    "store::Sled",
    "Sled::",
    "store::memory",
    "store::Memory",
    "Memory::new(",
];
const NAMES_STORES: [&str; 3] = ["app.rs", "app/", "store/"];

/// The top-level module of a file below `host/src`.
fn module(path: &str) -> Option<&str> {
    let inner = path.strip_prefix("host/src/")?;
    let first = inner.split('/').next()?;
    Some(first.trim_end_matches(".rs"))
}

/// All top-level modules that there are.
pub fn modules(sources: &[Source]) -> BTreeSet<String> {
    sources
        .iter()
        .filter_map(|source| module(&source.path))
        .map(str::to_owned)
        .collect()
}

/// Modules that the rules do not know: a new one says where it stands.
pub fn undeclared(sources: &[Source]) -> Vec<String> {
    modules(sources)
        .into_iter()
        .filter(|name| name != "lib" && !MAY_IMPORT.iter().any(|(known, _)| known == name))
        .map(|name| format!("host/src/{name} has no rule about what it may import"))
        .collect()
}

/// Imports that point the wrong way. Unit tests too: what they need from above belongs to a test above.
pub fn upward(source: &Source) -> Vec<String> {
    let Some(from) = module(&source.path) else {
        return Vec::new();
    };
    let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == from) else {
        return Vec::new();
    };
    named_modules(&source.code())
        .into_iter()
        .filter(|to| to != from && !allowed.contains(&to.as_str()))
        .map(|to| format!("{} ({from}) may not import {to}", source.path))
        .collect()
}

/// Outside crates that are named where they do not belong.
pub fn misplaced_crates(source: &Source) -> Vec<String> {
    let code = source.code();
    let mut found = Vec::new();
    for (name, places) in CRATES {
        if is_in(source, places) {
            continue;
        }
        for line in lines_with_word(&code, name) {
            // Our own module of the same name is not the crate.
            if line.text.contains(&format!("::{name}"))
                || line.text.contains(&format!("mod {name}"))
            {
                continue;
            }
            found.push(format!("{}:{} names {name}", source.path, line.number));
        }
    }
    found
}

/// Concrete stores and targets, named outside the composition root.
pub fn concrete_names(source: &Source) -> Vec<String> {
    let code = source.code_and_literals_without_tests();
    let mut found = Vec::new();
    for (names, places) in [(&STORES[..], NAMES_STORES), (&TARGETS[..], NAMES_TARGETS)] {
        if is_in(source, &places) {
            continue;
        }
        for (number, line) in code.lines().enumerate() {
            for name in names.iter().filter(|name| line.contains(**name)) {
                found.push(format!("{}:{} names {name}", source.path, number + 1));
            }
        }
    }
    found
}

fn is_in(source: &Source, places: &[&str]) -> bool {
    let inner = source.path.strip_prefix("host/src/");
    inner.is_some_and(|inner| places.iter().any(|place| inner.starts_with(place)))
}

/// Every top-level module that the code names by `crate::`, also in groups.
fn named_modules(code: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let inside_a_word = code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        // `$crate::` in our own macros means the same.
        if inside_a_word {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => names.extend(group_heads(group)),
            None => names.extend(identifier(rest)),
        }
    }
    names
}

/// The first identifier of each item of a `use` group, given what follows its brace.
fn group_heads(group: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let mut depth = 0_usize;
    let mut at_head = true;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_head = true,
            c if at_head && (c.is_alphanumeric() || c == '_') => {
                heads.extend(identifier(&group[at..]));
                at_head = false;
            }
            _ => {}
        }
    }
    heads
}

/// A module's name: constants, macros and types at the crate's root are not modules.
fn identifier(text: &str) -> Option<String> {
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    let name = &text[..end];
    let is_module =
        name.starts_with(|c: char| c.is_ascii_lowercase()) && !text[end..].starts_with('!');
    is_module.then(|| name.to_owned())
}

#[test]
fn an_upward_import_is_found() {
    for bad in [
        "use crate::service::Control;",
        "use crate::{\n    model::Id,\n    api::{v1, v2},\n};",
        "fn f() { crate::store::repo::Repo::open(); }",
    ] {
        let source = Source::sample("host/src/runtime/x.rs", bad);
        assert_eq!(upward(&source).len(), 1, "{bad}");
    }
    let good = "use crate::{model::{api, store}, shim};\n// use crate::api\nuse crate::MAX;";
    let source = Source::sample("host/src/runtime/x.rs", good);
    assert_eq!(upward(&source), Vec::<String>::new());
    assert_eq!(
        undeclared(&[Source::sample("host/src/utils.rs", "")]).len(),
        1
    );
}

#[test]
fn rules_speak_of_known_modules_and_have_no_circle() {
    for (at, (name, allowed)) in MAY_IMPORT.iter().enumerate() {
        assert!(ALL.contains(name), "{name}");
        if allowed.len() == ALL.len() {
            continue;
        }
        for other in *allowed {
            let position = MAY_IMPORT.iter().position(|(known, _)| known == other);
            assert!(
                position.is_some_and(|position| position < at),
                "{name} → {other}"
            );
        }
    }
}

#[test]
fn a_misplaced_crate_is_found() {
    let bad = Source::sample(
        "host/src/service/x.rs",
        "use sled::Db;\nlet e = wasmtime::Engine::default();",
    );
    assert_eq!(misplaced_crates(&bad).len(), 2);
    let good = Source::sample("host/src/store/sled/mod.rs", "use sled::Db;");
    assert_eq!(misplaced_crates(&good), Vec::<String>::new());
    let own_module = Source::sample("host/src/app.rs", "use crate::store::sled::Sled;");
    assert_eq!(misplaced_crates(&own_module), Vec::<String>::new());
}

#[test]
fn a_concrete_store_or_target_is_found() {
    let code = "use crate::store::sled::Sled;\nlet target = \"local\";";
    assert_eq!(
        concrete_names(&Source::sample("host/src/service/x.rs", code)).len(),
        2
    );
    assert_eq!(
        concrete_names(&Source::sample("host/src/app.rs", code)),
        Vec::<String>::new()
    );
}
