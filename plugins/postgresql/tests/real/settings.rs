//! Settings on a real server: that the table tells the truth of every version, and that changed ones take effect.

use std::collections::BTreeMap;

use berth_plugin_postgresql::PostgreSql;
use berth_sdk::engine::settings::Settings;
use berth_sdk::engine::{Catalog, Credentials, SettingSchema, SettingType};
use berth_sdk::types::Error;

use crate::server::Server;

pub fn live(version: &str, server: &mut Server) {
    table(version, server);
    changes(version, server);
}

/// What the server says of a setting.
struct Known {
    kind: String,
    unit: String,
    minimum: Option<f64>,
    maximum: Option<f64>,
    words: String,
    context: String,
    value: String,
}

fn table(version: &str, server: &Server) {
    let known = known(server);
    let described = PostgreSql::describe();
    let ours = described.versions.iter().find(|v| v.label == version);
    let schemas = &ours.expect("the version").settings;
    assert!(schemas.len() >= 40);
    for schema in schemas {
        let name = &*schema.name;
        let known = known
            .get(name)
            .unwrap_or_else(|| panic!("{version} has no {name}"));
        let what = format!("{version}: {name}");
        let live = ["sighup", "user", "superuser"].contains(&&*known.context);
        assert!(
            live || known.context == "postmaster",
            "{what}: {}",
            known.context
        );
        assert_eq!(schema.live, live, "{what}: {}", known.context);
        match &schema.type_ {
            SettingType::Boolean => assert_eq!(known.kind, "bool", "{what}"),
            SettingType::Integer(bounds) => {
                assert_eq!(known.kind, "integer", "{what}");
                #[allow(clippy::cast_precision_loss)]
                bounded(schema, known, bounds.minimum as f64, bounds.maximum as f64);
            }
            SettingType::Number(bounds) => {
                assert_eq!(known.kind, "real", "{what}");
                bounded(schema, known, bounds.minimum, bounds.maximum);
            }
            SettingType::Text(pattern) => {
                let pattern = pattern.as_deref().expect("a pattern");
                match &*known.kind {
                    "enum" => pattern.split('|').for_each(|word| {
                        assert!(known.words.split('|').any(|w| w == word), "{what}: {word}")
                    }),
                    // An older one knew on and off alone.
                    "bool" => assert_eq!(pattern, "on|off", "{what}"),
                    "string" => {}
                    other => panic!("{what}: {other}"),
                }
            }
        }
        default(schema, known, &what);
    }
}

/// Ours lie within the server's own, in the server's unit; and what is special in ours is so in the server's.
fn bounded(schema: &SettingSchema, known: &Known, minimum: f64, maximum: f64) {
    let what = format!("{}: {minimum}..{maximum}", schema.name);
    let ours = factor(schema.unit.as_deref().unwrap_or_default());
    let theirs = factor(&known.unit);
    assert_eq!(ours.1, theirs.1, "{what}: {}", known.unit);
    let within = |bound: f64| {
        // One that is negative is a word, and has no unit.
        let base = if bound < 0.0 {
            bound
        } else {
            bound * ours.0 / theirs.0
        };
        known.minimum.is_none_or(|least| base >= least)
            && known.maximum.is_none_or(|most| base <= most)
    };
    assert!(
        within(minimum) && within(maximum),
        "{what}: {:?}..{:?}",
        known.minimum,
        known.maximum
    );
}

/// What holds on a server that was planned for a small node is what its description says, but for what depends on
/// the node's size: the test's is larger than the smallest.
fn default(schema: &SettingSchema, known: &Known, what: &str) {
    let sized = [
        "max_connections",
        "shared_buffers",
        "effective_cache_size",
        "work_mem",
        "maintenance_work_mem",
        "max_wal_size",
        "min_wal_size",
        "max_worker_processes",
        "max_parallel_workers",
        "max_parallel_workers_per_gather",
        "max_parallel_maintenance_workers",
    ];
    if sized.contains(&&*schema.name) {
        let number: f64 = schema.default_value.parse().expect("a number");
        assert!(number >= 0.0, "{what}");
        return;
    }
    let Ok(ours) = schema.default_value.parse::<f64>() else {
        assert_eq!(schema.default_value, known.value, "{what}");
        return;
    };
    let base = |unit: &str| factor(unit).0;
    let ours = if ours < 0.0 {
        ours
    } else {
        ours * base(schema.unit.as_deref().unwrap_or_default()) / base(&known.unit)
    };
    let theirs: f64 = known.value.parse().expect("a number");
    assert!((ours - theirs).abs() < 1e-9, "{what}: {ours} and {theirs}");
}

