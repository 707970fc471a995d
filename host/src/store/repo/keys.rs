//! The names of records. A form that was used once is never used for anything else.

use crate::model::{Alias, InstanceId, KeyId, NodeName, OperationId, ProjectId};

pub const META: &str = "meta/store";
pub const INSTANCES: &str = "instance/";
pub const OPERATIONS: &str = "operation/";
pub const OPEN: &str = "open/";
/// Written now and then to learn whether the store takes writes.
pub const PROBE: &str = "probe";
pub const API_KEYS: &str = "api-key/";
pub const IDEMPOTENCY: &str = "idempotency/";

/// The kind of a record: the first part of its key.
pub fn kind(key: &str) -> &str {
    key.split_once('/').map_or(key, |(kind, _)| kind)
}

pub fn instance(id: InstanceId) -> String {
    format!("{INSTANCES}{id}")
}

/// Taken for good: it stays when its instance is purged.
pub fn alias(alias: &Alias) -> String {
    format!("alias/{alias}")
}

/// Names are unique in a project while their instance lives.
pub fn slug(project: ProjectId, slug: &str) -> String {
    format!("slug/{project}/{slug}")
}

pub fn operation(id: OperationId) -> String {
    format!("{OPERATIONS}{id}")
}

/// Index of operations that have not ended.
pub fn open(id: OperationId) -> String {
    format!("{OPEN}{id}")
}

pub fn workload(id: InstanceId) -> String {
    format!("workload/{id}")
}

/// How the instance has fared.
pub fn health(id: InstanceId) -> String {
    format!("health/{id}")
}

/// Sealed.
pub fn secrets(id: InstanceId) -> String {
    format!("secrets/{id}")
}

/// Sealed: what an engine is about to be told, or was told.
pub fn pending_secrets(id: InstanceId) -> String {
    format!("pending-secrets/{id}")
}

pub fn port(node: &NodeName, port: u16) -> String {
    format!("port/{node}/{port}")
}

pub fn uid(node: &NodeName, uid: u32) -> String {
    format!("uid/{node}/{uid}")
}

pub fn api_key(id: KeyId) -> String {
    format!("{API_KEYS}{id}")
}

/// The caller's key is hashed: it may be long, and hold anything.
pub fn idempotency(project: ProjectId, key: &str) -> String {
    format!(
        "{IDEMPOTENCY}{project}/{}",
        blake3::hash(key.as_bytes()).to_hex()
    )
}
