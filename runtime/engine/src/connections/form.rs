//! A connection as it is written: one of the operator's file, or one that a tenant keeps in the store. Hides what has to be checked
//! before it is one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stepwell_egress::{HttpRule, Url};

use super::{Additions, Authorization, Connection, OAuth, Secret};

/// One connection. `T` is a text that may be a secret, or says where it is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a connection: { allow = [\"https://…\"], … }"
)]
pub struct ConnectionForm<T = String> {
    pub allow: Vec<AllowForm>,
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub api_key: Option<ApiKeyForm<T>>,
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub basic: Option<BasicForm<T>>,
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub oauth: Option<OAuthForm<T>>,
    #[serde(default = "BTreeMap::new", skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, T>,
    #[serde(default = "BTreeMap::new", skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, T>,
    #[serde(default = "BTreeMap::new", skip_serializing_if = "BTreeMap::is_empty")]
    pub body: BTreeMap<String, T>,
}

/// Requests that may be made with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "an origin such as \"https://api.example.com\", or { origin = \"…\", methods = [\"GET\"], path = \"/v1\" }"
)]
pub enum AllowForm {
    Origin(String),
    Rule(RuleForm),
}

/// Of its own, so that a slip in a key is an error and not a rule that allows more than it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleForm {
    pub origin: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "{ header = \"X-Api-Key\", value = … }"
)]
pub struct ApiKeyForm<T = String> {
    pub header: String,
    pub value: T,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "{ username = \"…\", password = … }")]
pub struct BasicForm<T = String> {
    pub username: String,
    pub password: T,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "{ endpoint = \"https://…\", client_id = \"…\", client_secret = … }"
)]
pub struct OAuthForm<T = String> {
    pub endpoint: String,
    #[serde(default = "post")]
    pub method: String,
    pub client_id: String,
    pub client_secret: T,
    #[serde(default = "BTreeMap::new", skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, T>,
    #[serde(default = "BTreeMap::new", skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, T>,
    #[serde(default = "BTreeMap::new", skip_serializing_if = "BTreeMap::is_empty")]
    pub body: BTreeMap<String, T>,
}

fn post() -> String {
    "POST".to_owned()
}

/// `Option::default` would ask for a default of the text.
fn none<T>() -> Option<T> {
    None
}

impl<T> ConnectionForm<T> {
    /// The same with each text that may be a secret read; `read` is told where it stands, as `api_key.value`.
    ///
    /// # Errors
    /// The first of `read`.
    pub fn with_texts<U, E>(
        self,
        read: &mut dyn FnMut(&str, T) -> Result<U, E>,
    ) -> Result<ConnectionForm<U>, E> {
        Ok(ConnectionForm {
            allow: self.allow,
            api_key: match self.api_key {
                Some(ApiKeyForm { header, value }) => Some(ApiKeyForm {
                    header,
                    value: read("api_key.value", value)?,
                }),
                None => None,
            },
            basic: match self.basic {
                Some(BasicForm { username, password }) => Some(BasicForm {
                    username,
                    password: read("basic.password", password)?,
                }),
                None => None,
            },
            oauth: match self.oauth {
                Some(grant) => Some(OAuthForm {
                    endpoint: grant.endpoint,
                    method: grant.method,
                    client_id: grant.client_id,
                    client_secret: read("oauth.client_secret", grant.client_secret)?,
                    headers: texts("oauth.headers", grant.headers, read)?,
                    query: texts("oauth.query", grant.query, read)?,
                    body: texts("oauth.body", grant.body, read)?,
                }),
                None => None,
            },
            headers: texts("headers", self.headers, read)?,
            query: texts("query", self.query, read)?,
            body: texts("body", self.body, read)?,
        })
    }
}

fn texts<T, U, E>(
    place: &str,
    texts: BTreeMap<String, T>,
    read: &mut dyn FnMut(&str, T) -> Result<U, E>,
) -> Result<BTreeMap<String, U>, E> {
    let read = texts.into_iter().map(|(name, text)| {
        let text = read(&format!("{place}.{name}"), text)?;
        Ok((name, text))
    });
    read.collect()
}

impl ConnectionForm {
    /// The connection that it is.
    ///
    /// # Errors
    /// What is wrong with it and where, without any text that may be a secret.
    pub fn check(self) -> Result<Connection, String> {
        if self.allow.is_empty() {
            return Err(
                "allow: it names nothing, so no request could be made\nhint: allow = [\"https://api.example.com\"]"
                    .to_owned(),
            );
        }
        let rules = self.allow.iter().map(AllowForm::rule);
        let allow = rules.collect::<Result<_, _>>();
        check_headers("headers", &self.headers)?;
        let authorization = match (self.api_key, self.basic, self.oauth) {
            (Some(key), None, None) => {
                check_header("api_key", &key.header, &key.value)?;
                Authorization::ApiKey {
                    header: key.header,
                    value: key.value.into(),
                }
            }
            (None, Some(basic), None) => Authorization::Basic {
                username: basic.username,
                password: basic.password.into(),
            },
            (None, None, Some(grant)) => {
                Authorization::OAuth(grant.check().map_err(|why| format!("oauth: {why}"))?)
            }
            (None, None, None) => Authorization::None,
            (_, _, _) => return Err("api_key, basic and oauth exclude each other".to_owned()),
        };
        Ok(Connection {
            allow: allow.map_err(|why| format!("allow: {why}"))?,
            authorization,
            additions: additions(self.headers, self.query, self.body),
        })
    }

