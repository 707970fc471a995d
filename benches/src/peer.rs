//! The peer of a creation: a shell script that runs the same programs with the same arguments, settings and
//! user, learnt from an instance that Berth runs.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

/// `nobody`: outside the range that Berth gives to instances, and with a name, which the programs want.
const UID: u32 = 65_534;

/// What was learnt: commands and files, with `@DIR@`, `@RUN@` and `@PORT@` for what differs per run.
pub struct Peer {
    engine: &'static Words,
    init: Vec<Vec<String>>,
    server: Vec<String>,
    files: Vec<File>,
    programs: PathBuf,
    password: String,
    uid: Option<u32>,
}

/// Where in an engine's commands and files stands what the script must know.
struct Words {
    name: &'static str,
    /// Argument with the directory of the socket, or with the socket.
    socket: &'static str,
    port: &'static str,
    /// File with the password of Berth's own user, and what stands before and after it.
    password: (&'static str, &'static str, &'static str),
    /// By which the server is stopped.
    signal: &'static str,
}

const ENGINES: [Words; 3] = [
    Words {
        name: "postgresql",
        socket: "unix_socket_directories",
        port: "port",
        password: ("superuser.password", "", "\n"),
        signal: "-INT",
    },
    Words {
        name: "mysql",
        socket: "--socket",
        port: "--port",
        password: ("superuser.sql", " BY '", "'"),
        signal: "-TERM",
    },
    Words {
        name: "redis",
        socket: "--unixsocket",
        port: "--tls-port",
        password: ("users.acl", " on >", " "),
        signal: "-TERM",
    },
];

struct File {
    /// Below the instance's directory.
    path: PathBuf,
    content: String,
    mode: u32,
}

impl Peer {
    /// Whether there is a script for this engine.
    pub fn is_known(engine: &str) -> bool {
        ENGINES.iter().any(|words| words.name == engine)
    }

    /// Look at the only instance there is below this data directory.
    pub fn learn(data: &Path, engine: &str) -> Self {
        let words = ENGINES.iter().find(|words| words.name == engine);
        let words = words.expect("an engine with a script");
        let service = only(&data.join("instances"));
        let service = only(&service.join(".berth")).join("service.json");
        let text = fs::read_to_string(&service).expect("a service");
        let service: Value = serde_json::from_str(&text).expect("JSON");
        let dir = PathBuf::from(service["instance_dir"].as_str().expect("a directory"));
        let main = command(&service["main"]);
        let socket = PathBuf::from(value(&main, words.socket).expect("a socket"));
        let run = match socket.extension() {
            Some(_) => socket.parent().expect("its directory"),
            None => &socket,
        };
        let run = run.to_string_lossy();
        let port = value(&main, words.port).expect("a port");
        let learn = |command: Vec<String>| -> Vec<String> {
            let general = |word: String| {
                let word = word
                    .replace(&*dir.to_string_lossy(), "@DIR@")
                    .replace(&*run, "@RUN@");
                match word.strip_suffix(&port) {
                    Some(before) if before.is_empty() || before.ends_with("port=") => {
                        format!("{before}@PORT@")
                    }
                    _ => word,
                }
            };
            command.into_iter().map(general).collect()
        };
        let tasks = service["init"]["tasks"].as_array().expect("init tasks");
        let init: Vec<Vec<String>> = tasks.iter().map(|task| learn(command(task))).collect();
        let volume = dir.join(service["init"]["dir"].as_str().expect("a volume"));
        let mut files = Vec::new();
        collect(&dir, &dir, &volume, &mut files);
        let (file, before, after) = words.password;
        let file = files.iter().find(|found| found.path.ends_with(file));
        let content = &file.expect("the password's file").content;
        let (_, password) = content.split_once(before).expect("a password");
        let password = password.split(after).next().unwrap_or_default().to_owned();
        Self {
            engine: words,
            programs: Path::new(service["main"]["path"].as_str().expect("a path"))
                .parent()
                .expect("a folder")
                .to_owned(),
            password,
            uid: service["uid"].as_u64().map(|_| UID),
            server: learn(main),
            init,
            files,
        }
    }

    /// Run the script in this directory, say how long it took, and remove everything again.
    pub fn create(&self, dir: &Path) -> Duration {
        self.prepare(dir);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("create-by-shell.sh");
        let start = Instant::now();
        let status = Command::new(script)
            .arg(dir)
            .status()
            .expect("the script runs");
        let took = start.elapsed();
        let log = |name| fs::read_to_string(dir.join(name)).unwrap_or_default();
        assert!(
            status.success(),
            "the script failed: {status}\n{}{}",
            log("init.log"),
            log("server.log")
        );
        stop(dir, self.engine.signal);
        fs::remove_dir_all(dir).expect("removed");
        took
    }

