//! The local target: real servers as ordinary processes of the machine that Berth runs on.
//!
//! It decides where things are (`layout`), fills in placeholders (`placeholders`) and turns a member into a
//! service for the host's process capability (`render`). Those are pure; only `target` acts.
//! Members bind the addresses of their endpoints themselves; every other port stays on the loopback.

mod layout;
mod placeholders;
mod render;
mod target;

/// The plugin. It keeps nothing: what is where follows from the workload.
struct Local;

berth_sdk::target!(Local, manifest = "plugin.toml");
