//! How functions are named, what is said of resources that nobody serves, and the ends of plugins against the table in
//! `docs/errors.md`.

use super::{Form, Function, Meaning, function_account, function_parts, meaning, unserved};
use crate::runner::PluginEnd;
use stepwell_asl::{Pattern, Reply, Target};
use stepwell_interp::TaskOutcome;

#[test]
fn functions_are_named_in_four_ways() {
    assert_eq!(function_parts("pay"), ("pay", None));
    assert_eq!(function_parts("pay:3"), ("pay", Some("3")));
    assert_eq!(
        function_parts("arn:aws:lambda:us-east-1:0:function:pay"),
        ("pay", None)
    );
    assert_eq!(function_parts("0:function:pay:live"), ("pay", Some("live")));
}

#[test]
fn the_account_of_a_function_is_in_its_arn() {
    for (function, account) in [
        ("pay", None),
        ("pay:3", None),
        ("function:pay", None),
        ("0:function:pay:live", Some("0")),
        ("arn:aws:lambda:us-east-1:1:function:pay", Some("1")),
        ("arn:aws-cn:lambda:us-east-1:1:function:pay:3", Some("1")),
    ] {
        assert_eq!(function_account(function), account, "{function}");
    }
}

const SERVICES: &str = include_str!("../../../../docs/services.md");

#[test]
fn what_nobody_serves_is_told_with_what_can_be_called() {
    let target = Target::Service {
        service: "sns".into(),
        action: "publish".into(),
        pattern: Pattern::RequestResponse,
    };
    let told = unserved(&target, "arn:aws:states:::sns:publish");
    let (_, sdk) = SERVICES.split_once("every action of ").unwrap();
    let (sdk, _) = sdk.split_once(';').unwrap();
    for part in ["arn:aws:states:::sns:publish", "sqs:sendMessage", sdk] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let target = Target::AwsSdk {
        service: "s3".into(),
        action: "deleteObject".into(),
        reply: Reply::Response,
    };
    let told = unserved(&target, "arn:aws:states:::aws-sdk:s3:deleteObject");
    assert!(told.contains("of aws-sdk:s3 getObject, "), "{told}");
}

const TABLE: &str = include_str!("../../../../docs/errors.md");

/// What the table for people says of an end: the names in a Lambda form and in `wasm:`.
fn told(row: &str) -> [String; 2] {
    let line = TABLE
        .lines()
        .find(|line| line.starts_with(&format!("| {row} |")))
        .unwrap_or_else(|| panic!("docs/errors.md has no row `{row}`"));
    let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
    [cells[1], cells[2]].map(|cell| cell.trim().trim_matches('`').to_owned())
}

/// The row of an end; those of a state's own time have none.
fn row(end: &PluginEnd) -> Option<&'static str> {
    Some(match end {
        PluginEnd::Succeeded { .. } | PluginEnd::Deadline | PluginEnd::NotReady { .. } => {
            return None;
        }
        PluginEnd::Failed { .. } => "fails with an error of its own",
        PluginEnd::Exited { .. } => "leaves with an exit code other than 0 and no error of its own",
        PluginEnd::InputTooLarge { .. } => "is given more input than `[limits].input`",
        PluginEnd::OutputTooLarge { .. } => "returns more than `[limits].output`",
        PluginEnd::InvalidOutput { .. } => "returns no JSON",
        PluginEnd::Trapped { .. } => "traps (panic, `unreachable`, stack)",
        PluginEnd::OutOfMemory { .. } => "needs more memory than it may use",
        PluginEnd::OutOfFuel { .. } => "runs out of fuel",
        PluginEnd::CpuTime { .. } => "computes for longer than `[limits].cpu`",
        PluginEnd::WallTime { .. } => "takes longer than `[limits].wall`",
        PluginEnd::GrantRefused { .. } => "breaks down over a refused grant",
        PluginEnd::TooManyRunning { .. } => {
            "finds no place (`[limits].concurrency`, the host's queue)"
        }
        PluginEnd::Missing { .. } => "has no plugin",
        PluginEnd::Broken { .. } => "has a plugin that cannot be used",
        PluginEnd::Cancelled => "is cancelled",
        PluginEnd::Internal { .. } => "meets a failure of the host",
    })
}

