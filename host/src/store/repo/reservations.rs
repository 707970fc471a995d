//! Ports and user ids of a node, each held by at most one instance: its key is absent in the commit
//! that takes it.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU32, Ordering};

use super::commit::gave_up;
use super::encoding::Owner;
use super::{Repo, Tracked, keys};
use crate::model::{Error, NodeName, Operation, Result};
use crate::store::StoreError;

/// More would not fit into the commit that gives them back.
const MAX_PORTS: usize = 16;

impl Repo {
    /// Reserve ports for the operation's instance, in one commit with the operation. What the instance holds
    /// already is kept, so repeating it takes nothing more. `is_free` says whether the machine lets us
    /// have a port.
    pub async fn reserve_ports(
        &self,
        op: &mut Tracked<Operation>,
        want: usize,
        range: RangeInclusive<u16>,
        is_free: impl Fn(u16) -> bool,
    ) -> Result<Vec<u16>> {
        if want > MAX_PORTS {
            return Err(Error::failed(format!(
                "{want} ports are too many for one database; at most {MAX_PORTS} are given"
            )));
        }
        let id = op.value.instance;
        let width = u32::from(range.end().saturating_sub(*range.start())) + 1;
        // Each turn either succeeds or meets a port that another instance took, which is never tried again.
        for _ in 0..=width {
            let (instance, _) = self.read_instance(id).await?;
            let held = instance.reservation.ports.len();
            if held >= want {
                return Ok(instance.reservation.ports);
            }
            let node = &instance.node;
            let candidates = rotate(&self.0.next_port, u32::from(*range.start()), width)
                .filter_map(|port| u16::try_from(port).ok())
                .filter(|port| !self.view().port_is_reserved(node, *port) && is_free(*port));
            let mut picked = Vec::with_capacity(want - held);
            for port in candidates.take(want - held) {
                // A port whose reservation has not reached the read model yet shows here.
                if self.is_absent(&keys::port(node, port)).await? {
                    picked.push(port);
                }
            }
            if picked.len() < want - held {
                let any_left = rotate(&self.0.next_port, u32::from(*range.start()), width)
                    .filter_map(|port| u16::try_from(port).ok())
                    .filter(|port| !self.view().port_is_reserved(node, *port) && is_free(*port))
                    .count();
                if any_left < want - held {
                    return Err(Error::failed(format!(
                        "no free port is left between {} and {}",
                        range.start(),
                        range.end()
                    )));
                }
                continue;
            }
            let lost = self
                .write(op, true, &|draft, instance| {
                    let Some(instance) = instance else {
                        return Ok(());
                    };
                    for port in &picked {
                        let key = keys::port(&instance.node, *port);
                        draft.expect_absent(key.clone());
                        draft.put(key, &Owner(id))?;
                        instance.reservation.ports.push(*port);
                    }
                    Ok(())
                })
                .await?;
            if lost.is_none() {
                let (instance, _) = self.read_instance(id).await?;
                return Ok(instance.reservation.ports);
            }
        }
        Err(gave_up(StoreError::Conflict {
            key: keys::instance(id),
        }))
    }

    /// Reserve a system user id for the operation's instance, as `reserve_ports` does ports.
    pub async fn reserve_uid(
        &self,
        op: &mut Tracked<Operation>,
        range: RangeInclusive<u32>,
        is_free: impl Fn(u32) -> bool,
    ) -> Result<u32> {
        let id = op.value.instance;
        let width = range.end().saturating_sub(*range.start()).saturating_add(1);
        for _ in 0..=width {
            let (instance, _) = self.read_instance(id).await?;
            if let Some(uid) = instance.reservation.uid {
                return Ok(uid);
            }
            let node: &NodeName = &instance.node;
            let free = rotate(&self.0.next_uid, *range.start(), width)
                .find(|uid| !self.view().uid_is_reserved(node, *uid) && is_free(*uid));
            let Some(uid) = free else {
                return Err(Error::failed(format!(
                    "no free user id is left between {} and {}",
                    range.start(),
                    range.end()
                )));
            };
            let lost = self
                .write(op, true, &|draft, instance| {
                    let Some(instance) = instance else {
                        return Ok(());
                    };
                    let key = keys::uid(&instance.node, uid);
                    draft.expect_absent(key.clone());
                    draft.put(key, &Owner(id))?;
                    instance.reservation.uid = Some(uid);
                    Ok(())
                })
                .await?;
            if lost.is_none() {
                return Ok(uid);
            }
        }
        Err(gave_up(StoreError::Conflict {
            key: keys::instance(id),
        }))
    }
}

/// Every number of a range once, beginning after the one that was looked at last, by whomever.
fn rotate(next: &AtomicU32, start: u32, width: u32) -> impl Iterator<Item = u32> {
    (0..width).map(move |_| start + next.fetch_add(1, Ordering::Relaxed) % width)
}
