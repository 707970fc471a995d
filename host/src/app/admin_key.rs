//! The first key. It is written to a file once, for whoever owns the data directory; the store keeps its
//! hash only.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::data_dir::DataDir;
use super::open_repo;
use crate::config::Config;
use crate::model::project::Role;
use crate::model::{Error, ProjectId, Result, Secret};
use crate::service::keys;
use crate::store::Repo;

const FILE: &str = "admin.key";
const DESCRIPTION: &str = "first key";

/// Make the first key when the store has no admin key. The file comes before the record: a start that was cut
/// short in between goes on with the key in the file.
pub async fn ensure(repo: &Repo, data: &DataDir, project: ProjectId) -> Result<()> {
    let path = data.path().join(FILE);
    if repo.api_keys().iter().any(|key| key.role == Role::Admin) {
        if !path.exists() {
            tracing::info!(
                "{} is gone and is not made again; `berth admin-key reset` makes another key",
                path.display()
            );
        }
        return Ok(());
    }
    let secret = match read(&path)? {
        Some(secret) => secret,
        None => {
            let secret = keys::generate();
            write(&path, &secret)?;
            secret
        }
    };
    keys::put(repo, &secret, project, Role::Admin, DESCRIPTION).await?;
    tracing::info!("the first API key is in {}", path.display());
    Ok(())
}

/// Replace the first key while no host runs: the old one is not known any more afterwards. Answers where
/// the new one is.
pub async fn reset(config: &Config) -> Result<PathBuf> {
    let data = DataDir::open(&config.data_dir)?;
    let repo = open_repo(&data).await?;
    let path = data.path().join(FILE);
    let secret = keys::generate();
    // The new one first: whatever happens in between, the file opens the door.
    let project = config.default_project()?;
    let id = keys::put(&repo, &secret, project, Role::Admin, DESCRIPTION).await?;
    write(&path, &secret)?;
    let old = repo.api_keys().into_iter();
    for key in old.filter(|key| key.description == DESCRIPTION && key.id != id) {
        repo.delete_api_key(key.id).await?;
    }
    Ok(path)
}

fn read(path: &Path) -> Result<Option<Secret>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => Secret::new(text),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(trouble(path, "cannot be read", error)),
    };
    let secret = text.expose().trim();
    if Uuid::try_parse(secret).is_err() {
        let message = format!(
            "{} holds no key; remove it to have one made",
            path.display()
        );
        return Err(Error::failed(message));
    }
    Ok(Some(Secret::new(secret)))
}

/// Whole or not at all, for its owner's eyes only.
fn write(path: &Path, secret: &Secret) -> Result<()> {
    let new = path.with_extension("key.new");
    let written = (|| {
        match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        writeln!(file, "{}", secret.expose())?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        match path.parent() {
            Some(dir) => File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    })();
    written.map_err(|error| trouble(path, "cannot be written", error))
}

fn trouble(path: &Path, what: &str, error: std::io::Error) -> Error {
    Error::failed(format!("{} {what}: {error}", path.display())).caused_by(error)
}
