#!/usr/bin/env python3
"""Two tenants and their keys against a server that authenticates: one line a case, exit code 1 when one failed.

Reads the keys from stdin: a JSON object of {"accessKeyId", "secretAccessKey", "account"} by name.
"""

import argparse
import base64
import collections
import datetime
import hashlib
import json
import sys
import traceback

import botocore.auth
import botocore.awsrequest
import botocore.credentials
from harness import LONG_WAIT, PASS, chain, refused, same, true, until
from tenants_world import REGION, World, code

CASES = []


def case(function):
    CASES.append(function)
    return function


# operation: what tenant `b` asks of what is `a`'s, and the code of the refusal
def crossings(w):
    routes = [{"stateMachineVersionArn": w.version, "weight": 100}]
    closed = {"taskToken": w.token}
    machine, execution = {"stateMachineArn": w.arn}, {"executionArn": w.execution}
    return {
        "CreateStateMachineAlias": ({"name": "mine", "routingConfiguration": routes}, "InvalidArn ValidationException"),
        "DeleteActivity": ({"activityArn": w.activity}, "InvalidArn"),
        "DeleteStateMachine": (machine, "InvalidArn"),
        "DeleteStateMachineAlias": ({"stateMachineAliasArn": w.alias}, "InvalidArn"),
        "DeleteStateMachineVersion": ({"stateMachineVersionArn": w.version}, "InvalidArn"),
        "DescribeActivity": ({"activityArn": w.activity}, "InvalidArn"),
        "DescribeExecution": (execution, "InvalidArn"),
        "DescribeMapRun": ({"mapRunArn": w.map_run}, "InvalidArn"),
        "DescribeStateMachine": (machine, "InvalidArn"),
        "DescribeStateMachineAlias": ({"stateMachineAliasArn": w.alias}, "InvalidArn"),
        "DescribeStateMachineForExecution": (execution, "InvalidArn"),
        "GetActivityTask": ({"activityArn": w.activity}, "InvalidArn"),
        "GetExecutionHistory": (execution, "InvalidArn"),
        "ListExecutions": (machine, "InvalidArn"),
        "ListMapRuns": ({"executionArn": w.mapping}, "InvalidArn"),
        "ListStateMachineAliases": (machine, "InvalidArn"),
        "ListStateMachineVersions": (machine, "InvalidArn"),
        "ListTagsForResource": ({"resourceArn": w.arn}, "InvalidArn"),
        "PublishStateMachineVersion": (machine, "InvalidArn"),
        "RedriveExecution": (execution, "InvalidArn"),
        "SendTaskFailure": (closed, "TaskTimedOut"),
        "SendTaskHeartbeat": (closed, "TaskTimedOut"),
        "SendTaskSuccess": ({**closed, "output": "{}"}, "TaskTimedOut"),
        "StartExecution": (machine, "InvalidArn"),
        "StartSyncExecution": ({"stateMachineArn": w.express}, "InvalidArn"),
        "StopExecution": (execution, "InvalidArn"),
        "TagResource": ({"resourceArn": w.arn, "tags": [{"key": "b", "value": ""}]}, "InvalidArn"),
        "UntagResource": ({"resourceArn": w.arn, "tagKeys": ["a"]}, "InvalidArn"),
        "UpdateMapRun": ({"mapRunArn": w.map_run, "maxConcurrency": 1}, "InvalidArn"),
        "UpdateStateMachine": ({**machine, "definition": json.dumps(PASS)}, "InvalidArn"),
        "UpdateStateMachineAlias": ({"stateMachineAliasArn": w.alias, "description": "b"}, "InvalidArn"),
    }


# operations that name nothing of another tenant's; each has a case of its own below
FREE = {
    "CreateActivity",
    "CreateStateMachine",
    "ListActivities",
    "ListStateMachines",
    "TestState",
    "ValidateStateMachineDefinition",
}


def operations(client):
    return {name: client.meta.service_model.operation_model(name) for name in client.meta.service_model.operation_names}


def call(client, operation, request):
    names = {wire: python for python, wire in client.meta.method_to_api_mapping.items()}
    return getattr(client, names[operation])(**request)


@case
def no_operation_crosses(w):
    asked = crossings(w)
    same(set(asked) | FREE, set(operations(w.a)), "all operations are tried")
    before = seen(w)
    for operation, (request, codes) in sorted(asked.items()):
        try:
            call(w.b, operation, request)
        except botocore.exceptions.ClientError as error:
            found = error.response["Error"]["Code"]
            true(found in codes.split(), f"{operation}: {found}, not {codes}")
        else:
            raise AssertionError(f"{operation} was served")
    same(seen(w), before, "what tenant a has")


def seen(w):
    machine = w.a.describe_state_machine(stateMachineArn=w.arn)
    alias = w.a.describe_state_machine_alias(stateMachineAliasArn=w.alias)
    tags = w.a.list_tags_for_resource(resourceArn=w.arn)["tags"]
    started = len(w.a.list_executions(stateMachineArn=w.arn)["executions"])
    statuses = [w.a.describe_execution(executionArn=arn)["status"] for arn in (w.execution, w.asking, w.mapping)]
    run = w.a.describe_map_run(mapRunArn=w.map_run)
    versions = w.a.list_state_machine_versions(stateMachineArn=w.arn)["stateMachineVersions"]
    return [machine["definition"], alias.get("description"), tags, started, statuses, run["maxConcurrency"], len(versions)]


# what does nothing, or lists nothing, when there is nothing: these name no such error in the API
QUIET = {"DeleteActivity", "DeleteStateMachine", "DeleteStateMachineAlias", "DeleteStateMachineVersion", "ListStateMachineVersions"}
NOT_THERE = {"ActivityDoesNotExist", "ExecutionDoesNotExist", "ResourceNotFound", "StateMachineDoesNotExist"}


@case
def no_operation_finds_it_under_the_callers_account(w):
    """The ARNs of tenant `a`, rewritten to the account of `b`, name nothing."""
    mine, theirs = w.keys["b-admin"]["account"], w.keys["a-admin"]["account"]
    before = seen(w)
    for operation, (request, _) in sorted(crossings(w).items()):
        if "taskToken" in request:
            continue
        request = json.loads(json.dumps(request).replace(f":{theirs}:", f":{mine}:"))
        try:
            call(w.b, operation, request)
        except botocore.exceptions.ClientError as error:
            found = error.response["Error"]["Code"]
            true(found in NOT_THERE, f"{operation}: {found}")
        else:
            true(operation in QUIET, f"{operation} was served")
    same(seen(w), before, "what tenant a has")


@case
def equal_names_are_each_tenants_own(w):
    account = w.keys["b-admin"]["account"]
    arn = w.machine(w.b, w.role("b-admin"), "machine", PASS)["stateMachineArn"]
    true(f":{account}:" in arn, arn)
    activity = w.b.create_activity(name="activity")["activityArn"]
    true(f":{account}:" in activity, activity)
    same([each["stateMachineArn"] for each in w.b.list_state_machines()["stateMachines"]], [arn])
    same([each["activityArn"] for each in w.b.list_activities()["activities"]], [activity])
    done = w.b.start_execution(stateMachineArn=arn, name="waits")["executionArn"]
    until(lambda: w.b.describe_execution(executionArn=done)["status"], lambda status: status == "SUCCEEDED")
    same(w.a.describe_execution(executionArn=w.execution)["status"], "RUNNING")
    w.b.delete_state_machine(stateMachineArn=arn)
    w.b.delete_activity(activityArn=activity)
    same(w.a.describe_state_machine(stateMachineArn=w.arn)["status"], "ACTIVE")


