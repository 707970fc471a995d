//! The last step before a program: a process of the shim's that sheds everything of its parents, says who it
//! is, and becomes the program. `berth exec --home H --parent P …  -- PROGRAM ARGS…`
//!
//! It puts itself into the member's control groups and behind the member's walls, so that nothing of the program
//! ever runs outside of them. There it asks the program which version it is, where that is known to be telling.
//!
//! A program may run that no record names only as long as its shim lives: until the record is written the
//! kernel ends this process with its shim, and afterwards the next shim finds the record. It never runs a
//! program as root.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::AtomicBool;

use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{
    Gid, Uid, chdir, geteuid, getpid, getppid, setgroups, setresgid, setresuid, setsid,
};

use super::confine::{Ready, Walls};
use super::wire::{Asks, Home, Identity, Program, Role, Started, VERSION};
use super::{ask, cgroup, files, log, own_view};
use crate::model::confinement::Confinement;

/// What a program is started with.
#[derive(Debug)]
pub struct Launch<'a> {
    pub home: &'a Home,
    pub program: &'a Program,
    pub role: Role,
    pub generation: &'a str,
    pub uid: Option<u32>,
    pub work_dir: PathBuf,
    pub bounds: &'a Bounds,
    pub asks: Option<&'a Asks>,
}

/// What it is put into on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Control groups to join.
    pub groups: Vec<PathBuf>,
    /// Whether it may not run outside of them.
    pub must_join: bool,
    pub walls: Option<Walled>,
}

/// Walls without what the launch says anyway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walled {
    pub instance_dir: PathBuf,
    pub run_dir: PathBuf,
    pub hidden: Vec<PathBuf>,
}

impl Launch<'_> {
    /// The command that leads here. Its own environment is empty: nothing that a plan says may steer it.
    pub fn command(&self, stdout: Stdio, stderr: Stdio) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0("berth")
            .arg("exec")
            .arg("--home")
            .arg(self.home.dir())
            .args(["--parent", &getpid().to_string()])
            .args(["--generation", self.generation])
            .arg("--dir")
            .arg(&self.work_dir);
        match self.role {
            Role::Main => {}
            Role::Init => {
                command.arg("--init");
            }
        }
        if let Some(uid) = self.uid {
            command.args(["--uid", &uid.to_string()]);
        }
        for group in &self.bounds.groups {
            command.arg("--group").arg(group);
        }
        if self.bounds.must_join {
            command.arg("--must-join");
        }
        if let Some(walls) = &self.bounds.walls {
            command.arg("--instance").arg(&walls.instance_dir);
            command.arg("--run").arg(&walls.run_dir);
            for hidden in &walls.hidden {
                command.arg("--hidden").arg(hidden);
            }
        }
        if let Some(asks) = self.asks {
            command.args(["--says", &asks.says]);
            for arg in &asks.args {
                command.args(["--ask", arg]);
            }
        }
        for (name, value) in &self.program.env {
            command.args(["--env", &format!("{name}={value}")]);
        }
        command
            .arg("--")
            .arg(&self.program.path)
            .args(&self.program.args)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr);
        command
    }
}

/// Never returns when all goes well. What goes wrong is told on standard error, the member's log.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let problem = match Args::parse(args) {
        Ok(args) => become_program(&args),
        Err(problem) => problem,
    };
    eprintln!("berth: the program could not be started: {problem}");
    ExitCode::from(126)
}

#[derive(Default)]
struct Args {
    home: PathBuf,
    parent: i32,
    generation: String,
    dir: PathBuf,
    init: bool,
    uid: Option<u32>,
    groups: Vec<PathBuf>,
    must_join: bool,
    instance: Option<PathBuf>,
    run: PathBuf,
    hidden: Vec<PathBuf>,
    says: Option<String>,
    ask: Vec<OsString>,
    env: Vec<(String, String)>,
    program: OsString,
    args: Vec<OsString>,
}

