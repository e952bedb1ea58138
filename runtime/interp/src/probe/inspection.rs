//! What is told of a state that was tried alone. Hides how it is gathered while the state works.

use std::cell::RefCell;
use std::sync::Arc;

use stepwell_query::Value;

use crate::{event::Failure, run::Run};

/// How a state came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspection {
    pub verdict: Verdict,
    pub output: Option<Value>,
    pub error: Option<Arc<str>>,
    pub cause: Option<Arc<str>>,
    /// The state to go on with.
    pub next: Option<Arc<str>>,
    pub data: InspectionData,
}

/// Whether the state did its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Succeeded,
    Failed,
    /// It failed and a retrier makes another attempt.
    Retriable,
    /// It failed and a catcher goes on.
    Caught,
}

/// What each field made of the data; a field that the state does not have, or did not come to, is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InspectionData {
    /// The raw input.
    pub input: Value,
    pub after_input_path: Option<Value>,
    pub after_parameters: Option<Value>,
    pub after_arguments: Option<Value>,
    /// What a task returned, or a Pass state's `Result`.
    pub result: Option<Value>,
    pub after_result_selector: Option<Value>,
    pub after_result_path: Option<Value>,
    pub after_items_path: Option<Value>,
    pub after_items_pointer: Option<Value>,
    /// The inputs of all iterations.
    pub after_item_selector: Option<Value>,
    pub max_concurrency: Option<u32>,
    pub tolerated_failure_count: Option<u32>,
    pub tolerated_failure_percentage: Option<f64>,
    /// Workflow variables after the state, by name.
    pub variables: Vec<(Arc<str>, Value)>,
    pub error_details: ErrorDetails,
}

/// Who took the error, by place in the state's `Retry` and `Catch`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErrorDetails {
    pub catch_index: Option<usize>,
    /// The retrier that matched, spent or not.
    pub retry_index: Option<usize>,
    /// Whole seconds until the next attempt, before jitter.
    pub retry_backoff_s: Option<u64>,
}

/// What watches a state while it works: the context object it is to see, and what is noted.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) context: Option<Value>,
    notes: RefCell<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    data: InspectionData,
    failure: Option<Failure>,
}

impl Watch {
    pub(super) fn new(context: Option<Value>) -> Watch {
        Watch {
            context,
            notes: RefCell::default(),
        }
    }

    pub(crate) fn note(&self, note: impl FnOnce(&mut InspectionData)) {
        note(&mut self.notes.borrow_mut().data);
    }

    /// The state's work failed so.
    pub(crate) fn note_failure(&self, failure: &Failure) {
        self.notes.borrow_mut().failure = Some(failure.clone());
    }

    pub(super) fn left(&self, run: &Run, output: Value, next: Option<Arc<str>>) -> Inspection {
        let caught = self.notes.borrow().data.error_details.catch_index.is_some();
        let verdict = if caught {
            Verdict::Caught
        } else {
            Verdict::Succeeded
        };
        let (error, cause) = if caught { self.error() } else { (None, None) };
        Inspection {
            verdict,
            output: Some(output),
            error,
            cause,
            next,
            data: self.data(run),
        }
    }

    pub(super) fn failed(
        &self,
        run: &Run,
        error: Option<Arc<str>>,
        cause: Option<Arc<str>>,
    ) -> Inspection {
        Inspection {
            verdict: Verdict::Failed,
            output: None,
            error,
            cause,
            next: None,
            data: self.data(run),
        }
    }

    pub(super) fn retriable(&self, run: &Run) -> Inspection {
        let (error, cause) = self.error();
        Inspection {
            verdict: Verdict::Retriable,
            ..self.failed(run, error, cause)
        }
    }

    fn error(&self) -> (Option<Arc<str>>, Option<Arc<str>>) {
        match &self.notes.borrow().failure {
            Some(failure) => (failure.error.clone(), failure.cause.clone()),
            None => (None, None),
        }
    }

    fn data(&self, run: &Run) -> InspectionData {
        let variables = run.variables();
        InspectionData {
            input: run
                .start()
                .map(|start| start.input.clone())
                .unwrap_or_default(),
            variables: variables
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            ..self.notes.borrow().data.clone()
        }
    }
}
