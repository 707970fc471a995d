//! Settings, on a real server: the table says of each what the server says, and each takes effect when it is said to.

use berth_plugin_mysql::MySql;
use berth_sdk::engine::settings::Settings;
use berth_sdk::engine::users::Users;
use berth_sdk::engine::{Catalog, Provisioning, SettingSchema, SettingType};
use berth_sdk::types::Error;
use berth_sdk_testing::Signal;

use crate::server::Server;
use crate::users::PASSWORD;

pub fn live(server: &mut Server) {
    let reload = |server: &Server| MySql::reload(server.instance.clone()).expect("a reload");
    assert_eq!(reload(server), [""; 0], "what was planned is in force");
    let schemas = schemas(server);
    as_the_server_says(server, &schemas);

    // Every setting at once, at another value than its own.
    let others: Vec<_> = schemas
        .iter()
        .map(|s| (s.name.clone(), another(s)))
        .collect();
    let chosen: Vec<_> = others
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    server.configure(&chosen);
    let waiting = reload(server);
    let mut restart: Vec<_> = schemas
        .iter()
        .filter(|s| !s.live)
        .map(|s| s.name.clone())
        .collect();
    restart.sort();
    let mut sorted = waiting.clone();
    sorted.sort();
    assert_eq!(sorted, restart);
    let value = |server: &Server, name: &str| server.ask(&format!("SELECT @@global.{name}"));
    assert_eq!(
        value(server, "wait_timeout"),
        another(schema(&schemas, "wait_timeout"))
    );
    let before = server.certificate();
    server.restart();
    assert_eq!(reload(server), [""; 0], "{:?}", server.spec().settings);
    assert_eq!(server.certificate(), before);

    // Back to what holds without a choice.
    server.configure(&[]);
    server.renew_certificate();
    assert_eq!(reload(server).len(), restart.len());
    assert_ne!(
        server.certificate(),
        before,
        "it reads its certificate anew"
    );
    assert_eq!(value(server, "wait_timeout"), "28800");
    server.restart();
    assert_eq!(reload(server), [""; 0]);
    as_the_server_says(server, &schemas);

    one_that_is_refused_changes_nothing(server);
    callers_limits_are_not_berths(server);
    one_without_a_connection_left_is_there(server);
    another_way_to_log_in(server, &schemas);
}

fn schemas(server: &Server) -> Vec<SettingSchema> {
    let described = MySql::describe().versions;
    let version = described
        .into_iter()
        .find(|v| v.label == server.spec().version);
    let all = version.expect("the version").settings;
    all.into_iter().filter(|schema| !schema.init_only).collect()
}

fn schema<'a>(schemas: &'a [SettingSchema], name: &str) -> &'a SettingSchema {
    schemas
        .iter()
        .find(|schema| schema.name == name)
        .expect(name)
}

/// The default is what a server has that was planned for the smallest node, which this one was.
fn as_the_server_says(server: &Server, schemas: &[SettingSchema]) {
    for schema in schemas {
        let said = server.ask(&format!("SELECT @@global.{}", schema.name));
        let unit = match schema.unit.as_deref() {
            Some("kB") => 1 << 10,
            Some("MB") => 1 << 20,
            _ => 1,
        };
        let same = match &schema.type_ {
            SettingType::Boolean => {
                said == if schema.default_value == "on" {
                    "1"
                } else {
                    "0"
                } || said.eq_ignore_ascii_case(&schema.default_value)
            }
            SettingType::Integer(_) => {
                said.parse::<i64>().ok()
                    == schema.default_value.parse::<i64>().ok().map(|it| it * unit)
            }
            SettingType::Number(_) => {
                said.parse::<f64>().ok() == schema.default_value.parse::<f64>().ok()
            }
            SettingType::Text(_) => said == schema.default_value,
        };
        assert!(
            same,
            "{}: {said} and not {}",
            schema.name, schema.default_value
        );
    }
}

/// One that is allowed and not the default.
fn another(schema: &SettingSchema) -> String {
    let default = &*schema.default_value;
    match &schema.type_ {
        SettingType::Boolean => if default == "on" { "off" } else { "on" }.into(),
        SettingType::Integer(bounds) => match &*schema.name {
            "innodb_buffer_pool_size" => "256".into(),
            "max_connections" => "50".into(),
            // Some have steps of the server's own.
            _ if matches!(schema.unit.as_deref(), Some("kB" | "MB")) => {
                (default.parse::<i64>().expect("a number") * 2).to_string()
            }
            _ => {
                let number = default.parse::<i64>().expect("a number");
                if number < bounds.maximum {
                    number + 1
                } else {
                    number - 1
                }
                .to_string()
            }
        },
        SettingType::Number(_) => "75.5".into(),
        SettingType::Text(_) => match &*schema.name {
            "authentication_policy" => "*:caching_sha2_password,,".into(),
            "default_authentication_plugin" => "mysql_native_password".into(),
            "character_set_server" => "latin1".into(),
            "sql_mode" => "STRICT_TRANS_TABLES,ANSI_QUOTES,NO_BACKSLASH_ESCAPES".into(),
            "transaction_isolation" => "READ-COMMITTED".into(),
            other => panic!("another value for {other}"),
        },
    }
}

