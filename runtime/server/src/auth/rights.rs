//! What each operation takes: one table, a line each. What it hides: nothing.

use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;
use stepwell_engine::Role;

/// What an operation takes of a key, and whether the audit log has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Right {
    pub(super) role: Role,
    pub(super) audited: bool,
}

/// Reads.
pub(crate) const LOOK: Right = Right {
    role: Role::Read,
    audited: false,
};
/// Work on tasks, which the execution's history has.
const WORK: Right = Right {
    role: Role::Run,
    audited: false,
};
/// Starts and ends executions.
pub(crate) const STEER: Right = Right {
    role: Role::Run,
    audited: true,
};
/// Changes what is run.
pub(crate) const CHANGE: Right = Right {
    role: Role::Admin,
    audited: true,
};

/// By the operations' names; the operations' own table has the same.
const RIGHTS: &[(&str, Right)] = &[
    ("CreateActivity", CHANGE),
    ("CreateStateMachine", CHANGE),
    ("CreateStateMachineAlias", CHANGE),
    ("DeleteActivity", CHANGE),
    ("DeleteStateMachine", CHANGE),
    ("DeleteStateMachineAlias", CHANGE),
    ("DeleteStateMachineVersion", CHANGE),
    ("DescribeActivity", LOOK),
    ("DescribeExecution", LOOK),
    ("DescribeMapRun", LOOK),
    ("DescribeStateMachine", LOOK),
    ("DescribeStateMachineAlias", LOOK),
    ("DescribeStateMachineForExecution", LOOK),
    ("GetActivityTask", WORK),
    ("GetExecutionHistory", LOOK),
    ("ListActivities", LOOK),
    ("ListExecutions", LOOK),
    ("ListMapRuns", LOOK),
    ("ListStateMachineAliases", LOOK),
    ("ListStateMachineVersions", LOOK),
    ("ListStateMachines", LOOK),
    ("ListTagsForResource", LOOK),
    ("PublishStateMachineVersion", CHANGE),
    ("RedriveExecution", STEER),
    ("SendTaskFailure", WORK),
    ("SendTaskHeartbeat", WORK),
    ("SendTaskSuccess", WORK),
    ("StartExecution", STEER),
    ("StartSyncExecution", STEER),
    ("StopExecution", STEER),
    ("TagResource", CHANGE),
    // It runs tasks.
    ("TestState", STEER),
    ("UntagResource", CHANGE),
    ("UpdateMapRun", STEER),
    ("UpdateStateMachine", CHANGE),
    ("UpdateStateMachineAlias", CHANGE),
    ("ValidateStateMachineDefinition", LOOK),
];

/// Members of TestState that decide what it takes.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Tested {
    reveal_secrets: Option<bool>,
    mock: Option<IgnoredAny>,
    definition: Option<String>,
}

impl Tested {
    /// Whether it may tell the secrets of connections: it asks for them, or makes a request with one to wherever the definition
    /// says, as only who may write state machines can.
    fn reveals(&self) -> bool {
        let asks = self.reveal_secrets.unwrap_or(false);
        let definition = self.definition.as_deref().filter(|_| self.mock.is_none());
        // What cannot be read here makes some, for all that is known.
        let makes = |text| {
            serde_json::from_str(text).map_or(true, |definition| makes_requests(&definition))
        };
        asks || definition.is_some_and(makes)
    }
}

/// Whether a state of a definition, at any depth, is an HTTP task.
fn makes_requests(definition: &Value) -> bool {
    match definition {
        Value::Object(members) => members.iter().any(|(name, value)| {
            let is_resource = name == "Resource";
            let resource = value.as_str().filter(|_| is_resource);
            resource.is_some_and(|text| text.contains("http:invoke")) || makes_requests(value)
        }),
        Value::Array(items) => items.iter().any(makes_requests),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// What a request takes: to be shown the secrets of connections more than to run tasks with them. It is a permission of its own on
/// AWS, too (`states:RevealSecrets`).
pub(super) fn right_of(operation: &str, body: &[u8]) -> Right {
    let reveals = operation == "TestState"
        // What cannot be read here asks for them, for all that is known.
        && serde_json::from_slice::<Tested>(body).map_or(true, |asked| asked.reveals());
    if reveals { CHANGE } else { right(operation) }
}

/// What an operation takes. What is in no line takes the most.
fn right(operation: &str) -> Right {
    let found = RIGHTS.binary_search_by(|(name, _)| (*name).cmp(operation));
    found.map_or(
        Right {
            role: Role::Operator,
            audited: true,
        },
        |index| RIGHTS[index].1,
    )
}

/// Members of requests that say what a request is about; the first that is there counts.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct About<'a> {
    #[serde(borrow)]
    state_machine_alias_arn: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    state_machine_version_arn: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    state_machine_arn: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    execution_arn: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    map_run_arn: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    activity_arn: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    resource_arn: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    name: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    routing_configuration: Option<Vec<Routed<'a>>>,
}

/// A version that an alias routes to.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Routed<'a> {
    #[serde(borrow)]
    state_machine_version_arn: std::borrow::Cow<'a, str>,
}

