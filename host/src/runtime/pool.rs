//! Where sandboxes are made. Making memory, tables and a stack anew for each call costs more than most calls do, and
//! nearly all of that is the kernel's mapping and zeroing of pages. So the usual component gets a place of a pool:
//! what the last call there wrote is written over, and the pages stay. What is unusual, such as several
//! memories or tables that grow, is made anew, so that the pool never decides what a component may do.
//! Why: docs/decisions/0017-a-pool-for-sandboxes.md.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use wasmtime::{Config, Enabled, Engine, EngineWeak, PoolingAllocationConfig, Result};

use super::weigh::{POOLED_ELEMENTS, POOLED_MEMORIES, POOLED_TABLES, Shape};

/// How often a component that computes lets others run, and its time be looked at.
const TICK: Duration = Duration::from_millis(10);
/// Builds whose every place is taken at once, for which there is room.
const BUSY_BUILDS: usize = 8;
/// A place takes 4 GiB of addresses, and memory only when it is used.
const PLACES: std::ops::RangeInclusive<usize> = 64..=1024;
/// Of what a call wrote to, so much is written over; the rest is given back.
const KEPT_MEMORY: usize = 512 << 10;
const KEPT_TABLE: usize = 32 << 10;

/// Engines that differ in where memory comes from, and in nothing that compiled code depends on.
pub(super) struct Engines {
    apart: Engine,
    pooled: Option<Pooled>,
}

struct Pooled {
    engine: Engine,
    places: Arc<Semaphore>,
}

impl Engines {
    /// `concurrent` calls into one build are possible at the same time. Sandboxes that are kept between calls, at most
    /// `kept`, have places beside those of the calls, so that they take none from them.
    pub fn new(concurrent: usize, kept: usize) -> Result<Self> {
        let apart = Engine::new(&config())?;
        let places = concurrent
            .saturating_mul(BUSY_BUILDS)
            .clamp(*PLACES.start(), *PLACES.end());
        let pooled = match pooled(places.saturating_add(kept)) {
            Ok(engine) => Some(Pooled {
                engine,
                places: Arc::new(Semaphore::new(places)),
            }),
            Err(e) => {
                tracing::warn!(
                    cause = format!("{e:#}"),
                    "there is no room for a pool of sandboxes, as under a limit of addresses: calls into plugins are slower"
                );
                None
            }
        };
        tick([Some(&apart), pooled.as_ref().map(|pooled| &pooled.engine)])?;
        Ok(Self { apart, pooled })
    }

    /// The one that compiles. Its code runs in the others as well.
    pub fn compiler(&self) -> &Engine {
        &self.apart
    }

    /// The one for components of a shape.
    pub fn of(&self, shape: Shape) -> &Engine {
        match (&self.pooled, shape) {
            (Some(pooled), Shape::Pooled) => &pooled.engine,
            (_, Shape::Apart) | (None, Shape::Pooled) => &self.apart,
        }
    }

    /// Places for calls into components of a shape, if they are counted: the pool has these, and those of kept sandboxes.
    pub fn places(&self, shape: Shape) -> Option<&Arc<Semaphore>> {
        match shape {
            Shape::Pooled => self.pooled.as_ref().map(|pooled| &pooled.places),
            Shape::Apart => None,
        }
    }
}

fn config() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        // Calls into one store never overlap here, and without it a call costs a quarter.
        .concurrency_support(false)
        .wasm_memory64(false)
        // The frames of a component are none of the host's: a native backtrace, which `RUST_BACKTRACE` makes of
        // every error, would walk and name thousands of them after a deep recursion.
        .native_unwind_info(false);
    config
}

fn pooled(places: usize) -> Result<Engine> {
    let places = u32::try_from(places)?;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_stacks(places)
        .total_memories(places * POOLED_MEMORIES)
        .max_memories_per_component(POOLED_MEMORIES)
        .max_memories_per_module(POOLED_MEMORIES)
        .total_tables(places * POOLED_TABLES)
        .max_tables_per_component(POOLED_TABLES)
        .max_tables_per_module(POOLED_TABLES)
        .table_elements(POOLED_ELEMENTS.try_into()?)
        // These take no room in the pool, and are bounded by `weigh` and the limiter.
        .total_component_instances(u32::MAX)
        .total_core_instances(u32::MAX)
        .max_component_instance_size(1 << 30)
        .max_core_instance_size(1 << 30);
    // Without the kernel's list of written pages (Linux 6.7) all that may have been written would have to be written
    // over, which takes longer than to give the pages back.
    if PoolingAllocationConfig::is_pagemap_scan_available() {
        pool.pagemap_scan(Enabled::Yes)
            .linear_memory_keep_resident(KEPT_MEMORY)
            .table_keep_resident(KEPT_TABLE);
    }
    Engine::new(config().allocation_strategy(pool))
}

/// Advance the engines' clocks for as long as there is one of them.
fn tick(engines: [Option<&Engine>; 2]) -> std::io::Result<()> {
    let engines = engines.map(|engine| engine.map(Engine::weak));
    std::thread::Builder::new()
        .name("berth-epochs".to_owned())
        .spawn(move || {
            let advance = |engine: &EngineWeak| engine.upgrade().map(|e| e.increment_epoch());
            while engines.iter().flatten().filter_map(advance).count() > 0 {
                std::thread::sleep(TICK);
            }
        })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::hash::{DefaultHasher, Hash, Hasher};

    use super::*;

    #[test]
    fn what_is_compiled_runs_in_and_out_of_the_pool() {
        let engines = Engines::new(1, 0).unwrap();
        let [compiler, pooled, apart] = [
            engines.compiler(),
            engines.of(Shape::Pooled),
            engines.of(Shape::Apart),
        ]
        .map(|engine| {
            let mut hasher = DefaultHasher::new();
            engine.precompile_compatibility_hash().hash(&mut hasher);
            hasher.finish()
        });
        assert_eq!([pooled, apart], [compiler; 2]);
        assert!(engines.pooled.is_some(), "there is room for it here");
    }

    #[test]
    fn only_places_of_the_pool_are_counted() {
        let engines = Engines::new(32, 7).unwrap();
        let places = engines.places(Shape::Pooled).unwrap();
        assert_eq!(places.available_permits(), 32 * BUSY_BUILDS);
        assert!(engines.places(Shape::Apart).is_none());
        let few = Engines::new(1, 0).unwrap();
        let places = few.places(Shape::Pooled).unwrap();
        assert_eq!(places.available_permits(), *PLACES.start());
    }

    #[test]
    fn what_is_kept_has_places_of_its_own() {
        let engines = Engines::new(1, 3).unwrap();
        let places = engines.places(Shape::Pooled).unwrap();
        assert_eq!(places.available_permits(), *PLACES.start());
        // A module with a memory of one page.
        let bytes = b"\0asm\x01\0\0\0\x05\x03\x01\0\x01";
        let module = wasmtime::Module::new(engines.of(Shape::Pooled), bytes).unwrap();
        let mut stores = Vec::new();
        let mut make = || {
            let mut store = wasmtime::Store::new(engines.of(Shape::Pooled), ());
            let made = wasmtime::Instance::new(&mut store, &module, &[]);
            stores.push(store);
            made.is_ok()
        };
        for n in 0..*PLACES.start() + 3 {
            assert!(make(), "{n}");
        }
        assert!(!make(), "there are no more than that");
    }
}
