//! `execution fork`: an execution that goes on from another one. Hides how what the user gives becomes the call.

use serde_json::{Value, json};
use stepwell_asl::{ExecutionType, Program};

use super::execution::{named, watch};
use super::follow::Since;
use super::prepare::{prepare, prepare_stored};
use crate::args::{ForkArgs, LimitsArg};
use crate::client::{Client, Purpose};
use crate::exit::Outcome;
use crate::given;
use crate::terminal::shown;

/// A definition that the user gives.
type Given = (String, Program);

pub(super) async fn fork_at(args: ForkArgs) -> Outcome {
    given::stdin_once(
        args.definition.as_deref(),
        &[args.input.as_deref(), args.variables.as_deref()],
    )?;
    let definition = match &args.definition {
        Some(file) => {
            let standard = ExecutionType::Standard;
            let given = given::definition(file, standard, LimitsArg::Raised, true)?;
            given::warn_unserved(file, &given.1, &given.0);
            Some(given)
        }
        None => None,
    };
    let mut request = json!({});
    for (key, flag, given) in [
        ("input", "--input", &args.input),
        ("variables", "--variables", &args.variables),
    ] {
        if let Some(given) = given {
            request[key] = json!(given::json(given, flag)?);
        }
    }
    let (client, arn) = named(&args.place, Purpose::Act(&args.runtime), &args.execution).await?;
    let outcome = fork(&client, &arn, &args, definition, request).await;
    client.close().await;
    outcome
}

async fn fork(
    client: &Client,
    arn: &str,
    args: &ForkArgs,
    definition: Option<Given>,
    mut request: Value,
) -> Outcome {
    request["executionArn"] = json!(arn);
    if let Some(event) = args.event {
        request["eventId"] = json!(event);
    }
    if let Some(name) = &args.name {
        request["name"] = json!(name);
    }
    if let Some((text, program)) = definition {
        prepare(client, &program, &text, false).await?;
        request["definition"] = json!(text);
    } else if let Some(machine) = &args.machine {
        let machine = client.machine_arn(machine).await?;
        prepare_stored(client, "DescribeStateMachine", "stateMachineArn", &machine).await?;
        request["stateMachineArn"] = json!(machine);
    } else {
        let operation = "DescribeStateMachineForExecution";
        prepare_stored(client, operation, "executionArn", arn).await?;
    }
    let forked = client.call("Stepwell.ForkExecution", request).await?;
    let fork = super::text(&forked, "executionArn").to_owned();
    let event = forked["forkedFrom"]["eventId"].as_u64().unwrap_or(0);
    say!("forked after event {event} of {arn}");
    for name in forked["newVariables"].as_array().into_iter().flatten() {
        let name = shown(name.as_str().unwrap_or_default());
        say!(
            "warning: the variable `{name}` of --variables was not there after event {event}: it is a new one of the fork, and changes nothing unless the definition reads it"
        );
    }
    if args.watch || matches!(client, Client::Here { .. }) {
        // Without a server this process is what runs the execution, so it stays.
        say!("execution {fork}");
        return watch(client, &fork, Since::Event(event)).await;
    }
    super::print(&format!("{fork}\n"))
}

/// `ARN after event 4`; nothing when it is no fork.
pub(super) fn origin(execution: &Value) -> String {
    let from = &execution["forkedFrom"];
    match (from["executionArn"].as_str(), from["eventId"].as_u64()) {
        (Some(arn), Some(event)) => format!("{arn} after event {event}"),
        _ => String::new(),
    }
}