impl About<'_> {
    /// ARN of an alias that does not say whose it is, but which versions it routes to.
    fn alias(&self) -> Option<std::borrow::Cow<'static, str>> {
        let routed = self.routing_configuration.as_ref()?.first()?;
        let (machine, _) = routed.state_machine_version_arn.rsplit_once(':')?;
        Some(format!("{machine}:{}", self.name.as_ref()?).into())
    }
}

/// ARN or name that a request's body names; empty when it names none.
pub(crate) fn resource(body: &[u8]) -> String {
    let about: About<'_> = serde_json::from_slice(body).unwrap_or_default();
    let fresh_alias = about.alias();
    let named = [
        about.state_machine_alias_arn,
        about.state_machine_version_arn,
        about.state_machine_arn,
        about.execution_arn,
        about.map_run_arn,
        about.activity_arn,
        about.resource_arn,
        fresh_alias,
        about.name,
    ];
    named
        .into_iter()
        .flatten()
        .next()
        .unwrap_or_default()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::{CHANGE, RIGHTS, STEER, resource, right_of};

    #[test]
    fn the_table_is_that_of_the_operations() {
        let names: Vec<&str> = RIGHTS.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, crate::aws::operation_names());
    }

    #[test]
    fn secrets_take_more_than_a_test_of_a_state() {
        for (body, wanted) in [
            (r#"{"definition":"{}"}"#, STEER),
            (r#"{"revealSecrets":false}"#, STEER),
            (r#"{"revealSecrets":null}"#, STEER),
            (r#"{"revealSecrets":true}"#, CHANGE),
            (r#"{"reveal\u0053ecrets":true}"#, CHANGE),
            (r#"{"revealSecrets":false,"revealSecrets":true}"#, CHANGE),
            (r#"{"revealSecrets":"true"}"#, CHANGE),
            (
                r#"{"definition":"{\"Resource\":\"arn:aws:states:::http:invoke\"}"}"#,
                CHANGE,
            ),
            (
                r#"{"definition":"{\"Resource\":\"arn:aws:states:::http\\u003ainvoke\"}"}"#,
                CHANGE,
            ),
            (
                r#"{"definition":"{\"States\":{\"A\":{\"Branches\":[{\"Resource\":\"arn:aws:states:::http:invoke\"}]}}}","mock":null}"#,
                CHANGE,
            ),
            (
                r#"{"definition":"{\"Resource\":\"arn:aws:states:::http:invoke\"}","mock":{"result":"{}"}}"#,
                STEER,
            ),
            (
                r#"{"definition":"{\"Resource\":\"arn:aws:states:::lambda:invoke\",\"Comment\":\"http:invoke\"}"}"#,
                STEER,
            ),
        ] {
            assert_eq!(right_of("TestState", body.as_bytes()), wanted, "{body}");
        }
        let other = right_of("StartExecution", br#"{"revealSecrets":true}"#);
        assert_eq!(other, STEER);
    }

    #[test]
    fn a_request_is_about_what_it_names() {
        assert_eq!(
            resource(br#"{"name":"run","stateMachineArn":"arn:m","input":"{}"}"#),
            "arn:m"
        );
        assert_eq!(
            resource(br#"{"name":"orders","tags":[{"key":"a"}]}"#),
            "orders"
        );
        assert_eq!(
            resource(
                br#"{"name":"live","routingConfiguration":[{"stateMachineVersionArn":"arn:m:2","weight":100}]}"#
            ),
            "arn:m:live"
        );
        assert_eq!(
            resource(br#"{"name":"live","routingConfiguration":[]}"#),
            "live"
        );
        assert_eq!(resource(b"{}"), "");
    }
}
