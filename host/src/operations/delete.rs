//! Deletion: everything of the instance goes. There is no undo and no giving up; what keeps it from
//! being done is in the operation's last error.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::workflow::{Context, OnFailure, StepResult, Stop, Workflow};
use crate::model::workload::MemberState;
use crate::store::repo::Changes;

pub enum Delete {}

#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Let the servers end on their own.
    Stop,
    /// Have the target remove all there is.
    Remove,
    /// See that nothing is left. The commit that ends the operation then gives back its ports and
    /// system user, and forgets its secrets.
    Release,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {}

/// A server that has not ended by then is removed as it is.
const STOP_WITHIN: Duration = Duration::from_secs(120);
const STOP_ATTEMPTS: u32 = 5;

impl Workflow for Delete {
    type Step = Step;
    type State = State;

    const STEPS: &'static [Step] = &[Step::Stop, Step::Remove, Step::Release];

    fn name(step: Step) -> &'static str {
        match step {
            Step::Stop => "stop",
            Step::Remove => "remove",
            Step::Release => "release",
        }
    }

    fn on_failure(step: Step) -> OnFailure {
        match step {
            Step::Stop | Step::Remove | Step::Release => OnFailure::Insist,
        }
    }

    async fn run(step: Step, context: &Context<'_>, _: &mut State) -> StepResult {
        match step {
            Step::Stop => stop(context).await?,
            Step::Remove => {
                let target = context.target()?;
                target.remove(&context.target_context().await?).await?;
            }
            Step::Release => release(context).await?,
        }
        Ok(Changes::default())
    }

    async fn undo(_: Step, _: &Context<'_>, _: &mut State) -> StepResult {
        Err(Stop::fail("a deletion cannot be undone"))
    }

    fn undone() -> Changes {
        Changes::default()
    }
}

/// A courtesy to the server: `remove` ends whatever is left, so this does not stand in its way for long.
pub(super) async fn stop(context: &Context<'_>) -> Result<(), Stop> {
    let about = context.target_context().await?;
    if about.workload.members.is_empty() {
        return Ok(());
    }
    let Err(error) = context.target()?.stop(&about).await else {
        return Ok(());
    };
    let patience_is_over = if error.is_retryable() {
        context.elapsed() >= STOP_WITHIN
    } else {
        context.attempt >= STOP_ATTEMPTS
    };
    if patience_is_over {
        tracing::warn!(
            ?error,
            "could not stop the servers; they are removed running"
        );
        return Ok(());
    }
    Err(error.into())
}

async fn release(context: &Context<'_>) -> Result<(), Stop> {
    let about = context.target_context().await?;
    if about.workload.members.is_empty() {
        return Ok(());
    }
    let observed = context.target()?.observe(&about).await?;
    let left = observed.iter().find(|status| match status.state {
        MemberState::Absent => false,
        MemberState::Initialising
        | MemberState::Running { .. }
        | MemberState::Restarting(_)
        | MemberState::Failed(_)
        | MemberState::Stopped => true,
    });
    match left {
        None => Ok(()),
        Some(status) => Err(Stop::Retry {
            after: None,
            why: format!("\"{}\" is still there after its removal", status.member),
        }),
    }
}
