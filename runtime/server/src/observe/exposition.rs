//! Text of metrics in the form of OpenMetrics, for families that the client library has no place for: histograms that
//! others keep. What it hides: how bounds and numbers are written.

use std::fmt::{Display, Write};

pub(crate) fn describe(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = write!(text, "# HELP {name} {help}.\n# TYPE {name} {kind}\n");
}

pub(crate) fn line(text: &mut String, name: &str, labels: &str, value: impl Display) {
    let _ = if labels.is_empty() {
        writeln!(text, "{name} {value}")
    } else {
        writeln!(text, "{name}{{{labels}}} {value}")
    };
}

/// A histogram's lines; `counts` are not cumulative, the last one is of what is above the last bound.
pub(crate) fn histogram(
    text: &mut String,
    name: &str,
    labels: &str,
    (bounds_ms, counts): (&[u64], &[u64]),
    sum_ms: u64,
) {
    let mut sum = 0;
    let bounds = bounds_ms.iter().map(|bound| seconds(*bound));
    let bounds = bounds.chain([String::from("+Inf")]);
    let comma = if labels.is_empty() { "" } else { "," };
    for (bound, count) in bounds.zip(counts) {
        sum += count;
        let labels = format!("{labels}{comma}le=\"{bound}\"");
        line(text, &format!("{name}_bucket"), &labels, sum);
    }
    line(text, &format!("{name}_count"), labels, sum);
    line(text, &format!("{name}_sum"), labels, seconds(sum_ms));
}

/// Milliseconds as seconds with a point, as OpenMetrics writes bounds.
fn seconds(ms: u64) -> String {
    let digits = format!("{}.{:03}", ms / 1_000, ms % 1_000);
    let short = digits.trim_end_matches('0');
    if short.ends_with('.') {
        format!("{short}0")
    } else {
        short.to_owned()
    }
}
