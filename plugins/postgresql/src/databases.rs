//! Logical databases of a running server. Managed ones belong to a role of Berth's; others were made in SQL and
//! belong to whoever made them. A database that belongs to the superuser is being made, and nobody's yet.

use berth_sdk::engine::Instance;
use berth_sdk::engine::users::Database;
use berth_sdk::{Error, Result, log};
use postgres_protocol::escape::{escape_identifier, escape_literal};
use tokio_postgres::SimpleQueryRow;

use crate::internal::{self, SUPERADMIN};
use crate::session::{Session, text};
use crate::{kept, names};

/// Which databases are the callers'.
pub const LISTED: &str =
    "datname NOT IN ('postgres', 'template0', 'template1') AND datdba >= 16384";

/// Whether a database lets anybody in: it may have been told not to, or be what a `DROP DATABASE` that was cut off left.
pub const OPEN: &str = "(datallowconn AND datconnlimit <> -2)";

const SHOWN: &str = "datname, pg_get_userbyid(datdba) AS owner, \
    coalesce(datdba = to_regrole('_rdb_superadmin')::oid, false) AS managed";

pub async fn list(instance: &Instance, sizes: bool) -> Result<Vec<Database>> {
    let session = kept::prepared(instance).await?;
    let size = if sizes {
        "pg_database_size(oid)"
    } else {
        "NULL"
    };
    let sql =
        format!("SELECT {SHOWN}, {size} AS size FROM pg_database WHERE {LISTED} ORDER BY datname");
    let rows = session.rows("listing the databases", &sql).await;
    let rows = kept::leave(session, instance, rows).await?;
    rows.iter().map(database).collect()
}

pub async fn create(instance: &Instance, name: &str) -> Result<Database> {
    names::check_database(name)?;
    let session = kept::prepared(instance).await?;
    let made = match state(&session, name).await {
        Ok(State::Listed) => Err(Error::database_exists(name)),
        Ok(State::Absent | State::Unfinished) => make(&session, instance, name).await,
        Err(error) => Err(error),
    };
    let shown = match made {
        Ok(_) => show(&session, name).await,
        Err(error) => Err(error),
    };
    kept::leave(session, instance, shown).await
}

pub async fn delete(instance: &Instance, name: &str) -> Result<()> {
    let session = kept::prepared(instance).await?;
    let dropped = drop_database(&session, name).await;
    kept::leave(session, instance, dropped).await
}

/// Make a database, or go on where that was cut off: it is managed when all is done and not before. Answers its number.
pub async fn make(session: &Session, instance: &Instance, name: &str) -> Result<String> {
    let quoted = escape_identifier(name);
    if matches!(state(session, name).await?, State::Absent) {
        // It wants a transaction, and so a message, of its own.
        let sql = format!("CREATE DATABASE {quoted}");
        session.run("making the database", &sql).await?;
        let sql = format!("REVOKE ALL ON DATABASE {quoted} FROM PUBLIC");
        session.run("making the database", &sql).await?;
    }
    let there = Session::superuser(instance, name).await?;
    let equipped = internal::equip(&there).await;
    there.close().await;
    let oid = equipped?;
    let sql = format!("ALTER DATABASE {quoted} OWNER TO {SUPERADMIN}");
    session.run("making the database", &sql).await?;
    Ok(oid)
}

enum State {
    Absent,
    /// Its making was cut off.
    Unfinished,
    Listed,
}

async fn state(session: &Session, name: &str) -> Result<State> {
    let sql = format!(
        "SELECT datdba >= 16384 AS finished FROM pg_database WHERE datname = {}",
        escape_literal(name)
    );
    match session.row("looking for the database", &sql).await? {
        None => Ok(State::Absent),
        Some(row) if text(&row, "finished")? == "t" => Ok(State::Listed),
        Some(_) => Ok(State::Unfinished),
    }
}

async fn show(session: &Session, name: &str) -> Result<Database> {
    let sql = format!(
        "SELECT {SHOWN}, NULL AS size FROM pg_database WHERE {LISTED} AND datname = {}",
        escape_literal(name)
    );
    match session.row("looking for the database", &sql).await? {
        Some(row) => database(&row),
        None => Err(Error::no_database(name)),
    }
}

async fn drop_database(session: &Session, name: &str) -> Result<()> {
    let sql = format!(
        "SELECT datistemplate FROM pg_database WHERE {LISTED} AND datname = {}",
        escape_literal(name)
    );
    let found = session.row("looking for the database", &sql).await?;
    let row = found.ok_or_else(|| Error::no_database(name))?;
    refuse_what_stays(session, name).await?;
    let quoted = escape_identifier(name);
    if text(&row, "datistemplate")? == "t" {
        let sql = format!("ALTER DATABASE {quoted} IS_TEMPLATE false");
        session.run("removing the database", &sql).await?;
    }
    let sql = format!("DROP DATABASE {quoted} WITH (FORCE)");
    session.run("removing the database", &sql).await?;
    // It is gone, whatever becomes of this; the next removal sweeps again.
    if internal::sweep(session).await.is_err() {
        log::warn("the roles of a removed database are left for the next removal to sweep");
    }
    Ok(())
}

/// What keeps a database from being dropped although its sessions are ended, and does not pass by itself (manual of
/// `DROP DATABASE`).
async fn refuse_what_stays(session: &Session, name: &str) -> Result<()> {
    let literal = escape_literal(name);
    let sql = format!(
        "SELECT string_agg(what, ', ' ORDER BY what) AS what FROM ( \
           SELECT 'the prepared transaction ' || quote_literal(gid) FROM pg_prepared_xacts WHERE database = {literal} \
           UNION ALL SELECT 'the active replication slot ' || quote_ident(slot_name) FROM pg_replication_slots \
             WHERE database = {literal} AND active \
           UNION ALL SELECT 'the subscription ' || quote_ident(subname) FROM pg_subscription s \
             JOIN pg_database d ON d.oid = s.subdbid WHERE d.datname = {literal} \
         ) AS obstacles (what)"
    );
    let row = session.row("looking at the database", &sql).await?;
    match row.as_ref().and_then(|row| row.get("what")) {
        Some(what) => Err(Error::conflict(format!(
            "'{name}' cannot be removed because of {what}; end that in SQL first"
        ))),
        None => Ok(()),
    }
}

/// There is one that nobody can connect to, Berth neither.
pub fn closed(name: &str) -> Error {
    Error::conflict(format!(
        "the database '{name}' accepts no connections; let it accept them (ALTER DATABASE {} ALLOW_CONNECTIONS true) or delete it first",
        escape_identifier(name)
    ))
}

fn database(row: &SimpleQueryRow) -> Result<Database> {
    let size = row.get("size").map(|size| {
        size.parse()
            .map_err(|_| Error::failed("the size of a database is not a number"))
    });
    Ok(Database {
        name: text(row, "datname")?.to_owned(),
        owner: text(row, "owner")?.to_owned(),
        managed: text(row, "managed")? == "t",
        size_bytes: size.transpose()?,
    })
}
