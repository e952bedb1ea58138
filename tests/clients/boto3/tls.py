#!/usr/bin/env python3
"""A workflow over TLS: `ok`, or the error. Key and authority are the environment's, as of any user of the SDK."""

import argparse
import json

import boto3
from botocore.config import Config
from harness import PASS, same, until

ROLE = "arn:aws:iam::111111111111:role/tests"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--endpoint", required=True)
    endpoint = parser.parse_args().endpoint
    config = Config(inject_host_prefix=False, retries={"max_attempts": 0})
    client = boto3.client("stepfunctions", endpoint_url=endpoint, region_name="us-east-1", config=config)
    made = client.create_state_machine(name="tls", definition=json.dumps(PASS), roleArn=ROLE)
    started = client.start_execution(stateMachineArn=made["stateMachineArn"], input='{"within": "TLS"}')
    arn = started["executionArn"]
    ended = until(lambda: client.describe_execution(executionArn=arn), lambda answer: answer["status"] != "RUNNING")
    same(ended["status"], "SUCCEEDED")
    same(json.loads(ended["input"]), {"within": "TLS"})
    print("ok")


main()
