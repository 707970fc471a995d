//! What must run for an instance.

use berth_sdk::types::{
    Command, EndpointPlan, File, Init, Member, Port, SecretRequest, Spec, Stop, Volume, Workload,
};

use crate::catalog::{DEFAULT_PORT, INITDB, SERVER};
use crate::names::SUPERUSER;
use crate::{catalog, settings, sizing};

/// The one member of an instance without replicas.
pub const MEMBER: &str = "pg-0";
/// Its port, and the endpoint in front of it.
pub const PORT: &str = "sql";
/// Secret of the first user.
pub const USER_SECRET: &str = "app";
/// Secret of the superuser.
pub const SUPERUSER_SECRET: &str = "superuser";

const VOLUME: &str = "data";
const CERTIFICATE: &str = "tls";

const CONFIG_FILE: &str = "postgresql.conf";
const HBA_FILE: &str = "pg_hba.conf";
const CERTIFICATE_FILE: &str = "server.crt";
const KEY_FILE: &str = "server.key";
const PASSWORD_FILE: &str = "superuser.password";

/// A fast shutdown writes the shared buffers out, which takes a while on a large server.
const STOP_GRACE_MS: u32 = 60_000;

/// Who may log in from where. Beside the data directory and not in it: nothing that runs in the
/// database changes it. Without a matching line, as for a connection without TLS, a client is refused.
const HBA: &str = "\
# TYPE     DATABASE  USER       ADDRESS  METHOD
# The superuser and Berth's own checks: over the instance's unix socket, with a password all the same.
local      all       all                 scram-sha-256
host       all       \"berth\"    all      reject
hostssl    all       all        all      scram-sha-256
";

/// The same spec gives the same workload.
pub fn workload(spec: &Spec) -> Workload {
    Workload {
        members: vec![member(spec)],
        endpoints: vec![EndpointPlan::for_clients(MEMBER, PORT)],
        secrets: vec![
            SecretRequest::password(SUPERUSER_SECRET, 48),
            SecretRequest::password(USER_SECRET, 32),
            SecretRequest::certificate(CERTIFICATE, SecretRequest::LASTING),
        ],
    }
}

fn member(spec: &Spec) -> Member {
    Member {
        name: MEMBER.into(),
        main: server(spec),
        init: Some(Init {
            volume: VOLUME.into(),
            tasks: vec![initdb(spec)],
        }),
        files: vec![
            File::plain(CONFIG_FILE, configuration(spec)),
            File::plain(HBA_FILE, HBA),
            // The server refuses a key that others can read.
            File::sensitive(KEY_FILE, format!("${{secret:{CERTIFICATE}.key}}")),
            File::sensitive(CERTIFICATE_FILE, format!("${{secret:{CERTIFICATE}.cert}}")),
            File::sensitive(PASSWORD_FILE, format!("${{secret:{SUPERUSER_SECRET}}}\n")),
        ],
        volumes: vec![Volume {
            name: VOLUME.into(),
            size_bytes: spec.storage_bytes,
        }],
        ports: vec![Port {
            name: PORT.into(),
            number: DEFAULT_PORT,
            socket: Some(format!(".s.PGSQL.${{port:{PORT}}}")),
        }],
        // A killed server leaves it, and the next one gives up when another process has its number.
        stale_files: vec![format!("{VOLUME}/postmaster.pid")],
        stop: Stop {
            // A fast shutdown: clients are cut off, and the data are left clean.
            signal: "INT".into(),
            grace_ms: STOP_GRACE_MS,
        },
    }
}

/// Where things are goes on the command line: there it needs no quoting, and unlike what stands in a file it
/// cannot be overridden by `ALTER SYSTEM`. The socket is not in the data directory, which pg_rewind
/// could not stand.
fn server(spec: &Spec) -> Command {
    let settings = [
        ("config_file", format!("${{file:{CONFIG_FILE}}}")),
        ("hba_file", format!("${{file:{HBA_FILE}}}")),
        ("listen_addresses", format!("${{listen:{PORT}}}")),
        ("port", format!("${{port:{PORT}}}")),
        ("unix_socket_directories", "${run}".to_owned()),
        ("ssl", "on".to_owned()),
        ("ssl_cert_file", format!("${{file:{CERTIFICATE_FILE}}}")),
        ("ssl_key_file", format!("${{file:{KEY_FILE}}}")),
    ];
    Command::new(SERVER, &spec.version)
        .args(["-D".to_owned(), format!("${{volume:{VOLUME}}}")])
        .args(
            settings
                .into_iter()
                .flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")]),
        )
}

/// It leaves syncing to the target, which makes what init tasks wrote durable before the server is started.
fn initdb(spec: &Spec) -> Command {
    Command::new(INITDB, &spec.version)
        .arg(format!("--pgdata=${{volume:{VOLUME}}}"))
        .arg(format!("--username={SUPERUSER}"))
        .arg(format!("--pwfile=${{file:{PASSWORD_FILE}}}"))
        .args([
            "--auth-local=scram-sha-256",
            "--auth-host=scram-sha-256",
            "--encoding=UTF8",
            // The one locale with UTF-8 that every machine has.
            "--locale=C.UTF-8",
            "--data-checksums",
            "--no-sync",
            "--no-instructions",
        ])
        // Otherwise it compares the machine's time zone with every one it knows.
        .env("TZ", "UTC")
}

