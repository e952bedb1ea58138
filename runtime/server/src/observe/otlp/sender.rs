//! Sends what one signal brought: bounded batches, one at a time, tried again with pauses. What it hides: the queue, and
//! which answers of a collector are worth another try.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use stepwell_egress::{Client, HttpRule, Request, Url};
use tokio::{
    sync::{Notify, oneshot},
    time::{sleep, timeout},
};

use super::{OtlpTarget, proto};
use crate::{
    limits::{
        OTLP_BATCH_BYTES_MAX, OTLP_BATCH_MAX, OTLP_DELAY, OTLP_PAUSE, OTLP_PAUSE_MAX,
        OTLP_QUEUE_BYTES_MAX, OTLP_QUEUE_MAX, OTLP_TRIES_MAX, SENDING_ANSWER_BYTES_MAX,
    },
    metrics::{Sample, SampleKind},
    observe::labelled,
};

/// The queue of a signal, and its counts.
#[derive(Debug)]
pub(super) struct Outbox {
    signal: &'static str,
    queue: Mutex<Queue>,
    news: Notify,
    exported: AtomicU64,
    pub(super) dropped: AtomicU64,
    failed_requests: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Answered when all that is in the queue by then was sent or given up.
    flushes: Vec<oneshot::Sender<()>>,
    closed: bool,
}

impl Outbox {
    pub(super) fn new(signal: &'static str) -> Arc<Outbox> {
        Arc::new(Outbox {
            signal,
            queue: Mutex::default(),
            news: Notify::new(),
            exported: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            failed_requests: AtomicU64::new(0),
        })
    }

    /// Queues an encoded span or log record; what there is no room for is counted.
    pub(super) fn push(&self, item: Vec<u8>) {
        let mut queue = self.queue();
        let full = queue.items.len() >= OTLP_QUEUE_MAX || queue.bytes >= OTLP_QUEUE_BYTES_MAX;
        if full || queue.closed {
            self.dropped.fetch_add(1, Relaxed);
            return;
        }
        queue.bytes += item.len();
        queue.items.push_back(item);
        drop(queue);
        self.news.notify_one();
    }

    /// Sends what there is without waiting for more, and then no more.
    pub(super) async fn close(&self) {
        let (sent, is_sent) = oneshot::channel();
        {
            let mut queue = self.queue();
            queue.closed = true;
            queue.flushes.push(sent);
        }
        self.news.notify_one();
        let _ = is_sent.await;
    }

    pub(super) fn samples(&self) -> [Sample; 4] {
        let signal = [("signal", self.signal)];
        let counter = |name, help, value: &AtomicU64| {
            labelled(
                SampleKind::Counter,
                name,
                help,
                &signal,
                value.load(Relaxed),
            )
        };
        [
            counter(
                "otlp_exported",
                "Spans or log records that a collector took",
                &self.exported,
            ),
            counter(
                "otlp_dropped",
                "Spans or log records that were given up: no room, or no collector that took them",
                &self.dropped,
            ),
            counter(
                "otlp_requests_failed",
                "Requests to a collector that failed, each try",
                &self.failed_requests,
            ),
            labelled(
                SampleKind::Gauge,
                "otlp_queue_depth",
                "Spans or log records that wait to be sent",
                &signal,
                self.queue().items.len() as u64,
            ),
        ]
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Vec<Vec<u8>> {
        let mut queue = self.queue();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(item) = queue.items.front() {
            let more = bytes + item.len();
            if batch.len() >= OTLP_BATCH_MAX || (more > OTLP_BATCH_BYTES_MAX && !batch.is_empty()) {
                break;
            }
            bytes = more;
            batch.extend(queue.items.pop_front());
        }
        queue.bytes -= bytes;
        batch
    }
}

/// What became of a try.
enum Tried {
    Taken,
    /// Taken but for so many.
    Partly(u64),
    /// Worth another try.
    Busy(String),
    Refused(String),
}

/// See the module.
pub(super) struct Sender {
    outbox: Arc<Outbox>,
    target: OtlpTarget,
    rules: [HttpRule; 1],
    client: Client,
    resource: Arc<[(String, String)]>,
    /// The last request failed, and the log says so.
    failing: AtomicBool,
}

impl Sender {
    /// # Errors
    /// What is wrong with the collector's address.
    pub(super) fn new(
        outbox: Arc<Outbox>,
        target: OtlpTarget,
        client: Client,
        resource: Arc<[(String, String)]>,
    ) -> Result<Sender, String> {
        let rule = exactly(&target.url)?;
        Ok(Sender {
            outbox,
            target,
            rules: [rule],
            client,
            resource,
            failing: AtomicBool::new(false),
        })
    }

    /// Sends until the queue is closed and empty.
    pub(super) async fn run(self) {
        loop {
            let (empty, closed) = {
                let queue = self.outbox.queue();
                (queue.items.is_empty(), queue.closed)
            };
            if empty && closed {
                for flushed in std::mem::take(&mut self.outbox.queue().flushes) {
                    let _ = flushed.send(());
                }
                return;
            }
            if empty {
                self.outbox.news.notified().await;
                continue;
            }
            self.wait_for_more().await;
            let batch = self.outbox.take();
            self.send(&batch).await;
        }
    }

