//! What the proxy in front of a database costs its clients: pgbench straight to the server, through the proxy that Berth
//! puts there, and through one in its simplest form, without rules. That one is there twice: what the two differ by is how far
//! the machine can be trusted.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::create::wanted;
use crate::host::{Host, directory};
use crate::table::Table;

/// Many and short: what else the machine does comes and goes, and in one round it is the same for all.
const ROUNDS: usize = 21;
const SECONDS: u32 = 1;
const CLIENTS: [u32; 2] = [1, 4];
/// So much slower is level, and what the peer's twin is slower besides: a machine that does other things too tells no less.
const NOISE: f64 = 0.05;

/// A way to the server.
struct Way {
    name: &'static str,
    uri: String,
    /// By number of clients, then by round.
    rates: [Vec<f64>; CLIENTS.len()],
}

pub async fn run() {
    let folder = directory();
    let (host, _) = Host::start(folder.path()).await;
    let mut wanted = wanted("measured");
    // The proxy is within its instance's limit of the processor, and the peer in nobody's: one that none of them meets.
    wanted["plan_id"] = "db-s-4vcpu-8gb".into();
    let (status, created) = host.post("/api/v1/databases", &wanted).await;
    assert_eq!(status, 201, "{created}");
    let id = created["id"].as_str().expect("an id").to_owned();
    host.wait_status(&id, "running").await;
    let path = format!("/api/v1/databases/{id}/credentials");
    let (_, given) = host.get(&path).await;
    let uri = given["connection_string"].as_str().expect("a URI");
    let port = given["port"].as_u64().expect("a port");
    let inner = inner_port(folder.path());
    let mut plain = ["plain.cfg", "twin.cfg"].map(|name| plain(&folder.path().join(name), inner));
    let joined = [0, 1].map(|which: usize| share_groups(folder.path(), plain[which].1.id()));
    let alike = joined.into_iter().all(|joined| joined);
    let at = |other: u64| uri.replace(&format!(":{port}/"), &format!(":{other}/"));
    let way = |name, port| Way {
        name,
        uri: at(port),
        rates: [const { Vec::new() }; CLIENTS.len()],
    };
    let mut ways = [
        way("straight to the server", u64::from(inner)),
        way("berth's proxy, with its rules", port),
        way(
            "peer: HAProxy in TCP mode, without rules",
            u64::from(plain[0].0),
        ),
        way("the same, another process of it", u64::from(plain[1].0)),
    ];
    let pgbench = pgbench();
    initialise(&pgbench, &ways[0].uri);

    // The first round of each warms up and is not counted.
    for round in 0..=ROUNDS {
        for (which, clients) in CLIENTS.into_iter().enumerate() {
            // Whoever comes first has it neither better nor worse over all rounds.
            for turn in 0..ways.len() {
                let count = ways.len();
                let way = &mut ways[(turn + round) % count];
                let rate = measure(&pgbench, &way.uri, clients);
                if round > 0 {
                    way.rates[which].push(rate);
                }
            }
        }
    }
    for (_, child) in &mut plain {
        let _ = child.kill();
        let _ = child.wait();
    }
    host.remove(&id).await;
    print(folder.path(), ways, alike);
}

fn print(folder: &Path, ways: [Way; 4], alike: bool) {
    let mut table = Table::new(
        "pgbench, select only, over TLS: transactions per second",
        &["way", "1 client", "share", "4 clients", "share"],
    );
    let peer = ways[2].rates.clone();
    let shares = |way: &Way| [0, 1].map(|which| share(&way.rates[which], &peer[which]));
    for way in &ways {
        let cells = way
            .rates
            .iter()
            .zip(shares(way))
            .flat_map(|(rates, share)| {
                let rate = middle(rates.clone());
                [format!("{rate:.0}"), format!("{:.0} %", 100.0 * share)]
            });
        table.row([way.name.to_owned()].into_iter().chain(cells));
    }
    table.note(format!(
        "median of {ROUNDS} alternating rounds of {SECONDS} s; client, proxy and server share the machine's processors"
    ));
    table.note("share: the median of what it is of the peer's in the same round".to_owned());
    table.note(if alike {
        "the peer is in the control groups of Berth's proxy: who is in fewer gets more of a busy machine".to_owned()
    } else {
        "the peer or its twin is in no control group, as Berth's proxy is not or cannot be joined".to_owned()
    });
    let (ours, twins) = (shares(&ways[1]), shares(&ways[3]));
    let kept = ours
        .iter()
        .zip(twins)
        .all(|(ours, twin)| *ours >= twin.min(1.0) - NOISE);
    table.target(
        kept,
        "no slower than the slower of the peer and its twin, but for 5 % of noise",
    );
    table.print(folder);
}

