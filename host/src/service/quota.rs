//! Quotas of projects, also between requests that race: what one was promised counts for the others until
//! its commit counts by itself.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::Control;
use crate::model::instance::Spec;
use crate::model::project::Project;
use crate::model::{Error, ProjectId, Result};

/// What was allowed and is not recorded yet.
#[derive(Default)]
pub(super) struct Promised(Mutex<HashMap<ProjectId, Amount>>);

#[derive(Clone, Copy, Default)]
struct Amount {
    instances: u64,
    storage_gb: u64,
}

/// Held until the commit is in the read model, or certainly will not be. It may then count twice for a moment, never
/// not at all.
pub(super) struct Promise {
    control: Control,
    project: ProjectId,
    storage_gb: u64,
}

/// What a project has of what it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    pub instances: u64,
    pub storage_gb: u64,
}

impl Control {
    pub fn used(&self, project: ProjectId) -> Used {
        let view = self.repo().view();
        Used {
            instances: view.live_count(project),
            storage_gb: view.storage_gb(project),
        }
    }

    pub(super) fn promise(&self, project: &Project, spec: &Spec) -> Result<Promise> {
        let storage_gb = spec.total_storage_gb();
        let book = &self.0.promised;
        let mut amounts = book.0.lock().unwrap_or_else(PoisonError::into_inner);
        let promised = amounts.entry(project.id).or_default();
        let view = self.repo().view();

        let instances = view.live_count(project.id) + promised.instances;
        if let Some(most) = project.max_instances
            && instances >= u64::from(most)
        {
            return Err(Error::quota(format!(
                "the project may have {most} databases and has {instances}"
            )));
        }
        let storage = view.storage_gb(project.id) + promised.storage_gb;
        if let Some(most) = project.max_storage_gb
            && storage + storage_gb > most
        {
            let each = if spec.is_sharded() {
                format!(" (shards: {} of {} GB)", spec.shards, spec.storage_gb)
            } else {
                String::new()
            };
            return Err(Error::quota(format!(
                "the project may have {most} GB of storage and has {storage} GB; {storage_gb} GB more{each} is too much"
            )));
        }
        promised.instances += 1;
        promised.storage_gb += storage_gb;
        Ok(Promise {
            control: self.clone(),
            project: project.id,
            storage_gb,
        })
    }
}

impl Promise {
    /// The commit may have been taken, or may yet be: hold it until the read model has looked again.
    pub(super) fn until_sure(self) {
        tokio::spawn(async move {
            self.control.repo().sure().await;
            drop(self);
        });
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        let book = &self.control.0.promised.0;
        let mut amounts = book.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(amount) = amounts.get_mut(&self.project) {
            amount.instances -= 1;
            amount.storage_gb -= self.storage_gb;
        }
    }
}
