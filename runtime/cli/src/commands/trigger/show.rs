//! One trigger for people: what starts it, what it starts, how that went. Hides the members of the API's answer.

use serde_json::Value;

use super::{KINDS, state};
use crate::commands::text;
use crate::terminal::shown;

/// A line for each thing that there is to say.
pub(super) fn lines(trigger: &Value) -> String {
    let kind = text(trigger, "kind");
    let told = |key: &str| text(trigger, key).to_owned();
    let mut lines = vec![
        ("trigger", format!("{kind}/{}", text(trigger, "name"))),
        ("state", state(trigger).to_owned()),
        ("when", when(trigger)),
        ("description", told("description")),
    ];
    match trigger["targets"].as_array() {
        Some(targets) => lines.extend(targets.iter().map(|target| ("target", target_text(target)))),
        None => lines.push(("machine", told("stateMachineArn"))),
    }
    lines.extend([
        ("input", told("input")),
        ("from", told("start")),
        ("until", told("end")),
        ("next", next(trigger)),
    ]);
    let is_schedule = kind == KINDS[0];
    if is_schedule {
        lines.extend(of_schedule(trigger));
    }
    lines.extend([
        ("last", run(&trigger["last"], is_schedule)),
        ("failed last", run(&trigger["lastFailed"], is_schedule)),
        ("arn", told("arn")),
    ]);
    let lines = lines.iter().filter(|(_, told)| !told.is_empty());
    lines
        .map(|(label, told)| format!("{label:<12} {}\n", shown(told)))
        .collect()
}

/// What starts it; of times that are of a zone this one too, which the API's text leaves out when it is UTC. A rate is of none.
fn when(trigger: &Value) -> String {
    let (when, zone) = (text(trigger, "when"), text(trigger, "timezone"));
    let is_of_zone = when.starts_with("cron(") || when.starts_with("at(");
    match is_of_zone && zone == "UTC" {
        true => format!("{when} UTC"),
        false => when.to_owned(),
    }
}

