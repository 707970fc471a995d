//! MySQL's own client, unmodified, as the project's script installs it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The newest client that is installed; none on a machine that has no MySQL.
pub fn mysql_binary() -> Option<PathBuf> {
    let home = std::env::var("HOME").unwrap_or_default();
    let mut found: Vec<_> = [
        "/opt/berth/servers".to_owned(),
        format!("{home}/.local/share/berth/servers"),
    ]
    .iter()
    .filter_map(|base| fs::read_dir(Path::new(base).join("mysql")).ok())
    .flatten()
    .flatten()
    .map(|version| version.path().join("usr/bin/mysql"))
    .filter(|path| path.exists())
    .collect();
    found.sort();
    found.pop()
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
