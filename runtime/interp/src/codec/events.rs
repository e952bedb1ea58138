//! Events in a segment: the number of each variant and the order of its fields, for good. Hides nothing else.

use std::sync::Arc;

use stepwell_asl::{Pattern, Reply, Resource, Target};

use super::{
    CodecError,
    bytes::{Reader, Writer, entry},
    map_run, values,
};
use crate::{
    border::{ChildId, Start, TaskToken},
    event::{Assigned, Event, Failure, FailureClass, Scheduled, Stage, StateKind, What},
};

pub(super) fn write(w: &mut Writer, event: &Event) {
    w.byte(tag(&event.what));
    w.at(event.at);
    w.varint(event.previous);
    w.place(&event.place);
    match &event.what {
        What::ExecutionStarted {
            start,
            first,
            timeout_at,
        } => {
            write_start(w, start);
            w.text(first);
            w.optional_time(*timeout_at);
        }
        What::ExecutionSucceeded { output } => values::write(w, output),
        What::ExecutionFailed { error, cause }
        | What::ExecutionTimedOut { error, cause }
        | What::ExecutionAborted { error, cause } => {
            w.optional_text(error.as_ref());
            w.optional_text(cause.as_ref());
        }
        What::ExecutionRedriven {
            count,
            timeout_at,
            token,
        } => {
            w.varint(u64::from(*count));
            w.optional_time(*timeout_at);
            w.optional_text(token.as_ref());
        }
        What::StateEntered { kind, name, input } => {
            w.byte(kind_number(*kind));
            w.text(name);
            values::write(w, input);
        }
        What::StateExited {
            kind,
            name,
            output,
            assigned,
            next,
        } => {
            w.byte(kind_number(*kind));
            w.text(name);
            values::write(w, output);
            write_assigned(w, assigned);
            w.optional_text(next.as_ref());
        }
        What::StateAborted { kind, name } => {
            w.byte(kind_number(*kind));
            w.text(name);
        }
        What::EvaluationFailed {
            state,
            error,
            cause,
            location,
            terminal,
        } => {
            [state, error, cause, location]
                .into_iter()
                .for_each(|text| w.text(text));
            w.byte(u8::from(*terminal));
        }
        What::Scheduled(_)
        | What::Started { .. }
        | What::Submitted { .. }
        | What::Succeeded { .. }
        | What::Failed { .. }
        | What::TimedOut { .. } => write_attempt(w, &event.what),
        What::ParallelStarted { firsts, input } => {
            w.count(firsts.len());
            firsts.iter().for_each(|first| w.text(first));
            values::write(w, input);
        }
        What::MapStarted {
            items,
            first,
            concurrency,
        } => {
            values::write(w, items);
            w.text(first);
            w.optional_u32(*concurrency);
        }
        What::FlowsSucceeded { kind } | What::FlowsFailed { kind } => w.byte(kind_number(*kind)),
        What::IterationStarted { name, index, input } => {
            w.text(name);
            w.varint(u64::from(*index));
            values::optional(w, input.as_ref());
        }
        What::IterationSucceeded { name, index } | What::IterationAborted { name, index } => {
            w.text(name);
            w.varint(u64::from(*index));
        }
        What::IterationFailed {
            name,
            index,
            failure,
        } => {
            w.text(name);
            w.varint(u64::from(*index));
            write_failure(w, failure);
        }
        What::WaitPlanned { until } => w.time(*until),
        What::RetryPlanned { retrier, fire_at } => {
            w.varint(u64::from(*retrier));
            w.time(*fire_at);
        }
        What::Redispatched { count } => w.varint(u64::from(*count)),
        What::StateFailed { failure } => write_failure(w, failure),
        What::BranchFailed { index, failure } => {
            w.varint(u64::from(*index));
            write_failure(w, failure);
        }
        What::BranchAborted { index } => w.varint(u64::from(*index)),
        What::ChildStarted { child } => w.varint(child.0),
        What::DistributedMapStarted { items } => values::optional(w, items.as_ref()),
        What::MapRunStarted { arn } => w.text(arn),
        What::MapRunRedriven { arn, count } => {
            w.text(arn);
            w.varint(u64::from(*count));
        }
        What::MapRunSucceeded { result } => values::write(w, result),
        What::MapRunFailed { failure } => write_failure(w, failure),
        What::MapRunAborted => {}
        What::MapRun(event) => map_run::write(w, event),
    }
}

