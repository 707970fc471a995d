//! Who asks, in which region, and about what: taken from a request before anything else.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use super::errors::{self, KeyProblem, Named, Refusal};
use super::status::{self, Status};
use crate::api::error::{ApiError, ApiResult};
use crate::api::{Api, auth, edge};
use crate::model::{ConflictReason, Error, Instance, InstanceId, Kind, Phase};
use crate::service::{Caller, InstanceRef};

/// A caller, and the region that the path names.
pub struct Scope {
    pub caller: Caller,
    pub region: String,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it describes; `Scope` reads")]
pub struct InRegion {
    /// A region out of the host's configuration.
    #[param(pattern = "^[a-z]{2}-[a-z]{3}$")]
    region: String,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct OfInstance {
    /// The instance.
    #[param(format = "uuid")]
    pub instance_id: String,
}

/// What is being asked about, for its errors.
pub struct About<'a> {
    api: &'a Api,
    instance: InstanceId,
}

impl Scope {
    /// The instance of this region. What the caller may not see is as if it were not there.
    pub fn instance(&self, api: &Api, id: &str) -> ApiResult<std::sync::Arc<Instance>> {
        let missing = || Refusal::NotFound(Named::new("instance", id));
        let id: Uuid = id.parse().map_err(|_| missing())?;
        let which = InstanceRef::Id(InstanceId(id));
        let found = api.control.instance(&self.caller, &which);
        let found = found.ok().filter(|instance| {
            instance.region == self.region && instance.phase() != Phase::Deleted
        });
        Ok(found.ok_or_else(missing)?)
    }
}

impl<'a> About<'a> {
    pub fn new(api: &'a Api, instance: &Instance) -> Self {
        let instance = instance.id;
        Self { api, instance }
    }

    /// The error as one about the instance. A server that does not answer yet is one that is being changed.
    pub fn refused(&self, error: Error) -> ApiError {
        match (&error.kind, self.status()) {
            (Kind::Retry(_) | Kind::Unavailable, Status::Ready) => {
                errors::of(error, self.named(), || Status::Ready)
            }
            (Kind::Retry(_) | Kind::Unavailable, state) if state.is_transient() => {
                Refusal::Transient(self.named(), state).because_of(error)
            }
            (_, state) => errors::of(error, self.named(), || state),
        }
    }

    /// How the core knows it.
    pub fn which(&self) -> InstanceRef {
        InstanceRef::Id(self.instance)
    }

    /// The error as one about something inside the instance. That its server cannot be asked now is about the
    /// instance; what its engine forbids although it serves is about what was to be done.
    pub fn refused_of(&self, error: Error, resource: &'static str, id: &str) -> ApiError {
        let said = error.public().to_owned();
        let refusal = match (&error.kind, self.status()) {
            (Kind::Conflict(ConflictReason::NotReady), Status::Ready) => {
                Refusal::Precondition("resource_still_in_use", said)
            }
            (Kind::Conflict(ConflictReason::AlreadyExists), _) => {
                Refusal::AlreadyExists(Named::new(resource, id), said)
            }
            (Kind::NotFound, _) => Refusal::NotFound(Named::new(resource, id)),
            _ => return self.refused(error),
        };
        refusal.because_of(error)
    }

    /// The error as one about something that an instance has once it is made.
    pub fn not_yet(&self, error: Error, resource: &'static str) -> ApiError {
        match (&error.kind, self.status()) {
            (
                Kind::NotFound,
                state @ (Status::Provisioning | Status::Initializing | Status::Deleting),
            ) => Refusal::Transient(self.named(), state).because_of(error),
            _ => self.refused_of(error, resource, &self.instance.to_string()),
        }
    }

    fn named(&self) -> Named {
        Named::new("instance", self.instance.to_string())
    }

    /// How the instance fares now.
    fn status(&self) -> Status {
        let control = &self.api.control;
        let now = control.repo().view().get(self.instance);
        let health = control.health();
        let status = now.and_then(|now| health.with(now.id, |health| status::of(&now, health)));
        status.unwrap_or(Status::Deleting)
    }
}

impl FromRequestParts<Api> for Scope {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let Some(edge::Known(caller)) = parts.extensions.get::<edge::Known>().cloned() else {
            let well_formed =
                auth::secret(&parts.headers).is_some_and(|secret| secret.parse::<Uuid>().is_ok());
            let problem = if well_formed {
                KeyProblem::NotFound
            } else {
                KeyProblem::Malformed
            };
            return Err(Refusal::Unauthenticated(problem).into());
        };
        let not_text = |_| Refusal::argument("path", "must be text in UTF-8", "");
        let params = RawPathParams::from_request_parts(parts, api).await;
        let params = params.map_err(not_text)?;
        let region = params.iter().find(|(name, _)| *name == "region");
        let region = region.map_or("", |(_, value)| value).to_owned();
        let region = known_region(api, region)?;
        for (name, value) in &params {
            if let Some(resource) = named_by_id(name)
                && value.parse::<Uuid>().is_err()
            {
                return Err(Refusal::NotFound(Named::new(resource, value)).into());
            }
        }
        Ok(Self { caller, region })
    }
}

/// What a parameter of a path names by a UUID; none for one that names it otherwise.
fn named_by_id(parameter: &str) -> Option<&'static str> {
    match parameter {
        "instance_id" => Some("instance"),
        "database_backup_id" => Some("database_backup"),
        "snapshot_id" => Some("instance_snapshot"),
        "read_replica_id" => Some("read_replica"),
        "endpoint_id" => Some("endpoint"),
        "instance_log_id" => Some("instance_log"),
        _ => None,
    }
}

/// Of the configured regions, those that the dialect can name.
pub fn regions(api: &Api) -> impl Iterator<Item = &str> {
    let names = api.control.catalogue().regions.keys();
    names.map(String::as_str).filter(|name| is_region(name))
}

fn known_region(api: &Api, region: String) -> Result<String, Refusal> {
    if regions(api).any(|known| known == region) {
        return Ok(region);
    }
    let known: Vec<&str> = regions(api).collect();
    let help = format!("one of {}", known.join(", "));
    Err(Refusal::argument("region", "is not a region here", &help))
}

/// Two letters, a hyphen and three letters: what clients accept.
fn is_region(name: &str) -> bool {
    let [a, b, b'-', c, d, e] = name.as_bytes() else {
        return false;
    };
    [a, b, c, d, e].iter().all(|byte| byte.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_have_the_form_that_clients_accept() {
        assert!(is_region("fr-par"));
        for other in ["nyc1", "FR-PAR", "fr-par-1", "", "fr-pa1", "frpar-"] {
            assert!(!is_region(other), "{other}");
        }
    }
}
