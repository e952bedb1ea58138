//! Executions: start, describe, list, stop. Wire types of these calls, AWS JSON 1.0.

use serde::Serialize;
use stepwell_engine::{Execution, StartRequest, Status};

use super::{
    fault::Fault,
    input::Fields,
    operation::Call,
    wire::{Included, Seconds, Text, includes_data, json, page},
};

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
    }
    let with_data = includes_data(&mut call.input);
    let execution = call
        .state
        .engine
        .execution(&call.caller, &call.input.required("executionArn"))
        .await?;
    let redrivable = match execution.status {
        Status::Running | Status::Succeeded => false,
        Status::Failed | Status::TimedOut | Status::Aborted => true,
    };
    let reason = || {
        format!(
            "Execution is {} and cannot be redriven",
            status_name(execution.status)
        )
    };
    json(&Answer {
        execution: Described::of(&execution, with_data),
        redrive_count: execution.redrive_count,
        redrive_date: execution.redriven_at.map(|at| Seconds(at.0)),
        redrive_status: if redrivable {
            "REDRIVABLE"
        } else {
            "NOT_REDRIVABLE"
        },
        redrive_status_reason: (!redrivable).then(reason),
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
        state_machine_version_arn: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        state_machine_alias_arn: Option<&'a str>,
        redrive_count: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        redrive_date: Option<Seconds>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer<'a> {
        executions: Vec<Item<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_token: Option<&'a str>,
    }
    let (machine_arn, status) = list_of(&mut call.input)?;
    let page = page(&mut call.input);
    let found = call
        .state
        .engine
        .executions(&call.caller, &machine_arn, status, page)
        .await?;
    let executions = found.items.iter().map(|execution| Item {
        execution_arn: &execution.arn,
        state_machine_arn: &execution.machine_arn,
        name: &execution.name,
        status: status_name(execution.status),
        start_date: Seconds(execution.started_at.0),
        stop_date: execution.stopped_at.map(|at| Seconds(at.0)),
        state_machine_version_arn: execution.version_arn.as_deref(),
        state_machine_alias_arn: execution.alias_arn.as_deref(),
        redrive_count: execution.redrive_count,
        redrive_date: execution.redriven_at.map(|at| Seconds(at.0)),
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
            status: status_name(execution.status),
            start_date: Seconds(execution.started_at.0),
            stop_date: execution.stopped_at.map(|at| Seconds(at.0)),
            input: with_data.then_some(Text(&execution.input)),
            input_details: details,
            output: execution.output.as_ref().filter(|_| with_data).map(Text),
            output_details: execution.output.is_some().then_some(details),
            error: execution.error.as_deref(),
            cause: execution.cause.as_deref(),
            trace_header: execution.trace_header.as_deref(),
            state_machine_version_arn: execution.version_arn.as_deref(),
            state_machine_alias_arn: execution.alias_arn.as_deref(),
        }
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

/// What both starting calls take. The header of a trace beats the member.
fn start_request(call: &mut Call<'_>) -> StartRequest {
    let header = call
        .headers
        .get("x-amzn-trace-id")
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    let member = call.input.text("traceHeader");
    StartRequest {
        machine_arn: call.input.required("stateMachineArn"),
        name: call.input.text("name"),
        input: call.input.text("input"),
        trace_header: header.or(member),
    }
}

/// Which executions ListExecutions asks for: state machine and status.
fn list_of(input: &mut Fields<'_>) -> Result<(String, Option<Status>), Fault> {
    let machine_arn = match (input.text("stateMachineArn"), input.text("mapRunArn")) {
        (Some(arn), None) => arn,
        (None, Some(_)) => {
            return Err(Fault::not_offered(
                "listing the executions of a map run (`mapRunArn`)",
            ));
        }
        (None, None) | (Some(_), Some(_)) => {
            let message = "Must provide exactly one of 'stateMachineArn' and 'mapRunArn'";
            return Err(Fault::validation(message).because("MISSING_REQUIRED_PARAMETER"));
        }
    };
    if input.text("redriveFilter").is_some() {
        return Err(Fault::validation(
            "'redriveFilter' can only be specified together with 'mapRunArn'",
        ));
    }
    let Some(filter) = input.text("statusFilter") else {
        return Ok((machine_arn, None));
    };
    match status_of(&filter) {
        Some(status) => Ok((machine_arn, Some(status))),
        None => Err(Fault::validation(format!(
            "The status filter '{filter}' can only be specified together with 'mapRunArn'"
        ))),
    }
}
