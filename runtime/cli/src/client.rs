//! The installation a command talks to: a server over HTTP, or a data directory opened here. Hides which; both are
//! spoken to in AWS's JSON protocol and answer alike.

mod functions;

use std::time::Duration;

use anyhow::{Context, anyhow};
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use futures_util::StreamExt;
use http_body_util::BodyExt;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client as HttpClient, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use stepwell_egress::sigv4::Signer;
use stepwell_engine::Quotas;
use tower::ServiceExt;

use crate::args::{CompileArgs, LimitsArg, PlaceArgs, RuntimeArgs};
use crate::exit::{Blame, Outcome, Stop};
use crate::host::{self, Host, Opening, USUAL_DATA};
use crate::key_file;
use crate::telemetry::Listeners;
use crate::timeline::{HistoryEvent, Note};
use crate::tls;
use crate::transfer::Transfer;

/// Events of one page (the API's largest).
const PAGE_MAX: u64 = 1_000;
/// State machines that a hint names.
const NAMES_SHOWN_MAX: usize = 10;
/// The region of who asks for none.
pub(crate) const USUAL_REGION: &str = "us-east-1";
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// Bytes of one line of a stream of events (ours; an event holds one payload, of 16 MiB with raised limits, escaped).
const STREAM_LINE_BYTES_MAX: usize = 64 << 20;

