//! A stop and a start in one operation. The stop is insisted on, as it always is; from then on it is a start, and
//! one that fails leaves what a failed start leaves: nothing of it runs, and the record says why.

use super::members;
use super::start::{self, Start};
use super::workflow::{Context, OnFailure, StepResult, Workflow};
use crate::store::repo::Changes;

pub enum Restart {}

#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Have the servers end, and see that they have.
    Stop,
    Start(start::Step),
}

impl Workflow for Restart {
    type Step = Step;
    type State = start::State;

    const STEPS: &'static [Step] = &[
        Step::Stop,
        Step::Start(start::Step::Start),
        Step::Start(start::Step::Serve),
    ];

    fn name(step: Step) -> &'static str {
        match step {
            Step::Stop => "stop",
            Step::Start(step) => Start::name(step),
        }
    }

    fn on_failure(step: Step) -> OnFailure {
        match step {
            // A server that runs well is not given up because it could not be told to end at once.
            Step::Stop => OnFailure::Insist,
            Step::Start(step) => Start::on_failure(step),
        }
    }

    async fn run(step: Step, context: &Context<'_>, state: &mut start::State) -> StepResult {
        match step {
            Step::Stop => {
                members::stop(context).await?;
                Ok(Changes::default())
            }
            Step::Start(step) => Start::run(step, context, state).await,
        }
    }

    async fn undo(step: Step, context: &Context<'_>, state: &mut start::State) -> StepResult {
        match step {
            Step::Stop => Ok(Changes::default()),
            Step::Start(step) => Start::undo(step, context, state).await,
        }
    }

    fn undone() -> Changes {
        Changes::default()
    }
}
