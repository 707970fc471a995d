//! What a handler leaves of its request's body, read before the answer is written. A connection is closed when its
//! client has not sent a body that nobody reads, and what is sent to a closed connection makes the kernel throw away
//! what it has not delivered yet: the client would lose its answer. There are clients that send `{}` with every GET,
//! after the head and in a packet of its own.
//!
//! Never reads more than a body may have, nor longer than a body may take.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use axum::Error;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header;
use http_body::{Frame, SizeHint};
use tokio::time::timeout;

use super::Limits;

/// A body that two read, one after the other: the handler, and who reads what it has left.
#[derive(Clone)]
pub struct Unread(Arc<Mutex<Option<Body>>>);

impl Unread {
    /// Of a request that has a body. One whose client waits to be told to send it is not asked for what nobody wants.
    pub fn of(request: &mut Request) -> Option<Self> {
        let waits = request.headers().contains_key(header::EXPECT);
        if waits || request.body().is_end_stream() {
            return None;
        }
        let body = std::mem::take(request.body_mut());
        let unread = Self(Arc::new(Mutex::new(Some(body))));
        *request.body_mut() = Body::new(unread.clone());
        Some(unread)
    }

    /// Read to the end, or as far as a body may go. Whatever comes of it, the answer is given.
    pub async fn read(mut self, limits: &Limits) {
        let to_its_end = async {
            let mut read = 0;
            while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut self).poll_frame(cx)).await {
                read += frame.data_ref().map_or(0, Bytes::len);
                if read > limits.body_bytes {
                    return;
                }
            }
        };
        // One that does not arrive in time is closed upon, as it deserves.
        let _ = timeout(limits.body_timeout, to_its_end).await;
    }

    fn with<T>(&self, of: impl FnOnce(&mut Option<Body>) -> T) -> T {
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
        self.with(|body| {
            let Some(unread) = body else {
                return Poll::Ready(None);
            };
            let frame = ready!(Pin::new(unread).poll_frame(cx));
            // What has failed or ended is not asked again.
            if !matches!(frame, Some(Ok(_))) {
                *body = None;
            }
            Poll::Ready(frame)
        })
    }

    fn is_end_stream(&self) -> bool {
        self.with(|body| body.as_ref().is_none_or(HttpBody::is_end_stream))
    }

    fn size_hint(&self) -> SizeHint {
        let none = || SizeHint::with_exact(0);
        self.with(|body| body.as_ref().map_or_else(none, HttpBody::size_hint))
    }
}
