//! Permissions on a real server: what each lets a user do with what was there before and with what others make later,
//! and that what somebody changed in SQL is seen.

use berth_plugin_postgresql::PostgreSql;
use berth_sdk::engine::users::{Permission, Users};
use berth_sdk::types::Error;

use crate::held::Held;
use crate::server::Server;

const PASSWORD: &str = "S3cret!pw";
const USERS: [&str; 5] = ["ro", "rw", "al", "no", "maker"];

/// What a user with a permission may: connect, read, write, make.
const MAY: [(&str, Permission, [bool; 4]); 4] = [
    ("ro", Permission::Readonly, [true, true, false, false]),
    ("rw", Permission::Readwrite, [true, true, true, false]),
    ("al", Permission::All, [true, true, true, true]),
    ("no", Permission::None, [false, false, false, false]),
];

pub fn live(version: &str, server: &Server) {
    let it = || server.instance.clone();
    PostgreSql::create_database(it(), "store".into()).expect("a database");
    for user in USERS {
        PostgreSql::create_user(it(), user.into(), PASSWORD.into(), false).expect("a user");
        assert_eq!(read(server, user), Permission::None, "{version}: {user}");
    }
    set(server, "maker", Permission::All).expect("a privilege");
    // Before: by the first user. It is an admin, and those may do all.
    assert_eq!(read(server, "app_user"), Permission::All);
    let admin = |sql: &str| {
        let uri = server.uri_in("app_user", &server.secret("app"), "store");
        server.psql(&uri, sql).expect(sql)
    };
    admin(
        "CREATE TABLE before (id serial, x int); CREATE SCHEMA old; CREATE TABLE old.t (id serial, x int)",
    );
    for (user, permission, _) in MAY {
        set(server, user, permission).expect("a privilege");
    }
    let maker = |sql: &str| by(server, "maker", sql).expect(sql);
    maker("CREATE TABLE later (id serial, x int)");
    maker("CREATE SCHEMA fresh CREATE TABLE t (id serial, x int)");
    maker("CREATE TABLE fresh.copied AS SELECT 1 AS id, 2 AS x");
    maker("SELECT 1 AS id, 2 AS x INTO fresh.into_it");
    maker(
        "CREATE TABLE parts (id int, x int) PARTITION BY LIST (x); CREATE TABLE part PARTITION OF parts DEFAULT",
    );
    maker("CREATE TABLE grown (x int); ALTER TABLE grown ADD COLUMN id serial");
    maker("CREATE TEMPORARY TABLE passing (x int)");
    // By somebody with no permission but what was granted in SQL.
    server.ask(
        "store",
        "GRANT CONNECT ON DATABASE store TO no; GRANT ALL ON SCHEMA public TO no",
    );
    by(server, "no", "CREATE TABLE strangers (id serial, x int)").expect("a table");
    assert_eq!(read(server, "no"), Permission::Custom);
    set(server, "no", Permission::None).expect("a privilege");

    for table in [
        "before",
        "old.t",
        "later",
        "fresh.t",
        "fresh.copied",
        "fresh.into_it",
        "parts",
        "part",
        "grown",
        "strangers",
    ] {
        for (user, permission, [connect, select, insert, create]) in MAY {
            let may = |sql: String| allowed(by(server, user, &sql));
            let what = format!("{version}: {permission:?} on {table}");
            assert_eq!(may("SELECT 1".into()), connect, "connect: {what}");
            assert_eq!(
                may(format!("SELECT * FROM {table}")),
                select,
                "select: {what}"
            );
            assert_eq!(
                may(format!("INSERT INTO {table} (x) VALUES (1)")),
                insert,
                "insert: {what}"
            );
            assert_eq!(
                may(format!("DELETE FROM {table}")),
                insert,
                "delete: {what}"
            );
            let schema = table.split_once('.').map_or("public", |(schema, _)| schema);
            assert_eq!(
                may(format!(
                    "CREATE TABLE {schema}.mine (); DROP TABLE {schema}.mine"
                )),
                create,
                "create: {what}"
            );
        }
    }
    for (user, permission, [.., create]) in MAY {
        assert_eq!(read(server, user), permission, "{version}: {user}");
        let made = by(server, user, "CREATE SCHEMA mine; DROP SCHEMA mine");
        assert_eq!(allowed(made), create);
    }

    changed_in_sql(version, server);
    lowered(version, server);
    sessions(version, server);

    assert!(matches!(
        set(server, "ro", Permission::Custom),
        Err(Error::Unsupported(_))
    ));
    assert!(matches!(
        set(server, "nobody", Permission::None),
        Err(Error::NotFound(_))
    ));
    let admin = set(server, "app_user", Permission::Readonly);
    assert!(matches!(admin, Err(Error::Conflict(_))), "{admin:?}");
    set(server, "app_user", Permission::All).expect("it has it already");
    let absent = PostgreSql::list_privileges(it(), None, Some("absent".into()));
    assert!(matches!(absent, Err(Error::NotFound(_))), "{absent:?}");
    let all = PostgreSql::list_privileges(it(), None, None).expect("a list");
    assert_eq!(all.len(), 2 * (USERS.len() + 1), "{all:?}");

    for user in USERS {
        PostgreSql::delete_user(it(), user.into()).expect("a removal");
    }
    PostgreSql::delete_database(it(), "store".into()).expect("a removal");
}

