"""What the cases share: the registry, the clients, waiting, and expected errors. Hides how cases are found and run."""

import contextlib
import json
import re
import socket
import time
import urllib.parse
import uuid

import boto3
import botocore.exceptions
from botocore.config import Config

ACCOUNT = "000000000000"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/client-tests"
PATIENCE_SECONDS = 120  # after this what has not happened is a defect
CLOSED = {"SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED"}

CASES = []
GUESTS = None  # a folder, told by whoever runs the cases


def guest(name):
    """The bytes of a plugin."""
    return (GUESTS / f"{name}.wasm").read_bytes()


def case():
    """Registers a function of one argument, the Context, as a case."""

    def register(function):
        name = f"{function.__module__.rsplit('.', 1)[-1]}.{function.__name__}"
        CASES.append((name, function))
        return function

    return register


class Context:
    """One case's way to the server. Names it gives are its own; what it made is deleted at its end."""

    def __init__(self, endpoint):
        self.endpoint = endpoint.rstrip("/")
        self.client = self.connect()
        self._machines = []
        self._activities = []
        self._functions = []

    def connect(self, region="us-east-1", endpoint=None, **config):
        config.setdefault("inject_host_prefix", False)
        config.setdefault("read_timeout", 75)
        config.setdefault("retries", {"max_attempts": 0})
        config.setdefault("max_pool_connections", 32)
        return boto3.client(
            "stepfunctions",
            endpoint_url=endpoint or self.endpoint,
            region_name=region,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(**config),
        )

    def functions(self):
        """The client of the function service."""
        return self.service("lambda")

    def service(self, name):
        """A client of another service of AWS's."""
        return boto3.client(
            name,
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(read_timeout=120, retries={"max_attempts": 0}),
        )

    def adopt_function(self, name):
        """Deletes a function at the case's end."""
        self._functions.append(name)

    @staticmethod
    def name(prefix="client"):
        return f"{prefix}-{uuid.uuid4().hex[:12]}"

    def machine(self, definition, client=None, **more):
        """Creates a state machine and answers its ARN."""
        more.setdefault("name", self.name())
        more.setdefault("roleArn", ROLE)
        text = definition if isinstance(definition, str) else json.dumps(definition)
        client = client or self.client
        arn = client.create_state_machine(definition=text, **more)["stateMachineArn"]
        self._machines.append((client, arn))
        return arn

    def adopt(self, arn):
        """Deletes a machine that the case made itself at the case's end."""
        self._machines.append((self.client, arn))

    def activity(self, name=None):
        arn = self.client.create_activity(name=name or self.name("activity"))["activityArn"]
        self._activities.append(arn)
        return arn

    def start(self, machine, value=None, **more):
        """Starts an execution with a JSON value as its input and answers its ARN."""
        if value is not None:
            more["input"] = json.dumps(value)
        return self.client.start_execution(stateMachineArn=machine, **more)["executionArn"]

    def closed(self, execution, seconds=PATIENCE_SECONDS):
        """Waits until the execution is closed and answers its description."""
        return until(
            lambda: self.client.describe_execution(executionArn=execution),
            lambda answer: answer["status"] in CLOSED,
            seconds,
        )

    def run(self, definition, value=None):
        """Runs a new state machine to its end and answers the execution's description."""
        return self.closed(self.start(self.machine(definition), value))

    def history(self, execution, **more):
        """All events of an execution, over all pages."""
        pages = self.client.get_paginator("get_execution_history").paginate(executionArn=execution, **more)
        return [event for page in pages for event in page["events"]]

    def types(self, execution):
        return [event["type"] for event in self.history(execution)]

    def clean(self):
        for client, arn in self._machines:
            with contextlib.suppress(botocore.exceptions.ClientError):
                client.delete_state_machine(stateMachineArn=arn)
        for name in self._functions:
            with contextlib.suppress(botocore.exceptions.ClientError):
                self.functions().delete_function(FunctionName=name)
        for arn in self._activities:
            with contextlib.suppress(botocore.exceptions.ClientError):
                self.client.delete_activity(activityArn=arn)


def until(ask, good, seconds=PATIENCE_SECONDS):
    """Asks until the answer is good and answers it."""
    end = time.monotonic() + seconds
    while True:
        answer = ask()
        if good(answer):
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s; last answer: {answer}")
        time.sleep(0.05)


def same(found, wanted, what="value"):
    if found != wanted:
        raise AssertionError(f"{what}: expected {wanted!r}, found {found!r}")


def true(condition, what="it is not so"):
    if not condition:
        raise AssertionError(what)


@contextlib.contextmanager
def refused(code, message=None, status=400):
    """The block must end in that error of the service; a `*` in `message` stands for anything."""
    try:
        yield
    except botocore.exceptions.ClientError as error:
        found = error.response["Error"]
        same(found["Code"], code, f"error code ({found.get('Message')})")
        if message is not None:
            pattern = ".*".join(re.escape(part) for part in message.split("*"))
            true(re.fullmatch(pattern, found["Message"], re.DOTALL), f"message: {found['Message']!r}, not {message!r}")
        same(error.response["ResponseMetadata"]["HTTPStatusCode"], status, "HTTP status")
        return
    raise AssertionError(f"expected {code}, the call succeeded")


@contextlib.contextmanager
def names_resolve_to(endpoint):
    """Within the block any `sync-…` host name leads to the endpoint, as DNS does for the service's own names."""
    address = urllib.parse.urlsplit(endpoint).hostname
    original = socket.getaddrinfo

    def resolve(host, *arguments, **more):
        return original(address if str(host).startswith("sync-") else host, *arguments, **more)

    socket.getaddrinfo = resolve
    try:
        yield
    finally:
        socket.getaddrinfo = original


def chain(*states, **top):
    """A state machine of states one after the other, given as (name, state)."""
    linked = {}
    for index, (name, state) in enumerate(states):
        end = state.get("Type") in {"Succeed", "Fail", "Choice"}
        then = {} if end else {"Next": states[index + 1][0]} if index + 1 < len(states) else {"End": True}
        linked[name] = {**state, **then}
    return {"StartAt": states[0][0], "States": linked, **top}


PASS = chain(("Only", {"Type": "Pass"}))
LONG_WAIT = chain(("Wait", {"Type": "Wait", "Seconds": 3600}))
