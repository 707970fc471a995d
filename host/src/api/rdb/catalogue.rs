//! What can be had in a region: engines and node types. And endpoints by their ids.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::engines::{self, Titles};
use super::errors::{Named, Refusal};
use super::query::Query;
use super::scope::{InRegion, Scope};
use super::wire::catalogue::{DatabaseEngine, Engines, NodeType, NodeTypes, Version};
use super::wire::instance::{Endpoint, endpoints};
use super::wire::requests::{EngineFilters, NodeTypeFilters, Paging};
use crate::api::Api;
use crate::api::error::ApiResult;
use crate::api::input::Path;
use crate::api::json::Json;
use crate::service::offer::EngineOffer;

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list_engines))
        .routes(routes!(list_node_types))
        .routes(routes!(show_endpoint))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct OfEndpoint {
    /// The endpoint.
    #[param(format = "uuid")]
    endpoint_id: String,
}

/// List database engines
///
/// Those that are installed, by name. A version that is not offered, or cannot run on this machine, is `disabled`.
#[utoipa::path(
    get, path = "/rdb/v1/regions/{region}/database-engines", operation_id = "rdb_list_database_engines", tag = "rdb",
    params(InRegion, EngineFilters, Paging),
    responses((status = 200, description = "The engines.", body = Engines)),
)]
async fn list_engines(
    State(api): State<Api>,
    scope: Scope,
    mut query: Query,
) -> ApiResult<Response> {
    let (name, version) = (query.text("name"), query.text("version"));
    let page = query.page();
    query.finish()?;
    let titles = Titles::now(&api.control);
    let engines = titles.offers().iter().filter(|offer| {
        let title = &offer.description().title;
        name.as_ref()
            .is_none_or(|name| name.eq_ignore_ascii_case(title))
    });
    let engines = engines.filter_map(|offer| engine(offer, version.as_deref(), &scope.region));
    let engines: Vec<DatabaseEngine> = engines.collect();
    let total_count = engines.len();
    let engines = page.of(engines);
    Ok(Json(Engines {
        engines,
        total_count,
    })
    .into_response())
}

/// List node types
///
/// By name. Plans of the simple dialect can be asked for too, and are among them.
#[utoipa::path(
    get, path = "/rdb/v1/regions/{region}/node-types", operation_id = "rdb_list_node_types", tag = "rdb",
    params(InRegion, NodeTypeFilters, Paging),
    responses((status = 200, description = "The node types.", body = NodeTypes)),
)]
async fn list_node_types(
    State(api): State<Api>,
    scope: Scope,
    mut query: Query,
) -> ApiResult<Response> {
    let all = query.boolean("include_disabled_types").unwrap_or(false);
    let page = query.page();
    query.finish()?;
    let catalogue = api.control.catalogue();
    let node_types = catalogue.node_types.iter();
    let node_types = node_types.filter(|(_, node)| all || !node.disabled);
    let block = catalogue.storage_classes.contains("bssd");
    let node_types = node_types.map(|(name, node)| NodeType::of(name, node, &scope.region, block));
    let plans = catalogue.plans.iter();
    let plans = plans.map(|(name, size)| NodeType::of_plan(name, *size, &scope.region, block));
    let mut node_types: Vec<NodeType> = node_types.chain(plans).collect();
    node_types.sort_by(|one, other| one.name.cmp(&other.name));
    let total_count = node_types.len();
    let node_types = page.of(node_types);
    Ok(Json(NodeTypes {
        node_types,
        total_count,
    })
    .into_response())
}

/// Read an endpoint
#[utoipa::path(
    get, path = "/rdb/v1/regions/{region}/endpoints/{endpoint_id}", operation_id = "rdb_get_endpoint", tag = "rdb",
    params(InRegion, OfEndpoint),
    responses((status = 200, description = "The endpoint.", body = Endpoint)),
)]
async fn show_endpoint(
    State(api): State<Api>,
    scope: Scope,
    Path(of): Path<OfEndpoint>,
) -> ApiResult<Response> {
    Ok(Json(endpoint(&api, &scope, &of)?).into_response())
}

/// The caller's endpoint with this id.
pub fn endpoint(api: &Api, scope: &Scope, of: &OfEndpoint) -> ApiResult<Endpoint> {
    let id = &*of.endpoint_id;
    let missing = || Refusal::NotFound(Named::new("endpoint", id));
    let wanted: Uuid = id.parse().map_err(|_| missing())?;
    let found = engines::endpoint_of(wanted).find_map(|(instance, at)| {
        let instance = scope.instance(api, &instance.to_string()).ok()?;
        endpoints(&instance).nth(at)
    });
    Ok(found.ok_or_else(missing)?)
}

/// None when it has nothing that is asked for.
fn engine(offer: &EngineOffer, version: Option<&str>, region: &str) -> Option<DatabaseEngine> {
    let title = &offer.description().title;
    let wanted = offer
        .versions()
        .filter(|(known, _)| version.is_none_or(|version| version == known.label));
    let versions: Vec<Version> = wanted
        .map(|(version, offered)| Version::of(version, title, offered))
        .collect();
    (!versions.is_empty()).then(|| DatabaseEngine {
        name: title.clone(),
        logo_url: String::new(),
        versions,
        region: region.to_owned(),
    })
}
