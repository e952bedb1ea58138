"""Functions of the function service: uploaded, called, versioned, and called by state machines."""

import base64
import hashlib
import io
import json
import uuid
import zipfile

from harness import ACCOUNT, ROLE, case, chain, guest, refused, same, true, until

PREFIX = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function"


def zipped(*files, method=zipfile.ZIP_DEFLATED):
    """An archive of (name, bytes)."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return stream.getvalue()


def package(name="echo"):
    return zipped((f"{name}.wasm", guest(name)))


def create(context, code=None, **more):
    more.setdefault("FunctionName", context.name("fn"))
    client = context.functions()
    code = code or package()
    made = client.create_function(Role=ROLE, Code={"ZipFile": code}, **more)
    context.adopt_function(made["FunctionName"])
    return client, made


def invoke(client, name, value=None, **more):
    """The answer's payload, of a call that succeeds."""
    answer = client.invoke(FunctionName=name, Payload=json.dumps(value), **more)
    payload = json.loads(answer["Payload"].read())
    true("FunctionError" not in answer, payload)
    same(answer["StatusCode"], 200)
    return payload


@case()
def are_created_and_told(context):
    code = package()
    client, made = create(context, code, Description="first", Timeout=7, MemorySize=256, Runtime="provided.al2023",
                          Handler="echo", Environment={"Variables": {"STAGE": "test"}}, Tags={"team": "orders"})
    name = made["FunctionName"]
    same(made["ResponseMetadata"]["HTTPStatusCode"], 201)
    same(made["FunctionArn"], f"{PREFIX}:{name}")
    same(made["CodeSha256"], base64.b64encode(hashlib.sha256(code).digest()).decode())
    same(made["CodeSize"], len(code))
    same((made["Version"], made["State"], made["LastUpdateStatus"]), ("$LATEST", "Active", "Successful"))
    same((made["Timeout"], made["MemorySize"], made["Description"]), (7, 256, "first"))
    same(made["Environment"], {"Variables": {"STAGE": "test"}})
    got = client.get_function(FunctionName=name)
    same(got["Tags"], {"team": "orders"})
    same(got["Configuration"]["RevisionId"], made["RevisionId"])
    for named in [name, made["FunctionArn"], f"{ACCOUNT}:function:{name}", f"{name}:$LATEST"]:
        told = client.get_function_configuration(FunctionName=named)
        same(told["CodeSha256"], made["CodeSha256"], named)
    pages = client.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 1})
    true(name in [each["FunctionName"] for page in pages for each in page["Functions"]], "listed")
    client.get_waiter("function_active_v2").wait(FunctionName=name)
    with refused("ResourceConflictException", f"Function already exist: {name}", 409):
        client.create_function(FunctionName=name, Role=ROLE, Code={"ZipFile": code})
    same(invoke(client, name, {"a": [1, 2]}), {"a": [1, 2]})
    client.delete_function(FunctionName=name)
    for asked in [client.get_function, client.delete_function, client.get_function_configuration]:
        with refused("ResourceNotFoundException", f"Function not found: {PREFIX}:{name}", 404):
            asked(FunctionName=name)


@case()
def the_module_itself_is_code_too(context):
    client, made = create(context, guest("echo"))
    same(invoke(client, made["FunctionName"], 7), 7)


@case()
def a_new_code_replaces_only_what_it_can(context):
    client, made = create(context)
    name = made["FunctionName"]
    for bad, message in [
        (b"nothing of the kind", "*neither a zip archive nor WebAssembly"),
        (b"\0asm\x01\0\0\0", "*the module exports no `_start`*"),
        (guest("echo")[:4000], "*"),
        (zipped(("handler.py", b"def handler(): pass")), "*holds no `.wasm`*"),
        (zipped(("a.wasm", b"1"), ("b.wasm", b"2")), "*`a.wasm` and `b.wasm`*"),
        (zipped(("../task.wasm", guest("echo"))), "*leads out of it*"),
        (package()[:-30], "*has no end*"),
    ]:
        with refused("InvalidParameterValueException", message):
            client.update_function_code(FunctionName=name, ZipFile=bad)
        same(invoke(client, name, 1), 1, "the old code serves")
    same(client.get_function_configuration(FunctionName=name)["RevisionId"], made["RevisionId"])
    dry = client.update_function_code(FunctionName=name, ZipFile=package("noop"), DryRun=True)
    true(dry["CodeSha256"] != made["CodeSha256"], "of the new code")
    same(client.get_function_configuration(FunctionName=name)["RevisionId"], made["RevisionId"])
    with refused("PreconditionFailedException", status=412):
        client.update_function_code(FunctionName=name, ZipFile=package("noop"), RevisionId=str(uuid.uuid4()))
    changed = client.update_function_code(FunctionName=name, ZipFile=package("noop"), RevisionId=made["RevisionId"])
    true(changed["RevisionId"] != made["RevisionId"], "a new revision")
    client.get_waiter("function_updated_v2").wait(FunctionName=name)
    true(invoke(client, name, 1) != 1, "the new code serves")


