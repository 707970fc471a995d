//! What it takes to list and to change a database's users over the API, with sessions that are kept between calls and
//! without, beyond what the same statements take on an open connection to the same server. A fresh session is measured
//! beside a new one of the server's own client, which is as good as it gets: the server begins a process for either. And
//! what the trigger that shares what is made later adds to the making of a table.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::create::wanted;
use crate::host::{Host, directory};
use crate::seed;
use crate::stats::{Samples, show};
use crate::table::Table;
use berth::model::InstanceId;
use berth::store::repo::Repo;
use berth_tests::real::psql_binary;
use serde_json::{Value, json};

const TIMES: usize = 200;
/// The first rounds warm up.
const UNCOUNTED: usize = 5;
const MOST_FRESH: Duration = Duration::from_millis(8);
const MOST_KEPT: Duration = Duration::from_millis(2);
const FRESH: &str = "[sandbox]\nkept_sessions = 0\n";
const TABLES: usize = 200;

/// What the engine asks and says; see `users.rs` and `lowering.rs` in plugins/postgresql/src.
const ROLES: &str = "SELECT oid, rolname, rolcanlogin, rolvaliduntil, \
    pg_has_role(oid, to_regrole('_rdb_superadmin'), 'MEMBER') AS admin FROM pg_authid";
const RAISE: &str = "ALTER ROLE $who INHERIT CREATEDB CREATEROLE; REVOKE _rdb_superadmin FROM $who; GRANT _rdb_superadmin TO $who";
const LOWER: &str = "ALTER ROLE $who NOCREATEDB NOCREATEROLE; REVOKE _rdb_superadmin FROM $who";
const BEGIN: &str = "BEGIN; LOCK TABLE pg_catalog.pg_auth_members IN SHARE UPDATE EXCLUSIVE MODE";
/// Who is an admin no more keeps no session: before the end of the transaction, and after it.
const END: &str = "SELECT pg_terminate_backend(pid, 0) FROM pg_stat_get_activity(NULL) \
    WHERE usesysid = (SELECT oid FROM pg_authid WHERE rolname = '$who')";
/// Of no password, in the form that is sent.
const VERIFIER: &str = "SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2FsdA==$QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=";

/// One database, as three know it.
struct Place {
    data: PathBuf,
    /// Below the rdb API.
    path: String,
    id: InstanceId,
}

