//! `/metrics`: requests by operation, and what engine and sandbox count. What it hides: the Prometheus client and its
//! text format.

use std::{fmt, sync::Arc, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text::encode},
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use stepwell_engine::{COMMIT_BOUNDS_MS, Engine, Metrics as EngineMetrics};
use stepwell_interp::Limit;

use crate::{
    config::SandboxMetrics,
    lines,
    observe::{
        MachineMetrics,
        exposition::{describe, histogram},
    },
    tls::TlsCounts,
};

/// Content type of the exposition.
pub(crate) const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The last line of an exposition.
const END: &str = "# EOF\n";

/// One number of a component that keeps its own counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Without the prefix `stepwell_` and, for counters, without `_total`.
    pub name: String,
    pub help: String,
    pub kind: SampleKind,
    pub value: f64,
    /// Samples of one name with different labels must follow each other.
    pub labels: Vec<(String, String)>,
}

/// Whether a number only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleKind {
    Counter,
    Gauge,
}

/// How a request ended, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    /// The caller's fault (4xx).
    Refused,
    /// Ours (5xx).
    Failed,
}

/// The server's own counts, and the door to the others'.
pub(crate) struct Metrics {
    registry: Registry,
    engine: Engine,
    operations: Vec<OperationMetrics>,
    open_requests: Gauge,
    pub(crate) connections: ConnectionCounts,
    pub(crate) turns: TurnCounts,
}

/// Counts of requests that wait for others' sake, kept by those who let them wait.
#[derive(Clone, Debug, Default)]
pub(crate) struct TurnCounts {
    pub(crate) waiting: Gauge,
    pub(crate) paused: Gauge,
}

/// Counts of connections, kept by those who hold them.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectionCounts {
    pub(crate) open: Gauge,
    pub(crate) dropped: Counter,
    pub(crate) handshakes_failed: Counter,
}

/// Counts of one operation, looked up once at the start: the hot path touches atomics only.
struct OperationMetrics {
    ok: Counter,
    refused: Counter,
    failed: Counter,
    seconds: Histogram,
}

impl Metrics {
    /// `names` are the operations; [`Metrics::observe`] takes an index into them.
    pub(crate) fn new(names: &[&'static str], engine: Engine, sandbox: SandboxMetrics) -> Metrics {
        let requests = Family::<[(&'static str, &'static str); 2], Counter>::default();
        let seconds =
            Family::<[(&'static str, &'static str); 1], Histogram>::new_with_constructor(|| {
                // 100 µs to about 100 s: from a stored answer to a long poll.
                Histogram::new(exponential_buckets(0.0001, 4.0, 11))
            });
        let open_requests = Gauge::default();
        let operations = names
            .iter()
            .map(|name| {
                let of = |outcome| {
                    requests.get_or_create_owned(&[("operation", *name), ("outcome", outcome)])
                };
                OperationMetrics {
                    ok: of("ok"),
                    refused: of("refused"),
                    failed: of("failed"),
                    seconds: seconds.get_or_create_owned(&[("operation", *name)]),
                }
            })
            .collect();
        let mut registry = Registry::with_prefix("stepwell");
        registry.register(
            "api_requests",
            "Requests to the AWS API by operation and outcome",
            requests,
        );
        registry.register(
            "api_request_seconds",
            "Time to answer requests to the AWS API, by operation",
            seconds,
        );
        registry.register(
            "api_requests_open",
            "Requests to the AWS API being answered",
            open_requests.clone(),
        );
        let connections = connection_counts(&mut registry);
        let turns = turn_counts(&mut registry);
        let counted = engine.clone();
        registry.register_collector(Box::new(Borrowed(Arc::new(move || {
            let mut samples = engine_samples(&counted);
            samples.extend(trigger_samples(&counted));
            samples
        }))));
        registry.register_collector(Box::new(Borrowed(sandbox)));
        Metrics {
            registry,
            engine,
            operations,
            open_requests,
            connections,
            turns,
        }
    }

    /// Also tells of TLS.
    pub(crate) fn tell_tls(&mut self, counts: &TlsCounts) {
        self.registry.register(
            "tls_handshakes_failed",
            "TLS handshakes that failed or took too long",
            self.connections.handshakes_failed.clone(),
        );
        self.registry.register(
            "tls_certificates_replaced",
            "Times that another certificate was taken",
            counts.replaced.clone(),
        );
        self.registry.register(
            "tls_certificates_refused",
            "Times that another certificate was offered that cannot be used",
            counts.refused.clone(),
        );
        self.registry.register(
            "tls_certificate_stale",
            "1 while the certificate served is not the one in the files, which cannot be used",
            counts.stale.clone(),
        );
    }

    /// Counts a request as open until the answer is dropped.
    pub(crate) fn open(&self) -> OpenRequest<'_> {
        self.open_requests.inc();
        OpenRequest(&self.open_requests)
    }

