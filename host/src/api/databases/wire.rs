//! The dialect's wire types, exactly as its document has them.

use std::borrow::Cow;

use axum::http::HeaderMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};
use utoipa::{IntoParams, ToSchema};

use super::status::{self, Status};
use crate::api::error::ApiError;
use crate::api::input::{Fields, Params};
use crate::api::paging;
use crate::model::instance::Name;
use crate::model::plugin::Connection;
use crate::model::{Alias, FieldProblem, Instance, Kind};
use crate::service::{Control, Cursor, Draft, InstanceQuery};

const IDEMPOTENCY_KEY: &str = "idempotency-key";
const LONGEST_KEY: usize = 255;
const FIELDS: [&str; 8] = [
    "name",
    "db_type",
    "version",
    "plan_id",
    "region",
    "storage_gb",
    "replicas",
    "shards",
];
const FILTERS: [&str; 6] = ["status", "type", "db_type", "region", "limit", "cursor"];

/// A database as lists and reads show it.
#[derive(Serialize, ToSchema)]
pub struct Database<'a> {
    #[schema(value_type = Alias)]
    id: &'a str,
    project_id: Cow<'a, str>,
    #[schema(value_type = Name)]
    name: &'a str,
    /// The name in lower case with hyphens: what is taken once per project.
    #[schema(pattern = "^[a-z0-9]+(-[a-z0-9]+)*$", max_length = 63)]
    slug: String,
    db_type: &'a str,
    version: &'a str,
    plan_id: &'a str,
    status: Status,
    region: &'a str,
    storage_gb: u32,
    replicas: u32,
    /// Over how many shards the data are divided; absent where they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 3, maximum = 16)]
    shards: Option<u32>,
    #[serde(serialize_with = "to_the_second")]
    created_at: Timestamp,
}

/// A database as its creation is answered.
#[derive(Serialize, ToSchema)]
pub struct Accepted<'a> {
    #[schema(value_type = Alias)]
    id: &'a str,
    #[schema(value_type = Name)]
    name: &'a str,
    db_type: &'a str,
    status: Status,
    #[serde(serialize_with = "to_the_second")]
    created_at: Timestamp,
}

/// How to connect. What an engine has no notion of is left out.
#[derive(Serialize, ToSchema)]
pub struct Credentials<'a> {
    host: &'a str,
    #[schema(minimum = 1, maximum = 65535)]
    port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    username: Option<&'a str>,
    password: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    database: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    ssl_mode: Option<&'a str>,
    connection_string: &'a str,
}

/// What a creation may ask for. `draft` reads it field by field, so that every problem is told at once; this is its
/// description.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(description = "What a new database shall be.")]
#[expect(dead_code, reason = "it describes; `draft` reads")]
pub struct NewDatabase {
    name: Name,
    /// An engine that is installed.
    db_type: String,
    /// A version of the engine; without it the newest stable one that can run here.
    version: Option<String>,
    /// A plan out of the host's configuration.
    plan_id: String,
    /// A region out of the host's configuration.
    region: String,
    /// Within the bounds of the host's configuration, which also says what it is without.
    #[schema(minimum = 1)]
    storage_gb: Option<i64>,
    /// Members that serve it.
    #[schema(minimum = 1, maximum = 1)]
    replicas: Option<i64>,
    /// Over how many shards the data are divided, each of the plan's size and with storage of its own: 3 or more, of an
    /// engine that can; 1 is not to divide them, as without it.
    #[schema(minimum = 1, maximum = 16)]
    shards: Option<i64>,
}

/// What a list may be asked for. `query` reads it; this is its description.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes; `query` reads")]
pub struct Filters {
    /// Only those with this status. Destroyed ones are shown only to who asks for them.
    #[param(inline, required = false)]
    status: Status,
    /// Only those of this engine.
    #[param(required = false)]
    r#type: String,
    /// Another name of `type`. With both, they must agree.
    #[param(required = false)]
    db_type: String,
    /// Only those in this region.
    #[param(required = false)]
    region: String,
    /// The most that a page may hold. Without it the list is whole.
    #[param(required = false, minimum = 1, maximum = 1000)]
    limit: u32,
    /// Where the page before ended, out of its `Link`.
    #[param(required = false, pattern = "^[A-Za-z0-9_-]+$")]
    cursor: String,
}

/// The headers of a creation.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it describes; `draft` reads")]
pub struct Once {
    /// A name of the caller's for this request, a UUID for example. The same request under the same key is carried out
    /// once, however often it is sent, and answered the same; another request under it is refused.
    #[param(
        required = false,
        rename = "Idempotency-Key",
        pattern = "^[!-~]([ -~]{0,253}[!-~])?$",
        min_length = 1,
        max_length = 255
    )]
    idempotency_key: String,
}

