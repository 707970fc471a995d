//! The session that the ability `users` keeps from call to call: the superuser's in the maintenance database. The host may
//! let go of all that is here at any moment, and nothing relies on it: a call that finds none logs in.
//!
//! It is kept after a call that went well, and then only. Every transaction of such a call was committed, and what a
//! call sets, it sets for a transaction: so the next one finds the session as a login makes it.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::time::Duration;

use berth_sdk::Result;
use berth_sdk::engine::Instance;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_postgres::SimpleQueryRow;

use crate::bootstrap;
use crate::session::{self, Session};

/// A server that takes longer to answer the first question is asked by a new session.
const PATIENCE: Duration = Duration::from_secs(5);

thread_local! {
    /// What drives the session. Nothing in it works between calls.
    static RUNTIME: RefCell<Option<Runtime>> = const { RefCell::new(None) };
    static KEPT: Cell<Option<(Login, Session)>> = const { Cell::new(None) };
}

/// Where the session leads, and what let it in.
#[derive(PartialEq, Eq)]
struct Login {
    instance: String,
    version: String,
    address: Option<String>,
    password: Option<String>,
}

/// Run what a call of the ability does.
pub fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = match RUNTIME.take() {
        Some(runtime) => runtime,
        None => session::runtime()?,
    };
    let result = runtime.block_on(work);
    match &result {
        Ok(_) => drop(RUNTIME.replace(Some(runtime))),
        // Whatever is left goes with it.
        Err(_) => drop(KEPT.take()),
    }
    result
}

/// The session that an earlier call left, or a new one.
pub async fn prepared(instance: &Instance) -> Result<Session> {
    match left(instance).await {
        Some(session) => Ok(session),
        None => bootstrap::prepared(instance).await,
    }
}

/// The rows that a call's first statements give, and the session to go on with. They change nothing: where a session that an
/// earlier call left has ended meanwhile, or does not answer, a new one is told them again.
pub async fn asked(
    instance: &Instance,
    doing: &str,
    sql: &str,
) -> Result<(Session, Vec<SimpleQueryRow>)> {
    if let Some(session) = fitting(instance).await {
        match timeout(PATIENCE, session.rows_if_there(doing, sql)).await {
            Ok(Some(rows)) => return session.unless_failed(rows).await,
            Ok(None) => {}
            Err(_) => session.abandon(),
        }
    }
    bootstrap::asked(instance, doing, sql).await
}

/// The end of what a call did with it. An error is the end of the session too.
pub async fn leave<T>(session: Session, instance: &Instance, result: Result<T>) -> Result<T> {
    match &result {
        Ok(_) => KEPT.set(Some((Login::of(instance), session))),
        Err(_) => session.close().await,
    }
    result
}

/// The one that an earlier call left, if it leads to the same server and that still answers. It is asked nothing, so
/// that it costs nobody an error when the server went away meanwhile, or ended the session.
async fn left(instance: &Instance) -> Option<Session> {
    let session = fitting(instance).await?;
    match timeout(PATIENCE, session.run("asking nothing", "")).await {
        Ok(Ok(())) => Some(session),
        // Its goodbye would be waited for as long as its answer.
        Ok(Err(_)) | Err(_) => {
            session.abandon();
            None
        }
    }
}

/// The one that an earlier call left, if it leads to the same server.
async fn fitting(instance: &Instance) -> Option<Session> {
    let (login, session) = KEPT.take()?;
    if login == Login::of(instance) {
        return Some(session);
    }
    session.close().await;
    None
}

impl Login {
    fn of(instance: &Instance) -> Self {
        Self {
            instance: instance.spec.id.clone(),
            version: instance.spec.version.clone(),
            address: session::address(instance).map(str::to_owned),
            password: session::superuser_password(instance).map(str::to_owned),
        }
    }
}
