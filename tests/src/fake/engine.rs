//! An engine over the fake machine: one server, one user, and a certificate.

use async_trait::async_trait;
use berth::model::instance::{Endpoint, Spec};
use berth::model::plugin::{
    Connection, EngineDescription, EngineVersion, InstanceContext, Login, Observation, Role, Stage,
};
use berth::model::resources::GIB;
use berth::model::setting::{SettingKind, SettingSchema};
use berth::model::user::NameRules;
use berth::model::workload::{
    Command, EndpointPlan, Member, Port, SecretKind, SecretRequest, Stop, Volume, Workload,
};
use berth::model::{Digest, Error, InstanceId, Result, Secret};
use berth::runtime::{Engine, Settings, Users};

use super::world::{Call, World};

pub const ENGINE: &str = "fake";
pub const VERSION: &str = "1";
const USER: &str = "app_user";
const PASSWORD: &str = "app";

pub struct FakeEngine {
    world: World,
    digest: Digest,
    description: EngineDescription,
}

impl FakeEngine {
    pub fn new(world: World) -> Self {
        Self {
            world,
            digest: Digest::from_hex("e".repeat(64)),
            description: EngineDescription {
                name: ENGINE.to_owned(),
                title: "Fake".to_owned(),
                summary: "An engine for tests.".to_owned(),
                versions: vec![EngineVersion {
                    label: VERSION.to_owned(),
                    stage: Stage::Stable,
                    released: "2024-01-01".to_owned(),
                    end_of_life: "2099-01-01".to_owned(),
                    upgrades_to: Vec::new(),
                    programs: vec!["fake-server".to_owned()],
                    settings: settings(),
                }],
                default_port: 7000,
                minimum_memory_bytes: GIB / 4,
                user_names: names(),
                database_names: names(),
            },
        }
    }
}

#[async_trait]
impl Engine for FakeEngine {
    fn digest(&self) -> &Digest {
        &self.digest
    }

    fn description(&self) -> &EngineDescription {
        &self.description
    }

    fn settings(&self) -> Option<&dyn Settings> {
        Some(self)
    }

    fn users(&self) -> Option<&dyn Users> {
        None
    }

    async fn validate(&self, _: InstanceId, spec: &Spec) -> Result<()> {
        if spec.version == VERSION {
            return Ok(());
        }
        Err(Error::invalid_field("version", "is not known", "1"))
    }

    async fn plan(&self, _: InstanceId, spec: &Spec) -> Result<Workload> {
        let workload = workload(spec);
        self.world.call(Call::Plan, |_| Ok(workload)).await
    }

    async fn bootstrap(&self, instance: &InstanceContext) -> Result<()> {
        self.world
            .call(Call::Bootstrap, |machine| {
                if instance.dials.is_empty() {
                    machine.forbid(format!(
                        "{} was bootstrapped without a way to it",
                        instance.id
                    ));
                }
                let user = instance.spec.user.as_deref().unwrap_or(USER);
                machine.bootstrap(instance.id, user, &instance.secrets, PASSWORD);
                Ok(())
            })
            .await
    }

    async fn observe(&self, instance: &InstanceContext) -> Result<Vec<Observation>> {
        if self.world.hangs(instance.id) {
            std::future::pending::<()>().await;
        }
        self.world
            .call(Call::EngineObserve, |machine| {
                let live = machine.live.get(&instance.id);
                Ok(vec![Observation {
                    member: "main".to_owned(),
                    role: Role::Primary,
                    ready: live.is_some_and(|live| live.running),
                    data_bytes: 1_000,
                    connections: 0,
                    version: "1.2".to_owned(),
                }])
            })
            .await
    }

    async fn first_login(&self, _: InstanceId, spec: &Spec) -> Result<Login> {
        let login = Login {
            user: Some(spec.user.clone().unwrap_or_else(|| USER.to_owned())),
            database: Some(spec.name.slug().replace('-', "_")),
            secret: PASSWORD.to_owned(),
        };
        self.world.call(Call::FirstLogin, |_| Ok(login)).await
    }