    /// What it is authorized by, in EventBridge's words; empty when by nothing.
    pub fn kind(&self) -> &'static str {
        match (&self.api_key, &self.basic, &self.oauth) {
            (Some(_), _, _) => "API_KEY",
            (None, Some(_), _) => "BASIC",
            (None, None, Some(_)) => "OAUTH_CLIENT_CREDENTIALS",
            (None, None, None) => "",
        }
    }
}

impl AllowForm {
    fn rule(&self) -> Result<HttpRule, String> {
        match self {
            AllowForm::Origin(origin) => HttpRule::parse(origin, &[], None),
            AllowForm::Rule(rule) => {
                HttpRule::parse(&rule.origin, &rule.methods, rule.path.as_deref())
            }
        }
    }
}

impl OAuthForm {
    fn check(self) -> Result<OAuth, String> {
        let endpoint = Url::parse(&self.endpoint).ok();
        let endpoint = endpoint
            .filter(|url| matches!(url.scheme(), "https" | "http") && url.host_str().is_some());
        // Neither is repeated here: a URL may hold a secret.
        let endpoint = endpoint.ok_or("endpoint: it is no URL with https or http and a host")?;
        if !endpoint.username().is_empty() || endpoint.password().is_some() {
            return Err(
                "endpoint: its URL holds a user name or a password; give client_id and client_secret"
                    .to_owned(),
            );
        }
        if !matches!(self.method.as_str(), "GET" | "POST" | "PUT") {
            return Err(format!(
                "method: `{}` is none of GET, POST, PUT",
                self.method
            ));
        }
        check_headers("headers", &self.headers)?;
        Ok(OAuth {
            endpoint,
            method: self.method,
            client_id: self.client_id,
            client_secret: self.client_secret.into(),
            additions: additions(self.headers, self.query, self.body),
        })
    }
}

/// Headers that follow from the request: a connection's would not be sent.
const FRAMING: [&str; 3] = ["host", "content-length", "transfer-encoding"];

fn check_headers(place: &str, headers: &BTreeMap<String, String>) -> Result<(), String> {
    let mut headers = headers.iter();
    headers.try_for_each(|(name, value)| check_header(place, name, value))
}

/// What cannot be sent is told when the connection is made, and not by each task that uses it. The value is not repeated.
fn check_header(place: &str, name: &str, value: &str) -> Result<(), String> {
    let in_names = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(in_names) {
        return Err(format!(
            "{place}: `{}` is no name of a header: it has letters, digits and `-`",
            name.escape_debug()
        ));
    }
    if FRAMING.iter().any(|own| name.eq_ignore_ascii_case(own)) {
        return Err(format!(
            "{place}: `{name}` follows from the request and cannot be set"
        ));
    }
    if !value.chars().all(|c| c == '\t' || (' '..='~').contains(&c)) {
        return Err(format!(
            "{place}: the value of `{name}` has line breaks or characters beyond ASCII, which no header has"
        ));
    }
    Ok(())
}

fn additions(
    headers: BTreeMap<String, String>,
    query: BTreeMap<String, String>,
    body: BTreeMap<String, String>,
) -> Additions {
    let all = |texts: BTreeMap<String, String>| {
        let secrets = texts
            .into_iter()
            .map(|(name, text)| (name, Secret::from(text)));
        secrets.collect()
    };
    Additions {
        headers: all(headers),
        query: all(query),
        body: all(body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_a_header_is_refused_without_its_value() {
        let check = |text: &str| {
            let form: ConnectionForm = serde_json::from_str(text).expect("a connection");
            form.check().map(drop)
        };
        for (more, part) in [
            (
                r#""headers": {"X\r\nY": "s3cret"}"#,
                "is no name of a header",
            ),
            (
                r#""headers": {"X-Y": "s3cret\r\nZ: 1"}"#,
                "`X-Y` has line breaks",
            ),
            (
                r#""headers": {"Transfer-Encoding": "s3cret"}"#,
                "cannot be set",
            ),
            (
                r#""api_key": {"header": "Host", "value": "s3cret"}"#,
                "cannot be set",
            ),
            (
                r#""api_key": {"header": "", "value": "s3cret"}"#,
                "is no name of a header",
            ),
            (
                r#""oauth": {"endpoint": "https://a.example", "client_id": "a", "client_secret": "s3cret", "headers": {"A B": "s3cret"}}"#,
                "oauth: headers: `A B`",
            ),
        ] {
            let why = check(&format!(r#"{{"allow": ["https://a.example"], {more}}}"#));
            let why = why.expect_err(more);
            assert!(why.contains(part) && !why.contains("s3cret"), "{why}");
        }
        let good = r#"{"allow": ["https://a.example"], "headers": {"X-Team": "a b\tc"}}"#;
        assert_eq!(check(good), Ok(()));
    }
}
