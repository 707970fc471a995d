//! Removing a user: a role goes only when nothing in any database depends on it.
//!
//! What stands in the way is looked for first, so that a refusal changes nothing. After that the user cannot log in
//! any more, until it is gone; when something fails on the way, it can again. A removal that is cut off goes on when it
//! is repeated, and is given up by any other change of the user: until its end the user is listed.

use berth_sdk::engine::Instance;
use berth_sdk::{Error, Result};
use postgres_protocol::escape::{escape_identifier, escape_literal};

use crate::internal::{BEGIN, SUPERADMIN};
use crate::session::{Session, text};
use crate::{databases, ownership, privileges, users};

/// A database in which something depends on the user.
struct Place {
    name: String,
    kind: Kind,
    /// It owns something there.
    owns: bool,
    /// It can be connected to.
    open: bool,
}

enum Kind {
    Managed,
    /// One of the server's own, which no list shows.
    Hidden,
    /// Another user's.
    Foreign,
}

/// The session is one of the superuser in the maintenance database; the user is there.
pub async fn remove(session: &Session, instance: &Instance, user: &str) -> Result<()> {
    let Err(error) = forward(session, instance, user).await else {
        return Ok(());
    };
    // Of two failures the first is told. Without an answer from the server the mark of `shut_out` stays.
    drop(session.run("giving up the removal", "ROLLBACK").await);
    drop(readmit(session, user).await);
    Err(users::unless_gone(session, user, error).await)
}

/// What is true of a role that `shut_out` dealt with, or null.
const SHUT_OUT: &str = "rolvaliduntil < '0001-01-01 BC'";

/// Undo what `shut_out` did, if it did. Within a transaction of the superuser or without.
pub async fn readmit(session: &Session, user: &str) -> Result<()> {
    let sql = format!(
        "SELECT {} AS until FROM pg_roles WHERE rolname = {} AND {SHUT_OUT}",
        as_text(&format!(
            "CASE WHEN rolvaliduntil = '-infinity' THEN 'infinity' ELSE rolvaliduntil + interval '{SHIFT}' END"
        )),
        escape_literal(user)
    );
    match session.row("looking at the user", &sql).await? {
        Some(row) => valid_until(session, user, text(&row, "until")?).await,
        None => Ok(()),
    }
}

async fn forward(session: &Session, instance: &Instance, user: &str) -> Result<()> {
    refuse_what_cannot_go(session, user).await?;
    shut_out(session, user).await?;
    end_sessions(session, user).await?;
    // Until then it could still make things.
    for place in &refuse_what_cannot_go(session, user).await? {
        let there = match Session::superuser(instance, &place.name).await {
            Ok(there) => there,
            // It was dropped since.
            Err(Error::NotFound(_)) => continue,
            Err(error) => return Err(error),
        };
        let cleared = clear(&there, user, place).await;
        let cleared = there.or_roll_back(cleared).await;
        there.close().await;
        cleared?;
    }
    // Whoever was about to log in when it was shut out.
    end_sessions(session, user).await?;
    let name = escape_identifier(user);
    let sql = format!("{BEGIN}; DROP OWNED BY {name}; DROP ROLE {name}; COMMIT");
    session.run("removing the user", &sql).await
}

/// Where something depends on the user, when all of that can be removed or given away.
async fn refuse_what_cannot_go(session: &Session, user: &str) -> Result<Vec<Place>> {
    let places = places(session, user).await?;
    refuse_owner_of_databases(session, user).await?;
    let foreign = |place: &&Place| matches!(place.kind, Kind::Foreign) && place.owns;
    if let Some(place) = places.iter().find(foreign) {
        return Err(Error::conflict(format!(
            "'{user}' owns objects in the database '{}', which is not managed; give them to another user in SQL first",
            place.name
        )));
    }
    if let Some(place) = places.iter().find(|place| !place.open) {
        return Err(databases::closed(&place.name));
    }
    Ok(places)
}

