//! Removals that cannot be, that fail on the way and that are cut off: none locks a user out for good.

use berth_plugin_postgresql::PostgreSql;
use berth_sdk::engine::users::{Permission, Users};
use berth_sdk::types::Error;

use crate::held::Held;
use crate::server::Server;

const PASSWORD: &str = "S3cret!pw";

/// A leap day, and a fraction of a second.
const UNTIL: &str = "2096-02-29 12:34:56.789+00";

/// How many of Berth's sessions wait for somebody else's.
const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'berth' AND wait_event_type = 'Lock'";

pub fn live(version: &str, server: &Server) {
    let it = || server.instance.clone();
    PostgreSql::create_user(it(), "leaver".into(), PASSWORD.into(), false).expect("a user");
    PostgreSql::create_database(it(), "office".into()).expect("a database");
    set(server, Permission::All).expect("a privilege");
    borrowed(version, server);
    by(server, "CREATE TABLE desk (x int)").expect("a table");

    closed(version, server);
    failing(version, server);
    made_meanwhile(version, server);
    cut_off(version, server);

    assert!(matches!(delete(server), Err(Error::NotFound(_))));
    let left = server.ask("office", DEFINERS);
    assert_eq!(
        left, "act f _rdb_superadmin;lent f _rdb_superadmin",
        "{version}"
    );
    PostgreSql::delete_database(it(), "office".into()).expect("a removal");
}

/// Routines that were made to do what their owner may, by who has them now.
const DEFINERS: &str = "SELECT string_agg(concat_ws(' ', proname, left(prosecdef::text, 1), proowner::regrole), ';' ORDER BY proname) \
     FROM pg_proc WHERE proname IN ('act', 'lent')";

/// What does what its owner may is no way to what the next owner may.
fn borrowed(version: &str, server: &Server) {
    by(
        server,
        "CREATE FUNCTION act(what text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN EXECUTE what; END'",
    )
    .expect("a function");
    set(server, Permission::Readonly).expect("a privilege");
    let given = server.ask("office", DEFINERS);
    assert_eq!(given, "act f _rdb_superadmin", "{version}");
    let risen = by(server, "SELECT act('CREATE ROLE risen')");
    assert!(risen.is_err(), "{version}: {risen:?}");
    set(server, Permission::All).expect("a privilege");
    by(
        server,
        "CREATE PROCEDURE lent() LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
    )
    .expect("a procedure");
}

/// What depends on the user in a database that nobody gets into cannot be cleared.
fn closed(version: &str, server: &Server) {
    let mut session = hold(server);
    server.ask("postgres", "CREATE DATABASE closed OWNER app_user");
    server.ask("closed", "CREATE TABLE t (); GRANT SELECT ON t TO leaver");
    for shut in [
        "ALTER DATABASE closed ALLOW_CONNECTIONS false",
        // As a DROP DATABASE that was cut off leaves it; older builds take no notice.
        "UPDATE pg_database SET datallowconn = true, datconnlimit = -2 WHERE datname = 'closed'",
    ] {
        server.ask("postgres", shut);
        let refused = delete(server);
        let Err(Error::Conflict(reason)) = refused else {
            panic!("{version}: {shut}: {refused:?}");
        };
        assert!(reason.contains("'closed'"), "{reason}");
        assert_eq!(until(server), "", "{version}: {shut}");
        assert_eq!(session.ask("SELECT 1"), "1", "{version}: {shut}");
        by(server, "SELECT * FROM desk").expect("nothing has changed");
    }
    server.ask("postgres", "DROP DATABASE closed");

    // Nor can anything be said of a managed one.
    server.ask("postgres", "ALTER DATABASE office ALLOW_CONNECTIONS false");
    let refused = set(server, Permission::Readonly);
    assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
    let list = |database: Option<String>| {
        PostgreSql::list_privileges(server.instance.clone(), None, database)
    };
    let refused = list(Some("office".into()));
    assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
    list(None).expect("those of the others");
    server.ask("postgres", "ALTER DATABASE office ALLOW_CONNECTIONS true");
}

/// It fails in the last database: the user is let in again, as long as before.
fn failing(version: &str, server: &Server) {
    server.ask(
        "office",
        "CREATE FUNCTION _rdb.refuse() RETURNS event_trigger LANGUAGE plpgsql AS \
           'BEGIN RAISE EXCEPTION ''not today''; END'; \
         CREATE EVENT TRIGGER refuse ON ddl_command_start WHEN TAG IN ('DROP OWNED') EXECUTE FUNCTION _rdb.refuse()",
    );
    for before in ["infinity", UNTIL, "2020-01-01 00:00:00+00"] {
        server.ask(
            "postgres",
            &format!("ALTER ROLE leaver VALID UNTIL '{before}'"),
        );
        let expiry = until(server);
        let failed = delete(server);
        assert!(matches!(failed, Err(Error::Failed(_))), "{failed:?}");
        assert_eq!(until(server), expiry, "{version}: {before}");
    }
    server.ask("postgres", "ALTER ROLE leaver VALID UNTIL 'infinity'");
    by(server, "INSERT INTO desk VALUES (1)").expect("it has all that it had");
    server.ask("office", "DROP EVENT TRIGGER refuse");
}

