//! The socket resource: an outgoing connection from its birth to its end.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::pin::Pin;

use async_trait::async_trait;
use berth_bindings::sockets::wasi::sockets::tcp::{self, HostTcpSocket, ShutdownType, TcpSocket};
use berth_bindings::sockets::wasi::sockets::tcp_create_socket;
use futures::FutureExt;
use tracing::Instrument;
use wasmtime::Result;
use wasmtime::component::{HasData, Resource, ResourceTable};
use wasmtime_wasi::p2::bindings::sockets::network::{
    ErrorCode, IpAddressFamily, IpSocketAddress, Network as NetworkHandle,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, Pollable, subscribe};

use crate::trace::inner_span;

use super::dial::Network;
use super::stream::{Connection, WINDOW, Wire};

/// Sockets a call may have open at once.
const MOST_SOCKETS: u32 = 16;

/// What sockets say their own address is.
const OWN_ADDRESS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 254), 49152);

/// The sockets of one call.
#[derive(Debug, Default)]
pub struct Sockets {
    network: Network,
    open: u32,
}

/// The sockets of one call, with the table their resources live in.
pub struct SocketsView<'a> {
    pub sockets: &'a mut Sockets,
    pub table: &'a mut ResourceTable,
}

/// Names [`SocketsView`] for a linker.
pub struct HasSockets;

impl HasData for HasSockets {
    type Data<'a> = SocketsView<'a>;
}

struct Socket {
    phase: Phase,
    options: Options,
}

enum Phase {
    New,
    Connecting(Connecting, SocketAddr),
    /// Connected or not, `finish-connect` has not been asked yet.
    Answered(io::Result<Wire>, SocketAddr),
    Connected(Connection, SocketAddr),
    Closed,
}

type Connecting = Pin<Box<dyn Future<Output = io::Result<Wire>> + std::marker::Send>>;

/// Remembered, so that a component reads what it set. They mean nothing to a connection that the host makes.
struct Options {
    keep_alive: bool,
    keep_alive_idle: u64,
    keep_alive_interval: u64,
    keep_alive_count: u32,
    hop_limit: u8,
    receive_buffer: u64,
    send_buffer: u64,
}

/// An answer of the interface inside the possibility of a trap.
type Answer<T> = Result<std::result::Result<T, ErrorCode>>;

impl Sockets {
    pub fn new(network: Network) -> Self {
        Self { network, open: 0 }
    }

    /// Another call of the same component: what is open stays open.
    pub fn go_on(&mut self, network: Network) {
        self.network = network;
    }

    /// How many are open.
    pub fn open(&self) -> u32 {
        self.open
    }
}

impl SocketsView<'_> {
    fn socket(&mut self, this: &Resource<TcpSocket>) -> Result<&mut Socket> {
        Ok(self.table.get_mut(&inner(this))?)
    }
}

impl tcp_create_socket::Host for SocketsView<'_> {
    fn create_tcp_socket(&mut self, family: IpAddressFamily) -> Answer<Resource<TcpSocket>> {
        match family {
            IpAddressFamily::Ipv4 => {}
            IpAddressFamily::Ipv6 => return Ok(Err(ErrorCode::NotSupported)),
        }
        if self.sockets.open >= MOST_SOCKETS {
            return Ok(Err(ErrorCode::NewSocketLimit));
        }
        let socket = self.table.push(Socket::new())?;
        self.sockets.open += 1;
        Ok(Ok(Resource::new_own(socket.rep())))
    }
}

impl tcp::Host for SocketsView<'_> {}

