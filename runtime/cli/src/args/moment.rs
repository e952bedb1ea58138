//! Moments as people write them. Hides the clock and the time zone that they are told by.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Unit, Zoned};

/// `2026-01-31T12:00:00Z`, the beginning of a day here, or as long ago as `2h`.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    before(&Zoned::now(), text.trim())
}

/// The day of a moment that is written in the same forms. It is one of UTC, and so are `today` and `yesterday`.
pub(super) fn utc_day(text: &str) -> Result<Date, String> {
    utc_day_before(Timestamp::now(), text.trim())
}

fn utc_day_before(now: Timestamp, text: &str) -> Result<Date, String> {
    let at = before(&now.to_zoned(TimeZone::UTC), text)?;
    Ok(at.to_zoned(TimeZone::UTC).date())
}

/// The moment that is meant at a time.
fn before(now: &Zoned, text: &str) -> Result<Timestamp, String> {
    let wrong = || {
        "a time is 2026-01-31T12:00:00Z, 2026-01-31, today, yesterday, or as long ago as 90m, 2h, 3d"
            .to_owned()
    };
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let day = match text {
        "now" => return Ok(now.timestamp()),
        "today" => Some(now.date()),
        "yesterday" => now.date().yesterday().ok(),
        other => other.parse::<Date>().ok(),
    };
    if let Some(day) = day {
        let start = day.to_zoned(now.time_zone().clone());
        return start.map(|start| start.timestamp()).map_err(|_| wrong());
    }
    ago(text)
        .and_then(|ago| now.timestamp().checked_sub(ago).ok())
        .ok_or_else(wrong)
}

/// `90m`, `2h`, `3d`, `1d 12h`, with or without `ago`. A day has 24 hours.
fn ago(text: &str) -> Option<SignedDuration> {
    let text = text.strip_suffix(" ago").unwrap_or(text);
    let span = text.parse::<jiff::Span>().ok()?;
    let total = span.total((Unit::Second, jiff::SpanRelativeTo::days_are_24_hours()));
    let seconds = total.ok().filter(|seconds| *seconds >= 0.0)?;
    SignedDuration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::{before, utc_day_before};
    use jiff::{Timestamp, tz::TimeZone};

    #[test]
    fn a_moment_is_of_a_day_in_utc() {
        let now: Timestamp = "2026-03-10T01:30:00Z".parse().expect("a time");
        for (text, meant) in [
            ("2026-01-31", Some("2026-01-31")),
            ("2026-01-31T00:30:00+01:00", Some("2026-01-30")),
            ("today", Some("2026-03-10")),
            ("yesterday", Some("2026-03-09")),
            ("2h", Some("2026-03-09")),
            ("3d", Some("2026-03-07")),
            ("2026-13-01", None),
        ] {
            let found = utc_day_before(now, text).ok();
            assert_eq!(found.map(|day| day.to_string()).as_deref(), meant, "{text}");
        }
    }

    #[test]
    fn moments_are_times_days_or_as_long_ago() {
        let now: Timestamp = "2026-03-10T01:30:00Z".parse().expect("a time");
        let now = now.to_zoned(TimeZone::fixed(jiff::tz::offset(2)));
        for (text, meant) in [
            ("2026-01-31T12:00:00Z", Some("2026-01-31T12:00:00Z")),
            ("2026-01-31T12:00:00+01:00", Some("2026-01-31T11:00:00Z")),
            ("2026-01-31", Some("2026-01-30T22:00:00Z")),
            ("now", Some("2026-03-10T01:30:00Z")),
            ("today", Some("2026-03-09T22:00:00Z")),
            ("yesterday", Some("2026-03-08T22:00:00Z")),
            ("90m", Some("2026-03-10T00:00:00Z")),
            ("2h ago", Some("2026-03-09T23:30:00Z")),
            ("1d 1h", Some("2026-03-09T00:30:00Z")),
            ("-2h", None),
            ("tomorrow", None),
            ("2026-02-30", None),
            ("", None),
        ] {
            let found = before(&now, text).ok();
            assert_eq!(found.map(|at| at.to_string()).as_deref(), meant, "{text}");
        }
    }
}
