//! `machine`: the state machines of an installation.

use serde_json::{Value, json};
use stepwell_asl::ExecutionType;

use super::run::{machine_name, put_machine};
use crate::args::{LimitsArg, MachineCommand};
use crate::client::{Client, Purpose};
use crate::exit::Outcome;
use crate::given;
use crate::table::Table;
use crate::terminal::shown;

pub(super) async fn machine(command: MachineCommand) -> Outcome {
    match command {
        MachineCommand::List { json, place } => {
            let client = Client::open(&place, Purpose::Look).await?;
            let machines = client
                .list("ListStateMachines", json!({}), "stateMachines", usize::MAX)
                .await;
            client.close().await;
            list(&machines?, json)
        }
        MachineCommand::Put {
            file,
            name,
            express,
            tag,
            place,
        } => {
            let kind = if express {
                ExecutionType::Express
            } else {
                ExecutionType::Standard
            };
            let (definition, program) = given::definition(&file, kind, LimitsArg::Raised, true)?;
            given::warn_unserved(&file, &program, &definition);
            let client = Client::open(&place, Purpose::Add).await?;
            let name = name.unwrap_or_else(|| machine_name(&file));
            // The same definition again is no change: the call that creates answers as if it had.
            let known = client.machine_arn(&name).await.is_ok();
            let put = put_machine(&client, &name, &definition, express, &tag).await;
            client.close().await;
            let put = put?;
            let done = match (put.updated, known) {
                (false, true) if tag.is_empty() => "unchanged",
                (false, true) => "unchanged, tags set",
                (false, false) => "created",
                (true, _) => "updated",
            };
            say!("{done}");
            super::print(&format!("{}\n", shown(&put.arn)))
        }
        MachineCommand::Delete { machine, place } => {
            let client = Client::open(&place, Purpose::Look).await?;
            let outcome = delete(&client, &machine).await;
            client.close().await;
            outcome
        }
    }
}

fn list(machines: &[Value], json: bool) -> Outcome {
    if json {
        return super::print_json(&json!(machines));
    }
    let mut table = Table::new(&["name", "type", "created", "arn"]);
    for machine in machines {
        let text = |key: &str| super::text(machine, key).to_owned();
        table.row([
            text("name"),
            text("type"),
            super::time(machine, "creationDate"),
            text("stateMachineArn"),
        ]);
    }
    if table.is_empty() {
        say!("there are no state machines yet; `stepwell machine put FILE` creates one");
        return Ok(());
    }
    super::print(&table.whole(None))
}

async fn delete(client: &Client, machine: &str) -> Outcome {
    let arn = client.machine_arn(machine).await?;
    client
        .call("DeleteStateMachine", json!({"stateMachineArn": arn}))
        .await?;
    say!("deleted {}", shown(&arn));
    Ok(())
}