/// Where the only server there is listens, out of what its proxy was told.
fn inner_port(data: &Path) -> u16 {
    let config = only_instance(data).join("0-proxy/files/proxy.cfg");
    let text = fs::read_to_string(config).expect("the proxy's configuration");
    let lines = text.lines();
    let mut servers = lines.filter_map(|line| line.trim().strip_prefix("server member 127.0.0.1:"));
    servers.next().expect("a server").parse().expect("a port")
}

fn only_instance(data: &Path) -> PathBuf {
    let mut instances = fs::read_dir(data.join("instances")).expect("instances");
    instances
        .next()
        .expect("an instance")
        .expect("an entry")
        .path()
}

/// As its manual begins.
fn plain(config: &Path, inner: u16) -> (u16, Child) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    drop(listener);
    let text = format!(
        "defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
listen plain
  bind 127.0.0.1:{port}
  server member 127.0.0.1:{inner}
"
    );
    fs::write(config, text).expect("written");
    let child = Command::new("/usr/sbin/haproxy")
        .arg("-db")
        .arg("-f")
        .arg(config)
        .stdin(Stdio::null())
        .spawn()
        .expect("haproxy, which `make servers` installs");
    let deadline = Instant::now() + Duration::from_secs(10);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "the peer does not listen");
        std::thread::sleep(Duration::from_millis(5));
    }
    (port, child)
}

/// Have the peer share the control groups of Berth's own proxy, so that both get the same of the processors. Whether there
/// were any to join.
fn share_groups(data: &Path, peer: u32) -> bool {
    let groups = only_instance(data).join(".berth/0-proxy/group.json");
    let text = fs::read_to_string(&groups).unwrap_or_else(|_| "[]".to_owned());
    let parts: Vec<Value> = serde_json::from_str(&text).expect("the proxy's groups");
    let mut dirs = parts.iter().filter_map(|part| part["dir"].as_str());
    let joined = |dir: &str| fs::write(Path::new(dir).join("cgroup.procs"), peer.to_string());
    !parts.is_empty() && dirs.all(|dir| joined(dir).is_ok())
}

fn initialise(pgbench: &Path, uri: &str) {
    let output = Command::new(pgbench)
        .args(["-i", "-q", "-s", "1", uri])
        .output()
        .expect("pgbench runs");
    assert!(output.status.success(), "{output:?}");
}

fn measure(pgbench: &Path, uri: &str, clients: u32) -> f64 {
    let output = Command::new(pgbench)
        .args(["-S", "-n", "-M", "prepared", "-T", &SECONDS.to_string()])
        .args(["-c", &clients.to_string(), "-j", &clients.to_string(), uri])
        .output()
        .expect("pgbench runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let rate = text.lines().find_map(|line| {
        let rate = line.strip_prefix("tps = ")?;
        rate.split(' ').next()?.parse().ok()
    });
    rate.unwrap_or_else(|| panic!("{output:?}"))
}

/// Of the newest server that is installed.
fn pgbench() -> PathBuf {
    let versions = (14..=18).rev();
    let mut found = versions.filter_map(|m| berth_tests::real::postgresql_program(m, "pgbench"));
    found
        .next()
        .expect("pgbench, which `make servers` installs")
}

/// Of the peer's, as they were round by round.
fn share(rates: &[f64], peer: &[f64]) -> f64 {
    let of_each = rates.iter().zip(peer).map(|(rate, peer)| rate / peer);
    middle(of_each.collect())
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
