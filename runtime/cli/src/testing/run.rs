//! Runs the tests of a state machine and judges them. Hides how executions and single states are set up.

use std::collections::BTreeSet;
use std::sync::Arc;

use stepwell_asl::{ExecutionType, Kind, Options, Program, load_state_of};
use stepwell_interp::{
    Ending, Env, Inspection, Mock, Probe, Probed, Refusal, Setup, Start, Verdict,
};
use stepwell_query::Value;

use super::compare::differences;
use super::drive::{Ran, STARTED_AT, Stuck, drive};
use super::file::{Case, Expected, Response, StateCase, Tests};
use super::report::{CaseReport, Report};

/// What is tested, as it was loaded.
pub(crate) struct Tested<'a> {
    pub(crate) name: &'a str,
    pub(crate) definition: &'a str,
    pub(crate) program: &'a Program,
    pub(crate) options: Options,
    pub(crate) raised_limits: bool,
}

/// Runs all tests whose names `wanted` names; all when it is empty.
pub(crate) fn run(tested: &Tested<'_>, tests: &Tests, wanted: &[String]) -> Report {
    let is_wanted = |name: &String| wanted.is_empty() || wanted.contains(name);
    let mut reached: BTreeSet<Arc<str>> = BTreeSet::new();
    let mut cases = Vec::new();
    for case in tests.cases.iter().filter(|case| is_wanted(&case.name)) {
        let (report, states) = execution(tested, case);
        reached.extend(states);
        cases.push(report);
    }
    for case in tests.states.iter().filter(|case| is_wanted(&case.name)) {
        reached.insert(case.state.as_str().into());
        cases.push(state(tested, case));
    }
    let states = tested.program.states();
    let not_reached = states
        .filter(|(_, state)| wanted.is_empty() && !reached.contains(&state.name))
        .map(|(_, state)| state.name.to_string())
        .collect();
    Report {
        machine: tested.name.to_owned(),
        cases,
        not_reached,
    }
}

fn execution(tested: &Tested<'_>, case: &Case) -> (CaseReport, Vec<Arc<str>>) {
    let start = start(
        tested,
        case.input.clone(),
        tested.options.kind == ExecutionType::Express,
    );
    let mut report = CaseReport::new(&case.name, None);
    match drive(tested.program, start, case) {
        Ok(Ran {
            ending,
            states,
            virtual_ms,
        }) => {
            report.came_to(&ending);
            report.virtual_ms = Some(virtual_ms);
            report.states = states.iter().map(ToString::to_string).collect();
            judge(&mut report, &case.expected);
            (report, states)
        }
        Err(Stuck { why, states }) => {
            report.states = states.iter().map(ToString::to_string).collect();
            report.differences.push(why);
            (report, states)
        }
    }
}

fn state(tested: &Tested<'_>, case: &StateCase) -> CaseReport {
    let mut report = CaseReport::new(&case.name, Some(&case.state));
    let loaded = load_state_of(tested.definition, &case.state, &case.state, &tested.options);
    let Some(program) = loaded.and_then(|loaded| loaded.program) else {
        // The state was found and checked as a part of the whole.
        report
            .differences
            .push("the state cannot be loaded alone".to_owned());
        return report;
    };
    let setup = Setup {
        start: start(tested, case.input.clone(), true),
        variables: case.variables.clone(),
        context: case.context.clone(),
        mock: case.mock.clone().map(|mock| match mock {
            Response::Return(result) => Mock::Result(result),
            Response::Throw { error, cause } => Mock::Error { error, cause },
        }),
        retries: case.retries,
        error_caused_by: case.error_caused_by.as_deref().map(Into::into),
        failed_iterations: case.failed_iterations,
        read_items: case.read_items.clone(),
    };
    let env = Env {
        at: STARTED_AT,
        seed: [0; 32],
    };
    match Probe::begin(&program, setup, env).1 {
        Probed::Done(inspection) => {
            report.inspected(&inspection);
            judge(&mut report, &case.expected);
        }
        Probed::Task(_) | Probed::Refused(Refusal::NoMock) => {
            let kind = program.find(&case.state).map(|id| &program[id].kind);
            let kind = kind.map_or("", Kind::type_name);
            report.differences.push(format!(
                "a {kind} state needs a \"Mock\" to be tested alone"
            ));
        }
        Probed::Refused(Refusal::FailedIterations) => {
            let why = "MapIterationFailureCount is more than the Map has iterations";
            report.differences.push(why.to_owned());
        }
    }
    report
}

