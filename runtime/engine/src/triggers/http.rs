//! HTTP triggers: a name under which a request starts an execution. Hides their records, that of a secret only a hash is kept, and
//! how a request that is sent again finds its execution.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use stepwell_interp::Timestamp;
use stepwell_query::Value;
use uuid::Uuid;

use super::{
    FiringOutcome, TriggerError, TriggerKind, run_name,
    schedule::LastRun,
    schedules::{check_description, check_machine, check_name, crossed},
};
use crate::{
    api::{Caller, Execution, Page, PageRequest, StartRequest, StartedExecution},
    dispatch::hex,
    engine::Engine,
    error::Error,
    journal::CatalogKey,
    limits::{
        CHANGE_ATTEMPTS_MAX, HTTP_DENIED_TOLD_EVERY, HTTP_KEY_CHARS_MAX, HTTP_LAST_KEPT_MAX,
        HTTP_TRIGGERS_MAX, HTTP_WAIT_S_MAX,
    },
    node,
    programs::sha256,
    quotas::START_EXPRESS,
    reader, record,
};

/// Kind of the records, which belong to their tenant.
pub(super) const KIND: &str = "http-trigger";

/// What a request is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HttpMode {
    /// The execution that it started.
    Start,
    /// Its output, if it ends within so many seconds.
    Wait { seconds: u32 },
}

/// What becomes of the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretChange {
    /// It stays as it is; a new trigger gets one.
    Keep,
    /// A new one takes its place.
    Draw,
    /// There is none: whoever reaches the server may send requests.
    Nothing,
}

/// A trigger as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewHttpTrigger {
    pub name: String,
    /// A state machine, a version or an alias.
    pub machine_arn: String,
    pub mode: HttpMode,
    pub secret: SecretChange,
    pub description: String,
    pub enabled: bool,
}

/// A trigger as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpTrigger {
    pub name: String,
    /// Its own: the path does not say it.
    pub region: String,
    pub machine_arn: String,
    pub mode: HttpMode,
    pub has_secret: bool,
    pub description: String,
    pub enabled: bool,
    pub created_at: Timestamp,
    pub modified_at: Timestamp,
    /// Since the server was started.
    pub last: Option<LastRun>,
    pub last_failed: Option<LastRun>,
    uid: String,
    secret_sha256: Option<String>,
}

/// What a request came to.
#[derive(Clone, Debug, PartialEq)]
pub enum HttpAnswer {
    Started {
        started: StartedExecution,
        /// By a request with the same Idempotency-Key.
        before: bool,
    },
    /// It has ended.
    Ended(Box<Execution>),
    /// It has not ended in time, and goes on.
    Running(StartedExecution),
    /// The Idempotency-Key was used for another request.
    OtherRequest { execution_arn: Arc<str> },
}

/// Stored form, codec v1: an HTTP trigger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HttpRecord {
    /// Tells it from others that had its name.
    uid: String,
    region: String,
    machine_arn: String,
    mode: HttpMode,
    /// Lower-case hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret_sha256: Option<String>,
    #[serde(default)]
    description: String,
    enabled: bool,
    #[serde(deserialize_with = "crate::record::date_ms")]
    created_ms: u64,
    #[serde(deserialize_with = "crate::record::date_ms")]
    modified_ms: u64,
}

/// That a request may start the execution of its trigger: it is counted against the rates, and there was room.
#[derive(Debug)]
pub struct HttpAdmission {
    /// It waits for a synchronous EXPRESS execution.
    sync: bool,
}

/// Requests that came without a trigger's secret. Told to the log now and then.
#[derive(Default)]
pub(crate) struct Denied(Mutex<(u64, Option<Instant>)>);

impl Denied {
    /// How many there were since that was last told, when it is time to tell.
    fn add(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, told) = &mut *state;
        *count += 1;
        let recent = |told: Instant| now.saturating_duration_since(told) < HTTP_DENIED_TOLD_EVERY;
        if told.is_some_and(recent) {
            return None;
        }
        *told = Some(now);
        Some(std::mem::take(count))
    }
}

