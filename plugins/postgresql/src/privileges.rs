//! What users may do in databases. It is set by way of the roles of `internal`, exactly: whatever else was granted to
//! the user there is revoked, and what it owns goes to the database's owner. It is read from what is granted now, so
//! that what somebody changed in SQL shows.

use berth_sdk::engine::Instance;
use berth_sdk::engine::users::{Permission, Privilege};
use berth_sdk::{Error, Result};
use postgres_protocol::escape::{escape_identifier, escape_literal};
use tokio_postgres::SimpleQueryRow;

use crate::internal::{self, BEGIN, SUPERADMIN};
use crate::session::{Session, text};
use crate::{databases, kept, privileges_sql, users};

pub async fn list(
    instance: &Instance,
    user: Option<&str>,
    database: Option<&str>,
) -> Result<Vec<Privilege>> {
    let session = kept::prepared(instance).await?;
    let found = databases_of(&session, user, database).await;
    let found = kept::leave(session, instance, found).await?;
    let mut all = Vec::new();
    for name in found {
        let there = match Session::superuser(instance, &name).await {
            Ok(session) => session,
            // It was dropped since.
            Err(Error::NotFound(_)) if database.is_none() => continue,
            Err(error) => return Err(error),
        };
        let read = read(&there, &name, user).await;
        there.close().await;
        all.extend(read?);
    }
    Ok(all)
}

pub async fn set(
    instance: &Instance,
    user: &str,
    database: &str,
    permission: Permission,
) -> Result<Privilege> {
    if matches!(permission, Permission::Custom) {
        return Err(Error::unsupported(
            "'custom' says that something else was granted in SQL; it cannot be set",
        ));
    }
    let session = kept::prepared(instance).await?;
    let checked = check(&session, user, database, permission).await;
    kept::leave(session, instance, checked).await?;
    let there = Session::superuser(instance, database).await?;
    let set = exactly(&there, user, database, permission).await;
    there.close().await;
    set
}

/// Take from a user whatever was granted to it by name in the session's database, whoever granted it. Within a
/// transaction of the superuser.
pub async fn revoke_all(session: &Session, user: &str) -> Result<()> {
    let sql = privileges_sql::granted_to(user);
    let rows = session.rows("looking for its privileges", &sql).await?;
    let mut sql = String::new();
    for row in &rows {
        // A revocation counts for what its author granted, and no more.
        let (grantor, statement) = (text(row, "grantor")?, text(row, "statement")?);
        sql.push_str(&format!(
            "SET LOCAL ROLE {grantor}; {statement}; SET LOCAL ROLE NONE; "
        ));
    }
    session.run("revoking privileges", &sql).await
}

async fn databases_of(
    session: &Session,
    user: Option<&str>,
    database: Option<&str>,
) -> Result<Vec<String>> {
    if let Some(user) = user {
        users::find(session, user).await?;
    }
    let one = database.map_or_else(String::new, |name| {
        format!("AND datname = {}", escape_literal(name))
    });
    let sql = format!(
        "SELECT datname FROM pg_database WHERE {} AND datallowconn {one} ORDER BY datname",
        databases::LISTED
    );
    let rows = session.rows("listing the databases", &sql).await?;
    match database {
        Some(name) if rows.is_empty() => Err(databases::absent(name)),
        Some(_) | None => rows
            .iter()
            .map(|row| Ok(text(row, "datname")?.to_owned()))
            .collect(),
    }
}

/// Whether it can be set at all.
async fn check(
    session: &Session,
    user: &str,
    database: &str,
    permission: Permission,
) -> Result<()> {
    let found = users::find(session, user).await?;
    let sql = format!(
        "SELECT coalesce(datdba = to_regrole('{SUPERADMIN}')::oid, false) AS managed \
         FROM pg_database WHERE {} AND datname = {}",
        databases::LISTED,
        escape_literal(database)
    );
    let row = session.row("looking for the database", &sql).await?;
    let row = row.ok_or_else(|| databases::absent(database))?;
    if text(&row, "managed")? != "t" {
        return Err(Error::unsupported(format!(
            "the database '{database}' was made in SQL: its privileges are its owner's to set, in SQL"
        )));
    }
    if found.admin && !matches!(permission, Permission::All) {
        return Err(Error::conflict(format!(
            "'{user}' is an admin, and admins may do all in every managed database"
        )));
    }
    Ok(())
}

