//! Operations that are not there yet. They check what they are asked as they will, so that what is wrong with a request
//! is told now, and then refuse in the words of the table (`operations`); lists are empty.

mod backups;
mod endpoints;
mod instances;
mod logs;
mod replicas;
mod snapshots;

use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;

use super::body::Body;
use super::errors::Refusal;
use super::operations::{Ability, Operation};
use crate::api::Api;
use crate::api::error::{ApiError, ApiResult};
use crate::model::Error;

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .merge(backups::routes())
        .merge(snapshots::routes())
        .merge(replicas::routes())
        .merge(logs::routes())
        .merge(instances::routes())
        .merge(endpoints::routes())
}

/// Refuse what the table says is not there yet, once its body is right.
fn later(id: &str, body: Body) -> ApiResult<Response> {
    body.finish()?;
    Err(not_there_yet(id))
}

fn not_there_yet(id: &str) -> ApiError {
    match Operation::by_id(id).and_then(Operation::not_there_yet) {
        Some(refusal) => refusal.into(),
        None => Error::internal(format!("{id} is not refused")).into(),
    }
}

/// A way in, of one of two kinds. What it asks for a private network is refused wherever it stands.
pub fn endpoint_spec(spec: &mut Body, public: &str) -> Option<Ability> {
    let open = spec.object(public).is_some_and(|inner| {
        spec.close(inner);
        true
    });
    let network = spec.object("private_network");
    if open && network.is_some() {
        spec.refuse::<()>(
            "private_network",
            "is given together with another kind",
            "give one of them",
        );
    }
    let mut network = network?;
    network.required_id("private_network_id");
    network.text("service_ip");
    if let Some(inner) = network.object("ipam_config") {
        network.close(inner);
    }
    spec.close(network);
    Some(Ability::PrivateNetworks)
}

/// The kinds of high availability that the dialect knows; all but the first two need it.
pub fn high_availability(body: &mut Body) -> Option<Ability> {
    let modes = [
        ("unknown_high_availability_mode", false),
        ("disabled", false),
        ("single_zone", true),
        ("multiple_zone", true),
    ];
    let mode = body.choice("high_availability_mode", &modes);
    let cluster = body.boolean("is_ha_cluster");
    (mode == Some(true) || cluster == Some(true)).then_some(Ability::HighAvailability)
}

pub fn refuse_if(ability: Option<Ability>) -> Result<(), Refusal> {
    ability.map_or(Ok(()), |ability| Err(ability.not_there_yet()))
}
