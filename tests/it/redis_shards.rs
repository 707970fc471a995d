//! A Redis whose data are divided over shards: made by the API, and used, through the endpoints that it tells, by clients
//! that others wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Stdio;

use berth_tests::real::{DataDir, Host, Process};
use berth_tests::{not_tried, wait_for};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::access::{self, rdb, running, uuid};
use crate::kill::{self, Ledger};
use crate::lifecycle::{body, credentials, destroy};
use crate::rdb::installed;
use crate::redis::{Client, cli, client, set};

const PASSWORD: &str = "Correct-horse-7!";

/// A divided database, and somebody who is let in.
struct Divided<'a> {
    host: &'a Host,
    data: &'a DataDir,
    id: String,
    uuid: String,
    /// Below `/rdb/v1`.
    path: String,
    /// Ports of its endpoints, in order.
    ports: Vec<u64>,
    /// All other ports that it has.
    inner: BTreeSet<u64>,
    bus: u64,
    client: Client,
}

#[tokio::test]
async fn shards_are_one_database_for_clients_and_for_its_owner() {
    if cli().is_none() {
        return not_tried("there is no Redis; scripts/install-servers.sh --all says why");
    }
    let data = DataDir::new();
    let host = Host::start(&data).await;
    let mut divided = Divided::new(&host, &data).await;

    divided.python("write").await;
    divided.clients_are_told_endpoints_only();
    divided.users_are_everywhere().await;
    divided.rules_hold_everywhere().await;
    divided.strangers_do_not_get_among_shards().await;
    divided.one_is_killed_and_one_hangs().await;
    divided.all_are_stopped_and_started().await;
    divided.changes_reach_all().await;

    destroy(&host, &divided.id).await;
    data.nothing_but_the_host().await;
}

#[tokio::test]
async fn kills_at_random_moments_lose_no_shard() {
    if cli().is_none() {
        return not_tried("there is no Redis; scripts/install-servers.sh --all says why");
    }
    /// What is said last: before that there may be a word on where the client was sent to.
    fn last(said: &str) -> Option<String> {
        said.lines().last().map(str::to_owned)
    }
    kill::rounds(&Ledger {
        body: |name| {
            let mut wanted = body(name);
            wanted["db_type"] = "redis".into();
            wanted["shards"] = 3.into();
            // Every second by the other product.
            if name.ends_with(['1', '3', '5', '7', '9']) {
                wanted["version"] = "valkey-8".into();
            }
            wanted
        },
        is_served: |credentials| {
            let client = Client::unsure(credentials);
            let keys = ["a", "b", "c", "d"];
            let mut asked = keys.iter().map(|key| client.ask_by(&["-c"], &["GET", key]));
            asked.all(|answer| answer.is_ok())
        },
        write: |credentials| {
            for key in ["ledger", "ledger-2", "ledger-3"] {
                let client = Client::unsure(credentials);
                let said = client.ask_by(&["-c"], &["SET", key, "7"]).unwrap();
                assert_eq!(last(&said).as_deref(), Some("OK"));
            }
        },
        read: |credentials| {
            let read = ["ledger", "ledger-2", "ledger-3"].map(|key| {
                let client = Client::unsure(credentials);
                last(&client.ask_by(&["-c"], &["GET", key]).unwrap()).unwrap_or_default()
            });
            assert!(read.iter().all(|value| *value == read[0]), "{read:?}");
            read[0].clone()
        },
    })
    .await;
}

impl<'a> Divided<'a> {
    async fn new(host: &'a Host, data: &'a DataDir) -> Self {
        let wanted = json!({"db_type": "redis", "version": "7.2", "shards": 3, "storage_gb": 5});
        let id = running(host, "divided", wanted).await;
        let shown = host.get(&format!("/api/v1/databases/{id}")).await;
        let shown = shown.expect(200);
        assert_eq!(
            (&shown["shards"], &shown["replicas"], &shown["storage_gb"]),
            (&json!(3), &json!(1), &json!(5)),
            "{shown}"
        );
        let uuid = uuid(host, "divided").await;
        let path = format!("/rdb/v1/regions/fr-par/instances/{uuid}");
        let (_, of_rdb) = rdb(host, "GET", &path, &Value::Null).await;
        assert_eq!(of_rdb["volume"]["size"], 15_000_000_000_u64, "{of_rdb}");
        let endpoints = of_rdb["endpoints"].as_array().unwrap();
        let ports: Vec<_> = endpoints
            .iter()
            .map(|e| e["port"].as_u64().unwrap())
            .collect();
        assert_eq!(ports.len(), 3, "{of_rdb}");

        // What nobody is told but the operator.
        let path_of_admin = format!("/admin/v1/instances/{id}");
        let shown = host.get(&path_of_admin).await.expect(200);
        let all = shown["endpoints"].as_array().unwrap().iter();
        let (bus, ways): (Vec<_>, Vec<_>) = all.partition(|e| e["for_members"] == true);
        assert_eq!((bus.len(), ways.len()), (3, 3), "{shown}");
        let number = |value: &Value| value.as_u64().unwrap();
        let behind = ways.iter().map(|e| number(&e["inner_port"]));
        let inner = behind
            .chain(bus.iter().map(|e| number(&e["port"])))
            .collect();
        let given = credentials(host, &id).await;
        assert_eq!(given["port"], ports[0]);
        let client = client(host, data, &path, &given).await;
        Self {
            host,
            data,
            id,
            uuid,
            path,
            ports,
            inner,
            bus: number(&bus[0]["port"]),
            client,
        }
    }

