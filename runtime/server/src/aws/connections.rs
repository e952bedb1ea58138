//! EventBridge: connections, as tools make them beside the state machines that use them. What it hides: the calls and their wire
//! types; what authorizes a connection, and what is told of that, is `parameters`.
//!
//! Source: EventBridge, API reference (2015-10-07). On AWS a connection does not say where it may go; the policy of a role
//! may. One that is made by these calls may go to every public address by https; `stepwell connection put` narrows that,
//! and an update leaves it as it is.

mod parameters;

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};
use stepwell_engine::{
    AllowForm, Caller, Code, ConnectionForm, ConnectionSummary, Engine, Error, KeptConnection,
};

use super::{Fault, Seconds};
use crate::{limits::RULES_PAGE_MAX, objects};
use parameters::{Parameters, authorized, told};

/// Where a connection may go whose maker could not say it.
const ANYWHERE: &str = "https://*";
/// Their state from the start: nothing is asked of anybody when one is made.
const AUTHORIZED: &str = "AUTHORIZED";
const DEAUTHORIZED: &str = "DEAUTHORIZED";
const DELETING: &str = "DELETING";

/// Operations that are served here.
const OPERATIONS: [&str; 5] = [
    "CreateConnection",
    "DeleteConnection",
    "DescribeConnection",
    "ListConnections",
    "UpdateConnection",
];

/// Members of all calls. What is not offered is read to be refused.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Input {
    name: String,
    description: Option<String>,
    authorization_type: Option<String>,
    auth_parameters: Option<Parameters>,
    invocation_connectivity_parameters: Option<Value>,
    kms_key_identifier: Option<String>,
    name_prefix: String,
    connection_state: Option<String>,
    limit: Option<u32>,
    next_token: Option<String>,
}

/// Whether an operation of EventBridge is one of these.
pub(super) fn is_its(operation: &str) -> bool {
    OPERATIONS.contains(&operation)
}

/// Answers one call. `operator` says whether the caller may let a connection reach private addresses.
pub(super) async fn serve(
    engine: &Engine,
    caller: &Caller,
    operator: bool,
    operation: &str,
    body: &[u8],
) -> Result<Value, Fault> {
    // What the reader says of a value that is none may repeat a secret.
    let input: Input = objects::read(body).map_err(|_| {
        invalid("the request is no JSON object with the members that the API reference gives")
    })?;
    if input.invocation_connectivity_parameters.is_some() || input.kms_key_identifier.is_some() {
        return Err(invalid(
            "InvocationConnectivityParameters and KmsKeyIdentifier are not offered; leave them out",
        ));
    }
    let call = Call { engine, caller };
    match operation {
        "CreateConnection" => {
            let name = input.name.clone();
            let kept = created(input)?;
            call.put(&name, |old| match old {
                None => Ok(kept.clone()),
                Some(_) => Err(exists(&name)),
            })
            .await?;
            Ok(call.summary(&call.found(&name).await?))
        }
        "UpdateConnection" => {
            let name = input.name.clone();
            call.found(&name).await?;
            call.put(&name, |old| changed(old, &input, operator))
                .await?;
            Ok(call.summary(&call.found(&name).await?))
        }
        "DescribeConnection" => {
            let found = call.found(&input.name).await?;
            let mut described = call.summary(&found);
            described["SecretArn"] = call.secret_arn(&found).into();
            if let Some(connection) = found.connection {
                described["AuthParameters"] = told(&connection);
                if !connection.description.is_empty() {
                    described["Description"] = connection.description.into();
                }
            }
            Ok(described)
        }
        "DeleteConnection" => {
            let found = call.found(&input.name).await?;
            let deleting = engine.delete_connection(&caller.tenant, &input.name);
            deleting.await.map_err(fault)?;
            let mut deleted = call.summary(&found);
            deleted["ConnectionState"] = DELETING.into();
            Ok(deleted)
        }
        _ => call.list(input).await,
    }
}

struct Call<'a> {
    engine: &'a Engine,
    caller: &'a Caller,
}

