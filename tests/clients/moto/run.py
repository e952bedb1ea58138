#!/usr/bin/env python3
"""State machines that call AWS services, with moto's server as DynamoDB, SQS, Secrets Manager and EventBridge.

usage: run.py --endpoint http://127.0.0.1:PORT --moto http://127.0.0.1:PORT"""

import argparse
import json
import time
import uuid

import boto3
from botocore.config import Config

ROLE = "arn:aws:iam::000000000000:role/test"


def client(name, url):
    return boto3.client(
        name,
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(inject_host_prefix=False, retries={"max_attempts": 1}),
    )


def task(resource, parameters, **more):
    return {"Type": "Task", "Resource": f"arn:aws:states:::{resource}", "Parameters": parameters, "End": True, **more}


class Stepwell:
    def __init__(self, url):
        self.sfn = client("stepfunctions", url)

    def start(self, state):
        name = f"m{uuid.uuid4().hex[:12]}"
        definition = json.dumps({"StartAt": "Call", "States": {"Call": state}})
        machine = self.sfn.create_state_machine(name=name, definition=definition, roleArn=ROLE)["stateMachineArn"]
        return self.sfn.start_execution(stateMachineArn=machine)["executionArn"]

    def ended(self, execution):
        for _ in range(1200):
            found = self.sfn.describe_execution(executionArn=execution)
            if found["status"] != "RUNNING":
                return found
            time.sleep(0.05)
        raise AssertionError(f"{execution} does not end")

    def output(self, state):
        found = self.ended(self.start(state))
        assert found["status"] == "SUCCEEDED", found
        return json.loads(found["output"])

    def failure(self, state):
        found = self.ended(self.start(state))
        assert found["status"] == "FAILED", found
        return found["error"], found["cause"]


def same(found, expected):
    assert found == expected, f"{found!r} != {expected!r}"


