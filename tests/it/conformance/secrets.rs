//! What an engine was given in secret stands nowhere where somebody else reads it: not in its plan, no list of arguments, no
//! environment, no log, and no file that others may open.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use berth::model::Secret;
use berth::model::plugin::Secrets;
use berth::model::workload::{SecretKind, SecretRequest, Workload};
use berth_tests::real::DataDir;

use super::live::PASSWORD;

/// An instance's, as the host keeps them.
pub struct Kept {
    pub secrets: Secrets,
    pub plan: Workload,
}

impl Kept {
    /// While it runs.
    pub fn stands_nowhere(&self, data: &DataDir) {
        assert!(!self.secrets.is_empty());
        let values = self.values();
        let shows = |what: &str, bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            for (name, value) in &values {
                assert!(!text.contains(value), "{what} shows {name}");
            }
        };
        shows("its plan", &serde_json::to_vec(&self.plan).unwrap());
        for process in data.processes() {
            for what in ["cmdline", "environ"] {
                let place = format!("/proc/{}/{what}", process.pid);
                shows(&place, &read(&place));
            }
        }
        let files = files(data.path());
        let logs = files.iter().filter(|path| is_log(path));
        let open = files.iter().filter(|path| is_open(path));
        assert!(logs.clone().count() > 1, "the host's and a member's");
        for path in logs.chain(open) {
            shows(&path.display().to_string(), &read(path));
        }
    }

    /// By name: a password whole, of a key its second line, as JSON writes line ends in its own way. Certificates are for
    /// everybody.
    fn values(&self) -> Vec<(&str, &str)> {
        let secret = |name: &str| !name.ends_with(".ca") && !name.ends_with(".cert");
        let secrets = self.secrets.iter().filter(|(name, _)| secret(name));
        let values = secrets.map(|(name, value)| {
            let value = value.expose();
            (&**name, value.lines().nth(1).unwrap_or(value))
        });
        values.chain([("a user's password", PASSWORD)]).collect()
    }
}

/// Nothing of what is gone meanwhile, or of what this process may not read either.
fn read(path: impl AsRef<Path>) -> Vec<u8> {
    let path = path.as_ref();
    fs::read(path).unwrap_or_else(|error| {
        let gone = [Some(2), Some(3)].contains(&error.raw_os_error());
        let hidden = error.kind() == ErrorKind::PermissionDenied;
        assert!(gone || hidden, "{}: {error}", path.display());
        Vec::new()
    })
}

/// All below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let (mut found, mut next) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(directory) = next.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => next.push(entry.path()),
                Ok(kind) if kind.is_file() => found.push(entry.path()),
                Ok(_) | Err(_) => {}
            }
        }
    }
    found
}

/// Whoever may read it: logs are sent elsewhere.
fn is_log(path: &Path) -> bool {
    path.ends_with("host.log") || path.parent().is_some_and(|dir| dir.ends_with("log"))
}

fn is_open(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o004 != 0)
}

const SECRET: &str = "seventeen-letters";

/// One that is found where it should not stand.
fn shown_in(name: &str, mode: u32) {
    let data = DataDir::new();
    fs::create_dir(data.path().join("log")).unwrap();
    for quiet in ["host.log", "log/current"] {
        fs::write(data.path().join(quiet), "quiet").unwrap();
    }
    let path = data.path().join(name);
    fs::write(&path, format!("told {SECRET} to everybody")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    let secrets = [("superuser".to_owned(), Secret::new(SECRET.to_owned()))];
    let kept = Kept {
        secrets: secrets.into(),
        plan: planned("superuser"),
    };
    kept.stands_nowhere(&data);
}

fn planned(secret: &str) -> Workload {
    let secret = SecretRequest {
        name: secret.to_owned(),
        kind: SecretKind::Password(16),
    };
    Workload {
        members: Vec::new(),
        endpoints: Vec::new(),
        secrets: vec![secret],
    }
}

#[test]
fn one_in_a_file_of_its_own_is_in_its_place() {
    shown_in("passwords", 0o600);
}

#[test]
#[should_panic(expected = "shows superuser")]
fn one_in_a_file_for_everybody_is_found() {
    shown_in("passwords", 0o644);
}

#[test]
#[should_panic(expected = "its plan shows superuser")]
fn one_in_a_plan_is_found() {
    let secrets = [("superuser".to_owned(), Secret::new(SECRET.to_owned()))];
    let kept = Kept {
        secrets: secrets.into(),
        plan: planned(SECRET),
    };
    kept.stands_nowhere(&DataDir::new());
}

#[test]
#[should_panic(expected = "shows superuser")]
fn one_in_a_log_is_found() {
    shown_in("log/current", 0o600);
}
