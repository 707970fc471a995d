//! Puts together what a plugin call needs to know of an instance.

use crate::model::plugin::{InstanceContext, MemberDial, Secrets, TargetContext};
use crate::model::workload::{MemberStatus, Workload};
use crate::model::{Error, Instance, Result};
use crate::runtime::Plugins;
use crate::store::repo::Repo;

/// For a call to the instance's engine: with its secrets, and with how each member is dialled now.
pub async fn instance_context(
    repo: &Repo,
    plugins: &dyn Plugins,
    instance: &Instance,
) -> Result<InstanceContext> {
    let target = plugins.target_build(&instance.target_digest)?;
    let context = target_context(repo, instance, "observe".to_owned()).await?;
    let statuses = target.observe(&context).await?;
    instance_context_by(repo, instance, dials(&context.workload, &statuses)).await
}

/// The same, when it is known how the members are dialled.
pub async fn instance_context_by(
    repo: &Repo,
    instance: &Instance,
    dials: Vec<MemberDial>,
) -> Result<InstanceContext> {
    Ok(InstanceContext {
        id: instance.id,
        slug: instance.spec.name.slug(),
        spec: instance.spec.clone(),
        endpoints: instance.endpoints.clone(),
        secrets: repo.secrets(instance.id).await?,
        dials,
        uid: instance.reservation.uid,
    })
}

/// For a call to the instance's target, without its secrets. What was never planned is an empty workload.
pub async fn target_context(
    repo: &Repo,
    instance: &Instance,
    key: String,
) -> Result<TargetContext> {
    Ok(TargetContext {
        key,
        instance: instance.id,
        uid: instance.reservation.uid,
        size: instance.spec.size,
        workload: repo.workload(instance.id).await?.unwrap_or_default(),
        endpoints: instance.endpoints.clone(),
        secrets: Secrets::new(),
        access: instance
            .policy
            .access
            .iter()
            .map(|rule| rule.network)
            .collect(),
        storage_class: instance.storage_class.clone(),
        engine: instance.engine_digest.clone(),
    })
}

/// The workload as it was recorded when it was planned.
pub(super) fn planned(workload: Option<Workload>) -> Result<Workload> {
    workload.ok_or_else(|| Error::failed("the database has no plan of what must run"))
}

/// How members are dialled that were observed.
pub fn dials(workload: &Workload, statuses: &[MemberStatus]) -> Vec<MemberDial> {
    let mut dials = Vec::new();
    for member in &workload.members {
        let Some(status) = statuses.iter().find(|status| status.member == member.name) else {
            continue;
        };
        for port in &member.ports {
            let dial = status.dials.iter().find(|(name, _)| *name == port.name);
            dials.extend(dial.map(|(_, dial)| MemberDial {
                member: member.name.clone(),
                port_name: port.name.clone(),
                number: port.number,
                dial: dial.clone(),
            }));
        }
    }
    dials
}
