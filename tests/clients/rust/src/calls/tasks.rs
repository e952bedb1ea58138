//! Activities, their workers, and tokens.

use aws_sdk_sfn::Client;
use serde_json::{Value, json};

use super::{Answer, send};
use crate::{
    answers::{self, time},
    requests::{encryption, tags, text},
};

pub(super) async fn call(client: &Client, operation: &str, with: &Value) -> Option<Answer> {
    Some(match operation {
        "CreateActivity" => {
            let create = client.create_activity();
            let create = create
                .set_name(text(with, "name"))
                .set_tags(tags(with, "tags"))
                .set_encryption_configuration(encryption(with, "encryptionConfiguration"));
            send!(create, out => json!({
                "activityArn": out.activity_arn,
                "creationDate": time(out.creation_date),
            }))
        }
        "DescribeActivity" => {
            let describe = client.describe_activity();
            send!(describe.set_activity_arn(text(with, "activityArn")), out => json!({
                "activityArn": out.activity_arn,
                "name": out.name,
                "creationDate": time(out.creation_date),
                "encryptionConfiguration": out.encryption_configuration.as_ref().map(answers::encryption),
            }))
        }
        "DeleteActivity" => {
            let delete = client.delete_activity();
            send!(delete.set_activity_arn(text(with, "activityArn")), out => json!({}))
        }
        "GetActivityTask" => {
            let get = client.get_activity_task();
            let get = get
                .set_activity_arn(text(with, "activityArn"))
                .set_worker_name(text(with, "workerName"));
            send!(get, out => json!({ "taskToken": out.task_token, "input": out.input }))
        }
        "SendTaskSuccess" => {
            let send = client.send_task_success();
            let send = send
                .set_task_token(text(with, "taskToken"))
                .set_output(text(with, "output"));
            send!(send, out => json!({}))
        }
        "SendTaskFailure" => {
            let send = client.send_task_failure();
            let send = send
                .set_task_token(text(with, "taskToken"))
                .set_error(text(with, "error"))
                .set_cause(text(with, "cause"));
            send!(send, out => json!({}))
        }
        "SendTaskHeartbeat" => {
            let send = client.send_task_heartbeat();
            send!(send.set_task_token(text(with, "taskToken")), out => json!({}))
        }
        _ => return None,
    })
}
