//! `execution`: start, list, show, follow, stop, redrive and fork executions of an installation.

use std::path::Path;

use anyhow::anyhow;
use serde_json::{Value, json};

use super::follow::{self, Followed, Since};
use super::fork;
use super::map_runs::{self, MapRun};
use super::prepare::prepare_stored;
use super::run::express_result;
use super::task_logs;
use crate::args::{ExecutionCommand, ListArgs, PlaceArgs, StartArgs};
use crate::client::{Attempts, Client, Purpose};
use crate::exit::{Blame, Outcome, Stop};
use crate::given;
use crate::graph::clip;
use crate::table::Table;
use crate::terminal::{shown, stdout_columns};
use crate::timeline::{Failure, HistoryEvent, Status, Timeline, Used, Visit, duration_text};
use crate::waterfall::waterfall;

/// Characters of what a table says of an event.
const SUMMARY_CHARS_MAX: usize = 120;

pub(super) async fn execution(command: ExecutionCommand) -> Outcome {
    match command {
        ExecutionCommand::Start(args) => start_at(args).await,
        ExecutionCommand::List(args) => list_at(args).await,
        ExecutionCommand::Show {
            execution,
            svg,
            json,
            place,
        } => {
            let (client, arn) = named(&place, Purpose::Look, &execution).await?;
            let outcome = show(&client, &arn, svg.as_deref(), json).await;
            client.close().await;
            outcome
        }
        ExecutionCommand::History {
            execution,
            json,
            place,
        } => {
            let (client, arn) = named(&place, Purpose::Look, &execution).await?;
            let outcome = history(&client, &arn, json).await;
            client.close().await;
            outcome
        }
        ExecutionCommand::Logs(args) => {
            let (client, arn) = named(&args.place, Purpose::Look, &args.execution).await?;
            let outcome = task_logs::print(&client, &arn, args).await;
            client.close().await;
            outcome
        }
        ExecutionCommand::Watch {
            execution,
            place,
            runtime,
        } => {
            let (client, arn) = named(&place, Purpose::Act(&runtime), &execution).await?;
            let outcome = watch(&client, &arn, Since::Start).await;
            client.close().await;
            outcome
        }
        ExecutionCommand::Stop {
            execution,
            error,
            cause,
            place,
            runtime,
        } => {
            let (client, arn) = named(&place, Purpose::Act(&runtime), &execution).await?;
            let outcome = stop(&client, &arn, error, cause).await;
            client.close().await;
            outcome
        }
        ExecutionCommand::Fork(args) => fork::fork_at(args).await,
        ExecutionCommand::Redrive {
            execution,
            token,
            watch,
            place,
            runtime,
        } => {
            let (client, arn) = named(&place, Purpose::Act(&runtime), &execution).await?;
            let outcome = redrive(&client, &arn, token, watch).await;
            client.close().await;
            outcome
        }
    }
}

async fn start_at(args: StartArgs) -> Outcome {
    let input = given::json(&args.input.input, "--input")?;
    let client = Client::open(&args.place, Purpose::Act(&args.runtime)).await?;
    let outcome = start(&client, &args.machine, &input, args.name, args.watch).await;
    client.close().await;
    outcome
}

async fn list_at(args: ListArgs) -> Outcome {
    let client = Client::open(&args.place, Purpose::Look).await?;
    let (machine, status) = (args.machine.as_deref(), args.status.as_deref());
    let listed = list(&client, machine, status, args.limit).await;
    client.close().await;
    print_list(&listed?, args.json)
}

/// The installation, and the ARN of the execution that is meant.
pub(super) async fn named(
    place: &PlaceArgs,
    purpose: Purpose<'_>,
    execution: &str,
) -> Outcome<(Client, String)> {
    let client = Client::open(place, purpose).await?;
    match client.execution_arn(execution).await {
        Ok(arn) => Ok((client, arn)),
        Err(stop) => {
            client.close().await;
            Err(stop)
        }
    }
}

