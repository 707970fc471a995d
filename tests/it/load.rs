//! Applications at work, each by a client that others wrote, while users, databases and settings change beside them: not one
//! statement fails.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use berth_tests::mysql::{self, mysql_binary};
use berth_tests::real::{DataDir, Host};
use berth_tests::{not_tried, servers, wait_for};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::access::{rdb, running, uuid};
use crate::lifecycle::{credentials, destroy};
use crate::rdb::installed;

const PASSWORD: &str = "Correct-horse-7!";
/// How often everything is changed.
const ROUNDS: u32 = 8;
/// Far less than what they do on a slow machine.
const LEAST: u64 = 200;

#[tokio::test]
async fn mysql_serves_while_users_databases_and_settings_change() {
    let python = installed("python/bin/python");
    if mysql_binary().is_none() || !python.exists() {
        return not_tried("there is no MySQL, or no PyMySQL; see scripts/install-servers.sh mysql");
    }
    let data = DataDir::new();
    let host = Host::start(&data).await;
    let made = json!({ "db_type": "mysql", "version": mysql::version() });
    let id = running(&host, "loaded", made).await;
    let given = credentials(&host, &id).await;
    let path = path(&host, "loaded").await;
    let mut command = script(&python, "load_mysql.py");
    command
        .env("HOST", text(&given, "host"))
        .env("PORT", given["port"].to_string())
        .env("LOGIN", text(&given, "username"))
        .env("DATABASE", text(&given, "database"))
        .env("AUTHORITY", authority(&host, &data, &path).await);
    let load = Load::start(command, text(&given, "password")).await;
    for round in 0..ROUNDS {
        let database = format!("shop_{round}");
        ask(
            &host,
            "POST",
            &format!("{path}/databases"),
            json!({ "name": database }),
        )
        .await;
        users_change(&host, &path, &database).await;
        ask(
            &host,
            "DELETE",
            &format!("{path}/databases/{database}"),
            Value::Null,
        )
        .await;
        let value = (600 + round).to_string();
        settings_change(
            &host,
            &path,
            json!([{ "name": "wait_timeout", "value": value }]),
        )
        .await;
    }
    load.end().await;
    calls_take_little_memory(&host, "mysql").await;
    destroy(&host, &id).await;
}

#[tokio::test]
async fn redis_serves_while_users_and_settings_change() {
    let (python, benchmark) = (installed("python/bin/python"), benchmark());
    let Some(benchmark) = benchmark.filter(|_| python.exists()) else {
        return not_tried(
            "there is no redis-benchmark, or no redis-py; see scripts/install-servers.sh redis-7.0",
        );
    };
    let data = DataDir::new();
    let host = Host::start(&data).await;
    let made = json!({ "db_type": "redis", "version": "7.2" });
    let id = running(&host, "loaded", made).await;
    let given = credentials(&host, &id).await;
    let path = path(&host, "loaded").await;
    let authority = authority(&host, &data, &path).await;
    let uri = text(&given, "connection_string").to_owned();
    let mut command = script(&python, "load_redis.py");
    command.env("REDIS_URI", &uri).env("REDIS_CA", &authority);
    let load = Load::start(command, "").await;
    // One run after another of the server's own load, until all was changed.
    let changed = Cell::new(false);
    let changes = async {
        for round in 0..ROUNDS {
            users_change(&host, &path, "keyspace").await;
            let value = (600 + round).to_string();
            settings_change(&host, &path, json!([{ "name": "timeout", "value": value }])).await;
        }
        changed.set(true);
    };
    let runs = async {
        let mut runs = 0;
        while !changed.get() {
            run(&benchmark, &uri, &authority).await;
            runs += 1;
        }
        runs
    };
    let ((), runs) = tokio::join!(changes, runs);
    println!("{runs} runs of redis-benchmark");
    load.end().await;
    calls_take_little_memory(&host, "redis").await;
    destroy(&host, &id).await;
}

/// A user comes, may more and less, gets another password, and goes.
async fn users_change(host: &Host, path: &str, database: &str) {
    let ann = json!({ "name": "ann", "password": PASSWORD, "is_admin": false });
    ask(host, "POST", &format!("{path}/users"), ann).await;
    for permission in ["readonly", "all", "readwrite", "none"] {
        let privilege =
            json!({ "database_name": database, "user_name": "ann", "permission": permission });
        ask(host, "PUT", &format!("{path}/privileges"), privilege).await;
    }
    let changed = json!({ "password": "An0ther-horse!", "is_admin": true });
    ask(host, "PATCH", &format!("{path}/users/ann"), changed).await;
    ask(host, "DELETE", &format!("{path}/users/ann"), Value::Null).await;
}

