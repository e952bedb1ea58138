//! Calls of other AWS services from a state machine, `dynamodb:putItem` as `aws-sdk:secretsmanager:getSecretValue`, sent
//! to endpoints that the operator names and signed with the operator's key. Hides the JSON protocols, and the names that
//! the AWS SDKs have for what goes wrong.

mod form;
mod model;
mod reply;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use stepwell_asl::{Pattern, Target};
use stepwell_egress::{
    Client, ConnectError, Connector, Credentials, Failure, HttpRule, Request, Response, Scope, Url,
    resolves, sign,
};
use stepwell_interp::{FailedAt, TaskOutcome, TaskRequest};
use stepwell_query::Value;

use crate::{
    dispatch::{failed, too_large},
    integration::Api,
    limits::{HTTP_CONNECT_TIME, PAYLOAD_BYTES_MAX_RAISED, SERVICE_CALL_TIME},
    shard::Info,
};
use model::{Operation, Service};

/// The optimized integrations that are served.
const OPTIMIZED: [(&str, &[&str]); 3] = [
    (
        "dynamodb",
        &["getItem", "putItem", "updateItem", "deleteItem"],
    ),
    ("events", &["putEvents"]),
    ("sqs", &["sendMessage"]),
];

/// What an endpoint without a key of the operator's is signed with: stand-ins of AWS want some signature.
const ANY_KEY: &str = "test";

/// Where the calls of a service go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `http` or `https`; it may be a private address.
    At(Url),
    /// AWS itself, in the region of the execution.
    Aws,
}

/// Endpoints of AWS services and the key that calls are signed with. Cheap to clone; the default has none.
#[derive(Clone, Default)]
pub struct Services(Option<Arc<Known>>);

struct Known {
    client: Client,
    endpoints: BTreeMap<&'static str, Endpoint>,
    credentials: Option<Credentials>,
    /// The account whose executions may use them.
    account: Arc<str>,
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = self.0.iter().flat_map(|known| &known.endpoints);
        f.debug_map().entries(known).finish()
    }
}

