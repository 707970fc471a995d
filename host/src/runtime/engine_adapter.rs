//! An engine component as the host sees it: each call of the trait is one sandbox. What it is able to do besides
//! stands in adapters of their own: see `abilities`.

use std::sync::Arc;

use async_trait::async_trait;
use berth_bindings::engine::exports::berth::plugin::{credentials, provisioning};
use berth_bindings::engine::{EngineIndices, EnginePre};
use wasmtime::component::InstancePre;

use crate::model::instance::{Endpoint, Spec};
use crate::model::plugin::{Connection, EngineDescription, InstanceContext, Login, Observation};
use crate::model::workload::Workload;
use crate::model::{Digest, Error, InstanceId, Result, Secret};

use super::abilities::{Abilities, Exported, talk};
use super::call::{Build, Pace, call};
use super::directories::Directories;
use super::sandbox::State;
use super::scope::{CallScope, Redactor};
use super::{Engine, Settings, Users, answers, check, convert};

pub(super) struct ComponentEngine {
    build: Arc<Build>,
    pre: InstancePre<State>,
    abilities: Abilities,
    // Looked up in each sandbox, with their types: those that the call needs.
    provisioning: provisioning::GuestIndices,
    credentials: credentials::GuestIndices,
    description: EngineDescription,
    directories: Directories,
}

impl ComponentEngine {
    /// Ask the component what it is, and take it if the answer is sound. All its exports are looked up here once.
    pub async fn load(
        build: Build,
        pre: EnginePre<State>,
        exported: Exported,
        directories: Directories,
    ) -> Result<Self> {
        let lost = |e| Error::internal(format!("{e:#}"));
        let pre = pre.instance_pre().clone();
        let asked = Asked {
            build: &build,
            pre: &pre,
            all: EngineIndices::new(&pre).map_err(lost)?,
        };
        let describe = async || {
            let (call, outcome) = call!(
                asked.all,
                Pace::Compute,
                CallScope::default(),
                "describe",
                |engine, store| engine.berth_plugin_catalog().call_describe(store)
            );
            let late = outcome.is_err();
            let described = call.value(outcome).and_then(convert::engine_description);
            described.map_err(|error| answers::in_time(error, late))
        };
        let described = answers::unchanging(describe().await?, describe().await?, &build.manifest)?;
        let description = answers::engine_description(described, &build.manifest)?;
        let build = Arc::new(build);
        Ok(Self {
            abilities: Abilities::new(exported, &build, &pre, &directories),
            provisioning: provisioning::GuestIndices::new(&pre).map_err(lost)?,
            credentials: credentials::GuestIndices::new(&pre).map_err(lost)?,
            build,
            pre,
            description,
            directories,
        })
    }

    /// The scope of a call that only computes.
    fn pure(id: InstanceId) -> CallScope {
        CallScope {
            instance: Some(id),
            ..CallScope::default()
        }
    }
}

/// What `call!` needs of an adapter.
struct Asked<'a> {
    build: &'a Build,
    pre: &'a InstancePre<State>,
    all: EngineIndices,
}

#[async_trait]
impl Engine for ComponentEngine {
    fn digest(&self) -> &Digest {
        &self.build.digest
    }

    fn description(&self) -> &EngineDescription {
        &self.description
    }

    fn settings(&self) -> Option<&dyn Settings> {
        self.abilities.settings()
    }

    fn users(&self) -> Option<&dyn Users> {
        self.abilities.users()
    }

    async fn validate(&self, id: InstanceId, spec: &Spec) -> Result<()> {
        let spec = convert::spec(id, spec.name.slug(), spec);
        let (call, outcome) = call!(
            self.provisioning,
            Pace::Compute,
            Self::pure(id),
            "validate",
            |engine, store| engine.call_validate(store, &spec)
        );
        call.answer(outcome)
    }

