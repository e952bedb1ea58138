"""State machines: create, describe, update, list, delete."""

import json

from harness import LONG_WAIT, PASS, ROLE, case, chain, refused, same, true

OTHER = chain(("Other", {"Type": "Pass", "Result": 1}))


@case()
def create_describe_delete(context):
    name = context.name()
    text = json.dumps(PASS, indent=3)
    arn = context.machine(text, name=name)
    same(arn, f"arn:aws:states:us-east-1:000000000000:stateMachine:{name}", "ARN")
    found = context.client.describe_state_machine(stateMachineArn=arn)
    same(found["definition"], text, "definition, to the letter")
    same((found["name"], found["type"], found["status"], found["roleArn"]), (name, "STANDARD", "ACTIVE", ROLE))
    same(found["loggingConfiguration"], {"level": "OFF", "includeExecutionData": False}, "logging")
    same(found["tracingConfiguration"], {"enabled": False}, "tracing")
    same(found["encryptionConfiguration"], {"type": "AWS_OWNED_KEY"}, "encryption")
    true("revisionId" not in found, "a machine never updated has no revision")
    context.client.delete_state_machine(stateMachineArn=arn)
    with refused("StateMachineDoesNotExist", f"State Machine Does Not Exist: '{arn}'"):
        context.client.describe_state_machine(stateMachineArn=arn)
    context.client.delete_state_machine(stateMachineArn=arn)


@case()
def create_is_idempotent(context):
    name = context.name()
    first = context.machine(PASS, name=name)
    again = context.client.create_state_machine(name=name, definition=json.dumps(PASS), roleArn=ROLE)
    same(again["stateMachineArn"], first)
    created = context.client.describe_state_machine(stateMachineArn=first)["creationDate"]
    same(again["creationDate"], created, "creation date")
    with refused("StateMachineAlreadyExists", f"State Machine Already Exists: '{first}'"):
        context.client.create_state_machine(name=name, definition=json.dumps(OTHER), roleArn=ROLE)
    with refused("StateMachineAlreadyExists"):
        context.client.create_state_machine(name=name, definition=json.dumps(PASS), roleArn=ROLE, type="EXPRESS")


@case()
def definition_is_checked(context):
    never = {"Variable": "$.x", "IsPresent": False, "Next": "Nowhere"}
    broken = chain(("A", {"Type": "Choice", "Choices": [never], "Default": "B"}), ("B", {"Type": "Succeed"}))
    text = "MISSING_TRANSITION_TARGET: Missing 'Next' target: Nowhere at /States/A/Choices[0]/Next"
    with refused("InvalidDefinition", f"Invalid State Machine Definition: '{text}'"):
        context.machine(broken)
    with refused("InvalidDefinition", "Invalid State Machine Definition: '*"):
        context.machine("no JSON")
    with refused("InvalidDefinition"):
        context.machine({"StartAt": "A", "States": {}})


@case()
def names_are_checked(context):
    for name in ("a b", "a:b", "a<b", "a/b"):
        with refused("InvalidName", f"Invalid Name: '{name}'"):
            context.machine(PASS, name=name)
    long = "x" * 81
    text = f"1 validation error detected: Value '{long}' at 'name' failed to satisfy constraint: Member must have length less than or equal to 80"
    with refused("ValidationException", text):
        context.machine(PASS, name=long)


@case()
def arns_are_checked(context):
    with refused("InvalidArn", "Invalid Arn: 'Invalid ARN prefix: no_arn'"):
        context.client.describe_state_machine(stateMachineArn="no_arn")
    with refused("InvalidArn"):
        context.client.describe_state_machine(stateMachineArn="arn:aws:states:us-east-1:111111111111:stateMachine:x")


@case()
def update_makes_a_revision(context):
    arn = context.machine(PASS)
    answer = context.client.update_state_machine(stateMachineArn=arn, definition=json.dumps(OTHER))
    true(answer["revisionId"], "an update has a revision")
    found = context.client.describe_state_machine(stateMachineArn=arn)
    same(json.loads(found["definition"]), OTHER, "definition")
    same(found["revisionId"], answer["revisionId"], "revision")
    role = ROLE + "-2"
    second = context.client.update_state_machine(stateMachineArn=arn, roleArn=role)
    true(second["revisionId"] != answer["revisionId"], "each change has its own revision")
    found = context.client.describe_state_machine(stateMachineArn=arn)
    same((found["roleArn"], json.loads(found["definition"])), (role, OTHER))


