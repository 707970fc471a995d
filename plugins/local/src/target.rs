//! What the target does, each of it bearing repetition.

use std::time::Duration;

use berth_sdk::target::process::{State, Status};
use berth_sdk::target::{
    Deployment, Description, Infrastructure, MemberState, MemberStatus, VolumeUsage, files, process,
};
use berth_sdk::types::{Endpoint, Member, Workload};
use berth_sdk::{Error, Result};
use ipnet::IpNet;

use crate::proxy::{self, Proxy};
use crate::render::{Place, Rendered};
use crate::{Local, layout, rules};

/// Between two looks at members that are ending.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// The proxy has nothing to finish.
const PROXY_ENDS: Duration = Duration::from_millis(20);

/// A proxy that has run for so long listens, or its shim would know.
const NEW_MS: u64 = 30_000;

impl Infrastructure for Local {
    fn describe() -> Description {
        Description {
            name: "local".into(),
            title: "This machine".into(),
            needs_host_ports: true,
            needs_inner_ports: true,
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
        let proxy = Proxy::of(&places.run_dir, &deployment.endpoints)?;
        let access = proxy::networks(&deployment.access)?;
        for (member, rendered, _) in &ready {
            files::make_dir(&layout::files(&member.name))?;
            for volume in &member.volumes {
                files::make_dir(&layout::volume(&member.name, &volume.name))?;
            }
            write(rendered)?;
        }
        if let Some(proxy) = &proxy {
            files::make_dir(&layout::files(proxy::MEMBER))?;
            write(&[proxy.config()])?;
            let_in(proxy, &access)?;
        }
        for (member, _, service) in &ready {
            process::ensure(&member.name, service)?;
        }
        if let Some(proxy) = &proxy {
            process::ensure(proxy::MEMBER, &proxy.service())?;
        }
        Ok(())
    }

    fn set_access(_: Workload, endpoints: Vec<Endpoint>, access: Vec<String>) -> Result<()> {
        let Some(proxy) = Proxy::of("", &endpoints)? else {
            return Err(Error::unsupported(
                "who may connect cannot be chosen: the database was made before it could be",
            ));
        };
        let_in(&proxy, &proxy::networks(&access)?)
    }

    fn observe(workload: Workload, endpoints: Vec<Endpoint>) -> Result<Vec<MemberStatus>> {
        let places = places(&workload)?;
        let proxy = match Proxy::of(&places.run_dir, &endpoints)? {
            Some(_) => Some(listening(process::inspect(proxy::MEMBER)?)),
            None => None,
        };
        workload
            .members
            .iter()
            .map(|member| {
                let status = process::inspect(&member.name)?;
                let fronted = endpoints.iter().any(|endpoint| {
                    endpoint.member == member.name && endpoint.inner_port.is_some()
                });
                let (state, restarts) = match proxy.as_ref().filter(|_| fronted) {
                    Some(proxy) => behind(proxy, status),
                    None => (state(status.state), status.restarts),
                };
                Ok(MemberStatus {
                    member: member.name.clone(),
                    state,
                    dials: places.without_secrets(member, &endpoints).dials()?,
                    restarts,
                })
            })
            .collect()
    }

    fn start(workload: Workload) -> Result<()> {
        for member in &workload.members {
            process::start(&member.name)?;
        }
        match process::inspect(proxy::MEMBER)?.state {
            State::Absent => Ok(()),
            State::Initialising
            | State::Running(_)
            | State::Restarting(_)
            | State::Failed(_)
            | State::Stopped => process::start(proxy::MEMBER),
        }
    }

    fn stop(workload: Workload) -> Result<()> {
        for member in &workload.members {
            process::stop(&member.name)?;
        }
        for member in &workload.members {
            ended(&member.name, LOOK_AGAIN)?;
        }
        // Last, so that what servers say to their clients when they end still gets through.
        process::stop(proxy::MEMBER)?;
        ended(proxy::MEMBER, PROXY_ENDS)
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

/// Let clients in from these networks only: those that come, and those that are here. What the proxy goes by
/// when it starts is written first, so that it holds whatever becomes of the one that runs.
fn let_in(proxy: &Proxy<'_>, access: &[IpNet]) -> Result<()> {
    write(&proxy::lists(access).collect::<Vec<_>>())?;
    match process::inspect(proxy::MEMBER)?.state {
        State::Running(_) => rules::enforce(&proxy.families(), access),
        // Nothing of it lives, and what starts later reads what is written.
        State::Absent
        | State::Initialising
        | State::Restarting(_)
        | State::Failed(_)
        | State::Stopped => Ok(()),
    }
}

fn write(files: &[Rendered]) -> Result<()> {
    files
        .iter()
        .try_for_each(|file| files::write(&file.path, &file.content, file.sensitive))
}

fn ended(member: &str, look_again: Duration) -> Result<()> {
    match process::inspect(member)?.state {
        State::Absent | State::Stopped => Ok(()),
        State::Initialising | State::Running(_) | State::Restarting(_) | State::Failed(_) => Err(
            Error::retry(look_again, format!("the member {member} is ending")),
        ),
    }
}

/// A proxy that was just started is asked whether it listens already: before that nobody is let in.
fn listening(mut proxy: Status) -> Status {
    if let State::Running(for_ms) = proxy.state
        && for_ms < NEW_MS
        && !rules::listens()
    {
        proxy.state = State::Restarting("it is starting".into());
    }
    proxy
}

/// A member that clients reach through the proxy is as well as both of them are.
fn behind(proxy: &Status, member: Status) -> (MemberState, u32) {
    let restarts = member.restarts.saturating_add(proxy.restarts);
    let named = |how: &str| format!("the proxy in front of it: {how}");
    let state = match (member.state, &proxy.state) {
        (State::Running(since), State::Running(proxy)) => MemberState::Running(since.min(*proxy)),
        (State::Running(_), State::Restarting(how)) => MemberState::Restarting(named(how)),
        (State::Running(_), State::Failed(how)) => MemberState::Failed(named(how)),
        (State::Running(_), State::Initialising | State::Stopped | State::Absent) => {
            MemberState::Restarting(named("it does not run"))
        }
        (other, _) => state(other),
    };
    (state, restarts)
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
