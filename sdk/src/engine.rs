//! What an engine component exports: it says what to run, and lives with its own instance.

use crate::bindings::engine::exports::berth::plugin as exports;

pub use exports::catalog::{Description, Guest as Catalog, Stage, Version};
pub use exports::credentials::{Connection, Guest as Credentials, Login};
pub use exports::provisioning::{
    Guest as Provisioning, Instance, MemberAddress, MemberObservation, Role,
};

/// Only here for [`engine!`](crate::engine!): that a type implements what an engine must.
#[doc(hidden)]
pub fn implemented_by<T: Catalog + Provisioning + Credentials>() {}

impl Instance {
    /// The virtual address of a member's port, as `IP:PORT`, for plain `std::net`.
    pub fn address(&self, member: &str, port_name: &str) -> Option<&str> {
        self.members
            .iter()
            .find(|m| m.member == member && m.port_name == port_name)
            .map(|m| m.address.as_str())
    }

    /// The value of a secret that the workload asked for, or of one part of it (`tls.ca`).
    pub fn secret(&self, name: &str) -> Option<&str> {
        self.secrets
            .iter()
            .find(|s| s.name == name)
            .map(|s| s.value.as_str())
    }
}
