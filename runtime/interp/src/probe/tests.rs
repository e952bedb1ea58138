//! States tried alone: what recorded answers of the service do not show.

use stepwell_asl::{Options, Program, load_state};
use stepwell_query::Value;

use super::{Inspection, Mock, Probe, Probed, Refusal, Setup, Verdict};
use crate::{Env, Input, Start, TaskOutcome, Timestamp};

const ENV: Env = Env {
    at: Timestamp(1_769_860_800_000),
    seed: [7; 32],
};

fn program(state: &str) -> Program {
    let loaded = load_state(state, "StateName", &Options::default());
    let diagnostics = loaded.diagnostics;
    loaded
        .program
        .unwrap_or_else(|| panic!("refused: {diagnostics:?}"))
}

fn setup(input: &str) -> Setup {
    Setup {
        start: Start {
            execution_arn: "arn:aws:states:us-east-1:000000000000:express:m:e".into(),
            execution_name: "e".into(),
            machine_arn: "arn:aws:states:us-east-1:000000000000:stateMachine:m".into(),
            machine_name: "m".into(),
            role_arn: "".into(),
            version_arn: None,
            alias_arn: None,
            express: true,
            processor_of: None,
            forked_from: None,
            raised_limits: false,
            input: Value::parse(input).unwrap(),
        },
        variables: Vec::new(),
        context: None,
        mock: None,
        retries: 0,
        error_caused_by: None,
        failed_iterations: None,
        read_items: None,
    }
}

fn error(name: &str) -> Option<Mock> {
    Some(Mock::Error {
        error: Some(name.into()),
        cause: None,
    })
}

