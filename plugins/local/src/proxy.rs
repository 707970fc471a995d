//! The proxy in front of an instance's members: what it is told, and how it is run. Pure.
//!
//! It is HAProxy in TCP mode. It sees bytes and no protocol, so it is the same for every engine, and TLS goes
//! through it from the client to the server.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use berth_sdk::target::process::{self, Service};
use berth_sdk::types::{Command, Endpoint};
use berth_sdk::{Error, Result};
use ipnet::IpNet;

use crate::layout;
use crate::render::{LOOPBACK, Rendered};

/// Its name among the members. No plan of an engine can have it: it begins with a digit.
pub const MEMBER: &str = "0-proxy";

const PROGRAM: &str = "haproxy";
/// The oldest major that is known to do.
const VERSION: &str = "2";
const CONFIG: &str = "proxy.cfg";
/// It ends at once; this is for a machine that is busy.
const STOP_GRACE_MS: u32 = 5_000;
/// Two for each connection: about 4000 of those, which is what engines are to be limited to.
const MOST_FILES: u32 = 8192;
/// Connections on which nothing was said for so long are dropped.
const IDLE: &str = "6h";

/// IPv4 and IPv6 apart. HAProxy would find an IPv4 client in a network of IPv6 that holds the addresses for IPv4,
/// `::/0` among them, and a client of 6to4 in one of IPv4; and either is its own decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// The proxy of one instance.
pub struct Proxy<'a> {
    run_dir: &'a str,
    endpoints: Vec<(&'a Endpoint, IpAddr, u16)>,
}

impl Family {
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// The file of its networks, as the proxy names it: it works in its member's directory.
    pub fn list(self) -> &'static str {
        match self {
            Self::V4 => "files/networks4",
            Self::V6 => "files/networks6",
        }
    }

    /// What the names of its frontends end with. No endpoint's name has a dot.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::V4 => ".4",
            Self::V6 => ".6",
        }
    }

    /// The networks of this family, in the one way that they are written.
    pub fn networks(self, access: &[IpNet]) -> Vec<String> {
        let own = access.iter().filter(|net| Self::of(net.addr()) == self);
        let mut texts: Vec<String> = own.map(|net| net.trunc().to_string()).collect();
        texts.sort();
        texts.dedup();
        texts
    }
}

/// Networks as the host gives them.
pub fn networks(access: &[String]) -> Result<Vec<IpNet>> {
    let parse = |text: &String| {
        text.parse()
            .map_err(|_| Error::failed(format!("{text:?} is not a network")))
    };
    access.iter().map(parse).collect()
}

/// What it goes by when it starts, a list for each family.
pub fn lists(access: &[IpNet]) -> impl Iterator<Item = Rendered> {
    Family::ALL.into_iter().map(|family| {
        let mut content = family.networks(access).join("\n");
        if !content.is_empty() {
            content.push('\n');
        }
        Rendered {
            path: format!("{}/{}", layout::member(MEMBER), family.list()),
            content,
            sensitive: false,
        }
    })
}

impl<'a> Proxy<'a> {
    /// None when no endpoint has an inner port.
    pub fn of(run_dir: &'a str, endpoints: &'a [Endpoint]) -> Result<Option<Self>> {
        let fronted = endpoints
            .iter()
            .filter_map(|endpoint| Some((endpoint, endpoint.inner_port?)))
            .map(|(endpoint, inner)| {
                let bind = endpoint.bind_address.parse().map_err(|_| {
                    Error::failed(format!(
                        "{:?} is not an address to bind",
                        endpoint.bind_address
                    ))
                })?;
                Ok((endpoint, bind, inner))
            });
        let endpoints: Vec<_> = fronted.collect::<Result<_>>()?;
        Ok((!endpoints.is_empty()).then_some(Self { run_dir, endpoints }))
    }

    /// The families of addresses that it listens on. It knows the lists of no other.
    pub fn families(&self) -> Vec<Family> {
        let listens = |family: &Family| {
            let mut binds = self.endpoints.iter().flat_map(|(_, bind, _)| binds(*bind));
            binds.any(|(bound, _)| bound == *family)
        };
        Family::ALL.into_iter().filter(listens).collect()
    }

    pub fn config(&self) -> Rendered {
        Rendered {
            path: layout::file(MEMBER, CONFIG),
            content: self.text(),
            sensitive: false,
        }
    }

    pub fn service(&self) -> Service {
        // Other endpoints make another service, which starts anew; another text for the same ones does not.
        let endpoints = self.endpoints.iter().map(|(endpoint, bind, inner)| {
            let Endpoint { name, port, .. } = endpoint;
            format!("{name}={bind}/{port}/{inner}")
        });
        Service {
            main: Command::new(PROGRAM, VERSION)
                .args(["-db", "-f", &format!("files/{CONFIG}")])
                .env("ENDPOINTS", endpoints.collect::<Vec<_>>().join(" ")),
            init: None,
            work_dir: layout::member(MEMBER),
            stale_files: Vec::new(),
            stop_signal: "TERM".into(),
            stop_grace_ms: STOP_GRACE_MS,
        }
    }

