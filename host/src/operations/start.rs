//! Starting what was stopped: with the plan, ports and secrets that are recorded, so that it is what it was.
//! Undone, nothing of it runs, as before.

use serde::{Deserialize, Serialize};

use super::members::{self, Restarts};
use super::workflow::{Context, OnFailure, StepResult, Workflow};
use crate::store::repo::Changes;

pub enum Start {}

#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Have the target make what is missing, and start it.
    Start,
    /// Wait until every member runs and serves clients.
    Serve,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// So that what was mended long ago is not held against it.
    restarts: Restarts,
}

impl Workflow for Start {
    type Step = Step;
    type State = State;

    const STEPS: &'static [Step] = &[Step::Start, Step::Serve];

    fn name(step: Step) -> &'static str {
        match step {
            Step::Start => "start",
            Step::Serve => "serve",
        }
    }

    fn on_failure(step: Step) -> OnFailure {
        match step {
            Step::Start | Step::Serve => OnFailure::Unwind,
        }
    }

    async fn run(step: Step, context: &Context<'_>, state: &mut State) -> StepResult {
        match step {
            Step::Start => {
                state.restarts = members::restarts(context).await?;
                // Not the target's `start`, which goes by what `apply` left behind: some of it may be gone.
                members::apply(context).await
            }
            Step::Serve => members::serve(context, &state.restarts).await,
        }
    }

    async fn undo(step: Step, context: &Context<'_>, _: &mut State) -> StepResult {
        match step {
            // A stop or a deletion ends the servers itself, and does not wait for us to be able to.
            Step::Start if context.is_preempted() => {}
            Step::Start => members::stop(context).await?,
            Step::Serve => {}
        }
        Ok(Changes::default())
    }

    fn undone() -> Changes {
        Changes::default()
    }
}
