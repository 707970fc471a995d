//! What must run for an instance.

use berth_sdk::types::{
    Command, EndpointPlan, File, Init, Member, Port, SecretRequest, Spec, Stop, Volume, Workload,
};

use crate::catalog::{self, COPY, DEFAULT_PORT};
use crate::names::{BERTH, DEFAULT};
use crate::{settings, sizing};

/// The one member of an instance whose data are not divided.
const MEMBER: &str = "node-0";
/// A member's port for clients, and the endpoint in front of it where there is but one.
pub const PORT: &str = "redis";
/// The port by which shards talk to each other. Who shows no certificate of the instance's own is not heard there.
const BUS: &str = "bus";
/// Secret of the first user.
pub const USER_SECRET: &str = "app";
/// Secret of Berth's own user.
pub const BERTH_SECRET: &str = "berth";

const VOLUME: &str = "data";
const CERTIFICATE: &str = "tls";

const CONFIG_FILE: &str = "redis.conf";
const USERS_FILE: &str = "users.acl";
const CERTIFICATE_FILE: &str = "server.crt";
const KEY_FILE: &str = "server.key";
const AUTHORITY_FILE: &str = "ca.crt";
/// Whom a shard knows, in its volume: the server writes it, and needs it to come back.
const NODES_FILE: &str = "nodes.conf";

/// How shards live together.
const CLUSTER: [(&str, &str); 4] = [
    ("cluster-enabled", "yes"),
    // Their own way has no password: they know each other by certificates alone.
    ("tls-cluster", "yes"),
    ("cluster-preferred-endpoint-type", "hostname"),
    // No shard has another's data, and none takes another's place: one that is down leaves the others' keys as they are.
    ("cluster-require-full-coverage", "no"),
];

/// It has its log of changes to write out, and no snapshot.
const STOP_GRACE_MS: u32 = 60_000;

/// One server of an instance: where it stands among the others, if there are others.
#[derive(Clone, Copy)]
enum Place {
    Alone,
    Shard(usize),
}

/// Whether the data are divided.
pub fn is_sharded(spec: &Spec) -> bool {
    spec.shards > 1
}

/// The names of all members.
pub fn members(spec: &Spec) -> Vec<String> {
    places(spec).map(Place::member).collect()
}

/// The way in of clients to a shard.
pub fn client_endpoint(nth: usize) -> String {
    Place::Shard(nth).member()
}

/// The way of the other shards to it.
pub fn bus_endpoint(nth: usize) -> String {
    format!("{BUS}-{}", nth + 1)
}

fn places(spec: &Spec) -> impl Iterator<Item = Place> {
    let shards = if is_sharded(spec) { spec.shards } else { 0 };
    let shards = (0..usize::try_from(shards).unwrap_or(usize::MAX)).map(Place::Shard);
    let alone = (!is_sharded(spec)).then_some(Place::Alone);
    alone.into_iter().chain(shards)
}

/// The same spec gives the same workload.
pub fn workload(spec: &Spec) -> Workload {
    // Clients' first: they are told the first of all.
    let clients = places(spec).map(Place::for_clients);
    let shards = places(spec).filter_map(Place::for_shards);
    Workload {
        members: places(spec).map(|place| member(spec, place)).collect(),
        endpoints: clients.chain(shards).collect(),
        secrets: vec![
            SecretRequest::password(BERTH_SECRET, 48),
            SecretRequest::password(USER_SECRET, 32),
            SecretRequest::certificate(CERTIFICATE, SecretRequest::LASTING),
        ],
    }
}

impl Place {
    fn member(self) -> String {
        match self {
            Self::Alone => MEMBER.to_owned(),
            Self::Shard(nth) => format!("shard-{}", nth + 1),
        }
    }

    /// All members have one directory for them.
    fn socket(self) -> String {
        match self {
            Self::Alone => "redis.sock".to_owned(),
            Self::Shard(_) => format!("{}.sock", self.member()),
        }
    }

    fn for_clients(self) -> EndpointPlan {
        let name = match self {
            Self::Alone => PORT.to_owned(),
            Self::Shard(nth) => client_endpoint(nth),
        };
        EndpointPlan {
            name,
            ..EndpointPlan::for_clients(self.member(), PORT)
        }
    }

    fn for_shards(self) -> Option<EndpointPlan> {
        match self {
            Self::Alone => None,
            Self::Shard(nth) => Some(EndpointPlan {
                name: bus_endpoint(nth),
                for_members: true,
                ..EndpointPlan::for_clients(self.member(), BUS)
            }),
        }
    }

    fn ports(self) -> Vec<Port> {
        let mut ports = vec![Port {
            name: PORT.into(),
            number: DEFAULT_PORT,
            socket: Some(self.socket()),
        }];
        ports.extend(self.for_shards().map(|bus| Port {
            name: bus.port,
            number: DEFAULT_PORT + 10_000,
            socket: None,
        }));
        ports
    }

