//! Users and databases, on a real server.

use berth_plugin_mysql::MySql;
use berth_sdk::engine::Provisioning;
use berth_sdk::engine::users::{Permission, User, Users};
use berth_sdk::types::Error;

use crate::server::Server;

pub const PASSWORD: &str = "S3cret'kept";

pub fn live(server: &Server) {
    // From here on whatever is said to the server is written down.
    server.ask("SET GLOBAL log_output = 'TABLE'; SET GLOBAL general_log = ON");
    come_and_go(server);
    made_in_sql(server);
    what_admins_may_is_mended(server);
    admins_never_may_more(server);
    the_first_user_is_no_role(server);
    nobody_hides(server);
    who_is_called_as_berth_is_not_berth(server);
    berths_own_limit_is_kept(server);
    names_of_several_lines(server);
    go_whole_or_not_at_all(server);
    databases(server);
    server.ask("SET GLOBAL general_log = OFF; SET GLOBAL log_output = 'FILE'");
}

pub fn names(server: &Server) -> Vec<(String, bool)> {
    let users = MySql::list_users(server.instance.clone()).expect("a list");
    users
        .into_iter()
        .map(|user| (user.name, user.admin))
        .collect()
}

fn come_and_go(server: &Server) {
    let it = || server.instance.clone();
    let name = |text: &str| text.to_owned();
    assert_eq!(names(server), [(name("app_user"), true)]);
    let made = MySql::create_user(it(), name("ann"), PASSWORD.into(), false).expect("a user");
    assert!(!made.admin);
    let again = MySql::create_user(it(), name("ann"), PASSWORD.into(), false);
    assert!(matches!(again, Err(Error::AlreadyExists(_))), "{again:?}");
    let longest = "b".repeat(32);
    MySql::create_user(it(), longest.clone(), PASSWORD.into(), true).expect("a user");
    let longer = MySql::create_user(it(), "b".repeat(33), PASSWORD.into(), true);
    assert!(matches!(longer, Err(Error::Invalid(_))), "{longer:?}");
    assert_eq!(
        names(server),
        [
            (name("ann"), false),
            (name("app_user"), true),
            (longest.clone(), true)
        ]
    );
    let ask = |password: &str, sql: &str| server.try_ask("ann", password, sql);
    ask(PASSWORD, "SELECT 1").expect("an answer");
    let plugin = "SELECT plugin FROM mysql.user WHERE User = 'ann'";
    assert_eq!(server.ask(plugin), "caching_sha2_password");
    assert_eq!(
        ask(PASSWORD, "SHOW DATABASES").as_deref(),
        Ok("information_schema\nperformance_schema")
    );
    ask(PASSWORD, "CREATE DATABASE anns").expect_err("no right");

    let changed = MySql::change_user(it(), name("ann"), Some("An0ther".into()), Some(true))
        .expect("a change");
    assert!(changed.admin);
    ask(PASSWORD, "SELECT 1").expect_err("its old password");
    ask("An0ther", "CREATE DATABASE anns; DROP DATABASE anns").expect("a database");
    let changed = MySql::change_user(it(), name("ann"), None, Some(false)).expect("a change");
    assert!(!changed.admin);
    ask("An0ther", "CREATE DATABASE anns").expect_err("no right");
    let unknown = MySql::change_user(it(), name("nobody"), None, Some(true));
    assert!(matches!(unknown, Err(Error::NotFound(_))), "{unknown:?}");

    for user in [name("ann"), longest] {
        MySql::delete_user(it(), user.clone()).expect("a removal");
        let again = MySql::delete_user(it(), user);
        assert!(matches!(again, Err(Error::NotFound(_))), "{again:?}");
    }
    for own in ["berth", "mysql.sys", "_rdb_superadmin"] {
        let refused = MySql::delete_user(it(), own.into());
        assert!(matches!(refused, Err(Error::NotFound(_))), "{refused:?}");
        let refused = MySql::change_user(it(), own.into(), Some("x".into()), None);
        assert!(matches!(refused, Err(Error::NotFound(_))), "{refused:?}");
    }
    // The one that the instance is reached with stays.
    let refused = MySql::delete_user(it(), name("app_user"));
    assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
    assert_eq!(names(server), [(name("app_user"), true)]);
}

