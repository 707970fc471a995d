//! What a member's processes are kept within: made before each start, looked after while they run.

use super::Member;
use crate::model::confinement::{Confinement, Wish};
use crate::shim::cgroup::Controller;
use crate::shim::exec::{Bounds, Walled};
use crate::shim::group::{Group, Held};
use crate::shim::wire::Confines;
use crate::shim::{confine, files};

impl Member {
    /// Have groups and walls for what is started next, and say what could be had. An error when what the operator
    /// requires cannot be.
    pub(super) fn bounds(&mut self) -> Result<Bounds, String> {
        let Some(confines) = self.service.confines.clone() else {
            // An earlier host wrote the service, and knows of none.
            return Ok(Bounds::default());
        };
        let mut shown = Confinement::default();
        let result = self
            .limits(&confines, &mut shown)
            .and_then(|()| walls(&confines, &mut shown));
        let problems: Vec<&str> = [&shown.limits_missing, &shown.files_open]
            .into_iter()
            .filter_map(Option::as_deref)
            .collect();
        let problems = problems.join("; ");
        if !problems.is_empty() && self.said.as_ref() != Some(&problems) {
            self.log.note(&problems);
            self.said = Some(problems);
        }
        let walled = shown.files_confined;
        self.shown = shown;
        self.show();
        result?;
        Ok(Bounds {
            groups: self.group.dirs().map(Into::into).collect(),
            must_join: confines.want_limits == Wish::Required,
            walls: walled.then(|| Walled {
                instance_dir: self.service.instance_dir.clone(),
                run_dir: confines.run_dir,
                hidden: confines.hidden,
            }),
        })
    }

    fn limits(&mut self, confines: &Confines, shown: &mut Confinement) -> Result<(), String> {
        if confines.want_limits == Wish::Off {
            self.end_group();
            shown.limits_missing = Some("limits are switched off".to_owned());
            return Ok(());
        }
        let made = Group::make(
            &self.home,
            &confines.parent,
            &confines.group,
            &confines.limits,
        );
        let (group, held) = made.unwrap_or_else(|error| {
            let held = Held {
                problem: Some(format!("no limits: {error}")),
                ..Held::default()
            };
            (Group::default(), held)
        });
        let has = |controller| held.controllers.contains(&controller);
        let limits = confines.limits;
        shown.memory_bytes = has(Controller::Memory).then_some(limits.memory_bytes);
        shown.cpu_millis = has(Controller::Cpu).then_some(limits.cpu_millis);
        shown.processes = has(Controller::Pids).then_some(limits.processes);
        shown.limits_missing = held.problem.clone();
        self.group = group;
        self.shortages = self.group.shortages();
        shown.memory_kills = self.shortages.kills;
        match held.problem {
            Some(problem) if confines.want_limits == Wish::Required => {
                Err(format!("limits are required and cannot be had: {problem}"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// What memory had to do with an end, or with something that happened since the last look.
    pub(super) fn shortage(&mut self) -> Option<String> {
        let now = self.group.shortages();
        let words = now.since(self.shortages, self.shown.memory_bytes)?;
        self.shortages = now;
        self.shown.memory_kills = now.kills;
        self.show();
        Some(words)
    }

    /// The host may want other limits. Where they hold already, they change at once.
    pub(super) fn adjust(&mut self, before: Option<&Confines>) {
        let Some(confines) = &self.service.confines else {
            return;
        };
        if self.group.is_empty() || before.is_none_or(|before| before.limits == confines.limits) {
            return;
        }
        let limits = confines.limits;
        let problem = self.group.change(&limits);
        self.shown.memory_bytes = self.shown.memory_bytes.map(|_| limits.memory_bytes);
        self.shown.cpu_millis = self.shown.cpu_millis.map(|_| limits.cpu_millis);
        self.shown.processes = self.shown.processes.map(|_| limits.processes);
        if let Some(problem) = problem {
            self.shown
                .without_limits(format!("limits could not be changed: {problem}"));
        }
        self.show();
    }

    /// Nothing of the member lives any more, and nothing is to be started.
    pub(super) fn end_group(&mut self) {
        // The host removes what is left, or the next start does.
        let _ = Group::recorded(&self.home).remove();
        self.group = Group::default();
    }

    fn show(&self) {
        if let Err(error) = files::write_in_place(&self.home.confinement(), &self.shown) {
            self.log.note(&format!(
                "how it is confined could not be recorded: {error}"
            ));
        }
    }
}

fn walls(confines: &Confines, shown: &mut Confinement) -> Result<(), String> {
    let problem = match confines.want_walls {
        Wish::Off => Err("confinement is switched off".to_owned()),
        Wish::Preferred | Wish::Required => confine::support(),
    };
    shown.files_confined = problem.is_ok();
    shown.files_open = problem.err();
    match &shown.files_open {
        Some(problem) if confines.want_walls == Wish::Required => Err(format!(
            "confinement is required and cannot be had: {problem}"
        )),
        Some(_) | None => Ok(()),
    }
}
