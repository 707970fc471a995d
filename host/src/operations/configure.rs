//! Having an instance run with other settings. The engine plans anew with what is wanted; what the server can take
//! while it runs it takes, and for the rest it is restarted. When it does not come up with them, or refuses them, it
//! is brought back to what it ran with, and the operation says why.

use serde::{Deserialize, Serialize};

use super::members::{self, Restarts};
use super::workflow::{Context, OnFailure, StepResult, Stop, Workflow};
use crate::model::setting::Settings;
use crate::model::workload::Workload;
use crate::store::repo::Changes;

pub enum Configure {}

#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Ask the engine what must run with the settings that are wanted.
    Plan,
    /// Have it stand where the servers read it.
    Provision,
    /// Have the servers take what they can while they run.
    Reload,
    /// Restart them when something waits for that.
    Restart,
    /// See that clients are served.
    Serve,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// All of them, not only new ones.
    wanted: Settings,
    /// Those that take effect with a restart; none when that cannot be told.
    waiting: Option<Vec<String>>,
    /// So that what was mended long ago is not held against it.
    restarts: Restarts,
    /// Once the old ones were brought back: whether it serves with them.
    brought_back: Option<bool>,
}

impl State {
    pub fn new(wanted: Settings) -> Self {
        Self {
            wanted,
            ..Self::default()
        }
    }

    fn must_restart(&self) -> bool {
        self.waiting.as_ref().is_none_or(|names| !names.is_empty())
    }
}

impl Workflow for Configure {
    type Step = Step;
    type State = State;

    const STEPS: &'static [Step] = &[
        Step::Plan,
        Step::Provision,
        Step::Reload,
        Step::Restart,
        Step::Serve,
    ];

    fn name(step: Step) -> &'static str {
        match step {
            Step::Plan => "plan",
            Step::Provision => "provision",
            Step::Reload => "reload",
            Step::Restart => "restart",
            Step::Serve => "serve",
        }
    }

    fn on_failure(step: Step) -> OnFailure {
        match step {
            Step::Plan | Step::Provision | Step::Reload | Step::Restart | Step::Serve => {
                OnFailure::Unwind
            }
        }
    }

    async fn run(step: Step, context: &Context<'_>, state: &mut State) -> StepResult {
        match step {
            Step::Plan => {
                let workload = plan(context, &state.wanted).await?;
                Ok(with(workload))
            }
            Step::Provision => {
                state.restarts = members::restarts(context).await?;
                members::apply(context).await
            }
            Step::Reload => {
                state.waiting = members::reload(context, &state.wanted).await?;
                Ok(Changes::default())
            }
            Step::Restart => {
                if state.must_restart() {
                    members::renew(context).await?;
                }
                Ok(Changes::default())
            }
            Step::Serve => {
                members::serve(context, &state.restarts).await?;
                Ok(Changes {
                    settings: Some(state.wanted.clone()),
                    ..Changes::default()
                })
            }
        }
    }

    /// What stands in the instance's own record is what it ran with: the last step alone changes that.
    async fn undo(step: Step, context: &Context<'_>, state: &mut State) -> StepResult {
        let before = &context.instance.spec.settings;
        match step {
            Step::Plan => return Ok(with(plan(context, before).await?)),
            // What takes our place ends the servers, or removes all of it, and does not wait for us.
            Step::Provision | Step::Reload | Step::Restart | Step::Serve
                if context.is_preempted() => {}
            Step::Provision => {
                let before = plan(context, before).await?;
                let serves = members::bring_back(context, before, &state.restarts).await?;
                state.brought_back = Some(serves);
            }
            // It may be one that cannot run, and would not be started anew for a while.
            Step::Restart if state.must_restart() => {
                members::stop(context).await?;
                // What the new ones cost is not held against the old ones.
                state.restarts = members::restarts(context).await?;
            }
            Step::Reload | Step::Restart | Step::Serve => {}
        }
        Ok(Changes::default())
    }

    fn undone() -> Changes {
        Changes::default()
    }

    fn told(state: &State, why: String) -> String {
        match state.brought_back {
            None => why,
            Some(true) => format!("{why}\nThe database runs with the settings that it had before."),
            Some(false) => format!(
                "{why}\nThe database has the settings back that it had before, and does not come up with them either."
            ),
        }
    }
}

async fn plan(context: &Context<'_>, settings: &Settings) -> Result<Workload, Stop> {
    let mut spec = context.instance.spec.clone();
    spec.settings.clone_from(settings);
    Ok(context.engine()?.plan(context.instance.id, &spec).await?)
}

fn with(workload: Workload) -> Changes {
    Changes {
        workload: Some(workload),
        ..Changes::default()
    }
}
