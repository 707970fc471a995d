//! Creation: from an accepted request to a database that accepts its first user. Undone, it leaves
//! nothing but its record.

use serde::{Deserialize, Serialize};

use super::delete::stop;
use super::members::{self, workload};
use super::secrets;
use super::workflow::{Context, OnFailure, StepResult, Stop, Workflow};
use crate::model::instance::Endpoint;
use crate::model::workload::{EndpointPlan, Workload};
use crate::store::repo::Changes;

/// Where members of an instance reach each other: all of them run on the machine that the host runs on.
const AMONG_MEMBERS: &str = "127.0.0.1";

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

    fn on_failure(step: Step) -> OnFailure {
        match step {
            Step::Plan
            | Step::Reserve
            | Step::Secrets
            | Step::Provision
            | Step::Ready
            | Step::Bootstrap
            | Step::Verify => OnFailure::Unwind,
        }
    }

    async fn run(step: Step, context: &Context<'_>, _: &mut State) -> StepResult {
        match step {
            Step::Plan => plan(context).await,
            Step::Reserve => reserve(context).await,
            Step::Secrets => make_secrets(context).await,
            Step::Provision => members::apply(context).await,
            Step::Ready => members::run(context).await,
            Step::Bootstrap => bootstrap(context).await,
            Step::Verify => verify(context).await,
        }
    }

    async fn undo(step: Step, context: &Context<'_>, _: &mut State) -> StepResult {
        match step {
            // What these recorded goes in the commit that ends the operation.
            Step::Plan | Step::Reserve | Step::Secrets => {}
            Step::Provision => {
                // A server that is killed leaves shared memory behind that nobody else would free.
                stop(context).await?;
                let target = context.target()?;
                target.remove(&context.target_context().await?).await?;
            }
            // What these did is inside the volumes that `provision` made.
            Step::Ready | Step::Bootstrap | Step::Verify => {}
        }
        Ok(Changes::default())
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
    let count = workload.endpoints.len();
    let described = target.description();
    let is_fronted = |plan: &EndpointPlan| described.needs_inner_ports && !plan.for_members;
    // First those of the endpoints, then those of the members behind them.
    let (ports, inner) = if described.needs_host_ports {
        let fronted = workload.endpoints.iter().filter(|plan| is_fronted(plan));
        let mut ports = context.reserve_ports(count + fronted.count()).await?;
        let inner = ports.split_off(count.min(ports.len()));
        (ports, inner)
    } else {
        let own = workload
            .endpoints
            .iter()
            .map(|plan| own_port(&workload, plan));
        (own.collect::<Result<Vec<u16>, Stop>>()?, Vec::new())
    };
    let mut inner = inner.into_iter();
    let endpoints = workload.endpoints.iter().zip(ports);
    let endpoints = endpoints.map(|(plan, port)| {
        let (bind_address, host) = if plan.for_members {
            (AMONG_MEMBERS.to_owned(), AMONG_MEMBERS.to_owned())
        } else {
            let config = context.config;
            let bound = config.endpoint_address.to_string();
            (bound, config.public_address.clone())
        };
        Endpoint {
            name: plan.name.clone(),
            member: plan.member.clone(),
            port_name: plan.port.clone(),
            bind_address,
            host,
            port,
            inner_port: if is_fronted(plan) { inner.next() } else { None },
            for_members: plan.for_members,
        }
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
    let (observed, let_in) = tokio::try_join!(
        engine.observe(&instance),
        engine.verify(&instance, &login, password),
    )?;
    members::served_by(context, &observed)?;
    if !let_in {
        return Err(Stop::fail(
            "the server does not accept its first user's password",
        ));
    }
    Ok(Changes::default())
}

/// The number of the member's own port behind an endpoint.
fn own_port(workload: &Workload, plan: &EndpointPlan) -> Result<u16, Stop> {
    let member = workload.members.iter().find(|m| m.name == plan.member);
    let mut ports = member.iter().flat_map(|member| &member.ports);
    let port = ports.find(|port| port.name == plan.port);
    port.map(|port| port.number)
        .ok_or_else(|| Stop::fail(format!("the endpoint \"{}\" has no port", plan.name)))
}
