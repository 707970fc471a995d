//! Users, databases and what may be done in them.

use berth_plugin_mongodb::MongoDb;
use berth_sdk::engine::users::{Permission, Users};
use berth_sdk::engine::{Instance, Login};
use berth_sdk::types::Error;

use crate::server::Server;

const PASSWORD: &str = "S3cret-of-ann";

pub fn live(server: &Server) {
    users(server);
    databases(server);
    privileges(server);
    what_was_granted_otherwise(server);
    what_an_earlier_build_noted_is_taken_over(server);
    two_at_once(server);
}

fn users(server: &Server) {
    let it = || server.instance.clone();
    let shown = || -> Vec<_> {
        let all = MongoDb::list_users(it()).expect("a list").into_iter();
        all.map(|user| (user.name, user.admin)).collect()
    };
    let app = || ("app_user".to_owned(), true);
    assert_eq!(shown(), [app()]);
    MongoDb::create_user(it(), "ann".into(), PASSWORD.into(), false).expect("a user");
    let again = MongoDb::create_user(it(), "ann".into(), "x".into(), true);
    assert!(matches!(again, Err(Error::AlreadyExists(_))));
    assert_eq!(shown(), [("ann".into(), false), app()]);
    let invalid = MongoDb::create_user(it(), "_rdb_superadmin".into(), "x".into(), true);
    assert!(matches!(invalid, Err(Error::Invalid(_))));

    let ann = |password: &str, script: &str| as_ann(server, "real_one", password, script);
    ann(PASSWORD, "client.admin.command('ping')").expect("it is done");
    denied(&ann(PASSWORD, "db.x.find_one()"));
    let change = |password: Option<&str>, admin| {
        MongoDb::change_user(it(), "ann".into(), password.map(Into::into), admin).expect("a change")
    };
    for admin in [true, true, false, false] {
        assert_eq!(change(None, Some(admin)).admin, admin);
        assert_eq!(shown(), [("ann".into(), admin), app()]);
        assert_eq!(ann(PASSWORD, "db.x.find_one()").is_ok(), admin);
    }
    assert!(change(Some("S3cret-two"), Some(true)).admin);
    assert!(ann(PASSWORD, "db.x.find_one()").is_err());
    ann("S3cret-two", "db.x.find_one()").expect("it is done");
    assert!(!change(Some(PASSWORD), Some(false)).admin);
    assert!(!change(Some(PASSWORD), None).admin);
    denied(&ann(PASSWORD, "db.x.find_one()"));

    MongoDb::delete_user(it(), "ann".into()).expect("gone");
    assert!(ann(PASSWORD, "client.admin.command('ping')").is_err());
    for ghost in ["ann", "_rdb_superadmin", "__system"] {
        let again = MongoDb::delete_user(it(), ghost.into());
        assert!(matches!(again, Err(Error::NotFound(_))), "{ghost}");
        let change = MongoDb::change_user(it(), ghost.into(), Some("x".into()), None);
        assert!(matches!(change, Err(Error::NotFound(_))), "{ghost}");
    }
    let first = MongoDb::delete_user(it(), "app_user".into());
    assert!(matches!(first, Err(Error::Conflict(_))));
}

