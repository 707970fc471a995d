//! What keeps the processes of a member within their bounds: how much they may use and whose files they reach.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::resources::NodeSize;

const MIB: u64 = 1 << 20;
/// Processes that every member may have, whatever its size.
const PROCESSES: u64 = 1024;

/// How much the operator wants something that not every machine can give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    Off,
    /// Where it can be had; where not, it is said and done without.
    #[default]
    Preferred,
    /// Nothing runs without it.
    Required,
}

/// The most that all processes of a member may use together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub memory_bytes: u64,
    /// Thousandths of a core.
    pub cpu_millis: u32,
    /// Threads count too.
    pub processes: u32,
}

/// How a member is held, as its shim last found. The shim leaves it in a file: what is here may only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Confinement {
    pub member: String,
    /// None where it is not limited.
    pub memory_bytes: Option<u64>,
    pub cpu_millis: Option<u32>,
    pub processes: Option<u32>,
    /// Why not all of the three are limited.
    pub limits_missing: Option<String>,
    /// How often the kernel killed a process of the member for want of memory, since the member was last started by hand.
    pub memory_kills: u64,
    /// Whether the files of other instances and of the host are out of reach, whatever user it has.
    pub files_confined: bool,
    /// Why they are not.
    pub files_open: Option<String>,
}

impl Limits {
    /// What was ordered is what may be used: the engine sizes its server by the same number, and the caches of
    /// the kernel that count towards it are given up before anything is killed. A process needs about
    /// a MiB at least, so more of them than that would not fit.
    pub fn of(size: NodeSize) -> Self {
        let processes = PROCESSES + size.memory_bytes / MIB;
        Self {
            memory_bytes: size.memory_bytes,
            cpu_millis: size.cpu_millis,
            processes: u32::try_from(processes).unwrap_or(u32::MAX),
        }
    }
}

impl Confinement {
    /// Say that these limits do not hold.
    pub fn without_limits(&mut self, why: String) {
        self.memory_bytes = None;
        self.cpu_millis = None;
        self.processes = None;
        self.limits_missing = Some(why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_follow_the_size() {
        let size = NodeSize {
            cpu_millis: 1500,
            memory_bytes: 1 << 30,
        };
        let limits = Limits::of(size);
        assert_eq!(limits.memory_bytes, 1 << 30);
        assert_eq!(limits.cpu_millis, 1500);
        assert_eq!(limits.processes, 2048);
        let huge = NodeSize {
            memory_bytes: u64::MAX,
            ..size
        };
        assert_eq!(Limits::of(huge).processes, u32::MAX);
    }

    #[test]
    fn what_an_earlier_shim_left_is_read() {
        let read: Confinement = serde_json::from_str("{}").unwrap();
        assert_eq!(read, Confinement::default());
    }
}
