//! Traces and logs of executions by the OpenTelemetry Protocol: spans of executions whose state machines trace, records of
//! those that log. What it hides: the thread that makes them out of events, and what it does when it lacks the events
//! before.
//!
//! Executions hand their events to a bounded queue and never wait. Open spans are in memory, those of the executions that
//! were heard of last; for another one, after a restart among them, the events before are read from the history.

mod proto;
mod records;
mod sender;
mod settings;
mod spans;

use std::{
    collections::{BTreeMap, HashMap},
    fmt, io,
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use stepwell_egress::{Client, Connector, Url};
use stepwell_engine::{Caller, Engine, Observed, Observer, PageRequest};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use super::{labelled, runtime};
use crate::{
    limits::{OTLP_EVENTS_QUEUE_MAX, SENDING_CONNECT_MAX, SENDING_TIME_MAX, TRACED_EXECUTIONS_MAX},
    metrics::{Sample, SampleKind},
};

use proto::Span;
use sender::{Outbox, Sender};
use spans::Traced;

pub use settings::OtlpSettings;

/// Where telemetry goes, and as whose.
#[derive(Clone, Debug)]
pub struct OtlpConfig {
    /// Where spans go; without it there are none.
    pub traces: Option<OtlpTarget>,
    /// Where log records go; without it there are none.
    pub logs: Option<OtlpTarget>,
    /// Attributes of the resource, `service.name` among them.
    pub resource: Vec<(String, String)>,
}

/// A collector of one signal.
#[derive(Clone)]
pub struct OtlpTarget {
    /// The whole URL, with its `/v1/traces` or `/v1/logs`.
    pub url: Url,
    pub headers: Vec<(String, String)>,
    /// For a request and its answer.
    pub timeout: Duration,
    pub gzip: bool,
}

/// Headers hold keys, and so may the URL.
impl fmt::Debug for OtlpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OtlpTarget({})", self.url.origin().ascii_serialization())
    }
}

/// See the module.
pub struct Telemetry {
    queue: mpsc::Sender<Item>,
    history: watch::Sender<Option<Engine>>,
    lost: Arc<AtomicU64>,
    traces: Option<Arc<Outbox>>,
    logs: Option<Arc<Outbox>>,
}

enum Item {
    Events(Arc<Observed>),
    /// Nothing more comes; answered when what came is sent, or given up.
    Close(oneshot::Sender<()>),
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Telemetry")
    }
}

impl Telemetry {
    /// Begins to send; the collectors need not be there.
    ///
    /// # Errors
    /// When no thread can be started, and when an address is none that can be sent to.
    pub fn start(config: OtlpConfig) -> io::Result<Telemetry> {
        let (queue, queued) = mpsc::channel(OTLP_EVENTS_QUEUE_MAX);
        let lost = Arc::<AtomicU64>::default();
        let history = watch::Sender::new(None);
        let resource: Arc<[(String, String)]> = config.resource.into();
        let connector = Connector::new().map_err(io::Error::other)?;
        let client = Client::new(connector, SENDING_CONNECT_MAX);
        let mut senders = Vec::new();
        let mut outbox = |signal, target: Option<OtlpTarget>| -> io::Result<Option<Arc<Outbox>>> {
            let Some(target) = target else {
                return Ok(None);
            };
            let outbox = Outbox::new(signal);
            let sender = Sender::new(outbox.clone(), target, client.clone(), resource.clone());
            senders.push(sender.map_err(io::Error::other)?);
            Ok(Some(outbox))
        };
        let traces = outbox("traces", config.traces)?;
        let logs = outbox("logs", config.logs)?;
        let worker = Worker {
            traces: traces.clone(),
            logs: logs.clone(),
            history: history.subscribe(),
            traced: HashMap::new(),
            order: BTreeMap::new(),
            clock: 0,
        };
        runtime::start("stepwell-otlp", move || async move {
            for sender in senders {
                tokio::spawn(sender.run());
            }
            worker.run(queued).await;
        })?;
        Ok(Telemetry {
            queue,
            history,
            lost,
            traces,
            logs,
        })
    }

    /// Tells where the events are that were recorded before it listened. What needs them waits until then.
    pub fn attach(&self, engine: Engine) {
        self.history.send_replace(Some(engine));
    }

    /// Sends what there is, but not for long.
    pub async fn close(&self) {
        let closing = async {
            let (sent, is_sent) = oneshot::channel();
            if self.queue.send(Item::Close(sent)).await.is_ok() {
                let _ = is_sent.await;
            }
        };
        if timeout(SENDING_TIME_MAX, closing).await.is_err() {
            tracing::warn!("the collector did not take all telemetry before the end");
        }
        // The engine, which tells this observer, is to be let go of.
        self.history.send_replace(None);
    }

    /// Its counts.
    pub fn samples(&self) -> Vec<Sample> {
        let outboxes = || self.traces.iter().chain(&self.logs);
        let all: Vec<[Sample; 4]> = outboxes().map(|outbox| outbox.samples()).collect();
        // Samples of one name follow each other.
        let by_name =
            (0..4_usize).flat_map(|index| all.iter().map(move |samples| samples[index].clone()));
        let lost = labelled(
            SampleKind::Counter,
            "otlp_events_dropped",
            "Events of executions that came too fast to become spans and log records",
            &[],
            self.lost.load(Relaxed),
        );
        by_name.chain([lost]).collect()
    }
}

