//! Logical programs: which file on this machine is meant by a name and a version, and what to install when
//! there is none. The list is the operator's, over a data file with the usual places.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::MissingProgram;
use crate::shim::wire::Asks;

/// What a name means, by version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Programs(BTreeMap<String, Places>);

/// Where a program may be found. `{version}` stands for the version that a plan asks for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    pub name: String,
    /// Absolute, or below the home directory (`~/…`); the first that is an executable file counts.
    pub paths: Vec<String>,
    /// The command that installs it.
    #[serde(default)]
    pub install: Option<String>,
    /// Arguments with which it says its version and does nothing else.
    #[serde(default)]
    pub version_args: Vec<String>,
    /// What it then says, for each version that a plan may ask for: one that says something else is not started.
    #[serde(default)]
    pub says: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Places {
    paths: Vec<String>,
    install: Option<String>,
    version_args: Vec<String>,
    says: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    program: Vec<Program>,
}

/// Why a list of programs was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ProgramsError {
    #[error("the list of programs cannot be read: {0}")]
    Syntax(#[from] toml::de::Error),
    #[error("program `{name}`: the path `{path}` is not absolute")]
    NotAbsolute { name: String, path: String },
    #[error("program `{name}`: `version_args` and `says` need each other, and neither holds a NUL")]
    Version { name: String },
}

impl Programs {
    /// Read a list of `[[program]]` tables.
    pub fn from_toml(text: &str) -> Result<Self, ProgramsError> {
        let file: File = toml::from_str(text)?;
        Self::new(file.program)
    }

    pub fn new(programs: impl IntoIterator<Item = Program>) -> Result<Self, ProgramsError> {
        let home = std::env::home_dir();
        let mut list = BTreeMap::new();
        for mut program in programs {
            program.paths = program
                .paths
                .into_iter()
                .filter_map(|path| below_home(path, home.as_deref()))
                .collect();
            if let Some(path) = program.paths.iter().find(|p| !p.starts_with('/')) {
                return Err(ProgramsError::NotAbsolute {
                    path: path.clone(),
                    name: program.name,
                });
            }
            let mut texts = program.version_args.iter().chain(program.says.values());
            if program.version_args.is_empty() != program.says.is_empty()
                || texts.any(|text| text.contains('\0'))
            {
                return Err(ProgramsError::Version { name: program.name });
            }
            list.insert(
                program.name,
                Places {
                    paths: program.paths,
                    install: program.install,
                    version_args: program.version_args,
                    says: program.says,
                },
            );
        }
        Ok(Self(list))
    }

    /// What the other list says of a program counts more than what this one says. How it says its version is known where
    /// only another place was given: that it may be another program is what it is asked for.
    #[must_use]
    pub fn overridden_by(mut self, other: Self) -> Self {
        for (name, mut places) in other.0 {
            if let Some(before) = self.0.remove(&name).filter(|_| places.says.is_empty()) {
                places.version_args = before.version_args;
                places.says = before.says;
            }
            self.0.insert(name, places);
        }
        self
    }

    /// How to see that a program is of this version, when that is known.
    pub fn asks(&self, name: &str, version: &str) -> Option<Asks> {
        let places = self.0.get(name)?;
        Some(Asks {
            args: places.version_args.clone(),
            says: places.says.get(version)?.clone(),
        })
    }

    /// The program's file, when it is on this machine.
    pub fn find(&self, name: &str, version: &str) -> Option<PathBuf> {
        if !is_version(version) {
            return None;
        }
        self.0
            .get(name)?
            .paths
            .iter()
            .map(|path| PathBuf::from(path.replace("{version}", version)))
            .find(|path| is_executable(path))
    }

    /// The command that installs a program, when one is known.
    pub fn install(&self, name: &str, version: &str) -> Option<String> {
        let command = self.0.get(name)?.install.as_ref()?;
        is_version(version).then(|| command.replace("{version}", version))
    }

    /// Those of the programs that are not on this machine.
    pub fn missing(&self, programs: &[String], version: &str) -> Vec<MissingProgram> {
        programs
            .iter()
            .filter(|name| self.find(name, version).is_none())
            .map(|name| MissingProgram {
                program: name.clone(),
                version: version.to_owned(),
                install: self.install(name, version),
            })
            .collect()
    }
}

/// Whether a version can stand in a path: nothing that leads elsewhere.
pub(super) fn is_version(version: &str) -> bool {
    (1..=32).contains(&version.len())
        && version.starts_with(|c: char| c.is_ascii_alphanumeric())
        && version
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        && !version.contains("..")
}

/// `None` for a path below a home directory when there is none.
fn below_home(path: String, home: Option<&Path>) -> Option<String> {
    match path.strip_prefix("~/") {
        Some(rest) => home.map(|home| home.join(rest).to_string_lossy().into_owned()),
        None => Some(path),
    }
}

fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> (tempfile::TempDir, Programs) {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("lib/7/bin");
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::write(bin.join("server"), "").unwrap();
        std::fs::set_permissions(bin.join("server"), PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::write(bin.join("plain"), "").unwrap();
        let root = dir.path().display();
        let programs = Programs::from_toml(&format!(
            r#"
            [[program]]
            name = "server"
            paths = ["{root}/nowhere/{{version}}", "{root}/lib/{{version}}/bin/server"]
            install = "get server-{{version}}"
            [[program]]
            name = "plain"
            paths = ["{root}/lib/{{version}}/bin/plain"]
            "#
        ))
        .unwrap();
        (dir, programs)
    }

    #[test]
    fn a_program_is_found_by_name_and_version() {
        let (dir, programs) = machine();
        assert_eq!(
            programs.find("server", "7"),
            Some(dir.path().join("lib/7/bin/server"))
        );
        assert_eq!(programs.find("server", "8"), None);
        assert_eq!(programs.find("other", "7"), None);
        assert_eq!(programs.find("plain", "7"), None, "not executable");
    }

    #[test]
    fn a_version_leads_nowhere_else() {
        let (_dir, programs) = machine();
        for version in [
            "../lib/7",
            "7/../7",
            "",
            ".",
            "..",
            "7/",
            "a..b",
            &"7".repeat(33),
        ] {
            assert_eq!(programs.find("server", version), None, "{version:?}");
            assert_eq!(programs.install("server", version), None, "{version:?}");
        }
    }

    #[test]
    fn what_is_missing_is_named_with_the_command_that_installs_it() {
        let (_dir, programs) = machine();
        let wanted = ["server".to_owned(), "other".to_owned()];
        assert_eq!(
            programs.missing(&wanted, "8"),
            [
                MissingProgram {
                    program: "server".into(),
                    version: "8".into(),
                    install: Some("get server-8".into()),
                },
                MissingProgram {
                    program: "other".into(),
                    version: "8".into(),
                    install: None,
                },
            ]
        );
    }

    #[test]
    fn the_operators_list_counts_more() {
        let (_dir, programs) = machine();
        let own =
            Programs::from_toml("[[program]]\nname = \"server\"\npaths = [\"/bin/sh\"]").unwrap();
        let both = programs.overridden_by(own);
        assert_eq!(both.find("server", "7"), Some("/bin/sh".into()));
    }

    #[test]
    fn a_program_in_another_place_is_asked_as_it_was() {
        let list = |more: &str| {
            let text = format!("[[program]]\nname = \"server\"\npaths = [\"/bin/sh\"]\n{more}");
            Programs::from_toml(&text)
        };
        let known = "version_args = [\"-V\"]\nsays = { \"7\" = \"v7.\", \"8\" = \"v8.\" }";
        let known = || list(known).unwrap();
        let says = |programs: &Programs, version| Some(programs.asks("server", version)?.says);
        let moved = known().overridden_by(list("").unwrap());
        assert_eq!(moved.asks("server", "7"), known().asks("server", "7"));
        assert_eq!(says(&moved, "8").as_deref(), Some("v8."));
        assert_eq!(says(&moved, "9"), None);
        let other = list("version_args = [\"-v\"]\nsays = { \"7\" = \"\" }").unwrap();
        let other = known().overridden_by(other);
        assert_eq!(says(&other, "7").as_deref(), Some(""));
        assert_eq!(says(&other, "8"), None);
        for half in ["version_args = [\"-V\"]", "says = { \"7\" = \"v7.\" }"] {
            assert!(list(half).is_err(), "{half}");
        }
    }

    #[test]
    fn the_list_that_is_shipped_can_be_read() {
        let shipped = Programs::from_toml(include_str!("../../data/programs.toml")).unwrap();
        assert!(!shipped.0.is_empty());
        for (name, places) in &shipped.0 {
            // Either each version has its place, or one version serves for all.
            let with_version = places.paths.iter().filter(|p| p.contains("{version}"));
            let count = with_version.count();
            assert!(count == 0 || count == places.paths.len(), "{name}");
            assert!(places.install.is_some(), "{name}");
        }
    }

    #[test]
    fn a_path_below_home_is_below_home() {
        let home = Path::new("/home/x");
        assert_eq!(
            below_home("~/a".into(), Some(home)).as_deref(),
            Some("/home/x/a")
        );
        assert_eq!(below_home("~/a".into(), None), None);
        assert_eq!(below_home("/a".into(), None).as_deref(), Some("/a"));
    }

    #[test]
    fn relative_paths_and_unknown_keys_are_refused() {
        for bad in [
            "[[program]]\nname = \"a\"\npaths = [\"bin/a\"]",
            "[[program]]\nname = \"a\"\npaths = []\nbogus = 1",
        ] {
            assert!(Programs::from_toml(bad).is_err(), "{bad}");
        }
    }
}
