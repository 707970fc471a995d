//! memcached as a Berth engine: the example of the plugin author's guide, complete and small.
//!
//! It serves without TLS and its password stays what it is: see `plugins/postgresql` for how a real
//! engine does both.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use berth_sdk::engine::{
    Catalog, Connection, Credentials, Description, Instance, Login, MemberObservation, NameRules,
    Provisioning, Role, Stage, Version,
};
use berth_sdk::types::{
    Command, Endpoint, EndpointPlan, FieldProblem, File, Member, Port, SecretKind, SecretRequest,
    Spec, Stop, Workload,
};
use berth_sdk::{Error, Result};

const VERSION: &str = "1.6";
const MEMBER: &str = "cache";
const PORT: &str = "cache";
const USER: &str = "app";
const SECRET: &str = "app";

/// How soon to look again at a server that starts.
const SOON: Duration = Duration::from_millis(50);

struct Memcached;

berth_sdk::engine!(Memcached, manifest = "plugin.toml");

impl Catalog for Memcached {
    fn describe() -> Description {
        Description {
            name: "memcached".into(),
            title: "memcached".into(),
            summary: "A cache in memory, shared by many.".into(),
            versions: vec![Version {
                label: VERSION.into(),
                stage: Stage::Beta,
                released: "2020-03-08".into(),
                // Its makers name no date.
                end_of_life: "2099-12-31".into(),
                upgrades_to: Vec::new(),
                programs: vec!["memcached".into()],
                settings: Vec::new(),
            }],
            default_port: 11_211,
            minimum_memory_bytes: 64 << 20,
            user_names: NameRules::default(),
            database_names: NameRules::default(),
        }
    }
}

impl Provisioning for Memcached {
    fn validate(spec: Spec) -> Result<()> {
        let mut problems = Vec::new();
        if spec.version != VERSION {
            problems.push(FieldProblem::new("version", "is not offered", VERSION));
        }
        if spec.members != 1 {
            problems.push(FieldProblem::new("members", "a cache has one member", "1"));
        }
        if spec.shards != 1 {
            problems.push(FieldProblem::new("shards", "a cache is not divided", "1"));
        }
        if spec.user.is_some() || spec.database.is_some() || !spec.settings.is_empty() {
            let reason = "user, database and settings cannot be chosen";
            problems.push(FieldProblem::new("settings", reason, "none"));
        }
        Error::unless_empty(problems)
    }

    fn plan(spec: Spec) -> Result<Workload> {
        Self::validate(spec.clone())?;
        // What is not for items is for connections and the program itself.
        let for_items = (spec.node.memory_bytes >> 20) * 3 / 4;
        Ok(Workload {
            members: vec![Member {
                name: MEMBER.into(),
                main: Command::new("memcached", &spec.version)
                    .arg(format!("--listen=${{listen:{PORT}}}"))
                    .arg(format!("--port=${{port:{PORT}}}"))
                    .arg("--udp-port=0")
                    .arg("--protocol=ascii")
                    .arg("--auth-file=${file:users}")
                    .arg(format!("--memory-limit={for_items}")),
                init: None,
                files: vec![File::sensitive(
                    "users",
                    format!("{USER}:${{secret:{SECRET}}}\n"),
                )],
                volumes: Vec::new(),
                ports: vec![Port {
                    name: PORT.into(),
                    number: 11_211,
                    socket: None,
                }],
                stale_files: Vec::new(),
                stop: Stop {
                    signal: "TERM".into(),
                    grace_ms: 5000,
                },
            }],
            endpoints: vec![EndpointPlan::for_clients(MEMBER, PORT)],
            secrets: vec![SecretRequest {
                name: SECRET.into(),
                kind: SecretKind::Password(32),
            }],
        })
    }

    fn bootstrap(instance: Instance) -> Result<()> {
        // Its user stands in a file that is there before it starts: nothing is left but to see it serve.
        session(&instance).map(drop)
    }

