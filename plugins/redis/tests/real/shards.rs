//! Several servers that have the data between them.

use std::cell::RefCell;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use berth_plugin_redis::Redis;
use berth_sdk::engine::settings::Settings;
use berth_sdk::engine::users::{Permission, Users};
use berth_sdk::engine::{Credentials, Provisioning};
use berth_sdk::types::Error;
use berth_sdk_testing::Signal;

use crate::server::Server;

const PASSWORD: &str = "S3cret!-of-ann";
const ANN: (&str, &str) = ("ann", PASSWORD);
const KEYS: usize = 500;

pub fn live(version: &str, server: &mut Server) {
    server.bootstrap();
    server.bootstrap();
    assert_eq!(
        ready(server),
        ["shard-1", "shard-2", "shard-3"],
        "{version}"
    );
    keys_are_everywhere(version, server);
    users_are_everywhere(version, server);
    permissions_know_the_way(version, server);
    strangers_are_not_heard(version, server);
    one_goes_and_comes_back(version, server);
    certificates_change_for_all(version, server);
    settings_change_for_all(server);

    let status = server.stop();
    assert!(status.success(), "{version}: {status}\n{}", server.log());
    server.run();
    server.ready();
    all_keys_are_there(version, server);
    let log = server.log();
    for hidden in [&*server.password(), PASSWORD, &server.secret("berth")] {
        assert!(!log.contains(hidden), "{version}:\n{log}");
    }
}

/// Those that serve clients.
fn ready(server: &Server) -> Vec<String> {
    let seen = Redis::observe(server.instance.clone()).expect("an observation");
    assert_eq!(seen.len(), 3);
    let ready = seen.into_iter().filter(|member| member.ready);
    ready.map(|member| member.member).collect()
}

fn keys_are_everywhere(version: &str, server: &Server) {
    let password = server.password();
    let first = ("default", &*password);
    let sets: Vec<_> = (0..KEYS).map(|n| format!("SET key-{n} {n}")).collect();
    let said = server.follow(1, first, &sets);
    assert_eq!(
        said.iter().filter(|line| *line == "OK").count(),
        KEYS,
        "{said:?}"
    );
    all_keys_are_there(version, server);
    for nth in 0..3 {
        let own = server
            .ask_shard(nth, &["DBSIZE"])
            .parse::<usize>()
            .expect("a number");
        assert!((KEYS / 6..KEYS / 2).contains(&own), "{version}: {own}");
    }
    // Who does not follow is told where to go: to an endpoint.
    let refused: Vec<_> = (0..3)
        .filter_map(|nth| server.as_user_at(nth, first, &["GET", "key-1"]).err())
        .collect();
    assert_eq!(refused.len(), 2, "{version}: {refused:?}");
    for said in refused {
        let to = said
            .split_whitespace()
            .find_map(|word| word.strip_prefix("127.0.0.1:"));
        let port: u16 = to.and_then(|port| port.parse().ok()).expect("an address");
        let mut ways = server.instance.endpoints.iter().filter(|e| !e.for_members);
        assert!(
            said.contains("MOVED") && ways.any(|e| e.port == port),
            "{said}"
        );
    }
}

fn all_keys_are_there(version: &str, server: &Server) {
    let password = server.password();
    let gets: Vec<_> = (0..KEYS).map(|n| format!("GET key-{n}")).collect();
    let said = server.follow(2, ("default", &password), &gets);
    let values: Vec<_> = said
        .iter()
        .filter_map(|line| line.parse::<usize>().ok())
        .collect();
    assert_eq!(values, (0..KEYS).collect::<Vec<_>>(), "{version}");
}

