//! What goes wrong between an engine that speaks its server's protocol itself and that server, and who must act.

use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::time::Duration;

use crate::Error;

/// How soon to look again at a server that starts: creating an instance waits for it.
pub const SOON: Duration = Duration::from_millis(30);
/// How soon to look again at a server that is busy or out of something.
pub const LATER: Duration = Duration::from_secs(1);

/// Why there is no answer. `N` is what the server numbers its errors with.
#[derive(Debug)]
pub enum Failure<N> {
    /// The server's own word: number and message.
    Server(N, String),
    /// The way to it.
    Io(io::Error),
    /// What it sent makes no sense.
    Protocol(&'static str),
}

impl<N: Copy + Display> Failure<N> {
    /// Nobody knows what would come next on that connection: an answer that comes late would be taken for the next one.
    pub fn ends_connection(&self) -> bool {
        !matches!(self, Self::Server(..))
    }

    /// What went wrong, by who must act. `doing` completes "… failed"; `passes` knows the server's numbers for states that
    /// pass by themselves, how soon to look again, and what to say.
    pub fn explained(
        &self,
        doing: &str,
        passes: impl Fn(N) -> Option<(Duration, &'static str)>,
    ) -> Error {
        match self {
            Self::Io(error) if error.kind() == ErrorKind::PermissionDenied => {
                Error::failed("the host does not allow a connection to the server")
            }
            Self::Io(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
            {
                Error::retry(LATER, "the server does not answer")
            }
            // It does not listen yet, closed the connection, or was killed.
            Self::Io(_) => Error::retry(SOON, format!("the server was not there for {doing}")),
            Self::Protocol(why) => Error::failed(format!("{doing} failed: {why}")),
            Self::Server(number, message) => match passes(*number) {
                Some((after, reason)) => Error::retry(after, reason),
                None => Error::failed(format!("{doing} failed: {message} (error {number})")),
            },
        }
    }
}

impl<N> From<io::Error> for Failure<N> {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A server runs that is none of the version that was planned: the operator's path leads to another program.
pub fn another_program(said: &str, wanted: &str) -> Error {
    Error::failed(format!(
        "the server says that it is {said}, which is no {wanted}: the program's path leads to another one"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_must_act_is_told_apart() {
        let of = |failure: Failure<u16>| {
            failure.explained("x", |number| (number == 7).then_some((LATER, "later")))
        };
        let io = |kind: ErrorKind| of(Failure::Io(kind.into()));
        assert!(matches!(io(ErrorKind::PermissionDenied), Error::Failed(_)));
        for passes in [ErrorKind::ConnectionRefused, ErrorKind::TimedOut] {
            assert!(matches!(io(passes), Error::RetryAfter(_)), "{passes}");
        }
        let seven = of(Failure::Server(7, "why".into()));
        assert!(matches!(seven, Error::RetryAfter(retry) if retry.after_ms == 1000));
        let eight = of(Failure::Server(8, "why".into()));
        assert!(matches!(eight, Error::Failed(text) if text == "x failed: why (error 8)"));
        assert!(matches!(of(Failure::Protocol("odd")), Error::Failed(_)));
    }
}
