//! Which processes belong to a member or an instance, whatever started them and whoever is their parent now.
//!
//! An instance with a user of its own is told by that user. Without one, by a working directory inside the
//! instance, of processes of the host's own user that have no terminal: an operator who looks around
//! in a data directory must not lose the shell. Environments are not trusted: servers overwrite them.
//! What is in a member's control group is the member's in any case.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::files;
use super::group::Group;
use super::proc::{self, Live};
use super::wire::{Home, Identity, Service, Started};

/// What to look for.
#[derive(Debug)]
pub struct Search {
    uid: Option<u32>,
    /// Working directories that mark a process.
    dirs: Vec<PathBuf>,
    /// Processes whose descendants are meant.
    roots: Vec<Identity>,
    /// Whose processes are all meant.
    groups: Vec<Group>,
    /// Other members of the instance, which are not meant.
    others: Vec<Other>,
}

#[derive(Debug, Default)]
struct Other {
    roots: Vec<Identity>,
    dirs: Vec<PathBuf>,
    group: Group,
}

impl Search {
    /// Processes of one member, seen from its shim.
    pub fn member(home: &Home, service: &Service) -> Self {
        let own = Identity::of(own_pid());
        Self {
            uid: own_user(service.uid),
            dirs: dirs_of(service),
            roots: own.into_iter().chain(started(home)).collect(),
            groups: vec![Group::recorded(home)],
            others: others(home),
        }
    }

    /// Processes of a whole instance: all members, all directories.
    pub fn instance(uid: Option<u32>, dirs: Vec<PathBuf>, homes: &[Home]) -> Self {
        Self {
            uid: own_user(uid),
            dirs,
            roots: homes.iter().filter_map(started).collect(),
            groups: homes.iter().map(Group::recorded).collect(),
            others: Vec::new(),
        }
    }

    /// Of an instance, no more than what Berth has started: the processes that are recorded, what descends from them, and
    /// whoever is in their groups.
    pub fn started(homes: &[Home]) -> Self {
        Self::instance(None, Vec::new(), homes)
    }

    /// Those that live, without the caller itself.
    pub fn find(&self) -> io::Result<Vec<Live>> {
        let all = proc::all()?;
        let parents: HashMap<i32, i32> = all.iter().map(|p| (p.pid, p.parent)).collect();
        let roots = living(&self.roots);
        let other_roots = living(self.others.iter().flat_map(|other| &other.roots));
        let other_dirs: Vec<&PathBuf> = self.others.iter().flat_map(|other| &other.dirs).collect();
        let grouped = processes(&self.groups)?;
        let grouped_elsewhere = processes(self.others.iter().map(|other| &other.group))?;
        let own_uid = nix::unistd::getuid().as_raw();
        let own_pid = own_pid();
        let found = all
            .into_iter()
            .filter(|process| process.pid != own_pid && !other_roots.contains(&process.pid))
            .filter(|process| !grouped_elsewhere.contains(&process.pid))
            .filter(|process| {
                if grouped.contains(&process.pid) || descends(process.pid, &roots, &parents) {
                    return true;
                }
                if descends(process.pid, &other_roots, &parents) {
                    return false;
                }
                self.is_marked(process, own_uid, &other_dirs)
            });
        Ok(found.collect())
    }

    fn is_marked(&self, process: &Live, own_uid: u32, other_dirs: &[&PathBuf]) -> bool {
        let Some(uid) = proc::uid(process.pid) else {
            return false;
        };
        let below = |cwd: &Path, dir: &PathBuf| cwd.starts_with(dir);
        match self.uid {
            Some(wanted) if uid != wanted => false,
            Some(_) if self.others.is_empty() => true,
            Some(_) => !proc::cwd(process.pid)
                .is_some_and(|cwd| other_dirs.iter().any(|dir| below(&cwd, dir))),
            None if uid != own_uid || process.terminal => false,
            None => proc::cwd(process.pid).is_some_and(|cwd| {
                self.dirs.iter().any(|dir| below(&cwd, dir))
                    && !other_dirs.iter().any(|dir| below(&cwd, dir))
            }),
        }
    }
}

/// The user whose processes are all the instance's. Never root, never the one that the host itself has.
fn own_user(uid: Option<u32>) -> Option<u32> {
    uid.filter(|uid| *uid != 0 && *uid != nix::unistd::getuid().as_raw())
}

fn own_pid() -> i32 {
    nix::unistd::getpid().as_raw()
}

fn processes<'a>(groups: impl IntoIterator<Item = &'a Group>) -> io::Result<HashSet<i32>> {
    let mut all = HashSet::new();
    for group in groups {
        all.extend(group.processes()?);
    }
    Ok(all)
}

fn living<'a>(identities: impl IntoIterator<Item = &'a Identity>) -> HashSet<i32> {
    identities
        .into_iter()
        .filter(|identity| identity.is_alive())
        .map(|identity| identity.pid)
        .collect()
}

/// Whether a process is one of the roots, or a child of one, at any depth.
fn descends(pid: i32, roots: &HashSet<i32>, parents: &HashMap<i32, i32>) -> bool {
    let mut current = pid;
    // A cycle cannot be, but the table was not read in one moment.
    for _ in 0..parents.len() {
        if roots.contains(&current) {
            return true;
        }
        match parents.get(&current) {
            Some(parent) if *parent > 1 => current = *parent,
            Some(_) | None => return false,
        }
    }
    false
}