fn made_in_sql(server: &Server) {
    let it = || server.instance.clone();
    server.ask(
        "CREATE USER 'odd `name''s'@'%' IDENTIFIED BY 'Odd-name-1', 'two'@'%' IDENTIFIED BY 'Two-1', \
         'two'@'10.0.0.1' IDENTIFIED BY 'Two-2'; CREATE ROLE team",
    );
    let listed = names(server);
    let all: Vec<_> = listed.iter().map(|(name, _)| &**name).collect();
    assert_eq!(all, ["app_user", "odd `name's", "two"]);
    MySql::change_user(it(), "two".into(), Some(PASSWORD.into()), Some(true)).expect("a change");
    assert_eq!(
        server.ask("SELECT COUNT(*) FROM mysql.role_edges WHERE TO_USER = 'two'"),
        "2"
    );
    server
        .try_ask("two", PASSWORD, "SELECT 1")
        .expect("an answer");

    // By way of another role: it cannot be taken away without somebody's role.
    server.ask("REVOKE '_rdb_superadmin' FROM 'two'@'%', 'two'@'10.0.0.1'; GRANT '_rdb_superadmin' TO team; GRANT team TO 'two'@'%', 'two'@'10.0.0.1'");
    let refused = MySql::change_user(it(), "two".into(), None, Some(false));
    assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
    server.ask("DROP ROLE team");
    for name in ["two", "odd `name's"] {
        MySql::delete_user(it(), name.into()).expect("a removal");
    }
    assert_eq!(names(server).len(), 1);

    // An admin may break the role of admins; it is made whole again.
    server.ask(
        "REVOKE CREATE USER, SELECT ON *.* FROM '_rdb_superadmin'; DROP ROLE '_rdb_superadmin'",
    );
    MySql::create_user(it(), "eve".into(), PASSWORD.into(), true).expect("an admin");
    server
        .try_ask("eve", PASSWORD, "CREATE DATABASE eves; DROP DATABASE eves")
        .expect("its rights");
    server
        .try_ask("eve", PASSWORD, "SELECT * FROM mysql.user")
        .expect_err("none of the server's");
    MySql::delete_user(it(), "eve".into()).expect("a removal");
    server.bootstrap();
    assert!(names(server)[0].1, "the first user is an admin again");
}

/// Whatever was changed of what the role of admins may, it is what it was.
fn what_admins_may_is_mended(server: &Server) {
    let shown = || {
        let said = server.ask("SHOW GRANTS FOR _rdb_superadmin");
        let words = said.split([' ', ',', '\n']).map(str::to_owned);
        let mut words: Vec<_> = words.collect();
        words.sort_unstable();
        words
    };
    let whole = shown();
    // What a call that was cut off left.
    server.ask("CREATE ROLE '_rdb_bounds_999999999'@'localhost'");
    assert_eq!(names(server), [("app_user".to_owned(), true)]);
    for broken in [
        "REVOKE CREATE USER ON *.* FROM _rdb_superadmin",
        "REVOKE SELECT ON *.* FROM _rdb_superadmin",
        "REVOKE XA_RECOVER_ADMIN ON *.* FROM _rdb_superadmin",
        "REVOKE GRANT OPTION ON *.* FROM _rdb_superadmin",
        "REVOKE SELECT ON real_one.* FROM _rdb_superadmin",
        "REVOKE GRANT OPTION ON real_one.* FROM _rdb_superadmin",
        "REVOKE SELECT ON sys.* FROM _rdb_superadmin",
        // What an earlier build left when it was cut off.
        "GRANT SELECT ON mysql.* TO _rdb_superadmin",
        "GRANT INSERT ON sys.* TO _rdb_superadmin",
    ] {
        server.ask(broken);
        assert_ne!(shown(), whole, "{broken}");
        made_admin_again(server).expect("a change");
        assert_eq!(shown(), whole, "{broken}");
    }
    let left = "SELECT COUNT(*) FROM mysql.user WHERE LOCATE('_rdb_bounds_', User) = 1";
    assert_eq!(server.ask(left), "0");
}

fn made_admin_again(server: &Server) -> Result<User, Error> {
    MySql::change_user(server.instance.clone(), "app_user".into(), None, Some(true))
}

