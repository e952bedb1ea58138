//! The interpreter of the Amazon States Language, pure: [`step`] takes an input and says what is to be done, and the
//! events that it records are all there is to remember ([`Run::evolve`] folds them). Hides how states work; no I/O, no
//! clock, no randomness but the caller's.

mod border;
mod codec;
mod data;
mod event;
mod fault;
mod flow;
mod fork;
mod given;
mod history;
mod limits;
mod map_run;
mod measure;
mod near;
mod probe;
mod redrive;
mod run;
mod scope;
mod step;
mod time;

pub use border::{
    Cancelled, ChildId, Effect, Ending, Env, FailedAt, Input, OnCrash, RedrivenBy, Start, TaskId,
    TaskOutcome, TaskRequest, TaskToken, TimerId,
};
pub use codec::{
    BLOB_BYTES_MIN, BlobHash, Blobs, CodecError, blobs_of, decode, decode_blob, decode_with,
    encode, encode_with,
};
pub use event::{Assigned, Event, Failure, FailureClass, Place, Scheduled, Stage, StateKind, What};
pub use fork::{Fork, ForkPoint, ForkedFrom, Misfit, NotForkable};
pub use history::{Field, HistoryView, event_type, history_view, label, resource_names};
pub use limits::{
    CAUSE_CHARS_MAX, ERROR_CHARS_MAX, EXPRESS_DURATION_MS_MAX, Limits, NEAR_PERCENT,
    REDISPATCH_MAX, STEP_EVENTS_MAX, TOKEN_BYTES,
};
pub use map_run::{
    ChildResult, ChildStatus, Counts, Form, Item, MapRun, MapRunChange, MapRunEffect, MapRunEnding,
    MapRunEvent, MapRunInput, MapRunStart, MapRunView, NewChild, Part, PartKind, Progress, Reading,
    ResultWrite, step_map_run,
};
pub use measure::{Measure, Measures};
pub use near::{Limit, Usage, usage};
pub use probe::{
    ErrorDetails, Inspection, InspectionData, Mock, Probe, Probed, Refusal, Setup, Verdict,
};
pub use redrive::{NotRedrivable, Redrive, Standing};
pub use run::{OpenState, OpenTask, Run};
pub use step::{step, step_held};
pub use time::Timestamp;
