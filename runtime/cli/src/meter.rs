//! How far a map run is: a bar, a rate and the remaining time, from counts that are asked for now and then. Knows no
//! terminal and no clock.

use std::collections::VecDeque;

use serde_json::Value;

use crate::timeline::duration_text;

/// The rate is that of the last so many milliseconds.
const WINDOW_MS: u64 = 10_000;
/// Characters of a bar.
const BAR_CHARS: usize = 20;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter {
    now: Counts,
    /// When how many items were done, oldest first.
    seen: VecDeque<(u64, u64)>,
}

/// Items of a map run, as the server counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    done: u64,
    failed: u64,
    running: u64,
    /// In all: known once all were read, before that by how much of the source they took.
    expected: Option<u64>,
    is_known: bool,
    is_over: bool,
}

impl Meter {
    /// Takes what the server tells of a map run.
    pub(crate) fn take(&mut self, at_ms: u64, told: &Value) {
        let count = |name: &str| told["items"][name].as_u64().unwrap_or(0);
        let failed = count("failed") + count("timedOut") + count("aborted");
        let expected = told["expectedItems"].as_u64();
        self.now = Counts {
            done: count("succeeded") + failed,
            failed,
            running: count("running"),
            expected,
            is_known: expected == Some(count("total")),
            is_over: told["status"]
                .as_str()
                .is_some_and(|status| status != "RUNNING"),
        };
        self.seen.push_back((at_ms, self.now.done));
        let old = |seen: &(u64, u64)| seen.0 + WINDOW_MS < at_ms;
        while self.seen.len() > 2 && self.seen.front().is_some_and(old) {
            self.seen.pop_front();
        }
    }

    /// Whether nothing will change any more.
    pub(crate) fn is_over(&self) -> bool {
        self.now.is_over
    }

    /// Items a second of late; none before there is something to tell it by.
    fn rate(&self) -> Option<f64> {
        let (first, last) = (self.seen.front()?, self.seen.back()?);
        let seconds = last.0.checked_sub(first.0).filter(|ms| *ms > 0)? as f64 / 1_000.0;
        let items = last.1.saturating_sub(first.1);
        (items > 0).then(|| items as f64 / seconds)
    }

    /// What is shown while it runs.
    pub(crate) fn live(&self) -> String {
        let Counts {
            done,
            running,
            expected,
            is_known,
            ..
        } = self.now;
        let expected = expected.filter(|expected| *expected > 0);
        let mut text = String::new();
        if let Some(expected) = expected {
            let share = (done as f64 / expected as f64).min(1.0);
            let percent = (share * 100.0).floor();
            text.push_str(&format!("{} {percent:>3.0} %  ", bar(share)));
        }
        if let Some(rate) = self.rate() {
            if let Some(left) = expected.and_then(|expected| expected.checked_sub(done)) {
                let seconds = (left as f64 / rate).ceil() as u64;
                text.push_str(&format!("{} left  ", duration(seconds)));
            }
            text.push_str(&format!("{}/s  ", grouped(rate.round() as u64)));
        }
        text.push_str(&grouped(done));
        if let Some(expected) = expected {
            let about = if is_known { "" } else { "about " };
            text.push_str(&format!(" of {about}{}", grouped(expected)));
        }
        text.push_str(" items");
        self.add_failed(&mut text);
        if running > 0 {
            text.push_str(&format!(", {} running", grouped(running)));
        }
        text
    }

    /// What is said once it is over.
    pub(crate) fn summary(&self) -> String {
        let mut text = format!("{} items", grouped(self.now.done));
        self.add_failed(&mut text);
        text
    }

    fn add_failed(&self, text: &mut String) {
        if self.now.failed > 0 {
            text.push_str(&format!(", {} failed", grouped(self.now.failed)));
        }
    }
}

/// A share from 0 to 1 as a bar.
pub(crate) fn bar(share: f64) -> String {
    let full = (share * BAR_CHARS as f64).floor() as usize;
    format!(
        "{}{}",
        "█".repeat(full),
        "░".repeat(BAR_CHARS - full.min(BAR_CHARS))
    )
}

/// Whole seconds.
fn duration(seconds: u64) -> String {
    if seconds < 60 {
        return format!("{seconds} s");
    }
    duration_text(seconds * 1_000)
}

/// `1,000,000`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(done: u64, total: u64, expected: u64) -> Value {
        let items = json!({"succeeded": done, "failed": 0, "running": 40, "total": total});
        json!({"status": "RUNNING", "items": items, "expectedItems": expected})
    }

    #[test]
    fn tells_bar_rate_and_what_is_left() {
        let mut meter = Meter::default();
        meter.take(0, &told(0, 1_000, 1_000_000));
        assert_eq!(
            meter.live(),
            "░░░░░░░░░░░░░░░░░░░░   0 %  0 of about 1,000,000 items, 40 running"
        );
        meter.take(5_000, &told(250_000, 260_000, 1_000_000));
        assert_eq!(
            meter.live(),
            "█████░░░░░░░░░░░░░░░  25 %  15 s left  50,000/s  250,000 of about 1,000,000 items, 40 running"
        );
        let mut last = told(1_000_000, 1_000_000, 1_000_000);
        last["items"]["failed"] = json!(2);
        last["status"] = json!("SUCCEEDED");
        meter.take(20_000, &last);
        assert!(meter.is_over());
        assert_eq!(meter.summary(), "1,000,002 items, 2 failed");
    }

    #[test]
    fn a_rate_is_that_of_late() {
        let mut meter = Meter::default();
        for second in 0..60 {
            let done = if second < 30 {
                second * 1_000
            } else {
                30_000 + (second - 30) * 10
            };
            meter.take(second * 1_000, &told(done, 100_000, 100_000));
        }
        assert_eq!(meter.rate(), Some(10.0));
        assert!(meter.live().contains("1 h 56 min left  10/s"));
    }

    #[test]
    fn without_a_total_there_is_no_bar() {
        let mut meter = Meter::default();
        meter.take(0, &json!({"status": "RUNNING", "items": {"succeeded": 7}}));
        assert_eq!(meter.live(), "7 items");
    }
}
