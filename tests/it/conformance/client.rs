//! The client from outside, by the words of an engine's file.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{ClientWords, SettingWords};

/// Somebody at an endpoint.
#[derive(Clone)]
pub struct Client {
    pub words: ClientWords,
    pub host: String,
    pub port: String,
    pub user: String,
    pub password: String,
    pub database: String,
    pub ca: PathBuf,
}

impl ClientWords {
    pub fn program(&self) -> Option<PathBuf> {
        let home = std::env::var("HOME").unwrap_or_default();
        let mut all = self.programs.iter();
        all.find_map(|path| {
            let path = PathBuf::from(path.replacen('~', &home, 1));
            path.exists().then_some(path)
        })
    }
}

impl Client {
    pub fn ask(&self, command: &[String]) -> Result<String, String> {
        let words = &self.words;
        let output = Command::new(words.program().expect("the client"))
            .args(words.arguments.iter().map(|text| self.fill(text)))
            .args(command)
            .envs(words.environment.iter().map(|(k, v)| (k, self.fill(v))))
            .output()
            .expect("the client runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        let (said, errors) = (text(&output.stdout), text(&output.stderr));
        let all = format!("{said}\n{errors}");
        let complained = words
            .complaint
            .as_ref()
            .is_some_and(|word| all.contains(word));
        if output.status.success() && !complained {
            return Ok(said);
        }
        Err(all)
    }

    /// It may, or is refused for want of rights and for nothing else.
    #[track_caller]
    pub fn may(&self, may: bool, command: &[String]) {
        let answer = self.ask(command);
        let Err(why) = &answer else {
            assert!(may, "{} may do {command:?}: {answer:?}", self.user);
            return;
        };
        let refused = self.words.refusals.iter().any(|word| why.contains(word));
        assert!(!may && refused, "{}: {command:?}: {why}", self.user);
    }

    /// The setting is in force.
    #[track_caller]
    pub fn sees(&self, setting: &SettingWords) {
        let said = self.ask(&setting.show);
        let last = said.as_deref().map(|said| said.split_whitespace().last());
        assert_eq!(last, Ok(Some(&*setting.value)), "{said:?}");
    }

    fn fill(&self, text: &str) -> String {
        let ca: &Path = &self.ca;
        text.replace("{host}", &self.host)
            .replace("{port}", &self.port)
            .replace("{user}", &self.user)
            .replace("{database}", &self.database)
            .replace("{ca}", &ca.to_string_lossy())
            .replace("{password}", &self.password)
    }
}