@case
def tasks_do_not_cross(w):
    role = w.role("b-admin")
    crossing = {
        "states:startExecution": {"StateMachineArn": w.arn},
        "states:startExecution.sync:2": {"StateMachineArn": w.arn},
        "aws-sdk:sfn:startExecution": {"StateMachineArn": w.arn},
        "aws-sdk:sfn:startSyncExecution": {"StateMachineArn": w.express},
        "aws-sdk:sfn:stopExecution": {"ExecutionArn": w.execution},
        "aws-sdk:sfn:redriveExecution": {"ExecutionArn": w.execution},
        "aws-sdk:sfn:getActivityTask": {"ActivityArn": w.activity},
        "aws-sdk:sfn:sendTaskSuccess": {"TaskToken": w.token, "Output": "{}"},
        "aws-sdk:sfn:sendTaskFailure": {"TaskToken": w.token},
        "aws-sdk:sfn:sendTaskHeartbeat": {"TaskToken": w.token},
    }
    before = seen(w)
    for index, (resource, parameters) in enumerate(crossing.items()):
        task = {"Type": "Task", "Resource": f"arn:aws:states:::{resource}", "Parameters": parameters}
        arn = w.machine(w.b, role, f"crosses-{index}", chain(("Cross", task)))["stateMachineArn"]
        execution = w.b.start_execution(stateMachineArn=arn)["executionArn"]
        ended = until(lambda: w.b.describe_execution(executionArn=execution), lambda answer: answer["status"] != "RUNNING")
        same(ended["status"], "FAILED", resource)
        if ".sync" in resource:
            # TestState takes it with a mock alone.
            continue
        tested = w.b.test_state(definition=json.dumps({**task, "End": True}), roleArn=role)
        true(tested["status"] != "SUCCEEDED", f"TestState of {resource}: {tested}")
    same(seen(w), before, "what tenant a has")
    w.b.validate_state_machine_definition(definition=json.dumps(PASS))


@case
def a_task_for_another_tenants_activity_reaches_nobody(w):
    task = {"Type": "Task", "Resource": w.activity, "TimeoutSeconds": 1}
    arn = w.machine(w.b, w.role("b-admin"), "asks-a", chain(("Ask", task)))["stateMachineArn"]
    execution = w.b.start_execution(stateMachineArn=arn)["executionArn"]
    ended = until(lambda: w.b.describe_execution(executionArn=execution), lambda answer: answer["status"] != "RUNNING")
    same(ended["status"], "FAILED")
    types = [event["type"] for event in w.b.get_execution_history(executionArn=execution)["events"]]
    true("ActivityStarted" not in types, types)


@case
def plugins_are_the_tenants(w):
    task = chain(("Call", {"Type": "Task", "Resource": "wasm:echo"}))
    for client, role, status in [(w.a, w.role(), "SUCCEEDED"), (w.b, w.role("b-admin"), "FAILED")]:
        arn = w.machine(client, role, "plugin", task)["stateMachineArn"]
        execution = client.start_execution(stateMachineArn=arn, input="{}")["executionArn"]
        ended = until(lambda: client.describe_execution(executionArn=execution), lambda answer: answer["status"] != "RUNNING")
        same(ended["status"], status)
    same(ended["error"], "Stepwell.PluginMissing")


@case
def connections_are_the_tenants(w):
    """Nobody listens at the address of tenant a's connection: that it was tried is enough."""
    account = w.keys["a-admin"]["account"]
    parameters = {
        "ApiEndpoint": "http://127.0.0.1:9/",
        "Method": "GET",
        "InvocationConfig": {"ConnectionArn": f"arn:aws:events:{REGION}:{account}:connection/api/1"},
    }
    task = {"Type": "Task", "Resource": "arn:aws:states:::http:invoke", "Parameters": parameters, "End": True}
    for client, role, error in [
        (w.a, w.role(), "States.Http.Socket"),
        (w.b, w.role("b-admin"), "Events.ConnectionResource.ResourceNotFound"),
    ]:
        tested = client.test_state(definition=json.dumps(task), roleArn=role)
        same(tested.get("error"), error, tested)


# what tenants.rs looks for in the store and in the log
HIDDEN = "of-tenant-a-7f3c9b21"
# What a task tells is in its history.
READ = "read-by-a-task"


def ended(w, name, machine, given):
    client = w.client(name)
    execution = client.start_execution(stateMachineArn=machine, input=json.dumps(given))["executionArn"]
    return until(lambda: client.describe_execution(executionArn=execution), lambda answer: answer["status"] != "RUNNING")


@case
def secrets_are_the_tenants(w):
    """The plugin `reads` of both tenants asks for the secret KEY; whether it has it is the operator's to say, at once."""
    accounts = {"a-admin": w.keys["a-admin"]["account"], "b-admin": w.keys["b-admin"]["account"]}
    a, b = accounts.values()
    denied = "AccessDeniedException"
    task = chain(("Read", {"Type": "Task", "Resource": "wasm:reads"}))
    machines = {
        name: w.machine(w.client(name), w.role(name), "reads", task)["stateMachineArn"] for name in accounts
    }

    def reads(name):
        return ended(w, name, machines[name], {"do": "secret", "name": "KEY"})

    same(w.own("a-admin", "PutSecret", name="KEY", value=READ), {"created": True, "hidden": False})
    true("not granted" in reads("a-admin")["cause"], "without a ceiling it is granted nothing")
    same(w.own("a-admin", "SetCeiling", account=a, ceiling='grants = "as asked"'), denied)
    same(w.own("b-operator", "SetCeiling", account=a, ceiling="grants = 1"), "ValidationException")
    for account in (a, b):
        same(w.own("b-operator", "SetCeiling", account=account, ceiling='grants = { secrets = ["KEY"] }'), {})
    true("KEY" in w.own("a-read", "DescribeTenant", account=a)["ceiling"])
    same(reads("a-admin").get("output"), json.dumps(READ))
    failed = reads("b-admin")
    true(failed["status"] == "FAILED" and "is not set" in failed["cause"], failed)

    put = {"name": "KEY", "value": "x"}
    asked = [("PutSecret", put), ("ListSecrets", {}), ("DeleteSecret", {"name": "KEY"})]
    for operation, body in asked:
        for name in ("a-read", "a-run"):
            same(w.own(name, operation, **body), denied, f"{operation} of {name}")
        same(w.own("b-admin", operation, account=a, **body), denied, f"{operation} of another tenant")
    same(w.own("b-admin", "DeleteSecret", name="KEY"), "ResourceNotFound", "under its own account")
    same(w.own("b-admin", "ListSecrets")["secrets"], [])
    listed = w.own("a-admin", "ListSecrets")
    same([each["name"] for each in listed["secrets"]], ["KEY"])
    same(set(listed["secrets"][0]), {"name", "creationDate", "lastModifiedDate", "hidden", "opens"})
    true(listed["secrets"][0]["opens"], "by the server's key")
    for body in ({"name": "KEY", "value": {"x": HIDDEN}}, {"name": "KEY", "value": HIDDEN, "more": HIDDEN}, {"name": "a/b", "value": HIDDEN}):
        headers = {"x-amz-target": "Stepwell.PutSecret"}
        status, text = w.signed("a-admin", headers=headers, body=json.dumps(body).encode())
        true(status == 400 and HIDDEN not in text, text)

    same(w.own("b-operator", "PutSecret", account=b, name="KEY", value="of-b")["created"], True)
    same(reads("b-admin").get("output"), '"of-b"')
    same(reads("a-admin").get("output"), json.dumps(READ))
    same(w.own("a-admin", "PutSecret", name="KEY", value="another")["created"], False)
    same(reads("a-admin").get("output"), '"another"', "the next attempt has the new one")
    same(w.own("a-admin", "DeleteSecret", name="KEY"), {})
    true("is not set" in reads("a-admin")["cause"])
    for account in (a, b):
        same(w.own("b-operator", "SetCeiling", account=account, ceiling=None), {})
    true("ceiling" not in w.own("a-read", "DescribeTenant", account=a))
    true("not granted" in reads("b-admin")["cause"], "what is taken away counts at once")
    same(w.own("a-admin", "PutSecret", name="KEPT", value=HIDDEN)["created"], True)


