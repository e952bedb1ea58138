//! The installation a command talks to: a server over HTTP, or a data directory opened here. Hides which; both are
//! spoken to in AWS's JSON protocol and answer alike.

mod functions;
mod named;
mod stream;
mod told;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client as HttpClient, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use stepwell_egress::sigv4::Signer;
use stepwell_engine::{Error, Quotas, holds_store};
use stepwell_server::TLS_ALONE;
use tower::ServiceExt;

use crate::args::{CompileArgs, InvokeArgs, LimitsArg, PlaceArgs, RuntimeArgs};
use crate::exit::{Blame, Outcome, Stop};
use crate::host::{self, Host, Opening, USUAL_DATA};
use crate::key_file;
use crate::telemetry::Listeners;
use crate::tls;
use crate::transfer::Transfer;

pub(crate) use functions::{Invoked, calls_of, events_of, path_of};
pub(crate) use stream::Heard;
pub(crate) use told::Attempts;

/// Events of one page (the API's largest).
const PAGE_MAX: u64 = 1_000;
/// The region of who asks for none.
pub(crate) const USUAL_REGION: &str = "us-east-1";
/// The code of who does not sign where that is asked for.
const NO_SIGNATURE: &str = "IncompleteSignatureException";
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// What a data directory is opened for.
#[derive(Clone, Copy)]
pub(crate) enum Purpose<'a> {
    /// To read, or to change what is there: executions that were running stay as they are, and a directory without a store too.
    Look,
    /// To add something: the same, and a directory without a store gets one.
    Add,
    /// To call something that is there, with this: as who looks, and what is sealed opens.
    Call(&'a InvokeArgs),
    /// To run executions, with this: those that were running go on as well.
    Act(&'a RuntimeArgs),
}

/// What speaks HTTP, with TLS and without.
pub(crate) type HttpsClient = HttpClient<HttpsConnector<HttpConnector>, Body>;

/// One that trusts as commands do.
pub(crate) fn https_client() -> Outcome<Box<HttpsClient>> {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECT_TIME_MAX));
    connector.set_nodelay(true);
    connector.enforce_http(false);
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls::client()?)
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector);
    Ok(Box::new(
        HttpClient::builder(TokioExecutor::new()).build(connector),
    ))
}

/// See the module.
pub(crate) enum Client {
    Server {
        http: Box<HttpsClient>,
        endpoint: String,
        region: Option<String>,
        /// The access key of the environment.
        key: Option<Signer>,
    },
    Here {
        router: axum::Router,
        host: Host,
        region: Option<String>,
    },
}

impl Client {
    /// The installation that the flags name; the default data directory when they name none.
    pub(crate) async fn open(place: &PlaceArgs, purpose: Purpose<'_>) -> Outcome<Client> {
        if let Some(endpoint) = place.endpoint() {
            if let Purpose::Act(runtime) = purpose
                && runtime.plugins.is_some()
            {
                return Err(Stop::Usage(anyhow!(
                    "--plugins is for executions that run here, and {endpoint} runs its own\nhint: the server is started with --plugins; --data DIR runs executions here"
                )));
            }
            return Client::server(&endpoint, place.region.asked());
        }
        let data = place.data.as_deref().unwrap_or(Path::new(USUAL_DATA));
        Client::open_data(data, place.region.asked(), purpose).await
    }

    /// A data directory that no server holds.
    pub(crate) async fn open_data(
        data: &Path,
        region: Option<String>,
        purpose: Purpose<'_>,
    ) -> Outcome<Client> {
        match purpose {
            Purpose::Look | Purpose::Call(_) => check_store(data)?,
            Purpose::Add | Purpose::Act(_) => check_data(data)?,
        }
        let runtime = match purpose {
            Purpose::Look | Purpose::Add | Purpose::Call(_) => None,
            Purpose::Act(runtime) => Some(runtime),
        };
        let (plugins, compile, policy, vault) = match purpose {
            // Who only looks opens nothing that is sealed.
            Purpose::Look | Purpose::Add => (None, CompileArgs::default(), None, None),
            Purpose::Call(call) => {
                let (plugins, policy) = (call.plugins.as_deref(), Some(&call.policy));
                (plugins, call.compile, policy, key_file::beside(data)?)
            }
            Purpose::Act(runtime) => {
                let (plugins, policy) = (runtime.plugins.as_deref(), Some(&runtime.policy));
                (plugins, runtime.compile, policy, key_file::beside(data)?)
            }
        };
        let opening = Opening {
            data: Some(data),
            store: None,
            plugins,
            limits: runtime.map_or(LimitsArg::Strict, |runtime| runtime.limits),
            storage: runtime.map(|runtime| &runtime.storage),
            connections: runtime.and_then(|runtime| runtime.connections.as_deref()),
            // The flag of that name is the server's address here.
            endpoints: &[],
            compiler: host::compiler(compile, false)?,
            policy,
            take_up: runtime.is_some(),
            usual: Quotas::default(),
            listeners: Listeners::default(),
            vault,
            no_vault: None,
        };
        let host = Host::open(opening).await.map_err(or_endpoint)?;
        Ok(Client::here(host, region))
    }

