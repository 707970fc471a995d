//! One binary for every integration test.

mod kill;
mod lifecycle;
