//! How clients get in.

use berth_sdk::engine::{Connection, Credentials, Instance, Login};
use berth_sdk::types::{Endpoint, Spec};
use berth_sdk::{Result, uri};

use crate::plan::USER_SECRET;
use crate::{MySql, login, names};

/// The least TLS a client must use: the server refuses what is less.
const TLS_MODE: &str = "REQUIRED";

impl Credentials for MySql {
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
        let user = login.name()?.to_owned();
        // Without one, clients are let in all the same and choose one later.
        let database = login.database.as_deref().unwrap_or_default();
        Ok(Connection {
            uri: uri(&endpoint, &user, &password, database),
            host: endpoint.host,
            port: endpoint.port,
            username: Some(user),
            password,
            database: login.database,
            tls_mode: Some(TLS_MODE.into()),
        })
    }

    fn verify(instance: Instance, login: Login, password: String) -> Result<bool> {
        login::verify(&instance, &login, &password)
    }

    fn rotate(instance: Instance, login: Login, password: String) -> Result<()> {
        login::rotate(&instance, &login, &password)
    }
}

/// As the server's own shell reads it (manual 6.2.5).
fn uri(endpoint: &Endpoint, user: &str, password: &str, database: &str) -> String {
    format!(
        "mysql://{}/{}?ssl-mode={TLS_MODE}",
        uri::authority(endpoint, user, password),
        uri::escape(database),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::spec;

    fn endpoint(host: &str) -> Endpoint {
        Endpoint {
            name: "sql".into(),
            member: "mysql-0".into(),
            port_name: "sql".into(),
            bind_address: "127.0.0.1".into(),
            host: host.into(),
            port: 20_001,
            inner_port: None,
            for_members: false,
        }
    }

    #[test]
    fn a_connection_names_everything() {
        let spec = spec("8.4");
        let login = MySql::first_login(spec.clone()).unwrap();
        let connection =
            MySql::connect(spec, endpoint("db.example.org"), login, "s3cret".into()).unwrap();
        assert_eq!(
            connection.uri,
            "mysql://app_user:s3cret@db.example.org:20001/main_mysql?ssl-mode=REQUIRED"
        );
        assert_eq!(connection.tls_mode.as_deref(), Some("REQUIRED"));
    }

    #[test]
    fn a_connection_needs_no_database() {
        let spec = spec("8.4");
        let login = Login {
            database: None,
            ..MySql::first_login(spec.clone()).unwrap()
        };
        let connection =
            MySql::connect(spec, endpoint("db.example.org"), login, "s3cret".into()).unwrap();
        assert_eq!(
            connection.uri,
            "mysql://app_user:s3cret@db.example.org:20001/?ssl-mode=REQUIRED"
        );
        assert_eq!(connection.database, None);
    }

    #[test]
    fn odd_characters_do_not_change_what_a_uri_means() {
        assert_eq!(
            uri(&endpoint("::1"), "a b", "p@:/?#%é", "d-b"),
            "mysql://a%20b:p%40%3A%2F%3F%23%25%C3%A9@[::1]:20001/d-b?ssl-mode=REQUIRED"
        );
    }
}
