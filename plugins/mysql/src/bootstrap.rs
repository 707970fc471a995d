//! Make a new server what its spec says: the role of admins, the first user, who is one, and the first database.
//!
//! Every statement bears repetition: the host calls again after any failure, and may after a success.

use berth_sdk::engine::Instance;
use berth_sdk::server::{SOON, another_program};
use berth_sdk::{Error, Result};

use crate::catalog::Series;
use crate::grants::{Grants, Rights, admins, quoted};
use crate::names::{ADMINS, SUPERUSER, identifier, literal};
use crate::plan::{OWN_CONNECTIONS, USER_SECRET};
use crate::session::{Session, failure, number, number_of, text, with};
use crate::wire::Failure;
use crate::{names, users};

pub fn bootstrap(instance: &Instance) -> Result<()> {
    let series = Series::of(instance)?;
    let password = instance
        .secret(USER_SECRET)
        .ok_or_else(|| Error::failed("the first user's password is not known to Berth"))?;
    with(instance, |session| {
        let said = session.row("asking for the version", "SELECT VERSION()")?;
        let said = said.into_iter().next().flatten().unwrap_or_default();
        if !series.is_of(&said) {
            return Err(another_program(&said, series.wanted()));
        }
        let grants = prepare(session)?;
        let user = names::user(&instance.spec);
        first_user(session, grants, &user, password)?;
        let database = identifier(&names::database(&instance.spec));
        let sql = format!("CREATE DATABASE IF NOT EXISTS {database}");
        session.run("making the first database", &sql)?;
        // What it has when it is no admin any more.
        let user = literal(&user);
        let sql = format!("GRANT {} ON {database}.* TO {user}@'%'", Rights::ALL.sql());
        session.run("setting rights", &sql)
    })
}

/// See that the role of admins is there, and may what it should: all in all databases but in the server's own, where
/// accounts and their passwords are, and nothing to the server itself. An admin can make and change users, but none with
/// the right `SYSTEM_USER`, which the superuser has and no other. Nobody logs in as the role: an admin may have given it a
/// password. Answers what is granted then.
pub fn prepare(session: &mut Session) -> Result<Grants> {
    keep_way_in(session)?;
    let grants = Grants::read(session)?;
    let role = admins();
    let locked = grants.is_role(&role);
    let whole = is_whole(session, &grants)?;
    if locked && whole {
        return Ok(grants);
    }
    if !locked {
        let role = quoted(&role);
        for sql in [
            format!("CREATE ROLE IF NOT EXISTS {role}"),
            format!("ALTER USER {role} IDENTIFIED BY '' PASSWORD EXPIRE ACCOUNT LOCK"),
        ] {
            session.run(MAKING_ADMINS, &sql)?;
        }
    }
    if !whole {
        mend(session, &grants)?;
    }
    Grants::read(session)
}

const MAKING_ADMINS: &str = "making the role of admins";

