//! The composition root: the only place that names a concrete store. It puts the parts together, starts what
//! runs beside the requests, and ends it in order.

mod admin_key;
mod connections;
mod data_dir;
pub mod keys;
mod listener;
mod transfer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::api::{Api, Counters, Limits};
use crate::config::Config;
use crate::model::{Error, NodeName, Result};
use crate::operations::{Executor, NodeConfig, OnEnd};
use crate::runtime::{OnCall, Plugins, Runtime, RuntimeConfig, Timing};
use crate::service::{self, Control};
use crate::store::Repo;
use crate::store::sled::Sled;
use crate::supervisor::{HealthBook, Supervisor};

pub use admin_key::reset as reset_admin_key;
pub use data_dir::DataDir;
pub use transfer::{export, import};

/// A running control plane without its listener: tests talk to its router.
pub struct App {
    control: Control,
    router: axum::Router,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

/// What may be given from outside: real ones, or those of a test.
pub struct Parts {
    pub repo: Repo,
    pub plugins: Arc<dyn Plugins>,
    pub counters: Counters,
}

impl App {
    /// Start the parts around a store and plugins.
    pub async fn start(config: &Config, parts: Parts) -> Result<Self> {
        let Parts {
            repo,
            plugins,
            counters,
        } = parts;
        let stop = CancellationToken::new();
        let node = NodeConfig {
            on_end: OnEnd::new({
                let ended = counters.operations.clone();
                move |operation| ended.count(operation)
            }),
            ..config.node()
        };
        let executor = Executor::new(repo.clone(), plugins.clone(), node);
        let health = HealthBook::default();
        let supervisor = Supervisor::new(
            repo.clone(),
            plugins.clone(),
            health.clone(),
            config.supervisor(),
        );
        let driving = tokio::spawn({
            let (executor, stop) = (executor.clone(), stop.clone());
            async move { executor.run(stop).await }
        });
        let watching = tokio::spawn({
            let stop = stop.clone();
            async move { supervisor.run(stop).await }
        });
        let control = Control::new(service::Parts {
            repo,
            plugins,
            executor,
            health,
            catalogue: config.catalogue(),
            node: NodeName::new(config.node.name.clone()),
            max_open: config.operations.max_open,
            driving: driving.abort_handle(),
        });
        let limits = Limits {
            body_bytes: config.server.body_limit_bytes,
            request_timeout: config.server.request_timeout,
            body_timeout: config.server.body_timeout,
            callers: config.callers(),
        };
        let router = Api::new(control.clone(), counters, limits).router();
        Ok(Self {
            control,
            router,
            stop,
            tasks: vec![driving, watching],
        })
    }

    pub fn control(&self) -> &Control {
        &self.control
    }

    pub fn router(&self) -> axum::Router {
        self.router.clone()
    }

    /// Ends what runs beside the requests, so that it can end while the last of them are answered.
    fn stopper(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// End what runs beside the requests. Operations are left where they are and go on at the next start.
    pub async fn stop(self) {
        self.stop.cancel();
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a part of berth ended badly");
            }
        }
    }
}

/// Run until told to end. Everything that can be refused is refused before the listener answers.
pub async fn serve(config: Config) -> Result<()> {
    let began = std::time::Instant::now();
    let listener = listener::Listener::bind(&config.server)?;
    let data = DataDir::open(&config.data_dir)?;
    let repo = open_repo(&data).await?;
    admin_key::ensure(&repo, &data, config.default_project()?).await?;
    let counters = Counters::default();
    let in_use = Arc::new(service::plugins::Recorded(repo.clone()));
    let runtime = RuntimeConfig {
        on_call: counted(&counters),
        ..config.runtime(data.path(), &plugins_dir(&config)?)?
    };
    let plugins: Arc<dyn Plugins> =
        Arc::new(Runtime::watch(runtime, in_use, Timing::default()).await?);
    let open = counters.connections.clone();
    let parts = Parts {
        repo,
        plugins,
        counters,
    };
    let app = App::start(&config, parts).await?;

    let address = listener.address();
    let took = began.elapsed();
    tracing::info!(%address, tls = listener.is_tls(), data = %data.path().display(), ?took, "berth serves");
    // One grace for both: steps end or are parked while the last requests are answered.
    let stop = app.stopper();
    let end = async move {
        asked_to_end().await;
        stop.cancel();
    };
    let served = listener.serve(app.router(), open, end).await;
    app.stop().await;
    tracing::info!("berth has ended; the databases go on");
    served
}

/// Calls into plugins as `/metrics` shows them.
fn counted(counters: &Counters) -> OnCall {
    let calls = counters.calls.clone();
    OnCall::new(move |called| {
        let outcome = called.ending.as_str();
        calls.count(called.plugin, called.function, outcome, called.took);
        calls.held(called.plugin, called.function, called.memory_bytes);
    })
}

/// The records of a data directory.
async fn open_repo(data: &DataDir) -> Result<Repo> {
    let path = data.path().join("store");
    let store = tokio::task::spawn_blocking(move || Sled::open(&path)).await;
    let store = store.map_err(Error::internal)??;
    Repo::open_with_key_file(Arc::new(store), &data.path().join("seal.key")).await
}

/// `plugins/` beside the executable unless the operator says otherwise.
fn plugins_dir(config: &Config) -> Result<PathBuf> {
    if let Some(dir) = &config.plugins_dir {
        return std::path::absolute(dir).map_err(Error::internal);
    }
    let exe = std::env::current_exe().map_err(Error::internal)?;
    Ok(exe.parent().unwrap_or(Path::new("/")).join("plugins"))
}

/// The first signal ends berth in order, the second at once.
async fn asked_to_end() {
    let (Ok(mut term), Ok(mut int)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        tracing::error!("signals cannot be waited for; only a kill ends berth");
        return std::future::pending().await;
    };
    let mut either = async || {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    };
    either().await;
    tracing::info!("asked to end");
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        tracing::warn!("asked to end again: ending at once");
        std::process::exit(130);
    });
}
