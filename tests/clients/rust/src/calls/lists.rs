//! Lists, a page at a time and all of their pages: by the SDK's paginators where it has them.

use aws_sdk_sfn::{
    Client,
    operation::{
        get_execution_history::builders::GetExecutionHistoryFluentBuilder as History,
        list_executions::builders::ListExecutionsFluentBuilder as Executions,
        list_map_runs::builders::ListMapRunsFluentBuilder as MapRuns,
    },
    types::{ActivityListItem, StateMachineAliasListItem, StateMachineVersionListItem},
};
use serde_json::{Value, json};

use super::{Answer, Refusal, send};
use crate::{
    answers::{self, time},
    requests::{boolean, int, text, word},
};

pub(super) async fn call(client: &Client, operation: &str, with: &Value) -> Option<Answer> {
    let size = int(with, "maxResults");
    let token = text(with, "nextToken");
    Some(match operation {
        "GetExecutionHistory" => {
            let list = history(client, with);
            let list = list.set_max_results(size).set_next_token(token);
            send!(list, out => page("events", &out.events, answers::event, out.next_token()))
        }
        "ListExecutions" => {
            let list = executions(client, with);
            let list = list.set_max_results(size).set_next_token(token);
            send!(list, out => page("executions", &out.executions, answers::execution, out.next_token()))
        }
        "ListMapRuns" => {
            let list = map_runs(client, with);
            let list = list.set_max_results(size).set_next_token(token);
            send!(list, out => page("mapRuns", &out.map_runs, answers::map_run, out.next_token()))
        }
        "ListStateMachines" => {
            let list = client.list_state_machines();
            let list = list.set_max_results(size).set_next_token(token);
            send!(list, out => page("stateMachines", &out.state_machines, answers::machine, out.next_token()))
        }
        "ListActivities" => {
            let list = client.list_activities();
            let list = list.set_max_results(size).set_next_token(token);
            send!(list, out => page("activities", &out.activities, activity, out.next_token()))
        }
        "ListStateMachineVersions" => {
            let list = client.list_state_machine_versions();
            let list = list
                .set_state_machine_arn(text(with, "stateMachineArn"))
                .set_max_results(size)
                .set_next_token(token);
            send!(list, out => page("stateMachineVersions", &out.state_machine_versions, version, out.next_token()))
        }
        "ListStateMachineAliases" => {
            let list = client.list_state_machine_aliases();
            let list = list
                .set_state_machine_arn(text(with, "stateMachineArn"))
                .set_max_results(size)
                .set_next_token(token);
            send!(list, out => page("stateMachineAliases", &out.state_machine_aliases, alias, out.next_token()))
        }
        _ => return None,
    })
}

/// All pages that a paginator gives.
macro_rules! paginated {
    ($builder:expr, $size:expr, $out:ident => $page:expr) => {{
        let mut pages = Vec::new();
        let mut stream = $builder.into_paginator().page_size($size).send();
        while let Some(next) = stream.next().await {
            let $out = next.map_err(Refusal::of)?;
            pages.push($page);
        }
        Ok(pages)
    }};
}

/// All pages of a list.
pub(crate) async fn pages(
    client: &Client,
    operation: &str,
    with: &Value,
    size: i32,
) -> Result<Vec<Value>, Refusal> {
    match operation {
        "GetExecutionHistory" => {
            paginated!(history(client, with), size, out => page("events", &out.events, answers::event, None))
        }
        "ListExecutions" => {
            paginated!(executions(client, with), size, out => page("executions", &out.executions, answers::execution, None))
        }
        "ListMapRuns" => {
            paginated!(map_runs(client, with), size, out => page("mapRuns", &out.map_runs, answers::map_run, None))
        }
        "ListStateMachines" => {
            paginated!(client.list_state_machines(), size, out => page("stateMachines", &out.state_machines, answers::machine, None))
        }
        "ListActivities" => {
            paginated!(client.list_activities(), size, out => page("activities", &out.activities, activity, None))
        }
        other => by_tokens(client, other, with, size).await,
    }
}

async fn by_tokens(
    client: &Client,
    operation: &str,
    with: &Value,
    size: i32,
) -> Result<Vec<Value>, Refusal> {
    let mut request = with.clone();
    request["maxResults"] = size.into();
    let mut pages = Vec::new();
    loop {
        let page = Box::pin(super::call(client, operation, &request)).await?;
        let token = page["nextToken"].clone();
        pages.push(page);
        if token.is_null() {
            return Ok(pages);
        }
        request["nextToken"] = token;
    }
}

fn history(client: &Client, with: &Value) -> History {
    let history = client.get_execution_history();
    history
        .set_execution_arn(text(with, "executionArn"))
        .set_reverse_order(boolean(with, "reverseOrder"))
        .set_include_execution_data(boolean(with, "includeExecutionData"))
}

fn executions(client: &Client, with: &Value) -> Executions {
    let executions = client.list_executions();
    executions
        .set_state_machine_arn(text(with, "stateMachineArn"))
        .set_map_run_arn(text(with, "mapRunArn"))
        .set_status_filter(word(with, "statusFilter"))
}

fn map_runs(client: &Client, with: &Value) -> MapRuns {
    let map_runs = client.list_map_runs();
    map_runs.set_execution_arn(text(with, "executionArn"))
}

fn page<T>(of: &str, items: &[T], shown: fn(&T) -> Value, token: Option<&str>) -> Value {
    let items: Vec<Value> = items.iter().map(shown).collect();
    json!({ of: items, "nextToken": token })
}

fn activity(item: &ActivityListItem) -> Value {
    json!({
        "activityArn": item.activity_arn,
        "name": item.name,
        "creationDate": time(item.creation_date),
    })
}

fn version(item: &StateMachineVersionListItem) -> Value {
    json!({
        "stateMachineVersionArn": item.state_machine_version_arn,
        "creationDate": time(item.creation_date),
    })
}

fn alias(item: &StateMachineAliasListItem) -> Value {
    json!({
        "stateMachineAliasArn": item.state_machine_alias_arn,
        "creationDate": time(item.creation_date),
    })
}
