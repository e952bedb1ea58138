//! Permissions of functions: statements as the API makes them of its parameters, and the policies that they come to. Wire types,
//! REST JSON. Hides the form of a statement. Nothing is enforced by one: what allows here is the role of an access key.

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use stepwell_engine::Permission;

use super::{Answer, Call, configuration::arn, fault::Fault};
use crate::limits::{REFUSED_CHARS_SHOWN, STATEMENT_ID_CHARS_MAX};

/// Wire form of AddPermission.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Add {
    statement_id: String,
    action: String,
    principal: String,
    source_arn: Option<String>,
    source_account: Option<String>,
    event_source_token: Option<String>,
    revision_id: Option<String>,
    #[serde(rename = "PrincipalOrgID")]
    principal_org_id: Option<String>,
    function_url_auth_type: Option<String>,
    invoked_via_function_url: Option<bool>,
}

pub(super) async fn add(call: Call<'_>) -> Result<Answer, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Added<'a> {
        statement: &'a str,
    }
    let add: Add = call.input()?;
    add.check()?;
    let qualifier = call.route.qualifier()?;
    let (engine, name) = (&call.state.engine, call.route.function());
    let statement = add.statement(&arn(&call.caller, name, qualifier));
    let statement = statement.to_string();
    let permission = Permission {
        id: &add.statement_id,
        statement: &statement,
        revision_id: add.revision_id.as_deref(),
    };
    engine
        .add_permission(&call.caller, name, qualifier, permission)
        .await?;
    let added = Added {
        statement: &statement,
    };
    Ok(Answer::json(StatusCode::CREATED, &added))
}

pub(super) async fn remove(call: Call<'_>) -> Result<Answer, Fault> {
    let qualifier = call.route.qualifier()?;
    let (engine, name) = (&call.state.engine, call.route.function());
    let id = call.route.part.as_deref().unwrap_or_default();
    let revision = call.route.query.get("RevisionId");
    engine
        .remove_permission(&call.caller, name, qualifier, id, revision)
        .await?;
    Ok(Answer::nothing())
}

pub(super) async fn get(call: Call<'_>) -> Result<Answer, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Got {
        policy: String,
        revision_id: String,
    }
    let qualifier = call.route.qualifier()?;
    let (engine, name) = (&call.state.engine, call.route.function());
    let found = engine
        .function_policy(&call.caller, name, qualifier)
        .await?;
    let got = Got {
        // Each is JSON that was made here.
        policy: format!(
            r#"{{"Version":"2012-10-17","Id":"default","Statement":[{}]}}"#,
            found.statements.join(",")
        ),
        revision_id: found.revision_id,
    };
    Ok(Answer::json(StatusCode::OK, &got))
}

impl Add {
    /// Refuses what the API's model does.
    fn check(&self) -> Result<(), Fault> {
        let id = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let ids = !self.statement_id.is_empty() && self.statement_id.chars().all(id);
        if !ids || self.statement_id.len() > STATEMENT_ID_CHARS_MAX {
            return Err(wrong("statementId", &self.statement_id, "[a-zA-Z0-9-_]+"));
        }
        let action = self.action.strip_prefix("lambda:").unwrap_or_default();
        let letters = !action.is_empty() && action.chars().all(|c| c.is_ascii_alphabetic());
        if !(letters || action == "*" || self.action == "*") {
            let pattern = "(lambda:[*]|lambda:[a-zA-Z]+|[*])";
            return Err(wrong("action", &self.action, pattern));
        }
        if self.principal.is_empty() || self.principal.contains(char::is_whitespace) {
            return Err(wrong("principal", &self.principal, "[^\\s]+"));
        }
        if let Some(account) = &self.source_account
            && !is_account(account)
        {
            return Err(wrong("sourceAccount", account, "\\d{12}"));
        }
        if let Some(source) = &self.source_arn
            && !(source.starts_with("arn:") && source.matches(':').count() >= 5)
        {
            let pattern = "arn:(aws[a-zA-Z0-9-]*):([a-zA-Z0-9\\-])+:([a-z]{2}(-gov)?-[a-z]+-\\d{1})?:(\\d{12})?:(.*)";
            return Err(wrong("sourceArn", source, pattern));
        }
        Ok(())
    }

