//! `run`: one execution of one definition in this process, durably when there is a data directory.

use std::path::Path;

use anyhow::anyhow;
use serde_json::{Value, json};
use stepwell_asl::ExecutionType;
use stepwell_engine::Quotas;

use super::follow::{self, Followed, Since};
use super::prepare::prepare;
use crate::args::RunArgs;
use crate::client::Client;
use crate::exit::{Outcome, Stop};
use crate::given;
use crate::host::{self, Host, Opening};
use crate::key_file;
use crate::telemetry::Listeners;

/// A role for the API, which wants one; nothing here resolves it.
pub(super) const ROLE_ARN: &str = "arn:aws:iam::000000000000:role/stepwell";

pub(super) async fn run(args: RunArgs) -> Outcome {
    let kind = if args.express {
        ExecutionType::Express
    } else {
        ExecutionType::Standard
    };
    given::stdin_once(Some(&args.machine), &[Some(&args.input.input)])?;
    let (definition, program) =
        given::definition(&args.machine, kind, args.runtime.limits, !args.quiet)?;
    if !args.quiet {
        given::warn_unserved(&args.machine, &program, &definition);
    }
    let input = given::json(&args.input.input, "--input")?;
    let host = Host::open(Opening {
        data: args.data.as_deref(),
        store: None,
        plugins: args.runtime.plugins.as_deref(),
        limits: args.runtime.limits,
        storage: Some(&args.runtime.storage),
        connections: args.runtime.connections.as_deref(),
        endpoints: &args.services.endpoint,
        compiler: host::compiler(args.runtime.compile, false)?,
        policy: Some(&args.runtime.policy),
        take_up: true,
        usual: Quotas::default(),
        listeners: Listeners::default(),
        vault: match &args.data {
            Some(data) => key_file::beside(data)?,
            None => None,
        },
        no_vault: None,
    })
    .await?;
    let client = Client::here(host, args.region.asked());
    prepare(&client, &program, &definition, args.quiet).await?;
    let outcome = if args.express {
        express(&client, &args, &definition, &input).await
    } else {
        standard(&client, &args, &definition, &input).await
    };
    client.close().await;
    outcome
}

async fn express(client: &Client, args: &RunArgs, definition: &str, input: &str) -> Outcome {
    let machine = put_machine(client, &machine_name(&args.machine), definition, true, &[])
        .await?
        .arn;
    let request = json!({"stateMachineArn": machine, "input": input});
    let hint = "run it without --express to see its states";
    express_result(client, request, args.json, args.quiet, hint).await
}

/// Runs an EXPRESS state machine to its end, and tells how it ended.
pub(super) async fn express_result(
    client: &Client,
    request: Value,
    json: bool,
    quiet: bool,
    hint: &str,
) -> Outcome {
    let result = tokio::select! {
        result = client.call("StartSyncExecution", request) => result?,
        _ = tokio::signal::ctrl_c() => return Err(Stop::Runtime(anyhow!("interrupted; nothing of an EXPRESS execution is kept"))),
    };
    let status = super::text(&result, "status");
    if !quiet {
        let billed = result
            .pointer("/billingDetails/billedDurationInMilliseconds")
            .and_then(Value::as_u64);
        say!(
            "EXPRESS execution {status}, {} ms billed",
            billed.unwrap_or(0)
        );
    }
    if json {
        super::print_json(&result)?;
    }
    if status == "SUCCEEDED" {
        return if json {
            Ok(())
        } else {
            super::print_json_text(super::text(&result, "output"))
        };
    }
    follow::tell_failure(client, &result, None, &[hint.to_owned()]).await;
    Err(Stop::Failed)
}

async fn standard(client: &Client, args: &RunArgs, definition: &str, input: &str) -> Outcome {
    let machine = put_machine(client, &machine_name(&args.machine), definition, false, &[])
        .await?
        .arn;
    let name = args
        .name
        .clone()
        .unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    let arn = start(client, &machine, &name, input).await?;
    if let (Some(data), false) = (&args.data, args.quiet) {
        say!("execution {arn}");
        if args.name.is_none() {
            say!(
                "if it is interrupted, the same command with --data {} --name {name} takes it up again",
                data.display()
            );
        }
    }
    match follow::follow(client, &arn, args.quiet, Since::Start).await? {
        Followed::Closed(timeline) => {
            let hint = match &args.data {
                Some(data) => format!("stepwell execution history {arn} --data {}", data.display()),
                None => "give --data DIR to keep the history of a run".to_owned(),
            };
            follow::conclude(client, &arn, Some(&timeline), args.json, &hint).await
        }
        Followed::Interrupted => Err(Stop::Runtime(match &args.data {
            Some(data) => anyhow!(
                "interrupted; the execution is kept\nhint: the same command with --data {} --name {name} takes it up again",
                data.display()
            ),
            None => {
                anyhow!("interrupted; the execution is lost\nhint: --data DIR keeps executions")
            }
        })),
    }
}

