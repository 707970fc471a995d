//! Users and privileges on a real server: what is made is there, with its rights and no others, after a crash too, and
//! what was made in the server's own language shows.

use berth_plugin_redis::Redis;
use berth_sdk::engine::users::{Permission, Privilege, User, Users};
use berth_sdk::types::Error;
use berth_sdk_testing::Signal;

use crate::server::Server;

/// With everything that wants quoting.
const PASSWORD: &str = "S3cret'\\\"!${x} é";

pub fn live(version: &str, server: &mut Server) {
    assert_eq!(listed(server), [("default".to_owned(), true)]);
    let bob = create(server, "bob.x", false);
    assert!(!bob.admin && bob.name == "bob.x");
    let again = Redis::create_user(
        server.instance.clone(),
        "bob.x".into(),
        PASSWORD.into(),
        true,
    );
    assert!(matches!(again, Err(Error::AlreadyExists(_))), "{again:?}");
    let ours = Redis::create_user(
        server.instance.clone(),
        "berth".into(),
        PASSWORD.into(),
        true,
    );
    assert!(matches!(ours, Err(Error::Invalid(_))), "{ours:?}");
    assert!(
        !server.users_file().contains("S3cret"),
        "a digest is written down"
    );

    permissions(version, server);
    admins(server);
    passwords(server);
    outlives_a_crash(version, server);
    what_cannot_be_written_down_is_taken_back(server);
    others_show(server);
    databases(server);
    removals(server);
}

fn permissions(version: &str, server: &Server) {
    server.ask(&["SET", "there", "1"]);
    let all = [
        Permission::None,
        Permission::Readonly,
        Permission::Readwrite,
        Permission::All,
        Permission::Readwrite,
        Permission::Readonly,
        Permission::None,
        Permission::All,
    ];
    for permission in all {
        for _ in 0..2 {
            let made = set(server, "bob.x", permission).expect("a privilege");
            assert_eq!(made.permission, permission);
        }
        assert_eq!(of(server, "bob.x"), permission, "{version}");
        let rank = all.iter().position(|p| *p == permission).expect("its rank");
        let may = |command: &[&str], least: usize| {
            let answer = server.as_user("bob.x", PASSWORD, command);
            if rank >= least {
                answer.unwrap_or_else(|e| panic!("{version}: {permission:?}: {command:?}: {e}"));
            } else {
                let refused = answer.expect_err(&format!("{permission:?} {command:?}"));
                let reasons = ["NOPERM", "ACL failure", "can't run this command"];
                assert!(
                    reasons.iter().any(|r| refused.contains(r)),
                    "{version}: {refused}"
                );
            }
        };
        may(&["GET", "there"], 1);
        may(&["KEYS", "*"], 1);
        may(&["SCAN", "0"], 1);
        may(&["INFO", "memory"], 1);
        may(&["EVAL", "return redis.call('GET', 'there')", "0"], 1);
        may(&["CLIENT", "SETNAME", "x"], 1);
        may(&["-n", "3", "DBSIZE"], 1);
        may(&["SET", "new", "1"], 2);
        may(&["PUBLISH", "news", "1"], 2);
        may(&["LPUSH", "list", "1"], 2);
        may(&["EVAL", "return redis.call('SET', 'new', '2')", "0"], 2);
        may(&["-n", "3", "SET", "new", "1"], 2);
        may(&["DEL", "new", "list"], 2);
        may(&["FUNCTION", "FLUSH"], 3);
        may(&["-n", "9", "FLUSHDB"], 3);
        may(&["CLIENT", "LIST"], 4);
        may(&["CONFIG", "SET", "hz", "10"], 4);
        may(&["ACL", "SETUSER", "x"], 4);
        // While a script is looked into, the server serves nobody else.
        may(&["SCRIPT", "DEBUG", "SYNC"], 4);
    }
    let custom = set(server, "bob.x", Permission::Custom);
    assert!(matches!(custom, Err(Error::Unsupported(_))), "{custom:?}");
    let nobody = set(server, "nobody", Permission::All);
    assert!(matches!(nobody, Err(Error::NotFound(_))), "{nobody:?}");
    let (it, all) = (server.instance.clone(), Permission::All);
    let nowhere = Redis::set_privilege(it, "bob.x".into(), "shop".into(), all);
    assert!(matches!(nowhere, Err(Error::NotFound(_))), "{nowhere:?}");
}