    /// The statement as the service writes it.
    fn statement(&self, resource: &str) -> Value {
        let principal = if is_account(&self.principal) {
            json!({"AWS": format!("arn:aws:iam::{}:root", self.principal)})
        } else if self.principal.starts_with("arn:") {
            json!({"AWS": self.principal})
        } else if self.principal == "*" {
            json!("*")
        } else {
            json!({"Service": self.principal})
        };
        let mut statement = json!({
            "Sid": self.statement_id,
            "Effect": "Allow",
            "Principal": principal,
            "Action": self.action,
            "Resource": resource,
        });
        let equals = [
            ("AWS:SourceAccount", &self.source_account),
            ("lambda:EventSourceToken", &self.event_source_token),
            ("aws:PrincipalOrgID", &self.principal_org_id),
            ("lambda:FunctionUrlAuthType", &self.function_url_auth_type),
        ];
        let equals = equals.into_iter().filter_map(|(key, value)| {
            let value = value.as_deref()?;
            Some((key.to_owned(), json!(value)))
        });
        let equals: Map<String, Value> = equals.collect();
        let mut condition = Map::new();
        if !equals.is_empty() {
            condition.insert("StringEquals".to_owned(), equals.into());
        }
        if let Some(source) = &self.source_arn {
            condition.insert("ArnLike".to_owned(), json!({"AWS:SourceArn": source}));
        }
        if let Some(by_url) = self.invoked_via_function_url {
            let by_url = json!({"lambda:InvokedViaFunctionUrl": by_url.to_string()});
            condition.insert("Bool".to_owned(), by_url);
        }
        if !condition.is_empty() {
            statement["Condition"] = condition.into();
        }
        statement
    }
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|c| c.is_ascii_digit())
}

fn wrong(member: &str, value: &str, pattern: &str) -> Fault {
    let value: String = value.chars().take(REFUSED_CHARS_SHOWN).collect();
    Fault::validation(&format!(
        "Value '{value}' at '{member}' failed to satisfy constraint: Member must satisfy regular expression pattern: {pattern}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(text: &str) -> Add {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_statement_is_the_services_own() {
        let given = add(
            r#"{"StatementId": "s", "Action": "lambda:InvokeFunction", "Principal": "events.amazonaws.com",
            "SourceArn": "arn:aws:events:us-east-1:111111111111:rule/r", "SourceAccount": "111111111111"}"#,
        );
        assert!(given.check().is_ok());
        assert_eq!(
            given.statement("arn:f"),
            json!({
                "Sid": "s", "Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": "arn:f",
                "Principal": {"Service": "events.amazonaws.com"},
                "Condition": {
                    "StringEquals": {"AWS:SourceAccount": "111111111111"},
                    "ArnLike": {"AWS:SourceArn": "arn:aws:events:us-east-1:111111111111:rule/r"},
                },
            })
        );
        for (principal, written) in [
            (
                "111111111111",
                json!({"AWS": "arn:aws:iam::111111111111:root"}),
            ),
            (
                "arn:aws:iam::111111111111:role/r",
                json!({"AWS": "arn:aws:iam::111111111111:role/r"}),
            ),
            ("*", json!("*")),
        ] {
            let given = Add {
                principal: principal.to_owned(),
                ..Add::default()
            };
            let statement = given.statement("arn:f");
            assert_eq!(statement["Principal"], written);
            assert_eq!(statement.get("Condition"), None);
        }
    }

    #[test]
    fn what_the_model_does_not_take_is_refused() {
        let good = r#""StatementId": "s_1-b", "Action": "lambda:InvokeFunction", "Principal": "p""#;
        for (more, sound) in [
            ("", true),
            (r#", "Action": "*""#, true),
            (r#", "Action": "lambda:*""#, true),
            (r#", "Action": "s3:GetObject""#, false),
            (r#", "Action": "lambda:""#, false),
            (r#", "StatementId": """#, false),
            (r#", "StatementId": "a.b""#, false),
            (r#", "Principal": "a b""#, false),
            (r#", "SourceAccount": "1""#, false),
            (r#", "SourceArn": "bucket""#, false),
        ] {
            let text = format!("{{{good}{more}}}");
            // The last of two members of a name counts.
            let members: Map<String, Value> = serde_json::from_str(&text).unwrap();
            let given: Add = serde_json::from_value(members.into()).unwrap();
            assert_eq!(given.check().is_ok(), sound, "{text}");
        }
    }
}
