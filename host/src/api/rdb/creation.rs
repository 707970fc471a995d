//! A creation: from the dialect's arguments to a draft, and from what is wrong with a draft back to the arguments.

use std::sync::Arc;

use rand::seq::IndexedRandom;
use uuid::Uuid;

use super::body::Body;
use super::engines::Titles;
use super::errors::{self, Named, Quota, REQUIRED, Refusal};
use super::later::{endpoint_spec, high_availability, refuse_if};
use super::operations::Ability;
use super::scope::Scope;
use super::settings;
use super::status::Status;
use super::wire::GB;
use super::wire::catalogue::{CHUNK, LARGEST};
use crate::api::Api;
use crate::api::error::{ApiError, ApiResult};
use crate::model::policy::Policy;
use crate::model::{Error, FieldProblem, Instance, Kind, ProjectId, Secret};
use crate::service::catalogue::{NodeType, Stock};
use crate::service::policies::check_tags;
use crate::service::{Caller, Draft};

/// Where the data are: on the node, or beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Volume {
    Local,
    Block,
}

impl Volume {
    fn name(self) -> &'static str {
        match self {
            Self::Local => "lssd",
            Self::Block => "bssd",
        }
    }
}

const VOLUMES: [(&str, Volume); 2] = [("lssd", Volume::Local), ("bssd", Volume::Block)];

pub async fn create(
    api: &Api,
    scope: Scope,
    mut body: Body,
    titles: &Titles,
) -> ApiResult<Arc<Instance>> {
    let (mut draft, needs) = draft(api, &mut body, titles, &scope.region);
    let project = project(&mut body);
    draft.problems = body.with_unknown();
    let mut owner_id = scope.caller.project;
    if draft.problems.is_empty() {
        owner_id = owner(api, &scope.caller, project)?;
        draft.project = Some(owner_id);
        refuse_if(needs)?;
        in_stock(api, draft.plan.as_deref())?;
    }
    let about = Named::new("instance", draft.name.clone().unwrap_or_default());
    let wanted_gb = api.control.catalogue().storage.check(draft.storage_gb);
    let wanted = (owner_id, wanted_gb.map_or(0, u64::from));
    let created = api.control.create_instance(&scope.caller, draft).await;
    let created = created.map_err(|error| refused(api, wanted, error, about))?;
    Ok(created.instance)
}

/// The draft, and what it needs that is not there yet.
fn draft(api: &Api, body: &mut Body, titles: &Titles, region: &str) -> (Draft, Option<Ability>) {
    let (engine, version) = engine(body, titles).unzip();
    let node = body.required("node_type");
    let known = node
        .as_ref()
        .and_then(|name| api.control.catalogue().node_types.get(name));
    let (volume, size) = volume(api, body, known);
    let user = body.required("user_name").unwrap_or_default();
    let password = body.required("password").unwrap_or_default();
    let draft = Draft {
        name: Some(body.text("name").unwrap_or_else(made_up_name)),
        engine,
        version,
        plan: node,
        region: Some(region.to_owned()),
        storage_gb: size.and_then(|bytes| i64::try_from(bytes / GB).ok()),
        user: Some((user, Secret::new(password))),
        storage_class: volume.map(|volume| volume.name().to_owned()),
        init_settings: settings::chosen_if_any(body, "init_settings"),
        policy: policy(body),
        ..Draft::default()
    };
    let needs = high_availability(body);
    (draft, needs.or(encryption(body)).or(endpoints(body)))
}

fn policy(body: &mut Body) -> Policy {
    let mut policy = Policy {
        tags: body.texts("tags").unwrap_or_default(),
        ..Policy::default()
    };
    for problem in check_tags(&policy.tags) {
        body.refuse::<()>(&problem.field, &problem.reason, &problem.help);
    }
    policy.backup_schedule.disabled = body.boolean("disable_backup").unwrap_or(false);
    policy.backup_same_region = body.boolean("backup_same_region").unwrap_or(false);
    policy
}