@case()
def archives_made_to_harm_are_refused(context):
    client = context.functions()

    def refuse(code, message):
        with refused("InvalidParameterValueException", message):
            client.create_function(FunctionName=context.name("fn"), Role=ROLE, Code={"ZipFile": code})

    refuse(zipped(("bomb.wasm", bytes(110 << 20))), "*more than 104857600 bytes*")
    many = zipped(*((f"{number}", b"") for number in range(1_001)))
    refuse(many, "*1001 files*")
    locked = bytearray(package())
    # The flag of an encrypted entry, in its own head and in the directory.
    locked[6] |= 1
    locked[locked.rindex(b"PK\x01\x02") + 8] |= 1
    refuse(bytes(locked), "*encrypted*")
    refuse(zipped(("echo.wasm", guest("echo")), method=zipfile.ZIP_LZMA), "*packed by the method 14*")


@case()
def settings_become_the_plugins(context):
    client, made = create(context, package("behave"), Timeout=1, MemorySize=128)
    name = made["FunctionName"]
    for bad in [{"Timeout": 901}, {"MemorySize": 20_000}]:
        with refused("ValidationException"):
            client.update_function_configuration(FunctionName=name, **bad)
    for bad in [
        {"Layers": [f"arn:aws:lambda:us-east-1:{ACCOUNT}:layer:l:1"]},
        {"Runtime": "python3.12"},
        {"Environment": {"Variables": {"LONG": "x" * 5_000}}},
        {"Environment": {"Variables": {"STEPWELL_ATTEMPT": "7"}}},
    ]:
        with refused("InvalidParameterValueException"):
            client.update_function_configuration(FunctionName=name, **bad)
    answer = client.invoke(FunctionName=name, Payload=json.dumps({"do": "loop"}))
    same(answer["FunctionError"], "Unhandled")
    failed = json.loads(answer["Payload"].read())
    same(failed["errorType"], "Sandbox.Timedout", failed)
    much = {"do": "use", "mib": 150}
    answer = client.invoke(FunctionName=name, Payload=json.dumps(much))
    same((answer["FunctionError"], json.loads(answer["Payload"].read())["errorType"]), ("Unhandled", "Runtime.ExitError"))
    changed = client.update_function_configuration(FunctionName=name, Timeout=5, Description="more", MemorySize=256)
    same((changed["Timeout"], changed["Description"], changed["MemorySize"]), (5, "more", 256))
    same(invoke(client, name, much), 150 << 20, "there is room now")
    same(changed["CodeSha256"], made["CodeSha256"])


