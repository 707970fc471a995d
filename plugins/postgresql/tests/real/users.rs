//! Users on a real server: what is made is there, with its rights and no others, and what was made in SQL shows.

use berth_plugin_postgresql::PostgreSql;
use berth_sdk::engine::users::{User, Users};
use berth_sdk::types::Error;

use crate::held::Held;
use crate::server::Server;

/// With everything that wants quoting.
const PASSWORD: &str = "S3cret'\\\"!${x}";

pub fn live(version: &str, server: &Server) {
    let it = || server.instance.clone();
    assert_eq!(listed(server), [("app_user".to_owned(), true)]);
    let bob = create(server, "bob$-x", false);
    assert!(!bob.admin && bob.name == "bob$-x");
    let again = PostgreSql::create_user(it(), "bob$-x".into(), PASSWORD.into(), true);
    assert!(matches!(again, Err(Error::AlreadyExists(_))), "{again:?}");
    for reserved in ["_rdb_superadmin", "_rdb_x", "pg_x", "berth", "public"] {
        let refused = PostgreSql::create_user(it(), reserved.into(), PASSWORD.into(), true);
        assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    }
    let outside = server.psql(&server.uri_in("bob$-x", PASSWORD, "real_one"), "SELECT 1");
    assert!(
        outside
            .expect_err("it is refused")
            .contains("permission denied for database")
    );
    server.ask(
        "postgres",
        "CREATE ROLE \"Odd Name\" LOGIN; CREATE ROLE team NOLOGIN; CREATE ROLE _rdb_99_all LOGIN",
    );
    let names: Vec<_> = listed(server).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["Odd Name", "_rdb_99_all", "app_user", "bob$-x"]);
    let privileges = PostgreSql::list_privileges(it(), None, Some("real_one".into()));
    let of: Vec<_> = privileges
        .expect("a list")
        .into_iter()
        .map(|p| p.user)
        .collect();
    assert_eq!(of, names, "the same are users everywhere");
    PostgreSql::delete_user(it(), "_rdb_99_all".into()).expect("nobody hides behind a name");

    brought_up(server);
    admins(version, server);
    demotion(server);
    passwords(server);
    removals(server);
    assert!(!server.log().contains("S3cret"), "{}", server.log());
}

/// A server that an older build prepared is marked, and nothing that its users changed since is changed back.
fn brought_up(server: &Server) {
    change(server, "app_user", None, Some(false)).expect("a change");
    let mark = "SELECT rolconnlimit FROM pg_roles WHERE rolname = '_rdb_superadmin'";
    assert_eq!(server.ask("postgres", mark), "0");
    for callers in [1, 4] {
        server.ask("postgres", "ALTER ROLE _rdb_superadmin CONNECTION LIMIT -1");
        server.ask("postgres", "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'berth'");
        std::thread::scope(|scope| {
            let calls: Vec<_> = (0..callers)
                .map(|_| scope.spawn(|| listed(server)))
                .collect();
            for call in calls {
                let listed = call.join().expect("a list");
                assert!(listed.contains(&("app_user".to_owned(), false)));
            }
        });
        assert_eq!(server.ask("postgres", mark), "0");
    }
    change(server, "app_user", None, Some(true)).expect("a change");
}

