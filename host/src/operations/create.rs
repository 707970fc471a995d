//! Creation: from an accepted request to a database that accepts its first user. Undone, it leaves
//! nothing but its record.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::contexts::planned;
use super::delete::stop;
use super::secrets;
use super::workflow::{Context, OnFailure, StepResult, Stop, Workflow};
use crate::model::instance::Endpoint;
use crate::model::workload::{EndpointPlan, MemberState, MemberStatus, Workload};
use crate::runtime::Target;
use crate::store::repo::Changes;

pub enum Create {}

#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Ask the engine what must run.
    Plan,
    /// Set ports and a system user aside.
    Reserve,
    /// Make passwords and certificates, and record them before anything uses them.
    Secrets,
    /// Have the target make it and start it.
    Provision,
    /// Wait until every member runs.
    Ready,
    /// Have the engine make the first user and database.
    Bootstrap,
    /// See that a client is let in.
    Verify,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {}

/// A server that was started again so often will not come up.
const MOST_RESTARTS: u32 = 5;
const LOG_BYTES: u32 = 1_500;

impl Workflow for Create {
    type Step = Step;
    type State = State;

    const STEPS: &'static [Step] = &[
        Step::Plan,
        Step::Reserve,
        Step::Secrets,
        Step::Provision,
        Step::Ready,
        Step::Bootstrap,
        Step::Verify,
    ];
    const ON_FAILURE: OnFailure = OnFailure::Unwind;

    fn name(step: Step) -> &'static str {
        match step {
            Step::Plan => "plan",
            Step::Reserve => "reserve",
            Step::Secrets => "secrets",
            Step::Provision => "provision",
            Step::Ready => "ready",
            Step::Bootstrap => "bootstrap",
            Step::Verify => "verify",
        }
    }

    async fn run(step: Step, context: &Context<'_>, _: &mut State) -> StepResult {
        match step {
            Step::Plan => plan(context).await,
            Step::Reserve => reserve(context).await,
            Step::Secrets => make_secrets(context).await,
            Step::Provision => provision(context).await,
            Step::Ready => ready(context).await,
            Step::Bootstrap => bootstrap(context).await,
            Step::Verify => verify(context).await,
        }
    }

    async fn undo(step: Step, context: &Context<'_>, _: &mut State) -> Result<(), Stop> {
        match step {
            // What these recorded goes in the commit that ends the operation.
            Step::Plan | Step::Reserve | Step::Secrets => Ok(()),
            Step::Provision => {
                // A server that is killed leaves shared memory behind that nobody else would free.
                stop(context).await?;
                let target = context.target()?;
                Ok(target.remove(&context.target_context().await?).await?)
            }
            // What these did is inside the volumes that `provision` made.
            Step::Ready | Step::Bootstrap | Step::Verify => Ok(()),
        }
    }

    fn undone() -> Changes {
        Changes {
            release: true,
            ..Changes::default()
        }
    }
}

async fn plan(context: &Context<'_>) -> StepResult {
    let instance = &context.instance;
    let workload = context.engine()?.plan(instance.id, &instance.spec).await?;
    Ok(Changes {
        workload: Some(workload),
        ..Changes::default()
    })
}

async fn reserve(context: &Context<'_>) -> StepResult {
    let workload = workload(context).await?;
    let target = context.target()?;
    context.reserve_uid().await?;
    let ports = if target.description().needs_host_ports {
        context.reserve_ports(workload.endpoints.len()).await?
    } else {
        let own = workload
            .endpoints
            .iter()
            .map(|plan| own_port(&workload, plan));
        own.collect::<Result<Vec<u16>, Stop>>()?
    };
    let endpoints = workload.endpoints.iter().zip(ports);
    let endpoints = endpoints.map(|(plan, port)| Endpoint {
        name: plan.name.clone(),
        member: plan.member.clone(),
        port_name: plan.port.clone(),
        bind_address: context.config.endpoint_address.to_string(),
        host: context.config.public_address.clone(),
        port,
    });
    Ok(Changes {
        endpoints: Some(endpoints.collect()),
        ..Changes::default()
    })
}

async fn make_secrets(context: &Context<'_>) -> StepResult {
    let instance = &context.instance;
    let secrets = secrets::complete(
        instance.id,
        &workload(context).await?.secrets,
        &instance.endpoints,
        context.repo.secrets(instance.id).await?,
        context.now(),
    )?;
    Ok(Changes {
        secrets: Some(secrets),
        ..Changes::default()
    })
}