fn users_are_everywhere(version: &str, server: &Server) {
    let it = || server.instance.clone();
    let make = || Redis::create_user(it(), "ann".into(), PASSWORD.into(), false);
    let listed = || {
        let all = Redis::list_users(it()).expect("a list");
        all.into_iter().any(|user| user.name == "ann")
    };
    let permission = || {
        let all = Redis::list_privileges(it(), Some("ann".into()), None);
        all.expect("a list")[0].permission
    };
    make().expect("a user");
    assert!(matches!(make(), Err(Error::AlreadyExists(_))));
    let set = |permission| Redis::set_privilege(it(), "ann".into(), "keyspace".into(), permission);
    set(Permission::Readwrite).expect("a privilege");
    assert_eq!(permission(), Permission::Readwrite);
    let keys: Vec<_> = (0..30).map(|n| format!("SET of-ann-{n} 1")).collect();
    let said = server.follow(0, ANN, &keys);
    assert_eq!(
        said.iter().filter(|line| *line == "OK").count(),
        30,
        "{version}: {said:?}"
    );

    // Other on one of them, and then gone from it, as a change leaves it that was cut off.
    server.ask_shard(1, &["ACL", "SETUSER", "ann", "+flushall"]);
    assert_eq!(permission(), Permission::Custom);
    set(Permission::Readwrite).expect("a privilege");
    assert_eq!(permission(), Permission::Readwrite);
    server.ask_shard(1, &["ACL", "DELUSER", "ann"]);
    assert!(listed() && permission() == Permission::Custom);
    let login = |user: &str| berth_sdk::engine::Login {
        user: Some(user.into()),
        ..server.login()
    };
    let lets_in = || Redis::verify(it(), login("ann"), PASSWORD.into()).expect("a verdict");
    assert!(!lets_in());
    for refused in [
        set(Permission::All).map(drop),
        Redis::change_user(it(), "ann".into(), None, Some(true)).map(drop),
        Redis::rotate(it(), login("ann"), "other".into()),
    ] {
        assert!(
            matches!(refused, Err(Error::Conflict(_))),
            "{version}: {refused:?}"
        );
    }
    make().expect("a user");
    assert!(lets_in());
    server.ask_shard(2, &["ACL", "DELUSER", "ann"]);
    Redis::delete_user(it(), "ann".into()).expect("its removal");
    assert!(!listed());
    let again = Redis::delete_user(it(), "ann".into());
    assert!(matches!(again, Err(Error::NotFound(_))), "{again:?}");
    for nth in 0..3 {
        assert!(!server.ask_shard(nth, &["ACL", "LIST"]).contains("ann"));
    }
}

fn permissions_know_the_way(version: &str, server: &Server) {
    let it = || server.instance.clone();
    Redis::create_user(it(), "ann".into(), PASSWORD.into(), false).expect("a user");
    for permission in [Permission::Readonly, Permission::Readwrite, Permission::All] {
        Redis::set_privilege(it(), "ann".into(), "keyspace".into(), permission).expect("one");
        may_and_may_not(version, server, ANN);
    }
    let password = server.password();
    may_and_may_not(version, server, ("default", &password));
    Redis::delete_user(it(), "ann".into()).expect("its removal");
}

fn may_and_may_not(version: &str, server: &Server, user: (&str, &str)) {
    for allowed in [
        &["CLUSTER", "SLOTS"][..],
        &["CLUSTER", "SHARDS"],
        &["CLUSTER", "NODES"],
        &["CLUSTER", "INFO"],
        &["CLUSTER", "MYID"],
        &["CLUSTER", "KEYSLOT", "a"],
        &["CLUSTER", "COUNTKEYSINSLOT", "1"],
        &["CLUSTER", "GETKEYSINSLOT", "1", "1"],
        &["READONLY"],
        &["READWRITE"],
        &["ASKING"],
    ] {
        let said = server.as_user_at(0, user, allowed);
        said.unwrap_or_else(|e| panic!("{version}: {} {allowed:?}: {e}", user.0));
    }
    for forbidden in [
        &["CLUSTER", "MEET", "127.0.0.1", "1"][..],
        &["CLUSTER", "FORGET", "a"],
        &["CLUSTER", "ADDSLOTS", "1"],
        &["CLUSTER", "DELSLOTS", "1"],
        &["CLUSTER", "SETSLOT", "1", "STABLE"],
        &["CLUSTER", "FAILOVER"],
        &["CLUSTER", "RESET"],
        &["CLUSTER", "REPLICATE", "a"],
        &["CLUSTER", "BUMPEPOCH"],
        &["CLUSTER", "SAVECONFIG"],
        &["CLUSTER", "FLUSHSLOTS"],
        &["MIGRATE", "127.0.0.1", "1", "a", "0", "1"],
        &["ACL", "SETUSER", "me", "on", "nopass", "+@all", "~*"],
    ] {
        let refused = server
            .as_user_at(0, user, forbidden)
            .expect_err("it is refused");
        assert!(
            refused.contains("NOPERM"),
            "{version}: {forbidden:?}: {refused}"
        );
    }
}