def asks(w, name, connection):
    """The error of a task that asks with a connection for an address at which nobody listens."""
    parameters = {
        "ApiEndpoint": "http://127.0.0.1:9/",
        "Method": "GET",
        "InvocationConfig": {"ConnectionArn": f"arn:aws:events:{REGION}:1:connection/{connection}/1"},
    }
    task = {"Type": "Task", "Resource": "arn:aws:states:::http:invoke", "Parameters": parameters, "End": True}
    return w.client(name).test_state(definition=json.dumps(task), roleArn=w.role(name)).get("error")


@case
def kept_connections_are_the_tenants(w):
    a = w.keys["a-admin"]["account"]
    denied, missing = "AccessDeniedException", "Events.ConnectionResource.ResourceNotFound"
    form = {"allow": ["http://127.0.0.1:9"], "basic": {"username": "u", "password": HIDDEN}}
    put = {"name": "kept", "connection": form}
    for operation, body in [("PutConnection", put), ("DeleteConnection", {"name": "kept"})]:
        for name in ("a-read", "a-run"):
            same(w.own(name, operation, **body), denied, f"{operation} of {name}")
        same(w.own("b-admin", operation, account=a, **body), denied, operation)
    same(w.own("b-admin", "ListConnections", account=a), denied)
    same(w.own("a-admin", "PutConnection", **put, private=True), denied, "private addresses are the operator's")
    same(w.own("a-admin", "PutConnection", **put), {"created": True, "hidden": False})
    same(asks(w, "a-admin", "kept"), "States.Http.AccessDenied", "a private address")
    same(w.own("b-operator", "PutConnection", account=a, **put, private=True)["created"], False)
    same(asks(w, "a-admin", "kept"), "States.Http.Socket", "it was tried")
    same(asks(w, "b-admin", "kept"), missing)
    same(w.own("b-admin", "ListConnections")["connections"], [])
    listed = w.own("a-read", "ListConnections")["connections"]
    same([(each["name"], each["authorization"], each["private"]) for each in listed], [("kept", "BASIC", True)])
    true(HIDDEN not in json.dumps(listed), listed)
    # The operator's own file comes first.
    same(w.own("a-admin", "PutConnection", name="api", connection=form)["hidden"], True)
    same(w.own("a-admin", "DeleteConnection", name="api"), {})
    wrong = {"allow": [], "basic": {"username": "u", "password": HIDDEN}}
    for body in ({"name": "kept", "connection": wrong}, {"name": "kept", "connection": {**form, "basic": HIDDEN}}):
        status, text = w.signed("a-admin", headers={"x-amz-target": "Stepwell.PutConnection"}, body=json.dumps(body).encode())
        true(status == 400 and HIDDEN not in text, text)


@case
def connections_of_eventbridge_are_kept(w):
    key = {"ApiKeyAuthParameters": {"ApiKeyName": "X-Key", "ApiKeyValue": HIDDEN}}
    made = {"Name": "stripe", "AuthorizationType": "API_KEY", "AuthParameters": key}
    a, b = w.client("a-admin", service="events"), w.client("b-admin", service="events")
    for name in ("a-read", "a-run"):
        with refused("AccessDeniedException"):
            w.client(name, service="events").create_connection(**made)
    arn = a.create_connection(**made)["ConnectionArn"]
    true(f":{w.keys['a-admin']['account']}:connection/stripe/" in arn, arn)
    with refused("ResourceAlreadyExistsException"):
        a.create_connection(**made)
    described = w.client("a-read", service="events").describe_connection(Name="stripe")
    same((described["ConnectionArn"], described["ConnectionState"]), (arn, "AUTHORIZED"))
    same(described["AuthParameters"], {"ApiKeyAuthParameters": {"ApiKeyName": "X-Key"}})
    true("SecretArn" in described and HIDDEN not in repr(described), described)
    same(asks(w, "a-admin", "stripe"), "States.Http.AccessDenied", "https and public addresses alone")
    same([each["Name"] for each in a.list_connections(NamePrefix="str")["Connections"]], ["stripe"])
    page = a.list_connections(Limit=1)
    same([each["Name"] for each in page["Connections"]], ["kept"])
    same([each["Name"] for each in a.list_connections(NextToken=page["NextToken"])["Connections"]], ["stripe"])
    same(b.list_connections()["Connections"], [])
    for call_ in (b.describe_connection, b.delete_connection):
        with refused("ResourceNotFoundException"):
            call_(Name="stripe")
    oauth = {
        "OAuthParameters": {
            "AuthorizationEndpoint": "https://id.example/token",
            "HttpMethod": "POST",
            "ClientParameters": {"ClientID": "flows", "ClientSecret": HIDDEN},
            "OAuthHttpParameters": {"BodyParameters": [{"Key": "scope", "Value": "read", "IsValueSecret": False}]},
        },
        "InvocationHttpParameters": {"HeaderParameters": [{"Key": "X-A", "Value": HIDDEN, "IsValueSecret": True}]},
    }
    a.update_connection(Name="stripe", AuthorizationType="OAUTH_CLIENT_CREDENTIALS", AuthParameters=oauth)
    described = a.describe_connection(Name="stripe")
    same(described["ConnectionArn"], arn, "it is the same connection")
    same(described["AuthorizationType"], "OAUTH_CLIENT_CREDENTIALS")
    shown = described["AuthParameters"]
    same(shown["OAuthParameters"]["ClientParameters"], {"ClientID": "flows"})
    same(shown["OAuthParameters"]["OAuthHttpParameters"]["BodyParameters"][0]["Value"], "read")
    same(shown["InvocationHttpParameters"]["HeaderParameters"], [{"Key": "X-A", "IsValueSecret": True}])
    true(HIDDEN not in repr(described), described)
    same(a.delete_connection(Name="stripe")["ConnectionState"], "DELETING")
    with refused("ResourceNotFoundException"):
        a.update_connection(Name="stripe", Description="gone")


