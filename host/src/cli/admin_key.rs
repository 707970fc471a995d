//! `berth admin-key`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Refusal, Source, block_on};
use crate::app;

#[derive(Subcommand)]
pub enum Command {
    /// Replace the first key. Berth must not run; the old key is not known any more afterwards
    Reset(Reset),
}

#[derive(Args)]
pub struct Reset {
    /// The data directory whose key it is
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    source: Source,
}

impl Command {
    pub fn run(self) -> Result<(), Refusal> {
        match self {
            Self::Reset(reset) => reset.run(),
        }
    }
}

impl Reset {
    fn run(self) -> Result<(), Refusal> {
        let mut config = self.source.load()?;
        if let Some(dir) = self.data_dir {
            config.data_dir = dir;
        }
        let path = block_on(app::reset_admin_key(&config))?;
        println!("the new key is in {}", path.display());
        Ok(())
    }
}
