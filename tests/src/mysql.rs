//! MySQL's own client, unmodified, as the project's script installs it.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::servers::{MYSQLD, installed, named_by, version_named_by};

/// What the project's script installs.
const INSTALLED: &str = "9.7";

/// The version that runs in the tests.
pub fn version() -> String {
    version_named_by(MYSQLD).unwrap_or_else(|| INSTALLED.to_owned())
}

/// The client beside the server that runs in the tests, or the one that is installed; none on a machine that has no MySQL.
pub fn mysql_binary() -> Option<PathBuf> {
    let beside = named_by(MYSQLD).map(|server| server.with_file_name("mysql"));
    let beside = beside.filter(|path| path.exists());
    beside.or_else(|| installed(&format!("mysql/{INSTALLED}/usr/bin/mysql")))
}

/// Run SQL over TLS with these credentials, as a database's are shown.
pub fn mysql(credentials: &Value, sql: &str) -> Result<String, String> {
    mysql_with(credentials, &["--ssl-mode=REQUIRED"], sql)
}

/// The same with other options.
pub fn mysql_with(credentials: &Value, options: &[&str], sql: &str) -> Result<String, String> {
    let text = |name: &str| credentials[name].as_str().expect(name).to_owned();
    let output = Command::new(mysql_binary().expect("the client, which `make test` installs"))
        .args(["--no-defaults", "--protocol=tcp", "--connect-timeout=10"])
        .args(["--batch", "--skip-column-names"])
        .args(options)
        .arg(format!("--host={}", text("host")))
        .arg(format!("--port={}", credentials["port"]))
        .arg(format!("--user={}", text("username")))
        .arg(format!("--execute={sql}"))
        .arg(text("database"))
        .env_clear()
        .env("MYSQL_PWD", text("password"))
        .output()
        .expect("the client runs");
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}
