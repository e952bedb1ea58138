//! The Task state. Hides what a resource needs and which workflows may use it.

use std::sync::Arc;

use stepwell_query::PathExpr;

use crate::codes::Code;
use crate::expr::Slot;
use crate::handlers::handlers;
use crate::http;
use crate::limits::SECONDS_MAX;
use crate::node::Node;
use crate::program::{Credentials, ExecutionType, Given, QueryLanguage, Task};
use crate::reading::{Reading, Row};
use crate::resource::{Pattern, Resource, ResourceFault, Target};

pub(crate) fn task(state: &Reading) -> Option<Task> {
    let fields = state.fields;
    let resource = fields
        .required("Resource")
        .and_then(|node| resource(state, &node));
    if let Some(resource) = &resource {
        check_arguments(state, &resource.target);
    }
    let io = state.io(&Row::TASK);
    let credentials = fields
        .get("Credentials")
        .and_then(|node| credentials(state, &node));
    let timeout_s = state.given_positive("TimeoutSeconds", "TimeoutSecondsPath", SECONDS_MAX);
    let heartbeat_s = state.given_positive("HeartbeatSeconds", "HeartbeatSecondsPath", SECONDS_MAX);
    if let (Some(Given::Fixed(timeout)), Some(Given::Fixed(heartbeat))) = (&timeout_s, &heartbeat_s)
        && heartbeat >= timeout
        && let Some(node) = fields.member("HeartbeatSeconds")
    {
        let message =
            format!("HeartbeatSeconds must be smaller than TimeoutSeconds, which is {timeout}");
        node.fault(Code::Heartbeat, message);
    }
    let handlers = handlers(state);
    let then = state.then();
    Some(Task {
        resource: resource?,
        io,
        credentials,
        timeout_s,
        heartbeat_s,
        handlers,
        then: then?,
    })
}

fn resource(state: &Reading, node: &Node) -> Option<Resource> {
    let reference = node.is_substitution() && node.value.as_str().is_none();
    let text = if reference {
        "${Reference}"
    } else {
        node.text()?
    };
    let filled = if node.report.allow_substitutions {
        substituted(text)
    } else {
        text.to_owned()
    };
    let resource = match Resource::parse(&filled) {
        Ok(resource) => resource,
        Err(ResourceFault::NotArn) => {
            node.fault_with_hint(
                Code::BadResource,
                "Value is not a valid resource ARN",
                plugin_hint(text),
            );
            return None;
        }
        Err(ResourceFault::Unknown) => {
            let message = format!(
                "The resource provided {text} is not recognized. The value is not a valid resource ARN, or the resource is not available in this region."
            );
            node.fault(Code::BadResource, message);
            return None;
        }
    };
    if state.machine == ExecutionType::Express {
        check_express(node, &resource.target);
    }
    Some(resource)
}

/// How a plugin of that name is called, where the text could be one.
fn plugin_hint(text: &str) -> Option<String> {
    if text.starts_with("{%") || text.starts_with("$.") {
        let hint = "a resource is fixed: \"arn:aws:states:::lambda:invoke\" takes the function's name as an argument";
        return Some(hint.to_owned());
    }
    Resource::parse(&format!("wasm:{text}")).ok()?;
    Some(format!(
        "the plugin of that name is \"wasm:{text}\", or \"arn:aws:lambda:us-east-1:000000000000:function:{text}\" as on AWS"
    ))
}

/// The resource with a stand-in for each `${Name}`: the name, or where nothing else is there a Lambda function of
/// that name.
fn substituted(text: &str) -> String {
    let (mut filled, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, after)) = after.split_once('}') else {
            break;
        };
        let name: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        filled.push_str(before);
        match (before.is_empty() && filled.is_empty(), filled.as_str()) {
            (true, _) if after.is_empty() => {
                filled = format!("arn:aws:lambda:us-east-1:000000000000:function:{name}");
            }
            (_, "arn:") => filled.push_str("aws"),
            _ => filled.push_str(&name),
        }
        rest = after;
    }
    filled + rest
}

/// An Express workflow cannot wait for anything outside of it.
fn check_express(node: &Node, target: &Target) {
    let refused = match (target, target.pattern()) {
        (Target::Activity { .. }, _) => "Express state machine does not support Activity ARN",
        (_, Pattern::Sync | Pattern::Sync2) => {
            "Express state machine does not support '.sync' service integration"
        }
        (_, Pattern::WaitForTaskToken) => {
            "Express state machine does not support '.waitForTaskToken' service integration "
        }
        (_, Pattern::RequestResponse) => return,
    };
    node.fault(Code::Express, refused);
}

/// Reports arguments that the resource cannot do without. Arguments computed as a whole are not looked into.
fn check_arguments(state: &Reading, target: &Target) {
    let required: &[&'static str] = match target {
        Target::LambdaInvoke(_) => &["FunctionName"],
        Target::StartExecution(_) => &["StateMachineArn"],
        Target::HttpInvoke => &["ApiEndpoint", "Method"],
        Target::LambdaFunction { .. }
        | Target::Activity { .. }
        | Target::Service { .. }
        | Target::AwsSdk { .. }
        | Target::Wasm { .. } => return,
    };
    let name = match state.language {
        QueryLanguage::JsonPath => "Parameters",
        QueryLanguage::Jsonata => "Arguments",
    };
    let Some(node) = state.fields.member(name) else {
        return;
    };
    let Some(given) = node.value.as_object() else {
        return;
    };
    let has = |argument: &str| {
        given.contains_key(argument) || given.contains_key(&format!("{argument}.$"))
    };
    let missing = |argument: &str| {
        node.fault(
            Code::MissingArgument,
            format!("The field '{argument}' is required but was missing"),
        );
    };
    required
        .iter()
        .filter(|argument| !has(argument))
        .for_each(|argument| missing(argument));
    if *target == Target::HttpInvoke {
        if !has("Authentication") && !has("InvocationConfig") {
            missing("Authentication");
        }
        let jsonata = state.language == QueryLanguage::Jsonata;
        let substitutions = node.report.allow_substitutions;
        let computed =
            |text: &str| jsonata && text.starts_with("{%") || substitutions && text.contains("${");
        for refusal in http::constants(node.value, &computed) {
            node.fault(Code::BadArgument, refusal);
        }
    }
}

fn credentials(state: &Reading, node: &Node) -> Option<Credentials> {
    let fields = node.fields()?;
    let fixed_or_expression =
        |role: &Node| match role.is_jsonata() && state.language == QueryLanguage::Jsonata {
            true => role.expression(Slot::State).map(Given::Jsonata),
            false => role.text().map(|text| Given::Fixed(Arc::from(text))),
        };
    let role_arn: Option<Given<Arc<str>, PathExpr>> =
        match (fields.member("RoleArn"), fields.member("RoleArn.$")) {
            (Some(role), _) => fixed_or_expression(&role),
            (None, Some(role)) if state.language == QueryLanguage::JsonPath => {
                role.string_expr().map(Given::Path)
            }
            (None, _) => {
                node.fault(
                    Code::MissingArgument,
                    "The field 'RoleArn' is required but was missing",
                );
                None
            }
        };
    Some(Credentials {
        role_arn: role_arn?,
    })
}
