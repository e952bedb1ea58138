//! `usage`: what tenants used by day, state machine and plugin, and what it costs.

use std::collections::BTreeSet;

use anyhow::anyhow;
use jiff::civil::Date;
use serde_json::{Value, json};

use crate::args::UsageArgs;
use crate::client::{Client, Purpose};
use crate::exit::{Outcome, Stop};
use crate::table::Table;

pub(super) async fn usage(args: UsageArgs) -> Outcome {
    check_days(args.from, args.to)?;
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
    match table(&told) {
        Some(table) => super::print(&table),
        None => {
            say!("nothing was used then");
            Ok(())
        }
    }
}

/// Refuses days in an order in which none is meant.
fn check_days(from: Option<Date>, to: Option<Date>) -> Outcome {
    match (from, to) {
        (Some(from), Some(to)) if from > to => Err(Stop::Usage(anyhow!(
            "--from {from} is later than --to {to}, so that no day is meant\nhint: --from names the first day, --to the last one, both in UTC"
        ))),
        (_, _) => Ok(()),
    }
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
    table.row(vec!["memory time".to_owned(), memory(told)]);
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
    exact(count(used, "cpuMicros") as f64 / 1_000_000.0, "s")
}

fn memory(used: &Value) -> String {
    exact(count(used, "memoryMibMillis") as f64 / 1_024_000.0, "GiB s")
}

