//! Removing a user: a role goes only when nothing in any database depends on it.
//!
//! What stands in the way is looked for first, so that a refusal changes nothing. After that the user cannot log in
//! any more, and a removal that is cut off goes on when it is repeated: until its end the user is listed.

use berth_sdk::engine::Instance;
use berth_sdk::{Error, Result};
use postgres_protocol::escape::{escape_identifier, escape_literal};

use crate::internal::{BEGIN, SUPERADMIN};
use crate::privileges;
use crate::session::{Session, text};

/// A database in which something depends on the user.
struct Place {
    name: String,
    kind: Kind,
    /// It owns something there.
    owns: bool,
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
    let places = places(session, user).await?;
    refuse_owner_of_databases(session, user).await?;
    let foreign = |place: &&Place| matches!(place.kind, Kind::Foreign) && place.owns;
    if let Some(place) = places.iter().find(foreign) {
        return Err(Error::conflict(format!(
            "'{user}' owns objects in the database '{}', which is not managed; give them to another user in SQL first",
            place.name
        )));
    }
    session
        .run("ending the user's sessions", &shut_out(user))
        .await?;
    for place in &places {
        let there = Session::superuser(instance, &place.name).await?;
        let cleared = clear(&there, user, place).await;
        let cleared = there.or_roll_back(cleared).await;
        there.close().await;
        cleared?;
    }
    let name = escape_identifier(user);
    let sql = format!("{BEGIN}; DROP OWNED BY {name}; DROP ROLE {name}; COMMIT");
    session.run("removing the user", &sql).await
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
           d.datname IN ('postgres', 'template0', 'template1') AS hidden, \
           bool_or(s.deptype = 'o' AND s.classid NOT IN ('pg_default_acl'::regclass, 'pg_user_mapping'::regclass)) AS owns \
         FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid \
         JOIN pg_roles r ON s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.oid \
         WHERE r.rolname = {} GROUP BY d.oid, d.datname, d.datdba ORDER BY d.datname",
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
        })
    };
    rows.iter().map(place).collect()
}

/// No login that begins now succeeds, and those that are there end.
fn shut_out(user: &str) -> String {
    format!(
        "ALTER ROLE {} CONNECTION LIMIT 0; \
         SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = {}",
        escape_identifier(user),
        escape_literal(user)
    )
}

async fn clear(there: &Session, user: &str, place: &Place) -> Result<()> {
    there.run("removing the user", BEGIN).await?;
    let name = escape_identifier(user);
    if matches!(place.kind, Kind::Managed) {
        let sql = format!("REASSIGN OWNED BY {name} TO {SUPERADMIN}");
        there.run("giving away what it owns", &sql).await?;
    }
    privileges::revoke_all(there, user).await?;
    let sql = format!("DROP OWNED BY {name} CASCADE; COMMIT");
    there.run("revoking its privileges", &sql).await
}
