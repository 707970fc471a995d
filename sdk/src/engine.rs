//! What an engine component exports: it says what to run, and lives with its own instance.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use crate::bindings::engine::exports::berth::plugin as exports;
use crate::{Error, Result};

pub use crate::needs::Needs;
pub use crate::types::{Instance, MemberAddress};
pub use exports::catalog::{
    Description, Guest as Catalog, IntegerBounds, NameRules, NumberBounds, SettingSchema,
    SettingType, Stage, Version,
};
pub use exports::credentials::{Connection, Guest as Credentials, Login};
pub use exports::provisioning::{Guest as Provisioning, MemberObservation, Role};

/// The ability `settings`: named in [`engine!`](crate::engine!) by an engine that has it.
pub mod settings {
    pub use crate::bindings::settings::exports::berth::plugin::settings::Guest as Settings;
}

/// The ability `users`: named in [`engine!`](crate::engine!) by an engine that has it. A connection that is kept in a
/// global may be there in the next call about the same instance, and may be gone: the contract says when it may be used.
pub mod users {
    pub use crate::bindings::users::exports::berth::plugin::users::{
        Database, Guest as Users, Permission, Privilege, User,
    };
}

/// Only here for [`engine!`](crate::engine!): that a type implements what an engine must.
#[doc(hidden)]
pub fn implemented_by<T: Catalog + Provisioning + Credentials>() {}

/// Only here for [`engine!`](crate::engine!).
#[doc(hidden)]
pub fn has_settings<T: settings::Settings>() {}

/// Only here for [`engine!`](crate::engine!).
#[doc(hidden)]
pub fn has_users<T: users::Users>() {}

impl Instance {
    /// The virtual address of a member's port, as `IP:PORT`, for plain `std::net`.
    pub fn address(&self, member: &str, port_name: &str) -> Option<&str> {
        self.members
            .iter()
            .find(|m| m.member == member && m.port_name == port_name)
            .map(|m| m.address.as_str())
    }

    /// The same, where the host speaks TLS to the server: for one that takes nobody without it.
    pub fn address_by_tls(&self, member: &str, port_name: &str) -> Option<SocketAddr> {
        let plain: SocketAddrV4 = self.address(member, port_name)?.parse().ok()?;
        let [a, b, c, d] = plain.ip().octets();
        let address = Ipv4Addr::new(a, b, c.checked_add(1)?, d);
        Some((address, plain.port()).into())
    }

    /// The value of a secret that the workload asked for, or of one part of it (`tls.ca`).
    pub fn secret(&self, name: &str) -> Option<&str> {
        self.secrets
            .iter()
            .find(|s| s.name == name)
            .map(|s| s.value.as_str())
    }
}

impl MemberObservation {
    /// Of a member that does not answer: it starts, stops or hangs, which is a fact about it and no failure of looking at it.
    pub fn silent(member: impl Into<String>) -> Self {
        Self {
            member: member.into(),
            role: Role::Primary,
            ready: false,
            data_bytes: 0,
            connections: 0,
            version: String::new(),
        }
    }
}

impl Login {
    /// Who logs in, in an engine where nobody does without a name.
    pub fn name(&self) -> Result<&str> {
        let name = self.user.as_deref();
        name.ok_or_else(|| Error::failed("a login has a user"))
    }
}

impl NameRules {
    /// Names of up to so many bytes, of which these are reserved.
    pub fn new(longest: usize, reserved_prefixes: &[&str], reserved: &[&str]) -> Self {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            longest: u32::try_from(longest).unwrap_or(u32::MAX),
            reserved_prefixes: owned(reserved_prefixes),
            reserved: owned(reserved),
        }
    }
}

/// Names of up to 63 bytes, none of them reserved: what an engine has that makes no difference.
impl Default for NameRules {
    fn default() -> Self {
        Self::new(63, &[], &[])
    }
}
