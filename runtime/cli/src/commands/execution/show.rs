//! One execution: what was asked, what it did and used, how near it is to its limits. Hides from which calls that is known.

use std::path::Path;

use serde_json::{Value, json};

use crate::cells::clip;
use crate::client::{Attempts, Client};
use crate::commands::map_runs::{self, MapRun};
use crate::commands::{fork, graph, now_ms, print, print_json, text, time};
use crate::exit::{Blame, Outcome};
use crate::table::Table;
use crate::terminal::{shown, stdout_columns};
use crate::timeline::{Failure, HistoryEvent, Status, Timeline, Used, Visit, duration_text};
use crate::waterfall::waterfall;

/// Characters of what a table says of an event.
const SUMMARY_CHARS_MAX: usize = 120;

pub(super) async fn show(client: &Client, arn: &str, svg: Option<&Path>, json: bool) -> Outcome {
    let execution = client
        .call("DescribeExecution", json!({"executionArn": arn}))
        .await?;
    let events = client.history(arn).await?;
    let limits = client.limits(arn).await?;
    let mut timeline = timeline(&events)?;
    let attempts = client.attempts(arn).await?.unwrap_or_default();
    timeline.take_usage(&attempts.ended);
    let map_runs = map_runs::of(client, &timeline).await?;
    if let Some(svg) = svg {
        graph::write(
            Some(svg),
            &waterfall(&timeline, &title(&execution), now_ms()),
        )?;
    }
    if json {
        let execution = whole(execution, limits, attempts, &map_runs);
        return print_json(&execution);
    }
    let mut out = String::new();
    for (label, value) in [
        ("execution", text(&execution, "executionArn").to_owned()),
        ("machine", text(&execution, "stateMachineArn").to_owned()),
        ("status", text(&execution, "status").to_owned()),
        ("waits", waits(&execution)),
        ("started", time(&execution, "startDate")),
        ("forked", fork::origin(&execution)),
        ("redriven", redriven(&execution)),
        ("stopped", time(&execution, "stopDate")),
        ("input", text(&execution, "input").to_owned()),
        ("output", text(&execution, "output").to_owned()),
        ("error", text(&execution, "error").to_owned()),
        ("cause", text(&execution, "cause").to_owned()),
    ] {
        if !value.is_empty() {
            out.push_str(&format!("{label:<10} {}\n", shown(&value)));
        }
    }
    for usage in near(limits.as_ref(), "usage") {
        out.push_str(&format!("{:<10} {}\n", "near", used(usage)));
    }
    for note in &attempts.progress {
        out.push_str(&format!("{:<10} {}\n", "progress", shown(&progress(note))));
    }
    out.push('\n');
    out.push_str(&states(&timeline, now_ms(), stdout_columns()));
    for map_run in &map_runs {
        out.push_str(&map_run.text(&client.flags()));
    }
    print(&out)
}

/// What DescribeExecution gives, with what only our own API tells.
fn whole(
    mut execution: Value,
    limits: Option<Value>,
    attempts: Attempts,
    map_runs: &[MapRun],
) -> Value {
    if let Some(limits) = limits {
        execution["limits"] = limits;
    }
    for (key, list) in [
        ("attempts", attempts.ended),
        ("progress", attempts.progress),
    ] {
        if !list.is_empty() {
            execution[key] = Value::Array(list);
        }
    }
    if !map_runs.is_empty() {
        execution["mapRuns"] = map_runs.iter().map(MapRun::json).collect();
    }
    execution
}

/// The same in full.
fn waits(execution: &Value) -> String {
    let Some(waits) = execution.get("stepwellWaiting") else {
        return String::new();
    };
    let number = |key: &str| waits.get(key).and_then(Value::as_u64);
    let mut told = format!("since {}", time(waits, "since"));
    if let (Some(position), Some(of)) = (number("position"), number("of")) {
        told.push_str(&format!(", {position} of {of}"));
    }
    let key = text(waits, "key");
    if !key.is_empty() {
        told.push_str(&format!(", by key {key}"));
    }
    told
}

/// `2 times, last at …`; nothing when it never was.
fn redriven(execution: &Value) -> String {
    let count = execution.get("redriveCount").and_then(Value::as_u64);
    match count.unwrap_or(0) {
        0 => String::new(),
        1 => format!("once, at {}", time(execution, "redriveDate")),
        count => format!("{count} times, last at {}", time(execution, "redriveDate")),
    }
}

/// `Import#2: 3 of 10 files`: the latest note of a running attempt.
fn progress(note: &Value) -> String {
    let attempt = note.get("attempt").and_then(Value::as_u64).unwrap_or(1);
    let (state, text) = (text(note, "state"), text(note, "note"));
    format!("{state}#{attempt}: {text}")
}

/// `order · first: SUCCEEDED`.
fn title(execution: &Value) -> String {
    let machine = text(execution, "stateMachineArn");
    format!(
        "{} · {}: {}",
        machine.rsplit(':').next().unwrap_or_default(),
        text(execution, "name"),
        text(execution, "status")
    )
}

/// What a column tells of what a visit used.
type ColumnOf = fn(&Used) -> String;

