//! `berth store`.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};

use super::{Refusal, Source, block_on};
use crate::app;
use crate::model::Error;

/// A run that is over sooner says nothing on its way.
const REPORT_EVERY: Duration = Duration::from_secs(1);

#[derive(Subcommand)]
pub enum Command {
    /// Write all records as text. Berth must not run on the data directory; its databases may
    ///
    /// The text holds what Berth knows, not what is in the databases. Passwords and certificates in it stay sealed,
    /// and can be read with the file seal.key of the data directory only. That file is not part of the text
    /// unless --with-seal-key is given: keep a copy of it in another place.
    Export(Export),
    /// Make the records of a data directory that has none. Berth must not run on it
    ///
    /// All records are imported or none: what is cut, altered, foreign or newer is refused, and nothing is changed.
    /// Sealed values need the seal.key they were sealed with.
    Import(Import),
}

#[derive(Args)]
pub struct Export {
    #[command(flatten)]
    data: Data,
    /// File to make, for its owner's eyes only; - is the standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// Put the seal key into the text: whoever reads it can then read every password
    #[arg(long)]
    with_seal_key: bool,
}

#[derive(Args)]
pub struct Import {
    #[command(flatten)]
    data: Data,
    /// File to read; - is the standard input
    #[arg(long, value_name = "FILE", default_value = "-")]
    input: PathBuf,
}

#[derive(Args)]
struct Data {
    /// The data directory whose records they are
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    source: Source,
}

impl Command {
    pub fn run(self) -> Result<(), Refusal> {
        match self {
            Self::Export(export) => export.run(),
            Self::Import(import) => import.run(),
        }
    }
}

impl Export {
    fn run(self) -> Result<(), Refusal> {
        let config = self.data.config()?;
        let output = (self.output != Path::new("-")).then_some(self.output.as_path());
        let mut progress = report("exported");
        let exporting = app::export(&config, output, self.with_seal_key, &mut progress);
        let records = block_on(exporting)?;
        eprintln!("berth: exported {records} records");
        if self.with_seal_key {
            eprintln!(
                "berth: the export holds the seal key: whoever reads it can read every password"
            );
        } else {
            eprintln!(
                "berth: sealed values in it can be read with {} only, which is not part of it: keep a copy of that \
                 file in another place",
                config.data_dir.join("seal.key").display()
            );
        }
        Ok(())
    }
}

impl Import {
    fn run(self) -> Result<(), Refusal> {
        let config = self.data.config()?;
        let input: Box<dyn BufRead> = if self.input == Path::new("-") {
            Box::new(io::stdin().lock())
        } else {
            let opened = File::open(&self.input).map_err(|error| {
                let path = self.input.display();
                Error::failed(format!("{path} cannot be read: {error}"))
            })?;
            Box::new(BufReader::new(opened))
        };
        let mut progress = report("imported");
        let imported = block_on(app::import(&config, input, &mut progress))?;
        eprintln!(
            "berth: imported {} records into {}",
            imported.records,
            imported.into.display()
        );
        if let Some(path) = imported.seal_key_missing {
            eprintln!(
                "berth: put the seal key of the exported store to {} before you start Berth (mode 0600)",
                path.display()
            );
        }
        Ok(())
    }
}

impl Data {
    fn config(&self) -> Result<crate::config::Config, Refusal> {
        let mut config = self.source.load()?;
        if let Some(dir) = &self.data_dir {
            config.data_dir.clone_from(dir);
        }
        Ok(config)
    }
}

/// Say now and then how far it is.
fn report(what: &'static str) -> impl FnMut(u64, u64) {
    let mut last = Instant::now();
    move |done, total| {
        if last.elapsed() >= REPORT_EVERY {
            last = Instant::now();
            eprintln!("berth: {what} {done} of {total} records");
        }
    }
}
