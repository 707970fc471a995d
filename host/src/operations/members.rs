//! Bringing an instance's members up and down: what the kinds of operations have in common. Each function bears
//! repetition, and none waits: what is not there yet is a `Stop::Retry` that says what is waited for.

use std::collections::BTreeMap;
use std::time::Duration;

use super::contexts::{dials, instance_context_by, planned};
use super::workflow::{Context, StepResult, Stop};
use crate::model::plugin::{Observation, TargetContext};
use crate::model::setting::Settings;
use crate::model::workload::{MemberState, MemberStatus, Workload};
use crate::runtime::Target;
use crate::store::repo::Changes;

/// How often each member had been started again before it was brought up.
pub type Restarts = BTreeMap<String, u32>;

/// A server that was started again so often will not come up.
const MOST_RESTARTS: u32 = 5;
const LOG_BYTES: u32 = 1_500;
/// One that runs is asked for so long to take its files anew.
const RELOAD_FOR: Duration = Duration::from_secs(20);
/// One that runs is waited for so long where there is no way but to go on.
const SERVE_FOR: Duration = Duration::from_secs(300);

/// Have the target make what is recorded, and start it. What is there already is left as it is.
pub async fn apply(context: &Context<'_>) -> StepResult {
    let mut deployment = context.target_context().await?;
    deployment.secrets = context.repo.secrets(context.instance.id).await?;
    context.target()?.apply(&deployment).await?;
    Ok(Changes::default())
}

/// How often each has been started again until now.
pub async fn restarts(context: &Context<'_>) -> Result<Restarts, Stop> {
    let about = context.target_context().await?;
    Ok(look(context, &about)
        .await?
        .into_iter()
        .map(|status| (status.member, status.restarts))
        .collect())
}

/// See that every member's server runs.
pub async fn run(context: &Context<'_>) -> StepResult {
    let about = context.target_context().await?;
    let observed = context.target()?.observe(&about).await?;
    running(context, &observed, &Restarts::default()).await?;
    Ok(Changes::default())
}

/// See that every member's server runs and serves clients. Who may log in is not asked: passwords may have been
/// changed in the database itself. That a look fails says nothing of the server: it is looked at again, for a while.
pub async fn serve(context: &Context<'_>, before: &Restarts) -> StepResult {
    let about = context.target_context().await?;
    let statuses = context.target()?.observe(&about).await;
    let statuses = statuses.map_err(|error| context.looks.failed(error))?;
    if let Err(stop) = running(context, &statuses, before).await {
        context.looks.succeeded();
        return Err(stop);
    }
    let workload = &about.workload;
    let instance = instance_context_by(context.repo, &context.instance, dials(workload, &statuses));
    let observed = context.engine()?.observe(&instance.await?).await;
    let observed = observed.map_err(|error| context.looks.failed(error))?;
    context.looks.succeeded();
    served_by(context, &observed)?;
    Ok(Changes::default())
}

/// See that every member serves clients, by what the engine said of them.
pub fn served_by(context: &Context<'_>, observed: &[Observation]) -> Result<(), Stop> {
    match observed.iter().find(|member| !member.ready) {
        None => Ok(()),
        Some(member) => Err(Stop::retry(
            poll(context),
            format!("waiting for \"{}\" to serve", member.member),
        )),
    }
}

/// Have every server end, by its own signal and then by force: how long that may take is its plan's to say, and
/// that it happens the target's part.
pub async fn stop(context: &Context<'_>) -> Result<(), Stop> {
    let about = context.target_context().await?;
    if about.workload.members.is_empty() {
        return Ok(());
    }
    Ok(context.target()?.stop(&about).await?)
}

/// Have the running servers take their files anew, and these settings, which those hold. Answers which settings wait for
/// a restart; none when nobody can say, the engine or a server that does not run, which leaves a restart.
pub async fn reload(context: &Context<'_>, wanted: &Settings) -> Result<Option<Vec<String>>, Stop> {
    let engine = context.engine()?;
    let Some(settings) = engine.settings() else {
        return Ok(None);
    };
    let about = context.target_context().await?;
    let statuses = look(context, &about).await?;
    if !all_run(&about.workload, &statuses) {
        return Ok(None);
    }
    let mut instance = instance_context_by(
        context.repo,
        &context.instance,
        dials(&about.workload, &statuses),
    )
    .await?;
    instance.spec.settings.clone_from(wanted);
    match settings.reload(&instance).await.map_err(Stop::from) {
        Ok(waiting) => Ok(Some(waiting)),
        // It may be one that never will, or wait for just these settings.
        Err(Stop::Retry { .. }) if context.waited("reload") > RELOAD_FOR => Ok(None),
        Err(stop) => Err(stop),
    }
}

