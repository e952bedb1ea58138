"""Executions: start, describe, list, stop, and what they do in each state."""

import concurrent.futures
import json
import time

from harness import LONG_WAIT, PASS, case, chain, refused, same, true, until

FAIL = chain(("Refuse", {"Type": "Fail", "Error": "Order.Refused", "Cause": "no stock"}))


@case()
def start_and_describe(context):
    machine = context.machine(PASS)
    name = context.name("run")
    answer = context.client.start_execution(stateMachineArn=machine, name=name, input='{"n": 1}')
    execution = answer["executionArn"]
    same(execution, machine.replace(":stateMachine:", ":execution:") + ":" + name, "ARN")
    found = context.closed(execution)
    same((found["status"], found["name"], found["stateMachineArn"]), ("SUCCEEDED", name, machine))
    same((json.loads(found["input"]), json.loads(found["output"])), ({"n": 1}, {"n": 1}))
    same((found["inputDetails"], found["outputDetails"]), ({"included": True}, {"included": True}))
    same(found["startDate"], answer["startDate"], "start")
    true(found["stopDate"] >= found["startDate"], "it stops after it starts")
    same((found["redriveCount"], found["redriveStatus"]), (0, "NOT_REDRIVABLE"))
    same(found["redriveStatusReason"], "Execution is SUCCEEDED and cannot be redriven")
    true("error" not in found and "cause" not in found, "no error of a success")


@case()
def start_without_name_and_input(context):
    machine = context.machine(PASS)
    first, second = context.start(machine), context.start(machine)
    true(first != second, "each start has its own name")
    same(context.closed(first)["input"], "{}", "input")


@case()
def start_is_idempotent_while_running(context):
    machine = context.machine(LONG_WAIT)
    name = context.name("run")
    first = context.client.start_execution(stateMachineArn=machine, name=name, input='{"a": 1}')
    again = context.client.start_execution(stateMachineArn=machine, name=name, input='{"a": 1}')
    same((again["executionArn"], again["startDate"]), (first["executionArn"], first["startDate"]))
    execution = first["executionArn"]
    with refused("ExecutionAlreadyExists", f"Execution Already Exists: '{execution}'"):
        context.client.start_execution(stateMachineArn=machine, name=name, input='{"a": 2}')
    context.client.stop_execution(executionArn=execution)
    context.closed(execution)
    with refused("ExecutionAlreadyExists", f"Execution Already Exists: '{execution}'"):
        context.client.start_execution(stateMachineArn=machine, name=name, input='{"a": 1}')


@case()
def start_refuses(context):
    machine = context.machine(PASS)
    missing = machine + "-missing"
    with refused("StateMachineDoesNotExist", f"State Machine Does Not Exist: '{missing}'"):
        context.start(missing)
    with refused("InvalidName", "Invalid Name: 'a b'"):
        context.start(machine, name="a b")
    text = "Invalid State Machine Execution Input: 'Unrecognized token 'not': was expecting (JSON String, Number, Array, Object or token 'null', 'true' or 'false')'"
    with refused("InvalidExecutionInput", text):
        context.client.start_execution(stateMachineArn=machine, input="not json")
    with refused("InvalidArn", "Invalid Arn: 'Invalid ARN prefix: no_arn'"):
        context.start("no_arn")


@case()
def input_may_be_256_kib(context):
    machine = context.machine(chain(("Small", {"Type": "Pass", "Result": "ok"})))
    most = json.dumps("x" * (262_144 - 2))
    same(context.closed(context.client.start_execution(stateMachineArn=machine, input=most)["executionArn"])["status"], "SUCCEEDED")
    text = "1 validation error detected: Value at 'input' failed to satisfy constraint: Member must have length less than or equal to 262144"
    with refused("ValidationException", text):
        context.client.start_execution(stateMachineArn=machine, input=json.dumps("x" * (262_144 - 1)))


@case()
def any_json_goes_through(context):
    machine = context.machine(PASS)
    for value in (None, True, 0, -1.5, 1e30, "", "Größe \u0000 😀 \"quoted\"", [], [[1, [2]]], {"ü": {"": None}}):
        execution = context.client.start_execution(stateMachineArn=machine, input=json.dumps(value))["executionArn"]
        same(json.loads(context.closed(execution)["output"]), value, "output")


@case()
def failure_has_error_and_cause(context):
    found = context.run(FAIL)
    same((found["status"], found["error"], found["cause"]), ("FAILED", "Order.Refused", "no stock"))
    same(found["redriveStatus"], "REDRIVABLE")
    true("output" not in found and "outputDetails" not in found, "a failure has no output")


