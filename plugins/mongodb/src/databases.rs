//! Logical databases of a running server. The server knows none that holds nothing: one that was made is a name in Berth's
//! own list, kept in the server, until somebody writes to it. What is listed is both: what was made, and what holds
//! something. All of them are managed, because a role may be given in any.

use std::collections::BTreeMap;

use berth_sdk::engine::Instance;
use berth_sdk::engine::users::Database;
use berth_sdk::{Error, Result};
use bson::{Bson, Document, doc};

use crate::names::{self, BERTH_DATABASE, DATABASES, check_database};
use crate::session::{Session, code, failure};
use crate::wire::{Failure, number};
use crate::{roles, users};

pub fn list(instance: &Instance, sizes: bool) -> Result<Vec<Database>> {
    let mut session = Session::superuser(instance)?;
    let found = sized(&mut session, sizes)?;
    Ok(found
        .into_iter()
        .map(|(name, size)| Database {
            name,
            owner: names::user(&instance.spec),
            managed: true,
            size_bytes: sizes.then_some(size),
        })
        .collect())
}

pub fn create(instance: &Instance, name: &str) -> Result<Database> {
    check_database(name).map_err(|problem| Error::Invalid(vec![problem]))?;
    let mut session = Session::superuser(instance)?;
    let there = || Error::AlreadyExists(format!("there is a database '{name}' already"));
    let all = all(&mut session)?;
    if all.iter().any(|other| other == name) {
        return Err(there());
    }
    // Manual, "Database Name Case Sensitivity": one of them could never be written to.
    if let Some(other) = all.iter().find(|other| other.eq_ignore_ascii_case(name)) {
        return Err(Error::conflict(format!(
            "there is a database '{other}', and names of databases do not differ by capitals alone"
        )));
    }
    // The server keeps what was granted in one that was dropped, and in one that there never was.
    forget(&mut session, name)?;
    if !note(&mut session, name)? {
        return Err(there());
    }
    Ok(Database {
        name: name.to_owned(),
        owner: names::user(&instance.spec),
        managed: true,
        size_bytes: None,
    })
}

/// What was granted in it first, its name last: until that is gone, the call can be repeated.
pub fn delete(instance: &Instance, name: &str) -> Result<()> {
    let mut session = Session::superuser(instance)?;
    require(&mut session, name)?;
    forget(&mut session, name)?;
    let majority = doc! {"w": "majority"};
    session.ask_in(
        name,
        "removing the database",
        doc! {"dropDatabase": 1, "writeConcern": majority.clone()},
    )?;
    let strike = doc! {
        "delete": DATABASES, "deletes": [{"q": {"_id": name}, "limit": 1}], "writeConcern": majority,
    };
    session
        .ask_in(BERTH_DATABASE, "removing the database's name", strike)
        .map(drop)
}

/// Write the name down. Whether it was not there.
pub fn note(session: &mut Session, name: &str) -> Result<bool> {
    let insert = doc! {
        "insert": DATABASES, "documents": [{"_id": name}], "writeConcern": {"w": "majority"},
    };
    match session.try_ask(BERTH_DATABASE, insert) {
        Ok(_) => Ok(true),
        Err(Failure::Server(code::DUPLICATE_KEY, _)) => Ok(false),
        Err(error) => Err(failure("making the database", &error)),
    }
}

/// That there is one, among the callers' databases.
pub fn require(session: &mut Session, name: &str) -> Result<()> {
    if all(session)?.iter().any(|other| other == name) {
        return Ok(());
    }
    Err(Error::not_found(format!("there is no database '{name}'")))
}

/// The callers' databases.
pub fn all(session: &mut Session) -> Result<Vec<String>> {
    Ok(sized(session, false)?.into_keys().collect())
}

/// With what they take on disk, if that is asked for.
fn sized(session: &mut Session, sizes: bool) -> Result<BTreeMap<String, u64>> {
    let doing = "listing the databases";
    let odd = || Error::failed("the server shows a database otherwise than it is understood");
    // In one answer: the names are short, and one answer holds a hundred thousand of them.
    let find = doc! {"find": DATABASES, "singleBatch": true, "batchSize": 100_000};
    let noted = session.ask_in(BERTH_DATABASE, doing, find)?;
    let noted = noted.get_document("cursor").map_err(|_| odd())?;
    let noted = noted.get_array("firstBatch").map_err(|_| odd())?;
    let there = session.ask(doing, doc! {"listDatabases": 1, "nameOnly": !sizes})?;
    let there = there.get_array("databases").map_err(|_| odd())?;
    let mut found = BTreeMap::new();
    for (list, key) in [(noted, "_id"), (there, "name")] {
        for entry in list.iter().filter_map(Bson::as_document) {
            // Somebody who may write everywhere may have written something else into the list.
            if let Ok(name) = entry.get_str(key)
                && !names::is_own(name)
                && !name.chars().any(char::is_control)
            {
                found.insert(name.to_owned(), size(entry));
            }
        }
    }
    Ok(found)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // A size is neither.
fn size(entry: &Document) -> u64 {
    entry.get("sizeOnDisk").and_then(number).unwrap_or_default() as u64
}

/// Take from all users what they were given in this database.
fn forget(session: &mut Session, name: &str) -> Result<()> {
    for user in users::all(session)? {
        let roles = user.roles.into_iter();
        let here: Vec<_> = roles.filter(|role| role.database == name).collect();
        if !here.is_empty() {
            let command = doc! {"revokeRolesFromUser": user.name, "roles": roles::shown(&here)};
            session.ask("taking rights in the database", command)?;
        }
    }
    Ok(())
}
