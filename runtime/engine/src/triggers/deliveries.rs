//! Deliveries: starts that events are to make, each an entry of the queue of what is due. Hides their records, how often one is
//! tried, and which tenants have none.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use stepwell_interp::Timestamp;

use super::{
    Attempted, FiringOutcome, TriggerKind,
    keeper::or_later,
    pause_ms,
    queue::{DELIVERING, Due, Queue},
    rules::{EventTarget, LastRecord, RuleRecord, last_key},
    run_name,
    schedule::LastRun,
};
use crate::{
    api::{Caller, StartRequest},
    engine::Engine,
    error::Error,
    journal::{CatalogRecord, CatalogWrite, Write},
    limits::{DELIVERIES_A_TURN, DELIVERIES_AT_A_TIME, DUE_AT_A_TIME, ROWS_MAX},
    reader, record,
};

/// Characters of a rule's name and of an event's id in the names of executions.
const RULE_CHARS: usize = 20;
const ID_CHARS: usize = 23;

/// Stored form, codec v1: a start that an event is to make. It is an entry of the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Delivery {
    region: String,
    rule: String,
    arn: String,
    /// Of the execution.
    name: String,
    input: String,
    accepted_ms: u64,
    age_s_max: u32,
    retries_max: u32,
    #[serde(default)]
    attempts: u32,
}

/// Which tenants have nothing due, as of what the record that names them holds: who puts events writes something new there.
#[derive(Default)]
pub(super) struct Quiet(Mutex<BTreeMap<Arc<str>, Asleep>>);

/// A tenant with nothing due.
struct Asleep {
    mark: Arc<[u8]>,
    /// When its next delivery is, if it has one.
    next_ms: Option<u64>,
}

impl Quiet {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Asleep>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, named: &CatalogRecord, next_ms: Option<u64>) {
        let mark = named.bytes.clone();
        let tenant = named.key.name.clone();
        self.lock().insert(tenant, Asleep { mark, next_ms });
    }

    /// When the tenant that the record names has something due next; `None` when it has to be looked at now.
    fn until(&self, named: &CatalogRecord, now: Timestamp) -> Option<Option<u64>> {
        let asleep = self.lock();
        let asleep = asleep.get(&named.key.name)?;
        let still = asleep.next_ms.is_none_or(|next_ms| next_ms > now.0);
        (asleep.mark == named.bytes && still).then_some(asleep.next_ms)
    }
}

impl Engine {
    /// Makes deliveries that are due, some of each tenant; tells when the next one is.
    pub(super) async fn fire_deliveries(&self, now: Timestamp) -> Result<Option<u64>, Error> {
        let mut next = None;
        let mut after: Option<Arc<str>> = None;
        loop {
            let journal = &self.node().journal;
            let page = journal.scan("", DELIVERING, "", after.as_deref(), ROWS_MAX);
            let page = page.await.map_err(reader::broken)?;
            after = page.last().map(|named| named.key.name.clone());
            let whole = page.len() == ROWS_MAX as usize;
            let mut awake = Vec::new();
            for named in page {
                match self.node().triggers.quiet.until(&named, now) {
                    Some(next_ms) => next = next.into_iter().chain(next_ms).min(),
                    None => awake.push(named),
                }
            }
            let fired = stream::iter(awake)
                .map(|named| async move { self.deliver_some(&named, now).await });
            let mut fired = fired.buffer_unordered(DUE_AT_A_TIME);
            while let Some(again) = fired.next().await {
                next = next.into_iter().chain(or_later(again, now)).min();
            }
            if !whole {
                return Ok(next);
            }
        }
    }

    /// Makes a tenant's first deliveries that are due; tells when the next one is.
    async fn deliver_some(
        &self,
        named: &CatalogRecord,
        now: Timestamp,
    ) -> Result<Option<u64>, Error> {
        let queue = Queue::Deliveries;
        let tenant = &named.key.name;
        let journal = &self.node().journal;
        let page = journal.scan(tenant, queue.kind(), "", None, DELIVERIES_A_TURN);
        let page = page.await.map_err(reader::broken)?;
        let (due, mut next) = queue.due(page, DELIVERIES_A_TURN, now);
        if due.is_empty() {
            let quiet = &self.node().triggers.quiet;
            quiet.put(named, next);
            return Ok(next);
        }
        let made = stream::iter(due)
            .map(|(entry, stored)| async move { self.deliver(&entry, &stored, now).await });
        let mut made = made.buffer_unordered(DELIVERIES_AT_A_TIME);
        while let Some(again) = made.next().await {
            next = next.into_iter().chain(or_later(again, now)).min();
        }
        Ok(next)
    }

