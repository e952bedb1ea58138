"""What tools make at IAM and CloudWatch Logs before a state machine: kept and given back."""

import json

from harness import ACCOUNT, case, refused, same, true

TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "states.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
GRANT = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "lambda:*", "Resource": "*"}]}
MORE = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "s3:*", "Resource": "a+b c%"}]}
MANAGED = "arn:aws:iam::aws:policy/CloudWatchLogsFullAccess"


@case()
def a_role_is_kept_as_it_was_made(context):
    iam, name = context.service("iam"), context.name("role")
    made = iam.create_role(
        RoleName=name,
        Path="/team/",
        AssumeRolePolicyDocument=json.dumps(TRUST),
        Description="<for> tests & such",
        MaxSessionDuration=7200,
        Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": ""}],
    )["Role"]
    same(made["Arn"], f"arn:aws:iam::{ACCOUNT}:role/team/{name}")
    true(made["RoleId"].startswith("AROA") and len(made["RoleId"]) == 21, made["RoleId"])
    role = iam.get_role(RoleName=name)["Role"]
    same({**role, "RoleLastUsed": None}, {**made, "RoleLastUsed": None})
    same(role["AssumeRolePolicyDocument"], TRUST)
    same((role["Description"], role["MaxSessionDuration"]), ("<for> tests & such", 7200))
    same(role["Tags"], [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": ""}])
    with refused("EntityAlreadyExists", f"Role with name {name} already exists.", status=409):
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(MORE))
    iam.update_role(RoleName=name, Description="other")
    iam.tag_role(RoleName=name, Tags=[{"Key": "a", "Value": "2"}])
    iam.untag_role(RoleName=name, TagKeys=["b"])
    role = iam.get_role(RoleName=name)["Role"]
    same((role["AssumeRolePolicyDocument"], role["Description"], role["MaxSessionDuration"]), (MORE, "other", 7200))
    same(iam.list_role_tags(RoleName=name)["Tags"], [{"Key": "a", "Value": "2"}])
    listed = iam.get_paginator("list_roles").paginate(PathPrefix="/team/", PaginationConfig={"PageSize": 1})
    true(name in [role["RoleName"] for page in listed for role in page["Roles"]], "it is listed")
    same(iam.list_instance_profiles_for_role(RoleName=name)["InstanceProfiles"], [])
    iam.delete_role(RoleName=name)
    with refused("NoSuchEntity", f"The role with name {name} cannot be found.", status=404):
        iam.get_role(RoleName=name)


@case()
def policies_hang_on_roles(context):
    iam, role, name = context.service("iam"), context.name("role"), context.name("policy")
    iam.create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps(TRUST))
    iam.put_role_policy(RoleName=role, PolicyName="own", PolicyDocument=json.dumps(GRANT))
    same(iam.list_role_policies(RoleName=role)["PolicyNames"], ["own"])
    same(iam.get_role_policy(RoleName=role, PolicyName="own")["PolicyDocument"], GRANT)
    with refused("NoSuchEntity", "The role policy with name none cannot be found.", status=404):
        iam.get_role_policy(RoleName=role, PolicyName="none")
    with refused("MalformedPolicyDocument", "This policy contains invalid Json"):
        iam.put_role_policy(RoleName=role, PolicyName="own", PolicyDocument="{")
    policy = iam.create_policy(PolicyName=name, PolicyDocument=json.dumps(GRANT))["Policy"]
    arn = policy["Arn"]
    same((arn, policy["DefaultVersionId"]), (f"arn:aws:iam::{ACCOUNT}:policy/{name}", "v1"))
    with refused("NoSuchEntity", f"Policy {arn}-none does not exist or is not attachable.", status=404):
        iam.attach_role_policy(RoleName=role, PolicyArn=f"{arn}-none")
    for attached in (arn, MANAGED, arn):
        iam.attach_role_policy(RoleName=role, PolicyArn=attached)
    same(
        iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"],
        [{"PolicyName": name, "PolicyArn": arn}, {"PolicyName": "CloudWatchLogsFullAccess", "PolicyArn": MANAGED}],
    )
    same(iam.get_policy(PolicyArn=arn)["Policy"]["AttachmentCount"], 1)
    second = iam.create_policy_version(PolicyArn=arn, PolicyDocument=json.dumps(MORE), SetAsDefault=True)
    same(second["PolicyVersion"]["VersionId"], "v2")
    same(iam.get_policy_version(PolicyArn=arn, VersionId="v2")["PolicyVersion"]["Document"], MORE)
    versions = iam.list_policy_versions(PolicyArn=arn)["Versions"]
    same([(v["VersionId"], v["IsDefaultVersion"]) for v in versions], [("v2", True), ("v1", False)])
    with refused("DeleteConflict", "This policy has more than one version. *", status=409):
        iam.delete_policy(PolicyArn=arn)
    with refused("DeleteConflict", "Cannot delete the default version of a policy.", status=409):
        iam.delete_policy_version(PolicyArn=arn, VersionId="v2")
    iam.delete_policy_version(PolicyArn=arn, VersionId="v1")
    with refused("DeleteConflict", "Cannot delete a policy attached to entities.", status=409):
        iam.delete_policy(PolicyArn=arn)
    with refused("DeleteConflict", "Cannot delete entity, must detach all policies first.", status=409):
        iam.delete_role(RoleName=role)
    for attached in (arn, MANAGED):
        iam.detach_role_policy(RoleName=role, PolicyArn=attached)
    with refused("DeleteConflict", "Cannot delete entity, must delete policies first.", status=409):
        iam.delete_role(RoleName=role)
    iam.delete_role_policy(RoleName=role, PolicyName="own")
    iam.delete_role(RoleName=role)
    iam.delete_policy(PolicyArn=arn)
    with refused("NoSuchEntity", f"Policy {arn} was not found.", status=404):
        iam.get_policy(PolicyArn=arn)


@case()
def a_log_group_is_kept_as_it_was_made(context):
    logs, name = context.service("logs"), context.name("/aws/vendedlogs/states/group")
    logs.create_log_group(logGroupName=name, tags={"a": "1"})
    with refused("ResourceAlreadyExistsException", "The specified log group already exists"):
        logs.create_log_group(logGroupName=name)
    (group,) = logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    arn = f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:{name}"
    same((group["arn"], group["logGroupArn"], group["logGroupClass"]), (f"{arn}:*", arn, "STANDARD"))
    true("retentionInDays" not in group, "kept for ever")
    logs.put_retention_policy(logGroupName=name, retentionInDays=14)
    (group,) = logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    same(group["retentionInDays"], 14)
    with refused("InvalidParameterException", "* at 'retentionInDays' *"):
        logs.put_retention_policy(logGroupName=name, retentionInDays=2)
    logs.tag_resource(resourceArn=arn, tags={"b": "2"})
    logs.untag_resource(resourceArn=arn, tagKeys=["a"])
    same(logs.list_tags_for_resource(resourceArn=arn)["tags"], {"b": "2"})
    logs.delete_log_group(logGroupName=name)
    with refused("ResourceNotFoundException", "The specified log group does not exist."):
        logs.delete_log_group(logGroupName=name)
    pages = logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=name)
    same([group for page in pages for group in page["logGroups"]], [])