    /// Which programs and which flags, for the reader.
    pub fn describe(&self) -> String {
        let flags = self
            .init
            .iter()
            .flatten()
            .filter(|word| word.starts_with("--") && !word.contains('@'));
        let flags: Vec<&str> = flags.map(String::as_str).collect();
        format!(
            "both run the programs of {}, and fill the volume with {}",
            self.programs.display(),
            flags.join(" ")
        )
    }

    fn prepare(&self, dir: &Path) {
        let (instance, run) = (dir.join("instance"), dir.join("run"));
        for made in [dir, &instance, &run] {
            fs::create_dir(made).expect("a directory");
            self.give(made, 0o711);
        }
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener
            .local_addr()
            .expect("its address")
            .port()
            .to_string();
        drop(listener);
        let fill = |text: &str| {
            text.replace("@DIR@", &instance.to_string_lossy())
                .replace("@RUN@", &run.to_string_lossy())
                .replace("@PORT@", &port)
        };
        for file in &self.files {
            let path = instance.join(&file.path);
            self.give_folders(&instance, &path);
            fs::write(&path, &file.content).expect("written");
            self.give(&path, file.mode);
        }
        // What fills it makes no directories above what it makes.
        let words = self.init.iter().flatten();
        for path in words.filter_map(|word| word.split_once("@DIR@").map(|(_, path)| path)) {
            self.give_folders(&instance, &instance.join(path.trim_start_matches('/')));
        }
        let lines = |command: &[String]| fill(&command.join("\n")) + "\n";
        for (number, command) in self.init.iter().enumerate() {
            fs::write(dir.join(format!("init-{number}.args")), lines(command)).expect("written");
        }
        let uid = self.uid.map(|uid| uid.to_string()).unwrap_or_default();
        for (name, content) in [
            ("engine", self.engine.name.to_owned()),
            ("server.args", lines(&self.server)),
            ("programs", self.programs.display().to_string()),
            ("port", port.clone()),
            ("superuser.password", self.password.clone()),
            ("uid", uid),
        ] {
            fs::write(dir.join(name), content).expect("written");
        }
    }

    /// Make what is lacking between the instance's directory and this path.
    fn give_folders(&self, instance: &Path, path: &Path) {
        let folder = path.parent().expect("a folder");
        if folder == instance || folder.exists() {
            return;
        }
        self.give_folders(instance, folder);
        fs::create_dir(folder).expect("a directory");
        self.give(folder, 0o700);
    }

    fn give(&self, path: &Path, mode: u32) {
        if self.uid.is_some() {
            chown(path, self.uid, self.uid).expect("chown");
        }
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
    }
}

/// Assignments, program, arguments: as `env` takes them.
fn command(program: &Value) -> Vec<String> {
    let env = program["env"].as_array().expect("an environment").iter();
    let env = env.map(|pair| format!("{}={}", text(&pair[0]), text(&pair[1])));
    let args = program["args"]
        .as_array()
        .expect("arguments")
        .iter()
        .map(text);
    env.chain([text(&program["path"])]).chain(args).collect()
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

/// What the argument of this name says: `NAME=VALUE`, or the word after it.
fn value(command: &[String], name: &str) -> Option<String> {
    let of = |(at, word): (usize, &String)| match word.strip_prefix(name)? {
        "" => command.get(at + 1).cloned(),
        rest => rest.strip_prefix('=').map(str::to_owned),
    };
    command.iter().enumerate().find_map(of)
}

/// The one directory in a folder.
fn only(folder: &Path) -> PathBuf {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir() && !is_proxy(path))
        .collect();
    assert_eq!(paths.len(), 1, "{paths:?}");
    paths[0].clone()
}

/// The instance's files beside its volume and its shim's home.
fn collect(root: &Path, folder: &Path, volume: &Path, into: &mut Vec<File>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path == volume || path.ends_with(".berth") || is_proxy(&path) {
            continue;
        }
        let metadata = fs::symlink_metadata(&path).expect("metadata");
        if metadata.is_dir() {
            collect(root, &path, volume, into);
        } else if metadata.is_file() {
            into.push(File {
                content: fs::read_to_string(&path).expect("text"),
                mode: metadata.permissions().mode() & 0o777,
                path: path.strip_prefix(root).expect("below").to_owned(),
            });
        }
    }
}

/// The peer has none.
fn is_proxy(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "0-proxy")
}

/// End the server and wait until it is gone.
fn stop(dir: &Path, signal: &str) {
    let pid = fs::read_to_string(dir.join("server.pid")).expect("a pid");
    let pid = pid.trim();
    let status = Command::new("kill")
        .args([signal, pid])
        .status()
        .expect("kill runs");
    assert!(status.success());
    let deadline = Instant::now() + Duration::from_secs(60);
    let alive = || {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
            !stat
                .rsplit_once(')')
                .is_some_and(|(_, rest)| rest.starts_with(" Z"))
        })
    };
    while alive() {
        assert!(Instant::now() < deadline, "the server {pid} does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
}
