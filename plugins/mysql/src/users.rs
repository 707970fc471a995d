//! Users of a running server: whoever can log in, but for the server's own and Berth. A user is all the accounts of its
//! name, whatever host they are for; those that are made here are for all hosts. No statement holds a password.

use berth_sdk::engine::Instance;
use berth_sdk::engine::users::User;
use berth_sdk::names::first_user_stays;
use berth_sdk::{Error, Result};

use crate::bootstrap::prepare;
use crate::grants::{Account, Grants, quoted};
use crate::hash::Plugin;
use crate::names::{self, ADMINS, check_user, literal};
use crate::session::{Session, failure, number, text, with};
use crate::wire::Failure;

pub fn list(instance: &Instance) -> Result<Vec<User>> {
    with(instance, |session| {
        let grants = Grants::read(session)?;
        Ok(grants
            .users()
            .into_iter()
            .map(|name| shown(&grants, name))
            .collect())
    })
}

pub fn create(instance: &Instance, name: &str, password: &str, admin: bool) -> Result<User> {
    check_user(name)?;
    with(instance, |session| {
        let grants = prepare(session)?;
        if !grants.accounts_of(name).is_empty() {
            return Err(Error::user_exists(name));
        }
        let sql = create_sql(session, name, password, admin)?;
        match session.try_rows(&sql) {
            Ok(_) => find(session, name),
            Err(Failure::Server(number::CANNOT_USER, _)) => Err(Error::user_exists(name)),
            Err(error) => Err(failure("making the user", &error)),
        }
    })
}

/// The role first: were the second to fail, the first is taken back.
pub fn change(
    instance: &Instance,
    name: &str,
    password: Option<&str>,
    admin: Option<bool>,
) -> Result<User> {
    with(instance, |session| {
        let grants = prepare(session)?;
        known(&grants, name)?;
        let before = grants.is_admin(name);
        let sql = password.map(|password| password_sql(session, &grants, name, password));
        let sql = sql.transpose()?;
        if let Some(admin) = admin {
            set_admin(session, &grants, name, admin)?;
        }
        if let Some(sql) = sql {
            let changed = session.run("changing the password", &sql);
            if changed.is_err() && admin.is_some_and(|admin| admin != before) {
                let now = Grants::read(session)?;
                set_admin(session, &now, name, before)?;
            }
            changed?;
        }
        find(session, name)
    })
}

/// One statement, which the server does whole or not at all. What has it as its definer would run no more: that is said
/// before anything is changed.
pub fn delete(instance: &Instance, name: &str) -> Result<()> {
    if name == names::user(&instance.spec) {
        return Err(first_user_stays(name));
    }
    with(instance, |session| {
        let grants = Grants::read(session)?;
        if let Err(absent) = known(&grants, name) {
            // An earlier call may have got no further.
            session.end(Some(name), None)?;
            return Err(absent);
        }
        let accounts = grants.accounts_of(name);
        if !accounts.is_empty() {
            refuse_definer(session, name, &accounts)?;
            let sql = format!("DROP USER {}", joined(&accounts));
            session.run("removing the user", &sql)?;
        }
        // Who logs in as the role of admins is no user any more, and the role stays.
        prepare(session)?;
        session.end(Some(name), None)
    })
}

/// Makes an account for all hosts, an admin in the same statement.
pub fn create_sql(
    session: &mut Session,
    name: &str,
    password: &str,
    admin: bool,
) -> Result<String> {
    let identified = identified(session, password)?;
    let role = if admin {
        format!(" DEFAULT ROLE '{ADMINS}'@'%'")
    } else {
        String::new()
    };
    Ok(format!(
        "CREATE USER {}@'%' {identified}{role}",
        literal(name)
    ))
}

/// Another password for all accounts of the user.
pub fn password_sql(
    session: &mut Session,
    grants: &Grants,
    name: &str,
    password: &str,
) -> Result<String> {
    let identified = identified(session, password)?;
    let accounts = grants.accounts_of(name).into_iter();
    let each: Vec<_> = accounts
        .map(|account| format!("{} {identified}", quoted(account)))
        .collect();
    Ok(format!("ALTER USER {}", each.join(", ")))
}

