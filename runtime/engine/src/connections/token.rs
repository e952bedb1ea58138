//! Tokens of OAuth connections: fetched when one is needed, kept as long as they last. Hides the request for one.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use stepwell_egress::{Client, HttpRule, Request};
use stepwell_query::Value;
use tokio::sync::Mutex;

use super::{OAuth, Secret};
use crate::{
    http_task::form,
    limits::{TOKEN_LIFE, TOKEN_LIFE_MARGIN, TOKEN_REPLY_BYTES_MAX},
};

/// Why there is no token; the text holds no secret.
#[derive(Debug, Clone)]
pub(crate) struct Unauthorized(pub(crate) String);

/// The token of one connection. Who needs one waits while another one's request for it is under way, and takes what
/// came of it, a token or none: else those who wait would ask in turn.
#[derive(Default)]
pub(super) struct Tokens(Mutex<Option<Fetched>>);

struct Fetched {
    result: Result<Token, Unauthorized>,
    at: Instant,
}

struct Token {
    text: Arc<str>,
    until: Instant,
}

impl Fetched {
    /// What it is worth for who came at that time.
    fn answer(&self, came: Instant, spent: Option<&str>) -> Option<Result<Arc<str>, Unauthorized>> {
        let waited = came <= self.at;
        match &self.result {
            Ok(token) if Some(&*token.text) == spent => None,
            Ok(token) => (waited || Instant::now() < token.until).then(|| Ok(token.text.clone())),
            Err(why) => waited.then(|| Err(why.clone())),
        }
    }
}

impl Tokens {
    /// The token that is kept, or a new one when it is over or `spent`.
    pub(super) async fn get(
        &self,
        client: &Client,
        oauth: &OAuth,
        public: bool,
        spent: Option<&str>,
    ) -> Result<Arc<str>, Unauthorized> {
        let came = Instant::now();
        let mut kept = self.0.lock().await;
        if let Some(answer) = kept.as_ref().and_then(|kept| kept.answer(came, spent)) {
            return answer;
        }
        let result = fetch(client, oauth, public).await;
        let at = Instant::now();
        let answer = result.as_ref().map(|token| token.text.clone());
        let answer = answer.map_err(Unauthorized::clone);
        *kept = Some(Fetched { result, at });
        answer
    }
}

async fn fetch(client: &Client, oauth: &OAuth, public: bool) -> Result<Token, Unauthorized> {
    let endpoint = &oauth.endpoint;
    let unusable = |why: String| {
        // Without the query, which may hold a key.
        let (origin, path) = (endpoint.origin().ascii_serialization(), endpoint.path());
        Unauthorized(format!("No token from {origin}{path}: {why}"))
    };
    let rule = rule_for(oauth).map_err(unusable)?;
    let rule = if public { rule.public() } else { rule };
    let request = request(oauth);
    let reply = client
        .exchange(&request, &[rule], TOKEN_REPLY_BYTES_MAX)
        .await
        .map_err(|failure| unusable(failure.to_string()))?;
    if !(200..300).contains(&reply.status) {
        let answered = format!("it answered {} {}", reply.status, reply.reason);
        return Err(unusable(answered.trim_end().to_owned()));
    }
    let text = String::from_utf8_lossy(&reply.body);
    let reply = Value::parse(&text).unwrap_or_default();
    let token = reply.get("access_token").and_then(Value::as_str);
    let Some(token) =
        token.filter(|token| !token.is_empty() && token.chars().all(|c| !c.is_control()))
    else {
        return Err(unusable("its answer has no usable access_token".to_owned()));
    };
    let life = reply
        .get("expires_in")
        .and_then(Value::as_f64)
        .filter(|seconds| (0.0..1e9).contains(seconds))
        .map_or(TOKEN_LIFE, Duration::from_secs_f64);
    Ok(Token {
        text: token.into(),
        // A short life keeps most of itself.
        until: Instant::now() + life.saturating_sub(TOKEN_LIFE_MARGIN.min(life / 4)),
    })
}

/// Where an operator wrote the endpoint down, it may be reached wherever it is.
fn rule_for(oauth: &OAuth) -> Result<HttpRule, String> {
    let endpoint = &oauth.endpoint;
    let host = endpoint.host_str().unwrap_or_default();
    let port = endpoint.port_or_known_default().unwrap_or_default();
    HttpRule::parse(&format!("{}://{host}:{port}", endpoint.scheme()), &[], None)
}

/// The grant's parameters go into the body, or with GET into the query, as EventBridge sends them.
fn request(oauth: &OAuth) -> Request {
    let pair = |(name, value): &(String, Secret)| (name.clone(), value.reveal().to_owned());
    let mut url = oauth.endpoint.clone();
    let mut query: Vec<(String, String)> = oauth.additions.query.iter().map(pair).collect();
    let mut grant: Vec<(String, String)> = oauth.additions.body.iter().map(pair).collect();
    if !grant.iter().any(|(name, _)| name == "grant_type") {
        grant.insert(
            0,
            ("grant_type".to_owned(), "client_credentials".to_owned()),
        );
    }
    grant.push(("client_id".to_owned(), oauth.client_id.clone()));
    grant.push((
        "client_secret".to_owned(),
        oauth.client_secret.reveal().to_owned(),
    ));
    let in_query = oauth.method == "GET";
    if in_query {
        query.append(&mut grant);
    }
    form::append_query(&mut url, &query);
    let mut headers: Vec<(String, String)> = oauth.additions.headers.iter().map(pair).collect();
    let body = (!in_query).then(|| form::encode(&grant).into_bytes());
    if body.is_some() {
        let kind = "application/x-www-form-urlencoded".to_owned();
        headers.push(("Content-Type".to_owned(), kind));
    }
    Request {
        method: oauth.method.clone(),
        url,
        headers,
        body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waited_takes_what_came_of_it() {
        let began = Instant::now();
        let at = began + Duration::from_secs(2);
        let (waited, later) = (began + Duration::from_secs(1), at + Duration::from_secs(1));
        let token = |until| Fetched {
            result: Ok(Token {
                text: "t".into(),
                until,
            }),
            at,
        };
        let told = |fetched: &Fetched, came, spent| {
            let answer = fetched.answer(came, spent)?;
            Some(answer.map_err(|why| why.0).map(|text| text.to_string()))
        };
        let (lasting, over) = (token(began + Duration::from_secs(60)), token(began));
        assert_eq!(told(&lasting, later, None), Some(Ok("t".to_owned())));
        assert_eq!(told(&lasting, waited, Some("t")), None, "it is spent");
        assert_eq!(told(&over, waited, None), Some(Ok("t".to_owned())));
        assert_eq!(told(&over, later, None), None, "it is over");
        let failed = Fetched {
            result: Err(Unauthorized("no".to_owned())),
            at,
        };
        assert_eq!(told(&failed, waited, None), Some(Err("no".to_owned())));
        assert_eq!(told(&failed, later, None), None, "it is tried again");
    }
}
