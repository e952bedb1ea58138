//! Executions: start, describe, list, stop, redrive. Wire types of these calls, AWS JSON 1.0.

use serde::Serialize;
use stepwell_engine::{ChildFilter, Execution, Redrivable, StartRequest, Status, Waiting};

use super::{
    fault::Fault,
    input::Fields,
    operation::Call,
    wire::{Included, Seconds, Text, includes_data, json, page},
};
use crate::admin::Origin;

/// The status of a child that waits for its map run to redrive it.
const PENDING_REDRIVE: &str = "PENDING_REDRIVE";

pub(super) async fn start(mut call: Call<'_>) -> Result<Vec<u8>, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer<'a> {
        execution_arn: &'a str,
        start_date: Seconds,
    }
    let request = start_request(&mut call);
    let started = call.state.engine.start(&call.caller, request).await?;
    json(&Answer {
        execution_arn: &started.execution_arn,
        start_date: Seconds(started.started_at.0),
    })
}

pub(super) async fn start_sync(mut call: Call<'_>) -> Result<Vec<u8>, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Billing {
        #[serde(rename = "billedMemoryUsedInMB")]
        billed_memory_used_in_mb: u64,
        billed_duration_in_milliseconds: u64,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer<'a> {
        #[serde(flatten)]
        execution: Described<'a>,
        billing_details: Billing,
    }
    let with_data = includes_data(&mut call.input);
    let request = start_request(&mut call);
    let result = call.state.engine.start_sync(&call.caller, request).await?;
    json(&Answer {
        execution: Described::of(&result.execution, with_data),
        billing_details: Billing {
            billed_memory_used_in_mb: result.billed_memory_mb,
            billed_duration_in_milliseconds: result.billed_duration_ms,
        },
    })
}

pub(super) async fn describe(mut call: Call<'_>) -> Result<Vec<u8>, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer<'a> {
        #[serde(flatten)]
        execution: Described<'a>,
        redrive_count: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        redrive_date: Option<Seconds>,
        redrive_status: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        redrive_status_reason: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        stepwell_waiting: Option<Waits<'a>>,
        /// Ours; absent but for forks.
        #[serde(skip_serializing_if = "Option::is_none")]
        forked_from: Option<Origin<'a>>,
    }
    let with_data = includes_data(&mut call.input);
    let execution = call
        .state
        .engine
        .execution(&call.caller, &call.input.required("executionArn"))
        .await?;
    let (redrive_status, redrive_status_reason) = match execution.redrivable {
        Redrivable::Yes => ("REDRIVABLE", None),
        Redrivable::ByMapRun => ("REDRIVABLE_BY_MAP_RUN", None),
        Redrivable::No(why) => ("NOT_REDRIVABLE", Some(why.to_string())),
    };
    json(&Answer {
        execution: Described::of(&execution, with_data),
        redrive_count: execution.redrive_count,
        redrive_date: execution.redriven_at.map(|at| Seconds(at.0)),
        redrive_status,
        redrive_status_reason,
        stepwell_waiting: execution.waiting.as_ref().map(Waits::of),
        forked_from: execution.forked_from.as_deref().map(|from| Origin {
            execution_arn: &from.execution_arn,
            event_id: from.event,
        }),
    })
}

pub(super) async fn list(mut call: Call<'_>) -> Result<Vec<u8>, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Item<'a> {
        execution_arn: &'a str,
        state_machine_arn: &'a str,
        name: &'a str,
        status: &'a str,
        start_date: Seconds,
        #[serde(skip_serializing_if = "Option::is_none")]
        stop_date: Option<Seconds>,
        #[serde(skip_serializing_if = "Option::is_none")]
        map_run_arn: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        item_count: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        state_machine_version_arn: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        state_machine_alias_arn: Option<&'a str>,
        redrive_count: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        redrive_date: Option<Seconds>,
        #[serde(skip_serializing_if = "Option::is_none")]
        stepwell_waiting: Option<Waits<'a>>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer<'a> {
        executions: Vec<Item<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_token: Option<&'a str>,
    }
    let asked = list_of(&mut call.input)?;
    let page = page(&mut call.input);
    let (engine, caller) = (&call.state.engine, &call.caller);
    let found = match &asked {
        Asked::Machine(arn, status) => engine.executions(caller, arn, *status, page).await?,
        Asked::MapRun(arn, filter) => {
            engine
                .map_run_executions(caller, arn, *filter, page)
                .await?
        }
    };
    let executions = found.items.iter().map(|execution| Item {
        execution_arn: &execution.arn,
        state_machine_arn: &execution.machine_arn,
        name: &execution.name,
        status: told_status(execution.status, execution.pending_redrive),
        start_date: Seconds(execution.started_at.0),
        stop_date: execution.stopped_at.map(|at| Seconds(at.0)),
        map_run_arn: execution.map_run_arn.as_deref(),
        item_count: execution.map_run_arn.as_ref().map(|_| execution.items),
        state_machine_version_arn: execution.version_arn.as_deref(),
        state_machine_alias_arn: execution.alias_arn.as_deref(),
        redrive_count: execution.redrive_count,
        redrive_date: execution.redriven_at.map(|at| Seconds(at.0)),
        stepwell_waiting: execution.waiting.as_ref().map(Waits::of),
    });
    json(&Answer {
        executions: executions.collect(),
        next_token: found.next_token.as_deref(),
    })
}

pub(super) async fn stop(mut call: Call<'_>) -> Result<Vec<u8>, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        stop_date: Seconds,
    }
    let input = &mut call.input;
    let (arn, error, cause) = (
        input.required("executionArn"),
        input.text("error"),
        input.text("cause"),
    );
    let stopped_at = call
        .state
        .engine
        .stop(&call.caller, &arn, error, cause)
        .await?;
    json(&Answer {
        stop_date: Seconds(stopped_at.0),
    })
}

