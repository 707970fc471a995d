//! What the dialect calls an engine in one version, and the ids that it has for what has none of its own in Berth. They
//! are derived, so that they are the same after every start.

use uuid::Uuid;

use super::wire::instance::UpgradableVersion;
use crate::model::InstanceId;
use crate::model::plugin::EngineVersion;
use crate::service::Control;
use crate::service::offer::EngineOffer;

/// How many endpoints of an instance are looked for.
const MOST_ENDPOINTS: usize = 16;
const NAMESPACE: Uuid = Uuid::from_u128(0x5f0c_3a6e_81d4_4b7a_9c2f_0d1e_6b8a_7c35);

/// The engines that are installed, by the names that the dialect has for them.
pub struct Titles(Vec<EngineOffer>);

impl Titles {
    pub fn now(control: &Control) -> Self {
        Self(control.engine_offers())
    }

    pub fn offers(&self) -> &[EngineOffer] {
        &self.0
    }

    /// An engine in a version, such as `Title-16`. One whose plugin is gone goes by its own name.
    pub fn name_of(&self, engine: &str, version: &str) -> String {
        let title = self
            .offer(engine)
            .map_or(engine, |offer| &offer.description().title);
        format!("{title}-{version}")
    }

    /// The engine and the version that such a name stands for.
    pub fn find(&self, name: &str) -> Option<(&str, &str)> {
        self.0.iter().find_map(|offer| {
            let described = offer.description();
            let label = name.strip_prefix(&described.title)?.strip_prefix('-')?;
            let mut versions = described.versions.iter();
            let version = versions.find(|version| version.label == label)?;
            Some((described.name.as_str(), version.label.as_str()))
        })
    }

    /// The names of all that can be asked for.
    pub fn offered(&self) -> Vec<String> {
        let offered = self.0.iter().flat_map(|offer| {
            let versions = offer.versions().filter(|(_, offered)| *offered);
            versions.map(|(version, _)| format!("{}-{}", offer.description().title, version.label))
        });
        offered.collect()
    }

    /// The versions that one can be upgraded to here.
    pub fn upgrades_of(&self, engine: &str, version: &str) -> Vec<UpgradableVersion> {
        let Some(offer) = self.offer(engine) else {
            return Vec::new();
        };
        let is = |label: &str| {
            let mut versions = offer.description().versions.iter();
            versions.find(|version| version.label == label)
        };
        let goals = is(version).map_or(&[][..], |version| &version.upgrades_to);
        let possible = offer
            .versions()
            .filter(|(version, offered)| *offered && goals.contains(&version.label));
        possible
            .map(|(version, _)| self.upgrade(offer, version))
            .collect()
    }

    fn upgrade(&self, offer: &EngineOffer, version: &EngineVersion) -> UpgradableVersion {
        let name = format!("{}-{}", offer.description().title, version.label);
        UpgradableVersion {
            id: Uuid::new_v5(&NAMESPACE, name.as_bytes()),
            name,
            version: version.label.clone(),
            minor_version: version.label.clone(),
        }
    }

    fn offer(&self, engine: &str) -> Option<&EngineOffer> {
        let mut offers = self.0.iter();
        offers.find(|offer| offer.description().name == engine)
    }
}

/// The id of an instance's endpoint, by its place among them.
pub fn endpoint_id(instance: InstanceId, at: usize) -> Uuid {
    Uuid::from_u128(instance.0.as_u128() ^ mask(at))
}

/// The instances, and the places, that an endpoint's id can stand for.
pub fn endpoint_of(id: Uuid) -> impl Iterator<Item = (InstanceId, usize)> {
    let places = 0..MOST_ENDPOINTS;
    places.map(move |at| (InstanceId(Uuid::from_u128(id.as_u128() ^ mask(at))), at))
}

/// Changes only those bits of an id that are random, so that an id is found from the other without a search.
fn mask(at: usize) -> u128 {
    let random = (1_u128 << 62) - 1;
    Uuid::new_v5(&NAMESPACE, &at.to_be_bytes()).as_u128() & random
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_leads_back_to_its_instance() {
        let instance = InstanceId::generate();
        let mut ids: Vec<Uuid> = (0..MOST_ENDPOINTS)
            .map(|at| endpoint_id(instance, at))
            .collect();
        for (at, id) in ids.iter().enumerate() {
            assert!(endpoint_of(*id).any(|found| found == (instance, at)));
            assert_eq!(id.get_version_num(), 7);
            assert_ne!(*id, instance.0);
        }
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), MOST_ENDPOINTS);
    }
}
