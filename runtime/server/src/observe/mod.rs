//! Who watches the executions: counts under AWS's names, traces and logs by OTLP, events to webhooks, histories of EXPRESS ones. What
//! it hides: that there are several, and that none of them may hold up what it watches.

mod cloudwatch;
pub(crate) mod exposition;
mod express;
mod machine_metrics;
mod otlp;
mod runtime;
mod webhook;

use std::sync::Arc;

use stepwell_engine::{Observed, Observer};

use crate::metrics::{Sample, SampleKind};

pub use express::ExpressHistories;
pub(crate) use express::{ExpressExecution, ExpressPage};
pub use machine_metrics::MachineMetrics;
pub use otlp::{OtlpConfig, OtlpSettings, OtlpTarget, Telemetry};
pub use webhook::{WebhookConfig, WebhookError, Webhooks};

/// Tells each of them in turn.
#[derive(Debug)]
pub struct Observers(pub Vec<Arc<dyn Observer>>);

impl Observer for Observers {
    fn observe(&self, observed: &Arc<Observed>) {
        for observer in &self.0 {
            observer.observe(observed);
        }
    }
}

/// A number of ours under labels.
fn labelled(
    kind: SampleKind,
    name: &str,
    help: &str,
    labels: &[(&str, &str)],
    value: u64,
) -> Sample {
    let labels = labels.iter();
    Sample {
        name: name.to_owned(),
        help: help.to_owned(),
        kind,
        value: value as f64,
        labels: labels
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
    }
}
