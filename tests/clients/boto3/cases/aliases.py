"""Aliases of state machines: routing, what they start, their lists and refusals."""

import json

from cases.versions import published, says, update
from harness import case, refused, same, true

MISSING = "Request references a resource that does not exist."


def route(*parts):
    return [{"stateMachineVersionArn": arn, "weight": weight} for arn, weight in parts]


def alias(context, name, *parts, **more):
    """Creates an alias and answers its ARN."""
    return context.client.create_state_machine_alias(name=name, routingConfiguration=route(*parts), **more)[
        "stateMachineAliasArn"
    ]


def listed(context, arn, **more):
    page = context.client.list_state_machine_aliases(stateMachineArn=arn, **more)
    return [item["stateMachineAliasArn"].rsplit(":")[-1] for item in page["stateMachineAliases"]], page.get("nextToken")


@case()
def come_back_as_created(context):
    arn, version = published(context)
    made = alias(context, "live", (version, 100), description="what customers get")
    same(made, arn + ":live")
    found = context.client.describe_state_machine_alias(stateMachineAliasArn=made)
    same((found["name"], found["description"]), ("live", "what customers get"))
    same(found["routingConfiguration"], route((version, 100)))
    same((found["stateMachineAliasArn"], found["updateDate"]), (made, found["creationDate"]))
    machine = context.client.describe_state_machine(stateMachineArn=made)
    same((machine["stateMachineArn"], json.loads(machine["definition"])), (made, says("one")), "described as a machine")


@case()
def creation_is_idempotent(context):
    _, version = published(context)
    first = alias(context, "live", (version, 100), description="d")
    same(alias(context, "live", (version, 100), description="d"), first)
    text = "Failed to create alias because an alias with the same name and a different routing configuration already exists."
    with refused("ConflictException", text):
        alias(context, "live", (version, 100), description="other")
    second = update(context, first.rsplit(":", 1)[0], "two", publish=True)["stateMachineVersionArn"]
    with refused("ConflictException", text):
        alias(context, "live", (second, 100), description="d")


@case()
def routing_is_checked(context):
    arn, one = published(context)
    two = update(context, arn, "two", publish=True)["stateMachineVersionArn"]
    three = update(context, arn, "three", publish=True)["stateMachineVersionArn"]
    shown = ", ".join(
        f"RoutingConfigurationListItem(stateMachineVersionArn={version}, weight={weight})"
        for version, weight in [(one, 50), (two, 30), (three, 20)]
    )
    text = f"1 validation error detected: Value '[{shown}]' at 'routingConfiguration' failed to satisfy constraint: Member must have length less than or equal to 2"
    with refused("ValidationException", text):
        alias(context, "live", (one, 50), (two, 30), (three, 20))
    text = "1 validation error detected: Value '101' at 'routingConfiguration.1.member.weight' failed to satisfy constraint: Member must have value less than or equal to 100"
    with refused("ValidationException", text):
        alias(context, "live", (one, 101))
    text = f"Routing configuration must contain distinct state machine version ARNs. Received: [{one}, {one}]"
    with refused("ValidationException", text):
        alias(context, "live", (one, 50), (one, 50))
    text = f"Routing configuration must contain state machine version ARNs. Received: [{arn}, {two}]"
    with refused("ValidationException", text):
        alias(context, "live", (arn, 70), (two, 30))
    for weight in [29, 31]:
        text = f"Sum of routing configuration weights must equal 100. Received: [70, {weight}]"
        with refused("ValidationException", text):
            alias(context, "live", (one, 70), (two, weight))
    with refused("ResourceNotFound", MISSING):
        alias(context, "live", (arn + ":9", 100))
    _, other = published(context)
    with refused("ValidationException"):
        alias(context, "live", (one, 50), (other, 50))
    same(listed(context, arn), ([], None), "none of them was made")


@case()
def names_are_checked(context):
    _, version = published(context)
    pattern = r"^(?=.*[a-zA-Z_\-\.])[a-zA-Z0-9_\-\.]+$"
    for name in ["123", "a b", "a:b", "ä"]:
        text = f"1 validation error detected: Value '{name}' at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: {pattern}"
        with refused("ValidationException", text):
            alias(context, name, (version, 100))
    long = "x" * 81
    text = f"1 validation error detected: Value '{long}' at 'name' failed to satisfy constraint: Member must have length less than or equal to 80"
    with refused("ValidationException", text):
        alias(context, long, (version, 100))


