//! Judges what is left after all kills: histories, outputs, and the calls that were written down. Hides how events,
//! attempts and lives of the server are matched.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{machines::Kind, outside::Answer};

/// A process that served, from its start to its death.
pub(super) struct Life {
    /// When it was gone, milliseconds since 1970.
    pub(super) died_ms: u64,
    /// Length of the file of calls when it was gone.
    pub(super) calls_bytes: u64,
}

/// A call that a task wrote down.
pub(super) struct Call {
    pub(super) execution: String,
    pub(super) label: String,
    pub(super) key: String,
    pub(super) attempt: usize,
    /// Which life of the server made it.
    pub(super) life: usize,
}

/// One execution as it is at the end.
pub(super) struct Ended<'a> {
    pub(super) arn: &'a str,
    pub(super) kind: &'a Kind,
    pub(super) input: &'a Value,
    pub(super) history: &'a [Value],
}

/// One attempt of a plugin task in a history.
struct Attempt {
    /// When its call was over, by the history.
    over_ms: Option<u64>,
}

/// All that is wrong with an execution.
pub(super) fn judge(
    ended: &Ended<'_>,
    calls: &[&Call],
    answers: &[Answer],
    lives: &[Life],
) -> Vec<String> {
    let mut wrong = Vec::new();
    ids(ended.history, &mut wrong);
    outcomes(ended.history, &mut wrong);
    output(ended, answers, &mut wrong);
    dispatches(&attempts(ended.history), calls, lives, &mut wrong);
    let at = |wrong: String| format!("{} ({}): {wrong}", ended.arn, ended.kind.name);
    wrong.into_iter().map(at).collect()
}

/// Ids count from 1; each event comes after the one before it.
pub(super) fn ids(history: &[Value], wrong: &mut Vec<String>) {
    for (n, event) in history.iter().enumerate() {
        let (id, previous) = (id(event), previous(event));
        if id != n as u64 + 1 {
            wrong.push(format!("event {} has id {id}", n + 1));
        }
        if previous >= id {
            wrong.push(format!("event {id} comes after {previous}"));
        }
    }
}

/// Each scheduled task has exactly one outcome.
fn outcomes(history: &[Value], wrong: &mut Vec<String>) {
    for scheduled in history
        .iter()
        .filter(|event| kind(event).ends_with("Scheduled"))
    {
        let family = family(history, id(scheduled));
        let ends = family
            .iter()
            .filter(|event| is_outcome(kind(event)))
            .count();
        if ends != 1 {
            wrong.push(format!(
                "{} {} has {ends} outcomes",
                kind(scheduled),
                id(scheduled)
            ));
        }
    }
}

/// The events of a task after it was scheduled: started, submitted, and what ended it.
fn family(history: &[Value], scheduled: u64) -> Vec<&Value> {
    let mut members = HashSet::from([scheduled]);
    let mut family = Vec::new();
    for event in history {
        let of_task = is_outcome(kind(event))
            || ["TaskStarted", "TaskSubmitted", "ActivityStarted"].contains(&kind(event));
        if of_task && members.contains(&previous(event)) {
            if !is_outcome(kind(event)) {
                members.insert(id(event));
            }
            family.push(event);
        }
    }
    family
}

fn is_outcome(kind: &str) -> bool {
    let of_task = ["Task", "Activity", "LambdaFunction"].iter().any(|family| {
        kind.strip_prefix(family).is_some_and(|end| {
            [
                "Succeeded",
                "Failed",
                "TimedOut",
                "StartFailed",
                "SubmitFailed",
                "ScheduleFailed",
            ]
            .contains(&end)
        })
    });
    of_task && !kind.starts_with("TaskState")
}