fn engine(body: &mut Body, titles: &Titles) -> Option<(String, String)> {
    let name = body.required("engine")?;
    if let Some((engine, version)) = titles.find(&name) {
        return Some((engine.to_owned(), version.to_owned()));
    }
    let help = match titles.offered().as_slice() {
        [] => "no engine is installed".to_owned(),
        names => format!("one of {}", names.join(", ")),
    };
    body.refuse("engine", "is not an engine here", &help)
}

/// The class of the storage, and its size in bytes when that is not the configuration's to say.
fn volume(api: &Api, body: &mut Body, node: Option<&NodeType>) -> (Option<Volume>, Option<u64>) {
    let volume = body.choice("volume_type", &VOLUMES);
    let classes = &api.control.catalogue().storage_classes;
    if volume == Some(Volume::Block) && !classes.contains(Volume::Block.name()) {
        body.refuse::<()>("volume_type", "is not configured on this host", "lssd");
    }
    // Unset is 0 for some clients.
    let size = body.whole("volume_size").filter(|size| *size > 0);
    let Some(node) = node else {
        // A plan has no storage of its own: any size is one that it can have.
        return (volume, size.filter(|size| chunked(body, *size)));
    };
    let local = node.local_gb.map(|gb| u64::from(gb) * GB);
    match (volume, local) {
        (None | Some(Volume::Local), Some(local)) => {
            if size.is_some_and(|size| size != local) {
                let help = format!("{local}, which is this node's, or 0; or volume_type bssd");
                body.refuse::<()>("volume_size", "is not that of the node's own volume", &help);
            }
            (Some(Volume::Local), Some(local))
        }
        (None | Some(Volume::Local), None) => {
            let reason = "is not one that this node has";
            body.refuse::<()>("volume_type", reason, "bssd");
            (None, None)
        }
        (Some(Volume::Block), _) => {
            if size.is_none() {
                body.refuse::<()>(
                    "volume_size",
                    REQUIRED,
                    "a size in bytes, for a volume of bssd",
                );
            }
            (
                Some(Volume::Block),
                size.filter(|size| chunked(body, *size)),
            )
        }
    }
}

fn chunked(body: &mut Body, size: u64) -> bool {
    let good = size.is_multiple_of(CHUNK) && (CHUNK..=LARGEST).contains(&size);
    if !good {
        let help = format!("a multiple of {CHUNK}, at most {LARGEST}");
        body.refuse::<()>("volume_size", "is not a size that a volume can have", &help);
    }
    good
}

fn encryption(body: &mut Body) -> Option<Ability> {
    let mut encryption = body.object("encryption")?;
    let enabled = encryption.boolean("enabled");
    body.close(encryption);
    (enabled == Some(true)).then_some(Ability::Encryption)
}

/// There is always a public endpoint: asking for it too changes nothing.
fn endpoints(body: &mut Body) -> Option<Ability> {
    let mut needs = None;
    for mut spec in body.objects("init_endpoints").unwrap_or_default() {
        needs = needs.or(endpoint_spec(&mut spec, "load_balancer"));
        body.close(spec);
    }
    needs
}

/// The project or the organization that it shall belong to.
fn project(body: &mut Body) -> (Option<Uuid>, Option<Uuid>) {
    let named = (body.id("project_id"), body.id("organization_id"));
    if let (Some(_), Some(_)) = named {
        let reason = "is given together with project_id";
        body.refuse::<()>("organization_id", reason, "give project_id alone");
    }
    named
}

