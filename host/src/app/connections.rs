//! What one connection may cost: how many there may be, in all and from one address, and how long one may keep
//! the host waiting to write. What a client has to send in time is the listener's to say.

use std::collections::HashMap;
use std::future::{Ready, ready};
use std::io::{self, ErrorKind, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready as poll_ready};
use std::time::Duration;

use axum_server::accept::Accept;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::model::access::subscriber;

/// What a client must take in each stretch of `write_timeout` for which more is waiting to be written to it: slower than
/// any line that people have, and fast enough that nobody holds an answer for long.
const LEAST_BYTES: usize = 64 << 10;
/// Files that the host needs for all else: its store, its plugins' sockets, its shims.
const OTHER_FILES: u64 = 512;

#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub most: usize,
    pub most_per_address: usize,
    /// How long a client may take for 64 KiB of what is written to it, or for what is left of it.
    pub write_timeout: Duration,
}

/// Lets connections in. Clones count together.
#[derive(Clone, Debug)]
pub struct Connections {
    bounds: Bounds,
    open: Arc<Open>,
}

#[derive(Debug)]
struct Open {
    by_address: Mutex<HashMap<IpAddr, usize>>,
    gauge: Gauge,
}

/// A connection's place, given back when it is dropped.
#[derive(Debug)]
struct Place {
    open: Arc<Open>,
    address: IpAddr,
}

/// A connection that has a place, and that ends when its client takes nothing any more, or next to nothing.
#[derive(Debug)]
pub struct Guarded<S> {
    stream: S,
    write_timeout: Duration,
    /// Since the client last kept the host waiting, until it has caught up.
    behind: Option<Stretch>,
    _place: Place,
}

#[derive(Debug)]
struct Stretch {
    end: Pin<Box<Sleep>>,
    taken: usize,
}

impl Connections {
    pub fn new(mut bounds: Bounds, gauge: Gauge) -> Self {
        let room = room_for(bounds.most);
        if room < bounds.most {
            tracing::warn!(
                wanted = bounds.most,
                room,
                "this process may not open enough files for `server.max_connections` (see `ulimit -n`)"
            );
            bounds.most = room;
        }
        let open = Open {
            by_address: Mutex::default(),
            gauge,
        };
        Self {
            bounds,
            open: Arc::new(open),
        }
    }

    fn enter(&self, address: IpAddr) -> Option<Place> {
        let address = subscriber(address);
        let mut by_address = self.open.by_address();
        let all: usize = usize::try_from(self.open.gauge.get()).unwrap_or(0);
        let here = by_address.get(&address).copied().unwrap_or(0);
        if all >= self.bounds.most || here >= self.bounds.most_per_address {
            return None;
        }
        by_address.insert(address, here + 1);
        self.open.gauge.inc();
        Some(Place {
            open: self.open.clone(),
            address,
        })
    }
}

impl<S> Accept<TcpStream, S> for Connections {
    type Stream = Guarded<TcpStream>;
    type Service = S;
    type Future = Ready<io::Result<(Self::Stream, S)>>;

    /// One too many is closed at once: to let it wait would cost what it is meant to save.
    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        ready(self.guard(stream).map(|stream| (stream, service)))
    }
}

impl Connections {
    fn guard(&self, stream: TcpStream) -> io::Result<Guarded<TcpStream>> {
        stream.set_nodelay(true)?;
        let address = stream.peer_addr()?.ip();
        let place = self.enter(address).ok_or(ErrorKind::ConnectionRefused)?;
        Ok(Guarded {
            stream,
            write_timeout: self.bounds.write_timeout,
            behind: None,
            _place: place,
        })
    }
}

impl Open {
    fn by_address(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        let open = &self.by_address;
        open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_address = self.open.by_address();
        if let Some(here) = by_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                by_address.remove(&self.address);
            }
        }
        self.open.gauge.dec();
    }
}

