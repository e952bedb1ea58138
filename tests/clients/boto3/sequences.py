#!/usr/bin/env python3
"""Makes the recorded call sequences of the corpus against a server and judges the answers: a line a case in the report.

A sequence is a list of calls and the answers that the service gave to some of them, in order. Every expected answer has
to be the answer to a call, in the same order. Placeholders in the expectations stand for any text, the same one wherever
the same placeholder stands; texts that are JSON are compared as JSON. Each case has a region of its own, so that its
lists hold what it made and nothing else."""

import argparse
import base64
import binascii
import concurrent.futures
import json
import pathlib
import re
import subprocess
import sys
import time
import uuid

import boto3
import botocore.exceptions
from botocore.config import Config

ACCOUNT = "000000000000"
RECORDED_ACCOUNT = "111111111111"
RECORDED_REGION = "us-east-1"
CLOSED = {"ExecutionSucceeded", "ExecutionFailed", "ExecutionAborted", "ExecutionTimedOut"}
# What an execution that waits for its token comes to before somebody answers.
WAITS = "TaskSubmitted"

# Calls to other services that only prepare what this server does not look at.
PREPARATION = {("logs", "CreateLogGroup"), ("logs", "DescribeLogGroups")}
# What the recordings hold of the transport and of SDKs.
TRANSPORT = {"HTTPHeaders", "RetryAttempts", "RequestId", "SdkHttpMetadata", "SdkResponseMetadata"}
# Calls that answer a task that waits for its token.
ANSWERS = {"SendTaskSuccess", "SendTaskFailure", "SendTaskHeartbeat"}
# Members that the service began to answer after some recordings were made, with their values.
YOUNGER = {"encryptionConfiguration": {"type": "AWS_OWNED_KEY"}}

# Words that stand for any text, alone or within one.
WORDS = (
    r"timestamp|datetime|date|time|start-date|stop-date|start-time|entered-time|state-entered-time|requestId|RequestId"
    r"|uuid|generated-uuid|execution-name|json-input|json-stack-trace|x-amzn-RequestId|RandomNumberGenerated"
)
NAMES = r"[a-z]+(?:_[a-z]+)*_arn(?:_[a-z0-9]+)?|sqs_queue_url|(?:state_machine_alias|activity|log_group|lambda_function)_name(?:_\d)?"
PLACEHOLDER = re.compile(rf"<<[\w-]+>:\d+>|<[A-Za-z][\w :./-]*>|(?<![\w$.<-])(?:{NAMES})(?![\w>])")
ALONE = re.compile(WORDS)


class Skipped(Exception):
    """The case asks for what is not there."""


class Unanswered(Exception):
    """A call whose parameters name an answer that never came."""


class Bindings:
    """What each placeholder of a case stands for, once that is known."""

    def __init__(self, region):
        self.known = {"<partition>": "aws", "<region>": region}

    def matches(self, expected, actual):
        """Whether the texts agree; answers the placeholders that this settles, or None."""
        if ALONE.fullmatch(expected):
            return {}
        expected = expected.replace(RECORDED_ACCOUNT, ACCOUNT)
        pattern, groups, end = "", [], 0
        for found in PLACEHOLDER.finditer(expected):
            name = found.group()
            pattern += re.escape(expected[end : found.start()])
            end = found.end()
            if name in self.known:
                pattern += re.escape(self.known[name])
            elif name in groups:
                pattern += rf"\{groups.index(name) + 1}"
            else:
                groups.append(name)
                pattern += "(.*?)"
        pattern += re.escape(expected[end:])
        found = re.fullmatch(pattern, actual, re.DOTALL)
        return dict(zip(groups, found.groups())) if found else None


def parsed(text):
    """The JSON that a text is, if it is an object, an array or a string."""
    if isinstance(text, str) and text[:1] in '[{"':
        try:
            return True, json.loads(text)
        except ValueError:
            pass
    return False, None


