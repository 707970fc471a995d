//! A component's events, into the host's own log: bounded in size, number and rate, marked with who they are from,
//! without the secrets that the call was given, and unable to pass for lines of the host's.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use berth_bindings::engine::berth::plugin::log;
use tracing::Level;

use crate::model::InstanceId;
use crate::runtime::scope::Redactor;

const MESSAGE_BYTES: usize = 4 << 10;
const FIELD_BYTES: usize = 1 << 10;
const FIELDS: usize = 16;
const EVENTS: u32 = 1000;
/// Bytes that all calls of one build may log at once, and in a second after that.
const BURST_BYTES: usize = 2 << 20;
const BYTES_PER_SECOND: usize = 64 << 10;
/// What an event costs beside its text.
const EVENT_BYTES: usize = 200;
/// Between two lines that say how much was dropped.
const REMINDER: Duration = Duration::from_secs(1);

/// The log of one call.
#[derive(Debug)]
pub struct Log {
    plugin: Arc<str>,
    instance: Option<InstanceId>,
    key: Option<String>,
    redactor: Redactor,
    budget: Arc<LogBudget>,
    written: u32,
    dropped: u32,
}

/// How much a build may still log: what keeps many calls that each stay within their bounds from filling the disk.
#[derive(Debug)]
pub struct LogBudget(Mutex<Bucket>);

#[derive(Debug)]
struct Bucket {
    bytes: usize,
    filled: Instant,
    dropped: u64,
    said: Option<Instant>,
}

impl Default for LogBudget {
    fn default() -> Self {
        Self(Mutex::new(Bucket {
            bytes: BURST_BYTES,
            filled: Instant::now(),
            dropped: 0,
            said: None,
        }))
    }
}

impl LogBudget {
    /// Whether an event of this size may be written now.
    fn take(&self, bytes: usize, now: Instant) -> bool {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(bucket.filled).as_millis();
        let earned = usize::try_from(passed)
            .unwrap_or(usize::MAX)
            .saturating_mul(BYTES_PER_SECOND)
            / 1000;
        if earned > 0 {
            bucket.bytes = bucket.bytes.saturating_add(earned).min(BURST_BYTES);
            bucket.filled = now;
        }
        match bucket.bytes.checked_sub(bytes) {
            Some(left) => {
                bucket.bytes = left;
                true
            }
            None => false,
        }
    }

    /// Count what was dropped. Some when it is time to say so, which is not for every call.
    fn dropped(&self, events: u32, now: Instant) -> Option<u64> {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.dropped += u64::from(events);
        let is_due = bucket
            .said
            .is_none_or(|said| now.saturating_duration_since(said) >= REMINDER);
        if !is_due {
            return None;
        }
        bucket.said = Some(now);
        Some(std::mem::take(&mut bucket.dropped))
    }
}

impl Log {
    pub fn new(
        plugin: Arc<str>,
        instance: Option<InstanceId>,
        key: Option<String>,
        redactor: Redactor,
        budget: Arc<LogBudget>,
    ) -> Self {
        Self {
            plugin,
            instance,
            key,
            redactor,
            budget,
            written: 0,
            dropped: 0,
        }
    }

    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    fn clean(&self, text: &str, most: usize) -> String {
        one_line(&self.redactor.clean(text), most)
    }
}

impl log::Host for Log {
    async fn write(&mut self, level: log::Level, message: String, fields: Vec<(String, String)>) {
        if self.written == EVENTS {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        self.written += 1;
        let level = match level {
            log::Level::Trace => Level::TRACE,
            log::Level::Debug => Level::DEBUG,
            log::Level::Info => Level::INFO,
            log::Level::Warn => Level::WARN,
            log::Level::Error => Level::ERROR,
        };
        if !enabled(level) {
            return;
        }
        let message = self.clean(&message, MESSAGE_BYTES);
        let fields = fields
            .iter()
            .take(FIELDS)
            .map(|(name, value)| {
                let (name, value) = (self.clean(name, 64), self.clean(value, FIELD_BYTES));
                format!("{name}={value}")
            })
            .collect::<Vec<_>>()
            .join(" ");
        let bytes = EVENT_BYTES + message.len() + fields.len();
        if !self.budget.take(bytes, Instant::now()) {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        let instance = self.instance.map(tracing::field::display);
        let (plugin, key) = (&*self.plugin, self.key.as_deref());
        macro_rules! event {
            ($level:expr) => {
                tracing::event!(target: "plugin", $level, plugin, instance, key, fields, "{message}")
            };
        }
        match level {
            Level::TRACE => event!(Level::TRACE),
            Level::DEBUG => event!(Level::DEBUG),
            Level::INFO => event!(Level::INFO),
            Level::WARN => event!(Level::WARN),
            Level::ERROR => event!(Level::ERROR),
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if self.dropped == 0 {
            return;
        }
        if let Some(dropped) = self.budget.dropped(self.dropped, Instant::now()) {
            tracing::warn!(
                plugin = &*self.plugin,
                instance = self.instance.map(tracing::field::display),
                dropped,
                "a plugin logs too much: events were dropped"
            );
        }
    }
}

fn enabled(level: Level) -> bool {
    level <= tracing::level_filters::LevelFilter::current()
}

/// At most so many bytes of a text, and no character that could end a line or steer a terminal.
pub(in crate::runtime) fn one_line(text: &str, most: usize) -> String {
    let end = text.floor_char_boundary(most);
    let mut line: String = text[..end]
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if end < text.len() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_cannot_fill_the_log_with_many_calls() {
        let (budget, start) = (LogBudget::default(), Instant::now());
        let mut written = 0;
        while budget.take(1000, start) {
            written += 1;
        }
        assert_eq!(written, BURST_BYTES / 1000);
        assert!(!budget.take(1000, start + Duration::from_millis(1)));
        assert!(budget.take(1000, start + Duration::from_secs(1)));
    }

    #[test]
    fn what_was_dropped_is_said_now_and_then() {
        let (budget, start) = (LogBudget::default(), Instant::now());
        assert_eq!(budget.dropped(5, start), Some(5));
        assert_eq!(budget.dropped(5, start), None);
        assert_eq!(budget.dropped(5, start + REMINDER), Some(10));
    }

    #[test]
    fn a_line_is_one_line_and_bounded() {
        assert_eq!(one_line("a\nb\u{1b}[2Jc", 100), "a b [2Jc");
        assert_eq!(one_line("ääää", 5), "ää…");
        assert_eq!(one_line("", 5), "");
    }
}
