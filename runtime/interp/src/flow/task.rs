//! Task: from scheduling an attempt to its outcome.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use stepwell_asl::{Credentials, Given, Io, Resource, Target, Task, http_refusals};
use stepwell_query::{Random, Value};

use crate::{
    Timestamp,
    border::{Cancelled, ChildId, Effect, FailedAt, OnCrash, TaskId, TaskOutcome, TaskToken},
    data,
    event::{Failure, FailureClass, Scheduled, Stage, What},
    fault::{
        DATA_LIMIT_EXCEEDED, Fault, Outcome, RUNTIME, TIMEOUT, clip, data_limit_text, in_state,
    },
    given,
    limits::{CAUSE_CHARS_MAX, ERROR_CHARS_MAX, REDISPATCH_MAX, SECONDS_MAX, TOKEN_BYTES},
    measure::Measures,
    run::{FrameId, Phase, attempt_effects, needs_token},
    scope::Moment,
    step::Turn,
};

/// The error of an attempt whose process is gone, for Lambda resources and for all others.
const LAMBDA_UNKNOWN: &str = "Lambda.Unknown";
const INTERRUPTED: &str = "Stepwell.Interrupted";

impl Turn<'_> {
    pub(super) fn schedule(&mut self, id: FrameId, task: &Task) {
        let token = needs_token(&task.resource).then(|| self.token(draw_token));
        // Plain parameters need no account of where they run.
        let region = self.run.start().map_or_else(
            || "us-east-1".into(),
            |start| region_of(&start.execution_arn),
        );
        let scheduled = self.evaluate(id, |moment, random, limits| {
            let moment = Moment {
                token: token.as_ref(),
                ..*moment
            };
            let effective = data::effective_input(&task.io, &moment)?;
            let parameters = data::work_input(&task.io, &effective, &moment, random)?;
            if parameters.json_bytes() > limits.payload_bytes_max {
                return Err(Fault::DataLimit {
                    of: moment.visit.state.clone(),
                });
            }
            admit(task, &parameters)?;
            let mut seconds = |field: &str, given: Option<&Given<std::num::NonZeroU32>>| {
                given
                    .map(|given| {
                        given::seconds(field, given, 1, SECONDS_MAX, &effective, &moment, random)
                    })
                    .transpose()
            };
            let timeout_s = seconds("TimeoutSeconds", task.timeout_s.as_ref())?;
            let heartbeat_s = seconds("HeartbeatSeconds", task.heartbeat_s.as_ref())?;
            let role_arn = role_arn(task.credentials.as_ref(), &effective, &moment, random)?;
            Ok((parameters, timeout_s, heartbeat_s, role_arn))
        });
        match scheduled {
            Some(Ok((parameters, timeout_s, heartbeat_s, role_arn))) => {
                let resource = task.resource.clone();
                let scheduled = Scheduled {
                    resource: Arc::new(resource),
                    parameters,
                    region,
                    timeout_s,
                    heartbeat_s,
                    role_arn,
                    token,
                };
                self.record(id, What::Scheduled(Box::new(scheduled)));
                self.owe_attempt(id);
            }
            Some(Err(fault)) => self.fail(id, fault),
            None => {}
        }
    }

    /// Pushes the effects that the frame's open attempt owes.
    fn owe_attempt(&mut self, id: FrameId) {
        if self.run.ending().is_some() {
            return;
        }
        let Some(visit) = self.run.frame(id).and_then(|frame| frame.visit()) else {
            return;
        };
        if let Phase::Attempt(attempt) = &visit.phase {
            attempt_effects(visit, attempt, &mut self.effects);
        }
    }

    /// A guest or a worker begins.
    pub(crate) fn task_begins(&mut self, task: TaskId, by: Option<Arc<str>>, at: Timestamp) {
        self.task_started(task, by, at);
        let Some(id) = self.run.task_frame(task) else {
            return;
        };
        let visit = self.run.frame(id).and_then(|frame| frame.visit());
        let Some(Phase::Attempt(attempt)) = visit.map(|visit| &visit.phase) else {
            return;
        };
        if attempt.id != task || attempt.redispatches == 0 {
            return;
        }
        if !attempt.begun {
            self.record(id, What::Begins);
        }
        self.effects.push(Effect::Begin { task });
    }

    pub(crate) fn task_started(&mut self, task: TaskId, by: Option<Arc<str>>, at: Timestamp) {
        let Some((id, resource, started)) = self.open(task) else {
            return;
        };
        if !started {
            let at = at.clamp(self.run.last_at(), self.at);
            self.record_at(id, What::Started { resource, by }, at);
        }
    }

    /// What an attempt used. It is recorded once: whoever says it again may not know that it was taken.
    pub(crate) fn task_used(&mut self, task: TaskId, plugin: Arc<str>, measures: Arc<Measures>) {
        let Some(id) = self.run.task_frame(task) else {
            return;
        };
        let visit = self.run.frame(id).and_then(|frame| frame.visit());
        let Some(Phase::Attempt(attempt)) = visit.map(|visit| &visit.phase) else {
            return;
        };
        if attempt.id == task && !attempt.measured {
            let used = What::Used {
                task,
                plugin,
                measures,
            };
            self.record(id, used);
        }
    }

    pub(crate) fn task_submitted(&mut self, task: TaskId, output: Value) {
        self.task_started(task, None, self.at);
        let Some((id, resource, _)) = self.open(task) else {
            return;
        };
        if self.run.open_task(task).is_some_and(|open| !open.submitted) {
            self.record(id, What::Submitted { resource, output });
        }
    }

    pub(crate) fn child_started(&mut self, task: TaskId, child: ChildId, output: Value) {
        if let Some(id) = self.run.map_run_frame(task) {
            if !self.run.waits_for(task, child) {
                self.record(id, What::ChildStarted { child });
            }
            return;
        }
        self.task_submitted(task, output);
        let waits = self.run.open_task(task);
        if let (Some(open), Some(id)) = (waits, self.run.task_frame(task))
            && open.child.is_none()
        {
            self.record(id, What::ChildStarted { child });
        }
    }

    pub(crate) fn task_ended(&mut self, task: TaskId, outcome: TaskOutcome) {
        match outcome {
            TaskOutcome::Succeeded { output } => {
                self.task_started(task, None, self.at);
                self.task_succeeded(task, output);
            }
            TaskOutcome::Failed { error, cause, at } => {
                if !matches!(at, FailedAt::Schedule | FailedAt::Start) {
                    self.task_started(task, None, self.at);
                }
                self.task_failed(task, error, cause, at);
            }
        }
    }

    fn task_succeeded(&mut self, task: TaskId, output: Value) {
        let Some((id, resource, _)) = self.open(task) else {
            return;
        };
        if output.json_bytes() > self.limits.payload_bytes_max {
            let cause = Some(data_limit_text(&resource.text).into());
            let stage = Stage::Run;
            return self.record(
                id,
                What::Failed {
                    resource,
                    stage,
                    error: Some(DATA_LIMIT_EXCEEDED.into()),
                    cause,
                },
            );
        }
        if let Some(watch) = self.watch {
            watch.note(|data| data.result = Some(output.clone()));
        }
        self.record(id, What::Succeeded { resource, output });
    }

    fn task_failed(
        &mut self,
        task: TaskId,
        error: Option<Arc<str>>,
        cause: Option<Arc<str>>,
        at: FailedAt,
    ) {
        let Some((id, resource, _)) = self.open(task) else {
            return;
        };
        let error: Option<Arc<str>> = error.map(|text| clip(&text, ERROR_CHARS_MAX).into());
        let cause: Option<Arc<str>> = cause.map(|text| clip(&text, CAUSE_CHARS_MAX).into());
        let stage = match at {
            FailedAt::Schedule if error.as_deref() == Some(RUNTIME) => {
                return self.unschedulable(id, cause);
            }
            FailedAt::Schedule => Stage::Schedule,
            FailedAt::Start => Stage::Start,
            FailedAt::Submit => Stage::Submit,
            FailedAt::Run => Stage::Run,
            FailedAt::Timeout => {
                return self.record(
                    id,
                    What::TimedOut {
                        resource,
                        error,
                        cause,
                        heartbeat: false,
                    },
                );
            }
        };
        self.record(
            id,
            What::Failed {
                resource,
                stage,
                error,
                cause,
            },
        );
    }

    /// What serves the task does not exist: the interpreter's own failure, which nothing catches.
    fn unschedulable(&mut self, id: FrameId, cause: Option<Arc<str>>) {
        let Some(visit) = self.run.frame(id).and_then(|frame| frame.visit()) else {
            return;
        };
        let cause = Some(in_state(visit, cause.as_deref().unwrap_or_default()).into());
        let failure = Failure {
            error: Some(RUNTIME.into()),
            cause,
            class: FailureClass::Terminal,
        };
        self.record(id, What::StateFailed { failure });
    }

    pub(crate) fn task_lost(&mut self, task: TaskId, on_crash: OnCrash) {
        let Some(id) = self.run.task_frame(task) else {
            return;
        };
        let Some(visit) = self.run.frame(id).and_then(|frame| frame.visit()) else {
            return;
        };
        let Phase::Attempt(attempt) = &visit.phase else {
            return;
        };
        let begun = attempt.redispatches == 0 || attempt.begun || !has_guest(&attempt.resource);
        let count = attempt.redispatches + u32::from(begun);
        let resource = attempt.resource.clone();
        if on_crash == OnCrash::Redispatch && count <= REDISPATCH_MAX {
            self.record(id, What::Redispatched { count });
            return self.owe_attempt(id);
        }
        let lambda = &*crate::history::resource_names(&resource).0 == "lambda";
        let error = if lambda { LAMBDA_UNKNOWN } else { INTERRUPTED };
        let cause = match on_crash {
            OnCrash::Fail => {
                "The process that ran the task ended, and its plugin is not to be run again."
                    .to_owned()
            }
            OnCrash::Redispatch => format!("The process that ran the task ended {count} times."),
        };
        self.task_started(task, None, self.at);
        self.task_failed(task, Some(error.into()), Some(cause.into()), FailedAt::Run);
    }

    pub(crate) fn task_timed_out(&mut self, task: TaskId, heartbeat: bool) {
        let Some((id, resource, _)) = self.open(task) else {
            return;
        };
        // As on AWS there is none, unless the attempt never began and it is known why.
        let cause = self
            .run
            .open_task(task)
            .and_then(|open| open.awaits.cloned());
        let Some(cancel) = self.run.cancel(task, Cancelled::TimedOut) else {
            return;
        };
        self.record(
            id,
            What::TimedOut {
                resource,
                error: Some(TIMEOUT.into()),
                cause,
                heartbeat,
            },
        );
        if self.run.ending().is_none() {
            self.effects.push(cancel);
        }
    }

    /// The frame and resource of an open attempt, and whether it has begun.
    fn open(&self, task: TaskId) -> Option<(FrameId, Arc<Resource>, bool)> {
        let open = self.run.open_task(task)?;
        Some((
            self.run.task_frame(task)?,
            open.resource.clone(),
            open.started,
        ))
    }
}

