//! The corpus of recorded behaviour: where it is, its executions, and the functions that they call. Hides the files.

use std::path::PathBuf;

use stepwell_asl::Target;
use stepwell_interp::{FailedAt, TaskOutcome, TaskRequest};
use stepwell_query::{ObjectBuilder, Value};

use crate::{
    driver::Tasks,
    script::{Act, failed},
};

/// The folder of the corpus: `STEPWELL_CORPUS`, else beside the workspace. `None` when it is not there; then the
/// caller says so and skips, but a folder that was asked for must exist.
pub fn dir() -> Option<PathBuf> {
    if let Some(dir) = std::env::var_os("STEPWELL_CORPUS") {
        let dir = PathBuf::from(dir);
        assert!(
            dir.is_dir(),
            "STEPWELL_CORPUS is {}, which is no folder",
            dir.display()
        );
        return Some(dir);
    }
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    dir.is_dir().then_some(dir)
}

/// The lines of a `.jsonl` file of the corpus.
pub fn lines(file: &str) -> Vec<Value> {
    let Some(dir) = dir() else { return Vec::new() };
    let path = dir.join(file);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines()
        .map(|line| {
            Value::parse(line).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        })
        .collect()
}

/// An execution that was recorded.
pub struct Recorded {
    /// The last part of its id.
    pub name: String,
    pub definition: String,
    pub input: Value,
    pub history: Value,
    /// What else than functions it needs, a distributed Map included.
    pub needs: Vec<String>,
}

/// All recorded executions.
pub fn executions() -> Vec<Recorded> {
    lines("recorded/execution.jsonl")
        .iter()
        .map(recorded)
        .collect()
}

fn recorded(line: &Value) -> Recorded {
    let text = |name: &str| line.get(name).and_then(Value::as_str).unwrap_or_default();
    let definition = fill(
        &line
            .get("definition")
            .map(Value::to_json)
            .unwrap_or_default(),
    );
    let mut needs: Vec<String> = line
        .get("needs")
        .and_then(Value::as_array)
        .iter()
        .flat_map(|needs| needs.iter())
        .filter_map(|need| {
            need.as_str()
                .filter(|need| *need != "lambda")
                .map(str::to_owned)
        })
        .collect();
    if definition.contains("\"DISTRIBUTED\"") {
        needs.push("distributed Map".to_owned());
    }
    let input = line.get("input").and_then(Value::as_str).unwrap_or("{}");
    Recorded {
        name: text("id")
            .rsplit("::")
            .next()
            .unwrap_or_default()
            .to_owned(),
        definition,
        input: Value::parse(&fill(input)).unwrap_or_else(|_| Value::empty_object()),
        history: line.get("expected_history").cloned().unwrap_or_default(),
        needs,
    }
}

/// Names the functions after their behaviour: `{{lambda:identity#0}}` is `identity--0`.
fn fill(text: &str) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{lambda:") {
        let Some((name, after)) = after.split_once("}}") else {
            break;
        };
        filled.push_str(before);
        filled.push_str(&name.replace('#', "--"));
        rest = after;
    }
    filled.push_str(rest);
    filled
}

/// Serves functions by their behaviour, and other services with what the recording says they answered.
pub struct Services {
    answers: std::vec::IntoIter<TaskOutcome>,
}

impl Services {
    pub fn new(history: &Value) -> Services {
        let events = history
            .as_array()
            .iter()
            .flat_map(|events| events.iter())
            .cloned()
            .collect::<Vec<_>>();
        let answers: Vec<_> = events.iter().filter_map(answer).collect();
        Services {
            answers: answers.into_iter(),
        }
    }
}

