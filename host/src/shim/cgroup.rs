//! Where on this machine limits can be set: the hierarchies of control groups, of both versions, and what can be
//! made below them.
//!
//! Groups are made below the one that this process is in, so that whatever holds it holds them too. In version 2
//! a group with processes of its own can have no limited groups below; then it is the nearest one above
//! that lets us. No process but those of members is ever moved, and no setting of a foreign
//! group changed but one: that its controllers may be used below it.

use std::fs;
use std::io::{self, ErrorKind};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::confinement::Limits;

/// In which time a share of the processors is measured, in microseconds.
const PERIOD: u64 = 100_000;
/// The kernel takes no smaller share.
const LEAST_QUOTA: u64 = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Controller {
    Memory,
    Cpu,
    Pids,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    #[serde(rename = "v1")]
    One,
    #[serde(rename = "v2")]
    Two,
}

/// One hierarchy as this process sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    pub version: Version,
    mount: PathBuf,
    /// The group that this process is in.
    own: PathBuf,
    controllers: Vec<Controller>,
}

/// A directory below which groups with these controllers can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    pub dir: PathBuf,
    pub version: Version,
    pub controllers: Vec<Controller>,
}

/// What can be used below a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enabled {
    pub controllers: Vec<Controller>,
    /// Why others cannot.
    pub withheld: Option<String>,
}

impl Controller {
    pub const ALL: [Self; 3] = [Self::Memory, Self::Cpu, Self::Pids];

    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Pids => "pids",
        }
    }

    /// Set the limit of a group.
    pub fn limit(self, version: Version, group: &Path, limits: &Limits) -> io::Result<()> {
        let quota = (u64::from(limits.cpu_millis) * PERIOD / 1000).max(LEAST_QUOTA);
        match (self, version) {
            (Self::Memory, Version::One) => limit_memory_v1(group, limits.memory_bytes),
            (Self::Memory, Version::Two) => {
                set(group, "memory.max", &limits.memory_bytes.to_string())?;
                // Without swap in the kernel there is no such file, and nothing to forbid.
                unless_absent(set(group, "memory.swap.max", "0"))
            }
            (Self::Cpu, Version::One) => {
                set(group, "cpu.cfs_period_us", &PERIOD.to_string())?;
                set(group, "cpu.cfs_quota_us", &quota.to_string())?;
                set(group, "cpu.shares", &weight(limits, 1024, 2..=1 << 18))
            }
            (Self::Cpu, Version::Two) => {
                set(group, "cpu.max", &format!("{quota} {PERIOD}"))?;
                set(group, "cpu.weight", &weight(limits, 100, 1..=10_000))
            }
            (Self::Pids, Version::One | Version::Two) => {
                set(group, "pids.max", &limits.processes.to_string())
            }
        }
    }
}

/// What a member gets when all together want more than there is: as a group gets by default for each core that it may use.
fn weight(limits: &Limits, default: u64, bounds: RangeInclusive<u64>) -> String {
    let weight = u64::from(limits.cpu_millis) * default / 1000;
    weight.clamp(*bounds.start(), *bounds.end()).to_string()
}

/// Memory and swap together count separately, and must never be below memory alone: which of the two has to
/// go first depends on what they were.
fn limit_memory_v1(group: &Path, bytes: u64) -> io::Result<()> {
    const MEMORY: &str = "memory.limit_in_bytes";
    const WITH_SWAP: &str = "memory.memsw.limit_in_bytes";
    let bytes = bytes.to_string();
    let first = set(group, MEMORY, &bytes);
    match set(group, WITH_SWAP, &bytes) {
        Ok(()) => set(group, MEMORY, &bytes),
        // A kernel that does not account for swap: at least it takes from others first.
        Err(_) => first.and_then(|()| unless_absent(set(group, "memory.swappiness", "0"))),
    }
}

impl Hierarchy {
    /// Those of this process, with the controllers that each has to give.
    pub fn all() -> Vec<Self> {
        let read =
            |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        Self::parse(&read("mountinfo"), &read("cgroup"))
    }

    fn parse(mountinfo: &str, own: &str) -> Vec<Self> {
        let mounts: Vec<Mount> = mountinfo.lines().filter_map(Mount::parse).collect();
        let mut found: Vec<Self> = own
            .lines()
            .filter_map(|line| Membership::parse(line)?.hierarchy(&mounts))
            .collect();
        // A controller is in one hierarchy only; version 2 says in a file which it has.
        let taken: Vec<Controller> = found.iter().flat_map(|h| h.controllers.clone()).collect();
        for hierarchy in &mut found {
            if hierarchy.version == Version::Two {
                let there = words(&hierarchy.mount.join("cgroup.controllers"));
                hierarchy.controllers = Controller::ALL
                    .into_iter()
                    .filter(|c| !taken.contains(c) && there.iter().any(|name| name == c.name()))
                    .collect();
            }
        }
        found.retain(|hierarchy| !hierarchy.controllers.is_empty());
        found
    }

    /// The nearest place for groups, and why some controllers cannot be used there. Changes nothing but what may be.
    pub fn seat(&self) -> Result<(Seat, Option<String>), String> {
        let seat = |dir: &Path, controllers: Vec<Controller>| Seat {
            dir: dir.to_owned(),
            version: self.version,
            controllers,
        };
        match self.version {
            Version::One => Ok((seat(&self.own, self.controllers.clone()), None)),
            Version::Two => {
                let mut problem = None;
                for dir in self.own.ancestors() {
                    match enable(dir, &self.controllers) {
                        Ok(enabled) if !enabled.controllers.is_empty() => {
                            return Ok((seat(dir, enabled.controllers), enabled.withheld));
                        }
                        Ok(nothing) => problem = problem.or(nothing.withheld),
                        Err(refused) => problem = problem.or(Some(refused)),
                    }
                    if dir == self.mount {
                        break;
                    }
                }
                Err(problem.unwrap_or_else(|| "no group has the controllers".to_owned()))
            }
        }
    }
}

