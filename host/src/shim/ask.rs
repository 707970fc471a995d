//! A program says which version it is before it is let at the data. The operator's list may lead to another program today
//! than when the data were made, or somebody put another one in its place; and a server of a later series may change what
//! it starts on for good.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Far longer than any takes, also on a machine that has much to do.
const PATIENCE: Duration = Duration::from_secs(30);
/// More than any says.
const MOST_BYTES: u64 = 64 << 10;
/// So much of it is told.
const TOLD: usize = 160;

/// See that the program says this when it is asked so. Runs it with the rights and within the walls that this process has.
pub fn see_version(
    program: &OsStr,
    args: &[OsString],
    env: &[(String, String)],
    says: &str,
) -> Result<(), String> {
    let said = said(program, args, env)?;
    if said.contains(says) {
        return Ok(());
    }
    let place = program.to_string_lossy();
    let name = Path::new(program).file_name().unwrap_or_default();
    let line: String = said.replace(&*place, &name.to_string_lossy());
    let line: String = line.trim().chars().take(TOLD).collect();
    let line = line.replace(char::is_control, " ");
    Err(format!(
        "the program is of another version than the data, which are left alone: it says \"{line}\" of itself, and not \"{says}\". \
         The list of programs leads to another one, or another one was put in its place"
    ))
}

fn said(program: &OsStr, args: &[OsString], env: &[(String, String)]) -> Result<String, String> {
    let problem = |what: &str| format!("the program's version cannot be found out: {what}");
    // Its complaints go to the member's log.
    let mut child = Command::new(program)
        .args(args)
        .env_clear()
        .envs(env.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| problem(&error.to_string()))?;
    let (sender, received) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        thread::spawn(move || {
            let mut said = Vec::new();
            let read = stdout.take(MOST_BYTES).read_to_end(&mut said);
            // Nobody listens any more when it took too long.
            let _ = sender.send(read.map(|_| said));
        });
    }
    let answer = received.recv_timeout(PATIENCE);
    // One that has said it and goes on is of no use.
    let ended = child.kill().and_then(|()| child.wait());
    ended.map_err(|error| problem(&error.to_string()))?;
    match answer {
        Ok(Ok(said)) => Ok(String::from_utf8_lossy(&said).into_owned()),
        Ok(Err(error)) => Err(problem(&error.to_string())),
        Err(_) => Err(problem("it did not answer in time")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(script: &str, says: &str) -> Result<(), String> {
        let args = ["-c".into(), script.into()];
        see_version(
            OsStr::new("/bin/sh"),
            &args,
            &[("A".into(), "1".into())],
            says,
        )
    }

    #[test]
    fn what_it_says_counts() {
        ask("echo v$A.2", "v1.").unwrap();
        let refused = ask("echo /bin/sh is v2.0; echo and more", "v1.").unwrap_err();
        assert!(
            refused.contains("it says \"sh is v2.0 and more\" of itself, and not \"v1.\""),
            "{refused}"
        );
        ask("", "v1.").unwrap_err();
        ask("echo v1.2 >&2", "v1.").unwrap_err();
    }

    #[test]
    fn one_that_says_too_much_or_does_not_end_is_waited_for_no_longer() {
        ask("echo v1.2; exec sleep 600 >&-", "v1.").unwrap();
        ask("echo v1.2; while :; do echo more; done", "v1.").unwrap();
    }

    #[test]
    fn one_that_cannot_be_asked_is_not_let_in() {
        let none = see_version(OsStr::new("/nonexistent"), &[], &[], "v1.");
        assert!(none.unwrap_err().contains("cannot be found out"));
    }
}
