//! Who may connect to a real PostgreSQL, over the network: clients stand in a network namespace at the other end of a veth
//! pair, with several addresses of both families. Making one needs root and iproute2.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use berth_tests::real::{DataDir, Host, Process, psql_binary};
use berth_tests::{not_tried, wait_for};
use serde_json::{Value, json};

use crate::lifecycle::{body, credentials, destroy};

/// Of benchmarks (RFC 2544) and of documentation (RFC 3849): nobody's network.
const HERE: [&str; 2] = ["198.18.77.1", "2001:db8:77::1"];
const ALLOWED: [&str; 2] = ["198.18.77.2", "2001:db8:77::2"];
const OTHER: [&str; 2] = ["198.18.77.3", "2001:db8:77::3"];

#[tokio::test]
async fn rules_hold_for_real_connections_of_both_families() {
    let Some(net) = Net::new() else { return };
    let data = DataDir::new();
    let host = start(&data).await;
    let id = running(&host, "guarded", json!({})).await;
    let given = credentials(&host, &id).await;
    let uuid = uuid(&host, "guarded").await;
    let [v4, v6] = HERE.map(|here| at(&given, here));

    // What a new instance has: everybody with an IPv4 address.
    assert_eq!(net.one(ALLOWED[0], &v4).unwrap(), "1");
    assert_eq!(net.one(OTHER[0], &v4).unwrap(), "1");
    net.one(ALLOWED[1], &v6).unwrap_err();

    set(&host, &uuid, &["198.18.77.0/24", "2001:db8:77::/64"]).await;
    let server = psql_here(&given, "select pg_postmaster_start_time()");
    server.unwrap_err();
    let mut held = [(0, &v4), (1, &v6)].map(|(i, uri)| net.session(ALLOWED[i], uri));
    let removed = [(0, &v4), (1, &v6)].map(|(i, uri)| net.session(OTHER[i], uri));
    let mut busy = net.session(ALLOWED[0], &v4);
    busy.send("select pg_sleep(1), 'slept'");
    let proxy = proxy(&data).pid;
    let backends = held
        .each_mut()
        .map(|session| session.ask("select pg_backend_pid()"));

    // One address of each family is left, first beside others and then alone.
    for rules in [
        ["198.18.77.2/31", "2001:db8:77::2/127"],
        ["198.18.77.2/32", "2001:db8:77::2/128"],
    ] {
        set(&host, &uuid, &rules).await;
    }
    for session in removed {
        session.wait_cut().await;
    }
    assert_eq!(busy.read(), "|slept");
    for (session, backend) in held.iter_mut().zip(backends) {
        assert_eq!(session.ask("select pg_backend_pid()"), backend);
    }
    for (i, uri) in [(0, &v4), (1, &v6)] {
        assert_eq!(net.one(ALLOWED[i], uri).unwrap(), "1");
        let refused = net.one(OTHER[i], uri).unwrap_err();
        assert!(
            refused.contains("closed the connection") || refused.contains("reset by peer"),
            "{refused}"
        );
    }

    // Added, deleted one by one, and none at all.
    change(&host, "POST", &uuid, &["198.18.77.3/32"]).await;
    assert_eq!(net.one(OTHER[0], &v4).unwrap(), "1");
    change(&host, "DELETE", &uuid, &["198.18.77.2/32"]).await;
    let [first, mut second] = held;
    first.wait_cut().await;
    busy.wait_cut().await;
    assert_eq!(second.ask("select 1"), "1");
    set(&host, &uuid, &[]).await;
    second.wait_cut().await;
    net.one(OTHER[0], &v4).unwrap_err();
    assert_eq!(self::proxy(&data).pid, proxy, "the proxy was started again");

    // They hold after a restart, and while Berth itself is away.
    set(&host, &uuid, &["2001:db8:77::2/128"]).await;
    let path = format!("/api/v1/databases/{id}/restart");
    host.post(&path, &json!({})).await;
    host.wait_status(&id, "running").await;
    drop(host);
    assert_eq!(net.one(ALLOWED[1], &v6).unwrap(), "1");
    net.one(OTHER[1], &v6).unwrap_err();
    net.one(ALLOWED[0], &v4).unwrap_err();

    let host = start(&data).await;
    destroy(&host, &id).await;
    data.nothing_but_the_host().await;
}

