//! Having a running server take its settings and its certificate anew. It reads its file when it starts and not again: what
//! can be changed while it runs is said to it. When it refuses one, those before are set back.

use berth_sdk::engine::Instance;
use berth_sdk::engine::settings::Settings;
use berth_sdk::types::FieldProblem;
use berth_sdk::{Error, Result};
use bson::{Bson, Document, doc};

use crate::names::USERS_DATABASE;
use crate::session::{Session, failure};
use crate::settings::Wanted;
use crate::settings_table::{ANY_VERSION, TABLE};
use crate::wire::Failure;
use crate::{MongoDb, catalog, settings};

impl Settings for MongoDb {
    fn reload(instance: Instance) -> Result<Vec<String>> {
        catalog::check(&instance)?;
        let mut session = Session::superuser(&instance)?;
        let doing = "reading the settings";
        let now = session.ask(doing, doc! {"getParameter": "*"})?;
        let began = session.ask(doing, doc! {"getCmdLineOpts": 1})?;
        let (live, fixed): (Vec<_>, Vec<_>) =
            settings::wanted(&instance.spec).partition(|wanted| wanted.row.is_live(ANY_VERSION));
        let mut changes = Vec::new();
        for wanted in live {
            let name = wanted.row.name;
            let before = now.get(name).cloned();
            let before = before
                .ok_or_else(|| Error::failed(format!("the server has no parameter '{name}'")))?;
            if !wanted.is(Some(&before)) {
                changes.push((wanted, before));
            }
        }
        tell(&mut session, &changes)?;
        // It keeps the one before when it cannot read the new.
        session.ask(
            "taking the certificate anew",
            doc! {"rotateCertificates": 1},
        )?;
        let waiting = fixed
            .iter()
            .filter(|wanted| !wanted.is(at(&began, wanted.row.name)));
        Ok(waiting.map(|wanted| wanted.row.name.to_owned()).collect())
    }
}

fn tell(session: &mut Session, changes: &[(Wanted, Bson)]) -> Result<()> {
    for (done, (wanted, _)) in changes.iter().enumerate() {
        let name = wanted.row.name;
        let told = session.try_ask(
            USERS_DATABASE,
            doc! {"setParameter": 1, name: wanted.value()},
        );
        let Err(error) = told else {
            continue;
        };
        for (earlier, before) in &changes[..done] {
            let back = doc! {"setParameter": 1, earlier.row.name: before.clone()};
            session.ask("setting a setting back", back)?;
        }
        return Err(match error {
            Failure::Server(_, message) => {
                FieldProblem::not_accepted(name, &message, TABLE.product).into()
            }
            Failure::Io(_) | Failure::Protocol(_) => failure("changing a setting", &error),
        });
    }
    Ok(())
}

/// What the server was started with.
fn at<'a>(began: &'a Document, name: &str) -> Option<&'a Bson> {
    let mut path = vec!["parsed"];
    if !name.contains('.') {
        path.push("setParameter");
    }
    path.extend(name.split('.'));
    let (last, path) = path.split_last()?;
    let place = path
        .iter()
        .try_fold(began, |place, part| place.get_document(part).ok());
    place?.get(*last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_was_started_with_is_found_by_its_name() {
        let began = doc! {"parsed": {
            "storage": {"journal": {"commitIntervalMs": 100}}, "setParameter": {"maxSessions": "7"},
        }};
        let found = at(&began, "storage.journal.commitIntervalMs");
        assert_eq!(found, Some(&Bson::Int32(100)));
        assert_eq!(at(&began, "maxSessions"), Some(&"7".into()));
        for absent in [
            "storage",
            "storage.x",
            "storage.journal.commitIntervalMs.x",
            "quiet",
        ] {
            assert_eq!(at(&began, absent), None, "{absent}");
        }
    }
}
