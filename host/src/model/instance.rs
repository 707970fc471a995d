//! An instance: what was asked for, where it stands, how it is reached.

use std::ops::RangeInclusive;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::{Error, FieldProblem, Result};
use super::id::{Alias, Digest, InstanceId, NodeName, OperationId, ProjectId};
use super::kind::{OperationKind, Outcome};
use super::phase::Phase;
use super::policy::Policy;
use super::resources::{NodeSize, Reservation};

/// The record of an instance. One model for every dialect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    pub id: InstanceId,
    pub alias: Alias,
    pub project: ProjectId,
    pub spec: Spec,
    pub plan: String,
    pub region: String,
    /// The infrastructure target its region was bound to when it was created.
    pub target: String,
    /// Which of the configured places its data are in.
    pub storage_class: String,
    pub policy: Policy,
    /// The host that can reach it.
    pub node: NodeName,
    phase: Phase,
    /// The operation that holds it, if one does.
    pub operation: Option<OperationId>,
    /// Why it failed, in words for its owner.
    pub failure: Option<String>,
    pub reservation: Reservation,
    pub endpoints: Vec<Endpoint>,
    /// The builds that made it.
    pub engine_digest: Digest,
    pub target_digest: Digest,
    pub created_at: Timestamp,
    /// When an operation changed it last. What was seen of its servers before says nothing of it any more.
    pub updated_at: Timestamp,
    pub deleted_at: Option<Timestamp>,
}

/// What a new instance needs to be recorded.
#[derive(Clone, Debug)]
pub struct NewInstance {
    pub project: ProjectId,
    pub spec: Spec,
    pub plan: String,
    pub region: String,
    pub target: String,
    pub storage_class: String,
    pub policy: Policy,
    pub node: NodeName,
    pub engine_digest: Digest,
    pub target_digest: Digest,
}

/// What the caller asked for, complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Spec {
    pub name: Name,
    /// Engine name out of a plugin's description.
    pub engine: String,
    pub version: String,
    pub size: NodeSize,
    /// Of each member.
    pub storage_gb: u32,
    /// How many members have the same data.
    pub replicas: u32,
    /// Over how many shards the data are divided, each of so many members. 1 where they are not.
    #[schema(minimum = 1, maximum = 16)]
    pub shards: u32,
    pub user: Option<String>,
    pub database: Option<String>,
    /// Settings chosen by the caller, by name.
    pub settings: Vec<(String, String)>,
    /// Those that were fixed when it was made.
    pub init_settings: Vec<(String, String)>,
}

/// Into how many shards data can be divided: with fewer than three, none could be told from one that is cut off.
pub const SHARDS: RangeInclusive<u32> = 3..=16;

impl Spec {
    /// Of all members together.
    pub fn total_storage_gb(&self) -> u64 {
        u64::from(self.storage_gb) * u64::from(self.replicas) * u64::from(self.shards)
    }

    pub fn is_sharded(&self) -> bool {
        self.shards > 1
    }
}

/// A way in, as it exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Endpoint {
    pub name: String,
    pub member: String,
    pub port_name: String,
    /// Address the server side binds.
    pub bind_address: String,
    /// What those are told who come in here.
    pub host: String,
    #[schema(minimum = 1, maximum = 65535)]
    pub port: u16,
    /// The port of the machine that is the member's own, where the target puts a proxy in front of it.
    #[schema(minimum = 1, maximum = 65535)]
    pub inner_port: Option<u16>,
    /// Members of the database come in here, on the machine itself, and no clients.
    pub for_members: bool,
}

/// An instance's name: 1 to 63 letters, digits, spaces, `.`, `_` and `-`, beginning with a letter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(
    pattern = "^[A-Za-z]([A-Za-z0-9 ._-]{0,61}[A-Za-z0-9._-])?$",
    min_length = 1,
    max_length = 63
)]
pub struct Name(String);

impl Name {
    pub fn parse(text: &str) -> Result<Self> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '.' | '_' | '-');
        let valid = (1..=63).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphabetic())
            && !text.ends_with(' ')
            && text.chars().all(allowed);
        if valid {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::invalid(vec![FieldProblem::new(
            "name",
            "is not a valid name",
            "1 to 63 letters, digits, spaces, '.', '_' or '-', beginning with a letter",
        )]))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Lower case, everything but letters and digits a hyphen. What must be unique in a project.
    pub fn slug(&self) -> String {
        let parts = self.0.split(|c: char| !c.is_ascii_alphanumeric());
        let mut slug = String::with_capacity(self.0.len());
        for part in parts.filter(|part| !part.is_empty()) {
            if !slug.is_empty() {
                slug.push('-');
            }
            slug.push_str(part);
        }
        slug.make_ascii_lowercase();
        slug
    }
}

impl Instance {
    /// A new instance, in the phase of its creation.
    pub fn create(new: NewInstance, operation: OperationId, now: Timestamp) -> Self {
        let (id, alias) = (InstanceId::generate(), Alias::generate());
        let mut instance = Self::recorded(new, id, alias, Phase::Creating, now);
        instance.operation = Some(operation);
        instance
    }

    /// One that was recorded in this phase. For the store, which changes nothing by it.
    pub fn recorded(
        new: NewInstance,
        id: InstanceId,
        alias: Alias,
        phase: Phase,
        created_at: Timestamp,
    ) -> Self {
        Self {
            id,
            alias,
            project: new.project,
            spec: new.spec,
            plan: new.plan,
            region: new.region,
            target: new.target,
            storage_class: new.storage_class,
            policy: new.policy,
            node: new.node,
            phase,
            operation: None,
            failure: None,
            reservation: Reservation::default(),
            endpoints: Vec::new(),
            engine_digest: new.engine_digest,
            target_digest: new.target_digest,
            created_at,
            updated_at: created_at,
            deleted_at: None,
        }
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Where clients come in.
    pub fn ways_in(&self) -> impl Iterator<Item = &Endpoint> {
        let endpoints = self.endpoints.iter();
        endpoints.filter(|endpoint| !endpoint.for_members)
    }

    /// Begin an operation on it. Refused when the phase does not allow it.
    pub fn begin(
        &mut self,
        kind: OperationKind,
        operation: OperationId,
        now: Timestamp,
    ) -> Result<()> {
        self.phase = self.phase.begin(kind)?;
        self.operation = Some(operation);
        self.failure = None;
        self.updated_at = now;
        Ok(())
    }

    /// End the operation. One that was preempted changes nothing: the instance is its successor's.
    pub fn end(
        &mut self,
        kind: OperationKind,
        operation: OperationId,
        outcome: Outcome,
        failure: Option<String>,
        now: Timestamp,
    ) {
        if self.operation != Some(operation) {
            return;
        }
        self.phase = self.phase.end(kind, outcome);
        self.operation = None;
        // What runs as it did before has not failed: the operation says what could not be changed.
        self.failure = failure.filter(|_| self.phase != Phase::Running);
        self.updated_at = now;
        if self.phase == Phase::Deleted {
            self.deleted_at = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_and_slugged() {
        assert_eq!(
            Name::parse("Main Orders_2").unwrap().slug(),
            "main-orders-2"
        );
        for bad in ["", "9lives", "a/b", "naïve", "tail ", &"a".repeat(64)] {
            assert!(Name::parse(bad).is_err(), "{bad:?}");
        }
    }
}