fn admins(version: &str, server: &Server) {
    let rights = "SELECT rolcreatedb, rolcreaterole, rolsuper, rolreplication, rolbypassrls \
                  FROM pg_roles WHERE rolname = current_user";
    let first = server.uri_in("app_user", &server.secret("app"), "real_one");
    server
        .psql(&first, "CREATE TABLE of_first (x int)")
        .expect("a table");
    create(server, "ann", true);
    let uri = server.uri_in("ann", PASSWORD, "real_one");
    let create_role = version.parse::<u32>().expect("a number") >= 16;
    let expected = format!("t|{}|f|f|f", if create_role { "t" } else { "f" });
    assert_eq!(server.psql(&uri, rights), Ok(expected));
    for allowed in [
        "CREATE TABLE of_ann (x int)",
        "SELECT * FROM of_first",
        "CREATE SCHEMA of_ann",
    ] {
        server.psql(&uri, allowed).expect(allowed);
    }
    for forbidden in [
        "GRANT _rdb_superadmin TO \"bob$-x\"",
        "GRANT pg_execute_server_program TO ann",
        "ALTER ROLE ann SUPERUSER",
        "ALTER EVENT TRIGGER _rdb_share DISABLE",
        "DROP SCHEMA _rdb CASCADE",
        "CREATE TABLE _rdb.x ()",
        "CREATE OR REPLACE FUNCTION _rdb.share() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
    ] {
        let refused = server.psql(&uri, forbidden).expect_err(forbidden);
        assert!(
            ["permission denied", "must be", "must have"]
                .iter()
                .any(|reason| refused.contains(reason)),
            "{version}: {forbidden}: {refused}"
        );
    }
    if create_role {
        server
            .psql(&uri, "CREATE ROLE of_ann LOGIN")
            .expect("a role");
        server.psql(&uri, "DROP ROLE of_ann").expect("a role less");
    }
    for admin in [false, true, true, false, false] {
        let changed = change(server, "ann", None, Some(admin)).expect("a change");
        assert_eq!(changed.admin, admin);
        assert!(listed(server).contains(&("ann".to_owned(), admin)));
    }
    let refused = server.psql(&uri, rights).expect_err("it is refused");
    assert!(
        refused.contains("permission denied for database"),
        "{refused}"
    );
    // By way of another role it stays one, and that is said.
    change(server, "ann", None, Some(true)).expect("a change");
    server.ask("postgres", "GRANT ann TO \"bob$-x\"");
    assert!(listed(server).contains(&("bob$-x".to_owned(), true)));
    let refused = change(server, "bob$-x", None, Some(false));
    assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
    server.ask("postgres", "REVOKE ann FROM \"bob$-x\"");
}

/// A session that said SET ROLE while its user was an admin ends when it is none any more, in whichever database it is.
/// Nothing else ends one.
fn demotion(server: &Server) {
    let hold = |database: &str| {
        let uri = server.uri_in("ann", PASSWORD, database);
        let mut session = Held::open(&server.program("psql"), &uri);
        assert_eq!(session.ask("SELECT 1"), "1");
        session
    };
    let uri = server.uri_in("ann", PASSWORD, "real_one");
    server
        .psql(&uri, "CREATE DATABASE hers")
        .expect("a database");
    let mut ruling = ["real_one", "hers"].map(hold);
    for session in &mut ruling {
        let role = session.ask("SET ROLE _rdb_superadmin; SELECT current_user");
        assert_eq!(role, "_rdb_superadmin");
    }
    change(server, "ann", Some(PASSWORD), Some(true)).expect("a change");
    for session in &mut ruling {
        assert_eq!(session.ask("SELECT 1"), "1");
    }
    change(server, "ann", None, Some(false)).expect("a change");
    for session in &mut ruling {
        let ended = session.ask("CREATE TABLE still_there ()");
        assert!(ended.contains("terminating connection"), "{ended}");
    }
    let mut own = hold("hers");
    for admin in [false, true] {
        change(server, "ann", None, Some(admin)).expect("a change");
        assert_eq!(own.ask("SELECT 1"), "1");
    }
    server.ask("postgres", "DROP DATABASE hers WITH (FORCE)");
}

fn passwords(server: &Server) {
    let who = |password: &str| {
        let uri = server.uri_in("ann", password, "real_one");
        server.psql(&uri, "SELECT current_user")
    };
    assert_eq!(who(PASSWORD).as_deref(), Ok("ann"));
    let new = "An0ther!S3cret";
    let changed = change(server, "ann", Some(new), None).expect("a change");
    assert!(changed.admin, "what was not given does not change");
    assert_eq!(who(new).as_deref(), Ok("ann"));
    assert!(
        who(PASSWORD)
            .expect_err("it is refused")
            .contains("authentication failed")
    );
    let nobody = change(server, "nobody", Some(new), None);
    assert!(matches!(nobody, Err(Error::NotFound(_))), "{nobody:?}");
    let superuser = change(server, "berth", Some(new), None);
    assert!(
        matches!(superuser, Err(Error::NotFound(_))),
        "{superuser:?}"
    );
}

