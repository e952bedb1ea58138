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

/// The parsed forms of a `Resource`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `arn:<partition>:lambda:<region>:<account>:function:<name>[:<qualifier>]`: history has `LambdaFunction*` events.
    LambdaFunction { name: Arc<str>, qualifier: Option<Arc<str>> },
    /// `arn:<partition>:states:::lambda:invoke`.
    LambdaInvoke(Callback),
    /// `arn:<partition>:states:<region>:<account>:activity:<name>`: history has `Activity*` events.
    Activity { arn: Arc<str>, name: Arc<str> },
    /// `arn:<partition>:states:::states:startExecution`.
    StartExecution(Pattern),
    /// `arn:<partition>:states:::http:invoke`.
    HttpInvoke,
    /// `arn:<partition>:states:::<service>:<action>`: an optimized integration.
    Service { service: Arc<str>, action: Arc<str>, pattern: Pattern },
    /// `arn:<partition>:states:::aws-sdk:<service>:<action>`.
    AwsSdk { service: Arc<str>, action: Arc<str>, pattern: Callback },
    /// `wasm:NAME[@VERSION]`: a plugin of this runtime.
    Wasm { name: Arc<str>, version: Option<Arc<str>> },
}

/// How the task waits for its work to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// No suffix: done with the response.
    RequestResponse,
    /// `.sync`.
    Sync,
    /// `.sync:2`.
    Sync2,
    /// `.waitForTaskToken`.
    WaitForTaskToken,
}

/// The patterns of those integrations that cannot run a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Callback {
    /// No suffix.
    RequestResponse,
    /// `.waitForTaskToken`.
    WaitForTaskToken,
}
