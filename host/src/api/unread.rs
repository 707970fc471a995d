//! What a handler leaves of its request's body, read before the answer is written. A connection is closed when its
//! client has not sent a body that nobody reads, and what is sent to a closed connection makes the kernel throw away
//! what it has not delivered yet: the client would lose its answer. There are clients that send `{}` with every GET,
//! after the head and in a packet of its own.
//!
//! Never reads on longer than a body may take since its request began; of who may not ask, only what is as good as there.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Error;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header;
use http_body::{Frame, SizeHint};
use tokio::time::timeout;

/// Who has sent more than any body may have is let finish up to here, to learn of it.
const MOST: u64 = 4 << 20;
/// The same of who may not ask.
const MOST_OF_STRANGERS: u64 = 64 << 10;
const STRANGERS_TIME: Duration = Duration::from_secs(1);

/// A body that two read, one after the other: the handler, and who reads what it has left.
#[derive(Clone)]
pub struct Unread(Arc<Mutex<State>>);

struct State {
    /// Until it has ended or failed.
    body: Option<Body>,
    /// The client waits to be told to send it, as it is when somebody begins to read.
    waits: bool,
}

impl Unread {
    /// Of a request that has a body.
    pub fn of(request: &mut Request) -> Option<Self> {
        if request.body().is_end_stream() {
            return None;
        }
        let state = State {
            body: Some(std::mem::take(request.body_mut())),
            waits: request.headers().contains_key(header::EXPECT),
        };
        let unread = Self(Arc::new(Mutex::new(state)));
        *request.body_mut() = Body::new(unread.clone());
        Some(unread)
    }

    /// Read on, for as long as there is. Whatever comes of it, the answer is given.
    pub async fn read(self, is_known: bool, time_left: Duration) {
        let (time, most) = if is_known {
            (time_left, MOST)
        } else {
            (time_left.min(STRANGERS_TIME), MOST_OF_STRANGERS)
        };
        // It would be asked for what nobody wants, or closed upon all the same.
        if self.with(|state| state.waits) || self.size_hint().lower() > most {
            return;
        }
        // One that does not arrive in time is closed upon, as it deserves.
        let _ = timeout(time, self.read_on(most)).await;
    }

    async fn read_on(mut self, most: u64) {
        let mut read = 0;
        while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut self).poll_frame(cx)).await {
            read += frame.data_ref().map_or(0, |bytes| bytes.len() as u64);
            if read > most {
                return;
            }
        }
    }

    fn with<T>(&self, of: impl FnOnce(&mut State) -> T) -> T {
        of(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl HttpBody for Unread {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.with(|state| {
            state.waits = false;
            let Some(body) = &mut state.body else {
                return Poll::Ready(None);
            };
            let frame = ready!(Pin::new(body).poll_frame(cx));
            // What has failed or ended is not asked again.
            if !matches!(frame, Some(Ok(_))) {
                state.body = None;
            }
            Poll::Ready(frame)
        })
    }

    fn is_end_stream(&self) -> bool {
        self.with(|state| state.body.as_ref().is_none_or(HttpBody::is_end_stream))
    }

    fn size_hint(&self) -> SizeHint {
        let none = || SizeHint::with_exact(0);
        self.with(|state| state.body.as_ref().map_or_else(none, HttpBody::size_hint))
    }
}
