//! What is as it is when somebody asks: databases by phase and health, their storage, and open operations. Nothing
//! has a label of its own per database: there is no end to those.

use std::collections::BTreeMap;
use std::fmt::Result;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::model::{OperationKind, Phase};
use crate::service::Control;

/// What a running database is in that was not looked at yet.
const UNKNOWN: &str = "unknown";

/// Counted when it is asked for.
#[derive(Debug)]
pub struct Now(pub Control);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InPhase {
    phase: &'static str,
    engine: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct InHealth {
    health: &'static str,
    engine: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfEngine {
    engine: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: &'static str,
}

impl Collector for Now {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result {
        let counts = self.0.repo().view().counts();
        let (healths, used) = self.fare(&counts);
        let phases = counts.into_iter().map(|((phase, engine), count)| {
            let phase = phase.as_str();
            (InPhase { phase, engine }, count)
        });
        let help = "Databases by phase and engine";
        gauge(&mut encoder, "instances", help, phases)?;
        let help = "Running databases by health and engine";
        gauge(&mut encoder, "instance_health", help, healths)?;
        let help = "Storage in use by running databases, as last measured";
        let used = used
            .into_iter()
            .map(|(engine, bytes)| (OfEngine { engine }, bytes));
        gauge(&mut encoder, "instance_used_bytes", help, used)?;
        let help = "Operations that have not ended";
        let open = self.0.repo().view().open_operations();
        let open = OperationKind::ALL.into_iter().map(|kind| {
            let count = open.get(&kind).copied().unwrap_or_default() as u64;
            let kind = kind.as_str();
            (OfKind { kind }, count)
        });
        gauge(&mut encoder, "operations_open", help, open)
    }
}

impl Now {
    /// Databases by health and bytes in use, both by engine.
    fn fare(
        &self,
        counts: &BTreeMap<(Phase, String), u64>,
    ) -> (BTreeMap<InHealth, u64>, BTreeMap<String, u64>) {
        let mut healths: BTreeMap<InHealth, u64> = BTreeMap::new();
        let mut used: BTreeMap<String, u64> = BTreeMap::new();
        let mut seen: BTreeMap<String, u64> = BTreeMap::new();
        let mut observed = Vec::new();
        self.0.health().each(|id, health| {
            observed.push((id, health.condition.as_str(), health.used_bytes));
        });
        for (id, health, bytes) in observed {
            let Some(instance) = self.0.repo().view().get(id) else {
                continue;
            };
            let engine = instance.spec.engine.clone();
            *seen.entry(engine.clone()).or_default() += 1;
            *used.entry(engine.clone()).or_default() += bytes;
            *healths.entry(InHealth { health, engine }).or_default() += 1;
        }
        for ((phase, engine), count) in counts {
            if *phase != Phase::Running {
                continue;
            }
            let engine = engine.clone();
            let unseen = count.saturating_sub(seen.get(&engine).copied().unwrap_or(0));
            let health = UNKNOWN;
            healths.insert(InHealth { health, engine }, unseen);
        }
        (healths, used)
    }
}

fn gauge<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (L, u64)>,
) -> Result {
    let mut gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        ConstGauge::new(value).encode(gauge.encode_family(&labels)?)?;
    }
    Ok(())
}
