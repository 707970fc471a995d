//! What a service may be. Turns logical names into files, and refuses whatever leads out of the instance.
//!
//! With a user of its own an instance could not get far anyway; these checks say so before anything
//! runs, and are all there is when the host is not root.

use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use berth_bindings::target::berth::plugin::{process, types};

use crate::model::confinement::Limits;
use crate::runtime::paths::{begins_with, climbs, plain};
use crate::runtime::scope::ProcessScope;
use crate::shim::wire::{Confines, Init, Program, Service, StopSignal, VERSION};

const MAX_ARGS: usize = 512;
const MAX_ENV: usize = 128;
const MAX_TEXT: usize = 64 * 1024;
const MAX_TASKS: usize = 16;
const MAX_STALE: usize = 64;
const MAX_GRACE_MS: u32 = 10 * 60 * 1000;
/// Variables that make the loader or the C library take in foreign code.
const LOADER: [&str; 5] = [
    "GCONV_PATH",
    "GLIBC_TUNABLES",
    "LOCPATH",
    "MALLOC_TRACE",
    "NLSPATH",
];
const LOADER_PREFIX: &str = "LD_";

/// A member's name: lower-case letters, digits and `-`, at most 20 bytes.
pub fn check_member(name: &str) -> Result<(), types::Error> {
    let valid = (1..=20).contains(&name.len())
        && !name.starts_with('-')
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    allow(valid, || {
        "a member's name is 1 to 20 lower-case letters, digits and '-'".to_owned()
    })
}

/// The service with every name resolved, or why it may not run.
pub fn resolve(
    scope: &ProcessScope,
    member: &str,
    service: &process::Service,
) -> Result<Service, types::Error> {
    let instance_dir = scope
        .files
        .instance_dir
        .canonicalize()
        .map_err(|e| types::Error::Failed(format!("the instance has no directory: {e}")))?;
    let is_safe = match scope.files.uid {
        Some(uid) => uid != 0,
        None => !nix::unistd::geteuid().is_root(),
    };
    allow(is_safe, || {
        "an instance without a user of its own runs nothing on a host that is root".to_owned()
    })?;
    let bounds = Bounds::new(scope, &instance_dir);
    let init = service
        .init
        .as_ref()
        .map(|init| resolve_init(scope, member, &bounds, init))
        .transpose()?;
    check_below(&service.work_dir)?;
    allow(service.stale_files.len() <= MAX_STALE, || {
        "too many stale files".to_owned()
    })?;
    for path in &service.stale_files {
        check_below(path)?;
    }
    let stop_signal = StopSignal::parse(&service.stop_signal)
        .ok_or_else(|| refused("a stop signal is one of TERM, INT and QUIT".to_owned()))?;
    allow(service.stop_grace_ms <= MAX_GRACE_MS, || {
        "the grace is too long".to_owned()
    })?;
    let mut resolved = Service {
        version: VERSION,
        generation: String::new(),
        main: resolve_program(scope, member, &bounds, &service.main)?,
        instance_dir,
        uid: scope.files.uid,
        init,
        work_dir: service.work_dir.clone(),
        stale_files: service.stale_files.clone(),
        stop_signal,
        stop_grace_ms: service.stop_grace_ms,
        confines: None,
        asks: None,
    };
    let bytes = serde_json::to_vec(&resolved)
        .map_err(|e| refused(format!("the service cannot be written down: {e}")))?;
    resolved.generation = blake3::hash(&bytes).to_hex().to_string();
    resolved.confines = Some(confines(scope, member));
    let main = &service.main;
    resolved.asks = scope.programs.asks(&main.program, &main.version);
    Ok(resolved)
}

/// What a member is kept within. The groups of one data directory stand together, under a name that no other has.
pub fn confines(scope: &ProcessScope, member: &str) -> Confines {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    // Sockets are always below it, instances where their storage class is.
    let sockets = scope.files.run_dir.parent();
    let data_dir = real(sockets.and_then(Path::parent).unwrap_or(Path::new("/")));
    let hidden = scope.bounds.hidden.iter().map(|path| real(path));
    Confines {
        limits: Limits::of(scope.size),
        want_limits: scope.bounds.limits,
        parent: group_parent(&data_dir),
        group: format!("{}.{member}", scope.instance),
        want_walls: scope.bounds.confinement,
        run_dir: real(&scope.files.run_dir),
        hidden: hidden.chain([data_dir]).collect(),
    }
}

/// Name of the group that those of a data directory are below.
pub fn group_parent(data_dir: &Path) -> String {
    let digest = blake3::hash(data_dir.as_os_str().as_encoded_bytes()).to_hex();
    format!("berth-{}", &digest[..12])
}

fn resolve_init(
    scope: &ProcessScope,
    member: &str,
    bounds: &Bounds,
    init: &process::Init,
) -> Result<Init, types::Error> {
    check_below(&init.dir)?;
    allow(init.tasks.len() <= MAX_TASKS, || {
        "too many init tasks".to_owned()
    })?;
    let tasks = init
        .tasks
        .iter()
        .map(|task| resolve_program(scope, member, bounds, task))
        .collect::<Result<_, _>>()?;
    Ok(Init {
        dir: init.dir.clone(),
        tasks,
    })
}

