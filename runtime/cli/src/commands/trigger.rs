//! `trigger`: what starts executions beside whoever calls the API. Hides by which calls.

mod show;

use anyhow::anyhow;
use serde_json::{Value, json};

use crate::args::{HttpArgs, MissedArg, RuleArgs, ScheduleArgs, TriggerCommand};
use crate::client::{Client, Purpose};
use crate::exit::{Outcome, Stop};
use crate::given;
use crate::table::Table;
use crate::terminal::stdout_columns;

/// Kinds of triggers, as they stand before names.
const KINDS: [&str; 3] = ["schedule", "http", "rule"];
/// The one target of the rules that this command makes.
const TARGET_ID: &str = "machine";

pub(super) async fn trigger(command: TriggerCommand) -> Outcome {
    let place = match &command {
        TriggerCommand::Schedule(args) => &args.place,
        TriggerCommand::Http(args) => &args.place,
        TriggerCommand::Rule(args) => &args.place,
        TriggerCommand::List { place, .. }
        | TriggerCommand::Show { place, .. }
        | TriggerCommand::Delete { place, .. }
        | TriggerCommand::Enable { place, .. }
        | TriggerCommand::Disable { place, .. } => place,
    };
    let client = Client::open(place, Purpose::Look).await?;
    let done = match &command {
        TriggerCommand::Schedule(args) => schedule(&client, args).await,
        TriggerCommand::Http(args) => http(&client, args).await,
        TriggerCommand::Rule(args) => rule(&client, args).await,
        TriggerCommand::List { json, .. } => list(&client, *json).await,
        TriggerCommand::Show { which, json, .. } => show(&client, &which.trigger, *json).await,
        TriggerCommand::Delete { which, .. } => {
            change(&client, &which.trigger, "DeleteTrigger", "deleted").await
        }
        TriggerCommand::Enable { which, .. } => {
            change(&client, &which.trigger, "EnableTrigger", "enabled").await
        }
        TriggerCommand::Disable { which, .. } => {
            change(&client, &which.trigger, "DisableTrigger", "disabled").await
        }
    };
    client.close().await;
    done
}

async fn schedule(client: &Client, args: &ScheduleArgs) -> Outcome {
    let machine = client.machine_arn(&args.machine).await?;
    let expression = match (&args.every, &args.cron, &args.at) {
        (Some(rate), _, _) => format!("rate({rate})"),
        (_, Some(fields), _) => format!("cron({fields})"),
        (_, _, at) => format!("at({})", at.as_deref().unwrap_or_default()),
    };
    let action = if args.delete_after { "DELETE" } else { "NONE" };
    let mut body = json!({
        "Name": args.name,
        "ScheduleExpression": expression,
        "ScheduleExpressionTimezone": args.timezone,
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "ActionAfterCompletion": action,
        "Target": {
            "Arn": machine,
            "RetryPolicy": {
                "MaximumEventAgeInSeconds": args.max_age,
                "MaximumRetryAttempts": args.retries,
            },
        },
    });
    if let Some(input) = &args.input {
        body["Target"]["Input"] = json!(input);
    }
    let missed = args.missed.map(|missed| match missed {
        MissedArg::Once => "ONCE",
        MissedArg::All => "ALL",
        MissedArg::Skip => "SKIP",
    });
    let optional = [
        ("StartDate", args.start.map(|at| json!(at.as_second()))),
        ("EndDate", args.end.map(|at| json!(at.as_second()))),
        ("MissedRuns", missed.map(|missed| json!(missed))),
        (
            "Description",
            args.description.as_ref().map(|text| json!(text)),
        ),
        ("GroupName", args.group.as_ref().map(|text| json!(text))),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            body[name] = value;
        }
    }
    let put = client.call("StepwellTriggers.PutSchedule", body).await?;
    let new = put["created"].as_bool().unwrap_or(true);
    say!("{}", if new { "created" } else { "updated" });
    let name = match &args.group {
        Some(group) => format!("{group}/{}", args.name),
        None => args.name.clone(),
    };
    let told = describe(client, "schedule", &name).await?;
    match told["nextRuns"].as_array().map_or(&[][..], Vec::as_slice) {
        [] => say!("it never runs: the expression has no time from now on"),
        [next, ..] => say!("next run {}", next.as_str().unwrap_or_default()),
    }
    super::print(&format!("{}\n", super::text(&put, "arn")))
}

async fn http(client: &Client, args: &HttpArgs) -> Outcome {
    let machine = client.machine_arn(&args.machine).await?;
    let secret = match (args.open, args.new_secret) {
        (true, _) => "none",
        (false, true) => "draw",
        (false, false) => "keep",
    };
    let mut body = json!({"name": args.name, "stateMachineArn": machine, "secret": secret});
    if let Some(seconds) = args.wait {
        body["waitSeconds"] = json!(seconds);
    }
    if let Some(description) = &args.description {
        body["description"] = json!(description);
    }
    let put = client.call("StepwellTriggers.PutHttpTrigger", body).await?;
    say!("POST {} starts {}", super::text(&put, "path"), args.machine);
    match put["secret"].as_str() {
        Some(secret) => {
            say!(
                "its secret is told now and never again; send it as `Authorization: Bearer SECRET`:"
            );
            super::print(&format!("{secret}\n"))
        }
        None if args.open => Ok(()),
        None => {
            say!(
                "it asks for the secret that it asked for before, or for none as before; --new-secret draws one"
            );
            Ok(())
        }
    }
}

