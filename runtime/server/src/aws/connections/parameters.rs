//! What a connection is authorized by, as a request says it and as it is told. What it hides: the wire types, what an update
//! leaves as it was, and that no secret is told.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stepwell_engine::{ApiKeyForm, BasicForm, Code, Error, KeptConnection, OAuthForm};

/// Wire form of what a request is authorized by.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Parameters {
    basic_auth_parameters: Option<Basic>,
    #[serde(rename = "OAuthParameters")]
    oauth_parameters: Option<OAuth>,
    api_key_auth_parameters: Option<ApiKey>,
    invocation_http_parameters: Option<Additions>,
    connectivity_parameters: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Basic {
    username: Option<String>,
    password: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ApiKey {
    api_key_name: Option<String>,
    api_key_value: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct OAuth {
    client_parameters: Option<ClientParameters>,
    authorization_endpoint: Option<String>,
    http_method: Option<String>,
    #[serde(rename = "OAuthHttpParameters")]
    oauth_http_parameters: Option<Additions>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ClientParameters {
    #[serde(rename = "ClientID")]
    client_id: Option<String>,
    #[serde(rename = "ClientSecret")]
    client_secret: Option<String>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Additions {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    header_parameters: Vec<Addition>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    query_string_parameters: Vec<Addition>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    body_parameters: Vec<Addition>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Addition {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    is_value_secret: bool,
}

/// The connection with another authorization; what the parameters leave out is as it was.
pub(super) fn authorized(
    mut kept: KeptConnection,
    kind: &str,
    parameters: Option<&Parameters>,
) -> Result<KeptConnection, Error> {
    let none = Parameters::default();
    let parameters = parameters.unwrap_or(&none);
    if parameters.connectivity_parameters.is_some() {
        let text = "ConnectivityParameters are not offered; leave them out";
        return Err(wrong(text.to_owned()));
    }
    let form = &mut kept.form;
    let (api_key, basic, oauth) = (form.api_key.take(), form.basic.take(), form.oauth.take());
    match kind {
        "API_KEY" => {
            let given = parameters.api_key_auth_parameters.as_ref();
            let (name, value) = given.map_or((None, None), |given| {
                (given.api_key_name.clone(), given.api_key_value.clone())
            });
            let (header, kept) =
                api_key.map_or((None, None), |key| (Some(key.header), Some(key.value)));
            form.api_key = Some(ApiKeyForm {
                header: needed(name.or(header), "ApiKeyName")?,
                value: needed(value.or(kept), "ApiKeyValue")?,
            });
        }
        "BASIC" => {
            let given = parameters.basic_auth_parameters.as_ref();
            let (name, word) = given.map_or((None, None), |given| {
                (given.username.clone(), given.password.clone())
            });
            let (username, kept) = basic.map_or((None, None), |basic| {
                (Some(basic.username), Some(basic.password))
            });
            form.basic = Some(BasicForm {
                username: needed(name.or(username), "Username")?,
                password: needed(word.or(kept), "Password")?,
            });
        }
        "OAUTH_CLIENT_CREDENTIALS" => {
            let given = parameters.oauth_parameters.as_ref();
            form.oauth = Some(granted(oauth, given, &mut kept.shown)?);
        }
        other => {
            return Err(wrong(format!(
                "AuthorizationType is BASIC, OAUTH_CLIENT_CREDENTIALS or API_KEY, and not `{other}`"
            )));
        }
    }
    if let Some(additions) = &parameters.invocation_http_parameters {
        let form = &mut kept.form;
        let shown = &mut kept.shown;
        form.headers = pairs("headers", &additions.header_parameters, shown)?;
        form.query = pairs("query", &additions.query_string_parameters, shown)?;
        form.body = pairs("body", &additions.body_parameters, shown)?;
    }
    Ok(kept)
}

fn granted(
    old: Option<OAuthForm>,
    given: Option<&OAuth>,
    shown: &mut BTreeSet<String>,
) -> Result<OAuthForm, Error> {
    let none = OAuth::default();
    let given = given.unwrap_or(&none);
    let client = given.client_parameters.as_ref();
    let (id, secret) = client.map_or((None, None), |client| {
        (client.client_id.clone(), client.client_secret.clone())
    });
    let of = |part: fn(&OAuthForm) -> &String| old.as_ref().map(|old| part(old).clone());
    let mut form = OAuthForm {
        endpoint: needed(
            given
                .authorization_endpoint
                .clone()
                .or_else(|| of(|old| &old.endpoint)),
            "AuthorizationEndpoint",
        )?,
        method: needed(
            given.http_method.clone().or_else(|| of(|old| &old.method)),
            "HttpMethod",
        )?,
        client_id: needed(id.or_else(|| of(|old| &old.client_id)), "ClientID")?,
        client_secret: needed(
            secret.or_else(|| of(|old| &old.client_secret)),
            "ClientSecret",
        )?,
        headers: BTreeMap::new(),
        query: BTreeMap::new(),
        body: BTreeMap::new(),
    };
    match (&given.oauth_http_parameters, old) {
        (Some(additions), _) => {
            form.headers = pairs("oauth.headers", &additions.header_parameters, shown)?;
            form.query = pairs("oauth.query", &additions.query_string_parameters, shown)?;
            form.body = pairs("oauth.body", &additions.body_parameters, shown)?;
        }
        (None, Some(old)) => {
            (form.headers, form.query, form.body) = (old.headers, old.query, old.body);
        }
        (None, None) => {}
    }
    Ok(form)
}

/// Parameters by name; which of them may be shown is noted.
fn pairs(
    place: &str,
    given: &[Addition],
    shown: &mut BTreeSet<String>,
) -> Result<BTreeMap<String, String>, Error> {
    let prefix = format!("{place}.");
    shown.retain(|name| !name.starts_with(&prefix));
    let mut pairs = BTreeMap::new();
    for Addition {
        key,
        value,
        is_value_secret,
    } in given
    {
        let value = value.clone().unwrap_or_default();
        if pairs.insert(key.clone(), value).is_some() {
            return Err(wrong(format!("the parameter `{key}` is given twice")));
        }
        if !is_value_secret {
            shown.insert(format!("{prefix}{key}"));
        }
    }
    Ok(pairs)
}

/// AuthParameters as DescribeConnection tells them: without what is secret.
pub(super) fn told(kept: &KeptConnection) -> Value {
    let form = &kept.form;
    let additions = |place: &str, of: [&BTreeMap<String, String>; 3]| {
        let all = |part: &str, pairs: &BTreeMap<String, String>| {
            let told = pairs.iter().map(|(key, value)| {
                let shown = kept.shown.contains(&format!("{place}{part}.{key}"));
                Addition {
                    key: key.clone(),
                    value: shown.then(|| value.clone()),
                    is_value_secret: !shown,
                }
            });
            told.collect()
        };
        let [headers, query, body] = of;
        Additions {
            header_parameters: all("headers", headers),
            query_string_parameters: all("query", query),
            body_parameters: all("body", body),
        }
    };
    let mut told = json!({});
    if let Some(key) = &form.api_key {
        told["ApiKeyAuthParameters"] = json!({"ApiKeyName": key.header});
    }
    if let Some(basic) = &form.basic {
        told["BasicAuthParameters"] = json!({"Username": basic.username});
    }
    if let Some(grant) = &form.oauth {
        let mut shown = json!({
            "ClientParameters": {"ClientID": grant.client_id},
            "AuthorizationEndpoint": grant.endpoint,
            "HttpMethod": grant.method,
        });
        if !(grant.headers.is_empty() && grant.query.is_empty() && grant.body.is_empty()) {
            let of = [&grant.headers, &grant.query, &grant.body];
            shown["OAuthHttpParameters"] = json!(additions("oauth.", of));
        }
        told["OAuthParameters"] = shown;
    }
    if !(form.headers.is_empty() && form.query.is_empty() && form.body.is_empty()) {
        let of = [&form.headers, &form.query, &form.body];
        told["InvocationHttpParameters"] = json!(additions("", of));
    }
    told
}

fn needed(given: Option<String>, what: &str) -> Result<String, Error> {
    given
        .filter(|text| !text.is_empty())
        .ok_or_else(|| wrong(format!("{what} is missing")))
}

fn wrong(message: String) -> Error {
    Error::Rejected {
        code: Code::ValidationException,
        message,
    }
}

#[cfg(test)]
mod tests {
    use stepwell_engine::{AllowForm, ConnectionForm};

    use super::*;

    fn kept(kind: &str, parameters: &str) -> KeptConnection {
        let fresh = KeptConnection {
            form: ConnectionForm {
                allow: vec![AllowForm::Origin("https://*".to_owned())],
                api_key: None,
                basic: None,
                oauth: None,
                headers: BTreeMap::new(),
                query: BTreeMap::new(),
                body: BTreeMap::new(),
            },
            description: String::new(),
            private: false,
            shown: BTreeSet::new(),
        };
        let parameters = serde_json::from_str(parameters).unwrap();
        authorized(fresh, kind, Some(&parameters)).unwrap()
    }

    const ADDITIONS: &str = r#""InvocationHttpParameters": {
        "HeaderParameters": [{"Key": "X-A", "Value": "hidden2", "IsValueSecret": true}, {"Key": "X-B", "Value": "plain", "IsValueSecret": false}],
        "QueryStringParameters": [{"Key": "q", "Value": "hidden3", "IsValueSecret": true}],
        "BodyParameters": [{"Key": "b", "Value": "hidden4", "IsValueSecret": true}]}"#;

    /// Kinds of authorization with secrets wherever there may be some, and what is told of each, as EventBridge tells it.
    fn kinds() -> [(&'static str, &'static str, Value); 3] {
        [
            (
                "BASIC",
                r#""BasicAuthParameters": {"Username": "u", "Password": "hidden1"}"#,
                json!({"BasicAuthParameters": {"Username": "u"}}),
            ),
            (
                "API_KEY",
                r#""ApiKeyAuthParameters": {"ApiKeyName": "X-Key", "ApiKeyValue": "hidden1"}"#,
                json!({"ApiKeyAuthParameters": {"ApiKeyName": "X-Key"}}),
            ),
            (
                "OAUTH_CLIENT_CREDENTIALS",
                r#""OAuthParameters": {"ClientParameters": {"ClientID": "id", "ClientSecret": "hidden1"},
                    "AuthorizationEndpoint": "https://a.example/token", "HttpMethod": "POST",
                    "OAuthHttpParameters": {"BodyParameters": [{"Key": "scope", "Value": "read", "IsValueSecret": false},
                        {"Key": "code", "Value": "hidden5", "IsValueSecret": true}]}}"#,
                json!({"OAuthParameters": {
                    "ClientParameters": {"ClientID": "id"},
                    "AuthorizationEndpoint": "https://a.example/token",
                    "HttpMethod": "POST",
                    "OAuthHttpParameters": {"BodyParameters": [
                        {"Key": "code", "IsValueSecret": true},
                        {"Key": "scope", "Value": "read", "IsValueSecret": false},
                    ]},
                }}),
            ),
        ]
    }

    #[test]
    fn what_is_told_has_no_secret() {
        for (kind, parameters, mut wanted) in kinds() {
            let mut kept = kept(kind, &format!("{{{parameters}, {ADDITIONS}}}"));
            assert!(kept.form.clone().check().is_ok(), "{kind}");
            wanted["InvocationHttpParameters"] = json!({
                "HeaderParameters": [
                    {"Key": "X-A", "IsValueSecret": true},
                    {"Key": "X-B", "Value": "plain", "IsValueSecret": false},
                ],
                "QueryStringParameters": [{"Key": "q", "IsValueSecret": true}],
                "BodyParameters": [{"Key": "b", "IsValueSecret": true}],
            });
            let described = told(&kept);
            assert_eq!(described, wanted);
            assert!(!described.to_string().contains("hidden"), "{described}");
            // One that the command line put says of nothing that it may be shown.
            kept.shown.clear();
            let described = told(&kept).to_string();
            for value in ["hidden", "plain", "read"] {
                assert!(!described.contains(value), "{value} in {described}");
            }
        }
    }
}
