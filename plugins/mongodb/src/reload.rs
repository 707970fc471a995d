//! Having a running server take its settings and its certificate anew. It reads its file when it starts and not again: what
//! can be changed while it runs is said to it. When it refuses one, those before are set back.

use berth_sdk::engine::Instance;
use berth_sdk::engine::settings::Settings;
use berth_sdk::types::{FieldProblem, Spec};
use berth_sdk::{Result, log};
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
        let (changes, waiting) = compare(&instance.spec, &now, &began);
        tell(&mut session, &changes)?;
        // It keeps the one before when it cannot read the new.
        session.ask(
            "taking the certificate anew",
            doc! {"rotateCertificates": 1},
        )?;
        Ok(waiting)
    }
}

/// What the server is to be told, each with what it has now, and the names of what waits for a restart. All of it stands in
/// the file that it starts with.
fn compare(spec: &Spec, now: &Document, began: &Document) -> (Vec<(Wanted, Bson)>, Vec<String>) {
    let (mut changes, mut waiting) = (Vec::new(), Vec::new());
    for wanted in settings::wanted(spec) {
        let name = wanted.row.name;
        let live = wanted.row.is_live(ANY_VERSION);
        match now.get(name).filter(|_| live) {
            Some(before) if wanted.is(Some(before)) => {}
            Some(before) => changes.push((wanted, before.clone())),
            None => {
                // What is not shown could not be set back. It is as the server was started with it.
                if live {
                    log::warn(&format!("the server does not show its parameter '{name}'"));
                }
                if !wanted.is(at(began, name)) {
                    waiting.push(name.to_owned());
                }
            }
        }
    }
    (changes, waiting)
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
    use berth_sdk::types::Setting;

    use super::*;
    use crate::plan::tests::spec;

    #[test]
    fn what_the_server_does_not_show_is_as_it_was_started_with() {
        let mut spec = spec("8.0");
        spec.settings = vec![Setting {
            name: "quiet".into(),
            value: "on".into(),
        }];
        let mut now = Document::new();
        for wanted in settings::wanted(&spec) {
            now.insert(wanted.row.name, wanted.value());
        }
        let with = |value: &str| doc! {"parsed": {"setParameter": {"quiet": value}}};
        let told = |now: &Document, began: &Document| {
            let (changes, waiting) = compare(&spec, now, began);
            let changes: Vec<_> = changes
                .into_iter()
                .map(|(wanted, before)| (wanted.row.name, before))
                .collect();
            (changes, waiting.contains(&"quiet".to_owned()))
        };
        assert_eq!(told(&now, &with("false")), (vec![], false));
        now.insert("quiet", false);
        let change = vec![("quiet", Bson::Boolean(false))];
        assert_eq!(told(&now, &with("false")), (change, false));
        now.remove("quiet");
        assert_eq!(told(&now, &with("false")), (vec![], true));
        assert_eq!(told(&now, &with("true")), (vec![], false));
        assert_eq!(told(&now, &Document::new()), (vec![], true));
    }

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
