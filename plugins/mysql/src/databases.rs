//! Logical databases of a running server. The server knows no owner of one: all but its own are managed.

use std::collections::BTreeMap;

use berth_sdk::engine::Instance;
use berth_sdk::engine::users::Database;
use berth_sdk::{Error, Result};

use crate::grants::Grants;
use crate::names::{ADMINS, OWN_DATABASES, check_database, identifier};
use crate::session::{Session, failure, number, number_of, text, with};
use crate::wire::Failure;
use crate::{privileges, settings};

pub fn list(instance: &Instance, sizes: bool) -> Result<Vec<Database>> {
    with(instance, |session| {
        let sizes = if sizes {
            Some(all_sizes(session)?)
        } else {
            None
        };
        let size_of = |name: &str| {
            let sizes = sizes.as_ref()?;
            // By its name, or by that of its directory.
            let found = sizes.get(name).or_else(|| sizes.get(&file_name(name)));
            Some(found.copied().unwrap_or(0))
        };
        let names = names(session)?;
        Ok(names
            .into_iter()
            .map(|name| shown(size_of(&name), name))
            .collect())
    })
}

pub fn create(instance: &Instance, name: &str) -> Result<Database> {
    let lower = settings::lower_case(&instance.spec);
    check_database(name, lower)?;
    with(instance, |session| {
        if exists(session, name)? {
            return Err(Error::database_exists(name));
        }
        // The server keeps what was granted on one that was dropped, and on one that there never was.
        forget(session, name)?;
        match session.try_rows(&format!("CREATE DATABASE {}", identifier(name))) {
            Ok(_) => Ok(shown(None, name.to_owned())),
            Err(Failure::Server(number::DB_CREATE_EXISTS, _)) => Err(Error::database_exists(name)),
            Err(error) => Err(failure("making the database", &error)),
        }
    })
}

pub fn delete(instance: &Instance, name: &str) -> Result<()> {
    with(instance, |session| {
        if !exists(session, name)? {
            return Err(Error::no_database(name));
        }
        // One that waits in a transaction would be waited for.
        session.end(None, Some(name))?;
        match session.try_rows(&format!("DROP DATABASE {}", identifier(name))) {
            Ok(_) => forget(session, name),
            Err(Failure::Server(number::DB_DROP_EXISTS, _)) => Err(Error::no_database(name)),
            Err(Failure::Server(number::FK_PARENT, message)) => Err(Error::conflict(format!(
                "a table of another database refers to one of '{name}': {message}"
            ))),
            Err(error) => Err(failure("removing the database", &error)),
        }
    })
}

/// Whether it is one of the callers' databases.
pub fn exists(session: &mut Session, name: &str) -> Result<bool> {
    Ok(names(session)?.iter().any(|other| other == name))
}

/// The callers' databases.
pub fn names(session: &mut Session) -> Result<Vec<String>> {
    let rows = session.rows("listing the databases", "SHOW DATABASES")?;
    let mut names = Vec::new();
    for row in &rows {
        let name = text(row, 0)?;
        if !OWN_DATABASES.contains(&name) {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn shown(size_bytes: Option<u64>, name: String) -> Database {
    Database {
        name,
        owner: ADMINS.into(),
        managed: true,
        size_bytes,
    }
}

fn forget(session: &mut Session, name: &str) -> Result<()> {
    let grants = Grants::read(session)?;
    for account in grants.grantees(name) {
        privileges::revoke_all(session, &grants, account, name)?;
    }
    Ok(())
}

fn all_sizes(session: &mut Session) -> Result<BTreeMap<String, u64>> {
    let sql = "SELECT SUBSTRING_INDEX(NAME, '/', 1), SUM(FILE_SIZE) \
        FROM information_schema.INNODB_TABLESPACES WHERE LOCATE('/', NAME) > 0 GROUP BY 1";
    let rows = session.rows("measuring the databases", sql)?;
    rows.iter()
        .map(|row| Ok((text(row, 0)?.to_owned(), number_of(row, 1)?)))
        .collect()
}

/// Manual 11.2.4: what is no letter, digit or underscore stands as a number.
fn file_name(name: &str) -> String {
    let mut encoded = String::new();
    for character in name.chars() {
        if character.is_ascii_alphanumeric() || character == '_' {
            encoded.push(character);
        } else {
            encoded.push_str(&format!("@{:04x}", u32::from(character)));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_named_as_the_server_names_it() {
        assert_eq!(file_name("shop_1"), "shop_1");
        assert_eq!(file_name("shop-eu$"), "shop@002deu@0024");
    }
}
