//! MongoDB as a Berth engine: what to run for an instance, and how to live with it.
//!
//! What is pure (`catalog`, `names`, `sizing`, `plan`, `settings`, `settings_table`, `scram`, `roles`) is apart from what
//! talks to a server (`wire`, `session`, `provisioning`, `credentials`, `users`, `databases`, `privileges`, `reload`), and is
//! tested natively. No session is kept from call to call.

mod catalog;
mod credentials;
mod databases;
mod names;
mod plan;
mod privileges;
mod provisioning;
mod reload;
mod roles;
mod scram;
mod session;
mod settings;
mod settings_table;
mod sizing;
mod users;
mod wire;

/// The plugin. It keeps nothing.
pub struct MongoDb;

berth_sdk::engine!(
    MongoDb,
    manifest = "plugin.toml",
    abilities = [settings, users]
);
