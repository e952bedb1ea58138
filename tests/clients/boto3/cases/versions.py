"""Versions of state machines: numbers, what they keep, what they start, their lists and refusals."""

import json

from harness import LONG_WAIT, PASS, case, chain, refused, same, true


def says(word):
    return chain(("Only", {"Type": "Pass", "Result": word}))


def published(context, **more):
    """A machine with its first version; both ARNs."""
    arn = context.machine(says("one"), publish=True, **more)
    return arn, arn + ":1"


def update(context, arn, word, **more):
    return context.client.update_state_machine(stateMachineArn=arn, definition=json.dumps(says(word)), **more)


def listed(context, arn, **more):
    return context.client.list_state_machine_versions(stateMachineArn=arn, **more)


@case()
def create_publishes(context):
    name = context.name()
    create = {"name": name, "definition": json.dumps(PASS), "roleArn": "arn:aws:iam::000000000000:role/r"}
    first = context.client.create_state_machine(**create, publish=True, versionDescription="first")
    arn = first["stateMachineArn"]
    context.adopt(arn)
    same(first["stateMachineVersionArn"], arn + ":1", "version")
    again = context.client.create_state_machine(**create, publish=True, versionDescription="first")
    same(again["stateMachineVersionArn"], arn + ":1", "version of the same call again")
    text = f"State Machine Already Exists: '{arn}'"
    with refused("StateMachineAlreadyExists", text):
        context.client.create_state_machine(**create, publish=True, versionDescription="other")
    with refused("StateMachineAlreadyExists", text):
        context.client.create_state_machine(**create)
    same([item["stateMachineVersionArn"] for item in listed(context, arn)["stateMachineVersions"]], [arn + ":1"])


@case()
def descriptions_need_publish(context):
    text = "Version description can only be set when publish is true"
    with refused("ValidationException", text):
        context.machine(PASS, versionDescription="first")
    with refused("ValidationException", text):
        context.machine(PASS, versionDescription="first", publish=False)
    arn = context.machine(PASS)
    with refused("ValidationException", text):
        update(context, arn, "two", versionDescription="second")


@case()
def publishing_is_once_a_revision(context):
    arn = context.machine(says("one"))
    publish = context.client.publish_state_machine_version
    first = publish(stateMachineArn=arn, description="first")
    again = publish(stateMachineArn=arn)
    same(first["stateMachineVersionArn"], arn + ":1")
    same((again["stateMachineVersionArn"], again["creationDate"]), (arn + ":1", first["creationDate"]), "again")
    same(update(context, arn, "one", publish=True)["stateMachineVersionArn"], arn + ":1", "an update of nothing")
    changed = update(context, arn, "two", publish=True)
    same(changed["stateMachineVersionArn"], arn + ":2", "an update")
    same(publish(stateMachineArn=arn)["stateMachineVersionArn"], arn + ":2", "after an update that published")
    update(context, arn, "three")
    same(publish(stateMachineArn=arn)["stateMachineVersionArn"], arn + ":3", "after an update that did not")


@case()
def numbers_are_not_given_twice(context):
    arn, version = published(context)
    context.client.delete_state_machine_version(stateMachineVersionArn=version)
    same(listed(context, arn)["stateMachineVersions"], [], "none is left")
    again = context.client.publish_state_machine_version(stateMachineArn=arn)
    same(again["stateMachineVersionArn"], arn + ":2")
    context.client.delete_state_machine_version(stateMachineVersionArn=version)  # what is not there


@case()
def revisions_are_checked(context):
    arn = context.machine(says("one"))
    publish = context.client.publish_state_machine_version
    text = "Failed to publish the State Machine version for revision other. The current State Machine revision is INITIAL."
    with refused("ConflictException", text):
        publish(stateMachineArn=arn, revisionId="other")
    same(publish(stateMachineArn=arn, revisionId="INITIAL")["stateMachineVersionArn"], arn + ":1")
    revision = update(context, arn, "two")["revisionId"]
    text = f"Failed to publish the State Machine version for revision INITIAL. The current State Machine revision is {revision}."
    with refused("ConflictException", text):
        publish(stateMachineArn=arn, revisionId="INITIAL")
    same(publish(stateMachineArn=arn, revisionId=revision)["stateMachineVersionArn"], arn + ":2")
    same(context.client.describe_state_machine(stateMachineArn=arn + ":2")["revisionId"], revision, "of the version")
    true("revisionId" not in context.client.describe_state_machine(stateMachineArn=arn + ":1"), "none of the first")


