//! One binary for every integration test.
#![allow(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod kill;
mod lifecycle;
mod tidy;
