//! What must run for an instance.

use berth_sdk::types::{
    Command, EndpointPlan, File, Init, Member, Port, SecretRequest, Spec, Stop, Volume, Workload,
};

use crate::catalog::{self, COPY, DEFAULT_PORT};
use crate::names::{BERTH, DEFAULT};
use crate::{settings, sizing};

/// The one member of an instance without replicas.
pub const MEMBER: &str = "node-0";
/// Its port, and the endpoint in front of it.
pub const PORT: &str = "redis";
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

/// A certificate lives as long as an instance may: nothing renews it on its own yet.
const CERTIFICATE_DAYS: u32 = 3650;

/// It has its log of changes to write out, and no snapshot.
const STOP_GRACE_MS: u32 = 60_000;

/// The same spec gives the same workload.
pub fn workload(spec: &Spec) -> Workload {
    Workload {
        members: vec![member(spec)],
        endpoints: vec![EndpointPlan {
            name: PORT.into(),
            member: MEMBER.into(),
            port: PORT.into(),
        }],
        secrets: vec![
            SecretRequest::password(BERTH_SECRET, 48),
            SecretRequest::password(USER_SECRET, 32),
            SecretRequest::certificate(CERTIFICATE, CERTIFICATE_DAYS),
        ],
    }
}

fn member(spec: &Spec) -> Member {
    let program = catalog::release(&spec.version).map_or("redis-server", |found| found.program);
    let version = &*spec.version;
    Member {
        name: MEMBER.into(),
        main: server(program, version),
        init: Some(Init {
            volume: VOLUME.into(),
            tasks: vec![first_users(version)],
        }),
        files: vec![
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
        ],
        volumes: vec![Volume {
            name: VOLUME.into(),
            size_bytes: spec.storage_bytes,
        }],
        ports: vec![Port {
            name: PORT.into(),
            number: DEFAULT_PORT,
            socket: Some("redis.sock".into()),
        }],
        stale_files: Vec::new(),
        stop: Stop {
            signal: "TERM".into(),
            grace_ms: STOP_GRACE_MS,
        },
    }
}

/// Where things are goes on the command line: there it needs no quoting. Clients come by TLS only; the unix socket is for
/// Berth, and the instance's own user.
fn server(program: &str, version: &str) -> Command {
    let settings = [
        ("dir", format!("${{volume:{VOLUME}}}")),
        ("aclfile", format!("${{volume:{VOLUME}}}/{USERS_FILE}")),
        ("bind", format!("${{listen:{PORT}}}")),
        ("port", "0".to_owned()),
        ("tls-port", format!("${{port:{PORT}}}")),
        ("tls-cert-file", format!("${{file:{CERTIFICATE_FILE}}}")),
        ("tls-key-file", format!("${{file:{KEY_FILE}}}")),
        ("unixsocket", "${run}/redis.sock".to_owned()),
    ];
    Command::new(program, version)
        .arg(format!("${{file:{CONFIG_FILE}}}"))
        .args(
            settings
                .into_iter()
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