/// What it makes before it is shut out, and after somebody looked what it owns.
fn made_meanwhile(version: &str, server: &Server) {
    server.ask("postgres", "CREATE DATABASE foreign_one OWNER app_user");
    server.ask(
        "foreign_one",
        "CREATE SCHEMA s; GRANT ALL ON SCHEMA s TO leaver",
    );
    let mut other = Held::open(&server.program("psql"), &server.inside("postgres"));
    assert_eq!(
        other.ask("BEGIN; ALTER ROLE leaver CONNECTION LIMIT 90"),
        ""
    );
    std::thread::scope(|scope| {
        let removal = scope.spawn(|| delete(server));
        assert!((0..2000).any(|_| server.ask("postgres", WAITING) == "1"));
        let uri = server.uri_in("leaver", PASSWORD, "foreign_one");
        server
            .psql(&uri, "CREATE TABLE s.made (x int)")
            .expect("it is not shut out yet");
        assert_eq!(other.ask("ROLLBACK"), "");
        let refused = removal.join().expect("a thread");
        let Err(Error::Conflict(reason)) = refused else {
            panic!("{version}: {refused:?}");
        };
        assert!(reason.contains("'foreign_one'"), "{reason}");
    });
    server.ask("foreign_one", "SELECT FROM s.made");
    by(server, "SELECT 1").expect("nothing has changed");
    server.ask("postgres", "DROP DATABASE foreign_one");
}

fn cut_off(version: &str, server: &Server) {
    let change = |password: Option<String>, admin| {
        PostgreSql::change_user(server.instance.clone(), "leaver".into(), password, admin)
    };
    cut(server);
    change(Some(PASSWORD.into()), None).expect("a change");
    by(server, "SELECT 1").expect("a new password lets it in");
    let expiring = format!("ALTER ROLE leaver VALID UNTIL '{UNTIL}'");
    server.ask("postgres", &expiring);
    cut(server);
    server.ask(
        "postgres",
        "CREATE ROLE boss; GRANT _rdb_superadmin TO boss; GRANT boss TO leaver",
    );
    let refused = change(None, Some(false));
    assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
    by(server, "SELECT 1").expect_err("a refused change does not");
    server.ask("postgres", "DROP ROLE boss");
    // However the server writes its dates.
    for style in ["German", "Postgres", "SQL, DMY", "ISO"] {
        server.ask(
            "postgres",
            &format!("ALTER ROLE berth SET datestyle = '{style}'"),
        );
        change(None, Some(true)).expect("a change");
        by(server, "SELECT 1").expect("so does another change");
        change(None, Some(false)).expect("a change");
        set(server, Permission::All).expect("a privilege");
        cut(server);
    }
    server.ask("postgres", "ALTER ROLE berth RESET datestyle");
    change(None, Some(true)).expect("a change");
    change(None, Some(false)).expect("a change");
    cut(server);
    set(server, Permission::All).expect("a privilege");
    by(server, "SELECT 1").expect("so does a privilege");

    server.ask("postgres", &expiring);
    let expiry = until(server);
    cut(server);
    server.ask("postgres", "CREATE DATABASE leavers OWNER leaver");
    let refused = delete(server);
    assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
    assert_eq!(until(server), expiry, "{version}");
    by(server, "SELECT 1").expect("so does a refusal");
    server.ask("postgres", "DROP DATABASE leavers");

    cut(server);
    delete(server).expect("a repetition finishes it");
}

/// A removal whose sessions end on the way: it can neither go on nor undo anything.
fn cut(server: &Server) {
    let mut other = Held::open(&server.program("psql"), &server.inside("office"));
    assert_eq!(other.ask("BEGIN; LOCK TABLE desk"), "");
    std::thread::scope(|scope| {
        let removal = scope.spawn(|| delete(server));
        assert!((0..2000).any(|_| server.ask("postgres", WAITING) == "1"));
        // First the session that could undo it, until it is gone: the end of the other one is what it would undo it for.
        for which in ["datname = 'postgres'", "true"] {
            server.ask(
                "postgres",
                &format!(
                    "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity \
                     WHERE application_name = 'berth' AND {which}"
                ),
            );
        }
        let removed = removal.join().expect("a thread");
        assert!(matches!(removed, Err(Error::RetryAfter(_))), "{removed:?}");
    });
    by(server, "SELECT 1").expect_err("it is shut out until somebody acts");
}

/// Until when it may log in.
fn until(server: &Server) -> String {
    server.ask(
        "postgres",
        "SELECT rolvaliduntil FROM pg_roles WHERE rolname = 'leaver'",
    )
}

fn delete(server: &Server) -> Result<(), Error> {
    PostgreSql::delete_user(server.instance.clone(), "leaver".into())
}

fn set(server: &Server, permission: Permission) -> Result<(), Error> {
    let it = server.instance.clone();
    PostgreSql::set_privilege(it, "leaver".into(), "office".into(), permission).map(drop)
}

fn by(server: &Server, sql: &str) -> Result<String, String> {
    server.psql(&server.uri_in("leaver", PASSWORD, "office"), sql)
}

fn hold(server: &Server) -> Held {
    let uri = server.uri_in("leaver", PASSWORD, "office");
    Held::open(&server.program("psql"), &uri)
}
