//! The plugin against real servers, one of every version that is installed: native, without the sandbox, but
//! with the plan as it is, and with the server reached as the host reaches it.

mod databases;
mod held;
mod kept;
mod privileges;
mod removal;
mod server;
mod settings;
mod temporary;
mod users;

use std::thread;

use berth_plugin_postgresql::PostgreSql;
use berth_sdk::engine::{Catalog, Credentials, Login, Provisioning, Role};
use berth_sdk::types::Error;
use berth_sdk_testing::{Signal, Sweep};

use server::{Server, programs};

#[test]
fn lives_with_every_version_installed() {
    let installed: Vec<_> = PostgreSql::describe()
        .versions
        .into_iter()
        .filter_map(|version| Some((programs(&version.label)?, version.label)))
        .collect();
    assert!(
        !installed.is_empty(),
        "no PostgreSQL is installed: run scripts/install-servers.sh"
    );
    thread::scope(|scope| {
        for (programs, version) in installed {
            scope.spawn(move || a_life(&version, Server::start(&version, programs)));
        }
    });
}

#[test]
fn what_was_cut_off_is_mended_by_its_repetition() {
    let mut versions = PostgreSql::describe().versions.into_iter();
    let newest = versions.find_map(|version| Some((programs(&version.label)?, version.label)));
    let (programs, version) = newest.expect("a PostgreSQL; see scripts/install-servers.sh");
    let mut server = Server::start(&version, programs);
    server.bootstrap();
    server.sweep(&Sweep {
        database: "cut_here",
        makes_databases: true,
        setting: ("work_mem", ["8", "9"]),
    });
}

fn a_life(version: &str, mut server: Server) {
    server.bootstrap();
    server.bootstrap();

    observed(version, &server);
    another_version_is_refused(version, &server);
    clients_get_in_by_tls_only(&server);
    first_user_rules_its_own_and_no_more(version, &server);
    settings_can_be_altered_but_not_the_place(&server);
    passwords(&server);
    users::live(version, &server);
    databases::live(&server);
    privileges::live(version, &server);
    temporary::live(version, &server);
    removal::live(version, &server);
    kept::live(&server);

    let log = server.log();
    for hidden in [
        server.secret("app"),
        server.secret("superuser"),
        "SCRAM-SHA-256$".into(),
    ] {
        assert!(
            !log.contains(&hidden),
            "{version}: {hidden} is in the log:\n{log}"
        );
    }

    server.signal(Signal::SIGKILL);
    let seen = PostgreSql::observe(server.instance.clone()).expect("an observation");
    assert!(!seen[0].ready, "{version}: a killed server is not ready");
    assert!(matches!(
        PostgreSql::verify(server.instance.clone(), server.login(), "x".into()),
        Err(Error::RetryAfter(_))
    ));

    server.run();
    server.bootstrap();
    settings::live(version, &mut server);
    let status = server.stop();
    assert!(status.success(), "{version}: {status}\n{}", server.log());
}

fn observed(version: &str, server: &Server) {
    let seen = PostgreSql::observe(server.instance.clone()).expect("an observation");
    assert_eq!(seen.len(), 1);
    assert!(seen[0].ready);
    assert_eq!(seen[0].member, "pg-0");
    assert!(matches!(seen[0].role, Role::Primary));
    assert!(seen[0].data_bytes > 20 << 20, "{}", seen[0].data_bytes);
    let minor = seen[0].version.strip_prefix(&format!("{version}."));
    assert!(
        minor.is_some_and(|minor| minor.parse::<u32>().is_ok()),
        "{version}: {}",
        seen[0].version
    );
}

/// As if the operator's path for one version led to the programs of a later one. An earlier one lacks what is asked of it.
fn another_version_is_refused(version: &str, server: &Server) {
    let mut other = server.instance.clone();
    other.spec.version = if version == "15" { "14" } else { "15" }.into();
    let refused = PostgreSql::bootstrap(other);
    assert!(
        matches!(&refused, Err(Error::Failed(why)) if why.contains("which is no PostgreSQL 1")),
        "{version}: {refused:?}"
    );
}

fn clients_get_in_by_tls_only(server: &Server) {
    let uri = server.uri();
    let who = "SELECT current_user, current_database(), ssl FROM pg_stat_ssl \
               WHERE pid = pg_backend_pid()";
    assert_eq!(server.psql(&uri, who).as_deref(), Ok("app_user|real_one|t"));
    let plain = uri.replace("sslmode=require", "sslmode=disable");
    let refused = server.psql(&plain, who).expect_err("a refusal");
    assert!(refused.contains("no pg_hba.conf entry"), "{refused}");

    let refused = server
        .psql(&server.superuser_at("127.0.0.1"), "SELECT 1")
        .expect_err("a refusal");
    assert!(refused.contains("pg_hba.conf rejects"), "{refused}");
    let inside = server.inside("postgres");
    assert_eq!(server.psql(&inside, "SELECT 1").as_deref(), Ok("1"));
}