fn removals(server: &Server) {
    let uri = server.uri_in("ann", "An0ther!S3cret", "real_one");
    let delete = |name: &str| PostgreSql::delete_user(server.instance.clone(), name.into());
    let first = delete("app_user");
    assert!(matches!(first, Err(Error::Conflict(_))), "{first:?}");
    assert!(matches!(delete("nobody"), Err(Error::NotFound(_))));
    assert!(matches!(delete("berth"), Err(Error::NotFound(_))));

    server
        .psql(&uri, "CREATE DATABASE anns")
        .expect("a database");
    let conflict = delete("ann");
    let Err(Error::Conflict(reason)) = conflict else {
        panic!("{conflict:?}");
    };
    assert!(reason.contains("anns"), "{reason}");
    let still = server.psql(&uri, "SELECT current_user");
    assert_eq!(still.as_deref(), Ok("ann"), "a refusal changes nothing");
    server.ask("postgres", "ALTER DATABASE anns OWNER TO app_user");
    server.ask("anns", "CREATE TABLE x (); ALTER TABLE x OWNER TO ann");
    let conflict = delete("ann");
    let Err(Error::Conflict(reason)) = conflict else {
        panic!("{conflict:?}");
    };
    assert!(reason.contains("'anns'"), "{reason}");
    server.ask(
        "anns",
        "DROP TABLE x; CREATE TABLE y (); GRANT SELECT ON y TO ann",
    );

    // Rights that another user granted on, default privileges, and a session.
    for sql in [
        "CREATE TABLE chained (x int); GRANT SELECT ON chained TO \"bob$-x\" WITH GRANT OPTION",
        "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO \"bob$-x\"",
        "INSERT INTO of_ann VALUES (7)",
    ] {
        server.psql(&uri, sql).expect(sql);
    }
    server.ask(
        "real_one",
        "SET ROLE \"bob$-x\"; GRANT SELECT ON chained TO \"Odd Name\"",
    );
    let sleeper = std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| server.psql(&uri, "SELECT pg_sleep(600)"));
        let asleep = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'ann' AND wait_event = 'PgSleep'";
        assert!((0..2000).any(|_| server.ask("postgres", asleep) == "1"));
        delete("ann").expect("a removal");
        sleeper.join().expect("a thread")
    });
    assert!(sleeper.is_err());
    assert!(matches!(delete("ann"), Err(Error::NotFound(_))));
    let owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'of_ann'";
    assert_eq!(server.ask("real_one", owner), "_rdb_superadmin");
    assert_eq!(server.ask("real_one", "SELECT x FROM of_ann"), "7");
    for name in ["bob$-x", "Odd Name"] {
        delete(name).expect("a removal");
    }
    server.ask("postgres", "DROP DATABASE anns");
    server.ask("postgres", "DROP ROLE team");
    assert_eq!(listed(server), [("app_user".to_owned(), true)]);
}

fn create(server: &Server, name: &str, admin: bool) -> User {
    PostgreSql::create_user(server.instance.clone(), name.into(), PASSWORD.into(), admin)
        .expect("a user")
}

fn change(
    server: &Server,
    name: &str,
    password: Option<&str>,
    admin: Option<bool>,
) -> Result<User, Error> {
    let password = password.map(Into::into);
    PostgreSql::change_user(server.instance.clone(), name.into(), password, admin)
}

fn listed(server: &Server) -> Vec<(String, bool)> {
    let listed = PostgreSql::list_users(server.instance.clone()).expect("a list");
    listed.into_iter().map(|u| (u.name, u.admin)).collect()
}
