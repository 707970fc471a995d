//! What must run for an instance.

use std::collections::BTreeMap;

use berth_sdk::types::{
    Command, EndpointPlan, File, Member, Port, SecretRequest, Spec, Stop, Volume, Workload,
};

use crate::catalog::{DEFAULT_PORT, SERVER};
use crate::{settings, sizing};

/// The one member of an instance without replicas.
pub const MEMBER: &str = "node-0";
/// Its port, and the endpoint in front of it.
pub const PORT: &str = "mongodb";
/// What clients call the set of one.
pub const REPLICA_SET: &str = "rs0";
/// Secret of the first user.
pub const USER_SECRET: &str = "app";
/// Secret of Berth's own user.
pub const SUPERUSER_SECRET: &str = "superuser";
/// Secret that the members of the set share.
pub const KEY_SECRET: &str = "members";

const VOLUME: &str = "data";
const CERTIFICATE: &str = "tls";

const CONFIG_FILE: &str = "mongod.conf";
const KEY_FILE: &str = "members.key";
const CERTIFICATE_FILE: &str = "server.pem";
const AUTHORITY_FILE: &str = "ca.pem";

/// It makes a checkpoint.
const STOP_GRACE_MS: u32 = 90_000;

/// The same spec gives the same workload.
pub fn workload(spec: &Spec) -> Workload {
    Workload {
        members: vec![member(spec)],
        endpoints: vec![EndpointPlan::for_clients(MEMBER, PORT)],
        secrets: vec![
            // Manual, security.keyFile: 6 to 1024 characters of base64.
            SecretRequest::password(KEY_SECRET, 96),
            SecretRequest::password(SUPERUSER_SECRET, 48),
            SecretRequest::password(USER_SECRET, 32),
            SecretRequest::certificate(CERTIFICATE, SecretRequest::LASTING),
        ],
    }
}

fn member(spec: &Spec) -> Member {
    Member {
        name: MEMBER.into(),
        main: server(&spec.version),
        // The server makes what it needs in an empty directory.
        init: None,
        files: vec![
            File::plain(CONFIG_FILE, configuration(spec)),
            File::sensitive(KEY_FILE, format!("${{secret:{KEY_SECRET}}}\n")),
            // Manual, net.tls.certificateKeyFile: one file with both.
            File::sensitive(
                CERTIFICATE_FILE,
                format!("${{secret:{CERTIFICATE}.cert}}${{secret:{CERTIFICATE}.key}}"),
            ),
            File::sensitive(AUTHORITY_FILE, format!("${{secret:{CERTIFICATE}.ca}}")),
        ],
        volumes: vec![Volume {
            name: VOLUME.into(),
            size_bytes: spec.storage_bytes,
        }],
        ports: vec![Port {
            name: PORT.into(),
            number: DEFAULT_PORT,
            // The server names it by its port.
            socket: Some(format!("mongodb-${{port:{PORT}}}.sock")),
        }],
        // It takes back its lock by itself, and its socket.
        stale_files: Vec::new(),
        stop: Stop {
            signal: "TERM".into(),
            grace_ms: STOP_GRACE_MS,
        },
    }
}

/// Where things are goes on the command line: there it needs no quoting.
fn server(version: &str) -> Command {
    let options = [
        ("config", format!("${{file:{CONFIG_FILE}}}")),
        ("dbpath", format!("${{volume:{VOLUME}}}")),
        ("bind_ip", format!("${{listen:{PORT}}}")),
        ("port", format!("${{port:{PORT}}}")),
        ("unixSocketPrefix", "${run}".to_owned()),
        ("keyFile", format!("${{file:{KEY_FILE}}}")),
        (
            "tlsCertificateKeyFile",
            format!("${{file:{CERTIFICATE_FILE}}}"),
        ),
        ("tlsCAFile", format!("${{file:{AUTHORITY_FILE}}}")),
    ];
    let options = options.into_iter();
    Command::new(SERVER, version)
        .args(options.flat_map(|(name, value)| [format!("--{name}"), value]))
}

fn configuration(spec: &Spec) -> String {
    let fixed = [
        (
            "net.maxIncomingConnections",
            sizing::connections(spec).to_string(),
        ),
        // Nobody without TLS. Berth too comes so, by the socket: up to 8.2 that is no exception (SERVER-117728).
        ("net.tls.mode", "requireTLS".to_owned()),
        // Manual, net.tls.CAFile: with one, clients need a certificate unless this says no; and since SERVER-72839 no
        // server starts without one.
        (
            "net.tls.allowConnectionsWithoutCertificates",
            "true".to_owned(),
        ),
        ("net.tls.disabledProtocols", "TLS1_0,TLS1_1".to_owned()),
        (
            "replication.oplogSizeMB",
            sizing::oplog_mb(spec).to_string(),
        ),
        ("replication.replSetName", REPLICA_SET.to_owned()),
        ("security.authorization", "enabled".to_owned()),
        ("security.clusterAuthMode", "keyFile".to_owned()),
        // Manual, authenticationMechanisms: without it an older one is offered too.
        ("authenticationMechanisms", "SCRAM-SHA-256".to_owned()),
        // Clients come through a proxy on the same machine: until there is a user, all of them would be let in.
        ("enableLocalhostAuthBypass", "false".to_owned()),
        // Manual, shutdownTimeoutMillisForSignaledShutdown: a primary waits so long for another one to take over, 15 seconds
        // when nobody says otherwise, and there is none.
        ("shutdownTimeoutMillisForSignaledShutdown", "100".to_owned()),
        // It would be told of each connection.
        ("suppressNoTLSPeerCertificateWarning", "true".to_owned()),
        (
            "storage.wiredTiger.engineConfig.cacheSizeGB",
            sizing::cache_gb(spec),
        ),
    ];
    let fixed = fixed.map(|(name, value)| (name.to_owned(), value));
    let chosen = settings::wanted(spec).map(|wanted| (wanted.row.name.to_owned(), wanted.text));
    let mut tree = Tree::default();
    for (name, value) in fixed.into_iter().chain(chosen) {
        // A name without a dot is a parameter.
        let path = if name.contains('.') {
            name
        } else {
            format!("setParameter.{name}")
        };
        tree.put(&path, value);
    }
    let mut text = String::from("# Written by Berth. Changes made here are lost.\n");
    tree.write(0, &mut text);
    text
}

