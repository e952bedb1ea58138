//! Map runs: describe, list, update. Wire types of these calls, AWS JSON 1.0.

use serde::Serialize;
use stepwell_engine::{Code, Error, MapRunChange, Progress};

use super::{
    executions::status_name,
    fault::Fault,
    operation::Call,
    wire::{Nothing, Seconds, json, page},
};

/// Counts of items, or of child executions.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Counts {
    pending: u64,
    running: u64,
    succeeded: u64,
    failed: u64,
    timed_out: u64,
    aborted: u64,
    total: u64,
    results_written: u64,
    failures_not_redrivable: u64,
    pending_redrive: u64,
}

impl From<Progress> for Counts {
    fn from(progress: Progress) -> Counts {
        Counts {
            pending: progress.pending,
            running: progress.running,
            succeeded: progress.ended.succeeded,
            failed: progress.ended.failed,
            timed_out: progress.ended.timed_out,
            aborted: progress.ended.aborted,
            total: progress.total,
            results_written: progress.results_written,
            failures_not_redrivable: progress.not_redrivable,
            pending_redrive: progress.pending_redrive,
        }
    }
}

pub(super) async fn describe(mut call: Call<'_>) -> Result<Vec<u8>, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer<'a> {
        map_run_arn: &'a str,
        execution_arn: &'a str,
        status: &'a str,
        start_date: Seconds,
        #[serde(skip_serializing_if = "Option::is_none")]
        stop_date: Option<Seconds>,
        max_concurrency: u32,
        tolerated_failure_percentage: f64,
        tolerated_failure_count: u64,
        item_counts: Counts,
        execution_counts: Counts,
        redrive_count: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        redrive_date: Option<Seconds>,
    }
    let arn = call.input.required("mapRunArn");
    let map_run = call.state.engine.map_run(&call.caller, &arn).await?;
    json(&Answer {
        map_run_arn: &map_run.arn,
        execution_arn: &map_run.execution_arn,
        status: status_name(map_run.status),
        start_date: Seconds(map_run.started_at.0),
        stop_date: map_run.stopped_at.map(|at| Seconds(at.0)),
        max_concurrency: map_run.concurrency,
        tolerated_failure_percentage: map_run.tolerated_percentage,
        tolerated_failure_count: map_run.tolerated_count,
        item_counts: map_run.items.into(),
        execution_counts: map_run.executions.into(),
        redrive_count: map_run.redrive_count,
        redrive_date: map_run.redriven_at.map(|at| Seconds(at.0)),
    })
}

pub(super) async fn list(mut call: Call<'_>) -> Result<Vec<u8>, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Item<'a> {
        execution_arn: &'a str,
        map_run_arn: &'a str,
        state_machine_arn: &'a str,
        start_date: Seconds,
        #[serde(skip_serializing_if = "Option::is_none")]
        stop_date: Option<Seconds>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer<'a> {
        map_runs: Vec<Item<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_token: Option<&'a str>,
    }
    let arn = call.input.required("executionArn");
    let page = page(&mut call.input);
    let found = call.state.engine.map_runs(&call.caller, &arn, page).await?;
    let map_runs = found.items.iter().map(|map_run| Item {
        execution_arn: &map_run.execution_arn,
        map_run_arn: &map_run.arn,
        state_machine_arn: &map_run.machine_arn,
        start_date: Seconds(map_run.started_at.0),
        stop_date: map_run.stopped_at.map(|at| Seconds(at.0)),
    });
    json(&Answer {
        map_runs: map_runs.collect(),
        next_token: found.next_token.as_deref(),
    })
}

pub(super) async fn update(mut call: Call<'_>) -> Result<Vec<u8>, Fault> {
    let input = &mut call.input;
    let arn = input.required("mapRunArn");
    let whole = |number: i64| u64::try_from(number).unwrap_or(0);
    let concurrency = input.number("maxConcurrency").map(whole);
    let change = MapRunChange {
        concurrency: concurrency.map(|number| u32::try_from(number).unwrap_or(u32::MAX)),
        tolerated_count: input.number("toleratedFailureCount").map(whole),
        tolerated_percentage: input.fraction("toleratedFailurePercentage"),
    };
    let changed = call
        .state
        .engine
        .update_map_run(&call.caller, &arn, change)
        .await;
    match changed {
        Ok(()) => json(&Nothing {}),
        Err(Error::Rejected {
            code: Code::ValidationException,
            message,
        }) => Err(Fault::validation(message).because("CANNOT_UPDATE_COMPLETED_MAP_RUN")),
        Err(other) => Err(other.into()),
    }
}
