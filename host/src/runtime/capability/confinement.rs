//! How instances are held on this machine: what can be had, told once when the host starts, and what each member has.

use std::fs;
use std::path::Path;

use super::process_check::group_parent;
use crate::model::InstanceId;
use crate::model::confinement::{Confinement, Limits, Wish};
use crate::model::resources::NodeSize;
use crate::runtime::directories::Directories;
use crate::runtime::scope::Machine;
use crate::shim::wire::Home;
use crate::shim::{self, Group};

/// Only tried, and given to nothing.
const TRIAL: NodeSize = NodeSize {
    cpu_millis: 1000,
    memory_bytes: 1 << 30,
};

/// Say in the log what instances on this machine are kept within, and what is missing.
pub fn report(machine: &Machine) {
    let bounds = &machine.bounds;
    match bounds.limits {
        Wish::Off => tracing::info!("limits on instances are switched off"),
        wish @ (Wish::Preferred | Wish::Required) => {
            let parent = group_parent(machine.directories.data());
            let held = Group::attempt(&parent, &Limits::of(TRIAL));
            let names: Vec<&str> = held.controllers.iter().map(|c| c.name()).collect();
            let limited = names.join(", ");
            match held.problem {
                None => tracing::info!(%limited, "instances are limited by control groups"),
                Some(problem) => tell(wish, "limits on instances", &problem),
            }
        }
    }
    match bounds.confinement {
        Wish::Off => tracing::info!("confinement of instances is switched off"),
        wish @ (Wish::Preferred | Wish::Required) => match shim::walls_support() {
            Ok(()) => tracing::info!("instances are confined to their own files by Landlock"),
            Err(problem) => tell(wish, "confinement of instances", &problem),
        },
    }
}

/// What each member's shim last recorded.
pub fn recorded(directories: &Directories, instance: InstanceId) -> Vec<Confinement> {
    let homes = directories.candidates(instance).flat_map(|dir| {
        let entries = fs::read_dir(dir.join(".berth")).into_iter().flatten();
        entries.flatten()
    });
    let mut found: Vec<Confinement> = homes.filter_map(|entry| of(&entry.path())).collect();
    found.sort_by(|a, b| a.member.cmp(&b.member));
    found
}

fn of(home: &Path) -> Option<Confinement> {
    let shown: Confinement = shim::read(&Home::new(home).confinement()).ok()??;
    Some(Confinement {
        member: home.file_name()?.to_str()?.to_owned(),
        ..shown
    })
}

fn tell(wish: Wish, what: &str, problem: &str) {
    match wish {
        Wish::Required => {
            tracing::error!("{what}: required, and not to be had: no database can start: {problem}")
        }
        Wish::Off | Wish::Preferred => tracing::warn!("{what}: going without: {problem}"),
    }
}
