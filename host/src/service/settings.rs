//! Settings of an instance's engine: which may be chosen, and having it run with others.

use std::sync::Arc;

use super::{Caller, Control, InstanceRef, unbroken};
use crate::model::plugin::EngineVersion;
use crate::model::setting::{SettingSchema, Settings};
use crate::model::{ConflictReason, Error, FieldProblem, Instance, OperationKind, Result};

/// What of an instance's settings is to be changed.
#[derive(Clone, Debug)]
pub enum SettingsChange {
    /// Add these, or give them other values.
    Add(Settings),
    /// These and no others.
    Set(Settings),
    /// Back to what holds without a choice.
    Delete(Vec<String>),
}

/// What is wrong with settings that a new instance shall have for good.
pub(super) fn check_initial(version: &EngineVersion, chosen: &Settings) -> Vec<FieldProblem> {
    check(version, chosen, true)
}

impl Control {
    /// Have an instance run with other settings. Answers it with those that it will have; what is so already is
    /// not done again.
    pub async fn change_settings(
        &self,
        caller: &Caller,
        which: &InstanceRef,
        change: SettingsChange,
    ) -> Result<(Arc<Instance>, Settings)> {
        let id = self.instance(caller, which)?.id;
        let (control, caller) = (self.clone(), caller.clone());
        unbroken(caller.held.clone(), async move {
            let instance = control.repo().stored_instance(id).await?;
            control.configure(&caller, instance, change).await
        })
        .await
    }

    async fn configure(
        &self,
        caller: &Caller,
        instance: Arc<Instance>,
        change: SettingsChange,
    ) -> Result<(Arc<Instance>, Settings)> {
        let engine = self.plugins().engine_build(&instance.engine_digest)?;
        let described = engine.description();
        if engine.settings().is_none() {
            let title = &described.title;
            return Err(Error::unsupported(format!(
                "{title} has no settings to change"
            )));
        }
        let mut versions = described.versions.iter();
        let version = versions.find(|version| version.label == instance.spec.version);
        let version = version.ok_or_else(|| {
            Error::internal("the build that made an instance does not know its version")
        })?;
        let before = &instance.spec.settings;
        let wanted = changed(version, before, change)?;
        if wanted == *before && instance.operation.is_none() {
            return Ok((instance, wanted));
        }
        // What may not begin now is said before the engine is asked anything.
        instance.phase().begin(OperationKind::Configure)?;
        let mut spec = instance.spec.clone();
        spec.settings.clone_from(&wanted);
        engine.validate(instance.id, &spec).await?;
        self.check_load()?;
        let operation = self
            .executor()
            .configure_operation(wanted.clone(), caller.request_id.as_deref())?;
        let unchanged = |now: &mut Instance| {
            if now.spec.settings == *before {
                return Ok(());
            }
            Err(Error::conflict(
                ConflictReason::Busy,
                "the settings were changed meanwhile; look at them again",
            ))
        };
        let begun = self.repo().begin_with(instance.id, operation, &unchanged);
        let (instance, _) = begun.await?;
        self.executor().wake();
        Ok((instance, wanted))
    }
}

/// The settings after a change, by name.
fn changed(version: &EngineVersion, before: &Settings, change: SettingsChange) -> Result<Settings> {
    let (mut wanted, chosen) = match change {
        SettingsChange::Add(chosen) => (before.clone(), chosen),
        SettingsChange::Set(chosen) => (Settings::new(), chosen),
        SettingsChange::Delete(names) => {
            let unknown = names.iter().filter(|name| schema(version, name).is_none());
            let problems: Vec<_> = unknown.map(|name| unknown_setting(version, name)).collect();
            if !problems.is_empty() {
                return Err(Error::invalid(problems));
            }
            let kept = before.iter().filter(|(name, _)| !names.contains(name));
            return Ok(kept.cloned().collect());
        }
    };
    let problems = check(version, &chosen, false);
    if !problems.is_empty() {
        return Err(Error::invalid(problems));
    }
    wanted.retain(|(name, _)| !chosen.iter().any(|(new, _)| new == name));
    wanted.extend(chosen);
    wanted.sort();
    Ok(wanted)
}