pub(super) async fn redrive(mut call: Call<'_>) -> Result<Vec<u8>, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        redrive_date: Seconds,
    }
    let input = &mut call.input;
    let (arn, token) = (input.required("executionArn"), input.text("clientToken"));
    let engine = &call.state.engine;
    let redriven_at = engine.redrive(&call.caller, &arn, token.as_deref()).await?;
    json(&Answer {
        redrive_date: Seconds(redriven_at.0),
    })
}

/// Of an execution that has begun and waits for a place. AWS has no member for it; clients pass over what they do not know.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Waits<'a> {
    since: Seconds,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    of: Option<u64>,
}

impl<'a> Waits<'a> {
    fn of(waiting: &'a Waiting) -> Waits<'a> {
        Waits {
            since: Seconds(waiting.since.0),
            key: waiting.key.as_deref(),
            position: waiting.position,
            of: waiting.of,
        }
    }
}

/// What DescribeExecution and StartSyncExecution both show.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Described<'a> {
    execution_arn: &'a str,
    state_machine_arn: &'a str,
    name: &'a str,
    status: &'a str,
    start_date: Seconds,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_date: Option<Seconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<Text<'a>>,
    input_details: Included,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_details: Option<Included>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_header: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    map_run_arn: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_machine_version_arn: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_machine_alias_arn: Option<&'a str>,
}

impl<'a> Described<'a> {
    fn of(execution: &'a Execution, with_data: bool) -> Described<'a> {
        let details = Included {
            included: with_data,
        };
        Described {
            execution_arn: &execution.arn,
            state_machine_arn: &execution.machine_arn,
            name: &execution.name,
            status: told_status(execution.status, execution.pending_redrive),
            start_date: Seconds(execution.started_at.0),
            stop_date: execution.stopped_at.map(|at| Seconds(at.0)),
            input: with_data.then_some(Text(&execution.input)),
            input_details: details,
            output: execution.output.as_ref().filter(|_| with_data).map(Text),
            output_details: execution.output.is_some().then_some(details),
            error: execution.error.as_deref(),
            cause: execution.cause.as_deref(),
            trace_header: execution.trace_header.as_deref(),
            map_run_arn: execution.map_run_arn.as_deref(),
            state_machine_version_arn: execution.version_arn.as_deref(),
            state_machine_alias_arn: execution.alias_arn.as_deref(),
        }
    }
}

/// The same, but for a child that waits for its map run to redrive it.
fn told_status(status: Status, pending_redrive: bool) -> &'static str {
    if pending_redrive {
        PENDING_REDRIVE
    } else {
        status_name(status)
    }
}

/// The status as the wire names it.
pub(crate) fn status_name(status: Status) -> &'static str {
    match status {
        Status::Running => "RUNNING",
        Status::Succeeded => "SUCCEEDED",
        Status::Failed => "FAILED",
        Status::TimedOut => "TIMED_OUT",
        Status::Aborted => "ABORTED",
    }
}

fn status_of(name: &str) -> Option<Status> {
    let all = [
        Status::Running,
        Status::Succeeded,
        Status::Failed,
        Status::TimedOut,
        Status::Aborted,
    ];
    all.into_iter().find(|status| status_name(*status) == name)
}

/// What both starting calls take. The service's header of a trace beats the member, and that W3C's header.
fn start_request(call: &mut Call<'_>) -> StartRequest {
    let header = call
        .headers
        .get("x-amzn-trace-id")
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    let member = call.input.text("traceHeader");
    // OpenTelemetry's instrumentation of clients sends this one.
    let w3c = || {
        let value = call.headers.get("traceparent")?.to_str().ok()?;
        stepwell_engine::from_traceparent(value)
    };
    StartRequest {
        machine_arn: call.input.required("stateMachineArn"),
        name: call.input.text("name"),
        input: call.input.text("input"),
        trace_header: header.or(member).or_else(w3c),
    }
}

/// Which executions ListExecutions asks for.
enum Asked {
    Machine(String, Option<Status>),
    MapRun(String, ChildFilter),
}

fn list_of(input: &mut Fields<'_>) -> Result<Asked, Fault> {
    let (machine_arn, map_run_arn) = (input.text("stateMachineArn"), input.text("mapRunArn"));
    let redriven = input
        .text("redriveFilter")
        .map(|filter| filter == "REDRIVEN");
    let filter = input.text("statusFilter");
    let status = filter.as_deref().and_then(status_of);
    match (machine_arn, map_run_arn) {
        (Some(arn), None) => {
            if redriven.is_some() {
                return Err(Fault::validation(
                    "'redriveFilter' can only be specified together with 'mapRunArn'",
                ));
            }
            if let (Some(filter), None) = (filter, status) {
                return Err(Fault::validation(format!(
                    "The status filter '{filter}' can only be specified together with 'mapRunArn'"
                )));
            }
            Ok(Asked::Machine(arn, status))
        }
        (None, Some(arn)) => {
            let filter = ChildFilter {
                status,
                pending_redrive: filter.as_deref() == Some(PENDING_REDRIVE),
                redriven,
            };
            Ok(Asked::MapRun(arn, filter))
        }
        (None, None) | (Some(_), Some(_)) => {
            let message = "Must provide exactly one of 'stateMachineArn' and 'mapRunArn'";
            Err(Fault::validation(message).because("MISSING_REQUIRED_PARAMETER"))
        }
    }
}
