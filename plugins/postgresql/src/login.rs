//! Checking and changing a password on a running server.

use berth_sdk::engine::{Instance, Login};
use berth_sdk::{Error, Result};
use postgres_protocol::escape::{escape_identifier, escape_literal};

use crate::names;
use crate::scram::verifier;
use crate::session::{MAINTENANCE, Refusal, Session};

/// A real login, as a client would do it.
pub async fn verify(instance: &Instance, login: &Login, password: &str) -> Result<bool> {
    let user = user_of(login)?;
    let database = login.database.as_deref().unwrap_or(MAINTENANCE);
    match Session::login(instance, user, password, database).await {
        Ok(session) => {
            session.close().await;
            Ok(true)
        }
        // The owner dropped the database, or took his own right to connect: the password is right.
        Err(Refusal::AfterPassword) => Ok(true),
        Err(Refusal::Password) => Ok(false),
        Err(Refusal::Other(error)) => Err(error),
    }
}

/// Also lets a user in again who was locked out by an expiry date or NOLOGIN.
pub async fn rotate(instance: &Instance, login: &Login, password: &str) -> Result<()> {
    let user = user_of(login)?;
    let session = Session::superuser(instance, MAINTENANCE).await?;
    let result = change(&session, user, password).await;
    session.close().await;
    result
}

async fn change(session: &Session, user: &str, password: &str) -> Result<()> {
    let query = format!(
        "SELECT FROM pg_catalog.pg_roles WHERE rolname = {}",
        escape_literal(user)
    );
    if session.row("looking for the user", &query).await?.is_none() {
        return Err(Error::no_user(user));
    }
    let sql = format!(
        "ALTER ROLE {} LOGIN VALID UNTIL 'infinity' PASSWORD {}",
        escape_identifier(user),
        escape_literal(&verifier(password)?),
    );
    session.run("changing the password", &sql).await
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
        assert!(user_of(&login(Some("pg_monitor"))).is_err());
        assert!(user_of(&login(None)).is_err());
        assert_eq!(user_of(&login(Some("app_user"))).unwrap(), "app_user");
    }
}
