//! Parts of a connection string that are the same for every engine (RFC 3986).

use std::fmt::Display;
use std::net::Ipv6Addr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::types::Endpoint;

/// All but the unreserved characters.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A text as it may stand in any part, such as the name of a database.
pub fn escape(text: &str) -> impl Display + '_ {
    utf8_percent_encode(text, ESCAPED)
}

/// Who connects, and where to: `user:password@host:port`, with an IPv6 address in brackets.
pub fn authority(endpoint: &Endpoint, user: &str, password: &str) -> String {
    let host = if endpoint.host.parse::<Ipv6Addr>().is_ok() {
        format!("[{}]", endpoint.host)
    } else {
        escape(&endpoint.host).to_string()
    };
    format!(
        "{}:{}@{host}:{}",
        escape(user),
        escape(password),
        endpoint.port
    )
}
