//! `usage`: what tenants used by day, state machine and plugin, and what it costs.

use serde_json::{Value, json};

use crate::args::UsageArgs;
use crate::client::{Client, Purpose};
use crate::exit::Outcome;
use crate::table::Table;

pub(super) async fn usage(args: UsageArgs) -> Outcome {
    let client = Client::open(&args.place, Purpose::Look).await?;
    if let Some(execution) = &args.execution {
        let told = of_execution(&client, execution).await;
        client.close().await;
        let told = told?;
        return match args.json {
            true => super::print_json(&told),
            false => super::print(&lines(&told)),
        };
    }
    let mut body = json!({});
    let named = [
        ("account", args.tenant.clone()),
        ("from", args.from.map(|day| day.to_string())),
        ("to", args.to.map(|day| day.to_string())),
    ];
    for (name, value) in named {
        if let Some(value) = value {
            body[name] = json!(value);
        }
    }
    let told = whole(&client, body).await;
    client.close().await;
    let told = told?;
    if args.json {
        return super::print_json(&told);
    }
    super::print(&table(&told))
}

async fn of_execution(client: &Client, execution: &str) -> Outcome<Value> {
    let arn = client.execution_arn(execution).await?;
    let request = json!({ "executionArn": arn });
    client.call("Stepwell.GetExecutionUsage", request).await
}

/// What an execution used, a line each.
fn lines(told: &Value) -> String {
    let mut table = Table::new(&["used", "count>"]);
    for (name, key) in [
        ("redrives", "redrives"),
        ("transitions", "transitions"),
        ("tasks", "tasks"),
    ] {
        table.row(vec![name.to_owned(), count(told, key).to_string()]);
    }
    table.row(vec!["cpu".to_owned(), cpu(told)]);
    table.row(vec!["memory".to_owned(), memory(told)]);
    for (name, key) in [
        ("fuel", "fuel"),
        ("host calls", "hostCalls"),
        ("bytes in", "bytesIn"),
        ("bytes out", "bytesOut"),
        ("bytes sent", "bytesSent"),
        ("bytes received", "bytesReceived"),
        ("bytes stored", "bytesStored"),
    ] {
        table.row(vec![name.to_owned(), count(told, key).to_string()]);
    }
    let unmeasured = count(told, "unmeasuredTasks");
    if unmeasured > 0 {
        let name = "tasks of which no more is known".to_owned();
        table.row(vec![name, unmeasured.to_string()]);
    }
    if let Some(cost) = told["cost"].as_f64() {
        let cost = format!("{cost:.6} {}", super::text(told, "currency"));
        table.row(vec!["cost".to_owned(), cost]);
    }
    table.take(None)
}

fn count(used: &Value, key: &str) -> u64 {
    used[key].as_u64().unwrap_or(0)
}

fn cpu(used: &Value) -> String {
    format!("{:.3} s", count(used, "cpuMicros") as f64 / 1_000_000.0)
}

fn memory(used: &Value) -> String {
    format!(
        "{:.3} GiB s",
        count(used, "memoryMibMillis") as f64 / 1_024_000.0
    )
}

/// All pages as one answer.
async fn whole(client: &Client, mut body: Value) -> Outcome<Value> {
    let mut whole = client.call("Stepwell.GetUsage", body.clone()).await?;
    loop {
        body["after"] = whole["after"].take();
        if body["after"].is_null() {
            if let Some(whole) = whole.as_object_mut() {
                whole.remove("after");
            }
            return Ok(whole);
        }
        let page = client.call("Stepwell.GetUsage", body.clone()).await?;
        append(&mut whole, page);
    }
}

/// Adds a page to those before: its rows, and its totals to those of the same accounts.
fn append(whole: &mut Value, mut page: Value) {
    whole["after"] = page["after"].take();
    if let (Value::Array(rows), Value::Array(more)) = (&mut whole["usage"], page["usage"].take()) {
        rows.extend(more);
    }
    let (Value::Array(totals), Value::Array(more)) = (&mut whole["totals"], page["totals"].take())
    else {
        return;
    };
    for total in more {
        let account = |other: &&mut Value| other["account"] == total["account"];
        match totals.iter_mut().find(account) {
            Some(sum) => add(sum, &total),
            None => totals.push(total),
        }
    }
}

fn add(sum: &mut Value, more: &Value) {
    for (name, more) in more.as_object().into_iter().flatten() {
        sum[name] = match (&sum[name], more) {
            (Value::Number(sum), Value::Number(more)) => match (sum.as_u64(), more.as_u64()) {
                (Some(sum), Some(more)) => json!(sum.saturating_add(more)),
                (_, _) => {
                    json!(sum.as_f64().unwrap_or_default() + more.as_f64().unwrap_or_default())
                }
            },
            (_, more) => more.clone(),
        };
    }
}

/// A line for each day, state machine and plugin, and one for each tenant.
fn table(told: &Value) -> String {
    let currency = told["currency"].as_str();
    let mut columns = vec![
        "day",
        "tenant",
        "state machine",
        "plugin",
        "executions>",
        "transitions>",
        "tasks>",
        "cpu>",
        "memory>",
        "in>",
        "out>",
        "sent>",
        "received>",
        "calls>",
        "fuel>",
        "stored>",
    ];
    if currency.is_some() {
        columns.push("cost>");
    }
    let mut table = Table::new(&columns);
    for row in told["usage"].as_array().into_iter().flatten() {
        let machine = super::text(row, "stateMachineArn");
        let machine = machine
            .split_once(":stateMachine:")
            .map_or(machine, |(_, name)| name);
        line(&mut table, row, super::text(row, "day"), machine, currency);
    }
    for total in told["totals"].as_array().into_iter().flatten() {
        line(&mut table, total, "all", "", currency);
    }
    table.take(None)
}

fn line(table: &mut Table, used: &Value, day: &str, machine: &str, currency: Option<&str>) {
    let mut cells = vec![
        day.to_owned(),
        super::text(used, "account").to_owned(),
        machine.to_owned(),
        super::text(used, "plugin").to_owned(),
        count(used, "executions").to_string(),
        count(used, "transitions").to_string(),
        count(used, "tasks").to_string(),
        cpu(used),
        memory(used),
    ];
    let counts = [
        "bytesIn",
        "bytesOut",
        "bytesSent",
        "bytesReceived",
        "hostCalls",
        "fuel",
        "bytesStored",
    ];
    cells.extend(counts.map(|key| count(used, key).to_string()));
    if let Some(cost) = used["cost"].as_f64() {
        cells.push(format!("{cost:.6} {}", currency.unwrap_or_default()));
    }
    table.row(cells);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_one_answer() {
        let mut whole = json!({"usage": [1], "after": "x", "totals": [{"account": "a", "tasks": 2, "cost": 0.5}]});
        let totals = json!([{"account": "a", "tasks": 3, "cost": 1}, {"account": "b", "tasks": 1, "cost": 0.0}]);
        append(&mut whole, json!({"usage": [2, 3], "totals": totals}));
        let totals = json!([{"account": "a", "tasks": 5, "cost": 1.5}, {"account": "b", "tasks": 1, "cost": 0.0}]);
        assert_eq!(
            whole,
            json!({"usage": [1, 2, 3], "after": null, "totals": totals})
        );
    }
}
