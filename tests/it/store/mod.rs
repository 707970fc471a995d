//! The store on a disk that fails, and the records carried from one store to another.
//!
//! sled writes with plain system calls, so what fails is put under it: a library that stands between the process and
//! its files (`tests/fixtures/faultfs`). It also keeps the book of writes and syncs from which the images of power
//! cuts are made.

mod book;
mod broken;
mod host;
mod power;
mod transfer;
mod work;