/// The server's file, which is YAML.
#[derive(Default)]
struct Tree {
    value: Option<String>,
    below: BTreeMap<String, Tree>,
}

impl Tree {
    fn put(&mut self, path: &str, value: String) {
        let place = path.split('.').fold(self, |tree, part| {
            tree.below.entry(part.to_owned()).or_default()
        });
        place.value = Some(value);
    }

    /// No value needs quoting: the table's patterns allow letters, digits, commas and dots. `off` alone would be read as
    /// false by some.
    fn write(&self, depth: usize, text: &mut String) {
        for (name, tree) in &self.below {
            text.push_str(&"  ".repeat(depth));
            text.push_str(name);
            text.push(':');
            if let Some(value) = &tree.value {
                let quote = if value == "off" { "\"" } else { "" };
                text.push_str(&format!(" {quote}{value}{quote}"));
            }
            text.push('\n');
            tree.write(depth + 1, text);
        }
    }
}

#[cfg(test)]
pub mod tests {
    use berth_sdk::types::{NodeSize, SecretKind, Setting};
    use berth_sdk_testing as testing;

    use super::*;

    pub fn spec(version: &str) -> Spec {
        Spec {
            name: "main mongo".into(),
            slug: "main-mongo".into(),
            node: NodeSize {
                cpu_millis: 2000,
                memory_bytes: 4 << 30,
            },
            storage_bytes: 50 << 30,
            ..testing::spec(version)
        }
    }

    #[test]
    fn the_plan_of_every_version() {
        for version in ["6.0", "7.0", "8.0"] {
            let plan = testing::show(&workload(&spec(version)));
            let name = format!("plan-{version}.txt");
            testing::golden(env!("CARGO_MANIFEST_DIR"), &name, &plan);
        }
    }

    #[test]
    fn chosen_settings_are_written_as_the_server_has_them() {
        let mut spec = spec("7.0");
        let setting = |name: &str, value: &str| Setting {
            name: name.into(),
            value: value.into(),
        };
        spec.settings = vec![
            setting("logLevel", "2"),
            setting("quiet", "on"),
            setting("operationProfiling.mode", "slowOp"),
        ];
        spec.init_settings = vec![setting("storage.directoryPerDB", "on")];
        let text = configuration(&spec);
        for line in [
            "\nsetParameter:\n",
            "\n  logLevel: 2\n",
            "\n  quiet: true\n",
            "\noperationProfiling:\n  mode: slowOp\n",
            "\nstorage:\n  directoryPerDB: true\n",
            "\n      cacheSizeGB: 1.50\n",
        ] {
            assert!(text.contains(line), "{line:?} in {text}");
        }
    }

    /// By "Configuration File Options" of the manual, where nothing else is said.
    #[test]
    fn the_plan_is_what_the_manual_demands() {
        for memory_mib in [512_u64, 1024, 65_536] {
            let mut spec = spec("6.0");
            spec.node.memory_bytes = memory_mib << 20;
            spec.storage_bytes = memory_mib << 23;
            let plan = workload(&spec);
            let text = &plan.members[0].files[0].content;
            let value = |name: &str| -> f64 {
                let line = text.lines().find_map(|line| line.trim().strip_prefix(name));
                line.unwrap().trim_start_matches(": ").parse().unwrap()
            };
            // replication.oplogSizeMB; storage.wiredTiger.engineConfig.cacheSizeGB.
            assert!(value("oplogSizeMB") >= 990.0);
            assert!((0.25..=10_000.0).contains(&value("cacheSizeGB")));
            assert!(
                value("cacheSizeGB") * 1024.0
                    <= f64::from(u32::try_from(memory_mib).unwrap()) / 2.0
            );
            // net.tls.mode: a server that speaks TLS needs both files; "Deploy Replica Set With Keyfile Authentication":
            // a member with authorization needs the key.
            let args = &plan.members[0].main.args;
            for needed in [
                "--tlsCertificateKeyFile",
                "--tlsCAFile",
                "--keyFile",
                "--dbpath",
            ] {
                assert!(args.iter().any(|arg| arg == needed), "{needed}");
            }
            // security.keyFile: its length, and that nobody else may read it.
            let key = plan.secrets.iter().find(|secret| secret.name == KEY_SECRET);
            let SecretKind::Password(length) = key.unwrap().kind else {
                panic!("no password");
            };
            assert!((6..=1024).contains(&length));
            let file = plan.members[0]
                .files
                .iter()
                .find(|file| file.name == KEY_FILE);
            assert!(file.unwrap().sensitive);
        }
    }

    #[test]
    fn no_secret_is_where_others_may_read() {
        testing::no_secret_in_the_open(&workload(&spec("8.0")));
    }
}
