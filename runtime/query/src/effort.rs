//! How much work the expressions of one state are. Hides how that is told before they are evaluated, and how what may
//! take long is put off.
//!
//! The unit is about a microsecond, at worst and roughly; it says enough to be fair by, and equal evaluations are
//! equal work wherever and whenever they are done.

use std::{cell::Cell, time::Duration};

use crate::limits::{JSONATA_STATE_TIME_MS_MAX, JSONATA_TIME_MS_MAX};

/// The work of an expression that may take as long as its time bound lets it.
pub(crate) const LONG: u64 = JSONATA_TIME_MS_MAX * 1_000;
/// Values that a path visits for one unit of work.
const VISITS_A_UNIT: u64 = 32;
/// Bytes of JSON that are made ready for the engine for one unit of work.
const BYTES_A_UNIT: usize = 128;

/// Counts the work of evaluations. See [`crate::Scope::effort`].
#[derive(Debug)]
pub struct Effort {
    may_put_off: bool,
    put_off: Cell<bool>,
    work: Cell<u64>,
    time_left: Cell<Duration>,
}

impl Effort {
    /// A fresh count. With `may_put_off` an expression that may take long is not evaluated but put off.
    pub fn new(may_put_off: bool) -> Effort {
        Effort {
            may_put_off,
            put_off: Cell::new(false),
            work: Cell::new(0),
            time_left: Cell::new(Duration::from_millis(JSONATA_STATE_TIME_MS_MAX)),
        }
    }

    /// The work so far, in about microseconds.
    pub fn work(&self) -> u64 {
        self.work.get()
    }

    /// Whether an expression was put off: what came of the evaluation means nothing, and is to be done again under
    /// an effort that does not put off.
    pub fn is_put_off(&self) -> bool {
        self.put_off.get()
    }

    /// Takes account of an expression about to be evaluated; false puts it off.
    pub(crate) fn begin(&self, work: u64) -> bool {
        if self.may_put_off && work >= LONG {
            self.put_off.set(true);
            return false;
        }
        self.add(work);
        true
    }

    /// Takes account of values that a path visited.
    pub(crate) fn visited(&self, values: u64) {
        self.add(values / VISITS_A_UNIT);
    }

    /// Takes account of a value made ready for the engine.
    pub(crate) fn converted(&self, bytes: usize) {
        self.add((bytes / BYTES_A_UNIT) as u64);
    }

    /// Milliseconds left of the time that all expressions of the state together may take.
    pub(crate) fn time_left_ms(&self) -> u64 {
        u64::try_from(self.time_left.get().as_millis()).unwrap_or(u64::MAX)
    }

    /// Takes account of the time of an evaluation.
    pub(crate) fn took(&self, time: Duration) {
        self.time_left
            .set(self.time_left.get().saturating_sub(time));
    }

    fn add(&self, work: u64) {
        self.work.set(self.work.get().saturating_add(work));
    }
}
