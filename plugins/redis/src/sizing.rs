//! From the size of a node to the server's settings.

use berth_sdk::types::Spec;

const MIB: u64 = 1 << 20;

/// What a server takes besides its data: its own tables, its connections' first buffers, the buffer of its log.
const OVERHEAD: u64 = 32 * MIB;

/// How much data a server may hold, in bytes. A quarter of the memory is left for the pages that change while a child
/// writes the data to disk, for fragmentation and for what waits to be sent to clients.
pub fn max_memory(spec: &Spec) -> u64 {
    let memory = spec.node.memory_bytes / 4 * 3;
    memory.saturating_sub(OVERHEAD).max(16 * MIB)
}

/// What all clients together may take for their buffers; beyond it those that take most are disconnected.
pub fn max_clients_memory(spec: &Spec) -> u64 {
    (spec.node.memory_bytes / 8).max(16 * MIB)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::spec;

    #[test]
    fn whatever_the_size_all_of_it_fits() {
        for memory_mib in [128, 256, 512, 1000, 1024, 4096, 1_048_576] {
            let mut spec = spec("7.2");
            spec.node.memory_bytes = memory_mib * MIB;
            let (data, clients) = (max_memory(&spec), max_clients_memory(&spec));
            assert!(
                data + clients + OVERHEAD / 2 <= memory_mib * MIB,
                "{memory_mib}"
            );
            assert!(data >= memory_mib * MIB / 2, "{memory_mib}: {data}");
        }
    }

    #[test]
    fn an_absurdly_small_node_does_not_panic() {
        let mut spec = spec("7.2");
        spec.node.memory_bytes = 0;
        assert_eq!(max_memory(&spec), 16 * MIB);
    }
}
