//! TestState in a program without it.

use super::{fault::Fault, operation::Call};

pub(super) async fn test_state(_: Call<'_>) -> Result<Vec<u8>, Fault> {
    Err(Fault::left_out("TestState"))
}
