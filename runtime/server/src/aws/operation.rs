//! The operations of the service: one table, a line each. What it hides: how a name becomes a handler.

use std::{future::Future, pin::Pin};

use axum::http::HeaderMap;
use stepwell_engine::Caller;

#[cfg(feature = "services")]
use super::test_state;
#[cfg(not(feature = "services"))]
use super::test_state_left_out as test_state;
use super::{
    activities, aliases,
    constraint::Member,
    executions,
    fault::Fault,
    history,
    input::Fields,
    machines, map_runs,
    shapes::{
        ALIAS_NAME, ARN, BOOLEAN, CAUSE, CLIENT_TOKEN, COUNT, DATA, DEFINITION, DESCRIPTION,
        DIAGNOSTICS_SIZE, ENCRYPTION, ERROR, EXECUTIONS_PAGE_TOKEN, INCLUDED_DATA,
        INSPECTION_LEVEL, LOGGING, LONG_ARN, MACHINE_TYPE, MOCK, NAME, PAGE_SIZE, PAGE_TOKEN,
        REDRIVE_FILTER, REVISION, ROUTING, SEVERITY, SHARE, STATE_CONFIGURATION, STATE_NAME,
        STATUS, TAG_KEYS, TAGS, TASK_TOKEN, TRACE_HEADER, TRACING, may, must,
    },
    tags, tasks, validate, versions,
};
use crate::serve::ServerState;

/// One operation of the service.
pub(super) struct Operation {
    pub(super) name: &'static str,
    /// Members of its request.
    pub(super) input: &'static [Member],
    pub(super) run: Handler,
}

/// Serves one request whose members passed the check. `Ok` is the JSON text of the answer.
pub(super) type Handler = for<'a> fn(Call<'a>) -> Reply<'a>;
pub(super) type Reply<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, Fault>> + Send + 'a>>;

/// One request.
pub(super) struct Call<'a> {
    pub(super) state: &'a ServerState,
    pub(super) caller: Caller,
    pub(super) input: Fields<'a>,
    pub(super) headers: &'a HeaderMap,
}

/// The operation of that name with its place in the table.
pub(super) fn find(name: &str) -> Option<(usize, &'static Operation)> {
    let index = OPERATIONS
        .binary_search_by(|operation| operation.name.cmp(name))
        .ok()?;
    Some((index, &OPERATIONS[index]))
}

/// Names of all operations, in the table's order.
pub(crate) fn names() -> Vec<&'static str> {
    OPERATIONS.iter().map(|operation| operation.name).collect()
}

macro_rules! operations {
    ($($name:ident [$($member:expr),*] $handler:path;)*) => {
        /// All operations of the service's API model, by name.
        static OPERATIONS: &[Operation] = &[$(
            Operation {
                name: stringify!($name),
                input: const { &[$($member),*] },
                run: |call| Box::pin($handler(call)),
            },
        )*];
    };
}

