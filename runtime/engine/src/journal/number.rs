//! Numbers and times as SQL databases have them.

use stepwell_interp::Timestamp;

/// A number: the same 64 bits, signed.
pub(super) fn int(number: u64) -> i64 {
    number.cast_signed()
}

/// A time: ordered, so that what lies beyond the range becomes its end.
pub(super) fn ms(time: Timestamp) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}