/// Make it an admin, or make it none.
pub fn set_admin(session: &mut Session, grants: &Grants, name: &str, admin: bool) -> Result<()> {
    if grants.is_admin(name) == admin {
        return Ok(());
    }
    let accounts = grants.accounts_of(name);
    if admin {
        let sql = format!("GRANT '{ADMINS}'@'%' TO {}", joined(&accounts));
        return session.run("making the user an admin", &sql);
    }
    let direct: Vec<_> = accounts
        .into_iter()
        .filter(|it| grants.is_member(it))
        .collect();
    if direct.is_empty() {
        return Err(Error::admin_by_another_role(name));
    }
    let sql = format!("REVOKE '{ADMINS}'@'%' FROM {}", joined(&direct));
    session.run("making the user no admin", &sql)?;
    if Grants::read(session)?.is_admin(name) {
        let sql = format!("GRANT '{ADMINS}'@'%' TO {}", joined(&direct));
        session.run("making the user an admin", &sql)?;
        return Err(Error::admin_by_another_role(name));
    }
    // What a session may, it found out when it began.
    session.end(Some(name), None)
}

/// Among the callers' users.
pub fn known(grants: &Grants, name: &str) -> Result<()> {
    if grants.users().contains(name) {
        return Ok(());
    }
    Err(Error::no_user(name))
}

fn find(session: &mut Session, name: &str) -> Result<User> {
    let grants = Grants::read(session)?;
    known(&grants, name)?;
    Ok(shown(&grants, name))
}

fn shown(grants: &Grants, name: &str) -> User {
    User {
        name: name.to_owned(),
        admin: grants.is_admin(name),
    }
}

/// By the plugin that the server's settings name for new users.
fn identified(session: &mut Session, password: &str) -> Result<String> {
    let sql = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('authentication_policy', 'default_authentication_plugin')";
    let native = session
        .rows("asking how users log in", sql)?
        .iter()
        .any(|row| text(row, 1).is_ok_and(|value| value.contains(Plugin::Native.name())));
    let plugin = if native {
        Plugin::Native
    } else {
        Plugin::CachingSha2
    };
    let stored = plugin.stored(password)?;
    Ok(format!(
        "IDENTIFIED WITH {} AS {}",
        plugin.name(),
        literal(&stored)
    ))
}

fn refuse_definer(session: &mut Session, name: &str, accounts: &[&Account]) -> Result<()> {
    let definers: Vec<_> = accounts
        .iter()
        .map(|(user, host)| literal(&format!("{user}@{host}")))
        .collect();
    let part = |kind: &str, table: &str, schema: &str, object: &str| {
        format!(
            "SELECT CONCAT('{kind} ', {schema}, '.', {object}) AS name FROM information_schema.{table} \
             WHERE DEFINER IN ({})",
            definers.join(", ")
        )
    };
    let sql = format!(
        "SELECT name FROM ({} UNION ALL {} UNION ALL {} UNION ALL {}) defined ORDER BY name LIMIT 4",
        part("view", "VIEWS", "TABLE_SCHEMA", "TABLE_NAME"),
        part("routine", "ROUTINES", "ROUTINE_SCHEMA", "ROUTINE_NAME"),
        part("trigger", "TRIGGERS", "TRIGGER_SCHEMA", "TRIGGER_NAME"),
        part("event", "EVENTS", "EVENT_SCHEMA", "EVENT_NAME"),
    );
    let rows = session.rows("looking for what it defined", &sql)?;
    if rows.is_empty() {
        return Ok(());
    }
    let mut names = rows
        .iter()
        .map(|row| text(row, 0))
        .collect::<Result<Vec<_>>>()?;
    if names.len() > 3 {
        names[3] = "and others";
    }
    Err(Error::conflict(format!(
        "'{name}' is the definer of {}, which would run no more; drop them or make them anew with another definer first",
        names.join(", ")
    )))
}

fn joined(accounts: &[&Account]) -> String {
    let all: Vec<_> = accounts.iter().map(|account| quoted(account)).collect();
    all.join(", ")
}
