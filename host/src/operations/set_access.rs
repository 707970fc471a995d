//! Letting clients in from other networks: which, was recorded when it was accepted. It goes forward until they hold,
//! and is never undone: who may connect is what was asked for last.

use serde::{Deserialize, Serialize};

use super::workflow::{Context, OnFailure, StepResult, Workflow};
use crate::store::repo::Changes;

pub enum SetAccess {}

#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Have the target enforce the rules, and cut who is let in no more.
    Enforce,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {}

impl Workflow for SetAccess {
    type Step = Step;
    type State = State;

    const STEPS: &'static [Step] = &[Step::Enforce];

    fn name(step: Step) -> &'static str {
        match step {
            Step::Enforce => "enforce",
        }
    }

    fn on_failure(step: Step) -> OnFailure {
        match step {
            Step::Enforce => OnFailure::Insist,
        }
    }

    async fn run(step: Step, context: &Context<'_>, _: &mut State) -> StepResult {
        match step {
            Step::Enforce => {
                let about = context.target_context().await?;
                context.target()?.set_access(&about).await?;
            }
        }
        Ok(Changes::default())
    }

    /// Comes only when a deletion takes its place.
    async fn undo(_: Step, _: &Context<'_>, _: &mut State) -> StepResult {
        Ok(Changes::default())
    }

    fn undone() -> Changes {
        Changes::default()
    }
}
