//! What must run for an instance.

use berth_sdk::types::{
    Command, EndpointPlan, File, Init, Member, Port, SecretRequest, Spec, Stop, Volume, Workload,
};

use crate::catalog::{DEFAULT_PORT, SERVER, Series};
use crate::names::SUPERUSER;
use crate::settings;
use crate::settings_table::AUTHENTICATION;

/// The one member of an instance without replicas.
pub const MEMBER: &str = "mysql-0";
/// Its port, and the endpoint in front of it.
pub const PORT: &str = "sql";
/// Secret of the first user.
pub const USER_SECRET: &str = "app";
/// Secret of the superuser.
pub const SUPERUSER_SECRET: &str = "superuser";

const VOLUME: &str = "data";
const CERTIFICATE: &str = "tls";

const CONFIG_FILE: &str = "my.cnf";
const AUTHORITY_FILE: &str = "ca.crt";
const CERTIFICATE_FILE: &str = "server.crt";
const KEY_FILE: &str = "server.key";
const SUPERUSER_FILE: &str = "superuser.sql";

/// How many sessions Berth's own account may have. Several calls come at once.
pub const OWN_CONNECTIONS: u32 = 100_000;

/// What changed in memory is written out, which takes a while on a large server.
const STOP_GRACE_MS: u32 = 60_000;

/// The same spec gives the same workload.
pub fn workload(spec: &Spec, series: Series) -> Workload {
    Workload {
        members: vec![member(spec, series)],
        endpoints: vec![EndpointPlan::for_clients(MEMBER, PORT)],
        secrets: vec![
            SecretRequest::password(SUPERUSER_SECRET, 48),
            SecretRequest::password(USER_SECRET, 32),
            SecretRequest::certificate(CERTIFICATE, SecretRequest::LASTING),
        ],
    }
}

fn member(spec: &Spec, series: Series) -> Member {
    Member {
        name: MEMBER.into(),
        main: server(spec),
        init: Some(Init {
            volume: VOLUME.into(),
            tasks: vec![initialisation(spec)],
        }),
        files: vec![
            File::plain(CONFIG_FILE, configuration(spec, series)),
            File::sensitive(AUTHORITY_FILE, format!("${{secret:{CERTIFICATE}.ca}}")),
            File::sensitive(CERTIFICATE_FILE, format!("${{secret:{CERTIFICATE}.cert}}")),
            File::sensitive(KEY_FILE, format!("${{secret:{CERTIFICATE}.key}}")),
            File::sensitive(SUPERUSER_FILE, superuser()),
        ],
        volumes: vec![Volume {
            name: VOLUME.into(),
            size_bytes: spec.storage_bytes,
        }],
        ports: vec![Port {
            name: PORT.into(),
            number: DEFAULT_PORT,
            socket: Some("mysqld.sock".into()),
        }],
        stale_files: Vec::new(),
        stop: Stop {
            signal: "TERM".into(),
            grace_ms: STOP_GRACE_MS,
        },
    }
}

/// Where things are goes on the command line, where it needs no quoting. The data have a directory of their own in the
/// volume, so that temporary files lie beside them: the system's own place for these is not the instance's.
fn server(spec: &Spec) -> Command {
    Command::new(SERVER, &spec.version)
        // Must be the first, or the machine's own files are read.
        .arg(format!("--defaults-file=${{file:{CONFIG_FILE}}}"))
        .args(places(spec))
        .arg("--socket=${run}/mysqld.sock")
        .arg("--pid-file=${run}/mysqld.pid")
        .arg(format!("--bind-address=${{listen:{PORT}}}"))
        .arg(format!("--port=${{port:{PORT}}}"))
        .arg(format!("--ssl-ca=${{file:{AUTHORITY_FILE}}}"))
        .arg(format!("--ssl-cert=${{file:{CERTIFICATE_FILE}}}"))
        .arg(format!("--ssl-key=${{file:{KEY_FILE}}}"))
}

/// It leaves syncing to the target, which makes what init tasks wrote durable before the server is started. The user
/// that it makes without a password is gone when it ends, and nobody can connect before.
fn initialisation(spec: &Spec) -> Command {
    Command::new(SERVER, &spec.version)
        .arg("--no-defaults")
        .arg("--initialize-insecure")
        .args(places(spec))
        .arg(format!("--init-file=${{file:{SUPERUSER_FILE}}}"))
        .args([
            "--secure-file-priv=NULL",
            "--mysqlx=OFF",
            "--skip-log-bin",
            "--innodb-use-native-aio=OFF",
            "--innodb-flush-method=nosync",
            "--performance-schema=OFF",
        ])
}

fn places(spec: &Spec) -> [String; 3] {
    let lower = u8::from(settings::lower_case(spec));
    [
        format!("--datadir=${{volume:{VOLUME}}}/mysql"),
        format!("--tmpdir=${{volume:{VOLUME}}}"),
        format!("--lower-case-table-names={lower}"),
    ]
}

