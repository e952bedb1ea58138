//! What tasks said: logs of attempts, kept beside the history of STANDARD executions. Hides their records.
//!
//! A record is queued for the store ahead of the attempt's end, so who sees the end finds it; it adds no commit that an
//! execution waits for. An attempt that said nothing has none.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use stepwell_interp::{TaskRequest, Timestamp};

use crate::{
    api::{Caller, Page, PageRequest},
    engine::Engine,
    error::Error,
    journal::{Answer, CatalogKey, CatalogWrite, ExecutionId, Verdict, Write},
    keeping,
    limits::ATTEMPT_LOG_BYTES_MAX,
    node::{Node, now},
    record,
    shard::Info,
};

const KIND: &str = "attempt-log";

/// What a guest said during an attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttemptLog {
    /// What it logged, in order.
    pub lines: Vec<TaskLogLine>,
    /// What it printed; the end of it.
    pub stdout: String,
    pub stderr: String,
    /// Whether something is missing.
    pub cut: bool,
}

/// What an attempt leaves behind.
pub(crate) struct Said<'a> {
    pub(crate) log: &'a LogSlot,
    /// Its last note on its progress.
    pub(crate) progress: Option<Arc<str>>,
}

/// A line that a task logged. Stored form, codec v1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskLogLine {
    /// `trace`, `debug`, `info`, `warn` or `error`.
    #[serde(rename = "l")]
    pub level: TaskLogLevel,
    #[serde(rename = "m")]
    pub message: String,
    /// In the order given.
    #[serde(rename = "f", default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<(String, String)>,
    /// Milliseconds from the guest's start.
    #[serde(rename = "a")]
    pub after_ms: u64,
}

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskLogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// The log of one attempt, as it was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptLog {
    pub state: Arc<str>,
    /// Public id of the event that entered the state; versions before did not keep it.
    pub entered_id: Option<u64>,
    /// Counts the attempts of that visit from 1, those after a redrive too. Versions before counted those anew.
    pub attempt: u32,
    /// The plugin's name.
    pub plugin: Arc<str>,
    /// When the attempt had ended.
    pub at: Timestamp,
    pub log: AttemptLog,
    /// Its last note on its progress, if it gave one.
    pub progress: Option<Arc<str>>,
}

/// Stored form, codec v1.
#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(rename = "s")]
    state: Arc<str>,
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    entered_id: Option<u64>,
    #[serde(rename = "n")]
    attempt: u32,
    #[serde(rename = "p")]
    plugin: Arc<str>,
    #[serde(rename = "t")]
    at_ms: u64,
    #[serde(rename = "l", default, skip_serializing_if = "Vec::is_empty")]
    lines: Vec<TaskLogLine>,
    #[serde(rename = "o", default, skip_serializing_if = "String::is_empty")]
    stdout: String,
    #[serde(rename = "e", default, skip_serializing_if = "String::is_empty")]
    stderr: String,
    #[serde(rename = "c", default)]
    cut: bool,
    #[serde(rename = "g", default, skip_serializing_if = "Option::is_none")]
    progress: Option<Arc<str>>,
}

/// Takes an attempt's log until the attempt has ended.
#[derive(Default)]
pub(crate) struct LogSlot(Mutex<Option<AttemptLog>>);

impl LogSlot {
    pub(crate) fn put(&self, log: AttemptLog) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(log);
    }

    fn take(&self) -> Option<AttemptLog> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Queues the log of an attempt for the store; nothing where it said nothing, or where nothing of the execution is kept.