fn check(version: &EngineVersion, chosen: &Settings, initial: bool) -> Vec<FieldProblem> {
    let mut problems = Vec::new();
    for (at, (name, value)) in chosen.iter().enumerate() {
        if chosen[..at].iter().any(|(earlier, _)| earlier == name) {
            problems.push(FieldProblem::new(name, "is given twice", "one value"));
            continue;
        }
        let problem = match schema(version, name) {
            None => Some(unknown_setting(version, name)),
            Some(schema) if schema.init_only && !initial => Some(FieldProblem::new(
                name,
                "can be chosen only when the database is made",
                "leave it out",
            )),
            Some(schema) if !schema.init_only && initial => Some(FieldProblem::new(
                name,
                "is not one that is fixed when the database is made",
                "set it once the database runs",
            )),
            Some(schema) => schema.check(value).err(),
        };
        problems.extend(problem);
    }
    problems
}

fn schema<'v>(version: &'v EngineVersion, name: &str) -> Option<&'v SettingSchema> {
    version.settings.iter().find(|schema| schema.name == name)
}

fn unknown_setting(version: &EngineVersion, name: &str) -> FieldProblem {
    let help = "one of those that the catalogue of engines lists for this version";
    let reason = format!("is not a setting of version {}", version.label);
    FieldProblem::new(name, reason, help)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::plugin::Stage;
    use crate::model::setting::SettingKind;

    fn version() -> EngineVersion {
        let schema = |name: &str, init_only: bool| SettingSchema {
            name: name.to_owned(),
            description: String::new(),
            kind: SettingKind::Boolean,
            default: "on".to_owned(),
            unit: None,
            live: !init_only,
            init_only,
        };
        EngineVersion {
            label: "1".to_owned(),
            stage: Stage::Stable,
            released: String::new(),
            end_of_life: String::new(),
            upgrades_to: Vec::new(),
            programs: Vec::new(),
            settings: vec![schema("a", false), schema("b", false), schema("i", true)],
        }
    }

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        let owned = pairs
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        owned.collect()
    }

    #[test]
    fn settings_are_added_replaced_and_taken_back() {
        let before = settings(&[("b", "on")]);
        let after = |change| changed(&version(), &before, change).unwrap();
        assert_eq!(
            after(SettingsChange::Add(settings(&[("a", "off")]))),
            settings(&[("a", "off"), ("b", "on")])
        );
        assert_eq!(
            after(SettingsChange::Add(settings(&[("b", "off")]))),
            settings(&[("b", "off")])
        );
        assert_eq!(
            after(SettingsChange::Set(settings(&[("a", "on")]))),
            settings(&[("a", "on")])
        );
        assert_eq!(after(SettingsChange::Set(Settings::new())), Settings::new());
        let delete = |name: &str| after(SettingsChange::Delete(vec![name.to_owned()]));
        assert_eq!(delete("b"), Settings::new());
        assert_eq!(delete("a"), before);
    }

    #[test]
    fn what_cannot_be_chosen_is_said_with_its_name() {
        for (chosen, initial, field) in [
            (&[("x", "1")][..], false, "x"),
            (&[("a", "yes")], false, "a"),
            (&[("a", "on"), ("a", "on")], false, "a"),
            (&[("i", "on")], false, "i"),
            (&[("a", "on")], true, "a"),
        ] {
            let problems = check(&version(), &settings(chosen), initial);
            assert_eq!(problems.len(), 1, "{chosen:?}");
            assert_eq!(problems[0].field, field);
            assert!(!problems[0].help.is_empty());
        }
        assert_eq!(check_initial(&version(), &settings(&[("i", "on")])), []);
        let unknown = SettingsChange::Delete(vec!["x".to_owned()]);
        assert!(changed(&version(), &Settings::new(), unknown).is_err());
    }
}
