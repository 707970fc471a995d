//! Turns what was observed into one word on how an instance fares. Pure.

use crate::model::health::Condition;
use crate::model::plugin::Observation;
use crate::model::workload::{MemberState, MemberStatus, VolumeUsage, Workload};

/// A volume that is fuller is worth a word.
const NEARLY_FULL_PERCENT: u64 = 90;

/// By the processes alone.
pub fn processes(workload: &Workload, statuses: &[MemberStatus]) -> Condition {
    let mut down = Vec::new();
    let mut troubled = Vec::new();
    for member in &workload.members {
        let status = statuses.iter().find(|status| status.member == member.name);
        let name = &member.name;
        match status.map(|status| &status.state) {
            Some(MemberState::Running { .. }) => {}
            Some(MemberState::Restarting(why)) => {
                down.push(format!("\"{name}\" is being started again: {why}"));
            }
            Some(MemberState::Failed(why)) => down.push(format!("\"{name}\" failed: {why}")),
            Some(MemberState::Initialising) => down.push(format!("\"{name}\" is being set up")),
            Some(MemberState::Stopped) => down.push(format!("\"{name}\" is stopped")),
            Some(MemberState::Absent) | None => down.push(format!("\"{name}\" is not there")),
        }
    }
    if down.len() < workload.members.len() {
        troubled.append(&mut down);
    }
    from_problems(&down, &troubled)
}

/// By what the engine says of its members.
pub fn members(observations: &[Observation]) -> Condition {
    let silent: Vec<String> = observations
        .iter()
        .filter(|member| !member.ready)
        .map(|member| format!("\"{}\" does not serve clients", member.member))
        .collect();
    if silent.len() < observations.len() {
        from_problems(&[], &silent)
    } else {
        from_problems(&silent, &[])
    }
}

/// By how full its volumes are.
pub fn volumes(usage: &[VolumeUsage]) -> Condition {
    let full: Vec<String> = usage
        .iter()
        .filter_map(|volume| {
            let percent = volume.used_bytes.saturating_mul(100) / volume.size_bytes.max(1);
            let name = &volume.volume;
            let alone = usage.iter().all(|other| other.member == volume.member);
            let of = if alone {
                String::new()
            } else {
                format!(" of \"{}\"", volume.member)
            };
            (percent >= NEARLY_FULL_PERCENT)
                .then(|| format!("volume \"{name}\"{of} is {percent} % full"))
        })
        .collect();
    from_problems(&[], &full)
}

/// The worse of two; the first when they are equally bad.
pub fn worse(one: Condition, other: Condition) -> Condition {
    if badness(&other) > badness(&one) {
        other
    } else {
        one
    }
}

fn badness(condition: &Condition) -> u8 {
    match condition {
        Condition::Healthy => 0,
        Condition::Degraded(_) => 1,
        Condition::Down(_) => 2,
    }
}

fn from_problems(down: &[String], troubled: &[String]) -> Condition {
    match (down.is_empty(), troubled.is_empty()) {
        (true, true) => Condition::Healthy,
        (true, false) => Condition::Degraded(troubled.join("; ")),
        (false, _) => Condition::Down(down.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::workload::{Command, Member, Stop};

    fn workload(members: &[&str]) -> Workload {
        let member = |name: &&str| Member {
            name: (*name).to_owned(),
            main: Command {
                program: "server".to_owned(),
                version: "1".to_owned(),
                args: Vec::new(),
                env: Vec::new(),
            },
            init: None,
            files: Vec::new(),
            volumes: Vec::new(),
            ports: Vec::new(),
            stale_files: Vec::new(),
            stop: Stop {
                signal: "INT".to_owned(),
                grace_ms: 1,
            },
        };
        Workload {
            members: members.iter().map(member).collect(),
            ..Workload::default()
        }
    }

    fn status(member: &str, state: MemberState) -> MemberStatus {
        MemberStatus {
            member: member.to_owned(),
            state,
            dials: Vec::new(),
            restarts: 0,
        }
    }

    #[test]
    fn one_member_decides_alone_and_several_together() {
        let running = || MemberState::Running { for_ms: 1 };
        let one = workload(&["a"]);
        assert_eq!(
            processes(&one, &[status("a", running())]),
            Condition::Healthy
        );
        assert!(matches!(processes(&one, &[]), Condition::Down(_)));
        let restarting = MemberState::Restarting("killed by signal 9".to_owned());
        assert_eq!(
            processes(&one, &[status("a", restarting.clone())]),
            Condition::Down("\"a\" is being started again: killed by signal 9".to_owned())
        );
        let two = workload(&["a", "b"]);
        let mixed = [status("a", running()), status("b", restarting)];
        assert!(matches!(processes(&two, &mixed), Condition::Degraded(_)));
        assert!(matches!(processes(&two, &[]), Condition::Down(_)));
    }

    #[test]
    fn full_volumes_degrade() {
        let usage = |used_bytes| VolumeUsage {
            member: "a".to_owned(),
            volume: "data".to_owned(),
            used_bytes,
            size_bytes: 200,
        };
        assert_eq!(volumes(&[usage(179)]), Condition::Healthy);
        assert!(matches!(volumes(&[usage(180)]), Condition::Degraded(_)));
    }
}
