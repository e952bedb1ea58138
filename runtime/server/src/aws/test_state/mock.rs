//! The mocked outcome of a state, checked against what the state and its service can answer.

use stepwell_asl::{Kind, Map, Mode};
use stepwell_interp::Mock;
use stepwell_query::Value;

use super::outputs::{self, Strictness};
use crate::aws::{fault::Fault, input::Fields};

const ONE_OF: &str =
    "A test mock should have only one of the following fields: [result, errorOutput].";

/// `reveals` is the request's `revealSecrets`.
pub(super) fn read(mut mock: Fields<'_>, kind: &Kind, reveals: bool) -> Result<Mock, Fault> {
    check_kind(kind)?;
    if reveals {
        let text = "TestState does not support RevealSecrets when a mock is specified.";
        return Err(Fault::validation(text));
    }
    let strictness = match mock.text("fieldValidationMode").as_deref() {
        Some("NONE") => None,
        Some("PRESENT") => Some(Strictness::Present),
        Some(_) | None => Some(Strictness::Strict),
    };
    match (mock.text("result"), mock.structure("errorOutput")) {
        (Some(text), None) => {
            let Ok(result) = Value::parse(&text) else {
                return Err(Fault::validation("Mocked result must be valid JSON"));
            };
            check_result(&result, kind, strictness).map_err(Fault::validation)?;
            Ok(Mock::Result(result))
        }
        (None, Some(mut output)) => Ok(Mock::Error {
            error: output.text("error").map(Into::into),
            cause: output.text("cause").map(Into::into),
        }),
        (Some(_), Some(_)) | (None, None) => Err(Fault::validation(ONE_OF)),
    }
}

/// States whose work is the interpreter's own cannot be mocked.
fn check_kind(kind: &Kind) -> Result<(), Fault> {
    match kind {
        Kind::Task(_) | Kind::Parallel(_) | Kind::Map(_) => Ok(()),
        Kind::Pass(_) | Kind::Choice(_) | Kind::Wait(_) | Kind::Succeed(_) | Kind::Fail(_) => {
            let kind = kind.type_name();
            Err(Fault::validation(format!(
                "State type '{kind}' is not supported when a mock is specified"
            )))
        }
    }
}

fn check_result(result: &Value, kind: &Kind, strictness: Option<Strictness>) -> Result<(), String> {
    let object = || match result {
        Value::Object(_) => Ok(()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err("Mocked result must be a JSON object.".to_owned())
        }
    };
    let array = || {
        let array = result.as_array();
        array.ok_or_else(|| "Mocked result must be an array.".to_owned())
    };
    match kind {
        Kind::Map(map) if writes_results(map) => object(),
        Kind::Map(_) => array().map(drop),
        Kind::Parallel(parallel) if array()?.len() != parallel.branches.len() => Err(
            "Mocked result must contain the same number of items as number of Parallel branches."
                .to_owned(),
        ),
        Kind::Task(task) => match (outputs::operation(&task.resource.target), strictness) {
            (Some(operation), Some(strictness)) => {
                object()?;
                outputs::check(&operation, result, strictness)
                    .map_err(|text| format!("Mock result schema validation error: {text}"))
            }
            (None, _) | (_, None) => Ok(()),
        },
        Kind::Parallel(_)
        | Kind::Pass(_)
        | Kind::Choice(_)
        | Kind::Wait(_)
        | Kind::Succeed(_)
        | Kind::Fail(_) => Ok(()),
    }
}

fn writes_results(map: &Map) -> bool {
    match &map.mode {
        Mode::Inline => false,
        Mode::Distributed(distributed) => distributed.writer.is_some(),
    }
}
