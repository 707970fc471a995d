//! Between the model and the words of the contract. What comes from a component is bounded here, and
//! checked in `check`.

use std::time::Duration;

use berth_bindings::engine::berth::plugin::types as wit;
use berth_bindings::engine::exports::berth::plugin::{catalog, credentials, provisioning};
use berth_bindings::target::exports::berth::plugin::infrastructure;

use crate::model::access;
use crate::model::instance::{Endpoint, Spec};
use crate::model::plugin::{
    EngineDescription, EngineVersion, InstanceContext, Login, Observation, Role, Secrets, Stage,
    TargetContext, TargetDescription,
};
use crate::model::setting::{Pattern, SettingKind, SettingSchema};
use crate::model::user::NameRules;
use crate::model::workload::{
    Command, EndpointPlan, File, Init, Member, MemberState, Port, SecretKind, SecretRequest, Stop,
    Volume, VolumeUsage, Workload,
};
use crate::model::{ConflictReason, Error, FieldProblem, InstanceId, Result};
use crate::runtime::capability::log::one_line;
use crate::runtime::scope::Redactor;
use crate::runtime::setting_schemas;
use crate::runtime::sockets::Network;

const GIB: u64 = crate::model::resources::GIB;
const MESSAGE_BYTES: usize = 1 << 10;
/// Of each of the texts of one of many problems.
const PROBLEM_BYTES: usize = 256;
const PROBLEMS: usize = 32;

/// A component's error, as a caller may read it.
pub(super) fn error(error: wit::Error, redactor: &Redactor) -> Error {
    let clean = |text: &str| one_line(&redactor.clean(text), MESSAGE_BYTES);
    let short = |text: &str| one_line(&redactor.clean(text), PROBLEM_BYTES);
    match error {
        wit::Error::Invalid(problems) if problems.is_empty() => {
            Error::failed("the plugin refused the request without saying why")
        }
        wit::Error::Invalid(problems) => Error::invalid(
            problems
                .iter()
                .take(PROBLEMS)
                .map(|p| FieldProblem::new(short(&p.field), short(&p.reason), short(&p.help)))
                .collect(),
        ),
        wit::Error::NotFound(message) => Error::not_found(clean(&message)),
        wit::Error::Conflict(message) => Error::conflict(ConflictReason::NotReady, clean(&message)),
        wit::Error::AlreadyExists(message) => {
            Error::conflict(ConflictReason::AlreadyExists, clean(&message))
        }
        wit::Error::Unsupported(message) => Error::unsupported(clean(&message)),
        wit::Error::RetryAfter(retry) => Error::retry(
            Duration::from_millis(u64::from(retry.after_ms.clamp(10, 60_000))),
            clean(&retry.reason),
        ),
        wit::Error::Failed(message) => Error::failed(clean(&message)),
    }
}

pub(super) fn spec(id: InstanceId, slug: String, spec: &Spec) -> wit::Spec {
    wit::Spec {
        id: id.to_string(),
        name: spec.name.as_str().to_owned(),
        slug,
        version: spec.version.clone(),
        node: wit::NodeSize {
            cpu_millis: spec.size.cpu_millis,
            memory_bytes: spec.size.memory_bytes,
        },
        storage_bytes: u64::from(spec.storage_gb) * GIB,
        members: spec.replicas,
        shards: spec.shards,
        user: spec.user.clone(),
        database: spec.database.clone(),
        settings: settings(&spec.settings),
        init_settings: settings(&spec.init_settings),
    }
}

fn settings(chosen: &[(String, String)]) -> Vec<wit::Setting> {
    chosen
        .iter()
        .map(|(name, value)| wit::Setting {
            name: name.clone(),
            value: value.clone(),
        })
        .collect()
}

pub(super) fn instance(context: &InstanceContext, network: &Network) -> wit::Instance {
    wit::Instance {
        spec: spec(context.id, context.slug.clone(), &context.spec),
        members: network
            .addresses()
            .map(|(member, port_name, address)| wit::MemberAddress {
                member: member.to_owned(),
                port_name: port_name.to_owned(),
                address: address.to_string(),
            })
            .collect(),
        endpoints: context.endpoints.iter().map(endpoint).collect(),
        secrets: secrets(&context.secrets),
    }
}

pub(super) fn deployment(context: &TargetContext) -> infrastructure::Deployment {
    infrastructure::Deployment {
        key: context.key.clone(),
        workload: workload_out(&context.workload),
        endpoints: context.endpoints.iter().map(endpoint).collect(),
        secrets: secrets(&context.secrets),
        access: access(&context.access),
    }
}

