//! One binary for every integration test.
#![allow(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod api;
mod command_line;
mod faults;
mod kill;
mod lifecycle;
mod plugin_swap;
mod runtime;
mod shim;
mod survival;
mod sweep;
mod tidy;
