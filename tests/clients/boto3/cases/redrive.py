"""RedriveExecution: what goes on, what is told of it, and what it is refused."""

import json

from cases.functions import package
from harness import ROLE, case, chain, refused, same, true, until

MENDED = "{% $states.context.Execution.RedriveCount = 0 ? $error('down') : 'up' %}"
REASON = "Execution is {} and cannot be redriven"


def activity_task(arn, **more):
    return {"Type": "Task", "Resource": arn, **more}


@case()
def goes_on_where_it_failed(context):
    client, activity = context.client, context.activity()
    definition = chain(
        ("Before", {"Type": "Pass", "Result": {"kept": 1}}),
        ("Work", activity_task(activity)),
        ("After", {"Type": "Pass"}),
    )
    execution = context.start(context.machine(definition), {"a": 1})
    token = client.get_activity_task(activityArn=activity)["taskToken"]
    client.send_task_failure(taskToken=token, error="Down", cause="for now")
    failed = context.closed(execution)
    same((failed["status"], failed["redriveCount"], failed["redriveStatus"]), ("FAILED", 0, "REDRIVABLE"))
    true("redriveDate" not in failed and "redriveStatusReason" not in failed, "it was not redriven")
    date = client.redrive_execution(executionArn=execution)["redriveDate"]
    running = client.describe_execution(executionArn=execution)
    same((running["status"], running["redriveCount"], running["redriveDate"]), ("RUNNING", 1, date))
    same((running["redriveStatus"], running["redriveStatusReason"]), ("NOT_REDRIVABLE", REASON.format("RUNNING")))
    true(not {"stopDate", "error", "cause"} & set(running), f"it runs: {sorted(running)}")
    with refused("ExecutionNotRedrivable", REASON.format("RUNNING")):
        client.redrive_execution(executionArn=execution)
    task = client.get_activity_task(activityArn=activity)
    same(json.loads(task["input"]), {"kept": 1}, "the same input")
    client.send_task_success(taskToken=task["taskToken"], output='"done"')
    found = context.closed(execution)
    same((found["status"], found["output"], found["redriveCount"]), ("SUCCEEDED", '"done"', 1))
    same((found["startDate"], found["input"]), (failed["startDate"], failed["input"]))
    same((found["redriveStatus"], found["redriveStatusReason"]), ("NOT_REDRIVABLE", REASON.format("SUCCEEDED")))
    with refused("ExecutionNotRedrivable", REASON.format("SUCCEEDED")):
        client.redrive_execution(executionArn=execution)
    history = context.history(execution)
    (redriven,) = [event for event in history if event["type"] == "ExecutionRedriven"]
    same(redriven["executionRedrivenEventDetails"], {"redriveCount": 1})
    same(history[redriven["id"] - 2]["type"], "ExecutionFailed")
    same(redriven["previousEventId"], redriven["id"] - 1)
    same([event["type"] for event in history[redriven["id"] :]][:3], ["ActivityScheduled", "ActivityStarted", "ActivitySucceeded"])
    same([event["type"] for event in history].count("PassStateEntered"), 2, "states that succeeded do not run again")


@case()
def lists_say_what_was_redriven(context):
    client = context.client
    definition = {**chain(("Mend", {"Type": "Pass", "Output": MENDED})), "QueryLanguage": "JSONata"}
    machine = context.machine(definition)
    execution = context.start(machine)
    same(context.closed(execution)["status"], "FAILED")
    date = client.redrive_execution(executionArn=execution)["redriveDate"]
    same(context.closed(execution)["output"], '"up"')
    (listed,) = client.list_executions(stateMachineArn=machine)["executions"]
    same((listed["status"], listed["redriveCount"], listed["redriveDate"]), ("SUCCEEDED", 1, date))
    same(client.list_executions(stateMachineArn=machine, statusFilter="FAILED")["executions"], [])
    with refused("ValidationException"):
        client.list_executions(stateMachineArn=machine, redriveFilter="REDRIVEN")


@case()
def the_same_token_is_the_same_redrive(context):
    client = context.client
    machine = context.machine(chain(("Wait", {"Type": "Wait", "Seconds": 600})))
    execution = context.start(machine)
    client.stop_execution(executionArn=execution)
    first = client.redrive_execution(executionArn=execution, clientToken="one")["redriveDate"]
    same(client.redrive_execution(executionArn=execution, clientToken="one")["redriveDate"], first)
    with refused("ExecutionNotRedrivable", REASON.format("RUNNING")):
        client.redrive_execution(executionArn=execution, clientToken="two")
    client.stop_execution(executionArn=execution)
    same(client.redrive_execution(executionArn=execution, clientToken="one")["redriveDate"], first, "an old token")
    same(client.describe_execution(executionArn=execution)["status"], "ABORTED", "which redrives nothing")
    client.redrive_execution(executionArn=execution, clientToken="two")
    same(client.describe_execution(executionArn=execution)["redriveCount"], 2)
    client.stop_execution(executionArn=execution)


