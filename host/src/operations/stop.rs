//! Stopping: the servers end, and everything else is kept. It goes forward until that is so. It is never undone:
//! a server that was told to end cannot be told to stay, so who wants it back starts it, and the start takes
//! this one's place.

use serde::{Deserialize, Serialize};

use super::members;
use super::workflow::{Context, OnFailure, StepResult, Workflow};
use crate::store::repo::Changes;

pub enum StopMembers {}

#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Have the servers end, and see that they have.
    Stop,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {}

impl Workflow for StopMembers {
    type Step = Step;
    type State = State;

    const STEPS: &'static [Step] = &[Step::Stop];

    fn name(step: Step) -> &'static str {
        match step {
            Step::Stop => "stop",
        }
    }

    fn on_failure(step: Step) -> OnFailure {
        match step {
            Step::Stop => OnFailure::Insist,
        }
    }

    async fn run(step: Step, context: &Context<'_>, _: &mut State) -> StepResult {
        match step {
            Step::Stop => members::stop(context).await?,
        }
        Ok(Changes::default())
    }

    /// Comes only when another operation takes its place: a start, which makes sure that all runs, or a deletion.
    async fn undo(_: Step, _: &Context<'_>, _: &mut State) -> StepResult {
        Ok(Changes::default())
    }

    fn undone() -> Changes {
        Changes::default()
    }
}
