//! A component that parses its input and writes it back.

use serde_json::Value;
use stepwell_task::{TaskError, task};

#[task]
fn echo(input: Value) -> Result<Value, TaskError> {
    Ok(input)
}
