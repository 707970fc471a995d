//! Virtual addresses and what stands behind them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open, openat};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::geteuid;
use tokio::net::{TcpStream, UnixStream};

use crate::model::instance::Endpoint;
use crate::model::plugin::MemberDial;
use crate::model::workload::Dial;
use crate::model::{Error, Result};
use crate::runtime::scope::FileScope;

use super::stream::Wire;
use super::tls;

/// The socket, in the instance's run directory, by which a service of the target's own is told things, and where
/// calls into the target reach it.
const OWN_SOCKET: &str = "target.sock";
const OWN_ADDRESS: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 0, 0, 1), 1);

/// Which virtual addresses a call may connect to, and what is dialled for each.
#[derive(Clone, Debug, Default)]
pub struct Network {
    routes: Vec<Route>,
}

#[derive(Clone, Debug)]
struct Route {
    member: String,
    port_name: String,
    address: SocketAddr,
    to: Destination,
    by_tls: bool,
}

/// What is dialled for a virtual address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A unix socket in a directory whose content cannot be trusted.
    Unix {
        dir: PathBuf,
        name: String,
        /// The user that must own the socket and listen on it.
        owner: u32,
    },
    Tcp(SocketAddr),
}

impl Network {
    /// The network of an instance: member `i` is `10.0.0.(i+1)`, its ports have the workload's numbers. The same below
    /// `10.0.1` is reached by TLS, which the host speaks.
    /// What a dial says is checked, because a target component said it.
    pub fn of(dials: &[MemberDial], endpoints: &[Endpoint], files: &FileScope) -> Result<Self> {
        let mut members: Vec<&str> = Vec::new();
        let mut routes = Vec::with_capacity(2 * dials.len());
        for dial in dials {
            let position = members
                .iter()
                .position(|m| *m == dial.member)
                .unwrap_or_else(|| {
                    members.push(&dial.member);
                    members.len() - 1
                });
            let host = u8::try_from(position + 1)
                .ok()
                .filter(|host| *host <= 250)
                .ok_or_else(|| {
                    Error::failed("the instance has more members than can be reached")
                })?;
            let to = Destination::checked(&dial.dial, endpoints, files)?;
            for by_tls in [false, true] {
                routes.push(Route {
                    member: dial.member.clone(),
                    port_name: dial.port_name.clone(),
                    address: SocketAddr::from((
                        Ipv4Addr::new(10, 0, by_tls.into(), host),
                        dial.number,
                    )),
                    to: to.clone(),
                    by_tls,
                });
            }
        }
        Ok(Self { routes })
    }

    /// The network of a call into a target: what it may have put in front of this instance, and nothing else.
    pub fn of_target(files: &FileScope) -> Self {
        let route = Route {
            member: String::new(),
            port_name: String::new(),
            address: OWN_ADDRESS.into(),
            to: Destination::of_socket(OWN_SOCKET, files),
            by_tls: false,
        };
        Self {
            routes: vec![route],
        }
    }

    /// Member, port name and virtual address of everything that can be reached. Those by TLS go without saying.
    pub fn addresses(&self) -> impl Iterator<Item = (&str, &str, SocketAddr)> {
        self.routes
            .iter()
            .filter(|r| !r.by_tls)
            .map(|r| (r.member.as_str(), r.port_name.as_str(), r.address))
    }

    /// Connect to whatever stands behind an address; none when nothing does.
    pub(super) fn dial(
        &self,
        address: SocketAddr,
    ) -> Option<impl Future<Output = io::Result<Wire>> + Send + 'static> {
        let route = self.routes.iter().find(|route| route.address == address)?;
        let (to, by_tls) = (route.to.clone(), route.by_tls);
        Some(async move {
            let wire = to.dial().await?;
            if by_tls {
                wire.by_tls().await
            } else {
                Ok(wire)
            }
        })
    }
}

impl Destination {
    fn of_socket(name: &str, files: &FileScope) -> Self {
        Self::Unix {
            dir: files.run_dir.clone(),
            name: name.to_owned(),
            owner: files.uid.unwrap_or_else(|| geteuid().as_raw()),
        }
    }

