//! A user that loses something loses its sessions too. The server looks at a membership when SET ROLE is said and not
//! again: a session that said it goes on as a role that its user is not a member of any more, and no other session can
//! see that of it.

use berth_sdk::Result;
use postgres_protocol::escape::escape_literal;

use crate::session::Session;

/// Which of a user's sessions.
#[derive(Clone, Copy)]
pub enum Which {
    /// Those in the database that this is said in.
    Here,
    All,
}

/// End a transaction that takes something from a user, and with it the sessions that could keep it.
pub async fn commit(session: &Session, doing: &str, user: &str, which: Which) -> Result<()> {
    // Before: were this call cut off right after the transaction, its repetition would find nothing to take.
    let sql = format!("{}; COMMIT", ending(user, which, 0));
    session.run(doing, &sql).await?;
    // After: whoever came while the transaction was not at its end.
    let sql = ending(user, which, 1000);
    session.run("ending the user's sessions", &sql).await
}

/// Waits so many milliseconds for each.
fn ending(user: &str, which: Which, wait: u32) -> String {
    let place = match which {
        Which::Here => {
            " AND datid = (SELECT oid FROM pg_database WHERE datname = current_database())"
        }
        Which::All => "",
    };
    // What the view `pg_stat_activity` is made of: planning the view takes longer than all of the rest.
    format!(
        "SELECT pg_terminate_backend(pid, {wait}) FROM pg_stat_get_activity(NULL) \
         WHERE usesysid = (SELECT oid FROM pg_authid WHERE rolname = {}){place}",
        escape_literal(user)
    )
}