@case()
def versions_and_aliases_stay_what_they_are(context):
    client, made = create(context, Publish=True)
    name = made["FunctionName"]
    same((made["Version"], made["FunctionArn"]), ("1", f"{PREFIX}:{name}:1"))
    same(client.publish_version(FunctionName=name)["Version"], "1", "nothing changed since")
    with refused("InvalidParameterValueException"):
        client.publish_version(FunctionName=name, CodeSha256="other")
    second = client.update_function_code(FunctionName=name, ZipFile=package("noop"), Publish=True)
    same(second["Version"], "2")
    again = client.update_function_code(FunctionName=name, ZipFile=package("noop"), Publish=True)
    same(again["Version"], "2", "nothing changed")
    client.update_function_configuration(FunctionName=name, Timeout=again["Timeout"])
    same(client.publish_version(FunctionName=name)["Version"], "2", "to what it was")
    listed = client.list_versions_by_function(FunctionName=name)["Versions"]
    same([each["Version"] for each in listed], ["$LATEST", "1", "2"])
    same(invoke(client, name, 1, Qualifier="1"), 1)
    same(invoke(client, f"{PREFIX}:{name}:1", 1), 1)
    true(invoke(client, name, 1, Qualifier="2") != 1, "the second")
    alias = client.create_alias(FunctionName=name, Name="live", FunctionVersion="1", Description="d")
    same((alias["AliasArn"], alias["FunctionVersion"]), (f"{PREFIX}:{name}:live", "1"))
    answer = client.invoke(FunctionName=name, Qualifier="live", Payload=b"5")
    same((answer["ExecutedVersion"], answer["Payload"].read()), ("1", b"5"))
    with refused("ResourceConflictException", status=409):
        client.create_alias(FunctionName=name, Name="live", FunctionVersion="2")
    with refused("ResourceConflictException", status=409):
        client.delete_function(FunctionName=name, Qualifier="1")
    with refused("ResourceNotFoundException", status=404):
        client.create_alias(FunctionName=name, Name="dead", FunctionVersion="9")
    routed = client.update_alias(FunctionName=name, Name="live",
                                 RoutingConfig={"AdditionalVersionWeights": {"2": 1.0}})
    same(routed["RoutingConfig"], {"AdditionalVersionWeights": {"2": 1.0}})
    same(client.invoke(FunctionName=name, Qualifier="live", Payload=b"5")["ExecutedVersion"], "2")
    with refused("PreconditionFailedException", status=412):
        client.update_alias(FunctionName=name, Name="live", RevisionId=alias["RevisionId"])
    client.update_alias(FunctionName=name, Name="live", FunctionVersion="2",
                        RoutingConfig={"AdditionalVersionWeights": {}})
    same(client.get_alias(FunctionName=name, Name="live")["FunctionVersion"], "2")
    same([each["Name"] for each in client.list_aliases(FunctionName=name)["Aliases"]], ["live"])
    same(client.list_aliases(FunctionName=name, FunctionVersion="1")["Aliases"], [])
    client.delete_function(FunctionName=name, Qualifier="1")
    with refused("ResourceNotFoundException", status=404):
        client.invoke(FunctionName=name, Qualifier="1")
    client.delete_alias(FunctionName=name, Name="live")
    with refused("ResourceNotFoundException", status=404):
        client.get_alias(FunctionName=name, Name="live")


@case()
def calls_have_kinds_and_logs(context):
    client, made = create(context)
    name = made["FunctionName"]
    same(client.invoke(FunctionName=name)["Payload"].read(), b"{}", "no payload is the empty object")
    answer = client.invoke(FunctionName=name, Payload=b"1", LogType="Tail")
    log = base64.b64decode(answer["LogResult"]).decode()
    true(log.startswith("START RequestId: ") and "REPORT RequestId: " in log, log)
    same(client.invoke(FunctionName=name, InvocationType="DryRun")["StatusCode"], 204)
    same(client.invoke(FunctionName=name, InvocationType="Event", Payload=b"[]")["StatusCode"], 202)
    with refused("InvalidRequestContentException", "Could not parse request body into json*"):
        client.invoke(FunctionName=name, Payload=b"{not json")
    with refused("RequestTooLargeException", status=413):
        client.invoke(FunctionName=name, Payload=json.dumps("x" * (6 << 20)))
    with refused("RequestTooLargeException", status=413):
        client.invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps("x" * 300_000))
    for kind in ["RequestResponse", "Event", "DryRun"]:
        with refused("ResourceNotFoundException", status=404):
            client.invoke(FunctionName=name + "-missing", InvocationType=kind, Payload=b"1")


@case()
def a_call_that_nobody_waits_for_is_an_execution(context):
    client, made = create(context)
    name = made["FunctionName"]
    answer = client.invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps({"n": 1}))
    request = answer["ResponseMetadata"]["RequestId"]
    execution = f"arn:aws:states:us-east-1:{ACCOUNT}:execution:$lambda-{name}:{request}"
    done = context.closed(execution)
    same((done["status"], json.loads(done["output"])), ("SUCCEEDED", {"n": 1}))
    calls = f"arn:aws:states:us-east-1:{ACCOUNT}:stateMachine:$lambda-{name}"
    listed = lambda **more: context.client.list_executions(stateMachineArn=calls, **more)["executions"]
    same([one["executionArn"] for one in listed(statusFilter="SUCCEEDED")], [execution])
    same(listed(statusFilter="FAILED"), [])


