//! Logical databases on a real server: managed ones, those made in SQL, and those whose making was cut off.

use berth_plugin_postgresql::PostgreSql;
use berth_sdk::engine::users::{Database, Permission, Users};
use berth_sdk::types::Error;

use crate::server::Server;

pub fn live(server: &Server) {
    let it = || server.instance.clone();
    server.ask("postgres", "DROP DATABASE another");
    let first = listed(server, true).remove(0);
    assert_eq!(first.name, "real_one");
    assert_eq!(first.owner, "_rdb_superadmin");
    assert!(first.managed);
    assert!(first.size_bytes.is_some_and(|bytes| bytes > 5 << 20));
    assert!(listed(server, false)[0].size_bytes.is_none());

    let made = PostgreSql::create_database(it(), "shop".into()).expect("a database");
    assert!(made.managed && made.name == "shop");
    let again = PostgreSql::create_database(it(), "shop".into());
    assert!(matches!(again, Err(Error::AlreadyExists(_))), "{again:?}");
    for reserved in ["postgres", "template1", "a\"b"] {
        let refused = PostgreSql::create_database(it(), reserved.into());
        assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    }

    // The first user is an admin, and gets everywhere; what it makes itself is its own.
    let uri = server.uri_in("app_user", &server.secret("app"), "shop");
    server
        .psql(&uri, "CREATE TABLE t (x int)")
        .expect("a table");
    server
        .psql(&uri, "CREATE DATABASE own")
        .expect("a database");
    let own = listed(server, false).into_iter().find(|d| d.name == "own");
    let own = own.expect("a database made in SQL");
    assert!(!own.managed && own.owner == "app_user");
    let refused =
        PostgreSql::set_privilege(it(), "app_user".into(), "own".into(), Permission::Readonly);
    assert!(matches!(refused, Err(Error::Unsupported(_))), "{refused:?}");

    names_of_several_lines(server, &uri);

    // One that is half made is nobody's, and the next call finishes it.
    server.ask("postgres", "CREATE DATABASE half");
    assert!(listed(server, false).iter().all(|d| d.name != "half"));
    let finished = PostgreSql::create_database(it(), "half".into()).expect("a database");
    assert!(finished.managed);

    let groups = "SELECT count(*) FROM pg_roles WHERE rolname ~ '^_rdb_[0-9]'";
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| server.psql(&uri, "SELECT pg_sleep(600)"));
        let asleep = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'shop' AND wait_event = 'PgSleep'";
        assert!((0..2000).any(|_| server.ask("postgres", asleep) == "1"));
        PostgreSql::delete_database(it(), "shop".into()).expect("a removal");
        assert!(sleeper.join().expect("a thread").is_err());
    });
    // What ends with no session is named, instead of being waited for.
    server.ask(
        "own",
        "CREATE SUBSCRIPTION news CONNECTION 'host=nowhere' PUBLICATION p WITH (connect = false, slot_name = NONE)",
    );
    let refused = PostgreSql::delete_database(it(), "own".into());
    let Err(Error::Conflict(reason)) = refused else {
        panic!("{refused:?}");
    };
    assert!(reason.contains("the subscription news"), "{reason}");
    server.ask("own", "DROP SUBSCRIPTION news");
    for name in ["own", "half"] {
        PostgreSql::delete_database(it(), name.into()).expect("a removal");
    }
    // Those of one that was dropped in SQL too.
    assert_eq!(
        server.ask("postgres", groups),
        "3",
        "roles go with their databases"
    );
    for absent in ["shop", "template1", "postgres"] {
        let absent = PostgreSql::delete_database(it(), absent.into());
        assert!(matches!(absent, Err(Error::NotFound(_))), "{absent:?}");
    }
    assert_eq!(listed(server, false).len(), 1);
}

/// SQL takes any character in a name: what has such a one is shown, and can be changed and removed.
fn names_of_several_lines(server: &Server, admin: &str) {
    let it = || server.instance.clone();
    let name = "two\nlines\u{7}";
    server.ask("postgres", &format!("CREATE ROLE \"{name}\" LOGIN"));
    server
        .psql(admin, &format!("CREATE DATABASE \"{name}\""))
        .expect("a database");
    let owned = format!("ALTER DATABASE \"{name}\" OWNER TO \"{name}\"");
    server.ask("postgres", &owned);
    let found = listed(server, false).into_iter().find(|d| d.name == name);
    assert_eq!(found.expect("a database made in SQL").owner, name);
    let users = PostgreSql::list_users(it()).expect("a list");
    assert!(users.iter().any(|user| user.name == name), "{users:?}");
    let set = PostgreSql::set_privilege(it(), name.into(), "shop".into(), Permission::Readonly);
    assert_eq!(set.expect("a privilege").permission, Permission::Readonly);
    let changed = PostgreSql::change_user(it(), name.into(), Some("S3cret-two".into()), Some(true));
    assert!(changed.expect("a change").admin);
    PostgreSql::delete_database(it(), name.into()).expect("a removal");
    PostgreSql::delete_user(it(), name.into()).expect("a removal");
}

fn listed(server: &Server, sizes: bool) -> Vec<Database> {
    PostgreSql::list_databases(server.instance.clone(), sizes).expect("a list")
}
