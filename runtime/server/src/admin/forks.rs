//! ForkExecution, on the wire. What it hides: nothing but the wire forms.

use serde::{Deserialize, Serialize};
use stepwell_engine::{ForkRequest, Role};

use super::{Call, json};
use crate::{
    aws::{Fault, Seconds},
    limits::TRACE_HEADER_BYTES_MAX,
};

/// Request. `input` and `variables` are JSON text, as in the service's own calls.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Asked {
    execution_arn: String,
    event_id: Option<u64>,
    name: Option<String>,
    input: Option<String>,
    variables: Option<String>,
    definition: Option<String>,
    state_machine_arn: Option<String>,
    trace_header: Option<String>,
}

/// Wire form of the answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    execution_arn: &'a str,
    start_date: Seconds,
    forked_from: Origin<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    new_variables: Vec<&'a str>,
}

/// Wire form of where a fork comes from; DescribeExecution tells it, too.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Origin<'a> {
    pub(crate) execution_arn: &'a str,
    pub(crate) event_id: u64,
}

pub(super) async fn fork(call: Call<'_>) -> Result<Vec<u8>, Fault> {
    let asked: Asked = call.read()?;
    let header = asked.trace_header.as_deref().unwrap_or_default();
    if header.len() > TRACE_HEADER_BYTES_MAX || !header.is_ascii() {
        return Err(Fault::validation(format!(
            "traceHeader is ASCII of at most {TRACE_HEADER_BYTES_MAX} bytes"
        )));
    }
    // Who runs a definition of its own leads the account's credentials wherever it likes, as who writes state machines can.
    let role = call.identity.map(|identity| identity.key.role);
    if asked.definition.is_some() && role.is_some_and(|role| role < Role::Admin) {
        return Err(Fault::denied(
            "a fork with a definition of its own takes an access key with the role `admin`; without `definition`, or with `stateMachineArn`, the role `run` is enough"
                .to_owned(),
        ));
    }
    let origin = asked.execution_arn.clone();
    let request = ForkRequest {
        execution_arn: asked.execution_arn,
        event_id: asked.event_id,
        name: asked.name,
        input: asked.input,
        variables: asked.variables,
        definition: asked.definition,
        machine_arn: asked.state_machine_arn,
        trace_header: asked.trace_header,
    };
    // What it repeats may be as large as pages of a history, and is held until it is written.
    let _turn = call.state.page_turn().await;
    let forked = call.state.engine.fork(&call.caller, request).await?;
    json(&Answer {
        execution_arn: &forked.execution_arn,
        start_date: Seconds(forked.started_at.0),
        forked_from: Origin {
            execution_arn: &origin,
            event_id: forked.event_id,
        },
        new_variables: forked.new_variables.iter().map(|name| &**name).collect(),
    })
}