/// They are there when they are made, although the server knows none that holds nothing.
fn databases(server: &Server) {
    let it = || server.instance.clone();
    let names = || -> Vec<_> {
        let all = MongoDb::list_databases(it(), false).expect("a list");
        assert!(all.iter().all(|d| d.managed && d.size_bytes.is_none()));
        all.into_iter().map(|database| database.name).collect()
    };
    assert_eq!(names(), ["real_one"]);
    let made = MongoDb::create_database(it(), "shop".into()).expect("a database");
    assert_eq!((made.name.as_str(), made.managed), ("shop", true));
    assert_eq!(names(), ["real_one", "shop"]);
    let again = MongoDb::create_database(it(), "shop".into());
    assert!(matches!(again, Err(Error::AlreadyExists(_))));
    let capital = MongoDb::create_database(it(), "Shop".into());
    assert!(matches!(capital, Err(Error::Conflict(_))));
    for own in ["admin", "local", "_rdb", "a.b"] {
        let invalid = MongoDb::create_database(it(), own.into());
        assert!(matches!(invalid, Err(Error::Invalid(_))), "{own}");
        let absent = MongoDb::delete_database(it(), own.into());
        assert!(matches!(absent, Err(Error::NotFound(_))), "{own}");
    }
    // One that somebody has written to is there as well, whatever its name.
    let odd = "two\nlines";
    server
        .client("client['two\\nlines'].x.insert_one({})")
        .expect("it is done");
    assert_eq!(names(), ["real_one", "shop", odd]);
    MongoDb::delete_database(it(), odd.into()).expect("gone");
    server
        .client("client.wild.x.insert_many([{'text': 'x' * 1000} for _ in range(100)])")
        .expect("it is done");
    assert_eq!(names(), ["real_one", "shop", "wild"]);
    let again = MongoDb::create_database(it(), "wild".into());
    assert!(matches!(again, Err(Error::AlreadyExists(_))));
    let sizes = MongoDb::list_databases(it(), true).expect("a list");
    let sizes: Vec<_> = sizes
        .iter()
        .map(|d| d.size_bytes.expect("a size"))
        .collect();
    assert_eq!(sizes[1], 0, "nothing is in it");
    assert!(sizes[2] > 4096, "{sizes:?}");
    MongoDb::delete_database(it(), "wild".into()).expect("gone");
    let again = MongoDb::delete_database(it(), "wild".into());
    assert!(matches!(again, Err(Error::NotFound(_))));
    // It stays when what is in it goes, and goes when it is deleted.
    server
        .client("client.shop.x.insert_one({})")
        .expect("it is done");
    server
        .client("client.drop_database('shop')")
        .expect("it is done");
    assert_eq!(names(), ["real_one", "shop"]);
}

fn privileges(server: &Server) {
    let it = || server.instance.clone();
    MongoDb::create_user(it(), "ann".into(), PASSWORD.into(), false).expect("a user");
    let ann = |script: &str| as_ann(server, "shop", PASSWORD, script);
    server
        .client("client.shop.things.insert_one({'_id': 1})")
        .expect("it is done");
    let steps = [
        Permission::Readonly,
        Permission::Readwrite,
        Permission::All,
        Permission::Readwrite,
        Permission::Readonly,
        Permission::None,
        Permission::All,
    ];
    for wanted in steps {
        for _ in 0..2 {
            set(it(), "ann", "shop", wanted).expect("a privilege");
        }
        assert_eq!(of(it(), "ann", "shop"), wanted);
        assert_eq!(of(it(), "ann", "real_one"), Permission::None);
        let rank = [
            Permission::None,
            Permission::Readonly,
            Permission::Readwrite,
            Permission::All,
        ];
        let rank = rank.iter().position(|p| *p == wanted);
        let scripts = [
            "assert db.things.find_one() == {'_id': 1}",
            "db.things.replace_one({'_id': 1}, {'_id': 1}); db.more.insert_one({}); db.more.drop()",
            "db.command('profile', -1)",
        ];
        for (needed, script) in scripts.iter().enumerate() {
            let done = ann(script);
            if rank > Some(needed) {
                assert!(done.is_ok(), "{wanted:?} {script}: {done:?}");
            } else {
                denied(&done);
            }
        }
        denied(&as_ann(server, "real_one", PASSWORD, "db.x.find_one()"));
        denied(&ann(
            "client.admin.command('createUser', 'x', pwd='x', roles=[])",
        ));
    }
    let custom = set(it(), "ann", "shop", Permission::Custom);
    assert!(matches!(custom, Err(Error::Unsupported(_))));
    for (user, database) in [
        ("ghost", "shop"),
        ("ann", "ghost"),
        ("_rdb_superadmin", "shop"),
    ] {
        let absent = set(it(), user, database, Permission::All);
        assert!(
            matches!(absent, Err(Error::NotFound(_))),
            "{user} {database}"
        );
        let list = MongoDb::list_privileges(it(), Some(user.into()), Some(database.into()));
        assert!(matches!(list, Err(Error::NotFound(_))), "{user} {database}");
    }
    // An admin has all, and cannot have less.
    assert_eq!(of(it(), "app_user", "shop"), Permission::All);
    set(it(), "app_user", "shop", Permission::All).expect("he has it");
    let less = set(it(), "app_user", "shop", Permission::Readonly);
    assert!(matches!(less, Err(Error::Conflict(_))));
    let all = MongoDb::list_privileges(it(), None, None).expect("a list");
    let pairs: Vec<_> = all.iter().map(|p| (&*p.user, &*p.database)).collect();
    let whole = [
        ("ann", "real_one"),
        ("ann", "shop"),
        ("app_user", "real_one"),
        ("app_user", "shop"),
    ];
    assert_eq!(pairs, whole);

    // Another database of the same name is another one.
    MongoDb::delete_database(it(), "shop".into()).expect("gone");
    MongoDb::create_database(it(), "shop".into()).expect("a database");
    assert_eq!(of(it(), "ann", "shop"), Permission::None);
    MongoDb::delete_user(it(), "ann".into()).expect("gone");
}

