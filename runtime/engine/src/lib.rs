//! Durable execution of state machines: append, commit, dispatch; timers, tokens, recovery. Hides the store, the
//! threads and the order in which they work; shows one handle, [`Engine`].

mod activities;
mod aliases;
mod api;
mod arn;
mod attempt;
mod attempt_logs;
mod audit;
mod audit_retention;
mod backlog;
mod ceilings;
mod children;
mod companions;
mod connections;
mod counters;
mod damaged;
mod deletion;
mod dispatch;
mod engine;
mod error;
mod executions;
mod feed;
mod functions;
mod health;
mod history;
mod http_task;
mod integration;
mod items;
mod journal;
mod keeping;
mod lambda;
mod limits;
mod lines;
mod logging;
mod machine_of_execution;
mod machines;
mod map_run;
mod map_runs;
mod measured;
mod near;
mod node;
mod notes;
mod objects;
mod observer;
mod outbox;
mod pages;
mod probe;
mod programs;
mod pulse;
mod quotas;
mod reader;
mod recent;
mod record;
mod redrive;
mod reseal;
mod runner;
mod scopes;
mod seal;
mod sealed;
mod services;
mod sessions;
mod shard;
#[cfg(feature = "sim")]
pub mod sim;
mod startable;
mod starts;
mod tags;
mod task_limits;
mod task_secrets;
mod tenants;
mod tokens;
mod trace;
mod triggers;
mod usage;
mod vault;
mod versions;
mod watch;

pub use api::{
    Activity, ActivityTask, Alias, COMMIT_BOUNDS_MS, Caller, Changed, CreateAlias, CreateMachine,
    Execution, ExecutionSummary, ForkRequest, ForkedExecution, HistoryEntry, LineCount, Machine,
    MachineKind, MachineSettings, MapRunDescription, MapRunSummary, Metrics, Page, PageRequest,
    Publish, Redrivable, Route, StartRequest, StartedExecution, Status, SyncResult, UpdateMachine,
    Version, Waiting,
};
pub use attempt_logs::{AttemptLog, KeptLog, TaskLogLevel, TaskLogLine};
pub use audit::{AliasMove, AuditEntry, Audited};
pub use companions::{CompanionError, CompanionKind};
pub use connections::{
    Additions, AllowForm, ApiKeyForm, Authorization, BasicForm, Connection, ConnectionForm,
    ConnectionSummary, Connections, KeptConnection, OAuth, OAuthForm, RuleForm, Secret,
};
pub use engine::{Engine, Extras, Options, Store};
pub use error::{Code, Error};
pub use feed::{MachineChange, MachineNews, MachineWatch, ToldChange};
pub use functions::{
    AliasChange, AliasTarget, Change, CodeCollection, CollectedCode, EVENTS_PREFIX, Function,
    FunctionAlias, FunctionError, FunctionFault, FunctionPolicy, FunctionSettings, Invocation,
    Invoked, NewFunction, Package, Permission, PublishFunction, SettingsChange, UnusedCode,
    check_alias_name,
};
pub use http_task::{HttpExchange, HttpMessage};
pub use integration::{served_actions, serves};
pub use journal::{
    Amounts, Meter, UNNAMED, UsageKey, foreign_store, holds_store, make_data_directory,
};
pub use lines::Exceeding;
pub use logging::{LogLevel, Logging};
pub use map_runs::ChildFilter;
pub use measured::MeasuredAttempt;
pub use notes::{NoteWatch, ProgressNote};
pub use observer::{Observed, Observer};
pub use outbox::{Outbox, StatusChange, StatusEvent};
pub use probe::{StateTest, StateTested};
pub use quotas::{Quotas, Rate, Rates, Taken};
pub use reseal::Resealed;
pub use runner::{
    FunctionBounds, FunctionCode, FunctionVersion, PluginCall, PluginEnd, PluginLog, Signals,
    TaskRunner, TaskSecrets,
};
pub use sealed::{Kept, KeptPage, WhyClosed};
pub use services::{Endpoint, Services};
pub use sessions::{Assumed, Session, SessionCredentials};
pub use stepwell_interp::{ForkedFrom, MapRunChange, NotRedrivable, Progress};
pub use task_limits::TaskLimits;
pub use tenants::{AccessKey, ClosedKey, Credentials, ListedKey, ListedTenant, Role, Tenant};
pub use trace::{
    SpanId, TraceContext, TraceId, attempt_span, execution_span, from_traceparent, state_span,
};
pub use triggers::{
    Accepted, Event, EventInput, EventTarget, FiringOutcome, HttpAdmission, HttpAnswer, HttpMode,
    HttpTrigger, LastRun, Missed, NewHttpTrigger, NewRule, Rule, Schedule, ScheduleFilter,
    ScheduleGroup, ScheduleSpec, ScheduleTarget, SecretChange, TriggerError, TriggerKind,
    event_matches,
};
pub use usage::ExecutionUse;
pub use vault::Vault;
pub use watch::Watch;