    /// Two threads: with one it gets less of a busy machine than its clients and its server, which are several. A
    /// client that is being let in by one of them is seen by a look at who is connected: that waits for both.
    fn text(&self) -> String {
        let socket = quoted(&format!("{}/{}", self.run_dir, process::OWN_SOCKET));
        let mut text = format!(
            "global
  nbthread 2
  fd-hard-limit {MOST_FILES}
  log stderr format raw daemon warning
  stats socket {socket} mode 600 level admin
defaults
  mode tcp
  timeout connect 5s
  timeout client {IDLE}
  timeout server {IDLE}
  retries 0
  option clitcpka
  option srvtcpka
"
        );
        for (endpoint, bind, inner) in &self.endpoints {
            let Endpoint { name, port, .. } = endpoint;
            for (family, address) in binds(*bind) {
                let (suffix, list) = (family.suffix(), family.list());
                let only = match family {
                    Family::V4 => "",
                    Family::V6 => " v6only",
                };
                // Writing to a string cannot fail.
                let _written = write!(
                    text,
                    "frontend {name}{suffix}
  bind {address}:{port}{only}
  acl known src -f {list}
  tcp-request connection reject unless known
  default_backend {name}
"
                );
            }
            let _written = write!(text, "backend {name}\n  server member {LOOPBACK}:{inner}\n");
        }
        text
    }
}

/// Both families, where the address stands for both.
fn binds(address: IpAddr) -> Vec<(Family, String)> {
    let v4 = |address: Ipv4Addr| (Family::V4, address.to_string());
    let v6 = |address: Ipv6Addr| (Family::V6, format!("[{address}]"));
    match address {
        IpAddr::V4(address) => vec![v4(address)],
        IpAddr::V6(address) if address.is_unspecified() => {
            vec![v4(Ipv4Addr::UNSPECIFIED), v6(address)]
        }
        IpAddr::V6(address) => vec![v6(address)],
    }
}

/// As one word of the configuration, whatever is in it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(bind: &str, inner_port: Option<u16>) -> Endpoint {
        Endpoint {
            name: "sql".into(),
            member: "node-0".into(),
            port_name: "sql".into(),
            bind_address: bind.into(),
            host: "db.example.com".into(),
            port: 20_001,
            inner_port,
            for_members: false,
        }
    }

    fn text(bind: &str) -> String {
        let endpoints = [endpoint(bind, Some(20_002))];
        let proxy = Proxy::of("/d/run/1", &endpoints).unwrap().unwrap();
        proxy.config().content
    }

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        networks(&texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn only_endpoints_with_an_inner_port_have_a_proxy() {
        let old = [endpoint("127.0.0.1", None)];
        assert!(Proxy::of("/r", &old).unwrap().is_none());
        let members = Endpoint {
            name: "bus".into(),
            for_members: true,
            ..endpoint("127.0.0.1", None)
        };
        let both = [endpoint("127.0.0.1", Some(20_002)), members];
        let text = Proxy::of("/r", &both).unwrap().unwrap().config().content;
        assert!(text.contains("backend sql") && !text.contains("bus"));
        let odd = [endpoint("localhost", Some(1))];
        assert!(Proxy::of("/r", &odd).is_err());
    }

    #[test]
    fn it_binds_what_the_endpoint_says() {
        let four = text("127.0.0.1");
        assert!(four.contains("frontend sql.4\n  bind 127.0.0.1:20001\n"));
        assert!(four.contains("  acl known src -f files/networks4\n"));
        assert!(four.contains("backend sql\n  server member 127.0.0.1:20002\n"));
        assert!(!four.contains("sql.6"));
        let six = text("2001:db8::1");
        assert!(six.contains("frontend sql.6\n  bind [2001:db8::1]:20001 v6only\n"));
        assert!(!six.contains("sql.4"));
        let families = |bind: &str| {
            let endpoints = [endpoint(bind, Some(20_002))];
            Proxy::of("/r", &endpoints).unwrap().unwrap().families()
        };
        assert_eq!(families("127.0.0.1"), [Family::V4]);
        assert_eq!(families("::1"), [Family::V6]);
        assert_eq!(families("::"), Family::ALL);
        let both = text("::");
        assert!(both.contains("bind 0.0.0.0:20001\n"));
        assert!(both.contains("bind [::]:20001 v6only\n"));
    }

    #[test]
    fn everybody_is_refused_but_the_known() {
        for bind in ["0.0.0.0", "::"] {
            let text = text(bind);
            let frontends = text.matches("frontend ").count();
            let refusals = text.matches("tcp-request connection reject unless known");
            assert_eq!(refusals.count(), frontends);
        }
    }

    #[test]
    fn networks_stand_in_the_list_of_their_family() {
        let access = nets(&["::/0", "10.0.0.0/8", "10.0.0.0/8", "192.0.2.7/32"]);
        let lists: Vec<_> = lists(&access).map(|l| (l.path, l.content)).collect();
        assert_eq!(
            lists[0],
            (
                "0-proxy/files/networks4".into(),
                "10.0.0.0/8\n192.0.2.7/32\n".into()
            )
        );
        assert_eq!(
            lists[1],
            ("0-proxy/files/networks6".into(), "::/0\n".into())
        );
        assert_eq!(super::lists(&[]).next().unwrap().content, "");
        assert!(networks(&["10.0.0.0".into()]).is_err());
    }

    #[test]
    fn other_endpoints_are_another_service() {
        let service = |endpoints: &[Endpoint]| {
            let service = Proxy::of("/r", endpoints).unwrap().unwrap().service();
            (service.main.args, service.main.env)
        };
        let one = [endpoint("127.0.0.1", Some(20_002))];
        let other = [endpoint("127.0.0.1", Some(20_003))];
        assert_eq!(service(&one), service(&one));
        assert_ne!(service(&one), service(&other));
    }

    #[test]
    fn odd_directories_are_one_word() {
        assert_eq!(quoted("/a b/$c"), "'/a b/$c'");
        assert_eq!(quoted("/it's"), r"'/it'\''s'");
    }
}
