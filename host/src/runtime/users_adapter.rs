//! An engine's ability `users`. Its calls go on in the session that is kept for the instance, so that a driver need not
//! log in for each. What it answers is believed as far as it fits what was asked; see `user_answers`.

use async_trait::async_trait;
use berth_bindings::users::exports::berth::plugin::users as wit;

use crate::model::plugin::InstanceContext;
use crate::model::user::{LogicalDatabase, Permission, Privilege, User, UserChange};
use crate::model::{Result, Secret};

use super::abilities::Ability;
use super::call::{Pace, call};
use super::user_answers::Asked;
use super::{Users, convert};

impl Ability<wit::GuestIndices> {
    fn asked(&self, context: &InstanceContext) -> Asked<'_> {
        Asked {
            build: &self.build,
            instance: context.id,
        }
    }
}

#[async_trait]
impl Users for Ability<wit::GuestIndices> {
    async fn list_users(&self, context: &InstanceContext) -> Result<Vec<User>> {
        let scope = self.session(context, None)?;
        let instance = convert::instance(context, &scope.network);
        let (call, outcome) = call!(
            self.exports,
            Pace::Talk,
            scope,
            "list-users",
            |engine, store| { engine.call_list_users(store, &instance) }
        );
        let found = call.answer(outcome)?.into_iter().map(user).collect();
        self.asked(context).users(found)
    }

    async fn create_user(
        &self,
        context: &InstanceContext,
        name: &str,
        password: &Secret,
        admin: bool,
    ) -> Result<User> {
        let scope = self.session(context, [password])?;
        let instance = convert::instance(context, &scope.network);
        let (call, outcome) = call!(
            self.exports,
            Pace::Talk,
            scope,
            "create-user",
            |engine, store| {
                engine.call_create_user(store, &instance, name, password.expose(), admin)
            }
        );
        let made = user(call.answer(outcome)?);
        self.asked(context).user(made, name, Some(admin))
    }

    async fn change_user(
        &self,
        context: &InstanceContext,
        name: &str,
        change: &UserChange,
    ) -> Result<User> {
        let scope = self.session(context, &change.password)?;
        let instance = convert::instance(context, &scope.network);
        let password = change.password.as_ref().map(Secret::expose);
        let (call, outcome) = call!(
            self.exports,
            Pace::Talk,
            scope,
            "change-user",
            |engine, store| {
                engine.call_change_user(store, &instance, name, password, change.admin)
            }
        );
        let changed = user(call.answer(outcome)?);
        self.asked(context).user(changed, name, change.admin)
    }

    async fn delete_user(&self, context: &InstanceContext, name: &str) -> Result<()> {
        let scope = self.session(context, None)?;
        let instance = convert::instance(context, &scope.network);
        let (call, outcome) = call!(
            self.exports,
            Pace::Talk,
            scope,
            "delete-user",
            |engine, store| { engine.call_delete_user(store, &instance, name) }
        );
        call.answer(outcome)
    }

    async fn list_databases(
        &self,
        context: &InstanceContext,
        sizes: bool,
    ) -> Result<Vec<LogicalDatabase>> {
        let scope = self.session(context, None)?;
        let instance = convert::instance(context, &scope.network);
        let (call, outcome) = call!(
            self.exports,
            Pace::Talk,
            scope,
            "list-databases",
            |engine, store| { engine.call_list_databases(store, &instance, sizes) }
        );
        let found = call.answer(outcome)?.into_iter().map(database).collect();
        self.asked(context).databases(found, sizes)
    }

    async fn create_database(
        &self,
        context: &InstanceContext,
        name: &str,
    ) -> Result<LogicalDatabase> {
        let scope = self.session(context, None)?;
        let instance = convert::instance(context, &scope.network);
        let (call, outcome) = call!(
            self.exports,
            Pace::Talk,
            scope,
            "create-database",
            |engine, store| { engine.call_create_database(store, &instance, name) }
        );
        let made = database(call.answer(outcome)?);
        self.asked(context).database(made, name)
    }

    async fn delete_database(&self, context: &InstanceContext, name: &str) -> Result<()> {
        let scope = self.session(context, None)?;
        let instance = convert::instance(context, &scope.network);
        let (call, outcome) = call!(
            self.exports,
            Pace::Talk,
            scope,
            "delete-database",
            |engine, store| { engine.call_delete_database(store, &instance, name) }
        );
        call.answer(outcome)
    }

    async fn list_privileges(
        &self,
        context: &InstanceContext,
        of_user: Option<&str>,
        in_database: Option<&str>,
    ) -> Result<Vec<Privilege>> {
        let scope = self.session(context, None)?;
        let instance = convert::instance(context, &scope.network);
        let (call, outcome) = call!(
            self.exports,
            Pace::Talk,
            scope,
            "list-privileges",
            |engine, store| { engine.call_list_privileges(store, &instance, of_user, in_database) }
        );
        let found = call.answer(outcome)?.into_iter().map(privilege).collect();
        self.asked(context).privileges(found, of_user, in_database)
    }

    async fn set_privilege(
        &self,
        context: &InstanceContext,
        of_user: &str,
        in_database: &str,
        permission: Permission,
    ) -> Result<Privilege> {
        let scope = self.session(context, None)?;
        let instance = convert::instance(context, &scope.network);
        let (call, outcome) = call!(
            self.exports,
            Pace::Talk,
            scope,
            "set-privilege",
            |engine, store| {
                engine.call_set_privilege(
                    store,
                    &instance,
                    of_user,
                    in_database,
                    permission_out(permission),
                )
            }
        );
        let wanted = Privilege {
            user: of_user.to_owned(),
            database: in_database.to_owned(),
            permission,
        };
        self.asked(context)
            .privilege(privilege(call.answer(outcome)?), wanted)
    }
}

fn user(user: wit::User) -> User {
    User {
        name: user.name,
        admin: user.admin,
    }
}

fn database(database: wit::Database) -> LogicalDatabase {
    LogicalDatabase {
        name: database.name,
        owner: database.owner,
        managed: database.managed,
        size_bytes: database.size_bytes,
    }
}

fn privilege(privilege: wit::Privilege) -> Privilege {
    Privilege {
        user: privilege.user,
        database: privilege.database,
        permission: match privilege.permission {
            wit::Permission::Readonly => Permission::Readonly,
            wit::Permission::Readwrite => Permission::Readwrite,
            wit::Permission::All => Permission::All,
            wit::Permission::Custom => Permission::Custom,
            wit::Permission::None => Permission::None,
        },
    }
}

fn permission_out(permission: Permission) -> wit::Permission {
    match permission {
        Permission::Readonly => wit::Permission::Readonly,
        Permission::Readwrite => wit::Permission::Readwrite,
        Permission::All => wit::Permission::All,
        Permission::Custom => wit::Permission::Custom,
        Permission::None => wit::Permission::None,
    }
}