#[tokio::test]
async fn a_proxy_that_died_is_back_and_meanwhile_the_database_is_not_well() {
    let data = DataDir::new();
    let host = Host::start(&data).await;
    let id = running(&host, "fronted", json!({})).await;
    let given = credentials(&host, &id).await;
    let server = "select pg_postmaster_start_time()";
    let before = psql_here(&given, server).unwrap();
    let shims = data.processes().into_iter().filter(Process::is_shim);
    let mut shims = shims.filter(|shim| shim.args.iter().any(|arg| arg.contains("0-proxy")));
    let shim = shims.next().unwrap();
    // Where there is no shim either, the host starts one.
    shim.kill9();
    proxy(&data).kill9();
    let after = wait_for("clients to be let in", async || {
        psql_here(&given, server).ok()
    })
    .await;
    assert_eq!(after, before, "the server was started again");
    host.wait_status(&id, "running").await;

    // A stop ends it, a start brings it back.
    host.post(&format!("/api/v1/databases/{id}/stop"), &json!({}))
        .await;
    host.wait_status(&id, "stopped").await;
    assert!(data.processes().iter().all(|p| p.is_host() || p.is_shim()));
    host.post(&format!("/api/v1/databases/{id}/start"), &json!({}))
        .await;
    host.wait_status(&id, "running").await;
    wait_for("clients to be let in", async || {
        psql_here(&given, server).ok()
    })
    .await;
    destroy(&host, &id).await;
    data.nothing_but_the_host().await;
}

#[tokio::test]
async fn a_database_lies_where_its_storage_class_is() {
    let (data, disk) = (DataDir::new(), DataDir::new());
    let config = data.path().join("berth.toml");
    let dir = disk.path().join("mounted");
    let text = format!("[storage.classes.bssd]\ndir = \"{}\"\n", dir.display());
    fs::write(&config, text).unwrap();
    let flags = ["--config", config.to_str().unwrap()];
    // Not there: said, and nothing is begun.
    let host = Host::start_with(&data, &flags).await;
    let wanted = wanted("spacious", "bssd");
    let path = "/rdb/v1/regions/fr-par/instances";
    let refused = rdb(&host, "POST", path, &wanted).await;
    assert!(refused.0 >= 400, "{refused:?}");
    assert!(!refused.1.to_string().contains("mounted"), "{refused:?}");
    let log = fs::read_to_string(data.path().join("host.log")).unwrap();
    assert!(
        log.contains("bssd") && log.contains("is not there"),
        "{log}"
    );
    drop(host);

    fs::create_dir(&dir).unwrap();
    let host = Host::start_with(&data, &flags).await;
    let made = rdb(&host, "POST", path, &wanted).await;
    assert_eq!(made.0, 200, "{made:?}");
    let uuid = made.1["id"].as_str().unwrap().to_owned();
    let id = by_name(&host, "spacious").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    host.wait_status(&id, "running").await;
    let given = credentials(&host, &id).await;
    psql_here(&given, "create table t as select 42 as v").unwrap();

    assert_eq!(data.instance_dirs(), Vec::<std::path::PathBuf>::new());
    let own = dir.join("instances").join(&uuid);
    let owner = fs::metadata(own.join("pg-0/volumes/data")).unwrap();
    assert_eq!(owner.mode() & 0o777, 0o700);
    assert_eq!(
        fs::metadata(&own).unwrap().uid(),
        nix::unistd::geteuid().as_raw()
    );
    let shown = host
        .get(&format!("/admin/v1/instances/{id}"))
        .await
        .expect(200);
    let held = shown["confinement"].as_array().unwrap();
    assert_eq!(held.len(), 2, "{shown}");

    // A second one of the other class reads nothing of it, and is removed alone.
    let near = running(&host, "near", json!({})).await;
    assert_eq!(data.instance_dirs().len(), 1);
    destroy(&host, &near).await;

    // The disk is away while Berth starts: neither forgotten, nor made anew.
    drop(host);
    let servers = disk.path().join("away");
    fs::rename(&dir, &servers).unwrap();
    fs::create_dir(&dir).unwrap();
    let host = Host::start_with(&data, &flags).await;
    host.delete(&format!("/api/v1/databases/{id}"))
        .await
        .expect(202);
    wait_for("the deletion to wait for it", async || {
        let query = format!("/admin/v1/operations?instance={id}&kind=delete");
        let shown = host.get(&query).await.expect(200);
        let why = shown["operations"][0]["last_error"].as_str()?.to_owned();
        why.contains("storage class").then_some(())
    })
    .await;
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    fs::remove_dir(&dir).unwrap();
    fs::rename(&servers, &dir).unwrap();
    host.wait_status(&id, "destroyed").await;
    assert!(!own.exists());
    data.nothing_but_the_host().await;
    assert!(disk.processes().is_empty());
}

