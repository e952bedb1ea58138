//! Answers of workers and callbacks, by task token.

use super::{
    fault::Fault,
    operation::Call,
    wire::{Nothing, json},
};

pub(super) async fn succeed(mut call: Call<'_>) -> Result<Vec<u8>, Fault> {
    let (token, output) = (
        call.input.required("taskToken"),
        call.input.required("output"),
    );
    call.state
        .engine
        .send_task_success(&call.caller, &token, &output)
        .await?;
    json(&Nothing {})
}

pub(super) async fn fail(mut call: Call<'_>) -> Result<Vec<u8>, Fault> {
    let input = &mut call.input;
    let (token, error, cause) = (
        input.required("taskToken"),
        input.text("error"),
        input.text("cause"),
    );
    call.state
        .engine
        .send_task_failure(&call.caller, &token, error, cause)
        .await?;
    json(&Nothing {})
}

pub(super) async fn heartbeat(mut call: Call<'_>) -> Result<Vec<u8>, Fault> {
    let token = call.input.required("taskToken");
    call.state
        .engine
        .send_task_heartbeat(&call.caller, &token)
        .await?;
    json(&Nothing {})
}