/// The server's own databases that have bounds, and what admins may do there.
fn bounds() -> [(&'static str, Rights); 2] {
    [("mysql", Rights::default()), ("sys", Rights::SEES)]
}

/// What is taken from admins in a database.
fn kept_from_admins(database: &str) -> Rights {
    let own = bounds().into_iter().find(|(own, _)| *own == database);
    own.map(|(_, may)| Rights::ALL.without(may))
        .unwrap_or_default()
}

/// What admins may do in the server's own databases and should not.
fn excess(grants: &Grants) -> Vec<(&'static str, Rights)> {
    let role = admins();
    let beyond = |(database, may): (&'static str, Rights)| {
        (database, grants.effective(&role, database).without(may))
    };
    let all = bounds().into_iter().map(beyond);
    all.filter(|(_, rights)| !rights.is_empty()).collect()
}

/// Whether the role of admins may all that it should, and no more.
fn is_whole(session: &mut Session, grants: &Grants) -> Result<bool> {
    let role = admins();
    let rights = grants.accounts.get(&role).copied().unwrap_or_default();
    let lacks_some = grants
        .taken_from(&role)
        .any(|(database, taken)| !taken.without(kept_from_admins(database)).is_empty());
    let in_databases = Rights::ALL.without(rights).is_empty() && !lacks_some;
    Ok(in_databases && excess(grants).is_empty() && has_server_wide(session)?)
}

/// Whether the role of admins has all rights that are not about databases, and may hand on what it has.
fn has_server_wide(session: &mut Session) -> Result<bool> {
    let columns = STATIC.map(|(column, _)| column).join(", ");
    let dynamic = DYNAMIC.map(literal).join(", ");
    let sql = format!(
        "SELECT (SELECT COUNT(*) FROM mysql.user WHERE User = '{ADMINS}' AND Host = '%' \
         AND 'N' NOT IN (Grant_priv, {columns})), \
         (SELECT COUNT(*) FROM mysql.global_grants WHERE USER = '{ADMINS}' AND HOST = '%' \
         AND WITH_GRANT_OPTION = 'Y' AND PRIV IN ({dynamic}))"
    );
    let row = session.row("reading what admins may", &sql)?;
    Ok(text(&row, 0)? == "1" && number_of::<usize>(&row, 1)? == DYNAMIC.len())
}

/// First what is too much is taken, then all is given in one statement, `AS` an account that has the role's bounds: with
/// the rights the server hands on what was taken back from that account. Given without, and the bounds set after it, the
/// role would be too wide for a moment, and its members with it; an admin could have that as often as he likes. And were it
/// taken from its members for that time, a host that dies would lose them.
fn mend(session: &mut Session, grants: &Grants) -> Result<()> {
    let role = quoted(&admins());
    for (database, rights) in excess(grants) {
        let sql = format!("REVOKE {} ON {database}.* FROM {role}", rights.sql());
        session.run(MAKING_ADMINS, &sql)?;
    }
    // To hand on, taken back for one database, does not come back with the right to for all, but goes with it.
    let sql = format!("REVOKE GRANT OPTION ON *.* FROM {role}");
    session.run(MAKING_ADMINS, &sql)?;
    forget_bounded(session)?;
    // Each call has one of its own: one that another call makes would have no bounds at first.
    let row = session.row(MAKING_ADMINS, "SELECT CONNECTION_ID()")?;
    let bounded = format!("'{BOUNDED}{}'@'localhost'", number_of::<u64>(&row, 0)?);
    let given = give_as(session, &bounded, &role);
    let dropped = session.run(MAKING_ADMINS, &format!("DROP USER IF EXISTS {bounded}"));
    given.and(dropped)?;
    // What is given anew of the rights without columns the server (9.7) keeps twice in memory, and takes back once only.
    session.run(MAKING_ADMINS, "FLUSH PRIVILEGES")
}

/// Nobody is let in as this account or a member of it, and no admin can change one with the right `SYSTEM_USER`.
fn give_as(session: &mut Session, bounded: &str, role: &str) -> Result<()> {
    let databases = Rights::ALL.sql();
    let mut all = vec![
        format!("CREATE ROLE {bounded}"),
        format!("GRANT SYSTEM_USER, {databases} ON *.* TO {bounded}"),
    ];
    for (database, may) in bounds() {
        let kept = Rights::ALL.without(may).sql();
        all.push(format!("REVOKE {kept} ON {database}.* FROM {bounded}"));
    }
    all.push(format!(
        "GRANT {databases}, {} ON *.* TO {role} WITH GRANT OPTION AS {bounded}",
        server_wide()
    ));
    for sql in all {
        session.run(MAKING_ADMINS, &sql)?;
    }
    Ok(())
}

/// What a call that got no further left, whose session is no more.
fn forget_bounded(session: &mut Session) -> Result<()> {
    let sql = format!(
        "SELECT User FROM mysql.user WHERE Host = 'localhost' AND LOCATE('{BOUNDED}', User) = 1 \
         AND REPLACE(User, '{BOUNDED}', '') NOT IN \
         (SELECT id FROM information_schema.processlist WHERE id <> CONNECTION_ID())"
    );
    for row in session.rows(MAKING_ADMINS, &sql)? {
        let user = literal(text(&row, 0)?);
        let sql = format!("DROP USER IF EXISTS {user}@'localhost'");
        session.run(MAKING_ADMINS, &sql)?;
    }
    Ok(())
}

/// The limit on Berth's own sessions. An account that an earlier build made has none of its own, and there the callers'
/// `max_user_connections` counts.
fn keep_way_in(session: &mut Session) -> Result<()> {
    let sql = format!(
        "SELECT max_user_connections = {OWN_CONNECTIONS} FROM mysql.user \
         WHERE User = '{SUPERUSER}' AND Host = 'localhost'"
    );
    let row = session.row("looking at Berth's own account", &sql)?;
    if text(&row, 0)? == "1" {
        return Ok(());
    }
    let sql =
        format!("ALTER USER '{SUPERUSER}'@'localhost' WITH MAX_USER_CONNECTIONS {OWN_CONNECTIONS}");
    session.run("keeping Berth's own way in", &sql)
}

/// What the accounts are called that are there while the role of admins is mended; the number of the session follows.
const BOUNDED: &str = "_rdb_bounds_";

/// Rights that are not about databases, with the columns that hold them. None of these and of the next reaches a file, a
/// log, another's session or a variable.
const STATIC: [(&str, &str); 6] = [
    ("Process_priv", "PROCESS"),
    ("Show_db_priv", "SHOW DATABASES"),
    ("Repl_client_priv", "REPLICATION CLIENT"),
    ("Create_user_priv", "CREATE USER"),
    ("Create_role_priv", "CREATE ROLE"),
    ("Drop_role_priv", "DROP ROLE"),
];

/// And those that have no column.
const DYNAMIC: [&str; 4] = [
    "FLUSH_TABLES",
    "FLUSH_STATUS",
    "FLUSH_USER_RESOURCES",
    "XA_RECOVER_ADMIN",
];

fn server_wide() -> String {
    let names = STATIC.into_iter().map(|(_, name)| name).chain(DYNAMIC);
    names.collect::<Vec<_>>().join(", ")
}

/// However it came about, the password is the one given then.
fn first_user(session: &mut Session, mut grants: Grants, user: &str, password: &str) -> Result<()> {
    if !grants.users().contains(user) {
        let sql = users::create_sql(session, user, password, true)?;
        match session.try_rows(&sql) {
            Ok(_) => return Ok(()),
            // Another call has made it, or somebody a role of this name, which has no password.
            Err(Failure::Server(number::CANNOT_USER, _)) => grants = Grants::read(session)?,
            Err(error) => return Err(failure("making the first user", &error)),
        }
        if grants.accounts_of(user).is_empty() {
            return Err(Error::retry(SOON, "the first user comes and goes"));
        }
    }
    let sql = users::password_sql(session, &grants, user, password)?;
    session.run("making the first user", &format!("{sql} ACCOUNT UNLOCK"))?;
    users::set_admin(session, &grants, user, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grants::RIGHTS;

    #[test]
    fn admins_get_nothing_that_leads_out_of_the_server() {
        for right in [
            "SUPER",
            "FILE",
            "SHUTDOWN",
            "RELOAD",
            "SYSTEM_",
            "CONNECTION_ADMIN",
            "DEFINER",
            "ROLE_ADMIN",
            "REPLICATION SLAVE",
            "BACKUP",
            "CLONE",
            "PERSIST",
        ] {
            assert!(!server_wide().contains(right), "{right}");
            assert!(
                RIGHTS.iter().all(|(_, name)| !name.contains(right)),
                "{right}"
            );
        }
    }
}
