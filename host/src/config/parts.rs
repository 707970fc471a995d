//! From the operator's settings to what each subsystem is given.

use std::path::Path;

use nix::unistd::geteuid;

use super::Config;
use crate::api::{CallerLimits, Pace};
use crate::model::project::Project;
use crate::model::resources::{DEFAULT_STORAGE_CLASS, NodeSize};
use crate::model::{Error, NodeName, ProjectId, Result};
use crate::operations::NodeConfig;
use crate::runtime::{InstanceBounds, Limits, OnCall, Programs, ProgramsError, RuntimeConfig};
use crate::service::Catalogue;
use crate::service::catalogue::{NodeType, StorageBounds};
use crate::supervisor::SupervisorConfig;
use crate::telemetry::Traces;

const MIB: u64 = 1 << 20;
const GB: u64 = 1_000_000_000;

impl Config {
    pub fn callers(&self) -> CallerLimits {
        let callers = &self.callers;
        CallerLimits {
            requests: Pace {
                per_second: callers.requests_per_second,
                burst: callers.burst,
            },
            concurrent: callers.concurrent,
            strangers: Pace {
                per_second: callers.strangers_per_second,
                burst: callers.strangers_burst,
            },
        }
    }

    pub fn traces(&self) -> Option<Traces> {
        let endpoint = self.traces.otlp_endpoint.clone()?;
        Some(Traces {
            endpoint,
            sample_percent: self.traces.sample_percent,
            node: self.node.name.clone(),
        })
    }

    pub fn node(&self) -> NodeConfig {
        let node = &self.node;
        NodeConfig {
            endpoint_address: node.endpoint_address,
            public_address: node.public_address(),
            ports: node.ports.inclusive(),
            // Nobody but root can give a process another user.
            uids: geteuid().is_root().then(|| node.uids.inclusive()),
            concurrency: self.operations.concurrency,
            create_deadline: self.operations.create_deadline,
            shutdown_grace: self.server.shutdown_grace,
            ..NodeConfig::local(NodeName::new(node.name.clone()))
        }
    }

    pub fn supervisor(&self) -> SupervisorConfig {
        let node = NodeName::new(self.node.name.clone());
        SupervisorConfig {
            period: self.supervisor.period,
            engine_every: self.supervisor.engine_every,
            usage_every: self.supervisor.usage_every,
            retention: self.operations.keep_deleted,
            ..SupervisorConfig::new(node)
        }
    }

    pub fn catalogue(&self) -> Catalogue {
        let regions = self.regions.iter();
        let plans = self.plans.iter().map(|(name, plan)| {
            let size = NodeSize {
                cpu_millis: plan.cpu_millis,
                memory_bytes: plan.memory_mib.saturating_mul(MIB),
            };
            (name.clone(), size)
        });
        let node_types = self.node_types.iter().map(|(name, node)| {
            let node = NodeType {
                size: NodeSize {
                    cpu_millis: node.vcpus.saturating_mul(1000),
                    memory_bytes: node.memory_gb.saturating_mul(GB),
                },
                vcpus: node.vcpus,
                local_gb: node.local_gb,
                description: node.description.clone(),
                generation: node.generation,
                range: node.range.clone(),
                disabled: node.disabled,
                beta: node.beta,
                stock: node.stock,
            };
            (name.clone(), node)
        });
        let projects = self.projects.iter().map(|(alias, project)| Project {
            id: ProjectId(project.id),
            alias: alias.clone(),
            organization: project.organization,
            max_instances: project.max_instances,
            max_storage_gb: project.max_storage_gb,
        });
        Catalogue {
            regions: regions
                .map(|(name, region)| (name.clone(), region.target.clone()))
                .collect(),
            plans: plans.collect(),
            storage_classes: self
                .storage
                .classes
                .keys()
                .cloned()
                .chain([DEFAULT_STORAGE_CLASS.to_owned()])
                .collect(),
            node_types: node_types.collect(),
            storage: StorageBounds {
                default_gb: self.storage.default_gb,
                min_gb: self.storage.min_gb,
                max_gb: self.storage.max_gb,
            },
            projects: projects.collect(),
        }
    }

    pub fn runtime(&self, data_dir: &Path, plugins_dir: &Path) -> Result<RuntimeConfig> {
        let sandbox = &self.sandbox;
        let memory_bytes = usize::try_from(sandbox.memory_mib.saturating_mul(MIB));
        Ok(RuntimeConfig {
            data_dir: data_dir.to_owned(),
            storage: self
                .storage
                .classes
                .iter()
                .map(|(class, storage)| (class.clone(), storage.dir.clone()))
                .collect(),
            plugins_dir: plugins_dir.to_owned(),
            grants: self.grants.clone(),
            programs: self
                .programs()
                .map_err(|error| Error::failed(error.to_string()))?,
            limits: Limits {
                memory_bytes: memory_bytes.unwrap_or(usize::MAX),
                compute: sandbox.compute_timeout,
                talk: sandbox.talk_timeout,
                concurrent: sandbox.concurrent_calls,
                kept: sandbox.kept_sessions,
                idle: sandbox.session_idle,
            },
            compile_threads: sandbox.compile_threads,
            // Not the path it was started by: an upgrade may have put another build there.
            berth_exe: "/proc/self/exe".into(),
            bounds: InstanceBounds {
                limits: self.node.limits,
                confinement: self.node.confinement,
                // Without root it is readable for the one user that databases run as too.
                hidden: self.server.tls_key.iter().cloned().collect(),
            },
            on_call: OnCall::default(),
        })
    }

    /// The project of the first key.
    pub fn default_project(&self) -> Result<ProjectId> {
        let project = self.projects.get(&self.default_project);
        project.map(|project| ProjectId(project.id)).ok_or_else(|| {
            Error::failed(format!(
                "`default_project` {:?} is not a project",
                self.default_project
            ))
        })
    }

    /// The operator's programs over the usual places.
    pub(super) fn programs(&self) -> Result<Programs, ProgramsError> {
        let usual = Programs::from_toml(include_str!("../../data/programs.toml"))?;
        Ok(usual.overridden_by(Programs::new(self.program.iter().cloned())?))
    }
}