@case()
def plugins_of_the_folder_are_called_alike(context):
    client = context.functions()
    same(invoke(client, "echo", "x"), "x")
    with refused("ResourceNotFoundException", status=404):
        client.get_function(FunctionName="echo")


@case()
def state_machines_call_what_was_uploaded(context):
    client, made = create(context, Publish=True)
    name = made["FunctionName"]
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    client.update_function_code(FunctionName=name, ZipFile=package("noop"))

    def call(**parameters):
        return {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "Parameters": {"Payload.$": "$", **parameters}}

    versions = [
        (call(FunctionName=f"{PREFIX}:{name}:1"), "1"),
        (call(FunctionName=name, Qualifier="live"), "1"),
        (call(FunctionName=f"{name}:1"), "1"),
    ]
    for task, version in versions:
        done = context.run(chain(("Call", task)), {"n": 1})
        same(done["status"], "SUCCEEDED", done)
        output = json.loads(done["output"])
        same((output["Payload"], output["ExecutedVersion"]), ({"n": 1}, version))
    latest = context.run(chain(("Call", {"Type": "Task", "Resource": f"{PREFIX}:{name}"})), {"n": 1})
    true(latest["status"] == "SUCCEEDED" and json.loads(latest["output"]) != {"n": 1}, latest)
    alias = context.run(chain(("Call", {"Type": "Task", "Resource": f"{PREFIX}:{name}:live"})), {"n": 1})
    same(json.loads(alias["output"]), {"n": 1})
    short = context.run(chain(("Call", {"Type": "Task", "Resource": f"wasm:{name}@1"})), {"n": 1})
    same(json.loads(short["output"]), {"n": 1})
    missing = context.run(chain(("Call", call(FunctionName=name, Qualifier="9"))), {})
    same((missing["status"], missing["error"]), ("FAILED", "Lambda.ResourceNotFoundException"))


@case()
def tags_are_added_and_removed(context):
    client, made = create(context, Tags={"a": "1"})
    arn = made["FunctionArn"]
    client.tag_resource(Resource=arn, Tags={"a": "2", "b": "3"})
    same(client.list_tags(Resource=arn)["Tags"], {"a": "2", "b": "3"})
    client.untag_resource(Resource=arn, TagKeys=["a", "missing"])
    for ours in ("stepwell:limit:memory", "stepwell:concurrency", "stepwell:more"):
        with refused("InvalidParameterValueException", f"The tag '{ours}' sets nothing of a function*"):
            client.tag_resource(Resource=arn, Tags={"c": "4", ours: "64"})
    with refused("InvalidParameterValueException", "The tag 'stepwell:limit:memory' sets nothing*"):
        create(context, Tags={"stepwell:limit:memory": "64MiB"})
    same(client.list_tags(Resource=arn)["Tags"], {"b": "3"})
    with refused("ResourceNotFoundException", status=404):
        client.list_tags(Resource=arn + "-missing")
    with refused("AccessDeniedException", status=403):
        client.list_tags(Resource=arn.replace(ACCOUNT, "111111111111"))


@case()
def what_infrastructure_tools_ask_is_answered(context):
    client, made = create(context)
    name = made["FunctionName"]
    same(client.get_function_code_signing_config(FunctionName=name)["FunctionName"], name)
    with refused("ResourceNotFoundException", status=404):
        client.get_policy(FunctionName=name)


