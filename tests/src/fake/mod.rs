//! Plugins that are not real, over a world that is shared: what they made outlives a simulated kill, can be
//! counted and inspected, and every call can be made to fail, before or after it acted.

mod engine;
mod plugins;
mod target;
mod world;

pub use engine::FakeEngine;
pub use plugins::FakePlugins;
pub use target::FakeTarget;
pub use world::{Behaviour, Call, Fault, Live, When, World};