fn what_was_granted_otherwise(server: &Server) {
    let it = || server.instance.clone();
    MongoDb::create_user(it(), "ann".into(), PASSWORD.into(), false).expect("a user");
    server.superuser("client.admin.command('grantRolesToUser', 'ann', roles=[{'role': 'dbOwner', 'db': 'shop'}])");
    assert_eq!(of(it(), "ann", "shop"), Permission::Custom);
    assert_eq!(of(it(), "ann", "real_one"), Permission::None);
    set(it(), "ann", "shop", Permission::Readonly).expect("a privilege");
    assert_eq!(of(it(), "ann", "shop"), Permission::Readonly);
    // A role that reaches everything cannot be taken for one database.
    server.superuser("client.admin.command('grantRolesToUser', 'ann', roles=['readAnyDatabase'])");
    assert_eq!(of(it(), "ann", "real_one"), Permission::Custom);
    let less = set(it(), "ann", "shop", Permission::None);
    assert!(
        matches!(&less, Err(Error::Conflict(why)) if why.contains("readAnyDatabase")),
        "{less:?}"
    );
    // A database that was made by nobody may have been given before; who makes it, finds it empty.
    server
        .superuser("client.admin.command('revokeRolesFromUser', 'ann', roles=['readAnyDatabase'])");
    server.superuser(
        "client.admin.command('grantRolesToUser', 'ann', roles=[{'role': 'read', 'db': 'later'}])",
    );
    MongoDb::create_database(it(), "later".into()).expect("a database");
    assert_eq!(of(it(), "ann", "later"), Permission::None);
    MongoDb::delete_database(it(), "later".into()).expect("gone");
    // What was made, no admin says: neither by writing where Berth might look, nor as Berth does it.
    let names = || -> Vec<_> {
        let all = MongoDb::list_databases(it(), true).expect("a list");
        all.into_iter().map(|database| database.name).collect()
    };
    let before = names();
    server
        .client("client['_rdb'].databases.insert_one({'_id': 'ghost'})")
        .expect("it is done");
    let (seen, hidden): (Vec<_>, Vec<_>) = names().into_iter().partition(|n| before.contains(n));
    assert_eq!((seen, hidden), (before.clone(), vec!["_rdb".to_owned()]));
    server
        .client("client.drop_database('_rdb')")
        .expect("it is done");
    for command in [
        "'createRole', '_rdb_database_ghost', privileges=[], roles=[]",
        "'dropRole', '_rdb_database_shop'",
    ] {
        denied(&server.client(&format!("client.admin.command({command})")));
    }
    assert_eq!(names(), before);
    MongoDb::delete_user(it(), "ann".into()).expect("gone");
}

