//! The engine's handle: the calls that the server, the CLI and the tests make. What it hides: shards, threads, the
//! journal. Cheap to clone; all clones are one engine.

use std::{path::PathBuf, sync::Arc, time::Duration};

use stepwell_interp::Timestamp;

use crate::{
    api::{
        Activity, ActivityTask, Caller, CreateMachine, Execution, ExecutionSummary, HistoryEntry, Machine, Metrics,
        Page, PageRequest, StartRequest, StartedExecution, Status, SyncResult, UpdateMachine,
    },
    error::Error,
    runner::TaskRunner,
};

/// Where executions are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
    /// Nothing outlives the process.
    Memory,
    /// A data directory, held by one process at a time.
    Directory(PathBuf),
}

/// How an engine is opened.
#[derive(Clone, Debug)]
pub struct Options {
    pub store: Store,
    /// The `raised` value of every limit instead of AWS's.
    pub raised_limits: bool,
    /// Threads that interpret; 0 means one a core.
    pub shards: usize,
}

/// See the module.
#[derive(Clone)]
pub struct Engine;

/// The committed public events of one execution from its start to its end, as they come.
pub struct Watch;

impl Watch {
    /// The next committed events; `None` when the execution is closed and all were given.
    pub async fn next(&mut self) -> Option<Vec<HistoryEntry>> {
        todo!()
    }
}

impl Engine {
    /// Opens the store and takes up what was running: hot executions at once, others as they become due.
    pub fn open(options: Options, runner: Arc<dyn TaskRunner>) -> Result<Engine, Error> {
        let _ = (options, runner);
        todo!()
    }
    /// Takes no new work, waits for commits in flight and running steps, and returns; nothing is lost.
    pub async fn shutdown(&self) {
        todo!()
    }
    pub fn metrics(&self) -> Metrics {
        todo!()
    }

    pub async fn create_machine(&self, caller: &Caller, request: CreateMachine) -> Result<Machine, Error> {
        let _ = (caller, request);
        todo!()
    }
    pub async fn update_machine(&self, caller: &Caller, arn: &str, request: UpdateMachine) -> Result<Machine, Error> {
        let _ = (caller, arn, request);
        todo!()
    }
    pub async fn machine(&self, caller: &Caller, arn: &str) -> Result<Machine, Error> {
        let _ = (caller, arn);
        todo!()
    }
    /// The definition an execution really runs.
    pub async fn machine_of_execution(&self, caller: &Caller, arn: &str) -> Result<Machine, Error> {
        let _ = (caller, arn);
        todo!()
    }
    pub async fn machines(&self, caller: &Caller, page: PageRequest) -> Result<Page<Machine>, Error> {
        let _ = (caller, page);
        todo!()
    }
    /// Deleting what is not there succeeds, as on AWS.
    pub async fn delete_machine(&self, caller: &Caller, arn: &str) -> Result<(), Error> {
        let _ = (caller, arn);
        todo!()
    }

    pub async fn start(&self, caller: &Caller, request: StartRequest) -> Result<StartedExecution, Error> {
        let _ = (caller, request);
        todo!()
    }
    pub async fn start_sync(&self, caller: &Caller, request: StartRequest) -> Result<SyncResult, Error> {
        let _ = (caller, request);
        todo!()
    }
    pub async fn execution(&self, caller: &Caller, arn: &str) -> Result<Execution, Error> {
        let _ = (caller, arn);
        todo!()
    }
    pub async fn executions(&self, caller: &Caller, machine_arn: &str, status: Option<Status>, page: PageRequest) -> Result<Page<ExecutionSummary>, Error> {
        let _ = (caller, machine_arn, status, page);
        todo!()
    }
    /// Stops a running execution; of a closed one gives the time it closed.
    pub async fn stop(&self, caller: &Caller, arn: &str, error: Option<String>, cause: Option<String>) -> Result<Timestamp, Error> {
        let _ = (caller, arn, error, cause);
        todo!()
    }
    pub async fn history(&self, caller: &Caller, arn: &str, reverse: bool, page: PageRequest) -> Result<Page<HistoryEntry>, Error> {
        let _ = (caller, arn, reverse, page);
        todo!()
    }
    /// Answers when the execution is closed.
    pub async fn wait(&self, caller: &Caller, arn: &str) -> Result<Execution, Error> {
        let _ = (caller, arn);
        todo!()
    }
    pub async fn watch(&self, caller: &Caller, arn: &str) -> Result<Watch, Error> {
        let _ = (caller, arn);
        todo!()
    }

    pub async fn create_activity(&self, caller: &Caller, name: &str, tags: Vec<(String, String)>) -> Result<Activity, Error> {
        let _ = (caller, name, tags);
        todo!()
    }
    pub async fn activity(&self, caller: &Caller, arn: &str) -> Result<Activity, Error> {
        let _ = (caller, arn);
        todo!()
    }
    pub async fn activities(&self, caller: &Caller, page: PageRequest) -> Result<Page<Activity>, Error> {
        let _ = (caller, page);
        todo!()
    }
    pub async fn delete_activity(&self, caller: &Caller, arn: &str) -> Result<(), Error> {
        let _ = (caller, arn);
        todo!()
    }
    /// Long poll: a task, or `None` when none came within `patience`.
    pub async fn activity_task(&self, caller: &Caller, arn: &str, worker: Option<String>, patience: Duration) -> Result<Option<ActivityTask>, Error> {
        let _ = (caller, arn, worker, patience);
        todo!()
    }

    pub async fn send_task_success(&self, caller: &Caller, token: &str, output: &str) -> Result<(), Error> {
        let _ = (caller, token, output);
        todo!()
    }
    pub async fn send_task_failure(&self, caller: &Caller, token: &str, error: Option<String>, cause: Option<String>) -> Result<(), Error> {
        let _ = (caller, token, error, cause);
        todo!()
    }
    pub async fn send_task_heartbeat(&self, caller: &Caller, token: &str) -> Result<(), Error> {
        let _ = (caller, token);
        todo!()
    }
}
