//! What an installation tells of executions beside AWS's calls: pages of history with what attempts used, limits, logs, map runs. Hides
//! the paths, and what is asked of a server that does not know them.

use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use stepwell_egress::sigv4::canonical::encoded;

use super::{Client, PAGE_MAX, whole};
use crate::exit::{Blame, Outcome};

impl Client {
    /// A page of the history of an execution, and the token of the next one. Outcomes of attempts have what these used,
    /// where the server tells.
    pub(crate) async fn history_page(
        &self,
        arn: &str,
        token: Option<String>,
    ) -> Outcome<(Vec<Value>, Option<String>)> {
        let after = token.as_ref().map_or_else(String::new, |token| {
            format!("&nextToken={}", encoded(token))
        });
        let path = format!(
            "/api/executions/{}/events?maxResults={PAGE_MAX}{after}",
            encoded(arn)
        );
        let mut page = match self.told(&path).await? {
            Some(page) => page,
            None => {
                let mut body = json!({"executionArn": arn, "maxResults": PAGE_MAX});
                if let Some(token) = token {
                    body["nextToken"] = json!(token);
                }
                self.call("GetExecutionHistory", body).await?
            }
        };
        let events = match page.get_mut("events").map(Value::take) {
            Some(Value::Array(events)) => events,
            Some(_) | None => Vec::new(),
        };
        let next = page.get("nextToken").and_then(Value::as_str);
        Ok((events, next.map(str::to_owned)))
    }

    /// The whole history of an execution, as the API gives it.
    pub(crate) async fn history(&self, arn: &str) -> Outcome<Vec<Value>> {
        self.list(
            "GetExecutionHistory",
            json!({"executionArn": arn}),
            "events",
            usize::MAX,
        )
        .await
    }

    /// How near an execution is to its limits; nothing from a server that does not tell.
    pub(crate) async fn limits(&self, arn: &str) -> Outcome<Option<Value>> {
        self.told(&format!("/api/executions/{}/limits", encoded(arn)))
            .await
    }

    /// A page of what an execution's attempts logged and printed; nothing from a server that does not tell.
    pub(crate) async fn attempt_logs(
        &self,
        arn: &str,
        token: Option<&str>,
    ) -> Outcome<Option<Value>> {
        let token = token.map_or_else(String::new, |token| {
            format!("&nextToken={}", encoded(token))
        });
        let arn = encoded(arn);
        self.told(&format!("/api/executions/{arn}/logs?maxResults=100{token}"))
            .await
    }

    /// What the attempts of an execution used, and the notes of those that run; nothing from a server that does not tell.
    pub(crate) async fn attempts(&self, arn: &str) -> Outcome<Option<Attempts>> {
        let mut all = Attempts::default();
        let mut token = String::new();
        let arn = encoded(arn);
        loop {
            let path = format!("/api/executions/{arn}/attempts?maxResults={PAGE_MAX}{token}");
            let Some(mut page) = self.told(&path).await? else {
                return Ok(None);
            };
            let list = |page: &mut Value, key: &str| match page[key].take() {
                Value::Array(list) => list,
                _ => Vec::new(),
            };
            all.ended.extend(list(&mut page, "attempts"));
            all.progress = list(&mut page, "progress");
            match page["nextToken"].as_str() {
                Some(next) => token = format!("&nextToken={}", encoded(next)),
                None => return Ok(Some(all)),
            }
        }
    }

    /// How far a map run is; nothing from a server that does not tell.
    pub(crate) async fn map_run(&self, arn: &str) -> Outcome<Option<Value>> {
        self.told(&format!("/api/map-runs/{}", encoded(arn))).await
    }

    async fn told(&self, path: &str) -> Outcome<Option<Value>> {
        let request = Request::get(self.url(path)).body(Vec::new()).runtime()?;
        let response = self.send(request).await?;
        if response.status() != StatusCode::OK {
            return Ok(None);
        }
        let bytes = whole(response.into_body()).await?;
        Ok(serde_json::from_slice(&bytes).ok())
    }
}

/// What the API tells of an execution's attempts.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    pub(crate) ended: Vec<Value>,
    /// Latest notes of those that run.
    pub(crate) progress: Vec<Value>,
}