fn tag(what: &What) -> u8 {
    match what {
        What::ExecutionStarted { .. } => 1,
        What::ExecutionSucceeded { .. } => 2,
        What::ExecutionFailed { .. } => 3,
        What::ExecutionTimedOut { .. } => 4,
        What::ExecutionAborted { .. } => 5,
        What::StateEntered { .. } => 6,
        What::StateExited { .. } => 7,
        What::StateAborted { .. } => 8,
        What::EvaluationFailed { .. } => 9,
        What::Scheduled(_) => 10,
        What::Started { .. } => 11,
        What::Submitted { .. } => 12,
        What::Succeeded { .. } => 13,
        What::Failed { .. } => 14,
        What::TimedOut { .. } => 15,
        What::ParallelStarted { .. } => 16,
        What::MapStarted { .. } => 17,
        What::FlowsSucceeded { .. } => 18,
        What::FlowsFailed { .. } => 19,
        What::IterationStarted { .. } => 20,
        What::IterationSucceeded { .. } => 21,
        What::IterationFailed { .. } => 22,
        What::IterationAborted { .. } => 23,
        What::WaitPlanned { .. } => 24,
        What::RetryPlanned { .. } => 25,
        What::Redispatched { .. } => 26,
        What::StateFailed { .. } => 27,
        What::BranchFailed { .. } => 28,
        What::BranchAborted { .. } => 29,
        What::ChildStarted { .. } => 30,
        What::DistributedMapStarted { .. } => 31,
        What::MapRunStarted { .. } => 32,
        What::MapRunSucceeded { .. } => 33,
        What::MapRunFailed { .. } => 34,
        What::MapRunAborted => 35,
        What::MapRun(_) => 36,
        What::ExecutionRedriven { .. } => 37,
        What::MapRunRedriven { .. } => 38,
    }
}

pub(super) fn read(r: &mut Reader) -> Result<Event, CodecError> {
    let tag = r.byte()?;
    let at = r.at()?;
    let previous = r.varint()?;
    let place = r.place()?;
    let what = read_what(r, tag)?;
    Ok(Event {
        at,
        previous,
        place,
        what,
    })
}

