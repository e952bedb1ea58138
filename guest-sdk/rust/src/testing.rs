//! Native tests of a task: stands in for the host. Each test thread has its own.
//!
//! ```
//! use stepwell_task::{config, testing};
//! testing::set_config("region", "eu");
//! assert_eq!(config::get("region").as_deref(), Some("eu"));
//! assert_eq!(testing::context().attempt, 1);
//! ```

#[cfg(feature = "http")]
use crate::http::{HttpError, Request, Response};
use crate::log::Level;
use crate::secrets::SecretError;
use crate::{Cancelled, Context};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// A log line that the task wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its level.
    pub level: Level,
    /// Its message.
    pub message: String,
    /// Its fields, in order.
    pub fields: Vec<(String, String)>,
}

#[derive(Default)]
struct Host {
    config: BTreeMap<String, String>,
    secrets: BTreeMap<String, Option<String>>,
    log: Vec<Line>,
    beats: Vec<String>,
    cancelled: Option<Cancelled>,
    #[cfg(feature = "http")]
    http: Http,
}

#[cfg(feature = "http")]
#[derive(Default)]
struct Http {
    answers: std::collections::VecDeque<Result<Response, HttpError>>,
    sent: Vec<Request>,
}

thread_local! {
    static HOST: RefCell<Host> = RefCell::default();
}

fn with<R>(f: impl FnOnce(&mut Host) -> R) -> R {
    HOST.with_borrow_mut(f)
}

/// A context with plain values; change the fields that matter to the test.
pub fn context() -> Context {
    Context::for_test()
}

/// Sets a configuration value.
pub fn set_config(key: &str, value: &str) {
    with(|host| host.config.insert(key.into(), value.into()));
}

/// Grants a secret and sets its value; `None` grants a name that the store does not hold.
pub fn set_secret(name: &str, value: Option<&str>) {
    with(|host| host.secrets.insert(name.into(), value.map(Into::into)));
}

/// Makes the next heartbeats report that the call is being ended.
pub fn cancel(reason: Cancelled) {
    with(|host| host.cancelled = Some(reason));
}

/// Takes the log lines written so far on this thread.
pub fn take_log() -> Vec<Line> {
    with(|host| std::mem::take(&mut host.log))
}

/// Takes the notes of the heartbeats sent so far on this thread.
pub fn take_heartbeats() -> Vec<String> {
    with(|host| std::mem::take(&mut host.beats))
}

/// Supplies the reply to the next HTTP request of this thread; several calls answer in order.
#[cfg(feature = "http")]
pub fn answer_http(answer: Result<Response, HttpError>) {
    with(|host| host.http.answers.push_back(answer));
}

/// Takes the HTTP requests sent so far on this thread.
#[cfg(feature = "http")]
pub fn take_http() -> Vec<Request> {
    with(|host| std::mem::take(&mut host.http.sent))
}

#[cfg(feature = "http")]
pub(crate) fn host_http(request: Request) -> Result<Response, HttpError> {
    with(|host| {
        let missing = format!(
            "`{} {}` has no answer: call `testing::answer_http` first",
            request.method, request.url
        );
        host.http.sent.push(request);
        host.http
            .answers
            .pop_front()
            .unwrap_or(Err(HttpError::Failed(missing)))
    })
}

pub(crate) fn host_config(key: &str) -> Option<String> {
    with(|host| host.config.get(key).cloned())
}

pub(crate) fn host_secret(name: &str) -> Result<String, SecretError> {
    with(|host| match host.secrets.get(name) {
        Some(Some(value)) => Ok(value.clone()),
        Some(None) => Err(SecretError::NotFound(name.into())),
        None => Err(SecretError::NotGranted(name.into())),
    })
}

pub(crate) fn host_heartbeat(progress: &str) -> Result<(), Cancelled> {
    with(|host| {
        host.beats.push(progress.into());
        host.cancelled.map_or(Ok(()), Err)
    })
}

pub(crate) fn host_log(level: Level, message: &str, fields: &[(String, String)]) {
    with(|host| {
        host.log.push(Line {
            level,
            message: message.into(),
            fields: fields.to_vec(),
        })
    });
}
