//! Who may connect to an instance. A change is an operation: the instance is `configuring` meanwhile.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::Body;
use super::query::Query;
use super::scope::{About, InRegion, OfInstance, Scope};
use super::wire::requests::{AclRules as NewRules, DeleteAclRules, Paging};
use super::wire::{AclRule, AclRules};
use crate::api::Api;
use crate::api::edge::began;
use crate::api::error::ApiResult;
use crate::api::input::Path;
use crate::api::json::Json;
use crate::model::access::{AccessRule, Network};
use crate::model::{Instance, Kind};
use crate::service::AccessChange;

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list, add, set, remove))
}

/// List access rules
///
/// In the order in which they came.
#[utoipa::path(
    get, path = "/rdb/v1/regions/{region}/instances/{instance_id}/acls", operation_id = "rdb_list_instance_acl_rules",
    tag = "rdb",
    params(InRegion, OfInstance, Paging),
    responses((status = 200, description = "The rules.", body = AclRules)),
)]
async fn list(
    State(api): State<Api>,
    scope: Scope,
    Path(of): Path<OfInstance>,
    mut query: Query,
) -> ApiResult<Response> {
    let instance = scope.instance(&api, &of.instance_id)?;
    let page = query.page();
    query.finish()?;
    let rules = shown(&instance);
    let total_count = Some(rules.len());
    let rules = page.of(rules);
    Ok(Json(AclRules { rules, total_count }).into_response())
}

/// Add access rules
///
/// One that is there is described anew. Answers all rules.
#[utoipa::path(
    post, path = "/rdb/v1/regions/{region}/instances/{instance_id}/acls", operation_id = "rdb_add_instance_acl_rules",
    tag = "rdb",
    params(InRegion, OfInstance),
    request_body(content = NewRules, content_type = "application/json"),
    responses((status = 200, description = "All rules.", body = AclRules)),
)]
async fn add(
    State(api): State<Api>,
    scope: Scope,
    Path(of): Path<OfInstance>,
    body: Body,
) -> ApiResult<Response> {
    change(api, scope, &of, body, |body| AccessChange::Add(rules(body))).await
}

/// Set access rules
///
/// These and no others.
#[utoipa::path(
    put, path = "/rdb/v1/regions/{region}/instances/{instance_id}/acls", operation_id = "rdb_set_instance_acl_rules",
    tag = "rdb",
    params(InRegion, OfInstance),
    request_body(content = NewRules, content_type = "application/json"),
    responses((status = 200, description = "All rules.", body = AclRules)),
)]
async fn set(
    State(api): State<Api>,
    scope: Scope,
    Path(of): Path<OfInstance>,
    body: Body,
) -> ApiResult<Response> {
    change(api, scope, &of, body, |body| AccessChange::Set(rules(body))).await
}

/// Delete access rules
///
/// Connections that no rule lets in any more are cut. Answers the rules that are left.
#[utoipa::path(
    delete, path = "/rdb/v1/regions/{region}/instances/{instance_id}/acls",
    operation_id = "rdb_delete_instance_acl_rules", tag = "rdb",
    params(InRegion, OfInstance),
    request_body(content = DeleteAclRules, content_type = "application/json"),
    responses((status = 200, description = "All rules.", body = AclRules)),
)]
async fn remove(
    State(api): State<Api>,
    scope: Scope,
    Path(of): Path<OfInstance>,
    body: Body,
) -> ApiResult<Response> {
    change(api, scope, &of, body, |body| {
        AccessChange::Delete(networks(body))
    })
    .await
}

async fn change(
    api: Api,
    scope: Scope,
    of: &OfInstance,
    mut body: Body,
    wanted: impl FnOnce(&mut Body) -> AccessChange,
) -> ApiResult<Response> {
    let instance = scope.instance(&api, &of.instance_id)?;
    let change = wanted(&mut body);
    body.finish()?;
    let about = About::new(&api, &instance);
    let (caller, which) = (&scope.caller, about.which());
    let changed = api.control.set_access(caller, &which, change).await;
    let instance = changed.map_err(|error| about.refused(error))?;
    let body = AclRules {
        rules: shown(&instance),
        total_count: None,
    };
    Ok(began(instance.operation, Json(body)))
}

fn shown(instance: &Instance) -> Vec<AclRule> {
    let port = instance.ways_in().next().map(|endpoint| endpoint.port);
    let rules = instance.policy.access.iter();
    rules.map(|rule| AclRule::of(rule, port)).collect()
}

fn rules(body: &mut Body) -> Vec<AccessRule> {
    let mut rules = Vec::new();
    for mut item in body.required_objects("rules").unwrap_or_default() {
        let ip = item.required("ip");
        let description = item.text("description").unwrap_or_default();
        if let Some(network) = ip.and_then(|ip| network(&mut item, "ip", &ip)) {
            rules.push(AccessRule {
                network,
                description,
            });
        }
        body.close(item);
    }
    rules
}

fn networks(body: &mut Body) -> Vec<Network> {
    let ips = body.required_texts("acl_rule_ips").unwrap_or_default();
    let named = ips.iter().enumerate();
    named
        .filter_map(|(at, ip)| network(body, &format!("acl_rule_ips[{at}]"), ip))
        .collect()
}

fn network(body: &mut Body, name: &str, ip: &str) -> Option<Network> {
    match ip.parse::<Network>() {
        Ok(network) => Some(network),
        Err(error) => {
            if let Kind::Invalid(problems) = error.kind {
                for problem in problems {
                    body.refuse::<()>(name, &problem.reason, &problem.help);
                }
            }
            None
        }
    }
}
