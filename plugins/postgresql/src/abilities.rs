//! What the engine is able to do beside what every engine must: the way to the work itself.

use berth_sdk::Result;
use berth_sdk::engine::Instance;
use berth_sdk::engine::settings::Settings;
use berth_sdk::engine::users::{Database, Permission, Privilege, User, Users};

use crate::session::block_on;
use crate::{PostgreSql, databases, kept, privileges, reload, users};

impl Settings for PostgreSql {
    fn reload(instance: Instance) -> Result<Vec<String>> {
        block_on(reload::reload(&instance))
    }
}

impl Users for PostgreSql {
    fn list_users(instance: Instance) -> Result<Vec<User>> {
        kept::block_on(users::list(&instance))
    }

    fn create_user(
        instance: Instance,
        name: String,
        password: String,
        admin: bool,
    ) -> Result<User> {
        kept::block_on(users::create(&instance, &name, &password, admin))
    }

    fn change_user(
        instance: Instance,
        name: String,
        password: Option<String>,
        admin: Option<bool>,
    ) -> Result<User> {
        kept::block_on(users::change(&instance, &name, password.as_deref(), admin))
    }

    fn delete_user(instance: Instance, name: String) -> Result<()> {
        kept::block_on(users::delete(&instance, &name))
    }

    fn list_databases(instance: Instance, sizes: bool) -> Result<Vec<Database>> {
        kept::block_on(databases::list(&instance, sizes))
    }

    fn create_database(instance: Instance, name: String) -> Result<Database> {
        kept::block_on(databases::create(&instance, &name))
    }

    fn delete_database(instance: Instance, name: String) -> Result<()> {
        kept::block_on(databases::delete(&instance, &name))
    }

    fn list_privileges(
        instance: Instance,
        user: Option<String>,
        database: Option<String>,
    ) -> Result<Vec<Privilege>> {
        kept::block_on(privileges::list(
            &instance,
            user.as_deref(),
            database.as_deref(),
        ))
    }

    fn set_privilege(
        instance: Instance,
        user: String,
        database: String,
        permission: Permission,
    ) -> Result<Privilege> {
        kept::block_on(privileges::set(&instance, &user, &database, permission))
    }
}
