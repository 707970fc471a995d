//! The command line: `berth serve`, and what an operator needs beside it. What a command does is in `app`.

mod admin_key;
mod config;
mod key;
mod serve;
mod store;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, ConfigError};
use crate::model::Error;

/// How long blocking work that nobody waits for any more may go on.
const LAST_BLOCKING_WORK: Duration = Duration::from_secs(2);

/// A self-hosted control plane for databases.
#[derive(Parser)]
#[command(name = "berth", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the control plane until it is asked to end. Databases go on without it.
    Serve(serve::Serve),
    /// Look at the configuration.
    #[command(subcommand)]
    Config(config::Command),
    /// The key that opens everything.
    #[command(subcommand)]
    AdminKey(admin_key::Command),
    /// The keys of callers, while Berth does not run.
    #[command(subcommand)]
    Key(key::Command),
    /// The records of a data directory, as text.
    #[command(subcommand)]
    Store(store::Command),
}

/// Where settings come from.
#[derive(Args)]
struct Source {
    /// Settings to lay over the defaults; berth.example.toml explains them
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Why a command was not carried out, for the person who gave it.
enum Refusal {
    Config(ConfigError),
    Command(Error),
}

pub fn run() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(serve) => serve.run(),
        Command::Config(command) => command.run(),
        Command::AdminKey(command) => command.run(),
        Command::Key(command) => command.run(),
        Command::Store(command) => command.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Refusal::Config(error)) => {
            eprintln!("berth: {error}");
            ExitCode::from(2)
        }
        Err(Refusal::Command(error)) => {
            eprintln!("berth: {error}");
            report_cause(&error);
            ExitCode::FAILURE
        }
    }
}

impl Source {
    fn load(&self) -> Result<Config, Refusal> {
        match &self.config {
            Some(path) => Ok(Config::load(path)?),
            None => Ok(Config::default()),
        }
    }
}

/// On a terminal the cause is for the right eyes: whoever may start berth.
fn report_cause(error: &Error) {
    let mut cause = std::error::Error::source(error);
    while let Some(current) = cause {
        let text = current.to_string();
        if !error.public().contains(&text) {
            eprintln!("  because: {text}");
        }
        cause = current.source();
    }
}

fn block_on<T>(work: impl Future<Output = crate::model::Result<T>>) -> Result<T, Refusal> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Error::internal)?;
    let done = runtime.block_on(work);
    // Blocking work that hangs must not hold up the end: it is repeated by whoever comes next.
    runtime.shutdown_timeout(LAST_BLOCKING_WORK);
    Ok(done?)
}

impl From<ConfigError> for Refusal {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Command(error)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
