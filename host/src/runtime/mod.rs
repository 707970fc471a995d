//! The plugin runtime: loads components, runs each call in a sandbox of its own, and gives them what they
//! were granted. Knows wasmtime, and no engine by name. Never imports the store or the operations.

mod abilities;
mod answers;
pub mod builds;
mod call;
pub mod capability;
mod check;
mod clocks;
mod compiled;
mod convert;
mod directories;
mod engine_adapter;
mod in_use;
mod limiter;
pub mod manifest;
mod on_call;
mod paths;
mod placeholder;
mod plugins;
mod pool;
pub mod programs;
mod registry;
pub mod sandbox;
pub mod scope;
mod sessions;
mod setting_schemas;
mod settings_adapter;
pub mod sockets;
mod target_adapter;
mod user_answers;
mod users_adapter;
mod weigh;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use crate::model::confinement::Confinement;
use crate::model::instance::{Endpoint, Spec};
use crate::model::plugin::{
    Connection, EngineDescription, InstanceContext, Login, Observation, PluginStatus,
    TargetContext, TargetDescription,
};
use crate::model::user::{LogicalDatabase, Permission, Privilege, User, UserChange};
use crate::model::workload::{MemberStatus, VolumeUsage, Workload};
use crate::model::{Digest, InstanceId, Result, Secret};

pub use in_use::InUse;
pub use manifest::Capability;
pub use on_call::{Called, Ending, OnCall};
pub use plugins::Runtime;
pub use programs::{Program, Programs, ProgramsError};
pub use registry::Timing;
pub use sandbox::Limits;
pub use scope::InstanceBounds;

/// What the runtime needs to know of the machine and of the operator's wishes.
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// Builds, compiled code, instances and sockets are kept below it.
    pub data_dir: PathBuf,
    /// Directories of instances of other storage classes; relative ones are below the data directory.
    pub storage: BTreeMap<String, PathBuf>,
    /// Where the operator puts components, `*.wasm`.
    pub plugins_dir: PathBuf,
    /// What each plugin, by the name in its manifest, may have of what it asks for.
    pub grants: BTreeMap<String, BTreeSet<Capability>>,
    pub programs: Programs,
    pub limits: Limits,
    /// How many components are compiled at once.
    pub compile_threads: usize,
    /// This very program, for the shims.
    pub berth_exe: PathBuf,
    pub bounds: InstanceBounds,
    pub on_call: OnCall,
}

/// One build of an engine. Two implementations: the component adapter, and the fakes of the tests.
#[async_trait]
pub trait Engine: Send + Sync {
    fn digest(&self) -> &Digest;
    fn description(&self) -> &EngineDescription;

    /// None when the engine lacks the ability.
    fn settings(&self) -> Option<&dyn Settings>;
    /// None when the engine lacks the ability.
    fn users(&self) -> Option<&dyn Users>;

    async fn validate(&self, id: InstanceId, spec: &Spec) -> Result<()>;
    async fn plan(&self, id: InstanceId, spec: &Spec) -> Result<Workload>;
    async fn bootstrap(&self, instance: &InstanceContext) -> Result<()>;
    async fn observe(&self, instance: &InstanceContext) -> Result<Vec<Observation>>;

    async fn first_login(&self, id: InstanceId, spec: &Spec) -> Result<Login>;
    async fn connect(
        &self,
        id: InstanceId,
        spec: &Spec,
        endpoint: &Endpoint,
        login: &Login,
        password: &Secret,
    ) -> Result<Connection>;
    async fn verify(
        &self,
        instance: &InstanceContext,
        login: &Login,
        password: &Secret,
    ) -> Result<bool>;
    async fn rotate(
        &self,
        instance: &InstanceContext,
        login: &Login,
        password: &Secret,
    ) -> Result<()>;
}

/// The ability of an engine to run with other settings.
#[async_trait]
pub trait Settings: Send + Sync {
    /// Have the running server take its files anew. Answers the names of the settings that wait for a restart.
    async fn reload(&self, instance: &InstanceContext) -> Result<Vec<String>>;
}

