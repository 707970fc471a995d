//! How clients get in.

use berth_sdk::engine::{Connection, Credentials, Instance, Login};
use berth_sdk::types::{Endpoint, Spec};
use berth_sdk::{Result, uri};

use crate::names::DEFAULT;
use crate::plan::USER_SECRET;
use crate::session::{Refusal, Session};
use crate::shards::Shards;
use crate::{Redis, acl, names, plan};

impl Credentials for Redis {
    fn first_login(spec: Spec) -> Result<Login> {
        Ok(Login {
            user: Some(names::user(&spec)),
            database: None,
            secret: USER_SECRET.into(),
        })
    }

    /// A client that gives a password and no name is `default`: that name need not be told.
    fn connect(
        _spec: Spec,
        endpoint: Endpoint,
        login: Login,
        password: String,
    ) -> Result<Connection> {
        let user = login.user.unwrap_or_else(|| DEFAULT.to_owned());
        Ok(Connection {
            uri: uri(&endpoint, &user, &password),
            host: endpoint.host,
            port: endpoint.port,
            username: Some(user).filter(|user| user != DEFAULT),
            password,
            database: None,
            // The URI's scheme says it.
            tls_mode: None,
        })
    }

    fn verify(instance: Instance, login: Login, password: String) -> Result<bool> {
        let user = user_of(&login)?;
        for member in plan::members(&instance.spec) {
            match Session::login(&instance, &member, user, &password) {
                Ok(_) => {}
                Err(Refusal::Password) => return Ok(false),
                Err(Refusal::Other(error)) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Also lets a user in again who was locked out.
    fn rotate(instance: Instance, login: Login, password: String) -> Result<()> {
        let user = user_of(&login)?;
        let mut shards = Shards::berth(&instance)?;
        shards.users()?.find(user)?;
        let mut rules = vec!["on".to_owned()];
        rules.extend(acl::password_rules(&password));
        shards.change(user, &rules)
    }
}

/// Only users that a caller could have made: never Berth's own.
fn user_of(login: &Login) -> Result<&str> {
    let user = login.user.as_deref().unwrap_or(DEFAULT);
    names::check_user(user)?;
    Ok(user)
}

/// The name stands there even where it could be left out: some clients take a missing one for an empty one.
fn uri(endpoint: &Endpoint, user: &str, password: &str) -> String {
    format!("rediss://{}", uri::authority(endpoint, user, password))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::spec;

    fn endpoint(host: &str) -> Endpoint {
        Endpoint {
            name: "redis".into(),
            member: "node-0".into(),
            port_name: "redis".into(),
            bind_address: "127.0.0.1".into(),
            host: host.into(),
            port: 20_001,
            inner_port: None,
            for_members: false,
        }
    }

    fn connection(user: Option<&str>) -> Connection {
        let mut spec = spec("7.2");
        spec.user = user.map(Into::into);
        let login = Redis::first_login(spec.clone()).unwrap();
        Redis::connect(spec, endpoint("db.example.org"), login, "s3cret".into()).unwrap()
    }

    #[test]
    fn the_first_user_needs_no_name() {
        let shown = connection(None);
        assert_eq!(shown.uri, "rediss://default:s3cret@db.example.org:20001");
        assert!(shown.username.is_none() && shown.database.is_none());
    }

    #[test]
    fn one_that_was_named_does() {
        let shown = connection(Some("ann"));
        assert_eq!(shown.uri, "rediss://ann:s3cret@db.example.org:20001");
        assert_eq!(shown.username.as_deref(), Some("ann"));
    }

    #[test]
    fn odd_characters_do_not_change_what_a_uri_means() {
        assert_eq!(
            uri(&endpoint("::1"), "a@b", "p@:/?#%é"),
            "rediss://a%40b:p%40%3A%2F%3F%23%25%C3%A9@[::1]:20001"
        );
    }

    #[test]
    fn berths_own_user_is_out_of_reach() {
        let login = |user: &str| Login {
            user: Some(user.into()),
            database: None,
            secret: "app".into(),
        };
        assert!(user_of(&login("berth")).is_err());
        assert_eq!(user_of(&login("default")).unwrap(), "default");
    }
}
