//! Bootstrapping again what is bootstrapped, as the host does when it does not know whether it has: its answer may have been
//! lost, or it died.

use std::path::Path;
use std::sync::Arc;

use berth::config::Config;
use berth::operations::instance_context;
use berth::runtime::{Plugins, Runtime, RuntimeConfig};
use berth::store::{Repo, Sled};
use berth_tests::real::{DataDir, plugins_dir};

use super::secrets::Kept;

/// In the place of the host, which must not run, with its store and its plugins. What the host keeps of the instance.
pub async fn bootstrap_twice(data: &DataDir, uuid: &str) -> Kept {
    let directory = data.path();
    let store = Sled::open(&directory.join("store")).unwrap();
    let key = directory.join("seal.key");
    let repo = Repo::open_with_key_file(Arc::new(store), &key).await;
    let repo = repo.unwrap();
    let config = Config::default();
    let runtime = RuntimeConfig {
        // It starts nothing.
        berth_exe: Path::new("/proc/self/exe").to_owned(),
        ..config.runtime(directory, &plugins_dir()).unwrap()
    };
    let plugins = Runtime::open(runtime).await.unwrap();
    plugins.settled().await;
    let instance = repo.instance(uuid.parse().unwrap()).await.unwrap().unwrap();
    let engine = plugins.engine_build(&instance.engine_digest).unwrap();
    let context = instance_context(&repo, &plugins, &instance).await.unwrap();
    for _ in 0..2 {
        engine.bootstrap(&context).await.unwrap();
    }
    Kept {
        secrets: repo.secrets(instance.id).await.unwrap(),
        plan: repo.workload(instance.id).await.unwrap().unwrap(),
    }
}