async fn exactly(
    there: &Session,
    user: &str,
    database: &str,
    permission: Permission,
) -> Result<Privilege> {
    there.run("setting the privilege", BEGIN).await?;
    // Without its last word nothing of it holds.
    let set = give(there, user, database, permission).await;
    let set = there.or_roll_back(set).await?;
    if matches!(permission, Permission::None) {
        let sql = format!(
            "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity \
             WHERE datname = current_database() AND usename = {}",
            escape_literal(user)
        );
        there.run("ending the user's sessions", &sql).await?;
    }
    Ok(set)
}

/// In a transaction that it ends.
async fn give(
    there: &Session,
    user: &str,
    database: &str,
    permission: Permission,
) -> Result<Privilege> {
    let oid = internal::number(there).await?;
    if !matches!(permission, Permission::All) {
        give_away(there, user).await?;
    }
    revoke_all(there, user).await?;
    let name = escape_identifier(user);
    let group = |permission| {
        internal::group(&oid, permission)
            .map(|group| escape_identifier(&group))
            .unwrap_or_default()
    };
    let [ro, rw, all] = [Permission::Readonly, Permission::Readwrite, Permission::All].map(group);
    let mut sql = format!("REVOKE {ro}, {rw}, {all} FROM {name}");
    if !matches!(permission, Permission::None) {
        let wanted = group(permission);
        // A member that does not inherit would have to ask for its rights in each session.
        sql = format!("{sql}; ALTER ROLE {name} INHERIT; GRANT {wanted} TO {name}");
    }
    there.run("setting the privilege", &sql).await?;
    let seen = read(there, database, Some(user)).await?;
    let seen = seen
        .into_iter()
        .next()
        .ok_or_else(|| Error::not_found(format!("there is no user '{user}'")))?;
    if seen.permission != permission {
        return Err(Error::conflict(format!(
            "something else than this permission would be left to '{user}' in '{database}': rights of a role that it \
             is a member of, or rights that were taken from everybody with this permission; mend that in SQL first"
        )));
    }
    there.run("setting the privilege", "COMMIT").await?;
    Ok(seen)
}

/// What the user owns in this database becomes the database's owner's. The statement for that takes whole databases
/// along, so those are given back.
async fn give_away(there: &Session, user: &str) -> Result<()> {
    let literal = escape_literal(user);
    let sql = format!(
        "SELECT coalesce(string_agg(format('ALTER DATABASE %I OWNER TO %I', d.datname, r.rolname), '; ') FILTER (WHERE d.oid IS NOT NULL), '') AS back \
         FROM pg_roles r LEFT JOIN pg_database d ON d.datdba = r.oid WHERE r.rolname = {literal} \
         AND EXISTS (SELECT FROM pg_shdepend s JOIN pg_database h ON h.oid = s.dbid \
           WHERE h.datname = current_database() AND s.refclassid = 'pg_authid'::regclass \
           AND s.refobjid = r.oid AND s.deptype = 'o') GROUP BY r.oid"
    );
    let Some(row) = there.row("looking for what it owns", &sql).await? else {
        return Ok(());
    };
    let sql = format!(
        "REASSIGN OWNED BY {} TO {SUPERADMIN}; {}",
        escape_identifier(user),
        text(&row, "back")?
    );
    there.run("giving away what it owns", &sql).await
}

async fn read(there: &Session, database: &str, user: Option<&str>) -> Result<Vec<Privilege>> {
    let sql = privileges_sql::permissions(user);
    let rows = there.rows("reading the privileges", &sql).await?;
    rows.iter().map(|row| privilege(row, database)).collect()
}

fn privilege(row: &SimpleQueryRow, database: &str) -> Result<Privilege> {
    Ok(Privilege {
        user: text(row, "rolname")?.to_owned(),
        database: database.to_owned(),
        permission: match text(row, "permission")? {
            "readonly" => Permission::Readonly,
            "readwrite" => Permission::Readwrite,
            "all" => Permission::All,
            "none" => Permission::None,
            _ => Permission::Custom,
        },
    })
}
