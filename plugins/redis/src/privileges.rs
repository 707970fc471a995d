//! What users may do. The server has one answer to that for all of its numbered databases.

use berth_sdk::engine::Instance;
use berth_sdk::engine::users::{Permission, Privilege};
use berth_sdk::{Error, Result};

use crate::acl::{self, Standing};
use crate::names::KEYSPACE;
use crate::session::Session;
use crate::users;

pub fn list(
    instance: &Instance,
    user: Option<&str>,
    database: Option<&str>,
) -> Result<Vec<Privilege>> {
    check_database(database.unwrap_or(KEYSPACE))?;
    let users = acl::Users::read(&mut Session::berth(instance)?)?;
    if let Some(user) = user {
        users.find(user)?;
    }
    let asked = users.entries.iter();
    let asked = asked.filter(|(name, _)| user.is_none_or(|user| user == *name));
    let shown = asked.map(|(name, entry)| privilege(name, permission(users.standing(entry))));
    Ok(shown.collect())
}

pub fn set(
    instance: &Instance,
    user: &str,
    database: &str,
    wanted: Permission,
) -> Result<Privilege> {
    if matches!(wanted, Permission::Custom) {
        return Err(Error::unsupported(
            "'custom' says that something else was granted in the server's own language; it cannot be set",
        ));
    }
    check_database(database)?;
    let mut session = Session::berth(instance)?;
    let users = acl::Users::read(&mut session)?;
    let standing = users.standing(users.find(user)?);
    match (standing, wanted) {
        // He has it, and more.
        (Standing::Admin, Permission::All) => acl::save(&mut session)?,
        (Standing::Admin, _) => {
            return Err(Error::conflict(format!(
                "'{user}' is an admin, and admins may do all"
            )));
        }
        (Standing::May(_), wanted) => {
            acl::change(&mut session, user, Standing::May(wanted).rules())?;
        }
    }
    Ok(privilege(user, wanted))
}

fn check_database(name: &str) -> Result<()> {
    if name == KEYSPACE {
        return Ok(());
    }
    Err(users::absent(name))
}

fn permission(standing: Standing) -> Permission {
    match standing {
        Standing::Admin => Permission::All,
        Standing::May(permission) => permission,
    }
}

fn privilege(user: &str, permission: Permission) -> Privilege {
    Privilege {
        user: user.to_owned(),
        database: KEYSPACE.to_owned(),
        permission,
    }
}