/// One statement a line. The account is for the socket alone: nobody gets at it from the network, the machine's own
/// included, because addresses are not turned into names. It may change every account, and no other may change it. Its
/// own limit counts in place of `max_user_connections`, which a caller may set.
fn superuser() -> String {
    let account = format!("'{SUPERUSER}'@'localhost'");
    format!(
        "CREATE USER {account} IDENTIFIED WITH caching_sha2_password BY '${{secret:{SUPERUSER_SECRET}}}' \
         WITH MAX_USER_CONNECTIONS {OWN_CONNECTIONS};\n\
         GRANT ALL ON *.* TO {account} WITH GRANT OPTION;\n\
         DROP USER 'root'@'localhost';\n"
    )
}

fn configuration(spec: &Spec, series: Series) -> String {
    let fixed = [
        // Clients from elsewhere use TLS. The instance's own socket counts as safe.
        ("require_secure_transport", "ON"),
        ("tls_version", "TLSv1.2,TLSv1.3"),
        // Nobody is asked for a password in a way that needs a key: there is TLS or the socket.
        ("caching_sha2_password_auto_generate_rsa_keys", "OFF"),
        ("auto_generate_certs", "OFF"),
        ("skip_name_resolve", "ON"),
        // Behind a proxy all clients have one address, and one of them would shut out all.
        ("max_connect_errors", "4294967295"),
        // Admins reach all databases but the server's own.
        ("partial_revokes", "ON"),
        ("activate_all_roles_on_login", "ON"),
        // What would be read after this file, and count more.
        ("persisted_globals_load", "OFF"),
        // No files of the machine, in either direction, and no second protocol.
        ("secure_file_priv", "NULL"),
        ("local_infile", "OFF"),
        ("mysqlx", "OFF"),
        // Without replicas nobody reads it, and it would fill the storage.
        ("skip_log_bin", "ON"),
        // The kernel has few of these requests for all instances of a machine together.
        ("innodb_use_native_aio", "OFF"),
        // Of several, the pool is rounded up to a chunk for each, which a node may not have.
        ("innodb_buffer_pool_instances", "1"),
        ("key_buffer_size", "1048576"),
        ("default_time_zone", "+00:00"),
        ("log_timestamps", "UTC"),
    ];
    let mut text = String::from("# Written by Berth. Changes made here are lost.\n[mysqld]\n");
    for (name, value) in fixed {
        line(&mut text, name, value);
    }
    let all = settings::in_force(spec, series);
    // 8.4 has it and does not load it; 8.0 loads it always, and later ones do not have it.
    let native = |(name, value): &(&str, String)| {
        AUTHENTICATION.contains(name) && value.contains("mysql_native_password")
    };
    if series == Series::V8_4 && all.iter().any(native) {
        line(&mut text, "mysql_native_password", "ON");
    }
    for (name, value) in all {
        line(&mut text, name, &value);
    }
    text
}

/// Values hold neither quotes nor placeholders: the table of settings allows none.
fn line(text: &mut String, name: &str, value: &str) {
    text.push_str(name);
    text.push_str(" = ");
    text.push_str(&value.replace("${", "$${"));
    text.push('\n');
}

#[cfg(test)]
pub mod tests {
    use std::fmt::Write as _;

    use berth_sdk::types::{NodeSize, Setting};
    use berth_sdk_testing as testing;

    use super::*;
    use crate::catalog::SERIES;
    use crate::sizing;

    pub fn spec(version: &str) -> Spec {
        Spec {
            name: "main-mysql".into(),
            slug: "main-mysql".into(),
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
        for series in SERIES {
            let plan = testing::show(&workload(&spec(series.label()), series));
            golden(&format!("plan-{}.txt", series.label()), &plan);
        }
    }

    #[test]
    fn the_settings_of_every_size() {
        let mut out = String::new();
        for (memory_mib, storage_gib) in [
            (512, 1),
            (1024, 10),
            (2048, 10),
            (4096, 50),
            (16_384, 500),
            (262_144, 16_384),
        ] {
            let mut spec = spec("8.4");
            spec.node.memory_bytes = memory_mib << 20;
            spec.storage_bytes = storage_gib << 30;
            writeln!(out, "{memory_mib} MiB, {storage_gib} GiB").unwrap();
            for (name, value) in sizing::settings(&spec) {
                writeln!(out, "  {name} = {value}").unwrap();
            }
        }
        golden("sizes.txt", &out);
    }

    #[test]
    fn another_plugin_for_logging_in_is_loaded_where_it_is_not_always() {
        for (version, name, value, loaded) in [
            (
                "8.0",
                "default_authentication_plugin",
                "mysql_native_password",
                false,
            ),
            (
                "8.4",
                "authentication_policy",
                "*:mysql_native_password,,",
                true,
            ),
            ("8.4", "authentication_policy", "*,,", false),
        ] {
            let mut spec = spec(version);
            spec.settings.push(Setting {
                name: name.into(),
                value: value.into(),
            });
            let text = configuration(&spec, Series::of_label(version).unwrap());
            assert!(text.contains(&format!("\n{name} = {value}\n")), "{text}");
            assert_eq!(text.contains("\nmysql_native_password = ON\n"), loaded);
        }
    }

    #[test]
    fn no_secret_is_where_others_can_read() {
        testing::no_secret_in_the_open(&workload(&spec("8.4"), Series::V8_4));
    }
}