    /// What a shard tells the others and, of the others, its clients: where they come in, and never where it listens.
    fn of_cluster(self) -> Vec<(&'static str, String)> {
        let Self::Shard(nth) = self else {
            return Vec::new();
        };
        let (clients, bus) = (client_endpoint(nth), bus_endpoint(nth));
        vec![
            (
                "cluster-config-file",
                format!("${{volume:{VOLUME}}}/{NODES_FILE}"),
            ),
            ("cluster-port", format!("${{port:{BUS}}}")),
            ("cluster-announce-ip", format!("${{endpoint:{bus}.host}}")),
            (
                "cluster-announce-bus-port",
                format!("${{endpoint:{bus}.port}}"),
            ),
            (
                "cluster-announce-hostname",
                format!("${{endpoint:{clients}.host}}"),
            ),
            (
                "cluster-announce-tls-port",
                format!("${{endpoint:{clients}.port}}"),
            ),
            ("tls-ca-cert-file", format!("${{file:{AUTHORITY_FILE}}}")),
        ]
    }
}

fn member(spec: &Spec, place: Place) -> Member {
    let program = catalog::release(&spec.version).map_or("redis-server", |found| found.program);
    let version = &*spec.version;
    let mut files = vec![
        File::plain(CONFIG_FILE, configuration(spec)),
        File::sensitive(KEY_FILE, format!("${{secret:{CERTIFICATE}.key}}")),
        File::sensitive(CERTIFICATE_FILE, format!("${{secret:{CERTIFICATE}.cert}}")),
        // Letters and digits: nothing in it needs quoting.
        File::sensitive(
            USERS_FILE,
            format!(
                "user {DEFAULT} off resetchannels -@all\n\
                 user {BERTH} on >${{secret:{BERTH_SECRET}}} ~* &* +@all\n"
            ),
        ),
    ];
    if is_sharded(spec) {
        let authority = format!("${{secret:{CERTIFICATE}.ca}}");
        files.push(File::sensitive(AUTHORITY_FILE, authority));
    }
    Member {
        name: place.member(),
        main: server(program, version, place),
        init: Some(Init {
            volume: VOLUME.into(),
            tasks: vec![first_users(version)],
        }),
        files,
        volumes: vec![Volume {
            name: VOLUME.into(),
            size_bytes: spec.storage_bytes,
        }],
        ports: place.ports(),
        stale_files: Vec::new(),
        stop: Stop {
            signal: "TERM".into(),
            grace_ms: STOP_GRACE_MS,
        },
    }
}

/// Where things are goes on the command line: there it needs no quoting. Clients come by TLS only; the unix socket is for
/// Berth, and the instance's own user.
fn server(program: &str, version: &str, place: Place) -> Command {
    let settings = [
        ("dir", format!("${{volume:{VOLUME}}}")),
        ("aclfile", format!("${{volume:{VOLUME}}}/{USERS_FILE}")),
        ("bind", format!("${{listen:{PORT}}}")),
        ("port", "0".to_owned()),
        ("tls-port", format!("${{port:{PORT}}}")),
        ("tls-cert-file", format!("${{file:{CERTIFICATE_FILE}}}")),
        ("tls-key-file", format!("${{file:{KEY_FILE}}}")),
        ("unixsocket", format!("${{run}}/{}", place.socket())),
    ];
    Command::new(program, version)
        .arg(format!("${{file:{CONFIG_FILE}}}"))
        .args(
            settings
                .into_iter()
                .chain(place.of_cluster())
                .flat_map(|(name, value)| [format!("--{name}"), value]),
        )
}

/// The server keeps its users in a file beside the data and writes it anew when they change, but does not start without
/// one. In the first, `>` is followed by a password; in those that it writes, there are digests.
fn first_users(version: &str) -> Command {
    Command::new(COPY, version)
        .arg(format!("${{file:{USERS_FILE}}}"))
        .arg(format!("${{volume:{VOLUME}}}/{USERS_FILE}"))
}

