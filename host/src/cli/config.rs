//! `berth config`.

use clap::Subcommand;

use super::{Refusal, Source};
use crate::model::Error;

#[derive(Subcommand)]
pub enum Command {
    /// Say whether the settings can be used
    Check(Source),
    /// Show every setting as it will be used
    Print(Source),
}

impl Command {
    pub fn run(self) -> Result<(), Refusal> {
        match self {
            Self::Check(source) => {
                source.load()?;
                println!("the settings can be used");
            }
            Self::Print(source) => {
                let config = source.load()?;
                print!("{}", toml::to_string(&config).map_err(Error::internal)?);
            }
        }
        Ok(())
    }
}
