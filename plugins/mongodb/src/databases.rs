//! Logical databases of a running server. The server knows none that holds nothing: of one that was made there is a role
//! whose name says so, and which no user can make or remove. What is listed is both: what was made, and what holds
//! something. All of them are managed, because a role may be given in any.

use std::collections::{BTreeMap, BTreeSet};

use berth_sdk::engine::Instance;
use berth_sdk::engine::users::Database;
use berth_sdk::{Error, Result};
use bson::{Bson, Document, doc};

use crate::names::{self, BERTH_DATABASE, MADE, NOTED, TAKEN_OVER, USERS_DATABASE, check_database};
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
    check_database(name)?;
    let mut session = Session::superuser(instance)?;
    let all = all(&mut session)?;
    if all.iter().any(|other| other == name) {
        return Err(Error::database_exists(name));
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
        return Err(Error::database_exists(name));
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
    let doing = "removing the database";
    let majority = doc! {"w": "majority"};
    let drop_it = doc! {"dropDatabase": 1, "writeConcern": majority.clone()};
    session.ask_in(name, doing, drop_it)?;
    let strike = doc! {"dropRole": format!("{MADE}{name}"), "writeConcern": majority};
    match session.try_ask(USERS_DATABASE, strike) {
        Ok(_) | Err(Failure::Server(code::ROLE_NOT_FOUND, _)) => Ok(()),
        Err(error) => Err(failure(doing, &error)),
    }
}

/// Write the name down. Whether it was not there.
pub fn note(session: &mut Session, name: &str) -> Result<bool> {
    make_empty_role(session, &format!("{MADE}{name}"))
}

/// Names of all roles that were made, by Berth or somebody else, once those databases are among them that an earlier build
/// noted in a list. That is read once in the life of an instance: admins may write to it, and what they say later is not
/// believed. Until the last step it can be repeated.
pub fn prepare(session: &mut Session) -> Result<BTreeSet<String>> {
    let before = role_names(session)?;
    if before.contains(TAKEN_OVER) {
        return Ok(before);
    }
    let doing = "taking over the list of databases";
    let odd = || Error::failed("the server shows a list otherwise than it is understood");
    // In one answer, which holds a hundred thousand of them.
    let find = doc! {"find": NOTED, "singleBatch": true, "batchSize": 100_000};
    let found = session.ask_in(BERTH_DATABASE, doing, find)?;
    let found = found.get_document("cursor").map_err(|_| odd())?;
    let found = found.get_array("firstBatch").map_err(|_| odd())?;
    let name = |entry: &Bson| {
        let entry = entry.as_document().filter(|entry| entry.len() == 1)?;
        let name = entry.get_str("_id").ok()?;
        check_database(name).is_ok().then(|| name.to_owned())
    };
    let noted: Vec<_> = found.iter().filter_map(name).collect();
    for name in &noted {
        note(session, name)?;
    }
    // With something else in it, it is somebody's.
    if noted.len() == found.len() {
        match session.try_ask(BERTH_DATABASE, doc! {"drop": NOTED}) {
            Ok(_) | Err(Failure::Server(code::NAMESPACE_NOT_FOUND, _)) => {}
            Err(error) => return Err(failure(doing, &error)),
        }
    }
    make_empty_role(session, TAKEN_OVER)?;
    role_names(session)
}

/// Whether it was not there. It holds nothing, and nobody has it.
fn make_empty_role(session: &mut Session, name: &str) -> Result<bool> {
    let none: [Bson; 0] = [];
    let command = doc! {
        "createRole": name, "privileges": none.as_slice(), "roles": none.as_slice(), "writeConcern": {"w": "majority"},
    };
    match session.try_ask(USERS_DATABASE, command) {
        Ok(_) => Ok(true),
        Err(Failure::Server(code::ROLE_EXISTS | code::DUPLICATE_KEY, _)) => Ok(false),
        Err(error) => Err(failure("making the database", &error)),
    }
}

/// That there is one, among the callers' databases.
pub fn require(session: &mut Session, name: &str) -> Result<()> {
    if all(session)?.iter().any(|other| other == name) {
        return Ok(());
    }
    Err(Error::no_database(name))
}

/// The callers' databases.
pub fn all(session: &mut Session) -> Result<Vec<String>> {
    Ok(sized(session, false)?.into_keys().collect())
}

/// With what they take on disk, if that is asked for.
fn sized(session: &mut Session, sizes: bool) -> Result<BTreeMap<String, u64>> {
    let doing = "listing the databases";
    let odd = || Error::failed("the server shows a database otherwise than it is understood");
    // Each in one answer, which the server gives whole or not at all.
    let roles = prepare(session)?;
    let there = session.ask(doing, doc! {"listDatabases": 1, "nameOnly": !sizes})?;
    let there = there.get_array("databases").map_err(|_| odd())?.iter();
    let made = roles.iter();
    let made = made.filter_map(|role| Some((role.strip_prefix(MADE)?, 0)));
    let held = there.filter_map(|entry| {
        let entry = entry.as_document()?;
        Some((entry.get_str("name").ok()?, size(entry)))
    });
    let all = made.chain(held).filter(|(name, _)| !names::is_own(name));
    Ok(all.map(|(name, size)| (name.to_owned(), size)).collect())
}

fn role_names(session: &mut Session) -> Result<BTreeSet<String>> {
    let odd = || Error::failed("the server shows its roles otherwise than they are understood");
    let answer = session.ask("listing the databases", doc! {"rolesInfo": 1})?;
    let roles = answer.get_array("roles").map_err(|_| odd())?.iter();
    let names = roles.filter_map(|role| role.as_document()?.get_str("role").ok());
    Ok(names.map(str::to_owned).collect())
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
