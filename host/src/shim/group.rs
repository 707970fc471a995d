//! The control groups of one member: made before its first process, limited, and removed after its last.
//!
//! Where they are is written down before they are made, so that a shim or host that comes later finds them:
//! to know the member's processes by them, and to remove them. Made again they are the same ones.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::cgroup::{self, Controller, Hierarchy, Seat, Version};
use super::files;
use super::proc;
use super::wire::Home;
use crate::model::confinement::Limits;

/// Somebody may remove the empty parent while a group is made below it.
const TRIES: usize = 5;

/// One in version 2, up to three in version 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Part {
    dir: PathBuf,
    version: Version,
    controllers: Vec<Controller>,
}

/// What could be had of the limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub controllers: Vec<Controller>,
    /// Why some are missing.
    pub problem: Option<String>,
}

/// How often memory ran out, so that a later count tells whether it did in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shortages {
    /// Processes that the kernel killed for it.
    pub kills: u64,
    /// Times that the limit was met.
    met: u64,
}

/// Where the groups of this process's children can be, and why some cannot.
pub fn seats() -> (Vec<Seat>, Option<String>) {
    let mut problem = None;
    let mut seats = Vec::new();
    for hierarchy in Hierarchy::all() {
        match hierarchy.seat() {
            Ok((seat, withheld)) => {
                seats.push(seat);
                problem = problem.or(withheld);
            }
            Err(why) => problem = problem.or(Some(why)),
        }
    }
    (seats, problem)
}

impl Group {
    /// The ones that were last made.
    pub fn recorded(home: &Home) -> Self {
        Self(
            files::read(&home.group())
                .ok()
                .flatten()
                .unwrap_or_default(),
        )
    }

    /// Make them and set their limits. Nothing of the member lives. What cannot be had is said; an error is one of
    /// the home directory only.
    pub fn make(
        home: &Home,
        parent: &str,
        name: &str,
        limits: &Limits,
    ) -> io::Result<(Self, Held)> {
        let (seats, problem) = seats();
        Self::make_in(seats, problem, home, parent, name, limits)
    }

    /// Whether it would work here. Nothing is left of it.
    pub fn attempt(parent: &str, limits: &Limits) -> Held {
        let (seats, problem) = seats();
        let name = format!("attempt-{}", std::process::id());
        let planned = seats.into_iter().map(|seat| Part::at(seat, parent, &name));
        let (group, held) = Self::made_of(planned.collect(), problem, limits);
        // An empty group that stays would cost nothing.
        let _ = group.remove();
        group.remove_parents();
        held
    }

    fn make_in(
        seats: Vec<Seat>,
        problem: Option<String>,
        home: &Home,
        parent: &str,
        name: &str,
        limits: &Limits,
    ) -> io::Result<(Self, Held)> {
        let planned = Self(
            seats
                .into_iter()
                .map(|seat| Part::at(seat, parent, name))
                .collect(),
        );
        let before = Self::recorded(home);
        if before != planned {
            // It was made elsewhere once: before a restart of the machine, or below another group of the host.
            let left = before
                .0
                .into_iter()
                .filter(|part| !planned.0.contains(part));
            Self(left.collect()).remove()?;
            files::write_in_place(&home.group(), &planned.0)?;
        }
        Ok(Self::made_of(planned.0, problem, limits))
    }

    fn made_of(planned: Vec<Part>, mut problem: Option<String>, limits: &Limits) -> (Self, Held) {
        let mut made = Vec::new();
        for mut part in planned {
            match part.make() {
                Ok(why) => {
                    problem = problem.or(why);
                    part.limit(limits, &mut problem);
                    made.push(part);
                }
                Err(error) => problem = problem.or(Some(format!("no group can be made: {error}"))),
            }
        }
        let controllers: Vec<Controller> =
            made.iter().flat_map(|p| p.controllers.clone()).collect();
        let missing: Vec<&str> = Controller::ALL
            .iter()
            .filter(|c| !controllers.contains(c))
            .map(|c| c.name())
            .collect();
        let problem = (!missing.is_empty()).then(|| {
            let why =
                problem.unwrap_or_else(|| "this machine has no such control group".to_owned());
            format!("no limit of {}: {why}", missing.join(", "))
        });
        (
            Self(made),
            Held {
                controllers,
                problem,
            },
        )
    }

