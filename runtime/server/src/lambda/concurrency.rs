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

pub(super) async fn put(call: Call<'_>) -> Result<Answer, Fault> {
    let wanted: Reserved = call.input()?;
    let Some(number) = wanted.reserved_concurrent_executions else {
        return Err(Fault::validation(
            "Value null at 'reservedConcurrentExecutions' failed to satisfy constraint: Member must not be null",
        ));
    };
    let number = u32::try_from(number).map_err(|_| {
        let bound = match number < 0 {
            true => "greater than or equal to 0".to_owned(),
            false => format!("less than or equal to {}", u32::MAX),
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
    let (engine, name) = (&call.state.engine, call.route.function());
    engine
        .reserve_function_concurrency(&call.caller, name, None)
        .await?;
    Ok(Answer::nothing())
}
