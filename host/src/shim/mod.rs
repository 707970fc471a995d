//! The shim: a small process beside every member that keeps its server running, whatever becomes of the host.
//!
//! `berth shim --dir HOME` detaches itself from the host and then looks after one member: it fills the volume,
//! starts the server, starts it again when it ends, stops it when that is wanted. Whatever is killed
//! and whenever, one of these holds: the shim lives and acts; or it does not, and the host starts another, which
//! takes over the living server or clears away what is left of it. There is never more than one
//! shim (a lock) and never more than one server (a record that is written before the server is one).
//!
//! It must stay small: no runtime, one thread, no part of the host but the model. It never sees a secret.

mod ask;
mod cgroup;
mod confine;
mod control;
mod daemon;
mod exec;
mod files;
mod group;
mod job;
mod leftovers;
mod log;
mod member;
mod own_view;
mod proc;
mod restart;
mod running;

mod volume;
pub mod wire;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use wire::Home;

/// The environment of every shim. The allocator's memory is as large as a huge page at least, where the kernel has
/// them: several times what a shim needs.
pub const SMALL: [(&str, &str); 1] = [("MIMALLOC_ALLOW_THP", "0")];

pub use confine::support as walls_support;
pub use control::{CallError, call};
pub use daemon::lock;
pub use files::{read, remove, sync_parent, write_whole};
pub use group::Group;
pub use leftovers::Search;
pub use log::tail;
pub use proc::{Handle, kill};

/// `berth shim`: the arguments after that word.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let result = parse(args).and_then(|(home, detached)| match detached {
        true => daemon::serve(home),
        false => daemon::launch(&home),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("berth shim: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// `berth exec`: the arguments after that word.
pub fn exec(args: impl Iterator<Item = OsString>) -> ExitCode {
    exec::run(args)
}

fn parse(mut args: impl Iterator<Item = OsString>) -> Result<(Home, bool), String> {
    let mut home = None;
    let mut detached = false;
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("--detached") => detached = true,
            Some("--dir") => home = args.next().map(PathBuf::from),
            Some(_) | None => return Err("usage: berth shim --dir HOME".to_owned()),
        }
    }
    match home {
        Some(home) if home.is_absolute() => Ok((Home::new(home), detached)),
        Some(_) | None => Err("--dir takes an absolute path".to_owned()),
    }
}
