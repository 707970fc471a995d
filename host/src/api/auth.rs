//! Who calls: the key in `Authorization: Bearer …` or `X-Auth-Token`. The edge looks it up, before a body is read.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

use super::Api;
use super::edge::Known;
use super::error::ApiError;
use crate::model::Error;
use crate::model::project::Role;
use crate::service::Caller;

const TOKEN_HEADER: &str = "x-auth-token";

/// A caller who may use the admin API.
pub struct Admin(pub Caller);

impl FromRequestParts<Api> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, ApiError> {
        if let Some(Known(caller)) = parts.extensions.get::<Known>() {
            return Ok(caller.clone());
        }
        let message = match secret(&parts.headers) {
            Some(_) => "this API key is not known",
            None => "an API key is needed: `Authorization: Bearer KEY` or `X-Auth-Token: KEY`",
        };
        Err(Error::unauthenticated(message).into())
    }
}

impl FromRequestParts<Api> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, api).await?;
        match caller.role {
            Role::Admin => Ok(Self(caller)),
            Role::Member => {
                Err(Error::new(crate::model::Kind::Denied, "this needs an admin key").into())
            }
        }
    }
}

pub(super) fn secret(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, secret)| secret.trim());
    let token = || {
        headers
            .get(TOKEN_HEADER)
            .and_then(|value| value.to_str().ok())
    };
    bearer.or_else(token).filter(|secret| !secret.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_in_either_header() {
        let with = |name: header::HeaderName, value: &str| {
            let headers = HeaderMap::from_iter([(name, value.parse().unwrap())]);
            secret(&headers).map(str::to_owned)
        };
        let token = header::HeaderName::from_static(TOKEN_HEADER);
        assert_eq!(
            with(header::AUTHORIZATION, "bearer  k ").as_deref(),
            Some("k")
        );
        assert_eq!(with(header::AUTHORIZATION, "Basic k"), None);
        assert_eq!(with(header::AUTHORIZATION, "Bearer "), None);
        assert_eq!(with(token, "k").as_deref(), Some("k"));
    }
}
