//! A real server, and its own client.

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::process::{Command, Output};

use berth_plugin_postgresql::PostgreSql;
use berth_sdk::engine::Login;
use berth_sdk_testing::{self as testing, installed};

pub struct Server(testing::Server<PostgreSql>);

/// Where a version's programs are, if they are installed.
pub fn programs(version: &str) -> Option<PathBuf> {
    let packaged = PathBuf::from(format!("/usr/lib/postgresql/{version}/bin"));
    if packaged.join("postgres").exists() {
        return Some(packaged);
    }
    installed(&format!("postgresql/{version}/bin"))
}

impl Server {
    /// Initialise and start one; it is not ready yet when this returns.
    pub fn start(version: &str, programs: PathBuf) -> Self {
        let programs = move |name: &str| programs.join(name);
        Self(testing::Server::start(testing::spec(version), programs))
    }

    /// A connection string for anybody, over TLS.
    pub fn uri_in(&self, user: &str, password: &str, database: &str) -> String {
        let login = Login {
            user: Some(user.into()),
            database: Some(database.into()),
            secret: "app".into(),
        };
        self.uri_of(login, password)
    }

    /// Ask as the superuser, in this database.
    pub fn ask(&self, database: &str, sql: &str) -> String {
        self.psql(&self.inside(database), sql)
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// A connection string for the superuser, in this database.
    pub fn inside(&self, database: &str) -> String {
        self.superuser_at(self.value("run"))
            .replace("dbname=postgres", &format!("dbname={database}"))
    }

    /// The certificate that clients are shown now.
    pub fn certificate(&self) -> String {
        self.0.certificate(&["-starttls", "postgres"])
    }

    /// Ask the server's own client, at this connection string.
    pub fn psql(&self, connection: &str, sql: &str) -> Result<String, String> {
        let Output {
            status,
            stdout,
            stderr,
        } = Command::new(self.program("psql"))
            .args([
                "--no-psqlrc",
                "-At",
                "-v",
                "ON_ERROR_STOP=1",
                "-c",
                sql,
                connection,
            ])
            .env_clear()
            .output()
            .expect("psql");
        if status.success() {
            return Ok(String::from_utf8_lossy(&stdout).trim().to_owned());
        }
        Err(String::from_utf8_lossy(&stderr).into_owned())
    }

    /// As psql takes it, with the superuser's password, by the given host.
    pub fn superuser_at(&self, host: &str) -> String {
        format!(
            "host={host} port={} dbname=postgres user=berth password={}",
            self.endpoint().port,
            self.secret("superuser")
        )
    }
}

impl Deref for Server {
    type Target = testing::Server<PostgreSql>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}