/// An earlier build kept the names of what it made in a list, where admins can write.
fn what_an_earlier_build_noted_is_taken_over(server: &Server) {
    let it = || server.instance.clone();
    let names = || -> Vec<_> {
        let all = MongoDb::list_databases(it(), true).expect("a list");
        all.into_iter().map(|database| database.name).collect()
    };
    let before = names();
    let as_it_was = || {
        server
            .superuser("client.admin.command('dropRole', '_rdb_noted_databases_were_taken_over')");
    };
    let write = |documents: &str| {
        let insert = format!("client['_rdb'].databases.insert_many({documents})");
        server.client(&insert).expect("it is done");
    };
    as_it_was();
    write("[{'_id': 'empty-one'}, {'_id': 'empty-two'}, {'_id': 'shop'}]");
    let after: Vec<_> = ["empty-one", "empty-two", "real_one", "shop"].into();
    assert_eq!(before, after[2..]);
    for _ in 0..2 {
        assert_eq!(names(), after);
    }
    let again = MongoDb::create_database(it(), "empty-one".into());
    assert!(matches!(again, Err(Error::AlreadyExists(_))), "{again:?}");
    MongoDb::delete_database(it(), "empty-one".into()).expect("gone");
    assert_eq!(names(), after[1..]);
    // A repeated bootstrap takes them over as well, and nothing that is no name.
    as_it_was();
    write("[{'_id': 'empty-one'}, {'_id': 'admin'}, {'_id': 7}, {'_id': 'theirs', 'x': 1}]");
    server.bootstrap();
    let with_theirs: Vec<_> = ["_rdb"].into_iter().chain(after.iter().copied()).collect();
    assert_eq!(names(), with_theirs);
    server
        .client("client.drop_database('_rdb')")
        .expect("it is done");
    for name in ["empty-one", "empty-two"] {
        MongoDb::delete_database(it(), name.into()).expect("gone");
    }
    assert_eq!(names(), before);
}

/// Who sets different things at the same time does not undo the other's work.
fn two_at_once(server: &Server) {
    let it = || server.instance.clone();
    MongoDb::create_user(it(), "ann".into(), PASSWORD.into(), false).expect("a user");
    std::thread::scope(|scope| {
        for database in ["shop", "real_one"] {
            scope.spawn(move || {
                for wanted in [Permission::All, Permission::Readonly, Permission::Readwrite] {
                    server.until(|| set(server.instance.clone(), "ann", database, wanted));
                }
            });
        }
    });
    for database in ["shop", "real_one"] {
        assert_eq!(of(it(), "ann", database), Permission::Readwrite);
    }
    MongoDb::delete_user(it(), "ann".into()).expect("gone");
}

impl Server {
    /// Somebody who may do everything, as nobody from outside may.
    fn superuser(&self, script: &str) {
        let app = self.uri();
        let rest = app.split_once('@').expect("a URI").1;
        let uri = format!(
            "mongodb://_rdb_superadmin:{}@{rest}",
            self.secret("superuser")
        );
        self.at(&uri, script).expect(script);
    }
}

fn as_ann(server: &Server, database: &str, password: &str, script: &str) -> Result<String, String> {
    let login = Login {
        user: Some("ann".into()),
        database: Some(database.into()),
        secret: String::new(),
    };
    server.at(&server.uri_of(login, password), script)
}

fn set(
    instance: Instance,
    user: &str,
    database: &str,
    permission: Permission,
) -> Result<(), Error> {
    let set = MongoDb::set_privilege(instance, user.into(), database.into(), permission)?;
    assert_eq!(set.permission, permission);
    Ok(())
}

fn of(instance: Instance, user: &str, database: &str) -> Permission {
    let list = MongoDb::list_privileges(instance, Some(user.into()), Some(database.into()));
    let list = list.expect("a list");
    assert_eq!(list.len(), 1);
    list[0].permission
}

#[track_caller]
fn denied(answer: &Result<String, String>) {
    let why = answer.as_ref().expect_err("it is refused");
    assert!(why.contains("Unauthorized"), "{why}");
}
