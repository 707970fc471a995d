//! Walls around a program's files: it reads what the system and its own installation hold, writes what is its
//! instance's, and reaches nothing else, whatever user it has. Without root all instances have one user, and
//! these walls are all that stands between them.
//!
//! The kernel's Landlock does it, and only ever takes away: what file modes forbid stays forbidden. It does
//! not keep a program from the network, from sockets that it can name, or from shared memory.

use std::fs;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope, make_bitflags,
};

/// The newest that these rules were tried with. Kernels that know less give what they can.
const TRIED: ABI = ABI::V6;

/// Programs and libraries. What is not there is passed over.
const SYSTEM: [&str; 10] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/opt",
    "/nix/store",
    "/gnu/store",
];
/// What is read and not run: settings, the state of the kernel, where names are resolved.
const READABLE: [&str; 7] = [
    "/etc",
    "/proc",
    "/sys",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/dev/random",
    "/dev/urandom",
];
/// What belongs to a program beside the `bin` that it is in.
const INSTALLED: [&str; 5] = ["bin", "lib", "lib64", "libexec", "share"];
const DEVICES: [&str; 3] = ["/dev/null", "/dev/zero", "/dev/full"];
/// Shared memory of programs that ask for it by name.
const SHARED: &str = "/dev/shm";

/// What is special about one program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walls {
    /// The instance's own, without links. The host's part of it is not among what the program reaches.
    pub instance_dir: PathBuf,
    pub run_dir: PathBuf,
    /// Files that it has open already and may open again.
    pub log: PathBuf,
    pub program: PathBuf,
    /// What stays out of reach even where it lies in what may be read. Without links.
    pub hidden: Vec<PathBuf>,
}

/// What may be done below a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    Read,
    Run,
    /// Of a single file or device.
    Write,
    /// Everything but to run it: a program runs what was installed, not what it wrote.
    Own,
}

/// Rules that were handed to the kernel and wait to be put in force.
#[derive(Debug)]
pub struct Ready(RulesetCreated);

/// Whether this kernel can do it, and if not, why.
pub fn support() -> Result<(), String> {
    // Before it knew `Refer`, it forbade all renaming from one directory to another, which servers do.
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::Refer)
        .map(|_| ())
        .map_err(|_| "the kernel has no Landlock, or one before Linux 5.19".to_owned())
}

impl Walls {
    /// Paths and what may be done below them. Looks at what is there now.
    pub fn rules(&self) -> Vec<(PathBuf, Reach)> {
        let below = |paths: &[&str], reach| {
            let spread = paths.iter().flat_map(|path| self.spread(Path::new(path)));
            spread.map(|path| (path, reach)).collect::<Vec<_>>()
        };
        let mut rules = below(&SYSTEM, Reach::Run);
        rules.extend(below(&READABLE, Reach::Read));
        rules.extend(DEVICES.map(|path| (path.into(), Reach::Write)));
        rules.push((SHARED.into(), Reach::Own));
        for path in installation(&self.program) {
            rules.extend(
                self.spread(&path)
                    .into_iter()
                    .map(|path| (path, Reach::Run)),
            );
        }
        rules.push((self.program.clone(), Reach::Run));
        // The host's part of it is left out by its name.
        let own = children(&self.instance_dir).into_iter();
        let own = own.filter(|path| !path.ends_with(".berth"));
        rules.extend(own.map(|path| (path, Reach::Own)));
        rules.push((self.run_dir.clone(), Reach::Own));
        rules.push((self.log.clone(), Reach::Write));
        rules
    }

    /// Open all paths and tell the kernel. Done before rights are dropped: not all can be opened afterwards.
    pub fn ready(&self) -> Result<Ready, String> {
        let problem = |error: landlock::RulesetError| error.to_string();
        let mut ruleset = Ruleset::default()
            .handle_access(AccessFs::from_all(TRIED))
            .and_then(|ruleset| ruleset.scope(Scope::from_all(TRIED)))
            .and_then(Ruleset::create)
            .map_err(problem)?;
        for (path, reach) in self.rules() {
            // What is not there needs no rule; what cannot be opened is not reached later either.
            let Ok(fd) = PathFd::new(&path) else { continue };
            ruleset = ruleset
                .add_rule(PathBeneath::new(fd, reach.access()))
                .map_err(problem)?;
        }
        Ok(Ready(ruleset))
    }

    /// The path, or when something hidden lies below it, everything beside that.
    fn spread(&self, path: &Path) -> Vec<PathBuf> {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if self.hidden.iter().any(|hidden| path.starts_with(hidden)) {
            return Vec::new();
        }
        if !self.hidden.iter().any(|hidden| hidden.starts_with(&path)) {
            return vec![path];
        }
        let children = children(&path).into_iter();
        // A link would lead to where it was not asked whether something is hidden.
        let children = children.filter(|child| !child.is_symlink());
        children.flat_map(|child| self.spread(&child)).collect()
    }
}

impl Ready {
    /// For this process and all that come of it, for ever.
    pub fn enforce(self) -> Result<(), String> {
        let status = self.0.restrict_self().map_err(|error| error.to_string())?;
        match status.ruleset {
            RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
            RulesetStatus::NotEnforced => Err("the kernel did not take the rules".to_owned()),
        }
    }
}