    async fn plan(&self, id: InstanceId, spec: &Spec) -> Result<Workload> {
        let spec = convert::spec(id, spec.name.slug(), spec);
        let (call, outcome) = call!(
            self.provisioning,
            Pace::Compute,
            Self::pure(id),
            "plan",
            |engine, store| engine.call_plan(store, &spec)
        );
        let workload = convert::workload(call.answer(outcome)?);
        for closed in self.directories.closed() {
            check::workload(&workload, &self.build.manifest, closed)?;
        }
        Ok(workload)
    }

    async fn bootstrap(&self, context: &InstanceContext) -> Result<()> {
        self.build.forget(context.id);
        let scope = talk(&self.directories, context, None)?;
        let instance = convert::instance(context, &scope.network);
        let (call, outcome) = call!(
            self.provisioning,
            Pace::Talk,
            scope,
            "bootstrap",
            |engine, store| engine.call_bootstrap(store, &instance)
        );
        call.answer(outcome)
    }

    async fn observe(&self, context: &InstanceContext) -> Result<Vec<Observation>> {
        let scope = talk(&self.directories, context, None)?;
        let instance = convert::instance(context, &scope.network);
        let (call, outcome) = call!(
            self.provisioning,
            Pace::Talk,
            scope,
            "observe",
            |engine, store| engine.call_observe(store, &instance)
        );
        let seen = call.answer(outcome)?;
        answers::observations(
            seen.into_iter().map(convert::observation).collect(),
            context.dials.iter().map(|dial| &*dial.member),
            &self.build.manifest,
        )
    }

    async fn first_login(&self, id: InstanceId, spec: &Spec) -> Result<Login> {
        let spec = convert::spec(id, spec.name.slug(), spec);
        let (call, outcome) = call!(
            self.credentials,
            Pace::Compute,
            Self::pure(id),
            "first-login",
            |engine, store| engine.call_first_login(store, &spec)
        );
        answers::login(convert::login(call.answer(outcome)?), &self.build.manifest)
    }

    async fn connect(
        &self,
        id: InstanceId,
        spec: &Spec,
        endpoint: &Endpoint,
        login: &Login,
        password: &Secret,
    ) -> Result<Connection> {
        let spec = convert::spec(id, spec.name.slug(), spec);
        let endpoint = convert::endpoint(endpoint);
        let login = convert::login_out(login);
        let scope = CallScope {
            redactor: Redactor::new(&Default::default(), [password]),
            ..Self::pure(id)
        };
        let (call, outcome) = call!(
            self.credentials,
            Pace::Compute,
            scope,
            "connect",
            |engine, store| engine.call_connect(store, &spec, &endpoint, &login, password.expose())
        );
        let made = call.answer(outcome)?;
        let connection = Connection {
            host: made.host,
            port: made.port,
            username: made.username,
            password: Secret::new(made.password),
            database: made.database,
            tls_mode: made.tls_mode,
            uri: Secret::new(made.uri),
        };
        answers::connection(connection, &self.build.manifest)
    }

    async fn verify(
        &self,
        context: &InstanceContext,
        login: &Login,
        password: &Secret,
    ) -> Result<bool> {
        let scope = talk(&self.directories, context, [password])?;
        let instance = convert::instance(context, &scope.network);
        let login = convert::login_out(login);
        let (call, outcome) = call!(
            self.credentials,
            Pace::Talk,
            scope,
            "verify",
            |engine, store| engine.call_verify(store, &instance, &login, password.expose(),)
        );
        call.answer(outcome)
    }

    async fn rotate(
        &self,
        context: &InstanceContext,
        login: &Login,
        password: &Secret,
    ) -> Result<()> {
        self.build.forget(context.id);
        let scope = talk(&self.directories, context, [password])?;
        let instance = convert::instance(context, &scope.network);
        let login = convert::login_out(login);
        let (call, outcome) = call!(
            self.credentials,
            Pace::Talk,
            scope,
            "rotate",
            |engine, store| engine.call_rotate(store, &instance, &login, password.expose(),)
        );
        call.answer(outcome)
    }
}