pub(crate) fn keep(
    node: &Node,
    execution: ExecutionId,
    info: &Info,
    request: &TaskRequest,
    plugin: &Arc<str>,
    said: Said<'_>,
) -> Option<Answer<Vec<Verdict>>> {
    let log = said.log.take().map(bounded)?;
    let silent = log.lines.is_empty() && log.stdout.is_empty() && log.stderr.is_empty();
    let express = info.execution_arn.split(':').nth(5) == Some("express");
    // What a tenant's tasks say is not kept any more where it has stored its part.
    let full = node.allowances.has_room(&info.tenant, 0).is_err();
    if silent || express || full {
        return None;
    }
    let (at, attempt) = (now(), request.task.attempt);
    let place = prefix(execution);
    // Attempts that are dispatched again say something again.
    let name = format!(
        "{place}{:016x}/{:016x}/{attempt:08x}",
        at.0, request.task.entry
    );
    let stored = Stored {
        state: request.state.clone(),
        entered_id: Some(request.entered_id),
        attempt,
        plugin: plugin.clone(),
        at_ms: at.0,
        lines: log.lines,
        stdout: log.stdout,
        stderr: log.stderr,
        cut: log.cut,
        progress: said.progress,
    };
    let bytes = record::encode(&stored);
    let size = bytes.len() as u64;
    let write = CatalogWrite {
        key: CatalogKey {
            tenant: info.tenant.clone(),
            kind: KIND.into(),
            name: name.into(),
        },
        expected: None,
        bytes: Some(bytes),
    };
    node.allowances.stored(&info.tenant, size);
    let charge = keeping::charge(&info.tenant, &info.machine_arn, size);
    let writes = vec![Write::Catalog(vec![write]), charge];
    Some(node.journal.commit(writes))
}

/// Names of an execution's records, which are in order of time behind it.
fn prefix(execution: ExecutionId) -> String {
    format!("{:016x}/", execution.0)
}

/// The log within [`ATTEMPT_LOG_BYTES_MAX`]: its first lines, and the ends of what was printed in what room is left.
fn bounded(mut log: AttemptLog) -> AttemptLog {
    let mut room = ATTEMPT_LOG_BYTES_MAX;
    let fits = log.lines.iter().take_while(|line| {
        let fields = line
            .fields
            .iter()
            .map(|(name, value)| name.len() + value.len());
        let size = line.message.len() + fields.sum::<usize>() + 32;
        let fits = size <= room;
        room -= if fits { size } else { 0 };
        fits
    });
    let fits = fits.count();
    log.cut |= fits < log.lines.len();
    log.lines.truncate(fits);
    for text in [&mut log.stderr, &mut log.stdout] {
        let from = text.ceil_char_boundary(text.len().saturating_sub(room));
        log.cut |= from > 0;
        text.drain(..from);
        room -= text.len();
    }
    log
}

impl Engine {
    /// The logs of an execution's attempts, in the order in which these ended.
    ///
    /// # Errors
    /// There is no such execution of the caller's, or the page's token is none.
    pub async fn attempt_logs(
        &self,
        caller: &Caller,
        arn: &str,
        page: &PageRequest,
    ) -> Result<Page<KeptLog>, Error> {
        let (row, _) = self.execution_row(caller, arn).await?;
        let found = self.scan_page(caller, KIND, &prefix(row.id), page).await?;
        self.shown(found, |record| {
            let Stored {
                state,
                entered_id,
                attempt,
                plugin,
                at_ms,
                lines,
                stdout,
                stderr,
                cut,
                progress,
            } = record::decode(&record.bytes)?;
            Ok(KeptLog {
                state,
                entered_id,
                attempt,
                plugin,
                at: Timestamp(at_ms),
                log: AttemptLog {
                    lines,
                    stdout,
                    stderr,
                    cut,
                },
                progress,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(message: &str) -> TaskLogLine {
        TaskLogLine {
            level: TaskLogLevel::Info,
            message: message.to_owned(),
            fields: vec![("n".to_owned(), "1".to_owned())],
            after_ms: 1,
        }
    }

    #[test]
    fn what_is_kept_is_bounded_and_says_so() {
        let small = AttemptLog {
            lines: vec![line("a")],
            stderr: "b".to_owned(),
            ..AttemptLog::default()
        };
        assert_eq!(bounded(small.clone()), small);
        let many = AttemptLog {
            lines: vec![line(&"x".repeat(1000)); 100],
            stdout: "é".repeat(ATTEMPT_LOG_BYTES_MAX),
            stderr: "e".repeat(100),
            ..AttemptLog::default()
        };
        let kept = bounded(many);
        assert!(kept.cut && kept.lines.len() > 50 && kept.lines.len() < 100);
        let size = kept.stdout.len() + kept.stderr.len() + kept.lines.len() * 1034;
        assert!(size <= ATTEMPT_LOG_BYTES_MAX, "{size}");
    }
}
