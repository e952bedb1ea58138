//! The SDK's answers as JSON by the names of AWS's API. Hides the SDK's types; what is absent becomes null.

use aws_sdk_sfn::{
    primitives::{DateTime, DateTimeFormat},
    types::{
        CloudWatchEventsExecutionDataDetails, EncryptionConfiguration, ExecutionListItem,
        HistoryEvent, HistoryEventExecutionDataDetails, InspectionData, LoggingConfiguration,
        MapRunExecutionCounts, MapRunItemCounts, MapRunListItem, RoutingConfigurationListItem,
        StateMachineListItem, Tag, TracingConfiguration, ValidateStateMachineDefinitionDiagnostic,
    },
};
use serde_json::{Value, json};

/// RFC 3339.
pub(crate) fn time(time: impl Into<Option<DateTime>>) -> Option<String> {
    let time: Option<DateTime> = time.into();
    time.and_then(|time| time.fmt(DateTimeFormat::DateTime).ok())
}

/// One of the words that a member may hold, where it is there.
pub(crate) fn word<T: AsRef<str>>(word: Option<&T>) -> Option<&str> {
    word.map(T::as_ref)
}

pub(crate) fn included(details: Option<&CloudWatchEventsExecutionDataDetails>) -> Value {
    details.map_or(
        Value::Null,
        |details| json!({ "included": details.included }),
    )
}

pub(crate) fn tag(tag: &Tag) -> Value {
    json!({ "key": tag.key, "value": tag.value })
}

pub(crate) fn part(part: &RoutingConfigurationListItem) -> Value {
    json!({ "stateMachineVersionArn": part.state_machine_version_arn, "weight": part.weight })
}

pub(crate) fn logging(block: &LoggingConfiguration) -> Value {
    json!({
        "level": word(block.level.as_ref()),
        "includeExecutionData": block.include_execution_data,
    })
}

pub(crate) fn tracing(block: &TracingConfiguration) -> Value {
    json!({ "enabled": block.enabled })
}

pub(crate) fn encryption(block: &EncryptionConfiguration) -> Value {
    json!({
        "type": block.r#type.as_str(),
        "kmsKeyId": block.kms_key_id,
        "kmsDataKeyReusePeriodSeconds": block.kms_data_key_reuse_period_seconds,
    })
}

pub(crate) fn machine(item: &StateMachineListItem) -> Value {
    json!({
        "stateMachineArn": item.state_machine_arn,
        "name": item.name,
        "type": item.r#type.as_str(),
        "creationDate": time(item.creation_date),
    })
}

pub(crate) fn execution(item: &ExecutionListItem) -> Value {
    json!({
        "executionArn": item.execution_arn,
        "stateMachineArn": item.state_machine_arn,
        "name": item.name,
        "status": item.status.as_str(),
        "startDate": time(item.start_date),
        "stopDate": time(item.stop_date),
        "mapRunArn": item.map_run_arn,
        "itemCount": item.item_count,
        "stateMachineVersionArn": item.state_machine_version_arn,
        "stateMachineAliasArn": item.state_machine_alias_arn,
        "redriveCount": item.redrive_count,
    })
}

pub(crate) fn map_run(item: &MapRunListItem) -> Value {
    json!({
        "executionArn": item.execution_arn,
        "mapRunArn": item.map_run_arn,
        "stateMachineArn": item.state_machine_arn,
        "startDate": time(item.start_date),
        "stopDate": time(item.stop_date),
    })
}

pub(crate) fn item_counts(counts: &MapRunItemCounts) -> Value {
    json!({
        "pending": counts.pending,
        "running": counts.running,
        "succeeded": counts.succeeded,
        "failed": counts.failed,
        "aborted": counts.aborted,
        "total": counts.total,
    })
}

pub(crate) fn execution_counts(counts: &MapRunExecutionCounts) -> Value {
    json!({
        "pending": counts.pending,
        "running": counts.running,
        "succeeded": counts.succeeded,
        "failed": counts.failed,
        "aborted": counts.aborted,
        "total": counts.total,
    })
}

pub(crate) fn diagnostic(item: &ValidateStateMachineDefinitionDiagnostic) -> Value {
    json!({
        "severity": item.severity.as_str(),
        "code": item.code,
        "message": item.message,
        "location": item.location,
    })
}

pub(crate) fn inspection(data: &InspectionData) -> Value {
    json!({ "input": data.input, "afterInputPath": data.after_input_path })
}

/// An event with the details that cases look at.
pub(crate) fn event(event: &HistoryEvent) -> Value {
    json!({
        "id": event.id,
        "previousEventId": event.previous_event_id,
        "type": event.r#type.as_str(),
        "timestamp": time(event.timestamp),
        "executionStartedEventDetails": event.execution_started_event_details.as_ref().map(|details| json!({
            "input": details.input,
            "inputDetails": truncated(details.input_details.as_ref()),
            "roleArn": details.role_arn,
        })),
        "executionSucceededEventDetails": event.execution_succeeded_event_details.as_ref()
            .map(|details| json!({ "output": details.output })),
        "executionFailedEventDetails": event.execution_failed_event_details.as_ref()
            .map(|details| json!({ "error": details.error, "cause": details.cause })),
        "executionRedrivenEventDetails": event.execution_redriven_event_details.as_ref()
            .map(|details| json!({ "redriveCount": details.redrive_count })),
        "stateEnteredEventDetails": event.state_entered_event_details.as_ref()
            .map(|details| json!({ "name": details.name, "input": details.input })),
        "stateExitedEventDetails": event.state_exited_event_details.as_ref()
            .map(|details| json!({ "name": details.name, "output": details.output })),
        "activityScheduledEventDetails": event.activity_scheduled_event_details.as_ref().map(|details| json!({
            "resource": details.resource,
            "input": details.input,
            "timeoutInSeconds": details.timeout_in_seconds,
            "heartbeatInSeconds": details.heartbeat_in_seconds,
        })),
        "activityFailedEventDetails": event.activity_failed_event_details.as_ref()
            .map(|details| json!({ "error": details.error, "cause": details.cause })),
        "taskScheduledEventDetails": event.task_scheduled_event_details.as_ref().map(|details| json!({
            "resource": details.resource,
            "resourceType": details.resource_type,
            "region": details.region,
            "timeoutInSeconds": details.timeout_in_seconds,
        })),
        "taskSucceededEventDetails": event.task_succeeded_event_details.as_ref()
            .map(|details| json!({ "output": details.output })),
    })
}

fn truncated(details: Option<&HistoryEventExecutionDataDetails>) -> Value {
    details.map_or(
        Value::Null,
        |details| json!({ "truncated": details.truncated }),
    )
}
