//! The plugin against a real server: native, without the sandbox, but with the plan as it is, and with the server reached
//! as the host reaches it. `BERTH_TEST_MYSQLD=/path/to/mysqld` runs it on another one than the script installs.

mod privileges;
mod server;
mod settings;
mod users;

use berth_plugin_mysql::MySql;
use berth_sdk::engine::users::Users;
use berth_sdk::engine::{Credentials, Login, Provisioning, Role};
use berth_sdk::types::Error;
use berth_sdk_testing::{Signal, Sweep, not_tried};

use server::{Program, Server, program};

#[test]
fn lives_with_the_version_installed() {
    if let Some(program) = required() {
        a_life(Server::start(program, &[]));
    }
}

#[test]
fn names_are_in_lower_case_where_that_was_chosen() {
    let Some(program) = required() else {
        return;
    };
    let mut server = Server::start(program, &[("lower_case_table_names", "1")]);
    server.bootstrap();
    assert_eq!(server.ask("SELECT @@lower_case_table_names"), "1");
    let it = || server.instance.clone();
    let refused = MySql::create_database(it(), "Shop".into());
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    MySql::create_database(it(), "shop".into()).expect("a database");
    server.ask("CREATE DATABASE Stock");
    let all: Vec<_> = MySql::list_databases(it(), false).expect("a list");
    let names: Vec<_> = all.iter().map(|database| &*database.name).collect();
    assert_eq!(names, ["real_one", "shop", "stock"]);
    server.restart();
}

#[test]
fn what_was_cut_off_is_mended_by_its_repetition() {
    let Some(program) = required() else {
        return;
    };
    let mut server = Server::start(program, &[]);
    server.bootstrap();
    server.sweep(&Sweep {
        database: "cut_here",
        makes_databases: true,
        setting: ("wait_timeout", ["600", "700"]),
    });
}

/// None where this machine has no server and may pass over what it cannot try.
fn required() -> Option<Program> {
    let found = program();
    if found.is_none() {
        not_tried("the engine for MySQL on a real server");
    }
    found
}

fn a_life(mut server: Server) {
    server.bootstrap();
    server.bootstrap();

    observed(&server);
    clients_get_in_by_tls_only(&server);
    first_user_rules_its_own_and_no_more(&server);
    passwords(&server);
    users::live(&server);
    privileges::live(&server);

    let log = server.log();
    let general = server.ask(
        "SELECT COALESCE(GROUP_CONCAT(CONVERT(argument USING utf8mb4)), '') FROM mysql.general_log",
    );
    for place in [&log, &general, &server.arguments()] {
        for hidden in [
            &*server.secret("app"),
            &server.secret("superuser"),
            "$A$005$",
            users::PASSWORD,
        ] {
            assert!(!place.contains(hidden), "{hidden} is in\n{place}");
        }
    }

    server.signal(Signal::SIGKILL);
    let seen = MySql::observe(server.instance.clone()).expect("an observation");
    assert!(!seen[0].ready, "a killed server is not ready");
    assert!(matches!(
        MySql::verify(server.instance.clone(), server.login(), "x".into()),
        Err(Error::RetryAfter(_))
    ));

    server.run();
    server.bootstrap();
    settings::live(&mut server);
    let status = server.stop();
    assert!(status.success(), "{status}\n{}", server.log());
}

fn observed(server: &Server) {
    let seen = MySql::observe(server.instance.clone()).expect("an observation");
    assert_eq!(seen.len(), 1);
    assert!(seen[0].ready);
    assert_eq!(seen[0].member, "mysql-0");
    assert!(matches!(seen[0].role, Role::Primary));
    assert!(seen[0].data_bytes > 20 << 20, "{}", seen[0].data_bytes);
    assert_eq!(seen[0].connections, 0);
    let said = server.ask("SELECT VERSION()");
    assert!(said.starts_with(&seen[0].version), "{said}");
    assert_eq!(seen[0].version.split('.').count(), 3);
}

fn clients_get_in_by_tls_only(server: &Server) {
    let password = server.secret("app");
    let sql = "SELECT CURRENT_USER(), VARIABLE_VALUE <> '' FROM performance_schema.session_status \
               WHERE VARIABLE_NAME = 'Ssl_cipher'";
    let who = server.try_ask("app_user", &password, sql);
    assert_eq!(who.as_deref(), Ok("app_user@%\t1"));
    let plain = server.mysql("app_user", &password, "DISABLED", "SELECT 1");
    let refused = plain.expect_err("a refusal");
    assert!(
        refused.contains("3159") || refused.contains("2061"),
        "{refused}"
    );
    let network = server.try_ask("berth", &server.secret("superuser"), "SELECT 1");
    let refused = network.expect_err("a refusal");
    assert!(refused.contains("1045"), "{refused}");
    assert_eq!(server.ask("SELECT USER()"), "berth@localhost");
    assert_eq!(
        server.ask("SELECT COUNT(*) FROM mysql.user WHERE User = 'root'"),
        "0"
    );
}

