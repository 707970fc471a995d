//! A target component as the host sees it: each call of the trait is one sandbox, which sees the files and
//! processes of the one instance that the call is about.

use std::sync::Arc;

use async_trait::async_trait;
use berth_bindings::target::TargetPre;
use berth_bindings::target::exports::berth::plugin::infrastructure::{self, Dial as WitDial};
use wasmtime::component::InstancePre;

use crate::model::plugin::{TargetContext, TargetDescription};
use crate::model::workload::{Dial, MemberStatus, VolumeUsage};
use crate::model::{Digest, Error, Result};

use super::call::{Build, Pace, call};
use super::capability::process::{self, Ended};
use super::sandbox::State;
use super::scope::{CallScope, Machine, ProcessScope, Redactor};
use super::sockets::{Destination, Network};
use super::{Target, answers, convert};

/// Most bytes of a log in one answer.
const LOG_BYTES: u32 = 1 << 20;

pub(super) struct ComponentTarget {
    build: Build,
    pre: InstancePre<State>,
    exports: infrastructure::GuestIndices,
    description: TargetDescription,
    machine: Arc<Machine>,
}

impl ComponentTarget {
    /// Ask the component what it is, and take it if the answer is sound.
    pub async fn load(build: Build, pre: TargetPre<State>, machine: Arc<Machine>) -> Result<Self> {
        let pre = pre.instance_pre().clone();
        let exports = infrastructure::GuestIndices::new(&pre);
        let exports = exports.map_err(|e| Error::internal(format!("{e:#}")))?;
        let asked = Asked {
            build: &build,
            pre: &pre,
            exports: &exports,
        };
        let describe = async || {
            let (call, outcome) = call!(
                asked.exports,
                Pace::Compute,
                CallScope::default(),
                "describe",
                |target, store| target.call_describe(store)
            );
            let late = outcome.is_err();
            let described = call.value(outcome).map(convert::target_description);
            described.map_err(|error| answers::in_time(error, late))
        };
        let described = answers::unchanging(describe().await?, describe().await?, &build.manifest)?;
        let description = answers::target_description(described, &build.manifest)?;
        Ok(Self {
            build,
            pre,
            exports,
            description,
            machine,
        })
    }

    async fn scope(&self, context: &TargetContext) -> Result<CallScope> {
        Ok(scope(context, self.processes(context).await?))
    }

    /// An error while the storage class of the instance cannot be used: what cannot be seen is not gone.
    async fn processes(&self, context: &TargetContext) -> Result<ProcessScope> {
        let TargetContext {
            instance,
            uid,
            storage_class,
            ..
        } = context;
        let directories = &self.machine.directories;
        Ok(ProcessScope {
            instance: *instance,
            files: directories.of_class(storage_class, *instance, *uid)?,
            allowed: self.machine.builds.programs_of(&context.engine).await,
            own: self.build.manifest.programs().map(str::to_owned).collect(),
            programs: Arc::clone(&self.machine.programs),
            berth_exe: self.machine.berth_exe.clone(),
            size: context.size,
            bounds: Arc::clone(&self.machine.bounds),
        })
    }

    /// A dial that was checked to be the instance's own.
    fn dial(&self, dial: WitDial, context: &TargetContext) -> Result<Dial> {
        let dial = match dial {
            WitDial::Unix(name) => Dial::Unix(name),
            WitDial::Tcp(address) => Dial::Tcp(address.parse().map_err(|_| {
                Error::failed(format!(
                    "the plugin `{}` answered with an address that is not `IP:PORT`",
                    self.build.manifest.name
                ))
            })?),
        };
        let files = self.machine.directories.of(context.instance, context.uid);
        Destination::checked(&dial, &context.endpoints, &files)?;
        Ok(dial)
    }
}

/// What `call!` needs of an adapter.
struct Asked<'a> {
    build: &'a Build,
    pre: &'a InstancePre<State>,
    exports: &'a infrastructure::GuestIndices,
}

#[async_trait]
impl Target for ComponentTarget {
    fn digest(&self) -> &Digest {
        &self.build.digest
    }

    fn description(&self) -> &TargetDescription {
        &self.description
    }

    fn own_programs(&self) -> Vec<(String, String)> {
        let programs = self.build.manifest.own_programs();
        programs
            .map(|(name, version)| (name.to_owned(), version.to_owned()))
            .collect()
    }

