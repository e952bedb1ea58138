//! TestState: one state tried alone. Wire types of this call, AWS JSON 1.0. Hides the checks of what it is tried with,
//! in the service's order and words.

mod context;
mod mock;
mod outputs;

use std::sync::Arc;

use serde::Serialize;
use stepwell_asl::{
    ExecutionType, Kind, Limits, Loaded, Mode, Options, Pattern, Program, State, Target,
    load_state, load_state_of, refusal,
};
use stepwell_engine::{Error, HttpExchange, StateTest, StateTested};
use stepwell_interp::{ErrorDetails, Inspection, InspectionData, Refusal, Verdict};
use stepwell_query::Value;

use super::{
    fault::Fault,
    input::Fields,
    operation::Call,
    wire::{Text, json},
};

/// The name under which the state is tried, whatever its own.
const STATE_NAME: &str = "StateName";

pub(super) async fn test_state(mut call: Call<'_>) -> Result<Vec<u8>, Fault> {
    let input = &mut call.input;
    let limits = if call.state.engine.raised_limits(&call.caller.tenant) {
        Limits::Raised
    } else {
        Limits::Strict
    };
    let program = load(
        input.required("definition"),
        input.text("stateName"),
        limits,
    )
    .await?;
    let state = tried(&program)?;
    let test = read(input, state)?;
    let level = input.text("inspectionLevel");
    let with_data = level.as_deref().is_some_and(|level| level != "INFO");
    let with_exchange = level.as_deref() == Some("TRACE");
    let tested = call
        .state
        .engine
        .test_state(&call.caller, program.clone(), test)
        .await?;
    match tested {
        StateTested::Inspected(inspection, exchange) => {
            let exchange = exchange.as_deref().filter(|_| with_exchange);
            json(&Answer::of(&inspection, with_data, exchange))
        }
        StateTested::Refused(Refusal::FailedIterations) => Err(Fault::validation(
            "Map iteration failure count must be less than or equal to the number of Map iterations",
        )),
        StateTested::Refused(Refusal::NoMock) => Err(unmocked()),
    }
}

/// Loads the state under test; a definition may be a megabyte, which is too much work for the thread that serves
/// connections.
async fn load(
    definition: String,
    state: Option<String>,
    limits: Limits,
) -> Result<Arc<Program>, Fault> {
    let options = Options {
        limits,
        kind: ExecutionType::Standard,
        allow_substitutions: false,
    };
    let load = move || match state {
        None => Some(load_state(&definition, STATE_NAME, &options)),
        Some(state) => load_state_of(&definition, &state, STATE_NAME, &options),
    };
    let loaded = tokio::task::spawn_blocking(load)
        .await
        .map_err(|error| Fault::from(Error::Broken(error.to_string())))?;
    let Some(Loaded {
        program,
        diagnostics,
    }) = loaded
    else {
        return Err(Fault::validation("State not found in definition"));
    };
    program.map(Arc::new).ok_or_else(|| {
        let text = refusal(&diagnostics);
        Fault::refused(
            "InvalidDefinition",
            text.unwrap_or_else(|| "Invalid State Machine Definition".to_owned()),
        )
    })
}

fn tried(program: &Program) -> Result<&State, Fault> {
    let id = program.find(STATE_NAME);
    id.map(|id| &program[id])
        .ok_or_else(|| Fault::from(Error::Broken("the state is not in its program".to_owned())))
}

/// The members of `stateConfiguration`.
#[derive(Default)]
struct Configuration {
    retries: Option<u32>,
    error_caused_by: Option<String>,
    failed_iterations: Option<u32>,
    read: Option<String>,
}

impl Configuration {
    fn take(input: &mut Fields<'_>) -> Configuration {
        let Some(mut given) = input.structure("stateConfiguration") else {
            return Configuration::default();
        };
        let count = |number: Option<i64>| number.map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        Configuration {
            retries: count(given.number("retrierRetryCount")),
            error_caused_by: given.text("errorCausedByState"),
            failed_iterations: count(given.number("mapIterationFailureCount")),
            read: given.text("mapItemReaderData"),
        }
    }