@case()
def start_what_they_route_to(context):
    arn, one = published(context)
    two = update(context, arn, "two", publish=True)["stateMachineVersionArn"]
    made = alias(context, "live", (one, 100), (two, 0))
    execution = context.start(made)
    found = context.closed(execution)
    same(json.loads(found["output"]), "one")
    same((found["stateMachineVersionArn"], found["stateMachineAliasArn"]), (one, made))
    started = context.history(execution)[0]["executionStartedEventDetails"]
    same((started["stateMachineVersionArn"], started["stateMachineAliasArn"]), (one, made), "in the history")
    moved = context.client.update_state_machine_alias(
        stateMachineAliasArn=made, routingConfiguration=route((one, 0), (two, 100))
    )
    true("updateDate" in moved, "date of the update")
    same(json.loads(context.closed(context.start(made))["output"]), "two")
    context.client.update_state_machine_alias(stateMachineAliasArn=made, routingConfiguration=route((one, 50), (two, 50)))
    executions = [context.start(made) for _ in range(48)]
    versions = [context.closed(execution)["stateMachineVersionArn"] for execution in executions]
    same(set(versions), {one, two}, "half and half")  # fails once in 2^47 runs
    listed = context.client.list_executions(stateMachineArn=made)["executions"]
    same([item["executionArn"] for item in listed[:48]], executions[::-1], "executions of the alias")
    same(len(listed), 50)
    same({item["stateMachineAliasArn"] for item in listed}, {made})


@case()
def are_updated(context):
    arn, one = published(context)
    made = alias(context, "live", (one, 100), description="before")
    with refused("ValidationException"):
        context.client.update_state_machine_alias(stateMachineAliasArn=made)
    context.client.update_state_machine_alias(stateMachineAliasArn=made, description="after")
    found = context.client.describe_state_machine_alias(stateMachineAliasArn=made)
    same((found["description"], found["routingConfiguration"]), ("after", route((one, 100))))
    true(found["updateDate"] >= found["creationDate"], "dates")
    _, other = published(context)
    with refused("ValidationException"):
        context.client.update_state_machine_alias(stateMachineAliasArn=made, routingConfiguration=route((other, 100)))
    with refused("ResourceNotFound", MISSING):
        context.client.update_state_machine_alias(stateMachineAliasArn=arn + ":other", description="x")
    with refused("InvalidArn"):
        context.client.update_state_machine_alias(stateMachineAliasArn=one, description="x")


@case()
def hold_their_versions(context):
    arn, one = published(context)
    two = update(context, arn, "two", publish=True)["stateMachineVersionArn"]
    alias(context, "b", (one, 60), (two, 40))
    made = alias(context, "a", (one, 100))
    text = "Version to be deleted must not be referenced by an alias. Current list of aliases referencing this version: [a, b]"
    with refused("ConflictException", text):
        context.client.delete_state_machine_version(stateMachineVersionArn=one)
    same(listed(context, two), (["b"], None), "aliases of the second version")
    same(listed(context, one), (["b", "a"], None), "aliases of the first version")
    for name in ["a", "b"]:
        context.client.delete_state_machine_alias(stateMachineAliasArn=f"{arn}:{name}")
    context.client.delete_state_machine_version(stateMachineVersionArn=one)
    context.client.delete_state_machine_alias(stateMachineAliasArn=made)  # what is not there
    with refused("ResourceNotFound", MISSING):
        context.client.describe_state_machine_alias(stateMachineAliasArn=made)
    with refused("StateMachineDoesNotExist", f"State Machine Does Not Exist: '{made}'"):
        context.start(made)
    with refused("ResourceNotFound", MISSING):
        context.client.list_state_machine_aliases(stateMachineArn=one)


@case()
def are_listed_in_pages(context):
    arn, version = published(context)
    same(listed(context, arn), ([], None))
    for name in ["first", "second", "third"]:
        alias(context, name, (version, 100))
    names, token = listed(context, arn, maxResults=2)
    same(names, ["first", "second"], "the oldest first")
    same(listed(context, arn, nextToken=token), (["third"], None), "second page")
    with refused("InvalidToken", "Invalid Token: 'Invalid token'"):
        listed(context, arn, nextToken="InvalidToken")
    with refused("InvalidToken", "Invalid Token: 'Invalid token'"):
        listed(context, version, nextToken=token)
    with refused("StateMachineDoesNotExist"):
        listed(context, arn + "-missing")


@case()
def are_limited_to_100(context):
    arn, version = published(context)
    for number in range(100):
        alias(context, f"a{number}", (version, 100))
    with refused("ServiceQuotaExceededException"):
        alias(context, "one-too-many", (version, 100))
    context.client.delete_state_machine_alias(stateMachineAliasArn=arn + ":a7")
    alias(context, "now-there-is-room", (version, 100))
