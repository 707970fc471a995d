//! Having a running server take what was changed: settings, certificates.
//!
//! A server reads its file when it starts. So each live setting is told to it, and it reads its certificate anew. When it
//! refuses one, those before are set back, so that it goes on with what it had.

use berth_sdk::engine::Instance;
use berth_sdk::settings::{Match, Row, Word, Words};
use berth_sdk::types::FieldProblem;
use berth_sdk::{Error, Result};

use crate::catalog::Series;
use crate::names::literal;
use crate::session::{Session, failure, text, with};
use crate::settings;
use crate::settings_table::TABLE;
use crate::wire::Failure;

/// One that is not in force.
struct Change {
    row: &'static Row,
    before: String,
    wanted: String,
}

/// Answers the settings that wait for a restart.
pub fn reload(instance: &Instance) -> Result<Vec<String>> {
    let series = Series::of(instance)?;
    let version = series.number();
    with(instance, |session| {
        let changes = changes(session, instance, series)?;
        let (live, waiting): (Vec<_>, Vec<_>) =
            changes.into_iter().partition(|it| it.row.is_live(version));
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
        let Some(row) = TABLE.find(name, series.number()) else {
            continue;
        };
        let now = rows
            .iter()
            .find(|row| text(row, 0).is_ok_and(|it| it == name));
        let now =
            now.ok_or_else(|| Error::failed(format!("the server has no setting '{name}'")))?;
        let before = text(now, 1)?.to_owned();
        if !settings::same(row, &before, &wanted) {
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
            Failure::Server(_, message) => {
                FieldProblem::not_accepted(change.row.name, &message, TABLE.product).into()
            }
            Failure::Io(_) | Failure::Protocol(_) => failure("changing a setting", &error),
        });
    }
    Ok(())
}

fn sql(row: &Row, value: &str) -> String {
    let value = if matches!(row.kind, Word(_) | Words(_) | Match(_)) {
        literal(value)
    } else {
        value.to_owned()
    };
    format!("SET GLOBAL {} = {value}", row.name)
}
