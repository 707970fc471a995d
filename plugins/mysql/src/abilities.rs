//! What the engine is able to do beside what every engine must: the way to the work itself.

use berth_sdk::Result;
use berth_sdk::engine::Instance;
use berth_sdk::engine::settings::Settings;
use berth_sdk::engine::users::{Database, Permission, Privilege, User, Users};

use crate::{MySql, databases, privileges, reload, users};

impl Settings for MySql {
    fn reload(instance: Instance) -> Result<Vec<String>> {
        reload::reload(&instance)
    }
}

impl Users for MySql {
    fn list_users(instance: Instance) -> Result<Vec<User>> {
        users::list(&instance)
    }

    fn create_user(
        instance: Instance,
        name: String,
        password: String,
        admin: bool,
    ) -> Result<User> {
        users::create(&instance, &name, &password, admin)
    }

    fn change_user(
        instance: Instance,
        name: String,
        password: Option<String>,
        admin: Option<bool>,
    ) -> Result<User> {
        users::change(&instance, &name, password.as_deref(), admin)
    }

    fn delete_user(instance: Instance, name: String) -> Result<()> {
        users::delete(&instance, &name)
    }

    fn list_databases(instance: Instance, sizes: bool) -> Result<Vec<Database>> {
        databases::list(&instance, sizes)
    }

    fn create_database(instance: Instance, name: String) -> Result<Database> {
        databases::create(&instance, &name)
    }

    fn delete_database(instance: Instance, name: String) -> Result<()> {
        databases::delete(&instance, &name)
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
