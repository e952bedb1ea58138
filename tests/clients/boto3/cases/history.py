"""GetExecutionHistory: events, chains, pages in both directions."""

import json

from harness import LONG_WAIT, PASS, ROLE, case, chain, refused, same, true

THREE = chain(
    ("First", {"Type": "Pass", "Result": {"n": 1}}),
    ("Second", {"Type": "Wait", "Seconds": 0}),
    ("Third", {"Type": "Succeed"}),
)


@case()
def events_of_a_chain(context):
    execution = context.start(context.machine(THREE), {"in": True})
    context.closed(execution)
    events = context.history(execution)
    same(
        [(event["id"], event["previousEventId"], event["type"]) for event in events],
        [
            (1, 0, "ExecutionStarted"),
            (2, 0, "PassStateEntered"),
            (3, 2, "PassStateExited"),
            (4, 3, "WaitStateEntered"),
            (5, 4, "WaitStateExited"),
            (6, 5, "SucceedStateEntered"),
            (7, 6, "SucceedStateExited"),
            (8, 7, "ExecutionSucceeded"),
        ],
    )
    started = events[0]["executionStartedEventDetails"]
    same((json.loads(started["input"]), started["inputDetails"], started["roleArn"]), ({"in": True}, {"truncated": False}, ROLE))
    entered, exited = events[1]["stateEnteredEventDetails"], events[2]["stateExitedEventDetails"]
    same((entered["name"], json.loads(entered["input"])), ("First", {"in": True}))
    same((exited["name"], json.loads(exited["output"]), exited["outputDetails"]), ("First", {"n": 1}, {"truncated": False}))
    true(all(a["timestamp"] <= b["timestamp"] for a, b in zip(events, events[1:])), "time does not go back")


@case()
def pages_in_both_directions(context):
    execution = context.start(context.machine(THREE))
    context.closed(execution)
    for size in (1, 3, 8, 1000):
        for reverse in (False, True):
            ids, sizes, token = [], [], {}
            while True:
                page = context.client.get_execution_history(
                    executionArn=execution, maxResults=size, reverseOrder=reverse, **token
                )
                ids += [event["id"] for event in page["events"]]
                sizes.append(len(page["events"]))
                if "nextToken" not in page:
                    break
                token = {"nextToken": page["nextToken"]}
            same(ids, list(range(8, 0, -1)) if reverse else list(range(1, 9)), f"ids, {size} a page, reverse {reverse}")
            true(max(sizes) <= size, f"sizes {sizes}")


@case()
def long_history(context):
    item = chain(("Keep", {"Type": "Pass"}))
    machine = context.machine(chain(("Each", {"Type": "Map", "ItemProcessor": item})))
    execution = context.start(machine, list(range(300)))
    same(context.closed(execution)["status"], "SUCCEEDED")
    events = context.history(execution, PaginationConfig={"PageSize": 100})
    same([event["id"] for event in events], list(range(1, len(events) + 1)), "ids")
    same(len(events), 1 + 2 + 300 * 4 + 2 + 1, "events: the execution's, the Map's, four an item")
    backwards = context.history(execution, reverseOrder=True, PaginationConfig={"PageSize": 97})
    same([event["id"] for event in backwards], list(range(len(events), 0, -1)), "ids backwards")


@case()
def without_data(context):
    execution = context.start(context.machine(THREE), {"secret": 1})
    context.closed(execution)
    events = context.client.get_execution_history(executionArn=execution, includeExecutionData=False)["events"]
    true("secret" not in json.dumps(events, default=str), "no data is shown")
    true("input" not in events[0]["executionStartedEventDetails"], "no input is shown")


@case()
def running_history_grows(context):
    execution = context.start(context.machine(LONG_WAIT))
    same(context.types(execution), ["ExecutionStarted", "WaitStateEntered"])
    context.client.stop_execution(executionArn=execution)
    context.closed(execution)
    same(context.types(execution), ["ExecutionStarted", "WaitStateEntered", "ExecutionAborted"])


@case()
def refuses(context):
    execution = context.start(context.machine(PASS))
    context.closed(execution)
    with refused("InvalidToken", "Invalid Token: 'Invalid token'"):
        context.client.get_execution_history(executionArn=execution, nextToken="no-token")
    with refused("ExecutionDoesNotExist"):
        context.client.get_execution_history(executionArn=execution + "-missing")
    with refused("InvalidArn", "Invalid Arn: 'Invalid ARN prefix: no_arn'"):
        context.client.get_execution_history(executionArn="no_arn")
    with refused("ValidationException"):
        context.client.get_execution_history(executionArn=execution, maxResults=1001)