impl Services {
    /// Endpoints by the services' names, which executions of one account may call.
    ///
    /// # Errors
    /// What is wrong with them, for people.
    pub fn new(
        endpoints: impl IntoIterator<Item = (String, Endpoint)>,
        credentials: Option<Credentials>,
        connector: Connector,
        account: &str,
    ) -> Result<Services, String> {
        let mut named = BTreeMap::new();
        for (name, endpoint) in endpoints {
            let Some(service) = Service::find(&name) else {
                let known: Vec<&str> = model::names().collect();
                return Err(format!(
                    "`{name}` is none of the services that can be called: {}",
                    known.join(", ")
                ));
            };
            if endpoint == Endpoint::Aws && credentials.is_none() {
                return Err(format!(
                    "`{name}=aws` needs a key: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                ));
            }
            if named.insert(service.name, endpoint).is_some() {
                return Err(format!("`{name}` has two endpoints"));
            }
        }
        Ok(Services(Some(Arc::new(Known {
            client: Client::new(connector, HTTP_CONNECT_TIME),
            endpoints: named,
            credentials,
            account: account.into(),
        }))))
    }
}

/// Whether a resource is a call that can be made, given an endpoint.
pub(crate) fn is_offered(target: &Target) -> bool {
    operation(target).is_some()
}

/// The operations of an AWS SDK service, as resources name them; nothing where none is served.
pub(crate) fn actions(service: &str) -> Vec<String> {
    let operations = Service::find(service).map(Service::operations);
    let operations = operations.into_iter().flatten();
    operations
        .map(|operation| {
            let (first, rest) = operation.name.split_at(1);
            first.to_ascii_lowercase() + rest
        })
        .collect()
}

/// What is served of all services, as resources name it, for people.
pub(crate) fn served() -> String {
    let calls = OPTIMIZED.iter().flat_map(|(service, actions)| {
        let of_service = |action: &&str| format!("{service}:{action}");
        actions.iter().map(of_service).collect::<Vec<_>>()
    });
    let calls: Vec<String> = calls.collect();
    let sdk: Vec<&str> = model::names().map(model::resource_name).collect();
    format!(
        "{}, and aws-sdk:SERVICE:ACTION with every action of {}, and some of s3 and sfn",
        calls.join(", "),
        sdk.join(", ")
    )
}

fn operation(target: &Target) -> Option<(Api, Operation)> {
    match target {
        Target::Service {
            service,
            action,
            pattern: Pattern::RequestResponse | Pattern::WaitForTaskToken,
        } => {
            let mut offered = OPTIMIZED.iter();
            offered.find(|(name, actions)| **name == **service && actions.contains(&&**action))?;
            let operation = Service::find(service)?.operation(action)?;
            Some((Api::Optimized, operation))
        }
        Target::AwsSdk {
            service, action, ..
        } => Some((Api::Sdk, Service::find(service)?.operation(action)?)),
        Target::Service {
            pattern: Pattern::Sync | Pattern::Sync2,
            ..
        }
        | Target::LambdaFunction { .. }
        | Target::LambdaInvoke(_)
        | Target::Activity { .. }
        | Target::StartExecution(_)
        | Target::HttpInvoke
        | Target::Wasm { .. } => None,
    }
}

/// Serves one attempt.
pub(crate) async fn serve(services: &Services, info: &Info, request: &TaskRequest) -> TaskOutcome {
    let Some((api, operation)) = operation(&request.resource.target) else {
        return crate::dispatch::lost();
    };
    let call = Call {
        known: services.0.as_deref(),
        info,
        operation,
        api,
        parameters: textual(api, operation, &request.parameters),
    };
    let made = tokio::time::timeout(SERVICE_CALL_TIME, call.made()).await;
    let made = made.unwrap_or_else(|_| {
        let seconds = SERVICE_CALL_TIME.as_secs();
        let why = format!("it took longer than {seconds} seconds");
        Err(Trouble::Client(why))
    });
    match made {
        Ok(output) => TaskOutcome::Succeeded { output },
        Err(trouble) => trouble.outcome(api, operation.service, request),
    }
}

/// Parameters of the optimized integrations that may be any JSON: the service gets it as text.
fn textual(api: Api, operation: Operation, parameters: &Value) -> Value {
    let text = |value: &Value| match value {
        Value::String(_) | Value::Null => value.clone(),
        other => Value::from(other.to_json()),
    };
    let with = |value: &Value, name: &str| match (value.as_object(), value.get(name)) {
        (Some(object), Some(member)) => Value::from(object.with(name, text(member))),
        (_, _) => value.clone(),
    };
    match (api, operation.name) {
        (Api::Optimized, "SendMessage") => with(parameters, "MessageBody"),
        (Api::Optimized, "PutEvents") => {
            let entries = parameters.get("Entries").and_then(Value::as_array);
            match (parameters.as_object(), entries) {
                (Some(object), Some(entries)) => {
                    let entries = entries.iter().map(|entry| with(entry, "Detail"));
                    Value::from(object.with("Entries", Value::array(entries)))
                }
                (_, _) => parameters.clone(),
            }
        }
        (_, _) => parameters.clone(),
    }
}

/// Why a call has no result.
enum Trouble {
    /// Nobody said where it should go; the text says how to.
    Unconfigured(String),
    /// The request was not made, or no answer came.
    Client(String),
    Refused(reply::Refusal),
    /// `events:putEvents` that took only some of its entries.
    FailedEntries(Value),
    TooLarge,
}

/// An attempt.
struct Call<'a> {
    known: Option<&'a Known>,
    info: &'a Info,
    operation: Operation,
    api: Api,
    parameters: Value,
}

impl Call<'_> {
    async fn made(&self) -> Result<Value, Trouble> {
        if let Some(refusal) = form::refusal(self.operation, &self.parameters) {
            return Err(Trouble::Refused(refusal));
        }
        let (known, url) = self.place().await?;
        let response = self.sent(known, url).await?;
        let answer = reply::read(self.operation, &response).map_err(Trouble::Refused)?;
        match (self.api, self.operation.service.name) {
            (Api::Sdk, _) => Ok(answer),
            (Api::Optimized, "events") => {
                let failed = answer.get("FailedEntryCount").and_then(Value::as_i64);
                match failed {
                    Some(failed) if failed > 0 => Err(Trouble::FailedEntries(answer)),
                    Some(_) | None => Ok(answer),
                }
            }
            (Api::Optimized, _) => Ok(reply::with_metadata(&answer, &response)),
        }
    }

    /// Who sends it, and where to.
    async fn place(&self) -> Result<(&Known, Url), Trouble> {
        let service = self.operation.service;
        let known = self.known.filter(|known| known.account == self.info.tenant);
        let endpoint = known.and_then(|known| Some((known, known.endpoints.get(service.name)?)));
        match endpoint {
            Some((known, Endpoint::At(url))) => Ok((known, url.clone())),
            Some((known, Endpoint::Aws)) => Ok((known, self.aws()?)),
            None => {
                self.queue_is_there().await?;
                let name = service.name;
                Err(Trouble::Unconfigured(format!(
                    "No endpoint is configured for `{name}`: start with --endpoint {name}=URL, or with --endpoint {name}=aws and a key in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for AWS itself. Endpoints are for executions of the default account."
                )))
            }
        }
    }

    fn region(&self) -> &str {
        let arn = &self.info.execution_arn;
        arn.split(':').nth(3).unwrap_or_default()
    }

