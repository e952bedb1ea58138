//! What of a request's body nobody has read, as of one that is refused for its head. A connection that is closed while its client
//! still sends is reset, and the answer is lost with it; so such a body is read to its end and thrown away before the answer
//! goes. What it hides: how the body comes back from whoever was to read it, and for how much and how long it is waited.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::body::HttpBody;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming, SizeHint};

use super::watched::WatchedBody;
use crate::limits::{UNREAD_BYTES_MAX, UNREAD_SILENCE_MAX, UNREAD_TIME_MAX};

type Watched = WatchedBody<Incoming>;

/// How much of an unread body is thrown away, and how long it is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) bytes: u64,
    /// Between two pieces.
    pub(super) silence: Duration,
    /// For all of it.
    pub(super) time: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            bytes: UNREAD_BYTES_MAX,
            silence: UNREAD_SILENCE_MAX,
            time: UNREAD_TIME_MAX,
        }
    }
}

/// Where a body is put by whoever drops it before its end. Clones are one place.
#[derive(Clone, Default)]
pub(super) struct Unread(Arc<Mutex<Option<Left>>>);

struct Left {
    body: Watched,
    /// Its client sends it when it is asked for (`Expect: 100-continue`), and as yet it was not: nothing of it is under way.
    unasked: bool,
}

impl Unread {
    /// Reads what is left to its end, within bounds; whether the connection stands at its next request then.
    pub(super) async fn discard(&self, patience: Patience) -> bool {
        let Some(Left { mut body, unasked }) = self.place().take() else {
            return true;
        };
        if unasked || body.size_hint().lower() > patience.bytes {
            return false;
        }
        let reading = async {
            let mut bytes = 0;
            loop {
                match tokio::time::timeout(patience.silence, body.frame()).await {
                    Ok(None) => return true,
                    Ok(Some(Ok(frame))) => {
                        bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                        if bytes > patience.bytes {
                            return false;
                        }
                    }
                    Ok(Some(Err(_))) | Err(_) => return false,
                }
            }
        };
        let read = tokio::time::timeout(patience.time, reading).await;
        read.unwrap_or(false)
    }

    fn place(&self) -> std::sync::MutexGuard<'_, Option<Left>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request's body, which is put aside when it is dropped before its end.
pub(super) struct RequestBody {
    /// Nothing once it is at its end.
    body: Option<Watched>,
    unread: Unread,
    unasked: bool,
}

impl RequestBody {
    /// `waits` says whether the client sends it when it is asked for.
    pub(super) fn new(body: Watched, unread: Unread, waits: bool) -> RequestBody {
        RequestBody {
            body: Some(body),
            unread,
            unasked: waits,
        }
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.unasked = false;
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let body = self.body.as_ref();
        body.map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let unasked = self.unasked;
        let body = self.body.take().filter(|body| !body.is_end_stream());
        if let Some(body) = body {
            *self.unread.place() = Some(Left { body, unasked });
        }
    }
}
