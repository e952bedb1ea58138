//! Amounts: what was used, by day, tenant, state machine and plugin. Hides how counts are added.
//!
//! Each write carries what it adds, and lands with it or not at all: so usage is as durable as what was used, and counted
//! once.

use std::{collections::BTreeMap, ops::AddAssign, sync::Arc};

use stepwell_interp::Timestamp;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Meter {
    /// Executions started.
    Executions,
    /// Executions that went on after they had ended.
    Redrives,
    /// Executions that ended; after a redrive once more.
    Ended,
    /// States entered, and retries.
    Transitions,
    /// Attempts that plugins ended.
    Tasks,
    /// CPU time of plugins, microseconds.
    CpuMicros,
    /// Memory that attempts of plugins held at most, times how long they ran: MiB milliseconds.
    MemoryTime,
    /// Bytes of JSON given to plugins.
    BytesIn,
    /// Bytes of JSON that plugins gave.
    BytesOut,
    /// Bytes stored: events and large values.
    BytesStored,
    /// Fuel of plugins that are bounded by it.
    Fuel,
    /// Calls that plugins made of their host: log, heartbeat, config, secrets, HTTP requests, TCP connections, files.
    HostCalls,
    /// Bytes that plugins sent over HTTP and TCP.
    BytesSent,
    /// Bytes that plugins received over HTTP and TCP.
    BytesReceived,
}

impl Meter {
    /// All meters, in the order in which they are stored.
    pub const ALL: [Meter; 14] = [
        Meter::Executions,
        Meter::Redrives,
        Meter::Ended,
        Meter::Transitions,
        Meter::Tasks,
        Meter::CpuMicros,
        Meter::MemoryTime,
        Meter::BytesIn,
        Meter::BytesOut,
        Meter::BytesStored,
        Meter::Fuel,
        Meter::HostCalls,
        Meter::BytesSent,
        Meter::BytesReceived,
    ];
}

/// Counts of all meters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts(pub(crate) [u64; Meter::ALL.len()]);

impl Amounts {
    /// These counts, and none of the others.
    pub fn of(counts: &[(Meter, u64)]) -> Amounts {
        let mut amounts = Amounts::default();
        for (meter, count) in counts {
            amounts.add(*meter, *count);
        }
        amounts
    }

    /// One meter's count.
    pub fn get(&self, meter: Meter) -> u64 {
        self.0[meter as usize]
    }

    /// Executions that have not ended.
    pub fn open(&self) -> u64 {
        let begun = self
            .get(Meter::Executions)
            .saturating_add(self.get(Meter::Redrives));
        // Those that were begun before usage was counted end as well.
        begun.saturating_sub(self.get(Meter::Ended))
    }

    pub(crate) fn add(&mut self, meter: Meter, count: u64) {
        let sum = &mut self.0[meter as usize];
        *sum = sum.saturating_add(count);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|count| *count == 0)
    }
}

impl AddAssign for Amounts {
    fn add_assign(&mut self, more: Amounts) {
        for (sum, count) in self.0.iter_mut().zip(more.0) {
            *sum = sum.saturating_add(count);
        }
    }
}

/// Who used something, and when.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UsageKey {
    /// Days since 1970-01-01, UTC.
    pub day: u32,
    /// The tenant's account.
    pub tenant: Arc<str>,
    /// ARN of the state machine.
    pub machine: Arc<str>,
    /// Name of the plugin; empty for what is the state machine's own.
    pub plugin: Arc<str>,
}

impl UsageKey {
    /// The day of a time.
    pub(crate) fn day_of(at: Timestamp) -> u32 {
        u32::try_from(at.0 / DAY_MS).unwrap_or(u32::MAX)
    }
}

/// What a write adds, by who used it.
pub(crate) type Charges = Vec<(UsageKey, Amounts)>;

/// Which usage to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UsageQuery {
    /// One tenant's; that of all when absent.
    pub tenant: Option<Arc<str>>,
    /// From this day on.
    pub from: u32,
    /// Up to this day, included.
    pub to: u32,
    /// Only greater keys.
    pub after: Option<UsageKey>,
    pub limit: u32,
}

impl UsageQuery {
    /// Whether a key is meant.
    pub(super) fn wants(&self, key: &UsageKey) -> bool {
        (self.from..=self.to).contains(&key.day)
            && self
                .tenant
                .as_ref()
                .is_none_or(|tenant| *tenant == key.tenant)
            && self.after.as_ref().is_none_or(|after| key > after)
    }

    /// The least key that may be meant.
    pub(super) fn start(&self) -> UsageKey {
        let empty: Arc<str> = Arc::from("");
        let first = UsageKey {
            day: self.from,
            tenant: self.tenant.clone().unwrap_or_else(|| empty.clone()),
            machine: empty.clone(),
            plugin: empty,
        };
        match &self.after {
            Some(after) if *after > first => after.clone(),
            Some(_) | None => first,
        }
    }
}

/// Adds charges to sums.
pub(super) fn add(sums: &mut BTreeMap<UsageKey, Amounts>, charges: &Charges) {
    for (key, usage) in charges {
        match sums.get_mut(key) {
            Some(sum) => *sum += *usage,
            None => {
                sums.insert(key.clone(), *usage);
            }
        }
    }
}
