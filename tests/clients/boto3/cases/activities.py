"""Activities and their workers, task tokens, heartbeats."""

import concurrent.futures
import json
import time

from harness import case, chain, refused, same, true


def task(activity, name="Work", **more):
    return chain((name, {"Type": "Task", "Resource": activity, **more}))


def take(context, activity, **more):
    """Polls until there is a task."""
    for _ in range(3):
        found = context.client.get_activity_task(activityArn=activity, **more)
        if found.get("taskToken"):
            return found["taskToken"], json.loads(found["input"])
    raise AssertionError("no task came")


@case()
def create_describe_list_delete(context):
    name = context.name("activity")
    arn = context.activity(name)
    same(arn, f"arn:aws:states:us-east-1:000000000000:activity:{name}", "ARN")
    same(context.client.create_activity(name=name)["activityArn"], arn, "creating again")
    found = context.client.describe_activity(activityArn=arn)
    same((found["activityArn"], found["name"]), (arn, name))
    pages = context.client.get_paginator("list_activities").paginate(PaginationConfig={"PageSize": 3})
    listed = [item for page in pages for item in page["activities"] if item["activityArn"] == arn]
    same([set(item) for item in listed], [{"activityArn", "name", "creationDate"}], "listed once")
    context.client.delete_activity(activityArn=arn)
    context.client.delete_activity(activityArn=arn)
    for call in (context.client.describe_activity, context.client.get_activity_task):
        with refused("ActivityDoesNotExist", f"Activity Does Not Exist: '{arn}'"):
            call(activityArn=arn)
    with refused("InvalidArn", "Invalid Arn: 'Invalid ARN prefix: no_arn'"):
        context.client.get_activity_task(activityArn="no_arn")
    with refused("InvalidName", "Invalid Name: 'a b'"):
        context.client.create_activity(name="a b")


@case()
def worker_succeeds(context):
    activity = context.activity()
    execution = context.start(context.machine(task(activity)), {"n": 20})
    token, value = take(context, activity, workerName="worker-1")
    same(value, {"n": 20}, "input")
    same(context.client.describe_execution(executionArn=execution)["status"], "RUNNING")
    context.client.send_task_success(taskToken=token, output='{"n": 21}')
    found = context.closed(execution)
    same((found["status"], json.loads(found["output"])), ("SUCCEEDED", {"n": 21}))
    events = context.history(execution)
    same(
        [event["type"] for event in events],
        [
            "ExecutionStarted",
            "TaskStateEntered",
            "ActivityScheduled",
            "ActivityStarted",
            "ActivitySucceeded",
            "TaskStateExited",
            "ExecutionSucceeded",
        ],
    )
    same(events[2]["activityScheduledEventDetails"]["resource"], activity, "resource")
    same(events[3]["activityStartedEventDetails"], {"workerName": "worker-1"}, "worker")
    true(token not in json.dumps(events, default=str), "the token is not in the history")


@case()
def worker_waits_for_work(context):
    activity = context.activity()
    machine = context.machine(task(activity))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        polling = pool.submit(take, context, activity)
        time.sleep(0.5)
        true(not polling.done(), "there is no work yet")
        before = time.monotonic()
        execution = context.start(machine, {"late": True})
        token, value = polling.result(timeout=120)
    true(time.monotonic() - before < 40, "a waiting worker gets its task before it polls again")
    same(value, {"late": True})
    context.client.send_task_success(taskToken=token, output="null")
    same(context.closed(execution)["status"], "SUCCEEDED")


@case()
def worker_fails(context):
    activity = context.activity()
    execution = context.start(context.machine(task(activity)))
    token, _ = take(context, activity)
    context.client.send_task_failure(taskToken=token, error="Worker.Broke", cause="a reason")
    found = context.closed(execution)
    same((found["status"], found["error"], found["cause"]), ("FAILED", "Worker.Broke", "a reason"))
    failed = context.history(execution)[-2]
    same((failed["type"], failed["activityFailedEventDetails"]), ("ActivityFailed", {"error": "Worker.Broke", "cause": "a reason"}))


@case()
def failures_are_retried_and_caught(context):
    activity = context.activity()
    machine = context.machine({
        "StartAt": "Work",
        "States": {
            "Work": {
                "Type": "Task",
                "Resource": activity,
                "Retry": [{"ErrorEquals": ["Again"], "IntervalSeconds": 1, "MaxAttempts": 1}],
                "Catch": [{"ErrorEquals": ["Enough"], "Next": "Caught"}],
                "End": True,
            },
            "Caught": {"Type": "Pass", "End": True},
        },
    })
    execution = context.start(machine)
    first, _ = take(context, activity)
    context.client.send_task_failure(taskToken=first, error="Again")
    second, _ = take(context, activity)
    true(first != second, "each attempt has its own token")
    context.client.send_task_failure(taskToken=second, error="Enough", cause="really")
    found = context.closed(execution)
    same((found["status"], json.loads(found["output"])), ("SUCCEEDED", {"Error": "Enough", "Cause": "really"}))


