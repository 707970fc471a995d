//! From the size of a node to the server's settings. "Manual" is PostgreSQL's own, by chapter.

use berth_sdk::types::Spec;

use crate::catalog::{MINIMUM_MEMORY, MINIMUM_STORAGE};

const MIB: u64 = 1 << 20;

/// Memory set aside for each connection that may be open: a backend's own few MiB, and work on top.
const MEMORY_PER_CONNECTION: u64 = 16 * MIB;

/// The smallest node that there may be.
pub fn smallest() -> Spec {
    Spec::of_size(MINIMUM_MEMORY, MINIMUM_STORAGE)
}

/// The settings that depend on memory, processors and storage, by name, in the server's own notation.
pub fn settings(spec: &Spec) -> Vec<(&'static str, String)> {
    let memory = spec.node.memory_bytes;
    let cores = u64::from(spec.node.cpu_millis.div_ceil(1000)).max(1);
    let storage = spec.storage_bytes;

    // Manual 20.3 (max_connections): 100 by default, and shared memory is sized by it. Few enough that all
    // of them together fit into memory.
    let connections = (memory / MEMORY_PER_CONNECTION).clamp(20, 1000);

    // Manual 20.4 (shared_buffers): "a reasonable starting value is 25 % of the memory"; more than 40 %
    // is unlikely to work better.
    let shared_buffers = memory / 4;

    // Manual 20.7 (effective_cache_size): shared buffers and the part of the kernel's cache that
    // serves the data files; on a machine of its own that is what the backends leave.
    let effective_cache_size = memory / 4 * 3;

    // Manual 20.4 (work_mem): per sort or hash, several per query, in every session: so what is left by
    // the shared buffers, divided by all connections with three such operations each.
    let work_mem = ((memory - shared_buffers) / connections / 3).max(MIB);

    // Manual 20.4 (maintenance_work_mem): may be set much larger than work_mem, but counts once per
    // autovacuum worker, of which there are three; VACUUM up to version 16 uses at most 1 GiB.
    let maintenance_work_mem = (memory / 16).clamp(16 * MIB, 1024 * MIB);

    // Manual 20.4 (max_worker_processes and below): parallel workers come out of one pool; more of them
    // than cores take turns only. A single core gains nothing from them.
    let parallel = if cores > 1 { cores } else { 0 };
    let per_query = parallel.div_ceil(2).min(8);

    // Manual 30.5 (WAL configuration): a soft limit between checkpoints. A tenth of the storage keeps
    // bulk loads from making checkpoints all the time, and leaves the storage to the data.
    let max_wal_size = (storage / 10).clamp(128 * MIB, 16 * 1024 * MIB);
    // At least two segments of 16 MiB; what is kept is recycled instead of made anew.
    let min_wal_size = (max_wal_size / 8).clamp(32 * MIB, 1024 * MIB);
    // Manual 20.6 (max_slot_wal_keep_size): without it a forgotten replication slot fills the storage.
    let slot_wal = (storage / 5).max(256 * MIB);

    vec![
        ("max_connections", connections.to_string()),
        ("shared_buffers", mib(shared_buffers)),
        ("effective_cache_size", mib(effective_cache_size)),
        ("work_mem", mib(work_mem)),
        ("maintenance_work_mem", mib(maintenance_work_mem)),
        ("max_worker_processes", (8 + parallel).to_string()),
        ("max_parallel_workers", parallel.to_string()),
        ("max_parallel_workers_per_gather", per_query.to_string()),
        ("max_parallel_maintenance_workers", per_query.to_string()),
        ("max_wal_size", mib(max_wal_size)),
        ("min_wal_size", mib(min_wal_size)),
        ("max_slot_wal_keep_size", mib(slot_wal)),
    ]
}

fn mib(bytes: u64) -> String {
    format!("{}MB", bytes / MIB)
}

#[cfg(test)]
mod tests {
    use berth_sdk::types::NodeSize;

    use super::*;
    use crate::plan::tests::spec;

    fn number(settings: &[(&str, String)], name: &str) -> u64 {
        let (_, value) = settings.iter().find(|(n, _)| *n == name).unwrap();
        value.trim_end_matches("MB").parse().unwrap()
    }

    #[test]
    fn whatever_the_size_all_of_it_fits() {
        for memory_mib in [256, 512, 1000, 1024, 4096, 30_000, 131_072, 1_048_576] {
            for cpu_millis in [1, 250, 1000, 1500, 64_000] {
                for storage_gib in [1, 10, 16_384] {
                    let mut spec = spec("16");
                    spec.node = NodeSize {
                        cpu_millis,
                        memory_bytes: memory_mib * MIB,
                    };
                    spec.storage_bytes = storage_gib << 30;
                    let settings = settings(&spec);
                    let get = |name| number(&settings, name);
                    let used = get("shared_buffers") + get("max_connections") * get("work_mem");
                    assert!(used <= memory_mib, "{settings:?}");
                    assert!(get("shared_buffers") >= 64);
                    assert!(get("max_wal_size") <= storage_gib * 1024 / 8);
                    assert!(get("min_wal_size") >= 32);
                    assert!(get("min_wal_size") < get("max_wal_size"));
                    assert!(get("max_parallel_workers") <= get("max_worker_processes"));
                    assert!(get("max_parallel_workers_per_gather") <= get("max_parallel_workers"));
                }
            }
        }
    }

    #[test]
    fn an_absurdly_small_node_does_not_panic() {
        let mut spec = spec("16");
        spec.node = NodeSize {
            cpu_millis: 0,
            memory_bytes: 0,
        };
        spec.storage_bytes = 0;
        assert!(!settings(&spec).is_empty());
    }
}
