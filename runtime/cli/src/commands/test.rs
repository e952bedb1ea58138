//! `test`: a state machine with mocked tasks, in virtual time.

use std::path::Path;

use anyhow::{Context, anyhow};
use stepwell_asl::ExecutionType;
use stepwell_query::Value;

use super::run::machine_name;
use crate::args::{LimitsArg, TestArgs};
use crate::exit::{Blame, Outcome, Stop};
use crate::given;
use crate::terminal::Paint;
use crate::testing::{self, Read, Tested, Tests};

pub(super) fn test(args: &TestArgs) -> Outcome {
    let kind = if args.express {
        ExecutionType::Express
    } else {
        ExecutionType::Standard
    };
    let (definition, program) = given::definition(&args.machine, kind, args.limits, false)?;
    let mocks = json(&args.mocks)?;
    let expected = args.expect.as_deref().map(json).transpose()?;
    let name = name(args, &mocks)?;
    let tests = testing::read(&Read {
        mocks: (&args.mocks, &mocks),
        expected: args.expect.as_deref().zip(expected.as_ref()),
        machine: &name,
        program: &program,
    });
    let tests = tests.map_err(|faults| Stop::Usage(anyhow!("{}", faults.join("\n"))))?;
    known(args, &tests)?;
    let tested = Tested {
        name: &name,
        definition: &definition,
        program: &program,
        options: given::options(kind, args.limits),
        raised_limits: args.limits == LimitsArg::Raised,
    };
    let report = testing::run(&tested, &tests, &args.case);
    if args.json {
        super::print_json(&testing::as_json(&report))?;
    } else {
        super::print(&testing::as_text(&report, Paint::stdout()))?;
    }
    if let Some(path) = &args.junit {
        std::fs::write(path, testing::junit(&report))
            .with_context(|| format!("`{}` cannot be written", path.display()))
            .usage()?;
    }
    if report.failed() == 0 {
        Ok(())
    } else {
        Err(Stop::Failed)
    }
}

fn json(path: &Path) -> Outcome<Value> {
    let text = given::read(path)?;
    Value::parse(&text).map_err(|error| {
        let at = format!("{}:{}:{}", path.display(), error.line, error.column);
        Stop::Usage(anyhow!("{at} is not JSON: {}", error.message))
    })
}

/// The state machine's name in the mocks: the one that is asked for, else the only one, else the file's.
fn name(args: &TestArgs, mocks: &Value) -> Outcome<String> {
    let machines = mocks.get("StateMachines").and_then(Value::as_object);
    let names: Vec<&str> = machines
        .into_iter()
        .flat_map(|machines| machines.keys().map(|name| &**name))
        .collect();
    let wanted = match (&args.name, &names[..]) {
        (Some(name), _) => name.clone(),
        (None, [only]) => (*only).to_owned(),
        (None, _) => machine_name(&args.machine),
    };
    if names.contains(&wanted.as_str()) {
        return Ok(wanted);
    }
    let known = if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    };
    Err(Stop::Usage(anyhow!(
        "`{}` has no state machine `{wanted}` in \"StateMachines\", which has: {known}\nhint: --name says which one is meant",
        args.mocks.display()
    )))
}

/// There is something to test, and the cases that are asked for are among it.
fn known(args: &TestArgs, tests: &Tests) -> Outcome {
    let cases = tests.cases.iter().map(|case| case.name.as_str());
    let states = tests.states.iter().map(|case| case.name.as_str());
    let names: Vec<&str> = cases.chain(states).collect();
    if names.is_empty() {
        return Err(Stop::Usage(anyhow!(
            "`{}` has no test case for this state machine",
            args.mocks.display()
        )));
    }
    match args
        .case
        .iter()
        .find(|case| !names.contains(&case.as_str()))
    {
        None => Ok(()),
        Some(case) => Err(Stop::Usage(anyhow!(
            "there is no test case `{case}`; there are: {}",
            names.join(", ")
        ))),
    }
}