/// A pair of interfaces, the other end of it in a namespace of its own. Removed when dropped.
struct Net(String);

impl Net {
    fn new() -> Option<Self> {
        let name = format!("berth{}", std::process::id());
        if !nix::unistd::geteuid().is_root() || !ip(&["netns", "add", &name]) {
            not_tried("a network namespace needs root and iproute2");
            return None;
        }
        let net = Self(name);
        let (near, far) = (net.near(), net.far());
        let mut commands = vec![
            format!("link add {near} type veth peer name {far} netns {}", net.0),
            format!("link set {near} up"),
            format!("-n {} link set {far} up", net.0),
            format!("-n {} link set lo up", net.0),
        ];
        // Without looking for duplicates, which takes a second.
        let [four, six] = HERE;
        commands.push(format!("address add {four}/24 dev {near}"));
        commands.push(format!("address add {six}/64 dev {near} nodad"));
        for [four, six] in [ALLOWED, OTHER] {
            commands.push(format!("-n {} address add {four}/24 dev {far}", net.0));
            commands.push(format!("-n {} address add {six}/64 dev {far} nodad", net.0));
        }
        for command in commands {
            let words: Vec<&str> = command.split(' ').collect();
            if !ip(&words) {
                not_tried(&format!("`ip {command}` is not possible on this machine"));
                return None;
            }
        }
        Some(net)
    }

    fn near(&self) -> String {
        format!("{}n", self.0)
    }

    fn far(&self) -> String {
        format!("{}f", self.0)
    }

    /// A statement over a connection of its own, from this address.
    fn one(&self, from: &str, uri: &str) -> Result<String, String> {
        let output = self
            .psql(from, uri)
            .args(["-c", "select 1"])
            .output()
            .unwrap();
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        }
    }

    /// A connection that is held.
    fn session(&self, from: &str, uri: &str) -> Session {
        let mut child = self
            .psql(from, uri)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut session = Session {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        };
        assert_eq!(session.ask("select 'here'"), "here");
        session
    }

    /// The client cannot choose its address; of several, the kernel takes the one that the way there names.
    fn psql(&self, from: &str, uri: &str) -> Command {
        let here = if from.contains(':') { HERE[1] } else { HERE[0] };
        let bits = if from.contains(':') { 128 } else { 32 };
        let far = self.far();
        let way = format!("route replace {here}/{bits} dev {far} src {from}");
        let words: Vec<&str> = way.split(' ').collect();
        assert!(ip(&[&["-n", &self.0], words.as_slice()].concat()), "{way}");
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.0])
            .arg(psql_binary())
            .args(["-XAtq", "-v", "ON_ERROR_STOP=1"])
            .env("PGCONNECT_TIMEOUT", "20")
            .arg(uri);
        command
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        ip(&["link", "delete", &self.near()]);
        ip(&["netns", "delete", &self.0]);
    }
}

fn ip(arguments: &[&str]) -> bool {
    let run = Command::new("ip")
        .args(arguments)
        .stderr(Stdio::null())
        .status();
    run.is_ok_and(|status| status.success())
}

/// A psql that waits for the next statement.
struct Session {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Session {
    fn send(&mut self, sql: &str) {
        writeln!(self.input, "{sql};").unwrap();
        self.input.flush().unwrap();
    }