/// What schedules alone have.
fn of_schedule(schedule: &Value) -> [(&'static str, String); 5] {
    let count = |key: &str| schedule[key].as_u64().unwrap_or(0);
    let runs = format!(
        "{} started, {} failed, {} missed",
        count("started"),
        count("failed"),
        count("missed")
    );
    let retries = format!(
        "{} at most, within {} s of its time",
        count("maximumRetryAttempts"),
        count("maximumEventAgeInSeconds")
    );
    let is_deleted = schedule["deletedAfterLastRun"].as_bool().unwrap_or(false);
    let after = if is_deleted { "is deleted" } else { "" };
    [
        ("missed runs", text(schedule, "missedRuns").to_owned()),
        ("retries", retries),
        ("next retry", text(schedule, "retryAt").to_owned()),
        ("at its end", after.to_owned()),
        ("runs", runs),
    ]
}

/// The times of the next runs.
fn next(trigger: &Value) -> String {
    let times = trigger["nextRuns"].as_array();
    let times = times.map(|times| times.iter().filter_map(Value::as_str).collect::<Vec<_>>());
    match times {
        Some(times) => times.join(", "),
        None => text(trigger, "nextRun").to_owned(),
    }
}

/// `machine: ARN, with $.detail of the event`.
fn target_text(target: &Value) -> String {
    let input = &target["input"];
    let with = match (input["constant"].as_str(), input["path"].as_str()) {
        (Some(constant), _) => format!("with {constant}"),
        (None, Some(path)) => format!("with {path} of the event"),
        (None, None) => match input["template"].as_str() {
            Some(template) => format!("with {template} where {}", input["paths"]),
            None => "with the event".to_owned(),
        },
    };
    format!(
        "{}: {}, {with}",
        text(target, "id"),
        text(target, "stateMachineArn")
    )
}

/// `at AT, due DUE: ARN`, or the error; nothing when there was no such run. Only what is planned is due at a time.
fn run(run: &Value, is_planned: bool) -> String {
    if !run.is_object() {
        return String::new();
    }
    let (at, due) = (text(run, "at"), text(run, "due"));
    let of = ["executionArn", "error"].map(|key| text(run, key));
    let of: Vec<&str> = of.into_iter().filter(|told| !told.is_empty()).collect();
    let due = match is_planned {
        true => format!(", due {due}"),
        false => String::new(),
    };
    format!("at {at}{due}: {}", of.join(": "))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::lines;

    const MACHINE: &str = "arn:aws:states:us-east-1:000000000000:stateMachine:orders";

    #[test]
    fn a_schedule_is_told_in_words() {
        let failed = json!({"due": "2026-01-30T02:00:00Z", "at": "2026-01-30T02:00:01.000Z", "error": "ServiceQuotaExceeded: too many"});
        let last = json!({"due": "2026-01-31T02:00:00Z", "at": "2026-01-31T02:00:00.010Z", "executionArn": "arn:e"});
        let told = lines(&json!({
            "kind": "schedule", "name": "nightly", "enabled": true, "when": "cron(0 2 * * ? *) Europe/Berlin", "stateMachineArn": MACHINE,
            "expression": "cron(0 2 * * ? *)", "timezone": "Europe/Berlin", "description": "", "missedRuns": "skip", "maximumEventAgeInSeconds": 60,
            "maximumRetryAttempts": 3, "deletedAfterLastRun": false, "nextRuns": ["2026-02-01T02:00:00Z", "2026-02-02T02:00:00Z"],
            "started": 7, "failed": 1, "missed": 0, "last": last, "lastFailed": failed,
        }));
        let expected = format!(
            "trigger      schedule/nightly\n\
             state        enabled\n\
             when         cron(0 2 * * ? *) Europe/Berlin\n\
             machine      {MACHINE}\n\
             next         2026-02-01T02:00:00Z, 2026-02-02T02:00:00Z\n\
             missed runs  skip\n\
             retries      3 at most, within 60 s of its time\n\
             runs         7 started, 1 failed, 0 missed\n\
             last         at 2026-01-31T02:00:00.010Z, due 2026-01-31T02:00:00Z: arn:e\n\
             failed last  at 2026-01-30T02:00:01.000Z, due 2026-01-30T02:00:00Z: ServiceQuotaExceeded: too many\n"
        );
        assert_eq!(told, expected);
    }

    #[test]
    fn times_are_told_with_their_zone_and_a_rate_without() {
        for (when, zone, expected) in [
            ("cron(0 2 * * ? *)", "UTC", "cron(0 2 * * ? *) UTC"),
            (
                "at(2190-06-01T12:00:00)",
                "UTC",
                "at(2190-06-01T12:00:00) UTC",
            ),
            (
                "at(2190-06-01T12:00:00) Asia/Tokyo",
                "Asia/Tokyo",
                "at(2190-06-01T12:00:00) Asia/Tokyo",
            ),
            ("rate(5 minutes)", "UTC", "rate(5 minutes)"),
        ] {
            let told =
                lines(&json!({"kind": "schedule", "name": "n", "when": when, "timezone": zone}));
            let line = format!("when         {expected}\n");
            assert!(told.contains(&line), "no {line} in {told}");
        }
    }

    #[test]
    fn what_is_no_schedule_is_not_due() {
        let run = json!({"due": "2026-01-31T02:00:00Z", "at": "2026-01-31T02:00:00.010Z", "executionArn": "arn:e"});
        for kind in ["http", "rule"] {
            let told = lines(&json!({"kind": kind, "name": "n", "last": run}));
            let line = "last         at 2026-01-31T02:00:00.010Z: arn:e\n";
            assert!(told.contains(line) && !told.contains("due"), "{told}");
        }
    }

    #[test]
    fn no_part_of_a_rule_is_told_as_json_of_the_api() {
        let target =
            |id: &str, input: Value| json!({"id": id, "stateMachineArn": MACHINE, "input": input});
        let told = lines(&json!({
            "kind": "rule", "name": "paid", "enabled": false, "when": "{\"source\":[\"shop\"]}", "stateMachineArn": MACHINE, "description": "what is paid",
            "targets": [target("a", json!("event")), target("b", json!({"path": "$.detail"})), target("c", json!({"constant": "7"})),
                target("d", json!({"paths": {"n": "$.n"}, "template": "<n>"}))],
        }));
        for line in [
            "state        disabled\n".to_owned(),
            format!("target       a: {MACHINE}, with the event\n"),
            format!("target       b: {MACHINE}, with $.detail of the event\n"),
            format!("target       c: {MACHINE}, with 7\n"),
            format!("target       d: {MACHINE}, with <n> where {{\"n\":\"$.n\"}}\n"),
        ] {
            assert!(told.contains(&line), "no {line} in {told}");
        }
        assert!(!told.contains("stateMachineArn"), "{told}");
    }
}
