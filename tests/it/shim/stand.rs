//! An instance made of small scripts, seen through the process capability, with the real shims below it.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use berth::model::InstanceId;
use berth::model::resources::NodeSize;
use berth::runtime::Programs;
use berth::runtime::capability::process::Process as Capability;
use berth::runtime::scope::{FileScope, ProcessScope};
use berth_bindings::target::berth::plugin::process::{Host, Init, Service, State};
use berth_bindings::target::berth::plugin::types;
use berth_tests::real::{DataDir, Process, berth_binary};
use berth_tests::wait_for;

pub const MEMBER: &str = "main";
/// Serves until it is told to end.
pub const SERVE: &str = "exec tail -f /dev/null";

/// Of each member.
const SIZE: NodeSize = NodeSize {
    cpu_millis: 2000,
    memory_bytes: 256 << 20,
};

pub struct Stand {
    pub data: DataDir,
    pub scope: ProcessScope,
}

impl Stand {
    pub fn new() -> Self {
        let data = DataDir::new();
        let uid = nix::unistd::geteuid().is_root().then(own_uid);
        let id = InstanceId::generate();
        let instance_dir = data.path().join("instances").join(id.to_string());
        let run_dir = data.path().join("run/0123456789ab");
        let programs = "[[program]]\nname = \"sh\"\npaths = [\"/bin/sh\"]\n";
        let scope = ProcessScope {
            instance: id,
            files: FileScope {
                instance_dir: instance_dir.clone(),
                run_dir: run_dir.clone(),
                uid,
            },
            allowed: Arc::from(["sh".to_owned()]),
            own: Arc::default(),
            programs: Arc::new(Programs::from_toml(programs).unwrap()),
            berth_exe: berth_binary(),
            size: SIZE,
            bounds: Arc::default(),
        };
        let stand = Self { data, scope };
        make(&stand.data.path().join("instances"), 0o711, None);
        make(&stand.data.path().join("run"), 0o711, None);
        make(&instance_dir, 0o750, None);
        if let Some(uid) = uid {
            chown(&instance_dir, None, Some(uid)).unwrap();
        }
        make(&run_dir, 0o700, uid);
        for dir in ["main", "main/volumes", "main/volumes/data"] {
            make(&instance_dir.join(dir), 0o700, uid);
        }
        stand
    }

    pub fn capability(&self) -> Capability {
        Capability {
            scope: Some(self.scope.clone()),
        }
    }

    pub async fn ensure(&self, service: &Service) {
        self.capability()
            .ensure(MEMBER.into(), service.clone())
            .await
            .unwrap();
    }

    pub async fn stop(&self) {
        self.capability().stop(MEMBER.into()).await.unwrap();
    }

    /// The state and how often it was started again.
    pub async fn inspect(&self) -> (State, u32) {
        let status = self.capability().inspect(MEMBER.into()).await.unwrap();
        (status.state, status.restarts)
    }

    pub async fn wait_state<T>(&self, what: &str, wanted: impl Fn(State) -> Option<T>) -> T {
        wait_for(what, async || {
            // While a shim is being killed and started, an answer may take another try.
            let status = self.capability().inspect(MEMBER.into()).await.ok()?;
            wanted(status.state)
        })
        .await
    }

    pub async fn wait_stopped(&self) {
        self.wait_state("it to be stopped", |state| {
            matches!(state, State::Stopped).then_some(())
        })
        .await;
    }

    /// Wait until it runs, and answer its one server.
    pub async fn wait_running(&self) -> Process {
        self.wait_running_but(0).await
    }

    /// The same, with another process than this.
    pub async fn wait_running_but(&self, earlier: i32) -> Process {
        wait_for("the server to run", async || {
            let status = self.capability().inspect(MEMBER.into()).await.ok()?;
            let servers = self.servers();
            let [server] = servers.as_slice() else {
                return None;
            };
            let became_program = server.args.first().is_some_and(|arg| arg == "tail");
            let runs = matches!(status.state, State::Running(_));
            (runs && became_program && server.pid != earlier).then(|| server.clone())
        })
        .await
    }

    /// Living processes of the instance that are no shim and no child of another one of it.
    pub fn servers(&self) -> Vec<Process> {
        let all = self.processes();
        let pids: Vec<i32> = all.iter().filter(|p| !p.is_shim()).map(|p| p.pid).collect();
        all.into_iter()
            .filter(|p| pids.contains(&p.pid) && !pids.contains(&p.parent))
            .collect()
    }

    pub fn shims(&self) -> Vec<Process> {
        let is_detached = |p: &Process| p.args.iter().any(|arg| arg == "--detached");
        self.processes()
            .into_iter()
            .filter(|p| p.is_shim() && is_detached(p))
            .collect()
    }

    /// By directory and by user, so that one which hides from the first is found by the second.
    pub fn processes(&self) -> Vec<Process> {
        let mut found = self.data.processes();
        if let Some(uid) = self.scope.files.uid {
            let known: Vec<i32> = found.iter().map(|p| p.pid).collect();
            found.extend(
                Process::all()
                    .into_iter()
                    .filter(|p| user_of(p.pid) == Some(uid) && !known.contains(&p.pid)),
            );
        }
        found
    }

    pub fn member_dir(&self) -> PathBuf {
        self.scope.files.instance_dir.join(MEMBER)
    }

    pub fn volume(&self) -> PathBuf {
        self.member_dir().join("volumes/data")
    }

    pub fn home(&self) -> PathBuf {
        self.scope.files.instance_dir.join(".berth").join(MEMBER)
    }

    /// What a script of the member wrote into its directory.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.member_dir().join(name)).unwrap_or_default()
    }

    /// Let a script of the member go on that waits for this file.
    pub fn allow(&self, name: &str) {
        fs::write(self.member_dir().join(name), "").unwrap();
    }

    /// `berth shim` as the host starts it, but without a host that waits. `prefix` runs before it in a shell.
    pub fn launch_shim(&self, prefix: &str) -> std::process::Child {
        Command::new("/bin/sh")
            .arg("-c")
            .arg(format!("{prefix} exec \"$0\" shim --dir \"$1\""))
            .arg(&self.scope.berth_exe)
            .arg(self.home())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }
}

/// A server that is a script.
pub fn service(script: &str) -> Service {
    Service {
        main: sh(script),
        init: None,
        work_dir: "main".into(),
        stale_files: Vec::new(),
        stop_signal: "TERM".into(),
        stop_grace_ms: 20_000,
    }
}

/// The same with scripts that fill its volume first.
pub fn filled_service(tasks: &[&str], script: &str) -> Service {
    Service {
        init: Some(Init {
            dir: "main/volumes/data".into(),
            tasks: tasks.iter().map(|task| sh(task)).collect(),
        }),
        ..service(script)
    }
}

pub fn sh(script: &str) -> types::Command {
    types::Command {
        program: "sh".into(),
        version: "1".into(),
        args: vec!["-c".into(), script.into()],
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
    }
}

fn make(dir: &Path, mode: u32, owner: Option<u32>) {
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(dir)
        .unwrap();
    if owner.is_some() {
        chown(dir, owner, owner).unwrap();
    }
}

/// A user that nobody else on this machine has, not even another test.
fn own_uid() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    3_000_000 + (std::process::id() % 100_000) * 100 + NEXT.fetch_add(1, Ordering::SeqCst)
}

fn user_of(pid: i32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().next()?.parse().ok()
}