/// How much a unit is, and of what.
fn factor(unit: &str) -> (f64, &'static str) {
    match unit {
        "" => (1.0, "things"),
        "B" => (1.0, "bytes"),
        "kB" => (1024.0, "bytes"),
        "8kB" => (8192.0, "bytes"),
        "MB" => (1_048_576.0, "bytes"),
        "ms" => (1.0, "time"),
        "s" => (1000.0, "time"),
        "min" => (60_000.0, "time"),
        other => panic!("{other}"),
    }
}

fn known(server: &Server) -> BTreeMap<String, Known> {
    let sql = "SELECT format('%s;%s;%s;%s;%s;%s;%s;%s', name, vartype, coalesce(unit, ''), min_val, max_val, \
               array_to_string(enumvals, '|'), context, setting) FROM pg_settings WHERE setting !~ '[;\\n]'";
    let all = server.ask("postgres", sql);
    all.lines()
        .map(|line| {
            let part: Vec<_> = line.split(';').collect();
            let known = Known {
                kind: part[1].into(),
                unit: part[2].into(),
                minimum: part[3].parse().ok(),
                maximum: part[4].parse().ok(),
                words: part[5].into(),
                context: part[6].into(),
                value: part[7].into(),
            };
            (part[0].into(), known)
        })
        .collect()
}

fn changes(version: &str, server: &mut Server) {
    let reload = |server: &Server| PostgreSql::reload(server.instance.clone());
    let show = |server: &Server, name: &str| server.ask("real_one", &format!("SHOW {name}"));
    server.configure(&[]);
    assert_eq!(reload(server).expect("a reload"), [""; 0]);
    // What was set by hand stands above the plan, and would hide it.
    server.ask("postgres", "ALTER SYSTEM RESET ALL");

    server.configure(&[
        ("lock_timeout", "1234"),
        ("work_mem", "9"),
        ("temp_file_limit", "-1"),
        ("default_transaction_isolation", "serializable"),
        ("idle_session_timeout", "3600000"),
        ("max_prepared_transactions", "7"),
        ("max_connections", "44"),
    ]);
    let waiting = reload(server).expect("a reload");
    assert_eq!(
        waiting,
        ["max_connections", "max_prepared_transactions"],
        "{version}"
    );
    let uri = server.uri_in("app_user", &server.secret("app"), "real_one");
    let shown = |name: &str| server.psql(&uri, &format!("SHOW {name}")).expect(name);
    assert_eq!(shown("lock_timeout"), "1234ms");
    assert_eq!(shown("work_mem"), "9MB");
    assert_eq!(shown("default_transaction_isolation"), "serializable");
    assert_ne!(shown("max_connections"), "44");
    server.restart();
    assert_eq!(show(server, "max_connections"), "44");
    assert_eq!(show(server, "max_prepared_transactions"), "7");
    assert_eq!(reload(server).expect("a reload"), [""; 0]);

    // What the server does not know is refused, and changes nothing.
    server.configure(&[("TimeZone", "Mars/Phobos"), ("work_mem", "8")]);
    let refused = reload(server);
    let Err(Error::Invalid(problems)) = refused else {
        panic!("{version}: {refused:?}");
    };
    assert_eq!(problems[0].field, "TimeZone", "{problems:?}");
    assert_eq!(show(server, "work_mem"), "9MB");
    server.configure(&[]);
    let waiting = reload(server).expect("a reload");
    assert_eq!(
        waiting,
        ["max_connections", "max_prepared_transactions"],
        "{version}"
    );
    server.restart();
    assert_eq!(reload(server).expect("a reload"), [""; 0]);
    assert_eq!(show(server, "max_prepared_transactions"), "0");

    // One that nobody can work with is chosen all the same: Berth is not locked out by it.
    server.configure(&[
        ("statement_timeout", "1"),
        ("idle_in_transaction_session_timeout", "1"),
    ]);
    assert_eq!(reload(server).expect("a reload"), [""; 0]);
    server.bootstrap();
    server.configure(&[]);
    assert_eq!(reload(server).expect("a reload"), [""; 0]);
    let verdict = PostgreSql::verify(
        server.instance.clone(),
        server.login(),
        server.secret("app"),
    );
    assert!(matches!(verdict, Ok(true)), "{verdict:?}");

    // A new name of the database is no reason to end everybody's connections.
    server.instance.spec.slug = "renamed".into();
    server.configure(&[]);
    assert_eq!(reload(server).expect("a reload"), [""; 0]);
    assert_ne!(show(server, "cluster_name"), "renamed");
    server.restart();
    assert_eq!(show(server, "cluster_name"), "renamed");

    // Renewed certificates are taken with a reload.
    let before = server.certificate();
    server.renew_certificate();
    assert_eq!(reload(server).expect("a reload"), [""; 0]);
    let after = server.certificate();
    assert_ne!(before, after, "{version}");
}
