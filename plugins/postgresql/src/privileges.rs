//! What users may do in databases. It is set by way of the roles of `internal`, exactly: whatever else was granted to
//! the user there is revoked, and what it owns goes to the database's owner. It is read from what is granted now, so
//! that what somebody changed in SQL shows.

use berth_sdk::engine::Instance;
use berth_sdk::engine::users::{Permission, Privilege};
use berth_sdk::{Error, Result};
use postgres_protocol::escape::{escape_identifier, escape_literal};
use tokio_postgres::SimpleQueryRow;

use crate::internal::{self, BEGIN, SUPERADMIN};
use crate::lowering::{self, Which};
use crate::session::{Session, text};
use crate::{databases, kept, ownership, privileges_sql, removal, users};

pub async fn list(
    instance: &Instance,
    user: Option<&str>,
    database: Option<&str>,
) -> Result<Vec<Privilege>> {
    let session = kept::prepared(instance).await?;
    let found = databases_of(&session, user, database).await;
    let found = kept::leave(session, instance, found).await?;
    let mut all = Vec::new();
    for name in found {
        let there = match Session::superuser(instance, &name).await {
            Ok(session) => session,
            // It was dropped since.
            Err(Error::NotFound(_)) if database.is_none() => continue,
            Err(error) => return Err(error),
        };
        let read = read(&there, &name, user).await;
        there.close().await;
        all.extend(read?);
    }
    Ok(all)
}

pub async fn set(
    instance: &Instance,
    user: &str,
    database: &str,
    permission: Permission,
) -> Result<Privilege> {
    if matches!(permission, Permission::Custom) {
        return Err(Error::custom_is_not_set("SQL"));
    }
    let session = kept::prepared(instance).await?;
    let checked = check(&session, user, database, permission).await;
    kept::leave(session, instance, checked).await?;
    let there = Session::superuser(instance, database).await?;
    let set = exactly(&there, user, database, permission).await;
    there.close().await;
    set
}

/// Take from a user whatever was granted to it by name in the session's database, whoever granted it. Within a
/// transaction of the superuser.
pub async fn revoke_all(session: &Session, user: &str) -> Result<()> {
    let sql = privileges_sql::granted_to(user);
    let rows = session.rows("looking for its privileges", &sql).await?;
    let mut sql = String::new();
    for row in &rows {
        // A revocation counts for what its author granted, and no more.
        let (grantor, statement) = (text(row, "grantor")?, text(row, "statement")?);
        sql.push_str(&format!(
            "SET LOCAL ROLE {grantor}; {statement}; SET LOCAL ROLE NONE; "
        ));
    }
    session.run("revoking privileges", &sql).await
}

async fn databases_of(
    session: &Session,
    user: Option<&str>,
    database: Option<&str>,
) -> Result<Vec<String>> {
    if let Some(user) = user {
        users::find(session, user).await?;
    }
    let one = database.map_or_else(String::new, |name| {
        format!("AND datname = {}", escape_literal(name))
    });
    let sql = format!(
        "SELECT datname, {} AS open FROM pg_database WHERE {} {one} ORDER BY datname",
        databases::OPEN,
        databases::LISTED
    );
    let rows = session.rows("listing the databases", &sql).await?;
    match database {
        Some(name) if rows.is_empty() => Err(Error::no_database(name)),
        Some(_) | None => {
            let mut names = Vec::new();
            for row in &rows {
                let name = text(row, "datname")?;
                if text(row, "open")? == "t" {
                    names.push(name.to_owned());
                } else if database.is_some() {
                    return Err(databases::closed(name));
                }
            }
            Ok(names)
        }
    }
}

/// Whether it can be set at all.
async fn check(
    session: &Session,
    user: &str,
    database: &str,
    permission: Permission,
) -> Result<()> {
    let found = users::find(session, user).await?;
    let sql = format!(
        "SELECT coalesce(datdba = to_regrole('{SUPERADMIN}')::oid, false) AS managed, {} AS open \
         FROM pg_database WHERE {} AND datname = {}",
        databases::OPEN,
        databases::LISTED,
        escape_literal(database)
    );
    let row = session.row("looking for the database", &sql).await?;
    let row = row.ok_or_else(|| Error::no_database(database))?;
    if text(&row, "managed")? != "t" {
        return Err(Error::unsupported(format!(
            "the database '{database}' was made in SQL: its privileges are its owner's to set, in SQL"
        )));
    }
    if text(&row, "open")? != "t" {
        return Err(databases::closed(database));
    }
    if found.admin && !matches!(permission, Permission::All) {
        return Err(Error::conflict(format!(
            "'{user}' is an admin, and admins may do all in every managed database"
        )));
    }
    Ok(())
}