@case()
def tokens_are_checked(context):
    activity = context.activity()
    execution = context.start(context.machine(task(activity)))
    token, _ = take(context, activity)
    text = "Invalid Token: 'Invalid token'"
    with refused("InvalidToken", text):
        context.client.send_task_success(taskToken="no token", output="1")
    with refused("InvalidToken", text):
        context.client.send_task_failure(taskToken="no token")
    with refused("InvalidToken", text):
        context.client.send_task_heartbeat(taskToken="no token")
    with refused("InvalidOutput"):
        context.client.send_task_success(taskToken=token, output="not json")
    context.client.send_task_success(taskToken=token, output='"done"')
    same(json.loads(context.closed(execution)["output"]), "done")
    for call in (
        lambda: context.client.send_task_success(taskToken=token, output="2"),
        lambda: context.client.send_task_failure(taskToken=token),
        lambda: context.client.send_task_heartbeat(taskToken=token),
    ):
        with refused("TaskTimedOut"):
            call()


@case()
def output_may_be_256_kib(context):
    activity = context.activity()
    execution = context.start(context.machine(task(activity)))
    token, _ = take(context, activity)
    text = "1 validation error detected: Value at 'output' failed to satisfy constraint: Member must have length less than or equal to 262144"
    with refused("ValidationException", text):
        context.client.send_task_success(taskToken=token, output=json.dumps("x" * (262_144 - 1)))
    most = json.dumps("x" * (262_144 - 2))
    context.client.send_task_success(taskToken=token, output=most)
    same(context.closed(execution)["output"], most, "output")


@case()
def heartbeats_keep_a_task(context):
    activity = context.activity()
    execution = context.start(context.machine(task(activity, HeartbeatSeconds=8, TimeoutSeconds=600)))
    token, _ = take(context, activity)
    # Longer in all than a heartbeat lasts, and often enough that a machine which stands still for seconds is none missed.
    end = time.monotonic() + 10
    while time.monotonic() < end:
        time.sleep(0.8)
        context.client.send_task_heartbeat(taskToken=token)
    context.client.send_task_success(taskToken=token, output="1")
    same(context.closed(execution)["status"], "SUCCEEDED")


@case()
def missed_heartbeat_fails(context):
    activity = context.activity()
    # Time enough for the worker to take it.
    execution = context.start(context.machine(task(activity, HeartbeatSeconds=5, TimeoutSeconds=600)))
    token, _ = take(context, activity)
    found = context.closed(execution)
    same((found["status"], found["error"]), ("FAILED", "States.Timeout"))
    same(context.types(execution)[-2:], ["ActivityTimedOut", "ExecutionFailed"])
    with refused("TaskTimedOut"):
        context.client.send_task_heartbeat(taskToken=token)


@case()
def timeout_without_worker(context):
    activity = context.activity()
    execution = context.start(context.machine(task(activity, TimeoutSeconds=1)))
    found = context.closed(execution)
    same((found["status"], found["error"]), ("FAILED", "States.Timeout"))
    same(context.types(execution)[-3:], ["ActivityScheduled", "ActivityTimedOut", "ExecutionFailed"])


@case()
def stop_ends_an_open_task(context):
    activity = context.activity()
    execution = context.start(context.machine(task(activity)))
    token, _ = take(context, activity)
    context.client.stop_execution(executionArn=execution)
    same(context.closed(execution)["status"], "ABORTED")
    with refused("TaskTimedOut"):
        context.client.send_task_success(taskToken=token, output="1")


@case()
def many_workers_share_the_work(context):
    activity = context.activity()
    item = task(activity)
    machine = context.machine(chain(("Each", {"Type": "Map", "ItemProcessor": item})))
    execution = context.start(machine, list(range(12)))

    def work(_):
        token, value = take(context, activity)
        context.client.send_task_success(taskToken=token, output=json.dumps(value * value))
        return value

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        done = list(pool.map(work, range(12)))
    same(sorted(done), list(range(12)), "each item was handed out once")
    same(json.loads(context.closed(execution)["output"]), [number * number for number in range(12)])


@case()
def branches_wait_for_each_other(context):
    left, right = context.activity(), context.activity()
    machine = context.machine(chain(("Both", {"Type": "Parallel", "Branches": [task(left, "Left"), task(right, "Right")]})))
    execution = context.start(machine, {"n": 1})
    for activity, output in ((right, '"right"'), (left, '"left"')):
        token, value = take(context, activity)
        same(value, {"n": 1})
        context.client.send_task_success(taskToken=token, output=output)
    same(json.loads(context.closed(execution)["output"]), ["left", "right"])
