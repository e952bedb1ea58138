//! Invoke: a function called now, later, or not at all. Wire headers of REST JSON.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use stepwell_engine::{FunctionFault, Invocation};

use super::{Answer, Call, configuration::LATEST, fault::Fault};

const INVOCATION_TYPE: HeaderName = HeaderName::from_static("x-amz-invocation-type");
const LOG_TYPE: HeaderName = HeaderName::from_static("x-amz-log-type");
const LOG_RESULT: HeaderName = HeaderName::from_static("x-amz-log-result");
const FUNCTION_ERROR: HeaderName = HeaderName::from_static("x-amz-function-error");
const EXECUTED_VERSION: HeaderName = HeaderName::from_static("x-amz-executed-version");

pub(super) async fn invoke(call: Call<'_>) -> Result<Answer, Fault> {
    let (engine, name) = (&call.state.engine, call.route.function());
    let qualifier = call.route.qualifier()?;
    let payload = std::str::from_utf8(&call.body).map_err(|error| {
        Fault::not_json(&format!("it is not UTF-8 at byte {}", error.valid_up_to()))
    })?;
    match header_text(&call, &INVOCATION_TYPE)?.unwrap_or("RequestResponse") {
        "RequestResponse" => {}
        "Event" => {
            engine
                .invoke_later(&call.caller, name, qualifier, payload, call.request_id)
                .await?;
            return Ok(empty(StatusCode::ACCEPTED));
        }
        "DryRun" => {
            engine.may_invoke(&call.caller, name, qualifier).await?;
            return Ok(empty(StatusCode::NO_CONTENT));
        }
        other => {
            return Err(Fault::validation(&format!(
                "Value '{other}' at 'invocationType' failed to satisfy constraint: Member must satisfy enum value set: [Event, RequestResponse, DryRun]"
            )));
        }
    }
    let log_wanted = match header_text(&call, &LOG_TYPE)? {
        None | Some("None") => false,
        Some("Tail") => true,
        Some(other) => {
            return Err(Fault::validation(&format!(
                "Value '{other}' at 'logType' failed to satisfy constraint: Member must satisfy enum value set: [None, Tail]"
            )));
        }
    };
    let invocation = Invocation {
        name: name.to_owned(),
        qualifier: qualifier.map(str::to_owned),
        payload: payload.to_owned(),
        log_wanted,
        request_id: call.request_id.to_owned(),
    };
    let invoked = engine.invoke(&call.caller, invocation).await?;
    let mut headers = vec![
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (EXECUTED_VERSION, invoked.version),
    ];
    if let Some(FunctionFault::Unhandled) = invoked.fault {
        headers.push((FUNCTION_ERROR, "Unhandled".to_owned()));
    }
    headers.extend(invoked.log.map(|log| (LOG_RESULT, log)));
    Ok(Answer {
        status: StatusCode::OK,
        headers,
        body: invoked.payload.into_bytes(),
    })
}

fn header_text<'a>(call: &Call<'a>, name: &HeaderName) -> Result<Option<&'a str>, Fault> {
    let value = call.headers.get(name).map(HeaderValue::to_str);
    value.transpose().map_err(|_| {
        Fault::validation(&format!(
            "the header {name} has other characters than those of ASCII"
        ))
    })
}

/// The answer of a call that is not waited for.
fn empty(status: StatusCode) -> Answer {
    Answer {
        status,
        headers: vec![(EXECUTED_VERSION, LATEST.to_owned())],
        body: Vec::new(),
    }
}
