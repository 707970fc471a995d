//! What the host gives to components. `log` and `hashing` need no grant; the others are granted by name, one by one: a
//! component that imports what it was not granted is not loaded.
//!
//! The only modules of the host that may name infrastructure.

pub mod confinement;
pub mod files;
mod given_up;
pub mod hashing;
pub mod log;
pub mod process;
mod process_check;
mod process_shim;