/// Whatever is not what a permission says, is `custom`; and to set one is to have it exactly.
fn changed_in_sql(version: &str, server: &Server) {
    for (user, sql, back) in [
        ("ro", "GRANT INSERT ON before TO ro", Permission::Readonly),
        (
            "ro",
            "GRANT UPDATE (x) ON old.t TO ro",
            Permission::Readonly,
        ),
        (
            "ro",
            "GRANT CREATE ON SCHEMA fresh TO ro",
            Permission::Readonly,
        ),
        ("rw", "GRANT TRUNCATE ON later TO rw", Permission::Readwrite),
        ("rw", "ALTER TABLE later OWNER TO rw", Permission::Readwrite),
        (
            "rw",
            "GRANT CREATE ON DATABASE store TO rw",
            Permission::Readwrite,
        ),
        (
            "no",
            "GRANT CONNECT ON DATABASE store TO no",
            Permission::None,
        ),
        ("no", "GRANT SELECT ON before TO no", Permission::None),
        (
            "no",
            "ALTER DEFAULT PRIVILEGES FOR ROLE maker GRANT SELECT ON TABLES TO no",
            Permission::None,
        ),
    ] {
        server.ask("store", sql);
        assert_eq!(read(server, user), Permission::Custom, "{version}: {sql}");
        set(server, user, back).unwrap_or_else(|e| panic!("{version}: {sql}: {e:?}"));
        assert_eq!(read(server, user), back, "{version}: {sql}");
    }
    // What a role of somebody's gives is not ours to take, and is said.
    server.ask(
        "store",
        "CREATE ROLE team; GRANT INSERT ON before TO team; GRANT team TO ro",
    );
    assert_eq!(read(server, "ro"), Permission::Custom);
    let refused = set(server, "ro", Permission::Readonly);
    assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
    server.ask("store", "DROP OWNED BY team; DROP ROLE team");
    assert_eq!(read(server, "ro"), Permission::Readonly);
    // Taken from all who may read, in one table.
    let group = server.ask(
        "store",
        "SELECT format('_rdb_%s_readonly', oid) FROM pg_database WHERE datname = 'store'",
    );
    by(
        server,
        "maker",
        &format!("REVOKE SELECT ON fresh.t FROM \"{group}\""),
    )
    .expect("a revocation");
    assert_eq!(read(server, "ro"), Permission::Custom);
    by(
        server,
        "maker",
        &format!("GRANT SELECT ON fresh.t TO \"{group}\""),
    )
    .expect("a grant");
    assert_eq!(read(server, "ro"), Permission::Readonly);
    levels_changed(version, server, group.trim_end_matches("readonly"));
}

