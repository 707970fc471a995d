//! The plugin against a server: native, without the sandbox, but with the plan as it is, and with the server reached as the
//! host reaches it. Which server it is, [`server`] says: a real `mongod` where `BERTH_TEST_MONGOD` names one, and a stand-in
//! otherwise.

mod server;
mod settings;
mod users;

use berth_plugin_mongodb::MongoDb;
use berth_sdk::engine::settings::Settings;
use berth_sdk::engine::users::Users;
use berth_sdk::engine::{Credentials, Login, Provisioning, Role};
use berth_sdk::types::Error;
use berth_sdk_testing::{Signal, Sweep, not_tried};

use server::{Server, program};

#[test]
fn lives_with_a_server() {
    let Some((version, program)) = program() else {
        return not_tried("the engine for MongoDB on a server or its stand-in");
    };
    a_life(Server::start(&version, program));
}

#[test]
fn what_was_cut_off_is_mended_by_its_repetition() {
    let Some((version, program)) = program() else {
        return not_tried("the changes of MongoDB, cut off");
    };
    let mut server = Server::start(&version, program);
    server.bootstrap();
    server.sweep(&Sweep {
        database: "cut_here",
        makes_databases: true,
        setting: ("cursorTimeoutMillis", ["500000", "700000"]),
    });
}

fn a_life(mut server: Server) {
    let it = |server: &Server| server.instance.clone();
    // Nothing is there yet, and that is no failure.
    server.until(|| match MongoDb::observe(it(&server))?.as_slice() {
        [seen] => {
            assert!(!seen.ready);
            Ok(())
        }
        seen => panic!("{} members", seen.len()),
    });
    server.bootstrap();
    server.bootstrap();
    observed(&server);
    another_version_is_refused(&server);
    clients_get_in_by_tls_only(&server);
    transactions_and_change_streams(&server);
    first_user_rules_the_data_and_no_more(&server);
    passwords(&server);
    users::live(&server);

    server
        .client("db.kept.insert_one({'_id': 7})")
        .expect("it is done");
    server.signal(Signal::SIGKILL);
    let seen = MongoDb::observe(it(&server)).expect("an observation");
    assert!(!seen[0].ready, "a killed server is not ready");
    assert!(matches!(
        MongoDb::verify(it(&server), server.login(), "x".into()),
        Err(Error::RetryAfter(_))
    ));
    server.run();
    server.ready();
    let kept = server.client("print(db.kept.count_documents({}))");
    assert_eq!(kept.as_deref(), Ok("1"));
    server.bootstrap();

    settings::live(&mut server);
    let log = server.log();
    for hidden in [
        server.secret("app"),
        server.secret("superuser"),
        server.secret("members"),
        "S3cret".into(),
    ] {
        assert!(!log.contains(&hidden), "{hidden} is in the log:\n{log}");
    }
    let status = server.stop();
    assert!(status.success(), "{status}\n{}", server.log());
}

fn observed(server: &Server) {
    let seen = MongoDb::observe(server.instance.clone()).expect("an observation");
    assert_eq!(seen.len(), 1);
    assert!(seen[0].ready);
    assert_eq!(seen[0].member, "node-0");
    assert!(matches!(seen[0].role, Role::Primary));
    let numbers = seen[0].version.split('.');
    assert_eq!(numbers.filter(|n| n.parse::<u32>().is_ok()).count(), 3);
}

/// As if the operator's path for one version led to the program of another.
fn another_version_is_refused(server: &Server) {
    let mut other = server.instance.clone();
    other.spec.version = "6.0".into();
    let refused = MongoDb::bootstrap(other);
    assert!(
        matches!(&refused, Err(Error::Failed(why)) if why.contains("which is no MongoDB 6.0")),
        "{refused:?}"
    );
}

