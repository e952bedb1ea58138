"""Map runs: describe, list, change while they run, their executions, and what they are refused."""

import json

from harness import case, chain, refused, same, true, until


def each(processor, **more):
    """A distributed Map over `$.items`, whose state is called Each."""
    config = {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
    state = {
        "Type": "Map",
        "ItemsPath": "$.items",
        "Label": "Lines",
        "ItemProcessor": {"ProcessorConfig": config, **processor},
    }
    return chain(("Each", {**state, **more}))


WAIT = {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 60, "End": True}}}
PASS = {"StartAt": "Pass", "States": {"Pass": {"Type": "Pass", "End": True}}}
ODD_FAILS = {
    "StartAt": "Odd?",
    "States": {
        "Odd?": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.odd", "BooleanEquals": True, "Next": "No"}],
            "Default": "Yes",
        },
        "No": {"Type": "Fail", "Error": "Odd"},
        "Yes": {"Type": "Succeed"},
    },
}


def map_run_of(context, execution):
    """The ARN of an execution's only map run, once it has begun."""
    listed = lambda: context.client.list_map_runs(executionArn=execution)["mapRuns"]
    return until(listed, bool)[0]["mapRunArn"]


@case()
def describes_and_lists_what_is_over(context):
    client = context.client
    machine = context.machine(each(PASS, MaxConcurrency=3))
    execution = context.start(machine, {"items": [1, 2, 3, 4]})
    same(context.closed(execution)["status"], "SUCCEEDED")
    (listed,) = client.list_map_runs(executionArn=execution)["mapRuns"]
    arn = listed["mapRunArn"]
    name = machine.rsplit(":", 1)[-1]
    true(f":mapRun:{name}/Lines:" in arn, arn)
    same((listed["executionArn"], listed["stateMachineArn"]), (execution, machine))
    found = client.describe_map_run(mapRunArn=arn)
    same((found["status"], found["executionArn"], found["maxConcurrency"]), ("SUCCEEDED", execution, 3))
    same((found["toleratedFailureCount"], found["toleratedFailurePercentage"]), (0, 0.0))
    true(found["stopDate"] >= found["startDate"], "dates")
    zero = {"pending": 0, "running": 0, "failed": 0, "timedOut": 0, "aborted": 0, "resultsWritten": 0}
    for counts in (found["itemCounts"], found["executionCounts"]):
        for key, value in {**zero, "succeeded": 4, "total": 4}.items():
            same(counts[key], value)


@case()
def its_executions_are_executions(context):
    client = context.client
    machine = context.machine(each(PASS, ItemBatcher={"MaxItemsPerBatch": 2}))
    execution = context.start(machine, {"items": ["a", "b", "c"]})
    same(context.closed(execution)["status"], "SUCCEEDED")
    arn = map_run_of(context, execution)
    children = client.list_executions(mapRunArn=arn)["executions"]
    same(sorted(child["itemCount"] for child in children), [1, 2])
    # A state machine's list has only what was started by a call.
    same([one["executionArn"] for one in client.list_executions(stateMachineArn=machine)["executions"]], [execution])
    for child in children:
        true(child["stateMachineArn"] == machine + "/Lines" and child["mapRunArn"] == arn, child)
        found = client.describe_execution(executionArn=child["executionArn"])
        same(found["mapRunArn"], arn)
        same(len(json.loads(found["input"])["Items"]), child["itemCount"])
        types = [event["type"] for event in context.history(child["executionArn"])]
        same(types, ["ExecutionStarted", "PassStateEntered", "PassStateExited", "ExecutionSucceeded"])
        own = client.describe_state_machine_for_execution(executionArn=child["executionArn"])
        same((own["label"], own["mapRunArn"]), ("Lines", arn))
        same(json.loads(own["definition"])["StartAt"], "Pass")
    same(client.list_executions(mapRunArn=arn, statusFilter="FAILED")["executions"], [])
    first = client.list_executions(mapRunArn=arn, maxResults=1)
    second = client.list_executions(mapRunArn=arn, maxResults=1, nextToken=first["nextToken"])
    same(len(first["executions"] + second["executions"]), 2)
    true(first["executions"] != second["executions"], "two pages")


@case()
def failures_are_tolerated_up_to_the_threshold(context):
    items = [{"odd": n % 2 == 1} for n in range(4)]
    for tolerated, status in ((2, "SUCCEEDED"), (1, "FAILED")):
        machine = context.machine(each(ODD_FAILS, ToleratedFailureCount=tolerated))
        execution = context.start(machine, {"items": items})
        found = context.closed(execution)
        same(found["status"], status)
        if status == "FAILED":
            same(found["error"], "States.ExceedToleratedFailureThreshold")
        counts = context.client.describe_map_run(mapRunArn=map_run_of(context, execution))
        same((counts["status"], counts["itemCounts"]["failed"]), (status, 2))


@case()
def a_running_one_is_changed_and_stopped(context):
    client = context.client
    execution = context.start(context.machine(each(WAIT, MaxConcurrency=2)), {"items": list(range(6))})
    arn = map_run_of(context, execution)
    running = lambda: client.describe_map_run(mapRunArn=arn)["executionCounts"]["running"]
    until(running, lambda number: number == 2)
    found = client.describe_map_run(mapRunArn=arn)
    true("stopDate" not in found and found["status"] == "RUNNING", found)
    client.update_map_run(mapRunArn=arn, maxConcurrency=5, toleratedFailureCount=3, toleratedFailurePercentage=50.0)
    until(running, lambda number: number == 5)
    found = client.describe_map_run(mapRunArn=arn)
    same((found["maxConcurrency"], found["toleratedFailureCount"], found["toleratedFailurePercentage"]), (5, 3, 50.0))
    client.stop_execution(executionArn=execution)
    until(lambda: client.describe_map_run(mapRunArn=arn)["status"], lambda status: status == "ABORTED")
    counts = client.describe_map_run(mapRunArn=arn)["executionCounts"]
    same((counts["running"], counts["aborted"]), (0, 5))
    with refused("ValidationException", "Map Run is completed and can not be updated"):
        client.update_map_run(mapRunArn=arn, maxConcurrency=1)


@case()
def refuses(context):
    client = context.client
    missing = context.machine(each(PASS)).replace(":stateMachine:", ":mapRun:") + "/Lines:2f0c1d9e-9a3b-4c57-8f5a-0d6a5a1f7f10"
    with refused("ResourceNotFound"):
        client.describe_map_run(mapRunArn=missing)
    with refused("ResourceNotFound"):
        client.list_executions(mapRunArn=missing)
    with refused("InvalidArn"):
        client.describe_map_run(mapRunArn="no-arn")
    with refused("ExecutionDoesNotExist"):
        client.list_map_runs(executionArn=missing.replace(":mapRun:", ":execution:").replace("/Lines", ""))
    with refused("ValidationException"):
        client.list_executions(mapRunArn=missing, stateMachineArn=context.machine(PASS))
