//! Test a Berth engine natively on real servers: what a target and the host do for it, in as little as a test needs.
//!
//! [`Server`] makes the engine's plan real in a directory of its own, without a sandbox, a host or a target: it fills in the
//! placeholders, writes the files, runs the init tasks and the program, of every member that the plan has, and carries what
//! the engine dials to the server's socket. It takes the engine's word for nothing that the contract decides: stale files, the signal to stop, and which user
//! a server runs as are as with a target.
//!
//! ```ignore
//! use berth_sdk_testing::{Server, installed, spec};
//!
//! let programs = installed("memcached/1.6/usr/bin").expect("it is installed");
//! let mut server = Server::<Mine>::start(spec("1.6"), move |name| programs.join(name));
//! server.bootstrap();
//! assert!(Mine::verify(server.instance.clone(), server.login(), server.password()).expect("a verdict"));
//! server.signal(Signal::SIGKILL);
//! server.run();
//! server.ready();
//! ```
//!
//! It is for tests alone and fails as tests do: what goes wrong panics, with the server's log.
#![deny(missing_docs)]

mod by_tls;
mod place;
mod plans;
mod programs;
mod relay;
mod secrets;
mod server;
mod sweep;

pub use nix::sys::signal::Signal;
pub use plans::{golden, no_secret_in_the_open, show};
pub use programs::{installed, not_tried};
pub use server::{Server, chosen, spec};
pub use sweep::Sweep;