impl<S> Guarded<S> {
    /// Fail once less could be written than must be, for as long as is allowed. A byte now and then is no progress.
    fn patient(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = written {
            if let (Ok(bytes), Some(stretch)) = (&written, &mut self.behind) {
                stretch.taken += bytes;
                if stretch.taken >= LEAST_BYTES {
                    self.behind = None;
                }
            }
            return Poll::Ready(written);
        }
        let until = Instant::now() + self.write_timeout;
        let stretch = self.behind.get_or_insert_with(|| Stretch {
            end: Box::pin(sleep_until(until)),
            taken: 0,
        });
        poll_ready!(stretch.end.as_mut().poll(cx));
        Poll::Ready(Err(ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.patient(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.patient(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_ready() {
            // Nothing waits to be written: the next answer has its own time.
            self.behind = None;
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// How many connections this process can have open, once it may open as many files as it is allowed to.
fn room_for(connections: usize) -> usize {
    let wanted = u64::try_from(connections)
        .unwrap_or(u64::MAX)
        .saturating_add(OTHER_FILES);
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return connections;
    };
    let raised = wanted.clamp(soft, hard.max(soft));
    let limit = match setrlimit(Resource::RLIMIT_NOFILE, raised, hard) {
        Ok(()) => raised,
        Err(_) => soft,
    };
    let room = limit.saturating_sub(OTHER_FILES).max(limit / 4).max(1);
    usize::try_from(room).map_or(connections, |room| room.min(connections))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::interval;

    use super::*;

    fn connections(most: usize, most_per_address: usize) -> Connections {
        let bounds = Bounds {
            most,
            most_per_address,
            write_timeout: Duration::from_secs(30),
        };
        Connections::new(bounds, Gauge::default())
    }

    #[test]
    fn places_are_bounded_in_all_and_by_address_and_given_back() {
        let connections = connections(3, 2);
        let here: IpAddr = "192.0.2.1".parse().unwrap();
        let same: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        let there: IpAddr = "192.0.2.2".parse().unwrap();
        let first = connections.enter(here).unwrap();
        let second = connections.enter(same).unwrap();
        assert!(connections.enter(here).is_none());
        let third = connections.enter(there).unwrap();
        assert!(connections.enter(there).is_none());
        drop(first);
        let fourth = connections.enter(here).unwrap();
        drop((second, third, fourth));
        // A subscriber of IPv6 has 64 bits of addresses.
        let of_one = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 7, 0, 0, 0, last]);
        let both = (connections.enter(of_one(1)), connections.enter(of_one(2)));
        assert!(connections.enter(of_one(3)).is_none());
        drop(both);
        assert_eq!(connections.open.gauge.get(), 0);
        assert!(connections.open.by_address().is_empty());
    }

    fn guarded<S>(stream: S) -> Guarded<S> {
        let address = IpAddr::from([192, 0, 2, 1]);
        Guarded {
            stream,
            write_timeout: Duration::from_millis(50),
            behind: None,
            _place: connections(1, 1).enter(address).unwrap(),
        }
    }

    /// Takes so many bytes with each tick, which comes five times in a stretch; answers how many it took in all.
    async fn take(mut client: DuplexStream, bytes: usize) -> usize {
        let mut ticks = interval(Duration::from_millis(10));
        let (mut all, mut taken) = (0, vec![0; bytes]);
        loop {
            ticks.tick().await;
            match client.read(&mut taken).await {
                Ok(0) | Err(_) => return all,
                Ok(n) => all += n,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_a_byte_now_and_then_is_let_go_and_who_takes_enough_is_not() {
        let answer = vec![0; 4 * LEAST_BYTES];
        let (stream, client) = duplex(LEAST_BYTES / 2);
        let mut slow = guarded(stream);
        let taken = tokio::spawn(take(client, 1));
        let began = Instant::now();
        let refused = slow.write_all(&answer).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::TimedOut);
        assert!(began.elapsed() < 2 * slow.write_timeout);
        taken.abort();

        let (stream, client) = duplex(LEAST_BYTES / 2);
        let mut steady = guarded(stream);
        let taken = tokio::spawn(take(client, LEAST_BYTES / 4));
        steady.write_all(&answer).await.unwrap();
        assert!(began.elapsed() > 3 * steady.write_timeout, "it took long");
        drop(steady);
        assert_eq!(taken.await.unwrap(), answer.len());
    }

    #[tokio::test]
    async fn who_takes_nothing_is_let_go() {
        let (stream, mut client) = duplex(8);
        let mut guarded = guarded(stream);
        let (written, taken) = tokio::join!(guarded.write_all(&[0; 64]), async {
            let mut taken = [0; 64];
            client.read_exact(&mut taken).await.map(|_| taken)
        });
        written.unwrap();
        assert_eq!(taken.unwrap(), [0; 64]);
        let refused = guarded.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::TimedOut);
    }
}