fn configuration(spec: &Spec) -> String {
    let fixed = [
        // Shown by `ps`, so that an operator can tell the servers of a machine apart.
        ("cluster_name", spec.slug.as_str()),
        // Only the instance's own user, and root, may use the socket.
        ("unix_socket_permissions", "0700"),
        ("password_encryption", "scram-sha-256"),
        ("ssl_min_protocol_version", "TLSv1.2"),
        // What initdb would have put into the data directory's own file.
        ("datestyle", "iso, mdy"),
        ("default_text_search_config", "pg_catalog.english"),
        ("lc_messages", "C.UTF-8"),
        ("lc_monetary", "C.UTF-8"),
        ("lc_numeric", "C.UTF-8"),
        ("lc_time", "C.UTF-8"),
        ("timezone", "UTC"),
        // Logs go to standard error; the target keeps and rotates them.
        ("log_timezone", "UTC"),
        ("log_destination", "stderr"),
        ("logging_collector", "off"),
        ("log_line_prefix", "%m [%p] %q%u@%d "),
        ("log_checkpoints", "on"),
        ("log_lock_waits", "on"),
        // Manual 20.7: the default of 4 is for disks with heads; storage with quick random reads is
        // better described by about 1.1.
        ("random_page_cost", "1.1"),
    ];
    let mut text = String::from(
        "# Written by Berth. Changes made here are lost; ALTER SYSTEM and ALTER DATABASE are not.\n",
    );
    for (name, value) in fixed {
        line(&mut text, name, value);
    }
    for (name, value) in sizing::settings(spec) {
        line(&mut text, name, &value);
    }
    // The last line of a name counts.
    let major = catalog::major(&spec.version).unwrap_or_default();
    for setting in &spec.settings {
        line(&mut text, &setting.name, &settings::value(setting, major));
    }
    text
}

/// Quoted for the server, which knows escapes, and for the target, which knows placeholders.
fn line(text: &mut String, name: &str, value: &str) {
    let value = value.replace('\\', "\\\\").replace('\'', "''");
    text.push_str(name);
    text.push_str(" = '");
    text.push_str(&value.replace("${", "$${"));
    text.push_str("'\n");
}

#[cfg(test)]
pub mod tests {
    use std::fmt::Write as _;

    use berth_sdk::types::NodeSize;
    use berth_sdk_testing as testing;

    use super::*;

    pub fn spec(version: &str) -> Spec {
        Spec {
            name: "main-postgres".into(),
            slug: "main-postgres".into(),
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
        for version in ["14", "15", "16", "17", "18"] {
            let plan = testing::show(&workload(&spec(version)));
            golden(&format!("plan-{version}.txt"), &plan);
        }
    }

    #[test]
    fn the_settings_of_every_size() {
        let mut out = String::new();
        for (cores, memory_gib, storage_gib) in [
            (1, 1, 1),
            (1, 1, 10),
            (1, 2, 10),
            (2, 4, 50),
            (4, 8, 100),
            (8, 16, 500),
            (16, 32, 1000),
            (64, 256, 16_384),
        ] {
            let mut spec = spec("16");
            spec.node = NodeSize {
                cpu_millis: cores * 1000,
                memory_bytes: memory_gib << 30,
            };
            spec.storage_bytes = storage_gib << 30;
            writeln!(out, "{cores} cores, {memory_gib} GiB, {storage_gib} GiB").unwrap();
            for (name, value) in sizing::settings(&spec) {
                writeln!(out, "  {name} = {value}").unwrap();
            }
        }
        golden("sizes.txt", &out);
    }

    #[test]
    fn chosen_settings_come_last_and_are_quoted() {
        let mut spec = spec("16");
        for (name, value) in [("work_mem", "8"), ("TimeZone", "a'b\\c${x}")] {
            spec.settings.push(berth_sdk::types::Setting {
                name: name.into(),
                value: value.into(),
            });
        }
        let text = configuration(&spec);
        let last: Vec<_> = text.lines().rev().take(2).collect();
        assert_eq!(last, ["TimeZone = 'a''b\\\\c$${x}'", "work_mem = '8MB'"]);
    }

    #[test]
    fn no_secret_is_where_others_can_read() {
        testing::no_secret_in_the_open(&workload(&spec("16")));
    }

    #[test]
    fn the_superuser_is_turned_away_from_the_network_first() {
        let lines: Vec<Vec<&str>> = HBA
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().collect())
            .collect();
        let of_network: Vec<_> = lines.iter().filter(|line| line[0] != "local").collect();
        assert_eq!(
            of_network[0],
            &["host", "all", &format!("\"{SUPERUSER}\""), "all", "reject"]
        );
        assert!(of_network[1..].iter().all(|line| line[0] == "hostssl"));
    }
}
