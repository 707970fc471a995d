//! A real server, and its own client.

use std::fs;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use berth_plugin_mysql::MySql;
use berth_sdk::types::Spec;
use berth_sdk_testing::{self as testing, chosen, installed, spec};

/// A program to test, and the version that it is planned as.
#[derive(Clone)]
pub struct Program {
    pub path: PathBuf,
    pub label: String,
}

pub struct Server {
    inner: testing::Server<MySql>,
    client: PathBuf,
}

/// The one that `BERTH_TEST_MYSQLD` names, or the newest that the project's script installed.
pub fn program() -> Option<Program> {
    let path = match std::env::var_os("BERTH_TEST_MYSQLD") {
        Some(path) => PathBuf::from(path),
        None => newest(&installed("mysql")?)?,
    };
    let output = Command::new(&path)
        .args(["--no-defaults", "--version"])
        .output()
        .expect("a mysqld that runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let label = match said.split_once("Ver ").expect("a version").1 {
        text if text.starts_with("8.0.") => "8.0",
        text if text.starts_with("8.4.") => "8.4",
        text if text.starts_with("9.7.") => "9.7",
        other => panic!("Berth knows no MySQL {other}"),
    };
    Some(Program {
        path,
        label: label.into(),
    })
}

fn newest(versions: &Path) -> Option<PathBuf> {
    let versions = fs::read_dir(versions).expect("a directory").flatten();
    let programs = versions.map(|entry| entry.path().join("usr/bin/mysqld"));
    programs.filter(|path| path.exists()).max()
}

/// Beside it, or the one that the project's script installed: packages keep them apart.
fn client(server: &Path) -> PathBuf {
    let beside = server.with_file_name("mysql");
    if beside.exists() {
        return beside;
    }
    let installed = installed("mysql").and_then(|versions| newest(&versions));
    installed.map_or(beside, |server| server.with_file_name("mysql"))
}

impl Server {
    /// Initialise and start one; it is not ready yet when this returns.
    pub fn start(program: Program, init_settings: &[(&str, &str)]) -> Self {
        let spec = Spec {
            init_settings: chosen(init_settings),
            ..spec(&program.label)
        };
        let client = client(&program.path);
        Self {
            inner: testing::Server::start(spec, move |_| program.path.clone()),
            client,
        }
    }

    /// The certificate that clients are shown now.
    pub fn certificate(&self) -> String {
        self.inner.certificate(&["-starttls", "mysql"])
    }

    /// Ask the server's own client over TLS, as anybody.
    pub fn try_ask(&self, user: &str, password: &str, sql: &str) -> Result<String, String> {
        self.mysql(user, password, "REQUIRED", sql)
    }

    pub fn mysql(
        &self,
        user: &str,
        password: &str,
        mode: &str,
        sql: &str,
    ) -> Result<String, String> {
        let port = self.endpoint().port;
        let at = [
            "--protocol=tcp".to_owned(),
            "--host=127.0.0.1".to_owned(),
            format!("--port={port}"),
            format!("--ssl-mode={mode}"),
        ];
        self.client(&at, user, password, sql)
    }

    /// Ask as the superuser.
    pub fn ask(&self, sql: &str) -> String {
        let socket = format!("--socket={}/mysqld.sock", self.value("run"));
        self.client(&[socket], "berth", &self.secret("superuser"), sql)
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    fn client(
        &self,
        at: &[String],
        user: &str,
        password: &str,
        sql: &str,
    ) -> Result<String, String> {
        let Output {
            status,
            stdout,
            stderr,
        } = Command::new(&self.client)
            .arg("--no-defaults")
            .args(at)
            .args([
                "--batch",
                "--skip-column-names",
                "--connect-timeout=10",
                "-u",
                user,
                "-e",
                sql,
            ])
            .env_clear()
            .env("MYSQL_PWD", password)
            .output()
            .expect("the client");
        if status.success() {
            return Ok(String::from_utf8_lossy(&stdout).trim().to_owned());
        }
        Err(String::from_utf8_lossy(&stderr).into_owned())
    }
}

impl Deref for Server {
    type Target = testing::Server<MySql>;

    fn deref(&self) -> &Self::Target {
        &self.inner
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.inner
    }
}
