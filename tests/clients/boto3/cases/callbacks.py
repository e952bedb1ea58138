"""Callbacks: a task that waits until somebody sends its token back."""

import json

from harness import PASS, case, chain, refused, same, true, until


def asking(context):
    """A state machine that starts a child with its token and waits; answers the ARNs of both machines."""
    child = context.machine(chain(("Keep", {"Type": "Pass"})))
    parent = context.machine(chain((
        "Ask",
        {
            "Type": "Task",
            "Resource": "arn:aws:states:::states:startExecution.waitForTaskToken",
            "Parameters": {"StateMachineArn": child, "Input": {"token.$": "$$.Task.Token"}},
            "TimeoutSeconds": 60,
        },
    )))
    return parent, child


def token_of(context, child):
    """The token that the child got as its input."""
    listed = until(lambda: context.client.list_executions(stateMachineArn=child)["executions"], bool)
    return json.loads(context.client.describe_execution(executionArn=listed[0]["executionArn"])["input"])["token"]


@case()
def callback_succeeds(context):
    parent, child = asking(context)
    execution = context.start(parent)
    token = token_of(context, child)
    # The child has the token before its parent knows that the child was started.
    until(lambda: context.types(execution), lambda types: types[-1] == "TaskSubmitted")
    same(context.client.describe_execution(executionArn=execution)["status"], "RUNNING")
    context.client.send_task_heartbeat(taskToken=token)
    context.client.send_task_success(taskToken=token, output='{"approved": true}')
    found = context.closed(execution)
    same((found["status"], json.loads(found["output"])), ("SUCCEEDED", {"approved": True}))
    same(
        context.types(execution),
        [
            "ExecutionStarted",
            "TaskStateEntered",
            "TaskScheduled",
            "TaskStarted",
            "TaskSubmitted",
            "TaskSucceeded",
            "TaskStateExited",
            "ExecutionSucceeded",
        ],
    )
    with refused("TaskTimedOut"):
        context.client.send_task_success(taskToken=token, output="1")


@case()
def callback_fails(context):
    parent, child = asking(context)
    execution = context.start(parent)
    context.client.send_task_failure(taskToken=token_of(context, child), error="Refused", cause="by hand")
    found = context.closed(execution)
    same((found["status"], found["error"], found["cause"]), ("FAILED", "Refused", "by hand"))


@case()
def another_client_answers(context):
    """A token is all it takes: who got the task need not be who answers."""
    activity = context.activity()
    execution = context.start(context.machine(chain(("Ask", {"Type": "Task", "Resource": activity}))))
    token = context.client.get_activity_task(activityArn=activity)["taskToken"]
    true(len(token) <= 2048, "tokens fit the API's bound")
    other = context.connect(region="eu-west-1")
    other.send_task_success(taskToken=token, output='"from afar"')
    same(json.loads(context.closed(execution)["output"]), "from afar")


@case()
def express_cannot_wait(context):
    with refused("InvalidDefinition", "Invalid State Machine Definition: 'SCHEMA_VALIDATION_FAILED: Express state machine does not support '.waitForTaskToken' service integration *"):
        context.machine(chain((
            "Ask",
            {
                "Type": "Task",
                "Resource": "arn:aws:states:::states:startExecution.waitForTaskToken",
                "Parameters": {"StateMachineArn": context.machine(PASS), "Input": {"token.$": "$$.Task.Token"}},
            },
        )), type="EXPRESS")
