//! A connection to the instance's server, and its failures in plain words.
//!
//! Passwords never go into an SQL statement: they are turned into a verifier here, so that neither the
//! server's log nor its list of activities can show one.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use berth_sdk::engine::Instance;
use berth_sdk::server::{LATER, SOON};
use berth_sdk::{Error, Result};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::{Severity, SqlState};
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage, SimpleQueryRow};

use crate::catalog;
use crate::names::SUPERUSER;
use crate::plan::{MEMBER, PORT, SUPERUSER_SECRET};

/// A database that is always there.
pub const MAINTENANCE: &str = "postgres";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The session's own settings. Nothing it does goes to the server's log with its text, no lock or
/// statement outlasts the host's patience with the call, and nothing that somebody set for the server or for a
/// database changes what it does.
const OPTIONS: &str = "-c log_statement=none -c log_min_duration_statement=-1 \
    -c log_min_error_statement=panic -c lock_timeout=10s -c statement_timeout=25s \
    -c client_min_messages=warning -c search_path=pg_catalog -c role=none \
    -c default_transaction_read_only=off -c default_transaction_isolation=read\\ committed \
    -c idle_in_transaction_session_timeout=60s -c idle_session_timeout=0";

/// A server's session. `close` it; dropping it makes the server complain about a lost client.
pub struct Session {
    client: Client,
    driver: JoinHandle<()>,
}

/// Run what a call does, on a runtime of its own: there is one thread, and it ends with the call.
pub fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    runtime()?.block_on(work)
}

/// One thread, which works only while somebody waits for something.
pub fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::failed(format!("the plugin could not start its runtime: {e}")))
}

/// Why a login did not come about.
pub enum Refusal {
    /// The server was reached and knows this user by another password, or not at all.
    Password,
    /// The password was accepted, and the login refused for another reason.
    AfterPassword,
    Other(Error),
}

impl Session {
    /// As superuser.
    pub async fn superuser(instance: &Instance, database: &str) -> Result<Self> {
        let password = superuser_password(instance)
            .ok_or_else(|| Error::failed("the superuser's password is not known to Berth"))?;
        Self::login(instance, SUPERUSER, password, database)
            .await
            .map_err(|refusal| match refusal {
                Refusal::Password => {
                    Error::failed("the server does not accept the superuser's password")
                }
                Refusal::AfterPassword => Error::no_database(database),
                Refusal::Other(error) => error,
            })
    }

    /// As anybody.
    pub async fn login(
        instance: &Instance,
        user: &str,
        password: &str,
        database: &str,
    ) -> Result<Self, Refusal> {
        let address: SocketAddr = address(instance)
            .and_then(|address| address.parse().ok())
            .ok_or_else(|| Refusal::Other(Error::failed("the server has no address")))?;
        let connect = async {
            let stream = TcpStream::connect(address)
                .await
                .map_err(|e| Refusal::Other(unreachable_server(&e)))?;
            Config::new()
                .user(user)
                .password(password)
                .dbname(database)
                .application_name("berth")
                .options(options_for(user, &instance.spec.version))
                // The host carries the bytes to the server itself: there is no network to protect from.
                .ssl_mode(SslMode::Disable)
                .connect_raw(stream, NoTls)
                .await
                .map_err(refusal)
        };
        let (client, connection) = tokio::time::timeout(CONNECT_TIMEOUT, connect)
            .await
            .map_err(|_| Refusal::Other(Error::retry(LATER, "the server does not answer")))??;
        let driver = tokio::spawn(async move {
            // A failing connection fails the query that uses it, which reports it.
            drop(connection.await);
        });
        Ok(Self { client, driver })
    }

    /// Run statements. `doing` completes "… failed"; the statements themselves are never reported.
    pub async fn run(&self, doing: &str, sql: &str) -> Result<()> {
        self.client
            .batch_execute(sql)
            .await
            .map_err(|e| failure(doing, &e))
    }

