//! What the target does, each of it bearing repetition.

use std::time::Duration;

use berth_sdk::target::process::State;
use berth_sdk::target::{
    Deployment, Description, Infrastructure, MemberState, MemberStatus, VolumeUsage, files, process,
};
use berth_sdk::types::{Endpoint, Member, Workload};
use berth_sdk::{Error, Result};

use crate::render::Place;
use crate::{Local, layout};

/// Between two looks at members that are ending.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

impl Infrastructure for Local {
    fn describe() -> Description {
        Description {
            name: "local".into(),
            title: "This machine".into(),
            needs_host_ports: true,
            needs_inner_ports: false,
        }
    }

    fn apply(deployment: Deployment) -> Result<()> {
        let workload = &deployment.workload;
        let places = places(workload)?;
        // Everything is filled in before anything is made: a plan that cannot be carried out leaves nothing.
        let mut ready = Vec::new();
        for member in &workload.members {
            let place = places.of(member, &deployment);
            ready.push((member, place.files()?, place.service()?));
        }
        for (member, rendered, _) in &ready {
            files::make_dir(&layout::files(&member.name))?;
            for volume in &member.volumes {
                files::make_dir(&layout::volume(&member.name, &volume.name))?;
            }
            for file in rendered {
                files::write(&file.path, &file.content, file.sensitive)?;
            }
        }
        for (member, _, service) in &ready {
            process::ensure(&member.name, service)?;
        }
        Ok(())
    }

    fn set_access(_: Workload, _: Vec<Endpoint>, _: Vec<String>) -> Result<()> {
        Err(Error::unsupported("access rules are not there yet"))
    }

    fn observe(workload: Workload, endpoints: Vec<Endpoint>) -> Result<Vec<MemberStatus>> {
        let places = places(&workload)?;
        workload
            .members
            .iter()
            .map(|member| {
                let status = process::inspect(&member.name)?;
                Ok(MemberStatus {
                    member: member.name.clone(),
                    state: state(status.state),
                    dials: places.without_secrets(member, &endpoints).dials()?,
                    restarts: status.restarts,
                })
            })
            .collect()
    }

    fn start(workload: Workload) -> Result<()> {
        workload
            .members
            .iter()
            .try_for_each(|member| process::start(&member.name))
    }

    fn stop(workload: Workload) -> Result<()> {
        for member in &workload.members {
            process::stop(&member.name)?;
        }
        for member in &workload.members {
            match process::inspect(&member.name)?.state {
                State::Absent | State::Stopped => {}
                State::Initialising
                | State::Running(_)
                | State::Restarting(_)
                | State::Failed(_) => {
                    return Err(Error::retry(
                        LOOK_AGAIN,
                        format!("the member {} is ending", member.name),
                    ));
                }
            }
        }
        Ok(())
    }

    fn remove() -> Result<()> {
        process::remove_all()?;
        files::remove_all()?;
        // Whatever a call that was given up had still begun in between.
        process::remove_all()
    }

    fn logs(member: String, max_bytes: u32) -> Result<String> {
        process::log_tail(&member, max_bytes)
    }

    fn usage(workload: Workload) -> Result<Vec<VolumeUsage>> {
        let mut usage = Vec::new();
        for member in &workload.members {
            for volume in &member.volumes {
                usage.push(VolumeUsage {
                    member: member.name.clone(),
                    volume: volume.name.clone(),
                    used_bytes: files::usage(&layout::volume(&member.name, &volume.name))?,
                    size_bytes: volume.size_bytes,
                });
            }
        }
        Ok(usage)
    }
}

/// The host's own names of the instance's directories.
struct Places {
    instance_dir: String,
    run_dir: String,
}

fn places(workload: &Workload) -> Result<Places> {
    // The directory itself has no name below itself: it is where the first member's is.
    let first = workload
        .members
        .first()
        .ok_or_else(|| Error::failed("the workload has no members"))?;
    let member_dir = files::locate(&layout::member(&first.name))?;
    let instance_dir = member_dir
        .strip_suffix(&format!("/{}", layout::member(&first.name)))
        .ok_or_else(|| Error::failed("the host named another directory than was asked for"))?;
    Ok(Places {
        instance_dir: instance_dir.to_owned(),
        run_dir: files::run_dir()?,
    })
}

impl Places {
    fn of<'a>(&'a self, member: &'a Member, deployment: &'a Deployment) -> Place<'a> {
        Place {
            secrets: &deployment.secrets,
            ..self.without_secrets(member, &deployment.endpoints)
        }
    }

    fn without_secrets<'a>(&'a self, member: &'a Member, endpoints: &'a [Endpoint]) -> Place<'a> {
        Place {
            instance_dir: &self.instance_dir,
            run_dir: &self.run_dir,
            member,
            endpoints,
            secrets: &[],
        }
    }
}

fn state(state: State) -> MemberState {
    match state {
        State::Absent => MemberState::Absent,
        State::Initialising => MemberState::Initialising,
        State::Running(ms) => MemberState::Running(ms),
        State::Restarting(how) => MemberState::Restarting(how),
        State::Failed(why) => MemberState::Failed(why),
        State::Stopped => MemberState::Stopped,
    }
}