/// While the role of admins is mended it has no right on all databases that counts in the server's own.
fn admins_never_may_more(server: &Server) {
    server.ask(WATCH);
    let looks = "SELECT COUNT(*) FROM real_one.looks";
    let (seen, mended) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| server.ask("CALL real_one.watch()"));
        while server.ask(looks) == "0" {
            assert!(!watching.is_finished(), "nobody looks");
        }
        let broken = [
            "ALTER USER _rdb_superadmin ACCOUNT UNLOCK",
            "REVOKE ALL ON *.* FROM _rdb_superadmin",
            "DROP ROLE _rdb_superadmin",
        ];
        let broken = broken.iter().cycle().take(6);
        let mended: Vec<_> = broken
            .map(|sql| {
                server.ask(sql);
                made_admin_again(server)
            })
            .collect();
        server.ask("DELETE FROM real_one.looks");
        (watching.join().expect("no panic"), mended)
    });
    for user in mended {
        assert!(user.expect("a change").admin);
    }
    assert_eq!(seen, "0", "so often it was too wide");
    server.ask("DROP PROCEDURE real_one.watch; DROP TABLE real_one.looks");
}

/// Looks at the role all the time while there is a row in its table, and says how often the role had no bounds.
const WATCH: &str = r#"CREATE TABLE real_one.looks (x INT);
DELIMITER //
CREATE PROCEDURE real_one.watch() BEGIN
  DECLARE wide INT DEFAULT 0;
  DECLARE till DATETIME DEFAULT SYSDATE() + INTERVAL 5 MINUTE;
  INSERT INTO real_one.looks VALUES (1);
  WHILE SYSDATE() < till AND EXISTS (SELECT 1 FROM real_one.looks) DO
    SET wide = wide + (SELECT COUNT(*) FROM mysql.user WHERE User = '_rdb_superadmin' AND Select_priv = 'Y'
      AND COALESCE(CAST(User_attributes AS CHAR), '') NOT LIKE '%"mysql"%');
  END WHILE;
  SELECT wide;
END//
"#;

/// Somebody dropped it and made a role of its name: it is a user again, with the password that was asked for.
fn the_first_user_is_no_role(server: &Server) {
    server.ask("DROP USER app_user; CREATE ROLE app_user");
    assert!(names(server).is_empty());
    server.bootstrap();
    assert_eq!(names(server), [("app_user".to_owned(), true)]);
    server
        .try_ask("app_user", &server.secret("app"), "USE real_one")
        .expect("its database");
}

/// Whatever an admin calls an account that somebody can log in as, it is shown and can be removed; what Berth needs stays.
fn nobody_hides(server: &Server) {
    let it = || server.instance.clone();
    let password = server.secret("app");
    let admin = |sql: &str| server.try_ask("app_user", &password, sql).expect(sql);
    admin("CREATE USER _rdb_x, 'mysql.x', 'berth'@'%' IDENTIFIED BY 'Hidden-1'");
    admin(
        "ALTER USER _rdb_superadmin IDENTIFIED BY 'Hidden-1' PASSWORD EXPIRE NEVER ACCOUNT UNLOCK",
    );
    let role = || server.try_ask("_rdb_superadmin", "Hidden-1", "SELECT 1");
    role().expect("a login");
    let listed = names(server);
    let listed: Vec<_> = listed
        .iter()
        .map(|(name, admin)| (&**name, *admin))
        .collect();
    assert_eq!(
        listed,
        [
            ("_rdb_superadmin", true),
            ("_rdb_x", false),
            ("app_user", true),
            ("berth", false),
            ("mysql.x", false)
        ]
    );
    let may = MySql::list_privileges(it(), Some("_rdb_superadmin".into()), None).expect("a list");
    assert_eq!(may.len(), 1);
    assert_eq!(may[0].permission, Permission::All);
    for name in ["_rdb_superadmin", "_rdb_x", "berth", "mysql.x"] {
        MySql::delete_user(it(), name.into()).expect("a removal");
    }
    assert_eq!(names(server), [("app_user".to_owned(), true)]);
    role().expect_err("nobody logs in as a role");
    admin("CREATE DATABASE of_an_admin; DROP DATABASE of_an_admin");
    // Any other change locks it as well, one of what it may do itself among them.
    let open =
        "ALTER USER _rdb_superadmin IDENTIFIED BY 'Hidden-1' PASSWORD EXPIRE NEVER ACCOUNT UNLOCK";
    admin(open);
    MySql::change_user(it(), "app_user".into(), None, Some(true)).expect("a change");
    role().expect_err("nobody logs in as a role");
    admin(open);
    let role_name = || "_rdb_superadmin".to_owned();
    let set = MySql::set_privilege(it(), role_name(), "real_one".into(), Permission::Readonly);
    assert!(matches!(set, Err(Error::NotFound(_))), "{set:?}");
    role().expect_err("nobody logs in as a role");
    assert_eq!(names(server), [("app_user".to_owned(), true)]);
}

