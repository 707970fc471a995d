//! `berth key`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{Refusal, Source, block_on};
use crate::app::keys;
use crate::config::Config;
use crate::model::project::Role;

#[derive(Subcommand)]
pub enum Command {
    /// Make a key and print both of its halves. The secret one cannot be seen again
    Create(Create),
    /// List keys, without their secret halves
    List(At),
    /// Have a key known no more
    Revoke(Revoke),
}

/// Berth must not run there; a running one is asked with POST, GET and DELETE of /admin/v1/keys.
#[derive(Args)]
pub struct At {
    /// The data directory whose keys they are
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    source: Source,
}

#[derive(Args)]
pub struct Create {
    /// Alias or id of the project whose things it may use; the default project without it
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
    #[arg(long, value_enum, default_value_t = WantedRole::Member)]
    role: WantedRole,
    /// What it is for
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,
    #[command(flatten)]
    at: At,
}

#[derive(Args)]
pub struct Revoke {
    /// Its id, or its access key
    #[arg(value_name = "KEY")]
    key: String,
    #[command(flatten)]
    at: At,
}

#[derive(Clone, Copy, ValueEnum)]
enum WantedRole {
    /// The databases of its project
    Member,
    /// Everything, in every project, and the admin API
    Admin,
}

impl Command {
    pub fn run(self) -> Result<(), Refusal> {
        match self {
            Self::Create(create) => create.run(),
            Self::List(at) => list(&at.config()?),
            Self::Revoke(revoke) => {
                block_on(keys::revoke(&revoke.at.config()?, &revoke.key))?;
                println!("{} is not known any more", revoke.key);
                Ok(())
            }
        }
    }
}

impl At {
    fn config(&self) -> Result<Config, Refusal> {
        let mut config = self.source.load()?;
        if let Some(dir) = &self.data_dir {
            config.data_dir.clone_from(dir);
        }
        Ok(config)
    }
}

impl Create {
    fn run(self) -> Result<(), Refusal> {
        let config = self.at.config()?;
        let role = match self.role {
            WantedRole::Member => Role::Member,
            WantedRole::Admin => Role::Admin,
        };
        let project = self.project.as_deref();
        let made = keys::create(&config, project, role, &self.description);
        let (key, secret) = block_on(made)?;
        println!("access key: {}", key.id.access_key());
        println!("secret key: {}", secret.expose());
        println!("project id: {}", key.project);
        Ok(())
    }
}

fn list(config: &Config) -> Result<(), Refusal> {
    for key in block_on(keys::list(config))? {
        let role = match key.role {
            Role::Admin => "admin",
            Role::Member => "member",
        };
        println!(
            "{}  {}  {role:<6}  {}  {}",
            key.id.access_key(),
            key.project,
            key.created_at,
            key.description
        );
    }
    Ok(())
}