fn resolve_program(
    scope: &ProcessScope,
    member: &str,
    bounds: &Bounds,
    command: &types::Command,
) -> Result<Program, types::Error> {
    let name = &command.program;
    let plain = (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    allow(plain, || "a program's name has odd characters".to_owned())?;
    let path = scope
        .program(member, name, &command.version)
        .map_err(|e| refused(e.to_string()))?;
    check_file(scope, name, &path)?;
    allow(command.args.len() <= MAX_ARGS, || {
        format!("`{name}` has too many arguments")
    })?;
    allow(command.env.len() <= MAX_ENV, || {
        format!("`{name}` has too many variables")
    })?;
    let texts = || {
        command
            .args
            .iter()
            .chain(command.env.iter().map(|(_, value)| value))
    };
    allow(texts().map(String::len).sum::<usize>() <= MAX_TEXT, || {
        format!("the arguments of `{name}` are too long")
    })?;
    for text in texts() {
        allow(!text.contains('\0'), || {
            format!("an argument of `{name}` has odd characters")
        })?;
        allow(!bounds.leads_out(text), || {
            format!("an argument of `{name}` names a place outside the instance")
        })?;
    }
    for (variable, _) in &command.env {
        allow(is_variable(variable), || {
            format!("`{name}` may not be given this variable")
        })?;
    }
    Ok(Program {
        path,
        args: command.args.clone(),
        env: command.env.clone(),
    })
}

/// A program that gains rights when it runs, or that its own instance could have put there, is not run.
fn check_file(scope: &ProcessScope, name: &str, path: &Path) -> Result<(), types::Error> {
    let (real, meta) = path
        .canonicalize()
        .and_then(|real| Ok((real.clone(), real.metadata()?)))
        .map_err(|e| refused(format!("the program `{name}` cannot be read: {e}")))?;
    allow(may_run(&meta, scope.files.uid), || {
        format!(
            "the program `{name}` may not run: it is no plain program that only others can change"
        )
    })?;
    let inside = [&scope.files.instance_dir, &scope.files.run_dir]
        .into_iter()
        .filter_map(|dir| dir.parent())
        .any(|dir| real.starts_with(dir));
    allow(!inside, || {
        format!("the program `{name}` lies among the instances")
    })
}

fn may_run(meta: &Metadata, uid: Option<u32>) -> bool {
    const SETUID_SETGID: u32 = 0o6000;
    const ALL_MAY_WRITE: u32 = 0o002;
    let mode = meta.permissions().mode();
    meta.is_file()
        && mode & 0o111 != 0
        && mode & (SETUID_SETGID | ALL_MAY_WRITE) == 0
        && uid != Some(meta.uid())
}

fn is_variable(name: &str) -> bool {
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    plain && !name.starts_with(LOADER_PREFIX) && !LOADER.contains(&name)
}

/// A path below the instance's directory, which is not the host's own part of it.
fn check_below(path: &str) -> Result<(), types::Error> {
    let parts: Vec<Component<'_>> = Path::new(path).components().collect();
    let valid = !parts.is_empty()
        && path.len() <= 1024
        && !path.contains('\0')
        && parts
            .iter()
            .all(|part| matches!(part, Component::Normal(_)))
        && parts.first() != Some(&Component::Normal(".berth".as_ref()));
    allow(valid, || {
        "a path must lie below the instance's own directory".to_owned()
    })
}

/// Where arguments may point to.
struct Bounds {
    /// Spellings of the data directory and of what else is closed to instances.
    data: Vec<String>,
    /// Spellings of the instance's own directories.
    own: Vec<String>,
}

impl Bounds {
    fn new(scope: &ProcessScope, instance_dir: &Path) -> Self {
        let run_dir = &scope.files.run_dir;
        let real_run_dir = run_dir.canonicalize().unwrap_or_else(|_| run_dir.clone());
        let own: Vec<PathBuf> = vec![
            scope.files.instance_dir.clone(),
            instance_dir.to_owned(),
            run_dir.clone(),
            real_run_dir,
        ];
        let data = own.iter().filter_map(|dir| dir.parent()?.parent());
        let hidden = scope.bounds.hidden.iter().map(PathBuf::as_path);
        Self {
            data: data
                .chain(hidden)
                .map(|dir| dir.to_string_lossy().into_owned())
                .collect(),
            own: own
                .iter()
                .map(|dir| dir.to_string_lossy().into_owned())
                .collect(),
        }
    }

    /// Whether a text names something of the data directory that is not the instance's, or climbs.
    fn leads_out(&self, text: &str) -> bool {
        let text = plain(text);
        climbs(&text)
            || self
                .data
                .iter()
                .any(|data| self.leads_to_another(&text, data))
    }

    fn leads_to_another(&self, text: &str, data: &str) -> bool {
        text.match_indices(data).any(|(at, _)| {
            let here = &text[at..];
            let is_data = begins_with(here, data);
            let is_own = self
                .own
                .iter()
                .any(|own| begins_with(here, own) && !here[own.len()..].starts_with("/.berth"));
            is_data && !is_own
        })
    }
}

fn allow(condition: bool, why_not: impl FnOnce() -> String) -> Result<(), types::Error> {
    match condition {
        true => Ok(()),
        false => Err(refused(why_not())),
    }
}

fn refused(why: String) -> types::Error {
    types::Error::Failed(why)
}

#[cfg(test)]
#[path = "process_check_tests.rs"]
mod tests;
