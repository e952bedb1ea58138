//! `http:invoke`: a request to an API with the credentials of a connection. Hides the names of what goes wrong.

pub(crate) mod form;
mod request;
mod response;

use std::{fmt::Write as _, sync::Arc, time::Duration};

use stepwell_egress::{Client, ConnectError, Failure, Request, Response};
use stepwell_interp::{FailedAt, TaskOutcome, TaskRequest};
use stepwell_query::Value;

use crate::{
    connections::{self, Opened},
    dispatch::{failed, too_large},
    limits::{HTTP_TASK_TIME, HTTP_TASK_TIME_RAISED, PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MAX_RAISED},
    node::Node,
    shard::Info,
};
use request::Call;

/// A request as it went out and what came back, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpExchange {
    pub request: HttpMessage,
    /// `GET`, …
    pub method: String,
    pub url: String,
    /// None when none came.
    pub response: Option<HttpMessage>,
    pub status: Option<u16>,
    pub reason: String,
}

/// What both directions have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpMessage {
    /// `https` or `http`.
    pub protocol: String,
    /// `[name: value, name: value]`
    pub headers: String,
    pub body: Option<String>,
}

/// What an attempt came to.
pub(crate) struct Done {
    pub(crate) outcome: TaskOutcome,
    /// None when no request was made.
    pub(crate) exchange: Option<Box<HttpExchange>>,
}

/// How an attempt is served.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) raised_limits: bool,
    /// Whether the exchange shows what the connection adds.
    pub(crate) reveals_secrets: bool,
}

/// Why there is no response to tell of.
enum Trouble {
    /// `States.Runtime`
    Runtime(String),
    /// There is no such connection.
    NoConnection(String),
    /// The connection gets no token.
    Unauthorized(String),
    /// No rule of the connection lets the request go.
    Refused(String),
    /// The transport failed, or took too long.
    Socket(String),
    TooLarge,
}

/// Serves one attempt.
pub(crate) async fn serve(
    node: &Node,
    info: &Info,
    request: &TaskRequest,
    settings: Settings,
) -> Done {
    let time = if settings.raised_limits {
        HTTP_TASK_TIME_RAISED
    } else {
        HTTP_TASK_TIME
    };
    let mut exchange = None;
    let attempt = attempt(node, info, request, settings, &mut exchange);
    let made = match tokio::time::timeout(time, attempt).await {
        Ok(made) => made,
        Err(_) => Err(Trouble::late(time)),
    };
    Done {
        outcome: made.unwrap_or_else(|trouble| trouble.outcome(&request.resource.text)),
        exchange,
    }
}

async fn attempt(
    node: &Node,
    info: &Info,
    request: &TaskRequest,
    settings: Settings,
    exchange: &mut Option<Box<HttpExchange>>,
) -> Result<TaskOutcome, Trouble> {
    let arguments = &request.parameters;
    let (opened, client) = connection(node, info, connection_of(arguments)).await?;
    let (opened, client) = (&*opened, &client);
    let trace = info.trace_header_of(request);
    let mut call = Call {
        arguments,
        connection: &opened.connection,
        public: opened.public,
        token: None,
        region: info.execution_arn.split(':').nth(3).unwrap_or_default(),
        trace: trace.as_deref(),
        bytes_max: if settings.raised_limits {
            PAYLOAD_BYTES_MAX_RAISED
        } else {
            PAYLOAD_BYTES_MAX
        },
    };
    // What is wrong with the arguments is told before a token is fetched for them.
    call.request(true)?;
    authorize(&mut call, opened, client, None).await?;
    let mut response = send(&call, client, settings, exchange).await?;
    if response.status == 401
        && let Some(spent) = call.token.clone()
    {
        authorize(&mut call, opened, client, Some(&*spent)).await?;
        if call.token.as_ref() != Some(&spent) {
            response = send(&call, client, settings, exchange).await?;
        }
    }
    response::outcome(&response)
}

/// The connection that a task names, with the client for its requests.
async fn connection(
    node: &Node,
    info: &Info,
    named: &str,
) -> Result<(Arc<Opened>, Client), Trouble> {
    let name = connections::name_of(named);
    let found = node.connection(&info.tenant, named).await;
    let found = found.map_err(|error| {
        tracing::error!(account = &*info.tenant, connection = name, %error, "a task does not get its connection");
        Trouble::Unauthorized(format!(
            "The connection '{name}' cannot be had now; the server's log says why."
        ))
    })?;
    found.ok_or_else(|| {
        Trouble::NoConnection(format!(
            "There is no connection '{name}' of account {}: `stepwell connection put` makes one, and the operator's are those of the file that --connections names.",
            info.tenant
        ))
    })
}