    /// A group that is only a directory with a list of processes.
    #[cfg(test)]
    pub fn pretended(dir: &Path) -> Self {
        Self(vec![Part {
            dir: dir.to_owned(),
            version: Version::One,
            controllers: Vec::new(),
        }])
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn dirs(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(|part| part.dir.as_path())
    }

    /// Set other limits while it runs. Answers what did not take them.
    pub fn change(&mut self, limits: &Limits) -> Option<String> {
        let mut problem = None;
        for part in &mut self.0 {
            part.limit(limits, &mut problem);
        }
        problem
    }

    /// Numbers of the processes in it.
    pub fn processes(&self) -> io::Result<BTreeSet<i32>> {
        let mut all = BTreeSet::new();
        for dir in self.dirs() {
            match fs::read_to_string(dir.join("cgroup.procs")) {
                Ok(text) => all.extend(text.lines().filter_map(|line| line.parse::<i32>().ok())),
                Err(error) if proc::is_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// End all of them at once, also those that are just being made. Only version 2 can; nobody relies on it.
    pub fn kill(&self) {
        for part in self.0.iter().filter(|part| part.version == Version::Two) {
            let _ = cgroup::set(&part.dir, "cgroup.kill", "1");
        }
    }

    pub fn shortages(&self) -> Shortages {
        let of = |part: &Part| {
            let number = |file, name| cgroup::number(&part.dir, file, name);
            match part.version {
                Version::One => {
                    let kills = number("memory.oom_control", Some("oom_kill"));
                    let most = number("memory.max_usage_in_bytes", None);
                    let limit = number("memory.limit_in_bytes", None);
                    // Not every kernel counts it: it was met if so much was ever used, or nearly so.
                    let met = if most >= limit - limit / 16 { kills } else { 0 };
                    Shortages { kills, met }
                }
                Version::Two => Shortages {
                    kills: number("memory.events", Some("oom_kill")),
                    met: number("memory.events", Some("oom")),
                },
            }
        };
        let has_memory = |part: &&Part| part.controllers.contains(&Controller::Memory);
        self.0.iter().find(has_memory).map(of).unwrap_or_default()
    }

    /// Remove them, when nothing is in them any more. Absent is fine.
    pub fn remove(&self) -> io::Result<()> {
        for part in &self.0 {
            match fs::remove_dir(&part.dir) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Remove what all groups of the host are below, if nothing is there any more.
    pub fn remove_parents(&self) {
        for parent in self.dirs().filter_map(Path::parent) {
            // Full is the usual case, and an empty one costs nothing.
            let _ = fs::remove_dir(parent);
        }
    }
}

impl Shortages {
    /// What happened since an earlier count, in words; none when nobody was killed for it.
    pub fn since(self, earlier: Self, limit: Option<u64>) -> Option<String> {
        if self.kills <= earlier.kills {
            return None;
        }
        Some(match limit {
            Some(bytes) if self.met > earlier.met => {
                format!(
                    "the kernel killed it at its memory limit of {} MiB",
                    bytes >> 20
                )
            }
            _ => "the kernel killed it because the machine was short of memory".to_owned(),
        })
    }
}

impl Part {
    fn at(seat: Seat, parent: &str, name: &str) -> Self {
        Self {
            dir: seat.dir.join(parent).join(name),
            version: seat.version,
            controllers: seat.controllers,
        }
    }

    /// Answers why a controller cannot be used in it.
    fn make(&mut self) -> io::Result<Option<String>> {
        let parent = self.dir.parent().unwrap_or(&self.dir).to_owned();
        let mut tries = 0;
        loop {
            make_dir(&parent)?;
            let (enabled, problem) = match self.version {
                Version::One => (self.controllers.clone(), None),
                Version::Two => match cgroup::enable(&parent, &self.controllers) {
                    Ok(enabled) => (enabled.controllers, enabled.withheld),
                    Err(why) => (Vec::new(), Some(why)),
                },
            };
            tries += 1;
            match make_dir(&self.dir) {
                Err(error) if error.kind() == ErrorKind::NotFound && tries < TRIES => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    self.controllers = enabled;
                    return Ok(problem);
                }
            }
        }
    }

    /// Keeps the controllers that took their limit.
    fn limit(&mut self, limits: &Limits, problem: &mut Option<String>) {
        let Self {
            dir,
            version,
            controllers,
        } = self;
        controllers.retain(|controller| match controller.limit(*version, dir, limits) {
            Ok(()) => true,
            Err(error) => {
                problem.get_or_insert_with(|| format!("{}: {error}", controller.name()));
                false
            }
        });
    }
}

fn make_dir(dir: &Path) -> io::Result<()> {
    match fs::create_dir(dir) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
#[path = "group_tests.rs"]
mod tests;
