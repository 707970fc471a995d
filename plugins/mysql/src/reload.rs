//! Having a running server take what was changed: settings, certificates.
//!
//! A server reads its file when it starts. So each live setting is told to it, and it reads its certificate anew. When it
//! refuses one, those before are set back, so that it goes on with what it had.

use berth_sdk::engine::Instance;
use berth_sdk::types::FieldProblem;
use berth_sdk::{Error, Result};

use crate::catalog::Series;
use crate::names::literal;
use crate::session::{Session, failure, text, with};
use crate::settings_table::Row;
use crate::wire::Failure;
use crate::{settings, settings_table};

/// One that is not in force.
struct Change {
    row: &'static Row,
    before: String,
    wanted: String,
}

/// Answers the settings that wait for a restart.
pub fn reload(instance: &Instance) -> Result<Vec<String>> {
    let series = Series::of(instance)?;
    with(instance, |session| {
        let changes = changes(session, instance, series)?;
        let (live, waiting): (Vec<_>, Vec<_>) =
            changes.into_iter().partition(|it| it.row.is_live());
        tell(session, &live)?;
        // It keeps the old one when it cannot read the new.
        session.run("taking the certificate anew", "ALTER INSTANCE RELOAD TLS")?;
        Ok(waiting
            .into_iter()
            .map(|it| it.row.name.to_owned())
            .collect())
    })
}

fn changes(session: &mut Session, instance: &Instance, series: Series) -> Result<Vec<Change>> {
    let rows = session.rows("reading the settings", "SHOW GLOBAL VARIABLES")?;
    let mut found = Vec::new();
    for (name, wanted) in settings::in_force(&instance.spec, series) {
        let Some(row) = settings_table::find(name, series) else {
            continue;
        };
        let now = rows
            .iter()
            .find(|row| text(row, 0).is_ok_and(|it| it == name));
        let now =
            now.ok_or_else(|| Error::failed(format!("the server has no setting '{name}'")))?;
        let before = text(now, 1)?.to_owned();
        if !row.same(&before, &wanted) {
            found.push(Change {
                row,
                before,
                wanted,
            });
        }
    }
    Ok(found)
}

fn tell(session: &mut Session, changes: &[Change]) -> Result<()> {
    for (done, change) in changes.iter().enumerate() {
        let told = session.try_rows(&sql(change.row, &change.wanted));
        let Err(error) = told else {
            continue;
        };
        for earlier in &changes[..done] {
            session.run("setting a setting back", &sql(earlier.row, &earlier.before))?;
        }
        return Err(match error {
            Failure::Server(_, message) => Error::Invalid(vec![FieldProblem::new(
                change.row.name,
                format!("is not accepted by the server: {message}"),
                "a value that this version of MySQL takes",
            )]),
            Failure::Io(_) | Failure::Protocol(_) => failure("changing a setting", &error),
        });
    }
    Ok(())
}

fn sql(row: &Row, value: &str) -> String {
    let value = if row.is_text() {
        literal(value)
    } else {
        value.to_owned()
    };
    format!("SET GLOBAL {} = {value}", row.name)
}
