//! Giving away what a user owns in a database, without a touch on what is temporary.
//!
//! `REASSIGN OWNED` is the server's own word for it, and takes everything along: the user's temporary tables too, which
//! the session that made them could not use any more, and databases. So objects are given away one by one, and that
//! word is the last resort, for what no other gives away.
//!
//! A routine that does what its owner may do would do what the new owner may, for everybody: before it is given away, it
//! comes to do what its caller may.

use berth_sdk::{Error, Result};
use postgres_protocol::escape::{escape_identifier, escape_literal};
use tokio_postgres::SimpleQueryRow;

use crate::internal::SUPERADMIN;
use crate::session::{Session, text};

/// What lasts of what the user owns in the session's database becomes the database's owner's. Within a transaction of
/// the superuser.
pub async fn give_away(there: &Session, user: &str) -> Result<()> {
    disarm(there, user).await?;
    let owned = there
        .rows("looking for what it owns", &owned(user))
        .await?
        .iter()
        .map(Owned::read)
        .collect::<Result<Vec<_>>>()?;
    let Some(stubborn) = owned.iter().find(|it| it.lasts && it.statement.is_empty()) else {
        let statements = owned.iter().map(|it| &*it.statement);
        let sql = statements.collect::<Vec<_>>().join("; ");
        return there.run("giving away what it owns", &sql).await;
    };
    if owned.iter().any(|it| !it.lasts) {
        return Err(Error::conflict(format!(
            "'{user}' has temporary objects open, which would break if it lost the {}; end its sessions in this database first",
            stubborn.name
        )));
    }
    let sql = format!(
        "SELECT coalesce(string_agg(format('ALTER DATABASE %I OWNER TO %I', d.datname, r.rolname), '; '), '') AS back \
         FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba WHERE r.rolname = {}",
        escape_literal(user)
    );
    let row = there.row("looking for its databases", &sql).await?;
    let back = row.as_ref().map_or(Ok(""), |row| text(row, "back"))?;
    let sql = format!(
        "REASSIGN OWNED BY {} TO {SUPERADMIN}; {back}",
        escape_identifier(user)
    );
    there.run("giving away what it owns", &sql).await
}

/// Have the user's routines run as whoever calls them.
pub async fn disarm(there: &Session, user: &str) -> Result<()> {
    let sql = format!(
        "SELECT coalesce(string_agg(format('ALTER ROUTINE %s SECURITY INVOKER', p.oid::regprocedure), '; '), '') AS disarmed \
         FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner WHERE p.prosecdef AND r.rolname = {}",
        escape_literal(user)
    );
    let row = there.row("looking for its routines", &sql).await?;
    let disarmed = row.as_ref().map_or(Ok(""), |row| text(row, "disarmed"))?;
    there.run("changing its routines", disarmed).await
}

struct Owned {
    name: String,
    /// Not a session's own.
    lasts: bool,
    /// Gives it away; empty where there is none, or no need of one.
    statement: String,
}

impl Owned {
    fn read(row: &SimpleQueryRow) -> Result<Self> {
        Ok(Self {
            name: text(row, "name")?.to_owned(),
            lasts: text(row, "lasts")? == "t",
            statement: text(row, "statement")?.to_owned(),
        })
    }
}

/// Without what goes with another object (a sequence with the column that it serves), and without default privileges
/// and user mappings, which are said of the user rather than owned. What was dropped meanwhile has no type.
fn owned(user: &str) -> String {
    format!(
        "SELECT format('%s %s', o.type, o.identity) AS name, o.lasts, CASE WHEN o.lasts AND o.verb IS NOT NULL \
           THEN format('ALTER %s %s OWNER TO {SUPERADMIN}', o.verb, o.identity) ELSE '' END AS statement \
         FROM (SELECT i.type, i.identity, coalesce(i.schema !~ '^pg_temp_', true) AS lasts, CASE \
             WHEN i.type IN ('function', 'procedure', 'aggregate') THEN 'ROUTINE' \
             WHEN i.type = 'statistics object' THEN 'STATISTICS' \
             WHEN i.type = 'foreign-data wrapper' THEN 'FOREIGN DATA WRAPPER' \
             WHEN i.type IN ('schema', 'table', 'view', 'materialized view', 'foreign table', 'sequence', 'type', \
               'operator', 'operator class', 'operator family', 'collation', 'conversion', 'text search dictionary', \
               'text search configuration', 'language', 'large object', 'server', 'publication') THEN upper(i.type) \
             END AS verb \
           FROM pg_shdepend s JOIN pg_roles r ON r.oid = s.refobjid AND s.refclassid = 'pg_authid'::regclass, \
             pg_identify_object(s.classid, s.objid, s.objsubid) i \
           WHERE r.rolname = {} AND s.deptype = 'o' AND i.type IS NOT NULL AND i.identity IS NOT NULL \
             AND s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) \
             AND s.classid NOT IN ('pg_default_acl'::regclass, 'pg_user_mapping'::regclass) \
             AND NOT EXISTS (SELECT FROM pg_class c JOIN pg_depend d \
               ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.refclassid = 'pg_class'::regclass \
               WHERE s.classid = 'pg_class'::regclass AND c.oid = s.objid AND c.relkind = 'S' \
               AND d.deptype IN ('a', 'i'))) o",
        escape_literal(user)
    )
}
