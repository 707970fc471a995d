//! Write Berth engines and targets.
//!
//! A plugin is a type that implements the traits of [`engine`] or of [`target`], and one line:
//!
//! ```ignore
//! use berth_sdk::engine::{Catalog, Credentials, Provisioning};
//!
//! struct Mine;
//! impl Catalog for Mine { /* … */ }
//! impl Provisioning for Mine { /* … */ }
//! impl Credentials for Mine { /* … */ }
//!
//! berth_sdk::engine!(Mine, manifest = "plugin.toml");
//! ```
//!
//! Build it with `cargo build --target wasm32-wasip2`. Natively the same crate compiles as an `rlib`
//! without its exports, so that whatever is pure in it can be unit-tested with plain `cargo test`.
//!
//! The host calls each function in a sandbox of its own that ends with the call: nothing a plugin keeps in
//! memory is there the next time, there are no files, no environment and no network but the
//! instance's own members (plain `std::net`, at the addresses the call is given). Calls of [`engine::users`] may find
//! what the last one about the same instance left, such as a connection, and must do without it as well.
#![deny(missing_docs)]

#[allow(missing_docs, unsafe_code, clippy::all)]
#[doc(hidden)]
pub mod bindings;
mod build;
pub mod engine;
mod error;
mod exports;
pub mod hashing;
pub mod log;
pub mod names;
mod needs;
pub mod placeholders;
pub mod scram;
pub mod server;
pub mod settings;
pub mod target;
pub mod types;
pub mod uri;

pub use error::Result;
pub use types::Error;
