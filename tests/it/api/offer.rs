//! The fake plugins with a richer catalogue: versions of every stage, and programs that are missing.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use berth::model::instance::{Endpoint, Spec};
use berth::model::plugin::{
    Connection, EngineDescription, EngineVersion, InstanceContext, Login, Observation,
    PluginStatus, Stage,
};
use berth::model::workload::Workload;
use berth::model::{Digest, Error, FieldProblem, InstanceId, Result, Secret};
use berth::runtime::{Engine, MissingProgram, Plugins, Settings, Target, Users};
use berth_tests::fake::{FakePlugins, World};
use tokio::sync::watch;

use super::few_users::{FewUsers, Said};

/// What the tests ask for by default.
pub const ENGINE: &str = "fake";

pub struct Offer {
    pub fakes: FakePlugins,
    engine: Arc<Shown>,
    missing: Mutex<BTreeSet<String>>,
    panics: AtomicBool,
}

/// The fake engine under another description.
struct Shown {
    inner: Arc<dyn Engine>,
    description: EngineDescription,
    users: FewUsers,
    /// Passwords are set, and nobody learns of it.
    loses_answers: AtomicBool,
    /// Passwords are not set before this is false.
    holds: watch::Sender<bool>,
}

impl Offer {
    pub fn new(world: &World) -> Self {
        let fakes = FakePlugins::new(world);
        let inner = fakes.engine(ENGINE).unwrap();
        let mut description = inner.description().clone();
        let settings = description.versions[0].settings.clone();
        description.versions = [
            ("5", Stage::Beta),
            ("4", Stage::Stable),
            ("3", Stage::Stable),
            ("2", Stage::Stable),
            ("1", Stage::Disabled),
        ]
        .map(|(label, stage)| EngineVersion {
            label: label.to_owned(),
            stage,
            released: "2024-01-01".to_owned(),
            end_of_life: "2099-01-01".to_owned(),
            upgrades_to: Vec::new(),
            programs: vec!["fake-server".to_owned()],
            settings: settings.clone(),
        })
        .into();
        Self {
            fakes,
            engine: Arc::new(Shown {
                users: FewUsers::of(inner.clone()),
                inner,
                description,
                loses_answers: AtomicBool::new(false),
                holds: watch::Sender::new(false),
            }),
            missing: Mutex::new(["4".to_owned()].into()),
            panics: AtomicBool::new(false),
        }
    }

    /// Versions that cannot run here. At first it is the newest stable one.
    pub fn lacks(&self, versions: &[&str]) {
        let versions = versions.iter().map(|v| (*v).to_owned());
        *self.missing.lock().unwrap() = versions.collect();
    }

    /// Let whoever asks about the plugins meet a defect.
    pub fn panic(&self, panics: bool) {
        self.panics.store(panics, Ordering::SeqCst);
    }

    pub fn hold_rotations(&self, hold: bool) {
        self.engine.holds.send_replace(hold);
    }

    /// Whether one is held.
    pub fn holds_a_rotation(&self) -> bool {
        self.engine.holds.receiver_count() > 0
    }

    /// What the engine says of a change of its users; of none it has none.
    pub fn users_say(&self, said: Option<Said>) {
        self.engine.users.say(said);
    }

    pub fn lose_answers(&self, lose: bool) {
        self.engine.loses_answers.store(lose, Ordering::SeqCst);
    }
}

impl Plugins for Offer {
    fn engine(&self, name: &str) -> Result<Arc<dyn Engine>> {
        assert!(
            !self.panics.load(Ordering::SeqCst),
            "a secret inside of berth"
        );
        self.fakes.engine(name)?;
        Ok(self.engine.clone())
    }

    fn engine_build(&self, digest: &Digest) -> Result<Arc<dyn Engine>> {
        self.fakes.engine_build(digest)?;
        Ok(self.engine.clone())
    }

    fn target(&self, name: &str) -> Result<Arc<dyn Target>> {
        self.fakes.target(name)
    }

    fn target_build(&self, digest: &Digest) -> Result<Arc<dyn Target>> {
        self.fakes.target_build(digest)
    }

    fn engines(&self) -> Vec<Arc<dyn Engine>> {
        vec![self.engine.clone()]
    }

    fn statuses(&self) -> Vec<PluginStatus> {
        assert!(
            !self.panics.load(Ordering::SeqCst),
            "a secret inside of berth"
        );
        self.fakes.statuses()
    }

    fn missing_programs(&self, programs: &[String], version: &str) -> Vec<MissingProgram> {
        if !self.missing.lock().unwrap().contains(version) {
            return Vec::new();
        }
        let missing = |program: &String| MissingProgram {
            program: program.clone(),
            version: version.to_owned(),
            install: Some(format!("get {program}-{version}")),
        };
        programs.iter().map(missing).collect()
    }
}

#[async_trait]
impl Engine for Shown {
    fn digest(&self) -> &Digest {
        self.inner.digest()
    }

    fn description(&self) -> &EngineDescription {
        &self.description
    }

    fn settings(&self) -> Option<&dyn Settings> {
        self.inner.settings()
    }

    fn users(&self) -> Option<&dyn Users> {
        let users: &dyn Users = &self.users;
        self.users.said().map(|_| users)
    }

    /// A rule of its own, told in the contract's names of fields.
    async fn validate(&self, _: InstanceId, spec: &Spec) -> Result<()> {
        if spec.is_sharded() && spec.name.as_str() == "whole" {
            let problem = FieldProblem::new("shards", "cannot be divided", "1");
            return Err(Error::invalid(vec![problem]));
        }
        if spec.name.as_str() != "template" {
            return Ok(());
        }
        Err(Error::invalid(vec![
            FieldProblem::new("slug", "is a name that the engine needs itself", "another"),
            FieldProblem::new("storage.bytes", "does not suit that name", ""),
        ]))
    }

    async fn plan(&self, id: InstanceId, spec: &Spec) -> Result<Workload> {
        self.inner.plan(id, spec).await
    }

    async fn bootstrap(&self, instance: &InstanceContext) -> Result<()> {
        self.inner.bootstrap(instance).await
    }

    async fn observe(&self, instance: &InstanceContext) -> Result<Vec<Observation>> {
        self.inner.observe(instance).await
    }

    async fn first_login(&self, id: InstanceId, spec: &Spec) -> Result<Login> {
        self.inner.first_login(id, spec).await
    }

    async fn connect(
        &self,
        id: InstanceId,
        spec: &Spec,
        endpoint: &Endpoint,
        login: &Login,
        password: &Secret,
    ) -> Result<Connection> {
        self.inner
            .connect(id, spec, endpoint, login, password)
            .await
    }

    async fn verify(
        &self,
        instance: &InstanceContext,
        login: &Login,
        password: &Secret,
    ) -> Result<bool> {
        self.inner.verify(instance, login, password).await
    }

    async fn rotate(
        &self,
        instance: &InstanceContext,
        login: &Login,
        password: &Secret,
    ) -> Result<()> {
        let mut held = self.holds.subscribe();
        held.wait_for(|held| !held).await.unwrap();
        self.inner.rotate(instance, login, password).await?;
        if self.loses_answers.load(Ordering::SeqCst) {
            return Err(Error::failed("the call took too long"));
        }
        Ok(())
    }
}