/// The open connection: the server's own client, which says how long each message took to be answered.
struct Open {
    psql: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// Times over the API, on the open connection, and on one that is opened for it, of the same.
struct Beside {
    what: &'static str,
    api: Samples,
    open: Samples,
    anew: Samples,
}

pub async fn run() {
    let folder = directory();
    let (host, _) = Host::start(folder.path()).await;
    let mut wanted = wanted("measured");
    wanted["region"] = "fr-par".into();
    let (status, created) = host.post("/api/v1/databases", &wanted).await;
    assert_eq!(status, 201, "{created}");
    let id = created["id"].as_str().expect("an id").to_owned();
    host.wait_status(&id, "running").await;
    let instances = "/rdb/v1/regions/fr-par/instances";
    let listed = host.rdb("GET", instances, &Value::Null).await;
    let uuid = listed["instances"][0]["id"].as_str().expect("an id");
    let place = Place {
        data: folder.path().to_owned(),
        path: format!("{instances}/{uuid}/users"),
        id: uuid.parse().expect("an id"),
    };
    for name in ["bob", "eve", "ivy"] {
        let body = json!({ "name": name, "password": "Correct-horse-7", "is_admin": false });
        host.rdb("POST", &place.path, &body).await;
    }
    host.kill9();
    let mut open = place.open("postgres").await;

    let mut table = Table::new(
        "users over the API, beyond the same statements on an open connection",
        &[
            "session",
            "what",
            "API",
            "p95",
            "open",
            "p95",
            "beyond",
            "psql anew",
        ],
    );
    let mut worst = Vec::new();
    for (name, config) in [("fresh", FRESH), ("kept", "")] {
        let (host, _) = Host::start_with(folder.path(), config).await;
        let mut most = Duration::ZERO;
        for beside in place.measure(&host, &mut open).await {
            let beyond = beside.api.beyond(&beside.open);
            most = most.max(beyond);
            table.row([
                name.to_owned(),
                beside.what.to_owned(),
                show(beside.api.median()),
                show(beside.api.quantile(0.95)),
                show(beside.open.median()),
                show(beside.open.quantile(0.95)),
                show(beyond),
                show(beside.anew.median()),
            ]);
        }
        worst.push(most);
        host.kill9();
    }
    table.note(format!(
        "medians of {TIMES} alternating rounds, beyond: of the differences in each; the API's times include HTTP, the key's check and the target's word on where the server is"
    ));
    table.note(
        "a change of a password has the rounds of its verifier in it, computed natively while the user is looked for, and with a new connection while the server begins its process: a client that sends no password has them, too"
            .into(),
    );
    table.note(
        "psql anew: the same by psql, with a connection of its own for each, over the same socket"
            .into(),
    );
    table.target(
        worst[0] <= MOST_FRESH,
        "a fresh session: at most 8 ms beyond",
    );
    table.target(worst[1] <= MOST_KEPT, "a kept session: at most 2 ms beyond");
    table.print(folder.path());
    making_tables(&place).await;

    let (host, _) = Host::start(folder.path()).await;
    host.remove(&id).await;
}

impl Place {
    /// A connection of the superuser, whose password the host's records hold.
    async fn open(&self, database: &str) -> Open {
        let store = Arc::new(seed::open(&self.data));
        let repo = Repo::open_with_key_file(store, &self.data.join("seal.key")).await;
        let secrets = repo.expect("the records").secrets(self.id).await;
        let secrets = secrets.expect("the secrets");
        let socket = socket(&self.data.join("run"));
        let name = socket.extension().expect("a port").to_string_lossy();
        let mut psql = Command::new(psql_binary())
            .args([
                "-XAtq",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                "berth",
                "-d",
                database,
            ])
            .args(["-p", &name, "-h"])
            .arg(socket.parent().expect("a directory"))
            .env("PGPASSWORD", secrets["superuser"].expose())
            .env(
                "PGOPTIONS",
                "-c search_path=pg_catalog -c client_min_messages=error",
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("psql");
        let mut open = Open {
            input: psql.stdin.take().expect("its input"),
            output: BufReader::new(psql.stdout.take().expect("its output")),
            psql,
        };
        writeln!(open.input, "\\timing on").expect("told");
        open.send("SELECT 1");
        open
    }

    async fn measure(&self, host: &Host, open: &mut Open) -> [Beside; 4] {
        let all = [
            "list",
            "make an admin",
            "make no admin",
            "change the password",
        ];
        let mut all = all.map(|what| Beside {
            what,
            api: Samples::default(),
            open: Samples::default(),
            anew: Samples::default(),
        });
        let bob = format!("{}/bob", self.path);
        for round in 0..TIMES + UNCOUNTED {
            let set = format!("ALTER ROLE $who VALID UNTIL 'infinity' PASSWORD '{VERIFIER}'");
            let counts = round >= UNCOUNTED;
            let [list, raise, lower, password] = &mut all;
            list.api
                .time(counts, async || {
                    host.rdb("GET", &self.path, &Value::Null).await;
                })
                .await;
            let ask = format!("{ROLES} WHERE rolcanlogin");
            list.open.keep(counts, open.send(&ask));
            let took = open.anew(|open| {
                let _took = open.send(&ask);
            });
            list.anew.keep(counts, took);
            let body = json!({ "password": format!("Correct-horse-{round}") });
            let rank = |admin| json!({ "is_admin": admin });
            for (beside, body, sql, lowers, hashed) in [
                (raise, rank(true), RAISE, false, Duration::ZERO),
                (lower, rank(false), LOWER, true, Duration::ZERO),
                (password, body, &set, false, hash()),
            ] {
                beside
                    .api
                    .time(counts, async || {
                        host.rdb("PATCH", &bob, &body).await;
                    })
                    .await;
                beside
                    .open
                    .keep(counts, open.change("eve", sql, lowers, hashed));
                let took = open.anew(|open| {
                    let _took = open.change("ivy", sql, lowers, Duration::ZERO);
                });
                beside.anew.keep(counts, took);
            }
        }
        all
    }
}

impl Open {
    /// One message, and how long it took to be answered.
    fn send(&mut self, sql: &str) -> Duration {
        // So that the client sends them as one.
        let sql = sql.replace("; ", " \\; ");
        writeln!(self.input, "{sql};").expect("sent");
        for line in (&mut self.output).lines() {
            let line = line.expect("an answer");
            if let Some(time) = line.strip_prefix("Time: ") {
                let millis = time.split(' ').next().expect("a number");
                return Duration::from_secs_f64(millis.parse::<f64>().expect("a number") / 1e3);
            }
        }
        panic!("psql ended: {sql}");
    }

