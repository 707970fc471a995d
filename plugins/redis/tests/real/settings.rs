//! Settings on a real server: that the table tells the truth of every version, and that changed ones take effect.

use std::collections::BTreeMap;

use berth_plugin_redis::Redis;
use berth_sdk::engine::settings::Settings;
use berth_sdk::engine::{Catalog, SettingSchema, SettingType};
use berth_sdk::types::Error;

use crate::server::Server;

pub fn live(version: &str, server: &mut Server) {
    server.configure(&[]);
    server.restart();
    table(version, server);
    changes(version, server);
}

fn table(version: &str, server: &mut Server) {
    let has = has(server);
    let described = Redis::describe();
    let ours = described.versions.iter().find(|v| v.label == version);
    let schemas = &ours.expect("the version").settings;
    assert!(schemas.len() >= 40);
    for schema in schemas {
        let (name, what) = (&*schema.name, format!("{version}: {}", schema.name));
        let value = has
            .get(name)
            .unwrap_or_else(|| panic!("{version} has no {name}"));
        assert_eq!(*value, native(schema, &schema.default_value), "{what}");
        let set = |value: &str| server.try_ask(&["CONFIG", "SET", name, value]);
        if !schema.live {
            let refused = set(value).expect_err(&what);
            assert!(refused.contains("immutable"), "{what}: {refused}");
            continue;
        }
        let extremes = match &schema.type_ {
            SettingType::Boolean => vec!["on".to_owned(), "off".to_owned()],
            SettingType::Integer(bounds) => {
                vec![bounds.minimum.to_string(), bounds.maximum.to_string()]
            }
            SettingType::Number(_) => panic!("{what}"),
            SettingType::Text(Some(pattern)) => match name {
                "save" => vec![
                    "1 1 2 2 3 3 4 4 5 5 6 6 7 7 999999999 999999999".into(),
                    "off".into(),
                ],
                "notify-keyspace-events" => vec!["KEg$lshzxednmtA".into(), "off".into()],
                _ => pattern.split('|').map(str::to_owned).collect(),
            },
            SettingType::Text(None) => panic!("{what}"),
        };
        for extreme in extremes {
            let extreme = native(schema, &extreme);
            set(&extreme).unwrap_or_else(|e| panic!("{what} {extreme}: {e}"));
        }
    }
    // It takes all that is different back.
    assert_eq!(
        Redis::reload(server.instance.clone()).expect("a reload"),
        [""; 0]
    );
    assert_eq!(self::has(server), has, "{version}");
}

/// A value of ours in the server's notation, found out here again.
fn native(schema: &SettingSchema, value: &str) -> String {
    match (&schema.type_, schema.unit.as_deref()) {
        (SettingType::Boolean, _) => if value == "on" { "yes" } else { "no" }.to_owned(),
        (SettingType::Text(_), _) if value == "off" => String::new(),
        (_, Some("MB")) => (value.parse::<u64>().expect("a number") * 1_048_576).to_string(),
        (_, Some("B" | "s" | "ms" | "us" | "min") | None) => value.to_owned(),
        (_, Some(other)) => panic!("{other}"),
    }
}

fn has(server: &Server) -> BTreeMap<String, String> {
    let text = server.ask(&["CONFIG", "GET", "*"]);
    let mut lines = text.lines();
    let mut all = BTreeMap::new();
    while let Some(name) = lines.next() {
        all.insert(name.to_owned(), lines.next().unwrap_or_default().to_owned());
    }
    all
}

fn changes(version: &str, server: &mut Server) {
    let reload = |server: &Server| Redis::reload(server.instance.clone());
    let show = |server: &Server, name: &str| has(server)[name].clone();
    server.configure(&[
        ("maxmemory-policy", "allkeys-lru"),
        ("appendfsync", "always"),
        ("save", "off"),
        ("timeout", "600"),
        ("auto-aof-rewrite-min-size", "3"),
        ("io-threads", "2"),
    ]);
    for _ in 0..2 {
        assert_eq!(
            reload(server).expect("a reload"),
            ["io-threads"],
            "{version}"
        );
    }
    let fast = [
        ("maxmemory-policy", "allkeys-lru"),
        ("appendfsync", "always"),
        ("save", ""),
        ("timeout", "600"),
        ("auto-aof-rewrite-min-size", "3145728"),
    ];
    for (name, value) in fast {
        assert_eq!(show(server, name), value, "{version}: {name}");
    }
    assert_eq!(show(server, "io-threads"), "1");
    server.restart();
    assert_eq!(reload(server).expect("a reload"), [""; 0]);
    for (name, value) in fast.into_iter().chain([("io-threads", "2")]) {
        assert_eq!(show(server, name), value, "{version}: {name}");
    }

    // What the server does not take is named, and nothing of it holds.
    server.configure(&[("timeout", "601")]);
    server
        .instance
        .spec
        .settings
        .push(berth_sdk::types::Setting {
            name: "hz".into(),
            value: "many".into(),
        });
    let refused = reload(server);
    let Err(Error::Invalid(problems)) = refused else {
        panic!("{version}: {refused:?}");
    };
    assert_eq!(problems[0].field, "hz", "{problems:?}");
    assert_eq!(show(server, "timeout"), "600");

    // A larger node has more room at once.
    server.configure(&[]);
    let size = server.spec().node;
    server.instance.spec.node.memory_bytes *= 2;
    let before: u64 = show(server, "maxmemory").parse().expect("a number");
    assert_eq!(reload(server).expect("a reload"), ["io-threads"]);
    let after: u64 = show(server, "maxmemory").parse().expect("a number");
    assert!(after > before, "{before} and {after}");
    server.instance.spec.node = size;
    server.configure(&[]);
    server.restart();
    assert_eq!(reload(server).expect("a reload"), [""; 0]);

    // Renewed certificates are taken with a reload.
    let before = server.certificate();
    server.renew_certificate();
    assert_eq!(reload(server).expect("a reload"), [""; 0]);
    assert_ne!(before, server.certificate(), "{version}");
}
