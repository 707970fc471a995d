//! A session with the instance's server, and its failures in plain words. The server takes nobody without TLS: the host
//! speaks it.

use std::fmt::Write as _;
use std::time::Duration;

use berth_sdk::engine::Instance;
use berth_sdk::server::{LATER, SOON};
use berth_sdk::{Error, Result};
use bson::spec::BinarySubtype;
use bson::{Binary, Document, doc};

use crate::names::{MEMBERS, MEMBERS_DATABASE, SUPERUSER, USERS_DATABASE};
use crate::plan::{KEY_SECRET, MEMBER, PORT, SUPERUSER_SECRET};
use crate::scram::{Beginning, Untrue};
use crate::users;
use crate::wire::{Connection, Failure};

/// Longer than the server may take for a command, and less than the host waits for a call.
const PATIENCE: Duration = Duration::from_secs(25);
/// What the server gives a command, so that none goes on that nobody waits for.
const TIME_MS: i32 = 20_000;

/// Numbers of errors, by their names in the manual.
pub mod code {
    pub const USER_NOT_FOUND: i32 = 11;
    pub const AUTHENTICATION_FAILED: i32 = 18;
    pub const ALREADY_INITIALIZED: i32 = 23;
    pub const LOCK_TIMEOUT: i32 = 24;
    pub const NAMESPACE_NOT_FOUND: i32 = 26;
    pub const ROLE_NOT_FOUND: i32 = 31;
    pub const LOCK_BUSY: i32 = 46;
    pub const MAX_TIME_EXPIRED: i32 = 50;
    pub const WRITE_CONCERN_TIMEOUT: i32 = 64;
    pub const SHUTDOWN: i32 = 91;
    pub const NOT_YET_INITIALIZED: i32 = 94;
    pub const WRITE_CONFLICT: i32 = 112;
    pub const STEPPED_DOWN: i32 = 189;
    pub const DATABASE_DROP_PENDING: i32 = 215;
    pub const DUPLICATE_KEY: i32 = 11_000;
    pub const NOT_PRIMARY: i32 = 10_107;
    pub const INTERRUPTED_AT_SHUTDOWN: i32 = 11_600;
    pub const INTERRUPTED: i32 = 11_602;
    pub const NOT_PRIMARY_NO_SECONDARY: i32 = 13_435;
    pub const NOT_PRIMARY_OR_SECONDARY: i32 = 13_436;
    pub const OUT_OF_DISK_SPACE: i32 = 14_031;
    pub const ROLE_EXISTS: i32 = 51_002;
    pub const USER_EXISTS: i32 = 51_003;
}

/// A server's session.
pub struct Session(Connection);

/// Why a login did not come about.
pub enum Refusal {
    /// The server was reached and knows this user by another password, or not at all.
    Password,
    Other(Error),
}

impl Session {
    /// As Berth's own user, who may do everything. When somebody changed him, the key of the set's members brings him back.
    pub fn superuser(instance: &Instance) -> Result<Self> {
        match Self::try_superuser(instance) {
            Ok(session) => Ok(session),
            Err(Refusal::Password) => {
                let mut session = Self::member(instance)?;
                users::ensure_superuser(&mut session, instance)?;
                Ok(session)
            }
            Err(Refusal::Other(error)) => Err(error),
        }
    }

    pub fn try_superuser(instance: &Instance) -> Result<Self, Refusal> {
        let password = secret(instance, SUPERUSER_SECRET).map_err(Refusal::Other)?;
        Self::login(instance, USERS_DATABASE, SUPERUSER, password)
    }

    /// As a member of the replica set: before there are users, and when Berth's own was changed by somebody.
    pub fn member(instance: &Instance) -> Result<Self> {
        let key = secret(instance, KEY_SECRET)?;
        Self::login(instance, MEMBERS_DATABASE, MEMBERS, key).map_err(|refusal| match refusal {
            Refusal::Password => Error::failed("the server does not accept its own key"),
            Refusal::Other(error) => error,
        })
    }

    /// As anybody. The password is not sent.
    pub fn login(
        instance: &Instance,
        database: &str,
        user: &str,
        password: &str,
    ) -> Result<Self, Refusal> {
        let address = instance
            .address_by_tls(MEMBER, PORT)
            .ok_or_else(|| Refusal::Other(Error::failed("the server has no address")))?;
        let mut connection = Connection::open(address, PATIENCE).map_err(|e| refused(&e))?;
        let untrue = |Untrue| Refusal::Other(Error::failed("the server is not what it should be"));
        let beginning = Beginning::new(user, nonce().map_err(Refusal::Other)?);
        let start = doc! {
            "saslStart": 1, "mechanism": "SCRAM-SHA-256", "payload": binary(&beginning.message()),
            "options": {"skipEmptyExchange": true},
        };
        let answer = connection.ask(database, start).map_err(|e| refused(&e))?;
        let id = answer.get("conversationId").cloned().unwrap_or_default();
        let proof = beginning
            .prove(payload(&answer), password)
            .map_err(untrue)?;
        let go_on = doc! {
            "saslContinue": 1, "conversationId": id, "payload": binary(proof.message()),
        };
        let answer = connection.ask(database, go_on).map_err(|e| refused(&e))?;
        proof.check(payload(&answer)).map_err(untrue)?;
        if !answer.get_bool("done").unwrap_or_default() {
            return Err(Refusal::Other(Error::failed("the login has no end")));
        }
        Ok(Self(connection))
    }

