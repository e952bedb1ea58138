//! Runs tasks as sandboxed WebAssembly: plugins, grants, limits, metering. Hides wasmtime and WASI altogether.
//!
//! [`Sandbox::call`] runs one attempt in a fresh instance and answers with a [`TaskEnd`], whatever the guest does.
//! Nothing here knows of state machines or executions.

mod allowed;
mod bindings;
mod cache;
mod call;
mod ceiling;
mod claims;
mod clock;
mod code;
mod compiler;
mod egress;
mod error;
mod folders;
mod grants;
mod grants_text;
mod guest;
mod inspect;
mod kept;
mod limits;
mod machine;
mod manifest;
mod manifest_text;
mod mapped;
mod metered;
mod needs;
mod origin;
mod outcome;
#[cfg(feature = "compiler")]
mod overseer;
mod precompiled;
mod queue;
mod registry;
mod rota;
mod sandbox;
mod scan;
mod secret;
mod slots;
mod sockets;
mod stdio;
mod stopwatch;
mod tally;
mod toml_text;
mod turns;
mod verdict;
mod weight;

pub use call::{CallContext, CancelHandle, CancelReason, Heartbeat, TaskCall, Waits};
pub use ceiling::{Allowance, Ceilings, Written};
pub use code::{Format, Import};
pub use compiler::{CompileBounds, Compiler};
#[cfg(feature = "compiler")]
pub use compiler::{CompileWorker, compile_worker};
pub use error::Error;
pub use grants::{Asked, Ceiling, FsGrant, FsMode, Grants, HttpGrant, Source};
pub use inspect::{Inspection, Problem};
pub use manifest::{
    Contract, Instance, Limits, Manifest, OnCrash, Reuse, SIZE_UNITS, TIME_UNITS, parse_bytes,
    parse_duration,
};
pub use outcome::{Frame, HostUse, LogLevel, LogLine, Outcome, PluginStamp, Tail, TaskEnd, Usage};
#[cfg(feature = "compiler")]
pub use precompiled::{AheadOfTime, compile_ahead};
pub use precompiled::{
    CodeInspection, CodeRecord, EXTENSION as CODE_EXTENSION, Profile, this_target,
};
pub use registry::{PluginInfo, Upload, UploadCode};
pub use sandbox::{Metrics, Sandbox, SandboxConfig, SecretSource};
pub use scan::Skipped;
pub use secret::{CallSecrets, StoredSecrets};
pub use stepwell_egress::{Addresses, HttpRule, NameRule, Resolve, SystemResolver, TcpRule};
pub use weight::Weight;

/// For the benchmarks alone: what a bare loop over the Wasm runtime costs under the same knobs.
#[cfg(feature = "compiler")]
#[doc(hidden)]
pub mod bench;
