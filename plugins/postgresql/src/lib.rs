//! PostgreSQL as a Berth engine: what to run for an instance, and how to live with it.
//!
//! What is pure (`catalog`, `names`, `sizing`, `plan`) is apart from what talks to a server (`session`,
//! `bootstrap`, `observe`, `login`), and is tested natively.

mod bootstrap;
mod catalog;
mod credentials;
mod login;
mod names;
mod observe;
mod plan;
mod provisioning;
mod session;
mod sizing;

/// The plugin. It keeps nothing: every call stands alone.
pub struct PostgreSql;

berth_sdk::engine!(PostgreSql, manifest = "plugin.toml");
