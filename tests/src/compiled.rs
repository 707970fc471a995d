//! What one host compiled, for all data directories of a test run: a debug build takes seconds to compile a component.

use std::fs;
use std::path::{Path, PathBuf};

use tokio::sync::OnceCell;

use crate::real::{DataDir, Host, berth_binary};

/// What a data directory keeps of it: the key it is authenticated with, and the code.
const KEY: &str = "compiled.key";
const CODE: &str = "plugins";

/// Put it into a data directory that has none yet.
pub async fn share(data: &Path) {
    static MADE: OnceCell<PathBuf> = OnceCell::const_new();
    let made = MADE.get_or_init(compile).await;
    if data.join(CODE).exists() {
        return;
    }
    copy(made, data);
}

async fn compile() -> PathBuf {
    let binary = berth_binary();
    let kept = binary.with_file_name("compiled-for-tests");
    let data = DataDir::new();
    let mut host = Host::spawn(&binary, &data, &[]);
    host.wait_ready(&data).await;
    host.wait_compiled().await;
    host.kill9();
    if let Err(error) = fs::remove_dir_all(&kept) {
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
    }
    fs::create_dir(&kept).expect("a directory beside the binary");
    copy(data.path(), &kept);
    kept
}

fn copy(from: &Path, to: &Path) {
    fs::copy(from.join(KEY), to.join(KEY)).expect("the key is copied");
    fs::create_dir(to.join(CODE)).expect("a directory");
    let mode = fs::metadata(from.join(CODE))
        .expect("the code")
        .permissions();
    fs::set_permissions(to.join(CODE), mode).expect("chmod");
    for entry in fs::read_dir(from.join(CODE)).expect("the code").flatten() {
        // And not which of them were live: that is each host's own.
        let path = entry.path();
        if path.extension().is_none_or(|e| e != "wasm" && e != "cwasm") {
            continue;
        }
        fs::copy(entry.path(), to.join(CODE).join(entry.file_name())).expect("the code is copied");
    }
}