def differences(expected, actual, bindings, path="$"):
    """Where the two part, a text each; settles placeholders on its way."""
    if hasattr(actual, "isoformat"):
        actual = actual.isoformat()
    if isinstance(expected, dict) or isinstance(expected, list):
        if isinstance(actual, str):
            is_json, actual_value = parsed(actual)
            actual = actual_value if is_json else actual
        if isinstance(expected, dict) and isinstance(actual, dict):
            yield from members(expected, actual, bindings, path)
        elif isinstance(expected, list) and isinstance(actual, list):
            for index, (one, other) in enumerate(zip(expected, actual)):
                yield from differences(one, other, bindings, f"{path}[{index}]")
            if len(expected) != len(actual):
                yield f"{path}: {len(expected)} items are expected, not {len(actual)}"
        else:
            yield f"{path}: {short(expected)} is expected, not {short(actual)}"
    elif isinstance(expected, str):
        yield from texts(expected, actual, bindings, path)
    else:
        if isinstance(actual, str):
            try:
                actual = json.loads(actual)
            except ValueError:
                pass
        if expected != actual or isinstance(expected, bool) != isinstance(actual, bool):
            yield f"{path}: {short(expected)} is expected, not {short(actual)}"


def members(expected, actual, bindings, path):
    for key in sorted(set(expected) | set(actual)):
        if key in TRANSPORT:
            continue
        if key not in actual:
            yield f"{path}.{key}: is missing; expected is {short(expected[key])}"
        elif key in expected:
            yield from differences(expected[key], actual[key], bindings, f"{path}.{key}")
        elif YOUNGER.get(key) != actual[key]:
            yield f"{path}.{key}: is not expected: {short(actual[key])}"


def texts(expected, actual, bindings, path):
    if actual is None or isinstance(actual, (dict, list)):
        yield f"{path}: {short(expected)} is expected, not {short(actual)}"
        return
    actual = actual if isinstance(actual, str) else json.dumps(actual)
    settled = bindings.matches(expected, actual)
    if settled is not None:
        bindings.known.update(settled)
        return
    both = parsed(expected), parsed(actual)
    if both[0][0] and both[1][0] and not (isinstance(both[0][1], str) and both[0][1] == expected):
        yield from differences(both[0][1], both[1][1], bindings, path)
        return
    yield f"{path}: {short(expected)} is expected, not {short(actual)}"


def short(value):
    return repr(value)[:300]


class Answers:
    """Values that answers held, by member: what `{{member#n}}` in later calls means, and the last page tokens."""

    def __init__(self):
        self.values = {}
        self.tokens = {}
        self.pages = {}
        self.task_token = None

    def learn(self, operation, answer):
        if isinstance(answer, dict) and "nextToken" in answer:
            self.tokens[operation] = answer["nextToken"]
        self.collect(answer)

    def learn_messages(self, answer):
        """The token of a task that a message brings."""
        for message in answer.get("Messages", []):
            is_json, body = parsed(message["Body"])
            if is_json and isinstance(body, dict):
                self.task_token = body.get("TaskToken", self.task_token)

    def page(self, operation, items, first):
        """The items of a list's pages so far."""
        known = [] if first else self.pages.get(operation, [])
        self.pages[operation] = known + items
        return self.pages[operation]

    def collect(self, answer):
        if isinstance(answer, dict):
            for key, value in answer.items():
                if isinstance(value, str):
                    known = self.values.setdefault(key, [])
                    if value not in known:
                        known.append(value)
                else:
                    self.collect(value)
        elif isinstance(answer, list):
            for item in answer:
                self.collect(item)