/// By the way of the shards come only those who show a certificate that the instance's own authority vouches for.
fn strangers_are_not_heard(version: &str, server: &Server) {
    let bus = server.instance.endpoints.iter().find(|e| e.name == "bus-1");
    let address = format!("127.0.0.1:{}", bus.expect("a way of the shards").port);
    let other = somebody_elses(server);
    let own = [
        server.value("file:server.crt"),
        server.value("file:server.key"),
    ];
    let mut friend = Caller::at(&address, Some(own));
    for stranger in [None, Some([&*other.0, &*other.1])] {
        Caller::at(&address, stranger).must_be_sent_away(server);
    }
    assert!(
        friend.is_there(),
        "{version}: a shard is not heard\n{}",
        server.log()
    );
}

/// Certificate and key of somebody else.
fn somebody_elses(server: &Server) -> (String, String) {
    let run = server.value("run");
    let path = |name: &str| format!("{run}/{name}");
    let (certificate, key) = (path("a.crt"), path("a.key"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
        ])
        .args(["-nodes", "-subj", "/CN=stranger", "-days", "1"])
        .args(["-out", &certificate, "-keyout", &key])
        .output()
        .expect("openssl");
    assert!(made.status.success(), "{made:?}");
    (certificate, key)
}

/// Somebody who connects and says nothing.
struct Caller(Child);

impl Caller {
    fn at(address: &str, certificate: Option<[&str; 2]>) -> Self {
        let mut client = Command::new("openssl");
        client.args(["s_client", "-quiet", "-connect", address]);
        if let Some([certificate, key]) = certificate {
            client.args(["-cert", certificate, "-key", key]);
        }
        let quiet = client.stdin(Stdio::piped()).stdout(Stdio::null());
        Self(quiet.stderr(Stdio::null()).spawn().expect("openssl"))
    }

    fn is_there(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    /// Wait until the other side has ended it.
    fn must_be_sent_away(self, server: &Server) {
        let caller = RefCell::new(self);
        server.until(|| {
            if caller.borrow_mut().is_there() {
                let short = Duration::from_millis(10);
                return Err(Error::retry(short, "a stranger is heard among the shards"));
            }
            Ok(())
        });
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn one_goes_and_comes_back(version: &str, server: &mut Server) {
    server.signal_one(1, Signal::SIGKILL);
    // The others go on with what is theirs.
    assert_eq!(ready(server), ["shard-1", "shard-3"], "{version}");
    let password = server.password();
    let first = ("default", &*password);
    let own = server.as_user_at(0, first, &["RANDOMKEY"]).expect("a key");
    server
        .as_user_at(0, first, &["GET", &own])
        .expect("its value");
    let verdict = Redis::verify(server.instance.clone(), server.login(), password.clone());
    assert!(matches!(verdict, Err(Error::RetryAfter(_))), "{verdict:?}");
    let made = Redis::create_user(
        server.instance.clone(),
        "bob".into(),
        PASSWORD.into(),
        false,
    );
    assert!(matches!(made, Err(Error::RetryAfter(_))), "{made:?}");
    server.run();
    server.ready();
    assert!(!server.ask_shard(0, &["ACL", "LIST"]).contains("bob"));
    all_keys_are_there(version, server);
}

fn certificates_change_for_all(version: &str, server: &mut Server) {
    server.renew_certificate();
    assert_eq!(
        Redis::reload(server.instance.clone()).expect("a reload"),
        [""; 0]
    );
    all_keys_are_there(version, server);
    // They find each other by the new ones.
    server.signal_one(2, Signal::SIGKILL);
    server.run();
    server.ready();
    all_keys_are_there(version, server);
}

fn settings_change_for_all(server: &mut Server) {
    server.configure(&[("timeout", "700"), ("io-threads", "2")]);
    let waiting = Redis::reload(server.instance.clone()).expect("a reload");
    assert_eq!(waiting, ["io-threads"]);
    for nth in 0..3 {
        assert!(
            server
                .ask_shard(nth, &["CONFIG", "GET", "timeout"])
                .ends_with("700")
        );
    }
    server.configure(&[]);
    assert_eq!(
        Redis::reload(server.instance.clone()).expect("a reload"),
        [""; 0]
    );
}