fn admins(server: &Server) {
    create(server, "ann", true);
    assert_eq!(of(server, "ann"), Permission::All);
    assert!(server.as_user("ann", PASSWORD, &["CLIENT", "LIST"]).is_ok());
    let looked = server.as_user("ann", PASSWORD, &["SCRIPT", "DEBUG", "SYNC"]);
    assert!(looked.expect_err("it is refused").contains("NOPERM"));
    let refused = set(server, "ann", Permission::Readonly);
    assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
    set(server, "ann", Permission::All).expect("what it has");
    for admin in [false, true, true, false, false] {
        let changed = change(server, "ann", None, Some(admin)).expect("a change");
        assert_eq!(changed.admin, admin);
        assert!(listed(server).contains(&("ann".to_owned(), admin)));
    }
    let refused = server.as_user("ann", PASSWORD, &["GET", "there"]);
    assert!(refused.expect_err("it is refused").contains("NOPERM"));
}

fn passwords(server: &Server) {
    set(server, "ann", Permission::Readonly).expect("a privilege");
    let who = |password: &str| server.as_user("ann", password, &["ACL", "WHOAMI"]);
    let get = |password: &str| server.as_user("ann", password, &["GET", "there"]);
    assert_eq!(get(PASSWORD).as_deref(), Ok("1"));
    let new = "An0ther!S3cret";
    change(server, "ann", Some(new), None).expect("a change");
    assert_eq!(
        get(new).as_deref(),
        Ok("1"),
        "what was not given does not change"
    );
    assert_eq!(of(server, "ann"), Permission::Readonly);
    assert!(
        who(PASSWORD)
            .expect_err("it is refused")
            .contains("WRONGPASS")
    );
    for name in ["nobody", "berth"] {
        let absent = change(server, name, Some(new), None);
        assert!(matches!(absent, Err(Error::NotFound(_))), "{absent:?}");
    }
    change(server, "ann", Some(PASSWORD), None).expect("a change");
}

/// What was answered is written down, and survives the server at once.
fn outlives_a_crash(version: &str, server: &mut Server) {
    set(server, "ann", Permission::Readwrite).expect("a privilege");
    server.signal(Signal::SIGKILL);
    server.run();
    server.ready();
    assert_eq!(of(server, "ann"), Permission::Readwrite, "{version}");
    assert_eq!(of(server, "bob.x"), Permission::All, "{version}");
    assert_eq!(listed(server).len(), 3);
    assert!(server.as_user("ann", PASSWORD, &["SET", "a", "1"]).is_ok());
    // One that was killed between the change and its being written down says the same when it is asked again.
    server.ask(&["ACL", "SETUSER", "lost", "on"]);
    let again = Redis::create_user(
        server.instance.clone(),
        "lost".into(),
        PASSWORD.into(),
        false,
    );
    assert!(matches!(again, Err(Error::AlreadyExists(_))), "{again:?}");
    server.signal(Signal::SIGKILL);
    server.run();
    server.ready();
    delete(server, "lost").expect("it is there");
}

fn what_cannot_be_written_down_is_taken_back(server: &Server) {
    let before = server.ask(&["ACL", "LIST"]);
    server.let_write(false);
    let made = Redis::create_user(server.instance.clone(), "eve".into(), PASSWORD.into(), true);
    assert!(matches!(made, Err(Error::Failed(_))), "{made:?}");
    let changed = change(server, "ann", Some("another"), Some(true));
    assert!(matches!(changed, Err(Error::Failed(_))), "{changed:?}");
    let gone = delete(server, "ann");
    assert!(matches!(gone, Err(Error::Failed(_))), "{gone:?}");
    server.let_write(true);
    let sorted = |text: &str| {
        let mut lines: Vec<Vec<_>> = Vec::new();
        for line in text.lines() {
            let mut words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            words.sort();
            lines.push(words);
        }
        lines.sort();
        lines
    };
    assert_eq!(sorted(&server.ask(&["ACL", "LIST"])), sorted(&before));
    assert!(server.as_user("ann", PASSWORD, &["SET", "a", "1"]).is_ok());
}

