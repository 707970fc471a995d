//! Who may connect: networks from which clients are let in, at every endpoint of an instance.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::{Error, Result};

/// Most rules of an instance.
pub const MOST_RULES: usize = 100;
/// Longest description, in characters.
pub const LONGEST_DESCRIPTION: usize = 200;

/// A network, written as an address and the length of its prefix, with no bits set after the prefix. IPv4 addresses
/// inside IPv6 are IPv4.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String)]
pub struct Network(IpNet);

/// What belongs to one subscriber: an address, and with IPv6 the 64 bits that everybody has to themselves.
pub fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

/// One rule: clients from this network are let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRule {
    pub network: Network,
    pub description: String,
}

impl AccessRule {
    /// What a new instance has: everybody with an IPv4 address.
    pub fn everybody() -> Self {
        Self {
            network: Network(IpNet::V4(Ipv4Net::default())),
            description: "Allow All".to_owned(),
        }
    }
}

impl Network {
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Network {
    type Err = Error;

    /// A network, or one address.
    fn from_str(text: &str) -> Result<Self> {
        let net = match text.parse::<IpAddr>() {
            Ok(address) => Some(IpNet::from(address.to_canonical())),
            Err(_) => text.parse::<IpNet>().ok().and_then(canonical),
        };
        net.map(|net| Self(net.trunc())).ok_or_else(|| {
            Error::invalid_field(
                "ip",
                "is not a network",
                "an address and the length of its prefix, such as 192.0.2.0/24 or 2001:db8::/32",
            )
        })
    }
}

/// An IPv4 network that is written as one of IPv6, as the network it is.
fn canonical(net: IpNet) -> Option<IpNet> {
    let IpAddr::V6(address) = net.addr() else {
        return Some(net);
    };
    match (address.to_ipv4_mapped(), net.prefix_len().checked_sub(96)) {
        (Some(v4), Some(prefix)) => IpNet::new(IpAddr::V4(v4), prefix).ok(),
        (Some(_) | None, _) => Some(net),
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl TryFrom<String> for Network {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscriber_is_an_address_or_64_bits_of_them() {
        let of = |text: &str| subscriber(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[test]
    fn networks_are_written_in_one_way() {
        for (text, expected) in [
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("192.0.2.7", "192.0.2.7/32"),
            ("192.0.2.7/24", "192.0.2.0/24"),
            ("2001:DB8::1", "2001:db8::1/128"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), expected);
        }
        for bad in [
            "",
            "a",
            "1.2.3",
            "1.2.3.4/33",
            "1.2.3.4/-1",
            "::/129",
            " 1.2.3.4",
        ] {
            assert!(bad.parse::<Network>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_a_network_contains() {
        let all = AccessRule::everybody().network;
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(all.contains(address("198.51.100.1")));
        assert!(all.contains(address("::ffff:198.51.100.1")));
        assert!(!all.contains(address("2001:db8::1")));
    }
}