async fn start(
    client: &Client,
    machine: &str,
    input: &str,
    name: Option<String>,
    stay: bool,
) -> Outcome {
    let machine = client.machine_arn(machine).await?;
    let here = matches!(client, Client::Here { .. });
    let mut request = json!({"stateMachineArn": machine, "input": input});
    if let Some(name) = name {
        request["name"] = json!(name);
    }
    prepare_stored(client, "DescribeStateMachine", "stateMachineArn", &machine).await?;
    if (stay || here) && is_express(client, &machine).await? {
        // It cannot be watched, and nothing of it is kept: its result is all there is.
        let hint = "`stepwell run FILE` shows the states of a definition";
        return express_result(client, request, false, false, hint).await;
    }
    let started = client.call("StartExecution", request).await?;
    let arn = super::text(&started, "executionArn").to_owned();
    if stay || here {
        // Without a server this process is what runs the execution, so it stays.
        say!("execution {arn}");
        return watch(client, &arn, Since::Start).await;
    }
    super::print(&format!("{arn}\n"))
}

async fn is_express(client: &Client, machine: &str) -> Outcome<bool> {
    let request = json!({"stateMachineArn": machine});
    let described = client.call("DescribeStateMachine", request).await?;
    Ok(super::text(&described, "type") == "EXPRESS")
}

pub(super) async fn watch(client: &Client, arn: &str, since: Since) -> Outcome {
    match follow::follow(client, arn, false, since).await? {
        Followed::Closed(timeline) => {
            let hint = format!("stepwell execution history {arn}{}", client.flags());
            follow::conclude(client, arn, Some(&timeline), false, &hint).await
        }
        Followed::Interrupted => {
            let (flags, goes_on) = (client.flags(), matches!(client, Client::Server { .. }));
            let how = if goes_on {
                "goes on in the server"
            } else {
                "is kept"
            };
            Err(Stop::Runtime(anyhow!(
                "no longer watched; the execution {how}\nhint: stepwell execution watch {arn}{flags}"
            )))
        }
    }
}

async fn list(
    client: &Client,
    machine: Option<&str>,
    status: Option<&str>,
    limit: usize,
) -> Outcome<Vec<Value>> {
    let key = match machine {
        Some(arn) if map_runs::is_arn(arn) => "mapRunArn",
        Some(_) | None => "stateMachineArn",
    };
    let machines = match machine {
        Some(machine) => vec![client.machine_arn(machine).await?],
        None => {
            let all = client
                .list("ListStateMachines", json!({}), "stateMachines", usize::MAX)
                .await?;
            let standard = all
                .iter()
                .filter(|machine| super::text(machine, "type") != "EXPRESS");
            standard
                .map(|machine| super::text(machine, "stateMachineArn").to_owned())
                .collect()
        }
    };
    let mut executions = Vec::new();
    for machine in machines {
        let mut request = json!({ key: machine });
        if let Some(status) = status {
            request["statusFilter"] = json!(status.to_uppercase());
        }
        executions.extend(
            client
                .list("ListExecutions", request, "executions", limit)
                .await?,
        );
    }
    let started = |execution: &Value| {
        execution
            .get("startDate")
            .and_then(Value::as_f64)
            .unwrap_or(0.0)
    };
    executions.sort_by(|a, b| started(b).total_cmp(&started(a)));
    executions.truncate(limit);
    Ok(executions)
}

fn print_list(executions: &[Value], json: bool) -> Outcome {
    if json {
        return super::print_json(&json!(executions));
    }
    let mut table = Table::new(&["status", "started", "time>", "arn"]);
    for execution in executions {
        let ms = |key: &str| {
            execution
                .get(key)
                .and_then(Value::as_f64)
                .map(|s| (s * 1_000.0).round() as u64)
        };
        let ended = ms("stopDate").unwrap_or_else(super::now_ms);
        let time = duration_text(ended.saturating_sub(ms("startDate").unwrap_or(ended)));
        let text = |key: &str| super::text(execution, key).to_owned();
        table.row([
            match execution.get("stepwellWaiting") {
                Some(waits) => standing(waits),
                None => text("status"),
            },
            super::time(execution, "startDate"),
            time,
            text("executionArn"),
        ]);
    }
    if table.is_empty() {
        say!("there are no such executions");
        return Ok(());
    }
    super::print(&table.to_string())
}

/// What a list says of an execution that waits for a place: its status is RUNNING.
fn standing(waits: &Value) -> String {
    let number = |key: &str| waits.get(key).and_then(Value::as_u64);
    match (number("position"), number("of")) {
        (Some(position), Some(of)) => format!("waiting {position}/{of}"),
        (Some(_) | None, _) => "waiting".to_owned(),
    }
}