fn read_what(r: &mut Reader, tag: u8) -> Result<What, CodecError> {
    Ok(match tag {
        1 => {
            let start = Box::new(read_start(r)?);
            What::ExecutionStarted {
                start,
                first: r.text()?,
                timeout_at: r.optional_time()?,
            }
        }
        2 => What::ExecutionSucceeded {
            output: values::read(r)?,
        },
        3 => What::ExecutionFailed {
            error: r.optional_text()?,
            cause: r.optional_text()?,
        },
        4 => What::ExecutionTimedOut {
            error: r.optional_text()?,
            cause: r.optional_text()?,
        },
        5 => What::ExecutionAborted {
            error: r.optional_text()?,
            cause: r.optional_text()?,
        },
        6 => What::StateEntered {
            kind: read_kind(r)?,
            name: r.text()?,
            input: values::read(r)?,
        },
        7 => What::StateExited {
            kind: read_kind(r)?,
            name: r.text()?,
            output: values::read(r)?,
            assigned: read_assigned(r)?,
            next: r.optional_text()?,
        },
        8 => What::StateAborted {
            kind: read_kind(r)?,
            name: r.text()?,
        },
        9 => What::EvaluationFailed {
            state: r.text()?,
            error: r.text()?,
            cause: r.text()?,
            location: r.text()?,
            terminal: r.byte()? != 0,
        },
        10..=15 => read_attempt(r, tag)?,
        16 => {
            let count = r.count()?;
            let firsts = (0..count).map(|_| r.text()).collect::<Result<_, _>>()?;
            What::ParallelStarted {
                firsts,
                input: values::read(r)?,
            }
        }
        17 => What::MapStarted {
            items: values::read(r)?,
            first: r.text()?,
            concurrency: r.optional_u32()?,
        },
        18 => What::FlowsSucceeded {
            kind: read_kind(r)?,
        },
        19 => What::FlowsFailed {
            kind: read_kind(r)?,
        },
        20 => What::IterationStarted {
            name: r.text()?,
            index: r.u32()?,
            input: values::read_optional(r)?,
        },
        21 => What::IterationSucceeded {
            name: r.text()?,
            index: r.u32()?,
        },
        22 => What::IterationFailed {
            name: r.text()?,
            index: r.u32()?,
            failure: read_failure(r)?,
        },
        23 => What::IterationAborted {
            name: r.text()?,
            index: r.u32()?,
        },
        24 => What::WaitPlanned { until: r.time()? },
        25 => What::RetryPlanned {
            retrier: r.u32()?,
            fire_at: r.time()?,
        },
        26 => What::Redispatched { count: r.u32()? },
        27 => What::StateFailed {
            failure: read_failure(r)?,
        },
        28 => What::BranchFailed {
            index: r.u32()?,
            failure: read_failure(r)?,
        },
        29 => What::BranchAborted { index: r.u32()? },
        30 => What::ChildStarted {
            child: ChildId(r.varint()?),
        },
        31 => What::DistributedMapStarted {
            items: values::read_optional(r)?,
        },
        32 => What::MapRunStarted { arn: r.text()? },
        33 => What::MapRunSucceeded {
            result: values::read(r)?,
        },
        34 => What::MapRunFailed {
            failure: read_failure(r)?,
        },
        35 => What::MapRunAborted,
        36 => What::MapRun(Box::new(map_run::read(r)?)),
        37 => What::ExecutionRedriven {
            count: r.u32()?,
            timeout_at: r.optional_time()?,
            token: r.optional_text()?,
        },
        38 => What::MapRunRedriven {
            arn: r.text()?,
            count: r.u32()?,
        },
        found => return Err(r.unknown("event", found.into())),
    })
}

/// Every event of an attempt begins with its resource.
fn write_attempt(w: &mut Writer, what: &What) {
    if let What::Scheduled(scheduled) = what {
        write_scheduled(w, scheduled);
    } else if let What::Started { resource, by } = what {
        write_resource(w, resource);
        w.optional_text(by.as_ref());
    } else if let What::Submitted { resource, output } | What::Succeeded { resource, output } = what
    {
        write_resource(w, resource);
        values::write(w, output);
    } else if let What::Failed {
        resource,
        stage,
        error,
        cause,
    } = what
    {
        write_resource(w, resource);
        w.byte(stage_number(*stage));
        w.optional_text(error.as_ref());
        w.optional_text(cause.as_ref());
    } else if let What::TimedOut {
        resource,
        error,
        cause,
        heartbeat,
    } = what
    {
        write_resource(w, resource);
        w.optional_text(error.as_ref());
        w.optional_text(cause.as_ref());
        w.byte(u8::from(*heartbeat));
    }
}

fn write_scheduled(w: &mut Writer, scheduled: &Scheduled) {
    let Scheduled {
        resource,
        parameters,
        region,
        timeout_s,
        heartbeat_s,
        role_arn,
        token,
    } = scheduled;
    write_resource(w, resource);
    values::write(w, parameters);
    w.text(region);
    w.optional_u32(*timeout_s);
    w.optional_u32(*heartbeat_s);
    w.optional_text(role_arn.as_ref());
    w.optional_text(token.as_ref().map(|token| &token.0));
}

fn read_attempt(r: &mut Reader, tag: u8) -> Result<What, CodecError> {
    let resource = read_resource(r)?;
    Ok(match tag {
        10 => What::Scheduled(Box::new(Scheduled {
            resource,
            parameters: values::read(r)?,
            region: r.text()?,
            timeout_s: r.optional_u32()?,
            heartbeat_s: r.optional_u32()?,
            role_arn: r.optional_text()?,
            token: r.optional_text()?.map(TaskToken),
        })),
        11 => What::Started {
            resource,
            by: r.optional_text()?,
        },
        12 => What::Submitted {
            resource,
            output: values::read(r)?,
        },
        13 => What::Succeeded {
            resource,
            output: values::read(r)?,
        },
        14 => {
            let stage = read_stage(r)?;
            What::Failed {
                resource,
                stage,
                error: r.optional_text()?,
                cause: r.optional_text()?,
            }
        }
        _ => {
            let (error, cause) = (r.optional_text()?, r.optional_text()?);
            What::TimedOut {
                resource,
                error,
                cause,
                heartbeat: r.byte()? != 0,
            }
        }
    })
}

