//! The head of a reply as it was written: names in their own case and the reason, which an HTTP library does not keep.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::limits::{FIELDS_MAX, HEAD_BYTES_MAX};

/// A stream of which the first bytes that come in are copied.
pub(crate) struct Tap<S> {
    stream: S,
    copied: Copied,
}

/// The bytes so far.
#[derive(Clone, Default)]
pub(crate) struct Copied(Arc<Mutex<Vec<u8>>>);

/// Status line and fields of a final reply.
pub(crate) struct Head {
    pub(crate) reason: String,
    pub(crate) fields: Vec<(String, String)>,
}

impl<S> Tap<S> {
    pub(crate) fn new(stream: S) -> (Tap<S>, Copied) {
        let copied = Copied::default();
        let tap = Tap {
            stream,
            copied: copied.clone(),
        };
        (tap, copied)
    }
}

impl Copied {
    fn take(&self, bytes: &[u8]) {
        let mut copied = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = HEAD_BYTES_MAX.saturating_sub(copied.len());
        copied.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// The head of the reply, past those that only announce it (`100 Continue`).
    pub(crate) fn head(&self) -> Option<Head> {
        let copied = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rest = copied.as_slice();
        loop {
            let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
            let mut reply = httparse::Response::new(&mut fields);
            let httparse::Status::Complete(read) = reply.parse(rest).ok()? else {
                return None;
            };
            if reply.code.is_some_and(|code| code < 200) {
                rest = &rest[read..];
                continue;
            }
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            return Some(Head {
                reason: reply.reason.unwrap_or_default().trim().to_owned(),
                fields: reply
                    .headers
                    .iter()
                    .map(|field| (field.name.to_owned(), text(field.value)))
                    .collect(),
            });
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.copied.take(&buffer.filled()[before..]);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::Copied;

    #[test]
    fn a_head_keeps_its_names() {
        let copied = Copied::default();
        copied.take(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 418\r\nX-One: a\r\nx-ONE: ");
        assert!(copied.head().is_none());
        copied.take(b"b\r\n\r\nbody");
        let head = copied.head().unwrap();
        assert_eq!(head.reason, "");
        let fields: Vec<(&str, &str)> = head
            .fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(fields, [("X-One", "a"), ("x-ONE", "b")]);
    }
}
