//! What it takes to list and to change a database's users over the API, with sessions that are kept between calls and
//! without, beyond what the same statements take on an open connection to the same server. And what the trigger
//! that shares what is made later adds to the making of a table.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth::model::InstanceId;
use berth::store::repo::Repo;
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio_postgres::{Client, NoTls};

use crate::create::wanted;
use crate::host::{Host, directory};
use crate::seed;
use crate::stats::{Samples, show};
use crate::table::Table;

const TIMES: usize = 60;
const MOST_FRESH: Duration = Duration::from_millis(8);
const MOST_KEPT: Duration = Duration::from_millis(2);
const FRESH: &str = "[sandbox]\nkept_sessions = 0\n";
const TABLES: usize = 200;

/// What the engine asks and says; see plugins/postgresql/src/users.rs.
const USERS: &str = "SELECT rolname, coalesce(pg_has_role(oid, to_regrole('_rdb_superadmin')::oid, 'MEMBER'), false) AS admin \
    FROM pg_roles WHERE rolcanlogin AND oid >= 16384 AND rolname <> 'berth' AND rolname !~ '^(pg_|_rdb)' \
    AND rolname !~ '[[:cntrl:]]'";
const BEGIN: &str =
    "BEGIN; LOCK TABLE pg_catalog.pg_auth_members IN SHARE UPDATE EXCLUSIVE MODE";

/// One database, as three know it.
struct Place {
    data: PathBuf,
    /// Below the rdb API.
    path: String,
    id: InstanceId,
}

/// Times over the API and on the open connection, of the same.
struct Beside {
    what: &'static str,
    api: Samples,
    open: Samples,
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
    for name in ["bob", "eve"] {
        let body = json!({ "name": name, "password": "Correct-horse-7", "is_admin": false });
        host.rdb("POST", &place.path, &body).await;
    }
    host.kill9();
    let open = place.open("postgres").await;

    let mut table = Table::new(
        "users over the API, beyond the same statements on an open connection",
        &["session", "what", "API", "p95", "open", "p95", "beyond"],
    );
    let mut worst = Vec::new();
    for (name, config) in [("fresh", FRESH), ("kept", "")] {
        let (host, _) = Host::start_with(folder.path(), config).await;
        let mut most = Duration::ZERO;
        for beside in place.measure(&host, &open).await {
            let beyond = beside.api.median().saturating_sub(beside.open.median());
            most = most.max(beyond);
            table.row([
                name.to_owned(),
                beside.what.to_owned(),
                show(beside.api.median()),
                show(beside.api.quantile(0.95)),
                show(beside.open.median()),
                show(beside.open.quantile(0.95)),
                show(beyond),
            ]);
        }
        worst.push(most);
        host.kill9();
    }
    table.note(format!(
        "medians of {TIMES} alternating rounds; the API's times include HTTP, the key's check and the target's word on where the server is"
    ));
    table.target(worst[0] <= MOST_FRESH, "a fresh session: at most 8 ms beyond");
    table.target(worst[1] <= MOST_KEPT, "a kept session: at most 2 ms beyond");
    table.print(folder.path());
    making_tables(&place).await;

    let (host, _) = Host::start(folder.path()).await;
    host.remove(&id).await;
}

impl Place {
    /// A connection of the superuser, whose password the host's records hold.
    async fn open(&self, database: &str) -> Client {
        let repo = Repo::open_with_key_file(
            Arc::new(seed::open(&self.data)),
            &self.data.join("seal.key"),
        )
        .await
        .expect("the records");
        let secrets = repo.secrets(self.id).await.expect("the secrets");
        let stream = UnixStream::connect(socket(&self.data.join("run"))).await;
        let (client, connection) = tokio_postgres::Config::new()
            .user("berth")
            .password(secrets["superuser"].expose())
            .dbname(database)
            .options("-c search_path=pg_catalog -c client_min_messages=warning")
            .connect_raw(stream.expect("the server's socket"), NoTls)
            .await
            .expect("a session");
        tokio::spawn(connection);
        client
    }

    async fn measure(&self, host: &Host, open: &Client) -> [Beside; 3] {
        let mut all = ["list", "change: admin or not", "change: password"].map(|what| Beside {
            what,
            api: Samples::default(),
            open: Samples::default(),
        });
        let bob = format!("{}/bob", self.path);
        // The first rounds are not counted.
        for round in 0..TIMES + 5 {
            let admin = round % 2 == 0;
            let [list, rank, password] = &mut all;
            let counted = round >= 5;
            list.api.time(counted, async || {
                host.rdb("GET", &self.path, &Value::Null).await;
            })
            .await;
            list.open.time(counted, async || {
                ask(open, &format!("{USERS} ORDER BY rolname")).await;
            })
            .await;
            let body = json!({ "is_admin": admin });
            rank.api.time(counted, async || {
                host.rdb("PATCH", &bob, &body).await;
            })
            .await;
            let grant = match admin {
                true => "ALTER ROLE \"eve\" INHERIT CREATEDB NOCREATEROLE; REVOKE _rdb_superadmin FROM \"eve\"; GRANT _rdb_superadmin TO \"eve\"",
                false => "ALTER ROLE \"eve\" NOCREATEDB NOCREATEROLE; REVOKE _rdb_superadmin FROM \"eve\"",
            };
            rank.open.time(counted, async || change(open, grant).await).await;
            let body = json!({ "password": format!("Correct-horse-{round}") });
            password.api.time(counted, async || {
                host.rdb("PATCH", &bob, &body).await;
            })
            .await;
            // A verifier is what is sent; this one took no time to make.
            let verifier = format!("SCRAM-SHA-256$4096:{}$", "c2FsdHNhbHRzYWx0c2FsdA==");
            let key = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=";
            let sql = format!(
                "ALTER ROLE \"eve\" VALID UNTIL 'infinity' PASSWORD '{verifier}{key}:{key}'"
            );
            password.open.time(counted, async || change(open, &sql).await).await;
        }
        all
    }
}

/// The whole of a change, as the engine makes it.
async fn change(open: &Client, sql: &str) {
    let find = format!("{USERS} AND rolname = 'eve'");
    ask(open, &find).await;
    open.batch_execute(&format!("{BEGIN}; {sql}"))
        .await
        .expect("a change");
    ask(open, &find).await;
    open.batch_execute("COMMIT").await.expect("a commit");
}

async fn ask(open: &Client, sql: &str) {
    let answer = open.simple_query(sql).await.expect("an answer");
    assert!(answer.len() > 1, "{sql}");
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
    let open = place.open(&database).await;
    let (mut with, mut without) = (Samples::default(), Samples::default());
    for round in 0..TABLES {
        for (state, samples) in [("ENABLE ALWAYS", &mut with), ("DISABLE", &mut without)] {
            let set = format!("ALTER EVENT TRIGGER _rdb_share {state}; BEGIN");
            open.batch_execute(&set).await.expect("a transaction");
            let make = format!("CREATE TABLE public.t{round} (id int PRIMARY KEY, said text)");
            samples
                .time(round >= TABLES / 10, async || {
                    open.batch_execute(&make).await.expect("a table");
                })
                .await;
            open.batch_execute("ROLLBACK").await.expect("an end");
        }
    }
    open.batch_execute("ALTER EVENT TRIGGER _rdb_share ENABLE ALWAYS")
        .await
        .expect("as it was");
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