@case()
def running_has_no_end(context):
    execution = context.start(context.machine(LONG_WAIT))
    found = context.client.describe_execution(executionArn=execution)
    same(found["status"], "RUNNING")
    true(not {"stopDate", "output", "outputDetails", "error", "cause"} & set(found), f"found {sorted(found)}")
    same(found["redriveStatusReason"], "Execution is RUNNING and cannot be redriven")
    context.client.stop_execution(executionArn=execution)


@case()
def metadata_alone(context):
    execution = context.start(context.machine(PASS), {"secret": 1})
    context.closed(execution)
    found = context.client.describe_execution(executionArn=execution, includedData="METADATA_ONLY")
    true("input" not in found and "output" not in found, "no data")
    same((found["inputDetails"], found["outputDetails"]), ({"included": False}, {"included": False}))


@case()
def stop_aborts(context):
    machine = context.machine(LONG_WAIT)
    execution = context.start(machine)
    stopped = context.client.stop_execution(executionArn=execution, error="Operator", cause="enough")["stopDate"]
    found = context.closed(execution)
    same((found["status"], found["error"], found["cause"], found["stopDate"]), ("ABORTED", "Operator", "enough", stopped))
    last = context.history(execution)[-1]
    same((last["type"], last["previousEventId"]), ("ExecutionAborted", 0))
    same(last["executionAbortedEventDetails"], {"error": "Operator", "cause": "enough"})
    again = context.client.stop_execution(executionArn=execution, error="Other")["stopDate"]
    same(again, stopped, "stopping again")
    same(context.client.describe_execution(executionArn=execution)["error"], "Operator", "stopping again changes nothing")


@case()
def stop_without_reason(context):
    execution = context.start(context.machine(LONG_WAIT))
    context.client.stop_execution(executionArn=execution)
    found = context.closed(execution)
    true("error" not in found and "cause" not in found, "no reason was given")
    same(context.history(execution)[-1]["executionAbortedEventDetails"], {}, "details")


@case()
def timeout_of_the_machine(context):
    found = context.run({**LONG_WAIT, "TimeoutSeconds": 1})
    same(found["status"], "TIMED_OUT")
    true("error" not in found and "cause" not in found, "a timed-out execution shows no error")
    seconds = (found["stopDate"] - found["startDate"]).total_seconds()
    true(0.9 <= seconds <= 60, f"after {seconds} s")


@case()
def wait_waits(context):
    found = context.run(chain(("Wait", {"Type": "Wait", "Seconds": 1}), ("Done", {"Type": "Succeed"})))
    seconds = (found["stopDate"] - found["startDate"]).total_seconds()
    same(found["status"], "SUCCEEDED")
    true(1.0 <= seconds <= 60, f"after {seconds} s")


@case()
def choice_chooses(context):
    machine = context.machine({
        "StartAt": "Size",
        "States": {
            "Size": {
                "Type": "Choice",
                "Choices": [{"Variable": "$.n", "NumericGreaterThan": 10, "Next": "Big"}],
                "Default": "Small",
            },
            "Big": {"Type": "Pass", "Result": "big", "End": True},
            "Small": {"Type": "Pass", "Result": "small", "End": True},
        },
    })
    for number, size in ((11, "big"), (10, "small")):
        same(json.loads(context.closed(context.start(machine, {"n": number}))["output"]), size)


@case()
def parallel_joins(context):
    left = chain(("Left", {"Type": "Pass", "Result": 1}))
    right = chain(("Right", {"Type": "Pass", "Result": [2]}))
    found = context.run(chain(("Both", {"Type": "Parallel", "Branches": [left, right]})))
    same(json.loads(found["output"]), [1, [2]], "outputs in the order of the branches")


@case()
def map_keeps_order(context):
    double = chain(("Twice", {"Type": "Pass", "QueryLanguage": "JSONata", "Output": "{% $states.input * 2 %}"}))
    machine = context.machine(chain(("Each", {"Type": "Map", "ItemProcessor": double, "MaxConcurrency": 4})))
    items = list(range(40))
    found = context.closed(context.start(machine, items))
    same(json.loads(found["output"]), [2 * item for item in items])


@case()
def variables_are_shown(context):
    arn = context.machine({
        "QueryLanguage": "JSONata",
        "StartAt": "Set",
        "States": {
            "Set": {"Type": "Pass", "Assign": {"total": "{% $states.input.n + 1 %}"}, "Next": "Read"},
            "Read": {"Type": "Pass", "Output": "{% $total %}", "End": True},
        },
    })
    found = context.client.describe_state_machine(stateMachineArn=arn)
    same(found["variableReferences"], {"Read": ["total"]}, "variables")
    same(json.loads(context.closed(context.start(arn, {"n": 1}))["output"]), 2)


