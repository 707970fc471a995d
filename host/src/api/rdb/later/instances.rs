//! What cannot be had done to instances yet.

use axum::extract::State;
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::later;
use crate::api::Api;
use crate::api::error::ApiResult;
use crate::api::input::Path;
use crate::api::rdb::body::Body;
use crate::api::rdb::query::Query;
use crate::api::rdb::scope::{InRegion, OfInstance, Scope};
use crate::api::rdb::wire::instance::Instance;
use crate::api::rdb::wire::later::{InstanceMetrics, Maintenance};
use crate::api::rdb::wire::requests::{CloneInstance, MetricFilters, Nothing, UpgradeInstance};

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(clone))
        .routes(routes!(upgrade))
        .routes(routes!(metrics))
        .routes(routes!(maintain))
}

/// Clone an instance
#[utoipa::path(
    post, path = "/rdb/v1/regions/{region}/instances/{instance_id}/clone", operation_id = "rdb_clone_instance", tag = "rdb",
    params(InRegion, OfInstance),
    request_body(content = CloneInstance, content_type = "application/json"),
    responses((status = 200, description = "The new instance.", body = Instance)),
)]
async fn clone(
    State(api): State<Api>,
    scope: Scope,
    Path(of): Path<OfInstance>,
    mut body: Body,
) -> ApiResult<Response> {
    scope.instance(&api, &of.instance_id)?;
    body.required("name");
    body.text("node_type");
    later("rdb_clone_instance", body)
}

/// Upgrade an instance
#[utoipa::path(
    post, path = "/rdb/v1/regions/{region}/instances/{instance_id}/upgrade", operation_id = "rdb_upgrade_instance", tag = "rdb",
    params(InRegion, OfInstance),
    request_body(content = UpgradeInstance, content_type = "application/json"),
    responses((status = 200, description = "The instance.", body = Instance)),
)]
async fn upgrade(
    State(api): State<Api>,
    scope: Scope,
    Path(of): Path<OfInstance>,
    mut body: Body,
) -> ApiResult<Response> {
    scope.instance(&api, &of.instance_id)?;
    one_upgrade(&mut body);
    later("rdb_upgrade_instance", body)
}

/// Read metrics
#[utoipa::path(
    get, path = "/rdb/v1/regions/{region}/instances/{instance_id}/metrics", operation_id = "rdb_get_instance_metrics", tag = "rdb",
    params(InRegion, OfInstance, MetricFilters),
    responses((status = 200, description = "The metrics.", body = InstanceMetrics)),
)]
async fn metrics(
    State(api): State<Api>,
    scope: Scope,
    Path(of): Path<OfInstance>,
    mut query: Query,
) -> ApiResult<Response> {
    scope.instance(&api, &of.instance_id)?;
    query.moment("start_date");
    query.moment("end_date");
    query.text("metric_name");
    query.finish()?;
    later("rdb_get_instance_metrics", Body::default())
}

/// Apply a maintenance
#[utoipa::path(
    post, path = "/rdb/v1/regions/{region}/instances/{instance_id}/apply-maintenance", operation_id = "rdb_apply_instance_maintenance", tag = "rdb",
    params(InRegion, OfInstance),
    request_body(content = Nothing, content_type = "application/json"),
    responses((status = 200, description = "The maintenance.", body = Maintenance)),
)]
async fn maintain(
    State(api): State<Api>,
    scope: Scope,
    Path(of): Path<OfInstance>,
    body: Body,
) -> ApiResult<Response> {
    scope.instance(&api, &of.instance_id)?;
    later("rdb_apply_instance_maintenance", body)
}

/// Clients differ in what they do with several: exactly one is right.
fn one_upgrade(body: &mut Body) {
    let modes = [
        ("unknown_high_availability_mode", ()),
        ("disabled", ()),
        ("single_zone", ()),
        ("multiple_zone", ()),
    ];
    let enable_ha = body.boolean("enable_ha");
    let volume_types = [("lssd", ()), ("bssd", ())];
    let workflow = body.object("major_upgrade_workflow").map(|mut workflow| {
        workflow.required_id("upgradable_version_id");
        workflow.boolean("with_endpoints");
        body.close(workflow);
    });
    let asked = [
        body.text("node_type").is_some(),
        enable_ha.is_some(),
        body.choice("high_availability_mode", &modes).is_some(),
        // Some clients write 0 for none.
        body.whole("volume_size").is_some_and(|size| size > 0),
        body.choice("volume_type", &volume_types).is_some(),
        body.id("upgradable_version_id").is_some(),
        workflow.is_some(),
        body.boolean("enable_encryption").is_some(),
    ];
    if enable_ha == Some(false) {
        body.refuse::<()>("enable_ha", "cannot be taken away", "true, or leave it out");
    }
    if body.problems.is_empty() && asked.iter().filter(|one| **one).count() != 1 {
        let help = "exactly one of node_type, enable_ha, high_availability_mode, volume_size, volume_type, \
                    upgradable_version_id, major_upgrade_workflow and enable_encryption";
        body.refuse::<()>("body", "asks for no upgrade, or for several", help);
    }
}