    /// A dial that certainly belongs to the instance: a socket of its own run directory, or a port that was
    /// reserved for one of its endpoints.
    pub fn checked(dial: &Dial, endpoints: &[Endpoint], files: &FileScope) -> Result<Self> {
        match dial {
            Dial::Unix(name) => {
                if !is_file_name(name) {
                    return Err(Error::failed(
                        "the target answered with a socket outside of the instance's run directory",
                    ));
                }
                Ok(Self::of_socket(name, files))
            }
            Dial::Tcp(address) => {
                let belongs = endpoints.iter().any(|endpoint| {
                    let inner = endpoint.inner_port == Some(address.port());
                    let outer = endpoint.port == address.port();
                    (address.ip().is_loopback() && (inner || outer))
                        || (outer && endpoint.bind_address.parse() == Ok(address.ip()))
                });
                if !belongs || address.ip().is_unspecified() {
                    return Err(Error::failed(
                        "the target answered with an address that is not the instance's",
                    ));
                }
                Ok(Self::Tcp(*address))
            }
        }
    }

    async fn dial(self) -> io::Result<Wire> {
        match self {
            Self::Unix { dir, name, owner } => {
                let stream = connect_unix(&dir, &name, owner)?;
                Ok(Wire::Unix(stream))
            }
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Ok(Wire::Tcp(stream))
            }
        }
    }
}

impl Wire {
    async fn by_tls(self) -> io::Result<Self> {
        let plain = match self {
            Self::Unix(stream) => tls::wrap(stream).await,
            Self::Tcp(stream) => tls::wrap(stream).await,
        };
        plain.map(Self::Unix)
    }
}

/// Connect to a socket in a directory that the instance's processes can write. They could put a link to a
/// socket of somebody else there, so links are not followed, and both the socket's owner and whoever listens
/// on it must be the instance's user.
fn connect_unix(dir: &Path, name: &str, owner: u32) -> io::Result<UnixStream> {
    let dir = open(
        dir,
        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    let listening = openat(
        &dir,
        name,
        OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    let stat = fstat(&listening)?;
    if stat.st_mode & SFlag::S_IFMT.bits() != SFlag::S_IFSOCK.bits() || stat.st_uid != owner {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    // By its descriptor, so that it is the one just looked at, and short enough whatever the path.
    let address = UnixAddr::new(&*format!("/proc/self/fd/{}", listening.as_raw_fd()))?;
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let stream = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    // At once or not at all: it is not waited for until the runtime has seen that it is connected.
    connect(stream.as_raw_fd(), &address)?;
    let stream = UnixStream::from_std(stream.into())?;
    if stream.peer_cred()?.uid() != owner {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(stream)
}

fn is_file_name(name: &str) -> bool {
    (1..=100).contains(&name.len())
        && name != "."
        && name != ".."
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::{Backlog, bind, listen};
    use wasmtime_wasi::p2::bindings::sockets::network::ErrorCode;

    use super::super::socket::refusal;
    use super::*;

    #[tokio::test]
    async fn nobody_waits_for_a_server_whose_line_is_full() {
        let dir = tempfile::tempdir().unwrap();
        let server = socket(
            AddressFamily::Unix,
            SockType::Stream,
            SockFlag::SOCK_CLOEXEC,
            None,
        );
        let server = server.unwrap();
        let address = UnixAddr::new(&dir.path().join("server")).unwrap();
        bind(server.as_raw_fd(), &address).unwrap();
        listen(&server, Backlog::new(1).unwrap()).unwrap();
        let mut line = Vec::new();
        let refused = loop {
            match connect_unix(dir.path(), "server", geteuid().as_raw()) {
                Ok(stream) => line.push(stream),
                Err(e) => break e,
            }
            assert!(line.len() < 10, "the line has no end");
        };
        assert!(!line.is_empty());
        assert!(
            matches!(refusal(&refused), ErrorCode::ConnectionRefused),
            "{refused}"
        );
    }
}
