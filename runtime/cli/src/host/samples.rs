//! The sandbox's counters as `/metrics` shows them. Hides their names.

use stepwell_sandbox::{Metrics, Sandbox};
use stepwell_server::{Sample, SampleKind};

pub(super) fn samples(sandbox: &Sandbox) -> Vec<Sample> {
    let metrics = sandbox.metrics();
    let mut samples: Vec<Sample> = metrics
        .ended
        .iter()
        .map(|(outcome, count)| Sample {
            labels: vec![("outcome".to_owned(), (*outcome).to_owned())],
            ..sample(
                "sandbox_attempts_ended",
                "Task attempts that ended, by outcome",
                SampleKind::Counter,
                *count as f64,
            )
        })
        .collect();
    let counts = [
        (
            "sandbox_cpu_seconds",
            "CPU time of all guests",
            metrics.cpu.as_secs_f64(),
        ),
        (
            "sandbox_input_bytes",
            "Bytes of the inputs of attempts",
            metrics.input_bytes as f64,
        ),
        (
            "sandbox_output_bytes",
            "Bytes of the outputs of attempts",
            metrics.output_bytes as f64,
        ),
        (
            "sandbox_memory_peak_bytes",
            "The most memory that each attempt held at once, added up",
            metrics.memory_peak_bytes as f64,
        ),
        (
            "sandbox_expected_long",
            "Attempts taken for long ones from their beginning, by what their plugin's had been",
            metrics.expected_long as f64,
        ),
        (
            "sandbox_compiled",
            "Plugins compiled",
            metrics.compiled as f64,
        ),
        (
            "sandbox_cache_hits",
            "Plugins taken from the compile cache",
            metrics.cache_hits as f64,
        ),
    ];
    samples.extend(host_use(&metrics));
    let gauge = |(name, help, value)| sample(name, help, SampleKind::Gauge, value);
    let counter = |(name, help, value)| sample(name, help, SampleKind::Counter, value);
    samples.extend(gauges(&metrics).map(gauge));
    samples.extend(counts.map(counter));
    samples
}

/// What guests did with their host: calls by kind, bytes by way.
fn host_use(metrics: &Metrics) -> impl Iterator<Item = Sample> + use<> {
    let host = metrics.host;
    let counter = |name: &str, help: &str, (label, of): (&str, &str), value: u64| Sample {
        labels: vec![(label.to_owned(), of.to_owned())],
        ..sample(name, help, SampleKind::Counter, value as f64)
    };
    let calls = host.calls().map(|(kind, count)| {
        let help = "Calls that guests made of their host, by kind";
        counter("sandbox_host_calls", help, ("kind", kind), count)
    });
    let sent = [("http", host.http_bytes_sent), ("tcp", host.tcp_bytes_sent)];
    let sent = sent.map(|(over, bytes)| {
        let help = "Bytes that guests sent, by protocol";
        counter("sandbox_bytes_sent", help, ("over", over), bytes)
    });
    let received = [
        ("http", host.http_bytes_received),
        ("tcp", host.tcp_bytes_received),
    ];
    let received = received.map(|(over, bytes)| {
        let help = "Bytes that guests received, by protocol";
        counter("sandbox_bytes_received", help, ("over", over), bytes)
    });
    let fuel = sample(
        "sandbox_fuel",
        "Fuel of guests that are bounded by it",
        SampleKind::Counter,
        metrics.fuel as f64,
    );
    let counts = calls.into_iter().chain(sent).chain(received);
    counts.chain([fuel])
}

/// What there is now: name, meaning, number.
fn gauges(metrics: &Metrics) -> [(&'static str, &'static str, f64); 9] {
    [
        (
            "sandbox_loaded",
            "Plugins in memory now",
            metrics.loaded as f64,
        ),
        (
            "sandbox_running",
            "Guests running now",
            metrics.running as f64,
        ),
        (
            "sandbox_waiting",
            "Calls waiting for an instance now",
            metrics.waiting as f64,
        ),
        (
            "sandbox_instances",
            "Guests that may run at once",
            f64::from(metrics.instances),
        ),
        (
            "sandbox_compiling",
            "Plugins being compiled now",
            metrics.compiling as f64,
        ),
        (
            "sandbox_kept",
            "Instances waiting for another attempt now",
            metrics.kept as f64,
        ),
        (
            "sandbox_kept_bytes",
            "Memory of instances that wait for another attempt",
            metrics.kept_bytes as f64,
        ),
        (
            "sandbox_memory_peak_max_bytes",
            "The most memory that any attempt held at once since the start",
            metrics.memory_peak_bytes_max as f64,
        ),
        (
            "sandbox_uncompiled",
            "Plugins waiting for the compiler now",
            metrics.uncompiled as f64,
        ),
    ]
}

fn sample(name: &str, help: &str, kind: SampleKind, value: f64) -> Sample {
    Sample {
        name: name.to_owned(),
        help: help.to_owned(),
        kind,
        value,
        labels: Vec::new(),
    }
}