/// An admin can make accounts that are called as Berth and as threads of the server's are. What is done to them is done to
/// nobody else, and they are counted.
fn who_is_called_as_berth_is_not_berth(server: &Server) {
    let it = || server.instance.clone();
    let password = server.secret("app");
    let theirs = PASSWORD.replace('\'', "''");
    for name in ["berth", "event_scheduler", "unauthenticated user"] {
        let made = format!("CREATE USER '{name}'@'%' IDENTIFIED BY '{theirs}'");
        server.try_ask("app_user", &password, &made).expect(&made);
    }
    let threads = "SELECT id FROM information_schema.processlist WHERE user = 'event_scheduler' AND host = 'localhost'";
    let scheduler = server.ask(threads);
    assert!(!scheduler.is_empty(), "a thread of the server's");
    std::thread::scope(|scope| {
        let own = scope.spawn(|| server.ask("SELECT 'own', SLEEP(60)"));
        let id = loop {
            let its =
                "SELECT id FROM information_schema.processlist WHERE info LIKE 'SELECT ''own''%'";
            let id = server.ask(its);
            if !id.is_empty() {
                break id;
            }
            assert!(!own.is_finished(), "Berth's session ended early");
        };
        for name in ["berth", "event_scheduler", "unauthenticated user"] {
            thread_scope(server, name, "SELECT SLEEP(60)", || {
                let seen = MySql::observe(it()).expect("an observation");
                assert_eq!(seen[0].connections, 1, "{name}");
                MySql::delete_user(it(), name.into()).expect("a removal");
            });
        }
        server.ask(&format!("KILL QUERY {id}"));
        assert_eq!(own.join().expect("its session lives"), "own\t1");
    });
    assert_eq!(server.ask(threads), scheduler);
}

/// Instances that an earlier build made lack it.
fn berths_own_limit_is_kept(server: &Server) {
    let limit = || {
        server.ask("SELECT max_user_connections FROM mysql.user WHERE User = 'berth' AND Host = 'localhost'")
    };
    assert_eq!(limit(), "100000");
    server.ask("ALTER USER 'berth'@'localhost' WITH MAX_USER_CONNECTIONS 0");
    assert_eq!(limit(), "0");
    let it = || server.instance.clone();
    MySql::change_user(it(), "app_user".into(), None, Some(true)).expect("a change");
    assert_eq!(limit(), "100000");
}

/// SQL takes any character in a name: who has such a one is shown, and can be changed and removed.
fn names_of_several_lines(server: &Server) {
    let it = || server.instance.clone();
    let password = server.secret("app");
    let admin = |sql: &str| server.try_ask("app_user", &password, sql).expect(sql);
    let (user, database) = ("two\nlines\u{7}", "of\ntwo");
    admin(&format!(
        "CREATE USER '{user}' IDENTIFIED BY 'Two-lines-1'; CREATE DATABASE `{database}`"
    ));
    assert_eq!(
        names(server),
        [("app_user".to_owned(), true), (user.to_owned(), false)]
    );
    let listed = MySql::list_databases(it(), true).expect("a list");
    let all: Vec<_> = listed.iter().map(|database| &*database.name).collect();
    assert_eq!(all, [database, "real_one"]);
    let set = MySql::set_privilege(it(), user.into(), database.into(), Permission::Readonly);
    assert_eq!(set.expect("a privilege").permission, Permission::Readonly);
    MySql::change_user(it(), user.into(), Some(PASSWORD.into()), None).expect("a change");
    server
        .try_ask(user, PASSWORD, &format!("USE `{database}`"))
        .expect("it may");
    MySql::delete_database(it(), database.into()).expect("a removal");
    MySql::delete_user(it(), user.into()).expect("a removal");
    assert_eq!(names(server), [("app_user".to_owned(), true)]);
}

