//! What plugins say of themselves and of instances, in the host's own types.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::access::Network;
use super::id::{Digest, InstanceId};
use super::instance::{Endpoint, Spec};
use super::resources::NodeSize;
use super::secret::Secret;
use super::setting::SettingSchema;
use super::user::NameRules;
use super::workload::{Dial, Workload};

/// Secret values by name, certificate parts each by theirs (`tls.ca`).
pub type Secrets = BTreeMap<String, Secret>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PluginKind {
    Engine,
    Target,
}

/// What an engine is, as its `describe` says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EngineDescription {
    pub name: String,
    pub title: String,
    pub summary: String,
    /// Newest first.
    pub versions: Vec<EngineVersion>,
    pub default_port: u16,
    pub minimum_memory_bytes: u64,
    pub user_names: NameRules,
    pub database_names: NameRules,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EngineVersion {
    pub label: String,
    pub stage: Stage,
    pub released: String,
    pub end_of_life: String,
    pub upgrades_to: Vec<String>,
    pub programs: Vec<String>,
    /// What callers may choose.
    pub settings: Vec<SettingSchema>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Stable,
    Beta,
    Disabled,
}

/// What a target is, as its `describe` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TargetDescription {
    pub name: String,
    pub title: String,
    pub needs_host_ports: bool,
    /// Whether a second port is set aside for the member behind each endpoint.
    pub needs_inner_ports: bool,
}

/// Where a file of the plugins folder stands; what `GET /admin/v1/plugins` shows.
#[derive(Clone, Debug, Serialize)]
pub struct PluginStatus {
    pub name: String,
    pub kind: Option<PluginKind>,
    /// The version that its manifest gives.
    pub version: Option<String>,
    pub file: String,
    pub digest: Option<Digest>,
    pub state: PluginState,
    pub since: Timestamp,
    /// The file's newest build, when it is another one than the one that is live.
    pub attempt: Option<PluginAttempt>,
}

/// A build that is not live: being compiled, or refused.
#[derive(Clone, Debug, Serialize)]
pub struct PluginAttempt {
    pub digest: Option<Digest>,
    pub version: Option<String>,
    pub state: PluginState,
    pub since: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "state", content = "reason")]
pub enum PluginState {
    Compiling,
    /// It is live: what is created is made with it.
    Ready,
    /// Why it was not taken.
    Refused(String),
    /// Its file is gone. What depends on it, and is served by its kept builds.
    Removed(String),
}

/// An instance as a call about it needs it: who it is, how it is reached, its secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceContext {
    pub id: InstanceId,
    pub spec: Spec,
    pub slug: String,
    pub endpoints: Vec<Endpoint>,
    pub secrets: Secrets,
    /// How to dial each member's ports: (member, port name, number, dial).
    pub dials: Vec<MemberDial>,
    /// System user of the instance, when it has one of its own.
    pub uid: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberDial {
    pub member: String,
    pub port_name: String,
    /// The port's number as the workload has it.
    pub number: u16,
    pub dial: Dial,
}

/// What a call to a target is about. Grants are derived from it: the call can touch this instance's
/// directory, and run these programs.
#[derive(Clone, Debug)]
pub struct TargetContext {
    /// `operation/step`: the same key names the same intent.
    pub key: String,
    pub instance: InstanceId,
    pub uid: Option<u32>,
    /// Of each member: the most that it may use.
    pub size: NodeSize,
    pub workload: Workload,
    pub endpoints: Vec<Endpoint>,
    /// Empty unless the call needs them.
    pub secrets: Secrets,
    /// Networks that clients may connect from.
    pub access: Vec<Network>,
    pub storage_class: String,
    /// The engine build that planned the workload: its manifest lists the programs that may run.
    pub engine: Digest,
}

/// How a member fares, as its engine sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    pub member: String,
    pub role: Role,
    pub ready: bool,
    pub data_bytes: u64,
    pub connections: u32,
    pub version: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Primary,
    Replica,
}

/// The first user of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub user: Option<String>,
    pub database: Option<String>,
    /// Which secret of the workload is its password.
    pub secret: String,
}

/// Everything a client needs.
#[derive(Clone, Debug)]
pub struct Connection {
    pub host: String,
    pub port: u16,
    pub username: Option<String>,
    pub password: Secret,
    pub database: Option<String>,
    pub tls_mode: Option<String>,
    pub uri: Secret,
}