@case()
def a_version_keeps_what_it_was(context):
    arn = context.machine(says("one"))
    context.client.publish_state_machine_version(stateMachineArn=arn, description="the first")
    role = "arn:aws:iam::000000000000:role/later"
    context.client.update_state_machine(
        stateMachineArn=arn, definition=json.dumps(says("two")), roleArn=role, tracingConfiguration={"enabled": True}
    )
    version = context.client.describe_state_machine(stateMachineArn=arn + ":1")
    same(version["stateMachineArn"], arn + ":1", "ARN")
    same(version["description"], "the first", "description")
    same(json.loads(version["definition"]), says("one"), "definition")
    same(version["tracingConfiguration"], {"enabled": False}, "tracing")
    true(version["roleArn"] != role, "the role is the old one")
    same(version["status"], "ACTIVE")
    machine = context.client.describe_state_machine(stateMachineArn=arn)
    same((machine["roleArn"], "description" in machine), (role, False), "the machine")


@case()
def a_version_starts_itself(context):
    arn, version = published(context)
    same(json.loads(context.closed(context.start(arn))["output"]), "one")
    same(json.loads(context.closed(context.start(version))["output"]), "one")
    update(context, arn, "two")
    same(json.loads(context.closed(context.start(arn))["output"]), "two")
    execution = context.start(version)
    found = context.closed(execution)
    same(json.loads(found["output"]), "one")
    same((found["stateMachineArn"], found["stateMachineVersionArn"]), (arn, version), "ARNs")
    true("stateMachineAliasArn" not in found, "no alias")
    started = context.history(execution)[0]["executionStartedEventDetails"]
    same(started["stateMachineVersionArn"], version, "in the history")
    ran = context.client.describe_state_machine_for_execution(executionArn=execution)
    same((ran["stateMachineArn"], json.loads(ran["definition"])), (arn, says("one")), "what it ran")
    true("revisionId" not in ran, "the first revision has no id")
    text = f"State Machine Does Not Exist: '{arn}:9'"
    with refused("StateMachineDoesNotExist", text):
        context.start(arn + ":9")
    with refused("StateMachineDoesNotExist", text):
        context.client.describe_state_machine(stateMachineArn=arn + ":9")


@case()
def executions_show_their_own_revision(context):
    arn = context.machine(LONG_WAIT)
    execution = context.start(arn)
    role = "arn:aws:iam::000000000000:role/later"
    updated = context.client.update_state_machine(stateMachineArn=arn, roleArn=role)
    describe = context.client.describe_state_machine_for_execution
    before = describe(executionArn=execution)
    true("revisionId" not in before and before["roleArn"] != role, "the execution began before the update")
    after = describe(executionArn=context.start(arn))
    same((after["revisionId"], after["roleArn"]), (updated["revisionId"], role), "one after it")
    same(after["updateDate"], updated["updateDate"], "date of its revision")


@case()
def executions_outlive_their_machine(context):
    arn, version = published(context)
    execution = context.start(version)
    context.closed(execution)
    context.client.delete_state_machine(stateMachineArn=arn)
    found = context.client.describe_state_machine_for_execution(executionArn=execution)
    same((found["stateMachineArn"], json.loads(found["definition"])), (arn, says("one")), "what it ran")
    same(found["loggingConfiguration"], {"level": "OFF", "includeExecutionData": False})
    same(context.client.describe_execution(executionArn=execution)["stateMachineVersionArn"], version)