/// What the target sees of the members. A look that fails is repeated for a while.
async fn look(context: &Context<'_>, about: &TargetContext) -> Result<Vec<MemberStatus>, Stop> {
    let observed = context.target()?.observe(about).await;
    let observed = observed.map_err(|error| context.looks.failed(error))?;
    context.looks.succeeded();
    Ok(observed)
}

/// Whether every member's server runs now.
async fn are_up(context: &Context<'_>) -> Result<bool, Stop> {
    let about = context.target_context().await?;
    let observed = look(context, &about).await?;
    Ok(all_run(&about.workload, &observed))
}

fn all_run(workload: &Workload, observed: &[MemberStatus]) -> bool {
    let runs = |status: &MemberStatus| matches!(status.state, MemberState::Running { .. });
    let mut members = workload.members.iter();
    members.all(|member| {
        let mut statuses = observed.iter();
        statuses.any(|status| status.member == member.name && runs(status))
    })
}

/// See that clients are served, where there is no other way but to go on: of a server that does not come up the
/// instance's health says so. Answers whether they are.
pub async fn serve_if_it_can(context: &Context<'_>, before: &Restarts) -> Result<bool, Stop> {
    match serve(context, before).await {
        Ok(_) => Ok(true),
        Err(Stop::Retry { .. }) if context.waited("serve") > SERVE_FOR => Ok(false),
        Err(later @ Stop::Retry { .. }) => Err(later),
        Err(Stop::Fail { why }) => {
            tracing::warn!(instance = %context.instance.id, "does not come up: {why}");
            Ok(false)
        }
    }
}

/// Have every server end and start anew. Repeated before they have ended, it goes on with that; afterwards they are
/// ended once more.
pub async fn renew(context: &Context<'_>) -> Result<(), Stop> {
    stop(context).await?;
    apply(context).await?;
    Ok(())
}

/// Have what was planned before run again. Answers whether it serves.
pub async fn bring_back(
    context: &Context<'_>,
    before: Workload,
    restarts: &Restarts,
) -> Result<bool, Stop> {
    let mut deployment = context.target_context().await?;
    deployment.secrets = context.repo.secrets(context.instance.id).await?;
    deployment.workload = before;
    context.target()?.apply(&deployment).await?;
    let taken = match reload(context, &context.instance.spec.settings).await {
        Ok(taken) => taken.is_some(),
        Err(later @ Stop::Retry { .. }) => return Err(later),
        Err(Stop::Fail { why }) => {
            tracing::warn!(instance = %context.instance.id, "does not take its old settings: {why}");
            false
        }
    };
    // One that runs and cannot be asked may run with the new ones: a fresh start is the only way left, and for that
    // nobody waits any more.
    if !taken && context.engine()?.settings().is_some() && are_up(context).await? {
        renew(context).await?;
        return Ok(false);
    }
    serve_if_it_can(context, restarts).await
}

pub async fn workload(context: &Context<'_>) -> Result<Workload, Stop> {
    Ok(planned(context.repo.workload(context.instance.id).await?)?)
}

/// One that ends time and again has failed, and its last words say why.
async fn running(
    context: &Context<'_>,
    observed: &[MemberStatus],
    before: &Restarts,
) -> Result<(), Stop> {
    let target = context.target()?;
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
            MemberState::Restarting(why) if has_failed(status, before) => {
                return Err(dead(context, &*target, &member.name, why).await);
            }
            MemberState::Restarting(why) => format!("its server to run: {why}"),
        };
        return Err(Stop::retry(
            poll(context),
            format!("waiting for {waiting_for}"),
        ));
    }
    Ok(())
}

fn has_failed(status: Option<&MemberStatus>, before: &Restarts) -> bool {
    status.is_some_and(|status| {
        let before = before.get(&status.member).copied().unwrap_or_default();
        status.restarts.saturating_sub(before) >= MOST_RESTARTS
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_restarts_since_it_was_brought_up_count() {
        let status = |restarts| MemberStatus {
            member: "main".to_owned(),
            state: MemberState::Restarting("it ended".to_owned()),
            dials: Vec::new(),
            restarts,
        };
        let before = Restarts::from([("main".to_owned(), 40)]);
        assert!(!has_failed(Some(&status(44)), &before));
        assert!(has_failed(Some(&status(45)), &before));
        assert!(has_failed(Some(&status(5)), &Restarts::default()));
        // A target may count anew from when it was applied again.
        assert!(!has_failed(Some(&status(0)), &before));
        assert!(!has_failed(None, &before));
    }
}
