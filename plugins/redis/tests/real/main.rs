//! The plugin against real servers, one of every version that is installed: native, without the sandbox, but
//! with the plan as it is, and with the server reached as the host reaches it.

mod durability;
mod server;
mod settings;
mod shards;
mod users;

use std::path::PathBuf;
use std::thread;

use berth_plugin_redis::Redis;
use berth_sdk::engine::{Catalog, Credentials, Login, Provisioning, Role};
use berth_sdk::types::Error;
use berth_sdk_testing::{Signal, Sweep, not_tried};

use server::{Server, programs};

#[test]
fn lives_with_every_version_installed() {
    thread::scope(|scope| {
        for (programs, version) in everything_installed() {
            scope.spawn(move || a_life(&version, Server::start(&version, programs)));
        }
    });
}

#[test]
fn what_was_cut_off_is_mended_by_its_repetition() {
    swept(1);
}

#[test]
fn what_was_cut_off_between_shards_is_mended_by_its_repetition() {
    swept(3);
}

fn swept(shards: u32) {
    let Some((programs, version)) = everything_installed().into_iter().next() else {
        return;
    };
    let mut server = Server::start_shards(&version, programs, shards);
    server.bootstrap();
    server.sweep(&Sweep {
        database: "keyspace",
        makes_databases: false,
        setting: ("timeout", ["600", "700"]),
    });
}

#[test]
fn shards_of_every_version_installed_are_one() {
    thread::scope(|scope| {
        for (programs, version) in everything_installed() {
            scope.spawn(move || {
                shards::live(&version, &mut Server::start_shards(&version, programs, 3));
            });
        }
    });
}

/// What is missing is told.
fn everything_installed() -> Vec<(PathBuf, String)> {
    let labels = Redis::describe().versions.into_iter().map(|v| v.label);
    let found = labels.filter_map(|label| match programs(&label) {
        Some(programs) => Some((programs, label)),
        None => {
            not_tried(&format!("Redis {label}"));
            None
        }
    });
    found.collect()
}

fn a_life(version: &str, mut server: Server) {
    server.bootstrap();
    server.bootstrap();

    observed(version, &server);
    another_version_is_refused(version, &server);
    clients_get_in_by_tls_only(&server);
    first_user_rules_the_data_and_no_more(version, &server);
    passwords(&server);
    users::live(version, &mut server);

    server.signal(Signal::SIGKILL);
    let seen = Redis::observe(server.instance.clone()).expect("an observation");
    assert!(!seen[0].ready, "{version}: a killed server is not ready");
    assert!(matches!(
        Redis::verify(server.instance.clone(), server.login(), "x".into()),
        Err(Error::RetryAfter(_))
    ));
    server.run();
    server.bootstrap();

    durability::live(version, &mut server);
    settings::live(version, &mut server);
    let log = server.log();
    for hidden in [
        server.secret("app"),
        server.secret("berth"),
        "S3cret".into(),
    ] {
        assert!(
            !log.contains(&hidden),
            "{version}: {hidden} is in the log:\n{log}"
        );
    }
    let status = server.stop();
    assert!(status.success(), "{version}: {status}\n{}", server.log());
}

fn observed(version: &str, server: &Server) {
    let seen = Redis::observe(server.instance.clone()).expect("an observation");
    assert_eq!(seen.len(), 1);
    assert!(seen[0].ready);
    assert_eq!(seen[0].member, "node-0");
    assert!(matches!(seen[0].role, Role::Primary));
    assert!(seen[0].data_bytes < 20 << 20, "{}", seen[0].data_bytes);
    let number = version.trim_start_matches("valkey-");
    let exact = seen[0].version.strip_prefix(&format!("{number}."));
    let exact = exact.is_some_and(|rest| rest.split('.').all(|part| part.parse::<u32>().is_ok()));
    assert!(exact, "{version}: {}", seen[0].version);
}

/// As if the operator's path for one version led to the program of another.
fn another_version_is_refused(version: &str, server: &Server) {
    let mut other = server.instance.clone();
    other.spec.version = if version == "7.0" { "7.2" } else { "7.0" }.into();
    let refused = Redis::bootstrap(other);
    assert!(
        matches!(&refused, Err(Error::Failed(why)) if why.contains("which is no Redis 7.")),
        "{version}: {refused:?}"
    );
}