impl HostTcpSocket for SocketsView<'_> {
    fn start_connect(
        &mut self,
        this: Resource<TcpSocket>,
        network: Resource<NetworkHandle>,
        remote: IpSocketAddress,
    ) -> Answer<()> {
        // The handle is the right to use the network; there is one network.
        self.table.get(&network)?;
        let address = SocketAddr::from(remote);
        let dialled = self.sockets.network.dial(address);
        let socket = self.socket(&this)?;
        match socket.phase {
            Phase::New => {}
            Phase::Connecting(..) | Phase::Answered(..) => {
                return Ok(Err(ErrorCode::ConcurrencyConflict));
            }
            Phase::Connected(..) | Phase::Closed => return Ok(Err(ErrorCode::InvalidState)),
        }
        let Some(dialled) = dialled else {
            return Ok(Err(ErrorCode::AccessDenied));
        };
        let span = inner_span!("capability", of = "socket", call = "connect");
        socket.phase = Phase::Connecting(Box::pin(dialled.instrument(span)), address);
        Ok(Ok(()))
    }

    fn finish_connect(
        &mut self,
        this: Resource<TcpSocket>,
    ) -> Answer<(Resource<DynInputStream>, Resource<DynOutputStream>)> {
        let socket = self.socket(&this)?;
        socket.advance();
        let (outcome, address) = match std::mem::replace(&mut socket.phase, Phase::Closed) {
            Phase::Answered(outcome, address) => (outcome, address),
            unfinished @ Phase::Connecting(..) => {
                socket.phase = unfinished;
                return Ok(Err(ErrorCode::WouldBlock));
            }
            other @ (Phase::New | Phase::Connected(..) | Phase::Closed) => {
                socket.phase = other;
                return Ok(Err(ErrorCode::NotInProgress));
            }
        };
        let connection = match outcome {
            Ok(wire) => Connection::new(wire),
            Err(e) => return Ok(Err(refusal(&e))),
        };
        let (input, output) = connection.streams();
        socket.phase = Phase::Connected(connection, address);
        let input: DynInputStream = Box::new(input);
        let output: DynOutputStream = Box::new(output);
        let parent = inner(&this);
        Ok(Ok((
            self.table.push_child(input, &parent)?,
            self.table.push_child(output, &parent)?,
        )))
    }

    fn shutdown(&mut self, this: Resource<TcpSocket>, how: ShutdownType) -> Answer<()> {
        let how = match how {
            ShutdownType::Receive => std::net::Shutdown::Read,
            ShutdownType::Send => std::net::Shutdown::Write,
            ShutdownType::Both => std::net::Shutdown::Both,
        };
        Ok(match &self.socket(&this)?.phase {
            Phase::Connected(connection, _) => {
                connection.shutdown(how).map_err(|e| ErrorCode::from(&e))
            }
            Phase::New | Phase::Connecting(..) | Phase::Answered(..) | Phase::Closed => {
                Err(ErrorCode::InvalidState)
            }
        })
    }

    fn subscribe(&mut self, this: Resource<TcpSocket>) -> Result<Resource<DynPollable>> {
        subscribe(self.table, inner(&this))
    }

    fn local_address(&mut self, this: Resource<TcpSocket>) -> Answer<IpSocketAddress> {
        Ok(match &self.socket(&this)?.phase {
            Phase::Connected(..) => Ok(SocketAddr::V4(OWN_ADDRESS).into()),
            Phase::New | Phase::Connecting(..) | Phase::Answered(..) | Phase::Closed => {
                Err(ErrorCode::InvalidState)
            }
        })
    }

    fn remote_address(&mut self, this: Resource<TcpSocket>) -> Answer<IpSocketAddress> {
        Ok(match &self.socket(&this)?.phase {
            Phase::Connected(_, address) => Ok((*address).into()),
            Phase::New | Phase::Connecting(..) | Phase::Answered(..) | Phase::Closed => {
                Err(ErrorCode::InvalidState)
            }
        })
    }

    fn address_family(&mut self, this: Resource<TcpSocket>) -> Result<IpAddressFamily> {
        self.socket(&this)?;
        Ok(IpAddressFamily::Ipv4)
    }

    fn drop(&mut self, this: Resource<TcpSocket>) -> Result<()> {
        self.table.delete(Resource::<Socket>::new_own(this.rep()))?;
        self.sockets.open = self.sockets.open.saturating_sub(1);
        Ok(())
    }

    // Nothing is bound, and nobody listens.

    fn start_bind(
        &mut self,
        _: Resource<TcpSocket>,
        _: Resource<NetworkHandle>,
        _: IpSocketAddress,
    ) -> Answer<()> {
        Ok(Err(ErrorCode::AccessDenied))
    }

    fn finish_bind(&mut self, _: Resource<TcpSocket>) -> Answer<()> {
        Ok(Err(ErrorCode::NotInProgress))
    }

    fn start_listen(&mut self, _: Resource<TcpSocket>) -> Answer<()> {
        Ok(Err(ErrorCode::AccessDenied))
    }

    fn finish_listen(&mut self, _: Resource<TcpSocket>) -> Answer<()> {
        Ok(Err(ErrorCode::NotInProgress))
    }

    fn accept(
        &mut self,
        _: Resource<TcpSocket>,
    ) -> Answer<(
        Resource<TcpSocket>,
        Resource<DynInputStream>,
        Resource<DynOutputStream>,
    )> {
        Ok(Err(ErrorCode::InvalidState))
    }

    fn is_listening(&mut self, this: Resource<TcpSocket>) -> Result<bool> {
        self.socket(&this)?;
        Ok(false)
    }

    fn set_listen_backlog_size(&mut self, _: Resource<TcpSocket>, _: u64) -> Answer<()> {
        Ok(Err(ErrorCode::NotSupported))
    }

    fn keep_alive_enabled(&mut self, this: Resource<TcpSocket>) -> Answer<bool> {
        Ok(Ok(self.socket(&this)?.options.keep_alive))
    }

    fn set_keep_alive_enabled(&mut self, this: Resource<TcpSocket>, value: bool) -> Answer<()> {
        self.socket(&this)?.options.keep_alive = value;
        Ok(Ok(()))
    }

    fn keep_alive_idle_time(&mut self, this: Resource<TcpSocket>) -> Answer<u64> {
        Ok(Ok(self.socket(&this)?.options.keep_alive_idle))
    }

    fn set_keep_alive_idle_time(&mut self, this: Resource<TcpSocket>, value: u64) -> Answer<()> {
        set(&mut self.socket(&this)?.options.keep_alive_idle, value)
    }

    fn keep_alive_interval(&mut self, this: Resource<TcpSocket>) -> Answer<u64> {
        Ok(Ok(self.socket(&this)?.options.keep_alive_interval))
    }

    fn set_keep_alive_interval(&mut self, this: Resource<TcpSocket>, value: u64) -> Answer<()> {
        set(&mut self.socket(&this)?.options.keep_alive_interval, value)
    }

    fn keep_alive_count(&mut self, this: Resource<TcpSocket>) -> Answer<u32> {
        Ok(Ok(self.socket(&this)?.options.keep_alive_count))
    }

    fn set_keep_alive_count(&mut self, this: Resource<TcpSocket>, value: u32) -> Answer<()> {
        set(&mut self.socket(&this)?.options.keep_alive_count, value)
    }

    fn hop_limit(&mut self, this: Resource<TcpSocket>) -> Answer<u8> {
        Ok(Ok(self.socket(&this)?.options.hop_limit))
    }

    fn set_hop_limit(&mut self, this: Resource<TcpSocket>, value: u8) -> Answer<()> {
        set(&mut self.socket(&this)?.options.hop_limit, value)
    }

    fn receive_buffer_size(&mut self, this: Resource<TcpSocket>) -> Answer<u64> {
        Ok(Ok(self.socket(&this)?.options.receive_buffer))
    }

    fn set_receive_buffer_size(&mut self, this: Resource<TcpSocket>, value: u64) -> Answer<()> {
        set(&mut self.socket(&this)?.options.receive_buffer, value)
    }

    fn send_buffer_size(&mut self, this: Resource<TcpSocket>) -> Answer<u64> {
        Ok(Ok(self.socket(&this)?.options.send_buffer))
    }

    fn set_send_buffer_size(&mut self, this: Resource<TcpSocket>, value: u64) -> Answer<()> {
        set(&mut self.socket(&this)?.options.send_buffer, value)
    }
}