@case()
def a_timeout_counts_anew(context):
    definition = {**chain(("Wait", {"Type": "Wait", "Seconds": 600})), "TimeoutSeconds": 1}
    execution = context.start(context.machine(definition))
    same(context.closed(execution)["status"], "TIMED_OUT")
    context.client.redrive_execution(executionArn=execution)
    found = context.closed(execution)
    same((found["status"], found["redriveCount"]), ("TIMED_OUT", 1))
    redriven, timed_out = context.history(execution)[-2:]
    same((redriven["type"], timed_out["type"]), ("ExecutionRedriven", "ExecutionTimedOut"))
    seconds = (timed_out["timestamp"] - redriven["timestamp"]).total_seconds()
    true(seconds >= 0.9, f"after {seconds} s")


@case()
def only_what_failed_in_branches_and_iterations(context):
    task = {"Type": "Pass", "Output": MENDED, "End": True}
    good = {"Type": "Pass", "Output": "good", "End": True}
    iteration = {
        "StartAt": "Odd?",
        "States": {
            "Odd?": {"Type": "Choice", "Choices": [{"Condition": "{% $states.input = 2 %}", "Next": "Bad"}], "Default": "Good"},
            "Bad": task,
            "Good": good,
        },
    }
    definition = {
        **chain(
            (
                "Both",
                {
                    "Type": "Parallel",
                    "Branches": [
                        {"StartAt": "Fine", "States": {"Fine": good}},
                        {"StartAt": "Each", "States": {"Each": {"Type": "Map", "Items": [1, 2, 3], "MaxConcurrency": 1, "ItemProcessor": iteration, "End": True}}},
                    ],
                },
            )
        ),
        "QueryLanguage": "JSONata",
    }
    execution = context.start(context.machine(definition))
    same(context.closed(execution)["status"], "FAILED")
    context.client.redrive_execution(executionArn=execution)
    found = context.closed(execution)
    same(json.loads(found["output"]), ["good", ["good", "up", "good"]])
    entered = [event["stateEnteredEventDetails"]["name"] for event in context.history(execution) if event["type"].endswith("StateEntered")]
    same({name: entered.count(name) for name in set(entered)}, {"Both": 1, "Fine": 1, "Each": 1, "Odd?": 3, "Good": 2, "Bad": 1})


@case()
def keeps_the_definition_it_began_with(context):
    client = context.client
    definition = lambda said: {**chain(("Mend", {"Type": "Pass", "Output": MENDED}), ("Say", {"Type": "Pass", "Output": said})), "QueryLanguage": "JSONata"}
    machine = context.machine(definition("before"))
    execution = context.start(machine)
    context.closed(execution)
    client.update_state_machine(stateMachineArn=machine, definition=json.dumps(definition("after")))
    client.redrive_execution(executionArn=execution)
    same(context.closed(execution)["output"], '"before"')


@case()
def what_it_is_refused(context):
    client = context.client
    with refused("InvalidArn"):
        client.redrive_execution(executionArn="none")
    machine = context.machine(chain(("Pass", {"Type": "Pass"})))
    absent = machine.replace(":stateMachine:", ":execution:") + ":absent"
    with refused("ExecutionDoesNotExist", f"Execution Does Not Exist: '{absent}'"):
        client.redrive_execution(executionArn=absent)
    express = context.machine(chain(("Fail", {"Type": "Fail"})), type="EXPRESS")
    with refused("InvalidArn"):
        client.redrive_execution(executionArn=context.start(express))


@case()
def not_while_its_machine_is_deleted(context):
    client = context.client
    machine = context.machine(chain(("Fail", {"Type": "Fail", "Error": "No"})))
    execution = context.start(machine)
    context.closed(execution)
    client.delete_state_machine(stateMachineArn=machine)
    reason = "State machine is in DELETING status"
    with refused("ExecutionNotRedrivable", reason):
        client.redrive_execution(executionArn=execution)
    found = client.describe_execution(executionArn=execution)
    same((found["redriveStatus"], found["redriveStatusReason"]), ("NOT_REDRIVABLE", reason))


