//! The command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    // Hidden: what the host starts beside each server. They must stay small, so nothing comes before them.
    match args.next().as_ref().and_then(|word| word.to_str()) {
        Some("shim") => berth::shim::run(args),
        Some("exec") => berth::shim::exec(args),
        Some(_) | None => {
            eprintln!("usage: berth serve");
            ExitCode::from(2)
        }
    }
}