/// The same in full.
fn waits(execution: &Value) -> String {
    let Some(waits) = execution.get("stepwellWaiting") else {
        return String::new();
    };
    let number = |key: &str| waits.get(key).and_then(Value::as_u64);
    let mut told = format!("since {}", super::time(waits, "since"));
    if let (Some(position), Some(of)) = (number("position"), number("of")) {
        told.push_str(&format!(", {position} of {of}"));
    }
    let key = super::text(waits, "key");
    if !key.is_empty() {
        told.push_str(&format!(", by key {key}"));
    }
    told
}

async fn show(client: &Client, arn: &str, svg: Option<&Path>, json: bool) -> Outcome {
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
        super::graph::write(
            Some(svg),
            &waterfall(&timeline, &title(&execution), super::now_ms()),
        )?;
    }
    if json {
        let execution = whole(execution, limits, attempts, &map_runs);
        return super::print_json(&execution);
    }
    let mut out = String::new();
    for (label, value) in [
        (
            "execution",
            super::text(&execution, "executionArn").to_owned(),
        ),
        (
            "machine",
            super::text(&execution, "stateMachineArn").to_owned(),
        ),
        ("status", super::text(&execution, "status").to_owned()),
        ("waits", waits(&execution)),
        ("started", super::time(&execution, "startDate")),
        ("forked", fork::origin(&execution)),
        ("redriven", redriven(&execution)),
        ("stopped", super::time(&execution, "stopDate")),
        ("input", super::text(&execution, "input").to_owned()),
        ("output", super::text(&execution, "output").to_owned()),
        ("error", super::text(&execution, "error").to_owned()),
        ("cause", super::text(&execution, "cause").to_owned()),
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
    out.push_str(&states(&timeline, super::now_ms(), stdout_columns()));
    for map_run in &map_runs {
        out.push_str(&map_run.text(&client.flags()));
    }
    super::print(&out)
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

/// `Import#2: 3 of 10 files`: the latest note of a running attempt.
fn progress(note: &Value) -> String {
    let attempt = note.get("attempt").and_then(Value::as_u64).unwrap_or(1);
    let (state, text) = (super::text(note, "state"), super::text(note, "note"));
    format!("{state}#{attempt}: {text}")
}

/// `order · first: SUCCEEDED`.
fn title(execution: &Value) -> String {
    let machine = super::text(execution, "stateMachineArn");
    format!(
        "{} · {}: {}",
        machine.rsplit(':').next().unwrap_or_default(),
        super::text(execution, "name"),
        super::text(execution, "status")
    )
}

/// A row a visit, with its failure below; iterations of Maps are left to `history`.
fn states(timeline: &Timeline, now_ms: u64, columns: Option<usize>) -> String {
    let ending = timeline.ending.as_ref();
    let until_ms = ending.map_or(now_ms.max(timeline.last_ms), |ending| ending.at_ms);
    let used = |visit: &Visit| visit.used().unwrap_or_default();
    let all = || timeline.visits.iter().filter_map(Visit::used);
    // Columns of what nothing was used of are left out.
    let columns_of: [(&str, fn(&Used) -> String, bool); 4] = [
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

/// Page by page: a reader of the first lines waits for one page, and ends it there.
async fn history(client: &Client, arn: &str, json: bool) -> Outcome {
    let columns = stdout_columns();
    let mut table = history_head();
    let mut first_ms = None;
    let mut token = None;
    let mut separator = "{\n  \"events\": [\n";
    loop {
        let (events, next) = client.history_page(arn, token).await?;
        let mut text = String::new();
        for event in &events {
            if json {
                text.push_str(separator);
                text.push_str(&indented(event)?);
                separator = ",\n";
            } else {
                let event = HistoryEvent::read(event).runtime()?;
                let first_ms = *first_ms.get_or_insert(event.at_ms);
                table.row(history_row(&event, first_ms));
            }
        }
        match (json, &next) {
            (true, None) => {
                text.push_str("\n  ]");
                if let Some(limits) = client.limits(arn).await? {
                    text.push_str(&format!(",\n  \"limits\": {limits}"));
                }
                text.push_str("\n}\n");
            }
            (true, Some(_)) => {}
            (false, _) => text = table.take(columns),
        }
        if !super::print_more(&text)? {
            return Ok(());
        }
        if next.is_none() {
            break;
        }
        token = next;
    }
    if !json {
        let limits = client.limits(arn).await?;
        for usage in near(limits.as_ref(), "near") {
            let event = usage.get("event").and_then(Value::as_u64).unwrap_or(0);
            say!("warning: event {event} is near a limit: {}", used(usage));
        }
    }
    Ok(())
}

/// What of that list is near a limit.
fn near<'a>(limits: Option<&'a Value>, list: &str) -> impl Iterator<Item = &'a Value> {
    let list = limits.and_then(|limits| limits.get(list)?.as_array());
    list.into_iter()
        .flatten()
        .filter(|usage| usage.get("near").and_then(Value::as_bool) == Some(true))
}

/// `history: 20000 of 25000 events used, 5000 left`.
fn used(usage: &Value) -> String {
    let number = |key: &str| usage.get(key).and_then(Value::as_u64).unwrap_or(0);
    format!(
        "{}: {} of {} {} used, {} left",
        super::text(usage, "limit"),
        number("used"),
        number("most"),
        super::text(usage, "unit"),
        number("left")
    )
}

/// An event as it stands in a pretty-printed list.
fn indented(event: &Value) -> Outcome<String> {
    let text = serde_json::to_string_pretty(event).runtime()?;
    Ok(format!("    {}", text.replace('\n', "\n    ")))
}

fn history_head() -> Table {
    Table::new(&["id>", "after>", "time>", "event", "what"])
}

/// An event with the time since the first one.
fn history_row(event: &HistoryEvent, first_ms: u64) -> [String; 5] {
    let since = event.at_ms.saturating_sub(first_ms);
    [
        event.id.to_string(),
        event.previous.to_string(),
        format!("{:.3}", since as f64 / 1_000.0),
        event.kind.clone(),
        event.summary(),
    ]
}

/// A whole history.
#[cfg(test)]
pub(crate) fn history_table(events: &[HistoryEvent]) -> Table {
    let first = events.first().map_or(0, |event| event.at_ms);
    let mut table = history_head();
    for event in events {
        table.row(history_row(event, first));
    }
    table
}

/// `2 times, last at …`; nothing when it never was.
fn redriven(execution: &Value) -> String {
    let count = execution.get("redriveCount").and_then(Value::as_u64);
    match count.unwrap_or(0) {
        0 => String::new(),
        1 => format!("once, at {}", super::time(execution, "redriveDate")),
        count => format!(
            "{count} times, last at {}",
            super::time(execution, "redriveDate")
        ),
    }
}

async fn redrive(client: &Client, arn: &str, token: Option<String>, stay: bool) -> Outcome {
    let mut request = json!({"executionArn": arn});
    if let Some(token) = token {
        request["clientToken"] = json!(token);
    }
    prepare_stored(
        client,
        "DescribeStateMachineForExecution",
        "executionArn",
        arn,
    )
    .await?;
    let redriven = client.call("RedriveExecution", request).await?;
    say!("redriven at {}", super::time(&redriven, "redriveDate"));
    if stay || matches!(client, Client::Here { .. }) {
        // Without a server this process is what runs the execution, so it stays.
        let execution = client
            .call("DescribeExecution", json!({"executionArn": arn}))
            .await?;
        let count = execution.get("redriveCount").and_then(Value::as_u64);
        return watch(client, arn, Since::Redrive(count.unwrap_or(1))).await;
    }
    Ok(())
}

async fn stop(client: &Client, arn: &str, error: Option<String>, cause: Option<String>) -> Outcome {
    let mut request = json!({"executionArn": arn});
    for (key, value) in [("error", error), ("cause", cause)] {
        if let Some(value) = value {
            request[key] = json!(value);
        }
    }
    let before = client
        .call("DescribeExecution", json!({"executionArn": arn}))
        .await?;
    let stopped = client.call("StopExecution", request).await?;
    let at = super::time(&stopped, "stopDate");
    match super::text(&before, "status") {
        "RUNNING" => say!("stopped at {at}"),
        ended => say!("nothing to stop: it ended at {at}, {ended}"),
    }
    Ok(())
}