fn clients_get_in_by_tls_only(server: &Server) {
    let uri = server.uri();
    let who = "print(client.admin.command('connectionStatus')['authInfo']['authenticatedUsers'][0]['user'], db.name)";
    assert_eq!(server.client(who).as_deref(), Ok("app_user real_one"));
    let plain = uri.replace("tls=true", "tls=false");
    server
        .at(&plain, "db.command('ping')")
        .expect_err("it is refused");
    let password = server.password();
    let wrong = server.uri_of(server.login(), "wrong");
    let refused = server
        .at(&wrong, "db.command('ping')")
        .expect_err("it is refused");
    assert!(refused.contains("AuthenticationFailed"), "{refused}");
    // Without a name nothing is shown, and nobody is made: there is no way in for who comes first.
    let (scheme, rest) = uri.split_once("//").expect("a URI");
    let nobody = format!("{scheme}//{}", rest.split_once('@').expect("a URI").1);
    for command in [
        "print(db.x.find_one())",
        "client.admin.command('createUser', 'x', pwd='x', roles=['root'])",
    ] {
        let refused = server.at(&nobody, command).expect_err("it is refused");
        assert!(
            refused.contains("Unauthorized") || refused.contains("requires authentication"),
            "{refused}"
        );
    }
    assert!(!server.arguments().contains(&password));
}

/// What a replica set of one is for.
fn transactions_and_change_streams(server: &Server) {
    let script = "
db.create_collection('bank')
with db.bank.watch(max_await_time_ms=100) as seen:
    with client.start_session() as session:
        with session.start_transaction():
            db.bank.insert_one({'_id': 'lost'}, session=session)
            session.abort_transaction()
        with session.start_transaction():
            db.bank.insert_one({'_id': 'kept'}, session=session)
    print(next(seen)['documentKey']['_id'], db.bank.distinct('_id'))
db.bank.drop()";
    assert_eq!(server.client(script).as_deref(), Ok("kept ['kept']"));
}

fn first_user_rules_the_data_and_no_more(server: &Server) {
    for allowed in [
        "client.other.a.insert_one({})",
        "client.other.a.create_index('b')",
        "client.other.command('collMod', 'a', validator={})",
        "client.drop_database('other')",
        "client.admin.command('serverStatus')",
        "client.list_database_names()",
    ] {
        let done = server.client(allowed);
        assert!(done.is_ok(), "{allowed}: {done:?}");
    }
    for refused in [
        "client.admin.command('createUser', 'x', pwd='x', roles=['root'])",
        "client.admin.command('grantRolesToUser', 'app_user', roles=['root'])",
        "client.admin.command('updateUser', '_rdb_superadmin', pwd='x')",
        "client.admin.command('dropUser', '_rdb_superadmin')",
        "client.admin.command('createRole', 'x', privileges=[], roles=['root'])",
        "client.admin.command('setParameter', 1, logLevel=5)",
        "client.admin.command('replSetReconfig', {}, force=True)",
        "client.admin.command('rotateCertificates', 1)",
    ] {
        let why = server.client(refused).expect_err(refused);
        assert!(why.contains("not authorized"), "{refused}: {why}");
    }
}

fn passwords(server: &Server) {
    let it = || server.instance.clone();
    let verify = |login: Login, password: &str| {
        MongoDb::verify(it(), login, password.into()).expect("a verdict")
    };
    let login = server.login();
    let password = server.password();
    assert!(verify(login.clone(), &password));
    assert!(!verify(login.clone(), "x"));
    let ghost = Login {
        user: Some("ghost".into()),
        ..login.clone()
    };
    assert!(!verify(ghost.clone(), "x"));
    assert!(matches!(
        MongoDb::rotate(it(), ghost, "x".into()),
        Err(Error::NotFound(_))
    ));
    for _ in 0..2 {
        MongoDb::rotate(it(), login.clone(), "S3cret-1".into()).expect("a rotation");
    }
    assert!(verify(login.clone(), "S3cret-1"));
    assert!(!verify(login.clone(), &password));
    MongoDb::rotate(it(), login.clone(), password.clone()).expect("a rotation");
    // Somebody has changed Berth's own user: the members' key brings it back.
    let mut other = server.instance.clone();
    for secret in &mut other.secrets {
        if secret.name == "superuser" {
            secret.value = "another".into();
        }
    }
    assert!(MongoDb::observe(other.clone()).expect("an observation")[0].ready);
    for changed in [other, it()] {
        MongoDb::list_users(changed.clone()).expect("a list");
        let superuser = MongoDb::reload(changed);
        assert_eq!(superuser.expect("a reload"), [""; 0]);
    }
    // Whoever has neither the password nor the key comes to nothing.
    let mut stranger = server.instance.clone();
    for secret in &mut stranger.secrets {
        secret.value = "another".into();
    }
    let refused = MongoDb::list_users(stranger);
    assert!(matches!(refused, Err(Error::Failed(_))), "{refused:?}");
    MongoDb::list_users(it()).expect("a list");
}