/// What a data directory is opened for.
#[derive(Clone, Copy)]
pub(crate) enum Purpose<'a> {
    /// To read, or to change records: executions that were running stay as they are.
    Look,
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
        let runtime = match purpose {
            Purpose::Look => None,
            Purpose::Act(runtime) => Some(runtime),
        };
        let plugins = runtime.and_then(|runtime| runtime.plugins.as_deref());
        if let Some(endpoint) = place.endpoint() {
            if plugins.is_some() {
                return Err(Stop::Usage(anyhow!(
                    "--plugins is for executions that run here, and {endpoint} runs its own\nhint: the server is started with --plugins; --data DIR runs executions here"
                )));
            }
            return Client::server(&endpoint, place.region.asked());
        }
        let data = place.data.clone().unwrap_or_else(|| USUAL_DATA.into());
        if !data.is_dir() {
            let path = data.display();
            return Err(Stop::Usage(anyhow!(
                "there is no data directory `{path}`\nhint: name one with --data DIR, or a running server with --endpoint URL"
            )));
        }
        let opening = Opening {
            data: Some(&data),
            store: None,
            plugins,
            limits: runtime.map_or(LimitsArg::Strict, |runtime| runtime.limits),
            storage: runtime.map(|runtime| &runtime.storage),
            connections: runtime.and_then(|runtime| runtime.connections.as_deref()),
            // The flag of that name is the server's address here.
            endpoints: &[],
            compiler: host::compiler(
                runtime.map_or_else(CompileArgs::default, |runtime| runtime.compile),
                false,
            )?,
            policy: runtime.map(|runtime| &runtime.policy),
            take_up: runtime.is_some(),
            usual: Quotas::default(),
            listeners: Listeners::default(),
            // Who only looks opens nothing that is sealed.
            vault: match runtime {
                Some(_) => key_file::beside(&data)?,
                None => None,
            },
        };
        let host = Host::open(opening).await.map_err(or_endpoint)?;
        Ok(Client::here(host, place.region.asked()))
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
        let uri: Uri = endpoint
            .parse()
            .with_context(|| format!("`{endpoint}` is no URL"))
            .usage()?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
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
                let answer = answer.map_err(|error| no_answer(endpoint, &root_cause(&error)));
                Ok(answer.runtime()?.map(Body::new))
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
        let bytes = response
            .into_body()
            .collect()
            .await
            .context("the answer broke off")
            .runtime()?
            .to_bytes();
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
        let mut refused = Refused {
            code,
            message: text("message"),
        };
        if refused.code == "IncompleteSignatureException"
            && matches!(self, Client::Server { key: None, .. })
        {
            refused.message.push_str(
                "\nhint: the server asks for an access key: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            );
        }
        if status.is_server_error() {
            return Err(Stop::Runtime(anyhow!("{operation} failed: {refused}")));
        }
        Ok(Err(refused))
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

    /// A page of the history of an execution, and the token of the next one. Outcomes of attempts have what these used,
    /// where the server tells.
    pub(crate) async fn history_page(
        &self,
        arn: &str,
        token: Option<String>,
    ) -> Outcome<(Vec<Value>, Option<String>)> {
        let after = token
            .as_ref()
            .map_or_else(String::new, |token| format!("&nextToken={token}"));
        let path = format!("/api/executions/{arn}/events?maxResults={PAGE_MAX}{after}");
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

    /// All state machines of the region, as the API lists them.
    async fn machines(&self) -> Outcome<Vec<Value>> {
        self.list("ListStateMachines", json!({}), "stateMachines", usize::MAX)
            .await
    }

    /// ARN of a state machine given by its name or ARN.
    pub(crate) async fn machine_arn(&self, machine: &str) -> Outcome<String> {
        if machine.starts_with("arn:") {
            return Ok(machine.to_owned());
        }
        let machines = self.machines().await?;
        match machine_named(&machines, machine) {
            Some(arn) => Ok(arn),
            None => Err(Stop::Usage(anyhow!(
                "there is no state machine `{machine}` in {}\nhint: {}",
                self.region(),
                known_machines(&machines)
            ))),
        }
    }

    /// ARN of an execution given by its ARN, as `MACHINE/NAME`, by the name of its state machine, whose last one it is,
    /// or by a name that only one state machine has an execution of.
    pub(crate) async fn execution_arn(&self, execution: &str) -> Outcome<String> {
        if execution.starts_with("arn:") {
            return Ok(execution.to_owned());
        }
        if let Some((machine, name)) = execution.split_once('/') {
            return Ok(execution_of(&self.machine_arn(machine).await?, name));
        }
        let machines = self.machines().await?;
        if let Some(arn) = machine_named(&machines, execution) {
            return self.last_execution(execution, &arn).await;
        }
        let mut found = Vec::new();
        for machine in &machines {
            let arn = machine.get("stateMachineArn").and_then(Value::as_str);
            let arn = execution_of(arn.unwrap_or_default(), execution);
            let request = json!({"executionArn": arn});
            if self.try_call("DescribeExecution", request).await?.is_ok() {
                found.push(arn);
            }
        }
        match found.as_slice() {
            [only] => Ok(only.clone()),
            [] => Err(Stop::Usage(anyhow!(
                "`{execution}` is neither an execution nor a state machine in {}\nhint: an execution is named by its \
                 ARN or as MACHINE/NAME, the last one of a state machine by MACHINE; {}",
                self.region(),
                known_machines(&machines)
            ))),
            several => Err(Stop::Usage(anyhow!(
                "several executions are named `{execution}`:\n  {}\nhint: name one as MACHINE/{execution}",
                several.join("\n  ")
            ))),
        }
    }

    async fn last_execution(&self, machine: &str, arn: &str) -> Outcome<String> {
        let request = json!({"stateMachineArn": arn});
        let last = self
            .list("ListExecutions", request, "executions", 1)
            .await?;
        let arn = last
            .first()
            .and_then(|last| last.get("executionArn")?.as_str());
        arn.map(str::to_owned)
            .with_context(|| format!("the state machine `{machine}` has no execution yet\nhint: `stepwell execution start {machine}` starts one"))
            .usage()
    }

    /// How near an execution is to its limits; nothing from a server that does not tell.
    pub(crate) async fn limits(&self, arn: &str) -> Outcome<Option<Value>> {
        self.told(&format!("/api/executions/{arn}/limits")).await
    }

    /// A page of what an execution's attempts logged and printed; nothing from a server that does not tell.
    pub(crate) async fn attempt_logs(
        &self,
        arn: &str,
        token: Option<&str>,
    ) -> Outcome<Option<Value>> {
        let token = token.map_or_else(String::new, |token| format!("&nextToken={token}"));
        self.told(&format!("/api/executions/{arn}/logs?maxResults=100{token}"))
            .await
    }

    /// What the attempts of an execution used, and the notes of those that run; nothing from a server that does not tell.
    pub(crate) async fn attempts(&self, arn: &str) -> Outcome<Option<Attempts>> {
        let mut all = Attempts::default();
        let mut token = String::new();
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
                Some(next) => token = format!("&nextToken={next}"),
                None => return Ok(Some(all)),
            }
        }
    }

    /// How far a map run is; nothing from a server that does not tell.
    pub(crate) async fn map_run(&self, arn: &str) -> Outcome<Option<Value>> {
        self.told(&format!("/api/map-runs/{arn}")).await
    }

    async fn told(&self, path: &str) -> Outcome<Option<Value>> {
        let request = Request::get(self.url(path)).body(Vec::new()).runtime()?;
        let response = self.send(request).await?;
        if response.status() != StatusCode::OK {
            return Ok(None);
        }
        let bytes = response.into_body().collect().await.runtime()?.to_bytes();
        Ok(serde_json::from_slice(&bytes).ok())
    }

    /// The events of an execution as they are committed, from the first one on.
    pub(crate) async fn watch(&self, arn: &str) -> Outcome<EventStream> {
        let path = self.url(&format!("/api/executions/{arn}/events"));
        let request = Request::get(path)
            .header(header::ACCEPT, "text/event-stream")
            .body(Vec::new())
            .runtime()?;
        let response = self.send(request).await?;
        if response.status() != StatusCode::OK {
            let bytes = response.into_body().collect().await.runtime()?.to_bytes();
            let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let message = ["message", "error"]
                .iter()
                .find_map(|key| answer.get(*key)?.as_str().map(str::to_owned));
            return Err(Stop::Usage(anyhow!(
                "{}",
                message.unwrap_or_else(|| format!("`{arn}` cannot be watched"))
            )));
        }
        Ok(EventStream {
            body: response.into_body(),
            rest: Vec::new(),
        })
    }
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