/// What owners do to the roles of the permissions, and to everybody: what a user may do beside what its permission says
/// makes it `custom`, and what it may do anyway does not.
fn levels_changed(version: &str, server: &Server, groups: &str) {
    let (ro, rw, all) = (
        format!("\"{groups}readonly\""),
        format!("\"{groups}readwrite\""),
        format!("\"{groups}all\""),
    );
    server.ask("store", "SELECT lo_create(99)");
    let grants = [
        // What is granted to whom, and who has something else then.
        (0, "UPDATE (x), INSERT (x) ON later", &*ro, Some("ro")),
        (0, "SELECT (x) ON later", &ro, None),
        (0, "INSERT (x), UPDATE (x), SELECT (x) ON later", &rw, None),
        (0, "REFERENCES (x) ON later", &rw, Some("rw")),
        (0, "TRUNCATE ON later", &rw, Some("rw")),
        (0, "REFERENCES (x) ON later", &all, None),
        (0, "UPDATE ON LARGE OBJECT 99", &ro, Some("ro")),
        (0, "SELECT ON LARGE OBJECT 99", &ro, None),
        (17, "MAINTAIN ON later", &rw, Some("rw")),
        (17, "MAINTAIN ON later", "ro", Some("ro")),
        (0, "INSERT ON before", "PUBLIC", Some("ro")),
        (0, "UPDATE (x) ON before", "PUBLIC", Some("ro")),
        (0, "SELECT ON before", "PUBLIC", None),
        (0, "UPDATE ON LARGE OBJECT 99", "PUBLIC", Some("ro")),
    ];
    let major: u32 = version.parse().expect("a number");
    for (_, what, whom, other) in grants.into_iter().filter(|(from, ..)| major >= *from) {
        server.ask("store", &format!("GRANT {what} TO {whom}"));
        for (user, permission, _) in MAY {
            let expected = if other == Some(user) {
                Permission::Custom
            } else {
                permission
            };
            let seen = read(server, user);
            assert_eq!(seen, expected, "{version}: {user}: {what} to {whom}");
        }
        if other == Some("ro") && whom != "ro" {
            let refused = set(server, "ro", Permission::Readonly);
            assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
        }
        server.ask("store", &format!("REVOKE {what} FROM {whom}"));
    }
    // What was shown of it: it is a right that works.
    by(
        server,
        "maker",
        &format!("GRANT UPDATE (x) ON fresh.t TO {ro}"),
    )
    .expect("a grant");
    assert!(allowed(by(server, "ro", "UPDATE fresh.t SET x = 2")));
    assert_eq!(read(server, "ro"), Permission::Custom, "{version}");
    let pass = format!("GRANT SELECT ON fresh.t TO {rw} WITH GRANT OPTION");
    by(server, "maker", &pass).expect("a grant");
    assert_eq!(read(server, "rw"), Permission::Custom, "{version}");
    server.ask(
        "store",
        &format!("REVOKE UPDATE (x) ON fresh.t FROM {ro}; REVOKE GRANT OPTION FOR SELECT ON fresh.t FROM {rw}"),
    );
    if major >= 17 {
        server.ask("store", &format!("REVOKE MAINTAIN ON later FROM {all}"));
        assert_eq!(read(server, "al"), Permission::Custom, "{version}");
        server.ask("store", &format!("GRANT MAINTAIN ON later TO {all}"));
    }
    server.ask("store", "SELECT lo_unlink(99)");
    for (user, permission, _) in MAY {
        assert_eq!(read(server, user), permission, "{version}: {user}");
    }
}

/// What a user made while it could is the database's owner's when it cannot any more; its other databases stay its own.
fn lowered(version: &str, server: &Server) {
    by(server, "al", "CREATE TABLE als (x int)").expect("a table");
    server.ask("postgres", "CREATE DATABASE als OWNER al");
    set(server, "al", Permission::Readonly).expect("a privilege");
    let refused = by(server, "al", "INSERT INTO als VALUES (1)");
    assert!(!allowed(refused), "{version}");
    assert!(allowed(by(server, "al", "SELECT * FROM als")), "{version}");
    let owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'als'";
    assert_eq!(server.ask("postgres", owner), "al");
    let own = PostgreSql::list_privileges(
        server.instance.clone(),
        Some("al".into()),
        Some("als".into()),
    );
    assert_eq!(own.expect("a list")[0].permission, Permission::All);
    let other = PostgreSql::list_privileges(
        server.instance.clone(),
        Some("ro".into()),
        Some("als".into()),
    );
    assert_eq!(other.expect("a list")[0].permission, Permission::None);
    server.ask("postgres", "DROP DATABASE als");
}