    /// The installation in this process.
    pub(crate) fn here(host: Host, region: Option<String>) -> Client {
        Client::Here {
            router: host.router(),
            host,
            region,
        }
    }

    /// A running server.
    pub(crate) fn server(endpoint: &str, region: Option<String>) -> Outcome<Client> {
        let uri = endpoint.parse::<Uri>().ok();
        let named = uri.is_some_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()
        });
        if !named {
            return Err(Stop::Usage(anyhow!(
                "`{endpoint}` is no address of a server\nhint: give it as http://HOST:PORT or https://HOST:PORT"
            )));
        }
        Ok(Client::Server {
            http: https_client()?,
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            key: signer(region.as_deref()),
            region,
        })
    }

    /// Lets go of the data directory, if one was opened.
    pub(crate) async fn close(self) {
        match self {
            Client::Server { .. } => {}
            Client::Here { host, .. } => host.close().await,
        }
    }

    /// The flags with which another command reaches the same installation.
    pub(crate) fn flags(&self) -> String {
        match self {
            Client::Server { endpoint, .. } => format!(" --endpoint {endpoint}"),
            Client::Here { host, .. } => host.flags(),
        }
    }

    /// The flags with which another command runs executions of the same installation as this one does; `None` when they
    /// are gone with this process.
    pub(crate) fn flags_to_run(&self) -> Option<String> {
        match self {
            Client::Server { .. } => Some(self.flags()),
            Client::Here { host, .. } => host.flags_to_run(),
        }
    }

    /// The region whose resources are meant.
    fn region(&self) -> &str {
        let (Client::Server { region, .. } | Client::Here { region, .. }) = self;
        region.as_deref().unwrap_or(USUAL_REGION)
    }

    async fn send(&self, request: Request<Vec<u8>>) -> Outcome<Response<Body>> {
        self.send_to("states", request).await
    }

    async fn send_to(&self, service: &str, request: Request<Vec<u8>>) -> Outcome<Response<Body>> {
        self.send_counted(service, request, None).await
    }

    /// The same, and counts how much of the body has gone.
    async fn send_counted(
        &self,
        service: &str,
        request: Request<Vec<u8>>,
        transfer: Option<&Transfer>,
    ) -> Outcome<Response<Body>> {
        let (mut parts, body) = request.into_parts();
        match self {
            Client::Server { key: Some(key), .. } => {
                let key = Signer {
                    service: service.to_owned(),
                    ..key.clone()
                };
                let now_s = jiff::Timestamp::now().as_second();
                key.sign(&parts.method, &parts.uri, &mut parts.headers, &body, now_s)
                    .context("the access key of the environment signs nothing")
                    .usage()?;
            }
            Client::Server { key: None, .. } | Client::Here { .. } => {
                let region = region_alone(self.region())?;
                parts.headers.insert(header::AUTHORIZATION, region);
            }
        }
        let body = match transfer {
            Some(transfer) => {
                // A body that is counted does not say how long it is.
                parts
                    .headers
                    .insert(header::CONTENT_LENGTH, body.len().into());
                transfer.body(body)
            }
            None => Body::from(body),
        };
        let request = Request::from_parts(parts, body);
        match self {
            Client::Server { http, endpoint, .. } => {
                let answer = http.request(request).await;
                let answer = answer.map_err(|error| no_answer(endpoint, &root_cause(&error)))?;
                unless_of_tls(endpoint, answer.map(Body::new)).await
            }
            Client::Here { router, .. } => {
                match router.clone().oneshot(request.map(Body::from)).await {
                    Ok(response) => Ok(response),
                    Err(never) => match never {},
                }
            }
        }
    }

    fn url(&self, path: &str) -> String {
        match self {
            Client::Server { endpoint, .. } => format!("{endpoint}{path}"),
            Client::Here { .. } => path.to_owned(),
        }
    }

    /// One call of the API.
    pub(crate) async fn call(&self, operation: &str, body: Value) -> Outcome<Value> {
        match self.try_call(operation, body).await? {
            Ok(answer) => Ok(answer),
            Err(refused) => Err(Stop::Usage(anyhow!("{refused}"))),
        }
    }

    /// One call whose refusal the caller looks at.
    pub(crate) async fn try_call(
        &self,
        operation: &str,
        body: Value,
    ) -> Outcome<Result<Value, Refused>> {
        let request = Request::post(self.url("/"))
            .header(header::CONTENT_TYPE, "application/x-amz-json-1.0")
            .header("x-amz-target", target(operation))
            .body(body.to_string().into_bytes())
            .runtime()?;
        let response = self.send_to(service_of(operation), request).await?;
        let status = response.status();
        let bytes = whole(response.into_body()).await?;
        let answer: Value = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes)
                .with_context(|| {
                    let text = String::from_utf8_lossy(&bytes);
                    let begins: String = text.trim().chars().take(100).collect();
                    format!(
                        "the answer to {operation} is not JSON ({status}) but `{begins}`; is it a Stepwell server?"
                    )
                })
                .runtime()?
        };
        if status.is_success() {
            return Ok(Ok(answer));
        }
        let text = |key: &str| {
            answer
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let code = text("__type")
            .rsplit('#')
            .next()
            .unwrap_or_default()
            .to_owned();
        let refused = self.or_key(Refused {
            code,
            message: text("message"),
        });
        if status.is_server_error() {
            return Err(Stop::Runtime(anyhow!("{operation} failed: {refused}")));
        }
        Ok(Err(refused))
    }

    /// A refusal; whoever has no key where one is asked for is told how to give it.
    fn or_key(&self, mut refused: Refused) -> Refused {
        if refused.code == NO_SIGNATURE && matches!(self, Client::Server { key: None, .. }) {
            refused.message.push_str(
                "\nhint: the server asks for an access key: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            );
        }
        refused
    }

    /// All items of a paged list, at most `limit`.
    pub(crate) async fn list(
        &self,
        operation: &str,
        body: Value,
        key: &str,
        limit: usize,
    ) -> Outcome<Vec<Value>> {
        let mut items = Vec::new();
        let mut body = body;
        loop {
            body["maxResults"] =
                json!(PAGE_MAX.min(limit.saturating_sub(items.len()).max(1) as u64));
            let mut answer = self.call(operation, body.clone()).await?;
            if let Some(Value::Array(page)) = answer.get_mut(key).map(Value::take) {
                items.extend(page);
            }
            match answer.get("nextToken").and_then(Value::as_str) {
                Some(token) if items.len() < limit => body["nextToken"] = json!(token),
                Some(_) | None => return Ok(items),
            }
        }
    }
}

