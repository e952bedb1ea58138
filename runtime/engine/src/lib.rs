//! Durable execution of state machines: append, commit, dispatch; timers, tokens, recovery. Hides the store, the
//! threads and the order in which they work; shows one handle, [`Engine`].

mod activities;
mod aliases;
mod api;
mod arn;
mod attempt;
mod children;
mod connections;
mod counters;
mod deletion;
mod dispatch;
mod engine;
mod error;
mod executions;
mod health;
mod http_task;
mod integration;
mod items;
mod journal;
mod lambda;
mod limits;
mod machines;
mod map_run;
mod map_runs;
mod near;
mod node;
mod objects;
mod pages;
mod probe;
mod programs;
mod pulse;
mod reader;
mod recent;
mod record;
mod redrive;
mod runner;
mod seal;
mod shard;
#[cfg(feature = "sim")]
pub mod sim;
mod startable;
mod tags;
mod tokens;
mod versions;

pub use api::{
    Activity, ActivityTask, Alias, Caller, Changed, CreateAlias, CreateMachine, Execution,
    ExecutionSummary, HistoryEntry, Machine, MachineKind, MachineSettings, MapRunDescription,
    MapRunSummary, Metrics, Page, PageRequest, Publish, Redrivable, Route, StartRequest,
    StartedExecution, Status, SyncResult, UpdateMachine, Version,
};
pub use connections::{Additions, Authorization, Connection, Connections, OAuth, Secret};
pub use engine::{Engine, Options, Store, Watch};
pub use error::{Code, Error};
pub use http_task::{HttpExchange, HttpMessage};
pub use integration::{served_actions, serves};
pub use map_runs::ChildFilter;
pub use probe::{StateTest, StateTested};
pub use runner::{PluginCall, PluginEnd, Signals, TaskRunner};
pub use stepwell_interp::{MapRunChange, NotRedrivable, Progress};
