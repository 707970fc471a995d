//! How a server fares.

use berth_sdk::engine::{Instance, MemberObservation, Role};
use berth_sdk::{Error, Result};
use tokio_postgres::SimpleQueryRow;

use crate::plan::MEMBER;
use crate::session::{MAINTENANCE, Session, text};

/// One answer to all questions. Berth's own sessions do not count, the one that asks and the one that may be kept.
const QUESTIONS: &str = "SELECT pg_catalog.pg_is_in_recovery() AS replica, \
    (SELECT coalesce(sum(pg_catalog.pg_database_size(oid)), 0)::bigint \
       FROM pg_catalog.pg_database) AS bytes, \
    (SELECT count(*) FROM pg_catalog.pg_stat_activity \
      WHERE backend_type = 'client backend' AND usename IS DISTINCT FROM current_user) AS connections, \
    pg_catalog.current_setting('server_version') AS version";

pub async fn observe(instance: &Instance) -> Result<Vec<MemberObservation>> {
    let session = match Session::superuser(instance, MAINTENANCE).await {
        Ok(session) => session,
        // It starts, stops, recovers or hangs: a fact about the member, not a failure of looking at it.
        Err(Error::RetryAfter(_)) => return Ok(vec![MemberObservation::silent(MEMBER)]),
        Err(error) => return Err(error),
    };
    let row = session.row("looking at the server", QUESTIONS).await;
    session.close().await;
    let row = row?.ok_or_else(|| Error::failed("the server answered without an answer"))?;
    Ok(vec![member(&row)?])
}

fn member(row: &SimpleQueryRow) -> Result<MemberObservation> {
    let role = match text(row, "replica")? {
        "f" => Role::Primary,
        _ => Role::Replica,
    };
    Ok(MemberObservation {
        member: MEMBER.into(),
        role,
        ready: true,
        data_bytes: number(row, "bytes")?,
        connections: u32::try_from(number(row, "connections")?).unwrap_or(u32::MAX),
        version: exact_version(text(row, "version")?).to_owned(),
    })
}

/// Distributions add their own words: `15.18 (Debian 15.18-0+deb12u1)`.
fn exact_version(full: &str) -> &str {
    full.split(' ').next().unwrap_or(full)
}

fn number(row: &SimpleQueryRow, column: &str) -> Result<u64> {
    text(row, column)?
        .parse()
        .map_err(|_| Error::failed(format!("the server's {column} is not a number")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distributions_words_are_no_part_of_the_version() {
        assert_eq!(exact_version("15.18 (Debian 15.18-0+deb12u1)"), "15.18");
        assert_eq!(exact_version("18.6"), "18.6");
    }
}
