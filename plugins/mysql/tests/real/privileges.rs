//! Privileges, on a real server: what a user may is what is said, and what was done in SQL is seen.

use berth_plugin_mysql::MySql;
use berth_sdk::engine::users::{Permission, Users};
use berth_sdk::types::Error;

use crate::server::Server;
use crate::users::PASSWORD;

const BASE: &str = "pri_vate";

pub fn live(server: &Server) {
    let it = || server.instance.clone();
    MySql::create_database(it(), BASE.into()).expect("a database");
    MySql::create_database(it(), "priXvate".into()).expect("a database");
    MySql::create_user(it(), "pat".into(), PASSWORD.into(), false).expect("a user");
    server.ask(
        "CREATE TABLE pri_vate.t (x INT); INSERT INTO pri_vate.t VALUES (1); \
                CREATE TABLE priXvate.t (x INT); CREATE PROCEDURE pri_vate.p() SELECT 1",
    );
    every_permission_is_what_it_says(server);
    what_is_done_in_sql_is_seen_and_set_right(server);
    other_ways_are_refused(server);
    a_session_goes_by_what_is_so(server);
    MySql::delete_user(it(), "pat".into()).expect("a removal");
    for name in [BASE, "priXvate"] {
        MySql::delete_database(it(), name.into()).expect("a removal");
    }
}

fn set(server: &Server, permission: Permission) -> Result<Permission, Error> {
    MySql::set_privilege(
        server.instance.clone(),
        "pat".into(),
        BASE.into(),
        permission,
    )
    .map(|set| set.permission)
}

fn seen(server: &Server) -> Permission {
    let seen = MySql::list_privileges(
        server.instance.clone(),
        Some("pat".into()),
        Some(BASE.into()),
    );
    seen.expect("a list")[0].permission
}

fn can(server: &Server, sql: &str) -> bool {
    server.try_ask("pat", PASSWORD, sql).is_ok()
}

/// What a user with this permission may do, in this order: read, write, make a table, read next door.
fn abilities(server: &Server) -> [bool; 4] {
    let made = can(server, "CREATE TABLE pri_vate.u (x INT)");
    if made {
        server.ask("DROP TABLE pri_vate.u");
    }
    [
        can(server, "SELECT * FROM pri_vate.t"),
        can(server, "INSERT INTO pri_vate.t VALUES (2)"),
        made,
        can(server, "SELECT * FROM priXvate.t"),
    ]
}

fn every_permission_is_what_it_says(server: &Server) {
    let all = [
        (Permission::None, [false, false, false, false]),
        (Permission::Readonly, [true, false, false, false]),
        (Permission::Readwrite, [true, true, false, false]),
        (Permission::All, [true, true, true, false]),
    ];
    // From each to each.
    for (before, _) in all {
        for (permission, may) in all {
            set(server, before).expect("a privilege");
            for _ in 0..2 {
                assert_eq!(set(server, permission).expect("a privilege"), permission);
            }
            assert_eq!(seen(server), permission);
            assert_eq!(abilities(server), may, "{permission:?}");
        }
    }
    let custom = set(server, Permission::Custom);
    assert!(matches!(custom, Err(Error::Unsupported(_))), "{custom:?}");
    let it = || server.instance.clone();
    let listed = MySql::list_privileges(it(), None, None).expect("a list");
    let of_admin: Vec<_> = listed.iter().filter(|one| one.user == "app_user").collect();
    assert_eq!(of_admin.len(), 3);
    assert!(of_admin.iter().all(|one| one.permission == Permission::All));
    let absent = MySql::set_privilege(it(), "pat".into(), "nowhere".into(), Permission::All);
    assert!(matches!(absent, Err(Error::NotFound(_))), "{absent:?}");
    let absent = MySql::list_privileges(it(), Some("nobody".into()), None);
    assert!(matches!(absent, Err(Error::NotFound(_))), "{absent:?}");
    let admin = MySql::set_privilege(it(), "app_user".into(), BASE.into(), Permission::Readonly);
    assert!(matches!(admin, Err(Error::Conflict(_))), "{admin:?}");
}

fn what_is_done_in_sql_is_seen_and_set_right(server: &Server) {
    for sql in [
        "GRANT INSERT ON pri_vate.* TO pat",
        "GRANT SELECT ON pri_vate.* TO pat WITH GRANT OPTION",
        "GRANT SELECT ON pri_vate.t TO pat WITH GRANT OPTION",
        "GRANT UPDATE (x) ON pri_vate.t TO pat",
        "GRANT EXECUTE ON PROCEDURE pri_vate.p TO pat",
    ] {
        for permission in [Permission::Readonly, Permission::None, Permission::All] {
            set(server, permission).expect("a privilege");
            server.ask(sql);
            let all = permission == Permission::All
                && !sql.contains("pri_vate.t")
                && !sql.contains("GRANT OPTION")
                && !sql.contains("PROCEDURE");
            if !all {
                assert_eq!(seen(server), Permission::Custom, "{sql}");
            }
            assert_eq!(set(server, permission).expect(sql), permission);
            assert_eq!(seen(server), permission, "{sql}");
        }
    }
    set(server, Permission::Readwrite).expect("a privilege");
    server.ask("REVOKE DELETE ON pri_vate.* FROM pat");
    assert_eq!(seen(server), Permission::Custom);
    set(server, Permission::Readwrite).expect("a privilege");
    server.ask("REVOKE ALL ON pri_vate.* FROM pat");
    assert_eq!(seen(server), Permission::None);
}

fn other_ways_are_refused(server: &Server) {
    for (give, take) in [
        (
            "GRANT SELECT ON *.* TO pat",
            "REVOKE SELECT ON *.* FROM pat",
        ),
        (
            "CREATE ROLE team; GRANT SELECT ON pri_vate.* TO team; GRANT team TO pat",
            "DROP ROLE team",
        ),
        (
            "CREATE USER ''@'%'; GRANT SELECT ON pri_vate.* TO ''@'%'",
            "DROP USER ''@'%'",
        ),
    ] {
        server.ask(give);
        assert_eq!(seen(server), Permission::Custom, "{give}");
        let refused = set(server, Permission::Readonly);
        assert!(
            matches!(refused, Err(Error::Conflict(_))),
            "{give}: {refused:?}"
        );
        server.ask(take);
        assert_eq!(seen(server), Permission::None, "{take}");
    }
    // Taken back for one database, a right on all of them does not count there.
    server.ask("GRANT SELECT ON *.* TO pat; REVOKE SELECT ON pri_vate.* FROM pat");
    assert_eq!(seen(server), Permission::None);
    assert!(!can(server, "SELECT * FROM pri_vate.t"));
    server.ask("REVOKE SELECT ON *.* FROM pat");
}

fn a_session_goes_by_what_is_so(server: &Server) {
    set(server, Permission::Readwrite).expect("a privilege");
    std::thread::scope(|scope| {
        let sql = "USE pri_vate; SELECT SLEEP(60); INSERT INTO t VALUES (3)";
        let asking = scope.spawn(|| server.try_ask("pat", PASSWORD, sql));
        let there = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'pat' AND info LIKE '%SLEEP%'";
        while server.ask(there) == "0" {
            assert!(!asking.is_finished(), "its session ended early");
        }
        set(server, Permission::Readonly).expect("a privilege");
        asking.join().expect("no panic").expect_err("it was ended");
    });
    assert_eq!(
        server.ask("SELECT COUNT(*) FROM pri_vate.t WHERE x = 3"),
        "0"
    );
    set(server, Permission::None).expect("a privilege");
}
