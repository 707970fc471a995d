//! One binary for every integration test.
#![allow(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod access;
mod allocator;
mod api;
mod clients;
mod command_line;
mod confinement;
mod conformance;
mod faults;
mod kill;
mod lifecycle;
mod limits;
mod load;
mod mongodb;
mod mysql;
mod openapi;
mod plugin_swap;
mod programs;
mod rdb;
mod rdb_lists;
mod redis;
mod redis_shards;
mod runtime;
mod sessions;
mod settings;
mod shim;
mod shutdown;
mod store;
mod survival;
mod sweep;
mod tidy;
mod tours;
mod traces;
mod verbs;
