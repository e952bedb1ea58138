//! Numbers, times and keys as PostgreSQL has them.

use stepwell_interp::Timestamp;

use crate::journal::{Partition, TokenHash};

/// A number: the same 64 bits, signed.
pub(super) fn int(number: u64) -> i64 {
    number.cast_signed()
}

/// A time: ordered, so that what lies beyond the range becomes its end.
pub(super) fn ms(time: Timestamp) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

/// A partition's number. Only numbers of partitions are ever stored there.
pub(super) fn partition(number: i32) -> Partition {
    Partition(u16::try_from(number).unwrap_or(u16::MAX))
}

/// A token's hash; one of another length, which nobody stores, is no one's.
pub(super) fn token(bytes: &[u8]) -> TokenHash {
    TokenHash(bytes.try_into().unwrap_or([0; 32]))
}