pub(super) fn write_start(w: &mut Writer, start: &Start) {
    let Start {
        execution_arn,
        execution_name,
        machine_arn,
        machine_name,
        role_arn,
        version_arn,
        alias_arn,
        express,
        raised_limits,
        processor_of,
        input,
    } = start;
    for text in [
        execution_arn,
        execution_name,
        machine_arn,
        machine_name,
        role_arn,
    ] {
        w.text(text);
    }
    w.optional_text(version_arn.as_ref());
    w.optional_text(alias_arn.as_ref());
    let within = processor_of.as_ref();
    w.byte(u8::from(*express) | u8::from(*raised_limits) << 1 | u8::from(within.is_some()) << 2);
    values::write(w, input);
    if let Some(state) = within {
        w.text(state);
    }
}

pub(super) fn read_start(r: &mut Reader) -> Result<Start, CodecError> {
    let (execution_arn, execution_name) = (r.text()?, r.text()?);
    let (machine_arn, machine_name, role_arn) = (r.text()?, r.text()?, r.text()?);
    let (version_arn, alias_arn) = (r.optional_text()?, r.optional_text()?);
    let flags = r.byte()?;
    Ok(Start {
        execution_arn,
        execution_name,
        machine_arn,
        machine_name,
        role_arn,
        version_arn,
        alias_arn,
        express: flags & 1 != 0,
        raised_limits: flags & 2 != 0,
        input: values::read(r)?,
        processor_of: if flags & 4 == 0 {
            None
        } else {
            Some(r.text()?)
        },
    })
}

pub(super) fn write_assigned(w: &mut Writer, assigned: &Assigned) {
    w.count(assigned.len());
    for (name, value) in assigned.iter() {
        w.text(name);
        values::write(w, value);
    }
}

pub(super) fn read_assigned(r: &mut Reader) -> Result<Assigned, CodecError> {
    let count = r.count()?;
    (0..count)
        .map(|_| Ok((r.text()?, values::read(r)?)))
        .collect()
}

pub(super) fn write_failure(w: &mut Writer, failure: &Failure) {
    w.optional_text(failure.error.as_ref());
    w.optional_text(failure.cause.as_ref());
    w.byte(match failure.class {
        FailureClass::Named => 0,
        FailureClass::Heartbeat => 1,
        FailureClass::NamedOnly => 2,
        FailureClass::Terminal => 3,
    });
}

pub(super) fn read_failure(r: &mut Reader) -> Result<Failure, CodecError> {
    let (error, cause) = (r.optional_text()?, r.optional_text()?);
    let class = match r.byte()? {
        0 => FailureClass::Named,
        1 => FailureClass::Heartbeat,
        2 => FailureClass::NamedOnly,
        3 => FailureClass::Terminal,
        found => return Err(r.unknown("class of a failure", found.into())),
    };
    Ok(Failure {
        error,
        cause,
        class,
    })
}

/// A resource is written by its parts, so that it reads the same whatever the parser accepts by then.
fn write_resource(w: &mut Writer, resource: &Arc<Resource>) {
    let identity = Arc::as_ptr(resource) as usize;
    if let Some(number) = w.resources.find(identity) {
        return w.varint(number + 1);
    }
    w.resources.add(identity);
    w.byte(0);
    w.text(&resource.text);
    match &resource.target {
        Target::LambdaFunction { name, qualifier } => {
            w.byte(1);
            w.text(name);
            w.optional_text(qualifier.as_ref());
        }
        Target::LambdaInvoke(reply) => {
            w.byte(2);
            w.byte(reply_number(*reply));
        }
        Target::Activity { name } => {
            w.byte(3);
            w.text(name);
        }
        Target::StartExecution(pattern) => {
            w.byte(4);
            w.byte(pattern_number(*pattern));
        }
        Target::HttpInvoke => w.byte(5),
        Target::Service {
            service,
            action,
            pattern,
        } => {
            w.byte(6);
            w.text(service);
            w.text(action);
            w.byte(pattern_number(*pattern));
        }
        Target::AwsSdk {
            service,
            action,
            reply,
        } => {
            w.byte(7);
            w.text(service);
            w.text(action);
            w.byte(reply_number(*reply));
        }
        Target::Wasm { name, version } => {
            w.byte(8);
            w.text(name);
            w.optional_text(version.as_ref());
        }
    }
}