    async fn connect(
        &self,
        _: InstanceId,
        _: &Spec,
        endpoint: &Endpoint,
        login: &Login,
        password: &Secret,
    ) -> Result<Connection> {
        let Endpoint { host, port, .. } = endpoint;
        Ok(Connection {
            host: host.clone(),
            port: *port,
            username: login.user.clone(),
            password: password.clone(),
            database: login.database.clone(),
            tls_mode: Some("require".to_owned()),
            uri: Secret::new(format!("fake://:{}@{host}:{port}", password.expose())),
        })
    }

    async fn verify(
        &self,
        instance: &InstanceContext,
        login: &Login,
        password: &Secret,
    ) -> Result<bool> {
        self.world
            .call(Call::Verify, |machine| {
                let live = machine.live.get(&instance.id);
                let live = live.filter(|live| live.running);
                let live = live.ok_or_else(|| Error::failed("the server does not answer"))?;
                let user = login.user.as_deref().unwrap_or(USER);
                Ok(!machine.behaviour.refuses_passwords && live.users.get(user) == Some(password))
            })
            .await
    }

    async fn rotate(
        &self,
        instance: &InstanceContext,
        login: &Login,
        password: &Secret,
    ) -> Result<()> {
        self.world
            .call(Call::Rotate, |machine| {
                let live = machine.live.get_mut(&instance.id);
                let live = live.ok_or_else(|| Error::failed("the server does not answer"))?;
                let user = login.user.clone().unwrap_or_else(|| USER.to_owned());
                live.users.insert(user, password.clone());
                Ok(())
            })
            .await
    }
}

#[async_trait]
impl Settings for FakeEngine {
    /// What its server was started with is in force; `live` is taken at once, everything else waits.
    async fn reload(&self, instance: &InstanceContext) -> Result<Vec<String>> {
        self.world
            .call(Call::Reload, |machine| {
                machine.reload(instance.id, &instance.spec.settings)
            })
            .await
    }
}

/// One that is taken at once, and one that waits for a restart.
fn settings() -> Vec<SettingSchema> {
    let schema = |name: &str, live| SettingSchema {
        name: name.to_owned(),
        description: "For tests.".to_owned(),
        kind: SettingKind::Integer {
            minimum: 0,
            maximum: 100,
        },
        default: "1".to_owned(),
        unit: None,
        live,
        init_only: false,
    };
    vec![schema("live", true), schema("slow", false)]
}

fn names() -> NameRules {
    NameRules {
        longest: 63,
        reserved_prefixes: Vec::new(),
        reserved: Vec::new(),
    }
}

fn workload(spec: &Spec) -> Workload {
    let secret = |name: &str, kind| SecretRequest {
        name: name.to_owned(),
        kind,
    };
    let secrets = vec![
        secret("superuser", SecretKind::Password(32)),
        secret(PASSWORD, SecretKind::Password(24)),
        secret("tls", SecretKind::Certificate(365)),
    ];
    Workload {
        members: vec![Member {
            name: "main".to_owned(),
            main: Command {
                program: "fake-server".to_owned(),
                version: spec.version.clone(),
                args: vec!["--data=${volume:data}".to_owned()],
                env: spec.settings.clone(),
            },
            init: None,
            files: Vec::new(),
            volumes: vec![Volume {
                name: "data".to_owned(),
                size_bytes: u64::from(spec.storage_gb) * GIB,
            }],
            ports: vec![Port {
                name: "sql".to_owned(),
                number: 7000,
                socket: Some("s.7000".to_owned()),
            }],
            stale_files: Vec::new(),
            stop: Stop {
                signal: "INT".to_owned(),
                grace_ms: 10_000,
            },
        }],
        endpoints: vec![EndpointPlan {
            name: "sql".to_owned(),
            member: "main".to_owned(),
            port: "sql".to_owned(),
            for_members: false,
        }],
        secrets,
    }
}
