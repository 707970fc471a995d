//! What a plan must satisfy before the host acts on it or stores it. A component wrote it, so nothing is taken for
//! granted: names, counts, sizes, programs, placeholders, and that no secret stands where others can read it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;

use crate::model::workload::{
    Command, EndpointPlan, File, Member, Port, SecretKind, SecretRequest, Volume, Workload,
};
use crate::model::{Error, Result};

use super::manifest::Manifest;
use super::paths;
use super::placeholder::{self, Placeholder};
use super::programs::is_version;

const MEMBERS: usize = 16;
/// For clients. For members there may be as many again.
const ENDPOINTS: usize = 16;
const SECRETS: usize = 32;
const FILES: usize = 64;
const VOLUMES: usize = 8;
const PORTS: usize = 16;
const TASKS: usize = 16;
const STALE_FILES: usize = 16;
const ARGS: usize = 256;
const ARG_BYTES: usize = 8 << 10;
const ENV: usize = 128;
/// As it is stored, which is less than a record may have.
const PLAN_BYTES: usize = 80 << 10;
const VOLUME_BYTES: u64 = 1 << 50;
const GRACE_MS: u32 = 10 * 60 * 1000;
const CERTIFICATE_DAYS: u32 = 20 * 366;

/// A problem, in words for whoever wrote the plugin.
type Checked = std::result::Result<(), String>;

/// Check a plan against the rules of the contract and the manifest of the engine that made it. Nothing in it may
/// name a place below the host's own directory: what is the instance's is reached by placeholders.
pub(super) fn workload(workload: &Workload, manifest: &Manifest, data_dir: &Path) -> Result<()> {
    let plan = Plan {
        workload,
        manifest,
        data_dir: data_dir.to_string_lossy(),
    };
    plan.check().map_err(|problem| {
        Error::failed(format!(
            "the plan of the plugin `{}` was refused: {problem}",
            manifest.name
        ))
    })
}

/// A name of a member, volume, port, endpoint or secret.
pub(super) fn is_name(name: &str, longest: usize) -> bool {
    (1..=longest).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

struct Plan<'a> {
    workload: &'a Workload,
    manifest: &'a Manifest,
    data_dir: Cow<'a, str>,
}

