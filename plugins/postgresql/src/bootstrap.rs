//! Make a new server what its spec says: the first user, the first database, and their rights. The first user is an
//! admin, and the first database a managed one.
//!
//! Every statement bears repetition: the host calls again after any failure, and may after a success.

use berth_sdk::engine::Instance;
use berth_sdk::engine::users::Permission;
use berth_sdk::server::another_program;
use berth_sdk::{Error, Result, log};
use postgres_protocol::escape::{escape_identifier, escape_literal};
use tokio_postgres::SimpleQueryRow;

use crate::internal::{BEGIN, SUPERADMIN};
use crate::plan::USER_SECRET;
use crate::scram::{self, verifier};
use crate::session::{self, MAINTENANCE, Session};
use crate::{catalog, databases, internal, names, users};

/// From this version on a database's owner owns its schema `public`, and others cannot create there.
const SAFE_PUBLIC_SCHEMA: u32 = 15;

/// Up to version 15 whoever has CREATEROLE can grant himself every role but superusers, such as
/// `pg_execute_server_program`, and so run programs as the server's system user (manual 22.2, and
/// the release notes of 16). From this version on it does not reach further than its holder's own roles.
pub const SAFE_CREATEROLE: u32 = 16;

pub async fn bootstrap(instance: &Instance) -> Result<()> {
    let major = catalog::major_of(instance)?;
    let password = instance
        .secret(USER_SECRET)
        .ok_or_else(|| Error::failed("the first user's password is not known to Berth"))?;
    if major < SAFE_PUBLIC_SCHEMA {
        // New databases are copies of it. Nobody may be connected to it while they are made.
        let session = Session::superuser(instance, "template1").await?;
        let result = session.run("securing the template", SECURE_PUBLIC).await;
        session.close().await;
        result?;
    }
    let session = Session::superuser(instance, MAINTENANCE).await?;
    let result = first_user_and_database(&session, instance, major, password).await;
    session.close().await;
    result
}

/// A session of the superuser on a server that has what Berth keeps in it for users and permissions. One that was
/// bootstrapped by an older build is brought up to it.
pub async fn prepared(instance: &Instance) -> Result<Session> {
    let session = Session::superuser(instance, MAINTENANCE).await?;
    let prepared = prepare(&session, instance).await;
    let (session, ()) = session.unless_failed(prepared).await?;
    Ok(session)
}

/// The same, and the rows that its first statements give, which change nothing. Both are in one message,
/// because logging in takes long enough.
pub async fn asked(
    instance: &Instance,
    doing: &str,
    sql: &str,
) -> Result<(Session, Vec<SimpleQueryRow>)> {
    let session = Session::superuser(instance, MAINTENANCE).await?;
    let found = session.rows(doing, &format!("{MARK}; {sql}")).await;
    let found = found.map(|rows| {
        let mut rows = rows.into_iter();
        let first = rows.next();
        first
            .is_some_and(|first| is_prepared(&first))
            .then(|| rows.collect())
    });
    let (session, found) = session.unless_failed(found).await?;
    if let Some(rows) = found {
        return Ok((session, rows));
    }
    let made = bring_up(&session, instance).await;
    let (session, ()) = session.unless_failed(made).await?;
    let rows = session.rows(doing, sql).await;
    session.unless_failed(rows).await
}

/// Whether it is the row of a server on which all is done. One that lacks the role of the admins gives none.
fn is_prepared(row: &SimpleQueryRow) -> bool {
    row.try_get("rolconnlimit").ok().flatten() == Some(PREPARED)
}

async fn prepare(session: &Session, instance: &Instance) -> Result<()> {
    let row = session.row("looking for what is there", MARK).await?;
    if row.is_some_and(|row| is_prepared(&row)) {
        return Ok(());
    }
    bring_up(session, instance).await
}

async fn bring_up(session: &Session, instance: &Instance) -> Result<()> {
    let found = Found::look(session, instance).await?;
    if !found.quick {
        quicken(session, instance).await?;
    }
    if !found.ready {
        found.manage(session, instance).await?;
    }
    mark(session).await;
    Ok(())
}

