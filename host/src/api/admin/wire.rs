//! What an operator reads. An operation's own state is not shown: it is its workflow's.

use jiff::Timestamp;
use serde::Serialize;

use crate::api::error::ApiError;
use crate::api::input::Params;
use crate::api::paging;
use crate::model::health::Health;
use crate::model::instance::{Endpoint, Spec};
use crate::model::operation::{Claim, StepRecord};
use crate::model::plugin::{PluginAttempt, PluginKind, PluginState, PluginStatus};
use crate::model::resources::Reservation;
use crate::model::{
    self, Digest, InstanceId, NodeName, OperationId, OperationKind, OperationStatus, Phase,
    ProjectId,
};
use crate::service::plugins::Build;
use crate::service::{Caller, Control, InstanceRef, OperationQuery};

const FILTERS: [&str; 6] = ["instance", "status", "kind", "open", "limit", "cursor"];
const STATUSES: [OperationStatus; 6] = [
    OperationStatus::Pending,
    OperationStatus::Running,
    OperationStatus::Unwinding,
    OperationStatus::Succeeded,
    OperationStatus::Failed,
    OperationStatus::Cancelled,
];

#[derive(Serialize)]
pub struct Operation<'a> {
    id: OperationId,
    kind: OperationKind,
    status: OperationStatus,
    /// 0 to 100.
    progress: u8,
    instance_id: InstanceId,
    /// What the simple dialect calls the instance; none once its record is gone.
    database_id: Option<String>,
    project_id: ProjectId,
    steps: &'a [StepRecord],
    owner: Option<Owner<'a>>,
    not_before: Option<Timestamp>,
    deadline: Option<Timestamp>,
    cancel_requested: bool,
    cancellable: bool,
    after: Option<OperationId>,
    last_error: Option<&'a str>,
    request_id: Option<&'a str>,
    created_at: Timestamp,
    updated_at: Timestamp,
    finished_at: Option<Timestamp>,
}

/// Who drives it, and until when nobody else may.
#[derive(Serialize)]
struct Owner<'a> {
    node: &'a NodeName,
    until: Timestamp,
}

#[derive(Serialize)]
pub struct Instance<'a> {
    id: InstanceId,
    database_id: &'a str,
    project_id: ProjectId,
    phase: Phase,
    failure: Option<&'a str>,
    spec: &'a Spec,
    plan: &'a str,
    region: &'a str,
    target: &'a str,
    node: &'a NodeName,
    reservation: &'a Reservation,
    endpoints: &'a [Endpoint],
    health: Option<Health>,
    engine_build: ShownBuild,
    target_build: ShownBuild,
    operation: Option<Operation<'a>>,
    created_at: Timestamp,
    updated_at: Timestamp,
    deleted_at: Option<Timestamp>,
}

#[derive(Serialize)]
struct ShownBuild {
    digest: Digest,
    live_digest: Option<Digest>,
    /// The loaded build is another one than the one that made the instance.
    drift: bool,
}

#[derive(Serialize)]
pub struct Plugin {
    name: String,
    kind: Option<PluginKind>,
    version: Option<String>,
    file: String,
    digest: Option<Digest>,
    #[serde(flatten)]
    state: PluginState,
    since: Timestamp,
    /// The file's newest build, when it is another one than the live one: under way or refused.
    attempt: Option<Attempt>,
}

#[derive(Serialize)]
struct Attempt {
    digest: Option<Digest>,
    version: Option<String>,
    #[serde(flatten)]
    state: PluginState,
    since: Timestamp,
}

impl<'a> Operation<'a> {
    pub fn of(operation: &'a model::Operation, control: &Control) -> Self {
        let instance = control.repo().view().get(operation.instance);
        let owner = operation.claim.as_ref();
        Self {
            id: operation.id,
            kind: operation.kind,
            status: operation.status,
            progress: operation.progress(),
            instance_id: operation.instance,
            database_id: instance.map(|instance| instance.alias.to_string()),
            project_id: operation.project,
            steps: &operation.steps,
            owner: owner.map(|Claim { node, until, .. }| Owner {
                node,
                until: *until,
            }),
            not_before: operation.not_before,
            deadline: operation.deadline,
            cancel_requested: operation.cancel_requested,
            cancellable: operation.kind.cancellable() && !operation.status.is_terminal(),
            after: operation.after,
            last_error: operation.last_error.as_deref(),
            request_id: operation.request_id.as_deref(),
            created_at: operation.created_at,
            updated_at: operation.updated_at,
            finished_at: operation.finished_at,
        }
    }
}

impl<'a> Instance<'a> {
    pub fn of(
        instance: &'a model::Instance,
        operation: Option<&'a model::Operation>,
        control: &Control,
    ) -> Self {
        let builds = control.builds(instance);
        Self {
            id: instance.id,
            database_id: instance.alias.as_str(),
            project_id: instance.project,
            phase: instance.phase(),
            failure: instance.failure.as_deref(),
            spec: &instance.spec,
            plan: &instance.plan,
            region: &instance.region,
            target: &instance.target,
            node: &instance.node,
            reservation: &instance.reservation,
            endpoints: &instance.endpoints,
            health: control.health().get(instance.id),
            engine_build: ShownBuild::of(builds.engine),
            target_build: ShownBuild::of(builds.target),
            operation: operation.map(|operation| Operation::of(operation, control)),
            created_at: instance.created_at,
            updated_at: instance.updated_at,
            deleted_at: instance.deleted_at,
        }
    }
}

impl ShownBuild {
    fn of(build: Build) -> Self {
        Self {
            drift: build.drifted(),
            digest: build.made_by,
            live_digest: build.live,
        }
    }
}

impl Plugin {
    pub fn of(status: PluginStatus) -> Self {
        Self {
            name: status.name,
            kind: status.kind,
            version: status.version,
            file: status.file,
            digest: status.digest,
            state: status.state,
            since: status.since,
            attempt: status.attempt.map(Attempt::of),
        }
    }
}

impl Attempt {
    fn of(attempt: PluginAttempt) -> Self {
        Self {
            digest: attempt.digest,
            version: attempt.version,
            state: attempt.state,
            since: attempt.since,
        }
    }
}

pub fn operation_query(
    mut params: Params,
    control: &Control,
    caller: &Caller,
) -> Result<OperationQuery, ApiError> {
    let statuses = STATUSES.map(OperationStatus::as_str).join(", ");
    let kinds = OperationKind::ALL.map(OperationKind::as_str).join(", ");
    let open = params.parsed("open", "true or false", |text| text.parse::<bool>().ok());
    let query = OperationQuery {
        instance: params.parsed(
            "instance",
            "the id of a database that is recorded",
            |text| {
                let which = InstanceRef::parse(text)?;
                control
                    .instance(caller, &which)
                    .ok()
                    .map(|instance| instance.id)
            },
        ),
        status: params.parsed("status", &format!("one of {statuses}"), |text| {
            STATUSES.into_iter().find(|status| status.as_str() == text)
        }),
        kind: params.parsed("kind", &format!("one of {kinds}"), |text| {
            OperationKind::ALL
                .into_iter()
                .find(|kind| kind.as_str() == text)
        }),
        finished: open.map(|open| !open),
        limit: paging::limit(&mut params),
        after: params.parsed(
            "cursor",
            "take it unchanged from the answer before",
            |text| text.parse().ok(),
        ),
        ..OperationQuery::default()
    };
    params.finish(&FILTERS)?;
    Ok(query)
}
