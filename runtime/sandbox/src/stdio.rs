//! Captured output streams. Hides their bound: a guest's write always succeeds, what does not fit is dropped.

use crate::outcome::Tail;
use bytes::Bytes;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// What a guest may write at once.
const WRITE_BYTES_MAX: usize = 64 << 10;

/// Which part is kept when there is too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// The beginning: an output.
    Head,
    /// The end: a log, where the last lines say what went wrong.
    Tail,
}

#[derive(Clone)]
pub(crate) struct Capture(Arc<Mutex<Captured>>);

struct Captured {
    keep: Keep,
    bound: usize,
    kept: Vec<u8>,
    total: u64,
    /// Gets all that is written here as well.
    copied_to: Option<Capture>,
}

impl Capture {
    pub(crate) fn new(keep: Keep, bound: u64) -> Self {
        let bound = usize::try_from(bound).unwrap_or(usize::MAX);
        Self(Arc::new(Mutex::new(Captured {
            keep,
            bound,
            kept: Vec::new(),
            total: 0,
            copied_to: None,
        })))
    }

    /// Copies what is written from now on to another capture too: several streams in one, in the order of writing.
    pub(crate) fn copied_to(self, all: Option<&Capture>) -> Self {
        self.with(|captured| captured.copied_to = all.cloned());
        self
    }

    /// Begins anew, for another attempt.
    pub(crate) fn renew(&self, all: Option<&Capture>) {
        self.with(|captured| {
            captured.kept.clear();
            captured.total = 0;
            captured.copied_to = all.cloned();
        });
    }

    /// Adds to what was captured.
    pub(crate) fn add(&self, bytes: &[u8]) {
        self.with(|captured| captured.add(bytes));
    }

    fn with<R>(&self, f: impl FnOnce(&mut Captured) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What was kept, as bytes, and how many were written in all.
    pub(crate) fn take(&self) -> (Vec<u8>, u64) {
        self.with(|captured| {
            captured.trim();
            (std::mem::take(&mut captured.kept), captured.total)
        })
    }

    /// What was kept so far, as text.
    pub(crate) fn peek(&self) -> String {
        self.with(|captured| {
            captured.trim();
            String::from_utf8_lossy(&captured.kept).into_owned()
        })
    }

    /// What was kept, as text; it is gone from here then.
    pub(crate) fn tail(&self) -> Tail {
        let (bytes, total) = self.take();
        if total == 0 {
            return Tail::default();
        }
        let truncated = total > bytes.len() as u64;
        // A cut may have fallen inside of a character.
        let start = if truncated {
            bytes.iter().take_while(|b| (**b & 0xC0) == 0x80).count()
        } else {
            0
        };
        Tail {
            text: String::from_utf8_lossy(&bytes[start..]).into_owned(),
            truncated,
        }
    }
}

impl Captured {
    fn add(&mut self, bytes: &[u8]) {
        if let Some(all) = &self.copied_to {
            all.add(bytes);
        }
        self.total += bytes.len() as u64;
        match self.keep {
            Keep::Head => {
                let room = self.bound - self.kept.len();
                self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            Keep::Tail => {
                self.kept.extend_from_slice(bytes);
                // Trimmed at twice the bound, so that each byte moves at most once more.
                if self.kept.len() > self.bound.saturating_mul(2) {
                    self.trim();
                }
            }
        }
    }

    fn trim(&mut self) {
        let excess = self.kept.len().saturating_sub(self.bound);
        self.kept.drain(..excess);
    }
}

impl OutputStream for Capture {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.add(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Capture {
    async fn ready(&mut self) {}
}

impl AsyncWrite for Capture {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.add(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl IsTerminal for Capture {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Capture {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_kept() {
        let log = Capture::new(Keep::Tail, 4);
        for _ in 0..10 {
            log.add(b"ab\xC3\xA9");
        }
        assert_eq!(
            log.tail(),
            Tail {
                text: "ab\u{e9}".into(),
                truncated: true
            }
        );
    }

    #[test]
    fn the_beginning_of_an_output_is_kept_and_all_is_counted() {
        let output = Capture::new(Keep::Head, 3);
        output.add(b"ab");
        output.add(b"cd");
        assert_eq!(output.take(), (b"abc".to_vec(), 4));
    }

    #[test]
    fn streams_are_copied_to_one_in_the_order_of_writing() {
        let all = Capture::new(Keep::Tail, 5);
        let [out, err] = [(); 2].map(|()| Capture::new(Keep::Tail, 2).copied_to(Some(&all)));
        out.add(b"one\n");
        err.add(b"2\n");
        out.add(b"3\n");
        assert_eq!(all.tail().text, "\n2\n3\n");
        assert_eq!(err.tail().text, "2\n");
    }
}