/// How the last requests of triggers went, in memory: each is an execution, and a record of it would be a commit more.
#[derive(Default)]
pub(crate) struct LastRequests(Mutex<BTreeMap<LastKey, LastPair>>);

type LastKey = (Arc<str>, Arc<str>);
type LastPair = (Option<LastRun>, Option<LastRun>);

impl LastRequests {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<LastKey, LastPair>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, key: LastKey, run: LastRun) {
        let mut kept = self.lock();
        if kept.len() >= HTTP_LAST_KEPT_MAX && !kept.contains_key(&key) {
            return;
        }
        let (last, failed) = kept.entry(key).or_default();
        if run.error.is_some() {
            *failed = Some(run.clone());
        }
        *last = Some(run);
    }

    fn get(&self, key: &LastKey) -> LastPair {
        self.lock().get(key).cloned().unwrap_or_default()
    }

    /// A trigger is gone: what has its name later is another one.
    fn forget(&self, key: &LastKey) {
        self.lock().remove(key);
    }

    /// All triggers of a tenant are gone.
    pub(super) fn forget_all(&self, tenant: &Arc<str>) {
        self.lock().retain(|(of, _), _| of != tenant);
    }
}

impl HttpTrigger {
    /// Whether a request with that secret, or without one, may start something.
    pub fn admits(&self, secret: Option<&str>) -> bool {
        match (&self.secret_sha256, secret) {
            (None, _) => true,
            (Some(_), None) => false,
            // Of what is compared whoever sends chooses nothing but a hash's input.
            (Some(kept), Some(secret)) => *kept == hex(&sha256(secret.as_bytes())),
        }
    }

    /// On whose behalf its executions start.
    fn caller(&self, tenant: &Arc<str>) -> Caller {
        Caller {
            tenant: tenant.clone(),
            region: self.region.as_str().into(),
        }
    }
}

fn key(tenant: &Arc<str>, name: &str) -> CatalogKey {
    CatalogKey {
        tenant: tenant.clone(),
        kind: KIND.into(),
        name: name.into(),
    }
}

