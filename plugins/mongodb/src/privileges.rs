//! What users may do in which database.

use berth_sdk::engine::Instance;
use berth_sdk::engine::users::{Permission, Privilege};
use berth_sdk::{Error, Result};
use bson::doc;

use crate::roles::{self, Reaches, Role};
use crate::session::Session;
use crate::{databases, users};

pub fn list(
    instance: &Instance,
    user: Option<&str>,
    database: Option<&str>,
) -> Result<Vec<Privilege>> {
    let mut session = Session::superuser(instance)?;
    let users = match user {
        Some(user) => vec![users::find(&mut session, user)?],
        None => users::all(&mut session)?,
    };
    let databases = match database {
        Some(database) => {
            databases::require(&mut session, database)?;
            vec![database.to_owned()]
        }
        None => databases::all(&mut session)?,
    };
    let reaches = Reaches::ask(&mut session, users.iter().flat_map(|user| &user.roles))?;
    let mut found = Vec::new();
    for user in &users {
        found.extend(databases.iter().map(|database| Privilege {
            user: user.name.clone(),
            database: database.clone(),
            permission: reaches.permission(database, &user.roles),
        }));
    }
    Ok(found)
}

/// What is missing is given, then what is too much is taken. Each is one command about these roles alone, so that two who
/// set different databases do not undo each other's work.
pub fn set(
    instance: &Instance,
    user: &str,
    database: &str,
    wanted: Permission,
) -> Result<Privilege> {
    let roles = roles::of(wanted, database)
        .ok_or_else(|| Error::custom_is_not_set("the server's own language"))?;
    let mut session = Session::superuser(instance)?;
    databases::require(&mut session, database)?;
    let known = users::find(&mut session, user)?;
    if roles::are_admins(&known.roles) {
        return if wanted == Permission::All {
            Ok(privilege(user, database, wanted))
        } else {
            Err(Error::admin_may_all(user))
        };
    }
    let reaches = Reaches::ask(&mut session, known.roles.iter())?;
    if let Some(role) = reaches.reaching(database, &known.roles) {
        return Err(Error::conflict(format!(
            "'{user}' may do more by the role '{}', which was granted in the server's own language; revoke it first",
            role.name
        )));
    }
    let has = |role: &Role| known.roles.contains(role);
    let missing: Vec<_> = roles.iter().filter(|role| !has(role)).cloned().collect();
    let is_too_much = |role: &Role| role.database == database && !roles.contains(role);
    let too_much: Vec<_> = known
        .roles
        .iter()
        .filter(|role| is_too_much(role))
        .cloned()
        .collect();
    change(&mut session, "grantRolesToUser", user, &missing)?;
    let taken = change(&mut session, "revokeRolesFromUser", user, &too_much);
    if taken.is_err() {
        change(&mut session, "revokeRolesFromUser", user, &missing)?;
    }
    taken?;
    Ok(privilege(user, database, wanted))
}

fn change(session: &mut Session, command: &str, user: &str, roles: &[Role]) -> Result<()> {
    if roles.is_empty() {
        return Ok(());
    }
    let command = doc! {command: user, "roles": roles::shown(roles)};
    session.ask("changing the privilege", command).map(drop)
}

fn privilege(user: &str, database: &str, permission: Permission) -> Privilege {
    Privilege {
        user: user.to_owned(),
        database: database.to_owned(),
        permission,
    }
}