    fn observe(instance: Instance) -> Result<Vec<MemberObservation>> {
        let mut seen = MemberObservation {
            member: MEMBER.into(),
            role: Role::Primary,
            ready: false,
            data_bytes: 0,
            connections: 0,
            version: String::new(),
        };
        match session(&instance) {
            Ok(mut session) => session.read_stats(&mut seen).map_err(lost)?,
            // A server that does not answer is a fact about it, and no failure of looking.
            Err(Error::RetryAfter(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(vec![seen])
    }
}

impl Credentials for Memcached {
    fn first_login(_: Spec) -> Result<Login> {
        Ok(Login {
            user: Some(USER.into()),
            database: None,
            secret: SECRET.into(),
        })
    }

    fn connect(_: Spec, endpoint: Endpoint, login: Login, password: String) -> Result<Connection> {
        Ok(Connection {
            uri: format!(
                "memcached://{USER}:{password}@{}:{}",
                endpoint.host, endpoint.port
            ),
            host: endpoint.host,
            port: endpoint.port,
            username: login.user,
            password,
            database: None,
            tls_mode: None,
        })
    }

    fn verify(instance: Instance, _: Login, password: String) -> Result<bool> {
        let mut session = Session::connect(&instance)?;
        session.log_in(&password).map_err(lost)
    }

    fn rotate(_: Instance, _: Login, _: String) -> Result<()> {
        Err(Error::unsupported("memcached keeps its password"))
    }
}

/// A connection that is logged in.
fn session(instance: &Instance) -> Result<Session> {
    let password = instance
        .secret(SECRET)
        .ok_or_else(|| Error::failed("the password is not known to Berth"))?;
    let mut session = Session::connect(instance)?;
    if session.log_in(password).map_err(lost)? {
        return Ok(session);
    }
    Err(Error::failed("the server does not accept the password"))
}

struct Session(BufReader<TcpStream>);

impl Session {
    fn connect(instance: &Instance) -> Result<Self> {
        let address = instance
            .address(MEMBER, PORT)
            .ok_or_else(|| Error::failed("the server has no address"))?;
        // The address is virtual: the host dials whatever reaches the member.
        let stream = TcpStream::connect(address).map_err(lost)?;
        Ok(Self(BufReader::new(stream)))
    }

    fn log_in(&mut self, password: &str) -> std::io::Result<bool> {
        let login = format!("{USER} {password}");
        let command = format!("set login 0 0 {}\r\n{login}\r\n", login.len());
        self.0.get_mut().write_all(command.as_bytes())?;
        Ok(self.line()? == "STORED")
    }

    fn read_stats(&mut self, seen: &mut MemberObservation) -> std::io::Result<()> {
        self.0.get_mut().write_all(b"stats\r\n")?;
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.strip_prefix("STAT ").and_then(|s| s.split_once(' '))
            else {
                seen.ready = line == "END";
                return Ok(());
            };
            match name {
                "version" => value.clone_into(&mut seen.version),
                "bytes" => seen.data_bytes = value.parse().unwrap_or(0),
                "curr_connections" => seen.connections = value.parse().unwrap_or(0),
                _ => {}
            }
        }
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

/// It starts, stops or is gone for a moment: the host calls again.
fn lost(_: std::io::Error) -> Error {
    Error::retry(SOON, "the server does not answer yet")
}

#[cfg(test)]
mod tests {
    use berth_sdk::types::NodeSize;

    use super::*;

    fn spec() -> Spec {
        Spec {
            id: "0198c0de-0000-7000-8000-000000000001".into(),
            name: "cache".into(),
            slug: "cache".into(),
            version: VERSION.into(),
            node: NodeSize {
                cpu_millis: 1000,
                memory_bytes: 1 << 30,
            },
            storage_bytes: 1 << 30,
            members: 1,
            shards: 1,
            user: None,
            database: None,
            settings: Vec::new(),
            init_settings: Vec::new(),
        }
    }

    #[test]
    fn the_plan_depends_on_the_size() {
        let workload = Memcached::plan(spec()).unwrap();
        assert!(
            workload.members[0]
                .main
                .args
                .contains(&"--memory-limit=768".to_owned())
        );
    }

    #[test]
    fn what_it_cannot_do_is_refused() {
        let mut spec = spec();
        spec.members = 3;
        spec.shards = 3;
        spec.version = "1.5".into();
        assert!(matches!(Memcached::validate(spec), Err(Error::Invalid(all)) if all.len() == 3));
    }
}