    async fn apply(&self, context: &TargetContext) -> Result<()> {
        self.build.forget(context.instance);
        let scope = self.scope(context).await?;
        let deployment = convert::deployment(context);
        let (call, outcome) = call!(self.exports, Pace::Talk, scope, "apply", |target, store| {
            target.call_apply(store, &deployment)
        });
        call.answer(outcome)
    }

    async fn set_access(&self, context: &TargetContext) -> Result<()> {
        let scope = self.scope(context).await?;
        let workload = convert::workload_out(&context.workload);
        let endpoints: Vec<_> = context.endpoints.iter().map(convert::endpoint).collect();
        let access = convert::access(&context.access);
        let (call, outcome) = call!(
            self.exports,
            Pace::Talk,
            scope,
            "set-access",
            |target, store| target.call_set_access(store, &workload, &endpoints, &access)
        );
        call.answer(outcome)
    }

    async fn observe(&self, context: &TargetContext) -> Result<Vec<MemberStatus>> {
        let scope = self.scope(context).await?;
        let workload = convert::workload_out(&context.workload);
        let endpoints: Vec<_> = context.endpoints.iter().map(convert::endpoint).collect();
        let (call, outcome) = call!(
            self.exports,
            Pace::Talk,
            scope,
            "observe",
            |target, store| target.call_observe(store, &workload, &endpoints)
        );
        let statuses = call
            .answer(outcome)?
            .into_iter()
            .map(|status| {
                let dials = status
                    .dials
                    .into_iter()
                    .map(|(port, dial)| Ok((port, self.dial(dial, context)?)))
                    .collect::<Result<_>>()?;
                Ok(MemberStatus {
                    member: status.member,
                    state: convert::member_state(status.state),
                    dials,
                    restarts: status.restarts,
                })
            })
            .collect::<Result<_>>()?;
        answers::statuses(statuses, &context.workload, &self.build.manifest)
    }

    async fn start(&self, context: &TargetContext) -> Result<()> {
        self.build.forget(context.instance);
        let scope = self.scope(context).await?;
        let workload = convert::workload_out(&context.workload);
        let (call, outcome) = call!(self.exports, Pace::Talk, scope, "start", |target, store| {
            target.call_start(store, &workload)
        });
        call.answer(outcome)
    }

    async fn stop(&self, context: &TargetContext) -> Result<()> {
        self.build.forget(context.instance);
        let processes = self.processes(context).await?;
        let scope = scope(context, processes.clone());
        let workload = convert::workload_out(&context.workload);
        let (call, outcome) = call!(self.exports, Pace::Talk, scope, "stop", |target, store| {
            target.call_stop(store, &workload)
        });
        call.answer(outcome)?;
        process::see_ended(processes, Ended::Stopped).await
    }

    async fn remove(&self, context: &TargetContext) -> Result<()> {
        self.build.forget(context.instance);
        let processes = self.processes(context).await?;
        let scope = scope(context, processes.clone());
        let (call, outcome) = call!(
            self.exports,
            Pace::Talk,
            scope,
            "remove",
            |target, store| target.call_remove(store)
        );
        call.answer(outcome)?;
        process::see_ended(processes, Ended::Removed).await
    }

    async fn logs(&self, context: &TargetContext, member: &str, max_bytes: u32) -> Result<String> {
        let max_bytes = max_bytes.min(LOG_BYTES);
        let scope = self.scope(context).await?;
        let redactor = scope.redactor.clone();
        let (call, outcome) = call!(self.exports, Pace::Talk, scope, "logs", |target, store| {
            target.call_logs(store, member, max_bytes)
        });
        let text = call.answer(outcome)?;
        Ok(answers::log_tail(&redactor.clean(&text), max_bytes))
    }

    async fn usage(&self, context: &TargetContext) -> Result<Vec<VolumeUsage>> {
        let scope = self.scope(context).await?;
        let workload = convert::workload_out(&context.workload);
        let (call, outcome) = call!(self.exports, Pace::Talk, scope, "usage", |target, store| {
            target.call_usage(store, &workload)
        });
        let usage = call
            .answer(outcome)?
            .into_iter()
            .map(convert::volume_usage)
            .collect();
        answers::usage(usage, &context.workload, &self.build.manifest)
    }
}

/// What a call about this instance sees.
fn scope(context: &TargetContext, processes: ProcessScope) -> CallScope {
    let files = processes.files.clone();
    CallScope {
        instance: Some(context.instance),
        key: Some(context.key.clone()),
        process: Some(processes),
        network: Network::of_target(&files),
        files: Some(files),
        redactor: Redactor::new(&context.secrets, None),
        session: None,
    }
}