    /// Have a command carried out among the users. `doing` completes "… failed"; the command itself is never reported.
    pub fn ask(&mut self, doing: &str, command: Document) -> Result<Document> {
        self.ask_in(USERS_DATABASE, doing, command)
    }

    /// The same in any database.
    pub fn ask_in(&mut self, database: &str, doing: &str, command: Document) -> Result<Document> {
        self.try_ask(database, command)
            .map_err(|error| failure(doing, &error))
    }

    /// The same, for whoever knows an error by its number.
    pub fn try_ask(&mut self, database: &str, command: Document) -> Result<Document, Failure> {
        self.0.ask(database, timed(command))
    }
}

/// Every command takes this. One that is cut off answers so, and is said again.
fn timed(mut command: Document) -> Document {
    command.insert("maxTimeMS", TIME_MS);
    command
}

/// The value of a secret that the plan asks for.
pub fn secret<'a>(instance: &'a Instance, name: &str) -> Result<&'a str> {
    instance
        .secret(name)
        .ok_or_else(|| Error::failed("a secret of the server's is not known to Berth"))
}

fn nonce() -> Result<String> {
    let mut bytes = [0; 24];
    getrandom::fill(&mut bytes)
        .map_err(|e| Error::failed(format!("there are no random numbers: {e}")))?;
    let mut text = String::new();
    for byte in bytes {
        write!(text, "{byte:02x}").map_err(|_| Error::failed("no text can be written"))?;
    }
    Ok(text)
}

fn binary(text: &str) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes: text.as_bytes().to_vec(),
    }
}

fn payload(answer: &Document) -> &[u8] {
    answer
        .get_binary_generic("payload")
        .map_or(&[], |bytes| bytes)
}

fn refused(error: &Failure) -> Refusal {
    match error {
        Failure::Server(code::AUTHENTICATION_FAILED | code::USER_NOT_FOUND, _) => Refusal::Password,
        _ => Refusal::Other(failure("logging in", error)),
    }
}

/// What went wrong, by who must act.
pub fn failure(doing: &str, error: &Failure) -> Error {
    error.explained(doing, wait_for)
}

/// States that pass by themselves.
fn wait_for(code: i32) -> Option<(Duration, &'static str)> {
    match code {
        code::NOT_PRIMARY
        | code::NOT_PRIMARY_NO_SECONDARY
        | code::NOT_PRIMARY_OR_SECONDARY
        | code::NOT_YET_INITIALIZED
        | code::STEPPED_DOWN
        | code::INTERRUPTED => Some((SOON, "the server does not take changes yet")),
        code::SHUTDOWN | code::INTERRUPTED_AT_SHUTDOWN => {
            Some((LATER, "the server is shutting down"))
        }
        code::WRITE_CONFLICT => Some((SOON, "another call is doing the same")),
        code::LOCK_TIMEOUT | code::LOCK_BUSY | code::DATABASE_DROP_PENDING => {
            Some((LATER, "another session holds a lock"))
        }
        code::MAX_TIME_EXPIRED | code::WRITE_CONCERN_TIMEOUT => {
            Some((LATER, "the server was too slow to answer"))
        }
        code::OUT_OF_DISK_SPACE => Some((LATER, "the server's storage is full")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_waited_for() {
        let of = |code| failure("x", &Failure::Server(code, "why".into()));
        assert!(matches!(of(code::NOT_PRIMARY), Error::RetryAfter(_)));
        assert!(matches!(of(13), Error::Failed(text) if text == "x failed: why (error 13)"));
    }

    #[test]
    fn no_command_goes_on_when_nobody_waits_for_it() {
        let command = timed(doc! {"ping": 1});
        assert_eq!(command, doc! {"ping": 1, "maxTimeMS": 20_000});
        assert!(u128::try_from(TIME_MS).unwrap() < PATIENCE.as_millis());
        let late = Failure::Server(code::MAX_TIME_EXPIRED, String::new());
        assert!(matches!(failure("x", &late), Error::RetryAfter(_)));
    }

    #[test]
    fn a_nonce_is_used_once() {
        let (one, two) = (nonce().unwrap(), nonce().unwrap());
        assert_ne!(one, two);
        assert_eq!(one.len(), 48);
    }
}