impl Reach {
    fn access(self) -> BitFlags<AccessFs> {
        match self {
            Self::Read => make_bitflags!(AccessFs::{ReadFile | ReadDir}),
            Self::Run => make_bitflags!(AccessFs::{ReadFile | ReadDir | Execute}),
            Self::Write => make_bitflags!(AccessFs::{ReadFile | WriteFile | Truncate | IoctlDev}),
            Self::Own => {
                AccessFs::from_all(TRIED)
                    & !make_bitflags!(AccessFs::{Execute | MakeChar | MakeBlock | IoctlDev})
            }
        }
    }
}

/// Where a program's libraries and data are, when it was installed below a directory of its own with a `bin`. Not
/// that directory itself: it may be somebody's home.
fn installation(program: &Path) -> Vec<PathBuf> {
    let real = program
        .canonicalize()
        .unwrap_or_else(|_| program.to_owned());
    match real.parent() {
        Some(bin) if bin.ends_with("bin") => INSTALLED
            .iter()
            .map(|name| bin.with_file_name(name))
            .collect(),
        Some(_) | None => vec![real],
    }
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn walls(root: &Path) -> Walls {
        for dir in [
            "data/instances/own/.berth/main/log",
            "data/instances/own/main",
            "data/instances/other/main",
            "data/run/own",
            "data/store",
            "server/bin",
            "server/lib",
        ] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        fs::write(root.join("server/bin/served"), "").unwrap();
        let at = |below: &str| root.join(below);
        Walls {
            instance_dir: at("data/instances/own"),
            run_dir: at("data/run/own"),
            log: at("data/instances/own/.berth/main/log/current"),
            program: at("server/bin/served"),
            hidden: vec![at("data")],
        }
    }

    #[test]
    fn a_program_owns_its_instance_and_nothing_else_of_the_data_directory() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let rules = walls(&root).rules();
        let here = |path: &PathBuf| path.starts_with(root.join("data"));
        let mut found: Vec<_> = rules.into_iter().filter(|(path, _)| here(path)).collect();
        found.sort();
        let rule = |below: &str, reach| (root.join("data").join(below), reach);
        assert_eq!(
            found,
            [
                rule("instances/own/.berth/main/log/current", Reach::Write),
                rule("instances/own/main", Reach::Own),
                rule("run/own", Reach::Own),
            ]
        );
    }

    #[test]
    fn what_is_hidden_stays_so_below_what_may_be_read() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let mut walls = walls(&root);
        symlink(root.join("data"), root.join("link")).unwrap();
        let names = |walls: &Walls| -> Vec<String> {
            let paths = walls.spread(&root).into_iter();
            let below = paths.map(|path| path.strip_prefix(&root).unwrap().display().to_string());
            below.collect()
        };
        assert_eq!(names(&walls), ["server"]);
        walls.hidden.push(root.join("server/lib"));
        assert_eq!(names(&walls), ["server/bin"]);
        walls.hidden.push(root.clone());
        assert_eq!(names(&walls), Vec::<String>::new());
        // A program's own installation is no exception.
        let own = installation(&walls.program);
        assert!(own.iter().all(|path| walls.spread(path).is_empty()));
    }

    #[test]
    fn a_program_brings_its_installation_along_and_no_more() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let walls = walls(&root);
        let link = root.join("served");
        symlink(&walls.program, &link).unwrap();
        for program in [&walls.program, &link] {
            let found = installation(program);
            assert!(found.contains(&root.join("server/bin")));
            assert!(found.contains(&root.join("server/lib")));
            assert!(!found.contains(&root.join("server")));
        }
        let alone = root.join("server/alone");
        assert_eq!(installation(&alone), [alone]);
        assert_eq!(installation(Path::new("/")), [Path::new("/")]);
    }

    /// In a thread: there it holds for the thread alone. Needs a kernel that has it.
    #[test]
    fn the_walls_stand() {
        if let Err(why) = support() {
            crate::skip::not_tried(&why);
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let walls = walls(&root);
        let at = |below: &str| root.join(below);
        for file in [
            "data/store/records",
            "data/instances/other/main/file",
            "data/instances/own/main/file",
            "data/instances/own/.berth/main/service.json",
        ] {
            fs::write(at(file), "content").unwrap();
        }
        let inside = || {
            walls.ready().unwrap().enforce().unwrap();
            for file in [
                "data/store/records",
                "data/instances/other/main/file",
                "data/instances/own/.berth/main/service.json",
            ] {
                fs::read(at(file)).unwrap_err();
                fs::write(at(file), "changed").unwrap_err();
            }
            fs::read_dir(at("data/instances")).unwrap_err();
            fs::write(at("elsewhere"), "new").unwrap_err();
            assert_eq!(
                fs::read(at("data/instances/own/main/file")).unwrap(),
                b"content"
            );
            fs::rename(at("data/instances/own/main/file"), at("data/run/own/file")).unwrap();
            fs::read("/etc/passwd").unwrap();
            fs::read(at("server/bin/served")).unwrap();
            fs::write(at("server/bin/served"), "changed").unwrap_err();
        };
        std::thread::scope(|scope| scope.spawn(inside).join()).unwrap();
        assert_eq!(fs::read(at("data/store/records")).unwrap(), b"content");
    }
}
