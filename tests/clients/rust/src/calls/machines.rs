//! State machines, their versions, aliases and tags; definitions and states alone.

use aws_sdk_sfn::Client;
use serde_json::{Value, json};

use super::{Answer, send};
use crate::{
    answers::{self, time, word as said},
    requests::{
        boolean, encryption, int, logging, mock, routing, tags, text, texts, tracing, word,
    },
};

pub(super) async fn call(client: &Client, operation: &str, with: &Value) -> Option<Answer> {
    if let Some(answer) = judging(client, operation, with).await {
        return Some(answer);
    }
    if let Some(answer) = published(client, operation, with).await {
        return Some(answer);
    }
    Some(match operation {
        "CreateStateMachine" => {
            let create = client.create_state_machine();
            let create = create
                .set_name(text(with, "name"))
                .set_definition(text(with, "definition"))
                .set_role_arn(text(with, "roleArn"))
                .set_type(word(with, "type"))
                .set_tags(tags(with, "tags"))
                .set_publish(boolean(with, "publish"))
                .set_version_description(text(with, "versionDescription"))
                .set_encryption_configuration(encryption(with, "encryptionConfiguration"));
            send!(create, out => json!({
                "stateMachineArn": out.state_machine_arn,
                "creationDate": time(out.creation_date),
                "stateMachineVersionArn": out.state_machine_version_arn,
            }))
        }
        "UpdateStateMachine" => {
            let update = client.update_state_machine();
            let update = update
                .set_state_machine_arn(text(with, "stateMachineArn"))
                .set_definition(text(with, "definition"))
                .set_role_arn(text(with, "roleArn"))
                .set_logging_configuration(logging(with, "loggingConfiguration"))
                .set_tracing_configuration(tracing(with, "tracingConfiguration"));
            send!(update, out => json!({
                "updateDate": time(out.update_date),
                "revisionId": out.revision_id,
                "stateMachineVersionArn": out.state_machine_version_arn,
            }))
        }
        "DescribeStateMachine" => describe(client, with).await,
        "DeleteStateMachine" => {
            let delete = client.delete_state_machine();
            send!(delete.set_state_machine_arn(text(with, "stateMachineArn")), out => json!({}))
        }
        "TagResource" => {
            let tag = client.tag_resource().set_tags(tags(with, "tags"));
            send!(tag.set_resource_arn(text(with, "resourceArn")), out => json!({}))
        }
        "UntagResource" => {
            let untag = client.untag_resource().set_tag_keys(texts(with, "tagKeys"));
            send!(untag.set_resource_arn(text(with, "resourceArn")), out => json!({}))
        }
        "ListTagsForResource" => {
            let list = client.list_tags_for_resource();
            send!(list.set_resource_arn(text(with, "resourceArn")), out => json!({
                "tags": out.tags().iter().map(answers::tag).collect::<Vec<_>>(),
            }))
        }
        _ => return None,
    })
}

async fn describe(client: &Client, with: &Value) -> Answer {
    let describe = client.describe_state_machine();
    send!(describe.set_state_machine_arn(text(with, "stateMachineArn")), out => json!({
        "stateMachineArn": out.state_machine_arn,
        "name": out.name,
        "status": said(out.status.as_ref()),
        "definition": out.definition,
        "roleArn": out.role_arn,
        "type": out.r#type.as_str(),
        "creationDate": time(out.creation_date),
        "loggingConfiguration": out.logging_configuration.as_ref().map(answers::logging),
        "tracingConfiguration": out.tracing_configuration.as_ref().map(answers::tracing),
        "encryptionConfiguration": out.encryption_configuration.as_ref().map(answers::encryption),
        "label": out.label,
        "revisionId": out.revision_id,
        "description": out.description,
    }))
}

async fn published(client: &Client, operation: &str, with: &Value) -> Option<Answer> {
    Some(match operation {
        "PublishStateMachineVersion" => {
            let publish = client.publish_state_machine_version();
            let publish = publish
                .set_state_machine_arn(text(with, "stateMachineArn"))
                .set_revision_id(text(with, "revisionId"))
                .set_description(text(with, "description"));
            send!(publish, out => json!({
                "creationDate": time(out.creation_date),
                "stateMachineVersionArn": out.state_machine_version_arn,
            }))
        }
        "DeleteStateMachineVersion" => {
            let arn = text(with, "stateMachineVersionArn");
            let delete = client.delete_state_machine_version();
            send!(delete.set_state_machine_version_arn(arn), out => json!({}))
        }
        "CreateStateMachineAlias" => {
            let create = client.create_state_machine_alias();
            let create = create
                .set_name(text(with, "name"))
                .set_description(text(with, "description"))
                .set_routing_configuration(routing(with, "routingConfiguration"));
            send!(create, out => json!({
                "stateMachineAliasArn": out.state_machine_alias_arn,
                "creationDate": time(out.creation_date),
            }))
        }
        "UpdateStateMachineAlias" => {
            let update = client.update_state_machine_alias();
            let update = update
                .set_state_machine_alias_arn(text(with, "stateMachineAliasArn"))
                .set_description(text(with, "description"))
                .set_routing_configuration(routing(with, "routingConfiguration"));
            send!(update, out => json!({ "updateDate": time(out.update_date) }))
        }
        "DescribeStateMachineAlias" => {
            let arn = text(with, "stateMachineAliasArn");
            let describe = client.describe_state_machine_alias();
            send!(describe.set_state_machine_alias_arn(arn), out => json!({
                "stateMachineAliasArn": out.state_machine_alias_arn,
                "name": out.name,
                "description": out.description,
                "routingConfiguration": out.routing_configuration().iter().map(answers::part).collect::<Vec<_>>(),
                "creationDate": time(out.creation_date),
                "updateDate": time(out.update_date),
            }))
        }
        "DeleteStateMachineAlias" => {
            let arn = text(with, "stateMachineAliasArn");
            let delete = client.delete_state_machine_alias();
            send!(delete.set_state_machine_alias_arn(arn), out => json!({}))
        }
        _ => return None,
    })
}

async fn judging(client: &Client, operation: &str, with: &Value) -> Option<Answer> {
    Some(match operation {
        "ValidateStateMachineDefinition" => {
            let validate = client.validate_state_machine_definition();
            let validate = validate
                .set_definition(text(with, "definition"))
                .set_type(word(with, "type"))
                .set_severity(word(with, "severity"))
                .set_max_results(int(with, "maxResults"));
            send!(validate, out => json!({
                "result": out.result.as_str(),
                "diagnostics": out.diagnostics.iter().map(answers::diagnostic).collect::<Vec<_>>(),
                "truncated": out.truncated,
            }))
        }
        "TestState" => {
            let test = client.test_state();
            let test = test
                .set_definition(text(with, "definition"))
                .set_role_arn(text(with, "roleArn"))
                .set_input(text(with, "input"))
                .set_inspection_level(word(with, "inspectionLevel"))
                .set_mock(mock(with, "mock"));
            send!(test, out => json!({
                "status": said(out.status.as_ref()),
                "output": out.output,
                "error": out.error,
                "cause": out.cause,
                "nextState": out.next_state,
                "inspectionData": out.inspection_data.as_ref().map(answers::inspection),
            }))
        }
        _ => return None,
    })
}
