//! The task `{{name}}`.

use serde::{Deserialize, Serialize};
use stepwell_task::{Context, TaskError, log, task};

/// What the state passes in.
#[derive(Deserialize)]
pub struct Input {
    pub name: String,
}

/// What the state gets back.
#[derive(Debug, PartialEq, Serialize)]
pub struct Output {
    pub greeting: String,
}

#[task]
pub fn run(input: Input, ctx: &Context) -> Result<Output, TaskError> {
    log::info("greeting", &[("name", &input.name), ("attempt", &ctx.attempt)]);
    if input.name.is_empty() {
        return Err(TaskError::new("NobodyThere", "`name` is empty"));
    }
    Ok(Output { greeting: format!("Hello, {}!", input.name) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_task::testing;

    #[test]
    fn greets() {
        let output = run(Input { name: "Ada".into() }, &testing::context());
        assert_eq!(output.map(|o| o.greeting).ok().as_deref(), Some("Hello, Ada!"));
    }
}