    /// How long this takes on a connection that is opened for it.
    fn anew(&mut self, work: impl FnOnce(&mut Self)) -> Duration {
        let begun = Instant::now();
        writeln!(self.input, "\\c").expect("told");
        work(self);
        begun.elapsed()
    }

    /// The whole of a change, as the engine makes it: what is hashed for it is while the user is looked for.
    fn change(&mut self, who: &str, sql: &str, lowers: bool, hashed: Duration) -> Duration {
        let (sql, end) = (sql.replace("$who", who), END.replace("$who", who));
        let find = format!("{ROLES} WHERE rolname = '{who}'");
        let found = self.send(&find).max(hashed);
        if !lowers {
            return found + self.send(&format!("{BEGIN}; {sql}; {find}; COMMIT"));
        }
        let lowered = self.send(&format!("{BEGIN}; {find}; {sql}; {find}"));
        found + lowered + self.send(&format!("{end}; COMMIT")) + self.send(&end)
    }
}

/// How long a verifier's rounds take a client.
fn hash() -> Duration {
    let begun = Instant::now();
    let derived =
        pbkdf2::pbkdf2_hmac_array::<pbkdf2::sha2::Sha256, 32>(b"Correct-horse-7", &[7; 16], 4096);
    std::hint::black_box(derived);
    begun.elapsed()
}

impl Drop for Open {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.psql.kill();
        let _ = self.psql.wait();
    }
}

/// In a transaction that is taken back, so that the disk does not count.
async fn making_tables(place: &Place) {
    let host = Host::start(&place.data).await.0;
    let listed = host.get("/api/v1/databases").await.1;
    let path = format!(
        "/api/v1/databases/{}/credentials",
        listed[0]["id"].as_str().expect("an id")
    );
    let given = host.get(&path).await.1;
    let database = given["database"].as_str().expect("a database").to_owned();
    host.kill9();
    let mut open = place.open(&database).await;
    let (mut with, mut without) = (Samples::default(), Samples::default());
    for round in 0..TABLES {
        for (state, samples) in [("ENABLE ALWAYS", &mut with), ("DISABLE", &mut without)] {
            open.send(&format!("ALTER EVENT TRIGGER _rdb_share {state}"));
            open.send("BEGIN");
            let make = format!("CREATE TABLE public.t{round} (id int PRIMARY KEY, said text)");
            let took = open.send(&make);
            samples.keep(round >= UNCOUNTED, took);
            open.send("ROLLBACK");
        }
    }
    open.send("ALTER EVENT TRIGGER _rdb_share ENABLE ALWAYS");
    let mut table = Table::new(
        "CREATE TABLE with a primary key in a managed database",
        &["how", "min", "median", "p95"],
    );
    for (name, samples) in [("with the trigger", &with), ("without", &without)] {
        table.row([
            name.to_owned(),
            show(samples.min()),
            show(samples.median()),
            show(samples.quantile(0.95)),
        ]);
    }
    let more = with.median().saturating_sub(without.median());
    table.note(format!("it adds {} to the statement", show(more)));
    table.print(&place.data);
}

/// The only server's.
fn socket(run: &Path) -> PathBuf {
    let dirs = fs::read_dir(run).expect("sockets").flatten();
    let files = dirs.filter_map(|dir| Some(fs::read_dir(dir.path()).ok()?.flatten()));
    let mut files = files.flatten().map(|file| file.path());
    let is_servers = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(".s.PGSQL.") && !name.ends_with(".lock")
    };
    files.find(is_servers).expect("the server's socket")
}