pub(super) fn access(networks: &[access::Network]) -> Vec<String> {
    networks.iter().map(access::Network::to_string).collect()
}

pub(super) fn endpoint(endpoint: &Endpoint) -> wit::Endpoint {
    wit::Endpoint {
        name: endpoint.name.clone(),
        member: endpoint.member.clone(),
        port_name: endpoint.port_name.clone(),
        bind_address: endpoint.bind_address.clone(),
        host: endpoint.host.clone(),
        port: endpoint.port,
        inner_port: endpoint.inner_port,
        for_members: endpoint.for_members,
    }
}

fn secrets(secrets: &Secrets) -> Vec<wit::Secret> {
    secrets
        .iter()
        .map(|(name, value)| wit::Secret {
            name: name.clone(),
            value: value.expose().to_owned(),
        })
        .collect()
}

pub(super) fn login_out(login: &Login) -> credentials::Login {
    credentials::Login {
        user: login.user.clone(),
        database: login.database.clone(),
        secret: login.secret.clone(),
    }
}

pub(super) fn login(login: credentials::Login) -> Login {
    Login {
        user: login.user,
        database: login.database,
        secret: login.secret,
    }
}

pub(super) fn observation(seen: provisioning::MemberObservation) -> Observation {
    Observation {
        member: seen.member,
        role: match seen.role {
            provisioning::Role::Primary => Role::Primary,
            provisioning::Role::Replica => Role::Replica,
        },
        ready: seen.ready,
        data_bytes: seen.data_bytes,
        connections: seen.connections,
        version: one_line(&seen.version, 64),
    }
}

pub(super) fn engine_description(described: catalog::Description) -> Result<EngineDescription> {
    setting_schemas::bounded(&described)?;
    let versions = described.versions.into_iter().map(engine_version);
    Ok(EngineDescription {
        name: described.name,
        title: described.title,
        summary: described.summary,
        versions: versions.collect::<Result<_>>()?,
        default_port: described.default_port,
        minimum_memory_bytes: described.minimum_memory_bytes,
        user_names: name_rules(described.user_names),
        database_names: name_rules(described.database_names),
    })
}

fn engine_version(version: catalog::Version) -> Result<EngineVersion> {
    let settings = version.settings.into_iter().map(setting_schema);
    Ok(EngineVersion {
        stage: match version.stage {
            catalog::Stage::Stable => Stage::Stable,
            catalog::Stage::Beta => Stage::Beta,
            catalog::Stage::Disabled => Stage::Disabled,
        },
        released: version.released,
        end_of_life: version.end_of_life,
        upgrades_to: version.upgrades_to,
        programs: version.programs,
        settings: settings.collect::<Result<_>>()?,
        label: version.label,
    })
}

fn setting_schema(schema: catalog::SettingSchema) -> Result<SettingSchema> {
    let name = schema.name;
    let kind = match schema.type_ {
        catalog::SettingType::Boolean => SettingKind::Boolean,
        catalog::SettingType::Integer(bounds) => SettingKind::Integer {
            minimum: bounds.minimum,
            maximum: bounds.maximum,
        },
        catalog::SettingType::Number(bounds) => SettingKind::Number {
            minimum: bounds.minimum,
            maximum: bounds.maximum,
        },
        catalog::SettingType::Text(None) => SettingKind::Text(None),
        catalog::SettingType::Text(Some(text)) => {
            let pattern = Pattern::new(&text).map_err(|cause| {
                let name = one_line(&name, 64);
                let message = format!("the setting {name:?} has a pattern that cannot be used");
                Error::failed(message).caused_by(cause)
            })?;
            SettingKind::Text(Some(pattern))
        }
    };
    Ok(SettingSchema {
        name,
        description: schema.description,
        kind,
        default: schema.default_value,
        unit: schema.unit,
        live: schema.live,
        init_only: schema.init_only,
    })
}

fn name_rules(rules: catalog::NameRules) -> NameRules {
    NameRules {
        longest: rules.longest,
        reserved_prefixes: rules.reserved_prefixes,
        reserved: rules.reserved,
    }
}

pub(super) fn target_description(described: infrastructure::Description) -> TargetDescription {
    TargetDescription {
        name: described.name,
        title: described.title,
        needs_host_ports: described.needs_host_ports,
        needs_inner_ports: described.needs_inner_ports,
    }
}