def each(processor, kind="STANDARD", **more):
    """A distributed Map over `$.items`, in JSONata."""
    processor = {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": kind}, **processor}
    state = {"Type": "Map", "Items": "{% $states.input.items %}", "Label": "Lines", "ItemProcessor": processor}
    return {**chain(("Each", {**state, **more})), "QueryLanguage": "JSONata"}


TWO_FAILS = {
    "StartAt": "Two?",
    "States": {
        "Two?": {"Type": "Choice", "Choices": [{"Condition": "{% $states.input = 2 %}", "Next": "Bad"}], "Default": "Good"},
        "Bad": {"Type": "Pass", "Output": MENDED, "End": True},
        "Good": {"Type": "Pass", "Output": "good", "End": True},
    },
}


@case()
def a_map_run_goes_on_with_its_failed_children(context):
    client = context.client
    execution = context.start(context.machine(each(TWO_FAILS, MaxConcurrency=1)), {"items": [1, 2, 3]})
    same(context.closed(execution)["status"], "FAILED")
    (run,) = client.list_map_runs(executionArn=execution)["mapRuns"]
    run = run["mapRunArn"]
    found = client.describe_map_run(mapRunArn=run)
    same((found["status"], found["redriveCount"]), ("FAILED", 0))
    same((found["executionCounts"]["succeeded"], found["executionCounts"]["failed"]), (1, 1))
    (failed,) = client.list_executions(mapRunArn=run, statusFilter="FAILED")["executions"]
    child = client.describe_execution(executionArn=failed["executionArn"])
    same(child["redriveStatus"], "REDRIVABLE_BY_MAP_RUN")
    with refused("ExecutionNotRedrivable"):
        client.redrive_execution(executionArn=failed["executionArn"])
    client.redrive_execution(executionArn=execution)
    same(json.loads(context.closed(execution)["output"]), ["good", "up", "good"])
    same(len(client.list_map_runs(executionArn=execution)["mapRuns"]), 1, "no other map run")
    found = client.describe_map_run(mapRunArn=run)
    same((found["status"], found["redriveCount"]), ("SUCCEEDED", 1))
    true(found["redriveDate"] >= found["startDate"], "its date")
    counts = found["executionCounts"]
    same((counts["succeeded"], counts["failed"], counts["total"], counts["pendingRedrive"]), (3, 0, 3, 0))
    (redriven,) = client.list_executions(mapRunArn=run, redriveFilter="REDRIVEN")["executions"]
    same((redriven["executionArn"], redriven["status"], redriven["redriveCount"]), (failed["executionArn"], "SUCCEEDED", 1))
    same(len(client.list_executions(mapRunArn=run, redriveFilter="NOT_REDRIVEN")["executions"]), 2)
    events = context.history(execution)
    (event,) = [event for event in events if event["type"] == "MapRunRedriven"]
    same(event["mapRunRedrivenEventDetails"], {"mapRunArn": run, "redriveCount": 1})
    same([event["type"] for event in events].count("MapRunStarted"), 1)
    true("ExecutionRedriven" in context.types(failed["executionArn"]), "the child's history says it too")
    with refused("ExecutionNotRedrivable"):
        client.redrive_execution(executionArn=failed["executionArn"], clientToken="mine")


@case()
def express_children_start_anew(context):
    client, name = context.client, context.name("fn")
    call = {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Arguments": {"FunctionName": name, "Payload": "called"},
        "Output": "{% $states.result.Payload %}",
        "End": True,
    }
    processor = {
        "StartAt": "Two?",
        "States": {
            "Two?": {"Type": "Choice", "Choices": [{"Condition": "{% $states.input = 2 %}", "Next": "Call"}], "Default": "Good"},
            "Call": call,
            "Good": {"Type": "Pass", "Output": "good", "End": True},
        },
    }
    execution = context.start(context.machine(each(processor, "EXPRESS", MaxConcurrency=1)), {"items": [1, 2]})
    same(context.closed(execution)["status"], "FAILED")
    # There is no such function before.
    context.functions().create_function(FunctionName=name, Role=ROLE, Code={"ZipFile": package()})
    context.adopt_function(name)
    client.redrive_execution(executionArn=execution)
    same(json.loads(context.closed(execution)["output"]), ["good", "called"])
    (run,) = client.list_map_runs(executionArn=execution)["mapRuns"]
    counts = client.describe_map_run(mapRunArn=run["mapRunArn"])["executionCounts"]
    same((counts["succeeded"], counts["failed"], counts["total"]), (2, 0, 2))


@case()
def children_wait_for_their_redrive(context):
    client = context.client
    processor = {
        "StartAt": "Again?",
        "States": {
            "Again?": {"Type": "Pass", "Output": MENDED, "Next": "Wait"},
            "Wait": {"Type": "Wait", "Seconds": 600, "End": True},
        },
    }
    machine = context.machine(each(processor, MaxConcurrency=1, ToleratedFailureCount=1))
    execution = context.start(machine, {"items": [1, 2]})
    same(context.closed(execution)["status"], "FAILED")
    (run,) = client.list_map_runs(executionArn=execution)["mapRuns"]
    run = run["mapRunArn"]
    client.redrive_execution(executionArn=execution)
    counts = lambda: client.describe_map_run(mapRunArn=run)["executionCounts"]
    found = until(counts, lambda counts: counts["running"] == 1)
    same((found["pendingRedrive"], found["failed"], found["total"]), (1, 0, 2))
    (waiting,) = client.list_executions(mapRunArn=run, statusFilter="PENDING_REDRIVE")["executions"]
    same(waiting["status"], "PENDING_REDRIVE")
    same(client.describe_execution(executionArn=waiting["executionArn"])["status"], "PENDING_REDRIVE")
    # The child that was redriven takes up its message in its own time.
    until(lambda: client.list_executions(mapRunArn=run, statusFilter="FAILED")["executions"], lambda found: found == [])
    client.stop_execution(executionArn=execution)
    ended = until(lambda: client.describe_map_run(mapRunArn=run), lambda found: found["status"] != "RUNNING")
    same(ended["status"], "ABORTED")
    counts = ended["executionCounts"]
    same((counts["pendingRedrive"], counts["aborted"], counts["failed"]), (0, 1, 1))