def dynamodb(stepwell, moto):
    tables = client("dynamodb", moto)
    tables.create_table(
        TableName="orders",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    key = {"id": {"S": "o-1"}}
    put = stepwell.output(task("dynamodb:putItem", {"TableName": "orders", "Item": {**key, "n": {"N": "1"}}}))
    same(put["SdkHttpMetadata"]["HttpStatusCode"], 200)
    assert put["SdkResponseMetadata"]["RequestId"], put
    update = {"TableName": "orders", "Key": key, "UpdateExpression": "ADD n :one", "ExpressionAttributeValues": {":one": {"N": "1"}}}
    stepwell.output(task("dynamodb:updateItem", update))
    same(tables.get_item(TableName="orders", Key=key)["Item"], {**key, "n": {"N": "2"}})
    got = stepwell.output(task("dynamodb:getItem", {"TableName": "orders", "Key": key}))
    same(got["Item"], {**key, "n": {"N": "2"}})
    described = stepwell.output(task("aws-sdk:dynamodb:describeTable", {"TableName": "orders"}))
    same(described["Table"]["TableStatus"], "ACTIVE")
    assert described["Table"]["CreationDateTime"].endswith("Z"), described
    assert "SdkHttpMetadata" not in described, described
    stepwell.output(task("dynamodb:deleteItem", {"TableName": "orders", "Key": key}))
    assert "Item" not in tables.get_item(TableName="orders", Key=key)
    condition = {"TableName": "orders", "Item": key, "ConditionExpression": "attribute_exists(id)"}
    error, cause = stepwell.failure(task("dynamodb:putItem", condition))
    same(error, "DynamoDB.ConditionalCheckFailedException")
    assert "(Service: AmazonDynamoDBv2; Status Code: 400; Error Code: ConditionalCheckFailedException; Request ID: " in cause, cause
    error, cause = stepwell.failure(task("aws-sdk:dynamodb:putItem", {"TableName": "none", "Item": key}))
    same(error, "DynamoDb.ResourceNotFoundException")
    assert "(Service: DynamoDb, Status Code: 400, Request ID: " in cause, cause


def sqs(stepwell, moto):
    queues = client("sqs", moto)
    url = queues.create_queue(QueueName="work")["QueueUrl"]
    sent = stepwell.output(task("sqs:sendMessage", {"QueueUrl": url, "MessageBody": {"a": 1}}))
    (message,) = queues.receive_message(QueueUrl=url)["Messages"]
    same((message["MessageId"], json.loads(message["Body"])), (sent["MessageId"], {"a": 1}))
    same(sent["MD5OfMessageBody"], message["MD5OfBody"])
    queues.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    body = {"token.$": "$$.Task.Token"}
    execution = stepwell.start(task("sqs:sendMessage.waitForTaskToken", {"QueueUrl": url, "MessageBody": body}))
    (message,) = queues.receive_message(QueueUrl=url, WaitTimeSeconds=20)["Messages"]
    # The message may be here before it is recorded that the queue took it, and an answer that comes then is taken first.
    kinds = []
    for _ in range(1200):
        kinds = [event["type"] for event in stepwell.sfn.get_execution_history(executionArn=execution)["events"]]
        if "TaskSubmitted" in kinds:
            break
        time.sleep(0.05)
    assert "TaskSubmitted" in kinds, kinds
    stepwell.sfn.send_task_success(taskToken=json.loads(message["Body"])["token"], output='"answered"')
    same(stepwell.ended(execution)["output"], '"answered"')
    attributes = stepwell.output(task("aws-sdk:sqs:getQueueAttributes", {"QueueUrl": url, "AttributeNames": ["All"]}))
    assert attributes["Attributes"]["QueueArn"].endswith(":work"), attributes
    error, cause = stepwell.failure(task("aws-sdk:sqs:sendMessage", {"QueueUrl": url + "-none", "MessageBody": "a"}))
    same(error, "Sqs.QueueDoesNotExistException")
    assert "(Service: Sqs, Status Code: 400, Request ID: " in cause, cause


def secrets(stepwell, moto):
    made = stepwell.output(task("aws-sdk:secretsmanager:createSecret", {"Name": "db", "SecretString": "hidden"}))
    same(client("secretsmanager", moto).get_secret_value(SecretId="db")["SecretString"], "hidden")
    got = stepwell.output(task("aws-sdk:secretsmanager:getSecretValue", {"SecretId": made["ARN"]}))
    same((got["Name"], got["SecretString"]), ("db", "hidden"))
    assert got["CreatedDate"].endswith("Z"), got
    error, _ = stepwell.failure(task("aws-sdk:secretsmanager:getSecretValue", {"SecretId": "none"}))
    same(error, "SecretsManager.ResourceNotFoundException")
    caught = task("aws-sdk:secretsmanager:getSecretValue", {"SecretId": "none"})
    tested = stepwell.sfn.test_state(definition=json.dumps(caught), roleArn=ROLE, input="{}")
    same((tested["status"], tested["error"]), ("FAILED", error))


def events(stepwell, moto):
    entry = {"Detail": {"a": 1}, "DetailType": "t", "Source": "s"}
    put = stepwell.output(task("events:putEvents", {"Entries": [entry]}))
    same((put["FailedEntryCount"], sorted(put)), (0, ["Entries", "FailedEntryCount"]))
    del entry["Source"]
    error, cause = stepwell.failure(task("events:putEvents", {"Entries": [entry]}))
    same((error, json.loads(cause)["FailedEntryCount"]), ("EventBridge.FailedEntry", 1))


def elsewhere(stepwell, _):
    """A service without an endpoint, and an endpoint where nobody listens."""
    error, cause = stepwell.failure(task("aws-sdk:ssm:getParameter", {"Name": "p"}))
    same(error, "Stepwell.EndpointMissing")
    assert "--endpoint ssm=URL" in cause, cause
    error, cause = stepwell.failure(task("aws-sdk:kms:listKeys", {}))
    same(error, "Kms.SdkClientException")
    assert cause.startswith("Unable to execute HTTP request: 127.0.0.1: "), cause


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--moto", required=True)
    arguments = parser.parse_args()
    stepwell = Stepwell(arguments.endpoint)
    for case in (dynamodb, sqs, secrets, events, elsewhere):
        try:
            case(stepwell, arguments.moto)
        except Exception as error:
            raise SystemExit(f"{case.__name__}: {type(error).__name__}: {error}")
        print(f"{case.__name__}: as expected")


main()
