//! What an owner may change about an instance without anything happening to its servers: its name, tags, and how its
//! backups and logs are kept.

use std::sync::Arc;

use super::{Caller, Control, InstanceRef, unbroken};
use crate::model::instance::Name;
use crate::model::text::is_line;
use crate::model::{ConflictReason, Error, FieldProblem, Instance, Phase, Result};

/// What is to be changed; none leaves a thing as it is.
#[derive(Clone, Debug, Default)]
pub struct Patch {
    pub name: Option<String>,
    pub tags: Option<Vec<String>>,
    pub backup_disabled: Option<bool>,
    pub backup_frequency_hours: Option<u32>,
    pub backup_retention_days: Option<u32>,
    pub backup_start_hour: Option<u32>,
    pub backup_same_region: Option<bool>,
    pub log_days: Option<u32>,
    /// None within for no limit.
    pub log_bytes: Option<Option<u64>>,
}

const MOST_TAGS: usize = 64;
const LONGEST_TAG: usize = 128;
const FREQUENCY_HOURS: std::ops::RangeInclusive<u32> = 1..=24 * 30;
const RETENTION_DAYS: std::ops::RangeInclusive<u32> = 1..=365;
const LOG_DAYS: std::ops::RangeInclusive<u32> = 1..=365;

/// Whether an instance can have these tags; otherwise what is wrong with them.
pub fn check_tags(tags: &[String]) -> Vec<FieldProblem> {
    let mut problems = Vec::new();
    if tags.len() > MOST_TAGS {
        let help = format!("at most {MOST_TAGS}");
        problems.push(FieldProblem::new("tags", "are too many", help));
    }
    let good = |tag: &String| !tag.is_empty() && is_line(tag, LONGEST_TAG);
    if !tags.iter().all(good) {
        let help = format!("1 to {LONGEST_TAG} characters each");
        problems.push(FieldProblem::new(
            "tags",
            "hold one that is not allowed",
            help,
        ));
    }
    problems
}

impl Control {
    pub async fn patch_instance(
        &self,
        caller: &Caller,
        which: &InstanceRef,
        patch: Patch,
    ) -> Result<Arc<Instance>> {
        let mut problems = patch.problems();
        let name = match patch.name.as_deref().map(Name::parse).transpose() {
            Ok(name) => name,
            Err(error) => {
                if let crate::model::Kind::Invalid(of_name) = error.kind {
                    problems.extend(of_name);
                }
                None
            }
        };
        if !problems.is_empty() {
            return Err(Error::invalid(problems));
        }
        let instance = self.instance(caller, which)?;
        let control = self.clone();
        unbroken(caller.held.clone(), async move {
            control.patch(instance, name, patch).await
        })
        .await
    }

    async fn patch(
        &self,
        instance: Arc<Instance>,
        name: Option<Name>,
        patch: Patch,
    ) -> Result<Arc<Instance>> {
        // An engine may derive names from the instance's: what they are now is written down before that changes.
        let login = match &name {
            Some(name) if *name != instance.spec.name => {
                let engine = self.plugins().engine_build(&instance.engine_digest)?;
                Some(engine.first_login(instance.id, &instance.spec).await?)
            }
            Some(_) | None => None,
        };
        let edit = |instance: &mut Instance| {
            match instance.phase() {
                Phase::Deleting | Phase::Deleted => {
                    let message = format!("the database {}", instance.phase().describe());
                    return Err(Error::conflict(ConflictReason::WrongPhase, message));
                }
                Phase::Creating
                | Phase::Running
                | Phase::Stopping
                | Phase::Stopped
                | Phase::Starting
                | Phase::Restarting
                | Phase::StartFailed
                | Phase::Configuring
                | Phase::Failed => {}
            }
            if let (Some(name), Some(login)) = (&name, &login) {
                instance.spec.name.clone_from(name);
                instance.spec.user.clone_from(&login.user);
                instance.spec.database.clone_from(&login.database);
            }
            patch.apply(instance);
            Ok(())
        };
        self.repo().edit(instance.id, &edit).await
    }
}

impl Patch {
    fn problems(&self) -> Vec<FieldProblem> {
        let mut problems = self.tags.as_deref().map(check_tags).unwrap_or_default();
        let mut bounded =
            |field: &str, value: Option<u32>, bounds: std::ops::RangeInclusive<u32>| {
                if value.is_some_and(|value| !bounds.contains(&value)) {
                    let help = format!("{} to {}", bounds.start(), bounds.end());
                    problems.push(FieldProblem::new(field, "is out of bounds", help));
                }
            };
        bounded(
            "backup_schedule_frequency",
            self.backup_frequency_hours,
            FREQUENCY_HOURS,
        );
        bounded(
            "backup_schedule_retention",
            self.backup_retention_days,
            RETENTION_DAYS,
        );
        bounded("backup_schedule_start_hour", self.backup_start_hour, 0..=23);
        bounded("logs_policy.max_age_retention", self.log_days, LOG_DAYS);
        problems
    }

    fn apply(&self, instance: &mut Instance) {
        let policy = &mut instance.policy;
        let schedule = &mut policy.backup_schedule;
        if let Some(tags) = &self.tags {
            policy.tags.clone_from(tags);
        }
        if let Some(disabled) = self.backup_disabled {
            schedule.disabled = disabled;
        }
        if let Some(hours) = self.backup_frequency_hours {
            schedule.frequency_hours = hours;
        }
        if let Some(days) = self.backup_retention_days {
            schedule.retention_days = days;
        }
        if let Some(hour) = self.backup_start_hour {
            schedule.start_hour = u8::try_from(hour).ok();
        }
        if let Some(same) = self.backup_same_region {
            policy.backup_same_region = same;
        }
        if let Some(days) = self.log_days {
            policy.logs.max_age_days = Some(days);
        }
        if let Some(bytes) = self.log_bytes {
            policy.logs.max_total_bytes = bytes;
        }
    }
}
