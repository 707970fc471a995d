//! What the tests share: waiting, the real binary on real directories, fakes that survive a kill.

mod compiled;
pub mod fake;
pub mod fixture;
pub mod hostile;
pub mod mysql;
pub mod node;
pub mod real;
pub mod servers;
mod skip;
pub mod stand_ins;
pub mod wait;

pub use skip::not_tried;
pub use wait::{pause, wait_for, wait_within};
