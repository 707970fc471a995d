//! The words that engines and targets share: what was asked for, and what must run.

pub use crate::bindings::engine::berth::plugin::types::{
    Command, Endpoint, EndpointPlan, Error, FieldProblem, File, Init, Instance, Member,
    MemberAddress, NodeSize, Port, Retry, Secret, SecretKind, SecretRequest, Setting, Spec, Stop,
    Volume, Workload,
};
