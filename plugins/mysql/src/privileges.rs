//! What users may do in databases, set exactly: whatever else was granted to the user there is revoked.
//!
//! The server does each statement whole or not at all, but not several of them. So what is too much is revoked before what
//! is lacking is granted: whoever looks in between sees less than before and after, never more.

use berth_sdk::engine::Instance;
use berth_sdk::engine::users::{Permission, Privilege};
use berth_sdk::{Error, Result};

use crate::bootstrap::prepare;
use crate::grants::{Account, Grants, Rights, quoted};
use crate::names::identifier;
use crate::session::{Session, failure, number, with};
use crate::wire::Failure;
use crate::{databases, users};

pub fn list(
    instance: &Instance,
    user: Option<&str>,
    database: Option<&str>,
) -> Result<Vec<Privilege>> {
    with(instance, |session| {
        let grants = Grants::read(session)?;
        let mut databases = databases::names(session)?;
        if let Some(wanted) = database {
            databases.retain(|name| name == wanted);
            if databases.is_empty() {
                return Err(Error::no_database(wanted));
            }
        }
        let mut names = grants.users();
        if let Some(wanted) = user {
            users::known(&grants, wanted)?;
            names.retain(|name| *name == wanted);
        }
        let of = |database: &String| {
            let seen = |name: &&str| privilege(&grants, name, database);
            names.iter().map(seen).collect::<Vec<_>>()
        };
        Ok(databases.iter().flat_map(of).collect())
    })
}

pub fn set(
    instance: &Instance,
    user: &str,
    database: &str,
    permission: Permission,
) -> Result<Privilege> {
    let Some(wanted) = Rights::of(permission) else {
        return Err(Error::custom_is_not_set("SQL"));
    };
    with(instance, |session| {
        let grants = prepare(session)?;
        users::known(&grants, user)?;
        if !databases::exists(session, database)? {
            return Err(Error::no_database(database));
        }
        if grants.is_admin(user) && permission != Permission::All {
            return Err(Error::conflict(format!(
                "'{user}' is an admin, and admins may do all in every database"
            )));
        }
        let accounts = grants.accounts_of(user);
        let more = |account: &&Account| grants.has_more(account, database);
        if !grants.is_admin(user) && accounts.iter().any(more) {
            return Err(Error::conflict(format!(
                "something else than this permission would be left to '{user}' in '{database}': rights on all \
                 databases, of a role that it is a member of, or of everybody; mend that in SQL first"
            )));
        }
        let mut revoked = false;
        for account in accounts {
            revoked |= exactly(session, &grants, account, database, wanted)?;
        }
        if revoked {
            // A session in the database goes by what it might when it went there.
            session.end(Some(user), Some(database))?;
        }
        let seen = privilege(&Grants::read(session)?, user, database);
        if seen.permission != permission {
            return Err(Error::conflict(format!(
                "somebody else changed what '{user}' may do in '{database}'"
            )));
        }
        Ok(seen)
    })
}

/// Take from an account whatever was granted to it in a database.
pub fn revoke_all(
    session: &mut Session,
    grants: &Grants,
    account: &Account,
    database: &str,
) -> Result<()> {
    exactly(session, grants, account, database, Rights::default()).map(drop)
}

/// Answers whether anything was revoked.
fn exactly(
    session: &mut Session,
    grants: &Grants,
    account: &Account,
    database: &str,
    wanted: Rights,
) -> Result<bool> {
    let (of, on) = (quoted(account), identifier(database));
    let held = grants.direct(account, database);
    let mut statements = Vec::new();
    let key = (account.clone(), database.to_owned());
    for (kind, name) in grants.finer.get(&key).into_iter().flatten() {
        let object = format!("{kind} {on}.{}", identifier(name));
        statements.push(format!("REVOKE ALL PRIVILEGES ON {object} FROM {of}"));
        statements.push(format!("REVOKE GRANT OPTION ON {object} FROM {of}"));
    }
    let excess = held.without(wanted);
    if !excess.is_empty() {
        statements.push(format!("REVOKE {} ON {on}.* FROM {of}", excess.sql()));
    }
    let revoked = !statements.is_empty();
    for sql in statements {
        match session.try_rows(&sql) {
            // The one before has taken all there was.
            Ok(_)
            | Err(Failure::Server(
                number::NONEXISTING_GRANT
                | number::NONEXISTING_TABLE_GRANT
                | number::NONEXISTING_PROC_GRANT,
                _,
            )) => {}
            Err(error) => return Err(failure("revoking privileges", &error)),
        }
    }
    let lacking = wanted.without(held);
    if !lacking.is_empty() {
        let sql = format!("GRANT {} ON {on}.* TO {of}", lacking.sql());
        session.run("setting the privilege", &sql)?;
    }
    Ok(revoked)
}

fn privilege(grants: &Grants, user: &str, database: &str) -> Privilege {
    Privilege {
        user: user.to_owned(),
        database: database.to_owned(),
        permission: grants.permission(user, database),
    }
}
