//! Several servers as one cluster: each owns a range of slots, and all know each other. They tell clients the endpoints
//! of each other, and talk among themselves by ways that no client has, where a certificate of the instance's own is asked for.
//!
//! Nothing here undoes anything: what a call that was cut off left behind is found and gone on with.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_sdk::engine::Instance;
use berth_sdk::types::Endpoint;
use berth_sdk::{Error, Result};

use crate::plan::{bus_endpoint, client_endpoint};
use crate::session::Session;
use crate::shards::Shards;

/// Into how many slots keys fall.
const SLOTS: u32 = 16_384;

/// How soon to look again at servers that are finding each other, which takes them a second or two.
const SOON: Duration = Duration::from_millis(100);

/// What a server says of one that it knows, itself among them.
#[derive(Debug, PartialEq, Eq)]
struct Node {
    id: String,
    is_itself: bool,
    /// Known by more than an address.
    is_met: bool,
    epoch: u64,
    has_slots: bool,
}

/// Have the servers own their slots and know each other. `retry-after` until they are one.
pub fn form(instance: &Instance, shards: &mut Shards) -> Result<()> {
    let mut known = Vec::new();
    for session in shards.each() {
        known.push(nodes(session)?);
    }
    let count = u32::try_from(known.len()).unwrap_or(u32::MAX);
    let mut ids = Vec::new();
    for nodes in &known {
        let itself = nodes.iter().find(|node| node.is_itself);
        let itself = itself.ok_or_else(|| Error::failed("a server does not know itself"))?;
        ids.push(itself.id.as_str());
    }
    // While they know nobody: of two who claim a slot, the later epoch has it.
    for (nth, (session, nodes)) in (0..).zip(shards.each().zip(&known)) {
        let [itself] = nodes.as_slice() else { continue };
        if !itself.has_slots {
            let (first, last) = range(nth, count);
            let mut add = redis::cmd("CLUSTER");
            add.arg("ADDSLOTSRANGE").arg(first).arg(last);
            session.ask::<()>("giving a shard its slots", &add)?;
        }
        if itself.epoch == 0 {
            let mut set = redis::cmd("CLUSTER");
            set.arg("SET-CONFIG-EPOCH").arg(nth + 1);
            session.ask::<()>("numbering a shard", &set)?;
        }
    }
    let introductions = introductions(&known, &ids);
    for (nth, session) in shards.each().enumerate() {
        for (_, other) in introductions.iter().filter(|(by, _)| *by == nth) {
            // Said again it changes nothing, and an introduction may get lost.
            session.ask::<()>("introducing the shards", &meet(instance, *other)?)?;
        }
    }
    for session in shards.each() {
        if !is_whole(session, count)? {
            return Err(Error::retry(SOON, "the shards are finding each other"));
        }
    }
    // They write down whom they know without waiting for the disk, and nobody would introduce them again.
    let mut save = redis::cmd("CLUSTER");
    save.arg("SAVECONFIG");
    let mut each = shards.each();
    each.try_for_each(|session| session.ask::<()>("writing the shards down", &save))
}

/// Who is to be introduced by whom to whom, by their places. One of two is enough; it is the other one where that was
/// killed before it wrote down whom it met: it takes no word from whom it does not know, however often it is greeted.
fn introductions(known: &[Vec<Node>], ids: &[&str]) -> Vec<(usize, usize)> {
    let knows = |nth: usize, other: usize| {
        let mut nodes = known[nth].iter();
        nodes.any(|node| node.is_met && node.id == ids[other])
    };
    let mut all = Vec::new();
    for nth in 0..ids.len() {
        for other in nth + 1..ids.len() {
            if !knows(nth, other) {
                all.push((nth, other));
            } else if !knows(other, nth) {
                all.push((other, nth));
            }
        }
    }
    all
}

/// Whether a server takes itself for a part of the whole, and serves clients.
pub fn is_whole(session: &mut Session, shards: u32) -> Result<bool> {
    let mut info = redis::cmd("CLUSTER");
    info.arg("INFO");
    let text: String = session.ask("looking at the cluster", &info)?;
    Ok(says_whole(&text, shards))
}

/// One that knows nobody is content with itself: what counts is who has how many slots.
fn says_whole(info: &str, shards: u32) -> bool {
    let lines = info.lines().filter_map(|line| line.split_once(':'));
    let fields: BTreeMap<&str, &str> = lines.map(|(name, value)| (name, value.trim())).collect();
    let number = |name: &str| fields.get(name).and_then(|text| text.parse::<u32>().ok());
    fields.get("cluster_state") == Some(&"ok")
        && number("cluster_slots_assigned") == Some(SLOTS)
        && number("cluster_size") == Some(shards)
}

/// The slots of a shard: the first and the last of them.
fn range(nth: u32, shards: u32) -> (u32, u32) {
    let begin = |nth: u32| nth * SLOTS / shards;
    (begin(nth), begin(nth + 1) - 1)
}