    /// The first row of a query.
    pub async fn row(&self, doing: &str, sql: &str) -> Result<Option<SimpleQueryRow>> {
        Ok(self.rows(doing, sql).await?.into_iter().next())
    }

    /// All rows of a query.
    pub async fn rows(&self, doing: &str, sql: &str) -> Result<Vec<SimpleQueryRow>> {
        let messages = self
            .client
            .simple_query(sql)
            .await
            .map_err(|e| failure(doing, &e))?;
        Ok(rows_of(messages))
    }

    /// The same on a session that may have ended meanwhile: then it has answered nothing.
    pub async fn rows_if_there(
        &self,
        doing: &str,
        sql: &str,
    ) -> Option<Result<Vec<SimpleQueryRow>>> {
        match self.client.simple_query(sql).await {
            Ok(messages) => Some(Ok(rows_of(messages))),
            Err(error) if is_end(&error) => None,
            Err(error) => Some(Err(failure(doing, &error))),
        }
    }

    /// Without a goodbye, to a server that does not listen.
    pub fn abandon(self) {
        self.driver.abort();
    }

    /// The end of a transaction that came to no good one, where it did not: its locks are gone when the caller hears
    /// of it. A session that cannot even do that is lost, and with it the transaction.
    pub async fn or_roll_back<T>(&self, result: Result<T>) -> Result<T> {
        if result.is_err() {
            drop(self.client.batch_execute("ROLLBACK").await);
        }
        result
    }

    /// To go on with what came of it. An error is the end of the session.
    pub async fn unless_failed<T>(self, result: Result<T>) -> Result<(Self, T)> {
        match result {
            Ok(value) => Ok((self, value)),
            Err(error) => {
                self.close().await;
                Err(error)
            }
        }
    }

    /// Say goodbye, and wait until it was sent.
    pub async fn close(self) {
        drop(self.client);
        // The driver's task returns nothing; were it to panic, the component would end here anyway.
        drop(self.driver.await);
    }
}

/// Where the server is reached.
pub fn address(instance: &Instance) -> Option<&str> {
    instance.address(MEMBER, PORT)
}

/// What lets the superuser in.
pub fn superuser_password(instance: &Instance) -> Option<&str> {
    instance.secret(SUPERUSER_SECRET)
}

/// A value of a row that is never null.
pub fn text<'a>(row: &'a SimpleQueryRow, column: &str) -> Result<&'a str> {
    row.try_get(column)
        .ok()
        .flatten()
        .ok_or_else(|| Error::failed(format!("the server did not say its {column}")))
}

/// Only a superuser may set all of them.
fn options_for(user: &str, version: &str) -> String {
    if user != SUPERUSER {
        return String::new();
    }
    match catalog::major(version) {
        Some(17..) => format!("{OPTIONS} -c transaction_timeout=0"),
        Some(_) | None => OPTIONS.to_owned(),
    }
}

fn unreachable_server(error: &std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::PermissionDenied {
        return Error::failed("the host does not allow a connection to the server");
    }
    Error::retry(SOON, "the server does not accept connections yet")
}

fn refusal(error: tokio_postgres::Error) -> Refusal {
    let Some(code) = error.code() else {
        return Refusal::Other(failure("logging in", &error));
    };
    let mapped = failure("logging in", &error);
    if *code == SqlState::INVALID_PASSWORD {
        return Refusal::Password;
    }
    // The server looks at database and rights only after the password.
    let after_password = [
        SqlState::INVALID_CATALOG_NAME,
        SqlState::INSUFFICIENT_PRIVILEGE,
    ];
    if after_password.contains(code) {
        return Refusal::AfterPassword;
    }
    Refusal::Other(mapped)
}

fn rows_of(messages: Vec<SimpleQueryMessage>) -> Vec<SimpleQueryRow> {
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    };
    messages.into_iter().filter_map(row).collect()
}

