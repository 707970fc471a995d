//! A connection to the instance's server, and its failures in plain words.
//!
//! Passwords are sent by `AUTH` alone, which the server keeps out of all that it tells of others' commands; where a user is
//! made or changed, a digest is sent.

use std::net::SocketAddr;
use std::time::Duration;

use berth_sdk::engine::Instance;
use berth_sdk::server::{LATER, SOON};
use berth_sdk::{Error, Result};
use redis::{
    Client, Cmd, Connection, ConnectionAddr, FromRedisValue, IntoConnectionInfo, Pipeline,
    RedisConnectionInfo, RedisError,
};

use crate::names::BERTH;
use crate::plan::{self, BERTH_SECRET, PORT};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Within the host's patience with a call. Servers that are asked one after the other have it between them.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(25);

/// A server's session.
pub struct Session {
    connection: Connection,
    /// The server is one of several that have the data between them.
    pub is_sharded: bool,
}

/// Why a login did not come about.
pub enum Refusal {
    /// The server was reached and knows this user by another password, or not at all.
    Password,
    Other(Error),
}

impl Session {
    /// With this member's server, as Berth's own user, who may do everything.
    pub fn berth(instance: &Instance, member: &str) -> Result<Self> {
        let password = instance
            .secret(BERTH_SECRET)
            .ok_or_else(|| Error::failed("the password of Berth's own user is not known"))?;
        Self::login(instance, member, BERTH, password).map_err(|refusal| match refusal {
            Refusal::Password => {
                Error::failed("the server does not accept the password of Berth's own user")
            }
            Refusal::Other(error) => error,
        })
    }

    /// As anybody.
    pub fn login(
        instance: &Instance,
        member: &str,
        user: &str,
        password: &str,
    ) -> Result<Self, Refusal> {
        let mut session = Self::connect(instance, member).map_err(Refusal::Other)?;
        let mut auth = redis::cmd("AUTH");
        auth.arg(user).arg(password);
        match auth.query::<()>(&mut session.connection) {
            Ok(()) => Ok(session),
            Err(error) if error.code() == Some("WRONGPASS") => Err(Refusal::Password),
            Err(error) => Err(Refusal::Other(failure("logging in", &error))),
        }
    }

    /// Send a command. `doing` completes "… failed".
    pub fn ask<T: FromRedisValue>(&mut self, doing: &str, command: &Cmd) -> Result<T> {
        command
            .query(&mut self.connection)
            .map_err(|error| failure(doing, &error))
    }

    /// Send several at once, in a transaction when they make one.
    pub fn ask_all<T: FromRedisValue>(&mut self, doing: &str, commands: &Pipeline) -> Result<T> {
        commands
            .query(&mut self.connection)
            .map_err(|error| failure(doing, &error))
    }

    /// The same, with an error that the server gives as it gave it.
    pub fn try_ask<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, RedisError> {
        command.query(&mut self.connection)
    }

    fn connect(instance: &Instance, member: &str) -> Result<Self> {
        let servers = instance.spec.shards.max(1);
        let address: SocketAddr = instance
            .address(member, PORT)
            .and_then(|address| address.parse().ok())
            .ok_or_else(|| Error::failed("the server has no address"))?;
        let address = ConnectionAddr::Tcp(address.ip().to_string(), address.port());
        let open = || -> Result<Connection, RedisError> {
            // It says nothing before we do: no name of a library, no database.
            let settings = RedisConnectionInfo::default().set_skip_set_lib_name();
            let info = address.into_connection_info()?.set_redis_settings(settings);
            let connection =
                Client::open(info)?.get_connection_with_timeout(CONNECT_TIMEOUT / servers)?;
            connection.set_read_timeout(Some(ANSWER_TIMEOUT / servers))?;
            connection.set_write_timeout(Some(ANSWER_TIMEOUT / servers))?;
            Ok(connection)
        };
        let connection = open().map_err(|error| unreachable_server(&error))?;
        Ok(Self {
            connection,
            is_sharded: plan::is_sharded(&instance.spec),
        })
    }
}

fn unreachable_server(error: &RedisError) -> Error {
    // The driver tells no other way.
    if error
        .to_string()
        .to_lowercase()
        .contains("permission denied")
    {
        return Error::failed("the host does not allow a connection to the server");
    }
    Error::retry(SOON, "the server does not accept connections yet")
}

/// What went wrong, by who must act.
pub fn failure(doing: &str, error: &RedisError) -> Error {
    let said = error.to_string();
    let Some(code) = error.code() else {
        // It closed the connection, or what it sent made no sense: it is going down or coming up.
        return Error::retry(SOON, format!("the server went away while {doing}"));
    };
    match wait_for(code, &said) {
        Some((after, reason)) => Error::retry(after, reason),
        // It quotes what it was told of a user, and that holds a digest.
        None if said.contains("modifier") => Error::failed(format!(
            "{doing} failed: the server does not know such a rule"
        )),
        None => Error::failed(format!("{doing} failed: {said}")),
    }
}

/// States that pass by themselves.
fn wait_for(code: &str, said: &str) -> Option<(Duration, &'static str)> {
    match code {
        "LOADING" => Some((SOON, "the server is loading its data")),
        "BUSY" => Some((LATER, "the server is busy with a script")),
        _ if said.contains("max number of clients") => {
            Some((LATER, "all connections of the server are in use"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_waited_for() {
        assert!(wait_for("LOADING", "").is_some());
        assert!(wait_for("ERR", "ERR max number of clients reached").is_some());
        assert!(wait_for("NOPERM", "no permission").is_none());
    }

    #[test]
    fn a_host_that_refuses_is_not_a_server_that_starts() {
        let refused = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        assert!(matches!(
            unreachable_server(&refused.into()),
            Error::Failed(_)
        ));
        let early = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        assert!(matches!(
            unreachable_server(&early.into()),
            Error::RetryAfter(_)
        ));
    }
}