impl Call<'_> {
    async fn put(
        &self,
        name: &str,
        change: impl Fn(Option<Result<KeptConnection, Error>>) -> Result<KeptConnection, Error>,
    ) -> Result<(), Fault> {
        let put = self
            .engine
            .put_connection(&self.caller.tenant, name, change);
        put.await.map(drop).map_err(fault)
    }

    async fn found(&self, name: &str) -> Result<ConnectionSummary, Fault> {
        let found = self.engine.connection(&self.caller.tenant, name).await;
        found.map_err(fault)?.ok_or_else(|| fault(missing(name)))
    }

    async fn list(&self, input: Input) -> Result<Value, Fault> {
        let most = input.limit.unwrap_or(RULES_PAGE_MAX);
        let most = usize::try_from(most.clamp(1, RULES_PAGE_MAX)).unwrap_or(1);
        let asked = input.connection_state.as_deref();
        let is_asked = |found: &ConnectionSummary| asked.is_none_or(|asked| asked == state(found));
        let mut listed: Vec<ConnectionSummary> = Vec::new();
        let mut after = input.next_token;
        while listed.len() <= most {
            let page = self
                .engine
                .connections(&self.caller.tenant, after.as_deref())
                .await
                .map_err(fault)?;
            let named = page.items.into_iter();
            listed.extend(named.filter(|found| {
                found.kept.name.starts_with(&input.name_prefix) && is_asked(found)
            }));
            after = page.after.map(|after| after.to_string());
            if after.is_none() {
                break;
            }
        }
        let more = listed.len() > most || after.is_some();
        listed.truncate(most);
        let shown: Vec<Value> = listed.iter().map(|found| self.summary(found)).collect();
        let mut answer = json!({"Connections": shown});
        if let Some(last) = listed.last().filter(|_| more) {
            answer["NextToken"] = last.kept.name.to_string().into();
        }
        Ok(answer)
    }

    fn summary(&self, found: &ConnectionSummary) -> Value {
        let changed = Seconds(found.kept.changed_at.0);
        let Caller { tenant, region } = self.caller;
        let (name, uid) = (&found.kept.name, &found.uid);
        let mut shown = json!({
            "ConnectionArn": format!("arn:aws:events:{region}:{tenant}:connection/{name}/{uid}"),
            "Name": &**name,
            "ConnectionState": state(found),
            "CreationTime": Seconds(found.kept.created_at.0),
            "LastModifiedTime": changed,
            "LastAuthorizedTime": changed,
        });
        let form = found.connection.as_ref().map(|connection| &connection.form);
        let kind = form.map_or("", ConnectionForm::kind);
        if !kind.is_empty() {
            shown["AuthorizationType"] = kind.into();
        }
        shown
    }

    /// The secret that AWS would keep for it. It is in the connection's own record here; no other call knows it.
    fn secret_arn(&self, found: &ConnectionSummary) -> String {
        let Caller { tenant, region } = self.caller;
        let (name, uid) = (&found.kept.name, &found.uid);
        format!("arn:aws:secretsmanager:{region}:{tenant}:secret:events!connection/{name}/{uid}")
    }
}

/// Whether requests can be authorized by it: not where the key that sealed it is not there.
fn state(found: &ConnectionSummary) -> &'static str {
    match found.connection {
        Some(_) => AUTHORIZED,
        None => DEAUTHORIZED,
    }
}

fn created(input: Input) -> Result<KeptConnection, Fault> {
    let Some(kind) = &input.authorization_type else {
        return Err(invalid("AuthorizationType is missing"));
    };
    if input.auth_parameters.is_none() {
        return Err(invalid("AuthParameters is missing"));
    }
    let fresh = KeptConnection {
        form: ConnectionForm {
            allow: vec![AllowForm::Origin(ANYWHERE.to_owned())],
            api_key: None,
            basic: None,
            oauth: None,
            headers: BTreeMap::new(),
            query: BTreeMap::new(),
            body: BTreeMap::new(),
        },
        description: input.description.clone().unwrap_or_default(),
        private: false,
        shown: BTreeSet::new(),
    };
    authorized(fresh, kind, input.auth_parameters.as_ref()).map_err(fault)
}

/// An update needs what was there: of one that does not open nobody knows what is left out.
fn changed(
    old: Option<Result<KeptConnection, Error>>,
    input: &Input,
    operator: bool,
) -> Result<KeptConnection, Error> {
    match old {
        Some(Ok(old)) => updated(old, input, operator),
        Some(Err(error)) => {
            tracing::warn!(connection = input.name, %error, "a connection is not updated");
            Err(closed(&input.name))
        }
        None => Err(missing(&input.name)),
    }
}

/// What is left out stays, as far as it fits the kind of authorization.
fn updated(old: KeptConnection, input: &Input, operator: bool) -> Result<KeptConnection, Error> {
    let was = old.form.kind();
    let kind = input
        .authorization_type
        .as_deref()
        .unwrap_or(was)
        .to_owned();
    let mut next = KeptConnection {
        // Another's change must not keep what an operator alone may say.
        private: old.private && operator,
        ..old
    };
    if let Some(description) = &input.description {
        next.description.clone_from(description);
    }
    if input.auth_parameters.is_none() && kind == was {
        return Ok(next);
    }
    authorized(next, &kind, input.auth_parameters.as_ref())
}

fn exists(name: &str) -> Error {
    Error::Rejected {
        code: Code::ResourceAlreadyExists,
        message: format!("Connection {name} already exists."),
    }
}

fn closed(name: &str) -> Error {
    Error::Rejected {
        code: Code::ValidationException,
        message: format!(
            "Connection {name} does not open, so it is not known what this would change: another key sealed it than the server has, or it is damaged. Delete it and create it anew."
        ),
    }
}

