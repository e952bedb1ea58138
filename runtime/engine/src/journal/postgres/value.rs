//! Keys as PostgreSQL has them.

use crate::journal::{Partition, TokenHash};

/// A partition's number. Only numbers of partitions are ever stored there.
pub(super) fn partition(number: i32) -> Partition {
    Partition(u16::try_from(number).unwrap_or(u16::MAX))
}

/// A token's hash; one of another length, which nobody stores, is no one's.
pub(super) fn token(bytes: &[u8]) -> TokenHash {
    TokenHash(bytes.try_into().unwrap_or([0; 32]))
}