    /// AWS's own host; of a queue that of its URL, as AWS's SDKs have it.
    fn aws(&self) -> Result<Url, Trouble> {
        let region = self.region();
        let end = if region.starts_with("cn-") { ".cn" } else { "" };
        let host = self.operation.service.host;
        let usual = format!("https://{host}.{region}.amazonaws.com{end}/");
        let text = self.queue_origin().unwrap_or(usual);
        let url = Url::parse(&text).map_err(|error| Trouble::Client(format!("{text}: {error}")))?;
        let host = url.host_str().unwrap_or_default();
        let of_aws = host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn");
        if url.scheme() == "https" && of_aws {
            return Ok(url);
        }
        Err(Trouble::Unconfigured(format!(
            "The queue's address {url} is none of AWS: name it with --endpoint sqs=URL in place of --endpoint sqs=aws."
        )))
    }

    /// Scheme, host and port of the queue's URL, where it has one.
    fn queue_origin(&self) -> Option<String> {
        if self.operation.service.name != "sqs" {
            return None;
        }
        let url = self.parameters.get("QueueUrl")?.as_str()?;
        let origin = Url::parse(url).ok()?.origin();
        origin.is_tuple().then(|| origin.ascii_serialization())
    }

    /// AWS's SDKs send to the host of a queue's URL: one that nobody knows is told as such before anything else.
    async fn queue_is_there(&self) -> Result<(), Trouble> {
        let Some(url) = self.queue_origin().and_then(|url| Url::parse(&url).ok()) else {
            return Ok(());
        };
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Ok(());
        };
        match resolves(host, port).await {
            Ok(()) => Ok(()),
            Err(_) => Err(Trouble::unknown_host(host)),
        }
    }

    async fn sent(&self, known: &Known, url: Url) -> Result<Response, Trouble> {
        let service = self.operation.service;
        let (name, target, version) = (self.operation.name, service.target, service.version);
        let mut request = Request {
            method: "POST".to_owned(),
            headers: vec![
                (
                    "Content-Type".to_owned(),
                    format!("application/x-amz-json-{version}"),
                ),
                ("X-Amz-Target".to_owned(), format!("{target}.{name}")),
            ],
            body: Some(
                self.operation
                    .request(&self.parameters)
                    .to_json()
                    .into_bytes(),
            ),
            url,
        };
        let any = Credentials {
            key_id: ANY_KEY.to_owned(),
            secret: ANY_KEY.to_owned(),
            session_token: None,
        };
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        let scope = Scope {
            region: self.region(),
            service: service.signing_name,
            at_s: i64::try_from(since_1970.unwrap_or_default().as_secs()).unwrap_or(i64::MAX),
        };
        sign(
            &mut request,
            known.credentials.as_ref().unwrap_or(&any),
            scope,
        )
        .map_err(|error| Trouble::Client(error.to_string()))?;
        let rules = [rule(&request.url)?];
        let sent = known
            .client
            .exchange(&request, &rules, PAYLOAD_BYTES_MAX_RAISED);
        sent.await
            .map_err(|failure| Trouble::of(failure, &request.url))
    }
}

/// The operator named the place, with its port: it may be a private one.
fn rule(url: &Url) -> Result<HttpRule, Trouble> {
    let port = url.port_or_known_default().unwrap_or_default();
    let host = url.host_str().unwrap_or_default();
    let origin = format!("{}://{host}:{port}", url.scheme());
    HttpRule::parse(&origin, &["POST".to_owned()], None).map_err(Trouble::Client)
}

impl Trouble {
    fn unknown_host(host: &str) -> Trouble {
        Trouble::Client(format!("{host}: Name or service not known"))
    }

    fn of(failure: Failure, url: &Url) -> Trouble {
        let host = url.host_str().unwrap_or_default();
        match failure {
            Failure::TooLarge(_) => Trouble::TooLarge,
            Failure::Connect(ConnectError::Resolve(_) | ConnectError::NoAddress) => {
                Trouble::unknown_host(host)
            }
            failure @ (Failure::Refused
            | Failure::Malformed(_)
            | Failure::Connect(_)
            | Failure::Broken(_)
            | Failure::HeadTooLarge) => Trouble::Client(format!("{host}: {failure}")),
        }
    }

    fn outcome(self, api: Api, service: Service, request: &TaskRequest) -> TaskOutcome {
        let at = match request.resource.target.pattern() {
            Pattern::WaitForTaskToken => FailedAt::Submit,
            Pattern::RequestResponse | Pattern::Sync | Pattern::Sync2 => FailedAt::Run,
        };
        let titles = reply::Titles::of(api, service);
        match self {
            Trouble::Unconfigured(why) => failed(at, "Stepwell.EndpointMissing", why),
            Trouble::Client(why) => failed(
                at,
                &format!("{}.SdkClientException", titles.prefix),
                format!("Unable to execute HTTP request: {why}"),
            ),
            Trouble::Refused(refusal) => refusal.outcome(&titles, service, at),
            Trouble::FailedEntries(answer) => {
                failed(at, "EventBridge.FailedEntry", answer.to_json())
            }
            Trouble::TooLarge => failed(
                at,
                "States.DataLimitExceeded",
                too_large(&request.resource.text),
            ),
        }
    }
}
