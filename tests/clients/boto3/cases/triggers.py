"""Triggers: schedules by the client `scheduler`, rules and events by the client `events`."""

import datetime
import json

from harness import ACCOUNT, PASS, ROLE, case, refused, same, true, until

GROUP = f"arn:aws:scheduler:us-east-1:{ACCOUNT}:schedule-group"
OFF = {"Mode": "OFF"}


def schedule(context, expression, machine=None, **more):
    """A schedule of a name of its own; answers the client, the name and the machine."""
    client = context.service("scheduler")
    machine = machine or context.machine(PASS)
    name = more.pop("Name", None) or context.name("schedule")
    target = {"Arn": machine, "RoleArn": ROLE, **more.pop("Target", {})}
    more.setdefault("FlexibleTimeWindow", OFF)
    made = client.create_schedule(Name=name, ScheduleExpression=expression, Target=target, **more)
    group = more.get("GroupName", "default")
    same(made["ScheduleArn"], f"arn:aws:scheduler:us-east-1:{ACCOUNT}:schedule/{group}/{name}")
    return client, name, machine


def executions(context, machine):
    pages = context.client.get_paginator("list_executions").paginate(stateMachineArn=machine)
    return [execution for page in pages for execution in page["executions"]]


def inputs(context, machine):
    """The inputs of a machine's executions that have ended."""
    told = [context.closed(execution["executionArn"]) for execution in executions(context, machine)]
    return [json.loads(execution["input"]) for execution in told]