/// An answer's body, to its end.
async fn whole(body: Body) -> Outcome<Bytes> {
    let bytes = body.collect().await.context("the answer broke off");
    Ok(bytes.runtime()?.to_bytes())
}

/// The service that a call's signature is scoped to.
fn service_of(operation: &str) -> &'static str {
    match operation.starts_with("AWSEvents.") {
        true => "events",
        false => "states",
    }
}

/// Names of the service's own operations have no dot.
fn target(operation: &str) -> String {
    if operation.contains('.') {
        operation.to_owned()
    } else {
        format!("AWSStepFunctions.{operation}")
    }
}

/// The access key that AWS's clients would take from the environment.
fn signer(region: Option<&str>) -> Option<Signer> {
    let told = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    Some(Signer {
        key_id: told("AWS_ACCESS_KEY_ID")?,
        secret: told("AWS_SECRET_ACCESS_KEY")?,
        session_token: told("AWS_SESSION_TOKEN"),
        region: region.unwrap_or(USUAL_REGION).to_owned(),
        service: "states".to_owned(),
    })
}

/// What tells the region of a request that nothing signs: the scope of credentials that nobody else looks at.
fn region_alone(region: &str) -> Outcome<HeaderValue> {
    let credentials = format!(
        "AWS4-HMAC-SHA256 Credential=stepwell/20260101/{region}/states/aws4_request, SignedHeaders=host, Signature=none"
    );
    HeaderValue::from_str(&credentials)
        .context("the region is no name")
        .usage()
}