pub(super) fn member_state(state: infrastructure::MemberState) -> MemberState {
    match state {
        infrastructure::MemberState::Absent => MemberState::Absent,
        infrastructure::MemberState::Initialising => MemberState::Initialising,
        infrastructure::MemberState::Running(for_ms) => MemberState::Running { for_ms },
        infrastructure::MemberState::Restarting(why) => {
            MemberState::Restarting(one_line(&why, MESSAGE_BYTES))
        }
        infrastructure::MemberState::Failed(why) => {
            MemberState::Failed(one_line(&why, 4 * MESSAGE_BYTES))
        }
        infrastructure::MemberState::Stopped => MemberState::Stopped,
    }
}

pub(super) fn volume_usage(usage: infrastructure::VolumeUsage) -> VolumeUsage {
    VolumeUsage {
        member: usage.member,
        volume: usage.volume,
        used_bytes: usage.used_bytes,
        size_bytes: usage.size_bytes,
    }
}

pub(super) fn workload(planned: wit::Workload) -> Workload {
    let member = |member: wit::Member| Member {
        name: member.name,
        main: command(member.main),
        init: member.init.map(|init| Init {
            volume: init.volume,
            tasks: init.tasks.into_iter().map(command).collect(),
        }),
        files: member
            .files
            .into_iter()
            .map(|file| File {
                name: file.name,
                content: file.content,
                sensitive: file.sensitive,
            })
            .collect(),
        volumes: member
            .volumes
            .into_iter()
            .map(|volume| Volume {
                name: volume.name,
                size_bytes: volume.size_bytes,
            })
            .collect(),
        ports: member
            .ports
            .into_iter()
            .map(|port| Port {
                name: port.name,
                number: port.number,
                socket: port.socket,
            })
            .collect(),
        stale_files: member.stale_files,
        stop: Stop {
            signal: member.stop.signal,
            grace_ms: member.stop.grace_ms,
        },
    };
    Workload {
        members: planned.members.into_iter().map(member).collect(),
        endpoints: planned
            .endpoints
            .into_iter()
            .map(|endpoint| EndpointPlan {
                name: endpoint.name,
                member: endpoint.member,
                port: endpoint.port,
                for_members: endpoint.for_members,
            })
            .collect(),
        secrets: planned
            .secrets
            .into_iter()
            .map(|secret| SecretRequest {
                name: secret.name,
                kind: match secret.kind {
                    wit::SecretKind::Password(length) => SecretKind::Password(length),
                    wit::SecretKind::Certificate(days) => SecretKind::Certificate(days),
                },
            })
            .collect(),
    }
}

fn command(command: wit::Command) -> Command {
    Command {
        program: command.program,
        version: command.version,
        args: command.args,
        env: command.env,
    }
}

pub(super) fn workload_out(workload: &Workload) -> wit::Workload {
    let member = |member: &Member| wit::Member {
        name: member.name.clone(),
        main: command_out(&member.main),
        init: member.init.as_ref().map(|init| wit::Init {
            volume: init.volume.clone(),
            tasks: init.tasks.iter().map(command_out).collect(),
        }),
        files: member
            .files
            .iter()
            .map(|file| wit::File {
                name: file.name.clone(),
                content: file.content.clone(),
                sensitive: file.sensitive,
            })
            .collect(),
        volumes: member
            .volumes
            .iter()
            .map(|volume| wit::Volume {
                name: volume.name.clone(),
                size_bytes: volume.size_bytes,
            })
            .collect(),
        ports: member
            .ports
            .iter()
            .map(|port| wit::Port {
                name: port.name.clone(),
                number: port.number,
                socket: port.socket.clone(),
            })
            .collect(),
        stale_files: member.stale_files.clone(),
        stop: wit::Stop {
            signal: member.stop.signal.clone(),
            grace_ms: member.stop.grace_ms,
        },
    };
    wit::Workload {
        members: workload.members.iter().map(member).collect(),
        endpoints: workload
            .endpoints
            .iter()
            .map(|endpoint| wit::EndpointPlan {
                name: endpoint.name.clone(),
                member: endpoint.member.clone(),
                port: endpoint.port.clone(),
                for_members: endpoint.for_members,
            })
            .collect(),
        secrets: workload
            .secrets
            .iter()
            .map(|secret| wit::SecretRequest {
                name: secret.name.clone(),
                kind: match secret.kind {
                    SecretKind::Password(length) => wit::SecretKind::Password(length),
                    SecretKind::Certificate(days) => wit::SecretKind::Certificate(days),
                },
            })
            .collect(),
    }
}

fn command_out(command: &Command) -> wit::Command {
    wit::Command {
        program: command.program.clone(),
        version: command.version.clone(),
        args: command.args.clone(),
        env: command.env.clone(),
    }
}
