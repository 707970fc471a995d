//! What an operator may decide: one struct per subsystem, read from `berth.toml` over the defaults in
//! `host/data/defaults.toml`. Unknown keys are refused, and a problem is told with its key and line.
//! Never reads the environment, and holds no secret.

#[cfg(test)]
mod example;
mod load;
mod parts;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::confinement::Wish;
use crate::runtime::{Capability, Program};
use crate::service::catalogue::{Generation, Stock};

pub use load::ConfigError;
pub use values::Range;

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub data_dir: PathBuf,
    /// `plugins/` beside the executable when not given.
    pub plugins_dir: Option<PathBuf>,
    /// The project of the first key.
    pub default_project: String,
    pub server: Server,
    pub callers: Callers,
    pub log: Log,
    pub traces: Traces,
    pub node: Node,
    pub operations: Operations,
    pub supervisor: Supervisor,
    pub sandbox: Sandbox,
    /// Capabilities that a plugin may have when its manifest asks for them, by the plugin's name.
    pub grants: BTreeMap<String, BTreeSet<Capability>>,
    /// Where programs are, beside the usual places.
    #[serde(default)]
    pub program: Vec<Program>,
    pub storage: Storage,
    pub regions: BTreeMap<String, Region>,
    pub plans: BTreeMap<String, Plan>,
    pub node_types: BTreeMap<String, NodeType>,
    pub projects: BTreeMap<String, Project>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    pub listen: SocketAddr,
    pub tls_cert: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    /// Allow an address that is not loopback without TLS.
    pub insecure_listen: bool,
    #[serde(with = "values::duration")]
    pub request_timeout: Duration,
    #[serde(with = "values::duration")]
    pub header_timeout: Duration,
    #[serde(with = "values::duration")]
    pub body_timeout: Duration,
    #[serde(with = "values::duration")]
    pub write_timeout: Duration,
    pub body_limit_bytes: usize,
    pub max_connections: usize,
    pub max_connections_per_address: usize,
    #[serde(with = "values::duration")]
    pub shutdown_grace: Duration,
}

/// What each caller may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Callers {
    pub requests_per_second: NonZeroU32,
    /// At once, after a rest.
    pub burst: NonZeroU32,
    /// Requests with one key at the same time.
    pub concurrent: usize,
    /// Without a good key, from one address.
    pub strangers_per_second: NonZeroU32,
    pub strangers_burst: NonZeroU32,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Traces {
    /// Where a collector takes OTLP over HTTP. None: no traces.
    pub otlp_endpoint: Option<String>,
    pub sample_percent: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// A level, or levels by module, such as `info,berth::runtime=debug`.
    pub level: String,
    pub format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// What instances on this machine are recorded under.
    pub name: String,
    /// Address that the endpoints of databases bind.
    pub endpoint_address: IpAddr,
    /// What clients are told; the endpoint address when not given.
    pub public_address: Option<String>,
    pub ports: Range<u16>,
    pub uids: Range<u32>,
    /// Whether databases may use no more than their plan says.
    pub limits: Wish,
    /// Whether databases reach no files but their own.
    pub confinement: Wish,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Operations {
    /// How many are driven at the same time.
    pub concurrency: usize,
    /// How many may be open before new ones are refused.
    pub max_open: usize,
    #[serde(with = "values::duration")]
    pub create_deadline: Duration,
    /// How long deleted databases and finished operations stay readable; of each database the newest 100 at most.
    #[serde(with = "values::duration")]
    pub keep_deleted: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Supervisor {
    /// Every database is looked at once in this time.
    #[serde(with = "values::duration")]
    pub period: Duration,
    /// How often its engine is asked, while nothing seems wrong.
    #[serde(with = "values::duration")]
    pub engine_every: Duration,
    /// How often its volumes are measured.
    #[serde(with = "values::duration")]
    pub usage_every: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Sandbox {
    /// Memory that one plugin call may use.
    pub memory_mib: u64,
    /// Time for a call that computes.
    #[serde(with = "values::duration")]
    pub compute_timeout: Duration,
    /// Time for a call that talks to servers or starts them.
    #[serde(with = "values::duration")]
    pub talk_timeout: Duration,
    /// Calls into one plugin at the same time; more wait.
    pub concurrent_calls: usize,
    /// Sessions with databases' servers that are kept between calls, one for each database; 0 for none.
    pub kept_sessions: usize,
    /// A session that was not used for so long ends.
    #[serde(with = "values::duration")]
    pub session_idle: Duration,
    pub compile_threads: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    pub default_gb: u32,
    pub min_gb: u32,
    pub max_gb: u32,
    /// Besides `lssd`, which is the data directory.
    pub classes: BTreeMap<String, StorageClass>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StorageClass {
    /// Where its databases are kept; below the data directory when it is relative.
    pub dir: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// The infrastructure target that its databases run on.
    pub target: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    pub cpu_millis: u32,
    pub memory_mib: u64,
}

/// A plan with what the dialect that calls it a node type tells of it. A GB is 10^9 bytes here.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NodeType {
    pub vcpus: u32,
    pub memory_gb: u64,
    /// Storage of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_gb: Option<u32>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    pub generation: Generation,
    pub range: String,
    #[serde(default, skip_serializing_if = "is_default")]
    pub disabled: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pub beta: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pub stock: Stock,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Project {
    pub id: Uuid,
    pub organization: Uuid,
    pub max_instances: Option<u32>,
    pub max_storage_gb: Option<u64>,
}

impl Node {
    /// What clients are told.
    pub fn public_address(&self) -> String {
        match &self.public_address {
            Some(address) => address.clone(),
            None => self.endpoint_address.to_string(),
        }
    }
}