/// The ability of an engine to have users, logical databases and privileges. They are read from the server and
/// changed there, whole or not at all; names were checked where something is made.
#[async_trait]
pub trait Users: Send + Sync {
    async fn list_users(&self, instance: &InstanceContext) -> Result<Vec<User>>;
    async fn create_user(
        &self,
        instance: &InstanceContext,
        name: &str,
        password: &Secret,
        admin: bool,
    ) -> Result<User>;
    async fn change_user(
        &self,
        instance: &InstanceContext,
        name: &str,
        change: &UserChange,
    ) -> Result<User>;
    async fn delete_user(&self, instance: &InstanceContext, name: &str) -> Result<()>;

    /// Sizes are looked up when asked for: that reads the disk.
    async fn list_databases(
        &self,
        instance: &InstanceContext,
        sizes: bool,
    ) -> Result<Vec<LogicalDatabase>>;
    async fn create_database(
        &self,
        instance: &InstanceContext,
        name: &str,
    ) -> Result<LogicalDatabase>;
    async fn delete_database(&self, instance: &InstanceContext, name: &str) -> Result<()>;

    async fn list_privileges(
        &self,
        instance: &InstanceContext,
        user: Option<&str>,
        database: Option<&str>,
    ) -> Result<Vec<Privilege>>;
    async fn set_privilege(
        &self,
        instance: &InstanceContext,
        user: &str,
        database: &str,
        permission: Permission,
    ) -> Result<Privilege>;
}

/// One build of an infrastructure target.
#[async_trait]
pub trait Target: Send + Sync {
    fn digest(&self) -> &Digest;
    fn description(&self) -> &TargetDescription;
    /// Names and versions of the programs that it runs itself, beside those of the workload.
    fn own_programs(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    async fn apply(&self, context: &TargetContext) -> Result<()>;
    async fn observe(&self, context: &TargetContext) -> Result<Vec<MemberStatus>>;
    /// Let clients in from the context's networks and from no other; who came from elsewhere is cut.
    async fn set_access(&self, context: &TargetContext) -> Result<()>;
    async fn start(&self, context: &TargetContext) -> Result<()>;
    async fn stop(&self, context: &TargetContext) -> Result<()>;
    async fn remove(&self, context: &TargetContext) -> Result<()>;
    async fn logs(&self, context: &TargetContext, member: &str, max_bytes: u32) -> Result<String>;
    async fn usage(&self, context: &TargetContext) -> Result<Vec<VolumeUsage>>;
}

/// What is loaded, and what can run here.
pub trait Plugins: Send + Sync {
    /// The live build of an engine. `Unavailable` while it compiles, `NotFound` when there is none.
    fn engine(&self, name: &str) -> Result<Arc<dyn Engine>>;
    /// A build that an instance or operation names, live or kept.
    fn engine_build(&self, digest: &Digest) -> Result<Arc<dyn Engine>>;
    fn target(&self, name: &str) -> Result<Arc<dyn Target>>;
    fn target_build(&self, digest: &Digest) -> Result<Arc<dyn Target>>;
    /// Live engines, by name.
    fn engines(&self) -> Vec<Arc<dyn Engine>>;
    /// Every file that was found, also what was refused or is gone while instances depend on it.
    fn statuses(&self) -> Vec<PluginStatus>;
    /// What keeps these programs from running here in this version, what targets run beside them among it: each
    /// missing one with the command that installs it. Empty when all are there.
    fn missing_programs(&self, programs: &[String], version: &str) -> Vec<MissingProgram>;
    /// See that instances of this storage class can be kept on this machine now.
    fn check_storage(&self, _class: &str) -> Result<()> {
        Ok(())
    }
    /// How the members of an instance on this machine are held, as far as that is recorded. Reads files.
    fn confinement(&self, _instance: InstanceId) -> Vec<Confinement> {
        Vec::new()
    }
}

/// A program that the machine lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingProgram {
    pub program: String,
    pub version: String,
    /// The command that installs it, when the configuration knows one.
    pub install: Option<String>,
}
