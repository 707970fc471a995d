//! The `berth` program: the command line, and the two subcommands that databases' own processes begin with.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A tenth of a plugin's call goes by with the usual allocator's lists.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    // One of these runs beside every member of every database, so they are told apart before
    // anything of the host is set up.
    let mut args = std::env::args_os().skip(1);
    match args.next().as_ref().and_then(|word| word.to_str()) {
        Some("shim") => berth::shim::run(args),
        Some("exec") => berth::shim::exec(args),
        Some(_) | None => berth::cli::run(),
    }
}
