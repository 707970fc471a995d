//! The dialect below `/rdb/v1`: paths, bodies, statuses and errors that are another service's, so that its clients can
//! manage instances here as they are. One model stands behind it and the simple dialect: what is made in one is seen in
//! the other.
//!
//! It has its own bodies of errors, also for what is refused before a handler is asked. `operations` says which
//! operations are there.

mod acls;
mod body;
mod catalogue;
mod certificate;
mod changes;
mod creation;
mod databases;
mod engines;
mod errors;
mod instances;
mod later;
mod moments;
mod operations;
mod privileges;
mod query;
mod scope;
mod settings;
mod status;
mod users;
mod wire;

use axum::http::{StatusCode, header};
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;

use super::Api;
use super::edge::began;
use crate::model::OperationId;
pub use errors::in_its_words;
pub use operations::{ALL as OPERATIONS, State};
pub use wire::Error as ErrorBody;

/// What every path of the dialect begins with.
const PREFIX: &str = "/rdb/";

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .merge(instances::routes())
        .merge(changes::routes())
        .merge(certificate::routes())
        .merge(settings::routes())
        .merge(acls::routes())
        .merge(users::routes())
        .merge(databases::routes())
        .merge(privileges::routes())
        .merge(catalogue::routes())
        .merge(later::routes())
}

/// Whether a path is one of the dialect's, whatever is there.
pub fn owns(path: &str) -> bool {
    path.starts_with(PREFIX)
}

/// The answer of what has none: it is done, or begun.
fn done(operation: Option<OperationId>) -> Response {
    let json = [(header::CONTENT_TYPE, "application/json")];
    began(operation, (StatusCode::NO_CONTENT, json))
}
