//! `task`: answers to tasks that wait for their token, as workers give them.

use serde_json::{Value, json};

use crate::args::TaskCommand;
use crate::client::{Client, Purpose};
use crate::exit::Outcome;
use crate::given;

pub(super) async fn task(command: TaskCommand) -> Outcome {
    let (operation, mut request, done, place, runtime) = match command {
        TaskCommand::Success {
            token,
            output,
            place,
            runtime,
        } => {
            let output = given::json(&output, "--output")?;
            let request = json!({"taskToken": token, "output": output});
            let done = "the task succeeded";
            ("SendTaskSuccess", request, done, place, runtime)
        }
        TaskCommand::Failure {
            token,
            error,
            cause,
            place,
            runtime,
        } => {
            let request = json!({"taskToken": token, "error": error, "cause": cause});
            let done = "the task failed";
            ("SendTaskFailure", request, done, place, runtime)
        }
        TaskCommand::Heartbeat {
            token,
            place,
            runtime,
        } => {
            let request = json!({"taskToken": token});
            let done = "the task is told to be worked on";
            ("SendTaskHeartbeat", request, done, place, runtime)
        }
    };
    if let Some(members) = request.as_object_mut() {
        members.retain(|_, value| *value != Value::Null);
    }
    let client = Client::open(&place, Purpose::Act(&runtime)).await?;
    let answered = client.call(operation, request).await;
    client.close().await;
    answered?;
    say!("{done}");
    Ok(())
}
