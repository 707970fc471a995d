//! A session with the instance's server, and its failures in plain words.

use std::net::SocketAddr;
use std::time::Duration;

use berth_sdk::engine::Instance;
use berth_sdk::server::{LATER, SOON};
use berth_sdk::{Error, Result};

use crate::names::{SUPERUSER, literal};
use crate::plan::{MEMBER, PORT, SUPERUSER_SECRET};
use crate::wire::{Connection, Failure, Login, Row};

/// Longer than the server may take for a statement, and less than the host waits for a call.
const PATIENCE: Duration = Duration::from_secs(20);

/// The session's own settings. Nothing it does goes to the general log, no lock or statement outlasts the host's
/// patience with the call, and nothing that somebody set for the server changes what it does.
const OPTIONS: &str = "SET SESSION sql_log_off = ON, sql_mode = '', autocommit = ON, lock_wait_timeout = 10, \
    innodb_lock_wait_timeout = 10, max_execution_time = 15000, foreign_key_checks = ON, \
    sql_select_limit = DEFAULT, transaction_isolation = 'READ-COMMITTED', time_zone = '+00:00'";

/// Which sessions of the list are a client's. Whoever comes by the network has an address with a port. Berth comes by the
/// socket, and the server's own threads from nowhere; their names alone say nothing, because an admin can make accounts that
/// are called so. Who only logs in yet is no client.
pub const OF_CLIENTS: &str =
    "LOCATE(':', HOST) > 0 AND NOT (USER = 'unauthenticated user' AND COMMAND = 'Connect')";

/// Numbers of errors, by their names in the manual.
pub mod number {
    pub const DB_CREATE_EXISTS: u16 = 1007;
    pub const DB_DROP_EXISTS: u16 = 1008;
    pub const DISK_FULL: u16 = 1021;
    pub const CON_COUNT: u16 = 1040;
    pub const OUT_OF_MEMORY: u16 = 1037;
    pub const OUT_OF_RESOURCES: u16 = 1041;
    pub const DBACCESS_DENIED: u16 = 1044;
    pub const ACCESS_DENIED: u16 = 1045;
    pub const BAD_DB: u16 = 1049;
    pub const SERVER_SHUTDOWN: u16 = 1053;
    pub const PARSE: u16 = 1064;
    pub const NO_SUCH_THREAD: u16 = 1094;
    pub const RECORD_FILE_FULL: u16 = 1114;
    pub const CANNOT_CREATE_THREAD: u16 = 1135;
    pub const NONEXISTING_GRANT: u16 = 1141;
    pub const NONEXISTING_TABLE_GRANT: u16 = 1147;
    pub const NONEXISTING_PROC_GRANT: u16 = 1403;
    pub const TOO_MANY_USER_CONNECTIONS: u16 = 1203;
    pub const LOCK_WAIT_TIMEOUT: u16 = 1205;
    pub const LOCK_DEADLOCK: u16 = 1213;
    pub const USER_LIMIT_REACHED: u16 = 1226;
    pub const QUERY_INTERRUPTED: u16 = 1317;
    pub const CANNOT_USER: u16 = 1396;
    pub const MUST_CHANGE_PASSWORD: u16 = 1862;
    pub const QUERY_TIMEOUT: u16 = 3024;
    pub const ACCOUNT_LOCKED: u16 = 3118;
    pub const SERVER_IS_NOT_AVAILABLE: u16 = 3168;
    pub const SESSION_WAS_KILLED: u16 = 3169;
    pub const DISK_FULL_NOWAIT: u16 = 3675;
    pub const FK_PARENT: u16 = 3730;
    pub const CLIENT_INTERACTION_TIMEOUT: u16 = 4031;
}

/// A server's session. `close` it; the server complains about a client that was lost.
pub struct Session(Connection);

