//! MySQL as a Berth engine: what to run for an instance, and how to live with it.
//!
//! What is pure (`catalog`, `names`, `sizing`, `plan`, `settings`, `settings_table`, `hash`, `grants`) is apart from what talks to a
//! server (`wire`, `session`, `bootstrap`, `observe`, `login`, `users`, `databases`, `privileges`, `reload`), and is tested
//! natively. MariaDB is another product, and refused where it stands in MySQL's place.

mod abilities;
mod bootstrap;
mod catalog;
mod credentials;
mod databases;
mod grants;
mod hash;
mod login;
mod names;
mod observe;
mod plan;
mod privileges;
mod provisioning;
mod reload;
mod session;
mod settings;
mod settings_table;
mod sizing;
mod users;
mod wire;

/// The plugin. It keeps nothing.
pub struct MySql;

berth_sdk::engine!(
    MySql,
    manifest = "plugin.toml",
    abilities = [settings, users]
);