impl Socket {
    fn new() -> Self {
        Self {
            phase: Phase::New,
            options: Options {
                keep_alive: false,
                keep_alive_idle: 7_200_000_000_000,
                keep_alive_interval: 75_000_000_000,
                keep_alive_count: 9,
                hop_limit: 64,
                receive_buffer: WINDOW as u64,
                send_buffer: WINDOW as u64,
            },
        }
    }

    /// Take the connection's answer, if it is there.
    fn advance(&mut self) {
        if let Phase::Connecting(connecting, address) = &mut self.phase {
            let address = *address;
            if let Some(outcome) = connecting.as_mut().now_or_never() {
                self.phase = Phase::Answered(outcome, address);
            }
        }
    }
}

#[async_trait]
impl Pollable for Socket {
    async fn ready(&mut self) {
        if let Phase::Connecting(connecting, address) = &mut self.phase {
            let address = *address;
            let outcome = connecting.as_mut().await;
            self.phase = Phase::Answered(outcome, address);
        }
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Socket")
    }
}

/// The generated type is only a name; the table holds a [`Socket`].
fn inner(this: &Resource<TcpSocket>) -> Resource<Socket> {
    Resource::new_borrow(this.rep())
}

/// Why a member was not reached. Nothing about the host is told.
pub(super) fn refusal(e: &io::Error) -> ErrorCode {
    match e.kind() {
        // A socket that is not there yet: the server has not begun to listen. Or it does not get to those who wait already.
        io::ErrorKind::NotFound | io::ErrorKind::WouldBlock => ErrorCode::ConnectionRefused,
        io::ErrorKind::PermissionDenied => ErrorCode::AccessDenied,
        _ => ErrorCode::from(e),
    }
}

fn set<T: PartialEq + Default>(option: &mut T, value: T) -> Answer<()> {
    if value == T::default() {
        return Ok(Err(ErrorCode::InvalidArgument));
    }
    *option = value;
    Ok(Ok(()))
}