/// The last event is a success with the right output.
fn output(ended: &Ended<'_>, answers: &[Answer], wrong: &mut Vec<String>) {
    let last = ended.history.last().unwrap_or(&Value::Null);
    if kind(last) != "ExecutionSucceeded" {
        wrong.push(format!("it ended so: {last}"));
        return;
    }
    let text = last["executionSucceededEventDetails"]["output"]
        .as_str()
        .unwrap_or_default();
    let mut found: Value = serde_json::from_str(text).unwrap_or_default();
    let mut nonces = BTreeMap::new();
    take_nonces(&mut found, &mut nonces);
    let mut wanted = ended.input.clone();
    for (key, value) in &ended.kind.adds {
        wanted[key] = value.clone();
    }
    if found != wanted {
        wrong.push(format!("its output is {found}, expected {wanted}"));
    }
    for (call, nonce) in &nonces {
        let given: Vec<&Answer> = answers
            .iter()
            .filter(|answer| answer.call == *call)
            .collect();
        if !given.iter().any(|answer| answer.nonce == *nonce) {
            wrong.push(format!("{call}: nobody gave the answer {nonce}"));
        }
        if let Some(lost) = given
            .iter()
            .find(|answer| answer.accepted && answer.nonce != *nonce)
        {
            wrong.push(format!(
                "{call}: the accepted answer {} was lost to {nonce}",
                lost.nonce
            ));
        }
    }
}

