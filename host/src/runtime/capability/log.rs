//! A component's events, into the host's own log: bounded in size and number, marked with who they are from,
//! without the secrets that the call was given, and unable to pass for lines of the host's.

use std::sync::Arc;

use berth_bindings::engine::berth::plugin::log;
use tracing::Level;

use crate::model::InstanceId;
use crate::runtime::scope::Redactor;

const MESSAGE_BYTES: usize = 4 << 10;
const FIELD_BYTES: usize = 1 << 10;
const FIELDS: usize = 16;
const EVENTS: u32 = 1000;

/// The log of one call.
#[derive(Debug)]
pub struct Log {
    plugin: Arc<str>,
    instance: Option<InstanceId>,
    key: Option<String>,
    redactor: Redactor,
    written: u32,
    dropped: u32,
}

impl Log {
    pub fn new(
        plugin: Arc<str>,
        instance: Option<InstanceId>,
        key: Option<String>,
        redactor: Redactor,
    ) -> Self {
        Self {
            plugin,
            instance,
            key,
            redactor,
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
        if self.dropped > 0 {
            tracing::warn!(
                plugin = &*self.plugin,
                instance = self.instance.map(tracing::field::display),
                dropped = self.dropped,
                "a plugin logged too much in one call"
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
    fn a_line_is_one_line_and_bounded() {
        assert_eq!(one_line("a\nb\u{1b}[2Jc", 100), "a b [2Jc");
        assert_eq!(one_line("ääää", 5), "ää…");
        assert_eq!(one_line("", 5), "");
    }
}
