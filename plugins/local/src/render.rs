//! A member with its placeholders filled in: the files to write and the service to run.

use berth_sdk::placeholders::{substitute, unknown};
use berth_sdk::target::Dial;
use berth_sdk::target::process::{Init, Service};
use berth_sdk::types::{Command, Endpoint, Member, Port, Secret};
use berth_sdk::{Error, Result};

use crate::layout;

/// What a member's placeholders stand for.
pub struct Place<'a> {
    /// The host's own name of the instance's directory.
    pub instance_dir: &'a str,
    /// The host's own name of the directory for sockets.
    pub run_dir: &'a str,
    pub member: &'a Member,
    pub endpoints: &'a [Endpoint],
    /// Empty where no secret may stand.
    pub secrets: &'a [Secret],
}

/// A file with everything filled in.
pub struct Rendered {
    pub path: String,
    pub content: String,
    pub sensitive: bool,
}

/// Where members listen that nobody but the machine itself is to reach.
pub const LOOPBACK: &str = "127.0.0.1";

impl Place<'_> {
    pub fn files(&self) -> Result<Vec<Rendered>> {
        self.member
            .files
            .iter()
            .map(|file| {
                let fill = |kind: &str, name: &str| match kind {
                    "secret" if file.sensitive => self.secret(name),
                    _ => self.fill(kind, name),
                };
                Ok(Rendered {
                    path: layout::file(&self.member.name, &file.name),
                    content: substitute(&file.content, fill)?,
                    sensitive: file.sensitive,
                })
            })
            .collect()
    }

    pub fn service(&self) -> Result<Service> {
        let member = self.member;
        let init = match &member.init {
            Some(init) => Some(Init {
                dir: layout::volume(&member.name, &init.volume),
                tasks: self.commands(&init.tasks)?,
            }),
            None => None,
        };
        Ok(Service {
            main: self.command(&member.main)?,
            init,
            work_dir: layout::member(&member.name),
            stale_files: member
                .stale_files
                .iter()
                .map(|path| format!("{}/{path}", layout::volumes(&member.name)))
                .collect(),
            stop_signal: member.stop.signal.clone(),
            stop_grace_ms: member.stop.grace_ms,
        })
    }

    /// Port names and how the host reaches them: by socket where there is one.
    pub fn dials(&self) -> Result<Vec<(String, Dial)>> {
        self.member
            .ports
            .iter()
            .map(|port| {
                let dial = match &port.socket {
                    Some(socket) => {
                        Dial::Unix(substitute(socket, |kind, name| self.fill(kind, name))?)
                    }
                    None => Dial::Tcp(join(reachable(self.listen(port)), self.number(port))),
                };
                Ok((port.name.clone(), dial))
            })
            .collect()
    }

    fn commands(&self, commands: &[Command]) -> Result<Vec<Command>> {
        commands
            .iter()
            .map(|command| self.command(command))
            .collect()
    }

    fn command(&self, command: &Command) -> Result<Command> {
        let fill = |text: &String| substitute(text, |kind, name| self.fill(kind, name));
        let env = command
            .env
            .iter()
            .map(|(name, value)| Ok((name.clone(), fill(value)?)));
        Ok(Command {
            program: command.program.clone(),
            version: command.version.clone(),
            args: command.args.iter().map(fill).collect::<Result<_>>()?,
            env: env.collect::<Result<_>>()?,
        })
    }

    /// Everything but secrets, which may stand in sensitive files only.
    fn fill(&self, kind: &str, name: &str) -> Result<String> {
        let member = self.member;
        let value = match kind {
            "run" if name.is_empty() => Some(self.run_dir.to_owned()),
            "volume" => member
                .volumes
                .iter()
                .find(|volume| volume.name == name)
                .map(|_| self.path(&layout::volume(&member.name, name))),
            "file" => member
                .files
                .iter()
                .find(|file| file.name == name)
                .map(|_| self.path(&layout::file(&member.name, name))),
            "port" => self.port(name).map(|port| self.number(port).to_string()),
            "listen" => self.port(name).map(|port| self.listen(port).to_owned()),
            "endpoint" => {
                let (name, part) = name.split_once('.').unwrap_or((name, ""));
                let mut endpoints = self.endpoints.iter();
                let endpoint = endpoints.find(|endpoint| endpoint.name == name);
                endpoint.and_then(|endpoint| match part {
                    "" => Some(join(&endpoint.host, endpoint.port)),
                    "host" => Some(endpoint.host.clone()),
                    "port" => Some(endpoint.port.to_string()),
                    _ => None,
                })
            }
            _ => None,
        };
        value.ok_or_else(|| unknown(kind, name))
    }

    fn secret(&self, name: &str) -> Result<String> {
        self.secrets
            .iter()
            .find(|secret| secret.name == name)
            .map(|secret| secret.value.clone())
            .ok_or_else(|| Error::failed(format!("the secret {name} is not there")))
    }

    fn path(&self, below: &str) -> String {
        format!("{}/{below}", self.instance_dir)
    }

    fn port(&self, name: &str) -> Option<&Port> {
        self.member.ports.iter().find(|port| port.name == name)
    }

    /// The endpoint that this port is behind, if it is behind one.
    fn endpoint(&self, port: &Port) -> Option<&Endpoint> {
        self.endpoints
            .iter()
            .find(|e| e.member == self.member.name && e.port_name == port.name)
    }

    /// What the member itself listens on: behind the proxy, its inner port.
    fn number(&self, port: &Port) -> u16 {
        self.endpoint(port).map_or(port.number, |endpoint| {
            endpoint.inner_port.unwrap_or(endpoint.port)
        })
    }

    fn listen(&self, port: &Port) -> &str {
        match self.endpoint(port) {
            Some(endpoint) if endpoint.inner_port.is_none() => &endpoint.bind_address,
            Some(_) | None => LOOPBACK,
        }
    }
}

