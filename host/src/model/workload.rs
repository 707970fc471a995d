//! What must run for an instance, as its engine planned it. Mirrors `wit/types.wit`, in a form that can be
//! stored. Never holds the value of a secret.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    pub members: Vec<Member>,
    pub endpoints: Vec<EndpointPlan>,
    pub secrets: Vec<SecretRequest>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub name: String,
    pub main: Command,
    pub init: Option<Init>,
    pub files: Vec<File>,
    pub volumes: Vec<Volume>,
    pub ports: Vec<Port>,
    pub stale_files: Vec<String>,
    pub stop: Stop,
}

/// A program by its logical name, with what it is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    pub program: String,
    pub version: String,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Init {
    pub volume: String,
    pub tasks: Vec<Command>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    pub name: String,
    pub content: String,
    pub sensitive: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    pub name: String,
    pub size_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    pub name: String,
    pub number: u16,
    pub socket: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    pub signal: String,
    pub grace_ms: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointPlan {
    pub name: String,
    pub member: String,
    pub port: String,
    /// Members come in here, and no clients.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub for_members: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRequest {
    pub name: String,
    pub kind: SecretKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretKind {
    /// Letters and digits, of this length.
    Password(u32),
    /// A private CA and a server certificate, valid for this many days.
    Certificate(u32),
}

/// What a member's process is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberState {
    Absent,
    Initialising,
    Running { for_ms: u64 },
    Restarting(String),
    Failed(String),
    Stopped,
}

/// How the host reaches a member's port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dial {
    /// A unix socket, by its name in the instance's run directory.
    Unix(String),
    /// A TCP address of this machine.
    Tcp(std::net::SocketAddr),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    pub member: String,
    pub state: MemberState,
    pub dials: Vec<(String, Dial)>,
    pub restarts: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeUsage {
    pub member: String,
    pub volume: String,
    pub used_bytes: u64,
    pub size_bytes: u64,
}
