//! A target that makes everything on the fake machine.

use async_trait::async_trait;
use berth::model::plugin::{TargetContext, TargetDescription};
use berth::model::workload::{Dial, MemberState, MemberStatus, VolumeUsage};
use berth::model::{Digest, Error, Result};
use berth::runtime::Target;
use std::time::Duration;

use super::world::{BAD, Behaviour, Call, Live, World};

pub const TARGET: &str = "fake-machine";

pub struct FakeTarget {
    world: World,
    digest: Digest,
    description: TargetDescription,
}

impl FakeTarget {
    pub fn new(world: World) -> Self {
        Self {
            world,
            digest: Digest::from_hex("7".repeat(64)),
            description: TargetDescription {
                name: TARGET.to_owned(),
                title: "A machine that is not there".to_owned(),
                needs_host_ports: true,
                needs_inner_ports: true,
            },
        }
    }
}

#[async_trait]
impl Target for FakeTarget {
    fn digest(&self) -> &Digest {
        &self.digest
    }

    fn description(&self) -> &TargetDescription {
        &self.description
    }

    async fn apply(&self, context: &TargetContext) -> Result<()> {
        self.world
            .call(Call::Apply, |machine| {
                machine.apply(context);
                Ok(())
            })
            .await
    }

    async fn observe(&self, context: &TargetContext) -> Result<Vec<MemberStatus>> {
        self.world
            .call(Call::TargetObserve, |machine| {
                let behaviour = machine.behaviour;
                if let Some(why) = &behaviour.looks_fail {
                    return Err(Error::failed(why));
                }
                let state = match machine.live.get_mut(&context.instance) {
                    None => MemberState::Absent,
                    Some(live) => look(live, behaviour),
                };
                let socket = ("sql".to_owned(), Dial::Unix("s.7000".to_owned()));
                let members = context.workload.members.iter();
                Ok(members
                    .map(|member| MemberStatus {
                        member: member.name.clone(),
                        state: state.clone(),
                        dials: vec![socket.clone()],
                        restarts: 0,
                    })
                    .collect())
            })
            .await
    }

    async fn set_access(&self, context: &TargetContext) -> Result<()> {
        self.world
            .call(Call::SetAccess, |machine| {
                let live = machine.live.get_mut(&context.instance);
                let live = live.ok_or_else(|| Error::not_found("nothing was applied"))?;
                live.applied.access.clone_from(&context.access);
                Ok(())
            })
            .await
    }

    async fn start(&self, context: &TargetContext) -> Result<()> {
        self.world
            .call(Call::Start, |machine| {
                let live = machine.live.get_mut(&context.instance);
                let live = live.ok_or_else(|| Error::not_found("nothing was applied"))?;
                live.running = true;
                Ok(())
            })
            .await
    }

    async fn stop(&self, context: &TargetContext) -> Result<()> {
        self.world
            .call(Call::Stop, |machine| {
                if let Some(why) = &machine.behaviour.stop_fails {
                    return Err(Error::failed(why));
                }
                let live = machine.live.get_mut(&context.instance);
                let Some(live) = live.filter(|live| live.running) else {
                    return Ok(());
                };
                live.stops += 1;
                if live.stops < machine.behaviour.stops_until_ended {
                    return Err(Error::retry(
                        Duration::from_millis(20),
                        "a server is ending",
                    ));
                }
                live.running = false;
                Ok(())
            })
            .await
    }

    async fn remove(&self, context: &TargetContext) -> Result<()> {
        self.world
            .call(Call::Remove, |machine| {
                if let Some(why) = &machine.behaviour.removal_fails {
                    return Err(Error::failed(why));
                }
                let Some(live) = machine.live.get_mut(&context.instance) else {
                    return Ok(());
                };
                live.running = false;
                live.removals += 1;
                if live.removals < machine.behaviour.removals_until_gone {
                    return Err(Error::retry(Duration::from_millis(20), "a process is left"));
                }
                machine.live.remove(&context.instance);
                Ok(())
            })
            .await
    }

    async fn logs(&self, context: &TargetContext, _: &str, _: u32) -> Result<String> {
        self.world
            .call(Call::Logs, |machine| {
                let mut log = machine.behaviour.log.clone();
                if let Some(live) = machine.live.get(&context.instance) {
                    for (name, secret) in &live.applied.secrets {
                        log = log.replace(&format!("${{secret:{name}}}"), secret.expose());
                    }
                }
                Ok(log)
            })
            .await
    }

    async fn usage(&self, context: &TargetContext) -> Result<Vec<VolumeUsage>> {
        let (usage, hangs) = self
            .world
            .call(Call::Usage, |machine| {
                let members = context.workload.members.iter();
                let usage: Vec<_> = members
                    .flat_map(|member| {
                        member.volumes.iter().map(|volume| VolumeUsage {
                            member: member.name.clone(),
                            volume: volume.name.clone(),
                            used_bytes: 1_000,
                            size_bytes: volume.size_bytes,
                        })
                    })
                    .collect();
                Ok((usage, machine.behaviour.usage_hangs))
            })
            .await?;
        if hangs {
            std::future::pending::<()>().await;
        }
        Ok(usage)
    }
}

fn look(live: &mut Live, behaviour: &Behaviour) -> MemberState {
    live.looks += 1;
    if let Some(why) = &behaviour.servers_die {
        return MemberState::Failed(why.clone());
    }
    if live.running
        && live
            .in_force
            .settings
            .get("slow")
            .is_some_and(|value| value == BAD)
    {
        return MemberState::Failed("it cannot run with that".to_owned());
    }
    if !live.running {
        return MemberState::Stopped;
    }
    if live.looks <= behaviour.looks_until_running {
        return MemberState::Initialising;
    }
    MemberState::Running {
        for_ms: u64::from(live.looks) * 10,
    }
}