/// Let controllers be used below a group of version 2: all that it has been given itself. Answers them, or why none can
/// be used there.
///
/// Never below a group with processes of its own, but for the root. The kernel refuses `memory` there and may take the
/// others all the same: then the group becomes a threaded one, and no process can join what is made below it
/// ("No Internal Process Constraint" and "Threads" in the kernel's cgroup-v2 document). So it is one write, whole or not.
pub fn enable(dir: &Path, controllers: &[Controller]) -> Result<Enabled, String> {
    if is_populated(dir) {
        return Err("the group that Berth runs in has processes of its own".to_owned());
    }
    let named = |names: &[String], c: Controller| names.iter().any(|name| name == c.name());
    let there = words(&dir.join("cgroup.subtree_control"));
    let given = words(&dir.join("cgroup.controllers"));
    let (on, rest): (Vec<_>, Vec<_>) = controllers.iter().partition(|c| named(&there, **c));
    let off: Vec<Controller> = rest.into_iter().filter(|c| named(&given, *c)).collect();
    if !off.is_empty() {
        let change: Vec<String> = off.iter().map(|c| format!("+{}", c.name())).collect();
        set(dir, "cgroup.subtree_control", &change.join(" "))
            .map_err(|error| format!("{}: {error}", change.join(" ")))?;
    }
    let controllers_on = [on, off].concat();
    let withheld: Vec<&str> = controllers
        .iter()
        .filter(|c| !controllers_on.contains(c))
        .map(|c| c.name())
        .collect();
    let withheld = (!withheld.is_empty())
        .then(|| format!("the group above was not given {}", withheld.join(", ")));
    Ok(Enabled {
        controllers: controllers_on,
        withheld,
    })
}

/// Whether processes are in the group itself; only the root, which has no type, may have both them and groups below.
fn is_populated(dir: &Path) -> bool {
    let is_root = !dir.join("cgroup.type").exists();
    let processes = fs::read_to_string(dir.join("cgroup.procs"));
    !is_root && processes.is_ok_and(|processes| !processes.trim().is_empty())
}

/// Write a setting of a group.
pub fn set(group: &Path, name: &str, value: &str) -> io::Result<()> {
    fs::write(group.join(name), value)
}

/// The number in a line `NAME NUMBER`, or the only one of a file.
pub fn number(group: &Path, file: &str, name: Option<&str>) -> u64 {
    let text = fs::read_to_string(group.join(file)).unwrap_or_default();
    let value = match name {
        Some(name) => text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')),
        None => Some(text.as_str()),
    };
    value.and_then(|v| v.trim().parse().ok()).unwrap_or(0)
}

fn unless_absent(result: io::Result<()>) -> io::Result<()> {
    match result {
        // The kernel lets nobody make a file there: what is absent is "denied".
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::PermissionDenied
            ) =>
        {
            Ok(())
        }
        other => other,
    }
}

fn words(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

/// A line of `/proc/self/mountinfo` that is about control groups.
struct Mount {
    version: Version,
    /// The group that is mounted: not the topmost one in a container.
    root: String,
    point: PathBuf,
    options: Vec<String>,
}

impl Mount {
    fn parse(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let before: Vec<&str> = before.split(' ').collect();
        let after: Vec<&str> = after.split(' ').collect();
        Some(Self {
            version: match *after.first()? {
                "cgroup" => Version::One,
                "cgroup2" => Version::Two,
                _ => return None,
            },
            root: (*before.get(3)?).to_owned(),
            // A space in the name is written as its number; no other character is to be expected.
            point: before.get(4)?.replace("\\040", " ").into(),
            options: after.last()?.split(',').map(str::to_owned).collect(),
        })
    }
}

/// A line of `/proc/self/cgroup`.
struct Membership<'a> {
    /// None in version 2.
    controllers: Option<Vec<Controller>>,
    path: &'a str,
}

impl<'a> Membership<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (number, rest) = line.split_once(':')?;
        let (names, path) = rest.split_once(':')?;
        let controllers = (number != "0").then(|| {
            let has = |c: &Controller| names.split(',').any(|name| name == c.name());
            Controller::ALL.into_iter().filter(has).collect()
        });
        Some(Self { controllers, path })
    }

    /// None when its hierarchy is not mounted where this process could see its own group.
    fn hierarchy(self, mounts: &[Mount]) -> Option<Hierarchy> {
        let version = match &self.controllers {
            Some(controllers) if controllers.is_empty() => return None,
            Some(_) => Version::One,
            None => Version::Two,
        };
        let controllers = self.controllers.unwrap_or_default();
        mounts.iter().find_map(|mount| {
            let has = |c: &Controller| mount.options.iter().any(|option| option == c.name());
            if mount.version != version || !controllers.iter().all(has) {
                return None;
            }
            let below = Path::new(self.path).strip_prefix(&mount.root).ok()?;
            let own = mount.point.join(below);
            own.is_dir().then(|| Hierarchy {
                version,
                mount: mount.point.clone(),
                own,
                controllers: controllers.clone(),
            })
        })
    }
}

#[cfg(test)]
#[path = "cgroup_tests.rs"]
mod tests;
