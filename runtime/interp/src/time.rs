//! Points in time as the interpreter sees them: numbers that the caller brings, never a clock.

use std::fmt;

use jiff::{Timestamp as Instant, fmt::temporal::DateTimePrinter};

/// Milliseconds since the Unix epoch, UTC. The years 1970 to 9999 are printable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This moment and so many milliseconds; saturates.
    pub fn plus_ms(self, ms: u64) -> Timestamp {
        Timestamp(self.0.saturating_add(ms))
    }

    /// This moment and so many seconds; saturates.
    pub fn plus_secs(self, secs: u64) -> Timestamp {
        self.plus_ms(secs.saturating_mul(1_000))
    }

    /// Milliseconds from `earlier` to this moment, 0 when it is not earlier.
    pub fn since_ms(self, earlier: Timestamp) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Rounded up to the millisecond, so that a deadline is never early; before 1970 it is 1970.
impl From<Instant> for Timestamp {
    fn from(instant: Instant) -> Timestamp {
        let ms = (instant.as_nanosecond().max(0) + 999_999) / 1_000_000;
        Timestamp(u64::try_from(ms).unwrap_or(u64::MAX))
    }
}

/// `2026-01-31T12:00:00.000Z`: the form of the context object and of the history.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));
        let ms = i64::try_from(self.0).unwrap_or(i64::MAX);
        let instant = Instant::from_millisecond(ms).unwrap_or(Instant::MAX);
        f.write_str(&PRINTER.timestamp_to_string(&instant))
    }
}