@case()
def executions_are_listed_by_version(context):
    arn, version = published(context)
    starts = [version, arn, version, version, arn]
    executions = [context.start(by) for by in starts]
    for execution in executions:
        context.closed(execution)
    wanted = [execution for execution, by in zip(executions, starts) if by == version][::-1]
    found = context.client.list_executions(stateMachineArn=version)["executions"]
    same([item["executionArn"] for item in found], wanted, "executions of the version")
    same({item["stateMachineVersionArn"] for item in found}, {version})
    pages = context.client.get_paginator("list_executions")
    pages = list(pages.paginate(stateMachineArn=version, statusFilter="SUCCEEDED", PaginationConfig={"PageSize": 2}))
    same([len(page["executions"]) for page in pages], [2, 1], "pages")
    same([item["executionArn"] for page in pages for item in page["executions"]], wanted)
    same(len(context.client.list_executions(stateMachineArn=arn)["executions"]), 5, "executions of the machine")
    same(context.client.list_executions(stateMachineArn=version, statusFilter="RUNNING")["executions"], [])
    token = context.client.list_executions(stateMachineArn=version, maxResults=1)["nextToken"]
    with refused("InvalidToken", "Invalid Token: 'Invalid token'"):
        context.client.list_executions(stateMachineArn=arn, nextToken=token)


@case()
def versions_are_listed_newest_first(context):
    arn, _ = published(context)
    for number in range(2, 8):
        update(context, arn, str(number), publish=True)
    page = listed(context, arn, maxResults=4)
    numbers = [item["stateMachineVersionArn"].rsplit(":")[-1] for item in page["stateMachineVersions"]]
    same(numbers, ["7", "6", "5", "4"], "first page")
    page = listed(context, arn, maxResults=4, nextToken=page["nextToken"])
    numbers = [item["stateMachineVersionArn"].rsplit(":")[-1] for item in page["stateMachineVersions"]]
    same(numbers, ["3", "2", "1"], "second page")
    true("nextToken" not in page, "no third page")
    same(set(page["stateMachineVersions"][0]), {"stateMachineVersionArn", "creationDate"}, "members")


@case()
def express_has_versions(context):
    arn, version = published(context, type="EXPRESS")
    update(context, arn, "two")
    found = context.client.start_sync_execution(stateMachineArn=version)
    same((found["status"], json.loads(found["output"])), ("SUCCEEDED", "one"))
    same(found["stateMachineArn"], arn)
    with refused("StateMachineTypeNotSupported"):
        context.client.list_executions(stateMachineArn=version)


@case()
def versions_are_no_machines(context):
    arn, version = published(context)
    with refused("StateMachineDoesNotExist", f"State Machine Does Not Exist: '{version}'"):
        update(context, version, "two")
    with refused("StateMachineDoesNotExist", f"State Machine Does Not Exist: '{version}'"):
        context.client.publish_state_machine_version(stateMachineArn=version)
    with refused("ValidationException"):
        context.client.delete_state_machine(stateMachineArn=version)
    with refused("ValidationException"):
        context.client.delete_state_machine_version(stateMachineVersionArn=arn)
    with refused("InvalidArn", "Invalid Arn: 'Invalid ARN prefix: invalid_arn'"):
        context.client.publish_state_machine_version(stateMachineArn="invalid_arn")
    missing = arn + "-missing"
    with refused("StateMachineDoesNotExist", f"State Machine Does Not Exist: '{missing}'"):
        context.client.publish_state_machine_version(stateMachineArn=missing)
    same(listed(context, missing)["stateMachineVersions"], [], "versions of what is not there")


@case()
def deletion_takes_versions_along(context):
    name = context.name()
    arn = context.machine(says("one"), name=name, publish=True)
    context.client.delete_state_machine(stateMachineArn=arn)
    with refused("StateMachineDoesNotExist"):
        context.client.describe_state_machine(stateMachineArn=arn + ":1")
    with refused("StateMachineDoesNotExist"):
        context.start(arn + ":1")
    context.machine(says("two"), name=name)
    same(listed(context, arn)["stateMachineVersions"], [], "versions of a new machine of the name")
