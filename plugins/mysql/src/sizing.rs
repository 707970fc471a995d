//! From the size of a node to the server's settings. "Manual" is MySQL's own, by chapter of 8.4. Values are those that
//! the server reads back: bytes, without units.

use berth_sdk::types::Spec;

use crate::catalog::{MINIMUM_MEMORY, MINIMUM_STORAGE};

const MIB: u64 = 1 << 20;

/// Memory set aside for each connection that may be open: its buffers, and work on top.
const MEMORY_PER_CONNECTION: u64 = 12 * MIB;

/// In what steps the buffer pool grows (manual 17.8.3.1).
pub const CHUNK: u64 = 128 * MIB;

/// The smallest node that there may be.
pub fn smallest() -> Spec {
    Spec::of_size(MINIMUM_MEMORY, MINIMUM_STORAGE)
}

/// The settings that depend on memory and storage, by name.
pub fn settings(spec: &Spec) -> Vec<(&'static str, String)> {
    let memory = spec.node.memory_bytes;
    let storage = spec.storage_bytes;

    // Manual 7.1.12.1 (max_connections): 151 by default. Few enough that all of them together fit into memory.
    let connections = (memory / MEMORY_PER_CONNECTION).clamp(20, 2000);

    // Manual 10.12.3.1: "50 to 75 percent of system memory" for a machine of its own. A server takes about 250 MiB before
    // that, which is much of a small node.
    let pool = if memory < 3 * 512 * MIB {
        memory / 4
    } else {
        memory / 2
    };
    let pool = (pool / CHUNK).max(1) * CHUNK;

    // Manual 17.8.1 (innodb_log_buffer_size): for transactions that change much; 64 MiB is the default of 8.4.
    let log_buffer = (memory / 64).clamp(4 * MIB, 64 * MIB) / MIB * MIB;

    // Manual 17.6.5: recycled between checkpoints. A twentieth of the storage leaves that to the data.
    let redo = (storage / 20).clamp(64 * MIB, 4096 * MIB) / MIB * MIB;

    // Manual 10.4.4: what temporary tables of all sessions may take of memory before they go to storage.
    let temporary = (memory / 32).clamp(16 * MIB, 1024 * MIB) / MIB * MIB;

    // Manual 29.1: it keeps a few hundred MiB for itself, whoever looks at it.
    let performance = if memory >= 2048 * MIB { "ON" } else { "OFF" };

    // Manual 10.4.3.1: each open table and each definition takes some ten KiB.
    let tables = (memory / MIB).clamp(400, 4000);

    vec![
        ("innodb_buffer_pool_size", pool.to_string()),
        ("innodb_log_buffer_size", log_buffer.to_string()),
        ("innodb_redo_log_capacity", redo.to_string()),
        ("max_connections", connections.to_string()),
        ("performance_schema", performance.to_owned()),
        ("table_definition_cache", tables.to_string()),
        ("table_open_cache", tables.to_string()),
        ("temptable_max_ram", temporary.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_size_all_of_it_fits() {
        for memory_mib in [512, 1000, 1024, 2048, 4096, 30_000, 131_072, 1_048_576] {
            for storage_gib in [1, 10, 16_384] {
                let mut spec = smallest();
                spec.node.memory_bytes = memory_mib * MIB;
                spec.storage_bytes = storage_gib << 30;
                let settings = settings(&spec);
                let number = |name: &str| {
                    let found = settings.iter().find(|(n, _)| *n == name).unwrap();
                    found.1.parse::<u64>().unwrap()
                };
                let pool = number("innodb_buffer_pool_size");
                assert_eq!(pool % CHUNK, 0);
                assert!(pool >= CHUNK);
                // What a connection takes with the usual buffers.
                let used = pool
                    + number("innodb_log_buffer_size")
                    + number("temptable_max_ram")
                    + number("max_connections") * MIB;
                assert!(used <= memory_mib * MIB * 3 / 4, "{settings:?}");
                assert!(number("innodb_redo_log_capacity") <= (storage_gib << 30) / 8);
                assert!(number("innodb_redo_log_capacity") >= 8 * MIB);
            }
        }
    }

    #[test]
    fn an_absurdly_small_node_does_not_panic() {
        let mut spec = smallest();
        spec.node.memory_bytes = 0;
        spec.storage_bytes = 0;
        assert!(!settings(&spec).is_empty());
    }
}