/// ARN of the state machine of that name.
fn machine_named(machines: &[Value], name: &str) -> Option<String> {
    let text = |item: &Value, key: &str| item.get(key).and_then(Value::as_str).map(str::to_owned);
    let found = machines
        .iter()
        .find(|item| text(item, "name").as_deref() == Some(name))?;
    text(found, "stateMachineArn")
}

/// ARN of an execution by that of its state machine.
fn execution_of(machine: &str, name: &str) -> String {
    let execution = machine.replacen(":stateMachine:", ":execution:", 1);
    format!("{execution}:{name}")
}

/// The names that there are, as a hint.
fn known_machines(machines: &[Value]) -> String {
    let names: Vec<String> = machines
        .iter()
        .filter_map(|item| Some(format!("`{}`", item.get("name")?.as_str()?)))
        .collect();
    let more = match names.len().saturating_sub(NAMES_SHOWN_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    match names.as_slice() {
        [] => "there are none yet; `stepwell machine put FILE` creates one, and another region is named with --region"
            .to_owned(),
        [only] => format!("there is only {only}"),
        several => {
            let shown = &several[..several.len().min(NAMES_SHOWN_MAX)];
            format!("there are {}{more}", shown.join(", "))
        }
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
        Stop::Runtime(error) => Stop::Runtime(anyhow!(
            "{error:#}\nhint: a server that holds the directory is asked with --endpoint URL"
        )),
        Stop::Failed | Stop::Refused | Stop::Usage(_) | Stop::Panicked => stop,
    }
}

/// What the API tells of an execution's attempts.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    pub(crate) ended: Vec<Value>,
    /// Latest notes of those that run.
    pub(crate) progress: Vec<Value>,
}

/// What a stream told: events, and notes of running attempts.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) events: Vec<HistoryEvent>,
    pub(crate) notes: Vec<Note>,
    ended: bool,
}

/// The events of one execution. Ends when the execution is closed.
pub(crate) struct EventStream {
    body: Body,
    rest: Vec<u8>,
}

impl EventStream {
    /// The next events or notes, at least one; `None` at the end.
    pub(crate) async fn next(&mut self) -> Outcome<Option<Heard>> {
        loop {
            let mut stream = (&mut self.body).into_data_stream();
            let Some(chunk) = stream.next().await else {
                return Ok(None);
            };
            self.rest.extend_from_slice(
                &chunk
                    .context("the connection to the server broke off")
                    .runtime()?,
            );
            let heard = self.take_messages()?;
            if !heard.events.is_empty() || !heard.notes.is_empty() {
                return Ok(Some(heard));
            }
            if heard.ended {
                return Ok(None);
            }
            if self.rest.len() > STREAM_LINE_BYTES_MAX {
                return Err(Stop::Runtime(anyhow!(
                    "an event of the stream is larger than {STREAM_LINE_BYTES_MAX} bytes"
                )));
            }
        }
    }

    /// The whole messages received so far: `event:` and `data:` lines up to an empty one.
    fn take_messages(&mut self) -> Outcome<Heard> {
        let mut heard = Heard::default();
        while let Some(end) = self.rest.windows(2).position(|pair| pair == b"\n\n") {
            let message: Vec<u8> = self.rest.drain(..end + 2).collect();
            let message = String::from_utf8_lossy(&message);
            let field = |name: &str| {
                let lines = message
                    .lines()
                    .filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
                lines
                    .map(|line| line.strip_prefix(' ').unwrap_or(line))
                    .collect::<Vec<_>>()
                    .join("\n")
            };
            match field("event").as_str() {
                "history" => {
                    let event: Value = serde_json::from_str(&field("data"))
                        .context("an event of the stream is not JSON")
                        .runtime()?;
                    heard.events.push(HistoryEvent::read(&event).runtime()?);
                }
                "progress" => {
                    let note = serde_json::from_str(&field("data")).ok();
                    heard.notes.extend(note.as_ref().and_then(Note::read));
                }
                "end" => heard.ended = true,
                _ => {}
            }
        }
        Ok(heard)
    }
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

fn no_answer(endpoint: &str, why: &str) -> anyhow::Error {
    let hint = if why.contains("certificate") {
        "AWS_CA_BUNDLE names the PEM file with the certificate of the server's authority"
    } else {
        "is the server running? `stepwell serve` starts one"
    };
    anyhow!("no answer from {endpoint}: {why}\nhint: {hint}")
}

/// The innermost error, which says what happened: `Connection refused (os error 111)`.
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