fn go_whole_or_not_at_all(server: &Server) {
    let it = || server.instance.clone();
    MySql::create_user(it(), "dee".into(), PASSWORD.into(), true).expect("a user");
    let ask = |sql: &str| server.try_ask("dee", PASSWORD, sql).expect(sql);
    ask("CREATE VIEW real_one.seen AS SELECT 1; CREATE PROCEDURE real_one.p() SELECT 1");
    let refused = MySql::delete_user(it(), "dee".into());
    assert!(
        matches!(&refused, Err(Error::Conflict(why)) if why.contains("view real_one.seen")),
        "{refused:?}"
    );
    // Nothing of it was changed.
    ask("SELECT * FROM real_one.seen; DROP VIEW real_one.seen; DROP PROCEDURE real_one.p");

    // A session of the user's ends with it.
    thread_scope(server, "dee", "SELECT SLEEP(60)", || {
        MySql::delete_user(it(), "dee".into()).expect("a removal");
    });
    let left = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'dee'";
    assert_eq!(server.ask(left), "0");
}

/// Do something while the user asks for long; its session does not survive it.
fn thread_scope(server: &Server, user: &str, sql: &str, work: impl FnOnce()) {
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| server.try_ask(user, PASSWORD, sql));
        let there = format!(
            "SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{user}' AND host <> 'localhost' AND info LIKE '%SLEEP%'"
        );
        while server.ask(&there) == "0" {
            assert!(!asking.is_finished(), "its session ended early");
        }
        work();
        let ended = asking.join().expect("no panic");
        assert!(ended.is_err(), "{ended:?}");
    });
}

fn databases(server: &Server) {
    let it = || server.instance.clone();
    MySql::create_user(it(), "ann".into(), PASSWORD.into(), false).expect("a user");
    // What was granted on it before it was there does not count.
    server.ask("GRANT ALL ON `shop-eu`.* TO ann");
    let made = MySql::create_database(it(), "shop-eu".into()).expect("a database");
    assert!(made.managed);
    server
        .try_ask("ann", PASSWORD, "USE `shop-eu`")
        .expect_err("no right");
    let again = MySql::create_database(it(), "shop-eu".into());
    assert!(matches!(again, Err(Error::AlreadyExists(_))), "{again:?}");
    for own in ["mysql", "sys", "performance_schema"] {
        let refused = MySql::create_database(it(), own.into());
        assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
        let refused = MySql::delete_database(it(), own.into());
        assert!(matches!(refused, Err(Error::NotFound(_))), "{refused:?}");
    }
    server.ask(
        "CREATE TABLE `shop-eu`.t (x BLOB); INSERT INTO `shop-eu`.t VALUES (REPEAT('x', 60000))",
    );
    let listed = MySql::list_databases(it(), true).expect("a list");
    let all: Vec<_> = listed.iter().map(|database| &*database.name).collect();
    assert_eq!(all, ["real_one", "shop-eu"]);
    assert!(
        listed[1].size_bytes.is_some_and(|size| size > 60_000),
        "{listed:?}"
    );
    let listed = MySql::list_databases(it(), false).expect("a list");
    assert_eq!(listed[1].size_bytes, None);

    // A transaction in it does not keep it.
    server.ask("GRANT SELECT ON `shop-eu`.* TO ann; GRANT INSERT ON `shop-eu`.t TO ann");
    let open = "USE `shop-eu`; BEGIN; SELECT COUNT(*), SLEEP(60) FROM t";
    thread_scope(server, "ann", open, || {
        MySql::delete_database(it(), "shop-eu".into()).expect("a removal");
    });
    let left = "SELECT (SELECT COUNT(*) FROM mysql.db WHERE Db = 'shop-eu') + \
                (SELECT COUNT(*) FROM mysql.tables_priv WHERE Db = 'shop-eu')";
    assert_eq!(server.ask(left), "0");
    let again = MySql::delete_database(it(), "shop-eu".into());
    assert!(matches!(again, Err(Error::NotFound(_))), "{again:?}");
    MySql::delete_user(it(), "ann".into()).expect("a removal");
}