fn missing(name: &str) -> Error {
    Error::Rejected {
        code: Code::ResourceNotFound,
        message: format!(
            "Failed to describe the connection(s). Connection '{name}' does not exist."
        ),
    }
}

fn invalid(text: &'static str) -> Fault {
    Fault::refused("ValidationException", text)
}

/// The engine's refusals under EventBridge's codes.
fn fault(error: Error) -> Fault {
    let Error::Rejected { code, message } = error else {
        return error.into();
    };
    let named = CODES.iter().find(|(known, _)| *known == code);
    Fault::refused(
        named.map_or("ValidationException", |(_, name)| name),
        message,
    )
}

/// EventBridge's codes for those of the engine; all others say that the request is wrong.
const CODES: [(Code, &str); 4] = [
    (Code::ResourceNotFound, "ResourceNotFoundException"),
    (
        Code::ResourceAlreadyExists,
        "ResourceAlreadyExistsException",
    ),
    (
        Code::ServiceQuotaExceededException,
        "LimitExceededException",
    ),
    (Code::ConflictException, "ConcurrentModificationException"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn input(text: &str) -> Input {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn one_that_does_not_open_is_not_updated() {
        let input = input(r#"{"Name": "a", "Description": "of it"}"#);
        let broken = Error::Broken("inside".to_owned());
        let refused = changed(Some(Err(broken)), &input, true).err();
        let Some(Error::Rejected { code, message }) = refused else {
            panic!("it is not refused: {refused:?}");
        };
        assert_eq!(code, Code::ValidationException);
        assert!(
            message.contains("Delete it and create it anew"),
            "{message}"
        );
        assert!(!message.contains("inside"), "{message}");
    }

    const OAUTH: &str = r#"{"Name": "a", "AuthorizationType": "OAUTH_CLIENT_CREDENTIALS", "AuthParameters": {
        "OAuthParameters": {"ClientParameters": {"ClientID": "id", "ClientSecret": "hidden1"},
            "AuthorizationEndpoint": "https://a.example/token", "HttpMethod": "POST",
            "OAuthHttpParameters": {"BodyParameters": [{"Key": "scope", "Value": "read", "IsValueSecret": false}]}},
        "InvocationHttpParameters": {"HeaderParameters": [{"Key": "X-A", "Value": "hidden2", "IsValueSecret": true},
            {"Key": "X-B", "Value": "plain", "IsValueSecret": false}]}}}"#;

    #[test]
    fn an_update_changes_what_it_names() {
        let kept = created(input(OAUTH)).unwrap();
        let renamed = updated(kept.clone(), &input(r#"{"Description": "new"}"#), false).unwrap();
        assert_eq!(renamed.description, "new");
        assert!(renamed.form == kept.form);
        let endpoint = r#"{"AuthParameters": {"OAuthParameters": {"AuthorizationEndpoint": "https://b.example/"}}}"#;
        let moved = updated(kept.clone(), &input(endpoint), false).unwrap();
        let grant = moved.form.oauth.as_ref().unwrap();
        assert_eq!(grant.endpoint, "https://b.example/");
        assert_eq!(
            (grant.client_secret.as_str(), grant.body.len()),
            ("hidden1", 1)
        );
        let other = r#"{"AuthorizationType": "BASIC", "AuthParameters": {"BasicAuthParameters": {"Username": "u", "Password": "p"}}}"#;
        let other = updated(kept, &input(other), false).unwrap();
        assert_eq!(other.form.kind(), "BASIC");
        assert!(other.form.oauth.is_none() && other.form.headers.len() == 2);
    }

    #[test]
    fn private_addresses_stay_open_by_an_operators_change_alone() {
        let mut kept = created(input(OAUTH)).unwrap();
        kept.private = true;
        let change = input(r#"{"Description": "new"}"#);
        assert!(updated(kept.clone(), &change, true).unwrap().private);
        assert!(!updated(kept, &change, false).unwrap().private);
    }

    #[test]
    fn what_is_missing_is_named() {
        for (text, part) in [
            (r#"{}"#, "AuthorizationType"),
            (r#"{"AuthorizationType": "BASIC"}"#, "AuthParameters"),
            (
                r#"{"AuthorizationType": "BASIC", "AuthParameters": {}}"#,
                "Username",
            ),
            (
                r#"{"AuthorizationType": "TOKEN", "AuthParameters": {}}"#,
                "`TOKEN`",
            ),
            (
                r#"{"AuthorizationType": "API_KEY", "AuthParameters": {"ApiKeyAuthParameters": {"ApiKeyName": "X"}}}"#,
                "ApiKeyValue",
            ),
        ] {
            let fault = created(input(text)).err().unwrap();
            assert!(fault.message.contains(part), "{text}: {}", fault.message);
        }
    }
}
