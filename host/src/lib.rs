//! Berth: a self-hosted control plane for databases. See ARCHITECTURE.md for the map.
//!
//! Modules may import those to their right: `api → service → operations → {runtime, store} → model`.

pub mod api;
pub mod app;
pub mod cli;
pub mod config;
pub mod model;
pub mod operations;
pub mod runtime;
pub mod service;
pub mod shim;
pub mod store;
pub mod supervisor;
pub mod telemetry;
mod trace;

#[cfg(test)]
#[path = "../../tests/src/skip.rs"]
mod skip;