    /// Counts an answered request of the operation of that index.
    pub(crate) fn observe(&self, operation: usize, outcome: Outcome, took: Duration) {
        let Some(metrics) = self.operations.get(operation) else {
            return;
        };
        match outcome {
            Outcome::Ok => metrics.ok.inc(),
            Outcome::Refused => metrics.refused.inc(),
            Outcome::Failed => metrics.failed.inc(),
        };
        metrics.seconds.observe(took.as_secs_f64());
    }

    /// All metrics as OpenMetrics text, `machines` among them.
    pub(crate) fn text(&self, machines: Option<&MachineMetrics>) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a String takes everything");
        if text.ends_with(END) {
            text.truncate(text.len() - END.len());
        }
        self.write_commits(&mut text);
        if let Some(machines) = machines {
            machines.write(&mut text, None);
        }
        text + END
    }

    fn write_commits(&self, text: &mut String) {
        let metrics = self.engine.metrics();
        let name = "stepwell_journal_commit_seconds";
        let help = "From handing appends to the journal until they are durable";
        describe(text, name, "histogram", help);
        let counts = (&COMMIT_BOUNDS_MS[..], &metrics.commit_times[..]);
        histogram(text, name, "", counts, metrics.commit_ms);
    }
}

/// What an account may see of the metrics: the series of its own state machines.
pub(crate) fn text_of(account: &str, machines: Option<&MachineMetrics>) -> String {
    let mut text = String::new();
    if let Some(machines) = machines {
        machines.write(&mut text, Some(account));
    }
    text + END
}

/// See [`Metrics::open`].
pub(crate) struct OpenRequest<'a>(&'a Gauge);

impl Drop for OpenRequest<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Numbers that others keep, read at each scrape.
struct Borrowed(SandboxMetrics);

impl fmt::Debug for Borrowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Borrowed")
    }
}

impl Collector for Borrowed {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let samples = (self.0)();
        for group in samples.chunk_by(|a, b| a.name == b.name && a.kind == b.kind) {
            let first = &group[0];
            let counter = ConstCounter::new(0.0_f64);
            let gauge = ConstGauge::new(0.0_f64);
            let kind = match first.kind {
                SampleKind::Counter => counter.metric_type(),
                SampleKind::Gauge => gauge.metric_type(),
            };
            let mut metric = encoder.encode_descriptor(&first.name, &first.help, None, kind)?;
            for sample in group {
                if sample.labels.is_empty() {
                    // A family without labels: its one sample ends the group.
                    match sample.kind {
                        SampleKind::Counter => ConstCounter::new(sample.value).encode(metric)?,
                        SampleKind::Gauge => ConstGauge::new(sample.value).encode(metric)?,
                    }
                    break;
                }
                let labelled = metric.encode_family(&sample.labels)?;
                match sample.kind {
                    SampleKind::Counter => ConstCounter::new(sample.value).encode(labelled)?,
                    SampleKind::Gauge => ConstGauge::new(sample.value).encode(labelled)?,
                }
            }
        }
        Ok(())
    }
}

fn sample(kind: SampleKind, name: &str, help: &str, value: u64) -> Sample {
    Sample {
        name: name.to_owned(),
        help: help.to_owned(),
        kind,
        value: value as f64,
        labels: Vec::new(),
    }
}