/// Before the rest: what it owns cannot be told from what is somebody's business.
async fn refuse_owner_of_databases(session: &Session, user: &str) -> Result<()> {
    let sql = format!(
        "SELECT string_agg(quote_ident(datname), ', ' ORDER BY datname) AS names FROM pg_database d \
         JOIN pg_roles r ON r.oid = d.datdba WHERE r.rolname = {}",
        escape_literal(user)
    );
    let row = session.row("looking for its databases", &sql).await?;
    match row.as_ref().and_then(|row| row.get("names")) {
        Some(names) => Err(Error::conflict(format!(
            "'{user}' owns what is not managed: the databases {names}; delete them, or give them to another user in SQL first"
        ))),
        None => Ok(()),
    }
}

async fn places(session: &Session, user: &str) -> Result<Vec<Place>> {
    let sql = format!(
        "SELECT d.datname, d.datdba = to_regrole('{SUPERADMIN}')::oid AS managed, \
           d.datname IN ('postgres', 'template0', 'template1') AS hidden, {} AS open, \
           bool_or(s.deptype = 'o' AND s.classid NOT IN ('pg_default_acl'::regclass, 'pg_user_mapping'::regclass)) AS owns \
         FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid \
         JOIN pg_roles r ON s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.oid \
         WHERE r.rolname = {} GROUP BY d.oid ORDER BY d.datname",
        databases::OPEN,
        escape_literal(user)
    );
    let rows = session.rows("looking for what it owns", &sql).await?;
    let place = |row: &tokio_postgres::SimpleQueryRow| {
        let is = |column| Ok::<_, Error>(text(row, column)? == "t");
        Ok(Place {
            name: text(row, "datname")?.to_owned(),
            kind: match (is("managed")?, is("hidden")?) {
                (true, _) => Kind::Managed,
                (false, true) => Kind::Hidden,
                (false, false) => Kind::Foreign,
            },
            owns: is("owns")?,
            open: is("open")?,
        })
    };
    rows.iter().map(place).collect()
}

/// By so much is a date of expiry moved to shut a user out, and back to let it in: as many leap years as any other
/// four thousand. Nobody means a date before Christ, so it is also the mark of a removal that was cut off.
const SHIFT: &str = "4000 years";

/// What is moved from beyond this does not get before Christ. It counts as never.
const NEVER: &str = "4000-01-01";

/// No login that begins now succeeds. Who cannot log in as it is stays so.
async fn shut_out(session: &Session, user: &str) -> Result<()> {
    let sql = format!(
        "SELECT {} AS until FROM pg_roles \
         WHERE rolname = {} AND coalesce(rolvaliduntil, 'infinity') > now()",
        as_text(&format!(
            "CASE WHEN rolvaliduntil < '{NEVER}' THEN rolvaliduntil - interval '{SHIFT}' ELSE '-infinity' END"
        )),
        escape_literal(user)
    );
    match session.row("looking at the user", &sql).await? {
        Some(row) => valid_until(session, user, text(&row, "until")?).await,
        None => Ok(()),
    }
}

async fn valid_until(session: &Session, user: &str, until: &str) -> Result<()> {
    let sql = format!(
        "ALTER ROLE {} VALID UNTIL {}",
        escape_identifier(user),
        escape_literal(until)
    );
    session
        .run("setting until when the user may log in", &sql)
        .await
}

/// A moment as the server reads it back, whatever its own way of writing dates is.
fn as_text(moment: &str) -> String {
    format!(
        "(SELECT CASE WHEN isfinite(t) THEN to_char(t AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US\"+00\" BC') \
         ELSE t::text END FROM (SELECT {moment} AS t) moment)"
    )
}

async fn end_sessions(session: &Session, user: &str) -> Result<()> {
    let sql = format!(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = {}",
        escape_literal(user)
    );
    session.run("ending the user's sessions", &sql).await
}

async fn clear(there: &Session, user: &str, place: &Place) -> Result<()> {
    there.run("removing the user", BEGIN).await?;
    let name = escape_identifier(user);
    if matches!(place.kind, Kind::Managed) {
        ownership::disarm(there, user).await?;
        let sql = format!("REASSIGN OWNED BY {name} TO {SUPERADMIN}");
        there.run("giving away what it owns", &sql).await?;
    }
    privileges::revoke_all(there, user).await?;
    let sql = format!("DROP OWNED BY {name} CASCADE; COMMIT");
    there.run("revoking its privileges", &sql).await
}