@case()
def list_by_status(context):
    machine = context.machine({
        "StartAt": "Which",
        "States": {
            "Which": {
                "Type": "Choice",
                "Choices": [
                    {"Variable": "$.do", "StringEquals": "fail", "Next": "Fail"},
                    {"Variable": "$.do", "StringEquals": "wait", "Next": "Wait"},
                ],
                "Default": "Done",
            },
            "Fail": {"Type": "Fail"},
            "Wait": {"Type": "Wait", "Seconds": 3600, "End": True},
            "Done": {"Type": "Succeed"},
        },
    })
    started = {do: context.start(machine, {"do": do}) for do in ("fail", "wait", "end")}
    for do in ("fail", "end"):
        context.closed(started[do])
    for do, status in (("fail", "FAILED"), ("wait", "RUNNING"), ("end", "SUCCEEDED")):
        found = context.client.list_executions(stateMachineArn=machine, statusFilter=status)["executions"]
        same([(item["executionArn"], item["status"]) for item in found], [(started[do], status)])
    whole = context.client.list_executions(stateMachineArn=machine)["executions"]
    same({item["executionArn"] for item in whole}, set(started.values()))
    same(context.client.list_executions(stateMachineArn=machine, statusFilter="ABORTED")["executions"], [])
    context.client.stop_execution(executionArn=started["wait"])
    found = until(
        lambda: context.client.list_executions(stateMachineArn=machine, statusFilter="ABORTED")["executions"], bool
    )
    same([item["executionArn"] for item in found], [started["wait"]])


@case()
def list_refuses(context):
    machine = context.machine(PASS)
    text = "1 validation error detected: Value 'succeeded' at 'statusFilter' failed to satisfy constraint: Member must satisfy enum value set: [SUCCEEDED, TIMED_OUT, PENDING_REDRIVE, ABORTED, FAILED, RUNNING]"
    with refused("ValidationException", text):
        context.client.list_executions(stateMachineArn=machine, statusFilter="succeeded")
    long = "x" * 3097
    text = f"1 validation error detected: Value '{long}' at 'nextToken' failed to satisfy constraint: Member must have length less than or equal to 3096"
    with refused("ValidationException", text):
        context.client.list_executions(stateMachineArn=machine, nextToken=long)
    with refused("InvalidToken", "Invalid Token: 'Invalid token'"):
        context.client.list_executions(stateMachineArn=machine, nextToken="no-token")
    with refused("ValidationException"):
        context.client.list_executions()
    missing = machine + "-missing"
    with refused("StateMachineDoesNotExist", f"State Machine Does Not Exist: '{missing}'"):
        context.client.list_executions(stateMachineArn=missing)
    express = context.machine(PASS, type="EXPRESS")
    text = "This operation is not supported by this type of state machine"
    with refused("StateMachineTypeNotSupported", text):
        context.client.list_executions(stateMachineArn=express)


@case()
def list_pages_newest_first(context):
    machine = context.machine(PASS)
    started = []
    for _ in range(7):
        started.append(context.start(machine))
        context.closed(started[-1])
    pages = context.client.get_paginator("list_executions").paginate(
        stateMachineArn=machine, PaginationConfig={"PageSize": 3}
    )
    pages = [[item["executionArn"] for item in page["executions"]] for page in pages]
    same([len(page) for page in pages if page], [3, 3, 1], "pages")
    same([arn for page in pages for arn in page], started[::-1], "order")


@case()
def describe_refuses(context):
    execution = context.start(context.machine(PASS))
    missing = execution + "-missing"
    with refused("ExecutionDoesNotExist", f"Execution Does Not Exist: '{missing}'"):
        context.client.describe_execution(executionArn=missing)
    with refused("ExecutionDoesNotExist", f"Execution Does Not Exist: '{missing}'"):
        context.client.stop_execution(executionArn=missing)
    with refused("InvalidArn", "Invalid Arn: 'Invalid ARN prefix: no_arn'"):
        context.client.describe_execution(executionArn="no_arn")


@case()
def deleting_the_machine_keeps_its_executions(context):
    machine = context.machine(PASS)
    execution = context.start(machine)
    context.closed(execution)
    context.client.delete_state_machine(stateMachineArn=machine)
    same(context.client.describe_execution(executionArn=execution)["status"], "SUCCEEDED")


@case()
def many_at_once(context):
    machine = context.machine(PASS)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        started = list(pool.map(lambda number: context.start(machine, {"n": number}), range(200)))
    same(len(set(started)), 200, "executions")
    for number, execution in list(enumerate(started))[::20]:
        same(json.loads(context.closed(execution)["output"]), {"n": number})


@case()
def answers_are_prompt(context):
    machine = context.machine(PASS)
    context.start(machine)
    before = time.monotonic()
    for _ in range(20):
        context.start(machine)
    true(time.monotonic() - before < 60, "twenty starts take less than a minute")
