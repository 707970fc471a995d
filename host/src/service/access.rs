//! Who may connect to an instance.

use std::sync::Arc;

use super::{Caller, Control, InstanceRef, unbroken};
use crate::model::access::{AccessRule, LONGEST_DESCRIPTION, MOST_RULES, Network};
use crate::model::instance::Endpoint;
use crate::model::plugin::TargetDescription;
use crate::model::text::is_line;
use crate::model::{Error, FieldProblem, Instance, OperationKind, Result};

/// What of an instance's rules is to be changed.
#[derive(Clone, Debug)]
pub enum AccessChange {
    /// Let these in too. One that is there already is described anew.
    Add(Vec<AccessRule>),
    /// Let these in and no others.
    Set(Vec<AccessRule>),
    /// Let these in no more.
    Delete(Vec<Network>),
}

impl Control {
    /// Change who may connect. Answers the instance with its new rules, which are on their way to its endpoints;
    /// what is so already is not done again.
    pub async fn set_access(
        &self,
        caller: &Caller,
        which: &InstanceRef,
        change: AccessChange,
    ) -> Result<Arc<Instance>> {
        check(&change)?;
        let id = self.instance(caller, which)?.id;
        let (control, caller) = (self.clone(), caller.clone());
        unbroken(caller.held.clone(), async move {
            let instance = control.repo().stored_instance(id).await?;
            let wanted = changed(&instance.policy.access, &change)?;
            if wanted == instance.policy.access && instance.operation.is_none() {
                return Ok(instance);
            }
            let target = control.plugins().target_build(&instance.target_digest)?;
            check_enforced(target.description(), &instance.endpoints)?;
            let operation = control
                .executor()
                .new_operation(OperationKind::SetAccess, caller.request_id.as_deref());
            let edit = |instance: &mut Instance| {
                instance.policy.access = changed(&instance.policy.access, &change)?;
                Ok(())
            };
            let (instance, _) = control.repo().begin_with(id, operation, &edit).await?;
            control.executor().wake();
            Ok(instance)
        })
        .await
    }
}

/// An instance from before its target stood in front of it serves its endpoints itself: nobody would keep anybody out.
fn check_enforced(target: &TargetDescription, endpoints: &[Endpoint]) -> Result<()> {
    let bare = |endpoint: &Endpoint| !endpoint.for_members && endpoint.inner_port.is_none();
    if target.needs_inner_ports && endpoints.iter().any(bare) {
        return Err(Error::unsupported(
            "the database was made before access rules could be enforced: make another one and move the data there",
        ));
    }
    Ok(())
}

fn check(change: &AccessChange) -> Result<()> {
    let rules = match change {
        AccessChange::Add(rules) | AccessChange::Set(rules) => rules.as_slice(),
        AccessChange::Delete(_) => &[],
    };
    let problem = |(at, rule): (usize, &AccessRule)| {
        (!is_line(&rule.description, LONGEST_DESCRIPTION)).then(|| {
            let help = format!("one line of at most {LONGEST_DESCRIPTION} characters");
            FieldProblem::new(format!("rules[{at}].description"), "is not allowed", help)
        })
    };
    let problems: Vec<_> = rules.iter().enumerate().filter_map(problem).collect();
    if problems.is_empty() {
        return Ok(());
    }
    Err(Error::invalid(problems))
}

/// The rules after a change, in the order in which they came.
fn changed(before: &[AccessRule], change: &AccessChange) -> Result<Vec<AccessRule>> {
    let (mut rules, new) = match change {
        AccessChange::Add(new) => (before.to_vec(), new.as_slice()),
        AccessChange::Set(new) => (Vec::new(), new.as_slice()),
        AccessChange::Delete(networks) => {
            let kept = before
                .iter()
                .filter(|rule| !networks.contains(&rule.network));
            (kept.cloned().collect(), &[][..])
        }
    };
    for rule in new {
        match rules.iter_mut().find(|known| known.network == rule.network) {
            Some(known) => known.description.clone_from(&rule.description),
            None => rules.push(rule.clone()),
        }
    }
    if rules.len() > MOST_RULES {
        let help = format!("at most {MOST_RULES} for a database");
        return Err(Error::invalid_field("rules", "are too many", help));
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(network: &str, description: &str) -> AccessRule {
        AccessRule {
            network: network.parse().unwrap(),
            description: description.to_owned(),
        }
    }

    #[test]
    fn rules_are_added_replaced_and_taken_away() {
        let before = [AccessRule::everybody()];
        let new = rule("192.0.2.1", "office");
        let after = |change| changed(&before, &change).unwrap();
        let added = after(AccessChange::Add(vec![new.clone()]));
        assert_eq!(added, [before[0].clone(), new.clone()]);
        let described = AccessChange::Add(vec![rule("192.0.2.1/32", "home")]);
        let described = changed(&added, &described).unwrap();
        assert_eq!(described[1].description, "home");
        assert_eq!(described.len(), 2);
        assert_eq!(after(AccessChange::Set(vec![new.clone()])), [new]);
        let all = before[0].network;
        assert_eq!(after(AccessChange::Delete(vec![all])), []);
    }

    #[test]
    fn who_serves_its_endpoint_itself_has_no_rules() {
        let target = |needs_inner_ports| TargetDescription {
            name: "local".into(),
            title: String::new(),
            needs_host_ports: true,
            needs_inner_ports,
        };
        let endpoint = |inner_port| Endpoint {
            name: "sql".into(),
            member: "main".into(),
            port_name: "sql".into(),
            bind_address: "127.0.0.1".into(),
            host: "127.0.0.1".into(),
            port: 20_000,
            inner_port,
            for_members: false,
        };
        let bus = Endpoint {
            for_members: true,
            ..endpoint(None)
        };
        let both = [endpoint(Some(20_001)), endpoint(None)];
        let refused = check_enforced(&target(true), &both).unwrap_err();
        assert!(refused.public().contains("make another one"), "{refused}");
        assert!(check_enforced(&target(true), &both[..1]).is_ok());
        assert!(check_enforced(&target(true), &[endpoint(Some(20_001)), bus]).is_ok());
        // Another kind of target enforces them in its own way.
        assert!(check_enforced(&target(false), &both).is_ok());
    }

    #[test]
    fn rules_are_bounded() {
        let many = (0..=MOST_RULES).map(|n| rule(&format!("192.0.2.{n}"), ""));
        let error = changed(&[], &AccessChange::Set(many.collect())).unwrap_err();
        assert!(error.public().contains("rules"), "{error}");
        let long = "x".repeat(LONGEST_DESCRIPTION + 1);
        assert!(check(&AccessChange::Add(vec![rule("192.0.2.1", &long)])).is_err());
    }
}
