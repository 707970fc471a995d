//! How many instances there are and how much storage they have: kept with each change, never counted.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::shelf::{Names, Owner};
use crate::model::{Instance, Phase, ProjectId};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Total {
    pub instances: u64,
    pub storage_gb: u64,
}

/// Totals by everything that a list is filtered by exactly.
#[derive(Default)]
pub(super) struct Totals(HashMap<Owner, HashMap<Bucket, Total>>);

#[derive(Clone, PartialEq, Eq, Hash)]
struct Bucket {
    phase: Phase,
    engine: Arc<str>,
    region: Arc<str>,
}

impl Totals {
    pub fn add(&mut self, instance: &Instance, names: &mut Names) {
        let bucket = Bucket::of(instance, names);
        for owner in [None, Some(instance.project)] {
            let buckets = self.0.entry(owner).or_default();
            let total = buckets.entry(bucket.clone()).or_default();
            total.instances += 1;
            total.storage_gb += instance.spec.total_storage_gb();
        }
    }

    pub fn subtract(&mut self, instance: &Instance, names: &mut Names) {
        let bucket = Bucket::of(instance, names);
        for owner in [None, Some(instance.project)] {
            let Some(buckets) = self.0.get_mut(&owner) else {
                continue;
            };
            if let Some(total) = buckets.get_mut(&bucket) {
                total.instances -= 1;
                total.storage_gb -= instance.spec.total_storage_gb();
                if total.instances == 0 {
                    buckets.remove(&bucket);
                }
            }
            if buckets.is_empty() {
                self.0.remove(&owner);
            }
        }
    }

    pub fn live(&self, project: ProjectId) -> Total {
        self.sum(Some(project), |phase, _, _| phase != Phase::Deleted)
    }

    pub fn by_phase(&self) -> BTreeMap<Phase, u64> {
        let sum = |wanted| self.sum(None, |phase, _, _| phase == wanted).instances;
        Phase::ALL.map(|phase| (phase, sum(phase))).into()
    }

    pub fn by_phase_and_engine(&self) -> BTreeMap<(Phase, String), u64> {
        let mut counts = BTreeMap::new();
        for (bucket, total) in self.0.get(&None).into_iter().flatten() {
            let key = (bucket.phase, bucket.engine.to_string());
            *counts.entry(key).or_default() += total.instances;
        }
        counts
    }

    /// The sum over the buckets that fit.
    pub fn sum(&self, owner: Owner, fits: impl Fn(Phase, &str, &str) -> bool) -> Total {
        let mut sum = Total::default();
        for (bucket, total) in self.0.get(&owner).into_iter().flatten() {
            if fits(bucket.phase, &bucket.engine, &bucket.region) {
                sum.instances += total.instances;
                sum.storage_gb += total.storage_gb;
            }
        }
        sum
    }
}

impl Bucket {
    fn of(instance: &Instance, names: &mut Names) -> Self {
        Self {
            phase: instance.phase(),
            engine: names.one(&instance.spec.engine),
            region: names.one(&instance.region),
        }
    }
}