fn start(tested: &Tested<'_>, input: Value, express: bool) -> Start {
    let name = tested.name;
    Start {
        execution_arn: format!("arn:aws:states:us-east-1:000000000000:execution:{name}:test")
            .into(),
        execution_name: "test".into(),
        machine_arn: format!("arn:aws:states:us-east-1:000000000000:stateMachine:{name}").into(),
        machine_name: name.into(),
        role_arn: "arn:aws:iam::000000000000:role/stepwell".into(),
        version_arn: None,
        alias_arn: None,
        express,
        raised_limits: tested.raised_limits,
        processor_of: None,
        forked_from: None,
        input,
    }
}

/// Notes all in which a case is not as expected.
fn judge(report: &mut CaseReport, expected: &Expected) {
    let mut found = Vec::new();
    if report.status != expected.status {
        let said = match (&report.error, &report.cause) {
            (Some(error), Some(cause)) if cause.is_empty() => format!(" ({error})"),
            (Some(error), Some(cause)) => format!(" ({error}: {cause})"),
            (Some(text), None) | (None, Some(text)) => format!(" ({text})"),
            (None, None) => String::new(),
        };
        found.push(format!(
            "status: expected {}, is {}{said}",
            expected.status, report.status
        ));
    }
    match (&expected.output, &report.output) {
        (Some(expected), Some(came)) => found.extend(differences("output", expected, came)),
        (Some(_), None) => found.push("output: there is none".to_owned()),
        (None, _) => {}
    }
    let texts = [
        ("error", &expected.error, &report.error),
        ("cause", &expected.cause, &report.cause),
        ("next state", &expected.next, &report.next),
    ];
    for (what, expected, came) in texts {
        if let Some(expected) = expected
            && came.as_ref() != Some(expected)
        {
            let came = came.as_deref().unwrap_or("none");
            found.push(format!("{what}: expected {expected}, is {came}"));
        }
    }
    if let Some(states) = &expected.states
        && *states != report.states
    {
        let after = states
            .iter()
            .zip(&report.states)
            .take_while(|(expected, came)| expected == came)
            .count();
        let name = |states: &[String]| {
            states
                .get(after)
                .map_or("the end", String::as_str)
                .to_owned()
        };
        found.push(format!(
            "states: expected {} as number {}, is {}",
            name(states),
            after + 1,
            name(&report.states)
        ));
    }
    report.differences.extend(found);
}

impl CaseReport {
    fn came_to(&mut self, ending: &Ending) {
        let text = |text: &Option<Arc<str>>| text.as_ref().map(ToString::to_string);
        match ending {
            Ending::Succeeded { output } => {
                self.status = "SUCCEEDED".to_owned();
                self.output = Some(output.clone());
            }
            Ending::Failed { error, cause }
            | Ending::TimedOut { error, cause }
            | Ending::Aborted { error, cause } => {
                let timed_out = matches!(ending, Ending::TimedOut { .. });
                self.status = if timed_out { "TIMED_OUT" } else { "FAILED" }.to_owned();
                (self.error, self.cause) = (text(error), text(cause));
            }
        }
    }

    fn inspected(&mut self, inspection: &Inspection) {
        let text = |text: &Option<Arc<str>>| text.as_ref().map(ToString::to_string);
        self.status = match inspection.verdict {
            Verdict::Succeeded => "SUCCEEDED",
            Verdict::Failed => "FAILED",
            Verdict::Retriable => "RETRIABLE",
            Verdict::Caught => "CAUGHT_ERROR",
        }
        .to_owned();
        self.output = inspection.output.clone();
        (self.error, self.cause) = (text(&inspection.error), text(&inspection.cause));
        self.next = text(&inspection.next);
    }
}