    /// Each member is for a mocked state alone.
    fn check_unmocked(&self) -> Result<(), Fault> {
        let given = [
            ("RetrierRetryCount", self.retries.is_some()),
            ("ErrorCausedByState", self.error_caused_by.is_some()),
            ("MapIterationFailureCount", self.failed_iterations.is_some()),
            ("MapItemReaderData", self.read.is_some()),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((name, _)) => Err(Fault::validation(format!(
                "TestState does not support {name} when a mock is not specified."
            ))),
        }
    }
}

/// What the state is tried with, checked.
fn read(input: &mut Fields<'_>, state: &State) -> Result<StateTest, Fault> {
    let configuration = Configuration::take(input);
    let mock = input.structure("mock");
    if mock.is_none() {
        configuration.check_unmocked()?;
        check_unmocked(state)?;
    }
    let reveals = input.boolean("revealSecrets").unwrap_or(false);
    let mock = mock
        .map(|mock| mock::read(mock, &state.kind, reveals))
        .transpose()?;
    let context = match input.text("context") {
        Some(_) if mock.is_none() => {
            let text = "TestState does not support Context when a mock is not specified.";
            return Err(Fault::validation(text));
        }
        Some(text) => Some(context::read(&text, &state.kind)?),
        None => None,
    };
    let role_arn = input.text("roleArn");
    if let (Kind::Task(_), None, None) = (&state.kind, &mock, &role_arn) {
        let text = "RoleArn must be specified when testing a Task state";
        return Err(Fault::validation(text));
    }
    Ok(StateTest {
        input: execution_input(input.text("input"))?,
        role_arn,
        variables: variables(input.text("variables"))?,
        context,
        read_items: read_items(configuration.read.as_deref(), &state.kind)?,
        mock,
        retries: configuration.retries.unwrap_or(0),
        error_caused_by: configuration.error_caused_by,
        failed_iterations: configuration.failed_iterations,
        reveals_secrets: reveals,
    })
}

/// What comes from branches, iterations or somebody outside has to be mocked.
fn check_unmocked(state: &State) -> Result<(), Fault> {
    let task = match &state.kind {
        Kind::Map(_) | Kind::Parallel(_) => {
            let text = "TestState API does not support Map or Parallel states. Supported state types include: \
                        [Task, Wait, Pass, Succeed, Fail, Choice]";
            return Err(Fault::refused("InvalidDefinition", text));
        }
        Kind::Task(task) => task,
        Kind::Pass(_) | Kind::Choice(_) | Kind::Wait(_) | Kind::Succeed(_) | Kind::Fail(_) => {
            return Ok(());
        }
    };
    let answered_outside = match task.resource.target.pattern() {
        Pattern::Sync | Pattern::Sync2 | Pattern::WaitForTaskToken => true,
        Pattern::RequestResponse => matches!(task.resource.target, Target::Activity { .. }),
    };
    if answered_outside {
        Err(unmocked())
    } else {
        Ok(())
    }
}

fn unmocked() -> Fault {
    Fault::refused(
        "InvalidDefinition",
        "TestState API does not support Activity tasks or the '.sync' and '.waitForTaskToken' service integration \
         patterns when a mock is not specified.",
    )
}

fn execution_input(text: Option<String>) -> Result<Value, Fault> {
    let Some(text) = text else {
        return Ok(Value::empty_object());
    };
    Value::parse(&text).map_err(|error| {
        let text = format!("Invalid State Machine Execution Input: '{}'", error.message);
        Fault::refused("InvalidExecutionInput", text)
    })
}

fn variables(text: Option<String>) -> Result<Vec<(Arc<str>, Value)>, Fault> {
    let Some(text) = text else {
        return Ok(Vec::new());
    };
    match Value::parse(&text) {
        Ok(Value::Object(variables)) => Ok(variables
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()),
        Ok(_) | Err(_) => Err(Fault::validation("Variables must be a valid JSON object")),
    }
}