/// A session that said SET ROLE while it could is not that role for ever: it ends when its user loses something. When the
/// permission stays or rises, none ends; nor does another user's, or one in another database.
fn sessions(version: &str, server: &Server) {
    by(server, "maker", "CREATE TABLE watched (x int)").expect("a table");
    server.ask("postgres", "CREATE DATABASE elsewhere OWNER al");
    let number = "SELECT oid FROM pg_database WHERE datname = 'store'";
    let number = server.ask("postgres", number);
    let hold = |user: &str, database: &str| {
        let uri = server.uri_in(user, PASSWORD, database);
        let mut session = Held::open(&server.program("psql"), &uri);
        assert_eq!(session.ask("SELECT 1"), "1", "{version}");
        session
    };
    let mut others = [hold("rw", "store"), hold("al", "elsewhere")];

    set(server, "al", Permission::Readonly).expect("a privilege");
    let mut rising = hold("al", "store");
    for permission in [
        Permission::Readonly,
        Permission::Readwrite,
        Permission::Readwrite,
        Permission::All,
        Permission::All,
    ] {
        set(server, "al", permission).expect("a privilege");
        assert_eq!(rising.ask("SELECT 1"), "1", "{version}: {permission:?}");
    }

    let loses = |level: &str, to: Permission| {
        let role = format!("_rdb_{number}_{level}");
        let mut session = hold("al", "store");
        let said = session.ask(&format!("SET ROLE \"{role}\"; SELECT current_user"));
        assert_eq!(said, role, "{version}");
        set(server, "al", to).expect("a privilege");
        let ended = session.ask("INSERT INTO watched VALUES (2)");
        assert!(
            ended.contains("terminating connection"),
            "{version}: {level}: {ended}"
        );
    };
    loses("all", Permission::Readwrite);
    loses("readwrite", Permission::Readonly);
    loses("readonly", Permission::None);
    set(server, "al", Permission::Readonly).expect("a privilege");
    let grant = format!("GRANT \"_rdb_{number}_readwrite\" TO al");
    server.ask("store", &grant);
    assert_eq!(read(server, "al"), Permission::Custom, "{version}");
    loses("readwrite", Permission::Readonly);

    let written = "SELECT count(*) FROM watched WHERE x = 2";
    assert_eq!(server.ask("store", written), "0", "{version}");
    for other in &mut others {
        assert_eq!(other.ask("SELECT 1"), "1", "{version}");
    }
    server.ask("postgres", "DROP DATABASE elsewhere WITH (FORCE)");
}

fn by(server: &Server, user: &str, sql: &str) -> Result<String, String> {
    server.psql(&server.uri_in(user, PASSWORD, "store"), sql)
}

fn allowed(outcome: Result<String, String>) -> bool {
    match outcome {
        Ok(_) => true,
        Err(refused) if refused.contains("permission denied") => false,
        Err(other) => panic!("{other}"),
    }
}

fn set(server: &Server, user: &str, permission: Permission) -> Result<(), Error> {
    let it = server.instance.clone();
    PostgreSql::set_privilege(it, user.into(), "store".into(), permission).map(|set| {
        assert_eq!(set.permission, permission);
        assert_eq!((&*set.user, &*set.database), (user, "store"));
    })
}

fn read(server: &Server, user: &str) -> Permission {
    let it = server.instance.clone();
    let found = PostgreSql::list_privileges(it, Some(user.into()), Some("store".into()));
    let found = found.expect("a list");
    assert_eq!(found.len(), 1);
    found[0].permission
}