async fn rule(client: &Client, args: &RuleArgs) -> Outcome {
    let machine = client.machine_arn(&args.machine).await?;
    let pattern = match (&args.pattern, &args.pattern_file) {
        (Some(text), _) => text.clone(),
        (None, Some(file)) => given::read(file)?,
        (None, None) => String::new(),
    };
    let mut body = json!({"Name": args.name, "EventPattern": pattern});
    if let Some(description) = &args.description {
        body["Description"] = json!(description);
    }
    let put = client.call("AWSEvents.PutRule", body).await?;
    let mut target = json!({"Id": TARGET_ID, "Arn": machine});
    if let Some(input) = &args.input {
        target["Input"] = json!(input);
    }
    if let Some(path) = &args.input_path {
        target["InputPath"] = json!(path);
    }
    let targets = json!({"Rule": args.name, "Targets": [target]});
    client.call("AWSEvents.PutTargets", targets).await?;
    super::print(&format!("{}\n", super::text(&put, "RuleArn")))
}

/// All triggers of the region.
async fn all(client: &Client) -> Outcome<Vec<Value>> {
    let mut all = Vec::new();
    let mut body = json!({});
    loop {
        let mut page = client
            .call("StepwellTriggers.ListTriggers", body.clone())
            .await?;
        if let Some(Value::Array(more)) = page.get_mut("triggers").map(Value::take) {
            all.extend(more);
        }
        match page["nextToken"].take() {
            Value::Null => return Ok(all),
            token => body["nextToken"] = token,
        }
    }
}

async fn list(client: &Client, as_json: bool) -> Outcome {
    let triggers = all(client).await?;
    if as_json {
        return super::print_json(&json!(triggers));
    }
    if triggers.is_empty() {
        say!("there are no triggers yet; `stepwell trigger schedule`, `http` and `rule` make them");
        return Ok(());
    }
    let mut table = Table::new(&[
        "kind", "name", "state", "next run", "last run", "starts", "when",
    ]);
    for trigger in &triggers {
        let text = |key: &str| super::text(trigger, key).to_owned();
        table.row([
            text("kind"),
            text("name"),
            state(trigger).to_owned(),
            text("nextRun"),
            text("lastRun"),
            machine_names(super::text(trigger, "stateMachineArn")),
            text("when"),
        ]);
    }
    super::print(&table.whole(stdout_columns()))
}

/// Whether it starts executions, and could when it last tried.
fn state(trigger: &Value) -> &'static str {
    match (trigger["enabled"].as_bool(), trigger.get("lastError")) {
        (Some(false), _) => "disabled",
        (_, Some(_)) => "failing",
        (_, None) => "enabled",
    }
}

/// The names in ARNs of state machines.
fn machine_names(arns: &str) -> String {
    let name = |arn: &str| match arn.split_once(":stateMachine:") {
        Some((_, name)) => name.to_owned(),
        None => arn.to_owned(),
    };
    let names: Vec<String> = arns.split(' ').map(name).collect();
    names.join(", ")
}

async fn show(client: &Client, trigger: &str, as_json: bool) -> Outcome {
    let (kind, name) = found(client, trigger).await?;
    let told = describe(client, &kind, &name).await?;
    if as_json {
        return super::print_json(&told);
    }
    super::print(&show::lines(&told))
}

async fn describe(client: &Client, kind: &str, name: &str) -> Outcome<Value> {
    let which = json!({"kind": kind, "name": name});
    client.call("StepwellTriggers.DescribeTrigger", which).await
}

async fn change(client: &Client, trigger: &str, operation: &str, done: &str) -> Outcome {
    let (kind, name) = found(client, trigger).await?;
    let which = json!({"kind": kind, "name": name});
    client
        .call(&format!("StepwellTriggers.{operation}"), which)
        .await?;
    say!("{done} {kind}/{name}");
    Ok(())
}

/// Kind and name of a trigger that is named in either way.
async fn found(client: &Client, trigger: &str) -> Outcome<(String, String)> {
    if let Some((kind, name)) = trigger.split_once('/')
        && KINDS.contains(&kind)
    {
        return Ok((kind.to_owned(), name.to_owned()));
    }
    let triggers = all(client).await?;
    let same = triggers.iter().filter(|one| one["name"] == trigger);
    let kinds: Vec<&str> = same.map(|one| super::text(one, "kind")).collect();
    match kinds[..] {
        [kind] => Ok((kind.to_owned(), trigger.to_owned())),
        [] => Err(Stop::Usage(anyhow!(
            "there is no trigger `{trigger}`\nhint: `stepwell trigger list` lists those that there are"
        ))),
        _ => Err(Stop::Usage(anyhow!(
            "several triggers are named `{trigger}`\nhint: name one as {}",
            kinds
                .iter()
                .map(|kind| format!("{kind}/{trigger}"))
                .collect::<Vec<_>>()
                .join(" or ")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::machine_names;

    #[test]
    fn machines_are_shown_by_their_names() {
        let arn = "arn:aws:states:us-east-1:000000000000:stateMachine:orders:live";
        assert_eq!(machine_names(arn), "orders:live");
        assert_eq!(
            machine_names(&format!("{arn} {arn}")),
            "orders:live, orders:live"
        );
        assert_eq!(machine_names(""), "");
    }
}