impl Engine {
    /// Makes an HTTP trigger, or replaces one; gives its secret when one was drawn, which is told now and never again.
    pub async fn put_http_trigger(
        &self,
        caller: &Caller,
        new: NewHttpTrigger,
    ) -> Result<Option<String>, TriggerError> {
        check_name("trigger", &new.name)?;
        check_description(&new.description)?;
        check_machine(caller, &new.machine_arn)?;
        if let HttpMode::Wait { seconds } = new.mode
            && !(1..=HTTP_WAIT_S_MAX).contains(&seconds)
        {
            return Err(TriggerError::Invalid(format!(
                "an HTTP trigger waits from 1 to {HTTP_WAIT_S_MAX} seconds, and not {seconds}"
            )));
        }
        let key = key(&caller.tenant, &new.name);
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            let old = self.stored_http(&key).await?;
            if old.is_none() {
                self.check_http_room(caller).await?;
            }
            let now = node::now().0;
            let drawn = match (new.secret, &old) {
                (SecretChange::Nothing, _) | (SecretChange::Keep, Some(_)) => None,
                (SecretChange::Draw, _) | (SecretChange::Keep, None) => {
                    Some(URL_SAFE_NO_PAD.encode(node::os_seed()))
                }
            };
            let hash = drawn.as_ref().map(|secret| hex(&sha256(secret.as_bytes())));
            let (revision, before) = match old {
                Some((record, revision)) => (revision, Some(record)),
                None => (0, None),
            };
            let kept = before.as_ref().and_then(|old| old.secret_sha256.clone());
            let record = HttpRecord {
                uid: before.as_ref().map_or_else(
                    || Uuid::new_v4().simple().to_string(),
                    |old| old.uid.clone(),
                ),
                region: caller.region.to_string(),
                machine_arn: new.machine_arn.clone(),
                mode: new.mode,
                secret_sha256: match new.secret {
                    SecretChange::Nothing => None,
                    SecretChange::Keep | SecretChange::Draw => hash.or(kept),
                },
                description: new.description.clone(),
                enabled: new.enabled,
                created_ms: before.as_ref().map_or(now, |old| old.created_ms),
                modified_ms: now,
            };
            let size = |record: &HttpRecord| record::encode(record).len() as u64;
            let from = (before.as_ref().map_or(0, size), revision);
            let (arn, bytes) = (&record.machine_arn, record::encode(&record));
            if self.put_grown(&key, arn, from, bytes).await? {
                return Ok(drawn);
            }
        }
        Err(crossed(&new.name))
    }

    async fn check_http_room(&self, caller: &Caller) -> Result<(), TriggerError> {
        let most = u32::try_from(HTTP_TRIGGERS_MAX).unwrap_or(u32::MAX);
        let journal = &self.node().journal;
        let there = journal.scan(&caller.tenant, KIND, "", None, most).await;
        if there.map_err(reader::broken)?.len() < HTTP_TRIGGERS_MAX {
            return Ok(());
        }
        Err(TriggerError::Full(format!(
            "there are {HTTP_TRIGGERS_MAX} HTTP triggers, which is as many as there may be"
        )))
    }

    /// An HTTP trigger of a tenant.
    pub async fn http_trigger(
        &self,
        tenant: &Arc<str>,
        name: &str,
    ) -> Result<HttpTrigger, TriggerError> {
        let found = self.stored_http(&key(tenant, name)).await?;
        let (record, _) = found.ok_or_else(|| absent(name))?;
        Ok(self.shown_http(tenant, name, record))
    }

    /// A page of a tenant's HTTP triggers by name.
    pub async fn http_triggers(
        &self,
        caller: &Caller,
        page: PageRequest,
    ) -> Result<Page<HttpTrigger>, TriggerError> {
        let found = self.scan_page(caller, KIND, "", &page).await?;
        let shown = self.shown(found, |stored| {
            let record = record::decode(&stored.bytes)?;
            Ok(self.shown_http(&caller.tenant, &stored.key.name, record))
        });
        Ok(shown?)
    }

    /// Enables or disables an HTTP trigger.
    pub async fn enable_http_trigger(
        &self,
        caller: &Caller,
        name: &str,
        enabled: bool,
    ) -> Result<(), TriggerError> {
        let key = key(&caller.tenant, name);
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            let found = self.stored_http(&key).await?;
            let (old, revision) = found.ok_or_else(|| absent(name))?;
            let record = HttpRecord {
                enabled,
                modified_ms: node::now().0,
                ..old
            };
            let bytes = record::encode(&record);
            if self.put(&key, Some(revision), Some(bytes)).await?.is_ok() {
                return Ok(());
            }
        }
        Err(crossed(name))
    }

    /// Deletes an HTTP trigger.
    pub async fn delete_http_trigger(
        &self,
        caller: &Caller,
        name: &str,
    ) -> Result<(), TriggerError> {
        let key = key(&caller.tenant, name);
        if self.record(&key).await?.is_none() {
            return Err(absent(name));
        }
        let _ = self.put(&key, None, None).await?;
        let requests = &self.node().triggers.requests;
        requests.forget(&(caller.tenant.clone(), name.into()));
        Ok(())
    }

    /// Counts a request of a trigger against the rates, and looks whether its execution may start, before anything is read of
    /// the request or written about it.
    pub async fn admit_http(
        &self,
        tenant: &Arc<str>,
        trigger: &HttpTrigger,
    ) -> Result<HttpAdmission, TriggerError> {
        let caller = trigger.caller(tenant);
        let admitted = self.admitted(&caller, trigger).await;
        if let Err(error) = &admitted {
            self.note_request(
                tenant,
                trigger,
                FiringOutcome::Failed,
                Err(error.to_string()),
            );
        }
        Ok(admitted?)
    }

    async fn admitted(
        &self,
        caller: &Caller,
        trigger: &HttpTrigger,
    ) -> Result<HttpAdmission, Error> {
        let chosen = self.startable(caller, &trigger.machine_arn).await?;
        let express = chosen.startable.express;
        let sync = express && matches!(trigger.mode, HttpMode::Wait { .. });
        let operation = match (sync, express) {
            (true, _) => "StartSyncExecution",
            (false, true) => START_EXPRESS,
            (false, false) => "StartExecution",
        };
        self.admit(&caller.tenant, operation)?;
        // Given back at once: the start takes its own.
        drop(self.node().allowances.start(&caller.tenant)?);
        Ok(HttpAdmission { sync })
    }

    /// A request came without a trigger's secret, or with another one.
    pub fn denied_http(&self, tenant: &Arc<str>, trigger: &HttpTrigger) {
        let triggers = &self.node().triggers;
        triggers
            .counts
            .add(TriggerKind::Http, FiringOutcome::Denied, 1);
        if let Some(requests) = triggers.denied.add(Instant::now()) {
            tracing::warn!(
                tenant = &**tenant,
                trigger = trigger.name,
                requests,
                "requests are refused that do not have an HTTP trigger's secret; this is the last one"
            );
        }
    }

    fn note_request(
        &self,
        tenant: &Arc<str>,
        trigger: &HttpTrigger,
        outcome: FiringOutcome,
        ended: Result<Option<String>, String>,
    ) {
        let triggers = &self.node().triggers;
        triggers.counts.add(TriggerKind::Http, outcome, 1);
        let (execution_arn, error) = match ended {
            Ok(None) => return,
            Ok(Some(arn)) => (Some(arn), None),
            Err(error) => (None, Some(error)),
        };
        let now = node::now();
        let run = LastRun {
            due_s: i64::try_from(now.0 / 1_000).unwrap_or(i64::MAX),
            at_ms: now.0,
            execution_arn,
            error,
        };
        let key = (tenant.clone(), trigger.name.as_str().into());
        triggers.requests.put(key, run);
    }

    /// Starts the execution of a request, whose JSON it gets as its input. With the key of one that came before it finds that
    /// one's.
    ///
    /// # Errors
    /// Also when a key is given that nothing could be found by.
    pub async fn fire_http(
        &self,
        tenant: &Arc<str>,
        trigger: &HttpTrigger,
        admission: HttpAdmission,
        input: Value,
        key: Option<&str>,
    ) -> Result<HttpAnswer, TriggerError> {
        let caller = trigger.caller(tenant);
        let request = (input, key);
        let fired = self
            .fire_request(&caller, trigger, admission, request)
            .await;
        let (outcome, ended) = match &fired {
            Ok(HttpAnswer::Started {
                started,
                before: false,
            })
            | Ok(HttpAnswer::Running(started)) => {
                let arn = started.execution_arn.to_string();
                (FiringOutcome::Started, Ok(Some(arn)))
            }
            Ok(HttpAnswer::Ended(ended)) => {
                (FiringOutcome::Started, Ok(Some(ended.arn.to_string())))
            }
            Ok(HttpAnswer::Started { before: true, .. } | HttpAnswer::OtherRequest { .. }) => {
                (FiringOutcome::Repeated, Ok(None))
            }
            Err(error) => (FiringOutcome::Failed, Err(error.to_string())),
        };
        self.note_request(tenant, trigger, outcome, ended);
        fired
    }

    async fn fire_request(
        &self,
        caller: &Caller,
        trigger: &HttpTrigger,
        admission: HttpAdmission,
        (input, key): (Value, Option<&str>),
    ) -> Result<HttpAnswer, TriggerError> {
        if let Some(key) = key {
            check_key(key)?;
        }
        let readable = format!("http-{}", trigger.name);
        let name = match key {
            Some(key) => run_name(&readable, &["http", &trigger.uid, key]),
            None => run_name(&readable, &["http", &Uuid::new_v4().to_string()]),
        };
        let request = StartRequest {
            machine_arn: trigger.machine_arn.clone(),
            name: Some(name),
            input: Some(input.to_json()),
            trace_header: None,
        };
        let seconds = match trigger.mode {
            HttpMode::Start => None,
            HttpMode::Wait { seconds } => Some(seconds),
        };
        if admission.sync {
            if key.is_some() {
                return Err(TriggerError::Invalid(
                    "nothing is kept of a synchronous EXPRESS execution that an Idempotency-Key could find: send the request without one, or have the trigger start a STANDARD state machine"
                        .to_owned(),
                ));
            }
            let ended = self.start_sync(caller, request).await?;
            return Ok(HttpAnswer::Ended(Box::new(ended.execution)));
        }
        let once = self.start_once_admitted(caller, request).await?;
        if let Some(before) = once.before {
            let journal = self.node().journal.as_ref();
            let kept = reader::start_of_execution(journal, before).await?;
            if kept.is_some_and(|kept| kept.input.get("body") != input.get("body")) {
                let execution_arn = once.started.execution_arn;
                return Ok(HttpAnswer::OtherRequest { execution_arn });
            }
        }
        let Some(seconds) = seconds else {
            return Ok(HttpAnswer::Started {
                started: once.started,
                before: once.before.is_some(),
            });
        };
        let ending = self.wait(caller, &once.started.execution_arn);
        match tokio::time::timeout(Duration::from_secs(seconds.into()), ending).await {
            Ok(ended) => Ok(HttpAnswer::Ended(Box::new(ended?))),
            Err(_) => Ok(HttpAnswer::Running(once.started)),
        }
    }

    fn shown_http(&self, tenant: &Arc<str>, name: &str, record: HttpRecord) -> HttpTrigger {
        let requests = &self.node().triggers.requests;
        let (last, last_failed) = requests.get(&(tenant.clone(), name.into()));
        HttpTrigger {
            name: name.to_owned(),
            region: record.region,
            machine_arn: record.machine_arn,
            mode: record.mode,
            has_secret: record.secret_sha256.is_some(),
            description: record.description,
            enabled: record.enabled,
            created_at: Timestamp(record.created_ms),
            modified_at: Timestamp(record.modified_ms),
            last,
            last_failed,
            uid: record.uid,
            secret_sha256: record.secret_sha256,
        }
    }

    async fn stored_http(
        &self,
        key: &CatalogKey,
    ) -> Result<Option<(HttpRecord, u64)>, TriggerError> {
        let Some(stored) = self.record(key).await? else {
            return Ok(None);
        };
        Ok(Some((record::decode(&stored.bytes)?, stored.revision)))
    }
}

fn check_key(key: &str) -> Result<(), TriggerError> {
    if (1..=HTTP_KEY_CHARS_MAX).contains(&key.chars().count()) {
        return Ok(());
    }
    Err(TriggerError::Invalid(format!(
        "an Idempotency-Key has 1 to {HTTP_KEY_CHARS_MAX} characters"
    )))
}

fn absent(name: &str) -> TriggerError {
    TriggerError::NotFound(format!("there is no HTTP trigger `{name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_without_the_secret_are_told_now_and_then_with_how_many_there_were() {
        let (denied, began) = (Denied::default(), Instant::now());
        assert_eq!(denied.add(began), Some(1));
        for _ in 0..5 {
            assert_eq!(denied.add(began), None);
        }
        assert_eq!(denied.add(began + HTTP_DENIED_TOLD_EVERY), Some(6));
    }
}