// name                       request                                                                     served by
operations! {
    CreateActivity [must("name", &NAME), may("tags", &TAGS), may("encryptionConfiguration", &ENCRYPTION)] activities::create;
    CreateStateMachine [
        must("name", &NAME), must("definition", &DEFINITION), must("roleArn", &ARN), may("type", &MACHINE_TYPE),
        may("loggingConfiguration", &LOGGING), may("tags", &TAGS), may("tracingConfiguration", &TRACING),
        may("publish", &BOOLEAN), may("versionDescription", &DESCRIPTION), may("encryptionConfiguration", &ENCRYPTION)
    ] machines::create;
    CreateStateMachineAlias [may("description", &DESCRIPTION), must("name", &ALIAS_NAME), must("routingConfiguration", &ROUTING)] aliases::create;
    DeleteActivity [must("activityArn", &ARN)] activities::delete;
    DeleteStateMachine [must("stateMachineArn", &ARN)] machines::delete;
    DeleteStateMachineAlias [must("stateMachineAliasArn", &ARN)] aliases::delete;
    DeleteStateMachineVersion [must("stateMachineVersionArn", &LONG_ARN)] versions::delete;
    DescribeActivity [must("activityArn", &ARN)] activities::describe;
    DescribeExecution [must("executionArn", &ARN), may("includedData", &INCLUDED_DATA)] executions::describe;
    DescribeMapRun [must("mapRunArn", &LONG_ARN)] map_runs::describe;
    DescribeStateMachine [must("stateMachineArn", &ARN), may("includedData", &INCLUDED_DATA)] machines::describe;
    DescribeStateMachineAlias [must("stateMachineAliasArn", &ARN)] aliases::describe;
    DescribeStateMachineForExecution [must("executionArn", &ARN), may("includedData", &INCLUDED_DATA)] machines::describe_for_execution;
    GetActivityTask [must("activityArn", &ARN), may("workerName", &NAME)] activities::get_task;
    GetExecutionHistory [
        must("executionArn", &ARN), may("maxResults", &PAGE_SIZE), may("reverseOrder", &BOOLEAN),
        may("nextToken", &PAGE_TOKEN), may("includeExecutionData", &BOOLEAN)
    ] history::get;
    ListActivities [may("maxResults", &PAGE_SIZE), may("nextToken", &PAGE_TOKEN)] activities::list;
    ListExecutions [
        may("stateMachineArn", &ARN), may("statusFilter", &STATUS), may("maxResults", &PAGE_SIZE),
        may("nextToken", &EXECUTIONS_PAGE_TOKEN), may("mapRunArn", &LONG_ARN), may("redriveFilter", &REDRIVE_FILTER)
    ] executions::list;
    ListMapRuns [must("executionArn", &ARN), may("maxResults", &PAGE_SIZE), may("nextToken", &PAGE_TOKEN)] map_runs::list;
    ListStateMachineAliases [must("stateMachineArn", &ARN), may("nextToken", &PAGE_TOKEN), may("maxResults", &PAGE_SIZE)] aliases::list;
    ListStateMachineVersions [must("stateMachineArn", &ARN), may("nextToken", &PAGE_TOKEN), may("maxResults", &PAGE_SIZE)] versions::list;
    ListStateMachines [may("maxResults", &PAGE_SIZE), may("nextToken", &PAGE_TOKEN)] machines::list;
    ListTagsForResource [must("resourceArn", &ARN)] tags::list;
    PublishStateMachineVersion [must("stateMachineArn", &ARN), may("revisionId", &REVISION), may("description", &DESCRIPTION)] versions::publish;
    RedriveExecution [must("executionArn", &ARN), may("clientToken", &CLIENT_TOKEN)] executions::redrive;
    SendTaskFailure [must("taskToken", &TASK_TOKEN), may("error", &ERROR), may("cause", &CAUSE)] tasks::fail;
    SendTaskHeartbeat [must("taskToken", &TASK_TOKEN)] tasks::heartbeat;
    SendTaskSuccess [must("taskToken", &TASK_TOKEN), must("output", &DATA)] tasks::succeed;
    StartExecution [
        must("stateMachineArn", &ARN), may("name", &NAME), may("input", &DATA), may("traceHeader", &TRACE_HEADER)
    ] executions::start;
    StartSyncExecution [
        must("stateMachineArn", &ARN), may("name", &NAME), may("input", &DATA), may("traceHeader", &TRACE_HEADER),
        may("includedData", &INCLUDED_DATA)
    ] executions::start_sync;
    StopExecution [must("executionArn", &ARN), may("error", &ERROR), may("cause", &CAUSE)] executions::stop;
    TagResource [must("resourceArn", &ARN), must("tags", &TAGS)] tags::add;
    TestState [
        must("definition", &DEFINITION), may("roleArn", &ARN), may("input", &DATA),
        may("inspectionLevel", &INSPECTION_LEVEL), may("revealSecrets", &BOOLEAN), may("variables", &DATA),
        may("stateName", &STATE_NAME), may("mock", &MOCK), may("context", &DATA),
        may("stateConfiguration", &STATE_CONFIGURATION)
    ] test_state::test_state;
    UntagResource [must("resourceArn", &ARN), must("tagKeys", &TAG_KEYS)] tags::remove;
    UpdateMapRun [
        must("mapRunArn", &LONG_ARN), may("maxConcurrency", &COUNT), may("toleratedFailurePercentage", &SHARE),
        may("toleratedFailureCount", &COUNT)
    ] map_runs::update;
    UpdateStateMachine [
        must("stateMachineArn", &ARN), may("definition", &DEFINITION), may("roleArn", &ARN),
        may("loggingConfiguration", &LOGGING), may("tracingConfiguration", &TRACING), may("publish", &BOOLEAN),
        may("versionDescription", &DESCRIPTION), may("encryptionConfiguration", &ENCRYPTION)
    ] machines::update;
    UpdateStateMachineAlias [must("stateMachineAliasArn", &ARN), may("description", &DESCRIPTION), may("routingConfiguration", &ROUTING)] aliases::update;
    ValidateStateMachineDefinition [
        must("definition", &DEFINITION), may("type", &MACHINE_TYPE), may("severity", &SEVERITY),
        may("maxResults", &DIAGNOSTICS_SIZE)
    ] validate::validate;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_the_model_in_order() {
        assert_eq!(OPERATIONS.len(), 37, "the API model has 37 operations");
        assert!(OPERATIONS.is_sorted_by(|a, b| a.name < b.name));
        for (index, operation) in OPERATIONS.iter().enumerate() {
            assert_eq!(
                find(operation.name).map(|(found, _)| found),
                Some(index),
                "{}",
                operation.name
            );
        }
        assert!(find("StartExecutions").is_none());
    }
}
