//! Having a running server take its files anew: settings, rules, certificates.

use std::time::Duration;

use berth_sdk::engine::Instance;
use berth_sdk::types::FieldProblem;
use berth_sdk::{Error, Result};
use tokio::time::{sleep, timeout};

use crate::session::{MAINTENANCE, Session, text};
use crate::settings_table::TABLE;

/// How often to look whether the server has read its files.
const LOOK: Duration = Duration::from_millis(5);
/// A server that takes longer than this for it is in trouble.
const PATIENCE: Duration = Duration::from_secs(15);

/// What of the files the server would not take. What only a restart can change is shown there as an error too; where
/// its line is gone, without a name.
const REFUSED: &str = "SELECT coalesce(f.name, '') AS name, f.error FROM pg_file_settings f \
    LEFT JOIN pg_settings s ON lower(s.name) = lower(f.name) \
    WHERE f.error IS NOT NULL AND s.context IS DISTINCT FROM 'postmaster' \
    AND NOT (f.name IS NULL AND f.error LIKE '%cannot be changed without restarting%') ORDER BY f.seqno";

/// The name of the database, which can change, stands in titles of processes only: it waits for the next start.
const WAITING: &str =
    "SELECT name FROM pg_settings WHERE pending_restart AND name <> 'cluster_name' ORDER BY name";

/// Answers the settings that wait for a restart.
pub async fn reload(instance: &Instance) -> Result<Vec<String>> {
    let session = Session::superuser(instance, MAINTENANCE).await?;
    let reloaded = timeout(PATIENCE, take(&session)).await;
    session.close().await;
    reloaded.unwrap_or_else(|_| {
        let reason = "the server has not taken its files anew yet";
        Err(Error::retry(Duration::from_secs(1), reason))
    })
}

async fn take(session: &Session) -> Result<Vec<String>> {
    // Before anything is changed: the server takes what it can of a file, and leaves out the rest.
    let refused = session.rows("reading the settings", REFUSED).await?;
    let mut problems = Vec::new();
    for row in &refused {
        let (name, said) = (text(row, "name")?, text(row, "error")?);
        problems.push(FieldProblem::not_accepted(name, said, TABLE.product));
    }
    Error::unless_empty(problems)?;
    let loaded = async || {
        let sql = "SELECT pg_conf_load_time() AS loaded";
        let row = session.row("looking at the settings", sql).await?;
        let row = row.ok_or_else(|| Error::failed("the server did not say when it loaded"))?;
        Ok::<_, Error>(text(&row, "loaded")?.to_owned())
    };
    let before = loaded().await?;
    session
        .run("reloading the settings", "SELECT pg_reload_conf()")
        .await?;
    while loaded().await? == before {
        sleep(LOOK).await;
    }
    let waiting = session.rows("looking at the settings", WAITING).await?;
    waiting
        .iter()
        .map(|row| Ok(text(row, "name")?.to_owned()))
        .collect()
}
