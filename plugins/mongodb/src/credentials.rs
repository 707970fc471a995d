//! How clients get in.

use berth_sdk::engine::{Connection, Credentials, Instance, Login};
use berth_sdk::types::{Endpoint, Spec};
use berth_sdk::{Result, uri};
use bson::doc;

use crate::names::USERS_DATABASE;
use crate::plan::{REPLICA_SET, USER_SECRET};
use crate::session::{Refusal, Session};
use crate::{MongoDb, names, users};

impl Credentials for MongoDb {
    fn first_login(spec: Spec) -> Result<Login> {
        Ok(Login {
            user: Some(names::user(&spec)),
            database: Some(names::database(&spec)),
            secret: USER_SECRET.into(),
        })
    }

    fn connect(
        _spec: Spec,
        endpoint: Endpoint,
        login: Login,
        password: String,
    ) -> Result<Connection> {
        let user = user_of(&login)?.to_owned();
        Ok(Connection {
            uri: uri(&endpoint, &user, login.database.as_deref(), &password),
            host: endpoint.host,
            port: endpoint.port,
            username: Some(user),
            password,
            database: login.database,
            // As a URI says it.
            tls_mode: Some("true".into()),
        })
    }

    fn verify(instance: Instance, login: Login, password: String) -> Result<bool> {
        match Session::login(&instance, USERS_DATABASE, user_of(&login)?, &password) {
            Ok(_) => Ok(true),
            Err(Refusal::Password) => Ok(false),
            Err(Refusal::Other(error)) => Err(error),
        }
    }

    fn rotate(instance: Instance, login: Login, password: String) -> Result<()> {
        let user = user_of(&login)?;
        let mut session = Session::superuser(&instance)?;
        users::find(&mut session, user)?;
        let change = doc! {"updateUser": user, "pwd": password, "mechanisms": users::mechanisms()};
        session.ask("changing the password", change).map(drop)
    }
}

/// Only users that a caller could have made: never Berth's own.
fn user_of(login: &Login) -> Result<&str> {
    let user = login.user.as_deref().unwrap_or_default();
    names::check_user(user)?;
    Ok(user)
}

/// `directConnection`, because the member's own address is not the endpoint's: a client that looked for the set's members
/// would look behind the proxy.
fn uri(endpoint: &Endpoint, user: &str, database: Option<&str>, password: &str) -> String {
    format!(
        "mongodb://{}/{}?tls=true&replicaSet={REPLICA_SET}&authSource={USERS_DATABASE}&directConnection=true",
        uri::authority(endpoint, user, password),
        uri::escape(database.unwrap_or_default()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::spec;

    fn endpoint(host: &str) -> Endpoint {
        Endpoint {
            name: "mongodb".into(),
            member: "node-0".into(),
            port_name: "mongodb".into(),
            bind_address: "127.0.0.1".into(),
            host: host.into(),
            port: 20_001,
            inner_port: None,
            for_members: false,
        }
    }

    #[test]
    fn a_client_is_told_all_it_needs() {
        let login = MongoDb::first_login(spec("7.0")).unwrap();
        let shown = MongoDb::connect(
            spec("7.0"),
            endpoint("db.example.org"),
            login,
            "s3cret".into(),
        )
        .unwrap();
        assert_eq!(
            shown.uri,
            "mongodb://app_user:s3cret@db.example.org:20001/main_mongo?tls=true&replicaSet=rs0&authSource=admin&directConnection=true"
        );
        assert_eq!(shown.username.as_deref(), Some("app_user"));
        assert_eq!(shown.database.as_deref(), Some("main_mongo"));
    }

    #[test]
    fn odd_characters_do_not_change_what_a_uri_means() {
        let shown = uri(&endpoint("::1"), "a@b", None, "p@:/?#%é");
        let expected = "mongodb://a%40b:p%40%3A%2F%3F%23%25%C3%A9@[::1]:20001/?tls=true";
        assert!(shown.starts_with(expected), "{shown}");
    }

    #[test]
    fn berths_own_user_is_out_of_reach() {
        let login = |user: &str| Login {
            user: Some(user.into()),
            database: None,
            secret: "app".into(),
        };
        assert!(user_of(&login("_rdb_superadmin")).is_err());
        assert!(user_of(&login("__system")).is_err());
        assert_eq!(user_of(&login("app")).unwrap(), "app");
    }
}