@case()
def update_refuses(context):
    arn = context.machine(PASS)
    text = "Either the definition, the role ARN, the LoggingConfiguration, or the TracingConfiguration must be specified"
    with refused("MissingRequiredParameter", text):
        context.client.update_state_machine(stateMachineArn=arn)
    with refused("InvalidDefinition"):
        context.client.update_state_machine(stateMachineArn=arn, definition="{}")
    missing = arn + "-missing"
    with refused("StateMachineDoesNotExist", f"State Machine Does Not Exist: '{missing}'"):
        context.client.update_state_machine(stateMachineArn=missing, definition=json.dumps(PASS))


@case()
def executions_keep_their_definition(context):
    arn = context.machine(LONG_WAIT)
    execution = context.start(arn)
    context.client.update_state_machine(stateMachineArn=arn, definition=json.dumps(PASS))
    found = context.client.describe_state_machine_for_execution(executionArn=execution)
    same(json.loads(found["definition"]), LONG_WAIT, "definition of the execution")
    same(found["stateMachineArn"], arn)
    true("updateDate" in found and "creationDate" not in found, "dates")
    context.client.stop_execution(executionArn=execution)


@case()
def list_pages(context):
    arns = {context.machine(PASS, name=context.name("page")) for _ in range(5)}
    pages = context.client.get_paginator("list_state_machines").paginate(PaginationConfig={"PageSize": 2})
    found, sizes = [], []
    for page in pages:
        sizes.append(len(page["stateMachines"]))
        found += page["stateMachines"]
    true(max(sizes) <= 2, f"pages of at most two, found {sizes}")
    mine = [item for item in found if item["stateMachineArn"] in arns]
    same({item["stateMachineArn"] for item in mine}, arns, "machines listed")
    same(len(mine), 5, "each once")
    same(set(mine[0]), {"stateMachineArn", "name", "type", "creationDate"}, "members of an item")


@case()
def list_checks_its_page(context):
    text = "1 validation error detected: Value '1001' at 'maxResults' failed to satisfy constraint: Member must have value less than or equal to 1000"
    with refused("ValidationException", text):
        context.client.list_state_machines(maxResults=1001)
    long = "x" * 1025
    text = f"1 validation error detected: Value '{long}' at 'nextToken' failed to satisfy constraint: Member must have length less than or equal to 1024"
    with refused("ValidationException", text):
        context.client.list_state_machines(nextToken=long)
    with refused("InvalidToken", "Invalid Token: 'Invalid token'"):
        context.client.list_state_machines(nextToken="no-token")
    with refused("ValidationException", "2 validation errors detected: *"):
        context.client.list_state_machines(maxResults=1001, nextToken=long)


@case()
def settings_come_back(context):
    group = "arn:aws:logs:us-east-1:000000000000:log-group:flows:*"
    logging = {
        "level": "ALL",
        "includeExecutionData": True,
        "destinations": [{"cloudWatchLogsLogGroup": {"logGroupArn": group}}],
    }
    arn = context.machine(PASS, loggingConfiguration=logging, tracingConfiguration={"enabled": True})
    found = context.client.describe_state_machine(stateMachineArn=arn)
    same(found["loggingConfiguration"], logging, "logging")
    same(found["tracingConfiguration"], {"enabled": True}, "tracing")
    context.client.update_state_machine(stateMachineArn=arn, loggingConfiguration={"level": "OFF"})
    found = context.client.describe_state_machine(stateMachineArn=arn)
    same(found["loggingConfiguration"], {"level": "OFF", "includeExecutionData": False}, "logging after the update")
    same(found["tracingConfiguration"], {"enabled": True}, "tracing after the update")
    text = "Invalid Logging Configuration: Must specify exactly one Log Destination."
    with refused("InvalidLoggingConfiguration", text):
        context.machine(PASS, loggingConfiguration={"level": "ALL"})


@case()
def metadata_alone(context):
    arn = context.machine(PASS)
    found = context.client.describe_state_machine(stateMachineArn=arn, includedData="METADATA_ONLY")
    same(found["definition"], "{}", "definition")


@case()
def regions_are_apart(context):
    name = context.name()
    far = context.connect(region="eu-west-1")
    here = context.machine(PASS, name=name)
    there = context.machine(OTHER, name=name, client=far)
    same(there, f"arn:aws:states:eu-west-1:000000000000:stateMachine:{name}", "ARN in the other region")
    same(json.loads(context.client.describe_state_machine(stateMachineArn=here)["definition"]), PASS)
    same(json.loads(far.describe_state_machine(stateMachineArn=there)["definition"]), OTHER)
