//! Where a server lives: directories, files, and what the placeholders of its plan stand for.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{OpenOptionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use berth_sdk::placeholders::{substitute, unknown};
use berth_sdk::types::{self, Member, Secret};
use nix::unistd::Uid;

/// An unprivileged user: servers run as none that may do anything.
const NOBODY: u32 = 65_534;

pub struct Place {
    dir: tempfile::TempDir,
    /// By placeholder, e.g. `volume:data` or `run`.
    values: BTreeMap<String, String>,
}

impl Place {
    /// For this member: a directory whose path is short enough for sockets, and free ports.
    pub fn new(member: &Member) -> Self {
        // As processes see where they work.
        let tmp = fs::canonicalize("/tmp").expect("a directory for temporary files");
        let dir = tempfile::Builder::new()
            .prefix("berth-test-")
            .tempdir_in(tmp)
            .expect("a directory");
        let mut place = Self {
            dir,
            values: BTreeMap::new(),
        };
        place.directory("");
        let run = place.directory("run");
        place.values.insert("run".into(), run);
        for volume in &member.volumes {
            let path = place.directory(&volume.name);
            place.values.insert(format!("volume:{}", volume.name), path);
        }
        for port in &member.ports {
            let number = free_port().to_string();
            place.values.insert(format!("port:{}", port.name), number);
            let address = "127.0.0.1".into();
            place
                .values
                .insert(format!("listen:{}", port.name), address);
        }
        place
    }

    pub fn put(&mut self, placeholder: String, value: String) {
        self.values.insert(placeholder, value);
    }

    pub fn put_secrets(&mut self, secrets: &[Secret]) {
        for secret in secrets {
            self.put(format!("secret:{}", secret.name), secret.value.clone());
        }
    }

    pub fn value(&self, placeholder: &str) -> &str {
        let found = self.values.get(placeholder);
        found.unwrap_or_else(|| panic!("the plan has no {placeholder}"))
    }

    pub fn port(&self, name: &str) -> u16 {
        let number = self.value(&format!("port:{name}"));
        number.parse().expect("a number")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Write a member's files, in place of those that stand there.
    pub fn write(&mut self, files: &[types::File]) {
        for file in files {
            let path = self.path(&file.name).display().to_string();
            self.put(format!("file:{}", file.name), path);
        }
        for file in files {
            let content = self.filled(&file.content, file.sensitive);
            let new = self.path(".new");
            let mode = if file.sensitive { 0o600 } else { 0o640 };
            let mut opened = fs::File::options()
                .create_new(true)
                .write(true)
                .mode(mode)
                .open(&new)
                .expect("a file");
            opened.write_all(content.as_bytes()).expect("its content");
            own(&new);
            fs::rename(new, self.path(&file.name)).expect("a file in its place");
        }
    }

    /// A planned command with this program.
    pub fn command(&self, program: &Path, planned: &types::Command) -> Command {
        let fill = |text: &String| self.filled(text, false);
        let mut command = Command::new(program);
        command
            .env_clear()
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .args(planned.args.iter().map(fill))
            .envs(planned.env.iter().map(|(name, value)| (name, fill(value))));
        if Uid::effective().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    /// With its placeholders filled in; those of secrets where only the server's own user can read.
    pub fn filled(&self, text: &str, sensitive: bool) -> String {
        let fill = |kind: &str, name: &str| {
            let placeholder = match name {
                "" => kind.to_owned(),
                name => format!("{kind}:{name}"),
            };
            let found = self.values.get(&placeholder);
            found
                .filter(|_| kind != "secret" || sensitive)
                .cloned()
                .ok_or_else(|| unknown(kind, name))
        };
        substitute(text, fill).unwrap_or_else(|error| panic!("{error:?} in {text}"))
    }

    /// Whether no process works here any more. One that was killed may have left others behind, which end by themselves
    /// and which a server that is started before that does not bear. Those that may not be looked at are taken for others.
    pub fn is_left(&self) -> bool {
        let processes = fs::read_dir("/proc").expect("processes").flatten();
        let mut here = processes.filter(|process| {
            let works_in = fs::read_link(process.path().join("cwd"));
            works_in.is_ok_and(|dir| dir.starts_with(self.dir.path()))
        });
        here.next().is_none()
    }

    fn directory(&self, name: &str) -> String {
        let path = self.dir.path().join(name);
        fs::create_dir_all(&path).expect("a directory");
        own(&path);
        path.display().to_string()
    }
}

fn own(path: &Path) {
    if Uid::effective().is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).expect("chown");
    }
}

/// Below those that the system gives to whoever asks for any, and for each server of a run another. Tests that run beside
/// this one begin elsewhere.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 22_000 + u16::try_from(std::process::id() % 400).expect("a small number") * 10;
    (0..100)
        .map(|_| first + NEXT.fetch_add(1, Ordering::Relaxed))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}