/// The command that introduces a server to another one, who is told no password.
fn meet(instance: &Instance, nth: usize) -> Result<redis::Cmd> {
    let find = |name: String| -> Result<&Endpoint> {
        let found = instance.endpoints.iter().find(|e| e.name == name);
        found.ok_or_else(|| Error::failed(format!("there is no endpoint {name}")))
    };
    let (bus, clients) = (find(bus_endpoint(nth))?, find(client_endpoint(nth))?);
    let mut command = redis::cmd("CLUSTER");
    command
        .arg("MEET")
        .arg(&bus.host)
        .arg(clients.port)
        .arg(bus.port);
    Ok(command)
}

fn nodes(session: &mut Session) -> Result<Vec<Node>> {
    let mut command = redis::cmd("CLUSTER");
    command.arg("NODES");
    let text: String = session.ask("looking at the shards", &command)?;
    let nodes: Option<Vec<Node>> = text.lines().map(node).collect();
    nodes.ok_or_else(|| {
        Error::failed("a server tells of its cluster otherwise than it is understood")
    })
}

/// `ID ADDRESS FLAGS MASTER PING PONG EPOCH LINK SLOT…`
fn node(line: &str) -> Option<Node> {
    let mut words = line.split(' ');
    let id = words.next().filter(|id| !id.is_empty())?;
    let flags: Vec<&str> = words.nth(1)?.split(',').collect();
    let epoch = words.nth(3)?.parse().ok()?;
    // How the link to it is.
    words.next()?;
    Some(Node {
        id: id.to_owned(),
        is_itself: flags.contains(&"myself"),
        is_met: !flags.contains(&"handshake") && !flags.contains(&"noaddr"),
        epoch,
        has_slots: words.next().is_some(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_is_somebodys_and_nobody_has_many_more() {
        for shards in 1..=16 {
            let mut next = 0;
            for nth in 0..shards {
                let (first, last) = range(nth, shards);
                assert_eq!(first, next);
                assert!((SLOTS / shards..=SLOTS / shards + 1).contains(&(last + 1 - first)));
                next = last + 1;
            }
            assert_eq!(next, SLOTS);
        }
    }

    #[test]
    fn what_a_server_says_of_others_is_read() {
        let itself = "64e9 127.0.0.1:0@32022,db.example.org,tls-port=32012,shard-id=40b6 myself,master - 0 0 2 connected 5461-10922";
        let read = node(itself).unwrap();
        assert!(read.is_itself && read.is_met && read.has_slots);
        assert_eq!((&*read.id, read.epoch), ("64e9", 2));
        let fresh = node("c823 :31011@31021 myself,master - 0 0 0 connected").unwrap();
        assert!(fresh.is_itself && !fresh.has_slots && fresh.epoch == 0);
        let met = node("881f 127.0.0.1:1@2 handshake - 0 0 0 disconnected").unwrap();
        assert!(!met.is_met && !met.is_itself);
        for odd in ["", "64e9", "64e9 a master - 0 0 x connected"] {
            assert!(node(odd).is_none(), "{odd}");
        }
    }

    #[test]
    fn whoever_does_not_know_the_other_introduces_itself() {
        let node = |id: &str| Node {
            id: id.into(),
            is_itself: false,
            is_met: !id.is_empty(),
            epoch: 1,
            has_slots: true,
        };
        let ids = ["a", "b", "c"];
        let all = |known: [&[&str]; 3]| {
            let known = known.map(|ids| ids.iter().map(|id| node(id)).collect());
            introductions(&known, &ids)
        };
        assert_eq!(all([&["a"], &["b"], &["c"]]), [(0, 1), (0, 2), (1, 2)]);
        assert_eq!(
            all([&["a", "b", "c"], &["b", "c"], &["c", "b"]]),
            [(1, 0), (2, 0)]
        );
        assert_eq!(
            all([&["a", "b", "c"], &["a", "b", "c"], &["a", "b", "c"]]),
            []
        );
        // Somebody of whom no more than an address is known is not known.
        assert_eq!(
            all([&["a", "b", ""], &["a", "b", "c"], &["a", "b", "c"]]),
            [(0, 2)]
        );
    }

    #[test]
    fn one_alone_is_not_the_whole() {
        let info = |state: &str, slots: u32, size: u32| {
            format!(
                "cluster_state:{state}\r\ncluster_slots_assigned:{slots}\r\ncluster_size:{size}\r\n"
            )
        };
        assert!(says_whole(&info("ok", SLOTS, 3), 3));
        for odd in [
            info("fail", SLOTS, 3),
            info("ok", 5461, 3),
            info("ok", SLOTS, 2),
            String::new(),
        ] {
            assert!(!says_whole(&odd, 3), "{odd}");
        }
    }
}
