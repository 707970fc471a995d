//! Logs: to standard error, as text for people or as JSON for machines. Nothing secret reaches a log, so
//! nothing is taken out here.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

/// Once in a process. `directives` is a level, or several by module.
pub fn init(directives: &str, format: Format) -> Result<(), String> {
    let filter = EnvFilter::try_new(directives).map_err(|error| error.to_string())?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        Format::Text => builder.try_init(),
        Format::Json => builder.json().try_init(),
    }
    .map_err(|error| error.to_string())
}
