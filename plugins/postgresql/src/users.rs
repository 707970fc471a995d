//! Users of a running server: whoever can log in, but for Berth itself.

use berth_sdk::engine::Instance;
use berth_sdk::engine::users::User;
use berth_sdk::names::first_user_stays;
use berth_sdk::server::SOON;
use berth_sdk::{Error, Result};
use postgres_protocol::escape::{escape_identifier, escape_literal};
use tokio_postgres::SimpleQueryRow;

use crate::bootstrap::SAFE_CREATEROLE;
use crate::internal::{BEGIN, SUPERADMIN};
use crate::lowering::{self, Which};
use crate::names::SUPERUSER;
use crate::scram::verifier;
use crate::session::{Session, text};
use crate::{catalog, kept, names, removal};

/// The numbers below are the server's own roles' (manual, "Object Identifier Types" and `transam.h`).
const FIRST_MADE: u32 = 16384;

/// Which roles are users: not the server's own and not Berth's. Whoever can log in under another name that begins as Berth's
/// do was made by somebody else, who shall not be able to hide it.
pub fn are_listed() -> String {
    format!(
        "rolcanlogin AND oid >= {FIRST_MADE} AND rolname NOT IN ('{SUPERUSER}', '{SUPERADMIN}')"
    )
}

/// What tells of roles whether they are users, and which. What can be compared and sorted here is, for a new session reads in
/// its server's catalogue about each operator of a question, and that takes longer than the rows.
const ROLES: &str = "SELECT oid, rolname, rolcanlogin, rolvaliduntil, \
    pg_has_role(oid, to_regrole('_rdb_superadmin'), 'MEMBER') AS admin FROM pg_authid";

pub async fn list(instance: &Instance) -> Result<Vec<User>> {
    let sql = format!("{ROLES} WHERE rolcanlogin");
    let (session, rows) = kept::asked(instance, "listing the users", &sql).await?;
    let users: Result<Vec<_>> = rows.iter().map(listed).collect();
    let users = users.map(|users| {
        let mut users: Vec<_> = users.into_iter().flatten().collect();
        users.sort_by(|one, other| one.name.cmp(&other.name));
        users
    });
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
    let major = catalog::major_of(instance)?;
    let verifier = password.map(|password| tokio::spawn(verifier_meanwhile(password.to_owned())));
    let (session, found) = kept::asked(instance, "looking for the user", &finding(name)).await?;
    let verifier = match verifier {
        Some(made) => match made.await {
            Ok(made) => made.map(Some),
            Err(error) => Err(Error::failed(error.to_string())),
        },
        None => Ok(None),
    };
    let (session, verifier) = session.unless_failed(verifier).await?;
    let change = Change {
        verifier,
        admin,
        major,
    };
    let changed = change.make(&session, name, found.first()).await;
    kept::leave(session, instance, changed).await
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
    found(name, row.as_ref())
}

/// Why something did not come about that was done to a user who was there: another call may have been faster.
pub async fn unless_gone(session: &Session, name: &str, error: Error) -> Error {
    match find(session, name).await {
        Err(gone @ Error::NotFound(_)) => gone,
        _ => error,
    }
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

/// A verifier takes its time: it is made while the server works, at a login or the first question.
async fn verifier_meanwhile(password: String) -> Result<String> {
    tokio::task::yield_now().await;
    verifier(&password)
}

/// What is to become of a user.
struct Change {
    verifier: Option<String>,
    admin: Option<bool>,
    major: u32,
}

impl Change {
    async fn make(
        &self,
        session: &Session,
        name: &str,
        row: Option<&SimpleQueryRow>,
    ) -> Result<User> {
        found(name, row)?;
        let readmit = self.verifier.is_none() && row.is_some_and(may_be_shut_out);
        let changed = self.in_transaction(session, name, readmit).await;
        match session.or_roll_back(changed).await {
            Err(error @ Error::Failed(_)) => Err(unless_gone(session, name, error).await),
            changed => changed,
        }
    }

    async fn in_transaction(&self, session: &Session, name: &str, readmit: bool) -> Result<User> {
        let mut begin = format!("{BEGIN}; ");
        if readmit {
            session.run(CHANGING, &begin).await?;
            removal::readmit(session, name).await?;
            begin.clear();
        }
        match self.admin {
            Some(false) => self.lower(session, name, &begin).await,
            Some(true) | None => self.alter(session, name, &begin).await,
        }
    }

    /// Nothing that is taken from the user.
    async fn alter(&self, session: &Session, name: &str, begin: &str) -> Result<User> {
        let sql = format!("{begin}{}{}; COMMIT", self.sql(name), finding(name));
        let row = session.row(CHANGING, &sql).await?;
        // It is made already: nobody shall take this for a refusal.
        let gone = || Error::retry(SOON, "somebody else is changing the user");
        row.map(|row| listed(&row))
            .transpose()?
            .flatten()
            .ok_or_else(gone)
    }

    async fn lower(&self, session: &Session, name: &str, begin: &str) -> Result<User> {
        let finding = finding(name);
        let sql = format!("{begin}{finding}; {}{finding}", self.sql(name));
        let rows = session.rows(CHANGING, &sql).await?;
        let before = found(name, rows.first())?;
        let after = found(name, rows.last())?;
        // Before it is final: somebody may have made it an admin by way of another role.
        if after.admin {
            return Err(Error::admin_by_another_role(name));
        }
        if before.admin {
            lowering::commit(session, CHANGING, name, Which::All).await?;
        } else {
            session.run(CHANGING, "COMMIT").await?;
        }
        Ok(after)
    }

    /// Each with what ends it.
    fn sql(&self, name: &str) -> String {
        let mut sql = String::new();
        if let Some(verifier) = &self.verifier {
            sql = format!(
                "ALTER ROLE {} VALID UNTIL 'infinity' PASSWORD {}; ",
                escape_identifier(name),
                escape_literal(verifier),
            );
        }
        if let Some(admin) = self.admin {
            sql = format!("{sql}{}; ", admin_sql(name, self.major, admin));
        }
        sql
    }
}

const CHANGING: &str = "changing the user";

fn finding(name: &str) -> String {
    format!("{ROLES} WHERE rolname = {}", escape_literal(name))
}

fn found(name: &str, row: Option<&SimpleQueryRow>) -> Result<User> {
    let user = row.map(listed).transpose()?.flatten();
    user.ok_or_else(|| Error::no_user(name))
}

/// The user that a role is, if it is one: the same as `are_listed`.
fn listed(role: &SimpleQueryRow) -> Result<Option<User>> {
    let oid: u32 = text(role, "oid")?
        .parse()
        .map_err(|e| Error::failed(format!("the server gave a role a number that is none: {e}")))?;
    let name = text(role, "rolname")?;
    let berths = [SUPERUSER, SUPERADMIN].contains(&name);
    let is_user = text(role, "rolcanlogin")? == "t" && oid >= FIRST_MADE && !berths;
    Ok(is_user.then(|| User {
        name: name.to_owned(),
        // Null where nobody is one yet.
        admin: role.get("admin") == Some("t"),
    }))
}

/// Whether a removal that was cut off may have shut it out; `readmit` knows. Nobody else means a date before Christ.
fn may_be_shut_out(role: &SimpleQueryRow) -> bool {
    let until = role.get("rolvaliduntil").unwrap_or_default();
    until == "-infinity" || until.ends_with(" BC")
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
