//! Who may connect, brought about in a proxy that runs: what it goes by becomes what is wanted, and connections from
//! elsewhere are cut. What it goes by when it starts stands in its files, which are written before.
//!
//! Networks are added before others are taken away, one by one: who is let in before and after is let in all the
//! time, and who is let in neither before nor after never is. Repeated after a half-done change, it ends the same.
//!
//! HAProxy can also replace a list as a whole. It is not used: while both versions are there, a longer prefix in
//! the one hides a shorter in the other (seen in 2.6), and who may connect is turned away.

use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::time::Duration;

use berth_sdk::target::process;
use berth_sdk::{Error, Result};
use ipnet::IpNet;

use crate::proxy::Family;

/// Commands in one request: far from what it takes in one line.
const AT_ONCE: usize = 50;
/// A connection that is cut is gone a moment later.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const LOOKS: usize = 3;
/// What is said to nobody: it is starting, or ending.
const STARTING: Duration = Duration::from_millis(100);

/// Have the running proxy, which serves these families, go by these networks and by no others.
pub fn enforce(families: &[Family], access: &[IpNet]) -> Result<()> {
    for &family in families {
        let (wanted, present) = (family.networks(access), listed(family)?);
        tell(&difference(family, &wanted, &present))?;
        // What is said to have been done is looked at.
        if !difference(family, &wanted, &listed(family)?).is_empty() {
            return Err(Error::failed("the proxy did not take the access rules"));
        }
    }
    // Who was being let in by the old rules is listed from the second look on only: a look leaves out what was noted after
    // it was asked for, though it waits for it.
    ask("show sess")?;
    for _ in 0..LOOKS {
        let sessions = ask("show sess")?;
        let foreign: Vec<String> = foreign(&sessions, access)
            .map(|session| format!("shutdown session {session}"))
            .collect();
        if foreign.is_empty() {
            return Ok(());
        }
        tell(&foreign)?;
    }
    Err(Error::retry(
        LOOK_AGAIN,
        "connections from networks that may no longer connect are being cut",
    ))
}

/// Whether the proxy listens: it answers here once it does so everywhere.
pub fn listens() -> bool {
    ask("show version").is_ok_and(|answer| !answer.trim().is_empty())
}

/// The networks of a family that it goes by now.
fn listed(family: Family) -> Result<Vec<String>> {
    let answer = ask(&format!("show acl {}", family.list()))?;
    let mut networks = Vec::new();
    for line in answer.lines().filter(|line| !line.is_empty()) {
        // Its place in memory, and the network as it was given.
        match line.split_once(' ') {
            Some((place, network)) if place.starts_with("0x") => networks.push(network.to_owned()),
            Some(_) | None => {
                return Err(Error::failed(
                    "the proxy answers otherwise than it is understood",
                ));
            }
        }
    }
    Ok(networks)
}

/// What must be said for one list to become the other.
fn difference(family: Family, wanted: &[String], present: &[String]) -> Vec<String> {
    let say = |what: &str, network: &String| format!("{what} acl {} {network}", family.list());
    let new = wanted.iter().filter(|network| !present.contains(network));
    let old = present.iter().filter(|network| !wanted.contains(network));
    new.map(|network| say("add", network))
        .chain(old.map(|network| say("del", network)))
        .collect()
}

/// Sessions of clients that are let in no more, by the names that the proxy has for them.
fn foreign<'a>(sessions: &'a str, access: &'a [IpNet]) -> impl Iterator<Item = &'a str> {
    sessions.lines().filter_map(|line| {
        let (name, fields) = line.split_once(": ")?;
        let field = |name: &str| {
            let mut fields = fields.split(' ');
            fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
        };
        let is_client = Family::ALL
            .iter()
            .any(|family| field("fe").is_some_and(|fe| fe.ends_with(family.suffix())));
        // Whom it cannot say where he is from is not let in either.
        let source = field("src").and_then(address);
        let known = source.is_some_and(|source| access.iter().any(|net| net.contains(&source)));
        (is_client && !known).then_some(name)
    })
}

/// `IP:PORT`, without brackets around the former.
fn address(source: &str) -> Option<IpAddr> {
    source.rsplit_once(':')?.0.parse().ok()
}

fn tell(commands: &[String]) -> Result<()> {
    commands
        .chunks(AT_ONCE)
        .try_for_each(|commands| ask(&commands.join(";")).map(drop))
}

/// It answers, and hangs up.
fn ask(request: &str) -> Result<String> {
    let answer = || -> io::Result<String> {
        let mut stream = TcpStream::connect(process::OWN_ADDRESS)?;
        stream.write_all(format!("{request}\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    answer().map_err(|problem| {
        Error::retry(
            STARTING,
            format!("the proxy cannot be told its rules yet: {problem}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn what_is_new_is_added_before_what_is_old_goes() {
        let wanted = texts(&["10.0.0.0/8", "192.0.2.0/24"]);
        let present = texts(&["0.0.0.0/0", "10.0.0.0/8"]);
        assert_eq!(
            difference(Family::V4, &wanted, &present),
            [
                "add acl files/networks4 192.0.2.0/24",
                "del acl files/networks4 0.0.0.0/0"
            ]
        );
        assert!(difference(Family::V4, &wanted, &wanted).is_empty());
        assert_eq!(difference(Family::V6, &[], &present).len(), 2);
    }

    const SESSIONS: &str = "\
0x10: proto=tcpv4 src=192.0.2.7:50564 fe=sql.4 be=sql srv=member ts=00 epoch=0 age=0s
0x20: proto=tcpv4 src=198.51.100.1:50564 fe=sql.4 be=sql srv=member ts=00 epoch=0 age=0s
0x30: proto=tcpv6 src=2001:db8::1:50564 fe=sql.6 be=sql srv=member ts=00 epoch=0 age=0s
0x40: proto=tcpv6 src=::1:50564 fe=sql.6 be=<NONE> srv=<none> ts=00 epoch=0 age=0s
0x50: proto=unix_stream src=unix:1 fe=GLOBAL be=<NONE> srv=<none> ts=00 epoch=0 age=0s

";

    #[test]
    fn who_is_let_in_no_more_is_found() {
        let cut = |access: &[&str]| {
            let access: Vec<IpNet> = access.iter().map(|net| net.parse().unwrap()).collect();
            let found = foreign(SESSIONS, &access).map(str::to_owned);
            found.collect::<Vec<_>>()
        };
        assert_eq!(cut(&["0.0.0.0/0", "::/0"]), Vec::<String>::new());
        assert_eq!(cut(&["0.0.0.0/0"]), ["0x30", "0x40"]);
        assert_eq!(cut(&["192.0.2.0/24", "::1/128"]), ["0x20", "0x30"]);
        assert_eq!(cut(&["::/0"]), ["0x10", "0x20"]);
        assert_eq!(cut(&[]), ["0x10", "0x20", "0x30", "0x40"]);
    }
}
