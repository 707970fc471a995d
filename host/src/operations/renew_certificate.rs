//! Replacing an instance's certificates, their authority included: clients that trust the old one are refused
//! afterwards. It goes forward once the new ones are recorded, for servers may use them already.

use serde::{Deserialize, Serialize};

use super::members::{self, Restarts};
use super::secrets;
use super::workflow::{Context, OnFailure, StepResult, Workflow};
use crate::store::repo::Changes;

pub enum RenewCertificate {}

#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Make the new ones, and record them before anything uses them.
    Certificate,
    /// Have them stand where the servers read them.
    Provision,
    /// Have the servers take them.
    Reload,
    /// See that clients are served.
    Serve,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// So that what was mended long ago is not held against it.
    restarts: Restarts,
}

impl Workflow for RenewCertificate {
    type Step = Step;
    type State = State;

    const STEPS: &'static [Step] = &[
        Step::Certificate,
        Step::Provision,
        Step::Reload,
        Step::Serve,
    ];

    fn name(step: Step) -> &'static str {
        match step {
            Step::Certificate => "certificate",
            Step::Provision => "provision",
            Step::Reload => "reload",
            Step::Serve => "serve",
        }
    }

    fn on_failure(step: Step) -> OnFailure {
        match step {
            Step::Certificate | Step::Provision | Step::Reload | Step::Serve => OnFailure::Insist,
        }
    }

    async fn run(step: Step, context: &Context<'_>, state: &mut State) -> StepResult {
        match step {
            Step::Certificate => certificate(context).await,
            Step::Provision => {
                state.restarts = members::restarts(context).await?;
                members::apply(context).await
            }
            Step::Reload => {
                if members::reload(context, &context.instance.spec.settings)
                    .await?
                    .is_none()
                {
                    members::renew(context).await?;
                }
                Ok(Changes::default())
            }
            // One that does not come up will take them once it does.
            Step::Serve => {
                members::serve_if_it_can(context, &state.restarts).await?;
                Ok(Changes::default())
            }
        }
    }

    /// Comes only when a deletion takes its place.
    async fn undo(_: Step, _: &Context<'_>, _: &mut State) -> StepResult {
        Ok(Changes::default())
    }

    fn undone() -> Changes {
        Changes::default()
    }
}

async fn certificate(context: &Context<'_>) -> StepResult {
    let instance = &context.instance;
    let renewed = secrets::renew_certificates(
        instance.id,
        &members::workload(context).await?.secrets,
        &instance.endpoints,
        context.repo.secrets(instance.id).await?,
        context.now(),
    )?;
    Ok(Changes {
        secrets: Some(renewed),
        ..Changes::default()
    })
}