fn one_that_is_refused_changes_nothing(server: &mut Server) {
    server.configure(&[
        ("connect_timeout", "11"),
        ("transaction_isolation", "SOMEHOW"),
        ("wait_timeout", "5"),
    ]);
    let refused = MySql::reload(server.instance.clone());
    assert!(
        matches!(&refused, Err(Error::Invalid(all)) if all[0].field == "transaction_isolation"),
        "{refused:?}"
    );
    assert_eq!(
        server.ask("SELECT @@global.connect_timeout, @@global.wait_timeout"),
        "10\t28800"
    );
    server.configure(&[]);
    assert_eq!(
        MySql::reload(server.instance.clone()).expect("a reload"),
        [""; 0]
    );
}

/// A limit for each user leaves Berth its sessions: several calls come at once.
fn callers_limits_are_not_berths(server: &mut Server) {
    server.configure(&[("max_user_connections", "1")]);
    MySql::reload(server.instance.clone()).expect("a reload");
    let asks = "FROM information_schema.processlist WHERE info = 'SELECT SLEEP(60)'";
    std::thread::scope(|scope| {
        let held = scope.spawn(|| server.ask("SELECT SLEEP(60)"));
        while server.ask(&format!("SELECT COUNT(*) {asks}")) == "0" {
            assert!(!held.is_finished(), "its session ended early");
        }
        let listed = MySql::list_users(server.instance.clone());
        let id = server.ask(&format!("SELECT id {asks}"));
        server.ask(&format!("KILL QUERY {id}"));
        assert_eq!(held.join().expect("no panic"), "1", "it was interrupted");
        listed.expect("a list");
    });
    server.configure(&[]);
    MySql::reload(server.instance.clone()).expect("a reload");
}

/// Nobody gets in, Berth neither, and the clients that are there are served.
fn one_without_a_connection_left_is_there(server: &mut Server) {
    let planned = server.ask("SELECT @@global.max_connections");
    let asked = &*server;
    let password = asked.secret("app");
    let seen = std::thread::scope(|scope| {
        let hold = || asked.try_ask("app_user", &password, "SELECT SLEEP(60)");
        let held = [scope.spawn(hold), scope.spawn(hold)];
        let there =
            "SELECT COUNT(*) FROM information_schema.processlist WHERE info = 'SELECT SLEEP(60)'";
        while asked.ask(there) != "2" {
            assert!(held.iter().all(|it| !it.is_finished()), "one ended early");
        }
        // One more is let in for an administrator, and there is one more already.
        asked.ask("SET GLOBAL max_connections = 1");
        let seen = MySql::observe(asked.instance.clone());
        let refused = MySql::list_users(asked.instance.clone());
        asked.send(Signal::SIGKILL);
        assert!(matches!(refused, Err(Error::RetryAfter(_))), "{refused:?}");
        seen.expect("an observation")
    });
    server.reap();
    assert!(seen[0].ready, "it is there");
    assert_eq!(seen[0].connections.to_string(), planned);
    server.run();
    server.bootstrap();
}

/// Where the series has it.
fn another_way_to_log_in(server: &mut Server, schemas: &[SettingSchema]) {
    let native = ["*:mysql_native_password,,", "mysql_native_password"];
    let offered = schemas.iter().find_map(|schema| {
        let SettingType::Text(Some(pattern)) = &schema.type_ else {
            return None;
        };
        let value = native[usize::from(schema.name == "default_authentication_plugin")];
        pattern
            .contains("mysql_native_password")
            .then_some((schema.name.clone(), value))
    });
    let Some((name, value)) = offered else {
        return;
    };
    server.configure(&[(&name, value)]);
    server.restart();
    let it = || server.instance.clone();
    MySql::create_user(it(), "old".into(), PASSWORD.into(), false).expect("a user");
    assert_eq!(
        server.ask("SELECT plugin FROM mysql.user WHERE User = 'old'"),
        "mysql_native_password"
    );
    MySql::delete_user(it(), "old".into()).expect("a removal");
}
