//! The APIs, asked in process: the real router, service, operations and repository over a store in memory and
//! plugins that are not real.

mod admin;
mod callers;
mod creation;
mod described;
mod edge;
mod few_users;
mod harness;
mod idempotency;
mod lifecycle;
mod lists;
mod offer;
pub mod openmetrics;
mod passwords;
mod rdb;
mod refusals;
mod verbs;