class Sequence:
    """One case on its way."""

    def __init__(self, case, number, options):
        self.case = case
        self.options = options
        # Stand-ins of other services know AWS's regions alone.
        self.others = others(case)
        self.region = RECORDED_REGION if self.others else f"sequence-{number}"
        self.bindings = Bindings(self.region)
        self.answers = Answers()
        self.functions = {}
        self.runs = []
        self.pending = list(case["expected"].items())
        # Candidates since the last expectation that was met, for what to say when the next one is not.
        self.seen = []
        self.client = boto3.client(
            "stepfunctions",
            endpoint_url=options.endpoint,
            region_name=self.region,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(inject_host_prefix=False, read_timeout=90),
        )

    def run(self):
        """Differences, none when the case passes."""
        try:
            for index, step in enumerate(self.case["steps"]):
                if step["service"] == "stepfunctions":
                    later = {later["op"] for later in self.case["steps"][index + 1 :]}
                    self.step(step, answered=bool(self.others and later & ANSWERS))
                elif step["service"] in self.options.service:
                    self.other(step)
        finally:
            for arn in self.answers.values.get("stateMachineArn", []):
                if arn.count(":") == 6:
                    self.client.delete_state_machine(stateMachineArn=arn)
        if not self.pending:
            return []
        key, expected = self.pending[0]
        tries = [
            (unlike(expected, value), list(differences(expected, value, Copied(self.bindings), key)))
            for value in self.seen
        ]
        nobody = (0, [f"{key}: no call is left to answer it"])
        _, best = min(tries, key=lambda found: (found[0], len(found[1])), default=nobody)
        return best[:20]

    def other(self, step):
        """A call of another service, of which no answer was recorded."""
        service = step["service"]
        client = boto3.client(
            service,
            endpoint_url=self.options.service[service],
            region_name=self.region,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        method = getattr(client, re.sub(r"(?<!^)([A-Z])", r"_\1", step["op"]).lower())
        self.answers.learn_messages(method(**self.filled(step["op"], step["params"])))

    def step(self, step, answered=False):
        """Makes a call, a history's until it is at its end (or its task is about to be `answered`), and one that was
        repeated until its answer is as expected."""
        history = step["op"] == "GetExecutionHistory"
        end = time.monotonic() + (self.options.timeout if history else self.options.poll)
        while True:
            candidates, done = self.call(step)
            done = done or answered and history and candidates[0]["events"][-1]["type"] == WAITS
            met = self.meet(candidates)
            settled = done if history else met or not self.pending or not step.get("poll")
            if settled or time.monotonic() > end:
                self.seen += candidates
                return
            time.sleep(0.1)

    def meet(self, candidates):
        """Crosses off the expectations that the candidates meet in their order; whether there was one."""
        met = False
        candidates = list(candidates)
        while self.pending and candidates:
            expected = self.pending[0][1]
            for index, value in enumerate(candidates):
                trial = Copied(self.bindings)
                if next(differences(expected, value, trial), None) is None:
                    self.bindings.known = trial.known
                    self.pending.pop(0)
                    candidates = candidates[index + 1 :]
                    self.seen = []
                    met = True
                    break
            else:
                break
        return met

    def call(self, step):
        """What the answer may be recorded as, and whether a history is at its end."""
        operation = step["op"]
        parameters = self.filled(operation, step["params"])
        method = getattr(self.client, re.sub(r"(?<!^)([A-Z])", r"_\1", operation).lower())
        try:
            answer = method(**parameters)
        except botocore.exceptions.ClientError as error:
            named = {"exception_typename": type(error).__name__, "exception_value": str(error)}
            return [error.response, named, str(error)], True
        except botocore.exceptions.ParamValidationError as error:
            return [{"exception_typename": type(error).__name__, "exception_value": str(error)}, str(error)], True
        self.answers.learn(operation, answer)
        if operation != "GetExecutionHistory":
            return [answer, *self.lists(operation, parameters, answer)], True
        events = answer["events"]
        done = bool(events) and events[-1]["type"] in CLOSED
        return [answer, *self.inputs_and_outputs(events, done)], done

    def lists(self, operation, parameters, answer):
        """The items of a page, and those of all pages up to it."""
        for value in answer.values():
            if isinstance(value, list):
                first = "nextToken" not in parameters
                pages = self.answers.page(operation, value, first)
                yield from [value] if first else [value, pages]

    def inputs_and_outputs(self, events, done):
        """Of all executions so far, as some cases record them."""
        last = events[-1].get("executionSucceededEventDetails") if events else None
        if done and last:
            started = events[0]["executionStartedEventDetails"]
            self.runs.append({"input": json.loads(started["input"]), "output": json.loads(last["output"])})
        return [self.runs]

    def filled(self, operation, parameters):
        text = json.dumps(parameters).replace(RECORDED_REGION, self.region)
        filled = json.loads(re.sub(r"\{\{([^}]+)\}\}", lambda found: self.value(found.group(1)), text))
        if self.others and self.answers.task_token and "taskToken" in filled:
            filled["taskToken"] = self.answers.task_token
        token = filled.get("nextToken")
        if token and is_recorded_token(token):
            if operation not in self.answers.tokens:
                raise Unanswered(f"{operation} gave no page token before")
            filled["nextToken"] = self.answers.tokens[operation]
        return filled

    def value(self, reference):
        name, _, index = reference.partition("#")
        if name.startswith("lambda:"):
            return self.function(reference, name.removeprefix("lambda:"))
        known = self.answers.values.get(name, [])
        if int(index) >= len(known):
            raise Unanswered(f"no answer held a {name} number {index}")
        return json.dumps(known[int(index)])[1:-1]

    def function(self, reference, behaviour):
        if reference not in self.functions:
            name = f"{behaviour.replace('-', '_')}_{uuid.uuid4().hex[:8]}"
            command = self.options.plugin_cmd
            if not command:
                raise Skipped(f"the function {behaviour}")
            subprocess.run(command.format(name=name, behaviour=behaviour), shell=True, check=True)
            self.functions[reference] = name
        return self.functions[reference]


class Copied(Bindings):
    """Bindings to try with."""

    def __init__(self, bindings):
        self.known = dict(bindings.known)


def unlike(expected, value):
    """How far a value is from being the answer that is expected, by its form alone."""
    if not isinstance(value, type(expected)):
        return 100
    return len(set(expected) ^ set(value)) if isinstance(value, dict) else 0


def is_recorded_token(token):
    try:
        return base64.b64decode(token, validate=True).startswith(b"arn:")
    except (binascii.Error, ValueError):
        return False


def others(case):
    """The calls of other services that a case cannot do without."""
    calls = {(step["service"], step["op"]) for step in case["steps"] if step["service"] != "stepfunctions"}
    return calls - PREPARATION


def unfit(case, options):
    """Why a case cannot be made here, if it cannot."""
    needed = others(case)
    if options.needing and not needed:
        return "needs no other service"
    missing = sorted(f"{service}:{operation}" for service, operation in needed if service not in options.service)
    if missing:
        return "needs " + ", ".join(missing)
    operations = {step["op"] for step in case["steps"]}
    if any("history" in key for key in case["expected"]) and "StartExecution" not in operations:
        return "its calls are not all recorded"
    return "" if case["steps"] else "has no calls"


def attempt(case, number, options):
    why = unfit(case, options)
    if why:
        return "skip", [why]
    try:
        found = Sequence(case, number, options).run()
        return ("fail", found) if found else ("pass", [])
    except Skipped as error:
        return "skip", [f"needs {error}"]
    except Exception as error:  # whatever happens is the case's outcome
        return "fail", [f"{type(error).__name__}: {error}"[:400]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--endpoint", required=True, help="URL of the server")
    parser.add_argument("--corpus", required=True, type=pathlib.Path, help="folder of the corpus")
    parser.add_argument("--plugin-cmd", help="command that installs a function, with {name} and {behaviour}")
    parser.add_argument(
        "--service", action="append", default=[], metavar="NAME=URL", help="where calls of another service go; may be repeated"
    )
    parser.add_argument("--needing", action="store_true", help="only cases that need other services")
    parser.add_argument("--only", default="", metavar="WORD", help="cases whose name holds this word")
    parser.add_argument("--jobs", type=int, default=8, help="cases at once")
    parser.add_argument("--timeout", type=float, default=60, help="seconds that an execution may take")
    parser.add_argument("--poll", type=float, default=20, help="seconds for an answer that has to be waited for")
    parser.add_argument("--report", type=pathlib.Path, help="file for a line a case")
    parser.add_argument("-v", "--verbose", action="store_true", help="what differs")
    options = parser.parse_args()
    options.service = dict(service.split("=", 1) for service in options.service)
    lines = (options.corpus / "recorded/sequence.jsonl").read_text().splitlines()
    cases = [case for case in map(json.loads, lines) if options.only in case["id"]]
    counts = {"pass": 0, "fail": 0, "skip": 0}
    report = []
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        outcomes = pool.map(lambda item: attempt(item[1], item[0], options), enumerate(cases))
        for case, (outcome, found) in zip(cases, outcomes):
            counts[outcome] += 1
            report.append(json.dumps({"id": case["id"], "kind": "sequence", "outcome": outcome, "diffs": found}))
            if options.verbose and outcome != "pass":
                print(f"{outcome} {case['id']!r}", *found[:4], sep="\n     ")
    if options.report:
        options.report.write_text("".join(line + "\n" for line in report))
    print(", ".join(f"{count} {outcome}" for outcome, count in counts.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
