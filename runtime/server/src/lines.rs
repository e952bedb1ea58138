//! Executions that wait for a place, as metrics: how many, and how old the first one is. Hides that the number of state
//! machines told of is bounded.

use std::time::{SystemTime, UNIX_EPOCH};

use stepwell_engine::{Engine, LineCount};

use crate::{
    limits::LINES_TOLD_MAX,
    metrics::{Sample, SampleKind},
};

/// Samples of the state machines with a concurrency limit. Those with the most that wait have labels of their own; the rest is
/// one of tenant and state machine `other`.
pub(crate) fn samples(engine: &Engine) -> Vec<Sample> {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_ms = since_epoch.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0));
    told(&engine.lines(), now_ms)
}

fn told(lines: &[LineCount], now_ms: u64) -> Vec<Sample> {
    let (own, rest) = lines.split_at(lines.len().min(LINES_TOLD_MAX));
    let mut waiting = Vec::new();
    let mut running = Vec::new();
    let mut oldest = Vec::new();
    for line in own {
        let age_ms = line
            .oldest
            .map_or(0, |since| now_ms.saturating_sub(since.0));
        let labels = labels(&line.tenant, &line.machine_arn);
        waiting.push((labels.clone(), line.waiting as f64));
        running.push((labels.clone(), line.running as f64));
        oldest.push((labels, age_ms as f64 / 1_000.0));
    }
    if !rest.is_empty() {
        let labels = labels("other", "other");
        let sum = |of: fn(&LineCount) -> u64| rest.iter().map(of).sum::<u64>() as f64;
        let first = rest.iter().filter_map(|line| line.oldest).min();
        let age_ms = first.map_or(0, |since| now_ms.saturating_sub(since.0));
        waiting.push((labels.clone(), sum(|line| line.waiting)));
        running.push((labels.clone(), sum(|line| line.running)));
        oldest.push((labels, age_ms as f64 / 1_000.0));
    }
    let all = [
        (
            "executions_waiting",
            "Executions that have begun and wait for a place under the concurrency limit of their state machine",
            waiting,
        ),
        (
            "executions_waiting_oldest_seconds",
            "How long the first of them has waited",
            oldest,
        ),
        (
            "executions_admitted",
            "Executions that have a place under the concurrency limit of their state machine",
            running,
        ),
    ];
    let sample = |name: &str, help: &str, labels, value| Sample {
        name: name.to_owned(),
        help: help.to_owned(),
        kind: SampleKind::Gauge,
        value,
        labels,
    };
    let each = all.into_iter().flat_map(|(name, help, values)| {
        let values = values.into_iter();
        values.map(move |(labels, value)| sample(name, help, labels, value))
    });
    each.collect()
}

fn labels(tenant: &str, machine: &str) -> Vec<(String, String)> {
    vec![
        ("tenant".to_owned(), tenant.to_owned()),
        ("state_machine".to_owned(), machine.to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use stepwell_engine::LineCount;
    use stepwell_interp::Timestamp;

    use super::{LINES_TOLD_MAX, told};

    fn line(number: usize, waiting: u64, since: u64) -> LineCount {
        LineCount {
            tenant: "000000000000".into(),
            machine_arn: format!("m{number}").into(),
            waiting,
            running: 2,
            oldest: (waiting > 0).then_some(Timestamp(since)),
        }
    }

    #[test]
    fn a_line_is_told_with_its_age() {
        let samples = told(&[line(1, 7, 1_500)], 4_000);
        let values: Vec<(&str, f64)> = samples.iter().map(|s| (&*s.name, s.value)).collect();
        let expected = [
            ("executions_waiting", 7.0),
            ("executions_waiting_oldest_seconds", 2.5),
            ("executions_admitted", 2.0),
        ];
        assert_eq!(values, expected);
        assert_eq!(samples[0].labels[1].1, "m1");
    }

    #[test]
    fn many_lines_are_bounded() {
        let many = LINES_TOLD_MAX + 50;
        let lines: Vec<LineCount> = (0..many).map(|n| line(n, 1, 1_000 + n as u64)).collect();
        let samples = told(&lines, 10_000);
        assert_eq!(samples.len(), 3 * (LINES_TOLD_MAX + 1));
        let other = &samples[LINES_TOLD_MAX];
        assert_eq!((other.labels[0].1.as_str(), other.value), ("other", 50.0));
        assert!(told(&[], 0).is_empty());
    }
}
