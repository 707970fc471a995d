//! Make a new server what its spec says: the role of admins, the first user, who is one, and the first database.
//!
//! Every statement bears repetition: the host calls again after any failure, and may after a success.

use berth_sdk::engine::Instance;
use berth_sdk::server::another_program;
use berth_sdk::{Error, Result};

use crate::catalog::Series;
use crate::grants::{Grants, Rights, admins, quoted};
use crate::names::{SUPERUSER, identifier, literal};
use crate::plan::{OWN_CONNECTIONS, USER_SECRET};
use crate::session::{Session, number, text, with};
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
            let wanted = format!("MySQL {}", series.label());
            return Err(another_program(&said, &wanted));
        }
        let grants = prepare(session)?;
        let user = names::user(&instance.spec);
        first_user(session, &grants, &user, password)?;
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
    let whole = grants.accounts.get(&role).is_some_and(|rights| {
        grants.is_role(&role)
            && Rights::ALL.without(*rights).is_empty()
            && grants.effective(&role, "mysql").is_empty()
            && grants
                .effective(&role, "sys")
                .without(Rights::SEES)
                .is_empty()
    });
    if whole {
        return Ok(grants);
    }
    let role = quoted(&role);
    let databases = Rights::ALL.sql();
    let reads = Rights::ALL.without(Rights::SEES).sql();
    for sql in [
        format!("CREATE ROLE IF NOT EXISTS {role}"),
        format!("ALTER USER {role} IDENTIFIED BY '' PASSWORD EXPIRE ACCOUNT LOCK"),
        format!("GRANT {databases}, {SERVER_WIDE} ON *.* TO {role} WITH GRANT OPTION"),
        format!("REVOKE {databases} ON mysql.* FROM {role}"),
        format!("REVOKE {reads} ON sys.* FROM {role}"),
    ] {
        session.run("making the role of admins", &sql)?;
    }
    Grants::read(session)
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

/// Rights that are not about databases. None of them reaches a file, a log, another's session or a variable.
const SERVER_WIDE: &str = "PROCESS, SHOW DATABASES, REPLICATION CLIENT, CREATE USER, CREATE ROLE, DROP ROLE, \
    FLUSH_TABLES, FLUSH_STATUS, FLUSH_USER_RESOURCES, XA_RECOVER_ADMIN";

fn first_user(session: &mut Session, grants: &Grants, user: &str, password: &str) -> Result<()> {
    if !grants.users().contains(user) {
        let sql = users::create_sql(session, user, password, true)?;
        return match session.try_rows(&sql) {
            Ok(_) | Err(Failure::Server(number::CANNOT_USER, _)) => Ok(()),
            Err(error) => Err(crate::session::failure("making the first user", &error)),
        };
    }
    let sql = users::password_sql(session, grants, user, password)?;
    session.run("making the first user", &format!("{sql} ACCOUNT UNLOCK"))?;
    users::set_admin(session, grants, user, true)
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
            assert!(!SERVER_WIDE.contains(right), "{right}");
            assert!(
                RIGHTS.iter().all(|(_, name)| !name.contains(right)),
                "{right}"
            );
        }
    }
}