/// Some that need no restart; what needs one cuts everybody off, as it says.
async fn settings_change(host: &Host, path: &str, settings: Value) {
    let body = json!({ "settings": settings });
    ask(host, "PUT", &format!("{path}/settings"), body).await;
    wait_for("the settings to be in force", async || {
        let open = host.get("/admin/v1/operations?open=true").await.expect(200);
        (open["total"] == 0).then_some(())
    })
    .await;
    let all = host.get("/admin/v1/operations").await.expect(200);
    assert_eq!(all["operations"][0]["kind"], "configure", "{all}");
    assert_eq!(all["operations"][0]["status"], "succeeded", "{all}");
}

async fn ask(host: &Host, method: &str, path: &str, body: Value) {
    let (status, answer) = rdb(host, method, path, &body).await;
    assert!(status < 300, "{method} {path}: {status} {answer}");
}

/// Far less than a sandbox may have; and what they take is shown.
async fn calls_take_little_memory(host: &Host, plugin: &str) {
    let text = host.get("/metrics").await.expect(200);
    let text = text.as_str().unwrap().to_owned();
    for function in ["plan", "observe", "create-user", "reload"] {
        let series = format!(
            "berth_plugin_call_memory_bytes{{plugin=\"{plugin}\",function=\"{function}\"}} "
        );
        let found = text.lines().find_map(|line| line.strip_prefix(&series));
        let bytes: u64 = found.expect(&series).parse().unwrap();
        println!("{plugin} {function}: {} KiB", bytes >> 10);
        assert!((64 << 10..16 << 20).contains(&bytes), "{series}{bytes}");
    }
}

/// A script that is at work until it is told to end.
struct Load {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Load {
    async fn start(mut command: Command, first_line: &str) -> Self {
        let mut child = command
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        input
            .write_all(format!("{first_line}\n").as_bytes())
            .await
            .unwrap();
        let mut line = String::new();
        output.read_line(&mut line).await.unwrap();
        assert_eq!(line, "at work\n", "it did not begin");
        Self {
            child,
            input,
            output,
        }
    }

    /// It did much, and all of it was answered as it should be.
    async fn end(mut self) {
        drop(self.input);
        let mut said = String::new();
        self.output.read_line(&mut said).await.unwrap();
        let status = self.child.wait().await.unwrap();
        assert!(status.success(), "it failed, see above: {status}");
        let answered: u64 = said.trim().parse().unwrap();
        println!("{answered} answers");
        assert!(answered >= LEAST, "{answered}");
    }
}

async fn run(benchmark: &Path, uri: &str, authority: &Path) {
    let output = Command::new(benchmark)
        .args(["-u", uri, "--cacert"])
        .arg(authority)
        .args([
            "-t",
            "set,get,incr,lpush,hset",
            "-n",
            "2000",
            "-c",
            "8",
            "-q",
        ])
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    // It ends at the first error.
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (said, complaints) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}{complaints}");
    assert!(
        said.contains("HSET: ") && said.contains("requests per second"),
        "{said}"
    );
}

fn script(python: &Path, name: &str) -> Command {
    let mut command = Command::new(python);
    command.arg(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("sdks")
            .join(name),
    );
    command
}

/// Who vouches for the server's certificate.
async fn authority(host: &Host, data: &DataDir, path: &str) -> PathBuf {
    let (status, file) = rdb(host, "GET", &format!("{path}/certificate"), &Value::Null).await;
    assert_eq!(status, 200, "{file}");
    let authority = data.path().join("authority.pem");
    let content = BASE64_STANDARD.decode(text(&file, "content")).unwrap();
    fs::write(&authority, content).unwrap();
    authority
}

async fn path(host: &Host, name: &str) -> String {
    let uuid = uuid(host, name).await;
    format!("/rdb/v1/regions/fr-par/instances/{uuid}")
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().expect(name)
}

/// The one of Redis 7.0, which comes with it.
fn benchmark() -> Option<PathBuf> {
    servers::installed("redis/7.0/usr/bin/redis-benchmark")
}
