//! The fixture components below `tests/fixtures/`, built once for all tests of a process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Bytes of the fixture engine: it does what a spec's settings tell it, also what no engine should.
pub fn engine() -> Vec<u8> {
    read("fixture_engine")
}

/// Bytes of the fixture target: it writes files and runs nothing.
pub fn target() -> Vec<u8> {
    read("fixture_target")
}

/// The library that stands between a process and its files, for `LD_PRELOAD`.
pub fn faultfs() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let target = target_dir();
        build(&target, &["-p", "fixture-faultfs"]);
        target.join("debug/libfixture_faultfs.so")
    })
}

/// Bytes of the engine that attacks its host.
pub fn hostile() -> Vec<u8> {
    read("fixture_hostile")
}

/// Bytes of the local target that comes with Berth.
pub fn local() -> Vec<u8> {
    read("berth_plugin_local")
}

fn read(name: &str) -> Vec<u8> {
    let path = built().join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The directory that the components were built into.
fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let target = target_dir();
        let wasm = ["--profile", "plugin", "--target", "wasm32-wasip2"];
        let packages = [
            ["-p", "fixture-engine"],
            ["-p", "fixture-target"],
            ["-p", "fixture-hostile"],
            ["-p", "berth-plugin-local"],
        ];
        build(
            &target,
            &[wasm.as_slice(), packages.as_flattened()].concat(),
        );
        target.join("wasm32-wasip2/plugin")
    })
}

fn target_dir() -> PathBuf {
    // …/target/debug/deps/it-…, or …/target/release/berth-benches
    let exe = std::env::current_exe().expect("the test's own path");
    exe.ancestors()
        .find(|dir| dir.ends_with("debug") || dir.ends_with("release"))
        .and_then(Path::parent)
        .expect("a target directory")
        .to_owned()
}

fn build(target: &Path, what: &[&str]) {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet"])
        .args(what)
        .arg("--target-dir")
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo");
    assert!(
        built.status.success(),
        "the fixtures do not build: {}",
        String::from_utf8_lossy(&built.stderr)
    );
}
