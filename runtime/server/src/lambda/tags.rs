//! Tags of functions. Wire types, REST JSON.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::{Answer, Call, fault::Fault};

#[derive(Default, Deserialize, Serialize)]
#[serde(default, rename_all = "PascalCase")]
struct Tags {
    tags: BTreeMap<String, String>,
}

pub(super) async fn list(call: Call<'_>) -> Result<Answer, Fault> {
    let function = call.route.function();
    let tags = call
        .state
        .engine
        .function_tags(&call.caller, function)
        .await?;
    let tags = Tags {
        tags: tags.into_iter().collect(),
    };
    Ok(Answer::json(StatusCode::OK, &tags))
}

pub(super) async fn add(call: Call<'_>) -> Result<Answer, Fault> {
    let tags: Vec<(String, String)> = call.input::<Tags>()?.tags.into_iter().collect();
    let function = call.route.function();
    call.state
        .engine
        .tag_function(&call.caller, function, &tags, &[])
        .await?;
    Ok(Answer::nothing())
}

pub(super) async fn remove(call: Call<'_>) -> Result<Answer, Fault> {
    let keys = call.route.query.all("tagKeys");
    let function = call.route.function();
    call.state
        .engine
        .tag_function(&call.caller, function, &[], &keys)
        .await?;
    Ok(Answer::nothing())
}
