//! What an operator reads. An operation's own state is not shown: it is its workflow's.

use jiff::Timestamp;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::api::error::ApiError;
use crate::api::input::Params;
use crate::api::paging;
use crate::model::confinement::Confinement;
use crate::model::health::{Health, History, Transition};
use crate::model::instance::{Endpoint, Spec};
use crate::model::operation::{Claim, StepRecord};
use crate::model::plugin::{PluginAttempt, PluginKind, PluginState, PluginStatus};
use crate::model::resources::Reservation;
use crate::model::{
    self, Alias, Digest, InstanceId, NodeName, OperationId, OperationKind, OperationStatus, Phase,
    ProjectId,
};
use crate::service::plugins::Build;
use crate::service::{Caller, Control, InstanceRef, OperationQuery};

const FILTERS: [&str; 6] = ["instance", "status", "kind", "open", "limit", "cursor"];

/// What is being done to an instance, how far it is, and why it is not further.
#[derive(Serialize, ToSchema)]
pub struct Operation<'a> {
    id: OperationId,
    kind: OperationKind,
    status: OperationStatus,
    /// 0 to 100.
    #[schema(minimum = 0, maximum = 100)]
    progress: u8,
    instance_id: InstanceId,
    /// What the simple dialect calls the instance; none once its record is gone.
    #[schema(value_type = Option<Alias>)]
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
#[derive(Serialize, ToSchema)]
struct Owner<'a> {
    node: &'a NodeName,
    until: Timestamp,
}

/// A database with all that stands behind it.
#[derive(Serialize, ToSchema)]
pub struct Instance<'a> {
    id: InstanceId,
    #[schema(value_type = Alias)]
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
    /// Of each member, by which limits and walls it is held.
    confinement: Vec<Confinement>,
    /// Newest first.
    health_history: Vec<Transition>,
    engine_build: ShownBuild,
    target_build: ShownBuild,
    operation: Option<Operation<'a>>,
    created_at: Timestamp,
    updated_at: Timestamp,
    deleted_at: Option<Timestamp>,
}

/// The build of a plugin that made an instance, and the one that is loaded now.
#[derive(Serialize, ToSchema)]
#[schema(as = Build)]
struct ShownBuild {
    digest: Digest,
    live_digest: Option<Digest>,
    /// The loaded build is another one than the one that made the instance.
    drift: bool,
}

/// Part of the list of operations.
#[derive(Serialize, ToSchema)]
pub struct OperationPage<'a> {
    pub operations: Vec<Operation<'a>>,
    /// How many there are on all pages.
    pub total: usize,
}

#[derive(Serialize, ToSchema)]
pub struct PluginList {
    pub plugins: Vec<Plugin>,
}

/// What a list of operations may be asked for. `operation_query` reads it; this is its description.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes; `operation_query` reads")]
pub struct Filters {
    /// Only those of this instance, which must be recorded: a database's id, or the instance's own.
    #[param(inline, required = false)]
    instance: InstanceName,
    /// Only those with this status.
    #[param(inline, required = false)]
    status: OperationStatus,
    /// Only those of this kind.
    #[param(inline, required = false)]
    kind: OperationKind,
    /// Only those that have not ended, or only those that have.
    #[param(required = false)]
    open: bool,
    /// The most that a page may hold. Without it the list is whole.
    #[param(required = false, minimum = 1, maximum = 1000)]
    limit: u32,
    /// Where the page before ended, out of its `Link`.
    #[param(inline, required = false)]
    cursor: OperationId,
}

/// How an operator may name an instance.
#[derive(ToSchema)]
#[schema(pattern = "^(db_[0-9a-f]{8}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})$")]
#[expect(dead_code, reason = "it describes; `InstanceRef` reads")]
pub struct InstanceName(String);

/// A component, as it was found in the folder of plugins.
#[derive(Serialize, ToSchema)]
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

/// A build that is not live: under way, or refused.
#[derive(Serialize, ToSchema)]
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
        confinement: Vec<Confinement>,
        history: History,
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
            confinement,
            health_history: history.into_newest_first(),
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
    let statuses = OperationStatus::ALL.map(OperationStatus::as_str).join(", ");
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
            OperationStatus::ALL
                .into_iter()
                .find(|status| status.as_str() == text)
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
