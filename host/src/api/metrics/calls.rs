//! Calls into plugins, counted as they end.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Upper bounds in seconds: from a call that computes to one that starts servers.
const BUCKETS: [f64; 12] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.01, 0.05, 0.25, 1.0, 5.0, 10.0, 30.0,
];

/// Clones are the same counters.
#[derive(Clone)]
pub struct Calls {
    ended: Family<Ended, Counter>,
    seconds: Family<Asked, Histogram>,
    memory: Family<Asked, Gauge<u64, AtomicU64>>,
}

/// Names of plugins and functions: as many as are installed, and as the contract has.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    plugin: String,
    function: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    plugin: String,
    function: &'static str,
}

impl Default for Calls {
    fn default() -> Self {
        Self {
            ended: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            memory: Family::default(),
        }
    }
}

impl Calls {
    pub fn count(
        &self,
        plugin: &str,
        function: &'static str,
        outcome: &'static str,
        took: std::time::Duration,
    ) {
        let asked = Asked {
            plugin: plugin.to_owned(),
            function,
        };
        let ended = Ended {
            plugin: asked.plugin.clone(),
            function,
            outcome,
        };
        self.ended.get_or_create(&ended).inc();
        let seconds = self.seconds.get_or_create(&asked);
        seconds.observe(took.as_secs_f64());
    }

    /// Memory of a call's sandbox at its end; the largest is shown.
    pub fn held(&self, plugin: &str, function: &'static str, bytes: usize) {
        let asked = Asked {
            plugin: plugin.to_owned(),
            function,
        };
        let most = self.memory.get_or_create(&asked);
        most.inner().fetch_max(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "plugin_calls",
            "Calls into plugins that have ended",
            self.ended.clone(),
        );
        registry.register(
            "plugin_call_seconds",
            "Time from the beginning of a call into a plugin to its end",
            self.seconds.clone(),
        );
        registry.register(
            "plugin_call_memory_bytes",
            "Most memory that the sandbox of a call had at its end, since the host was started",
            self.memory.clone(),
        );
    }
}
