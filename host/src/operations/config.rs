//! What this node gives to the operations it carries out.

use std::collections::HashSet;
use std::net::{IpAddr, TcpListener};
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use jiff::Timestamp;

use super::clock::Clock;
use super::on_end::OnEnd;
use crate::model::{Error, NodeName, OperationKind, Result};

#[derive(Clone, Debug)]
pub struct NodeConfig {
    pub node: NodeName,
    /// Address that endpoints bind.
    pub endpoint_address: IpAddr,
    /// What clients are told to connect to.
    pub public_address: String,
    /// Ports that endpoints may have. Must lie below the machine's ephemeral range.
    pub ports: RangeInclusive<u16>,
    /// System users that instances may have; none when the host cannot change user.
    pub uids: Option<RangeInclusive<u32>>,
    /// Most operations that are driven at once.
    pub concurrency: usize,
    /// How long a claim holds that is not renewed.
    pub lease: Duration,
    /// How long a creation may take.
    pub create_deadline: Duration,
    /// How long a server may take to come up with other settings before it gets the old ones back.
    pub configure_deadline: Duration,
    /// How long a stopping host waits for the steps that are under way.
    pub shutdown_grace: Duration,
    pub clock: Clock,
    pub on_end: OnEnd,
}

impl NodeConfig {
    /// A node on loopback, with the usual ranges and times.
    pub fn local(node: NodeName) -> Self {
        Self {
            node,
            endpoint_address: IpAddr::from([127, 0, 0, 1]),
            public_address: "127.0.0.1".to_owned(),
            ports: 20_000..=29_999,
            uids: None,
            concurrency: 32,
            lease: Duration::from_secs(30),
            create_deadline: Duration::from_secs(600),
            configure_deadline: Duration::from_secs(600),
            shutdown_grace: Duration::from_secs(10),
            clock: Clock::system(),
            on_end: OnEnd::default(),
        }
    }

    /// When an operation of the kind that begins now must be done. What goes forward only has no deadline, and
    /// neither has a start: a server that mends what a crash left takes the time that it takes, and would
    /// begin anew if it were ended for that.
    pub fn deadline(&self, kind: OperationKind) -> Option<Timestamp> {
        match kind {
            OperationKind::Create => Some(self.clock.after(self.create_deadline)),
            OperationKind::Configure => Some(self.clock.after(self.configure_deadline)),
            OperationKind::Stop
            | OperationKind::Start
            | OperationKind::Restart
            | OperationKind::SetAccess
            | OperationKind::RenewCertificate
            | OperationKind::Delete => None,
        }
    }

    /// Whether nobody listens there. What is free now may be taken a moment later; the server says so then.
    pub fn can_bind(&self, port: u16) -> bool {
        TcpListener::bind((self.endpoint_address, port)).is_ok()
    }

    /// System users that own a process right now. Whatever they run is not an instance of ours, and an
    /// instance with such a user would be taken for it.
    pub fn busy_users() -> Result<HashSet<u32>> {
        let entries = std::fs::read_dir("/proc").map_err(Error::internal)?;
        // A process may end while it is looked at.
        Ok(entries
            .flatten()
            .filter(|entry| entry.file_name().as_encoded_bytes()[0].is_ascii_digit())
            .filter_map(|entry| Some(entry.metadata().ok()?.uid()))
            .collect())
    }
}