@case()
def permissions_are_kept_and_given_back(context):
    client, made = create(context, Publish=True)
    name, arn = made["FunctionName"], f"{PREFIX}:{made['FunctionName']}"
    rule = f"arn:aws:events:us-east-1:{ACCOUNT}:rule/r"
    call = {"FunctionName": name, "Action": "lambda:InvokeFunction"}
    added = client.add_permission(StatementId="first", Principal="events.amazonaws.com", SourceArn=rule, **call)
    same(added["ResponseMetadata"]["HTTPStatusCode"], 201)
    first = {
        "Sid": "first",
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "lambda:InvokeFunction",
        "Resource": arn,
        "Condition": {"ArnLike": {"AWS:SourceArn": rule}},
    }
    same(json.loads(added["Statement"]), first)
    told = client.get_policy(FunctionName=arn)
    same(json.loads(told["Policy"]), {"Version": "2012-10-17", "Id": "default", "Statement": [first]})
    with refused("ResourceConflictException", "The statement id (first) provided already exists*", status=409):
        client.add_permission(StatementId="first", Principal="*", **call)
    with refused("PreconditionFailedException", status=412):
        client.add_permission(StatementId="second", Principal="*", RevisionId=str(uuid.uuid4()), **call)
    client.add_permission(StatementId="second", Principal=ACCOUNT, RevisionId=told["RevisionId"], **call)
    policy = client.get_policy(FunctionName=name)
    true(policy["RevisionId"] != told["RevisionId"], "a policy that changed has another revision")
    ids = [statement["Sid"] for statement in json.loads(policy["Policy"])["Statement"]]
    same(ids, ["first", "second"])
    client.remove_permission(FunctionName=name, StatementId="first")
    with refused("ResourceNotFoundException", "Statement first is not found in resource policy.", status=404):
        client.remove_permission(FunctionName=name, StatementId="first")
    client.remove_permission(FunctionName=name, StatementId="second")
    with refused("ResourceNotFoundException", status=404):
        client.get_policy(FunctionName=name)


@case()
def versions_and_aliases_have_permissions_of_their_own(context):
    client, made = create(context, Publish=True)
    name = made["FunctionName"]
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    call = {"FunctionName": name, "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com", "StatementId": "s"}
    for qualifier in ("live", "1"):
        client.add_permission(Qualifier=qualifier, **call)
        policy = json.loads(client.get_policy(FunctionName=name, Qualifier=qualifier)["Policy"])
        same(policy["Statement"][0]["Resource"], f"{PREFIX}:{name}:{qualifier}")
    with refused("ResourceNotFoundException", status=404):
        client.get_policy(FunctionName=name)
    with refused("InvalidParameterValueException", "We currently do not support adding policies for $LATEST."):
        client.add_permission(Qualifier="$LATEST", **call)
    for qualifier in ("dead", "01", "9"):
        with refused("ResourceNotFoundException", status=404):
            client.add_permission(Qualifier=qualifier, **call)
    client.delete_alias(FunctionName=name, Name="live")
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    with refused("ResourceNotFoundException", status=404):
        client.get_policy(FunctionName=name, Qualifier="live")
    long = {**call, "SourceArn": "arn:aws:s3:::" + "b" * 20_400}
    with refused("PolicyLengthExceededException", "The final policy size * is bigger than the limit (20480)."):
        client.add_permission(**long)


@case()
def reserved_concurrency_is_kept_and_nought_stops_a_function(context):
    client, made = create(context)
    name = made["FunctionName"]
    true("Concurrency" not in client.get_function(FunctionName=name), "nothing was said of it")
    true("ReservedConcurrentExecutions" not in client.get_function_concurrency(FunctionName=name), "nor there")
    same(client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=5)["ReservedConcurrentExecutions"], 5)
    same(client.get_function(FunctionName=name)["Concurrency"], {"ReservedConcurrentExecutions": 5})
    same(invoke(client, name, 1), 1)
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    for kind in ("RequestResponse", "Event", "DryRun"):
        with refused("TooManyRequestsException", "*reserved concurrency*", status=429):
            client.invoke(FunctionName=name, InvocationType=kind, Payload=b"1")
    done = context.run(chain(("Call", {"Type": "Task", "Resource": f"{PREFIX}:{name}"})), {})
    same((done["status"], done["error"]), ("FAILED", "Lambda.TooManyRequestsException"))
    client.delete_function_concurrency(FunctionName=name)
    true("ReservedConcurrentExecutions" not in client.get_function_concurrency(FunctionName=name), "it is forgotten")
    same(invoke(client, name, 1), 1)
    with refused("ResourceNotFoundException", status=404):
        client.get_function_concurrency(FunctionName=name + "-missing")
    client.publish_version(FunctionName=name)
    for qualified in (f"{name}:1", f"{PREFIX}:{name}:$LATEST"):
        with refused("InvalidParameterValueException", "This operation is permitted on Lambda functions only.*", status=400):
            client.put_function_concurrency(FunctionName=qualified, ReservedConcurrentExecutions=1)
    with refused("ValidationException", "*less than or equal to 2147483647*", status=400):
        client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=2**31)
    true("ReservedConcurrentExecutions" not in client.get_function_concurrency(FunctionName=name), "nothing was set")


