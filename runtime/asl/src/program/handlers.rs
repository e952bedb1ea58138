//! `Retry` and `Catch`.

use std::num::NonZeroU32;
use std::sync::Arc;

use stepwell_query::{JsonataTemplate, Template};

use super::{
    StateId,
    io::{Assign, ResultPath},
};

/// `Retry` and `Catch`, scanned in order; both may be empty.
#[derive(Debug, Clone, Default)]
pub struct Handlers {
    pub retry: Vec<Retrier>,
    pub catch: Vec<Catcher>,
}

/// One retrier. Delay n is `min(interval_s * backoff_rate^(n-1), max_delay_s)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Retrier {
    pub errors: ErrorEquals,
    /// `IntervalSeconds`, default 1.
    pub interval_s: NonZeroU32,
    /// `MaxAttempts`, default 3; 0 never retries.
    pub attempts_max: u32,
    /// `BackoffRate`, at least 1.0, default 2.0.
    pub backoff_rate: f64,
    /// `MaxDelaySeconds`.
    pub delay_max_s: Option<NonZeroU32>,
    pub jitter: Jitter,
}

/// `JitterStrategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Jitter {
    /// The delay is uniform between zero and the planned one.
    Full,
    #[default]
    None,
}

/// `ErrorEquals`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorEquals {
    /// `States.ALL`, which stands alone.
    All,
    /// Never empty; does not hold `States.ALL`.
    Names(Vec<Arc<str>>),
}

/// One catcher.
#[derive(Debug, Clone)]
pub struct Catcher {
    pub errors: ErrorEquals,
    pub io: CatchIo,
    pub next: StateId,
}

/// What a catcher makes of the error output, in the state's query language.
#[derive(Debug, Clone)]
pub enum CatchIo {
    Path {
        result_path: ResultPath,
        assign: Option<Assign<Template>>,
    },
    Jsonata {
        output: Option<JsonataTemplate>,
        assign: Option<Assign<JsonataTemplate>>,
    },
}