/// Starts the execution, or attaches to the one of that name that is there: a running one goes on, of a closed one
/// the result is shown.
async fn start(client: &Client, machine: &str, name: &str, input: &str) -> Outcome<String> {
    let request = json!({"stateMachineArn": machine, "name": name, "input": input});
    let refused = match client.try_call("StartExecution", request).await? {
        Ok(started) => return Ok(super::text(&started, "executionArn").to_owned()),
        Err(refused) if refused.code == "ExecutionAlreadyExists" => refused,
        Err(refused) => return Err(Stop::Usage(anyhow!("{refused}"))),
    };
    let arn = format!(
        "{}:{name}",
        machine.replacen(":stateMachine:", ":execution:", 1)
    );
    let known = client
        .call("DescribeExecution", json!({"executionArn": arn}))
        .await?;
    if !same_json(super::text(&known, "input"), input) {
        return Err(Stop::Usage(anyhow!(
            "an execution `{name}` with another input is there: {refused}\nhint: choose another --name"
        )));
    }
    say!(
        "the execution `{name}` is there already: {}",
        super::text(&known, "status")
    );
    Ok(arn)
}

fn same_json(one: &str, other: &str) -> bool {
    let parse = |text: &str| serde_json::from_str::<Value>(text).ok();
    parse(one) == parse(other)
}

/// What became of a state machine that was put.
pub(super) struct Put {
    pub(super) arn: String,
    /// It was there, with another definition.
    pub(super) updated: bool,
}

/// Creates the state machine of that name, or gives it this definition; a tag that is refused leaves it as it was.
pub(super) async fn put_machine(
    client: &Client,
    name: &str,
    definition: &str,
    express: bool,
    tags: &[(String, String)],
) -> Outcome<Put> {
    let kind = if express { "EXPRESS" } else { "STANDARD" };
    let tag = |(key, value): &(String, String)| json!({"key": key, "value": value});
    let tags: Vec<Value> = tags.iter().map(tag).collect();
    // Of one that is there, the call that creates changes no tags.
    if let (false, Ok(arn)) = (tags.is_empty(), client.machine_arn(name).await) {
        return put_over(client, name, arn, definition, kind, &tags).await;
    }
    let mut create =
        json!({"name": name, "definition": definition, "roleArn": ROLE_ARN, "type": kind});
    if !tags.is_empty() {
        create["tags"] = json!(tags);
    }
    let refused = match client.try_call("CreateStateMachine", create).await? {
        Ok(created) => {
            let arn = super::text(&created, "stateMachineArn").to_owned();
            return Ok(Put {
                arn,
                updated: false,
            });
        }
        Err(refused) => refused,
    };
    if refused.code != "StateMachineAlreadyExists" {
        return Err(Stop::Usage(anyhow!("{refused}")));
    }
    let arn = client.machine_arn(name).await?;
    put_over(client, name, arn, definition, kind, &tags).await
}

/// Of a state machine that is there. The tags come first: the store sees whether they are right together with those that
/// stay, while the definition was checked before; all that is looked at comes before the first change.
async fn put_over(
    client: &Client,
    name: &str,
    arn: String,
    definition: &str,
    kind: &str,
    tags: &[Value],
) -> Outcome<Put> {
    let known = client
        .call("DescribeStateMachine", json!({"stateMachineArn": arn}))
        .await?;
    if super::text(&known, "type") != kind {
        let other = super::text(&known, "type");
        return Err(Stop::Usage(anyhow!(
            "the state machine `{name}` is there as {other}\nhint: delete it with `stepwell machine delete {name}`, or choose another name"
        )));
    }
    let same = super::text(&known, "definition") == definition;
    if !same {
        acceptable(client, definition, kind).await?;
    }
    if !tags.is_empty() {
        let request = json!({"resourceArn": arn, "tags": tags});
        client.call("TagResource", request).await?;
    }
    if !same {
        let request = json!({"stateMachineArn": arn, "definition": definition});
        client.call("UpdateStateMachine", request).await?;
    }
    Ok(Put {
        arn,
        updated: !same,
    })
}

/// Refuses what the installation will not take, whose limits may be less than those of the check before.
async fn acceptable(client: &Client, definition: &str, kind: &str) -> Outcome {
    let request = json!({"definition": definition, "type": kind, "maxResults": 1});
    let verdict = client
        .call("ValidateStateMachineDefinition", request)
        .await?;
    if super::text(&verdict, "result") != "FAIL" {
        return Ok(());
    }
    let first = &verdict["diagnostics"][0];
    let place = super::text(first, "location");
    let at = if place.is_empty() { "" } else { " at " };
    Err(Stop::Usage(anyhow!(
        "InvalidDefinition: {}{at}{place}\nhint: nothing was changed; mend the definition and put it again",
        super::text(first, "message")
    )))
}

/// The file's name up to its first dot, as a state machine may be called; its folder's name for `machine.asl.json`,
/// `stdin` for what is read from there.
pub(super) fn machine_name(path: &Path) -> String {
    if path == Path::new("-") {
        return given::label(path);
    }
    let stem = |path: &Path| {
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        name.split('.').next().unwrap_or_default().to_owned()
    };
    let own = stem(path);
    let folder = path
        .canonicalize()
        .ok()
        .and_then(|path| path.parent().map(stem))
        .unwrap_or_default();
    let name = if own == "machine" && !folder.is_empty() {
        folder
    } else {
        own
    };
    let allowed = |c: char| {
        if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') {
            c
        } else {
            '-'
        }
    };
    let name: String = name.chars().map(allowed).take(80).collect();
    if name.is_empty() {
        "machine".to_owned()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_machines_after_their_files() {
        assert_eq!(machine_name(Path::new("x/order.asl.json")), "order");
        assert_eq!(machine_name(Path::new("a b.json")), "a-b");
        assert_eq!(machine_name(Path::new("-")), "stdin");
        assert!(same_json("{\"a\": 1}", "{\"a\":1}"));
    }
}
