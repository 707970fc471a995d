//! The words of the domain: ids, instances, phases, operations, workloads, errors.
//!
//! Pure data and total functions. Never does I/O, never knows axum, wasmtime, kube or sled, and imports
//! nothing else of this crate.

pub mod access;
pub mod confinement;
pub mod error;
pub mod health;
pub mod id;
pub mod instance;
pub mod kind;
pub mod operation;
pub mod phase;
pub mod plugin;
pub mod policy;
pub mod project;
pub mod resources;
pub mod secret;
pub mod setting;
pub mod text;
pub mod user;
pub mod workload;

pub use error::{ConflictReason, Error, FieldProblem, Kind, Result};
pub use id::{Alias, Digest, InstanceId, KeyId, NodeName, OperationId, ProjectId};
pub use instance::Instance;
pub use kind::{OperationKind, Outcome};
pub use operation::{Operation, OperationStatus};
pub use phase::Phase;
pub use secret::Secret;