fn read_resource(r: &mut Reader) -> Result<Arc<Resource>, CodecError> {
    if let Some(number) = r.varint()?.checked_sub(1) {
        return entry(&r.resources, number).ok_or_else(|| r.damaged("a resource refers to none"));
    }
    let text = r.text()?;
    let target = match r.byte()? {
        1 => Target::LambdaFunction {
            name: r.text()?,
            qualifier: r.optional_text()?,
        },
        2 => Target::LambdaInvoke(read_reply(r)?),
        3 => Target::Activity { name: r.text()? },
        4 => Target::StartExecution(read_pattern(r)?),
        5 => Target::HttpInvoke,
        6 => Target::Service {
            service: r.text()?,
            action: r.text()?,
            pattern: read_pattern(r)?,
        },
        7 => Target::AwsSdk {
            service: r.text()?,
            action: r.text()?,
            reply: read_reply(r)?,
        },
        8 => Target::Wasm {
            name: r.text()?,
            version: r.optional_text()?,
        },
        found => return Err(r.unknown("form of a resource", found.into())),
    };
    let resource = Arc::new(Resource { text, target });
    r.resources.push(resource.clone());
    Ok(resource)
}

fn reply_number(reply: Reply) -> u8 {
    match reply {
        Reply::Response => 0,
        Reply::TaskToken => 1,
    }
}

fn read_reply(r: &mut Reader) -> Result<Reply, CodecError> {
    match r.byte()? {
        0 => Ok(Reply::Response),
        1 => Ok(Reply::TaskToken),
        found => Err(r.unknown("reply of a resource", found.into())),
    }
}

fn pattern_number(pattern: Pattern) -> u8 {
    match pattern {
        Pattern::RequestResponse => 0,
        Pattern::Sync => 1,
        Pattern::Sync2 => 2,
        Pattern::WaitForTaskToken => 3,
    }
}

fn read_pattern(r: &mut Reader) -> Result<Pattern, CodecError> {
    match r.byte()? {
        0 => Ok(Pattern::RequestResponse),
        1 => Ok(Pattern::Sync),
        2 => Ok(Pattern::Sync2),
        3 => Ok(Pattern::WaitForTaskToken),
        found => Err(r.unknown("pattern of a resource", found.into())),
    }
}

fn stage_number(stage: Stage) -> u8 {
    match stage {
        Stage::Schedule => 0,
        Stage::Start => 1,
        Stage::Submit => 2,
        Stage::Run => 3,
    }
}

fn read_stage(r: &mut Reader) -> Result<Stage, CodecError> {
    match r.byte()? {
        0 => Ok(Stage::Schedule),
        1 => Ok(Stage::Start),
        2 => Ok(Stage::Submit),
        3 => Ok(Stage::Run),
        found => Err(r.unknown("stage of a failure", found.into())),
    }
}

fn kind_number(kind: StateKind) -> u8 {
    match kind {
        StateKind::Pass => 0,
        StateKind::Task => 1,
        StateKind::Choice => 2,
        StateKind::Wait => 3,
        StateKind::Succeed => 4,
        StateKind::Fail => 5,
        StateKind::Parallel => 6,
        StateKind::Map => 7,
    }
}

fn read_kind(r: &mut Reader) -> Result<StateKind, CodecError> {
    Ok(match r.byte()? {
        0 => StateKind::Pass,
        1 => StateKind::Task,
        2 => StateKind::Choice,
        3 => StateKind::Wait,
        4 => StateKind::Succeed,
        5 => StateKind::Fail,
        6 => StateKind::Parallel,
        7 => StateKind::Map,
        found => return Err(r.unknown("type of a state", found.into())),
    })
}
