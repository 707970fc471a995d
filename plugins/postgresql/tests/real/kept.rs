//! The session that is kept from call to call, on a real server: it is one, it is in no transaction between calls, and
//! whatever becomes of it, no caller notices.

use berth_plugin_postgresql::PostgreSql;
use berth_sdk::engine::Instance;
use berth_sdk::engine::users::{Permission, Users};
use berth_sdk::types::Error;

use crate::held::Held;
use crate::server::Server;

const PASSWORD: &str = "S3cret'kept";

pub fn live(server: &Server) {
    let it = || server.instance.clone();
    PostgreSql::create_user(it(), "kim".into(), PASSWORD.into(), false).expect("a user");
    let first = session(server);
    for n in 0..3 {
        PostgreSql::list_users(it()).expect("a list");
        let password = Some(format!("{PASSWORD}{n}"));
        PostgreSql::change_user(it(), "kim".into(), password, Some(n % 2 == 0)).expect("a change");
        PostgreSql::list_databases(it(), true).expect("a list");
        let permission = match n % 2 {
            0 => Permission::All,
            _ => Permission::Readonly,
        };
        PostgreSql::set_privilege(it(), "kim".into(), "real_one".into(), permission)
            .expect("a privilege");
        PostgreSql::list_privileges(it(), None, None).expect("a list");
        PostgreSql::create_database(it(), "kims".into()).expect("a database");
        PostgreSql::delete_database(it(), "kims".into()).expect("a removal");
    }
    assert_eq!(session(server), first, "one session for all of them");

    server_ends_it(server);
    errors_end_it(server);
    it_is_one_servers(server);
    PostgreSql::delete_user(it(), "kim".into()).expect("a removal");
}

/// However quickly the next call comes.
fn server_ends_it(server: &Server) {
    for wait in ["", ", 5000"].repeat(2) {
        let before = session(server);
        let end = format!(
            "SELECT pg_terminate_backend(pid{wait}) FROM pg_stat_activity WHERE pid = {before}"
        );
        assert_eq!(server.ask("postgres", &end), "t");
        let listed = PostgreSql::list_users(server.instance.clone()).expect("a list");
        assert!(listed.iter().any(|user| user.name == "kim"));
        let end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'berth'";
        server.ask("postgres", end);
        let password = Some(PASSWORD.to_owned());
        PostgreSql::change_user(server.instance.clone(), "kim".into(), password, None)
            .expect("a change");
        assert_ne!(session(server), before);
    }
}

fn errors_end_it(server: &Server) {
    let it = || server.instance.clone();
    let free = "BEGIN; LOCK TABLE pg_catalog.pg_auth_members IN SHARE UPDATE EXCLUSIVE MODE NOWAIT; COMMIT; SELECT 1";
    // An admin by way of another role: found out in the transaction of the change.
    PostgreSql::create_user(it(), "lea".into(), PASSWORD.into(), true).expect("a user");
    server.ask("postgres", "GRANT lea TO kim");
    let before = session(server);
    let refused = PostgreSql::change_user(it(), "kim".into(), None, Some(false));
    assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
    assert_eq!(
        server.ask("postgres", free).lines().last(),
        Some("1"),
        "its lock is gone"
    );
    PostgreSql::list_users(it()).expect("a list");
    assert_ne!(session(server), before);
    server.ask("postgres", "REVOKE lea FROM kim");
    PostgreSql::delete_user(it(), "lea".into()).expect("a removal");

    // Another holds the lock for longer than a call waits.
    let mut other = Held::open(&server.program("psql"), &server.inside("postgres"));
    let lock = "LOCK TABLE pg_catalog.pg_auth_members IN SHARE UPDATE EXCLUSIVE MODE";
    other.ask(&format!("BEGIN; {lock}; SELECT 1"));
    let password = Some("An0ther!S3cret".to_owned());
    let waited = PostgreSql::change_user(it(), "kim".into(), password, None);
    assert!(matches!(waited, Err(Error::RetryAfter(_))), "{waited:?}");
    drop(other);
    let login = server.uri_in("kim", PASSWORD, "real_one");
    let still = server.psql(&login, "SELECT 1");
    assert_eq!(still.as_deref(), Ok("1"), "nothing has changed");

    // A permission that would not be exact.
    server.ask(
        "real_one",
        "CREATE ROLE team; CREATE TABLE of_team (); GRANT SELECT ON of_team TO team; GRANT team TO kim",
    );
    PostgreSql::change_user(it(), "kim".into(), None, Some(false)).expect("a change");
    let readonly = Permission::Readonly;
    let refused = PostgreSql::set_privilege(it(), "kim".into(), "real_one".into(), readonly);
    assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
    assert_eq!(
        server.ask("postgres", free).lines().last(),
        Some("1"),
        "its lock is gone"
    );
    server.ask("real_one", "DROP TABLE of_team; DROP ROLE team");
}

/// Another password of the superuser's: what was let in with the old one is not used.
fn it_is_one_servers(server: &Server) {
    PostgreSql::list_users(server.instance.clone()).expect("a list");
    let before = session(server);
    let old = server.secret("superuser");
    let changed = |password: &str| {
        let mut changed: Instance = server.instance.clone();
        for secret in &mut changed.secrets {
            if secret.name == "superuser" {
                password.clone_into(&mut secret.value);
            }
        }
        PostgreSql::list_users(changed)
    };
    let wrong = changed("not its password");
    assert!(matches!(wrong, Err(Error::Failed(_))), "{wrong:?}");
    let new = "another-password-of-berth";
    server.ask("postgres", &format!("ALTER ROLE berth PASSWORD '{new}'"));
    changed(new).expect("a list");
    let after = session_by(server, new);
    assert_ne!(after, before);
    let back = format!("ALTER ROLE berth PASSWORD '{old}'");
    let inside = server.inside("postgres").replace(&old, new);
    server.psql(&inside, &back).expect("as it was");
    PostgreSql::list_users(server.instance.clone()).expect("a list");
    assert_ne!(session(server), after);
}

/// The process of the only session there is, which does nothing.
fn session(server: &Server) -> String {
    session_by(server, &server.secret("superuser"))
}

fn session_by(server: &Server, password: &str) -> String {
    let old = server.secret("superuser");
    let inside = server.inside("postgres").replace(&old, password);
    let sql = "SELECT string_agg(pid || ' ' || state, ', ') FROM pg_stat_activity \
               WHERE application_name = 'berth' AND datname = 'postgres'";
    // One that was closed may take a moment to go.
    let seen = (0..500).find_map(|_| {
        let seen = server.psql(&inside, sql).expect("an answer");
        let pid = seen.strip_suffix(" idle")?;
        pid.parse::<u32>().ok().map(|_| pid.to_owned())
    });
    seen.expect("one idle session")
}