impl Plan<'_> {
    fn check(&self) -> Checked {
        let plan = self.workload;
        counted("members", plan.members.len(), 1, MEMBERS)?;
        let inner = plan.endpoints.iter().filter(|e| e.for_members).count();
        let outer = plan.endpoints.len() - inner;
        counted("endpoints for clients", outer, 1, ENDPOINTS)?;
        counted("endpoints for members", inner, 0, ENDPOINTS)?;
        counted("secrets", plan.secrets.len(), 0, SECRETS)?;
        named("member", plan.members.iter().map(|m| &*m.name), 20)?;
        named("endpoint", plan.endpoints.iter().map(|e| &*e.name), 20)?;
        named("secret", plan.secrets.iter().map(|s| &*s.name), 32)?;
        let mut taken = BTreeSet::new();
        for endpoint in &plan.endpoints {
            if !taken.insert((&endpoint.member, &endpoint.port)) {
                return Err(format!(
                    "endpoint `{}` leads to a port that another one leads to",
                    endpoint.name
                ));
            }
            let behind = plan.members.iter().find(|m| m.name == endpoint.member);
            if !behind.is_some_and(|m| m.ports.iter().any(|p| p.name == endpoint.port)) {
                return Err(format!(
                    "endpoint `{}` leads to a member or port that is not there",
                    endpoint.name
                ));
            }
        }
        for secret in &plan.secrets {
            let sound = match secret.kind {
                SecretKind::Password(length) => (16..=128).contains(&length),
                SecretKind::Certificate(days) => (1..=CERTIFICATE_DAYS).contains(&days),
            };
            if !sound {
                return Err(format!("secret `{}` has an impossible size", secret.name));
            }
        }
        if most_stored(plan) > PLAN_BYTES && stored_size(plan) > PLAN_BYTES {
            return Err(format!("it takes more than {} KiB", PLAN_BYTES >> 10));
        }
        plan.members.iter().try_for_each(|member| {
            self.member(member)
                .map_err(|problem| format!("member `{}`: {problem}", member.name))
        })
    }

    fn member(&self, member: &Member) -> Checked {
        counted("files", member.files.len(), 0, FILES)?;
        counted("volumes", member.volumes.len(), 0, VOLUMES)?;
        counted("ports", member.ports.len(), 0, PORTS)?;
        counted("stale files", member.stale_files.len(), 0, STALE_FILES)?;
        named("volume", member.volumes.iter().map(|v| &*v.name), 20)?;
        named("port", member.ports.iter().map(|p| &*p.name), 20)?;
        self.command(member, &member.main)?;
        if let Some(init) = &member.init {
            counted("init tasks", init.tasks.len(), 1, TASKS)?;
            if !has_volume(member, &init.volume) {
                return Err("its init tasks fill a volume that is not there".to_owned());
            }
            init.tasks
                .iter()
                .try_for_each(|task| self.command(member, task))?;
        }
        self.files(member)?;
        member.volumes.iter().try_for_each(volume)?;
        self.ports(member)?;
        for stale in &member.stale_files {
            let sound = stale
                .split_once('/')
                .is_some_and(|(volume, path)| has_volume(member, volume) && is_inner_path(path));
            if !sound {
                return Err("a stale file is not `VOLUME/PATH`".to_owned());
            }
        }
        if !matches!(&*member.stop.signal, "TERM" | "INT" | "QUIT") {
            return Err("its stop signal is not TERM, INT or QUIT".to_owned());
        }
        if member.stop.grace_ms > GRACE_MS {
            return Err(format!("it wants longer than {GRACE_MS} ms to stop"));
        }
        Ok(())
    }

    fn command(&self, member: &Member, command: &Command) -> Checked {
        let Command {
            program,
            version,
            args,
            env,
        } = command;
        if !self.manifest.programs().any(|listed| listed == program) {
            return Err(format!(
                "it runs `{program:.64}`, which the plugin's manifest does not list"
            ));
        }
        if !is_version(version) {
            return Err(format!("it runs `{program}` in a version that is not one"));
        }
        counted("arguments", args.len(), 0, ARGS)?;
        counted("environment variables", env.len(), 0, ENV)?;
        for arg in args {
            self.line("an argument", member, arg)?;
        }
        // In order, as out of a map, each is another than the one before; only otherwise all are remembered.
        let ordered = env.is_sorted_by(|(one, _), (next, _)| one < next);
        let mut seen = BTreeSet::new();
        for (name, value) in env {
            let sound =
                is_variable(name) && !name.starts_with("LD_") && (ordered || seen.insert(name));
            if !sound {
                return Err(format!(
                    "the environment variable `{name:.64}` is not allowed or stands there twice"
                ));
            }
            self.line("an environment variable", member, value)?;
        }
        Ok(())
    }

    /// A text that others on the machine may be able to read.
    fn line(&self, what: &str, member: &Member, text: &str) -> Checked {
        if text.len() > ARG_BYTES {
            return Err(format!("{what} is longer than {ARG_BYTES} bytes"));
        }
        if text.contains('\0') {
            return Err(format!("{what} holds a zero byte"));
        }
        self.text(what, member, text, false)
    }

    fn files(&self, member: &Member) -> Checked {
        let mut seen = BTreeSet::new();
        for file in &member.files {
            let name = &*file.name;
            let sound = (1..=64).contains(&name.len())
                && name != "."
                && name != ".."
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
            if !sound || !seen.insert(name) || has_volume(member, name) {
                return Err(format!(
                    "the file `{name:.64}` has a name that is not allowed or taken"
                ));
            }
            self.text(
                &format!("the file `{name}`"),
                member,
                &file.content,
                file.sensitive,
            )?;
        }
        Ok(())
    }

    fn ports(&self, member: &Member) -> Checked {
        let mut numbers = BTreeSet::new();
        for Port {
            name,
            number,
            socket,
        } in &member.ports
        {
            if *number == 0 || !numbers.insert(number) {
                return Err(format!("port `{name}` has number 0 or that of another"));
            }
            let Some(socket) = socket else { continue };
            let sound = (1..=100).contains(&socket.len())
                && socket != "."
                && socket != ".."
                && socket.chars().all(|c| {
                    c.is_ascii_alphanumeric()
                        || matches!(c, '.' | '-' | '_' | '$' | '{' | '}' | ':')
                });
            if !sound {
                return Err(format!(
                    "port `{name}` has a socket that is not a file name"
                ));
            }
            for found in placeholder::parse(socket).flatten() {
                if !matches!(found, Placeholder::Port(_)) {
                    return Err(format!("the socket of port `{name}` may name ports only"));
                }
            }
            self.text(
                &format!("the socket of port `{name}`"),
                member,
                socket,
                false,
            )?;
        }
        Ok(())
    }

    /// No path in a text leads out, every placeholder is known, and a secret stands only where it stays one.
    fn text(&self, what: &str, member: &Member, text: &str, sensitive: bool) -> Checked {
        // A `..` alone as well: a server may enter the directories that its configuration names, one after another.
        if paths::climbs(text) {
            return Err(format!("{what} climbs out of a directory with `..`"));
        }
        if paths::names(text, &self.data_dir) {
            return Err(format!("{what} names a place outside the instance"));
        }
        for found in placeholder::parse(text) {
            let found = found.map_err(|problem| format!("{what}: {problem}"))?;
            let known = match found {
                Placeholder::Run => true,
                Placeholder::Volume(name) => has_volume(member, name),
                Placeholder::File(name) => member.files.iter().any(|f| f.name == name),
                Placeholder::Port(name) | Placeholder::Listen(name) => {
                    member.ports.iter().any(|p| p.name == name)
                }
                Placeholder::Endpoint(name, _) => {
                    self.workload.endpoints.iter().any(|e| e.name == name)
                }
                Placeholder::Secret(_) if !sensitive => {
                    return Err(format!("{what} would show a secret to others"));
                }
                Placeholder::Secret(name) => self.workload.secrets.iter().any(|s| is_part(s, name)),
            };
            if !known {
                return Err(format!("{what} names `{found}`, which is not there"));
            }
        }
        Ok(())
    }
}