/// What a list was asked for.
pub struct Asked {
    pub query: InstanceQuery,
    /// Health decides about it too, which the query cannot.
    pub status: Option<Status>,
}

impl<'a> Database<'a> {
    pub fn of(instance: &'a Instance, control: &'a Control) -> Self {
        let spec = &instance.spec;
        let project = control.catalogue().project(instance.project);
        Self {
            id: instance.alias.as_str(),
            project_id: match project {
                Some(project) => Cow::Borrowed(project.alias.as_str()),
                None => Cow::Owned(instance.project.to_string()),
            },
            name: spec.name.as_str(),
            slug: spec.name.slug(),
            db_type: &spec.engine,
            version: &spec.version,
            plan_id: &instance.plan,
            status: shown(instance, control),
            region: &instance.region,
            storage_gb: spec.storage_gb,
            replicas: spec.replicas,
            shards: spec.is_sharded().then_some(spec.shards),
            created_at: instance.created_at,
        }
    }
}

impl<'a> Accepted<'a> {
    pub fn of(instance: &'a Instance, control: &Control) -> Self {
        Self {
            id: instance.alias.as_str(),
            name: instance.spec.name.as_str(),
            db_type: &instance.spec.engine,
            status: shown(instance, control),
            created_at: instance.created_at,
        }
    }
}

impl<'a> Credentials<'a> {
    pub fn of(connection: &'a Connection) -> Self {
        Self {
            host: &connection.host,
            port: connection.port,
            username: connection.username.as_deref(),
            password: connection.password.expose(),
            database: connection.database.as_deref(),
            ssl_mode: connection.tls_mode.as_deref(),
            connection_string: connection.uri.expose(),
        }
    }
}

/// A creation as it was asked for, with every field that could not be read.
pub fn draft(mut fields: Fields, headers: &HeaderMap) -> Draft {
    let digest = fields.digest();
    let mut draft = Draft {
        name: fields.required_text("name"),
        engine: fields.required_text("db_type"),
        version: fields.text("version"),
        plan: fields.required_text("plan_id"),
        region: fields.required_text("region"),
        storage_gb: fields.integer("storage_gb"),
        replicas: fields.integer("replicas"),
        shards: fields.integer("shards"),
        idempotency: None,
        problems: fields.finish(&FIELDS),
        ..Draft::default()
    };
    match idempotency_key(headers) {
        Ok(key) => draft.idempotency = key.map(|key| (key, digest)),
        Err(problem) => draft.problems.push(problem),
    }
    draft
}

pub fn query(mut params: Params) -> Result<Asked, ApiError> {
    let statuses = Status::ALL.map(Status::as_str).join(", ");
    let status = params.parsed("status", &format!("one of {statuses}"), Status::parse);
    let mut engine = params.text("type");
    if let Some(other) = params.text("db_type") {
        if engine.as_ref().is_some_and(|engine| *engine != other) {
            params.refuse(
                "db_type",
                "says something else than `type`",
                "give one of them",
            );
        }
        engine = Some(other);
    }
    let mut query = InstanceQuery {
        phases: status.map(Status::phases).unwrap_or_default(),
        engine,
        region: params.text("region"),
        limit: paging::limit(&mut params),
        ..InstanceQuery::default()
    };
    if let Some(cursor) = params.text("cursor") {
        match Cursor::parse(&cursor, query.order, "cursor") {
            Ok(cursor) => query.after = Some(cursor),
            Err(error) => params.add(error),
        }
    }
    params.finish(&FILTERS)?;
    Ok(Asked { query, status })
}

fn shown(instance: &Instance, control: &Control) -> Status {
    let health = control.health();
    health.with(instance.id, |health| status::of(instance, health))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, FieldProblem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    let key = value.to_str().ok().map(str::trim);
    let key = key.filter(|key| (1..=LONGEST_KEY).contains(&key.len()) && !key.contains('\t'));
    key.map(|key| Some(key.to_owned())).ok_or_else(|| {
        let help = format!("1 to {LONGEST_KEY} characters, a UUID for example");
        FieldProblem::new("Idempotency-Key", "is not a usable key", help)
    })
}

/// RFC 3339 in UTC, without fractions.
fn to_the_second<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{at:.0}"))
}

impl Params {
    /// Take over what the core found wrong with a parameter.
    fn add(&mut self, error: crate::model::Error) {
        if let Kind::Invalid(problems) = error.kind {
            for problem in problems {
                self.refuse(&problem.field, &problem.reason, &problem.help);
            }
        }
    }
}
