"""EXPRESS state machines: the synchronous start with and without the host prefix, and what they do not have."""

import json

from harness import PASS, case, chain, names_resolve_to, refused, same, true

RESULT = chain(("State_1", {"Type": "Pass", "Result": {"Arg1": "argument1"}}))


def check(context, client):
    machine = context.machine(RESULT, type="EXPRESS")
    name = context.name("sync")
    found = client.start_sync_execution(stateMachineArn=machine, name=name, input='{"in": 1}')
    prefix = machine.replace(":stateMachine:", ":express:") + f":{name}:"
    true(found["executionArn"].startswith(prefix), f"ARN {found['executionArn']}")
    same((found["status"], found["stateMachineArn"], found["name"]), ("SUCCEEDED", machine, name))
    same((json.loads(found["input"]), json.loads(found["output"])), ({"in": 1}, {"Arg1": "argument1"}))
    same((found["inputDetails"], found["outputDetails"]), ({"included": True}, {"included": True}))
    true(found["stopDate"] >= found["startDate"], "dates")
    billing = found["billingDetails"]
    true(billing["billedDurationInMilliseconds"] % 100 == 0 and billing["billedDurationInMilliseconds"] > 0, billing)
    true(billing["billedMemoryUsedInMB"] % 64 == 0 and billing["billedMemoryUsedInMB"] > 0, billing)


@case()
def sync_without_host_prefix(context):
    check(context, context.client)


@case()
def sync_with_host_prefix(context):
    port = context.endpoint.rsplit(":", 1)[-1]
    client = context.connect(endpoint=f"http://localhost:{port}", inject_host_prefix=True)
    with names_resolve_to(context.endpoint):
        check(context, client)


@case()
def sync_failure_is_an_answer(context):
    machine = context.machine(chain(("No", {"Type": "Fail", "Error": "Refused", "Cause": "why"})), type="EXPRESS")
    found = context.client.start_sync_execution(stateMachineArn=machine)
    same((found["status"], found["error"], found["cause"]), ("FAILED", "Refused", "why"))
    true("output" not in found, "a failure has no output")


@case()
def sync_metadata_alone(context):
    machine = context.machine(RESULT, type="EXPRESS")
    found = context.client.start_sync_execution(stateMachineArn=machine, includedData="METADATA_ONLY")
    true("input" not in found and "output" not in found, "no data")
    same(found["outputDetails"], {"included": False})


@case()
def sync_refuses(context):
    text = "This operation is not supported by this type of state machine"
    with refused("StateMachineTypeNotSupported", text):
        context.client.start_sync_execution(stateMachineArn=context.machine(PASS))
    with refused("StateMachineDoesNotExist"):
        context.client.start_sync_execution(stateMachineArn=context.machine(PASS) + "-missing")
    with refused("InvalidExecutionInput"):
        context.client.start_sync_execution(stateMachineArn=context.machine(PASS, type="EXPRESS"), input="{")


@case()
def asynchronous_start(context):
    machine = context.machine(RESULT, type="EXPRESS")
    name = context.name("run")
    first = context.client.start_execution(stateMachineArn=machine, name=name)["executionArn"]
    again = context.client.start_execution(stateMachineArn=machine, name=name)["executionArn"]
    true(first != again, "an EXPRESS start is never idempotent")
    text = "Invalid Arn: 'Resource type not valid in this context: express'"
    for call in (
        context.client.describe_execution,
        context.client.stop_execution,
        context.client.get_execution_history,
        context.client.describe_state_machine_for_execution,
    ):
        with refused("InvalidArn", text):
            call(executionArn=first)
