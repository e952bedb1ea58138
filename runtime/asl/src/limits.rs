//! The limits of a definition, each with its unit and origin.

/// Bytes of a definition's text (AWS API model: CreateStateMachine `definition`).
pub(crate) const DEFINITION_BYTES_MAX: usize = 1_048_576;
/// Bytes of a definition's text when limits are raised (ours).
pub(crate) const DEFINITION_RAISED_BYTES_MAX: usize = 16 * 1_048_576;
/// Characters of a state's name (AWS quota).
pub(crate) const STATE_NAME_CHARS_MAX: usize = 80;
/// Characters of a Map's label (AWS).
pub(crate) const LABEL_CHARS_MAX: usize = 40;
/// Characters of a variable's name (ASL, Assign).
pub(crate) const VARIABLE_NAME_CHARS_MAX: usize = 80;
/// Seconds of a timeout, heartbeat, wait or retry interval (ASL's data model).
pub(crate) const SECONDS_MAX: u32 = 99_999_999;
/// Seconds of `MaxDelaySeconds`, 366 days (AWS).
pub(crate) const DELAY_SECONDS_MAX: u32 = 31_622_400;
/// Attempts of one retrier (ASL's data model).
pub(crate) const ATTEMPTS_MAX: u32 = 99_999_999;
/// Items that an ItemReader may be asked for (AWS).
pub(crate) const READER_ITEMS_MAX: u32 = 100_000_000;
/// Bytes of a batch, the size of a payload (AWS).
pub(crate) const BATCH_BYTES_MAX: u32 = 262_144;
/// Characters of a plugin's name in `wasm:NAME` (ours).
pub(crate) const PLUGIN_NAME_CHARS_MAX: usize = 64;
/// Levels of nested JSON in a definition's text (ours; enough for state machines nested to the full).
pub(crate) const JSON_DEPTH_MAX: usize = 400;
/// Levels of state machines within state machines (ours).
pub(crate) const FLOW_DEPTH_MAX: usize = 25;
/// Levels of And, Or and Not in one Choice rule (ours).
pub(crate) const TEST_DEPTH_MAX: usize = 50;
/// Characters of a text that a JSON error quotes (AWS, from its JSON reader).
pub(crate) const SOURCE_CHARS_MAX: usize = 500;
/// Diagnostics of one load after which similar state names are no longer searched for (ours).
pub(crate) const SEARCHED_HINTS_MAX: usize = 100;
/// Seconds that an Express execution lasts at most (AWS quota).
pub(crate) const EXPRESS_SECONDS_MAX: u32 = 300;
/// Iterations of an inline Map that run at a time (AWS quota).
pub(crate) const INLINE_CONCURRENCY_MAX: u32 = 40;
/// Child executions of a map run that run at a time (AWS quota).
pub(crate) const MAP_RUN_CONCURRENCY_MAX: u32 = 10_000;
