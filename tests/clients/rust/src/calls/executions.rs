//! Executions and map runs.

use aws_sdk_sfn::Client;
use serde_json::{Value, json};

use super::{Answer, send};
use crate::{
    answers::{self, time, word as said},
    requests::{float, int, long, text, word},
};

pub(super) async fn call(client: &Client, operation: &str, with: &Value) -> Option<Answer> {
    Some(match operation {
        "StartExecution" => {
            let start = client.start_execution();
            let start = start
                .set_state_machine_arn(text(with, "stateMachineArn"))
                .set_name(text(with, "name"))
                .set_input(text(with, "input"));
            send!(start, out => json!({
                "executionArn": out.execution_arn,
                "startDate": time(out.start_date),
            }))
        }
        "StartSyncExecution" => start_sync(client, with).await,
        "StopExecution" => {
            let stop = client.stop_execution();
            let stop = stop
                .set_execution_arn(text(with, "executionArn"))
                .set_error(text(with, "error"))
                .set_cause(text(with, "cause"));
            send!(stop, out => json!({ "stopDate": time(out.stop_date) }))
        }
        "RedriveExecution" => {
            let redrive = client.redrive_execution();
            let redrive = redrive
                .set_execution_arn(text(with, "executionArn"))
                .set_client_token(text(with, "clientToken"));
            send!(redrive, out => json!({ "redriveDate": time(out.redrive_date) }))
        }
        "DescribeExecution" => describe(client, with).await,
        "DescribeStateMachineForExecution" => {
            let describe = client.describe_state_machine_for_execution();
            send!(describe.set_execution_arn(text(with, "executionArn")), out => json!({
                "stateMachineArn": out.state_machine_arn,
                "name": out.name,
                "definition": out.definition,
                "roleArn": out.role_arn,
                "updateDate": time(out.update_date),
                "revisionId": out.revision_id,
            }))
        }
        "DescribeMapRun" => describe_map_run(client, with).await,
        "UpdateMapRun" => {
            let update = client.update_map_run();
            let update = update
                .set_map_run_arn(text(with, "mapRunArn"))
                .set_max_concurrency(int(with, "maxConcurrency"))
                .set_tolerated_failure_percentage(float(with, "toleratedFailurePercentage"))
                .set_tolerated_failure_count(long(with, "toleratedFailureCount"));
            send!(update, out => json!({}))
        }
        _ => return None,
    })
}

async fn start_sync(client: &Client, with: &Value) -> Answer {
    let start = client.start_sync_execution();
    let start = start
        .set_state_machine_arn(text(with, "stateMachineArn"))
        .set_name(text(with, "name"))
        .set_input(text(with, "input"));
    send!(start, out => json!({
        "executionArn": out.execution_arn,
        "stateMachineArn": out.state_machine_arn,
        "name": out.name,
        "status": out.status.as_str(),
        "startDate": time(out.start_date),
        "stopDate": time(out.stop_date),
        "error": out.error,
        "cause": out.cause,
        "input": out.input,
        "inputDetails": answers::included(out.input_details.as_ref()),
        "output": out.output,
        "outputDetails": answers::included(out.output_details.as_ref()),
        "billingDetails": out.billing_details.as_ref()
            .map(|bill| json!({ "billedMemoryUsedInMB": bill.billed_memory_used_in_mb })),
    }))
}

async fn describe(client: &Client, with: &Value) -> Answer {
    let describe = client.describe_execution();
    let describe = describe
        .set_execution_arn(text(with, "executionArn"))
        .set_included_data(word(with, "includedData"));
    send!(describe, out => json!({
        "executionArn": out.execution_arn,
        "stateMachineArn": out.state_machine_arn,
        "name": out.name,
        "status": out.status.as_str(),
        "startDate": time(out.start_date),
        "stopDate": time(out.stop_date),
        "input": out.input,
        "inputDetails": answers::included(out.input_details.as_ref()),
        "output": out.output,
        "outputDetails": answers::included(out.output_details.as_ref()),
        "mapRunArn": out.map_run_arn,
        "error": out.error,
        "cause": out.cause,
        "stateMachineVersionArn": out.state_machine_version_arn,
        "stateMachineAliasArn": out.state_machine_alias_arn,
        "redriveCount": out.redrive_count,
        "redriveDate": time(out.redrive_date),
        "redriveStatus": said(out.redrive_status.as_ref()),
        "redriveStatusReason": out.redrive_status_reason,
    }))
}

async fn describe_map_run(client: &Client, with: &Value) -> Answer {
    let describe = client.describe_map_run();
    send!(describe.set_map_run_arn(text(with, "mapRunArn")), out => json!({
        "mapRunArn": out.map_run_arn,
        "executionArn": out.execution_arn,
        "status": out.status.as_str(),
        "startDate": time(out.start_date),
        "stopDate": time(out.stop_date),
        "maxConcurrency": out.max_concurrency,
        "toleratedFailurePercentage": out.tolerated_failure_percentage,
        "toleratedFailureCount": out.tolerated_failure_count,
        "itemCounts": out.item_counts.as_ref().map(answers::item_counts),
        "executionCounts": out.execution_counts.as_ref().map(answers::execution_counts),
        "redriveCount": out.redrive_count,
    }))
}
