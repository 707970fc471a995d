//! What users may do. The server has one answer to that for all of its numbered databases.

use berth_sdk::engine::Instance;
use berth_sdk::engine::users::{Permission, Privilege};
use berth_sdk::{Error, Result};

use crate::acl::Standing;
use crate::names::KEYSPACE;
use crate::shards::{Presence, Shards};
use crate::users;

pub fn list(
    instance: &Instance,
    user: Option<&str>,
    database: Option<&str>,
) -> Result<Vec<Privilege>> {
    check_database(database.unwrap_or(KEYSPACE))?;
    let users = Shards::berth(instance)?.users()?;
    if let Some(user) = user
        && users.presence(user) == Presence::Nowhere
    {
        return Err(Error::no_user(user));
    }
    let asked = users.names().into_iter();
    let asked = asked.filter(|name| user.is_none_or(|user| user == *name));
    let shown = asked.map(|name| privilege(name, permission(users.standing(name))));
    Ok(shown.collect())
}

pub fn set(
    instance: &Instance,
    user: &str,
    database: &str,
    wanted: Permission,
) -> Result<Privilege> {
    if matches!(wanted, Permission::Custom) {
        return Err(Error::custom_is_not_set("the server's own language"));
    }
    check_database(database)?;
    let mut shards = Shards::berth(instance)?;
    let standing = shards.users()?.find(user)?;
    match (standing, wanted) {
        // He has it, and more.
        (Standing::Admin, Permission::All) => shards.save()?,
        (Standing::Admin, _) => return Err(Error::admin_may_all(user)),
        (Standing::May(_), wanted) => {
            let rules = shards.rules(Standing::May(wanted));
            shards.change(user, &rules)?;
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
