//! A component's manifest: what it says it is, and what it asks for. Read from the component's bytes before
//! anything of it is compiled or run.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wasmparser::{Parser, Payload};

use crate::model::plugin::PluginKind;

use super::programs::is_version;

/// The custom section it stands in.
const SECTION: &str = "berth:manifest";
/// Versions of the contract that this host speaks.
const CONTRACT: &str = "0.1";
const LONGEST: usize = 16 << 10;

/// Something the host grants by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// Servers on the machine the host runs on.
    Process,
    /// The instance's files on it.
    Files,
}

impl Capability {
    /// As manifests and the configuration have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Files => "files",
        }
    }
}

/// See the module's text.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub kind: PluginKind,
    /// Lower-case letters, digits and hyphens; what the operator's configuration grants by.
    pub name: Arc<str>,
    pub version: String,
    /// The version of the contract it was written against.
    contract: String,
    /// An engine: the programs that it may ever plan to run. A target: those that it runs itself beside them.
    #[serde(default)]
    programs: Vec<ProgramName>,
    /// A target: what it asks to be granted.
    #[serde(default)]
    pub capabilities: BTreeSet<Capability>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProgramName {
    name: String,
    /// A target's: the version that it needs. Those of an engine's are in its description.
    version: Option<String>,
}

/// Why a file was not taken for a plugin. The text is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("it is not a valid WebAssembly component: {0}")]
    NotAComponent(#[from] wasmparser::BinaryReaderError),
    #[error("it is a core WebAssembly module, not a component")]
    Module,
    #[error("it has no manifest")]
    Missing,
    #[error("it has several manifests that differ")]
    Ambiguous,
    #[error("its manifest cannot be read: {0}")]
    Syntax(String),
    #[error("its manifest says: {0}")]
    Rule(String),
}

impl Manifest {
    /// Find it in a component's bytes: at the top or in a module inside, where a toolchain puts it.
    pub fn of_component(bytes: &[u8]) -> Result<Self, ManifestError> {
        if !Parser::is_component(bytes) {
            // Names what is wrong with bytes that are not WebAssembly at all.
            for payload in Parser::new(0).parse_all(bytes) {
                payload?;
            }
            return Err(ManifestError::Module);
        }
        let mut found: Option<&[u8]> = None;
        for payload in Parser::new(0).parse_all(bytes) {
            let Payload::CustomSection(section) = payload? else {
                continue;
            };
            if section.name() != SECTION {
                continue;
            }
            match found {
                Some(other) if other != section.data() => return Err(ManifestError::Ambiguous),
                Some(_) | None => found = Some(section.data()),
            }
        }
        Self::parse(found.ok_or(ManifestError::Missing)?)
    }

    /// Names of the programs that may ever run for it.
    pub fn programs(&self) -> impl Iterator<Item = &str> {
        self.programs.iter().map(|program| program.name.as_str())
    }

    /// Names and versions of what a target runs itself.
    pub fn own_programs(&self) -> impl Iterator<Item = (&str, &str)> {
        let programs = self.programs.iter();
        programs.filter_map(|program| Some((program.name.as_str(), program.version.as_deref()?)))
    }

    fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let syntax = |e: &dyn std::error::Error| ManifestError::Syntax(e.to_string());
        if bytes.len() > LONGEST {
            return Err(ManifestError::Syntax("it is too long".to_owned()));
        }
        let text = std::str::from_utf8(bytes).map_err(|e| syntax(&e))?;
        let manifest: Self = toml::from_str(text).map_err(|e| syntax(&e))?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), ManifestError> {
        let rule = |text: String| Err(ManifestError::Rule(text));
        if !is_name(&self.name) {
            return rule(
                "a `name` that is not 1 to 32 lower-case letters, digits and hyphens".into(),
            );
        }
        if self.version.is_empty() || self.version.len() > 32 {
            return rule("a `version` that is not 1 to 32 characters".into());
        }
        let spoken = self.contract == CONTRACT
            || self
                .contract
                .strip_prefix(CONTRACT)
                .is_some_and(|rest| rest.starts_with('.'));
        if !spoken {
            return rule(format!(
                "`contract` {:.16}, and this host speaks {CONTRACT}",
                self.contract
            ));
        }
        if self.programs.len() > 64 || !self.programs().all(is_name) {
            return rule("`programs` with names that cannot be names, or too many of them".into());
        }
        match self.kind {
            PluginKind::Engine if !self.capabilities.is_empty() => {
                rule("an engine that asks for capabilities; there are none for engines".into())
            }
            PluginKind::Target
                if !self.programs.is_empty()
                    && !self.capabilities.contains(&Capability::Process) =>
            {
                rule("a target with programs that does not ask for the capability `process` to run them".into())
            }
            PluginKind::Target
                if self.own_programs().count() < self.programs.len()
                    || !self.own_programs().all(|(_, version)| is_version(version)) =>
            {
                rule("a target with `programs` that lack the `version` that is needed".into())
            }
            PluginKind::Engine | PluginKind::Target => Ok(()),
        }
    }
}

fn is_name(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        kind = "engine"
        name = "probe"
        version = "1.0"
        contract = "0.1.0"
        [[programs]]
        name = "probe-server"
    "#;

    fn parse(text: &str) -> Result<Manifest, ManifestError> {
        Manifest::parse(text.as_bytes())
    }

    #[test]
    fn a_manifest_says_what_a_plugin_is() {
        let manifest = parse(GOOD).unwrap();
        assert_eq!(manifest.kind, PluginKind::Engine);
        assert_eq!(manifest.programs().collect::<Vec<_>>(), ["probe-server"]);
        let target = GOOD
            .replace("\"engine\"", "\"target\"")
            .replace("kind", "capabilities = [\"process\"]\nkind");
        assert!(parse(&target).is_err());
        let target = parse(&format!("{target}\nversion = \"2\"")).unwrap();
        let own: Vec<_> = target.own_programs().collect();
        assert_eq!(own, [("probe-server", "2")]);
    }

    #[test]
    fn what_breaks_a_rule_is_refused() {
        let cases = [
            GOOD.replace("\"probe\"", "\"../probe\""),
            GOOD.replace("\"probe\"", "\"\""),
            GOOD.replace("0.1.0", "0.2.0"),
            GOOD.replace("0.1.0", "0.10"),
            GOOD.replace("probe-server", "/bin/sh"),
            // It could not run them.
            GOOD.replace("\"engine\"", "\"target\""),
            GOOD.replace("\"engine\"", "\"target\"")
                .replace("kind", "capabilities = [\"files\"]\nkind"),
            GOOD.replace("\"engine\"", "\"other\""),
            GOOD.replace("kind", "capabilities = [\"files\"]\nkind"),
            GOOD.replace("kind", "surprise = 1\nkind"),
            "x".repeat(LONGEST + 1),
        ];
        for case in cases {
            assert!(parse(&case).is_err(), "{case:.200}");
        }
    }

    #[test]
    fn what_is_not_a_component_is_refused_with_the_reason() {
        let reason = |bytes: &[u8]| Manifest::of_component(bytes).unwrap_err().to_string();
        assert!(reason(b"not wasm at all").contains("not a valid"));
        assert!(reason(b"").contains("not a valid"));
        assert!(reason(b"\0asm\x01\0\0\0").contains("core WebAssembly module"));
        assert!(reason(b"\0asm\x0d\0\x01\0").contains("no manifest"));
    }
}
