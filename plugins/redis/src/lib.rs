//! Redis as a Berth engine, and Valkey, which is Redis 7.2 gone on under another name: what to run for an instance, and
//! how to live with it.
//!
//! What is pure (`catalog`, `names`, `sizing`, `plan`, `settings`, `settings_table`) is apart from what talks to a server
//! (`session`, `shards`, `cluster`, `acl`, `provisioning`, `credentials`, `users`, `privileges`, `reload`), and is tested natively. No session is
//! kept from call to call: a login takes some ten microseconds.

mod acl;
mod catalog;
mod cluster;
mod credentials;
mod names;
mod plan;
mod privileges;
mod provisioning;
mod reload;
mod session;
mod settings;
mod settings_table;
mod shards;
mod sizing;
mod users;

/// The plugin. It keeps nothing.
pub struct Redis;

berth_sdk::engine!(
    Redis,
    manifest = "plugin.toml",
    abilities = [settings, users]
);