/// Why a login did not come about.
pub enum Refusal {
    /// The server was reached and knows this user by another password, or not at all, or locked it.
    Password,
    /// The password was accepted, and the login refused for another reason.
    AfterPassword,
    /// The server was reached, and all its connections or the user's are in use.
    Full(Error),
    Other(Error),
}

impl Refusal {
    /// Where the superuser was refused.
    pub fn of_superuser(self) -> Error {
        match self {
            Self::Password | Self::AfterPassword => {
                Error::failed("the server does not accept the superuser's password")
            }
            Self::Full(error) | Self::Other(error) => error,
        }
    }
}

impl Session {
    /// As superuser.
    pub fn superuser(instance: &Instance) -> Result<Self> {
        Self::try_superuser(instance).map_err(Refusal::of_superuser)
    }

    /// The same, for whoever knows what to make of a refusal.
    pub fn try_superuser(instance: &Instance) -> Result<Self, Refusal> {
        let unknown = || {
            Refusal::Other(Error::failed(
                "the superuser's password is not known to Berth",
            ))
        };
        let password = instance.secret(SUPERUSER_SECRET).ok_or_else(unknown)?;
        let mut session = Self::login(instance, SUPERUSER, password, None)?;
        session
            .run("beginning a session", OPTIONS)
            .map_err(Refusal::Other)?;
        Ok(session)
    }

    /// As anybody.
    pub fn login(
        instance: &Instance,
        user: &str,
        password: &str,
        database: Option<&str>,
    ) -> Result<Self, Refusal> {
        let address: SocketAddr = instance
            .address(MEMBER, PORT)
            .and_then(|address| address.parse().ok())
            .ok_or_else(|| Refusal::Other(Error::failed("the server has no address")))?;
        let login = Login {
            user,
            password,
            database,
        };
        Connection::open(address, &login, PATIENCE)
            .map(Self)
            .map_err(|failure| refusal(&failure))
    }

    /// Run a statement. `doing` completes "… failed"; the statement itself is never reported.
    pub fn run(&mut self, doing: &str, sql: &str) -> Result<()> {
        self.rows(doing, sql).map(drop)
    }

    /// All rows of a query.
    pub fn rows(&mut self, doing: &str, sql: &str) -> Result<Vec<Row>> {
        self.try_rows(sql).map_err(|e| failure(doing, &e))
    }

    /// The same, for whoever knows an error by its number.
    pub fn try_rows(&mut self, sql: &str) -> Result<Vec<Row>, Failure> {
        self.0.query(sql)
    }

    /// The first row of a query, which has one.
    pub fn row(&mut self, doing: &str, sql: &str) -> Result<Row> {
        let rows = self.rows(doing, sql)?;
        rows.into_iter()
            .next()
            .ok_or_else(|| Error::failed(format!("{doing} failed: the server said nothing")))
    }

    /// End sessions of clients: of this user, in this database.
    pub fn end(&mut self, user: Option<&str>, database: Option<&str>) -> Result<()> {
        let mut sql = format!("SELECT id FROM information_schema.processlist WHERE {OF_CLIENTS}");
        for (column, wanted) in [("user", user), ("db", database)] {
            if let Some(wanted) = wanted {
                // What collation the list has differs from version to version.
                sql = format!("{sql} AND CAST({column} AS BINARY) = {}", literal(wanted));
            }
        }
        for row in self.rows("looking for sessions", &sql)? {
            let id: u64 = number_of(&row, 0)?;
            match self.try_rows(&format!("KILL {id}")) {
                Ok(_) | Err(Failure::Server(number::NO_SUCH_THREAD, _)) => {}
                Err(error) => return Err(failure("ending sessions", &error)),
            }
        }
        Ok(())
    }

    pub fn close(self) {
        self.0.close();
    }
}

/// Do this in a session of the superuser's, and close it.
pub fn with<T>(instance: &Instance, work: impl FnOnce(&mut Session) -> Result<T>) -> Result<T> {
    let mut session = Session::superuser(instance)?;
    let result = work(&mut session);
    session.close();
    result
}

