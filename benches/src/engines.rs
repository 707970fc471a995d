//! What each engine costs: the time to have a server, beside the same by shell script; the size of its component, and of what
//! the host makes of it; the memory of a call; the lines of its source.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::create::{beside, wanted};
use crate::host::{Host, binary, directory};
use crate::peer::Peer;
use crate::stats::show;
use crate::table::Table;

const ROUNDS: usize = 5;
/// Lines that people keep in mind; the table of settings is data.
const MOST_LINES: usize = 900;
/// Where the kept compiled code of plugins is.
const KEPT: &str = "plugins";

/// Lines of a plugin's source, without those of its unit tests.
struct Lines {
    code: usize,
    settings: usize,
    tests: usize,
}

pub async fn run() {
    let folder = directory();
    let (host, _) = Host::start(folder.path()).await;
    let (_, plugins) = host.get("/admin/v1/plugins").await;
    let plugins = plugins["plugins"].as_array().expect("plugins").iter();
    // Those of this repository.
    let ours = |plugin: &&Value| {
        let name = plugin["name"].as_str().unwrap_or_default();
        plugin["kind"] == "engine" && source(name).is_dir()
    };
    let engines: Vec<_> = plugins.filter(ours).collect();
    let mut table = Table::new(
        "engines",
        &[
            "engine",
            "create until running",
            "by shell script",
            "component",
            "compiled",
            "memory of a call: plan, users, most",
            "lines of code",
            "table of settings",
            "unit tests",
        ],
    );
    let mut longest = (0, String::new());
    for plugin in engines {
        let name = plugin["name"].as_str().expect("a name");
        let (our, their) = times(&host, folder.path(), name).await;
        let lines = Lines::of(name);
        longest = longest.max((lines.code, name.to_owned()));
        let file = plugin["file"].as_str().expect("a file");
        let component = binary().with_file_name("plugins").join(file);
        table.row([
            name.to_owned(),
            our,
            their,
            megabytes(size(&component)),
            megabytes(compiled(folder.path(), plugin["digest"].as_str())),
            memory(&host, name).await,
            lines.code.to_string(),
            lines.settings.to_string(),
            lines.tests.to_string(),
        ]);
    }
    table.note(format!(
        "medians of {ROUNDS} alternating rounds; - where this machine has no server"
    ));
    table.note(
        "memory: of the whole sandbox at the end of a call, the most that was seen; `users` lists, makes and removes them".into(),
    );
    let (lines, name) = longest;
    table.target(
        lines <= MOST_LINES,
        &format!("an engine in at most {MOST_LINES} lines without its table of settings (the longest, {name}, has {lines})"),
    );
    table.print(folder.path());
}

/// Medians of Berth and of the script; and then a life with users in it, for the memory that this takes.
async fn times(host: &Host, folder: &Path, engine: &str) -> (String, String) {
    let none = || ("-".to_owned(), "-".to_owned());
    let mut body = wanted("measured");
    body["db_type"] = engine.into();
    body["region"] = "fr-par".into();
    let (status, created) = host.post("/api/v1/databases", &body).await;
    if status != 201 {
        eprintln!("{engine} cannot be measured: {created}");
        return none();
    }
    let id = created["id"].as_str().expect("an id").to_owned();
    host.wait_status(&id, "running").await;
    let instances = "/rdb/v1/regions/fr-par/instances";
    let listed = host.rdb("GET", instances, &Value::Null).await;
    let uuid = listed["instances"][0]["id"].as_str().expect("an id");
    let users = format!("{instances}/{uuid}/users");
    let ann = json!({ "name": "ann", "password": "Correct-horse-7!", "is_admin": true });
    host.rdb("POST", &users, &ann).await;
    host.rdb("GET", &users, &Value::Null).await;
    host.remove(&id).await;
    if !Peer::is_known(engine) {
        return none();
    }
    let (ours, theirs, _) = beside(host, folder, engine, ROUNDS).await;
    (show(ours.median()), show(theirs.median()))
}

/// As the host counts it.
async fn memory(host: &Host, engine: &str) -> String {
    let (_, text) = host.get("/metrics").await;
    let text = text.as_str().expect("text");
    let beginning = format!("berth_plugin_call_memory_bytes{{plugin=\"{engine}\",");
    let of = |functions: &[&str]| {
        let lines = text
            .lines()
            .filter_map(|line| line.strip_prefix(&*beginning));
        let wanted = lines.filter(|line| {
            let named = |name: &&str| line.starts_with(&format!("function=\"{name}\""));
            functions.is_empty() || functions.iter().any(named)
        });
        let bytes = wanted.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok());
        bytes.max().map_or("-".to_owned(), megabytes)
    };
    format!(
        "{}, {}, {}",
        of(&["plan"]),
        of(&["list-users", "create-user"]),
        of(&[])
    )
}

/// The file that the host keeps of a build's compiled code.
fn compiled(data: &Path, digest: Option<&str>) -> u64 {
    let digest = digest.expect("a build");
    let hex = digest.rsplit(':').next().unwrap_or(digest);
    let files = fs::read_dir(data.join(KEPT)).expect("kept builds");
    let paths = files.map(|entry| entry.expect("an entry").path());
    let is_of = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(hex) && name.ends_with(".cwasm")
    };
    let found: Vec<_> = paths.filter(is_of).collect();
    assert_eq!(found.len(), 1, "{digest}: {found:?}");
    size(&found[0])
}

fn source(engine: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../plugins")
        .join(engine)
        .join("src")
}

fn size(path: &Path) -> u64 {
    let metadata = fs::metadata(path);
    metadata
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .len()
}

fn megabytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "far less than 2^52")]
    let megabytes = bytes as f64 / 1e6;
    format!("{megabytes:.2} MB")
}

impl Lines {
    fn of(engine: &str) -> Self {
        let mut lines = Self {
            code: 0,
            settings: 0,
            tests: 0,
        };
        for entry in fs::read_dir(source(engine)).expect("its source") {
            let path = entry.expect("an entry").path();
            let text = fs::read_to_string(&path).expect("text");
            // Unit tests stand last in a file.
            let all = text.lines().count();
            let code = text
                .lines()
                .take_while(|line| *line != "#[cfg(test)]")
                .count();
            lines.tests += all - code;
            match path.ends_with("settings_table.rs") {
                true => lines.settings += code,
                false => lines.code += code,
            }
        }
        lines
    }
}
