//! Bytes that go over the network: how far they are, and how long they may take. Hides how bodies are counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body_util::BodyExt;

use crate::meter::bar;

/// Bytes of a body that are sent at a time: its progress is told in such steps.
const CHUNK_BYTES: usize = 64 << 10;
/// What a transfer may take beside the time for its bytes.
const TIME_MIN: Duration = Duration::from_secs(60);
/// Bytes a second that are the least (ours): slower ones hold a command for hours.
const RATE_MIN: u64 = 16 << 10;
/// How long nothing may come at all.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// How far a transfer is. Clones count the same one.
#[derive(Clone, Default)]
pub(crate) struct Transfer(Arc<Counts>);

#[derive(Default)]
struct Counts {
    done: AtomicU64,
    all: AtomicU64,
}

impl Transfer {
    /// Begins to count anew, up to that many bytes.
    pub(crate) fn begin(&self, bytes: u64) {
        self.0.done.store(0, Ordering::Relaxed);
        self.0.all.store(bytes, Ordering::Relaxed);
    }

    fn moved(&self, bytes: usize) {
        self.0.done.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// How far it is, for people; nothing before it begins and once all has gone.
    pub(crate) fn shown(&self) -> Option<String> {
        let (done, all) = (
            self.0.done.load(Ordering::Relaxed),
            self.0.all.load(Ordering::Relaxed),
        );
        (done < all).then(|| {
            let share = done as f64 / all as f64;
            let percent = (share * 100.0).floor();
            let kilobytes = |bytes: u64| bytes.div_ceil(1_000);
            format!(
                "{} {percent:>3.0} %  {} of {} kB",
                bar(share),
                kilobytes(done),
                kilobytes(all)
            )
        })
    }

    /// A body that counts what is taken of it. It says nothing of its length.
    pub(crate) fn body(&self, bytes: Vec<u8>) -> Body {
        self.begin(bytes.len() as u64);
        let (transfer, mut left) = (self.clone(), Bytes::from(bytes));
        let chunks = std::iter::from_fn(move || {
            if left.is_empty() {
                return None;
            }
            let chunk = left.split_to(left.len().min(CHUNK_BYTES));
            transfer.moved(chunk.len());
            Some(Ok::<Bytes, std::convert::Infallible>(chunk))
        });
        Body::from_stream(futures_util::stream::iter(chunks))
    }
}

/// Why a body was not received.
#[derive(Debug, PartialEq)]
pub(crate) enum Unreceived {
    /// It has more bytes than it may.
    TooLong,
    /// It broke off.
    Broken(String),
    /// It came too slowly: so many bytes in that time.
    Slow { bytes: u64, time: Duration },
}

/// How long a transfer of that many bytes may take.
pub(crate) fn time_for(bytes: u64) -> Duration {
    TIME_MIN + Duration::from_secs(bytes / RATE_MIN)
}

/// How long a body may take.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    /// For all of it.
    pub(crate) whole: Duration,
    /// Between two parts.
    pub(crate) silence: Duration,
}

impl Patience {
    /// What a body of that many bytes has.
    pub(crate) fn for_bytes(bytes: u64) -> Patience {
        Patience {
            whole: time_for(bytes),
            silence: SILENCE_MAX,
        }
    }
}

/// A body whole, of at most that many bytes.
pub(crate) async fn received(
    mut body: Body,
    bytes_max: usize,
    patience: Patience,
    transfer: &Transfer,
) -> Result<Vec<u8>, Unreceived> {
    let began = tokio::time::Instant::now();
    let end = began + patience.whole;
    let mut bytes = Vec::new();
    loop {
        let due = end.min(tokio::time::Instant::now() + patience.silence);
        let frame = match tokio::time::timeout_at(due, body.frame()).await {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(bytes),
            Err(_) => {
                return Err(Unreceived::Slow {
                    bytes: bytes.len() as u64,
                    time: began.elapsed(),
                });
            }
        };
        let frame = frame.map_err(|error| Unreceived::Broken(error.to_string()))?;
        // Trailers are nobody's here.
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > bytes_max {
            return Err(Unreceived::TooLong);
        }
        transfer.moved(data.len());
        bytes.extend_from_slice(&data);
        if tokio::time::Instant::now() >= end {
            return Err(Unreceived::Slow {
                bytes: bytes.len() as u64,
                time: began.elapsed(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{StreamExt, stream};

    fn now<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        runtime.unwrap().block_on(work)
    }

    fn parts(count: usize) -> impl stream::Stream<Item = Result<Bytes, std::io::Error>> {
        stream::iter((0..count).map(|_| Ok(Bytes::from_static(b"ab"))))
    }

    #[test]
    fn a_body_is_counted_as_it_goes() {
        let transfer = Transfer::default();
        assert_eq!(transfer.shown(), None);
        let bytes = vec![7; 3 * CHUNK_BYTES / 2];
        let mut body = transfer.body(bytes.clone());
        assert!(transfer.shown().unwrap().ends_with("0 of 99 kB"));
        now(async {
            let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(first.len(), CHUNK_BYTES);
            let half = transfer.shown().unwrap();
            assert!(half.contains(" 66 %  66 of 99 kB"), "{half}");
            let rest = body.collect().await.unwrap().to_bytes();
            assert_eq!(first.len() + rest.len(), bytes.len());
        });
        assert_eq!(transfer.shown(), None, "all has gone");
    }

    #[test]
    fn a_body_is_received_whole_and_bounded() {
        let patience = Patience::for_bytes(1_000);
        let take = |count, most| {
            let body = Body::from_stream(parts(count));
            now(received(body, most, patience, &Transfer::default()))
        };
        assert_eq!(take(3, 6), Ok(b"ababab".to_vec()));
        assert_eq!(take(3, 5), Err(Unreceived::TooLong));
    }

    #[test]
    fn what_drips_ends() {
        // It would never end of itself: one part comes, and then none any more, or one after the other for ever.
        let none_more = Body::from_stream(parts(1).chain(stream::pending()));
        let patience = Patience {
            whole: Duration::from_secs(3_600),
            silence: Duration::from_millis(20),
        };
        let taken = now(received(none_more, 100, patience, &Transfer::default()));
        assert!(
            matches!(taken, Err(Unreceived::Slow { bytes: 2, .. })),
            "{taken:?}"
        );
        let for_ever = Body::from_stream(parts(usize::MAX));
        let patience = Patience {
            whole: Duration::ZERO,
            silence: Duration::from_secs(3_600),
        };
        let taken = now(received(
            for_ever,
            usize::MAX,
            patience,
            &Transfer::default(),
        ));
        assert!(matches!(taken, Err(Unreceived::Slow { .. })), "{taken:?}");
    }

    #[test]
    fn large_plugins_have_longer() {
        assert_eq!(time_for(0), Duration::from_secs(60));
        assert_eq!(time_for(100 << 20), Duration::from_secs(60 + 6_400));
    }
}
