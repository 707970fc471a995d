//! How a server fares.

use berth_sdk::engine::{Instance, MemberObservation, Role};
use berth_sdk::{Error, Result};

use crate::catalog::Series;
use crate::plan::MEMBER;
use crate::session::{OF_CLIENTS, Refusal, Session, number_of, text};
use crate::settings;

/// One answer to all questions.
fn questions() -> String {
    format!(
        "SELECT VERSION(), @@global.read_only, \
         (SELECT COALESCE(SUM(FILE_SIZE), 0) FROM information_schema.INNODB_TABLESPACES), \
         (SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE {OF_CLIENTS})"
    )
}

pub fn observe(instance: &Instance) -> Result<Vec<MemberObservation>> {
    let mut session = match Session::try_superuser(instance) {
        Ok(session) => session,
        // It serves so many that nobody can ask it more.
        Err(Refusal::Full(_)) => return Ok(vec![full(instance)?]),
        // It starts, stops, recovers or hangs: a fact about the member, not a failure of looking at it.
        Err(Refusal::Other(Error::RetryAfter(_))) => {
            return Ok(vec![MemberObservation::silent(MEMBER)]);
        }
        Err(refusal @ (Refusal::Password | Refusal::AfterPassword | Refusal::Other(_))) => {
            return Err(refusal.of_superuser());
        }
    };
    let row = session.row("looking at the server", &questions());
    session.close();
    let row = row?;
    Ok(vec![MemberObservation {
        member: MEMBER.into(),
        role: match text(&row, 1)? {
            "0" => Role::Primary,
            _ => Role::Replica,
        },
        ready: true,
        data_bytes: number_of(&row, 2)?,
        connections: number_of(&row, 3)?,
        version: exact_version(text(&row, 0)?).to_owned(),
    }])
}

/// A server that is ready, of which nothing else is known than how many it lets in.
fn full(instance: &Instance) -> Result<MemberObservation> {
    let all = settings::in_force(&instance.spec, Series::of(instance)?);
    let most = all.iter().find(|(name, _)| *name == "max_connections");
    let connections = most.and_then(|(_, value)| value.parse().ok());
    Ok(MemberObservation {
        ready: true,
        connections: connections.unwrap_or_default(),
        ..MemberObservation::silent(MEMBER)
    })
}

/// Distributions add their own words: `9.7.4-2`, `8.0.36-0ubuntu0.22.04.1`.
fn exact_version(full: &str) -> &str {
    full.split('-').next().unwrap_or(full)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distributions_words_are_no_part_of_the_version() {
        assert_eq!(exact_version("9.7.4-2"), "9.7.4");
        assert_eq!(exact_version("8.4.9"), "8.4.9");
    }
}