    /// Makes one delivery, or another attempt at it; tells when it is due again.
    async fn deliver(
        &self,
        entry: &Due,
        stored: &CatalogRecord,
        now: Timestamp,
    ) -> Result<Option<u64>, Error> {
        let removal = CatalogWrite {
            key: stored.key.clone(),
            expected: Some(stored.revision),
            bytes: None,
        };
        let delivery: Delivery = match record::decode(&stored.bytes) {
            Ok(delivery) => delivery,
            Err(error) => {
                // It cannot be made, now or later.
                tracing::error!(%error, entry = &*stored.key.name, "a delivery of an event cannot be read and is given up");
                let _ = self.verdict(Write::Catalog(vec![removal])).await?;
                return Ok(None);
            }
        };
        let caller = Caller {
            tenant: entry.tenant.clone(),
            region: delivery.region.as_str().into(),
        };
        let request = StartRequest {
            machine_arn: delivery.arn.clone(),
            name: Some(delivery.name.clone()),
            input: Some(delivery.input.clone()),
            trace_header: None,
        };
        let attempted = self.attempt(&caller, request).await;
        let (outcome, run, again) = delivery.after(attempted, now);
        let counts = &self.node().triggers.counts;
        counts.add(TriggerKind::Event, outcome, 1);
        let key = last_key(&entry.tenant, &delivery.region, &delivery.rule);
        let last = self.last_of(&key).await?;
        let mut writes = vec![removal, told(key, last, run)];
        let again = again.map(|(at_ms, attempts)| {
            let later = Due {
                at_ms,
                ..entry.clone()
            };
            let delivery = Delivery {
                attempts,
                ..delivery
            };
            writes.push(Queue::Deliveries.put(&later, record::encode(&delivery)));
            at_ms
        });
        // Refused when another node was faster: then all is done.
        let _ = self.verdict(Write::Catalog(writes)).await?;
        Ok(again)
    }
}

impl Delivery {
    /// How an attempt counts and is told of, and the time and the number of those before the next one, if there is to be one.
    fn after(
        &self,
        attempted: Attempted,
        now: Timestamp,
    ) -> (FiringOutcome, LastRun, Option<(u64, u32)>) {
        let accepted = Timestamp(self.accepted_ms);
        let age_ms = now.0.saturating_sub(self.accepted_ms);
        let over = self.attempts >= self.retries_max || age_ms > u64::from(self.age_s_max) * 1_000;
        let failed = |why| run_of(accepted, now, None, Some(why));
        match attempted {
            Attempted::Started { arn, now: fresh } => {
                let outcome = match fresh {
                    true => FiringOutcome::Started,
                    false => FiringOutcome::Repeated,
                };
                (outcome, run_of(accepted, now, Some(arn), None), None)
            }
            Attempted::Later(why) if !over => {
                let attempts = self.attempts + 1;
                let at_ms = now.0.saturating_add(pause_ms(attempts));
                let again = Some((at_ms, attempts));
                (FiringOutcome::Retried, failed(why), again)
            }
            Attempted::Later(why) | Attempted::Never(why) => {
                (FiringOutcome::Failed, failed(why), None)
            }
        }
    }
}

/// The write of what an event starts of a rule's target: a delivery that is due at once. The same event has the same ones.
pub(super) fn first(
    caller: &Caller,
    rule: &RuleRecord,
    target: &EventTarget,
    (id, source): (&str, &str),
    input: String,
    now: Timestamp,
) -> CatalogWrite {
    let short: String = rule.name.chars().take(RULE_CHARS).collect();
    let told: String = id.chars().take(ID_CHARS).collect();
    let parts = ["event", source, id, &rule.uid, &target.id];
    let name = run_name(&format!("{short}-{told}"), &parts);
    let due = Due {
        at_ms: now.0,
        tenant: caller.tenant.clone(),
        name: name.as_str().into(),
    };
    let delivery = Delivery {
        region: caller.region.to_string(),
        rule: rule.name.clone(),
        arn: target.arn.clone(),
        name,
        input,
        accepted_ms: now.0,
        age_s_max: target.age_s_max,
        retries_max: target.retries_max,
        attempts: 0,
    };
    Queue::Deliveries.put(&due, record::encode(&delivery))
}

/// How a delivery went.
pub(super) fn run_of(
    due: Timestamp,
    now: Timestamp,
    execution_arn: Option<String>,
    error: Option<String>,
) -> LastRun {
    LastRun {
        due_s: i64::try_from(due.0 / 1_000).unwrap_or(i64::MAX),
        at_ms: now.0,
        execution_arn,
        error,
    }
}

/// The write that tells how a rule's last delivery went.
pub(super) fn told(
    key: crate::journal::CatalogKey,
    last: LastRecord,
    run: LastRun,
) -> CatalogWrite {
    let last_failed = match run.error {
        Some(_) => Some(run.clone()),
        None => last.last_failed,
    };
    let bytes: Arc<[u8]> = record::encode(&LastRecord {
        last: Some(run),
        last_failed,
    });
    CatalogWrite {
        key,
        expected: None,
        bytes: Some(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::triggers::queue::delivering;

    #[test]
    fn a_tenant_is_left_alone_until_its_next_delivery_or_new_events() {
        let quiet = Quiet::default();
        let named = |mark: &str| CatalogRecord {
            key: delivering(&"000000000000".into()),
            revision: 1,
            bytes: mark.as_bytes().into(),
        };
        assert_eq!(quiet.until(&named("a"), Timestamp(5)), None);
        quiet.put(&named("a"), None);
        assert_eq!(quiet.until(&named("a"), Timestamp(5)), Some(None));
        assert_eq!(
            quiet.until(&named("b"), Timestamp(5)),
            None,
            "there are new events"
        );
        quiet.put(&named("b"), Some(9));
        assert_eq!(quiet.until(&named("b"), Timestamp(8)), Some(Some(9)));
        assert_eq!(
            quiet.until(&named("b"), Timestamp(9)),
            None,
            "one is due again"
        );
    }
}
