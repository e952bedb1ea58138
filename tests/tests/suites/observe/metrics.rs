//! `/metrics` after executions of every end, and attempts of two families.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use stepwell_tests::server::{ACCOUNT, Client};

use super::{RUN_MAX, Rig, behave, machine, one, passing};

/// Between two looks at what is counted.
const LOOK: Duration = Duration::from_millis(20);

/// The value of a series, by its name and what its labels hold.
pub(super) fn value(metrics: &str, name: &str, label: &str) -> Result<f64> {
    let line = metrics.lines().find(|line| {
        let named = line.strip_prefix(name);
        named.is_some_and(|rest| rest.starts_with(['{', ' '])) && line.contains(label)
    });
    let line = line.with_context(|| format!("no {name} with {label} in:\n{metrics}"))?;
    let value = line.rsplit(' ').next().context("a value")?;
    Ok(value.parse()?)
}

pub(super) fn told() -> Result<()> {
    let rig = Rig::new()?;
    let server = rig.start(&[])?;
    let client = server.client();
    let pass = passing(&client)?;
    let fail = machine(
        &client,
        "fail",
        &one("Fail", json!({"Error": "E"})),
        json!({}),
    )?;
    for number in 0..3 {
        let execution = client.start(&pass, &format!("p{number}"), &json!({}))?;
        client.ended(&execution, RUN_MAX)?;
    }
    let failed = client.start(&fail, "f", &json!({}))?;
    client.ended(&failed, RUN_MAX)?;
    client.call("RedriveExecution", &json!({"executionArn": failed}))?;
    client.ended(&failed, RUN_MAX)?;
    let wait = machine(
        &client,
        "wait",
        &one("Wait", json!({"Seconds": 3600, "End": true})),
        json!({}),
    )?;
    let stopped = client.start(&wait, "w", &json!({}))?;
    client.call("StopExecution", &json!({"executionArn": stopped}))?;
    client.ended(&stopped, RUN_MAX)?;

    let activity = client.call("CreateActivity", &json!({"name": "work"}))?;
    let activity = activity["activityArn"].as_str().context("an ARN")?;
    let mut good = behave("echo");
    good["Next"] = json!("Work");
    let work = json!({"StartAt": "Plugin", "States": {
        "Plugin": good,
        "Work": {"Type": "Task", "Resource": activity, "End": true},
    }});
    let work = machine(&client, "work", &work, json!({}))?;
    let execution = client.start(&work, "a", &json!({}))?;
    let task = client.call("GetActivityTask", &json!({"activityArn": activity}))?;
    client.call(
        "SendTaskFailure",
        &json!({"taskToken": task["taskToken"], "error": "E"}),
    )?;
    client.ended(&execution, RUN_MAX)?;
    let express = json!({"type": "EXPRESS"});
    let express = machine(&client, "express", &one("Succeed", json!({})), express)?;
    client.call("StartSyncExecution", &json!({"stateMachineArn": express}))?;

    let expected = [pass, fail, wait, work, express];
    // An execution is seen to have ended a moment before it is counted.
    let until = Instant::now() + RUN_MAX;
    let mut checked = check(&client, &expected);
    while checked.is_err() && Instant::now() < until {
        std::thread::sleep(LOOK);
        checked = check(&client, &expected);
    }
    checked?;
    server.stop()
}

/// Compares a scrape with what was run.
fn check(client: &Client, machines: &[String; 5]) -> Result<()> {
    let [pass, fail, wait, work, express] = machines;
    let (status, text) = client.get("/metrics")?;
    ensure!(status == 200 && text.matches("# EOF").count() == 1 && text.ends_with("# EOF\n"));
    for (name, machine, expected) in [
        ("executions_started_total", pass, 3.0),
        ("executions_succeeded_total", pass, 3.0),
        ("executions_failed_total", pass, 0.0),
        ("execution_time_seconds_count", pass, 3.0),
        ("executions_started_total", fail, 1.0),
        ("executions_failed_total", fail, 2.0),
        ("executions_redriven_total", fail, 1.0),
        ("redriven_executions_failed_total", fail, 1.0),
        ("executions_aborted_total", wait, 1.0),
        ("executions_timed_out_total", wait, 0.0),
        ("service_integrations_scheduled_total", work, 1.0),
        ("service_integrations_started_total", work, 1.0),
        ("service_integrations_succeeded_total", work, 1.0),
        ("service_integration_time_seconds_count", work, 1.0),
        ("activities_scheduled_total", work, 1.0),
        ("activities_started_total", work, 1.0),
        ("activities_failed_total", work, 1.0),
        ("activities_succeeded_total", work, 0.0),
        ("activity_schedule_time_seconds_count", work, 1.0),
        ("activity_run_time_seconds_count", work, 1.0),
        ("executions_succeeded_total", express, 1.0),
        (
            "express_execution_billed_duration_seconds_sum",
            express,
            0.1,
        ),
    ] {
        let label = format!("account=\"{ACCOUNT}\",state_machine_arn=\"{machine}\"");
        let found = value(&text, &format!("aws_states_{name}"), &label)?;
        // A machine that is slow may take more than one step of 100 ms.
        let fits = found == expected || (name.contains("billed") && found > expected);
        ensure!(fits, "{name} of {machine} is {found}, not {expected}");
    }
    let commits = value(&text, "stepwell_journal_commits_total", "")?;
    let measured = value(&text, "stepwell_journal_commit_seconds_count", "")?;
    ensure!(commits > 0.0 && measured > 0.0, "{commits} {measured}");
    Ok(())
}
