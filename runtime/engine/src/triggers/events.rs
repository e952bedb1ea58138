//! Events as they come: accepted with a delivery for each target of each rule that they match, in one commit. Hides the matching
//! and what of a call is too much.

use stepwell_interp::Timestamp;
use stepwell_query::Value;
use uuid::Uuid;

use super::{
    FiringOutcome, TriggerError, TriggerKind, deliveries, iso,
    pattern::{Budget, Pattern, TOO_COSTLY},
    queue::delivering,
    rules::{EventTarget, RuleRecord, last_key, rule_arn},
    transform::Around,
};
use crate::{
    api::Caller,
    engine::Engine,
    error::Error,
    journal::{CatalogWrite, Write},
    limits::{DELIVERIES_BYTES_MAX, EVENT_BYTES_MAX},
    node,
};

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

impl Engine {
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
            self.node().allowances.has_room(&caller.tenant, 0)?;
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
            let run = deliveries::run_of(now, now, None, Some(why));
            let last = self.last_of(&key).await?;
            batch.writes.push(deliveries::told(key, last, run));
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
        let write = deliveries::first(caller, rule, target, (id, source), input, now);
        let bytes = write.bytes.as_ref().map_or(0, |bytes| bytes.len());
        self.bytes = self.bytes.saturating_add(bytes);
        self.arn.get_or_insert_with(|| target.arn.clone());
        self.writes.push(write);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{record, triggers::transform::EventInput};

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
