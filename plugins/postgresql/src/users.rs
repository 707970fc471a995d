//! Users of a running server: whoever can log in, but for Berth itself.

use berth_sdk::engine::Instance;
use berth_sdk::engine::users::User;
use berth_sdk::names::first_user_stays;
use berth_sdk::{Error, Result};
use postgres_protocol::escape::{escape_identifier, escape_literal};
use tokio_postgres::SimpleQueryRow;

use crate::bootstrap::SAFE_CREATEROLE;
use crate::internal::{BEGIN, SUPERADMIN};
use crate::lowering::{self, Which};
use crate::scram::verifier;
use crate::session::{Session, text};
use crate::{catalog, kept, names, removal};

/// Which roles are users: not the server's own and not Berth's. Whoever can log in under another name that begins as Berth's
/// do was made by somebody else, who shall not be able to hide it.
pub const LISTED: &str =
    "rolcanlogin AND oid >= 16384 AND rolname NOT IN ('berth', '_rdb_superadmin')";

const ADMIN: &str =
    "coalesce(pg_has_role(oid, to_regrole('_rdb_superadmin')::oid, 'MEMBER'), false) AS admin";

pub async fn list(instance: &Instance) -> Result<Vec<User>> {
    let sql = format!("SELECT rolname, {ADMIN} FROM pg_authid WHERE {LISTED} ORDER BY rolname");
    let (session, rows) = kept::asked(instance, "listing the users", &sql).await?;
    let users = rows.iter().map(user).collect();
    kept::leave(session, instance, users).await
}

pub async fn create(instance: &Instance, name: &str, password: &str, admin: bool) -> Result<User> {
    names::check_user(name)?;
    let session = kept::prepared(instance).await?;
    let made = make(&session, instance, name, password, admin).await;
    kept::leave(session, instance, made).await
}

pub async fn change(
    instance: &Instance,
    name: &str,
    password: Option<&str>,
    admin: Option<bool>,
) -> Result<User> {
    // Before anything is locked: it takes its time.
    let verifier = password.map(verifier).transpose()?;
    let sql = format!("{BEGIN}; {}", finding(name));
    let (session, found) = kept::asked(instance, "looking for the user", &sql).await?;
    let found = found.first();
    let altered = alter(&session, instance, name, found, verifier.as_deref(), admin).await;
    let altered = session.or_roll_back(altered).await;
    kept::leave(session, instance, altered).await
}

pub async fn delete(instance: &Instance, name: &str) -> Result<()> {
    if name == names::user(&instance.spec) {
        return Err(first_user_stays(name));
    }
    let session = kept::prepared(instance).await?;
    let removed = match find(&session, name).await {
        Ok(_) => removal::remove(&session, instance, name).await,
        Err(error) => Err(error),
    };
    kept::leave(session, instance, removed).await
}

/// The user of this name.
pub async fn find(session: &Session, name: &str) -> Result<User> {
    let row = session.row("looking for the user", &finding(name)).await?;
    user(&row.ok_or_else(|| Error::no_user(name))?)
}

/// What makes an admin, or no admin, of a role that is there.
pub fn admin_sql(name: &str, major: u32, admin: bool) -> String {
    admin_sql_quoted(&escape_identifier(name), major, admin)
}

/// The same, for a name as SQL writes it.
pub fn admin_sql_quoted(name: &str, major: u32, admin: bool) -> String {
    let create_role = if admin && major >= SAFE_CREATEROLE {
        "CREATEROLE"
    } else {
        "NOCREATEROLE"
    };
    if admin {
        // A member that does not inherit would have to ask for its rights in each session.
        return format!(
            "ALTER ROLE {name} INHERIT CREATEDB {create_role}; \
             REVOKE {SUPERADMIN} FROM {name}; GRANT {SUPERADMIN} TO {name}"
        );
    }
    format!("ALTER ROLE {name} NOCREATEDB {create_role}; REVOKE {SUPERADMIN} FROM {name}")
}

async fn make(
    session: &Session,
    instance: &Instance,
    name: &str,
    password: &str,
    admin: bool,
) -> Result<User> {
    let taken = format!(
        "SELECT FROM pg_roles WHERE rolname = {}",
        escape_literal(name)
    );
    let looked = session.row("looking for the user", &taken).await?;
    if looked.is_some() {
        return Err(Error::AlreadyExists(format!(
            "there is a user or role '{name}' already"
        )));
    }
    let mut sql = format!(
        "{BEGIN}; CREATE ROLE {} LOGIN NOSUPERUSER NOREPLICATION NOBYPASSRLS PASSWORD {}",
        escape_identifier(name),
        escape_literal(&verifier(password)?),
    );
    if admin {
        let major = catalog::major_of(instance)?;
        sql = format!("{sql}; {}", admin_sql(name, major, true));
    }
    session
        .run("making the user", &format!("{sql}; COMMIT"))
        .await?;
    find(session, name).await
}

/// To the end of the transaction, in which the user was looked for.
async fn alter(
    session: &Session,
    instance: &Instance,
    name: &str,
    found: Option<&SimpleQueryRow>,
    verifier: Option<&str>,
    admin: Option<bool>,
) -> Result<User> {
    let found = found.ok_or_else(|| Error::no_user(name))?;
    let was_admin = is(found, "admin")?;
    if verifier.is_none() && is(found, "shut_out")? {
        removal::readmit(session, name).await?;
    }
    let mut sql = String::new();
    if let Some(verifier) = verifier {
        sql = format!(
            "ALTER ROLE {} VALID UNTIL 'infinity' PASSWORD {}; ",
            escape_identifier(name),
            escape_literal(verifier),
        );
    }
    if let Some(admin) = admin {
        let major = catalog::major_of(instance)?;
        sql = format!("{sql}{}; ", admin_sql(name, major, admin));
    }
    // Before it is final: somebody may have made it an admin by way of another role.
    let sql = format!("{sql}{}", finding(name));
    let changed = session.rows("changing the user", &sql).await?;
    let changed = user(changed.first().ok_or_else(|| Error::no_user(name))?)?;
    if admin.is_some_and(|admin| admin != changed.admin) {
        return Err(Error::admin_by_another_role(name));
    }
    let doing = "changing the user";
    if was_admin && !changed.admin {
        lowering::commit(session, doing, name, Which::All).await?;
    } else {
        session.run(doing, "COMMIT").await?;
    }
    Ok(changed)
}

/// The user of this name, and whether a removal that was cut off has shut it out.
fn finding(name: &str) -> String {
    format!(
        "SELECT rolname, {ADMIN}, coalesce({}, false) AS shut_out FROM pg_authid WHERE {LISTED} AND rolname = {}",
        removal::SHUT_OUT,
        escape_literal(name)
    )
}

fn is(row: &SimpleQueryRow, column: &str) -> Result<bool> {
    Ok(text(row, column)? == "t")
}

fn user(row: &SimpleQueryRow) -> Result<User> {
    Ok(User {
        name: text(row, "rolname")?.to_owned(),
        admin: is(row, "admin")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_gets_what_is_safe_in_its_version() {
        for (major, right) in [
            (14, " NOCREATEROLE"),
            (15, " NOCREATEROLE"),
            (16, " CREATEROLE"),
        ] {
            let sql = admin_sql("a\"b", major, true);
            assert!(sql.contains(right) && sql.contains(" CREATEDB"), "{sql}");
            assert!(sql.contains("\"a\"\"b\""), "{sql}");
            let sql = admin_sql("ann", major, false);
            assert!(sql.contains("NOCREATEDB NOCREATEROLE"), "{sql}");
        }
    }
}