@case()
def what_is_not_served_says_so(context):
    client = context.functions()
    for operation, request, what in [
        ("get_function_url_config", {"FunctionName": "any"}, "function URLs are not served"),
        ("list_event_source_mappings", {}, "event source mappings are not served"),
        ("get_function_event_invoke_config", {"FunctionName": "any"}, "configurations of Event invocations are not served"),
        ("list_layers", {}, "layers are not served"),
        ("get_account_settings", {}, "account settings are not served"),
    ]:
        with refused("UnknownOperationException", what + "*docs/functions.md*", status=404):
            getattr(client, operation)(**request)


@case()
def no_more_calls_run_than_are_reserved(context):
    client, made = create(context, package("command"), Timeout=900)
    name = made["FunctionName"]
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    machine = context.machine(chain(("Call", {"Type": "Task", "Resource": f"{PREFIX}:{name}"})))
    sleeps = context.start(machine, {"do": "sleep"})
    until(lambda: context.types(sleeps), lambda types: "LambdaFunctionStarted" in types)
    try:
        client.invoke(FunctionName=name, Payload=b'{"do": "echo"}')
        raise AssertionError("the call has no place")
    except client.exceptions.TooManyRequestsException as error:
        same(error.response["Reason"], "ReservedFunctionConcurrentInvocationLimitExceeded")
        same(error.response["ResponseMetadata"]["HTTPStatusCode"], 429)
    done = context.closed(context.start(machine, {"do": "echo"}))
    same((done["status"], done["error"]), ("FAILED", "Lambda.TooManyRequestsException"))
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=2)
    same(invoke(client, name, {"do": "echo"}), {"do": "echo"})
    context.client.stop_execution(executionArn=sleeps)


@case()
def what_counts_for_nothing_is_told_back(context):
    storage, tracing = {"Size": 2048}, {"Mode": "Active"}
    logging = {"LogFormat": "JSON", "ApplicationLogLevel": "WARN", "SystemLogLevel": "INFO", "LogGroup": "/own/group"}
    client, made = create(context, EphemeralStorage=storage, TracingConfig=tracing, LoggingConfig=logging)
    name = made["FunctionName"]
    blocks = lambda told: (told["EphemeralStorage"], told["TracingConfig"], told["LoggingConfig"])
    same(blocks(made), (storage, tracing, logging))
    client.update_function_configuration(FunctionName=name, TracingConfig={"Mode": "PassThrough"})
    told = client.get_function_configuration(FunctionName=name)
    same(blocks(told), (storage, {"Mode": "PassThrough"}, logging))
    _, plain = create(context)
    group = f"/aws/lambda/{plain['FunctionName']}"
    same(blocks(plain), ({"Size": 512}, {"Mode": "PassThrough"}, {"LogFormat": "Text", "LogGroup": group}))
    changed = client.update_function_code(FunctionName=name, ZipFile=package("noop"), Architectures=["arm64"])
    same((changed["Architectures"], blocks(changed)), (["arm64"], blocks(told)))


@case()
def versions_are_numbered_and_paged(context):
    client, made = create(context)
    name = made["FunctionName"]
    numbers = set()
    for number in range(6):
        client.update_function_configuration(FunctionName=name, Description=f"d{number}")
        numbers.add(client.publish_version(FunctionName=name, Description=f"v{number}")["Version"])
    same(numbers, {str(number) for number in range(1, 7)})
    pages = client.get_paginator("list_versions_by_function").paginate(FunctionName=name, PaginationConfig={"PageSize": 2})
    listed = [each["Version"] for page in pages for each in page["Versions"]]
    same(listed, ["$LATEST", *(str(number) for number in range(1, 7))])
    until(lambda: client.get_function(FunctionName=name, Qualifier="3")["Configuration"]["Description"],
          lambda description: description == "v2")
