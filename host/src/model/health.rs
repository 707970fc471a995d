//! How an instance fares. A record of its own that no journal depends on.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The newest observation of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    pub condition: Condition,
    /// Since when the condition has been this one.
    pub since: Timestamp,
    pub observed_at: Timestamp,
    pub used_bytes: u64,
    pub restarts: u32,
    /// The exact version that runs, when the engine said.
    pub version: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "state", content = "reason")]
pub enum Condition {
    /// Every member serves.
    Healthy,
    /// Something is wrong that is being mended or watched: a restart, a volume nearly full.
    Degraded(String),
    /// It does not serve clients.
    Down(String),
}

/// The moment at which a condition began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Transition {
    pub at: Timestamp,
    #[serde(flatten)]
    pub condition: Condition,
}

/// The newest transitions of an instance, oldest first. The reason of one is that of its beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct History(VecDeque<Transition>);

impl Condition {
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded(_) => "degraded",
            Self::Down(_) => "down",
        }
    }
}

impl History {
    /// How many are kept.
    pub const MOST: usize = 50;

    pub fn push(&mut self, transition: Transition) {
        while self.0.len() >= Self::MOST {
            self.0.pop_front();
        }
        self.0.push_back(transition);
    }

    pub fn newest(&self) -> Option<&Transition> {
        self.0.back()
    }

    /// Newest first, as people read it.
    pub fn into_newest_first(self) -> Vec<Transition> {
        self.0.into_iter().rev().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_is_bounded_and_reads_back() {
        let mut history = History::default();
        for second in 0..60 {
            let condition = match second % 3 {
                0 => Condition::Healthy,
                1 => Condition::Degraded("full".to_owned()),
                _ => Condition::Down("gone".to_owned()),
            };
            let at = Timestamp::from_second(second).unwrap();
            history.push(Transition { at, condition });
        }
        let text = serde_json::to_string(&history).unwrap();
        let read: History = serde_json::from_str(&text).unwrap();
        assert_eq!(read, history);
        let listed = read.into_newest_first();
        assert_eq!(listed.len(), History::MOST);
        assert_eq!(listed[0].at.as_second(), 59);
        let shown = serde_json::to_value(&listed[0]).unwrap();
        assert_eq!(shown["state"], "down");
        assert_eq!(shown["reason"], "gone");
    }
}
