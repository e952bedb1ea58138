//! From a service's reply to the task's outcome. Hides where an error's name stands, and what the AWS SDKs make of it.

use stepwell_egress::Response;
use stepwell_interp::{FailedAt, TaskOutcome};
use stepwell_query::{ObjectBuilder, Value};
use uuid::Uuid;

use super::model::{Operation, Service};
use crate::{dispatch::failed, integration::Api};

/// The header that tells SQS's errors by the names that they had before the JSON protocol.
const QUERY_ERROR: &str = "x-amzn-query-error";
const ERROR_TYPE: &str = "x-amzn-errortype";
const REQUEST_ID: &str = "x-amzn-requestid";
/// What a request of the wrong form is refused with.
const VALIDATION: &str = "ValidationException";

/// How errors of a service are called.
pub(super) struct Titles {
    /// Before the dot.
    pub(super) prefix: &'static str,
    /// The exception of the service for errors that its model does not have.
    base: String,
    /// The service in the cause, and whether the cause has the form of the older SDK.
    service: &'static str,
    older: bool,
}

/// A reply other than success.
pub(super) struct Refusal {
    /// As its model names it.
    shape: String,
    /// As the cause has it.
    code: String,
    message: String,
    status: u16,
    request_id: String,
}

impl Titles {
    pub(super) fn of(api: Api, service: Service) -> Titles {
        let older = |prefix, base: &str, service| Titles {
            prefix,
            base: base.to_owned(),
            service,
            older: true,
        };
        match (api, service.name) {
            (Api::Optimized, "dynamodb") => {
                older("DynamoDB", "AmazonDynamoDBException", "AmazonDynamoDBv2")
            }
            (Api::Optimized, "sqs") => older("SQS", "AmazonSQSException", "AmazonSQS"),
            (Api::Optimized, "events") => older(
                "EventBridge",
                "AmazonEventBridgeException",
                "AmazonEventBridge",
            ),
            (Api::Optimized | Api::Sdk, _) => Titles {
                prefix: service.id,
                base: format!("{}Exception", service.id),
                service: service.id,
                older: false,
            },
        }
    }
}

impl Refusal {
    /// Of a request that was not sent, as the service refuses its form.
    pub(super) fn of_form(message: String) -> Refusal {
        Refusal {
            shape: VALIDATION.to_owned(),
            code: VALIDATION.to_owned(),
            message,
            status: 400,
            request_id: Uuid::new_v4().to_string(),
        }
    }

    pub(super) fn outcome(self, titles: &Titles, service: Service, at: FailedAt) -> TaskOutcome {
        let Refusal {
            shape,
            code,
            message,
            status,
            request_id,
        } = self;
        let exception = match service.has_error(&shape) {
            true => exception_of(&shape),
            false => titles.base.clone(),
        };
        let of = titles.service;
        let cause = if titles.older {
            format!(
                "{message} (Service: {of}; Status Code: {status}; Error Code: {code}; Request ID: {request_id}; Proxy: null)"
            )
        } else {
            format!("{message} (Service: {of}, Status Code: {status}, Request ID: {request_id})")
        };
        failed(at, &format!("{}.{exception}", titles.prefix), cause)
    }
}

/// The SDK's class for an error of a model.
fn exception_of(shape: &str) -> String {
    if shape.ends_with("Exception") {
        return shape.to_owned();
    }
    let stem = shape.strip_suffix("Fault").unwrap_or(shape);
    format!("{stem}Exception")
}

/// The answer of a call that succeeded, as Step Functions writes it.
pub(super) fn read(operation: Operation, response: &Response) -> Result<Value, Refusal> {
    let text = String::from_utf8_lossy(&response.body);
    let body = Value::parse(&text);
    if !(200..300).contains(&response.status) {
        return Err(refusal(response, body.as_ref().ok()));
    }
    if text.trim().is_empty() {
        return Ok(Value::empty_object());
    }
    match body {
        Ok(body) => Ok(operation.answer(&body)),
        Err(error) => Err(Refusal {
            shape: "Unreadable".to_owned(),
            code: "Unreadable".to_owned(),
            message: format!("The reply is no JSON: {}", error.message),
            status: response.status,
            request_id: request_id(response),
        }),
    }
}

fn refusal(response: &Response, body: Option<&Value>) -> Refusal {
    let member = |name: &str| Some(body?.get(name)?.as_str()?.to_owned());
    let named = member("__type").or_else(|| header(response, ERROR_TYPE).map(str::to_owned));
    let named = named.or_else(|| member("code")).unwrap_or_default();
    let shape = named.rsplit('#').next().unwrap_or_default();
    let shape = shape.split(':').next().unwrap_or_default().to_owned();
    let older = header(response, QUERY_ERROR).and_then(|text| text.split(';').next());
    let message = member("message").or_else(|| member("Message"));
    Refusal {
        code: older.map_or_else(|| shape.clone(), str::to_owned),
        message: message.unwrap_or_else(|| match response.reason.as_str() {
            "" => "null".to_owned(),
            reason => reason.to_owned(),
        }),
        status: response.status,
        request_id: request_id(response),
        shape,
    }
}

