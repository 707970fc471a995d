//! Settings of an engine: what may be chosen, and whether a choice is right. Knows the rules, never an engine.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::FieldProblem;

/// Settings chosen by a caller, by name.
pub type Settings = Vec<(String, String)>;

/// A setting that callers may choose.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SettingSchema {
    pub name: String,
    pub description: String,
    pub kind: SettingKind,
    /// What holds when nothing is chosen, on the smallest node.
    pub default: String,
    pub unit: Option<String>,
    /// It takes effect without a restart.
    pub live: bool,
    /// It is fixed when the instance is made.
    pub init_only: bool,
}

/// What a setting's value may be. Values are text in the engine's own notation.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SettingKind {
    /// `on` or `off`.
    Boolean,
    Integer {
        minimum: i64,
        maximum: i64,
    },
    Number {
        minimum: f64,
        maximum: f64,
    },
    /// A regular expression for the whole value, as the engine wrote it and made ready for use.
    Text(Option<Pattern>),
}

/// A regular expression that a whole text must match.
#[derive(Clone, Debug)]
pub struct Pattern(regex::Regex);

/// One choice, for a caller that must name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Chosen {
    pub name: String,
    pub value: String,
}

/// Longest text that a setting may have.
const LONGEST: usize = 1024;

impl SettingSchema {
    /// Whether the value is one that may be chosen; otherwise what is wrong with it and what would be right.
    pub fn check(&self, value: &str) -> Result<(), FieldProblem> {
        let problem = |reason: &str| FieldProblem::new(&*self.name, reason, self.kind.allowed());
        match &self.kind {
            SettingKind::Boolean => match value {
                "on" | "off" => Ok(()),
                _ => Err(problem("is not a boolean")),
            },
            SettingKind::Integer { minimum, maximum } => match value.parse::<i64>() {
                // An engine may read leading zeros as the mark of another base.
                Ok(number) if number.to_string() != value => {
                    Err(problem("is not written in plain digits"))
                }
                Ok(number) if (*minimum..=*maximum).contains(&number) => Ok(()),
                Ok(_) => Err(problem("is out of range")),
                Err(_) => Err(problem("is not a whole number")),
            },
            SettingKind::Number { minimum, maximum } => match value.parse::<f64>() {
                Ok(number) if (*minimum..=*maximum).contains(&number) => Ok(()),
                Ok(number) if number.is_finite() => Err(problem("is out of range")),
                Ok(_) | Err(_) => Err(problem("is not a number")),
            },
            SettingKind::Text(pattern) => {
                if value.len() > LONGEST || value.chars().any(char::is_control) {
                    return Err(problem("is not a text of one line"));
                }
                match pattern {
                    Some(pattern) if !pattern.matches(value) => Err(problem("is not allowed")),
                    Some(_) | None => Ok(()),
                }
            }
        }
    }
}

impl SettingKind {
    /// In words that follow "must be".
    fn allowed(&self) -> String {
        match self {
            Self::Boolean => "on or off".to_owned(),
            Self::Integer { minimum, maximum } => {
                format!("a whole number from {minimum} to {maximum}")
            }
            Self::Number { minimum, maximum } => format!("a number from {minimum} to {maximum}"),
            Self::Text(None) => format!("a text of one line, of at most {LONGEST} bytes"),
            Self::Text(Some(pattern)) => format!("a text that matches {}", pattern.as_str()),
        }
    }
}

impl Pattern {
    /// From an engine's description. It is bounded in what it may cost to make and to try.
    pub fn new(text: &str) -> Result<Self, regex::Error> {
        regex::RegexBuilder::new(&format!("^(?:{text})$"))
            .size_limit(1 << 16)
            .build()
            .map(Self)
    }

    pub fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    /// As the engine wrote it.
    pub fn as_str(&self) -> &str {
        let text = self.0.as_str();
        text.strip_prefix("^(?:")
            .and_then(|text| text.strip_suffix(")$"))
            .unwrap_or(text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Serialize for Pattern {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(kind: SettingKind) -> SettingSchema {
        SettingSchema {
            name: "work_mem".to_owned(),
            description: String::new(),
            kind,
            default: String::new(),
            unit: None,
            live: true,
            init_only: false,
        }
    }

    #[test]
    fn values_are_checked_by_their_kind() {
        let integer = schema(SettingKind::Integer {
            minimum: -1,
            maximum: 10,
        });
        let number = schema(SettingKind::Number {
            minimum: 0.1,
            maximum: 10.0,
        });
        let pattern = Pattern::new("top|all|none").unwrap();
        assert_eq!(pattern.as_str(), "top|all|none");
        let text = schema(SettingKind::Text(Some(pattern)));
        let boolean = schema(SettingKind::Boolean);
        for (schema, good, bad) in [
            (
                &integer,
                &["-1", "10"][..],
                &["11", "1.5", "", " 1", "x", "010", "+8", "-0"][..],
            ),
            (&number, &["0.1", "10"], &["0", "NaN", "inf", "ten", ""]),
            (&text, &["top", "none"], &["tops", "", "none\n"]),
            (&boolean, &["on", "off"], &["ON", "true", ""]),
            (
                &schema(SettingKind::Text(None)),
                &["", "a b"],
                &["a\nb", "\0"],
            ),
        ] {
            for value in good {
                assert_eq!(schema.check(value), Ok(()), "{value:?}");
            }
            for value in bad {
                let problem = schema.check(value).unwrap_err();
                assert_eq!(problem.field, "work_mem");
                assert!(!problem.help.is_empty(), "{value:?}");
            }
        }
    }
}