/// Where to dial what listens there.
fn reachable(listen: &str) -> &str {
    match listen {
        "0.0.0.0" => LOOPBACK,
        "::" => "::1",
        other => other,
    }
}

fn join(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use berth_sdk::types::{File, Init as InitPlan, Stop, Volume};

    use super::*;

    fn member() -> Member {
        Member {
            name: "node-0".into(),
            main: Command::new("server", "7")
                .args([
                    "--data=${volume:data}",
                    "--config=${file:conf}",
                    "--at=${listen:sql}:${port:sql}",
                ])
                .env("SOCKETS", "${run}"),
            init: Some(InitPlan {
                volume: "data".into(),
                tasks: vec![Command::new("fill", "7").arg("${volume:data}")],
            }),
            files: vec![
                File::plain(
                    "conf",
                    "public = ${endpoint:sql}\nsaid = ${endpoint:sql.host} ${endpoint:sql.port}\nliteral = $${run}\n",
                ),
                File::sensitive("key", "${secret:tls.key}"),
            ],
            volumes: vec![Volume {
                name: "data".into(),
                size_bytes: 1,
            }],
            ports: vec![
                Port {
                    name: "sql".into(),
                    number: 5000,
                    socket: Some("s.${port:sql}".into()),
                },
                Port {
                    name: "metrics".into(),
                    number: 9000,
                    socket: None,
                },
            ],
            stale_files: vec!["data/server.pid".into()],
            stop: Stop {
                signal: "INT".into(),
                grace_ms: 7,
            },
        }
    }

    fn endpoint(bind_address: &str, host: &str) -> Endpoint {
        Endpoint {
            name: "sql".into(),
            member: "node-0".into(),
            port_name: "sql".into(),
            bind_address: bind_address.into(),
            host: host.into(),
            port: 20_001,
            inner_port: None,
            for_members: false,
        }
    }

    fn with<T>(
        change: impl FnOnce(&mut Member, &mut Endpoint),
        look: impl FnOnce(Place<'_>) -> T,
    ) -> T {
        let mut member = member();
        let mut endpoint = endpoint("0.0.0.0", "db.example.com");
        change(&mut member, &mut endpoint);
        look(Place {
            instance_dir: "/d/i",
            run_dir: "/d/run/1",
            member: &member,
            endpoints: &[endpoint],
            secrets: &[Secret {
                name: "tls.key".into(),
                value: "KEY ${run}".into(),
            }],
        })
    }

    #[test]
    fn a_member_becomes_a_service() {
        let service = with(|_, _| (), |place| place.service()).unwrap();
        assert_eq!(
            service.main.args,
            [
                "--data=/d/i/node-0/volumes/data",
                "--config=/d/i/node-0/files/conf",
                "--at=0.0.0.0:20001"
            ]
        );
        assert_eq!(
            service.main.env,
            [("SOCKETS".to_owned(), "/d/run/1".to_owned())]
        );
        assert_eq!(service.work_dir, "node-0");
        assert_eq!(service.stale_files, ["node-0/volumes/data/server.pid"]);
        assert_eq!(
            (service.stop_signal.as_str(), service.stop_grace_ms),
            ("INT", 7)
        );
        let init = service.init.unwrap();
        assert_eq!(init.dir, "node-0/volumes/data");
        assert_eq!(init.tasks[0].args, ["/d/i/node-0/volumes/data"]);
    }

    #[test]
    fn files_are_filled_in() {
        let files = with(|_, _| (), |place| place.files()).unwrap();
        assert_eq!(files[0].path, "node-0/files/conf");
        assert_eq!(
            files[0].content,
            "public = db.example.com:20001\nsaid = db.example.com 20001\nliteral = ${run}\n"
        );
        assert!(!files[0].sensitive);
        assert_eq!(files[1].content, "KEY ${run}");
        assert!(files[1].sensitive);
    }

    #[test]
    fn a_secret_stands_in_sensitive_files_only() {
        let open_file = with(
            |m, _| m.files[1].sensitive = false,
            |place| place.files().map(|_| ()),
        );
        assert!(open_file.is_err());
        let argument = with(
            |m, _| m.main.args.push("${secret:tls.key}".into()),
            |place| place.service(),
        );
        let message = format!("{:?}", argument.unwrap_err());
        assert!(!message.contains("KEY"), "{message}");
        let variable = with(
            |m, _| m.main.env.push(("A".into(), "${secret:tls.key}".into())),
            |place| place.service(),
        );
        assert!(variable.is_err());
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        for bad in [
            "${volume:logs}",
            "${file:other}",
            "${port:x}",
            "${endpoint:x}",
            "${endpoint:x.host}",
            "${endpoint:sql.name}",
            "${run:x}",
        ] {
            let result = with(|m, _| m.main.args.push(bad.into()), |place| place.service());
            assert!(result.is_err(), "{bad}");
        }
    }

    #[test]
    fn behind_the_proxy_a_member_listens_on_the_loopback() {
        let behind = |look: fn(Place<'_>) -> Result<Service>| {
            with(|_, endpoint| endpoint.inner_port = Some(20_002), look)
        };
        let service = behind(|place| place.service()).unwrap();
        assert_eq!(service.main.args[2], "--at=127.0.0.1:20002");
        let (files, dials) = with(
            |member, endpoint| {
                endpoint.inner_port = Some(20_002);
                member.ports[0].socket = None;
            },
            |place| (place.files().unwrap(), place.dials().unwrap()),
        );
        // Clients are told the endpoint all the same.
        assert!(files[0].content.contains("public = db.example.com:20001"));
        assert!(matches!(&dials[0].1, Dial::Tcp(at) if at == "127.0.0.1:20002"));
    }

    #[test]
    fn what_is_for_members_is_bound_as_it_is_told() {
        let service = with(
            |_, endpoint| {
                *endpoint = self::endpoint("127.0.0.1", "127.0.0.1");
                endpoint.for_members = true;
            },
            |place| place.service(),
        );
        assert_eq!(service.unwrap().main.args[2], "--at=127.0.0.1:20001");
    }

    #[test]
    fn a_port_is_dialled_by_its_socket_or_else_on_the_machine_itself() {
        let dials = with(|_, _| (), |place| place.dials()).unwrap();
        assert_eq!(dials[0].0, "sql");
        assert!(matches!(&dials[0].1, Dial::Unix(name) if name == "s.20001"));
        assert_eq!(dials[1].0, "metrics");
        assert!(matches!(&dials[1].1, Dial::Tcp(at) if at == "127.0.0.1:9000"));
        for (bind, at) in [
            ("0.0.0.0", "127.0.0.1:20001"),
            ("::", "[::1]:20001"),
            ("192.0.2.7", "192.0.2.7:20001"),
        ] {
            let dials = with(
                |m, e| {
                    m.ports[0].socket = None;
                    e.bind_address = bind.into();
                },
                |place| place.dials(),
            );
            assert!(
                matches!(&dials.unwrap()[0].1, Dial::Tcp(found) if found == at),
                "{bind}"
            );
        }
    }
}
