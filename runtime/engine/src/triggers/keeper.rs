//! Looks at what is due and fires it. Hides how much at a time, and when it looks again.
//!
//! A node does, the one that holds the first partition. Two that both believe to hold it (one is slow to notice) start the same
//! executions under the same names, and one of them finds its record changed.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, stream};
use stepwell_interp::Timestamp;
use tokio::sync::Notify;

use super::{
    Attempted, Counts, FiringOutcome, TriggerKind,
    deliveries::Quiet,
    firing::{self, Ended, Step},
    http::{Denied, LastRequests},
    iso,
    look::LookPulse,
    queue::{Due, Queue},
    run_name,
    schedule::ScheduleRecord,
    schedules,
    timing::Timing,
};
use crate::{
    api::{Caller, StartRequest},
    engine::Engine,
    error::Error,
    journal::{CatalogKey, Write},
    limits::{DUE_AT_A_TIME, DUE_PAGE, TRIGGERS_REST_MAX, TRIGGERS_REST_MIN},
    node, reader,
};

/// Characters of a schedule's name in those of its executions.
const NAME_CHARS: usize = 27;

/// What a node's keeper of triggers shares with those who make something due.
#[derive(Default)]
pub(crate) struct TriggerKeeper {
    called: Notify,
    /// When it looks again without being called.
    next_ms: AtomicU64,
    pub(super) counts: Counts,
    pub(crate) pulse: LookPulse,
    pub(super) denied: Denied,
    pub(super) requests: LastRequests,
    pub(super) quiet: Quiet,
}

impl TriggerKeeper {
    /// Something is due then.
    pub(super) fn call(&self, at_ms: u64) {
        if self.next_ms.fetch_min(at_ms, SeqCst) > at_ms {
            self.called.notify_one();
        }
    }

    /// Waits until something may be due.
    pub(crate) async fn rest(&self, rest: Duration) {
        let _ = tokio::time::timeout(rest, self.called.notified()).await;
    }
}

/// When something is due again; what failed is tried a second later and holds up nothing else.
pub(super) fn or_later(fired: Result<Option<u64>, Error>, now: Timestamp) -> Option<u64> {
    const LATER_MS: u64 = 1_000;
    fired.unwrap_or_else(|error| {
        tracing::error!(%error, "what a trigger has due cannot be read or written; it is tried again");
        Some(now.0.saturating_add(LATER_MS))
    })
}

impl Engine {
    /// Fires what is due by now; tells how long nothing else is.
    pub(crate) async fn fire_due(&self) -> Duration {
        let keeper = &self.node().triggers;
        // Who makes something due from here on calls.
        keeper.next_ms.store(u64::MAX, SeqCst);
        let now = node::now();
        match self.fire_due_at(now).await {
            Ok(next_ms) => {
                let next_ms = next_ms.unwrap_or(u64::MAX);
                keeper.next_ms.fetch_min(next_ms, SeqCst);
                let rest = Duration::from_millis(next_ms.saturating_sub(node::now().0));
                rest.clamp(TRIGGERS_REST_MIN, TRIGGERS_REST_MAX)
            }
            Err(error) => {
                tracing::error!(%error, "what triggers have due cannot be read or written; it is tried again");
                TRIGGERS_REST_MAX
            }
        }
    }

    /// Fires what is at the front of the queues; tells when something is due next.
    pub(crate) async fn fire_due_at(&self, now: Timestamp) -> Result<Option<u64>, Error> {
        let schedules = self.fire_schedules(now).await?;
        let deliveries = self.fire_deliveries(now).await?;
        Ok(schedules.into_iter().chain(deliveries).min())
    }

    async fn fire_schedules(&self, now: Timestamp) -> Result<Option<u64>, Error> {
        let queue = Queue::Schedules;
        let journal = &self.node().journal;
        let page = journal.scan("", queue.kind(), "", None, DUE_PAGE).await;
        let page = page.map_err(reader::broken)?;
        let (due, mut next) = queue.due(page, DUE_PAGE, now);
        let fired = stream::iter(due)
            .map(|(entry, _)| async move { self.fire_or_put_aside(&entry, now).await });
        let mut fired = fired.buffer_unordered(DUE_AT_A_TIME);
        while let Some(again) = fired.next().await {
            // What one leads to, another run or another try, may be due before what was seen.
            next = next.into_iter().chain(or_later(again, now)).min();
        }
        Ok(next)
    }

    /// The same for one schedule; one that panics holds up no others.
    async fn fire_or_put_aside(&self, entry: &Due, now: Timestamp) -> Result<Option<u64>, Error> {
        let fired = AssertUnwindSafe(self.fire_schedule(entry, now)).catch_unwind();
        match fired.await {
            Ok(fired) => fired,
            Err(_) => {
                let why = "it broke down; a line before this one says where".to_owned();
                self.put_aside(entry, now, &Error::Broken(why)).await
            }
        }
    }

