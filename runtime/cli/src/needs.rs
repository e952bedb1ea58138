//! What a definition needs of its surroundings: the plugins that it names, and resources that nobody serves here. Hides
//! the forms in which functions are named.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use stepwell_asl::{Diagnostic, Kind, Program, Target};

/// The plugins that a definition names, as far as it names them in so many words. A function whose name is computed is
/// known when it is called.
pub(crate) fn plugins(program: &Program, definition: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (_, state) in program.states() {
        let Kind::Task(task) = &state.kind else {
            continue;
        };
        if let Target::LambdaFunction { name, .. } | Target::Wasm { name, .. } =
            &task.resource.target
        {
            names.insert(name.to_string());
        }
    }
    if let Ok(definition) = serde_json::from_str(definition) {
        invoked(&definition, &mut names);
    }
    names
}

/// The functions of `lambda:invoke`, which are arguments.
fn invoked(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            let resource = members.get("Resource").and_then(Value::as_str);
            if resource.is_some_and(|resource| resource.contains(":lambda:invoke")) {
                let arguments = [members.get("Parameters"), members.get("Arguments")];
                let mut functions = arguments
                    .into_iter()
                    .flatten()
                    .filter_map(|given| given.get("FunctionName")?.as_str());
                names.extend(functions.find_map(function_name).map(str::to_owned));
            }
            members.values().for_each(|inner| invoked(inner, names));
        }
        Value::Array(items) => items.iter().for_each(|inner| invoked(inner, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The name in a name, a partial ARN or an ARN of a function; none of a text that is computed.
pub(crate) fn function_name(function: &str) -> Option<&str> {
    let tail = function
        .rsplit_once("function:")
        .map_or(function, |(_, tail)| tail);
    let name = tail.split(':').next()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    (!name.is_empty() && name.chars().all(plain)).then_some(name)
}

/// Warnings of the Tasks that would fail for want of somebody who serves their resource, in the definition's order.
pub(crate) fn unserved(program: &Program, definition: &str) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut places = None;
    for (_, state) in program.states() {
        let Kind::Task(task) = &state.kind else {
            continue;
        };
        let target = &task.resource.target;
        if stepwell_engine::serves(target) {
            continue;
        }
        let places = places.get_or_insert_with(|| state_places(definition));
        let place = places.get(&*state.name).map_or("", String::as_str);
        found.push(Diagnostic::unserved(
            definition,
            &format!("{place}/Resource"),
            &task.resource.to_string(),
            hint(target),
        ));
    }
    found
}

/// JSON Pointers to all states by their names, which are unique in a definition.
fn state_places(definition: &str) -> BTreeMap<String, String> {
    let mut places = BTreeMap::new();
    if let Ok(definition) = serde_json::from_str(definition) {
        add_states(&definition, "", &mut places);
    }
    places
}

fn add_states(machine: &Value, place: &str, places: &mut BTreeMap<String, String>) {
    let states = machine.get("States").and_then(Value::as_object);
    for (name, state) in states.into_iter().flatten() {
        let escaped = name.replace('~', "~0").replace('/', "~1");
        let own = format!("{place}/States/{escaped}");
        let branches = state.get("Branches").and_then(Value::as_array);
        for (at, branch) in branches.into_iter().flatten().enumerate() {
            add_states(branch, &format!("{own}/Branches/{at}"), places);
        }
        for key in ["ItemProcessor", "Iterator"] {
            if let Some(inner) = state.get(key) {
                add_states(inner, &format!("{own}/{key}"), places);
            }
        }
        places.insert(name.clone(), own);
    }
}

fn hint(target: &Target) -> String {
    let own = "call a plugin that does the same, \"wasm:NAME\"; with `stepwell test` the task can be mocked";
    match target {
        Target::AwsSdk { service, .. } => {
            let served = stepwell_engine::served_actions(service);
            if served.is_empty() {
                own.to_owned()
            } else {
                let served = served.join(", ");
                format!("of aws-sdk:{service} this program serves {served}; otherwise {own}")
            }
        }
        Target::LambdaFunction { .. }
        | Target::LambdaInvoke(_)
        | Target::Activity { .. }
        | Target::StartExecution(_)
        | Target::HttpInvoke
        | Target::Service { .. }
        | Target::Wasm { .. } => own.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFINITION: &str = r#"{"StartAt": "A", "States": {
        "A": {"Type": "Task", "Resource": "wasm:first@1.0", "Next": "B"},
        "B": {"Type": "Task", "Resource": "arn:aws:lambda:us-east-1:000000000000:function:second:1", "Next": "C"},
        "C": {"Type": "Map", "ItemProcessor": {"StartAt": "D", "States": {
            "D": {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke",
                  "Parameters": {"FunctionName": "arn:aws:lambda:us-east-1:000000000000:function:third:2"}, "Next": "E"},
            "E": {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
                  "Parameters": {"FunctionName": "fourth"}, "Next": "F"},
            "F": {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke",
                  "Parameters": {"FunctionName.$": "$.name"}, "End": true}}}, "Next": "G"},
        "G": {"Type": "Task", "Resource": "arn:aws:states:::sns:publish", "Next": "H"},
        "H": {"Type": "Task", "Resource": "arn:aws:states:::aws-sdk:s3:deleteObject", "Next": "I"},
        "I": {"Type": "Task", "Resource": "arn:aws:states:::aws-sdk:s3:getObject", "End": true}}}"#;

    fn program() -> Program {
        let loaded = stepwell_asl::load(DEFINITION, &stepwell_asl::Options::default());
        loaded.program.expect("it is right")
    }

    #[test]
    fn plugins_are_found_wherever_they_are_named() {
        let found: Vec<String> = plugins(&program(), DEFINITION).into_iter().collect();
        assert_eq!(found, ["first", "fourth", "second", "third"]);
    }

    #[test]
    fn what_nobody_serves_is_found() {
        let found = unserved(&program(), DEFINITION);
        let places: Vec<(&str, u32)> = found
            .iter()
            .map(|warning| (warning.pointer.as_str(), warning.line))
            .collect();
        assert_eq!(
            places,
            [("/States/G/Resource", 11), ("/States/H/Resource", 12)]
        );
        let hint = found[1].hint.as_deref().unwrap_or_default();
        assert!(
            hint.starts_with("of aws-sdk:s3 this program serves getObject, "),
            "{hint}"
        );
    }
}