/// Whose it will be: the key's own project, unless the key is an admin's, who may name any.
fn owner(
    api: &Api,
    caller: &Caller,
    (project, organization): (Option<Uuid>, Option<Uuid>),
) -> Result<ProjectId, Refusal> {
    let denied = Refusal::Denied {
        resource: "project",
        action: "write",
    };
    let catalogue = api.control.catalogue();
    let own = catalogue.project(caller.project);
    let project = project.map(ProjectId);
    if let Some(organization) = organization {
        let fits = own.is_some_and(|own| own.organization == organization);
        return if fits {
            Ok(caller.project)
        } else {
            Err(denied)
        };
    }
    match project {
        None => Ok(caller.project),
        Some(asked) if asked == caller.project => Ok(asked),
        Some(asked) if caller.scope().is_none() && catalogue.project(asked).is_some() => Ok(asked),
        Some(_) => Err(denied),
    }
}

/// That a node type is out of stock is no mistake of the caller's.
fn in_stock(api: &Api, node: Option<&str>) -> Result<(), Refusal> {
    let Some(name) = node else { return Ok(()) };
    match api.control.catalogue().node_types.get(name) {
        Some(node) if !node.disabled && node.stock == Stock::OutOfStock => {
            Err(Refusal::OutOfStock(name.to_owned()))
        }
        Some(_) | None => Ok(()),
    }
}

/// `wanted` says for which project it was to be, and how much storage.
fn refused(api: &Api, wanted: (ProjectId, u64), error: Error, about: Named) -> ApiError {
    let (owner, wanted_gb) = wanted;
    match error.kind {
        Kind::QuotaExceeded => Refusal::Quotas(quotas(api, owner, wanted_gb)).into(),
        Kind::Invalid(problems) => {
            let problems = problems.into_iter().map(renamed).collect();
            Refusal::Arguments(problems).into()
        }
        Kind::Denied => {
            let project = Named::new("project", owner.to_string());
            errors::of(error, project, || Status::Ready)
        }
        Kind::Unauthenticated
        | Kind::NotFound
        | Kind::Conflict(_)
        | Kind::Unsupported
        | Kind::Retry(_)
        | Kind::Unavailable
        | Kind::Failed
        | Kind::Internal => errors::of(error, about, || Status::Configuring),
    }
}

/// The quotas of the project that one more instance, with so much storage, would be beyond, and what is used of them.
fn quotas(api: &Api, owner: ProjectId, wanted_gb: u64) -> Vec<Quota> {
    let Some(project) = api.control.catalogue().project(owner) else {
        return Vec::new();
    };
    let used = api.control.used(project.id);
    let quotas = [
        (
            "instances",
            project.max_instances.map(u64::from),
            used.instances,
            1,
        ),
        (
            "storage_gb",
            project.max_storage_gb,
            used.storage_gb,
            wanted_gb,
        ),
    ];
    let beyond = quotas
        .into_iter()
        .filter_map(|(resource, quota, current, wanted)| {
            let quota = quota.filter(|quota| current + wanted > *quota)?;
            Some(Quota {
                resource,
                quota,
                current,
                project: project.id.to_string(),
            })
        });
    beyond.collect()
}

/// The core's and the contract's names of fields as this dialect has them.
fn renamed(mut problem: FieldProblem) -> FieldProblem {
    let name = match problem.field.as_str() {
        "version" => "engine",
        "plan" | "node" | "node.memory-bytes" | "node.cpu-millis" => "node_type",
        "members" | "replicas" => "is_ha_cluster",
        "storage" | "storage.bytes" | "storage-bytes" | "storage_gb" => "volume_size",
        "storage_class" => "volume_type",
        "user" => "user_name",
        "project" => "project_id",
        "slug" => "name",
        _ => return problem,
    };
    problem.field = name.to_owned();
    problem
}

/// For who gives none, as clients do by themselves.
fn made_up_name() -> String {
    const WORDS: [&str; 8] = [
        "calm", "clear", "deep", "green", "quiet", "swift", "warm", "wide",
    ];
    let word = WORDS.choose(&mut rand::rng()).copied().unwrap_or("new");
    format!("ins-{word}-{:06x}", rand::random::<u32>() >> 8)
}
