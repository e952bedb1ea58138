//! Calls of the function service, by which plugins are uploaded, and of STS, which tells whose they are. Hides their paths and how
//! they tell errors.

use anyhow::{Context, anyhow};
use axum::http::response::Parts;
use axum::http::{Method, Request, header};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use stepwell_egress::sigv4::canonical::encoded;
use stepwell_engine::EVENTS_PREFIX;

use super::{Client, Refused, whole};
use crate::exit::{Blame, Outcome, Stop};
use crate::transfer::Transfer;

/// Before the paths of all calls.
const VERSION: &str = "/2015-03-31";

/// The path of a function, below the version. Names come as they were written, whatever characters they have.
pub(crate) fn path_of(function: &str) -> String {
    format!("functions/{}", encoded(function))
}

/// The state machine that those calls of a function are executions of that nobody waits for.
pub(crate) fn events_of(function: &str, region: &str, account: &str) -> String {
    format!("arn:aws:states:{region}:{account}:stateMachine:{EVENTS_PREFIX}{function}")
}

/// The function whose calls that nobody waits for the name of a state machine stands for.
pub(crate) fn calls_of(machine: &str) -> Option<&str> {
    machine.strip_prefix(EVENTS_PREFIX)
}

impl Client {
    /// One call of the function service, by its path below the version.
    pub(crate) async fn functions(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Outcome<Result<Value, Refused>> {
        let answer = self.function_call(method, path, body, None).await?;
        Ok(answer.map(|(answer, _)| answer))
    }

    /// The same of a call that reads, and a header of its answer.
    pub(crate) async fn functions_told(
        &self,
        path: &str,
        header: &str,
    ) -> Outcome<Result<(Value, Option<String>), Refused>> {
        let answer = self.function_call(Method::GET, path, None, None).await?;
        Ok(answer.map(|(answer, parts)| (answer, told(&parts, header))))
    }

    /// A call with a body that may be large, whose way is counted.
    pub(crate) async fn upload(
        &self,
        method: Method,
        path: &str,
        body: &Value,
        transfer: &Transfer,
    ) -> Outcome<Result<Value, Refused>> {
        let call = self.function_call(method, path, Some(body), Some(transfer));
        Ok(call.await?.map(|(answer, _)| answer))
    }

    /// Refuses a name that nothing has: that there are no calls of it would be true of any word.
    pub(crate) async fn check_called(&self, function: &str) -> Outcome {
        let found = self
            .functions(Method::GET, &path_of(function), None)
            .await?;
        match found {
            Err(refused) if refused.code == "ResourceNotFoundException" => {
                Err(Stop::Usage(anyhow!(
                    "there is no plugin `{function}` uploaded, and one of the plugin directory has had no such call\nhint: `stepwell plugin versions{}` lists what was uploaded",
                    self.flags()
                )))
            }
            // A key that may list the calls and not read the plugin is told what there is.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Region and account of who asks.
    pub(crate) async fn whose(&self) -> Outcome<(String, String)> {
        Ok((self.region().to_owned(), self.account().await?))
    }

    /// The account of who asks.
    async fn account(&self) -> Outcome<String> {
        let request = Request::post(self.url("/"))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(b"Action=GetCallerIdentity&Version=2011-06-15".to_vec())
            .runtime()?;
        let response = self.send_to("sts", request).await?;
        let status = response.status();
        let bytes = whole(response.into_body()).await?;
        let text = String::from_utf8_lossy(&bytes);
        let told = |tag: &str| {
            let (_, after) = text.split_once(&format!("<{tag}>"))?;
            let (within, _) = after.split_once(&format!("</{tag}>"))?;
            Some(within.to_owned())
        };
        if let Some(account) = told("Account").filter(|_| status.is_success()) {
            return Ok(account);
        }
        let refused = self.or_key(Refused {
            code: told("Code").unwrap_or_default(),
            message: told("Message")
                .unwrap_or_else(|| format!("GetCallerIdentity failed ({status})")),
        });
        Err(Stop::Usage(anyhow!("{refused}")))
    }

    async fn function_call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        transfer: Option<&Transfer>,
    ) -> Outcome<Result<(Value, Parts), Refused>> {
        let request = Request::builder()
            .method(method)
            .uri(self.url(&format!("{VERSION}/{path}")))
            .header(header::CONTENT_TYPE, "application/json")
            .body(
                body.map(|body| body.to_string().into_bytes())
                    .unwrap_or_default(),
            )
            .usage()?;
        let response = self.send_counted("lambda", request, transfer).await?;
        let (parts, body) = response.into_parts();
        let bytes = whole(body).await?;
        let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if parts.status.is_success() {
            return Ok(Ok((answer, parts)));
        }
        let refused = refusal(path, &parts, &answer)?;
        Ok(Err(self.or_key(refused)))
    }

    /// Calls a function, or a plugin of the directory, and waits for its answer.
    pub(crate) async fn invoke(
        &self,
        name: &str,
        qualifier: Option<&str>,
        payload: String,
    ) -> Outcome<Result<Invoked, Refused>> {
        let query = qualifier.map(|qualifier| format!("?Qualifier={}", encoded(qualifier)));
        let path = format!("{}/invocations{}", path_of(name), query.unwrap_or_default());
        let request = Request::post(self.url(&format!("{VERSION}/{path}")))
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-amz-log-type", "Tail")
            .body(payload.into_bytes())
            .with_context(|| format!("`{name}` is no name of a plugin"))
            .usage()?;
        let response = self.send_to("lambda", request).await?;
        let (parts, body) = response.into_parts();
        let bytes = whole(body).await?;
        if !parts.status.is_success() {
            let answer = serde_json::from_slice(&bytes).unwrap_or_default();
            let refused = refusal(&path, &parts, &answer)?;
            return Ok(Err(self.or_key(refused)));
        }
        let log = told(&parts, "x-amz-log-result").and_then(|log| STANDARD.decode(log).ok());
        Ok(Ok(Invoked {
            payload: String::from_utf8_lossy(&bytes).into_owned(),
            failed: told(&parts, "x-amz-function-error").is_some(),
            version: told(&parts, "x-amz-executed-version").unwrap_or_default(),
            log: String::from_utf8_lossy(&log.unwrap_or_default()).into_owned(),
        }))
    }
}

/// A header of an answer.
fn told(parts: &Parts, name: &str) -> Option<String> {
    let text = parts.headers.get(name)?.to_str().ok()?;
    Some(text.to_owned())
}

/// What a function answered.
pub(crate) struct Invoked {
    /// JSON text: its output, or a report of how it failed.
    pub(crate) payload: String,
    pub(crate) failed: bool,
    /// A number, or `$LATEST`.
    pub(crate) version: String,
    /// The end of its log.
    pub(crate) log: String,
}

/// The service's refusal; an error where it is no refusal, but a failure of the service, or of somebody else's.
fn refusal(path: &str, parts: &Parts, answer: &Value) -> Outcome<Refused> {
    let code = parts
        .headers
        .get("x-amzn-errortype")
        .and_then(|code| code.to_str().ok());
    let told = ["Message", "message"]
        .iter()
        .find_map(|key| answer.get(*key)?.as_str());
    let refused = Refused {
        code: code.unwrap_or_default().to_owned(),
        message: match (told, code) {
            (Some(told), _) => told.to_owned(),
            (None, Some(_)) => String::new(),
            (None, None) => {
                "its answer is none of the function service; is it a Stepwell server?".to_owned()
            }
        },
    };
    if parts.status.is_server_error() || code.is_none() {
        let status = parts.status;
        return Err(Stop::Runtime(anyhow!(
            "{path} failed ({status}): {refused}"
        )));
    }
    Ok(refused)
}

#[cfg(test)]
mod tests {
    use axum::http::Response;
    use serde_json::json;

    use super::*;

    #[test]
    fn who_does_not_speak_as_the_function_service_is_named_as_that() {
        let told = |code: Option<&str>, answer: Value| {
            let response = Response::builder().status(404);
            let response = match code {
                Some(code) => response.header("x-amzn-errortype", code),
                None => response,
            };
            let (parts, ()) = response.body(()).unwrap().into_parts();
            match refusal("functions/pay", &parts, &answer) {
                Ok(refused) => refused.to_string(),
                Err(Stop::Runtime(error)) => error.to_string(),
                Err(other) => panic!("{other:?}"),
            }
        };
        let missing = Some("ResourceNotFoundException");
        assert_eq!(
            told(missing, json!({"Message": "Function not found"})),
            "ResourceNotFoundException: Function not found"
        );
        assert_eq!(told(missing, Value::Null), "ResourceNotFoundException");
        assert_eq!(
            told(None, Value::Null),
            "functions/pay failed (404 Not Found): its answer is none of the function service; is it a Stepwell server?"
        );
    }
}
