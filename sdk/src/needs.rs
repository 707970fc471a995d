//! What every engine asks of a spec.

use crate::types::{FieldProblem, Spec};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// What the servers of an engine need, where each instance has one member, or each shard of one.
pub struct Needs<'a> {
    /// What people call the product.
    pub product: &'a str,
    /// The labels of all versions on offer.
    pub versions: &'a [String],
    /// The least memory of a node, in whole MiB.
    pub memory_bytes: u64,
    /// The least storage, in whole GiB.
    pub storage_bytes: u64,
    /// Whether it can divide its data over shards.
    pub can_shard: bool,
}

impl Needs<'_> {
    /// Everything in which a spec falls short of them. Settings and names are the engine's own to look at.
    pub fn problems(&self, spec: &Spec) -> Vec<FieldProblem> {
        let mut found = Vec::new();
        let mut refuse = |bad: bool, field: &str, reason: &str, help: String| {
            if bad {
                found.push(FieldProblem::new(field, reason, help));
            }
        };
        refuse(
            !self.versions.contains(&spec.version),
            "version",
            &format!("is not a version of {} that is offered", self.product),
            format!("one of {}", self.versions.join(", ")),
        );
        refuse(
            spec.members != 1,
            "members",
            "high availability is not there yet",
            "1".into(),
        );
        refuse(
            spec.shards != 1 && !self.can_shard,
            "shards",
            &format!("{} cannot divide its data over shards", self.product),
            "1, or leave it out".into(),
        );
        refuse(
            spec.node.memory_bytes < self.memory_bytes,
            "node.memory-bytes",
            "is too little memory for a server",
            format!("at least {} MiB", self.memory_bytes / MIB),
        );
        refuse(
            spec.storage_bytes < self.storage_bytes,
            "storage-bytes",
            "is too little storage for a server",
            format!("at least {} GiB", self.storage_bytes / GIB),
        );
        found
    }
}
