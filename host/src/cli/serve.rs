//! `berth serve`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::{Refusal, Source, block_on};
use crate::config::{Config, LogFormat};
use crate::model::Error;
use crate::{app, telemetry};

#[derive(Args)]
pub struct Serve {
    /// Everything that is kept lies below it; made when it is absent
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address of the APIs
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    source: Source,
    /// Folder of the plugins, *.wasm [default: `plugins` beside this program]
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
    /// Certificate chain of the listener, PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key of the listener, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Listen beyond loopback without TLS: keys and passwords travel in the clear
    #[arg(long)]
    insecure_listen: bool,
}

impl Serve {
    pub fn run(self) -> Result<(), Refusal> {
        let config = self.over(self.source.load()?);
        let format = match config.log.format {
            LogFormat::Text => telemetry::Format::Text,
            LogFormat::Json => telemetry::Format::Json,
        };
        block_on(async {
            let traces = config.traces();
            let telemetry = telemetry::init(&config.log.level, format, traces.as_ref());
            let telemetry = telemetry.map_err(Error::failed)?;
            let served = app::serve(config).await;
            telemetry.end().await;
            served
        })
    }

    /// What is said here counts more than the file.
    fn over(&self, mut config: Config) -> Config {
        if let Some(dir) = &self.data_dir {
            config.data_dir.clone_from(dir);
        }
        if let Some(address) = self.listen {
            config.server.listen = address;
        }
        if let Some(dir) = &self.plugins {
            config.plugins_dir = Some(dir.clone());
        }
        if let (Some(cert), Some(key)) = (&self.tls_cert, &self.tls_key) {
            config.server.tls_cert = Some(cert.clone());
            config.server.tls_key = Some(key.clone());
        }
        config.server.insecure_listen |= self.insecure_listen;
        config
    }
}
