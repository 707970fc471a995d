//! From the size of a node and its storage to the server's limits.

use berth_sdk::types::Spec;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// In hundredths of a GiB: what the manual says of the default, with the node's memory in place of the machine's.
/// (storage.wiredTiger.engineConfig.cacheSizeGB: the larger of 50 % of what is above 1 GiB, and 0.25 GiB.)
fn cache_hundredths(spec: &Spec) -> u64 {
    let half = spec.node.memory_bytes.saturating_sub(GIB) / 2;
    (half * 100 / GIB).max(25)
}

/// As the server's file has it.
pub fn cache_gb(spec: &Spec) -> String {
    let hundredths = cache_hundredths(spec);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// The log of changes, in MB: a twentieth of the storage, which is the server's own default of the whole disk; the manual
/// allows no less than 990 MB, and no default above 50 GB. It counts when the log is made, and never again.
pub fn oplog_mb(spec: &Spec) -> u64 {
    (spec.storage_bytes / 20 / MIB).clamp(990, 51_200)
}

/// The server has no connections set aside for whoever looks after it, and Berth is one among many. So what bounds the
/// clients is the proxy in front of it, which lets in some 4000; the server's own limit lies above that, where they cannot
/// reach it. A connection has a thread, which takes of its 1 MB of stack what it touches, some ten kB while it waits: a
/// lower limit for a small node would save less than it endangers.
pub fn connections(spec: &Spec) -> u64 {
    (spec.node.memory_bytes / MIB).clamp(5000, 20_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::spec;

    fn with(memory: u64, storage: u64) -> Spec {
        let mut spec = spec("7.0");
        spec.node.memory_bytes = memory;
        spec.storage_bytes = storage;
        spec
    }

    #[test]
    fn clients_leave_berth_its_connections() {
        // Two files for each, of the proxy's 8192.
        let clients = 8192 / 2;
        for memory in [0, 512 * MIB, 4 * GIB, 1 << 50] {
            let most = connections(&with(memory, 0));
            assert!((clients + 100..=20_000).contains(&most), "{memory}: {most}");
        }
    }

    #[test]
    fn the_cache_is_what_the_manual_says_for_such_a_machine() {
        for (memory, gb) in [
            (0, "0.25"),
            (512 * MIB, "0.25"),
            (GIB + GIB / 2, "0.25"),
            (2 * GIB, "0.50"),
            (4 * GIB, "1.50"),
            (64 * GIB, "31.50"),
        ] {
            assert_eq!(cache_gb(&with(memory, 0)), gb, "{memory}");
        }
    }

    #[test]
    fn the_log_of_changes_stays_within_its_bounds() {
        for (storage, mb) in [
            (0, 990),
            (10 * GIB, 990),
            (100 * GIB, 5120),
            (1 << 50, 51_200),
        ] {
            assert_eq!(oplog_mb(&with(0, storage)), mb, "{storage}");
        }
    }
}
