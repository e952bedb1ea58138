//! Events: accepted with a delivery for each target of each rule that they match, in one commit; delivered from the queue of what
//! is due. Hides the deliveries.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use stepwell_interp::Timestamp;
use stepwell_query::Value;
use uuid::Uuid;

use super::{
    Attempted, FiringOutcome, TriggerError, TriggerKind, iso,
    keeper::or_later,
    pattern::{Budget, Pattern, TOO_COSTLY},
    pause_ms,
    queue::{DELIVERING, Due, Queue, delivering},
    rules::{EventTarget, LastRecord, RuleRecord, last_key, rule_arn},
    run_name,
    schedule::LastRun,
    transform::Around,
};
use crate::{
    api::{Caller, StartRequest},
    engine::Engine,
    error::{Code, Error},
    journal::{CatalogRecord, CatalogWrite, Write},
    limits::{
        DELIVERIES_A_TURN, DELIVERIES_AT_A_TIME, DELIVERIES_BYTES_MAX, DUE_AT_A_TIME,
        EVENT_BYTES_MAX, ROWS_MAX,
    },
    node, reader, record,
};

/// Characters of a rule's name and of an event's id in the names of executions.
const RULE_CHARS: usize = 20;
const ID_CHARS: usize = 23;

/// An event as it comes.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// With its source it says which event this is, and one that comes again starts nothing anew; drawn when absent.
    pub id: Option<String>,
    pub source: String,
    pub detail_type: String,
    /// JSON text of an object.
    pub detail: String,
    pub resources: Vec<String>,
    /// Seconds since the Unix epoch; now when absent.
    pub time_s: Option<i64>,
}

/// What became of one event of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is durable, and will start what it matches.
    Yes { id: String },
    /// It is refused, with EventBridge's code and why.
    No { code: &'static str, why: String },
}

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

/// What is to be written of the events of one call.
#[derive(Default)]
struct Batch {
    writes: Vec<CatalogWrite>,
    bytes: usize,
    /// What the first of them starts: its usage tells of their bytes.
    arn: Option<String>,
    /// Deliveries that cannot be: the rule, when, and why.
    failed: Vec<(String, String)>,
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

