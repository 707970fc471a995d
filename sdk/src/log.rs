//! Structured logging into the host's own log, marked with plugin, instance and operation.
//!
//! Never pass a secret: the host writes what it is given. Natively, in unit tests, events go to
//! standard error.

pub use crate::bindings::engine::berth::plugin::log::Level;

/// One event with named values.
pub fn event(level: Level, message: &str, fields: &[(&str, &str)]) {
    #[cfg(target_family = "wasm")]
    {
        let fields: Vec<(String, String)> = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        crate::bindings::engine::berth::plugin::log::write(level, message, &fields);
    }
    #[cfg(not(target_family = "wasm"))]
    eprintln!("{level:?}: {message} {fields:?}");
}

/// An event at level `trace`.
pub fn trace(message: &str) {
    event(Level::Trace, message, &[]);
}

/// An event at level `debug`.
pub fn debug(message: &str) {
    event(Level::Debug, message, &[]);
}

/// An event at level `info`.
pub fn info(message: &str) {
    event(Level::Info, message, &[]);
}

/// An event at level `warn`.
pub fn warn(message: &str) {
    event(Level::Warn, message, &[]);
}

/// An event at level `error`.
pub fn error(message: &str) {
    event(Level::Error, message, &[]);
}
