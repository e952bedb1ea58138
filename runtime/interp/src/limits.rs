//! The limits of running executions, each with its unit and origin, in two sets: `strict` and `raised`.

use stepwell_query::{Allowance, JSONATA_STATE_TIME_MS_MAX};

/// Events that one call of [`crate::step`] records before it yields [`crate::Effect::Again`] (ours).
pub const STEP_EVENTS_MAX: u32 = 1_000;
/// Work of evaluations in one step before it yields, in about microseconds at worst (ours; [`stepwell_query::Effort`]).
pub(crate) const STEP_WORK_MAX: u64 = 50_000;
/// Children that a map run starts in one step (ours).
pub(crate) const CHILDREN_A_STEP_MAX: usize = 256;
/// Items that a map run has at hand before it asks for more (ours).
pub(crate) const READ_AHEAD: usize = 512;
/// Bytes of items that a map run has at hand at most, however large a batch is to be (ours).
pub(crate) const READ_AHEAD_BYTES_MAX: usize = 64 * 1_048_576;
/// Bytes of results that a part file has at least before another one is begun (ours; AWS's have up to 5 GB).
pub(crate) const RESULT_PART_BYTES: usize = 8 * 1_048_576;
/// Redispatches of one attempt before it fails (ours): a task that kills the process cannot kill it for ever.
pub const REDISPATCH_MAX: u32 = 3;
/// Tokens of redrives that an execution remembers (AWS API: RedriveExecution).
pub(crate) const REDRIVE_TOKENS_MAX: usize = 10;
/// Milliseconds for which it does (AWS API: 15 minutes).
pub(crate) const REDRIVE_TOKEN_MS: u64 = 15 * 60 * 1_000;
/// Public events that a redrive needs room for: its own and another one (AWS).
pub(crate) const REDRIVE_EVENTS: u64 = 2;
/// Redrives of a map run (AWS quota).
pub(crate) const MAP_RUN_REDRIVES_MAX: u32 = 1_000;
/// Bytes of randomness in a task token (ours; the API allows a token of 2,048 characters).
pub const TOKEN_BYTES: usize = 48;
/// Milliseconds that an EXPRESS execution may run (AWS quota: five minutes).
pub const EXPRESS_DURATION_MS_MAX: u64 = 5 * 60 * 1_000;
/// Seconds that a Wait state waits, and a task's timeout and heartbeat (ASL's data model).
pub(crate) const SECONDS_MAX: u32 = 99_999_999;
/// Characters of an error's name (AWS API model).
pub const ERROR_CHARS_MAX: usize = 256;
/// Characters of a cause (AWS API model).
pub const CAUSE_CHARS_MAX: usize = 32_768;
/// Percent of a limit from which an execution counts as near it (ours).
pub const NEAR_PERCENT: u64 = 80;
/// Levels of nested JSON in a state's output (ours; reading stops there too).
pub(crate) const OUTPUT_DEPTH_MAX: u32 = 1_000;

/// The limits that an execution runs under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of JSON text in UTF-8 of an input, output or result.
    pub payload_bytes_max: usize,
    /// Public events of an execution, the last one included.
    pub history_events_max: u64,
    /// Milliseconds that a STANDARD execution may run; none sets no bound.
    pub duration_ms_max: Option<u64>,
    /// Milliseconds after its end for which an execution can be redriven; none sets no bound.
    pub redrivable_ms: Option<u64>,
    /// Iterations of an inline Map that run at one time.
    pub map_concurrency_max: u32,
    /// Child executions of a map run that run at one time.
    pub map_run_concurrency_max: u32,
    /// Bytes of JSON text of one variable.
    pub variable_bytes_max: usize,
    /// Bytes of JSON text of all variables that one state assigns.
    pub assign_bytes_max: usize,
    /// Bytes of JSON text of all variables of an execution.
    pub variables_bytes_max: usize,
    /// What the expressions of one state may be each time that it evaluates them (ours; AWS documents no bound).
    pub expressions: Allowance,
}

impl Limits {
    /// AWS's own limits (Step Functions quotas), so that what runs here runs there.
    pub const STRICT: Limits = Limits {
        payload_bytes_max: 262_144,
        history_events_max: 25_000,
        // A year, with room for the longest Wait.
        duration_ms_max: Some(366 * 24 * 60 * 60 * 1_000),
        redrivable_ms: Some(14 * 24 * 60 * 60 * 1_000),
        map_concurrency_max: 40,
        map_run_concurrency_max: 10_000,
        variable_bytes_max: 262_144,
        assign_bytes_max: 262_144,
        variables_bytes_max: 10 * 1_048_576,
        expressions: Allowance {
            work: 10_000_000,
            time_ms: JSONATA_STATE_TIME_MS_MAX,
        },
    };

    /// Walls that only protect the machine (ours).
    pub const RAISED: Limits = Limits {
        payload_bytes_max: 16 * 1_048_576,
        history_events_max: 1_000_000,
        duration_ms_max: None,
        redrivable_ms: None,
        map_concurrency_max: 1_000,
        map_run_concurrency_max: 100_000,
        variable_bytes_max: 16 * 1_048_576,
        assign_bytes_max: 16 * 1_048_576,
        variables_bytes_max: 64 * 1_048_576,
        expressions: Allowance {
            work: 100_000_000,
            time_ms: 6 * JSONATA_STATE_TIME_MS_MAX,
        },
    };

    /// The set that an execution was started with.
    pub fn of(raised: bool) -> &'static Limits {
        if raised {
            &Limits::RAISED
        } else {
            &Limits::STRICT
        }
    }
}
