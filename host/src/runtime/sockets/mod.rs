//! The host's own `wasi:sockets/tcp`: a component connects with its language's plain sockets to the virtual
//! address of a member, and the host dials whatever reaches that member. Every other address is denied;
//! there is no listening and no binding.
//!
//! WASI 0.2 has no way to turn Nagle's algorithm off, which costs 40 ms per exchange of a driver that writes
//! twice before it reads. Connections made here never wait for it.

mod dial;
mod socket;
mod stream;
mod tls;

pub use dial::{Destination, Network};
pub(super) use socket::{HasSockets, Sockets, SocketsView};
