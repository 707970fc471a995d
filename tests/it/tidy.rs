//! What must hold of the source itself: who imports whom, who names what, how long a file is, what the documents
//! point at. Every check is a function over text that is also tried on a bad sample, so it is known
//! to be able to fail.

mod documents;
mod imports;
mod source;
mod words;

use std::collections::BTreeSet;

use source::{Source, root};

/// Longest a file may be; past it, it has two subjects.
const MAX_LINES: usize = 500;
/// Where code lives.
const CODE: [&str; 6] = ["host", "sdk", "plugins", "tests", "benches", "examples"];
/// The only file of the tests that may let time pass, plugins that misbehave on purpose, tests whose clock stands
/// still while they sleep, a measurement, the host's own unit tests (which cannot use this crate), and what plays the
/// host for a plugin and keeps its pauses.
const MAY_SLEEP: [&str; 7] = [
    "tests/src/wait.rs",
    "tests/fixtures/",
    "tests/it/sweep/",
    "tests/src/node.rs",
    "host/src/store/measure.rs",
    "host/src/store/repo/tests/mod.rs",
    "sdk/testing/src/",
];

#[test]
fn modules_import_downwards_only() {
    let sources = Source::below(&["host/src"]);
    assert!(sources.len() > 15, "only {} files found", sources.len());
    none(sources.iter().flat_map(imports::upward));
    none(imports::undeclared(&sources));
}

#[test]
fn outside_crates_stay_where_they_belong() {
    let sources = Source::below(&["host/src"]);
    none(sources.iter().flat_map(imports::misplaced_crates));
    none(sources.iter().flat_map(imports::concrete_names));
}

#[test]
fn the_host_names_no_engine() {
    let sources = Source::below(&["host/src", "host/bindings/src"]);
    none(sources.iter().flat_map(words::engine_names));
    let manifest = Source::read("host/Cargo.toml");
    none(words::engine_names(&manifest));
}

#[test]
fn files_are_short() {
    none(Source::below(&CODE).iter().filter_map(too_long));
}

#[test]
fn tests_wait_for_conditions() {
    let sources = Source::below(&CODE);
    none(
        sources
            .iter()
            .filter(|source| !MAY_SLEEP.iter().any(|path| source.path.starts_with(path)))
            .flat_map(words::sleeps_in_tests),
    );
}

#[test]
fn every_dependency_says_why_it_is_there() {
    let used = documents::dependencies(&["Cargo.toml", "benches/Cargo.toml"]);
    assert!(used.len() > 20, "only {used:?}");
    let page = Source::read("docs/dependencies.md");
    none(documents::difference(&used, &documents::explained(&page)));
}

#[test]
fn every_shared_dependency_is_used() {
    none(documents::unused(&["Cargo.toml", "benches/Cargo.toml"]));
}

#[test]
fn links_lead_somewhere() {
    let pages = documents::pages();
    assert!(pages.len() >= 8, "only {} pages found", pages.len());
    none(pages.iter().flat_map(|page| {
        documents::broken_links(page, |path| std::fs::read_to_string(root().join(path)).ok())
    }));
}

#[test]
fn the_map_shows_what_is_there() {
    let page = Source::read("ARCHITECTURE.md");
    let mapped = documents::map(&page);
    none(
        mapped
            .iter()
            .filter(|path| !root().join(path).exists())
            .map(|path| format!("{path} is in the map and not on disk")),
    );
    let present: BTreeSet<String> = imports::modules(&Source::below(&["host/src"]))
        .into_iter()
        .filter(|name| name != "lib")
        .collect();
    let shown: BTreeSet<String> = mapped
        .iter()
        .filter_map(|path| path.strip_prefix("host/src/"))
        .map(|path| {
            path.trim_end_matches('/')
                .trim_end_matches(".rs")
                .to_owned()
        })
        .collect();
    none(
        present
            .difference(&shown)
            .map(|name| format!("host/src/{name} is not in the map")),
    );
}

fn too_long(source: &Source) -> Option<String> {
    let lines = source.text.lines().count();
    (lines > MAX_LINES).then(|| format!("{} has {lines} lines", source.path))
}

/// Fails with all findings at once.
#[track_caller]
fn none(findings: impl IntoIterator<Item = String>) {
    let findings: Vec<String> = findings.into_iter().collect();
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn a_long_file_is_found() {
    let long = Source::sample("host/src/x.rs", &"\n".repeat(MAX_LINES + 1));
    let short = Source::sample("host/src/x.rs", &"\n".repeat(MAX_LINES));
    assert!(too_long(&long).is_some());
    assert!(too_long(&short).is_none());
}