impl Observer for Telemetry {
    fn observe(&self, observed: &Arc<Observed>) {
        let traced = self.traces.is_some() && observed.trace.is_some();
        let logged = self.logs.is_some() && observed.logging.is_some();
        if !traced && !logged {
            return;
        }
        if self.queue.try_send(Item::Events(observed.clone())).is_err() {
            let events = observed.entries.len() as u64;
            if self.lost.fetch_add(events, Relaxed) == 0 {
                tracing::warn!(
                    "spans and log records are missing: stepwell_otlp_events_dropped_total counts the events"
                );
            }
        }
    }
}

/// What makes spans and log records.
struct Worker {
    traces: Option<Arc<Outbox>>,
    logs: Option<Arc<Outbox>>,
    history: watch::Receiver<Option<Engine>>,
    /// By ARN, with the time when it was heard of.
    traced: HashMap<Arc<str>, (u64, Traced)>,
    order: BTreeMap<u64, Arc<str>>,
    /// Counts what was heard.
    clock: u64,
}

impl Worker {
    async fn run(mut self, mut queue: mpsc::Receiver<Item>) {
        while let Some(item) = queue.recv().await {
            match item {
                Item::Events(observed) => self.take(&observed).await,
                Item::Close(sent) => {
                    for outbox in self.traces.iter().chain(&self.logs) {
                        outbox.close().await;
                    }
                    let _ = sent.send(());
                    return;
                }
            }
        }
    }

    async fn take(&mut self, observed: &Observed) {
        let mut traced = self.traced(observed).await;
        let logs = self.logs.as_ref();
        let logs = logs.filter(|_| observed.logging.is_some());
        let (mut ended, mut over) = (Vec::new(), false);
        for entry in &observed.entries {
            let span = |traced: &Option<Traced>| {
                let traced = traced.as_ref().filter(|_| logs.is_some());
                traced.map(|traced| traced.span_of(entry))
            };
            let before = span(&traced);
            if let Some(traced) = &mut traced {
                let told = ended.len();
                traced.fold(entry, &mut ended);
                if observed.is_repeated(entry) {
                    ended.truncate(told);
                }
            }
            over = entry.event.what.is_ending();
            if let Some(logs) = logs {
                // What begins a span belongs to it, and what ends one does.
                let began = spans::begins(&entry.event.what);
                let span = if began { span(&traced) } else { before };
                let record = records::record(observed, entry, span);
                record
                    .iter()
                    .for_each(|record| logs.push(record.encode(now_ns())));
            }
        }
        if let Some(traces) = &self.traces {
            let spans = ended.iter().map(Span::encode);
            spans.for_each(|span| traces.push(span));
        }
        if let Some(traced) = traced.filter(|_| !over) {
            self.keep(observed.execution_arn.clone(), traced);
        }
    }

    /// The execution as the events before made it; none when it is not traced.
    async fn traced(&mut self, observed: &Observed) -> Option<Traced> {
        let context = observed.trace.filter(|_| self.traces.is_some())?;
        let known = self.traced.remove(&observed.execution_arn);
        if let Some((heard, _)) = &known {
            self.order.remove(heard);
        }
        let first = observed.entries.first()?.id;
        let known = known.map(|(_, traced)| traced);
        if let Some(traced) = known.filter(|traced| traced.next == first) {
            return Some(traced);
        }
        let mut traced = Traced::new(observed, context);
        if first > 1 && observed.is_kept() {
            self.read(observed, &mut traced, first).await;
        }
        Some(traced)
    }

    /// Folds the events before that one as the store has them. What is not there is missing in the trace.
    async fn read(&self, observed: &Observed, traced: &mut Traced, before: u64) {
        let mut history = self.history.clone();
        let attached = history.wait_for(Option::is_some).await;
        let engine = attached.ok().and_then(|engine| engine.clone());
        let Some(engine) = engine else { return };
        let caller = Caller {
            tenant: observed.tenant.clone(),
            region: observed
                .execution_arn
                .split(':')
                .nth(3)
                .unwrap_or_default()
                .into(),
        };
        let mut page = PageRequest {
            max_results: 1_000,
            next_token: None,
        };
        loop {
            let read = engine
                .history(&caller, &observed.execution_arn, false, page.clone())
                .await;
            let read = match read {
                Ok(read) => read,
                Err(error) => {
                    let execution = &*observed.execution_arn;
                    tracing::warn!(execution, %error, "a trace lacks what happened before");
                    return;
                }
            };
            // What ended before was told then.
            let mut told = Vec::new();
            let earlier = read.items.iter().filter(|entry| entry.id < before);
            earlier.for_each(|entry| traced.fold(entry, &mut told));
            match read.next_token {
                Some(next) if traced.next < before => page.next_token = Some(next),
                Some(_) | None => return,
            }
        }
    }

    fn keep(&mut self, arn: Arc<str>, traced: Traced) {
        self.clock += 1;
        self.order.insert(self.clock, arn.clone());
        self.traced.insert(arn, (self.clock, traced));
        if self.traced.len() > TRACED_EXECUTIONS_MAX
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.traced.remove(&oldest);
        }
    }
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanoseconds = since.unwrap_or_default().as_nanos();
    u64::try_from(nanoseconds).unwrap_or(u64::MAX)
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let written = encoder.write_all(body).and_then(|()| encoder.finish());
    written.expect("a Vec takes all that is written to it")
}
