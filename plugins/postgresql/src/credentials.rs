//! How clients get in.

use berth_sdk::engine::{Connection, Credentials, Instance, Login};
use berth_sdk::types::{Endpoint, Spec};
use berth_sdk::{Result, uri};

use crate::plan::USER_SECRET;
use crate::session::block_on;
use crate::{PostgreSql, login, names};

/// Every server has it, for who has no database of his own to connect to (manual 23.3).
const MAINTENANCE: &str = "postgres";
/// The least TLS a client must use: the server refuses what is less.
const TLS_MODE: &str = "require";

impl Credentials for PostgreSql {
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
        // Without one, clients would ask for a database that is named as the user is.
        let database = login.database.unwrap_or_else(|| MAINTENANCE.to_owned());
        Ok(Connection {
            uri: uri(&endpoint, &user, &password, &database),
            host: endpoint.host,
            port: endpoint.port,
            username: Some(user),
            password,
            database: Some(database),
            tls_mode: Some(TLS_MODE.into()),
        })
    }

    fn verify(instance: Instance, login: Login, password: String) -> Result<bool> {
        block_on(login::verify(&instance, &login, &password))
    }

    fn rotate(instance: Instance, login: Login, password: String) -> Result<()> {
        block_on(login::rotate(&instance, &login, &password))
    }
}

/// As libpq reads it (manual 34.1.1.2).
fn uri(endpoint: &Endpoint, user: &str, password: &str, database: &str) -> String {
    format!(
        "postgresql://{}/{}?sslmode={TLS_MODE}",
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
            member: "pg-0".into(),
            port_name: "sql".into(),
            bind_address: "127.0.0.1".into(),
            host: host.into(),
            port: 20_001,
            inner_port: None,
            for_members: false,
        }
    }

    #[test]
    fn the_first_login_follows_the_spec() {
        let mut spec = spec("16");
        let login = PostgreSql::first_login(spec.clone()).unwrap();
        assert_eq!(login.user.as_deref(), Some("app_user"));
        assert_eq!(login.database.as_deref(), Some("main_postgres"));
        spec.user = Some("ann".into());
        spec.database = Some("shop".into());
        let login = PostgreSql::first_login(spec).unwrap();
        assert_eq!(login.user.as_deref(), Some("ann"));
        assert_eq!(login.database.as_deref(), Some("shop"));
    }

    #[test]
    fn a_connection_names_everything() {
        let spec = spec("16");
        let login = PostgreSql::first_login(spec.clone()).unwrap();
        let connection =
            PostgreSql::connect(spec, endpoint("db.example.org"), login, "s3cret".into()).unwrap();
        assert_eq!(
            connection.uri,
            "postgresql://app_user:s3cret@db.example.org:20001/main_postgres?sslmode=require"
        );
        assert_eq!(connection.tls_mode.as_deref(), Some("require"));
    }

    #[test]
    fn who_has_no_database_is_led_to_the_one_that_is_always_there() {
        let spec = spec("16");
        let login = Login {
            database: None,
            ..PostgreSql::first_login(spec.clone()).unwrap()
        };
        let connection =
            PostgreSql::connect(spec, endpoint("db.example.org"), login, "s3cret".into()).unwrap();
        assert_eq!(
            connection.uri,
            "postgresql://app_user:s3cret@db.example.org:20001/postgres?sslmode=require"
        );
        assert_eq!(connection.database.as_deref(), Some("postgres"));
    }

    #[test]
    fn odd_characters_do_not_change_what_a_uri_means() {
        assert_eq!(
            uri(&endpoint("::1"), "a b", "p@:/?#%é", "d-b"),
            "postgresql://a%20b:p%40%3A%2F%3F%23%25%C3%A9@[::1]:20001/d-b?sslmode=require"
        );
    }
}
