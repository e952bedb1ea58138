//! From a task's arguments and its connection to the request. Hides in which order they are merged.

use std::sync::Arc;

use stepwell_egress::{Request, Url};
use stepwell_query::{ObjectBuilder, Value};

use super::{Trouble, form, form::ArrayFormat};
use crate::connections::{Authorization, Connection, Secret};

/// What stands in an inspection for what a connection adds.
const REDACTED: &str = "[REDACTED]";

/// A request in the making.
pub(super) struct Call<'a> {
    pub(super) arguments: &'a Value,
    pub(super) connection: &'a Connection,
    /// Whether it leads to public addresses alone.
    pub(super) public: bool,
    /// The token of a connection with OAuth.
    pub(super) token: Option<Arc<str>>,
    pub(super) region: &'a str,
    pub(super) trace: Option<&'a str>,
    /// Bytes of a response that are asked for.
    pub(super) bytes_max: usize,
}

impl Call<'_> {
    /// The request; what the connection adds is replaced in one that is only shown.
    pub(super) fn request(&self, shown: bool) -> Result<Request, Trouble> {
        let show = |secret: &Secret| match shown {
            true => REDACTED.to_owned(),
            false => secret.reveal().to_owned(),
        };
        let body = self.body(&show)?;
        Ok(Request {
            method: self.text("Method").to_ascii_uppercase(),
            url: self.url(&show)?,
            headers: self.headers(&show, body.is_some()),
            body: body.map(String::into_bytes),
        })
    }

    fn text(&self, name: &str) -> &str {
        let text = self.arguments.get(name).and_then(Value::as_str);
        text.unwrap_or_default()
    }

    /// Query parameters of the task that the connection has too are the connection's.
    fn url(&self, show: &dyn Fn(&Secret) -> String) -> Result<Url, Trouble> {
        let endpoint = self.text("ApiEndpoint");
        let mut url = Url::parse(endpoint).map_err(|error| {
            Trouble::Runtime(format!("The ApiEndpoint '{endpoint}' is no URL: {error}"))
        })?;
        url.set_fragment(None);
        let added = &self.connection.additions.query;
        let mut pairs = query(self.arguments.get("QueryParameters"));
        pairs.retain(|(name, _)| !added.iter().any(|(own, _)| own == name));
        pairs.extend(
            added
                .iter()
                .map(|(name, value)| (name.clone(), show(value))),
        );
        form::append_query(&mut url, &pairs);
        Ok(url)
    }

    /// Names are the same when they are written the same, as the service has it.
    fn headers(&self, show: &dyn Fn(&Secret) -> String, has_body: bool) -> Vec<(String, String)> {
        let mut headers = headers(self.arguments.get("Headers"));
        let mut set = |name: &str, value: String| {
            headers.retain(|(known, _)| known != name);
            headers.push((name.to_owned(), value));
        };
        match &self.connection.authorization {
            Authorization::None => {}
            Authorization::ApiKey { header, value } => set(header, show(value)),
            Authorization::Basic { username, password } => {
                set("Authorization", basic(username, password, show));
            }
            Authorization::OAuth(_) => {
                let token = self.token.as_deref().unwrap_or_default();
                let token = Secret::from(token.to_owned());
                set("Authorization", format!("Bearer {}", show(&token)));
            }
        }
        for (name, value) in &self.connection.additions.headers {
            set(name, show(value));
        }
        let mut fix = |name: &str, value: String| {
            headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
            headers.push((name.to_owned(), value));
        };
        let agent = format!("Amazon|StepFunctions|HttpInvoke|{}", self.region);
        fix("User-Agent", agent);
        fix("Range", format!("bytes=0-{}", self.bytes_max));
        if let Some(trace) = self.trace {
            fix("X-Amzn-Trace-Id", trace.to_owned());
        }
        let typed = |(name, _): &(String, String)| name.eq_ignore_ascii_case("content-type");
        if has_body && !headers.iter().any(typed) {
            let kind = "application/json; charset=UTF-8".to_owned();
            headers.push(("Content-Type".to_owned(), kind));
        }
        headers
    }

    fn body(&self, show: &dyn Fn(&Secret) -> String) -> Result<Option<String>, Trouble> {
        let given = self.arguments.get("RequestBody");
        let given = given.filter(|body| !body.is_null()).cloned();
        let added = &self.connection.additions.body;
        let body = if added.is_empty() {
            given
        } else {
            let body = given.unwrap_or_else(Value::empty_object);
            let Some(object) = body.as_object() else {
                return Err(Trouble::Runtime(
                    "Cannot merge connection body authorization parameters with request body."
                        .to_owned(),
                ));
            };
            let mut merged = ObjectBuilder::with_capacity(object.len() + added.len());
            for (name, value) in object.iter() {
                merged.insert(name.clone(), value.clone());
            }
            for (name, value) in added {
                merged.insert(name.as_str(), show(value));
            }
            Some(merged.into())
        };
        Ok(body.map(|body| self.encoded(&body)))
    }

    /// A text goes as it is, whatever the encoding.
    fn encoded(&self, body: &Value) -> String {
        if let Some(text) = body.as_str() {
            return text.to_owned();
        }
        let transform = self.arguments.get("Transform");
        let word = |of: Option<&Value>, name: &str| {
            let text = of.and_then(|of| of.get(name)).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        if word(transform, "RequestBodyEncoding") != "URL_ENCODED" {
            return body.to_json();
        }
        let options = transform.and_then(|all| all.get("RequestEncodingOptions"));
        let format = match word(options, "ArrayFormat").as_str() {
            "REPEAT" => ArrayFormat::Repeat,
            "COMMAS" => ArrayFormat::Commas,
            "BRACKETS" => ArrayFormat::Brackets,
            _ => ArrayFormat::Indices,
        };
        form::encode(&form::pairs(body, format))
    }
}

fn basic(username: &str, password: &Secret, show: &dyn Fn(&Secret) -> String) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let pair = format!("{username}:{}", password.reveal());
    let encoded = Secret::from(STANDARD.encode(pair));
    format!("Basic {}", show(&encoded))
}

/// A header for each text: an array stands for several of one name.
fn headers(given: Option<&Value>) -> Vec<(String, String)> {
    let members = given.and_then(Value::as_object).into_iter();
    let mut headers = Vec::new();
    for (name, value) in members.flat_map(|all| all.iter()) {
        let one = std::slice::from_ref(value);
        let values = value.as_array().map_or(one.iter(), |items| items.iter());
        for value in values.filter(|value| !value.is_null()) {
            headers.push((name.to_string(), form::scalar(value)));
        }
    }
    headers
}

/// An object's members, an array's in turn, or a text that is a query itself. A null is no parameter.
fn query(given: Option<&Value>) -> Vec<(String, String)> {
    let Some(given) = given else {
        return Vec::new();
    };
    if let Some(text) = given.as_str() {
        let text = text.trim_start_matches('?');
        // Only to read the text as the query that it is.
        let read = Url::parse(&format!("http://query/?{text}"));
        return read.map_or_else(
            |_| Vec::new(),
            |url| url.query_pairs().into_owned().collect(),
        );
    }
    if let Some(items) = given.as_array() {
        return items.iter().flat_map(|item| query(Some(item))).collect();
    }
    let members = given.as_object().into_iter().flat_map(|all| all.iter());
    let there = members.filter(|(_, value)| !value.is_null());
    let there = Value::object(there.map(|(name, value)| (name.clone(), value.clone())));
    form::pairs(&there, ArrayFormat::Repeat)
}
