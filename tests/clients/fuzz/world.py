"""What a worker has on the server, so that requests name things that are there. Hides how it is made."""

import json
import uuid

ACCOUNT = "000000000000"
PASS = {"StartAt": "One", "States": {"One": {"Type": "Pass", "End": True}}}
WAIT = {"StartAt": "One", "States": {"One": {"Type": "Wait", "Seconds": 600, "End": True}}}
FAIL = {"StartAt": "One", "States": {"One": {"Type": "Fail", "Error": "E"}}}


class World:
    """One worker's state machines, executions, activities and tokens, by the members of requests that name them."""

    role = f"arn:aws:iam::{ACCOUNT}:role/fuzz"

    def __init__(self, address, exchange):
        self.address, self.exchange = address, exchange
        self.by_member = {}

    def names(self, member):
        return self.by_member.get(member, [])

    def call(self, operation, **members):
        body = json.dumps(members).encode()
        head = f"POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: AWSStepFunctions.{operation}\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        status, _, answer = self.exchange(self.address, head.encode() + body, 20)
        answer = json.loads(answer)
        if status != 200:
            raise AssertionError(f"{operation} of the world itself: {answer}")
        return answer

    def machine(self, word, definition, **more):
        name = f"{word}-{uuid.uuid4().hex[:8]}"
        return self.call("CreateStateMachine", name=name, definition=json.dumps(definition), roleArn=self.role, **more)

    def mend(self):
        """Everything anew: whatever was there may be deleted."""
        made = self.machine("passes", PASS, publish=True)
        machine, version = made["stateMachineArn"], made["stateMachineVersionArn"]
        express = self.machine("express", PASS, type="EXPRESS")["stateMachineArn"]
        waits = self.machine("waits", WAIT)["stateMachineArn"]
        fails = self.machine("fails", FAIL)["stateMachineArn"]
        routing = [{"stateMachineVersionArn": version, "weight": 100}]
        alias = self.call("CreateStateMachineAlias", name="live", routingConfiguration=routing)["stateMachineAliasArn"]
        activity = self.call("CreateActivity", name=f"activity-{uuid.uuid4().hex[:8]}")["activityArn"]
        ask = {"StartAt": "One", "States": {"One": {"Type": "Task", "Resource": activity, "End": True}}}
        asks = self.machine("asks", ask)["stateMachineArn"]
        each = {**PASS, "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}}
        maps = {"StartAt": "Each", "States": {"Each": {"Type": "Map", "ItemProcessor": each, "End": True}}}
        mapping = self.call("StartExecution", stateMachineArn=self.machine("maps", maps)["stateMachineArn"], input="[1,2]")["executionArn"]
        started = [self.call("StartExecution", stateMachineArn=arn)["executionArn"] for arn in (machine, waits, fails, asks, express)]
        token = self.call("GetActivityTask", activityArn=activity)["taskToken"]
        runs = self.call("ListMapRuns", executionArn=mapping)["mapRuns"]
        self.by_member = {
            # Waits are not updated or started at once: they would be waited for.
            "stateMachineArn": [machine, machine, express, fails, alias, version],
            "stateMachineVersionArn": [version],
            "stateMachineAliasArn": [alias],
            "executionArn": [*started, mapping],
            "activityArn": [activity],
            "mapRunArn": [run["mapRunArn"] for run in runs],
            "resourceArn": [machine, activity, version],
            "taskToken": [token],
            "roleArn": [self.role],
        }
