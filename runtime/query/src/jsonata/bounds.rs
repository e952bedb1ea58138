//! The bounds of one evaluation, and the meter of the memory its functions build.

use std::cell::{Cell, RefCell};

use jsonata_core::evaluator::EvaluatorError;
use jsonata_core::value::JValue;

use super::weight::Weights;
use crate::limits;

/// The bounds of one evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Milliseconds of wall clock.
    pub time_ms: u64,
    /// Levels of evaluation.
    pub depth: usize,
    /// Elements of one sequence.
    pub sequence: usize,
    /// Bytes of one string.
    pub string_bytes: usize,
    /// Bytes that all strings and arrays built during the evaluation may take together, freed ones included.
    pub memory_bytes: usize,
    /// Bytes that the result may take in memory, roughly.
    pub result_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            time_ms: limits::JSONATA_TIME_MS_MAX,
            depth: limits::JSONATA_DEPTH_MAX,
            sequence: limits::JSONATA_SEQUENCE_MAX,
            string_bytes: limits::JSONATA_STRING_BYTES_MAX,
            memory_bytes: limits::JSONATA_MEMORY_BYTES_MAX,
            result_bytes: limits::JSONATA_RESULT_BYTES_MAX,
        }
    }
}

/// The error of an exceeded bound on memory, in the words of the service.
pub(super) const MEMORY_EXCEEDED: &str =
    "Expression evaluation memory limit exceeded: Check for excessive memory usage";

/// Counts what an evaluation builds.
pub(super) struct Meter {
    bounds: Bounds,
    used: Cell<usize>,
    /// Lengths noted for the functions whose result depends on several arguments.
    noted: RefCell<Vec<usize>>,
    weights: RefCell<Weights>,
    partials: Cell<usize>,
}

impl Meter {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            used: Cell::new(0),
            noted: RefCell::new(Vec::new()),
            weights: RefCell::default(),
            partials: Cell::new(0),
        }
    }

    /// Takes account of a string of this many bytes.
    pub(super) fn string(&self, bytes: usize) -> Result<(), EvaluatorError> {
        if bytes > self.bounds.string_bytes {
            return Err(memory_exceeded());
        }
        self.memory(bytes)
    }

    /// Takes account of memory of this many bytes.
    pub(super) fn memory(&self, bytes: usize) -> Result<(), EvaluatorError> {
        let used = self.used.get().saturating_add(bytes);
        self.used.set(used);
        if used > self.bounds.memory_bytes {
            Err(memory_exceeded())
        } else {
            Ok(())
        }
    }

    /// Fails when something about to be built would alone exceed the memory.
    pub(super) fn foresee(&self, bytes: usize) -> Result<(), EvaluatorError> {
        if bytes > self.bounds.memory_bytes {
            Err(memory_exceeded())
        } else {
            Ok(())
        }
    }

    pub(super) fn sequence(&self, length: usize) -> Result<(), EvaluatorError> {
        if length > self.bounds.sequence {
            Err(memory_exceeded())
        } else {
            Ok(())
        }
    }

    /// Fails when a value weighs more than its share of what one may.
    pub(super) fn weigh(&self, value: &JValue, shares: usize) -> Result<(), EvaluatorError> {
        let most = limits::JSONATA_WEIGHT_BYTES_MAX / shares.max(1);
        if self.weights.borrow_mut().bear(value, most) {
            Ok(())
        } else {
            Err(memory_exceeded())
        }
    }

    /// Takes account of a partial application.
    pub(super) fn partial(&self) -> Result<(), EvaluatorError> {
        let made = self.partials.get() + 1;
        self.partials.set(made);
        if made > limits::JSONATA_PARTIALS_MAX {
            return Err(memory_exceeded());
        }
        Ok(())
    }

    pub(super) fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    pub(super) fn note(&self, length: usize) {
        self.noted.borrow_mut().push(length);
    }

    pub(super) fn noted(&self) -> usize {
        self.noted.borrow_mut().pop().unwrap_or(0)
    }
}

pub(super) fn memory_exceeded() -> EvaluatorError {
    EvaluatorError::EvaluationError(MEMORY_EXCEEDED.into())
}