/// Whether a plugin serves it, so that it may wait for long before anything of it begins.
fn has_guest(resource: &Resource) -> bool {
    match &resource.target {
        Target::LambdaFunction { .. } | Target::LambdaInvoke(_) | Target::Wasm { .. } => true,
        Target::Activity { .. }
        | Target::StartExecution(_)
        | Target::HttpInvoke
        | Target::Service { .. }
        | Target::AwsSdk { .. } => false,
    }
}

/// Refuses parameters with which the task's service would not be asked at all.
fn admit(task: &Task, parameters: &Value) -> Outcome<()> {
    if task.resource.target != Target::HttpInvoke {
        return Ok(());
    }
    let refusals = http_refusals(parameters);
    if refusals.is_empty() {
        return Ok(());
    }
    let field = match &task.io {
        Io::Path(_) => "Parameters",
        Io::Jsonata(_) => "Arguments",
    };
    Err(Fault::Runtime(format!(
        "The {field} '{parameters}' could not be used to start the Task: [{}]",
        refusals.join(", ")
    )))
}

fn role_arn(
    credentials: Option<&Credentials>,
    input: &Value,
    moment: &Moment,
    random: &mut Random,
) -> Outcome<Option<Arc<str>>> {
    let Some(credentials) = credentials else {
        return Ok(None);
    };
    let value = match &credentials.role_arn {
        Given::Fixed(arn) => return Ok(Some(arn.clone())),
        Given::Path(path) => path
            .evaluate(&moment.sources(input), random)
            .map_err(|error| Fault::path_expr(error, "RoleArn.$", input))?,
        Given::Jsonata(expression) => {
            let value = given::evaluate("Credentials/RoleArn", expression, moment, random)?;
            if value.as_str().is_none() {
                return Err(Fault::unexpected(
                    expression.text(),
                    "Credentials/RoleArn",
                    "string",
                    value,
                ));
            }
            value
        }
    };
    match value {
        Value::String(arn) => Ok(Some(arn)),
        other => Err(Fault::Runtime(format!(
            "The field 'RoleArn' must be a string, but was: {other}"
        ))),
    }
}

fn draw_token(random: &mut Random) -> TaskToken {
    let mut bytes = [0; TOKEN_BYTES];
    random.fill(&mut bytes);
    token_of(bytes)
}

/// Never begins with `-`, which the AWS CLI takes for an option.
fn token_of(mut bytes: [u8; TOKEN_BYTES]) -> TaskToken {
    const DASH: u8 = 62;
    if bytes[0] >> 2 == DASH {
        bytes[0] ^= 0x80;
    }
    TaskToken(URL_SAFE_NO_PAD.encode(bytes).into())
}

/// The region in an execution's ARN.
fn region_of(arn: &str) -> Arc<str> {
    arn.split(':').nth(3).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_token_begins_as_an_option_does() {
        for first in 0..=u8::MAX {
            let mut bytes = [0; TOKEN_BYTES];
            bytes[0] = first;
            assert!(!token_of(bytes).0.starts_with('-'), "{first}");
        }
    }
}
