//! Plugins that are not real, over a world that is shared: what they made outlives a simulated kill, can be
//! counted and inspected, and every call can be made to fail, before or after it acted.

mod engine;
mod gate;
mod plugins;
mod store;
mod target;
mod world;

pub use engine::{ENGINE, FakeEngine, VERSION};
pub use gate::Gate;
pub use plugins::FakePlugins;
pub use store::GatedStore;
pub use target::{FakeTarget, TARGET};
pub use world::{BAD, Behaviour, Call, Fault, Live, When, World};
