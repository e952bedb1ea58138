//! `execution`: start, list, show, follow, stop, redrive and fork executions of an installation.

mod history;
mod show;

use anyhow::anyhow;
use serde_json::{Value, json};

use super::follow::{self, Followed, Since};
use super::fork;
use super::map_runs;
use super::plugin_events;
use super::prepare::prepare_stored;
use super::run::express_result;
use super::task_logs;
use crate::args::{ExecutionCommand, ListArgs, PlaceArgs, StartArgs};
use crate::client::{Client, Purpose, calls_of};
use crate::exit::{Outcome, Stop};
use crate::given;
use crate::table::Table;
use crate::timeline::duration_text;

#[cfg(test)]
pub(crate) use history::history_table;

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
            let outcome = show::show(&client, &arn, svg.as_deref(), json).await;
            client.close().await;
            outcome
        }
        ExecutionCommand::History {
            execution,
            json,
            place,
        } => {
            let (client, arn) = named(&place, Purpose::Look, &execution).await?;
            let outcome = history::history(&client, &arn, json).await;
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
    let listed = match machine.and_then(calls_of) {
        Some(function) => {
            plugin_events::calls_of_named(&client, function, status, args.limit).await
        }
        None => list(&client, machine, status, args.limit).await,
    };
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

pub(super) async fn list(
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
        Some(machine) => vec![client.listed_arn(machine).await?],
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

pub(super) fn print_list(executions: &[Value], json: bool) -> Outcome {
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
    super::print(&table.whole(None))
}

/// What a list says of an execution that waits for a place: its status is RUNNING.
fn standing(waits: &Value) -> String {
    let number = |key: &str| waits.get(key).and_then(Value::as_u64);
    match (number("position"), number("of")) {
        (Some(position), Some(of)) => format!("waiting {position}/{of}"),
        (Some(_) | None, _) => "waiting".to_owned(),
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
