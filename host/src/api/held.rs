//! A caller's place, held until what it asked for has been written to it: an answer that is taken slowly is a request
//! that is still under way. Small answers are not held: the kernel takes them at once, and who has read one may ask
//! again before the host has noticed.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::Response;
use http_body::{Frame, SizeHint};

use super::callers::Place;

/// What the kernel takes of an answer without its client's doing.
const AT_ONCE: u64 = 64 << 10;

/// The answer, whose bytes have the place with them wherever they wait.
pub fn until_written(response: Response<Body>, place: Arc<Place>) -> Response<Body> {
    let length = response.body().size_hint().upper();
    if length.is_some_and(|length| length <= AT_ONCE) {
        return response;
    }
    response.map(|body| Body::new(Held { body, place }))
}

struct Held {
    body: Body,
    place: Arc<Place>,
}

struct HeldBytes {
    bytes: Bytes,
    _place: Arc<Place>,
}

impl AsRef<[u8]> for HeldBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let held = |bytes| {
            Bytes::from_owner(HeldBytes {
                bytes,
                _place: self.place.clone(),
            })
        };
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(held))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
