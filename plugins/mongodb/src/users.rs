//! Users of a running server: all that are in the database of users, but for Berth's own.

use berth_sdk::engine::Instance;
use berth_sdk::engine::users::{Database, Permission, Privilege, User, Users};
use berth_sdk::names::first_user_stays;
use berth_sdk::{Error, Result};
use bson::{Array, Bson, Document, doc};

use crate::names::{SUPERUSER, USERS_DATABASE};
use crate::plan::SUPERUSER_SECRET;
use crate::roles::{self, Role};
use crate::session::{Session, code, failure, secret};
use crate::wire::Failure;
use crate::{MongoDb, databases, names, privileges};

/// Somebody, and what he may do.
pub struct Known {
    pub name: String,
    pub roles: Vec<Role>,
}

impl Users for MongoDb {
    fn list_users(instance: Instance) -> Result<Vec<User>> {
        let known = all(&mut Session::superuser(&instance)?)?;
        Ok(known.into_iter().map(User::from).collect())
    }

    fn create_user(
        instance: Instance,
        name: String,
        password: String,
        admin: bool,
    ) -> Result<User> {
        names::check_user(&name)?;
        let mut session = Session::superuser(&instance)?;
        let given = if admin {
            roles::of_admins()
        } else {
            Vec::new()
        };
        match session.try_ask(USERS_DATABASE, creation(&name, &password, &given)) {
            Ok(_) => Ok(User { name, admin }),
            Err(Failure::Server(code::USER_EXISTS, _)) => Err(Error::user_exists(&name)),
            Err(error) => Err(failure("making the user", &error)),
        }
    }

    /// One command, which the server does whole or not at all.
    fn change_user(
        instance: Instance,
        name: String,
        password: Option<String>,
        admin: Option<bool>,
    ) -> Result<User> {
        let mut session = Session::superuser(&instance)?;
        let known = find(&mut session, &name)?;
        let was = roles::are_admins(&known.roles);
        let becomes = admin.unwrap_or(was);
        let of_admins = roles::of_admins();
        let command = match (password, was == becomes) {
            (None, true) => None,
            (None, false) if becomes => {
                Some(doc! {"grantRolesToUser": &name, "roles": roles::shown(&of_admins)})
            }
            (None, false) => {
                Some(doc! {"revokeRolesFromUser": &name, "roles": roles::shown(&of_admins)})
            }
            (Some(password), same) => {
                let mut change =
                    doc! {"updateUser": &name, "pwd": password, "mechanisms": mechanisms()};
                if !same {
                    let others = known.roles.into_iter();
                    let others = others.filter(|role| !of_admins.contains(role));
                    let added = of_admins.iter().filter(|_| becomes).cloned();
                    let all: Vec<_> = others.chain(added).collect();
                    change.insert("roles", roles::shown(&all));
                }
                Some(change)
            }
        };
        if let Some(command) = command {
            session.ask("changing the user", command)?;
        }
        Ok(User {
            name,
            admin: becomes,
        })
    }

    fn delete_user(instance: Instance, name: String) -> Result<()> {
        if name == names::user(&instance.spec) {
            return Err(first_user_stays(&name));
        }
        let mut session = Session::superuser(&instance)?;
        if name == SUPERUSER {
            return Err(Error::no_user(&name));
        }
        let removed = session.try_ask(USERS_DATABASE, doc! {"dropUser": &name});
        match removed {
            // An earlier call may have got no further.
            Ok(_) | Err(Failure::Server(code::USER_NOT_FOUND, _)) => {
                let whose = vec![Bson::Document(doc! {"user": &name, "db": USERS_DATABASE})];
                let kill = doc! {"killAllSessions": whose};
                ended(session.try_ask(USERS_DATABASE, kill))?;
                removed.map(drop).map_err(|_| Error::no_user(&name))
            }
            Err(error) => Err(failure("removing the user", &error)),
        }
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

impl From<Known> for User {
    fn from(known: Known) -> Self {
        Self {
            admin: roles::are_admins(&known.roles),
            name: known.name,
        }
    }
}

/// The callers' users.
pub fn all(session: &mut Session) -> Result<Vec<Known>> {
    shown(session, Bson::Int32(1))
}

/// Among the callers' users.
pub fn find(session: &mut Session, name: &str) -> Result<Known> {
    let found = shown(session, name.into())?.into_iter().next();
    found.ok_or_else(|| Error::no_user(name))
}

/// The command that makes a user with this password. The server hashes it, and leaves it out of its log.
pub fn creation(name: &str, password: &str, given: &[Role]) -> Document {
    doc! {
        "createUser": name, "pwd": password, "roles": roles::shown(given), "mechanisms": mechanisms(),
    }
}

/// Berth's own user, who may do everything.
pub fn ensure_superuser(session: &mut Session, instance: &Instance) -> Result<()> {
    let root = [Role::new("root", USERS_DATABASE)];
    ensure(session, instance, SUPERUSER, SUPERUSER_SECRET, &root)
}

/// That there is this user, with the password that a secret holds and these roles.
pub fn ensure(
    session: &mut Session,
    instance: &Instance,
    name: &str,
    secret_name: &str,
    given: &[Role],
) -> Result<()> {
    let mut command = creation(name, secret(instance, secret_name)?, given);
    match session.try_ask(USERS_DATABASE, command.clone()) {
        Ok(_) => Ok(()),
        Err(Failure::Server(code::USER_EXISTS, _)) => {
            command.remove("createUser");
            let mut change = doc! {"updateUser": name};
            change.extend(command);
            session.ask("changing a first user", change).map(drop)
        }
        Err(error) => Err(failure("making a first user", &error)),
    }
}

pub fn mechanisms() -> Array {
    vec!["SCRAM-SHA-256".into()]
}

fn shown(session: &mut Session, which: Bson) -> Result<Vec<Known>> {
    let answer = session.ask("reading the users", doc! {"usersInfo": which})?;
    let odd = || Error::failed("the server shows a user otherwise than it is understood");
    let users = answer.get_array("users").map_err(|_| odd())?;
    let mut known = Vec::new();
    for user in users {
        let user = user.as_document().ok_or_else(odd)?;
        let name = user.get_str("user").map_err(|_| odd())?;
        if name != SUPERUSER {
            known.push(Known {
                name: name.to_owned(),
                roles: Role::read(user.get_array("roles").map_err(|_| odd())?)?,
            });
        }
    }
    known.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(known)
}

/// Version 6.0 looks for the user whose sessions it is to end, and has forgotten them with him.
fn ended(answer: Result<Document, Failure>) -> Result<()> {
    match answer {
        Ok(_) | Err(Failure::Server(code::USER_NOT_FOUND, _)) => Ok(()),
        Err(error) => Err(failure("ending sessions", &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_of_a_user_who_is_gone_are_ended() {
        let answer = |code| ended(Err(Failure::Server(code, String::new())));
        assert!(ended(Ok(doc! {"ok": 1})).is_ok());
        assert!(answer(code::USER_NOT_FOUND).is_ok());
        assert!(answer(code::AUTHENTICATION_FAILED).is_err());
    }
}
