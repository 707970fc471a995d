//! The local target: real servers as ordinary processes of the machine that Berth runs on.
//!
//! It decides where things are (`layout`), fills in placeholders and turns a member into a
//! service for the host's process capability (`render`). Those are pure; only `target` and `rules` act.
//! Members listen on the loopback. In front of them stands one proxy for each instance (`proxy`), which binds the
//! endpoints, lets in who may connect (`rules`), and passes bytes on. Endpoints without an inner port were made
//! before there was one, or are for other members of the same instance: their members bind them themselves.

mod layout;
mod proxy;
mod render;
mod rules;
mod target;

/// The plugin. It keeps nothing: what is where follows from the workload.
struct Local;

berth_sdk::target!(Local, manifest = "plugin.toml");