/// One that is not marked is looked at again by the next call: nobody who only reads is refused for that.
async fn mark(session: &Session) {
    let sql = format!("{BEGIN}; ALTER ROLE {SUPERADMIN} CONNECTION LIMIT {PREPARED}; COMMIT");
    let marked = session.run("marking what is done", &sql).await;
    if session.or_roll_back(marked).await.is_err() {
        log::warn("the server could not be marked as prepared; the next call looks again");
    }
}

/// What the server made of the superuser's password when it was initialised takes most of the time of each login.
async fn quicken(session: &Session, instance: &Instance) -> Result<()> {
    let Some(password) = session::superuser_password(instance) else {
        return Err(Error::failed(
            "the superuser's password is not known to Berth",
        ));
    };
    let verifier = scram::verifier_of_drawn(password)?;
    let sql = format!(
        "ALTER ROLE CURRENT_USER PASSWORD {}",
        escape_literal(&verifier)
    );
    session.run("making logins quick", &sql).await
}

/// What version 15 and later do by themselves.
const SECURE_PUBLIC: &str = "ALTER SCHEMA public OWNER TO pg_database_owner; \
    REVOKE CREATE ON SCHEMA public FROM PUBLIC";

async fn first_user_and_database(
    session: &Session,
    instance: &Instance,
    major: u32,
    password: &str,
) -> Result<()> {
    check_program(session, major).await?;
    let mut found = Found::look(session, instance).await?;
    let user = names::user(&instance.spec);
    let role = role(&user, major, &verifier(password)?, found.role);
    session.run("making the first user", &role).await?;
    session.run("setting rights", &rights(major)).await?;
    if !found.quick {
        quicken(session, instance).await?;
    }
    (found.role, found.wanted) = (true, true);
    found.manage(session, instance).await?;
    mark(session).await;
    Ok(())
}

/// That the server is of the version that was planned.
async fn check_program(session: &Session, major: u32) -> Result<()> {
    let sql = "SELECT pg_catalog.current_setting('server_version') AS version";
    let row = session.row("asking for the version", sql).await?;
    let said = row.as_ref().and_then(|row| row.get("version"));
    let said = said.unwrap_or_default();
    if said.starts_with(&format!("{major}.")) {
        return Ok(());
    }
    Err(another_program(said, &format!("PostgreSQL {major}")))
}

/// What is there of an instance's first user and first database.
struct Found {
    role: bool,
    database: bool,
    managed: bool,
    /// The database is to be made when it is not there.
    wanted: bool,
    /// All of `manage` was done once.
    ready: bool,
    /// So was `quicken`.
    quick: bool,
}

impl Found {
    async fn look(session: &Session, instance: &Instance) -> Result<Self> {
        let user = names::user(&instance.spec);
        let database = names::database(&instance.spec);
        let row = session
            .row("looking for what is there", &existing(&user, &database))
            .await?;
        let is = |column| row.as_ref().and_then(|row| row.get(column)) == Some("t");
        Ok(Self {
            role: is("role"),
            database: is("database"),
            managed: is("managed"),
            wanted: false,
            ready: is("ready"),
            quick: is("quick"),
        })
    }

    /// Make the first database a managed one, and the first user an admin who may do all in it.
    async fn manage(&self, session: &Session, instance: &Instance) -> Result<()> {
        let user = escape_identifier(&names::user(&instance.spec));
        let database = names::database(&instance.spec);
        let mut sql = BEGIN.to_owned();
        internal::make_superadmin(session).await?;
        if self.database && !self.managed {
            // Its owner was the first user: an older build made it, or the user himself did in place of ours.
            let sql = format!(
                "ALTER DATABASE {} OWNER TO CURRENT_USER",
                escape_identifier(&database)
            );
            session.run("taking over the first database", &sql).await?;
        }
        if self.role {
            let admin = users::admin_sql_quoted(&user, catalog::major_of(instance)?, true);
            sql = format!("{sql}; {admin}");
        }
        if self.database || self.wanted {
            let oid = databases::make(session, instance, &database).await?;
            if self.role {
                let all = internal::group(&oid, Permission::All).unwrap_or_default();
                sql = format!("{sql}; GRANT {} TO {user}", escape_identifier(&all));
            }
        }
        // The mark comes with the last of it.
        let sql = format!("{sql}; {MARK_MANAGED}; COMMIT");
        session.run("making the first user an admin", &sql).await
    }
}