/// Takes `nonce` out of every `{"call": …, "nonce": …}`, by call.
fn take_nonces(value: &mut Value, nonces: &mut BTreeMap<String, u64>) {
    match value {
        Value::Object(members) => {
            let nonce = members.remove("nonce").and_then(|nonce| nonce.as_u64());
            if let (Some(nonce), Some(call)) = (nonce, members.get("call").and_then(Value::as_str))
            {
                nonces.insert(call.to_owned(), nonce);
            }
            members
                .values_mut()
                .for_each(|value| take_nonces(value, nonces));
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|value| take_nonces(value, nonces)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The attempts of each plugin call, in order, by label.
fn attempts(history: &[Value]) -> BTreeMap<String, Vec<Attempt>> {
    let mut attempts: BTreeMap<String, Vec<Attempt>> = BTreeMap::new();
    for event in history
        .iter()
        .filter(|event| kind(event) == "TaskScheduled")
    {
        let parameters = event["taskScheduledEventDetails"]["parameters"]
            .as_str()
            .unwrap_or_default();
        let parameters: Value = serde_json::from_str(parameters).unwrap_or_default();
        let call = parameters["call"]
            .as_str()
            .or(parameters["Payload"]["call"].as_str());
        let over = family(history, id(event))
            .into_iter()
            .find(|event| kind(event) != "TaskStarted");
        attempts
            .entry(call.unwrap_or_default().to_owned())
            .or_default()
            .push(Attempt {
                over_ms: over.map(time_ms),
            });
    }
    attempts
}

/// No call is made again once its end was written; calls are repeated after a crash alone; a visit of a state has a
/// key of its own.
fn dispatches(
    attempts: &BTreeMap<String, Vec<Attempt>>,
    calls: &[&Call],
    lives: &[Life],
    wrong: &mut Vec<String>,
) {
    let mut keys: BTreeMap<&str, &str> = BTreeMap::new();
    let mut made: BTreeMap<(&str, usize), Vec<usize>> = BTreeMap::new();
    for call in calls {
        let label = call.label.as_str();
        if *keys.entry(label).or_insert(&call.key) != call.key {
            wrong.push(format!(
                "{label}: its attempts have different idempotency keys"
            ));
        }
        made.entry((label, call.attempt))
            .or_default()
            .push(call.life);
    }
    if keys.values().collect::<HashSet<_>>().len() != keys.len() {
        wrong.push("two visits of states have one idempotency key".to_owned());
    }
    for ((label, attempt), lives_of_call) in &made {
        let known = attempts
            .get(*label)
            .and_then(|all| all.get(attempt.checked_sub(1)?));
        let Some(known) = known else {
            wrong.push(format!(
                "{label}: attempt {attempt} was made and is not in the history"
            ));
            continue;
        };
        if lives_of_call.windows(2).any(|two| two[0] == two[1]) {
            wrong.push(format!(
                "{label}: attempt {attempt} was made twice by one process: {lives_of_call:?}"
            ));
        }
        if let Some(over_ms) = known.over_ms {
            let over = lives.iter().filter(|life| life.died_ms < over_ms).count();
            if let Some(late) = lives_of_call.iter().find(|life| **life > over) {
                wrong.push(format!(
                    "{label}: attempt {attempt} was over in life {over} of the server and made again in life {late}"
                ));
            }
        }
    }
    for (label, all) in attempts {
        for attempt in 1..=all.len() {
            if !made.contains_key(&(label.as_str(), attempt)) {
                wrong.push(format!(
                    "{label}: attempt {attempt} has an outcome and was never made"
                ));
            }
        }
    }
}

/// What the API once told must be the beginning of what it tells later. A start that is told from memory alone may be
/// at the end.
pub(super) fn is_beginning(earlier: &[Value], later: &[Value]) -> Result<(), String> {
    let started =
        |event: &&Value| kind(event).ends_with("Started") && kind(event) != "ExecutionStarted";
    let told = earlier.len() - earlier.iter().rev().take_while(started).count();
    for (n, event) in earlier[..told].iter().enumerate() {
        if later.get(n) != Some(event) {
            return Err(format!(
                "the history told {event} before a kill, and now {}",
                later.get(n).unwrap_or(&Value::Null)
            ));
        }
    }
    Ok(())
}

fn kind(event: &Value) -> &str {
    event["type"].as_str().unwrap_or_default()
}

fn id(event: &Value) -> u64 {
    event["id"].as_u64().unwrap_or_default()
}

fn previous(event: &Value) -> u64 {
    event["previousEventId"].as_u64().unwrap_or_default()
}

fn time_ms(event: &Value) -> u64 {
    (event["timestamp"].as_f64().unwrap_or_default() * 1_000.0).round() as u64
}

/// The judge itself: a right history passes, and each wrong one is seen.
pub(super) fn sees_what_is_wrong() -> Result<()> {
    let lives = [
        Life {
            died_ms: 1_000,
            calls_bytes: 0,
        },
        Life {
            died_ms: 2_000,
            calls_bytes: 0,
        },
    ];
    let event = |id: u64, previous: u64, kind: &str, at: f64| {
        let mut event =
            json!({ "id": id, "previousEventId": previous, "type": kind, "timestamp": at });
        event["taskScheduledEventDetails"] = json!({ "parameters": "{\"call\":\"t\"}" });
        event
    };
    let right = [
        event(1, 0, "TaskScheduled", 0.5),
        event(2, 1, "TaskStarted", 0.5),
        event(3, 2, "TaskSucceeded", 1.5),
    ];
    let call = |key: &str, attempt, life| Call {
        execution: String::new(),
        label: "t".to_owned(),
        key: key.to_owned(),
        attempt,
        life,
    };
    let check = |history: &[Value], calls: &[Call]| {
        let mut wrong = Vec::new();
        ids(history, &mut wrong);
        outcomes(history, &mut wrong);
        dispatches(
            &attempts(history),
            &calls.iter().collect::<Vec<_>>(),
            &lives,
            &mut wrong,
        );
        wrong
    };
    let good = check(&right, &[call("k", 1, 0), call("k", 1, 1)]);
    ensure!(
        good.is_empty(),
        "a redispatch after a crash is right: {good:?}"
    );
    let doubled = [&right[..], &[event(4, 2, "TaskSucceeded", 1.5)]].concat();
    let gap = [
        right[0].clone(),
        right[1].clone(),
        event(4, 2, "TaskSucceeded", 1.5),
    ];
    for (why, history, calls) in [
        (
            "made again when it was over",
            &right[..],
            vec![call("k", 1, 1), call("k", 1, 2)],
        ),
        (
            "made twice by one process",
            &right,
            vec![call("k", 1, 1), call("k", 1, 1)],
        ),
        (
            "made and not in the history",
            &right,
            vec![call("k", 1, 1), call("k", 2, 1)],
        ),
        (
            "two keys for one visit",
            &right,
            vec![call("k", 1, 0), call("l", 1, 1)],
        ),
        ("an outcome out of nothing", &right, vec![]),
        ("no outcome", &right[..2], vec![call("k", 1, 1)]),
        ("two outcomes", &doubled, vec![call("k", 1, 1)]),
        ("a gap in the ids", &gap, vec![call("k", 1, 1)]),
    ] {
        ensure!(
            !check(history, &calls).is_empty(),
            "the judge does not see: {why}"
        );
    }
    ensure!(
        is_beginning(&right[..2], &right).is_ok(),
        "a beginning is no beginning"
    );
    ensure!(
        is_beginning(&right, &right[..2]).is_err(),
        "what was told and is gone is not seen"
    );
    Ok(())
}