/// One of each kind that fails a task.
fn ends() -> Vec<PluginEnd> {
    let cause = || "c".to_owned();
    vec![
        PluginEnd::Failed {
            error: "CardDeclined".to_owned(),
            cause: cause(),
        },
        PluginEnd::Exited { cause: cause() },
        PluginEnd::InputTooLarge { cause: cause() },
        PluginEnd::OutputTooLarge { cause: cause() },
        PluginEnd::InvalidOutput { cause: cause() },
        PluginEnd::Trapped { cause: cause() },
        PluginEnd::OutOfMemory { cause: cause() },
        PluginEnd::OutOfFuel { cause: cause() },
        PluginEnd::CpuTime { cause: cause() },
        PluginEnd::WallTime { cause: cause() },
        PluginEnd::GrantRefused { cause: cause() },
        PluginEnd::TooManyRunning { cause: cause() },
        PluginEnd::Missing { cause: cause() },
        PluginEnd::Broken { cause: cause() },
        PluginEnd::Cancelled,
        PluginEnd::Internal { cause: cause() },
    ]
}

#[test]
fn an_end_has_the_names_that_people_are_told() {
    let lambda = Form::Lambda(Function {
        arn: "f".into(),
        resource: "f".into(),
    });
    let invoke = Form::Invoke {
        function: Function {
            arn: "f".into(),
            resource: "f".into(),
        },
        version: None,
        waits_for_token: false,
    };
    let mut rows = std::collections::BTreeSet::new();
    for end in ends() {
        let row = row(&end).unwrap();
        rows.insert(row);
        let own = matches!(end, PluginEnd::Failed { .. });
        let [of_lambda, of_wasm] = match own {
            true => ["CardDeclined", "CardDeclined"].map(str::to_owned),
            false => told(row),
        };
        for (form, wanted) in [
            (&lambda, &of_lambda),
            (&invoke, &of_lambda),
            (&Form::Wasm, &of_wasm),
        ] {
            let Meaning::Ended(TaskOutcome::Failed { error, cause, .. }) =
                meaning(form, end.clone())
            else {
                panic!("{row} is no failure")
            };
            assert_eq!(error.as_deref(), Some(wanted.as_str()), "{row}");
            assert!(cause.is_some_and(|cause| !cause.is_empty()), "{row}");
        }
    }
    // Each row is lived through but that of a process that is lost, which no runner tells of.
    let table = TABLE.split_once("| the attempt |").unwrap().1;
    let told = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    assert_eq!(told.count(), rows.len() + 1);
}

#[test]
fn the_same_end_has_the_names_of_its_form() {
    let name = |form: &Form, end: PluginEnd| match meaning(form, end) {
        Meaning::Ended(TaskOutcome::Failed { error, .. }) => {
            error.map(|error| error.to_string()).unwrap_or_default()
        }
        Meaning::Ended(TaskOutcome::Succeeded { .. }) | Meaning::Submitted(_) => String::new(),
    };
    let lambda = Form::Lambda(Function {
        arn: "f".into(),
        resource: "f".into(),
    });
    let cause = || "c".to_owned();
    assert_eq!(
        name(&lambda, PluginEnd::OutOfMemory { cause: cause() }),
        "Lambda.Unknown"
    );
    assert_eq!(
        name(&Form::Wasm, PluginEnd::OutOfMemory { cause: cause() }),
        "Stepwell.OutOfMemory"
    );
    assert_eq!(
        name(&lambda, PluginEnd::WallTime { cause: cause() }),
        "Sandbox.Timedout"
    );
    assert_eq!(
        name(&Form::Wasm, PluginEnd::WallTime { cause: cause() }),
        "States.Timeout"
    );
    assert_eq!(name(&lambda, PluginEnd::Deadline), "States.Timeout");
    for form in [&lambda, &Form::Wasm] {
        assert_eq!(
            name(form, PluginEnd::NotReady { cause: cause() }),
            "States.Timeout"
        );
    }
    assert_eq!(name(&Form::Wasm, PluginEnd::Deadline), "States.Timeout");
    let own = PluginEnd::Failed {
        error: "CardDeclined".to_owned(),
        cause: cause(),
    };
    assert_eq!(name(&lambda, own.clone()), "CardDeclined");
    assert_eq!(name(&Form::Wasm, own), "CardDeclined");
}
