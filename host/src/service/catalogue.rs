//! What can be had: regions, plans, sizes, projects, as the operator configured them, and engines in the
//! versions that can run here.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Control;
use crate::model::plugin::{EngineDescription, EngineVersion, Stage};
use crate::model::project::Project;
use crate::model::resources::{DEFAULT_STORAGE_CLASS, NodeSize};
use crate::model::{FieldProblem, ProjectId};
use crate::runtime::MissingProgram;

#[derive(Clone, Debug)]
pub struct Catalogue {
    /// Region to target.
    pub regions: BTreeMap<String, String>,
    pub plans: BTreeMap<String, NodeSize>,
    /// More sizes, with what one dialect tells of them. No name is both a plan's and a node type's.
    pub node_types: BTreeMap<String, NodeType>,
    pub storage: StorageBounds,
    /// Places that data can be in, by name.
    pub storage_classes: BTreeSet<String>,
    pub projects: Vec<Project>,
}

/// A size of node, with what its dialect tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeType {
    pub size: NodeSize,
    pub vcpus: u32,
    /// Storage of its own; none if it has none.
    pub local_gb: Option<u32>,
    pub description: String,
    pub generation: Generation,
    pub range: String,
    /// Kept for those who have one; nobody can have another.
    pub disabled: bool,
    pub beta: bool,
    pub stock: Stock,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Generation {
    V1,
    V2,
    V3,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stock {
    #[default]
    Available,
    LowStock,
    /// None can be made now.
    OutOfStock,
}

#[derive(Clone, Copy, Debug)]
pub struct StorageBounds {
    pub default_gb: u32,
    pub min_gb: u32,
    pub max_gb: u32,
}

impl Catalogue {
    pub fn project(&self, id: ProjectId) -> Option<&Project> {
        self.projects.iter().find(|project| project.id == id)
    }

    /// By its alias or its id.
    pub(super) fn named_project(&self, name: &str) -> Option<&Project> {
        let id: Option<ProjectId> = name.parse().ok();
        let named = |project: &&Project| project.alias == name || Some(project.id) == id;
        self.projects.iter().find(named)
    }

    pub(super) fn region_target(&self, name: &str) -> Result<&str, FieldProblem> {
        let target = self.regions.get(name);
        target.map(String::as_str).ok_or_else(|| {
            FieldProblem::new(
                "region",
                "is not a region here",
                one_of(self.regions.keys()),
            )
        })
    }

    /// The one that was asked for, or the data directory itself.
    pub(super) fn storage_class<'c>(
        &'c self,
        asked: Option<&'c str>,
    ) -> Result<&'c str, FieldProblem> {
        let Some(name) = asked else {
            return Ok(DEFAULT_STORAGE_CLASS);
        };
        let known = name == DEFAULT_STORAGE_CLASS || self.storage_classes.contains(name);
        known.then_some(name).ok_or_else(|| {
            let help = one_of(self.storage_classes.iter());
            FieldProblem::new("storage_class", "is not a storage class here", help)
        })
    }

    pub(super) fn size(&self, plan: &str) -> Result<NodeSize, FieldProblem> {
        if let Some(size) = self.plans.get(plan) {
            return Ok(*size);
        }
        let reason = match self.node_types.get(plan) {
            Some(node) if node.disabled => "is not offered any more",
            Some(node) if node.stock == Stock::OutOfStock => "is out of stock",
            Some(node) => return Ok(node.size),
            None => "is not a plan here",
        };
        let node_types = self.node_types.iter();
        let offered =
            node_types.filter(|(_, node)| !node.disabled && node.stock != Stock::OutOfStock);
        let names = self.plans.keys().chain(offered.map(|(name, _)| name));
        Err(FieldProblem::new("plan", reason, one_of(names)))
    }
}

impl StorageBounds {
    pub fn check(&self, asked: Option<i64>) -> Result<u32, FieldProblem> {
        let Some(asked) = asked else {
            return Ok(self.default_gb);
        };
        let bounds = self.min_gb..=self.max_gb;
        let size = u32::try_from(asked).ok().filter(|gb| bounds.contains(gb));
        size.ok_or_else(|| {
            let help = format!("{} to {}", self.min_gb, self.max_gb);
            FieldProblem::new("storage_gb", "is out of bounds", help)
        })
    }
}

impl Control {
    /// The version that was asked for, or the newest stable one; refused when it cannot run here.
    pub(super) fn version<'e>(
        &self,
        engine: &'e EngineDescription,
        asked: Option<&str>,
    ) -> Result<&'e EngineVersion, FieldProblem> {
        let Some(label) = asked else {
            return self.newest(engine);
        };
        let found = engine.versions.iter().find(|v| v.label == label);
        let Some(version) = found.filter(|v| v.stage != Stage::Disabled) else {
            let reason = match found {
                Some(_) => format!("{label:?} is not offered for new databases any more"),
                None => format!("is not a version of {}", engine.title),
            };
            return Err(FieldProblem::new("version", reason, self.available(engine)));
        };
        let missing = self.missing(version);
        if missing.is_empty() {
            return Ok(version);
        }
        let reason = format!("cannot run on this machine: {}", describe(&missing));
        let help = format!("{}{}", self.available(engine), install(&missing));
        Err(FieldProblem::new("version", reason, help))
    }

    fn newest<'e>(&self, engine: &'e EngineDescription) -> Result<&'e EngineVersion, FieldProblem> {
        let mut stable = engine.versions.iter().filter(|v| v.stage == Stage::Stable);
        if let Some(version) = stable.clone().find(|v| self.missing(v).is_empty()) {
            return Ok(version);
        }
        let missing = stable.next().map(|v| self.missing(v)).unwrap_or_default();
        let reason = format!(
            "no version of {} can run on this machine: {}",
            engine.title,
            describe(&missing)
        );
        let help = install(&missing).trim_start_matches("; ").to_owned();
        Err(FieldProblem::new("version", reason, help))
    }

    pub(super) fn missing(&self, version: &EngineVersion) -> Vec<MissingProgram> {
        self.plugins()
            .missing_programs(&version.programs, &version.label)
    }

    /// What may be asked for instead.
    fn available(&self, engine: &EngineDescription) -> String {
        let here = engine
            .versions
            .iter()
            .filter(|v| v.stage != Stage::Disabled && self.missing(v).is_empty());
        match one_of(here.map(|v| &v.label)) {
            none if none.is_empty() => "no version is installed here".to_owned(),
            labels => labels,
        }
    }
}

pub(super) fn one_of<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<&str> = names.map(String::as_str).collect();
    match names.as_slice() {
        [] => String::new(),
        names => format!("one of {}", names.join(", ")),
    }
}

fn describe(missing: &[MissingProgram]) -> String {
    let programs: Vec<String> = missing
        .iter()
        .map(|m| format!("`{}` {}", m.program, m.version))
        .collect();
    match programs.as_slice() {
        [] => "its programs are not installed".to_owned(),
        [one] => format!("{one} is not installed"),
        several => format!("{} are not installed", several.join(", ")),
    }
}

fn install(missing: &[MissingProgram]) -> String {
    let mut commands: Vec<&str> = missing
        .iter()
        .filter_map(|m| m.install.as_deref())
        .collect();
    commands.dedup();
    match commands.as_slice() {
        [] => String::new(),
        commands => format!("; install with: {}", commands.join("; ")),
    }
}
