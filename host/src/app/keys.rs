//! Keys while no host runs: the data directory's owner makes, lists and revokes them. A running host is asked over
//! its admin API instead.

use super::data_dir::DataDir;
use super::open_repo;
use crate::config::Config;
use crate::model::project::{ApiKey, Role};
use crate::model::{Error, ProjectId, Result, Secret};
use crate::service::keys;

/// A project's alias or id to its id; the default project without one.
fn project(config: &Config, name: Option<&str>) -> Result<ProjectId> {
    let Some(name) = name else {
        return config.default_project();
    };
    let mut projects = config.catalogue().projects.into_iter();
    let found = projects.find(|project| project.alias == name || project.id.to_string() == name);
    found.map(|project| project.id).ok_or_else(|| {
        let help = "an alias or id out of [projects] in the configuration";
        Error::invalid_field("project", "is not a project here", help)
    })
}

pub async fn create(
    config: &Config,
    name: Option<&str>,
    role: Role,
    description: &str,
) -> Result<(ApiKey, Secret)> {
    let project = project(config, name)?;
    let data = DataDir::open(&config.data_dir)?;
    let repo = open_repo(&data).await?;
    let secret = keys::generate();
    let id = keys::put(&repo, &secret, project, role, description).await?;
    let mut made = repo.api_keys().into_iter();
    let key = made.find(|key| key.id == id);
    let key = key.ok_or_else(|| Error::internal("a key that was recorded is not there"))?;
    Ok((key, secret))
}

pub async fn list(config: &Config) -> Result<Vec<ApiKey>> {
    let data = DataDir::open(&config.data_dir)?;
    Ok(open_repo(&data).await?.api_keys())
}

pub async fn revoke(config: &Config, which: &str) -> Result<()> {
    let data = DataDir::open(&config.data_dir)?;
    keys::revoke(&open_repo(&data).await?, which).await
}