fn first_user_rules_its_own_and_no_more(version: &str, server: &Server) {
    let uri = server.uri();
    let ask = |sql: &str| server.psql(&uri, sql);
    ask("CREATE TABLE t (x int)").expect("a table in public");
    ask("CREATE DATABASE another").expect("a database");
    let another = uri.replace("/real_one?", "/another?");
    server
        .psql(&another, "CREATE TABLE t (x int)")
        .expect("a table in the other's public");
    let rights = "SELECT rolsuper, rolreplication, rolbypassrls, rolcreatedb, rolcreaterole \
                  FROM pg_roles WHERE rolname = current_user";
    let create_role = version.parse::<u32>().expect("a number") >= 16;
    let expected = format!("f|f|f|t|{}", if create_role { "t" } else { "f" });
    assert_eq!(ask(rights), Ok(expected));
    for forbidden in [
        "GRANT pg_execute_server_program TO app_user",
        "GRANT pg_read_server_files TO app_user",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "SELECT pg_read_file('/etc/passwd')",
        "ALTER SYSTEM SET work_mem = '1GB'",
        "ALTER ROLE berth PASSWORD 'mine'",
        "SELECT rolpassword FROM pg_authid",
        "CREATE ROLE x SUPERUSER",
    ] {
        let refused = ask(forbidden).expect_err(forbidden);
        assert!(
            ["permission denied", "must be superuser", "must have"]
                .iter()
                .any(|reason| refused.contains(reason)),
            "{version}: {forbidden}: {refused}"
        );
    }
    let template = uri.replace("/real_one?", "/template1?");
    assert!(server.psql(&template, "SELECT 1").is_err());
}

fn settings_can_be_altered_but_not_the_place(server: &Server) {
    let inside = server.inside("postgres");
    let ask = |sql: &str| server.psql(&inside, sql).expect(sql);
    let planned = ask("SHOW work_mem");
    assert_eq!(
        ask("SELECT sourcefile LIKE '%postgresql.conf' FROM pg_settings WHERE name = 'work_mem'"),
        "t"
    );
    ask("ALTER SYSTEM SET work_mem = '11MB'");
    ask("ALTER SYSTEM SET ssl = off");
    ask("SELECT pg_reload_conf()");
    // Each psql is a new session, which waits for the postmaster's own reload when it is started.
    let seen = (0..500).find_map(|_| {
        let now = ask("SHOW work_mem");
        (now != planned).then_some(now)
    });
    assert_eq!(seen.as_deref(), Some("11MB"));
    assert_eq!(ask("SHOW ssl"), "on");
    assert_eq!(ask("SHOW data_checksums"), "on");
    let all = "SELECT string_agg(name || ': ' || error, ', ') FROM pg_file_settings \
               WHERE error IS NOT NULL AND name <> 'ssl'";
    assert_eq!(ask(all), "");
}

fn passwords(server: &Server) {
    let login = server.login();
    let accepts = |password: &str| {
        PostgreSql::verify(server.instance.clone(), login.clone(), password.into())
            .expect("a verdict")
    };
    let first = server.secret("app");
    assert!(accepts(&first));
    assert!(!accepts("something else"));
    assert!(!accepts(""));

    for _ in 0..2 {
        PostgreSql::rotate(server.instance.clone(), login.clone(), "next".into())
            .expect("a rotation");
    }
    assert!(accepts("next"));
    assert!(!accepts(&first));

    // Locked out in every way a person can be; a rotation mends it.
    let inside = server.inside("postgres");
    server
        .psql(
            &inside,
            "ALTER ROLE app_user NOLOGIN VALID UNTIL '2020-01-01'",
        )
        .expect("a lock");
    assert!(!accepts("next"));
    PostgreSql::rotate(server.instance.clone(), login.clone(), first.clone()).expect("a rotation");
    assert!(accepts(&first));

    // Without its database the password is right all the same.
    server
        .psql(&inside, "DROP DATABASE real_one")
        .expect("a drop");
    assert!(accepts(&first));
    server.bootstrap();
    assert!(server.psql(&server.uri(), "SELECT 1").is_ok());

    let unknown = Login {
        user: Some("nobody_we_know".into()),
        ..login.clone()
    };
    let verdict = PostgreSql::verify(server.instance.clone(), unknown.clone(), first.clone());
    assert!(matches!(verdict, Ok(false)), "{verdict:?}");
    let rotated = PostgreSql::rotate(server.instance.clone(), unknown, first);
    assert!(matches!(rotated, Err(Error::NotFound(_))), "{rotated:?}");
}