    /// The same client at another endpoint.
    fn at(&self, port: u64) -> Client {
        let (from, to) = (format!(":{}", self.ports[0]), format!(":{port}"));
        self.client.with(&from, &to)
    }

    fn everywhere(&self) -> impl Iterator<Item = Client> {
        self.ports.iter().map(|port| self.at(*port))
    }

    /// What an application does with it.
    async fn python(&self, what: &str) {
        let python = installed("python/bin/python");
        if !python.exists() {
            return not_tried("there is no client for Python; scripts/install-sdks.sh says why");
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("sdks/redis_cluster.py");
        let endpoints = self.ports.iter().map(|port| format!("127.0.0.1:{port}"));
        let output = tokio::process::Command::new(python)
            .arg(script)
            .arg(what)
            .env("REDIS_URI", &self.client.uri)
            .env("REDIS_CA", self.client.ca.as_ref().unwrap())
            .env("REDIS_ENDPOINTS", endpoints.collect::<Vec<_>>().join(","))
            .kill_on_drop(true)
            .output()
            .await
            .unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{what}: {complaints}");
    }

    fn clients_are_told_endpoints_only(&self) {
        let mut owners: BTreeMap<String, usize> = BTreeMap::new();
        for n in 0..24 {
            let key = format!("key-{n}");
            for (client, port) in self.everywhere().zip(&self.ports) {
                let Err(said) = client.ask(&["GET", &key]) else {
                    *owners.entry(port.to_string()).or_default() += 1;
                    continue;
                };
                let mut words = said.split_whitespace().skip_while(|word| *word != "MOVED");
                let to = words.nth(2).unwrap_or_else(|| panic!("{said}"));
                let (host, port) = to.rsplit_once(':').unwrap();
                assert_eq!(host, "127.0.0.1");
                assert!(self.ports.contains(&port.parse().unwrap()), "{said}");
            }
        }
        // Each key is at one of them, and each has some.
        assert_eq!((owners.len(), owners.values().sum()), (3, 24), "{owners:?}");
        for client in self.everywhere() {
            for question in ["SLOTS", "SHARDS"] {
                let said = client.ask(&["CLUSTER", question]).unwrap();
                let numbers: BTreeSet<u64> = said
                    .split_whitespace()
                    .filter_map(|word| word.parse().ok())
                    .collect();
                assert!(
                    self.ports.iter().all(|port| numbers.contains(port)),
                    "{said}"
                );
                assert!(numbers.is_disjoint(&self.inner), "{said}");
            }
            let followed = client.ask_by(&["-c"], &["GET", "key-1"]).unwrap();
            assert!(followed.ends_with("of key-1"), "{followed}");
        }
    }

    async fn users_are_everywhere(&self) {
        let ask = async |method: &str, what: &str, body: Value, status: u16| {
            let path = format!("{}/{what}", self.path);
            let (answered, said) = rdb(self.host, method, &path, &body).await;
            assert_eq!(answered, status, "{method} {what}: {said}");
            said
        };
        let ann = json!({"name": "ann", "password": PASSWORD, "is_admin": false});
        ask("POST", "users", ann.clone(), 200).await;
        ask("POST", "users", ann, 409).await;
        let may =
            json!({"database_name": "keyspace", "user_name": "ann", "permission": "readwrite"});
        ask("PUT", "privileges", may.clone(), 200).await;
        let listed = ask("GET", "privileges?user_name=ann", Value::Null, 200).await;
        assert_eq!(listed["privileges"], json!([may]), "{listed}");
        let as_ann = |client: Client| {
            let at = client.uri.split_once('@').unwrap().1;
            Client {
                uri: format!("rediss://ann:Correct-horse-7%21@{at}"),
                ca: client.ca,
            }
        };
        for client in self.everywhere().map(as_ann) {
            assert_eq!(client.ask(&["PING"]).unwrap(), "PONG");
            let said = client.ask_by(&["-c"], &["SET", "of-ann", "1"]).unwrap();
            assert!(said.ends_with("OK"), "{said}");
            for forbidden in [
                &["FLUSHALL"][..],
                &["CLUSTER", "RESET"],
                &["CLUSTER", "MEET", "127.0.0.1", "1"],
            ] {
                let why = client.ask(forbidden).unwrap_err();
                assert!(why.contains("NOPERM"), "{why}");
            }
        }
        let gone = self.client.ask_by(&["-c"], &["DEL", "of-ann"]).unwrap();
        assert!(gone.ends_with('1'), "{gone}");
        ask("DELETE", "users/ann", Value::Null, 204).await;
        for client in self.everywhere().map(as_ann) {
            let why = client.ask(&["PING"]).unwrap_err();
            assert!(why.contains("WRONGPASS"), "{why}");
        }
    }

    /// No endpoint lets in whom the others refuse.
    async fn rules_hold_everywhere(&self) {
        access::set(self.host, &self.uuid, &["192.0.2.0/24"]).await;
        for client in self.everywhere() {
            client.ask(&["PING"]).unwrap_err();
        }
        access::set(self.host, &self.uuid, &["127.0.0.0/8"]).await;
        for client in self.everywhere() {
            assert_eq!(client.ask(&["PING"]).unwrap(), "PONG");
        }
    }

    /// Other processes of the machine reach the ports by which shards talk, and are not heard there.
    async fn strangers_do_not_get_among_shards(&self) {
        let mut stranger = tokio::process::Command::new("openssl")
            .args(["s_client", "-quiet", "-connect"])
            .arg(format!("127.0.0.1:{}", self.bus))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        wait_for("the stranger to be sent away", async || {
            stranger.try_wait().unwrap().map(drop)
        })
        .await;
    }

    fn server_of(&self, shard: &str) -> Process {
        let is_its = |process: &Process| {
            let cwd = fs::read_link(format!("/proc/{}/cwd", process.pid));
            let below = cwd.is_ok_and(|cwd| cwd.components().any(|part| part.as_os_str() == shard));
            below && process.args[0].contains("redis-server") && !process.is_shim()
        };
        let mut all = self.data.processes().into_iter();
        all.find(is_its)
            .unwrap_or_else(|| panic!("{shard} does not run"))
    }

    async fn wait_served(&self) {
        wait_for("all shards to serve", async || {
            let ok = |client: Client| {
                let said = client.ask(&["CLUSTER", "INFO"]);
                said.is_ok_and(|said| said.contains("cluster_state:ok"))
            };
            self.everywhere().all(ok).then_some(())
        })
        .await;
    }

    async fn one_is_killed_and_one_hangs(&self) {
        self.server_of("shard-2").kill9();
        self.wait_served().await;
        self.python("read").await;

        // Who looks after it says which one does not answer.
        let hanging = self.server_of("shard-3");
        hanging.signal(Signal::SIGSTOP);
        let path = format!("/admin/v1/instances/{}", self.id);
        wait_for("the one that hangs to be named", async || {
            let shown = self.host.get(&path).await.expect(200);
            shown["health"]
                .to_string()
                .contains("shard-3")
                .then_some(())
        })
        .await;
        let [first, ..] = &*self.ports else { panic!() };
        assert_eq!(self.at(*first).ask(&["PING"]).unwrap(), "PONG");
        hanging.signal(Signal::SIGCONT);
        self.wait_served().await;
        self.host.wait_status(&self.id, "running").await;
        self.python("read").await;
    }

    async fn all_are_stopped_and_started(&self) {
        for (verb, status) in [
            ("stop", "stopped"),
            ("start", "running"),
            ("restart", "running"),
        ] {
            let path = format!("/api/v1/databases/{}/{verb}", self.id);
            self.host.post(&path, &json!({})).await.expect(202);
            self.host.wait_status(&self.id, status).await;
            if verb == "stop" {
                let left = self.data.processes();
                assert!(left.iter().all(|p| p.is_host() || p.is_shim()), "{left:?}");
                continue;
            }
            self.wait_served().await;
            self.python("read").await;
        }
    }

    /// Settings, password and certificate.
    async fn changes_reach_all(&mut self) {
        let wanted = json!({"settings": [{"name": "maxmemory-policy", "value": "allkeys-lru"}]});
        set(self.host, &self.path, &wanted).await;
        for client in self.everywhere() {
            let shown = client.ask(&["CONFIG", "GET", "maxmemory-policy"]).unwrap();
            assert!(shown.ends_with("allkeys-lru"), "{shown}");
        }
        let before = self.client.by(&credentials(self.host, &self.id).await);
        let rotate = format!("/api/v1/databases/{}/credentials/rotate", self.id);
        let given = self.host.post(&rotate, &Value::Null).await.expect(200);
        assert!(before.ask(&["PING"]).unwrap_err().contains("WRONGPASS"));
        self.client = self.client.by(&given);
        self.python("read").await;

        let renew = format!("{}/renew-certificate", self.path);
        let (status, said) = rdb(self.host, "POST", &renew, &json!({})).await;
        assert!(matches!(status, 200 | 204), "{status} {said}");
        wait_for("the new certificate", async || {
            let (_, shown) = rdb(self.host, "GET", &self.path, &Value::Null).await;
            (shown["status"] == "ready").then_some(())
        })
        .await;
        self.client.ask(&["PING"]).unwrap_err();
        self.client = client(self.host, self.data, &self.path, &given).await;
        self.python("read").await;
        // Who comes back is known by the new one.
        self.server_of("shard-1").kill9();
        self.wait_served().await;
        self.python("read").await;
    }
}