    /// Takes events; those that are accepted are durable when this answers, with all that they start.
    pub async fn put_events(
        &self,
        caller: &Caller,
        events: Vec<Event>,
    ) -> Result<Vec<Accepted>, TriggerError> {
        let rules = self.all_rules(caller).await?;
        let rules: Vec<(RuleRecord, Pattern)> = rules
            .into_iter()
            .filter(|rule| rule.enabled)
            .filter_map(|rule| {
                let pattern = Pattern::parse(&rule.pattern).ok()?;
                Some((rule, pattern))
            })
            .collect();
        let now = node::now();
        let by = caller.clone();
        // Hundreds of patterns over large events may take long, on a thread that serves others.
        let taking = tokio::task::spawn_blocking(move || {
            let mut batch = Batch::default();
            let take = |event| batch.take(&by, &rules, event, now);
            let answers: Vec<Accepted> = events.into_iter().map(take).collect();
            (batch, answers)
        });
        let taken = taking.await;
        let (mut batch, answers) = taken.map_err(|error| Error::Broken(error.to_string()))?;
        let due = !batch.writes.is_empty();
        if due {
            // What they start would be refused, and lie in the store until it is given up.
            self.node().allowances.has_room(&caller.tenant)?;
            batch.writes.push(CatalogWrite {
                key: delivering(&caller.tenant),
                expected: None,
                bytes: Some(Uuid::new_v4().as_bytes()[..].into()),
            });
        }
        let counts = &self.node().triggers.counts;
        let failed = u64::try_from(batch.failed.len()).unwrap_or(u64::MAX);
        counts.add(TriggerKind::Event, FiringOutcome::Failed, failed);
        for (rule, why) in std::mem::take(&mut batch.failed) {
            let key = last_key(&caller.tenant, &caller.region, &rule);
            let run = run_of(now, now, None, Some(why));
            let last = self.last_of(&key).await?;
            batch.writes.push(told(key, last, run));
        }
        if due {
            let arn = batch.arn.unwrap_or_default();
            let (bytes, write) = (batch.bytes as u64, Write::Catalog(batch.writes));
            let tenant = &caller.tenant;
            self.node()
                .write_counted(tenant, &arn, bytes, write)
                .await?;
        } else if !batch.writes.is_empty() {
            self.write(Write::Catalog(batch.writes)).await?;
        }
        if due {
            self.call_keeper(Some(now.0));
        }
        Ok(answers)
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

impl Batch {
    fn take(
        &mut self,
        caller: &Caller,
        rules: &[(RuleRecord, Pattern)],
        event: Event,
        now: Timestamp,
    ) -> Accepted {
        let no = |code, why: String| Accepted::No { code, why };
        let (id, value) = match whole(caller, event, now) {
            Ok(whole) => whole,
            Err((code, why)) => return no(code, why),
        };
        let (writes, bytes, failed) = (self.writes.len(), self.bytes, self.failed.len());
        let budget = Budget::default();
        let matched = rules
            .iter()
            .filter(|(_, pattern)| pattern.matches(&value, &budget) && !budget.is_spent())
            .flat_map(|(rule, _)| rule.targets.iter().map(move |target| (rule, target)));
        for (rule, target) in matched {
            self.deliver(caller, rule, target, (&id, &value), now);
            // No more of it is held in memory than shows that it is too much.
            if self.bytes > DELIVERIES_BYTES_MAX {
                break;
            }
        }
        let costly = budget.is_spent();
        if costly || self.bytes > DELIVERIES_BYTES_MAX {
            self.writes.truncate(writes);
            self.failed.truncate(failed);
            self.bytes = bytes;
            if costly {
                return no("LimitExceededException", TOO_COSTLY.to_owned());
            }
            let why = format!(
                "what the events of this call start has more than {DELIVERIES_BYTES_MAX} bytes; send fewer at a time, or have fewer rules match"
            );
            return no("LimitExceededException", why);
        }
        Accepted::Yes { id }
    }

    fn deliver(
        &mut self,
        caller: &Caller,
        rule: &RuleRecord,
        target: &EventTarget,
        event: (&str, &Value),
        now: Timestamp,
    ) {
        let (id, value) = event;
        let source = value.get("source").and_then(Value::as_str);
        let source = source.unwrap_or_default();
        let around = Around {
            rule_arn: &rule_arn(caller, &rule.name),
            rule_name: &rule.name,
            time: &iso(i64::try_from(now.0 / 1_000).unwrap_or(i64::MAX)),
        };
        let input = match target.input.of(value, &around) {
            Ok(input) => input,
            Err(why) => {
                self.failed.push((rule.name.clone(), why));
                return;
            }
        };
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
        let bytes = record::encode(&delivery);
        self.bytes = self.bytes.saturating_add(bytes.len());
        self.arn.get_or_insert_with(|| target.arn.clone());
        self.writes.push(Queue::Deliveries.put(&due, bytes));
    }
}

/// The event as targets get it, with its id; or the code and the text of its refusal.
fn whole(
    caller: &Caller,
    event: Event,
    now: Timestamp,
) -> Result<(String, Value), (&'static str, String)> {
    let invalid = |why: &str| Err(("InvalidArgument", why.to_owned()));
    if event.source.is_empty() {
        return invalid("Parameter Source is not valid. Reason: Source is a required argument.");
    }
    if event.detail_type.is_empty() {
        return invalid(
            "Parameter DetailType is not valid. Reason: DetailType is a required argument.",
        );
    }
    if event.source.starts_with("aws.") {
        return Err((
            "NotAuthorizedForSourceException",
            "Not authorized for the source.".to_owned(),
        ));
    }
    let detail = match Value::parse(&event.detail) {
        Ok(detail @ Value::Object(_)) => detail,
        Ok(_) | Err(_) => return Err(("MalformedDetail", "Detail is malformed.".to_owned())),
    };
    let id = event.id.unwrap_or_else(|| Uuid::new_v4().to_string());
    let now_s = i64::try_from(now.0 / 1_000).unwrap_or(i64::MAX);
    let resources = event.resources.into_iter().map(Value::from);
    let value = Value::object([
        ("version", Value::from("0")),
        ("id", Value::from(id.as_str())),
        ("detail-type", Value::from(event.detail_type)),
        ("source", Value::from(event.source)),
        ("account", Value::from(&*caller.tenant)),
        ("time", Value::from(iso(event.time_s.unwrap_or(now_s)))),
        ("region", Value::from(&*caller.region)),
        ("resources", Value::array(resources)),
        ("detail", detail),
    ]);
    if value.json_bytes() > EVENT_BYTES_MAX {
        let why = format!("The event is larger than {EVENT_BYTES_MAX} bytes.");
        return Err(("LimitExceededException", why));
    }
    Ok((id, value))
}

fn run_of(
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
fn told(key: crate::journal::CatalogKey, last: LastRecord, run: LastRun) -> CatalogWrite {
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

/// A refusal of a call of events, by whoever translates it.
impl From<TriggerError> for Error {
    fn from(error: TriggerError) -> Error {
        match error {
            TriggerError::NotFound(text) => Error::rejected(Code::ResourceNotFound, text),
            TriggerError::Conflict(text) => Error::rejected(Code::ConflictException, text),
            TriggerError::Invalid(text) => Error::rejected(Code::ValidationException, text),
            TriggerError::Full(text) => Error::rejected(Code::ServiceQuotaExceededException, text),
            TriggerError::Engine(error) => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::triggers::transform::EventInput;

    fn caller() -> Caller {
        Caller {
            tenant: "000000000000".into(),
            region: "us-east-1".into(),
        }
    }

    fn event(id: Option<&str>) -> Event {
        Event {
            id: id.map(str::to_owned),
            source: "shop".into(),
            detail_type: "order".into(),
            detail: r#"{"n":1}"#.into(),
            resources: vec!["r".into()],
            time_s: Some(0),
        }
    }

    fn rule(targets: &[(&str, EventInput)]) -> (RuleRecord, Pattern) {
        let targets = targets.iter().map(|(id, input)| EventTarget {
            id: (*id).to_owned(),
            arn: "arn:m".into(),
            role_arn: None,
            input: input.clone(),
            age_s_max: 60,
            retries_max: 3,
        });
        let pattern = r#"{"source":["shop"]}"#;
        let record: RuleRecord = record::decode(&record::encode(&serde_json::json!({
            "uid": "u", "name": "orders", "pattern": pattern, "enabled": true, "createdMs": 1,
            "targets": targets.collect::<Vec<_>>(),
        })))
        .unwrap();
        (record, Pattern::parse(pattern).unwrap())
    }

    #[test]
    fn an_event_is_one_delivery_for_each_target_and_the_same_event_the_same_ones() {
        let rules = [rule(&[
            ("a", EventInput::Event),
            ("b", EventInput::Constant("1".into())),
        ])];
        let names = |id: Option<&str>| {
            let mut batch = Batch::default();
            let answer = batch.take(&caller(), &rules, event(id), Timestamp(5));
            assert!(matches!(answer, Accepted::Yes { .. }), "{answer:?}");
            let names = batch.writes.iter().map(|write| write.key.name.clone());
            names.collect::<Vec<_>>()
        };
        assert_eq!(names(Some("7")).len(), 2);
        assert_eq!(names(Some("7")), names(Some("7")));
        assert_ne!(names(Some("7"))[0], names(Some("7"))[1]);
        assert_ne!(names(Some("7")), names(Some("8")));
        assert_ne!(names(None), names(None));
    }

    #[test]
    fn a_tenant_is_left_alone_until_its_next_delivery_or_new_events() {
        let quiet = Quiet::default();
        let named = |mark: &str| CatalogRecord {
            key: delivering(&caller().tenant),
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

    #[test]
    fn a_target_that_gets_nothing_fails_alone() {
        let nothing = EventInput::Path("$.detail.absent".into());
        let rules = [rule(&[("a", nothing), ("b", EventInput::Event)])];
        let mut batch = Batch::default();
        batch.take(&caller(), &rules, event(None), Timestamp(5));
        assert_eq!((batch.writes.len(), batch.failed.len()), (1, 1));
    }

    #[test]
    fn what_is_no_event_is_refused_with_the_services_codes() {
        type Break = fn(&mut Event);
        let breaks: [(Break, &str); 5] = [
            (|event| event.source.clear(), "InvalidArgument"),
            (|event| event.detail_type.clear(), "InvalidArgument"),
            (|event| event.detail = "[]".into(), "MalformedDetail"),
            (
                |event| event.source = "aws.ec2".into(),
                "NotAuthorizedForSourceException",
            ),
            (
                |event| event.detail = format!("{{\"a\":\"{}\"}}", "x".repeat(EVENT_BYTES_MAX)),
                "LimitExceededException",
            ),
        ];
        for (change, wanted) in breaks {
            let mut event = event(None);
            change(&mut event);
            let answer = Batch::default().take(&caller(), &[], event, Timestamp(5));
            assert!(
                matches!(answer, Accepted::No { code, .. } if code == wanted),
                "{answer:?}"
            );
        }
    }
}
