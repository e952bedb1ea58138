//! The head of a reply as it was written: names in their own case and the reason, which an HTTP library does not keep. Bounds what
//! comes before its end, too: the library skips heads that only announce the reply (`100 Continue`), as many as there are.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::limits::{FIELDS_MAX, HEADS_BYTES_MAX, LENGTH_MAX};

/// A stream of which the heads that come in are followed. Reading fails where they are longer than they may be.
pub struct Tap<S> {
    stream: S,
    copied: Copied,
}

/// What a [`Tap`] knows of its stream. Clones know the same.
#[derive(Clone, Default)]
pub struct Copied(Arc<Mutex<Heads>>);

#[derive(Default)]
struct Heads {
    /// The head that is being read, or the last one.
    head: Vec<u8>,
    /// Where the line that is being read begins in it.
    line: usize,
    /// Bytes of all heads.
    bytes: usize,
    stage: Stage,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Reading,
    /// The reply's own head is whole; what follows is its body.
    Whole,
    TooLong,
}

/// Status line and fields of a final reply.
pub(crate) struct Head {
    pub(crate) reason: String,
    pub(crate) fields: Vec<(String, String)>,
}

impl<S> Tap<S> {
    /// Follows a connection from its beginning.
    pub fn new(stream: S) -> (Tap<S>, Copied) {
        let copied = Copied::default();
        let tap = Tap {
            stream,
            copied: copied.clone(),
        };
        (tap, copied)
    }
}

impl Heads {
    fn take(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.stage != Stage::Reading {
                return;
            }
            self.bytes += piece.len();
            if self.bytes > HEADS_BYTES_MAX {
                self.stage = Stage::TooLong;
                return;
            }
            self.head.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.line_ends();
            }
        }
    }

    fn line_ends(&mut self) {
        let empty = matches!(&self.head[self.line..], b"\n" | b"\r\n");
        let first = self.line == 0;
        self.line = self.head.len();
        if !empty {
            return;
        }
        // Empty lines before a head are no part of it.
        if first || self.announces() {
            self.head.clear();
            self.line = 0;
        } else {
            self.stage = Stage::Whole;
        }
    }

    /// Whether another head follows this one, as after `HTTP/1.1 100 Continue`. After 101 something else than HTTP does.
    fn announces(&self) -> bool {
        let status = self.head.get("HTTP/1.1 ".len()..).unwrap_or_default();
        status.starts_with(b"1") && !status.starts_with(b"101")
    }
}

impl Copied {
    fn heads(&self) -> MutexGuard<'_, Heads> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether reading failed since the heads are too long.
    pub fn too_long(&self) -> bool {
        self.heads().stage == Stage::TooLong
    }

    /// The length that a whole head says of the reply's body, where it is none that can be. The library fails as if the head were
    /// too large.
    pub fn impossible_length(&self) -> Option<u64> {
        let head = self.head()?;
        let mut lengths = head
            .fields
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .flat_map(|(_, value)| value.split(','))
            .filter_map(|length| length.trim().parse::<u64>().ok());
        lengths.find(|length| *length > LENGTH_MAX)
    }

    /// The head of the reply, past those that only announce it.
    pub(crate) fn head(&self) -> Option<Head> {
        let heads = self.heads();
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut reply = httparse::Response::new(&mut fields);
        let httparse::Status::Complete(_) = reply.parse(&heads.head).ok()? else {
            return None;
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Some(Head {
            reason: reply.reason.unwrap_or_default().trim().to_owned(),
            fields: reply
                .headers
                .iter()
                .map(|field| (field.name.to_owned(), text(field.value)))
                .collect(),
        })
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
        let mut heads = self.copied.heads();
        heads.take(&buffer.filled()[before..]);
        if heads.stage == Stage::TooLong {
            return Poll::Ready(Err(io::Error::other("the head of the reply is too long")));
        }
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

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
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
    use super::{Copied, HEADS_BYTES_MAX, Stage};

    const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

    fn take(copied: &Copied, bytes: &[u8]) -> Stage {
        let mut heads = copied.heads();
        heads.take(bytes);
        heads.stage
    }

    #[test]
    fn a_head_keeps_its_names() {
        let copied = Copied::default();
        take(
            &copied,
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 418\r\nX-One: a\r\nx-ONE: ",
        );
        assert!(copied.head().is_none());
        take(&copied, b"b\r\n\r\nbody");
        let head = copied.head().unwrap();
        assert_eq!(head.reason, "");
        let fields: Vec<(&str, &str)> = head
            .fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(fields, [("X-One", "a"), ("x-ONE", "b")]);
    }

    /// However the bytes come in.
    #[test]
    fn a_head_ends_at_its_empty_line() {
        for (text, whole) in [
            ("HTTP/1.1 200 OK\r\n\r\n", true),
            ("HTTP/1.1 200 OK\n\n", true),
            ("HTTP/1.1 204\r\n\r\n", true),
            ("\r\nHTTP/1.1 200 OK\r\nA: b\r\n\r\nHTTP/1.1 100\r\n", true),
            ("HTTP/1.1 101 Switching Protocols\r\n\r\n", true),
            ("HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n", false),
            ("HTTP/1.1 100 Continue\n\nHTTP/1.1 200 OK\nA: b\n", false),
            ("\r\n\r\n\r\n", false),
            ("HTTP/1.1 200 OK\r\nA: b\r\n\r", false),
        ] {
            for size in [1, 2, 3, text.len()] {
                let copied = Copied::default();
                for part in text.as_bytes().chunks(size) {
                    take(&copied, part);
                }
                assert_eq!(
                    copied.heads().stage == Stage::Whole,
                    whole,
                    "{text:?} by {size}"
                );
            }
        }
    }

    #[test]
    fn all_heads_together_have_a_bound_and_the_body_has_none_here() {
        let head = |bytes: usize| {
            let ends = b"HTTP/1.1 200 OK\r\nA: \r\n\r\n".len();
            let value = "a".repeat(bytes - ends);
            format!("HTTP/1.1 200 OK\r\nA: {value}\r\n\r\n").into_bytes()
        };
        for (over, stage) in [(0, Stage::Whole), (1, Stage::TooLong)] {
            for size in [CONTINUE.len() * 100, 997] {
                let announced = CONTINUE.repeat(HEADS_BYTES_MAX / CONTINUE.len() / 2);
                let last = head(HEADS_BYTES_MAX - announced.len() + over);
                let copied = Copied::default();
                for part in [announced, last].concat().chunks(size) {
                    take(&copied, part);
                }
                assert!(take(&copied, &[b'x'; HEADS_BYTES_MAX]) == stage);
                assert_eq!(copied.too_long(), over == 1);
                assert!(copied.heads().head.len() <= HEADS_BYTES_MAX);
            }
        }
        let copied = Copied::default();
        assert!(take(&copied, &CONTINUE.repeat(HEADS_BYTES_MAX)) == Stage::TooLong);
        let copied = Copied::default();
        assert!(take(&copied, &b"\r\n".repeat(HEADS_BYTES_MAX)) == Stage::TooLong);
    }
}
