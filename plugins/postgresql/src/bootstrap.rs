//! Make a new server what its spec says: the first user, the first database, and their rights.
//!
//! Every statement bears repetition: the host calls again after any failure, and may after a success.

use berth_sdk::engine::Instance;
use berth_sdk::{Error, Result};
use postgres_protocol::escape::{escape_identifier, escape_literal};

use crate::catalog;
use crate::login::verifier;
use crate::names;
use crate::plan::USER_SECRET;
use crate::session::{MAINTENANCE, Session};

/// From this version on a database's owner owns its schema `public`, and others cannot create there.
const SAFE_PUBLIC_SCHEMA: u32 = 15;

/// Up to version 15 whoever has CREATEROLE can grant himself every role but superusers, such as
/// `pg_execute_server_program`, and so run programs as the server's system user (manual 22.2, and
/// the release notes of 16). From this version on it does not reach further than its holder's own roles.
const SAFE_CREATEROLE: u32 = 16;

pub async fn bootstrap(instance: &Instance) -> Result<()> {
    let major = catalog::major(&instance.spec.version)
        .ok_or_else(|| Error::unsupported("this version of PostgreSQL is not known"))?;
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

/// What version 15 and later do by themselves.
const SECURE_PUBLIC: &str = "ALTER SCHEMA public OWNER TO pg_database_owner; \
    REVOKE CREATE ON SCHEMA public FROM PUBLIC";

async fn first_user_and_database(
    session: &Session,
    instance: &Instance,
    major: u32,
    password: &str,
) -> Result<()> {
    let user = names::user(&instance.spec);
    let database = names::database(&instance.spec);
    let found = session
        .row("looking for what is there", &existing(&user, &database))
        .await?;
    let is_there = |column| found.as_ref().and_then(|row| row.get(column)) == Some("t");

    let role = role(&user, major, password, is_there("role"));
    session.run("making the first user", &role).await?;
    // CREATE DATABASE wants a transaction, and so a message, of its own.
    let making = database_for(&database, &user, is_there("database"));
    session.run("making the first database", &making).await?;
    session
        .run("setting rights", &rights(&database, major))
        .await
}

fn existing(user: &str, database: &str) -> String {
    format!(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {}) AS role, \
         EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = {}) AS database",
        escape_literal(user),
        escape_literal(database),
    )
}

fn role(user: &str, major: u32, password: &str, exists: bool) -> String {
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
        escape_literal(&verifier(password)),
    )
}

fn database_for(database: &str, owner: &str, exists: bool) -> String {
    let database = escape_identifier(database);
    let owner = escape_identifier(owner);
    if exists {
        return format!("ALTER DATABASE {database} OWNER TO {owner}");
    }
    format!("CREATE DATABASE {database} OWNER {owner}")
}

/// A user gets into the databases he was let into. Nobody but the server stays in `template1`: whoever
/// is connected to it keeps all others from making a database.
fn rights(database: &str, major: u32) -> String {
    let mut sql = format!(
        "REVOKE ALL ON DATABASE {} FROM PUBLIC; REVOKE ALL ON DATABASE template1 FROM PUBLIC",
        escape_identifier(database)
    );
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
        for sql in [
            role(user, 16, "p", false),
            database_for("d", user, false),
            database_for("d", user, true),
        ] {
            assert!(sql.contains("\"Ann\"\"; DROP ROLE x; --\""), "{sql}");
        }
        assert!(rights("a\"b", 16).contains("\"a\"\"b\""));
    }

    #[test]
    fn no_statement_holds_a_password() {
        let sql = role("app_user", 16, "correct horse", false);
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