fn done(state: &str, setup: Setup) -> Inspection {
    match Probe::begin(&program(state), setup, ENV).1 {
        Probed::Done(inspection) => *inspection,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_wait_takes_no_time_and_five_minutes_at_most() {
    let short = done(
        r#"{"Type": "Wait", "Seconds": 299, "Next": "N"}"#,
        setup("{}"),
    );
    assert_eq!(
        (short.verdict, short.next.as_deref()),
        (Verdict::Succeeded, Some("N"))
    );
    let long = done(
        r#"{"Type": "Wait", "Seconds": 301, "Next": "N"}"#,
        setup("{}"),
    );
    assert_eq!(
        (long.verdict, long.error.as_deref()),
        (Verdict::Failed, Some("States.Timeout"))
    );
}

#[test]
fn a_task_without_a_mock_is_handed_out_and_goes_on_with_its_outcome() {
    let program = program(
        r#"{"Type": "Task", "Resource": "wasm:t", "Parameters": {"a.$": "$.b"}, "ResultPath": "$.r", "End": true}"#,
    );
    let (mut probe, probed) = Probe::begin(&program, setup(r#"{"b": 1}"#), ENV);
    let Probed::Task(request) = probed else {
        panic!("{probed:?}")
    };
    assert_eq!(request.parameters.to_json(), r#"{"a":1}"#);
    let outcome = TaskOutcome::Succeeded {
        output: Value::from(2),
    };
    let input = Input::TaskEnded {
        task: request.task,
        outcome,
    };
    let Probed::Done(inspection) = probe.take(&program, input, ENV) else {
        panic!("it goes on")
    };
    let output = inspection.output.map(|output| output.to_json());
    assert_eq!(output.as_deref(), Some(r#"{"b":1,"r":2}"#));
}

#[test]
fn what_ends_outside_needs_a_mock() {
    for state in [
        r#"{"Type": "Task", "Resource": "arn:aws:states:us-east-1:000000000000:activity:a", "End": true}"#,
        r#"{"Type": "Parallel", "Branches": [{"StartAt": "P", "States": {"P": {"Type": "Pass", "End": true}}}], "End": true}"#,
        r#"{"Type": "Map", "ItemProcessor": {"StartAt": "P", "States": {"P": {"Type": "Pass", "End": true}}}, "End": true}"#,
    ] {
        let probed = Probe::begin(&program(state), setup("[1]"), ENV).1;
        assert!(
            matches!(probed, Probed::Refused(Refusal::NoMock)),
            "{state}: {probed:?}"
        );
    }
}

#[test]
fn a_branch_that_fails_is_a_failed_branch_to_the_handlers() {
    let state = r#"{"Type": "Parallel", "Branches": [
        {"StartAt": "A", "States": {"A": {"Type": "Pass", "End": true}}},
        {"StartAt": "B", "States": {"B": {"Type": "Pass", "End": true}}}],
        "Retry": [{"ErrorEquals": ["States.BranchFailed"], "MaxAttempts": 1, "IntervalSeconds": 3}],
        "Catch": [{"ErrorEquals": ["Other"], "Next": "N"}, {"ErrorEquals": ["States.ALL"], "Next": "C"}],
        "End": true}"#;
    let tried = |retries| {
        let mock = error("E");
        let error_caused_by = Some("B".into());
        done(
            state,
            Setup {
                mock,
                retries,
                error_caused_by,
                ..setup("{}")
            },
        )
    };
    let (first, last) = (tried(0), tried(1));
    assert_eq!(first.verdict, Verdict::Retriable);
    assert_eq!(first.data.error_details.retry_backoff_s, Some(3));
    assert_eq!(
        (last.verdict, last.next.as_deref()),
        (Verdict::Caught, Some("C"))
    );
    assert_eq!(last.data.error_details.retry_index, Some(0));
    assert_eq!(last.data.error_details.catch_index, Some(1));
    assert_eq!(last.error.as_deref(), Some("E"));
}

#[test]
fn a_map_shows_the_inputs_of_its_iterations_and_heeds_its_tolerance() {
    let state = r#"{"Type": "Map", "ItemsPath": "$.all", "ItemSelector": {"n.$": "$$.Map.Item.Index", "v.$": "$$.Map.Item.Value"},
        "ItemProcessor": {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
            "StartAt": "P", "States": {"P": {"Type": "Pass", "End": true}}},
        "ToleratedFailurePercentage": 50, "End": true}"#;
    let tried = |failed| {
        let mock = Some(Mock::Result(Value::parse("[0, 0]").unwrap()));
        let setup = Setup {
            mock,
            failed_iterations: Some(failed),
            ..setup(r#"{"all": ["a", "b"]}"#)
        };
        Probe::begin(&program(state), setup, ENV).1
    };
    let Probed::Done(half) = tried(1) else {
        panic!("half of it may fail")
    };
    assert_eq!(half.verdict, Verdict::Succeeded);
    let inputs = half.data.after_item_selector.map(|inputs| inputs.to_json());
    assert_eq!(
        inputs.as_deref(),
        Some(r#"[{"n":0,"v":"a"},{"n":1,"v":"b"}]"#)
    );
    let Probed::Done(all) = tried(2) else {
        panic!("all of it may not")
    };
    assert_eq!(
        all.error.as_deref(),
        Some("States.ExceedToleratedFailureThreshold")
    );
    assert!(matches!(
        tried(3),
        Probed::Refused(Refusal::FailedIterations)
    ));
}

#[test]
fn variables_are_read_and_assigned() {
    let state = r#"{"Type": "Pass", "QueryLanguage": "JSONata", "Assign": {"b": "{% $a + 1 %}"}, "Output": "{% $a %}", "End": true}"#;
    let variables = vec![("a".into(), Value::from(1))];
    let inspection = done(
        state,
        Setup {
            variables,
            ..setup("{}")
        },
    );
    assert_eq!(inspection.output, Some(Value::from(1)));
    let variables = &inspection.data.variables;
    assert_eq!(
        variables[..],
        [("a".into(), Value::from(1)), ("b".into(), Value::from(2))]
    );
}
