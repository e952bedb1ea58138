//! Identifiers of the store: plain numbers, each a type of its own.

use std::fmt;

/// An execution: ascending with its start, unique in the installation. Milliseconds since 2020-01-01 UTC (41 bits),
/// a counter (12 bits), the partition (10 bits); the top bit stays clear, since stores have signed integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(unreachable_pub, reason = "the simulation alone shows it")]
pub struct ExecutionId(pub u64);

/// A slice of all executions, owned by one node at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Partition(pub u16);

/// A fencing token: grows whenever a partition changes hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Epoch(pub u64);

/// A list that executions or activity tasks belong to: a state machine, an activity or a map run of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ScopeId(pub u64);

/// An inbox row; ascends in the order of commits within a partition. 0 lies before all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MessageId(pub u64);

/// SHA-256 of a task token's text: the store never holds what lets a stranger answer a task.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TokenHash(pub [u8; 32]);

/// 2020-01-01T00:00:00Z in Unix milliseconds, the origin of execution ids.
const ORIGIN_MS: u64 = 1_577_836_800_000;
const PARTITION_BITS: u32 = 10;
const COUNTER_BITS: u32 = 12;
/// Set in the addresses of lines. Executions get there when the milliseconds have a 41st bit, in 2054.
const LINE_BIT: u32 = 62;

impl ExecutionId {
    /// Composes an id. Times before the origin count as the origin; counter and partition are cut to their bits.
    pub(crate) fn new(started_at_ms: u64, counter: u16, partition: Partition) -> ExecutionId {
        let ms = started_at_ms.saturating_sub(ORIGIN_MS) & ((1 << 41) - 1);
        let counter = u64::from(counter) & ((1 << COUNTER_BITS) - 1);
        let partition = u64::from(partition.0) & ((1 << PARTITION_BITS) - 1);
        ExecutionId(ms << (COUNTER_BITS + PARTITION_BITS) | counter << PARTITION_BITS | partition)
    }

    /// The address of the line before the executions of a list: no execution has it. It has an inbox as executions have.
    pub(crate) fn line(list: ScopeId, partition: Partition) -> ExecutionId {
        let bits = LINE_BIT - PARTITION_BITS;
        // The last one is the outbox's.
        let stem = ((list.0 >> PARTITION_BITS) & ((1 << bits) - 1)).min((1 << bits) - 2);
        let partition = u64::from(partition.0) & ((1 << PARTITION_BITS) - 1);
        ExecutionId(1 << LINE_BIT | stem << PARTITION_BITS | partition)
    }

    /// Whether it is the address of a line.
    pub(crate) fn is_line(self) -> bool {
        self.0 >> LINE_BIT & 1 == 1 && !self.is_outbox()
    }

    /// The address of the outbox of this execution's partition: no execution and no line has it.
    pub(crate) fn outbox(self) -> ExecutionId {
        let stem = (1 << (LINE_BIT - PARTITION_BITS)) - 1;
        ExecutionId(1 << LINE_BIT | stem << PARTITION_BITS | u64::from(self.partition().0))
    }

    /// Whether it is the address of an outbox.
    pub(crate) fn is_outbox(self) -> bool {
        self == self.outbox()
    }

    /// The partition that serves this execution.
    pub(crate) fn partition(self) -> Partition {
        Partition((self.0 & ((1 << PARTITION_BITS) - 1)) as u16)
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenHash({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}
