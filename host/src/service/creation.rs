//! Accepting a new instance: everything about it is resolved and checked before it is recorded, and every
//! problem that can be seen at once is told at once.

use std::sync::Arc;
use std::time::Duration;

use super::{Caller, Control, settings, unbroken};
use crate::model::instance::{Name, NewInstance, SHARDS, Spec};
use crate::model::plugin::Secrets;
use crate::model::policy::Policy;
use crate::model::setting::Settings;
use crate::model::user::check_password;
use crate::model::{
    Error, FieldProblem, Instance, InstanceId, Kind, OperationKind, ProjectId, Result, Secret,
};
use crate::runtime::{Engine, Target};
use crate::store::repo::{Begun, Idempotency};

/// A request as a dialect took it apart: what could be read, and what was wrong with the rest.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    pub name: Option<String>,
    pub engine: Option<String>,
    pub version: Option<String>,
    pub plan: Option<String>,
    pub region: Option<String>,
    pub storage_gb: Option<i64>,
    pub replicas: Option<i64>,
    pub shards: Option<i64>,
    /// Where it shall belong; the caller's own project when it is not said.
    pub project: Option<ProjectId>,
    /// First user, with a password that the caller chose.
    pub user: Option<(String, Secret)>,
    pub storage_class: Option<String>,
    /// Settings that are fixed when it is made.
    pub init_settings: Settings,
    pub policy: Policy,
    /// The request as it was sent, for telling a repetition from another request.
    pub idempotency: Option<(String, [u8; 32])>,
    pub problems: Vec<FieldProblem>,
}

/// An accepted creation.
#[derive(Debug)]
pub struct Created {
    pub instance: Arc<Instance>,
    /// It was accepted before, under the same idempotency key.
    pub replayed: bool,
}

struct Resolved {
    new: NewInstance,
    engine: Arc<dyn Engine>,
    password: Option<Secret>,
}

impl Control {
    pub async fn create_instance(&self, caller: &Caller, draft: Draft) -> Result<Created> {
        let control = self.clone();
        let caller = caller.clone();
        unbroken(caller.held.clone(), async move {
            control.accept(&caller, draft).await
        })
        .await
    }

    async fn accept(&self, caller: &Caller, mut draft: Draft) -> Result<Created> {
        let idempotency = draft.idempotency.take().map(|(key, digest)| Idempotency {
            project: caller.project,
            key,
            digest,
        });
        // Before all else: by now the name is taken and the quota used, by this very request.
        if let Some(instance) = self.repo().replay(idempotency.as_ref()).await? {
            return Ok(Created {
                instance,
                replayed: true,
            });
        }
        let Resolved {
            new,
            engine,
            password,
        } = self.resolve(caller, draft)?;
        let id = InstanceId::generate();
        engine.validate(id, &new.spec).await?;
        self.check_load()?;

        let project = self.catalogue().project(new.project).ok_or_else(|| {
            Error::new(Kind::Denied, "the key's project is not configured any more")
        })?;
        let mut secrets = Secrets::new();
        if let Some(password) = password {
            let login = engine.first_login(id, &new.spec).await?;
            secrets.insert(login.secret, password);
        }
        let promise = self.promise(project, &new.spec)?;
        let operation = self
            .executor()
            .new_operation(OperationKind::Create, caller.request_id.as_deref());
        let begun = self
            .repo()
            .begin_create_with(new, operation, idempotency, &secrets)
            .await;
        match &begun {
            Err(error) if error.is_retryable() => promise.until_sure(),
            Ok(_) | Err(_) => drop(promise),
        }
        let begun = begun?;
        self.executor().wake();
        Ok(match begun {
            Begun::New(instance, _) => Created {
                instance,
                replayed: false,
            },
            Begun::Replayed(instance) => Created {
                instance,
                replayed: true,
            },
        })
    }

    /// What would carry this instance's creation out today, if it still can be.
    pub(super) async fn plugins_again(
        &self,
        instance: &Instance,
    ) -> Result<(Arc<dyn Engine>, Arc<dyn Target>)> {
        let spec = &instance.spec;
        let engine = self.plugins().engine(&spec.engine)?;
        self.version(engine.description(), Some(&spec.version))
            .map_err(|problem| Error::invalid(vec![problem]))?;
        engine.validate(instance.id, spec).await?;
        let target = self.find_target(&instance.region, &instance.target)?;
        Ok((engine, target))
    }