/// The items that a Map's reader would find in that data.
fn read_items(text: Option<&str>, kind: &Kind) -> Result<Option<Value>, Fault> {
    let (Some(text), Kind::Map(map)) = (text, kind) else {
        return Ok(None);
    };
    let Mode::Distributed(distributed) = &map.mode else {
        return Ok(None);
    };
    let pointer = distributed
        .reader
        .as_ref()
        .and_then(|reader| reader.items_pointer.as_deref());
    let refused = || Fault::validation("MapItemReaderData must be valid JSON");
    let value = Value::parse(text).map_err(|_| refused())?;
    match pointer {
        None => Ok(Some(value)),
        Some(pointer) => value.pointer(pointer).cloned().map(Some).ok_or_else(|| {
            Fault::validation(format!(
                "ItemsPointer {pointer} finds nothing in MapItemReaderData"
            ))
        }),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inspection_data: Option<Inspected<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_state: Option<&'a str>,
    status: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Inspected<'a> {
    input: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after_arguments: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after_input_path: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after_parameters: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after_result_selector: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after_result_path: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<Request<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<Response<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    variables: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_details: Option<Details>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after_items_path: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after_item_selector: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after_items_pointer: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tolerated_failure_count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tolerated_failure_percentage: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_concurrency: Option<u32>,
}

/// `InspectionDataRequest`.
#[derive(Serialize)]
struct Request<'a> {
    protocol: &'a str,
    method: &'a str,
    url: &'a str,
    headers: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
}

/// `InspectionDataResponse`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    protocol: &'a str,
    status_code: String,
    status_message: &'a str,
    headers: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
}

impl<'a> Request<'a> {
    fn of(exchange: &'a HttpExchange) -> Request<'a> {
        let HttpExchange {
            request,
            method,
            url,
            ..
        } = exchange;
        Request {
            protocol: &request.protocol,
            method,
            url,
            headers: &request.headers,
            body: request.body.as_deref(),
        }
    }
}

impl<'a> Response<'a> {
    fn of(exchange: &'a HttpExchange) -> Option<Response<'a>> {
        let response = exchange.response.as_ref()?;
        Some(Response {
            protocol: &response.protocol,
            status_code: exchange.status?.to_string(),
            status_message: &exchange.reason,
            headers: &response.headers,
            body: response.body.as_deref(),
        })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Details {
    #[serde(skip_serializing_if = "Option::is_none")]
    catch_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_backoff_interval_seconds: Option<u64>,
}

impl<'a> Answer<'a> {
    fn of(
        inspection: &'a Inspection,
        with_data: bool,
        exchange: Option<&'a HttpExchange>,
    ) -> Answer<'a> {
        Answer {
            output: inspection.output.as_ref().map(Text),
            error: inspection.error.as_deref(),
            cause: inspection.cause.as_deref(),
            inspection_data: with_data.then(|| Inspected::of(&inspection.data, exchange)),
            next_state: inspection.next.as_deref(),
            status: match inspection.verdict {
                Verdict::Succeeded => "SUCCEEDED",
                Verdict::Failed => "FAILED",
                Verdict::Retriable => "RETRIABLE",
                Verdict::Caught => "CAUGHT_ERROR",
            },
        }
    }
}

impl<'a> Inspected<'a> {
    fn of(data: &'a InspectionData, exchange: Option<&'a HttpExchange>) -> Inspected<'a> {
        let text = |value: &'a Option<Value>| value.as_ref().map(Text);
        let variables = &data.variables;
        Inspected {
            input: Text(&data.input),
            after_arguments: text(&data.after_arguments),
            after_input_path: text(&data.after_input_path),
            after_parameters: text(&data.after_parameters),
            result: text(&data.result),
            after_result_selector: text(&data.after_result_selector),
            after_result_path: text(&data.after_result_path),
            request: exchange.map(Request::of),
            response: exchange.and_then(Response::of),
            variables: (!variables.is_empty())
                .then(|| Value::object(variables.iter().cloned()).to_json()),
            error_details: details(data.error_details),
            after_items_path: text(&data.after_items_path),
            after_item_selector: text(&data.after_item_selector),
            after_items_pointer: text(&data.after_items_pointer),
            tolerated_failure_count: data.tolerated_failure_count,
            tolerated_failure_percentage: data.tolerated_failure_percentage,
            max_concurrency: data.max_concurrency,
        }
    }
}

fn details(details: ErrorDetails) -> Option<Details> {
    (details != ErrorDetails::default()).then_some(Details {
        catch_index: details.catch_index,
        retry_index: details.retry_index,
        retry_backoff_interval_seconds: details.retry_backoff_s,
    })
}
