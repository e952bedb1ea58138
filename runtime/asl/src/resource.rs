//! A Task's `Resource`: one parser from text to what is to be called. Hides the forms of the ARNs.

use std::fmt;
use std::sync::Arc;

use crate::limits::PLUGIN_NAME_CHARS_MAX;

/// What a Task calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// The text as the definition has it; history shows it.
    pub text: Arc<str>,
    pub target: Target,
}

/// The parsed forms of a `Resource`. Regions and accounts are not interpreted here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `arn:<partition>:lambda:<region>:<account>:function:<name>[:<qualifier>]`: history has `LambdaFunction*` events.
    LambdaFunction {
        name: Arc<str>,
        qualifier: Option<Arc<str>>,
    },
    /// `arn:<partition>:states:::lambda:invoke[.waitForTaskToken]`.
    LambdaInvoke(Reply),
    /// `arn:<partition>:states:<region>:<account>:activity:<name>`: history has `Activity*` events.
    Activity { name: Arc<str> },
    /// `arn:<partition>:states:::states:startExecution[.sync|.sync:2|.waitForTaskToken]`.
    StartExecution(Pattern),
    /// `arn:<partition>:states:::http:invoke`.
    HttpInvoke,
    /// `arn:<partition>:states:::<service>:<action>[…]`: an optimized integration.
    Service {
        service: Arc<str>,
        action: Arc<str>,
        pattern: Pattern,
    },
    /// `arn:<partition>:states:::aws-sdk:<service>:<action>[.waitForTaskToken]`.
    AwsSdk {
        service: Arc<str>,
        action: Arc<str>,
        reply: Reply,
    },
    /// `wasm:NAME[@VERSION]`: a plugin of this runtime.
    Wasm {
        name: Arc<str>,
        version: Option<Arc<str>>,
    },
}

/// How a task waits for its work to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// No suffix: done with the response.
    RequestResponse,
    /// `.sync`: done when the job is.
    Sync,
    /// `.sync:2`: as `.sync`, with the job's output as JSON.
    Sync2,
    /// `.waitForTaskToken`: done when the token comes back.
    WaitForTaskToken,
}

/// The patterns of integrations that do not run jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// No suffix.
    Response,
    /// `.waitForTaskToken`.
    TaskToken,
}

impl Target {
    /// How a task with this resource waits.
    pub fn pattern(&self) -> Pattern {
        match self {
            Target::StartExecution(pattern) | Target::Service { pattern, .. } => *pattern,
            Target::LambdaInvoke(reply) | Target::AwsSdk { reply, .. } => match reply {
                Reply::Response => Pattern::RequestResponse,
                Reply::TaskToken => Pattern::WaitForTaskToken,
            },
            Target::LambdaFunction { .. }
            | Target::Activity { .. }
            | Target::HttpInvoke
            | Target::Wasm { .. } => Pattern::RequestResponse,
        }
    }
}

/// Why a text is no resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResourceFault {
    /// It has not the form of an ARN or of `wasm:NAME`.
    NotArn,
    /// It has the form, and names nothing that is known.
    Unknown,
}

impl Resource {
    pub(crate) fn parse(text: &str) -> Result<Resource, ResourceFault> {
        let target = match text.strip_prefix("wasm:") {
            Some(plugin) => wasm(plugin)?,
            None => arn(text)?,
        };
        Ok(Resource {
            text: text.into(),
            target,
        })
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn wasm(plugin: &str) -> Result<Target, ResourceFault> {
    let (name, version) = match plugin.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (plugin, None),
    };
    let sound = |text: &str, extra: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
    };
    let known = sound(name, "-_")
        && name.len() <= PLUGIN_NAME_CHARS_MAX
        && version.is_none_or(|version| sound(version, "-_.+"));
    if !known {
        return Err(ResourceFault::Unknown);
    }
    Ok(Target::Wasm {
        name: name.into(),
        version: version.map(Into::into),
    })
}

fn arn(text: &str) -> Result<Target, ResourceFault> {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", partition, service, region, account, resource] = parts[..] else {
        return Err(ResourceFault::NotArn);
    };
    if !partition.starts_with("aws") {
        return Err(ResourceFault::Unknown);
    }
    match (service, resource.split_once(':')) {
        ("lambda", Some(("function", function))) => lambda(function),
        ("states", Some(("activity", name))) => {
            let sound = !name.is_empty()
                && !name.contains(':')
                && !region.is_empty()
                && !account.is_empty();
            if sound {
                Ok(Target::Activity { name: name.into() })
            } else {
                Err(ResourceFault::Unknown)
            }
        }
        ("states", Some(("aws-sdk", call))) => {
            let (service, action, pattern) = call_of(call)?;
            Ok(Target::AwsSdk {
                service,
                action,
                reply: reply_of(pattern)?,
            })
        }
        ("states", Some(_)) => integration(resource),
        _ => Err(ResourceFault::Unknown),
    }
}