@case
def companions_are_the_tenants(w):
    """Roles and log groups of one tenant are neither seen nor in the way at the other."""
    trust = json.dumps({"Statement": []})
    for name in ("a-admin", "b-admin"):
        iam, logs = w.client(name, service="iam"), w.client(name, service="logs")
        same(iam.list_roles()["Roles"], [])
        same(logs.describe_log_groups()["logGroups"], [])
        role = iam.create_role(RoleName="flows", AssumeRolePolicyDocument=trust)["Role"]
        same(role["Arn"], f"arn:aws:iam::{w.keys[name]['account']}:role/flows")
        logs.create_log_group(logGroupName="flows")
    for name in ("a-read", "a-run"):
        with refused("AccessDenied", status=403):
            w.client(name, service="iam").create_role(RoleName="more", AssumeRolePolicyDocument=trust)
        with refused("AccessDeniedException"):
            w.client(name, service="logs").create_log_group(logGroupName="more")
    same(len(w.client("a-read", service="iam").list_roles()["Roles"]), 1)


def lists(w, client, role):
    """Calls that give pages, with what a tenant has two of."""
    def each(state):
        processor = {"StartAt": state, "States": {state: {"Type": "Pass", "End": True}}}
        processor["ProcessorConfig"] = {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
        return {"Type": "Map", "ItemsPath": "$", "ItemProcessor": processor}

    maps = chain(("One", each("P")), ("Two", each("Q")))
    made = w.machine(client, role, "paged", maps, publish=True)
    machine, version = made["stateMachineArn"], made["stateMachineVersionArn"]
    w.machine(client, role, "paged-more", PASS)
    client.update_state_machine(stateMachineArn=machine, definition=json.dumps({**maps, "Comment": "2"}))
    client.publish_state_machine_version(stateMachineArn=machine, description="second")
    routing = [{"stateMachineVersionArn": version, "weight": 100}]
    for name in ("one", "two"):
        client.create_state_machine_alias(name=name, routingConfiguration=routing)
        client.create_activity(name=f"paged-{name}")
        execution = client.start_execution(stateMachineArn=machine, name=name, input="[1]")["executionArn"]
    done = until(lambda: client.describe_execution(executionArn=execution), lambda answer: answer["status"] != "RUNNING")
    same(done["status"], "SUCCEEDED", done)
    return {
        "GetExecutionHistory": {"executionArn": execution},
        "ListActivities": {},
        "ListExecutions": {"stateMachineArn": machine},
        "ListMapRuns": {"executionArn": execution},
        "ListStateMachineAliases": {"stateMachineArn": machine},
        "ListStateMachineVersions": {"stateMachineArn": machine},
        "ListStateMachines": {},
    }


@case
def a_page_token_is_the_tenants(w):
    a, b = lists(w, w.a, w.role()), lists(w, w.b, w.role("b-admin"))
    paged = {name for name, model in operations(w.a).items() if "nextToken" in model.input_shape.members}
    same(set(a), paged, "all lists are tried")
    for operation, request in a.items():
        page = call(w.a, operation, {**request, "maxResults": 1})
        true("nextToken" in page, f"{operation} has one page")
        token = {"maxResults": 1, "nextToken": page["nextToken"]}
        call(w.a, operation, {**request, **token})
        with refused("InvalidToken"):
            call(w.b, operation, {**b[operation], **token})


@case
def pages_beside_the_api_do_not_cross(w):
    for path in (f"executions/{w.execution}/events", f"executions/{w.execution}/limits", f"map-runs/{w.map_run}"):
        same(w.signed("a-read", f"/api/{path}", "GET", b"")[0], 200, path)
        status, text = w.signed("b-operator", f"/api/{path}", "GET", b"")
        true(status in (400, 404) and "The account of the ARN is not the caller's" in text, f"{path}: {status} {text}")


@case
def histories_of_express_executions_are_the_tenants(w):
    execution = w.a.start_sync_execution(stateMachineArn=w.express, name="told")["executionArn"]
    path, listed = f"/api/executions/{execution}/events", f"/api/machines/{w.express}/express"
    status, text = w.signed("a-read", path, "GET", b"")
    same((status, len(json.loads(text)["events"])), (200, 4))
    status, text = w.signed("a-read", listed, "GET", b"")
    true(execution in [each["executionArn"] for each in json.loads(text)["executions"]], text)
    status, text = w.signed("b-operator", path, "GET", b"")
    true(status == 404 and "events" not in json.loads(text), f"{status} {text}")
    same(json.loads(w.signed("b-operator", listed, "GET", b"")[1]), {"executions": []})
    # The same under the caller's own account names nothing.
    theirs, mine = w.keys["a-admin"]["account"], w.keys["b-admin"]["account"]
    same(w.signed("b-operator", path.replace(theirs, mine), "GET", b"")[0], 404)


@case
def live_streams_do_not_cross(w):
    stream = {"accept": "text/event-stream"}
    for path in (f"executions/{w.execution}/events", f"machines/{w.arn}/events"):
        status, text = w.signed("b-operator", f"/api/{path}", "GET", b"", headers=stream)
        true(status == 400 and "The account of the ARN is not the caller's" in text, f"{path}: {status} {text}")
    same(w.signed("a-read", f"/api/machines/{w.arn}/events", "GET", b"")[0], 406)


@case
def forks_are_the_tenants_and_take_the_role_of_a_start(w):
    machine = w.machine(w.a, w.role(), "forked", PASS)["stateMachineArn"]
    execution = w.a.start_execution(stateMachineArn=machine, name="origin", input='{"n": 1}')["executionArn"]
    until(lambda: w.a.describe_execution(executionArn=execution)["status"], lambda status: status == "SUCCEEDED")
    denied = "AccessDeniedException"
    for name, code in [("a-read", denied), ("b-admin", denied), ("b-operator", "InvalidArn")]:
        same(w.own(name, "ForkExecution", executionArn=execution), code, name)
    # Another account's member says nothing of whose execution it is.
    same(w.own("a-run", "ForkExecution", executionArn=execution, account="1"), "SerializationException")
    same(w.own("a-run", "ForkExecution", executionArn=execution, definition=json.dumps(PASS)), "AccessDeniedException")
    forked = w.own("a-run", "ForkExecution", executionArn=execution)
    same(forked["forkedFrom"], {"executionArn": execution, "eventId": 1})
    fork = forked["executionArn"]
    until(lambda: w.a.describe_execution(executionArn=fork)["status"], lambda status: status == "SUCCEEDED")
    started = w.a.get_execution_history(executionArn=fork)["events"][0]
    same(started["executionStartedEventDetails"]["input"], '{"n":1}')


@case
def a_wrong_secret_is_refused(w):
    with refused("InvalidSignatureException", "The request signature we calculated does not match*"):
        w.client("a-admin", secret=w.keys["b-admin"]["secretAccessKey"]).list_state_machines()


@case
def an_unknown_and_a_disabled_key_are_refused_alike(w):
    w.keys["nobody"] = {**w.keys["a-admin"], "accessKeyId": "AKIANOBODY0000000000"}
    for name in ("nobody", "a-disabled"):
        with refused("UnrecognizedClientException", "The security token included in the request is invalid."):
            w.client(name).list_state_machines()


@case
def a_session_token_belongs_to_its_session(w):
    a = w.session("a-session", w.sts("a-run").get_session_token())
    true(w.arn in [each["stateMachineArn"] for each in a.list_state_machines()["stateMachines"]])
    other = w.sts("a-run").get_session_token()["Credentials"]
    tokens = {"sessionToken": other["SessionToken"]}, {"sessionToken": "x"}, {"sessionToken": None}
    for changed in (*tokens, {"accessKeyId": other["AccessKeyId"]}):
        w.keys["changed"] = {**w.keys["a-session"], **changed}
        with refused("UnrecognizedClientException", "The security token included in the request is invalid."):
            w.client("changed").list_state_machines()
        with refused("InvalidClientTokenId", status=403):
            w.sts("changed").get_caller_identity()
    with refused("InvalidSignatureException"):
        w.client("a-session", secret=other["SecretAccessKey"]).list_state_machines()
    answer = w.signed("a-admin", headers={"x-amz-security-token": "x"})
    same(code(answer), "UnrecognizedClientException", "a key is no session")


@case
def sts_tells_who_asks(w):
    for name in ("a-read", "b-operator"):
        key = w.keys[name]
        found = w.sts(name).get_caller_identity()
        same(found["Account"], key["account"])
        same(found["UserId"], key["accessKeyId"])
        same(found["Arn"], f"arn:aws:iam::{key['account']}:user/{key['accessKeyId']}")
    made = w.sts("a-admin").assume_role(RoleArn=own_role(w, "run"), RoleSessionName="who")
    w.session("who", made)
    found = w.sts("who").get_caller_identity()
    same(found["Arn"], f"arn:aws:sts::{w.keys['a-admin']['account']}:assumed-role/run/who")
    same(found["Arn"], made["AssumedRoleUser"]["Arn"])
    same(found["UserId"], made["AssumedRoleUser"]["AssumedRoleId"])
    with refused("SignatureDoesNotMatch", "The request signature we calculated does not match*", status=403):
        w.client("a-read", secret="x", service="sts").get_caller_identity()
    w.keys["nobody"] = {**w.keys["a-admin"], "accessKeyId": "AKIANOBODY0000000000"}
    for name in ("nobody", "a-disabled"):
        with refused("InvalidClientTokenId", "The security token included in the request is invalid.", status=403):
            w.sts(name).get_caller_identity()
    form = {"content-type": "application/x-www-form-urlencoded"}
    status, text = w.http("/", "POST", form, b"Action=GetCallerIdentity&Version=2011-06-15")
    true(status == 403 and "<Code>MissingAuthenticationToken</Code>" in text, text)
    asked = {"body": b"Action=Gone&Version=2011-06-15", "headers": {**form, "x-amz-target": ""}}
    status, text = w.signed("a-read", **asked, service="sts")
    true(status == 400 and "Could not find operation Gone for version 2011-06-15" in text, text)
    status, text = w.signed("a-read", **asked)
    true(status == 403 and "scoped to correct service: 'sts'" in text, text)
    same(code(w.signed("a-read", service="sts")), "InvalidSignatureException")


@case
def a_presigned_call_of_sts_proves_who_made_it(w):
    link = w.sts("a-read").generate_presigned_url("get_caller_identity", ExpiresIn=60, HttpMethod="GET")
    path = link.removeprefix(w.endpoint)
    status, text = w.http(path)
    true(status == 200 and f"<Account>{w.keys['a-read']['account']}</Account>" in text, text)
    status, text = w.http(path.replace("GetCallerIdentity", "GetSessionToken"))
    true(status == 403 and "<Code>SignatureDoesNotMatch</Code>" in text, text)


def own_role(w, name, account="a-admin"):
    return f"arn:aws:iam::{w.keys[account]['account']}:role/{name}"


@case
def a_session_may_do_no_more_than_its_role(w):
    made = w.sts("a-admin").assume_role(RoleArn=own_role(w, "read"), RoleSessionName="reads")
    reads = w.session("reads", made)
    reads.describe_state_machine(stateMachineArn=w.arn)
    with refused("AccessDeniedException", "User: arn:aws:sts::*:assumed-role/read/reads is not authorized*"):
        reads.start_execution(stateMachineArn=w.arn)
    token = {"x-amz-security-token": w.keys["reads"]["sessionToken"]}
    status, text = w.signed("reads", "/metrics", "GET", b"", headers=token)
    true(status == 200 and "stepwell_" not in text, text[:200])
    with refused("InvalidArn"):
        w.session("other", w.sts("b-admin").get_session_token()).describe_state_machine(stateMachineArn=w.arn)
    for caller, role in [
        ("a-run", own_role(w, "admin")),
        ("a-admin", own_role(w, "operator")),
        ("a-admin", own_role(w, "read", "b-admin")),
        ("a-admin", own_role(w, "deploy")),
        ("reads", own_role(w, "run")),
    ]:
        with refused("AccessDenied", "User: * is not authorized to perform: sts:AssumeRole on resource: *", status=403):
            w.sts(caller).assume_role(RoleArn=role, RoleSessionName="more")
    chained = w.sts("reads").assume_role(RoleArn=own_role(w, "read"), RoleSessionName="again", SourceIdentity="me")
    same(chained["SourceIdentity"], "me")
    w.session("again", chained).describe_state_machine(stateMachineArn=w.arn)
    with refused("ValidationError", "session policies are not offered*"):
        w.sts("a-admin").assume_role(RoleArn=own_role(w, "read"), RoleSessionName="policy", Policy="{}")


@case
def sessions_end(w):
    admin = w.sts("a-admin")
    now = datetime.datetime.now(datetime.timezone.utc)

    def lasts(answer):
        return (answer["Credentials"]["Expiration"] - now).total_seconds()

    short = admin.get_session_token(DurationSeconds=900)
    true(899 <= lasts(short) <= 1000, lasts(short))
    true(lasts(admin.get_session_token(DurationSeconds=129600)) >= 129599)
    true(lasts(admin.get_session_token()) >= 43199)
    role = {"RoleArn": own_role(w, "run"), "RoleSessionName": "ends"}
    true(lasts(admin.assume_role(**role, DurationSeconds=43200)) >= 43199)
    true(3599 <= lasts(admin.assume_role(**role)) <= 3700)
    w.session("short", short)
    true(lasts(w.sts("short").assume_role(**role, DurationSeconds=3600)) <= 1000, "what a session begins ends with it")
    with refused("ValidationError", "The requested DurationSeconds exceeds the 1 hour session limit*"):
        w.sts("short").assume_role(**role, DurationSeconds=3601)
    with refused("AccessDenied", "Cannot call GetSessionToken with session credentials", status=403):
        w.sts("short").get_session_token()
    with refused("AccessDenied", "MultiFactorAuthentication failed*", status=403):
        admin.get_session_token(SerialNumber="arn:aws:iam::111111111111:mfa/x", TokenCode="123456")
    with refused("ValidationError", "1 validation error detected: Value '129601' at 'durationSeconds' failed *less than*"):
        admin.get_session_token(DurationSeconds=129601)
    # The SDK sends none of these.
    form = {"content-type": "application/x-www-form-urlencoded", "x-amz-target": ""}
    body = b"Action=GetSessionToken&Version=2011-06-15&DurationSeconds=899"
    status, text = w.signed("a-admin", body=body, headers=form, service="sts")
    true(status == 400 and "Member must have value greater than or equal to 900" in text, text)
    with refused("ValidationError", "*Member must have value less than or equal to 43200"):
        admin.assume_role(**role, DurationSeconds=43201)


@case
def nothing_is_served_unsigned(w):
    headers = {"content-type": "application/x-amz-json-1.0", "x-amz-target": "AWSStepFunctions.ListStateMachines"}
    for path, method in [("/", "POST"), ("/metrics", "GET"), (f"/api/executions/{w.execution}/events", "GET"), ("/x", "GET")]:
        answer = w.http(path, method, headers, b"{}" if method == "POST" else None)
        same(code(answer), "MissingAuthenticationTokenException", path)
    same(w.http("/health")[0], 200, "the health")


@case
def clocks_may_differ_by_five_minutes(w):
    now = datetime.datetime.now(datetime.timezone.utc)
    for seconds in (-240, 240):
        same(w.signed("a-admin", at=now + datetime.timedelta(seconds=seconds))[0], 200, f"{seconds} s")
    for seconds, text in [(-360, "Signature expired: "), (360, "Signature not yet current: ")]:
        status, answer = w.signed("a-admin", at=now + datetime.timedelta(seconds=seconds))
        same(code((status, answer)), "InvalidSignatureException")
        true(json.loads(answer)["message"].startswith(text), answer)


@case
def a_tampered_request_is_refused(w):
    def tampered(body):
        return body.replace(b"machines", b"Machines")

    same(code(w.signed("a-admin", body=b'{"x":"machines"}', sent=tampered)), "InvalidSignatureException")
    same(w.signed("a-admin", body=b"{}")[0], 200)


@case
def payloads_come_in_all_forms(w):
    body = b'{"maxResults": 1}'
    digest = hashlib.sha256(body).hexdigest()
    forms = ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", digest]
    for payload in forms:
        status, text = w.signed("a-admin", body=body, payload=payload)
        same(status, 200, f"{payload}: {text}")
        same(len(json.loads(text)["stateMachines"]), 1, payload)
    for payload in forms[1:]:
        changed = w.signed("a-admin", body=body, payload=payload, sent=lambda sent: sent.replace(b"1}", b"2}"))
        same(code(changed), "InvalidSignatureException", payload)
    same(code(w.signed("a-admin", body=body, payload="0" * 64)), "InvalidSignatureException")


@case
def a_presigned_link_holds_for_its_path(w):
    def link(name, path, expires=60):
        key = w.keys[name]
        credentials = botocore.credentials.Credentials(key["accessKeyId"], key["secretAccessKey"])
        request = botocore.awsrequest.AWSRequest("GET", w.endpoint + path)
        botocore.auth.SigV4QueryAuth(credentials, "states", REGION, expires=expires).add_auth(request)
        return request.url.removeprefix(w.endpoint)

    path = f"/api/executions/{w.execution}/events"
    good = link("a-read", path)
    status, text = w.http(good)
    same(status, 200, text)
    true("ExecutionStarted" in text, text)
    same(code(w.http(good.replace(w.execution, w.mapping))), "InvalidSignatureException", "another path")
    same(code(w.http(good.replace("X-Amz-Expires=60", "X-Amz-Expires=61"))), "InvalidSignatureException", "another end")
    status, text = w.http(link("b-admin", path))
    true(status == 400 and "ExecutionStarted" not in text, text)


def denied_operations(w, name, reason):
    """Operations that a key is refused for its role, whatever their request names."""
    denied = set()
    client = w.client(name)
    everything = {operation: request for operation, (request, _) in crossings(w).items()}
    everything |= {
        "CreateActivity": {"name": "x"},
        "CreateStateMachine": {"name": "x", "definition": "{", "roleArn": w.role()},
        "ListActivities": {},
        "ListStateMachines": {},
        "TestState": {"definition": "{}", "roleArn": w.role()},
        "ValidateStateMachineDefinition": {"definition": "{}"},
    }
    # What would be carried out names nothing that is there, or is left out.
    for operation, request in everything.items():
        request = {key: f"{value}-none" if key.endswith("Arn") and key != "roleArn" else value for key, value in request.items()}
        request = {key: "x" * 400 if key == "taskToken" else value for key, value in request.items()}
        try:
            call(client, operation, request)
        except botocore.exceptions.ClientError as error:
            if error.response["Error"]["Code"] == "AccessDeniedException":
                action = f"is not authorized to perform: states:{operation} on resource: "
                true(action in error.response["Error"]["Message"], error)
                denied.add(operation)
    return denied


STEER = {"RedriveExecution", "StartExecution", "StartSyncExecution", "StopExecution", "TestState", "UpdateMapRun"}
WORK = {"GetActivityTask", "SendTaskFailure", "SendTaskHeartbeat", "SendTaskSuccess"}


def changing(w):
    words = ("Create", "Delete", "Publish", "Tag", "Untag", "UpdateState")
    return {name for name in operations(w.a) if name.startswith(words)}


@case
def roles_bound_each_operation(w):
    before = seen(w)
    same(denied_operations(w, "a-read", "read"), STEER | WORK | changing(w), "of read")
    same(denied_operations(w, "a-run", "run"), changing(w), "of run")
    same(seen(w), before, "what tenant a has")


@case
def metrics_are_the_operators_and_a_tenants_own_are_its(w):
    a, b = w.keys["a-admin"]["account"], w.keys["b-admin"]["account"]

    def accounts(text):
        return {part.split('"', 1)[0] for part in text.split('account="')[1:]}

    status, text = w.signed("a-operator", "/metrics", "GET", b"")
    true(status == 200 and "stepwell_api_requests" in text, text[:200])
    true(a in accounts(text), "an operator sees all")
    for name in ("a-admin", "a-run", "a-read"):
        status, text = w.signed(name, "/metrics", "GET", b"")
        same((status, accounts(text)), (200, {a}), name)
        true("stepwell_" not in text and w.arn in text and text.endswith("# EOF\n"), name)
    status, text = w.signed("b-admin", "/metrics", "GET", b"")
    true(status == 200 and accounts(text) <= {b} and a not in text, text[:200])

    def basic(name, secret=None):
        key = w.keys[name]
        pair = f"{key['accessKeyId']}:{secret or key['secretAccessKey']}"
        return {"authorization": "Basic " + base64.b64encode(pair.encode()).decode()}

    same(w.http("/metrics", headers=basic("a-operator"))[0], 200, "a scraper")
    same(code(w.http("/metrics", headers=basic("a-operator", "wrong"))), "UnrecognizedClientException")
    status, text = w.http("/metrics", headers=basic("a-admin"))
    same((status, accounts(text)), (200, {a}), "a tenant's scraper")
    path = f"/api/executions/{w.execution}/events"
    same(code(w.http(path, headers=basic("a-operator"))), "MissingAuthenticationTokenException", "the rest is signed")


@case
def own_calls_take_a_role_and_an_operators_for_others(w):
    a, b = w.keys["a-admin"]["account"], w.keys["b-admin"]["account"]
    denied = "AccessDeniedException"
    listed = w.own("b-operator", "ListTenants")["tenants"]
    same([each["account"] for each in listed], [a, b])
    for operation, body in [
        ("ListTenants", {}),
        ("AddTenant", {"account": "333333333333"}),
        ("RemoveTenant", {"account": a}),
        ("AddAccessKey", {"account": a, "role": "admin"}),
        ("DisableAccessKey", {"accessKeyId": w.keys["a-read"]["accessKeyId"]}),
        ("RemoveAccessKey", {"accessKeyId": w.keys["b-admin"]["accessKeyId"]}),
        ("SetQuotas", {"account": a, "quotas": {}}),
        ("GetUsage", {"account": b}),
        ("DescribeTenant", {"account": b}),
        ("ListAccessKeys", {"account": b}),
        ("GetAuditLog", {"account": b}),
        ("CollectCode", {}),
        ("CollectCode", {"dryRun": True}),
    ]:
        same(w.own("a-admin", operation, **body), denied, operation)
    true("code" in w.own("b-operator", "CollectCode", dryRun=True))
    same(w.own("a-read", "DescribeUpload", functionName="none"), {}, "nobody uploads it")
    for operation in ("GetUsage", "ListAccessKeys", "GetAuditLog"):
        same(w.own("a-run", operation, account=a), denied, f"{operation} of the own account")
        true(isinstance(w.own("a-admin", operation, account=a), dict), f"{operation} of the own account")
    for operation, members in (("GetUsage", "totals"), ("ListAccessKeys", "accessKeys")):
        same({each["account"] for each in w.own("a-admin", operation)[members]} - {a}, set(), f"{operation}, nobody named")
        same(w.own("a-run", operation), denied, f"{operation}, nobody named")
        same(w.own("a-admin", operation, tenant=a), "SerializationException", f"{operation} has no such member")
    for name, account in (("a-admin", a), ("b-operator", b)):
        same(w.own(name, "GetAuditLog")["entries"][0], w.own(name, "GetAuditLog", account=account)["entries"][0], f"{name}'s own log")
    same(w.own("a-run", "GetAuditLog"), denied, "GetAuditLog, nobody named")
    true({a, b} <= {each["account"] for each in w.own("b-operator", "ListAccessKeys")["accessKeys"]}, "an operator's all")
    true("quotas" in w.own("a-read", "DescribeTenant", account=a))
    same(w.own("a-read", "DescribeTenant")["account"], a, "the key's own")
    true("quotas" in w.own("b-operator", "DescribeTenant", account=a))
    same(w.own("b-operator", "Gone"), "UnknownOperationException")
    same(w.own("b-operator", "SetQuotas", account=b, quotas={}, more=1), "SerializationException")
    # A word that is none would bound nothing.
    bounds = {"bucket": 1, "perSecond": 1}
    for given, code in [
        ({"openExecution": 1}, "SerializationException"),
        ({"rates": {"set": {"StartExecution": {"bucket": 1, "perSecond": 1, "burst": 1}}}}, "SerializationException"),
        ({"rates": {"set": {"StartExecutions": bounds}}}, "ValidationException"),
        ({"rates": {"set": {"lambda:Call": bounds}}}, "ValidationException"),
    ]:
        same(w.own("b-operator", "SetQuotas", account=b, quotas=given), code, given)


@case
def a_log_group_of_another_tenant_is_none(w):
    group = f"arn:aws:logs:us-east-1:{w.keys['a-admin']['account']}:log-group:g:*"
    logging = {"level": "ALL", "destinations": [{"cloudWatchLogsLogGroup": {"logGroupArn": group}}]}
    text = "Invalid Logging Configuration: Log Destination not found."
    with refused("InvalidLoggingConfiguration", text):
        w.b.create_state_machine(
            name="logs", definition=json.dumps(PASS), roleArn=w.role("b-admin"), loggingConfiguration=logging
        )
    made = w.machine(w.b, w.role("b-admin"), "logs", PASS)["stateMachineArn"]
    with refused("InvalidLoggingConfiguration", text):
        w.b.update_state_machine(stateMachineArn=made, loggingConfiguration=logging)
    w.b.delete_state_machine(stateMachineArn=made)


@case
def keys_come_and_go_while_it_serves(w):
    a = w.keys["a-admin"]["account"]
    made = w.own("b-operator", "AddAccessKey", account=a, role="read", description="new")
    w.keys["new"] = made
    w.client("new").list_state_machines()
    for operation, served in [("DisableAccessKey", False), ("EnableAccessKey", True), ("RemoveAccessKey", False)]:
        same(w.own("b-operator", operation, accessKeyId=made["accessKeyId"])["accessKeyId"], made["accessKeyId"])
        if served:
            w.client("new").list_state_machines()
            continue
        with refused("UnrecognizedClientException"):
            w.client("new").list_state_machines()
    same(w.own("b-operator", "AddTenant", account="333333333333"), {})
    same(w.own("b-operator", "AddTenant", account="333333333333"), "ConflictException")
    same(w.own("b-operator", "RemoveTenant", account="333333333333"), {})


@case
def quotas_hold_at_the_limit_and_not_before(w):
    b, operator, role = w.keys["b-admin"]["account"], "b-operator", w.role("b-admin")

    def quotas(account=b, **given):
        same(w.own(operator, "SetQuotas", account=account, quotas=given), {})

    def open_executions():
        return w.own(operator, "DescribeTenant", account=b)["taken"]["openExecutions"]

    # Executions are counted a moment after they are seen to have ended: those of the cases before this one end here.
    running = [
        execution
        for machine in w.b.list_state_machines()["stateMachines"]
        if machine["type"] == "STANDARD"
        for execution in w.b.list_executions(stateMachineArn=machine["stateMachineArn"], statusFilter="RUNNING")["executions"]
    ]
    taken = until(open_executions, lambda found: found == len(running))
    waits = w.machine(w.b, role, "waits", LONG_WAIT)["stateMachineArn"]
    quotas(openExecutions=taken + 1)
    first = w.b.start_execution(stateMachineArn=waits, name="first")["executionArn"]
    with refused("ExecutionLimitExceeded", "The maximum number of running executions has been reached. *"):
        w.b.start_execution(stateMachineArn=waits, name="second")
    w.a.start_execution(stateMachineArn=w.express)
    w.b.stop_execution(executionArn=first)
    until(open_executions, lambda found: found == taken)
    second = w.b.start_execution(stateMachineArn=waits, name="second")["executionArn"]
    w.b.stop_execution(executionArn=second)

    machines = len(w.b.list_state_machines()["stateMachines"])
    activities = len(w.b.list_activities()["activities"])
    quotas(stateMachines=machines + 1, activities=activities + 1)
    w.machine(w.b, role, "last", PASS)
    w.machine(w.b, role, "last", PASS)
    with refused("StateMachineLimitExceeded"):
        w.machine(w.b, role, "one-more", PASS)
    w.b.create_activity(name="last")
    w.b.create_activity(name="last")
    with refused("ActivityLimitExceeded"):
        w.b.create_activity(name="one-more")

    quotas(storedBytes=1)
    with refused("ServiceQuotaExceededException", "the tenant has stored *, and its quota is 1 B; *"):
        w.b.start_execution(stateMachineArn=waits)
    quotas(rates={"set": {"ListActivities": {"bucket": 2, "perSecond": 0}}})
    w.b.list_activities()
    w.b.list_activities()
    with refused("ThrottlingException", "Rate exceeded"):
        w.b.list_activities()
    w.b.list_state_machines()
    w.a.list_activities()
    quotas(raisedLimits=True)
    large = json.dumps("x" * 300_000)
    passes = w.machine(w.b, role, "last", PASS)["stateMachineArn"]
    w.b.start_execution(stateMachineArn=passes, input=large)
    with refused("ValidationException"):
        w.a.start_execution(stateMachineArn=w.arn, input=large)
    same(w.own(operator, "DescribeTenant", account=b)["quotas"], {"raisedLimits": True})

    a = w.keys["a-admin"]["account"]
    task = chain(("Call", {"Type": "Task", "Resource": "wasm:echo"}))
    calls = w.machine(w.a, w.role(), "calls", task)["stateMachineArn"]
    for most, error in [(0, "Stepwell.TooManyRunning"), (1, None)]:
        quotas(account=a, runningTasks=most)
        execution = w.a.start_execution(stateMachineArn=calls, input="{}")["executionArn"]
        ended = until(lambda: w.a.describe_execution(executionArn=execution), lambda answer: answer["status"] != "RUNNING")
        same(ended.get("error"), error, ended)
    quotas(account=a)
    for weight in (0, 1001):
        same(w.own(operator, "SetQuotas", account=b, quotas={"weight": weight}), "ValidationException")
    quotas(weight=1000)
    same(w.own(operator, "DescribeTenant", account=b)["quotas"], {"weight": 1000})
    # A quota that is looked at after the restart.
    quotas(activities=1000)


@case
def usage_is_counted_for_its_tenant(w):
    a, b = w.keys["a-admin"]["account"], w.keys["b-admin"]["account"]
    two = chain(("First", {"Type": "Pass"}), ("Call", {"Type": "Task", "Resource": "wasm:echo"}))
    counted = w.machine(w.a, w.role(), "counted", two)["stateMachineArn"]

    def used():
        rows = w.own("a-admin", "GetUsage", account=a)["usage"]
        same({row["account"] for row in rows}, {a})
        found = {}
        for row in rows:
            if row["stateMachineArn"] == counted:
                # Two of a plugin around midnight.
                sums = found.setdefault(row.get("plugin", ""), collections.Counter())
                sums.update({name: count for name, count in row.items() if not isinstance(count, str)})
        return found

    for times in (1, 2):
        execution = w.a.start_execution(stateMachineArn=counted, input='{"n": 1}')["executionArn"]
        until(lambda: w.a.describe_execution(executionArn=execution)["status"], lambda status: status == "SUCCEEDED")
        own, plugin = used()[""], used()["echo"]
        same([own[name] for name in ("executions", "ended", "transitions", "tasks")], [times, times, 2 * times, 0])
        same([plugin[name] for name in ("executions", "tasks", "bytesIn", "bytesOut")], [0, times, 7 * times, 7 * times])
        true(plugin["cpuMicros"] > 0 and plugin["memoryMibMillis"] >= 0 and own["bytesStored"] > 0, [own, plugin])
        same(own["cost"], float(times), "an execution costs one")
        alone = w.own("a-read", "GetExecutionUsage", executionArn=execution)
        same([alone[name] for name in ("transitions", "tasks", "bytesIn", "bytesOut", "redrives")], [2, 1, 7, 7, 0])
        true(0 < alone["bytesStored"] <= own["bytesStored"] and alone["cost"] == 1.0, alone)
        same(w.own("b-admin", "GetExecutionUsage", executionArn=execution), "AccessDeniedException")
        same(w.own("b-operator", "GetExecutionUsage", executionArn=execution)["tasks"], 1)
        same(w.own("a-read", "GetExecutionUsage", executionArn=execution + "x"), "ExecutionDoesNotExist")
    express = w.machine(w.a, w.role(), "counted-express", PASS, type="EXPRESS")["stateMachineArn"]
    w.a.start_sync_execution(stateMachineArn=express)

    def ended():
        rows = w.own("a-admin", "GetUsage", account=a)["usage"]
        counts = [[row["executions"], row["ended"], row["transitions"]] for row in rows if row["stateMachineArn"] == express]
        return [sum(column) for column in zip(*counts)]

    until(ended, lambda found: found == [1, 1, 1])

    def place(row):
        return row["day"], row["account"], row["stateMachineArn"], row.get("plugin", "")

    whole, paged, after = w.own("a-admin", "GetUsage", account=a), [], {}
    true("after" not in whole and len(whole["usage"]) > 2, whole)
    while page := w.own("a-admin", "GetUsage", account=a, maxResults=2, **after):
        same([total["account"] for total in page["totals"]], [a] if page["usage"] else [])
        paged += page["usage"]
        if "after" not in page:
            break
        after = {"after": page["after"]}
    # Others may have used something meanwhile.
    true({place(row) for row in whole["usage"]} <= {place(row) for row in paged}, paged)
    same([place(row) for row in paged], sorted({place(row) for row in paged}))
    same(w.own("a-admin", "GetUsage", account=a, maxResults=0), "ValidationException")
    same(w.own("a-admin", "GetUsage", account=a, after="nowhere"), "ValidationException")
    everything = w.own("b-operator", "GetUsage")
    true({a, b} <= {row["account"] for row in everything["totals"]}, everything["totals"])
    same(w.own("a-admin", "GetUsage", account=a, to="2020-01-01")["usage"], [])
    same(w.own("a-admin", "GetUsage", account=a, to="yesterday"), "ValidationException")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoint", required=True)
    options = parser.parse_args()
    world = World(options.endpoint, json.load(sys.stdin))
    failed = 0
    for function in CASES:
        try:
            function(world)
            print(f"ok   {function.__name__}", flush=True)
        except Exception as error:  # a case may fail in any way
            failed += 1
            text = " ".join(str(error).split())
            print(f"FAIL {function.__name__}: {type(error).__name__}: {text}"[:600], flush=True)
            traceback.print_exc()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
