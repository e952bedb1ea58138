"""Tags of state machines and activities."""

from harness import PASS, case, refused, same


def listed(context, arn):
    tags = context.client.list_tags_for_resource(resourceArn=arn)["tags"]
    return {tag["key"]: tag["value"] for tag in tags}


def tags(**pairs):
    return [{"key": key, "value": value} for key, value in pairs.items()]


@case()
def come_with_creation(context):
    given = [{"key": "team", "value": "orders"}, {"key": "stage", "value": ""}]
    arn = context.machine(PASS, tags=given)
    same(context.client.list_tags_for_resource(resourceArn=arn)["tags"], given, "of a machine")
    name = context.name("activity")
    context.client.create_activity(name=name, tags=given)
    arn = context.activity(name)
    same(context.client.list_tags_for_resource(resourceArn=arn)["tags"], given, "of an activity")


@case()
def are_added_and_removed(context):
    for arn in [context.machine(PASS, tags=tags(a="1")), context.activity()]:
        client = context.client
        client.tag_resource(resourceArn=arn, tags=tags(a="2", b="3", c=""))
        same(listed(context, arn), {"a": "2", "b": "3", "c": ""})
        client.tag_resource(resourceArn=arn, tags=[])
        client.untag_resource(resourceArn=arn, tagKeys=["a", "a", "missing"])
        client.untag_resource(resourceArn=arn, tagKeys=[])
        same(listed(context, arn), {"b": "3", "c": ""})
    revision = context.client.describe_state_machine(stateMachineArn=context.machine(PASS))
    same("revisionId" in revision, False, "tags make no revision")


@case()
def are_limited(context):
    arn = context.machine(PASS, tags=tags(**{f"k{n}": "" for n in range(49)}))
    context.client.tag_resource(resourceArn=arn, tags=tags(k0="again", last=""))
    with refused("TooManyTags"):
        context.client.tag_resource(resourceArn=arn, tags=tags(more=""))
    same(len(listed(context, arn)), 50)
    with refused("TooManyTags"):
        context.machine(PASS, tags=tags(**{f"k{n}": "" for n in range(51)}))
    with refused("TooManyTags"):
        context.client.create_activity(name=context.name(), tags=tags(**{f"k{n}": "" for n in range(51)}))
    with refused("ValidationException"):
        context.client.tag_resource(resourceArn=arn, tags=[{"key": "aws:mine", "value": ""}])


@case()
def belong_to_what_is_there(context):
    arn = context.machine(PASS, publish=True)
    for missing in [arn + "-missing", arn + ":1", context.activity() + "-missing"]:
        text = f"Resource not found: '{missing}'"
        with refused("ResourceNotFound", text):
            context.client.tag_resource(resourceArn=missing, tags=tags(a=""))
        with refused("ResourceNotFound", text):
            context.client.untag_resource(resourceArn=missing, tagKeys=["a"])
        with refused("ResourceNotFound", text):
            context.client.list_tags_for_resource(resourceArn=missing)
    execution = context.start(arn)
    with refused("InvalidArn", "Invalid Arn: 'Resource type not valid in this context: execution'"):
        context.client.tag_resource(resourceArn=execution, tags=tags(a=""))
