//! PostgreSQL as a Berth engine: what to run for an instance, and how to live with it.
//!
//! What is pure (`catalog`, `names`, `sizing`, `plan`, `settings_table`) is apart from what talks to a server
//! (`session`, `bootstrap`, `observe`, `login`, `users`, `databases`, `privileges`, `reload`), and is tested natively.

mod abilities;
mod bootstrap;
mod catalog;
mod credentials;
mod databases;
mod internal;
mod login;
mod names;
mod observe;
mod ownership;
mod plan;
mod privileges;
mod privileges_sql;
mod provisioning;
mod reload;
mod removal;
mod session;
mod settings;
mod settings_table;
mod sizing;
mod users;

/// The plugin. It keeps nothing: every call stands alone.
pub struct PostgreSql;

berth_sdk::engine!(
    PostgreSql,
    manifest = "plugin.toml",
    abilities = [settings, users]
);