/// A value that is never NULL.
pub fn text(row: &Row, column: usize) -> Result<&str> {
    row.get(column)
        .and_then(Option::as_deref)
        .ok_or_else(|| Error::failed("the server did not say all that it was asked"))
}

pub fn number_of<T: std::str::FromStr>(row: &Row, column: usize) -> Result<T> {
    text(row, column)?
        .parse()
        .map_err(|_| Error::failed("the server said something else than a number"))
}

fn refusal(error: &Failure) -> Refusal {
    let Failure::Server(number, _) = error else {
        return Refusal::Other(failure("logging in", error));
    };
    match *number {
        number::ACCESS_DENIED | number::ACCOUNT_LOCKED | number::MUST_CHANGE_PASSWORD => {
            Refusal::Password
        }
        // The server looks at the database only after the password.
        number::BAD_DB | number::DBACCESS_DENIED => Refusal::AfterPassword,
        number::CON_COUNT | number::TOO_MANY_USER_CONNECTIONS | number::USER_LIMIT_REACHED => {
            Refusal::Full(failure("logging in", error))
        }
        _ => Refusal::Other(failure("logging in", error)),
    }
}

/// What went wrong, by who must act.
pub fn failure(doing: &str, error: &Failure) -> Error {
    match error {
        // Its message quotes the statement, and some statements hold what is kept for a password.
        Failure::Server(number::PARSE, _) => Error::failed(format!(
            "{doing} failed: the server took it for a syntax error"
        )),
        error => error.explained(doing, wait_for),
    }
}

/// States that pass by themselves.
fn wait_for(number: u16) -> Option<(Duration, &'static str)> {
    match number {
        number::CON_COUNT => Some((LATER, "all connections of the server are in use")),
        number::TOO_MANY_USER_CONNECTIONS | number::USER_LIMIT_REACHED => {
            Some((LATER, "all connections of the user are in use"))
        }
        number::OUT_OF_MEMORY | number::OUT_OF_RESOURCES | number::CANNOT_CREATE_THREAD => {
            Some((LATER, "the server is out of memory"))
        }
        number::DISK_FULL | number::DISK_FULL_NOWAIT | number::RECORD_FILE_FULL => {
            Some((LATER, "the server's storage is full"))
        }
        number::SERVER_SHUTDOWN | number::SERVER_IS_NOT_AVAILABLE => {
            Some((LATER, "the server is shutting down"))
        }
        number::LOCK_WAIT_TIMEOUT => Some((LATER, "another session holds a lock")),
        number::LOCK_DEADLOCK => Some((SOON, "another call is doing the same")),
        number::QUERY_TIMEOUT
        | number::QUERY_INTERRUPTED
        | number::SESSION_WAS_KILLED
        | number::CLIENT_INTERACTION_TIMEOUT => Some((LATER, "the server was too slow to answer")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_waited_for() {
        let of = |number| failure("x", &Failure::Server(number, "why".into()));
        for passes in [number::CON_COUNT, 1203, 1226] {
            assert!(matches!(of(passes), Error::RetryAfter(_)), "{passes}");
        }
        assert!(matches!(of(1524), Error::Failed(_)));
        assert!(
            matches!(of(number::PARSE), Error::Failed(text) if !text.contains("why")),
            "a syntax error quotes the statement"
        );
    }

    #[test]
    fn a_login_that_is_refused_says_whether_the_password_was_right() {
        let of = |number| refusal(&Failure::Server(number, String::new()));
        assert!(matches!(of(number::ACCESS_DENIED), Refusal::Password));
        assert!(matches!(of(number::BAD_DB), Refusal::AfterPassword));
        for full in [number::CON_COUNT, 1203, 1226] {
            let passes = matches!(of(full), Refusal::Full(Error::RetryAfter(_)));
            assert!(passes, "{full}");
        }
        assert!(matches!(of(number::SERVER_SHUTDOWN), Refusal::Other(_)));
    }
}
