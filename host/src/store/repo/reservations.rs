//! Ports and user ids of a node, each held by at most one instance: its key is absent in the commit
//! that takes it.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU32, Ordering};

use super::encoding::Owner;
use super::{Repo, Tracked, keys};
use crate::model::{Error, NodeName, Operation, Result};
use crate::store::StoreError;

/// Three for each shard. Many more would not fit into the commit that gives them back.
const MAX_PORTS: usize = 48;

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
        let mut lost = HashSet::new();
        loop {
            let (instance, _) = self.read_instance(id).await?;
            let mut ports = instance.reservation.ports;
            let missing = want.saturating_sub(ports.len());
            if missing == 0 {
                return Ok(ports);
            }
            let node = &instance.node;
            let range = u32::from(*range.start())..=u32::from(*range.end());
            let free = |number: u32| {
                let port = u16::try_from(number).ok()?;
                let ours = !lost.contains(&keys::port(node, port))
                    && !self.view().port_is_reserved(node, port)
                    && is_free(port);
                ours.then_some(port)
            };
            let picked = pick(&self.0.next_port, range.clone(), missing, free)
                .ok_or_else(|| none_left("port", &range))?;
            let conflict = self
                .write(op, true, &|draft, instance| {
                    let instance = instance.ok_or_else(no_instance)?;
                    for port in &picked {
                        let key = keys::port(&instance.node, *port);
                        draft.expect_absent(key.clone());
                        draft.put(key, &Owner(id))?;
                    }
                    instance.reservation.ports.extend(&picked);
                    Ok(())
                })
                .await?;
            match conflict {
                // Taken by one that the read model does not show yet. It is never tried again, so this ends.
                Some(StoreError::Conflict { key }) => drop(lost.insert(key)),
                Some(error) => return Err(super::encoding::store_error(error)),
                None => {
                    ports.extend(picked);
                    return Ok(ports);
                }
            }
        }
    }

    /// Reserve a system user id for the operation's instance, as `reserve_ports` does ports.
    pub async fn reserve_uid(
        &self,
        op: &mut Tracked<Operation>,
        range: RangeInclusive<u32>,
        is_free: impl Fn(u32) -> bool,
    ) -> Result<u32> {
        let id = op.value.instance;
        let mut lost = HashSet::new();
        loop {
            let (instance, _) = self.read_instance(id).await?;
            if let Some(uid) = instance.reservation.uid {
                return Ok(uid);
            }
            let node: &NodeName = &instance.node;
            let free = |uid: u32| {
                let ours = !lost.contains(&keys::uid(node, uid))
                    && !self.view().uid_is_reserved(node, uid)
                    && is_free(uid);
                ours.then_some(uid)
            };
            let picked = pick(&self.0.next_uid, range.clone(), 1, free);
            let uid = *picked
                .as_deref()
                .and_then(<[u32]>::first)
                .ok_or_else(|| none_left("user id", &range))?;
            let conflict = self
                .write(op, true, &|draft, instance| {
                    let instance = instance.ok_or_else(no_instance)?;
                    let key = keys::uid(&instance.node, uid);
                    draft.expect_absent(key.clone());
                    draft.put(key, &Owner(id))?;
                    instance.reservation.uid = Some(uid);
                    Ok(())
                })
                .await?;
            match conflict {
                Some(StoreError::Conflict { key }) => drop(lost.insert(key)),
                Some(error) => return Err(super::encoding::store_error(error)),
                None => return Ok(uid),
            }
        }
    }
}

/// So many numbers of the range that are free, looked for from where the search before ended: what was just
/// given back rests a while.
fn pick<T>(
    next: &AtomicU32,
    range: RangeInclusive<u32>,
    want: usize,
    free: impl Fn(u32) -> Option<T>,
) -> Option<Vec<T>> {
    let width = u64::from(*range.end()).checked_sub(u64::from(*range.start()))? + 1;
    let first = u64::from(next.load(Ordering::Relaxed));
    let mut picked = Vec::with_capacity(want);
    for i in 0..width {
        let offset = u32::try_from((first + i) % width).ok()?;
        if let Some(number) = free(range.start() + offset) {
            picked.push(number);
        }
        if picked.len() == want {
            next.store(offset.wrapping_add(1), Ordering::Relaxed);
            return Some(picked);
        }
    }
    None
}

fn none_left(what: &str, range: &RangeInclusive<u32>) -> Error {
    Error::failed(format!(
        "no free {what} is left between {} and {}",
        range.start(),
        range.end()
    ))
}

fn no_instance() -> Error {
    Error::internal("a reservation without its instance")
}