    /// Does what is to be done about one schedule; tells when it is due again.
    async fn fire_schedule(&self, entry: &Due, now: Timestamp) -> Result<Option<u64>, Error> {
        let key = CatalogKey {
            tenant: entry.tenant.clone(),
            kind: schedules::KIND.into(),
            name: entry.name.clone(),
        };
        let found = match self.stored_schedule(&key).await {
            Ok(found) => found,
            Err(error @ Error::Damaged(_)) => return self.put_aside(entry, now, &error).await,
            Err(error) => return Err(error),
        };
        let due_ms = found.as_ref().and_then(|(record, _)| record.due_ms());
        let Some((record, revision)) = found.filter(|_| due_ms == Some(entry.at_ms)) else {
            return self.right(entry, due_ms).await;
        };
        let timing = match record.timing() {
            Ok(timing) => timing,
            Err(why) => return self.put_aside(entry, now, &Error::Damaged(why)).await,
        };
        let Some(after) = self.stepped(&key, &record, &timing, now).await else {
            return Ok(record.due_ms());
        };
        let kept = Some(&after).filter(|after| !firing::is_over(after));
        let write = schedules::writes(&key, Some((&record, revision)), kept);
        match self.verdict(write).await? {
            Ok(_) => Ok(kept.and_then(ScheduleRecord::due_ms)),
            // Someone changed it meanwhile: it is looked at again.
            Err(_) => Ok(Some(now.0)),
        }
    }

    /// The schedule's record once what is to be done is done; `None` when there is nothing.
    async fn stepped(
        &self,
        key: &CatalogKey,
        record: &ScheduleRecord,
        timing: &Timing,
        now: Timestamp,
    ) -> Option<ScheduleRecord> {
        let counts = &self.node().triggers.counts;
        let count = |outcome, more| counts.add(TriggerKind::Schedule, outcome, more);
        match firing::step(record, timing, now.0) {
            Step::Nothing => None,
            Step::Pass { missed, next_s } => {
                count(FiringOutcome::Missed, missed);
                Some(firing::passed(record, missed, next_s))
            }
            Step::GiveUp { due_s } => {
                let last = record.last_failed.as_ref();
                let why = last.and_then(|last| last.error.clone());
                let never = Ended::Never(why.unwrap_or_else(|| "it is too late".to_owned()));
                count(FiringOutcome::Failed, 1);
                Some(firing::ended(record, timing, due_s, u32::MAX, never, now.0).0)
            }
            Step::Start { due_s, attempt } => {
                let attempted = self.start_run(key, record, due_s, attempt).await;
                let repeated = matches!(attempted, Attempted::Started { now: false, .. });
                let ended = match attempted {
                    Attempted::Started { arn, .. } => Ended::Started(arn),
                    Attempted::Later(why) => Ended::Later(why),
                    Attempted::Never(why) => Ended::Never(why),
                };
                let (after, outcome) = firing::ended(record, timing, due_s, attempt, ended, now.0);
                let outcome = match repeated {
                    true => FiringOutcome::Repeated,
                    false => outcome,
                };
                count(outcome, 1);
                Some(after)
            }
        }
    }

    /// Puts an entry right whose schedule was changed since the entry was read, or had been put aside.
    async fn right(&self, entry: &Due, due_ms: Option<u64>) -> Result<Option<u64>, Error> {
        let mut writes = vec![Queue::Schedules.remove(entry)];
        writes.extend(due_ms.map(|at_ms| {
            let own = Due {
                at_ms,
                ..entry.clone()
            };
            Queue::Schedules.put(&own, Arc::from(&b""[..]))
        }));
        let _ = self.verdict(Write::Catalog(writes)).await?;
        Ok(due_ms)
    }

    /// Starts a run of a schedule under its name.
    pub(super) async fn start_run(
        &self,
        key: &CatalogKey,
        record: &ScheduleRecord,
        due_s: i64,
        attempt: u32,
    ) -> Attempted {
        let region = key.name.split('/').next().unwrap_or_default();
        let caller = Caller {
            tenant: key.tenant.clone(),
            region: region.into(),
        };
        let short: String = record.spec.name.chars().take(NAME_CHARS).collect();
        let time = iso(due_s).replace(['-', ':'], "");
        let name = run_name(
            &format!("{short}-{time}"),
            &["schedule", &record.uid, &due_s.to_string()],
        );
        let request = StartRequest {
            machine_arn: record.spec.target.arn.clone(),
            input: Some(record.input(&caller, due_s, &name, attempt)),
            name: Some(name),
            trace_header: None,
        };
        self.attempt(&caller, request).await
    }

    /// Starts the execution of a run, unless it was started before.
    pub(super) async fn attempt(&self, caller: &Caller, request: StartRequest) -> Attempted {
        match self.start_once(caller, request).await {
            Ok(once) => Attempted::Started {
                arn: once.started.execution_arn.to_string(),
                now: once.before.is_none(),
            },
            Err(error) => Attempted::of_error(error),
        }
    }

    /// What cannot be read must not hold up the others: its entry is looked at again in an hour.
    async fn put_aside(
        &self,
        entry: &Due,
        now: Timestamp,
        error: &Error,
    ) -> Result<Option<u64>, Error> {
        const ASIDE_MS: u64 = 3_600_000;
        tracing::error!(
            %error,
            tenant = &*entry.tenant,
            schedule = &*entry.name,
            "a schedule cannot be dealt with and does not run; it is tried again in an hour"
        );
        let later = Due {
            at_ms: now.0 + ASIDE_MS,
            ..entry.clone()
        };
        let moved = vec![
            Queue::Schedules.remove(entry),
            Queue::Schedules.put(&later, Arc::from(&b""[..])),
        ];
        let _ = self.verdict(Write::Catalog(moved)).await?;
        Ok(Some(later.at_ms))
    }

    /// Something may be due earlier than the keeper knows.
    pub(super) fn call_keeper(&self, at_ms: Option<u64>) {
        if let Some(at_ms) = at_ms {
            self.node().triggers.call(at_ms);
        }
    }

    /// How often triggers fired since the engine was opened.
    pub fn trigger_counts(&self) -> Vec<(TriggerKind, FiringOutcome, u64)> {
        self.node().triggers.counts.all()
    }
}
