//! What an engine's answers about users, logical databases and privileges must satisfy. What was made or changed is
//! what was asked for, or the answer is the component's failure; and a list names each thing once.
//!
//! A name may hold any character: servers' own languages take line breaks in them, and who has such a name shall not be
//! hidden by it. No name is ever a part of a line that something else reads.

use std::collections::BTreeSet;

use crate::model::user::{LogicalDatabase, Privilege, User};
use crate::model::{Error, InstanceId, Result};

use super::answers::MOST_BYTES;
use super::call::Build;

const USERS: usize = 10_000;
const DATABASES: usize = 10_000;
const PRIVILEGES: usize = 100_000;
/// Longer than any engine's: one of those here takes 64 characters of three bytes.
const NAME_BYTES: usize = 256;

/// Who was asked, and about what.
pub(super) struct Asked<'a> {
    pub build: &'a Build,
    pub instance: InstanceId,
}

impl Asked<'_> {
    pub fn users(&self, found: Vec<User>) -> Result<Vec<User>> {
        let mut names = BTreeSet::new();
        let sound = found.len() <= USERS
            && found
                .iter()
                .all(|user| is_name(&user.name) && names.insert(&*user.name));
        self.believed(found, sound, "list of users")
    }

    /// The user that was made or changed, and is an admin as far as that was asked for.
    pub fn user(&self, changed: User, name: &str, admin: Option<bool>) -> Result<User> {
        let sound = changed.name == name && admin.is_none_or(|admin| admin == changed.admin);
        self.believed(changed, sound, "user")
    }

    pub fn databases(
        &self,
        found: Vec<LogicalDatabase>,
        sizes: bool,
    ) -> Result<Vec<LogicalDatabase>> {
        let mut names = BTreeSet::new();
        let sound = found.len() <= DATABASES
            && found.iter().all(|database| {
                is_database(database)
                    && (sizes || database.size_bytes.is_none())
                    && names.insert(&*database.name)
            });
        self.believed(found, sound, "list of databases")
    }

    /// The database that was made.
    pub fn database(&self, made: LogicalDatabase, name: &str) -> Result<LogicalDatabase> {
        let sound = made.name == name && made.managed && is_database(&made);
        self.believed(made, sound, "database")
    }

    /// Those of one user or one database, where only they were asked for.
    pub fn privileges(
        &self,
        found: Vec<Privilege>,
        user: Option<&str>,
        database: Option<&str>,
    ) -> Result<Vec<Privilege>> {
        let mut pairs = BTreeSet::new();
        let sound = found.len() <= PRIVILEGES
            && found.iter().all(|privilege| {
                is_name(&privilege.user)
                    && is_name(&privilege.database)
                    && user.is_none_or(|user| user == privilege.user)
                    && database.is_none_or(|database| database == privilege.database)
                    && pairs.insert((&*privilege.user, &*privilege.database))
            });
        self.believed(found, sound, "list of privileges")
    }

    /// The privilege that was set.
    pub fn privilege(&self, set: Privilege, wanted: Privilege) -> Result<Privilege> {
        let sound = set == wanted;
        self.believed(set, sound, "privilege")
    }

    fn believed<T>(&self, answer: T, sound: bool, what: &str) -> Result<T> {
        if sound {
            return Ok(answer);
        }
        // Whoever answers so is not gone on with.
        self.build.forget(self.instance);
        Err(Error::failed(format!(
            "the {what} of the plugin `{}` was refused: it is not what was asked for, or impossible",
            self.build.manifest.name
        )))
    }
}

fn is_database(database: &LogicalDatabase) -> bool {
    is_name(&database.name)
        && database.owner.len() <= NAME_BYTES
        && database.size_bytes.is_none_or(|size| size <= MOST_BYTES)
}

fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES).contains(&name.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_of_any_characters_and_not_too_long() {
        for name in ["ann", "two\nlines", "\u{7}", &"\u{4e00}".repeat(64)] {
            assert!(is_name(name), "{name:?}");
            assert!(is_database(&LogicalDatabase {
                name: name.to_owned(),
                owner: name.to_owned(),
                managed: true,
                size_bytes: None,
            }));
        }
        assert!(!is_name("") && !is_name(&"a".repeat(257)));
    }
}
