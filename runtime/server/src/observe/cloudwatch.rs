//! The names of CloudWatch's metrics of Step Functions, and which events of a history each counts (developer guide,
//! "Monitoring Step Functions metrics using Amazon CloudWatch"). What it hides: nothing; it is the table.

/// A count of CloudWatch's: the events that it counts, and which of them.
pub(super) struct Count {
    pub(super) name: &'static str,
    pub(super) events: &'static [&'static str],
    pub(super) when: When,
    pub(super) help: &'static str,
}

/// Which of the events.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    Always,
    /// Of executions that were redriven.
    Redriven,
    /// Of timeouts those that no heartbeat came in.
    Silent,
    /// The others.
    Late,
}

const fn count(
    name: &'static str,
    events: &'static [&'static str],
    when: When,
    help: &'static str,
) -> Count {
    Count {
        name,
        events,
        when,
        help,
    }
}

/// The counts of a state machine, in the order in which they are shown.
pub(super) const COUNTS: [Count; 27] = [
    count(
        "ExecutionsStarted",
        &["ExecutionStarted"],
        When::Always,
        "Executions started",
    ),
    count(
        "ExecutionsSucceeded",
        &["ExecutionSucceeded"],
        When::Always,
        "Executions that succeeded",
    ),
    count(
        "ExecutionsFailed",
        &["ExecutionFailed"],
        When::Always,
        "Executions that failed",
    ),
    count(
        "ExecutionsAborted",
        &["ExecutionAborted"],
        When::Always,
        "Executions that were stopped",
    ),
    count(
        "ExecutionsTimedOut",
        &["ExecutionTimedOut"],
        When::Always,
        "Executions that timed out",
    ),
    count(
        "ExecutionThrottled",
        &[],
        When::Always,
        "State transitions that were throttled, which they never are",
    ),
    count(
        "ExecutionsRedriven",
        &["ExecutionRedriven"],
        When::Always,
        "Redrives of executions",
    ),
    count(
        "RedrivenExecutionsSucceeded",
        &["ExecutionSucceeded"],
        When::Redriven,
        "Redriven executions that succeeded",
    ),
    count(
        "RedrivenExecutionsFailed",
        &["ExecutionFailed"],
        When::Redriven,
        "Redriven executions that failed",
    ),
    count(
        "RedrivenExecutionsAborted",
        &["ExecutionAborted"],
        When::Redriven,
        "Redriven executions that were stopped",
    ),
    count(
        "RedrivenExecutionsTimedOut",
        &["ExecutionTimedOut"],
        When::Redriven,
        "Redriven executions that timed out",
    ),
    count(
        "ActivitiesScheduled",
        &["ActivityScheduled"],
        When::Always,
        "Activities scheduled",
    ),
    count(
        "ActivitiesStarted",
        &["ActivityStarted"],
        When::Always,
        "Activities started",
    ),
    count(
        "ActivitiesSucceeded",
        &["ActivitySucceeded"],
        When::Always,
        "Activities that succeeded",
    ),
    count(
        "ActivitiesFailed",
        &["ActivityFailed", "ActivityScheduleFailed"],
        When::Always,
        "Activities that failed",
    ),
    count(
        "ActivitiesTimedOut",
        &["ActivityTimedOut"],
        When::Late,
        "Activities that timed out on close",
    ),
    count(
        "ActivitiesHeartbeatTimedOut",
        &["ActivityTimedOut"],
        When::Silent,
        "Activities that timed out for want of a heartbeat",
    ),
    count(
        "LambdaFunctionsScheduled",
        &["LambdaFunctionScheduled"],
        When::Always,
        "Lambda functions scheduled",
    ),
    count(
        "LambdaFunctionsStarted",
        &["LambdaFunctionStarted"],
        When::Always,
        "Lambda functions started",
    ),
    count(
        "LambdaFunctionsSucceeded",
        &["LambdaFunctionSucceeded"],
        When::Always,
        "Lambda functions that succeeded",
    ),
    count(
        "LambdaFunctionsFailed",
        &[
            "LambdaFunctionFailed",
            "LambdaFunctionScheduleFailed",
            "LambdaFunctionStartFailed",
        ],
        When::Always,
        "Lambda functions that failed",
    ),
    count(
        "LambdaFunctionsTimedOut",
        &["LambdaFunctionTimedOut"],
        When::Always,
        "Lambda functions that timed out",
    ),
    count(
        "ServiceIntegrationsScheduled",
        &["TaskScheduled"],
        When::Always,
        "Other tasks scheduled",
    ),
    count(
        "ServiceIntegrationsStarted",
        &["TaskStarted"],
        When::Always,
        "Other tasks started",
    ),
    count(
        "ServiceIntegrationsSucceeded",
        &["TaskSucceeded"],
        When::Always,
        "Other tasks that succeeded",
    ),
    count(
        "ServiceIntegrationsFailed",
        &["TaskFailed", "TaskStartFailed", "TaskSubmitFailed"],
        When::Always,
        "Other tasks that failed",
    ),
    count(
        "ServiceIntegrationsTimedOut",
        &["TaskTimedOut"],
        When::Always,
        "Other tasks that timed out",
    ),
];

/// CloudWatch's times. Of a family: from schedule to start, from start to close, from schedule to close.
pub(super) const TIMES: [(&str, &str); 11] = [
    ("ExecutionTime", "From start to close of executions"),
    (
        "ExpressExecutionBilledDuration",
        "The same of EXPRESS executions, in steps of 100 ms",
    ),
    (
        "ActivityScheduleTime",
        "From schedule to start of activities",
    ),
    ("ActivityRunTime", "From start to close of activities"),
    ("ActivityTime", "From schedule to close of activities"),
    (
        "LambdaFunctionScheduleTime",
        "From schedule to start of Lambda functions",
    ),
    (
        "LambdaFunctionRunTime",
        "From start to close of Lambda functions",
    ),
    (
        "LambdaFunctionTime",
        "From schedule to close of Lambda functions",
    ),
    (
        "ServiceIntegrationScheduleTime",
        "From schedule to start of other tasks",
    ),
    (
        "ServiceIntegrationRunTime",
        "From start to close of other tasks",
    ),
    (
        "ServiceIntegrationTime",
        "From schedule to close of other tasks",
    ),
];
pub(super) const EXECUTION_TIME: usize = 0;
pub(super) const BILLED_TIME: usize = 1;

/// The families of tasks that are measured apart, by the first of their times.
#[derive(Clone, Copy)]
pub(super) enum Family {
    Activity = 2,
    Lambda = 5,
    /// All other tasks, ours among them.
    Service = 8,
}

impl Family {
    /// Of an event of a task, by its type.
    pub(super) fn of(event_type: &str) -> Family {
        if event_type.starts_with("Lambda") {
            Family::Lambda
        } else if event_type.starts_with("Activity") {
            Family::Activity
        } else {
            Family::Service
        }
    }

    pub(super) fn schedule(self) -> usize {
        self as usize
    }

    pub(super) fn run(self) -> usize {
        self as usize + 1
    }

    pub(super) fn whole(self) -> usize {
        self as usize + 2
    }
}

/// `ExecutionsTimedOut` as Prometheus's names are: `executions_timed_out`.
pub(super) fn snake(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_that_is_counted_is_one_of_the_history() {
        // The service's names, as the history's own table has them.
        let known = include_str!("../../../interp/src/history/names.rs");
        for count in COUNTS {
            for event in count.events {
                assert!(known.contains(&format!("\"{event}\"")), "{event}");
            }
        }
    }
}
