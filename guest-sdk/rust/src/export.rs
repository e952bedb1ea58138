//! The generated bindings and the conversion between them and the author's types. Only `#[task]` names this module.

#[allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    reason = "generated: the canonical ABI is raw pointers, and the items are documented in task.wit"
)]
pub mod bindings {
    #[cfg(not(feature = "http"))]
    wit_bindgen::generate!({
        path: "../wit",
        world: "task",
        pub_export_macro: true,
        export_macro_name: "export_task",
    });
    #[cfg(feature = "http")]
    wit_bindgen::generate!({
        path: "../wit",
        world: "task-http",
        pub_export_macro: true,
        export_macro_name: "export_task",
        generate_all,
    });
}

pub use bindings::export_task as export;
pub use bindings::exports::stepwell::task::handler::Guest;
pub use bindings::stepwell::task::types::{Context as WireContext, TaskError as WireError};

use crate::{Context, TaskError};
use serde::{Serialize, de::DeserializeOwned};
use std::time::Duration;

/// Reads the input, calls the author's function and writes its output.
pub fn run<I, O, F>(input: String, context: WireContext, task: F) -> Result<String, WireError>
where
    I: DeserializeOwned,
    O: Serialize,
    F: FnOnce(I, &Context) -> Result<O, TaskError>,
{
    let context = from_wire(context);
    let input = serde_json::from_str(&input).map_err(|error| {
        to_wire(&TaskError::new(
            "InvalidInput",
            format!("the input does not fit this task: {error}"),
        ))
    })?;
    let output = task(input, &context).map_err(|error| to_wire(&error))?;
    serde_json::to_string(&output).map_err(|error| {
        to_wire(&TaskError::new(
            "InvalidOutput",
            format!("the output cannot be written as JSON: {error}"),
        ))
    })
}

fn to_wire(error: &TaskError) -> WireError {
    WireError {
        error: error.error().to_owned(),
        cause: error.cause().to_owned(),
    }
}

fn from_wire(wire: WireContext) -> Context {
    Context {
        execution_id: wire.execution_id,
        state_machine: wire.state_machine,
        state_name: wire.state_name,
        attempt: wire.attempt,
        idempotency_key: wire.idempotency_key,
        task_token: wire.task_token,
        deadline: wire.deadline_ms.map(|ms| Duration::from_millis(ms.into())),
        trace_parent: wire.trace_parent,
    }
}
