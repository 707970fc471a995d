//! A session that stays open, of the server's own client.

use std::io::{BufRead, BufReader, PipeReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Ends an answer. No test says such a thing.
const END: &str = "-- that was all --";

pub struct Held {
    client: Child,
    said: BufReader<PipeReader>,
}

impl Held {
    pub fn open(psql: &Path, connection: &str) -> Self {
        let (said, says) = std::io::pipe().expect("a pipe");
        let client = Command::new(psql)
            .args(["--no-psqlrc", "-Atq", connection])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(says.try_clone().expect("a pipe's end"))
            .stderr(says)
            .spawn()
            .expect("psql");
        let said = BufReader::new(said);
        Self { client, said }
    }

    /// All that it says to this, errors too; what it said last if the session is at an end.
    pub fn ask(&mut self, sql: &str) -> String {
        let to = self.client.stdin.as_mut().expect("its input");
        // One that is at an end does not read any more.
        drop(writeln!(to, "{sql};\n\\echo '{END}'"));
        let mut answer = String::new();
        loop {
            let before = answer.len();
            let read = self.said.read_line(&mut answer).expect("its answer");
            if read == 0 || answer[before..].trim_end() == END {
                answer.truncate(before);
                return answer.trim_end().to_owned();
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.client.kill());
        drop(self.client.wait());
    }
}