/// A server may hold the directory; then it is the one to ask.
pub(crate) fn or_endpoint(stop: Stop) -> Stop {
    match stop {
        Stop::Runtime(error) if held_by_another(&error) => {
            let told = format!(
                "{error:#}\nhint: a server that holds the directory is asked with --endpoint URL"
            );
            // Still of its kind: a caller may go on without the store.
            Stop::Runtime(Error::Held(told).into())
        }
        Stop::Runtime(_) | Stop::Failed | Stop::Refused | Stop::Usage(_) | Stop::Panicked => stop,
    }
}

/// Whether it is that another process has the store.
pub(crate) fn held_by_another(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(Error::Held(_)))
}

/// Looks whether a data directory is there, and a store in it: for a command that makes neither.
pub(crate) fn check_store(data: &Path) -> Outcome {
    check_data(data)?;
    if holds_store(data) {
        return Ok(());
    }
    Err(Stop::Usage(anyhow!(
        "there is no store in the directory `{}`\nhint: `stepwell serve`, `stepwell run` and `stepwell tenant add` make one there; --data DIR names another, --endpoint URL a running server",
        data.display()
    )))
}

fn check_data(data: &Path) -> Outcome {
    if data.is_dir() {
        return Ok(());
    }
    Err(Stop::Usage(anyhow!(
        "there is no data directory `{}`\nhint: name one with --data DIR, or a running server with --endpoint URL",
        data.display()
    )))
}

/// A call that the API refused: AWS's code and text.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) code: String,
    pub(crate) message: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.code.is_empty(), self.message.is_empty()) {
            (false, false) => write!(f, "{}: {}", self.code, self.message),
            (false, true) => f.write_str(&self.code),
            (true, _) => f.write_str(&self.message),
        }
    }
}

/// An answer, unless it is that of a port that speaks TLS alone.
async fn unless_of_tls(endpoint: &str, answer: Response<Body>) -> Outcome<Response<Body>> {
    let is_text = answer
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind == "text/plain");
    if !is_text || answer.status() != StatusCode::BAD_REQUEST {
        return Ok(answer);
    }
    let (parts, body) = answer.into_parts();
    let text = whole(body).await?;
    match (
        &*text == TLS_ALONE.as_bytes(),
        endpoint.strip_prefix("http://"),
    ) {
        (true, Some(place)) => Err(Stop::Usage(anyhow!(
            "{endpoint} speaks TLS\nhint: its address is https://{place}"
        ))),
        (_, _) => Ok(Response::from_parts(parts, Body::from(text))),
    }
}

/// How rustls says that what came is no record of TLS.
const NOT_TLS: &str = "InvalidContentType";

fn no_answer(endpoint: &str, why: &str) -> Stop {
    if let Some(place) = endpoint
        .strip_prefix("https://")
        .filter(|_| why.contains(NOT_TLS))
    {
        return Stop::Usage(anyhow!(
            "{endpoint} does not speak TLS\nhint: its address is http://{place}"
        ));
    }
    let hint = if why.contains("certificate") {
        "AWS_CA_BUNDLE names the PEM file with the certificate of the server's authority"
    } else {
        "is the server running? `stepwell serve` starts one"
    };
    Stop::Runtime(anyhow!("no answer from {endpoint}: {why}\nhint: {hint}"))
}

/// The innermost error, which says what happened: `Connection refused (os error 111)`.
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_kept_out_by_a_server_is_told_how_it_is_asked() {
        let told = |error: Error| match or_endpoint(Stop::Runtime(error.into())) {
            Stop::Runtime(error) => format!("{error:#}"),
            other => panic!("{other:?}"),
        };
        let held = told(Error::Held("it is in use".to_owned()));
        assert!(held.starts_with("it is in use\nhint: ") && held.contains("--endpoint"));
        let stop = or_endpoint(Stop::Runtime(Error::Held(String::new()).into()));
        assert!(matches!(stop, Stop::Runtime(error) if held_by_another(&error)));
        for error in [Error::Unopened, Error::Broken, Error::Damaged] {
            let told = told(error("it is damaged".to_owned()));
            assert!(!told.contains("--endpoint"), "{told}");
        }
    }
}