async fn authorize(
    call: &mut Call<'_>,
    opened: &Opened,
    client: &Client,
    spent: Option<&str>,
) -> Result<(), Trouble> {
    let token = opened.token(client, spent).await;
    call.token = token.map_err(|connections::Unauthorized(why)| Trouble::Unauthorized(why))?;
    Ok(())
}

async fn send(
    call: &Call<'_>,
    client: &Client,
    settings: Settings,
    exchange: &mut Option<Box<HttpExchange>>,
) -> Result<Response, Trouble> {
    let request = call.request(false)?;
    let shown = call.request(!settings.reveals_secrets)?;
    let told = exchange.insert(Box::new(HttpExchange::of(&shown)));
    let rules = &call.connection.allow;
    match client.exchange(&request, rules, call.bytes_max).await {
        Ok(response) => {
            told.answered(&response);
            Ok(response)
        }
        Err(failure) => Err(Trouble::of(failure, call)),
    }
}

/// The ARN or name of the connection; that there is one was checked when the task was scheduled.
fn connection_of(arguments: &Value) -> &str {
    ["InvocationConfig", "Authentication"]
        .iter()
        .find_map(|name| arguments.get(name)?.get("ConnectionArn")?.as_str())
        .unwrap_or_default()
}

impl Trouble {
    fn late(time: Duration) -> Trouble {
        Trouble::Socket(format!(
            "The HTTP request took longer than {} seconds.",
            time.as_secs()
        ))
    }

    fn of(failure: Failure, call: &Call<'_>) -> Trouble {
        let endpoint = call.arguments.get("ApiEndpoint").and_then(Value::as_str);
        let endpoint = endpoint.unwrap_or_default();
        let method = call.arguments.get("Method").and_then(Value::as_str);
        let method = method.unwrap_or_default().to_ascii_uppercase();
        match failure {
            Failure::Refused => Trouble::Refused(format!(
                "The connection does not allow the {method} request to {endpoint}: its `allow` names no origin, method and path that match."
            )),
            Failure::Connect(ConnectError::Private) if call.public => Trouble::Refused(format!(
                "The connection does not allow the {method} request to {endpoint}: it leads to a private address, which a connection of the store opens only when an operator keeps it there with --private."
            )),
            Failure::Connect(ConnectError::Private) => Trouble::Refused(format!(
                "The connection does not allow the {method} request to {endpoint}: it leads to a private address, which `allow` has to name with its port."
            )),
            Failure::Malformed(why) => {
                Trouble::Runtime(format!("The HTTP request cannot be sent: {why}."))
            }
            Failure::Connect(error) => Trouble::Socket(format!("{endpoint}: {error}")),
            Failure::Broken(why) => Trouble::Socket(format!("{endpoint}: {why}")),
            failure @ Failure::HeadTooLarge => Trouble::Socket(format!("{endpoint}: {failure}")),
            Failure::TooLarge(_) => Trouble::TooLarge,
        }
    }

    fn outcome(self, resource: &str) -> TaskOutcome {
        let (error, cause) = match self {
            Trouble::Runtime(why) => ("States.Runtime", why),
            Trouble::NoConnection(why) => ("Events.ConnectionResource.ResourceNotFound", why),
            Trouble::Unauthorized(why) => ("Events.ConnectionResource.InvalidConnectionState", why),
            Trouble::Refused(why) => ("States.Http.AccessDenied", why),
            Trouble::Socket(why) => ("States.Http.Socket", why),
            Trouble::TooLarge => ("States.DataLimitExceeded", too_large(resource)),
        };
        failed(FailedAt::Run, error, cause)
    }
}

impl HttpExchange {
    fn of(request: &Request) -> HttpExchange {
        let body = request.body.as_deref();
        HttpExchange {
            request: HttpMessage {
                protocol: request.url.scheme().to_owned(),
                headers: listed(&request.headers),
                body: body.map(|body| String::from_utf8_lossy(body).into_owned()),
            },
            method: request.method.clone(),
            url: request.url.to_string(),
            response: None,
            status: None,
            reason: String::new(),
        }
    }

    fn answered(&mut self, response: &Response) {
        self.response = Some(HttpMessage {
            protocol: self.request.protocol.clone(),
            headers: listed(&response.headers),
            body: Some(String::from_utf8_lossy(&response.body).into_owned()),
        });
        self.status = Some(response.status);
        self.reason.clone_from(&response.reason);
    }
}

fn listed(headers: &[(String, String)]) -> String {
    let mut text = String::from("[");
    for (index, (name, value)) in headers.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        write!(text, "{comma}{name}: {value}").expect("a String takes all that is written to it");
    }
    text + "]"
}
