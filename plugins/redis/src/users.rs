//! Users of a running server, and what stands for its databases: the ability, and the way to the work itself.

use berth_sdk::engine::Instance;
use berth_sdk::engine::users::{Database, Permission, Privilege, User, Users};
use berth_sdk::names::first_user_stays;
use berth_sdk::{Error, Result};

use crate::acl::{self, Standing};
use crate::names::{self, KEYSPACE};
use crate::shards::{Presence, Shards};
use crate::{Redis, privileges, provisioning};

impl Users for Redis {
    fn list_users(instance: Instance) -> Result<Vec<User>> {
        let users = Shards::berth(&instance)?.users()?;
        let names = users.names().into_iter();
        let shown = names.map(|name| User {
            name: name.to_owned(),
            admin: users.standing(name) == Standing::Admin,
        });
        Ok(shown.collect())
    }

    fn create_user(
        instance: Instance,
        name: String,
        password: String,
        admin: bool,
    ) -> Result<User> {
        names::check_user(&name)?;
        let mut shards = Shards::berth(&instance)?;
        match shards.users()?.presence(&name) {
            Presence::OnAll => {
                // It may have been made by a call that was cut off before it was written down.
                shards.save()?;
                return Err(Error::user_exists(&name));
            }
            // Or before it was made everywhere.
            Presence::OnSome | Presence::Nowhere => {}
        }
        let mut rules = vec!["reset".to_owned(), "on".to_owned()];
        rules.extend(acl::password_rules(&password));
        if admin {
            rules.extend(shards.rules(Standing::Admin));
        }
        shards.change(&name, &rules)?;
        Ok(User { name, admin })
    }

    fn change_user(
        instance: Instance,
        name: String,
        password: Option<String>,
        admin: Option<bool>,
    ) -> Result<User> {
        let mut shards = Shards::berth(&instance)?;
        let was = shards.users()?.find(&name)? == Standing::Admin;
        let becomes = admin.unwrap_or(was);
        let mut rules = Vec::new();
        if let Some(password) = &password {
            rules.extend(acl::password_rules(password));
        }
        match (was, becomes) {
            (_, true) => rules.extend(shards.rules(Standing::Admin)),
            (true, false) => rules.extend(shards.rules(Standing::May(Permission::None))),
            (false, false) => {}
        }
        shards.change(&name, &rules)?;
        Ok(User {
            name,
            admin: becomes,
        })
    }

    fn delete_user(instance: Instance, name: String) -> Result<()> {
        if name == names::user(&instance.spec) {
            return Err(first_user_stays(&name));
        }
        let mut shards = Shards::berth(&instance)?;
        match shards.users()?.presence(&name) {
            Presence::Nowhere => {
                shards.save()?;
                Err(Error::no_user(&name))
            }
            // His connections end with him.
            Presence::OnSome | Presence::OnAll => shards.remove(&name),
        }
    }

    fn list_databases(instance: Instance, sizes: bool) -> Result<Vec<Database>> {
        let mut shards = Shards::berth(&instance)?;
        let size_bytes = if sizes {
            let mut sum = 0_u64;
            for session in shards.each() {
                let bytes = provisioning::Info::read(session)?.data_bytes()?;
                sum = sum.saturating_add(bytes);
            }
            Some(sum)
        } else {
            None
        };
        Ok(vec![Database {
            name: KEYSPACE.into(),
            owner: names::user(&instance.spec),
            managed: true,
            size_bytes,
        }])
    }

    fn create_database(_instance: Instance, name: String) -> Result<Database> {
        if name == KEYSPACE {
            return Err(Error::database_exists(&name));
        }
        Err(no_databases())
    }

    fn delete_database(_instance: Instance, name: String) -> Result<()> {
        if name == KEYSPACE {
            return Err(no_databases());
        }
        Err(absent(&name))
    }

    fn list_privileges(
        instance: Instance,
        user: Option<String>,
        database: Option<String>,
    ) -> Result<Vec<Privilege>> {
        privileges::list(&instance, user.as_deref(), database.as_deref())
    }

    fn set_privilege(
        instance: Instance,
        user: String,
        database: String,
        permission: Permission,
    ) -> Result<Privilege> {
        privileges::set(&instance, &user, &database, permission)
    }
}

/// There is no database of this name.
pub fn absent(name: &str) -> Error {
    Error::not_found(format!(
        "there is no database '{name}'; what stands for all of them is '{KEYSPACE}'"
    ))
}

fn no_databases() -> Error {
    Error::unsupported(format!(
        "Redis has no logical databases that could be made or deleted: its numbered ones are always there, users may do \
         the same in all of them, and '{KEYSPACE}' stands for them"
    ))
}