fn counted(what: &str, count: usize, least: usize, most: usize) -> Checked {
    if (least..=most).contains(&count) {
        return Ok(());
    }
    Err(format!("{count} {what}; {least} to {most} are allowed"))
}

fn named<'a>(what: &str, names: impl Iterator<Item = &'a str>, longest: usize) -> Checked {
    let mut seen = BTreeSet::new();
    for name in names {
        if !is_name(name, longest) || !seen.insert(name) {
            return Err(format!(
                "the {what} name `{name:.64}` is not allowed or stands there twice"
            ));
        }
    }
    Ok(())
}

fn volume(volume: &Volume) -> Checked {
    if (1..=VOLUME_BYTES).contains(&volume.size_bytes) {
        return Ok(());
    }
    Err(format!("volume `{}` has an impossible size", volume.name))
}

fn has_volume(member: &Member, name: &str) -> bool {
    member.volumes.iter().any(|v| v.name == name)
}

/// Whether a secret, or a part of it, has this name.
fn is_part(secret: &SecretRequest, name: &str) -> bool {
    match secret.kind {
        SecretKind::Password(_) => secret.name == name,
        SecretKind::Certificate(_) => name
            .strip_prefix(&*secret.name)
            .is_some_and(|part| matches!(part, ".ca" | ".cert" | ".key")),
    }
}

fn is_inner_path(path: &str) -> bool {
    path.len() <= 256
        && !path.contains(|c: char| c.is_control())
        && path
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..")
}

fn is_variable(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// At least what it takes stored, for much less work: a character becomes six at most, and what stands around a text,
/// a number or a list is shorter than this.
fn most_stored(plan: &Workload) -> usize {
    const AROUND: usize = 64;
    let text = |text: &String| 6 * text.len() + AROUND;
    let command = |command: &Command| {
        let Command {
            program,
            version,
            args,
            env,
        } = command;
        let env: usize = env
            .iter()
            .map(|(name, value)| text(name) + text(value))
            .sum();
        text(program) + text(version) + args.iter().map(text).sum::<usize>() + env + 2 * AROUND
    };
    let member = |member: &Member| {
        let Member {
            name,
            main,
            init,
            files,
            volumes,
            ports,
            stale_files,
            stop,
        } = member;
        let init = init.as_ref().map_or(AROUND, |init| {
            text(&init.volume) + init.tasks.iter().map(command).sum::<usize>() + AROUND
        });
        let file = |f: &File| text(&f.name) + text(&f.content) + AROUND;
        let port = |p: &Port| text(&p.name) + p.socket.as_ref().map_or(AROUND, text) + AROUND;
        let volume = |v: &Volume| text(&v.name) + AROUND;
        text(name)
            + command(main)
            + init
            + files.iter().map(file).sum::<usize>()
            + volumes.iter().map(volume).sum::<usize>()
            + ports.iter().map(port).sum::<usize>()
            + stale_files.iter().map(text).sum::<usize>()
            + text(&stop.signal)
            + 6 * AROUND
    };
    let Workload {
        members,
        endpoints,
        secrets,
    } = plan;
    let endpoint = |e: &EndpointPlan| text(&e.name) + text(&e.member) + text(&e.port) + AROUND;
    let secret = |s: &SecretRequest| text(&s.name) + 2 * AROUND;
    members.iter().map(member).sum::<usize>()
        + endpoints.iter().map(endpoint).sum::<usize>()
        + secrets.iter().map(secret).sum::<usize>()
        + 3 * AROUND
}

fn stored_size(plan: &Workload) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    match serde_json::to_writer(&mut count, plan) {
        Ok(()) => count.0,
        Err(_) => usize::MAX,
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