impl Args {
    fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let mut parsed = Self::default();
        while let Some(name) = args.next() {
            let name = name.into_string().map_err(|_| "an odd argument")?;
            if name == "--init" {
                parsed.init = true;
                continue;
            }
            if name == "--must-join" {
                parsed.must_join = true;
                continue;
            }
            let value = args
                .next()
                .ok_or_else(|| format!("{name} lacks its value"))?;
            if name == "--" {
                parsed.program = value;
                parsed.args = args.collect();
                return Ok(parsed);
            }
            // Paths need not be text.
            match name.as_str() {
                "--home" => parsed.home = value.into(),
                "--dir" => parsed.dir = value.into(),
                "--group" => parsed.groups.push(value.into()),
                "--instance" => parsed.instance = Some(value.into()),
                "--run" => parsed.run = value.into(),
                "--hidden" => parsed.hidden.push(value.into()),
                "--ask" => parsed.ask.push(value),
                _ => parsed.take(&name, value)?,
            }
        }
        Err("no program was named".to_owned())
    }

    fn take(&mut self, name: &str, value: OsString) -> Result<(), String> {
        let value = value.into_string().map_err(|_| format!("{name} is odd"))?;
        let no_number = || format!("{name} is no number");
        match name {
            "--parent" => self.parent = value.parse().map_err(|_| no_number())?,
            "--uid" => self.uid = Some(value.parse().map_err(|_| no_number())?),
            "--generation" => self.generation = value,
            "--says" => self.says = Some(value),
            "--env" => {
                let (name, value) = value.split_once('=').ok_or("--env lacks its value")?;
                self.env.push((name.to_owned(), value.to_owned()));
            }
            other => return Err(format!("unknown argument {other}")),
        }
        Ok(())
    }

    fn walls(&self) -> Option<Walls> {
        Some(Walls {
            instance_dir: self.instance.clone()?,
            run_dir: self.run.clone(),
            log: log::current(&Home::new(&self.home).log_dir()),
            program: PathBuf::from(&self.program),
            hidden: self.hidden.clone(),
        })
    }
}

/// Answers what went wrong.
fn become_program(args: &Args) -> String {
    match prepare(args) {
        Ok(()) => {}
        Err(problem) => return problem,
    }
    let version = |says| ask::see_version(&args.program, &args.ask, &args.env, says);
    if let Err(problem) = args.says.as_deref().map_or(Ok(()), version) {
        // As if the program had said so itself: these are the last words that its owner is shown.
        eprintln!("{problem}");
        return "it is not the one that was planned".to_owned();
    }
    // `exec` also empties the signal mask and restores SIGPIPE, which the runtime of this program ignores.
    let error = Command::new(&args.program)
        .args(&args.args)
        .env_clear()
        .envs(args.env.iter().map(|(name, value)| (name, value)))
        .exec();
    format!("{}: {error}", args.program.to_string_lossy())
}

fn prepare(args: &Args) -> Result<(), String> {
    record_under(args)?;
    // The shim does without, see `SMALL`. A program has them as this machine gives them.
    if prctl::get_thp_disable() == Ok(true) {
        prctl::set_thp_disable(false).map_err(|e| format!("it cannot be given huge pages: {e}"))?;
    }
    close_fds::set_fds_cloexec(3, &[]);
    forget_ignored_signals()?;
    limit()?;
    join_groups(args)?;
    umask(Mode::from_bits_truncate(0o077));
    if let Some(uid) = args.uid {
        for problem in own_view::enter(&Home::new(&args.home), uid) {
            eprintln!("berth: {problem}");
        }
    }
    let walls = args.walls().map(|walls| walls.ready()).transpose();
    let walls = walls.map_err(|problem| format!("its walls: {problem}"))?;
    drop_rights(args.uid)?;
    chdir(&args.dir).map_err(|e| format!("cannot enter its working directory: {e}"))?;
    // Where the kernel can do it, nothing runs without: the shim has looked whether it can.
    let walls = walls.map(Ready::enforce).transpose();
    walls.map_err(|problem| format!("its walls: {problem}"))?;
    Ok(())
}

/// Move this process, and with it all that come of it. In vain is no reason not to run, unless it is meant to be.
fn join_groups(args: &Args) -> Result<(), String> {
    let join = |group: &PathBuf| cgroup::set(group, "cgroup.procs", "0");
    // All are tried: one limit is better than none.
    let errors: Vec<_> = args
        .groups
        .iter()
        .filter_map(|group| join(group).err())
        .collect();
    let Some(error) = errors.first() else {
        return Ok(());
    };
    let problem = format!("its control group cannot be joined: {error}");
    if args.must_join {
        return Err(problem);
    }
    eprintln!("berth: {problem}");
    let file = Home::new(&args.home).confinement();
    let mut shown: Confinement = files::read(&file).ok().flatten().unwrap_or_default();
    shown.without_limits(problem);
    // A record that cannot be written must not keep a server from running; the log has it too.
    let _ = files::write_in_place(&file, &shown);
    Ok(())
}

/// Write down who this is, so that there is no moment in which it could outlive its shim unknown.
fn record_under(args: &Args) -> Result<(), String> {
    let orphaned = || getppid().as_raw() != args.parent;
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(|e| format!("prctl: {e}"))?;
    if orphaned() {
        return Err("its shim has ended".to_owned());
    }
    setsid().map_err(|e| format!("setsid: {e}"))?;
    let record = Started {
        version: VERSION,
        process: Identity::of(getpid().as_raw()).ok_or("/proc is not readable")?,
        role: if args.init { Role::Init } else { Role::Main },
        generation: args.generation.clone(),
    };
    files::write_in_place(&Home::new(&args.home).started(), &record)
        .map_err(|e| format!("cannot record the process: {e}"))?;
    prctl::set_pdeathsig(None).map_err(|e| format!("prctl: {e}"))?;
    if orphaned() {
        return Err("its shim has ended".to_owned());
    }
    Ok(())
}