/// There is no session any more: no answer came, or its last word.
fn is_end(error: &tokio_postgres::Error) -> bool {
    let said = error.as_db_error();
    said.is_none_or(|said| {
        matches!(
            said.parsed_severity(),
            Some(Severity::Fatal | Severity::Panic)
        )
    })
}

/// What went wrong, by who must act.
fn failure(doing: &str, error: &tokio_postgres::Error) -> Error {
    let Some(db) = error.as_db_error() else {
        // It closed the connection, or what it sent made no sense: it is going down or coming up.
        return Error::retry(SOON, format!("the server went away while {doing}"));
    };
    match wait_for(db.code()) {
        Some((after, reason)) => Error::retry(after, reason),
        // Of two that change the same role, the second finds it changed under its hands.
        None if db.message().starts_with("tuple concurrently") => {
            Error::retry(SOON, "another call is doing the same")
        }
        None if *db.code() == SqlState::DEPENDENT_OBJECTS_STILL_EXIST => {
            Error::conflict(format!("{doing} failed: {}", db.message()))
        }
        // A message about syntax quotes the statement, and some statements hold a verifier.
        None if *db.code() == SqlState::SYNTAX_ERROR => Error::failed(format!(
            "{doing} failed: the server took it for a syntax error"
        )),
        None => Error::failed(format!(
            "{doing} failed: {} (SQLSTATE {})",
            db.message(),
            db.code().code()
        )),
    }
}

/// States that pass by themselves.
fn wait_for(code: &SqlState) -> Option<(Duration, &'static str)> {
    let table = [
        (SqlState::CANNOT_CONNECT_NOW, SOON, "the server is starting"),
        (
            SqlState::ADMIN_SHUTDOWN,
            LATER,
            "the server is shutting down",
        ),
        (
            SqlState::CRASH_SHUTDOWN,
            LATER,
            "the server is recovering from a crash",
        ),
        (
            SqlState::TOO_MANY_CONNECTIONS,
            LATER,
            "all connections of the server are in use",
        ),
        (
            SqlState::OUT_OF_MEMORY,
            LATER,
            "the server is out of memory",
        ),
        (SqlState::DISK_FULL, LATER, "the server's storage is full"),
        (
            SqlState::OBJECT_IN_USE,
            LATER,
            "the database is in use by another session",
        ),
        (
            SqlState::LOCK_NOT_AVAILABLE,
            LATER,
            "another session holds a lock",
        ),
        (
            SqlState::QUERY_CANCELED,
            LATER,
            "the server was too slow to answer",
        ),
        // Two of ours at once, one of which was first.
        (
            SqlState::UNIQUE_VIOLATION,
            SOON,
            "another call is doing the same",
        ),
        (
            SqlState::DUPLICATE_OBJECT,
            SOON,
            "another call is doing the same",
        ),
        (
            SqlState::DUPLICATE_DATABASE,
            SOON,
            "another call is doing the same",
        ),
        (
            SqlState::T_R_SERIALIZATION_FAILURE,
            SOON,
            "another call is doing the same",
        ),
        (
            SqlState::T_R_DEADLOCK_DETECTED,
            SOON,
            "another call is doing the same",
        ),
    ];
    table
        .into_iter()
        .find(|(of, _, _)| of == code)
        .map(|(_, after, reason)| (after, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_waited_for() {
        assert!(wait_for(&SqlState::CANNOT_CONNECT_NOW).is_some());
        assert!(wait_for(&SqlState::TOO_MANY_CONNECTIONS).is_some());
        assert!(wait_for(&SqlState::UNDEFINED_OBJECT).is_none());
        assert!(wait_for(&SqlState::INVALID_PASSWORD).is_none());
    }

    #[test]
    fn a_host_that_refuses_is_not_a_server_that_starts() {
        let refused = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        assert!(matches!(unreachable_server(&refused), Error::Failed(_)));
        let early = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        assert!(matches!(unreachable_server(&early), Error::RetryAfter(_)));
    }
}
