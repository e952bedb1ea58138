//! The calls that are reserved for a function: how many may run at once. Wire types, REST JSON.

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::{Answer, Call, fault::Fault};

/// Wire form of the number; a function for which nothing was said has none.
#[derive(Default, Deserialize, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Reserved {
    #[serde(skip_serializing_if = "Option::is_none")]
    reserved_concurrent_executions: Option<i64>,
}

impl Reserved {
    pub(super) fn of(number: u32) -> Reserved {
        Reserved {
            reserved_concurrent_executions: Some(number.into()),
        }
    }
}

/// Refuses a name that says a version or an alias: calls are reserved for all of a function.
fn of_whole_function(call: &Call<'_>) -> Result<(), Fault> {
    match call.route.qualifier()? {
        None => Ok(()),
        Some(_) => Err(Fault::invalid(
            "This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. Please specify either a function name or an unqualified function ARN.",
        )),
    }
}

pub(super) async fn put(call: Call<'_>) -> Result<Answer, Fault> {
    of_whole_function(&call)?;
    let wanted: Reserved = call.input()?;
    let Some(number) = wanted.reserved_concurrent_executions else {
        return Err(Fault::validation(
            "Value null at 'reservedConcurrentExecutions' failed to satisfy constraint: Member must not be null",
        ));
    };
    // The service's numbers are signed ones of 32 bits.
    let signed = i32::try_from(number).ok();
    let counted = signed.and_then(|number| u32::try_from(number).ok());
    let number = counted.ok_or_else(|| {
        let bound = match number < 0 {
            true => "greater than or equal to 0".to_owned(),
            false => format!("less than or equal to {}", i32::MAX),
        };
        Fault::validation(&format!(
            "Value '{number}' at 'reservedConcurrentExecutions' failed to satisfy constraint: Member must have value {bound}"
        ))
    })?;
    let (engine, name) = (&call.state.engine, call.route.function());
    engine
        .reserve_function_concurrency(&call.caller, name, Some(number))
        .await?;
    Ok(Answer::json(StatusCode::OK, &Reserved::of(number)))
}

pub(super) async fn get(call: Call<'_>) -> Result<Answer, Fault> {
    let (engine, name) = (&call.state.engine, call.route.function());
    let found = engine.function_concurrency(&call.caller, name).await?;
    let found = found.map(Reserved::of).unwrap_or_default();
    Ok(Answer::json(StatusCode::OK, &found))
}

pub(super) async fn remove(call: Call<'_>) -> Result<Answer, Fault> {
    of_whole_function(&call)?;
    let (engine, name) = (&call.state.engine, call.route.function());
    engine
        .reserve_function_concurrency(&call.caller, name, None)
        .await?;
    Ok(Answer::nothing())
}