/// A signal that some ancestor ignored stays ignored across `exec`; one that was handled does not.
fn forget_ignored_signals() -> Result<(), String> {
    static SEEN: AtomicBool = AtomicBool::new(false);
    use signal_hook::consts::{
        SIGALRM, SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2,
    };
    for signal in [
        SIGALRM, SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2,
    ] {
        signal_hook::flag::register(signal, &SEEN).map_err(|e| format!("sigaction: {e}"))?;
    }
    Ok(())
}

fn limit() -> Result<(), String> {
    // A core file would hold the data and secrets of a server, where nobody expects them.
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(|e| format!("setrlimit: {e}"))?;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|e| format!("getrlimit: {e}"))?;
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(65_536), hard)
        .map_err(|e| format!("setrlimit: {e}"))?;
    // A service manager may protect the host from running out of memory; that is not for servers.
    let negative = fs::read_to_string("/proc/self/oom_score_adj").is_ok_and(|s| s.starts_with('-'));
    if negative {
        fs::write("/proc/self/oom_score_adj", "0").map_err(|e| format!("oom_score_adj: {e}"))?;
    }
    Ok(())
}

fn drop_rights(uid: Option<u32>) -> Result<(), String> {
    match uid {
        Some(0) => return Err("it may not run as root".to_owned()),
        Some(uid) if geteuid().as_raw() != uid => {
            let (user, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
            setgroups(&[]).map_err(|e| format!("setgroups: {e}"))?;
            setresgid(group, group, group).map_err(|e| format!("setresgid: {e}"))?;
            setresuid(user, user, user).map_err(|e| format!("setresuid: {e}"))?;
        }
        Some(_) => {}
        None if geteuid().is_root() => return Err("it may not run as root".to_owned()),
        None => {}
    }
    prctl::set_no_new_privs().map_err(|e| format!("prctl: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Args, String> {
        Args::parse(args.iter().map(OsString::from))
    }

    #[test]
    fn what_a_launch_says_is_what_is_understood() {
        let home = Home::new("/h");
        let program = Program {
            path: "/bin/prog".into(),
            args: vec!["--".into(), "--uid".into(), "7".into()],
            env: vec![("A".into(), "b=c".into())],
        };
        let launch = Launch {
            home: &home,
            program: &program,
            role: Role::Init,
            generation: "g",
            uid: Some(1234),
            work_dir: "/w".into(),
            bounds: &Bounds {
                groups: vec!["/g/1".into(), "/g/2".into()],
                must_join: true,
                walls: Some(Walled {
                    instance_dir: "/i".into(),
                    run_dir: "/r".into(),
                    hidden: vec!["/data".into()],
                }),
            },
            asks: Some(&Asks {
                args: vec!["--".into(), "--version".into()],
                says: "v7.".into(),
            }),
        };
        let command = launch.command(Stdio::null(), Stdio::null());
        let mut args = command.get_args().map(OsString::from);
        assert_eq!(args.next().unwrap(), "exec");
        let parsed = Args::parse(args).unwrap();
        assert_eq!(parsed.home, PathBuf::from("/h"));
        assert_eq!(parsed.parent, getpid().as_raw());
        assert_eq!(parsed.dir, PathBuf::from("/w"));
        assert!(parsed.init);
        assert_eq!(parsed.uid, Some(1234));
        assert_eq!(parsed.groups, [PathBuf::from("/g/1"), "/g/2".into()]);
        assert!(parsed.must_join);
        let walls = parsed.walls().unwrap();
        assert_eq!(walls.instance_dir, PathBuf::from("/i"));
        assert_eq!(walls.run_dir, PathBuf::from("/r"));
        assert_eq!(walls.hidden, [PathBuf::from("/data")]);
        assert_eq!(walls.program, PathBuf::from("/bin/prog"));
        assert_eq!(walls.log, PathBuf::from("/h/log/log"));
        assert_eq!(parsed.says.as_deref(), Some("v7."));
        assert_eq!(parsed.ask, ["--", "--version"]);
        assert_eq!(parsed.env, [("A".to_owned(), "b=c".to_owned())]);
        assert_eq!(parsed.program, "/bin/prog");
        assert_eq!(parsed.args, ["--", "--uid", "7"]);
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(parse(&[]).is_err());
        assert!(parse(&["--home", "/h"]).is_err());
        assert!(parse(&["--uid", "x", "--", "/bin/true"]).is_err());
        assert!(parse(&["--what", "x", "--", "/bin/true"]).is_err());
    }

    #[test]
    fn root_is_refused() {
        assert!(drop_rights(Some(0)).is_err());
    }
}