    fn read(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn ask(&mut self, sql: &str) -> String {
        self.send(sql);
        self.read()
    }

    /// It notices when it says something.
    async fn wait_cut(mut self) {
        wait_for("the connection to be cut", async || {
            let said = writeln!(self.input, "select 1;").and_then(|()| self.input.flush());
            let ended = self.child.try_wait().unwrap();
            if said.is_err() || ended.is_some_and(|status| !status.success()) {
                return Some(());
            }
            assert!(ended.is_none(), "{ended:?}");
            None
        })
        .await;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// On all addresses of the machine.
async fn start(data: &DataDir) -> Host {
    let config = data.path().join("berth.toml");
    let text = "[node]\nendpoint_address = \"::\"\npublic_address = \"127.0.0.1\"\nports = \"30540-30559\"\n";
    fs::write(&config, text).unwrap();
    Host::start_with(data, &["--config", config.to_str().unwrap()]).await
}

pub async fn running(host: &Host, name: &str, more: Value) -> String {
    let mut wanted = body(name);
    wanted["region"] = "fr-par".into();
    let pairs = more.as_object().cloned().unwrap_or_default();
    for (key, value) in pairs {
        wanted[key] = value;
    }
    let created = host.post("/api/v1/databases", &wanted).await.expect(201);
    let id = created["id"].as_str().unwrap().to_owned();
    host.wait_status(&id, "running").await;
    id
}

async fn by_name(host: &Host, name: &str) -> Value {
    let all = host.get("/api/v1/databases").await.expect(200);
    let mut all = all.as_array().unwrap().iter();
    all.find(|shown| shown["name"] == name).unwrap().clone()
}

pub async fn uuid(host: &Host, name: &str) -> String {
    let path = format!("/rdb/v1/regions/fr-par/instances?name={name}");
    let (status, listed) = rdb(host, "GET", &path, &Value::Null).await;
    assert_eq!(status, 200, "{listed}");
    listed["instances"][0]["id"].as_str().unwrap().to_owned()
}

fn wanted(name: &str, class: &str) -> Value {
    json!({
        "name": name, "engine": "PostgreSQL-15", "node_type": "db-dev-s", "is_ha_cluster": false,
        "disable_backup": true, "user_name": "owner", "password": "Correct-horse-7",
        "volume_type": class, "volume_size": 10_000_000_000_u64,
    })
}

/// Have these rules, and wait until they are in force.
pub async fn set(host: &Host, uuid: &str, networks: &[&str]) {
    change(host, "PUT", uuid, networks).await;
}

async fn change(host: &Host, method: &str, uuid: &str, networks: &[&str]) {
    let path = format!("/rdb/v1/regions/fr-par/instances/{uuid}");
    let rule = |ip: &&str| json!({ "ip": ip, "description": "of a test" });
    let body = match method {
        "DELETE" => json!({ "acl_rule_ips": networks }),
        _ => json!({ "rules": networks.iter().map(rule).collect::<Vec<_>>() }),
    };
    let (status, answer) = rdb(host, method, &format!("{path}/acls"), &body).await;
    assert_eq!(status, 200, "{answer}");
    wait_for("the rules to be in force", async || {
        let (_, shown) = rdb(host, "GET", &path, &Value::Null).await;
        (shown["status"] == "ready").then_some(())
    })
    .await;
}

pub async fn rdb(host: &Host, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let client = reqwest::Client::new();
    let mut request = client
        .request(method.parse().unwrap(), format!("{}{path}", host.base()))
        .header("X-Auth-Token", host.key());
    if !body.is_null() {
        request = request.json(body);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or(Value::Null))
}

/// The same credentials, at another address of this machine.
fn at(given: &Value, address: &str) -> String {
    let uri = given["connection_string"].as_str().unwrap();
    let host = given["host"].as_str().unwrap();
    let written = match address.contains(':') {
        true => format!("@[{address}]:"),
        false => format!("@{address}:"),
    };
    uri.replace(&format!("@{host}:"), &written)
}

fn psql_here(given: &Value, sql: &str) -> Result<String, String> {
    berth_tests::real::psql(given, sql)
}

fn proxy(data: &DataDir) -> Process {
    let mut all = data.processes().into_iter();
    let is_proxy = |p: &Process| Path::new(&p.args[0]).ends_with("haproxy");
    all.find(is_proxy).expect("a proxy")
}
