//! What a service refuses of a request by its form alone, told before the request is sent: stand-ins of AWS take much that
//! AWS does not, and a state machine that runs here is to run there. Hides which members are looked at.
//!
//! The rules and texts are the service's own (its API model, and recorded refusals). What is not here the service judges.

use stepwell_query::Value;

use super::{model::Operation, reply::Refusal};

/// A rule of a member.
#[derive(Clone, Copy)]
enum Rule {
    Required,
    /// The name of a table; an ARN is left to the service.
    TableName,
    SecretName,
}

/// Service, operations, member and rule.
const RULES: &[(&str, &[&str], &str, Rule)] = &[
    ("dynamodb", &["PutItem"], "Item", Rule::Required),
    (
        "dynamodb",
        &["DeleteItem", "GetItem", "UpdateItem"],
        "Key",
        Rule::Required,
    ),
    (
        "dynamodb",
        &["DeleteItem", "GetItem", "PutItem", "UpdateItem"],
        "TableName",
        Rule::TableName,
    ),
    (
        "secretsmanager",
        &["CreateSecret"],
        "Name",
        Rule::SecretName,
    ),
];

const TABLE_NAME: &str = "[a-zA-Z0-9_.-]+";

const SECRET_NAME: &str = "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!";

/// The service's refusal of a request; none where its form is sound as far as is looked.
pub(super) fn refusal(operation: Operation, parameters: &Value) -> Option<Refusal> {
    let rules = RULES.iter().filter(|(service, operations, _, _)| {
        *service == operation.service.name && operations.contains(&operation.name)
    });
    let mut violations = Vec::new();
    for (_, _, member, rule) in rules {
        let value = parameters.get(member).filter(|value| !value.is_null());
        match (rule, value) {
            (Rule::Required | Rule::TableName, None) => {
                violations.push(violation(member, "null", "Member must not be null"));
            }
            (Rule::Required, Some(_)) | (Rule::SecretName, None) => {}
            (Rule::TableName, Some(value)) => {
                if let Some(name) = value.as_str()
                    && !name.starts_with("arn:")
                    && !made_of(name, "_.-")
                {
                    let rule =
                        format!("Member must satisfy regular expression pattern: {TABLE_NAME}");
                    violations.push(violation(member, &format!("'{name}'"), &rule));
                }
            }
            (Rule::SecretName, Some(value)) => {
                if value
                    .as_str()
                    .is_some_and(|name| !made_of(name, "-/_+=.@!"))
                {
                    return Some(Refusal::of_form(SECRET_NAME.to_owned()));
                }
            }
        }
    }
    let errors = match violations.len() {
        0 => return None,
        1 => "1 validation error".to_owned(),
        count => format!("{count} validation errors"),
    };
    Some(Refusal::of_form(format!(
        "{errors} detected: {}",
        violations.join("; ")
    )))
}

/// As AWS's framework words it, where members begin with a small letter.
fn violation(member: &str, value: &str, rule: &str) -> String {
    let (first, rest) = member.split_at(1);
    let first = first.to_ascii_lowercase();
    format!("Value {value} at '{first}{rest}' failed to satisfy constraint: {rule}")
}

/// Whether a text is not empty and has only ASCII letters, digits and these.
fn made_of(text: &str, more: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
    !text.is_empty() && text.chars().all(fits)
}

#[cfg(test)]
mod tests {
    use stepwell_interp::{FailedAt, TaskOutcome};

    use super::*;
    use crate::{
        integration::Api,
        services::{model::Service, reply::Titles},
    };

    fn told(service: &str, action: &str, parameters: &str) -> String {
        let service = Service::find(service).unwrap();
        let operation = service.operation(action).unwrap();
        let Some(refusal) = refusal(operation, &Value::parse(parameters).unwrap()) else {
            return "sound".to_owned();
        };
        match refusal.outcome(&Titles::of(Api::Sdk, service), service, FailedAt::Run) {
            TaskOutcome::Failed { error, cause, .. } => {
                let cause = cause.unwrap();
                let message = cause.split(" (Service").next().unwrap_or_default();
                format!("{}: {message}", error.unwrap())
            }
            TaskOutcome::Succeeded { .. } => String::new(),
        }
    }

    #[test]
    fn what_aws_refuses_is_refused_in_its_words() {
        let table = |name: &str| format!(r#"{{"TableName":"{name}","Key":{{}}}}"#);
        assert_eq!(
            told("dynamodb", "getItem", &table("a b")),
            "DynamoDb.DynamoDbException: 1 validation error detected: Value 'a b' at 'tableName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+"
        );
        assert_eq!(
            told("dynamodb", "putItem", r#"{"Item":null}"#),
            "DynamoDb.DynamoDbException: 2 validation errors detected: Value null at 'item' failed to satisfy constraint: Member must not be null; Value null at 'tableName' failed to satisfy constraint: Member must not be null"
        );
        assert_eq!(
            told("secretsmanager", "createSecret", r#"{"Name":"a b"}"#),
            format!("SecretsManager.SecretsManagerException: {SECRET_NAME}")
        );
    }

    #[test]
    fn what_aws_takes_is_sent() {
        let arn = r#"{"TableName":"arn:aws:dynamodb:us-east-1:1:table/t","Key":{}}"#;
        assert_eq!(told("dynamodb", "getItem", arn), "sound");
        assert_eq!(told("dynamodb", "listTables", "{}"), "sound");
        let name = r#"{"Name":"prod/db-1_+=.@!"}"#;
        assert_eq!(told("secretsmanager", "createSecret", name), "sound");
    }
}
