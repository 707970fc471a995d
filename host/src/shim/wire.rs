//! What host and shim leave for each other in a member's home directory, and what they say over its
//! control socket.
//!
//! A shim outlives the host that started it, also across an upgrade: everything here is versioned and may
//! only grow. Nothing here ever holds a secret.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::confinement::{Limits, Wish};

/// Version of the files and of the protocol.
pub const VERSION: u32 = 1;

/// Longest line over the control socket.
pub const MAX_LINE: usize = 64 * 1024;

/// A member's home: the directory that its shim works in. Only the host's own user may enter it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home(PathBuf);

impl Home {
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self(dir.into())
    }

    pub fn dir(&self) -> &Path {
        &self.0
    }

    /// Held by the one shim of the member; its content says who that is.
    pub fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// The [`Service`] as the host last gave it. Written by the host only.
    pub fn service(&self) -> PathBuf {
        self.0.join("service.json")
    }

    /// Present when the member is meant to run. A file of its own, because removing one works on a full disk.
    pub fn wanted(&self) -> PathBuf {
        self.0.join("wanted")
    }

    /// The newest [`Status`], for when no shim answers. Written by the shim only.
    pub fn state(&self) -> PathBuf {
        self.0.join("state.json")
    }

    /// The newest [`Started`]: which process the shim last set going.
    pub fn started(&self) -> PathBuf {
        self.0.join("started.json")
    }

    /// Where the member's control groups are. Written by the shim, before it makes them.
    pub fn group(&self) -> PathBuf {
        self.0.join("group.json")
    }

    /// The newest [`Confinement`](crate::model::confinement::Confinement). Written by the shim and what it starts.
    pub fn confinement(&self) -> PathBuf {
        self.0.join("confinement.json")
    }

    /// The list of users that the member's programs see.
    pub fn users(&self) -> PathBuf {
        self.0.join("passwd")
    }

    pub fn socket_name() -> &'static str {
        "control.sock"
    }

    pub fn log_dir(&self) -> PathBuf {
        self.0.join("log")
    }
}

/// A server to be kept running, with every name resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    pub version: u32,
    /// Digest of all the rest: two services are the same when their generations are.
    pub generation: String,
    /// The instance's own directory; without links.
    pub instance_dir: PathBuf,
    /// The user that its programs run as; none when the host is not root.
    pub uid: Option<u32>,
    pub main: Program,
    pub init: Option<Init>,
    /// Below the instance's directory.
    pub work_dir: String,
    /// Below the instance's directory.
    pub stale_files: Vec<String>,
    pub stop_signal: StopSignal,
    pub stop_grace_ms: u32,
    /// No part of the generation: a change holds from the next start on, and starts nothing. None when an
    /// earlier host wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confines: Option<Confines>,
    /// The same holds for it. None where nobody knows how the program says its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asks: Option<Asks>,
}

/// How to find out, before each start, whether the program is of the version that was planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asks {
    /// What it is asked with.
    pub args: Vec<String>,
    /// What must be in its answer.
    pub says: String,
}

/// What the member's programs are to be kept within.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confines {
    pub limits: Limits,
    pub want_limits: Wish,
    /// Name of the group that all groups of the host are below.
    pub parent: String,
    /// Name of the member's own group.
    pub group: String,
    /// Whether to keep its programs from files that are not the instance's.
    pub want_walls: Wish,
    /// The instance's directory for sockets; without links.
    pub run_dir: PathBuf,
    /// What must not be read even where it lies among the system's files; without links.
    pub hidden: Vec<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    pub path: PathBuf,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Init {
    /// The directory they fill, below the instance's own.
    pub dir: String,
    pub tasks: Vec<Program>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopSignal {
    #[serde(rename = "TERM")]
    Term,
    #[serde(rename = "INT")]
    Int,
    #[serde(rename = "QUIT")]
    Quit,
}

impl StopSignal {
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "TERM" => Some(Self::Term),
            "INT" => Some(Self::Int),
            "QUIT" => Some(Self::Quit),
            _ => None,
        }
    }
}

/// A process, told apart from a later one with the same number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub pid: i32,
    /// Clock ticks since boot.
    pub start: u64,
    pub boot: String,
}

/// What a process was started for. Written by the process itself, before it becomes the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    pub version: u32,
    pub process: Identity,
    pub role: Role,
    pub generation: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The server itself.
    Main,
    /// A task that fills a volume.
    Init,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub version: u32,
    pub state: State,
    /// How often the server was started again.
    pub restarts: u32,
    /// The service that the shim goes by.
    pub generation: String,
    /// Whether the shim means the member to run.
    pub wanted: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state", content = "detail")]
pub enum State {
    /// The volume is being filled, or the first start is being prepared.
    Initialising,
    /// Milliseconds since the process started.
    Running(u64),
    /// How it ended; it is started again soon.
    Restarting(String),
    /// How it ended time and again; it is tried rarely from now on.
    Failed(String),
    Stopping,
    Stopped,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    pub version: u32,
    pub call: Call,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    Status,
    /// Read `service` and `wanted` again and act on them.
    Reload,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Status(Status),
    Error(String),
}