fn lambda(function: &str) -> Result<Target, ResourceFault> {
    let (name, qualifier) = match function.split_once(':') {
        Some((name, qualifier)) => (name, Some(qualifier)),
        None => (function, None),
    };
    let sound = !name.is_empty()
        && qualifier.is_none_or(|qualifier| {
            !qualifier.is_empty()
                && qualifier
                    .chars()
                    .all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '$'))
                && qualifier
                    .strip_prefix('$')
                    .is_none_or(|rest| rest == "LATEST")
        });
    if !sound {
        return Err(ResourceFault::Unknown);
    }
    Ok(Target::LambdaFunction {
        name: name.into(),
        qualifier: qualifier.map(Into::into),
    })
}

fn integration(resource: &str) -> Result<Target, ResourceFault> {
    let (service, action, pattern) = call_of(resource)?;
    match (&*service, &*action) {
        ("lambda", "invoke") => Ok(Target::LambdaInvoke(reply_of(pattern)?)),
        ("states", "startExecution") => Ok(Target::StartExecution(pattern)),
        ("http", "invoke") if pattern == Pattern::RequestResponse => Ok(Target::HttpInvoke),
        ("lambda" | "states" | "http", _) => Err(ResourceFault::Unknown),
        _ => Ok(Target::Service {
            service,
            action,
            pattern,
        }),
    }
}

/// `<service>:<action>[.<pattern>]`
fn call_of(text: &str) -> Result<(Arc<str>, Arc<str>, Pattern), ResourceFault> {
    let (service, call) = text.split_once(':').ok_or(ResourceFault::Unknown)?;
    let (action, pattern) = match call.split_once('.') {
        None => (call, Pattern::RequestResponse),
        Some((action, "sync")) => (action, Pattern::Sync),
        Some((action, "sync:2")) => (action, Pattern::Sync2),
        Some((action, "waitForTaskToken")) => (action, Pattern::WaitForTaskToken),
        Some(_) => return Err(ResourceFault::Unknown),
    };
    let word = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    let camel = action.starts_with(|c: char| c.is_ascii_lowercase());
    if !word(service) || !word(action) || !camel {
        return Err(ResourceFault::Unknown);
    }
    Ok((service.into(), action.into(), pattern))
}

fn reply_of(pattern: Pattern) -> Result<Reply, ResourceFault> {
    match pattern {
        Pattern::RequestResponse => Ok(Reply::Response),
        Pattern::WaitForTaskToken => Ok(Reply::TaskToken),
        Pattern::Sync | Pattern::Sync2 => Err(ResourceFault::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_what_their_text_says() {
        for (text, expected) in [
            (
                "arn:aws:lambda:us-east-1:000000000000:function:f",
                Ok(Target::LambdaFunction {
                    name: "f".into(),
                    qualifier: None,
                }),
            ),
            (
                "arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST",
                Ok(Target::LambdaFunction {
                    name: "f".into(),
                    qualifier: Some("$LATEST".into()),
                }),
            ),
            (
                "arn:aws:lambda:us-east-1:000000000000:function:f:",
                Err(ResourceFault::Unknown),
            ),
            (
                "arn:aws:lambda:us-east-1:000000000000:function:f:$*#$7",
                Err(ResourceFault::Unknown),
            ),
            (
                "arn:aws:states:::lambda:invoke",
                Ok(Target::LambdaInvoke(Reply::Response)),
            ),
            (
                "arn:aws:states:::lambda:invoke.waitForTaskToken",
                Ok(Target::LambdaInvoke(Reply::TaskToken)),
            ),
            (
                "arn:aws:states:::lambda:invoke.sync",
                Err(ResourceFault::Unknown),
            ),
            (
                "arn:aws:states:::states:startExecution.sync:2",
                Ok(Target::StartExecution(Pattern::Sync2)),
            ),
            (
                "arn:aws:states:us-east-1:000000000000:activity:a",
                Ok(Target::Activity { name: "a".into() }),
            ),
            ("arn:aws-cn:states:::http:invoke", Ok(Target::HttpInvoke)),
            (
                "arn:aws:states:::ecs:runTask.sync",
                Ok(Target::Service {
                    service: "ecs".into(),
                    action: "runTask".into(),
                    pattern: Pattern::Sync,
                }),
            ),
            (
                "arn:aws:states:::aws-sdk:s3:getObject",
                Ok(Target::AwsSdk {
                    service: "s3".into(),
                    action: "getObject".into(),
                    reply: Reply::Response,
                }),
            ),
            (
                "arn:aws:states:::aws-sdk:s3:GetObject",
                Err(ResourceFault::Unknown),
            ),
            (
                "wasm:charge-card",
                Ok(Target::Wasm {
                    name: "charge-card".into(),
                    version: None,
                }),
            ),
            (
                "wasm:charge@1.2.0",
                Ok(Target::Wasm {
                    name: "charge".into(),
                    version: Some("1.2.0".into()),
                }),
            ),
            ("wasm:", Err(ResourceFault::Unknown)),
            ("wasm:a@", Err(ResourceFault::Unknown)),
            ("foo:bar", Err(ResourceFault::NotArn)),
            (
                "arn:aws:swf:us-east-1:123456789012:task:X",
                Err(ResourceFault::Unknown),
            ),
        ] {
            assert_eq!(
                Resource::parse(text).map(|resource| resource.target),
                expected,
                "{text}"
            );
        }
    }
}
