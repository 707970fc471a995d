//! API keys: random UUIDs, recognised by a keyed hash that is in memory. The secret half is shown
//! to whoever made it and kept nowhere.

use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use super::{Caller, Control, Held, unbroken};
use crate::model::project::{ApiKey, Role};
use crate::model::text::is_line;
use crate::model::{Error, FieldProblem, KeyId, ProjectId, Result, Secret};
use crate::store::repo::Repo;

/// What a new key shall be.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// A project's alias or id; the default project when it is not said.
    pub project: Option<String>,
    pub role: Role,
    pub description: String,
}

/// Longest description of a key, in characters.
pub const LONGEST_DESCRIPTION: usize = 200;

impl Control {
    /// All keys, oldest first.
    pub fn list_keys(&self) -> Vec<ApiKey> {
        self.repo().api_keys()
    }

    /// Make a key. Its secret half is answered and kept nowhere.
    pub async fn create_key(&self, caller: &Caller, new: NewKey) -> Result<(ApiKey, Secret)> {
        let mut problems = Vec::new();
        let project = match &new.project {
            None => Some(caller.project),
            Some(name) => self
                .catalogue()
                .named_project(name)
                .map(|project| project.id),
        };
        if project.is_none() {
            problems.push(FieldProblem::new(
                "project",
                "is not a project here",
                "a project out of the host's configuration, by its alias or its id",
            ));
        }
        problems.extend(check_description(&new.description).err());
        let Some(project) = project.filter(|_| problems.is_empty()) else {
            return Err(Error::invalid(problems));
        };
        let repo = self.repo().clone();
        unbroken(caller.held.clone(), async move {
            let secret = generate();
            let key = record(&repo, &secret, project, new.role, &new.description).await?;
            Ok((key, secret))
        })
        .await
    }

    /// Have a key known no more, by its id or its access key. The last one that may do everything stays.
    pub async fn revoke_key(&self, caller: &Caller, which: &str) -> Result<()> {
        let (repo, which) = (self.repo().clone(), which.to_owned());
        unbroken(
            caller.held.clone(),
            async move { revoke(&repo, &which).await },
        )
        .await
    }

    /// Who this key belongs to.
    pub fn authenticate(&self, secret: &str, request_id: Option<Arc<str>>) -> Result<Caller> {
        let key = self.repo().api_key(secret);
        let key = key.ok_or_else(|| Error::unauthenticated("this API key is not known"))?;
        Ok(Caller {
            key: key.id,
            project: key.project,
            role: key.role,
            request_id,
            held: Held::default(),
        })
    }
}

/// A role by its name.
pub fn role(text: &str) -> Option<Role> {
    match text {
        "admin" => Some(Role::Admin),
        "member" => Some(Role::Member),
        _ => None,
    }
}

/// A fresh secret half.
pub fn generate() -> Secret {
    Secret::new(Uuid::new_v4().to_string())
}

/// Record a key under this secret.
pub async fn put(
    repo: &Repo,
    secret: &Secret,
    project: ProjectId,
    role: Role,
    description: &str,
) -> Result<KeyId> {
    let key = record(repo, secret, project, role, description).await?;
    Ok(key.id)
}

/// See `Control::revoke_key`.
pub async fn revoke(repo: &Repo, which: &str) -> Result<()> {
    let keys = repo.api_keys();
    let named = |key: &&ApiKey| key.id.to_string() == which || key.id.access_key() == which;
    let key = keys.iter().find(named);
    let key = key.ok_or_else(|| Error::not_found("there is no such key"))?;
    repo.delete_api_key(key.id).await
}

fn check_description(text: &str) -> std::result::Result<(), FieldProblem> {
    if is_line(text, LONGEST_DESCRIPTION) {
        return Ok(());
    }
    let help = format!("one line of at most {LONGEST_DESCRIPTION} characters");
    Err(FieldProblem::new("description", "is not allowed", help))
}

async fn record(
    repo: &Repo,
    secret: &Secret,
    project: ProjectId,
    role: Role,
    description: &str,
) -> Result<ApiKey> {
    check_description(description).map_err(|problem| Error::invalid(vec![problem]))?;
    let key = ApiKey {
        id: KeyId::generate(),
        project,
        role,
        description: description.to_owned(),
        created_at: Timestamp::now(),
    };
    repo.put_api_key(key.clone(), secret).await?;
    Ok(key)
}
