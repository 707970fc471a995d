//! What a target component exports, and the capabilities it may be granted: it carries workloads out.

use crate::bindings::target::exports::berth::plugin as exports;

pub use exports::infrastructure::{
    Deployment, Description, Dial, Guest as Infrastructure, MemberState, MemberStatus, VolumeUsage,
};

/// Files of the instance on the host's machine. Granted: the manifest names `files` and the operator allows it.
pub mod files {
    pub use crate::bindings::target::berth::plugin::files::{
        locate, make_dir, remove_all, run_dir, usage, write,
    };
}

/// Servers on the host's machine. Granted: the manifest names `process` and the operator allows it.
pub mod process {
    pub use crate::bindings::target::berth::plugin::process::{
        Init, Service, State, Status, ensure, inspect, log_tail, remove_all, start, stop,
    };

    /// Name of the unix socket, in the instance's run directory, by which a service of the target's own is told things.
    pub const OWN_SOCKET: &str = "target.sock";
    /// Where calls about the instance reach it, with plain `std::net`.
    pub const OWN_ADDRESS: &str = "10.0.0.1:1";
}

/// Only here for [`target!`](crate::target!): that a type implements what a target must.
#[doc(hidden)]
pub fn implemented_by<T: Infrastructure>() {}

impl Deployment {
    /// The value of a secret, or of one part of it (`tls.ca`).
    pub fn secret(&self, name: &str) -> Option<&str> {
        self.secrets
            .iter()
            .find(|s| s.name == name)
            .map(|s| s.value.as_str())
    }
}