fn first_user_rules_its_own_and_no_more(server: &Server) {
    let password = server.secret("app");
    let ask = |sql: &str| server.try_ask("app_user", &password, sql);
    for allowed in [
        "CREATE TABLE real_one.t (x INT PRIMARY KEY)",
        "CREATE DATABASE another; CREATE TABLE another.t (x INT)",
        "CREATE TRIGGER real_one.r BEFORE INSERT ON real_one.t FOR EACH ROW SET NEW.x = 1",
        "CREATE FUNCTION real_one.f() RETURNS INT DETERMINISTIC RETURN 1",
        "CREATE USER made_by_hand IDENTIFIED BY 'S3cret-by-hand'; GRANT SELECT ON another.* TO made_by_hand",
        "SHOW PROCESSLIST",
        "SELECT COUNT(*) FROM sys.version",
        "DROP USER made_by_hand; DROP DATABASE another; DROP TABLE real_one.t; DROP FUNCTION real_one.f",
    ] {
        ask(allowed).expect(allowed);
    }
    for forbidden in [
        "SELECT * FROM mysql.user",
        "UPDATE mysql.db SET Select_priv = 'Y'",
        "ALTER USER 'berth'@'localhost' IDENTIFIED BY 'mine'",
        "DROP USER 'berth'@'localhost'",
        "ALTER USER 'mysql.sys'@'localhost' IDENTIFIED BY 'mine' ACCOUNT UNLOCK",
        "ALTER USER 'mysql.session'@'localhost' IDENTIFIED BY 'mine' ACCOUNT UNLOCK",
        "ALTER USER 'mysql.infoschema'@'localhost' IDENTIFIED BY 'mine' ACCOUNT UNLOCK",
        "SET GLOBAL max_connections = 1",
        "SET PERSIST max_connections = 1",
        "SET GLOBAL require_secure_transport = OFF",
        "GRANT SUPER ON *.* TO app_user",
        "GRANT SYSTEM_USER ON *.* TO app_user",
        "GRANT SELECT ON mysql.* TO app_user",
        "GRANT '_rdb_superadmin'@'%' TO app_user",
        "CREATE DEFINER = 'berth'@'localhost' VIEW real_one.v AS SELECT 1",
        "INSTALL COMPONENT 'file://component_validate_password'",
        "CREATE FUNCTION g RETURNS STRING SONAME 'x.so'",
        "SELECT 1 INTO OUTFILE '/tmp/berth-outfile'",
        "LOAD DATA INFILE '/etc/passwd' INTO TABLE real_one.t",
        "CREATE TABLE sys.mine (x INT)",
        "SHUTDOWN",
    ] {
        let refused = ask(forbidden).expect_err(forbidden);
        assert!(
            refused.contains("denied") || refused.contains("1290") || refused.contains("1146"),
            "{forbidden}: {refused}"
        );
    }
    assert_eq!(
        ask("SELECT LOAD_FILE('/etc/passwd') IS NULL").as_deref(),
        Ok("1")
    );
    // What an admin hands on leads no further.
    ask("CREATE USER wide IDENTIFIED BY 'S3cret-by-hand'; GRANT SELECT ON *.* TO wide")
        .expect("a grant");
    let refused = server.try_ask("wide", "S3cret-by-hand", "SELECT * FROM mysql.user");
    assert!(refused.expect_err("a refusal").contains("denied"));
    ask("DROP USER wide").expect("a removal");
}

fn passwords(server: &Server) {
    let login = server.login();
    let accepts = |password: &str| {
        MySql::verify(server.instance.clone(), login.clone(), password.into()).expect("a verdict")
    };
    let first = server.secret("app");
    assert!(accepts(&first));
    assert!(!accepts("something else"));
    assert!(!accepts(""));

    for _ in 0..2 {
        MySql::rotate(server.instance.clone(), login.clone(), "next".into()).expect("a rotation");
    }
    assert!(accepts("next"));
    assert!(accepts("next"), "a password that the server knows by now");
    assert!(!accepts(&first));

    // Locked out in every way a person can be; a rotation mends it.
    server.ask("ALTER USER app_user PASSWORD EXPIRE ACCOUNT LOCK");
    assert!(!accepts("next"));
    MySql::rotate(server.instance.clone(), login.clone(), first.clone()).expect("a rotation");
    assert!(accepts(&first));
    server
        .try_ask("app_user", &first, "SELECT 1")
        .expect("an answer");

    // Without its database the password is right all the same.
    server.ask("DROP DATABASE real_one");
    assert!(accepts(&first));
    server.bootstrap();
    server
        .try_ask("app_user", &first, "USE real_one")
        .expect("the database");

    let unknown = Login {
        user: Some("nobody_we_know".into()),
        ..login.clone()
    };
    let verdict = MySql::verify(server.instance.clone(), unknown.clone(), first.clone());
    assert!(matches!(verdict, Ok(false)), "{verdict:?}");
    let rotated = MySql::rotate(server.instance.clone(), unknown, first);
    assert!(matches!(rotated, Err(Error::NotFound(_))), "{rotated:?}");
}
