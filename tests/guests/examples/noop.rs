//! A component that does nothing but answer: what a call costs.

use stepwell_task::{TaskError, task};

#[task]
fn noop(_input: serde::de::IgnoredAny) -> Result<(), TaskError> {
    Ok(())
}