async fn exactly(
    there: &Session,
    user: &str,
    database: &str,
    permission: Permission,
) -> Result<Privilege> {
    there.run("setting the privilege", BEGIN).await?;
    // Without its last word nothing of it holds.
    let set = give(there, user, database, permission).await;
    there.or_roll_back(set).await
}

/// In a transaction that it ends.
async fn give(
    there: &Session,
    user: &str,
    database: &str,
    permission: Permission,
) -> Result<Privilege> {
    removal::readmit(there, user).await?;
    let before = one(there, database, user).await?;
    let had = before.permission;
    let seen = if had == permission {
        // What is so already stays as it is.
        keep(there, user, before).await?
    } else {
        change(there, user, database, permission).await?
    };
    if seen.permission != permission {
        return Err(Error::conflict(format!(
            "something else than this permission would be left to '{user}' in '{database}': rights of a role that it \
             is a member of, or rights that were given to or taken from everybody with this permission; mend that in SQL first"
        )));
    }
    let doing = "setting the privilege";
    if lowers(had, permission) {
        lowering::commit(there, doing, user, Which::Here).await?;
    } else {
        there.run(doing, "COMMIT").await?;
    }
    Ok(seen)
}

/// Whether a session could keep more than its user may now. Who may do nothing has none, however long that has been so.
fn lowers(had: Permission, has: Permission) -> bool {
    matches!(has, Permission::None) || reach(had) > reach(has)
}

/// What was `custom` may have been anything.
fn reach(permission: Permission) -> u8 {
    match permission {
        Permission::None => 0,
        Permission::Readonly => 1,
        Permission::Readwrite => 2,
        Permission::All | Permission::Custom => 3,
    }
}

/// An admin has `all` everywhere without being granted it anywhere; what is granted stays when it is no admin any more.
async fn keep(there: &Session, user: &str, seen: Privilege) -> Result<Privilege> {
    if matches!(seen.permission, Permission::All) {
        let oid = internal::number(there).await?;
        let all = internal::group(&oid, Permission::All).unwrap_or_default();
        let sql = format!(
            "GRANT {} TO {}",
            escape_identifier(&all),
            escape_identifier(user)
        );
        there.run("setting the privilege", &sql).await?;
    }
    Ok(seen)
}

/// Make it so. Answers what came of it.
async fn change(
    there: &Session,
    user: &str,
    database: &str,
    permission: Permission,
) -> Result<Privilege> {
    let oid = internal::number(there).await?;
    if !matches!(permission, Permission::All) {
        ownership::give_away(there, user).await?;
    }
    revoke_all(there, user).await?;
    let name = escape_identifier(user);
    let group = |permission| {
        internal::group(&oid, permission)
            .map(|group| escape_identifier(&group))
            .unwrap_or_default()
    };
    let [ro, rw, all] = [Permission::Readonly, Permission::Readwrite, Permission::All].map(group);
    let mut sql = format!("REVOKE {ro}, {rw}, {all} FROM {name}");
    if !matches!(permission, Permission::None) {
        let wanted = group(permission);
        // A member that does not inherit would have to ask for its rights in each session.
        sql = format!("{sql}; ALTER ROLE {name} INHERIT; GRANT {wanted} TO {name}");
    }
    there.run("setting the privilege", &sql).await?;
    one(there, database, user).await
}

async fn one(there: &Session, database: &str, user: &str) -> Result<Privilege> {
    let seen = read(there, database, Some(user)).await?;
    seen.into_iter().next().ok_or_else(|| Error::no_user(user))
}

async fn read(there: &Session, database: &str, user: Option<&str>) -> Result<Vec<Privilege>> {
    let sql = privileges_sql::permissions(user);
    let rows = there.rows("reading the privileges", &sql).await?;
    rows.iter().map(|row| privilege(row, database)).collect()
}

fn privilege(row: &SimpleQueryRow, database: &str) -> Result<Privilege> {
    Ok(Privilege {
        user: text(row, "rolname")?.to_owned(),
        database: database.to_owned(),
        permission: match text(row, "permission")? {
            "readonly" => Permission::Readonly,
            "readwrite" => Permission::Readwrite,
            "all" => Permission::All,
            "none" => Permission::None,
            _ => Permission::Custom,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_or_rises_lowers_nothing() {
        let rising = [
            Permission::None,
            Permission::Readonly,
            Permission::Readwrite,
            Permission::All,
        ];
        for (had, before) in rising.into_iter().enumerate() {
            for (has, now) in rising.into_iter().enumerate() {
                let lowered = has == 0 || has < had;
                assert_eq!(lowers(before, now), lowered, "{before:?} to {now:?}");
            }
        }
        assert!(lowers(Permission::Custom, Permission::Readwrite));
        assert!(!lowers(Permission::Custom, Permission::All));
    }
}