    /// Until there is a batch, some time went by, or no more is to come.
    async fn wait_for_more(&self) {
        let full = async {
            loop {
                {
                    let queue = self.outbox.queue();
                    if queue.closed || queue.items.len() >= OTLP_BATCH_MAX {
                        return;
                    }
                }
                self.outbox.news.notified().await;
            }
        };
        let _ = timeout(OTLP_DELAY, full).await;
    }

    async fn send(&self, batch: &[Vec<u8>]) {
        let items = batch.iter().map(Vec::as_slice);
        let body = proto::request(&self.resource, items);
        let request = self.request(body);
        let all = batch.len() as u64;
        let mut pause = OTLP_PAUSE;
        for number in 1..=OTLP_TRIES_MAX {
            let why = match self.attempt(&request).await {
                Tried::Taken => return self.taken(all, 0),
                Tried::Partly(rejected) => return self.taken(all, rejected.min(all)),
                Tried::Busy(why) if number < OTLP_TRIES_MAX => why,
                Tried::Busy(why) | Tried::Refused(why) => {
                    self.failed(&why);
                    break;
                }
            };
            self.failed(&why);
            // A shutdown does not wait for a collector that is not there.
            if self.outbox.queue().closed {
                break;
            }
            sleep(pause).await;
            pause = (pause * 2).min(OTLP_PAUSE_MAX);
        }
        self.outbox.dropped.fetch_add(all, Relaxed);
    }

    fn request(&self, body: Vec<u8>) -> Request {
        let mut headers = self.target.headers.clone();
        let mut set = |name: &str, value: &str| headers.push((name.to_owned(), value.to_owned()));
        set("Content-Type", "application/x-protobuf");
        set(
            "User-Agent",
            concat!("stepwell/", env!("CARGO_PKG_VERSION")),
        );
        let body = if self.target.gzip {
            set("Content-Encoding", "gzip");
            super::gzip(&body)
        } else {
            body
        };
        Request {
            method: "POST".to_owned(),
            url: self.target.url.clone(),
            headers,
            body: Some(body),
        }
    }

    async fn attempt(&self, request: &Request) -> Tried {
        let exchange = self
            .client
            .exchange(request, &self.rules, SENDING_ANSWER_BYTES_MAX);
        let response = match timeout(self.target.timeout, exchange).await {
            Ok(Ok(response)) => response,
            Ok(Err(failure)) => return Tried::Busy(failure.to_string()),
            Err(_) => {
                let seconds = self.target.timeout.as_secs_f64();
                return Tried::Busy(format!("no answer within {seconds} seconds"));
            }
        };
        let told = || format!("it answered {} {}", response.status, response.reason);
        match response.status {
            200..=299 => match proto::rejected(&response.body) {
                0 => Tried::Taken,
                rejected => Tried::Partly(rejected),
            },
            // OTLP over HTTP, "Retryable Response Codes".
            429 | 502..=504 => Tried::Busy(told()),
            _ => Tried::Refused(told()),
        }
    }

    fn taken(&self, all: u64, rejected: u64) {
        self.outbox.exported.fetch_add(all - rejected, Relaxed);
        self.outbox.dropped.fetch_add(rejected, Relaxed);
        if self.failing.swap(false, Relaxed) {
            tracing::info!(
                signal = self.outbox.signal,
                "the collector takes telemetry again"
            );
        }
    }

    fn failed(&self, why: &str) {
        self.outbox.failed_requests.fetch_add(1, Relaxed);
        if !self.failing.swap(true, Relaxed) {
            // The rest of its URL may hold a key.
            let collector = self.target.url.origin().ascii_serialization();
            tracing::warn!(
                signal = self.outbox.signal,
                collector,
                "a collector takes no telemetry: {why}; stepwell_otlp_dropped_total counts what is given up"
            );
        }
    }
}

/// The rule that lets requests go to that host and port, at whatever address: the operator named it.
fn exactly(url: &Url) -> Result<HttpRule, String> {
    let host = url.host_str().ok_or("the URL has no host")?;
    let port = url.port_or_known_default().ok_or("the URL has no port")?;
    let origin = format!("{}://{host}:{port}", url.scheme());
    HttpRule::parse(&origin, &["POST".to_owned()], None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_drops_and_counts() {
        let outbox = Outbox::new("traces");
        for _ in 0..OTLP_QUEUE_MAX + 3 {
            outbox.push(vec![0; 4]);
        }
        assert_eq!(outbox.dropped.load(Relaxed), 3);
        let batch = outbox.take();
        assert_eq!(batch.len(), OTLP_BATCH_MAX);
        outbox.push(vec![0; OTLP_QUEUE_BYTES_MAX]);
        outbox.push(vec![0; 1]);
        assert_eq!(outbox.dropped.load(Relaxed), 4, "its bytes are bounded too");
    }

    #[test]
    fn what_is_larger_than_a_batch_goes_alone() {
        let outbox = Outbox::new("logs");
        outbox.push(vec![0; 1]);
        outbox.push(vec![0; OTLP_BATCH_BYTES_MAX + 1]);
        outbox.push(vec![0; 1]);
        let sizes: Vec<usize> = std::iter::repeat_with(|| outbox.take().len())
            .take(3)
            .collect();
        assert_eq!(sizes, [1, 1, 1]);
        assert!(outbox.take().is_empty());
    }
}
