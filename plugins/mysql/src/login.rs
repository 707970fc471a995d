//! Checking and changing a password on a running server.

use berth_sdk::engine::{Instance, Login};
use berth_sdk::{Error, Result};

use crate::grants::Grants;
use crate::session::{Refusal, Session, with};
use crate::{names, users};

/// A real login, as a client would do it.
pub fn verify(instance: &Instance, login: &Login, password: &str) -> Result<bool> {
    let user = user_of(login)?;
    match Session::login(instance, user, password, login.database.as_deref()) {
        Ok(session) => {
            session.close();
            Ok(true)
        }
        // The owner dropped the database, or took his own right to it: the password is right.
        Err(Refusal::AfterPassword) => Ok(true),
        Err(Refusal::Password) => Ok(false),
        Err(Refusal::Full(error) | Refusal::Other(error)) => Err(error),
    }
}

/// Also lets a user in again whose account was locked, or whose password had expired.
pub fn rotate(instance: &Instance, login: &Login, password: &str) -> Result<()> {
    let user = user_of(login)?;
    with(instance, |session| {
        let grants = Grants::read(session)?;
        if !grants.users().contains(user) {
            return Err(Error::no_user(user));
        }
        let sql = users::password_sql(session, &grants, user, password)?;
        session.run("changing the password", &format!("{sql} ACCOUNT UNLOCK"))
    })
}

/// Only users that a caller could have made: never the superuser.
fn user_of(login: &Login) -> Result<&str> {
    let user = login.name()?;
    names::check_user(user)?;
    Ok(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_superuser_is_out_of_reach() {
        let login = |user: Option<&str>| Login {
            user: user.map(str::to_owned),
            database: None,
            secret: "app".into(),
        };
        assert!(user_of(&login(Some("berth"))).is_err());
        assert!(user_of(&login(Some("mysql.sys"))).is_err());
        assert!(user_of(&login(None)).is_err());
        assert_eq!(user_of(&login(Some("app_user"))).unwrap(), "app_user");
    }
}