fn header<'r>(response: &'r Response, wanted: &str) -> Option<&'r str> {
    let mut headers = response.headers.iter();
    let (_, value) = headers.find(|(name, _)| name.eq_ignore_ascii_case(wanted))?;
    Some(value)
}

fn request_id(response: &Response) -> String {
    let told = header(response, REQUEST_ID).map(str::to_owned);
    told.unwrap_or_else(|| Uuid::new_v4().to_string())
}

/// An answer with what the optimized integrations tell of the exchange.
pub(super) fn with_metadata(answer: &Value, response: &Response) -> Value {
    let mut output = ObjectBuilder::default();
    for (name, value) in answer.as_object().into_iter().flat_map(|all| all.iter()) {
        output.insert(name.clone(), value.clone());
    }
    let headers = || response.headers.iter();
    let all = headers().map(|(name, _)| {
        let of_name = headers().filter(|(other, _)| other == name);
        let values = Value::array(of_name.map(|(_, value)| Value::from(value.as_str())));
        (name.as_str(), values)
    });
    let single = headers().map(|(name, value)| (name.as_str(), Value::from(value.as_str())));
    let metadata = Value::object([
        ("AllHttpHeaders", Value::object(all)),
        ("HttpHeaders", Value::object(single)),
        ("HttpStatusCode", Value::from(i64::from(response.status))),
    ]);
    let id = Value::object([("RequestId", Value::from(request_id(response)))]);
    output
        .insert("SdkHttpMetadata", metadata)
        .insert("SdkResponseMetadata", id);
    output.into()
}

#[cfg(test)]
mod tests {
    use stepwell_egress::Response;
    use stepwell_interp::{FailedAt, TaskOutcome};

    use super::{Titles, read};
    use crate::{integration::Api, services::model::Service};

    fn told(api: Api, service: &str, action: &str, body: &str, headers: &[(&str, &str)]) -> String {
        let service = Service::find(service).unwrap();
        let response = Response {
            status: 400,
            reason: "Bad Request".to_owned(),
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .chain([("x-amzn-RequestId".to_owned(), "id".to_owned())])
                .collect(),
            body: body.as_bytes().to_vec(),
        };
        let Err(refusal) = read(service.operation(action).unwrap(), &response) else {
            return String::new();
        };
        match refusal.outcome(&Titles::of(api, service), service, FailedAt::Run) {
            TaskOutcome::Failed { error, cause, .. } => {
                format!("{} | {}", error.unwrap(), cause.unwrap())
            }
            TaskOutcome::Succeeded { .. } => String::new(),
        }
    }

    /// As the service's own histories have them.
    #[test]
    fn errors_are_named_as_the_sdks_name_them() {
        assert_eq!(
            told(
                Api::Optimized,
                "dynamodb",
                "putItem",
                r#"{"__type":"com.amazonaws.dynamodb.v20120810#ResourceNotFoundException","message":"Requested resource not found"}"#,
                &[],
            ),
            "DynamoDB.ResourceNotFoundException | Requested resource not found (Service: AmazonDynamoDBv2; Status Code: 400; Error Code: ResourceNotFoundException; Request ID: id; Proxy: null)"
        );
        assert_eq!(
            told(
                Api::Optimized,
                "dynamodb",
                "putItem",
                r#"{"__type":"com.amazon.coral.validate#ValidationException","message":"m"}"#,
                &[],
            ),
            "DynamoDB.AmazonDynamoDBException | m (Service: AmazonDynamoDBv2; Status Code: 400; Error Code: ValidationException; Request ID: id; Proxy: null)"
        );
        assert_eq!(
            told(
                Api::Sdk,
                "secretsmanager",
                "createSecret",
                r#"{"__type":"ValidationException","Message":"Invalid name."}"#,
                &[],
            ),
            "SecretsManager.SecretsManagerException | Invalid name. (Service: SecretsManager, Status Code: 400, Request ID: id)"
        );
        assert_eq!(
            told(
                Api::Sdk,
                "sqs",
                "sendMessage",
                r#"{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"m"}"#,
                &[(
                    "x-amzn-query-error",
                    "AWS.SimpleQueueService.NonExistentQueue;Sender"
                )],
            ),
            "Sqs.QueueDoesNotExistException | m (Service: Sqs, Status Code: 400, Request ID: id)"
        );
        assert_eq!(
            told(Api::Sdk, "kms", "encrypt", "no JSON", &[]),
            "Kms.KmsException | Bad Request (Service: Kms, Status Code: 400, Request ID: id)"
        );
    }
}