fn dirs_of(service: &Service) -> Vec<PathBuf> {
    let init = service.init.as_ref().map(|init| init.dir.as_str());
    [Some(service.work_dir.as_str()), init]
        .into_iter()
        .flatten()
        .map(|dir| service.instance_dir.join(dir))
        .collect()
}

fn started(home: &Home) -> Option<Identity> {
    let record: Started = files::read(&home.started()).ok().flatten()?;
    Some(record.process)
}

fn others(home: &Home) -> Vec<Other> {
    let Some(siblings) = home.dir().parent() else {
        return Vec::new();
    };
    let Ok(entries) = fs::read_dir(siblings) else {
        return Vec::new();
    };
    entries
        .flatten()
        .map(|entry| Home::new(entry.path()))
        .filter(|other| other != home)
        .map(|other| {
            let shim: Option<Identity> = files::read(&other.lock()).ok().flatten();
            let service: Option<Service> = files::read(&other.service()).ok().flatten();
            Other {
                roots: shim.into_iter().chain(started(&other)).collect(),
                dirs: service.as_ref().map(dirs_of).unwrap_or_default(),
                group: Group::recorded(&other),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    fn sleeper(dir: &Path) -> Child {
        Command::new("tail")
            .args(["-f", "/dev/null"])
            .current_dir(dir)
            .spawn()
            .unwrap()
    }

    fn pid(child: &Child) -> i32 {
        i32::try_from(child.id()).unwrap()
    }

    fn end(mut child: Child) {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_working_directory_marks_a_process() {
        let instance = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let inside = instance.path().join("main/volumes");
        fs::create_dir_all(&inside).unwrap();
        let (mine, foreign) = (sleeper(&inside), sleeper(elsewhere.path()));
        let search = Search::instance(None, vec![instance.path().to_owned()], &[]);
        let found: Vec<i32> = search.find().unwrap().iter().map(|p| p.pid).collect();
        // A terminal hides a process from this rule; test runners may have one.
        let hidden = proc::live(pid(&mine)).unwrap().terminal;
        assert_eq!(found.contains(&pid(&mine)), !hidden);
        assert!(!found.contains(&pid(&foreign)));
        end(mine);
        end(foreign);
    }

    #[test]
    fn descendants_count_wherever_they_work() {
        let child = sleeper(Path::new("/"));
        let search = Search {
            uid: None,
            dirs: Vec::new(),
            roots: vec![Identity::of(own_pid()).unwrap()],
            groups: Vec::new(),
            others: Vec::new(),
        };
        let found: Vec<i32> = search.find().unwrap().iter().map(|p| p.pid).collect();
        assert!(found.contains(&pid(&child)));
        assert!(!found.contains(&own_pid()));
        end(child);
    }

    #[test]
    fn a_control_group_marks_its_processes_and_those_of_others() {
        let [own, others] = [0, 1].map(|_| tempfile::tempdir().unwrap());
        let [mine, foreign] = [0, 1].map(|_| sleeper(Path::new("/")));
        for (dir, child) in [(&own, &mine), (&others, &foreign)] {
            let list = format!("{}\n", pid(child));
            fs::write(dir.path().join("cgroup.procs"), list).unwrap();
        }
        let search = Search {
            uid: None,
            dirs: Vec::new(),
            // Both descend from here.
            roots: vec![Identity::of(own_pid()).unwrap()],
            groups: vec![Group::pretended(own.path())],
            others: vec![Other {
                group: Group::pretended(others.path()),
                ..Other::default()
            }],
        };
        let found = |search: &Search| -> Vec<i32> {
            search.find().unwrap().iter().map(|p| p.pid).collect()
        };
        assert!(!found(&search).contains(&pid(&foreign)));
        let by_group = Search {
            roots: Vec::new(),
            ..search
        };
        assert_eq!(found(&by_group), [pid(&mine)]);
        end(mine);
        end(foreign);
    }

    #[test]
    fn root_and_the_hosts_own_user_are_never_an_instance() {
        assert_eq!(own_user(Some(0)), None);
        assert_eq!(own_user(Some(nix::unistd::getuid().as_raw())), None);
        assert_eq!(own_user(Some(4_000_000)), Some(4_000_000));
    }

    #[test]
    fn another_member_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let child = sleeper(root.path());
        let search = Search {
            uid: Some(nix::unistd::getuid().as_raw()),
            dirs: Vec::new(),
            roots: Vec::new(),
            groups: Vec::new(),
            others: vec![Other {
                roots: vec![Identity::of(pid(&child)).unwrap()],
                ..Other::default()
            }],
        };
        assert!(search.find().unwrap().iter().all(|p| p.pid != pid(&child)));
        let by_dir = Search {
            others: vec![Other {
                dirs: vec![root.path().to_owned()],
                ..Other::default()
            }],
            ..search
        };
        assert!(by_dir.find().unwrap().iter().all(|p| p.pid != pid(&child)));
        end(child);
    }
}
