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
    init: Vec<Vec<String>>,
    server: Vec<String>,
    files: Vec<File>,
    programs: PathBuf,
    superuser: String,
    password: String,
    uid: Option<u32>,
}

struct File {
    /// Below the instance's directory.
    path: PathBuf,
    content: String,
    mode: u32,
}

impl Peer {
    /// Look at the only instance there is below this data directory.
    pub fn learn(data: &Path) -> Self {
        let service = only(&data.join("instances"));
        let service = only(&service.join(".berth")).join("service.json");
        let text = fs::read_to_string(&service).expect("a service");
        let service: Value = serde_json::from_str(&text).expect("JSON");
        let dir = PathBuf::from(service["instance_dir"].as_str().expect("a directory"));
        let main = command(&service["main"]);
        let run = value(&main, "unix_socket_directories=").expect("a directory for sockets");
        let port = value(&main, "port=").expect("a port");
        let learn = |command: Vec<String>| -> Vec<String> {
            let general = |word: String| {
                let word = word
                    .replace(&*dir.to_string_lossy(), "@DIR@")
                    .replace(&run, "@RUN@");
                if word == format!("port={port}") {
                    "port=@PORT@".to_owned()
                } else {
                    word
                }
            };
            command.into_iter().map(general).collect()
        };
        let tasks = service["init"]["tasks"].as_array().expect("init tasks");
        let init: Vec<Vec<String>> = tasks.iter().map(|task| learn(command(task))).collect();
        let volume = dir.join(service["init"]["dir"].as_str().expect("a volume"));
        let mut files = Vec::new();
        collect(&dir, &dir, &volume, &mut files);
        let password_file = value(&init[0], "--pwfile=@DIR@/").expect("a password file");
        let password = files
            .iter()
            .find(|file| file.path == Path::new(&password_file));
        Self {
            programs: Path::new(service["main"]["path"].as_str().expect("a path"))
                .parent()
                .expect("a folder")
                .to_owned(),
            superuser: value(&init[0], "--username=").expect("a superuser"),
            password: password
                .expect("the password's file")
                .content
                .trim()
                .to_owned(),
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
        stop(dir);
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
            "both run {}/initdb with {}",
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
            let folder = path.parent().expect("a folder");
            if !folder.exists() {
                fs::create_dir_all(folder).expect("a directory");
                self.give(folder, 0o700);
            }
            fs::write(&path, &file.content).expect("written");
            self.give(&path, file.mode);
        }
        let lines = |command: &[String]| fill(&command.join("\n")) + "\n";
        for (number, command) in self.init.iter().enumerate() {
            fs::write(dir.join(format!("init-{number}.args")), lines(command)).expect("written");
        }
        let uid = self.uid.map(|uid| uid.to_string()).unwrap_or_default();
        for (name, content) in [
            ("server.args", lines(&self.server)),
            ("programs", self.programs.display().to_string()),
            ("port", port.clone()),
            ("superuser", self.superuser.clone()),
            ("superuser.password", self.password.clone()),
            ("uid", uid),
        ] {
            fs::write(dir.join(name), content).expect("written");
        }
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

/// The rest of the word that begins so.
fn value(command: &[String], beginning: &str) -> Option<String> {
    command
        .iter()
        .find_map(|word| word.strip_prefix(beginning))
        .map(str::to_owned)
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
fn stop(dir: &Path) {
    let pid = fs::read_to_string(dir.join("server.pid")).expect("a pid");
    let pid = pid.trim();
    let status = Command::new("kill")
        .args(["-INT", pid])
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