/// What was made in the server's own language is listed, and what one may do there is not taken for what it is not.
fn others_show(server: &Server) {
    let rules = ["on", "nopass", "~app:*", "+@read"];
    server.ask(&[&["ACL", "SETUSER", "Odd:Name"], &rules[..]].concat());
    assert!(listed(server).contains(&("Odd:Name".to_owned(), false)));
    assert_eq!(of(server, "Odd:Name"), Permission::Custom);
    server.ask(&["ACL", "SETUSER", "bob.x", "-get"]);
    assert_eq!(of(server, "bob.x"), Permission::Custom);
    set(server, "bob.x", Permission::All).expect("a privilege");
    server.ask(&["ACL", "SETUSER", "bob.x", "(+@all ~x)"]);
    assert_eq!(of(server, "bob.x"), Permission::Custom);
    set(server, "bob.x", Permission::All).expect("a privilege");
    assert_eq!(of(server, "bob.x"), Permission::All);
    delete(server, "Odd:Name").expect("a removal");
    let list = server.ask(&["ACL", "LIST"]);
    assert!(!list.contains("_rdb"), "{list}");
}

fn databases(server: &Server) {
    let it = || server.instance.clone();
    let listed = Redis::list_databases(it(), true).expect("a list");
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (&*listed[0].name, &*listed[0].owner),
        ("keyspace", "default")
    );
    assert!(listed[0].managed && listed[0].size_bytes.is_some());
    let made = Redis::create_database(it(), "shop".into());
    let Err(Error::Unsupported(reason)) = made else {
        panic!("{made:?}");
    };
    assert!(reason.contains("no logical databases"), "{reason}");
    let there = Redis::create_database(it(), "keyspace".into());
    assert!(matches!(there, Err(Error::AlreadyExists(_))), "{there:?}");
    let gone = Redis::delete_database(it(), "keyspace".into());
    assert!(matches!(gone, Err(Error::Unsupported(_))), "{gone:?}");
    let gone = Redis::delete_database(it(), "shop".into());
    assert!(matches!(gone, Err(Error::NotFound(_))), "{gone:?}");
}

fn removals(server: &Server) {
    let first = delete(server, "default");
    assert!(matches!(first, Err(Error::Conflict(_))), "{first:?}");
    assert!(matches!(delete(server, "nobody"), Err(Error::NotFound(_))));
    assert!(matches!(delete(server, "berth"), Err(Error::NotFound(_))));
    // Its sessions end with it.
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| server.as_user("ann", PASSWORD, &["BLPOP", "never", "0"]));
        let there = || server.ask(&["CLIENT", "LIST"]).contains("cmd=blpop");
        assert!((0..5000).any(|_| there()));
        delete(server, "ann").expect("a removal");
        waiting.join().expect("a thread")
    });
    assert!(waiting.is_err(), "{waiting:?}");
    assert!(matches!(delete(server, "ann"), Err(Error::NotFound(_))));
    delete(server, "bob.x").expect("a removal");
    assert_eq!(listed(server), [("default".to_owned(), true)]);
    assert!(!server.users_file().contains("ann"));
}

fn create(server: &Server, name: &str, admin: bool) -> User {
    Redis::create_user(server.instance.clone(), name.into(), PASSWORD.into(), admin)
        .expect("a user")
}

fn change(
    server: &Server,
    name: &str,
    password: Option<&str>,
    admin: Option<bool>,
) -> Result<User, Error> {
    let password = password.map(Into::into);
    Redis::change_user(server.instance.clone(), name.into(), password, admin)
}

fn delete(server: &Server, name: &str) -> Result<(), Error> {
    Redis::delete_user(server.instance.clone(), name.into())
}

fn set(server: &Server, user: &str, permission: Permission) -> Result<Privilege, Error> {
    let it = server.instance.clone();
    Redis::set_privilege(it, user.into(), "keyspace".into(), permission)
}

fn of(server: &Server, user: &str) -> Permission {
    let it = server.instance.clone();
    let listed = Redis::list_privileges(it, Some(user.into()), None).expect("a list");
    assert_eq!(listed.len(), 1);
    listed[0].permission
}

fn listed(server: &Server) -> Vec<(String, bool)> {
    let listed = Redis::list_users(server.instance.clone()).expect("a list");
    listed.into_iter().map(|u| (u.name, u.admin)).collect()
}
