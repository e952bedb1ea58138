//! What became of all attempts, for /metrics. Hides that ends are counted on all threads at once.

use crate::outcome::{HostUse, Outcome, SUCCEEDED, TaskEnd, Usage};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Counts ends. Nearly all of them succeed, on all threads at once: those take no lock.
#[derive(Default)]
pub(super) struct Ends {
    succeeded: AtomicU64,
    expected_long: AtomicU64,
    cpu_ns: AtomicU64,
    input_bytes: AtomicU64,
    output_bytes: AtomicU64,
    memory_bytes: AtomicU64,
    memory_bytes_max: AtomicU64,
    others: Mutex<Others>,
}

/// What few attempts have anything of.
#[derive(Default)]
struct Others {
    by_name: BTreeMap<&'static str, u64>,
    fuel: u64,
    host: HostUse,
}

impl Ends {
    pub(super) fn count(&self, end: &TaskEnd) {
        let usage = &end.usage;
        let cpu_ns = u64::try_from(usage.cpu.as_nanos()).unwrap_or(u64::MAX);
        self.cpu_ns.fetch_add(cpu_ns, Ordering::Relaxed);
        // What no plugin served used nothing.
        if end.plugin.is_some() {
            self.count_bytes(usage);
        }
        let succeeded = matches!(end.outcome, Outcome::Ok(_));
        if succeeded {
            self.succeeded.fetch_add(1, Ordering::Relaxed);
        }
        if succeeded && usage.fuel.is_none() && usage.host == HostUse::default() {
            return;
        }
        let mut others = self.others();
        if !succeeded {
            *others.by_name.entry(end.outcome.name()).or_default() += 1;
        }
        others.fuel = others.fuel.saturating_add(usage.fuel.unwrap_or(0));
        others.host.add(&usage.host);
    }

    fn count_bytes(&self, usage: &Usage) {
        let add = |sum: &AtomicU64, bytes| sum.fetch_add(bytes, Ordering::Relaxed);
        add(&self.input_bytes, usage.input_bytes);
        add(&self.output_bytes, usage.output_bytes);
        add(&self.memory_bytes, usage.memory_bytes_max);
        let (held, most) = (usage.memory_bytes_max, &self.memory_bytes_max);
        // Few hold more than all before them: the others write nothing.
        if held > most.load(Ordering::Relaxed) {
            most.fetch_max(held, Ordering::Relaxed);
        }
    }

    /// An attempt is taken for a long one from its beginning.
    pub(super) fn expect_long(&self) {
        self.expected_long.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn expected_long(&self) -> u64 {
        self.expected_long.load(Ordering::Relaxed)
    }

    pub(super) fn by_name(&self) -> BTreeMap<&'static str, u64> {
        let mut by_name = self.others().by_name.clone();
        let succeeded = self.succeeded.load(Ordering::Relaxed);
        if succeeded > 0 {
            by_name.insert(SUCCEEDED, succeeded);
        }
        by_name
    }

    /// CPU time of all.
    pub(super) fn cpu(&self) -> Duration {
        Duration::from_nanos(self.cpu_ns.load(Ordering::Relaxed))
    }

    /// Bytes of all inputs, and of all outputs.
    pub(super) fn payloads(&self) -> (u64, u64) {
        let sum = |sum: &AtomicU64| sum.load(Ordering::Relaxed);
        (sum(&self.input_bytes), sum(&self.output_bytes))
    }

    /// The most memory that each held: added up, and the largest.
    pub(super) fn memory_peaks(&self) -> (u64, u64) {
        let of = |bytes: &AtomicU64| bytes.load(Ordering::Relaxed);
        (of(&self.memory_bytes), of(&self.memory_bytes_max))
    }

    /// Fuel of all, and what they did with their host.
    pub(super) fn fuel_and_host(&self) -> (u64, HostUse) {
        let others = self.others();
        (others.fuel, others.host)
    }

    fn others(&self) -> MutexGuard<'_, Others> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A snapshot for /metrics.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Attempts ended since the start, by the outcome's name.
    pub ended: BTreeMap<&'static str, u64>,
    /// CPU time of all guests since the start.
    pub cpu: Duration,
    /// Fuel used since the start, of plugins that are bounded by it.
    pub fuel: u64,
    /// Bytes of the inputs of attempts since the start.
    pub input_bytes: u64,
    /// Bytes of their outputs.
    pub output_bytes: u64,
    /// The most memory in bytes that each attempt since the start held at once, added up.
    pub memory_peak_bytes: u64,
    /// The largest of these.
    pub memory_peak_bytes_max: u64,
    /// What all guests did with their host since the start.
    pub host: HostUse,
    /// Guests running now.
    pub running: usize,
    /// Calls waiting for an instance now.
    pub waiting: usize,
    /// Attempts since the start that were taken for long ones from their beginning, by what their plugin's had been.
    pub expected_long: u64,
    /// Guests that may run at once.
    pub instances: u32,
    /// Plugins compiled since the start.
    pub compiled: u64,
    /// Plugins taken from the cache since the start.
    pub cache_hits: u64,
    /// Plugins that are being compiled now.
    pub compiling: usize,
    /// Plugins that wait for the compiler now.
    pub uncompiled: usize,
    /// Instances that wait for another attempt now.
    pub kept: usize,
    /// Memory that they hold, in bytes.
    pub kept_bytes: u64,
    /// Plugins in memory now.
    pub loaded: usize,
}