/// With so many digits that the least that is counted is not 0.
fn exact(number: f64, unit: &str) -> String {
    match number > 0.0 {
        true => format!("{number:.6} {unit}"),
        false => format!("0 {unit}"),
    }
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

/// A count of the table: its head, its key, and how it is shown.
type Column = (&'static str, &'static str, fn(&Value, &str) -> String);

/// Counts that are always told.
const ALWAYS: [Column; 3] = [
    ("executions>", "executions", plain),
    ("transitions>", "transitions", plain),
    ("tasks>", "tasks", plain),
];

/// Counts whose columns are left out where all of them are 0.
const WHERE_USED: [Column; 10] = [
    ("redrives>", "redrives", plain),
    ("cpu>", "cpuMicros", |used, _| cpu(used)),
    ("memory time>", "memoryMibMillis", |used, _| memory(used)),
    ("bytes in>", "bytesIn", plain),
    ("bytes out>", "bytesOut", plain),
    ("bytes sent>", "bytesSent", plain),
    ("bytes received>", "bytesReceived", plain),
    ("host calls>", "hostCalls", plain),
    ("fuel>", "fuel", plain),
    ("bytes stored>", "bytesStored", plain),
];

fn plain(used: &Value, key: &str) -> String {
    count(used, key).to_string()
}

/// Whether a line would tell anything.
fn is_any(used: &Value) -> bool {
    let mut counts = ALWAYS.iter().chain(&WHERE_USED);
    counts.any(|(_, key, _)| count(used, key) > 0)
}

/// Region and name in the ARN of a state machine; of anything else nothing and itself.
fn region_and_name(arn: &str) -> (&str, &str) {
    match arn.split_once(":stateMachine:") {
        Some((before, name)) => (before.split(':').nth(3).unwrap_or_default(), name),
        None => ("", arn),
    }
}

/// A line for each day, state machine and plugin that used anything, and one for each tenant; nothing where nothing was used. State
/// machines are told with their region where there are several.
fn table(told: &Value) -> Option<String> {
    let list = |key: &str| {
        let all = told[key].as_array().into_iter().flatten();
        all.filter(|used| is_any(used)).collect::<Vec<&Value>>()
    };
    let (rows, totals) = (list("usage"), list("totals"));
    if rows.is_empty() {
        return None;
    }
    let machine_of = |row: &Value| super::text(row, "stateMachineArn").to_owned();
    let machines: Vec<String> = rows.iter().map(|row| machine_of(row)).collect();
    let regions = machines.iter().map(|arn| region_and_name(arn).0);
    let regions: BTreeSet<&str> = regions.filter(|region| !region.is_empty()).collect();
    let shown_machine = |arn: &str| match region_and_name(arn) {
        (region, name) if regions.len() > 1 && !region.is_empty() => format!("{region}/{name}"),
        (_, name) => name.to_owned(),
    };
    let is_used = |key: &str| rows.iter().chain(&totals).any(|used| count(used, key) > 0);
    let used = WHERE_USED.into_iter().filter(|(_, key, _)| is_used(key));
    let counts: Vec<Column> = ALWAYS.into_iter().chain(used).collect();
    let mut head = vec!["day", "tenant", "state machine", "plugin"];
    head.extend(counts.iter().map(|(name, _, _)| *name));
    head.push("cost>");
    let mut table = Table::new(&head);
    let currency = told["currency"].as_str().unwrap_or_default();
    let mut line = |used: &Value, day: &str, machine: &str| {
        let mut cells = vec![
            day.to_owned(),
            super::text(used, "account").to_owned(),
            machine.to_owned(),
            super::text(used, "plugin").to_owned(),
        ];
        cells.extend(counts.iter().map(|(_, key, shown)| shown(used, key)));
        let cost = used["cost"].as_f64();
        cells.push(cost.map_or_else(String::new, |cost| format!("{cost:.6} {currency}")));
        table.row(cells);
    };
    for (row, machine) in rows.iter().zip(&machines) {
        line(row, super::text(row, "day"), &shown_machine(machine));
    }
    for total in &totals {
        line(total, "all", "");
    }
    Some(table.whole(None))
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

    #[test]
    fn counts_that_are_all_zero_take_no_column() {
        let rows = json!([
            {"day": "2026-01-31", "account": "111111111111", "stateMachineArn": "arn:aws:states:us-east-1:111111111111:stateMachine:注文",
             "executions": 2, "transitions": 4, "tasks": 0, "bytesStored": 900},
            {"day": "2026-01-31", "account": "111111111111", "stateMachineArn": "arn:aws:states:us-east-1:111111111111:stateMachine:orders",
             "executions": 1, "transitions": 3, "tasks": 0, "bytesStored": 40},
        ]);
        let mut told = json!({"usage": rows, "totals": []});
        assert_eq!(
            table(&told).unwrap(),
            "DAY         TENANT        STATE MACHINE  EXECUTIONS  TRANSITIONS  TASKS  BYTES STORED\n\
             2026-01-31  111111111111  注文                    2            4      0           900\n\
             2026-01-31  111111111111  orders                  1            3      0            40\n"
        );
        told["currency"] = json!("EUR");
        told["usage"][0]["cost"] = json!(0.5);
        told["usage"][0]["plugin"] = json!("pay");
        let with_costs = table(&told).unwrap();
        assert!(with_costs.contains("0.500000 EUR"), "{with_costs}");
        assert!(with_costs.contains("PLUGIN"), "{with_costs}");
    }

    #[test]
    fn lines_that_tell_nothing_are_left_out() {
        let row = |machine: &str, tasks: u64| {
            json!({"day": "2026-01-31", "account": "111111111111", "tasks": tasks, "cost": 0.0,
             "stateMachineArn": format!("arn:aws:states:us-east-1:111111111111:stateMachine:{machine}")})
        };
        let mut told = json!({"usage": [row("idle", 0), row("orders", 2)], "totals": [row("", 2)]});
        let shown = table(&told).unwrap();
        assert!(
            shown.contains("orders") && !shown.contains("idle"),
            "{shown}"
        );
        assert_eq!(shown.lines().count(), 3, "head, line and total:\n{shown}");
        told["usage"] = json!([row("idle", 0)]);
        told["totals"] = json!([row("", 0)]);
        assert_eq!(table(&told), None);
    }

    #[test]
    fn state_machines_of_several_regions_are_told_apart() {
        let row = |region: &str| {
            json!({"day": "2026-01-31", "account": "111111111111", "tasks": 1,
             "stateMachineArn": format!("arn:aws:states:{region}:111111111111:stateMachine:orders")})
        };
        let told = json!({"usage": [row("eu-west-1"), row("us-east-1")], "totals": []});
        let shown = table(&told).unwrap();
        assert!(
            shown.contains(" eu-west-1/orders ") && shown.contains(" us-east-1/orders "),
            "{shown}"
        );
        let told = json!({"usage": [row("eu-west-1")], "totals": []});
        assert!(!table(&told).unwrap().contains("eu-west-1"));
    }

    #[test]
    fn the_least_that_is_counted_is_not_told_as_nothing() {
        let used = json!({"cpuMicros": 1, "memoryMibMillis": 1});
        assert_eq!(cpu(&used), "0.000001 s");
        assert_eq!(memory(&used), "0.000001 GiB s");
        let none = json!({});
        assert_eq!((&*cpu(&none), &*memory(&none)), ("0 s", "0 GiB s"));
    }
}
