//! The context object that a state is tried with: which members it may have.

use stepwell_asl::{Kind, Pattern, Target};
use stepwell_query::{Object, Value};

use crate::aws::fault::Fault;

/// What a member must be.
#[derive(Clone, Copy)]
enum Of {
    Text,
    Number,
    Any,
}

const EXECUTION: &[(&str, Of)] = &[
    ("Id", Of::Text),
    ("Input", Of::Any),
    ("Name", Of::Text),
    ("RoleArn", Of::Text),
    ("StartTime", Of::Text),
    ("RedriveCount", Of::Number),
    ("RedriveTime", Of::Text),
];
const STATE: &[(&str, Of)] = &[
    ("EnteredTime", Of::Text),
    ("Name", Of::Text),
    ("RetryCount", Of::Number),
];
const MACHINE: &[(&str, Of)] = &[("Id", Of::Text), ("Name", Of::Text)];
const TASK: &[(&str, Of)] = &[("Token", Of::Text)];

pub(super) fn read(text: &str, kind: &Kind) -> Result<Value, Fault> {
    let refused =
        |why: String| Fault::validation(format!("Invalid Context object provided: {why}"));
    let Ok(Value::Object(context)) = Value::parse(text) else {
        return Err(refused(
            "Context object must be a valid JSON object".to_owned(),
        ));
    };
    check(&context, kind).map_err(refused)?;
    Ok(Value::Object(context))
}

fn check(context: &Object, kind: &Kind) -> Result<(), String> {
    for (name, value) in context.iter() {
        match &**name {
            "Execution" => members(name, value, EXECUTION)?,
            "State" => members(name, value, STATE)?,
            "StateMachine" => members(name, value, MACHINE)?,
            "Task" if has_token(kind) => members(name, value, TASK)?,
            "Task" => {
                return Err(
                    "Context object contains 'Task' when state is not a Task state with a '.sync' or \
                     '.waitForTaskToken' service integration pattern"
                        .to_owned(),
                );
            }
            "Map" => {
                return Err("'Map' field is not supported when mocking a Context object".to_owned());
            }
            other => return Err(format!("Field '{other}' is not allowed")),
        }
    }
    Ok(())
}

fn members(of: &str, value: &Value, allowed: &[(&str, Of)]) -> Result<(), String> {
    let Some(object) = value.as_object() else {
        return Err(format!("{of} must be an object"));
    };
    for (name, value) in object.iter() {
        let Some((_, kind)) = allowed.iter().find(|(allowed, _)| *allowed == &**name) else {
            return Err(format!("Field '{name}' is not allowed"));
        };
        match kind {
            Of::Text if value.as_str().is_none() => {
                return Err(format!("{of}.{name} must be a string"));
            }
            Of::Number if value.as_number().is_none() => {
                return Err(format!("{of}.{name} must be a number"));
            }
            Of::Text | Of::Number | Of::Any => {}
        }
    }
    Ok(())
}

/// Whether the state's task has a token in its context object.
fn has_token(kind: &Kind) -> bool {
    let Kind::Task(task) = kind else { return false };
    match task.resource.target.pattern() {
        Pattern::Sync | Pattern::Sync2 | Pattern::WaitForTaskToken => true,
        Pattern::RequestResponse => matches!(task.resource.target, Target::Activity { .. }),
    }
}