async fn provision(context: &Context<'_>) -> StepResult {
    let mut deployment = context.target_context().await?;
    deployment.secrets = context.repo.secrets(context.instance.id).await?;
    context.target()?.apply(&deployment).await?;
    Ok(Changes::default())
}

async fn ready(context: &Context<'_>) -> StepResult {
    let target = context.target()?;
    let observed = target.observe(&context.target_context().await?).await?;
    for member in &workload(context).await?.members {
        let status = observed.iter().find(|status| status.member == member.name);
        let state = status.map_or(&MemberState::Absent, |status| &status.state);
        let waiting_for = match state {
            MemberState::Running { .. } => continue,
            MemberState::Absent => "its server to be started".to_owned(),
            MemberState::Initialising => "its server to be set up".to_owned(),
            MemberState::Stopped => "its server to run".to_owned(),
            MemberState::Failed(why) => {
                return Err(dead(context, &*target, &member.name, why).await);
            }
            MemberState::Restarting(why) if has_failed(status) => {
                return Err(dead(context, &*target, &member.name, why).await);
            }
            MemberState::Restarting(why) => format!("its server to run: {why}"),
        };
        return Err(Stop::retry(
            poll(context),
            format!("waiting for {waiting_for}"),
        ));
    }
    Ok(Changes::default())
}

async fn bootstrap(context: &Context<'_>) -> StepResult {
    let instance = context.instance_context().await?;
    context.engine()?.bootstrap(&instance).await?;
    Ok(Changes::default())
}

async fn verify(context: &Context<'_>) -> StepResult {
    let engine = context.engine()?;
    let instance = context.instance_context().await?;
    let login = engine.first_login(instance.id, &instance.spec).await?;
    let password = instance.secrets.get(&login.secret);
    let password = password.ok_or_else(|| {
        Stop::fail("the engine's first user has a password that its plan does not ask for")
    })?;
    let (members, let_in) = tokio::try_join!(
        engine.observe(&instance),
        engine.verify(&instance, &login, password),
    )?;
    if let Some(member) = members.iter().find(|member| !member.ready) {
        let why = format!("waiting for \"{}\" to serve", member.member);
        return Err(Stop::retry(poll(context), why));
    }
    if !let_in {
        return Err(Stop::fail(
            "the server does not accept its first user's password",
        ));
    }
    Ok(Changes::default())
}

async fn workload(context: &Context<'_>) -> Result<Workload, Stop> {
    Ok(planned(context.repo.workload(context.instance.id).await?)?)
}

/// The number of the member's own port behind an endpoint.
fn own_port(workload: &Workload, plan: &EndpointPlan) -> Result<u16, Stop> {
    let member = workload.members.iter().find(|m| m.name == plan.member);
    let mut ports = member.iter().flat_map(|member| &member.ports);
    let port = ports.find(|port| port.name == plan.port);
    port.map(|port| port.number)
        .ok_or_else(|| Stop::fail(format!("the endpoint \"{}\" has no port", plan.name)))
}

fn has_failed(status: Option<&MemberStatus>) -> bool {
    status.is_some_and(|status| status.restarts >= MOST_RESTARTS)
}

/// The server does not come up: say why, with what it wrote last.
async fn dead(context: &Context<'_>, target: &dyn Target, member: &str, why: &str) -> Stop {
    let log = match context.target_context().await {
        Ok(about) => target.logs(&about, member, LOG_BYTES).await,
        Err(error) => Err(error),
    };
    match log {
        Ok(log) if !log.trim().is_empty() && !why.contains(log.trim()) => Stop::fail(format!(
            "the server did not start: {why}\n{}",
            log.trim_end()
        )),
        Ok(_) => Stop::fail(format!("the server did not start: {why}")),
        Err(error) => Stop::fail(format!(
            "the server did not start: {why} (its log cannot be read: {error})"
        )),
    }
}

/// Often at first, when most servers are up within a second or two; rarer after that.
fn poll(context: &Context<'_>) -> Duration {
    if context.elapsed() < Duration::from_secs(10) {
        Duration::from_millis(25)
    } else {
        Duration::from_millis(500)
    }
}
