//! One binary for every integration test.

mod faults;
mod kill;
mod lifecycle;