/// Where it is marked that all of this was done, once: a superuser's password that somebody sets by hand later keeps its
/// rounds. The mark stands where the first look at the server's catalogue goes in any case; to join or to compute something
/// would double what a new session takes for it.
const MARK: &str = "SELECT rolconnlimit FROM pg_authid WHERE rolname = '_rdb_superadmin'";

/// So many may be connected as the role of admins, as which nobody can log in.
const PREPARED: &str = "0";

/// The last of `manage`, which is not done twice: whom it made an admin may be none any more.
const MARK_MANAGED: &str =
    "COMMENT ON ROLE _rdb_superadmin IS 'Owns the managed databases. Its members are admins.'";

fn existing(user: &str, database: &str) -> String {
    let database = escape_literal(database);
    format!(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {user}) AS role, \
         EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = {database}) AS database, \
         EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = {database} \
           AND datdba = to_regrole('_rdb_superadmin')::oid) AS managed, \
         EXISTS (SELECT FROM pg_catalog.pg_shdescription WHERE classoid = 'pg_catalog.pg_authid'::regclass \
           AND objoid = to_regrole('_rdb_superadmin')::oid) AS ready, \
         EXISTS (SELECT FROM pg_catalog.pg_authid WHERE rolname = current_user \
           AND starts_with(rolpassword, {drawn})) AS quick",
        user = escape_literal(user),
        drawn = escape_literal(scram::DRAWN),
    )
}

fn role(user: &str, major: u32, verifier: &str, exists: bool) -> String {
    let verb = if exists { "ALTER" } else { "CREATE" };
    let create_role = if major >= SAFE_CREATEROLE {
        "CREATEROLE"
    } else {
        "NOCREATEROLE"
    };
    format!(
        "{verb} ROLE {} LOGIN NOSUPERUSER NOREPLICATION NOBYPASSRLS CREATEDB {create_role} \
         PASSWORD {}",
        escape_identifier(user),
        escape_literal(verifier),
    )
}

/// Nobody but the server stays in `template1`: whoever is connected to it keeps all others from making a database.
fn rights(major: u32) -> String {
    let mut sql = "REVOKE ALL ON DATABASE template1 FROM PUBLIC".to_owned();
    if major < SAFE_PUBLIC_SCHEMA {
        sql.push_str("; ");
        sql.push_str(SECURE_PUBLIC);
    }
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_wherever_they_stand() {
        let (user, database) = ("Ann\"; DROP ROLE x; --", "it's");
        assert!(existing(user, database).contains("datname = 'it''s'"));
        let sql = role(user, 16, "p", false);
        assert!(sql.contains("\"Ann\"\"; DROP ROLE x; --\""), "{sql}");
    }

    #[test]
    fn no_statement_holds_a_password() {
        let sql = role("app_user", 16, &verifier("correct horse").unwrap(), false);
        assert!(!sql.contains("correct"), "{sql}");
        assert!(sql.contains("PASSWORD 'SCRAM-SHA-256$4096:"), "{sql}");
    }

    #[test]
    fn who_could_break_out_with_it_does_not_get_createrole() {
        for (major, right) in [
            (14, " NOCREATEROLE "),
            (15, " NOCREATEROLE "),
            (16, " CREATEROLE "),
        ] {
            let sql = role("app_user", major, "p", true);
            assert!(sql.contains(right), "{sql}");
            assert!(sql.contains(" NOSUPERUSER "), "{sql}");
        }
    }
}