    fn resolve(&self, caller: &Caller, draft: Draft) -> Result<Resolved> {
        let catalogue = self.catalogue();
        let mut problems = Problems(draft.problems);
        let name = draft.name.and_then(|name| problems.name(&name));
        let size = draft
            .plan
            .as_deref()
            .and_then(|plan| problems.take(catalogue.size(plan)));
        let target_name = draft
            .region
            .as_deref()
            .and_then(|region| problems.take(catalogue.region_target(region)));
        let storage_gb = problems.take(catalogue.storage.check(draft.storage_gb));
        if draft.replicas.is_some_and(|replicas| replicas != 1) {
            let reason = "high availability is not there yet";
            problems.add("replicas", reason, "1, or leave it out");
        }
        let shards = problems.shards(draft.shards);
        let engine = match draft.engine.as_deref() {
            Some(engine) => self.find_engine(engine, &mut problems)?,
            None => None,
        };
        let version = engine.as_ref().and_then(|engine| {
            let asked = draft.version.as_deref();
            problems.take(self.version(engine.description(), asked))
        });
        if let (Some(engine), Some(size)) = (&engine, size)
            && size.memory_bytes < engine.description().minimum_memory_bytes
        {
            let least = engine.description().minimum_memory_bytes.div_ceil(1 << 20);
            let help = format!("at least {least} MiB of memory");
            problems.add("plan", "is too small for this engine", &help);
        }
        let class = draft.storage_class.as_deref();
        let class = problems.take(catalogue.storage_class(class));
        if let Some(engine) = &engine {
            let described = engine.description();
            if let Some((user, password)) = &draft.user {
                problems.take(described.user_names.check("user", user));
                problems.take(check_password("password", password));
            }
            if let Some(version) = version {
                problems
                    .0
                    .extend(settings::check_initial(version, &draft.init_settings));
            }
        }
        let project = draft.project.unwrap_or(caller.project);
        if !caller.may_see(project) || catalogue.project(project).is_none() {
            problems.add("project", "is not a project of yours", "");
        }
        let version = version.map(|version| version.label.clone());

        let (true, Some(name), Some(engine), Some(version), Some(size), Some(storage_gb)) = (
            problems.0.is_empty(),
            name,
            engine,
            version,
            size,
            storage_gb,
        ) else {
            return Err(Error::invalid(problems.0));
        };
        let (Some(plan), Some(region), Some(target_name), Some(class)) =
            (draft.plan, draft.region, target_name, class)
        else {
            return Err(Error::invalid(problems.0));
        };
        let target = self.find_target(&region, target_name)?;
        self.plugins().check_storage(class)?;
        let (user, password) = draft.user.unzip();
        let spec = Spec {
            name,
            engine: engine.description().name.clone(),
            version,
            size,
            storage_gb,
            replicas: 1,
            shards,
            user,
            database: None,
            settings: Vec::new(),
            init_settings: draft.init_settings,
        };
        let new = NewInstance {
            project,
            spec,
            plan,
            region,
            target: target_name.to_owned(),
            storage_class: class.to_owned(),
            policy: draft.policy,
            node: self.parts().node.clone(),
            engine_digest: engine.digest().clone(),
            target_digest: target.digest().clone(),
        };
        Ok(Resolved {
            new,
            engine,
            password,
        })
    }

    fn find_engine(&self, name: &str, problems: &mut Problems) -> Result<Option<Arc<dyn Engine>>> {
        match self.plugins().engine(name) {
            Ok(engine) => Ok(Some(engine)),
            Err(error) if matches!(error.kind, Kind::NotFound) => {
                let engines = self.plugins().engines();
                let names = engines.iter().map(|engine| &engine.description().name);
                let help = match super::catalogue::one_of(names) {
                    none if none.is_empty() => "no engine is installed".to_owned(),
                    names => names,
                };
                problems.add("engine", "is not an engine here", &help);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// That its plugin is not there is the operator's to mend, not the caller's.
    fn find_target(&self, region: &str, target: &str) -> Result<Arc<dyn Target>> {
        self.plugins().target(target).map_err(|error| {
            let missing = matches!(error.kind, Kind::NotFound);
            if missing {
                let message =
                    format!("region {region} cannot be used: its target is not installed");
                return Error::unavailable(message);
            }
            error
        })
    }

    pub(super) fn check_load(&self) -> Result<()> {
        let open: usize = self.repo().view().open_operations().values().sum();
        if open < self.parts().max_open {
            return Ok(());
        }
        Err(Error::retry(
            Duration::from_secs(5),
            format!("{open} operations are open already; ask again when some have ended"),
        ))
    }
}

struct Problems(Vec<FieldProblem>);

impl Problems {
    fn add(&mut self, field: &str, reason: &str, help: &str) {
        self.0.push(FieldProblem::new(field, reason, help));
    }

    fn take<T>(&mut self, result: Result<T, FieldProblem>) -> Option<T> {
        result.map_err(|problem| self.0.push(problem)).ok()
    }

    /// Whether the engine can divide its data is its own to say.
    fn shards(&mut self, asked: Option<i64>) -> u32 {
        let wanted = asked.map_or(Ok(1), u32::try_from);
        match wanted {
            Ok(shards) if shards == 1 || SHARDS.contains(&shards) => shards,
            Ok(_) | Err(_) => {
                let (least, most) = SHARDS.into_inner();
                let help = format!("{least} to {most}, or leave it out");
                self.add("shards", "is no number of shards that there can be", &help);
                1
            }
        }
    }

    fn name(&mut self, text: &str) -> Option<Name> {
        match Name::parse(text) {
            Ok(name) => Some(name),
            Err(error) => {
                if let Kind::Invalid(problems) = error.kind {
                    self.0.extend(problems);
                }
                None
            }
        }
    }
}
