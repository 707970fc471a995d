//! What one call to a component may touch: which instance it is about, what its sockets reach, whose files
//! and processes it sees, how much it may log. Made by the host for each call and never from anything
//! a component said.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

use crate::model::confinement::Wish;
use crate::model::plugin::{InstanceContext, Secrets};
use crate::model::resources::NodeSize;
use crate::model::{InstanceId, Secret};

use super::builds::Builds;
use super::directories::Directories;
use super::programs::Programs;
use super::sockets::Network;

/// See the module's text. The default is a call that can touch nothing.
#[derive(Debug, Default)]
pub struct CallScope {
    pub instance: Option<InstanceId>,
    /// `operation/step`, when an operation makes the call.
    pub key: Option<String>,
    pub network: Network,
    pub files: Option<FileScope>,
    pub process: Option<ProcessScope>,
    pub redactor: Redactor,
    /// The instance as the call is told of it, when the call may go on in the session that is kept for it.
    pub session: Option<InstanceContext>,
}

/// The directories of one instance on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileScope {
    /// `D/instances/<uuid>`, where D is the storage class's: the host's own, entered by the instance's group. It
    /// holds what is the instance user's, and `.berth`, which is the host's.
    pub instance_dir: PathBuf,
    /// `run/<12 hexadecimal digits>` below the data directory: the instance user's, for sockets. Nothing in it can be trusted.
    pub run_dir: PathBuf,
    /// The system user, and group of the same number, that the instance's processes run as; none
    /// when the host is not root.
    pub uid: Option<u32>,
}

/// How the operator wants instances to be held on this machine.
#[derive(Clone, Debug, Default)]
pub struct InstanceBounds {
    /// Of memory, processors and processes.
    pub limits: Wish,
    /// To an instance's own files.
    pub confinement: Wish,
    /// Files of the host beside the data directory that no instance may read.
    pub hidden: Vec<PathBuf>,
}

/// What all calls into targets on this machine share.
#[derive(Debug)]
pub struct Machine {
    pub directories: Directories,
    pub programs: Arc<Programs>,
    pub builds: Arc<Builds>,
    pub berth_exe: PathBuf,
    pub bounds: Arc<InstanceBounds>,
}

/// Which programs a call may run, and as whom.
#[derive(Clone, Debug)]
pub struct ProcessScope {
    pub instance: InstanceId,
    pub files: FileScope,
    /// Logical names out of the manifest of the engine that planned the workload: what its members may run.
    pub allowed: Arc<[String]>,
    /// Those out of the target's own manifest: what members of its own may run. Nothing else runs.
    pub own: Arc<[String]>,
    pub programs: Arc<Programs>,
    /// The `berth` binary, whose hidden subcommands are the shim and its launcher.
    pub berth_exe: PathBuf,
    /// Of each member.
    pub size: NodeSize,
    pub bounds: Arc<InstanceBounds>,
}

/// Why a program may not or cannot run. The text names no path of the host.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unavailable {
    #[error("the {whose}'s manifest does not list the program `{program}`")]
    NotAllowed {
        whose: &'static str,
        program: String,
    },
    #[error(
        "the program `{program}` is not there in version {version}{}",
        hint(install)
    )]
    Missing {
        program: String,
        version: String,
        install: Option<String>,
    },
}

impl ProcessScope {
    /// The file of a program, if this call may run it as this member. One that begins with a digit is the target's
    /// own: no plan can name a member so.
    pub fn program(
        &self,
        member: &str,
        program: &str,
        version: &str,
    ) -> Result<PathBuf, Unavailable> {
        let (whose, allowed) = match member.starts_with(|c: char| c.is_ascii_digit()) {
            true => ("target", &self.own),
            false => ("engine", &self.allowed),
        };
        if !allowed.iter().any(|name| name == program) {
            return Err(Unavailable::NotAllowed {
                whose,
                program: program.to_owned(),
            });
        }
        self.programs
            .find(program, version)
            .ok_or_else(|| Unavailable::Missing {
                program: program.to_owned(),
                version: version.to_owned(),
                install: self.programs.install(program, version),
            })
    }
}

/// Takes the secrets that a call was given out of whatever its component says.
#[derive(Clone, Debug, Default)]
pub struct Redactor(Vec<Secret>);

impl Redactor {
    /// Shorter values would blot out ordinary words.
    const SHORTEST: usize = 8;

    pub fn new<'a>(secrets: &'a Secrets, more: impl IntoIterator<Item = &'a Secret>) -> Self {
        Self(
            secrets
                .values()
                .chain(more)
                .filter(|secret| secret.expose().len() >= Self::SHORTEST)
                .cloned()
                .collect(),
        )
    }

    /// Take out those of an earlier call as well, which the component may remember.
    pub fn and(mut self, earlier: &Self) -> Self {
        for secret in &earlier.0 {
            if !self.0.contains(secret) {
                self.0.push(secret.clone());
            }
        }
        self
    }

    /// How many secrets it takes out.
    pub fn secrets(&self) -> usize {
        self.0.len()
    }

    pub fn clean<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for secret in &self.0 {
            if text.contains(secret.expose()) {
                text = Cow::Owned(text.replace(secret.expose(), "[secret]"));
            }
        }
        text
    }
}

fn hint(install: &Option<String>) -> String {
    install.as_ref().map_or_else(String::new, |command| {
        format!("; install it with: {command}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_taken_out_of_what_a_component_says() {
        let secrets = Secrets::from([
            ("app".to_owned(), Secret::new("hunter2hunter2")),
            ("short".to_owned(), Secret::new("the")),
        ]);
        let redactor = Redactor::new(&secrets, [&Secret::new("another-one")]);
        assert_eq!(
            redactor.clean("the password hunter2hunter2 is not another-one"),
            "the password [secret] is not [secret]"
        );
        assert!(matches!(redactor.clean("nothing"), Cow::Borrowed(_)));
        let later = Redactor::new(&secrets, [&Secret::new("the-newest-one")]).and(&redactor);
        assert_eq!(later.secrets(), 3);
        assert_eq!(
            later.clean("another-one, the-newest-one"),
            "[secret], [secret]"
        );
    }
}