impl Tasks for Services {
    fn next(&mut self, request: &TaskRequest) -> Act {
        match &request.resource.target {
            Target::LambdaFunction { name, .. } => function(name, &request.parameters),
            Target::LambdaInvoke(_) => {
                let name = request
                    .parameters
                    .get("FunctionName")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                let name = name.rsplit("function:").next().unwrap_or_default();
                // A text is the request's body as it is; nothing is an empty object.
                let payload = match request.parameters.get("Payload") {
                    None | Some(Value::Null) => Value::empty_object(),
                    Some(Value::String(text)) => {
                        Value::parse(text).unwrap_or_else(|_| Value::from(text.clone()))
                    }
                    Some(payload) => payload.clone(),
                };
                let mut act = function(name, &payload);
                if let Some(TaskOutcome::Succeeded { output }) = act.outcome {
                    act.outcome = Some(TaskOutcome::Succeeded {
                        output: envelope(output),
                    });
                }
                act
            }
            Target::Activity { .. }
            | Target::StartExecution(_)
            | Target::HttpInvoke
            | Target::Service { .. }
            | Target::AwsSdk { .. }
            | Target::Wasm { .. } => Act {
                outcome: self.answers.next(),
                ..Act::at_once()
            },
        }
    }
}

/// What a service answered, if the event says so.
fn answer(event: &Value) -> Option<TaskOutcome> {
    if let Some(details) = event.get("taskFailedEventDetails") {
        let text = |name: &str| {
            details
                .get(name)
                .map(|v| v.as_str().map_or_else(|| v.to_json(), str::to_owned))
        };
        let (error, cause) = (text("error").unwrap_or_default(), text("cause"));
        return Some(failed(&error, cause.as_deref(), FailedAt::Run));
    }
    let output = event
        .get("taskSucceededEventDetails")?
        .get("output")?
        .clone();
    Some(TaskOutcome::Succeeded { output })
}

/// `plugins.json`, by name.
fn function(name: &str, event: &Value) -> Act {
    let succeeds = |output: Value| Act {
        outcome: Some(TaskOutcome::Succeeded { output }),
        ..Act::at_once()
    };
    match name.split("--").next().unwrap_or_default() {
        "identity" => succeeds(event.clone()),
        "hello-world-object" => succeeds(Value::object([("Return", Value::from("HelloWorld"))])),
        "bytes-hello-world" => succeeds(Value::from("HelloWorld!")),
        "decorated-input" => succeeds(Value::from(format!("input-event-{}", python(event)))),
        "wait-60-seconds" => Act {
            after_ms: 60_000,
            ..succeeds(event.clone())
        },
        "raise-custom-exception" => raises("CustomException", ""),
        "raise-exception" => raises("Exception", "Some exception was raised."),
        "large-output" => succeeds(Value::from("a".repeat(257 * 1_024))),
        _ => {
            let cause = format!(
                "Function not found: arn:aws:lambda:us-east-1:000000000000:function:{name}:$LATEST (Service: AWSLambda; \
                 Status Code: 404; Error Code: ResourceNotFoundException; Request ID: 1; Proxy: null)"
            );
            let outcome = failed(
                "Lambda.ResourceNotFoundException",
                Some(&cause),
                FailedAt::Run,
            );
            Act {
                outcome: Some(outcome),
                ..Act::at_once()
            }
        }
    }
}

fn raises(error: &str, message: &str) -> Act {
    let cause = Value::object([
        ("errorMessage", Value::from(message)),
        ("errorType", Value::from(error)),
        (
            "requestId",
            Value::from("00000000-0000-4000-8000-000000000000"),
        ),
        ("stackTrace", Value::array([])),
    ]);
    Act {
        outcome: Some(failed(error, Some(&cause.to_json()), FailedAt::Run)),
        ..Act::at_once()
    }
}

fn envelope(payload: Value) -> Value {
    let mut envelope = ObjectBuilder::default();
    envelope
        .insert("ExecutedVersion", "$LATEST")
        .insert("Payload", payload);
    envelope.insert("SdkHttpMetadata", Value::empty_object());
    envelope.insert("SdkResponseMetadata", Value::empty_object());
    envelope.insert("StatusCode", 200);
    envelope.into()
}

/// A value as Python's `repr` writes it, a text as `str` does at the top.
fn python(value: &Value) -> String {
    match value {
        Value::String(text) => text.to_string(),
        other => repr(other),
    }
}

fn repr(value: &Value) -> String {
    let all = |parts: Vec<String>| parts.join(", ");
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("'{text}'"),
        Value::Array(items) => format!("[{}]", all(items.iter().map(repr).collect())),
        Value::Object(object) => {
            format!(
                "{{{}}}",
                all(object
                    .iter()
                    .map(|(key, value)| format!("'{key}': {}", repr(value)))
                    .collect())
            )
        }
    }
}