fn neared_samples(metrics: &EngineMetrics) -> impl Iterator<Item = Sample> {
    let neared = Limit::ALL.iter().zip(metrics.limits_neared);
    neared.map(|(limit, value)| Sample {
        labels: vec![("limit".to_owned(), limit.name().to_owned())],
        ..sample(
            SampleKind::Counter,
            "limits_neared",
            "Executions that came near a limit, by limit",
            value,
        )
    })
}

fn ended_sample(status: &str, value: u64) -> Sample {
    Sample {
        labels: vec![("status".to_owned(), status.to_owned())],
        ..sample(
            SampleKind::Counter,
            "executions_ended",
            "Executions that ended, by status",
            value,
        )
    }
}

fn trigger_samples(engine: &Engine) -> impl Iterator<Item = Sample> {
    let counts = engine.trigger_counts().into_iter();
    counts.map(|(kind, outcome, value)| Sample {
        labels: vec![
            ("kind".to_owned(), kind.name().to_owned()),
            ("outcome".to_owned(), outcome.name().to_owned()),
        ],
        ..sample(
            SampleKind::Counter,
            "triggers_fired",
            "Firings of triggers, by kind and by what became of them",
            value,
        )
    })
}

fn damaged_samples(metrics: &EngineMetrics) -> [Sample; 2] {
    let gauge = |name, help, value| sample(SampleKind::Gauge, name, help, value);
    [
        gauge(
            "executions_damaged",
            "Executions of which something stored was found damaged; the log names them",
            metrics.executions_damaged,
        ),
        gauge(
            "records_damaged",
            "State machines, activities, functions, triggers and the like that were found damaged; the log names them",
            metrics.records_damaged,
        ),
    ]
}

fn connection_counts(registry: &mut Registry) -> ConnectionCounts {
    let counts = ConnectionCounts::default();
    registry.register("connections_open", "Open connections", counts.open.clone());
    registry.register(
        "connections_dropped",
        "Silent connections that had to make room",
        counts.dropped.clone(),
    );
    counts
}

fn turn_counts(registry: &mut Registry) -> TurnCounts {
    let counts = TurnCounts::default();
    registry.register(
        "requests_waiting",
        "Requests that wait for their tenant's turn",
        counts.waiting.clone(),
    );
    registry.register(
        "requests_paused",
        "Refused requests whose answer waits, since their tenant or address asks on",
        counts.paused.clone(),
    );
    counts
}

fn engine_samples(engine: &Engine) -> Vec<Sample> {
    let metrics = engine.metrics();
    let ended = [
        ("SUCCEEDED", metrics.executions_succeeded),
        ("FAILED", metrics.executions_failed),
        ("TIMED_OUT", metrics.executions_timed_out),
        ("ABORTED", metrics.executions_aborted),
    ];
    let ended = ended.map(|(status, value)| ended_sample(status, value));
    let counter = |name, help, value| sample(SampleKind::Counter, name, help, value);
    let gauge = |name, help, value| sample(SampleKind::Gauge, name, help, value);
    let mut samples = vec![counter(
        "executions_started",
        "Executions started",
        metrics.executions_started,
    )];
    samples.extend(ended);
    samples.extend(neared_samples(&metrics));
    samples.extend(damaged_samples(&metrics));
    samples.extend([
        counter(
            "executions_redriven",
            "Redrives of executions",
            metrics.executions_redriven,
        ),
        gauge(
            "executions_loaded",
            "Executions held in memory",
            metrics.executions_loaded,
        ),
        counter(
            "tasks_dispatched",
            "Task attempts dispatched",
            metrics.tasks_dispatched,
        ),
        gauge(
            "tasks_running",
            "Task attempts that run now",
            metrics.tasks_running,
        ),
        counter(
            "journal_commits",
            "Transactions committed by the journal",
            metrics.commits,
        ),
        counter(
            "journal_appends",
            "Appends of executions in those transactions",
            metrics.appends,
        ),
        counter(
            "journal_append_bytes",
            "Bytes of events appended",
            metrics.append_bytes,
        ),
        gauge(
            "journal_queue_depth",
            "Appends that wait for the journal",
            metrics.queue_depth,
        ),
    ]);
    samples.extend(lines::samples(engine));
    samples
}