fn clients_get_in_by_tls_only(server: &Server) {
    let uri = server.uri();
    assert_eq!(
        server.at(&uri, &["ACL", "WHOAMI"]).as_deref(),
        Ok("default")
    );
    // A client that gives no name.
    let nameless = uri.replace("//default:", "//");
    assert_eq!(server.at(&nameless, &["PING"]).as_deref(), Ok("PONG"));
    let plain = uri.replace("rediss://", "redis://");
    server.at(&plain, &["PING"]).expect_err("it is refused");
    let nobody = uri.split_once("//").expect("a URI").0.to_owned() + "//127.0.0.1:";
    let nobody = format!("{nobody}{}", server.endpoint().port);
    let refused = server.at(&nobody, &["PING"]).expect_err("it is refused");
    assert!(refused.contains("NOAUTH"), "{refused}");
}

fn first_user_rules_the_data_and_no_more(version: &str, server: &Server) {
    let uri = server.uri();
    for allowed in [
        &["SET", "a", "1"][..],
        &["KEYS", "*"],
        &["INFO", "server"],
        &["CLIENT", "LIST"],
        &["SLOWLOG", "GET"],
        &["CONFIG", "GET", "maxmemory"],
        &["EVAL", "return redis.call('GET', 'a')", "0"],
        &["SELECT", "15"],
        &[
            "FUNCTION",
            "LOAD",
            "#!lua name=mine\nredis.register_function('f', function() return 7 end)",
        ],
        &["FLUSHALL"],
    ] {
        server
            .at(&uri, allowed)
            .unwrap_or_else(|e| panic!("{version}: {allowed:?}: {e}"));
    }
    for forbidden in [
        &["CONFIG", "SET", "dir", "/tmp"][..],
        &["CONFIG", "SET", "maxmemory", "0"],
        &["CONFIG", "REWRITE"],
        &["ACL", "SETUSER", "me", "on", "nopass", "+@all", "~*"],
        &["ACL", "GETUSER", "berth"],
        &["ACL", "LIST"],
        &["ACL", "LOAD"],
        &["MODULE", "LIST"],
        &["DEBUG", "SLEEP", "0"],
        &["SHUTDOWN", "NOSAVE"],
        &["REPLICAOF", "127.0.0.1", "1"],
        &["MIGRATE", "127.0.0.1", "1", "a", "0", "1"],
        &["CLIENT", "PAUSE", "1"],
        &["MONITOR"],
        &["BGREWRITEAOF"],
        &["CLUSTER", "RESET"],
        &["PSYNC", "?", "-1"],
        &[
            "EVAL",
            "return redis.call('CONFIG', 'SET', 'dir', '/tmp')",
            "0",
        ],
    ] {
        let refused = server
            .at(&uri, forbidden)
            .expect_err(&format!("{forbidden:?}"));
        let known = [
            "NOPERM",
            "ACL failure",
            "can't run this command or subcommand",
            "DEBUG command not allowed",
            "not allowed from script",
        ];
        assert!(
            known.iter().any(|reason| refused.contains(reason)),
            "{version}: {forbidden:?}: {refused}"
        );
    }
}

fn passwords(server: &Server) {
    let login = server.login();
    let accepts = |password: &str| {
        Redis::verify(server.instance.clone(), login.clone(), password.into()).expect("a verdict")
    };
    let rotate = |password: &str| {
        Redis::rotate(server.instance.clone(), login.clone(), password.into()).expect("a rotation");
    };
    let first = server.secret("app");
    assert!(accepts(&first));
    assert!(!accepts("something else"));
    assert!(!accepts(""));
    rotate("next");
    rotate("next");
    assert!(accepts("next"));
    assert!(!accepts(&first));

    // Locked out; a rotation mends it.
    server.ask(&["ACL", "SETUSER", "default", "off"]);
    assert!(!accepts("next"));
    rotate(&first);
    assert!(accepts(&first));
    assert!(server.at(&server.uri(), &["DBSIZE"]).is_ok());

    let unknown = Login {
        user: Some("nobody-we-know".into()),
        ..login.clone()
    };
    let verdict = Redis::verify(server.instance.clone(), unknown.clone(), first.clone());
    assert!(matches!(verdict, Ok(false)), "{verdict:?}");
    let rotated = Redis::rotate(server.instance.clone(), unknown, first);
    assert!(matches!(rotated, Err(Error::NotFound(_))), "{rotated:?}");
}