/// A row a visit, with its failure below; iterations of Maps are left to `history`.
fn states(timeline: &Timeline, now_ms: u64, columns: Option<usize>) -> String {
    let ending = timeline.ending.as_ref();
    let until_ms = ending.map_or(now_ms.max(timeline.last_ms), |ending| ending.at_ms);
    let used = |visit: &Visit| visit.used().unwrap_or_default();
    let all = || timeline.visits.iter().filter_map(Visit::used);
    // Columns of what nothing was used of are left out.
    let columns_of: [(&str, ColumnOf, bool); 4] = [
        ("cpu>", Used::cpu, all().next().is_some()),
        ("memory>", Used::memory, all().next().is_some()),
        ("calls>", Used::calls, all().any(|used| used.calls() != "0")),
        (
            "sent / received>",
            Used::network,
            all().any(|used| !used.network().is_empty()),
        ),
    ];
    let measured = columns_of.iter().filter(|(_, _, told)| *told);
    let mut head = vec!["state", "type", "status", "time>", "attempts>"];
    head.extend(measured.clone().map(|(name, _, _)| *name));
    let mut table = Table::new(&head);
    let mut failures = Vec::new();
    for visit in &timeline.visits {
        if timeline.frames[visit.frame].in_map {
            continue;
        }
        let frame = &timeline.frames[visit.frame];
        let items = visit.items.succeeded + visit.items.failed;
        let status = match visit.status {
            Status::Running if visit.waits_for_retry() => "waits to be tried again",
            Status::Running => "running",
            Status::Succeeded => "succeeded",
            Status::Failed => "failed",
            Status::Caught => "caught",
            Status::Stopped => "stopped",
            Status::TimedOut => "timed out",
        };
        let kind = if visit.items.total > 0 {
            format!("{} {items}/{}", visit.kind.name(), visit.items.total)
        } else {
            visit.kind.name().to_owned()
        };
        let mut row = vec![
            format!("{}{}", "  ".repeat(frame.depth), visit.state),
            kind,
            status.to_owned(),
            duration_text(visit.duration_ms(until_ms)),
            visit.attempts.len().to_string(),
        ];
        let is_told = visit.used().is_some();
        row.extend(measured.clone().map(|(_, told, _)| match is_told {
            true => told(&used(visit)),
            false => String::new(),
        }));
        table.row(row);
        let indent = "  ".repeat(frame.depth + 2);
        failures.push(failure_of(visit).map(|failure| format!("{indent}{failure}")));
    }
    let rows = table.take(columns);
    let mut rows = rows.lines();
    let mut out = format!("{}\n", rows.next().unwrap_or_default());
    for (row, failure) in rows.zip(failures) {
        out.push_str(&format!("{row}\n"));
        if let Some(failure) = failure {
            let chars_max = columns.unwrap_or(SUMMARY_CHARS_MAX);
            out.push_str(&format!("{}\n", clip(&shown(&failure), chars_max)));
        }
    }
    out
}

/// The failure of a visit; history gives none to a Map or Parallel whose inside failed.
fn failure_of(visit: &Visit) -> Option<&Failure> {
    let told = |failure: &&Failure| failure.error.is_some() || failure.cause.is_some();
    visit.failure.as_ref().filter(told)
}

fn timeline(events: &[Value]) -> Outcome<Timeline> {
    let events: Vec<HistoryEvent> = events
        .iter()
        .map(HistoryEvent::read)
        .collect::<Result<_, _>>()
        .runtime()?;
    Ok(Timeline::of(&events))
}

/// What of that list is near a limit.
pub(super) fn near<'a>(limits: Option<&'a Value>, list: &str) -> impl Iterator<Item = &'a Value> {
    let list = limits.and_then(|limits| limits.get(list)?.as_array());
    list.into_iter()
        .flatten()
        .filter(|usage| usage.get("near").and_then(Value::as_bool) == Some(true))
}

/// `history: 20000 of 25000 events used, 5000 left`.
pub(super) fn used(usage: &Value) -> String {
    let number = |key: &str| usage.get(key).and_then(Value::as_u64).unwrap_or(0);
    format!(
        "{}: {} of {} {} used, {} left",
        text(usage, "limit"),
        number("used"),
        number("most"),
        text(usage, "unit"),
        number("left")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of an execution whose task fails at its first attempt, as far as its first events tell.
    fn table_after(count: usize) -> String {
        let event = |id: u64, kind: &str, more: Value| {
            let mut event =
                json!({"id": id, "previousEventId": id - 1, "timestamp": id, "type": kind});
            event["someEventDetails"] = more;
            event
        };
        let scheduled = json!({"resource": "wasm:pay"});
        let all = [
            event(1, "ExecutionStarted", json!({"input": "{}"})),
            event(2, "TaskStateEntered", json!({"name": "Pay", "input": "{}"})),
            event(3, "TaskScheduled", scheduled.clone()),
            event(4, "TaskStarted", json!({})),
            event(
                5,
                "TaskFailed",
                json!({"error": "Declined", "cause": "no money"}),
            ),
            event(6, "TaskScheduled", scheduled),
        ];
        let timeline = timeline(&all[..count]).expect("it is a history");
        states(&timeline, 7_000, None)
    }

    #[test]
    fn a_task_between_two_attempts_does_not_run() {
        let told = table_after(5);
        assert!(told.contains("waits to be tried again"), "{told}");
        assert!(told.contains("Declined: no money"), "{told}");
        for count in [4, 6] {
            let told = table_after(count);
            assert!(
                told.contains("running") && !told.contains("waits"),
                "{told}"
            );
        }
    }
}