fn configuration(spec: &Spec) -> String {
    let fixed = [
        ("unixsocketperm", "700"),
        ("tls-auth-clients", "no"),
        ("tls-protocols", "\"TLSv1.2 TLSv1.3\""),
        // Each change is appended to a log, which begins with a snapshot: a killed server has lost what appendfsync says.
        ("appendonly", "yes"),
        ("aof-use-rdb-preamble", "yes"),
        // The end of a log that a power cut left half-written is cut off.
        ("aof-load-truncated", "yes"),
        // The log holds everything: a snapshot would only make the end take longer.
        ("shutdown-on-sigterm", "nosave"),
        // What would let somebody out of the server, whatever rights he has in it.
        ("enable-debug-command", "no"),
        ("enable-protected-configs", "no"),
        ("enable-module-command", "no"),
        // What a client has restored is looked through first: made with intent, it could take over the server.
        ("sanitize-dump-payload", "clients"),
        // Logs go to standard output; the target keeps and rotates them.
        ("daemonize", "no"),
        ("logfile", "\"\""),
        ("loglevel", "notice"),
        ("always-show-logo", "no"),
        // More than the proxy lets in: Berth always finds a place.
        ("maxclients", "10000"),
    ];
    let mut text = String::from("# Written by Berth. Changes made here are lost.\n");
    for (name, value) in fixed {
        line(&mut text, name, value);
    }
    if is_sharded(spec) {
        for (name, value) in CLUSTER {
            line(&mut text, name, value);
        }
    }
    line(
        &mut text,
        "maxmemory",
        &sizing::max_memory(spec).to_string(),
    );
    line(
        &mut text,
        "maxmemory-clients",
        &sizing::max_clients_memory(spec).to_string(),
    );
    for wanted in settings::wanted(spec) {
        line(&mut text, wanted.name, &settings::quoted(&wanted.value));
    }
    text
}

fn line(text: &mut String, name: &str, value: &str) {
    text.push_str(name);
    text.push(' ');
    text.push_str(value);
    text.push('\n');
}

#[cfg(test)]
pub mod tests {
    use berth_sdk::types::{NodeSize, Setting};
    use berth_sdk_testing as testing;

    use super::*;

    pub fn spec(version: &str) -> Spec {
        Spec {
            name: "cache redis".into(),
            slug: "cache-redis".into(),
            node: NodeSize {
                cpu_millis: 2000,
                memory_bytes: 4 << 30,
            },
            storage_bytes: 50 << 30,
            ..testing::spec(version)
        }
    }

    fn golden(name: &str, actual: &str) {
        testing::golden(env!("CARGO_MANIFEST_DIR"), name, actual);
    }

    #[test]
    fn the_plan_of_every_version() {
        for version in ["7.0", "7.2", "valkey-8"] {
            let plan = testing::show(&workload(&spec(version)));
            golden(&format!("plan-{version}.txt"), &plan);
        }
    }

    #[test]
    fn the_plan_of_shards() {
        for version in ["7.0", "valkey-8"] {
            let mut spec = spec(version);
            spec.shards = 3;
            let plan = testing::show(&workload(&spec));
            golden(&format!("plan-{version}-shards.txt"), &plan);
        }
    }

    #[test]
    fn shards_are_told_apart_and_of_endpoints_alone() {
        let mut spec = spec("7.2");
        spec.shards = 16;
        let plan = workload(&spec);
        assert_eq!(
            plan.members.iter().map(|m| &m.name).collect::<Vec<_>>(),
            members(&spec).iter().collect::<Vec<_>>()
        );
        let (outer, inner) = plan.endpoints.split_at(16);
        assert!(outer.iter().all(|e| !e.for_members) && inner.iter().all(|e| e.for_members));
        for (nth, member) in plan.members.iter().enumerate() {
            let told = |option: &str| {
                let args = &member.main.args;
                let at = args.iter().position(|arg| arg == option).unwrap();
                args[at + 1].clone()
            };
            let name = format!("shard-{}", nth + 1);
            assert_eq!((&member.name, &outer[nth].member), (&name, &name));
            assert_eq!(
                told("--cluster-announce-hostname"),
                format!("${{endpoint:{name}.host}}")
            );
            assert_eq!(
                told("--cluster-announce-tls-port"),
                format!("${{endpoint:{name}.port}}")
            );
            let bus = format!("bus-{}", nth + 1);
            assert_eq!((&inner[nth].name, &inner[nth].member), (&bus, &name));
            assert_eq!(
                told("--cluster-announce-ip"),
                format!("${{endpoint:{bus}.host}}")
            );
            assert!(told("--unixsocket").ends_with(&format!("/{name}.sock")));
        }
        // What the host takes.
        let stored: usize = plan
            .members
            .iter()
            .map(|m| 2 * m.files.iter().map(|f| f.content.len()).sum::<usize>())
            .sum();
        assert!(stored < 80 << 10, "{stored}");
        testing::no_secret_in_the_open(&plan);
    }

    #[test]
    fn chosen_settings_are_written_as_the_server_has_them() {
        let mut spec = spec("7.2");
        for (name, value) in [
            ("appendfsync", "always"),
            ("save", "off"),
            ("auto-aof-rewrite-min-size", "3"),
            ("activerehashing", "off"),
        ] {
            spec.settings.push(Setting {
                name: name.into(),
                value: value.into(),
            });
        }
        let text = configuration(&spec);
        for line in [
            "appendfsync always",
            "save \"\"",
            "auto-aof-rewrite-min-size 3145728",
            "activerehashing no",
        ] {
            assert_eq!(text.lines().filter(|l| *l == line).count(), 1, "{line}");
        }
    }

    #[test]
    fn no_secret_is_where_others_can_read() {
        testing::no_secret_in_the_open(&workload(&spec("7.2")));
    }
}
