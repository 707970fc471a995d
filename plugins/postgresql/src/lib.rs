//! PostgreSQL as a Berth engine: what to run for an instance, and how to live with it.
//!
//! What is pure (`catalog`, `names`, `sizing`, `plan`, `settings`, `settings_table`) is apart from what talks to a server
//! (`session`, `kept`, `bootstrap`, `observe`, `login`, `users`, `databases`, `privileges`, `lowering`, `reload`), and is tested
//! natively.

mod abilities;
mod bootstrap;
mod catalog;
mod credentials;
mod databases;
mod internal;
mod kept;
mod login;
mod lowering;
mod names;
mod observe;
mod ownership;
mod plan;
mod privileges;
mod privileges_sql;
mod provisioning;
mod reload;
mod removal;
mod scram;
mod session;
mod settings;
mod settings_table;
mod sizing;
mod users;

/// The plugin. It keeps nothing but a session, which it can do without; see `kept`.
pub struct PostgreSql;

berth_sdk::engine!(
    PostgreSql,
    manifest = "plugin.toml",
    abilities = [settings, users]
);