@case()
def schedules_are_kept_and_told(context):
    start = datetime.datetime(2100, 1, 1, tzinfo=datetime.timezone.utc)
    client, name, machine = schedule(
        context, "cron(30 9 ? * MON-FRI *)", ScheduleExpressionTimezone="Europe/Berlin", StartDate=start,
        EndDate=start + datetime.timedelta(days=30), Description="weekdays", ClientToken="once",
        Target={"Input": "{\"at\":\"<aws.scheduler.scheduled-time>\"}",
                "RetryPolicy": {"MaximumEventAgeInSeconds": 120, "MaximumRetryAttempts": 2}})
    told = client.get_schedule(Name=name)
    same(told["ScheduleExpression"], "cron(30 9 ? * MON-FRI *)")
    same((told["ScheduleExpressionTimezone"], told["State"], told["Description"]), ("Europe/Berlin", "ENABLED", "weekdays"))
    same(told["StartDate"].astimezone(datetime.timezone.utc), start)
    same(told["Target"]["RetryPolicy"], {"MaximumEventAgeInSeconds": 120, "MaximumRetryAttempts": 2})
    same((told["GroupName"], told["ActionAfterCompletion"], told["FlexibleTimeWindow"]), ("default", "NONE", OFF))
    # The same creation again is the same schedule; another is refused.
    target = {"Arn": machine, "RoleArn": ROLE}
    client.create_schedule(Name=name, ScheduleExpression="rate(1 day)", FlexibleTimeWindow=OFF, Target=target,
                           ClientToken="once")
    with refused("ConflictException", f"Schedule {name} already exists.", 409):
        client.create_schedule(Name=name, ScheduleExpression="rate(1 day)", FlexibleTimeWindow=OFF, Target=target)
    client.update_schedule(Name=name, ScheduleExpression="rate(1 day)", FlexibleTimeWindow=OFF, Target=target,
                           State="DISABLED")
    told = client.get_schedule(Name=name)
    same((told["ScheduleExpression"], told["State"]), ("rate(1 day)", "DISABLED"))
    true("StartDate" not in told, told)
    same(told["Target"]["RetryPolicy"], {"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 185})
    client.delete_schedule(Name=name)
    with refused("ResourceNotFoundException", f"Schedule {name} does not exist.", 404):
        client.get_schedule(Name=name)
    with refused("ResourceNotFoundException", status=404):
        client.delete_schedule(Name=name)


@case()
def a_rate_starts_at_once_with_what_it_says(context):
    client, name, machine = schedule(
        context, "rate(1 hour)",
        Target={"Input": "{\"n\":<aws.scheduler.attempt-number>,\"id\":\"<aws.scheduler.execution-id>\","
                         "\"arn\":\"<aws.scheduler.schedule-arn>\"}"})
    until(lambda: executions(context, machine), lambda found: len(found) == 1)
    told = inputs(context, machine)[0]
    same((told["n"], told["arn"].rsplit("/", 1)[1]), (1, name))
    same(len(told["id"]), 36)
    # A change of what is started is no reason to start it.
    client.update_schedule(Name=name, ScheduleExpression="rate(1 hour)", FlexibleTimeWindow=OFF, Description="other",
                           Target={"Arn": machine, "RoleArn": ROLE})
    client.delete_schedule(Name=name)
    same(len(executions(context, machine)), 1)


@case()
def a_schedule_without_input_tells_of_itself_and_goes_when_it_is_over(context):
    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=2)
    client, name, machine = schedule(
        context, f"at({soon:%Y-%m-%dT%H:%M:%S})", ActionAfterCompletion="DELETE")
    until(lambda: executions(context, machine), lambda found: len(found) == 1)
    told = inputs(context, machine)[0]
    same((told["source"], told["detail-type"], told["account"]), ("aws.scheduler", "Scheduled Event", ACCOUNT))
    same(told["time"], f"{soon:%Y-%m-%dT%H:%M:%SZ}")

    def is_gone():
        try:
            client.get_schedule(Name=name)
        except client.exceptions.ResourceNotFoundException:
            return True
        return False

    until(is_gone, bool)


@case()
def schedules_are_listed_by_group_name_and_state(context):
    client = context.service("scheduler")
    group = context.name("group")
    made = client.create_schedule_group(Name=group, Tags=[{"Key": "team", "Value": "a"}])
    same(made["ScheduleGroupArn"], f"{GROUP}/{group}")
    machine = context.machine(PASS)
    for number in range(5):
        state = "DISABLED" if number == 2 else "ENABLED"
        schedule(context, "at(2190-01-01T00:00:00)", machine, Name=f"s-{number}", GroupName=group, State=state)
    schedule(context, "at(2190-01-01T00:00:00)", machine, Name="other", GroupName=group)
    pages = client.get_paginator("list_schedules").paginate(
        GroupName=group, NamePrefix="s-", PaginationConfig={"PageSize": 2})
    pages = [[schedule["Name"] for schedule in page["Schedules"]] for page in pages]
    same(pages, [["s-0", "s-1"], ["s-2", "s-3"], ["s-4"]])
    listed = client.list_schedules(GroupName=group, State="DISABLED")["Schedules"]
    same([(one["Name"], one["State"], one["Target"]) for one in listed], [("s-2", "DISABLED", {"Arn": machine})])
    same(client.get_schedule_group(Name=group)["State"], "ACTIVE")
    same(client.get_schedule_group(Name="default")["Arn"], f"{GROUP}/default")
    groups = client.list_schedule_groups(NamePrefix=group)["ScheduleGroups"]
    same([one["Name"] for one in groups], [group])
    client.tag_resource(ResourceArn=f"{GROUP}/{group}", Tags=[{"Key": "stage", "Value": "b"}])
    client.untag_resource(ResourceArn=f"{GROUP}/{group}", TagKeys=["team"])
    same(client.list_tags_for_resource(ResourceArn=f"{GROUP}/{group}")["Tags"], [{"Key": "stage", "Value": "b"}])
    client.delete_schedule_group(Name=group)
    with refused("ResourceNotFoundException", status=404):
        client.get_schedule(Name="s-0", GroupName=group)
    with refused("ResourceNotFoundException", f"Schedule group {group} does not exist.", 404):
        schedule(context, "rate(1 day)", machine, GroupName=group)
    with refused("ValidationException"):
        client.delete_schedule_group(Name="default")


@case()
def what_is_no_schedule_is_refused(context):
    machine = context.machine(PASS)
    for expression in ["rate(0 minutes)", "cron(0 0 * * * *)", "at(tomorrow)", "every day"]:
        with refused("ValidationException", f"Invalid Schedule Expression {expression}*"):
            schedule(context, expression, machine)
    for more in [
        {"ScheduleExpressionTimezone": "Europe/Nowhere"},
        {"Name": "a b"},
        {"Target": {"Input": "{no json"}},
        {"Target": {"Arn": "arn:aws:sqs:us-east-1:000000000000:queue"}},
        {"Target": {"Arn": "arn:aws:states:us-east-1:111111111111:stateMachine:foreign"}},
        {"Target": {"DeadLetterConfig": {"Arn": "arn:aws:sqs:us-east-1:000000000000:queue"}}},
    ]:
        with refused("ValidationException"):
            schedule(context, "rate(1 day)", machine, **more)


def rule(context, pattern, machine=None, **target):
    """A rule with one target; answers the client, the name and the machine."""
    client = context.service("events")
    machine = machine or context.machine(PASS)
    name = context.name("rule")
    made = client.put_rule(Name=name, EventPattern=json.dumps(pattern), Description="of the tests")
    same(made["RuleArn"], f"arn:aws:events:us-east-1:{ACCOUNT}:rule/{name}")
    put = client.put_targets(Rule=name, Targets=[{"Id": "machine", "Arn": machine, "RoleArn": ROLE, **target}])
    same((put["FailedEntryCount"], put["FailedEntries"]), (0, []))
    return client, name, machine


def send(client, source, detail, kind="made"):
    sent = client.put_events(Entries=[{"Source": source, "DetailType": kind, "Detail": json.dumps(detail)}])
    same(sent["FailedEntryCount"], 0)
    return sent["Entries"][0]["EventId"]


@case()
def an_event_starts_what_its_rules_say(context):
    source = context.name("shop")
    pattern = {"source": [source], "detail": {"sum": [{"numeric": [">", 10]}]}}
    client, name, machine = rule(context, pattern)
    transformer = {"InputPathsMap": {"order": "$.detail.order"},
                   "InputTemplate": "{\"text\": \"order <order>\", \"rule\": \"<aws.events.rule-name>\"}"}
    _, second, other = rule(context, pattern, InputTransformer=transformer)
    send(client, source, {"order": "small", "sum": 5})
    sent = send(client, source, {"order": "large", "sum": 50})
    until(lambda: executions(context, machine), len)
    until(lambda: executions(context, other), len)
    event = inputs(context, machine)
    same([(one["id"], one["source"], one["detail"]) for one in event], [(sent, source, {"order": "large", "sum": 50})])
    same(inputs(context, other), [{"text": "order large", "rule": second}])
    client.disable_rule(Name=name)
    same(client.describe_rule(Name=name)["State"], "DISABLED")
    send(client, source, {"order": "later", "sum": 60})
    until(lambda: executions(context, other), lambda found: len(found) == 2)
    same(len(executions(context, machine)), 1)


@case()
def rules_are_kept_told_and_deleted(context):
    client, name, machine = rule(context, {"source": ["x"]}, InputPath="$.detail")
    told = client.describe_rule(Name=name)
    same((json.loads(told["EventPattern"]), told["State"], told["Description"], told["EventBusName"]),
         ({"source": ["x"]}, "ENABLED", "of the tests", "default"))
    targets = client.list_targets_by_rule(Rule=name)["Targets"]
    same(targets, [{"Id": "machine", "Arn": machine, "RoleArn": ROLE, "InputPath": "$.detail"}])
    same([one["Name"] for one in client.list_rules(NamePrefix=name)["Rules"]], [name])
    with refused("ValidationException", "Rule can't be deleted since it has targets."):
        client.delete_rule(Name=name)
    client.remove_targets(Rule=name, Ids=["machine"])
    client.delete_rule(Name=name)
    client.delete_rule(Name=name)
    with refused("ResourceNotFoundException", f"Rule {name} does not exist on EventBus default."):
        client.describe_rule(Name=name)
    with refused("InvalidEventPatternException"):
        client.put_rule(Name=name, EventPattern="{\"source\":\"x\"}")
    with refused("ResourceNotFoundException"):
        client.put_targets(Rule=name, Targets=[{"Id": "a", "Arn": machine}])
    same(client.test_event_pattern(EventPattern="{\"a\":[{\"prefix\":\"x\"}]}", Event="{\"a\":\"xy\"}")["Result"], True)


@case()
def events_that_are_none_are_told_one_by_one(context):
    client = context.service("events")
    sent = client.put_events(Entries=[
        {"Source": "a", "DetailType": "b", "Detail": "{}"},
        {"Source": "a", "DetailType": "b", "Detail": "[]"},
        {"Source": "aws.ec2", "DetailType": "b", "Detail": "{}"},
        {"Source": "a", "DetailType": "b", "Detail": "{}", "EventBusName": "other"},
        {"Source": "a", "Detail": "{}"},
    ])
    same(sent["FailedEntryCount"], 4)
    codes = [entry.get("ErrorCode") for entry in sent["Entries"]]
    same(codes, [None, "MalformedDetail", "NotAuthorizedForSourceException", "InvalidArgument", "InvalidArgument"])
    true(sent["Entries"][0]["EventId"], sent)
