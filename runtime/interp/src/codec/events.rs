//! Events in a segment: the number of each variant and the order of its fields, for good. Hides nothing else.

use super::{
    CodecError,
    bytes::{Reader, Writer},
    map_run,
    parts::{
        kind_number, read_assigned, read_failure, read_kind, read_stage, read_start, read_used,
        stage_number, write_assigned, write_failure, write_start, write_used,
    },
    resource, values,
};
use crate::{
    border::{ChildId, TaskToken},
    event::{Event, Scheduled, What},
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
        What::Begins => {}
        What::Used {
            task,
            plugin,
            measures,
        } => write_used(w, *task, plugin, measures),
        What::StateFailed { failure } => write_failure(w, failure),
        What::BranchFailed { index, failure } => {
            w.varint(u64::from(*index));
            write_failure(w, failure);
        }
        What::BranchAborted { index } => w.varint(u64::from(*index)),
        What::ChildStarted { child } => w.varint(child.0),
        What::Forked { input, assigned } => {
            values::optional(w, input.as_ref());
            write_assigned(w, assigned);
        }
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
        What::Begins => 39,
        What::Forked { .. } => 40,
        What::Used { .. } => 41,
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
        39 => What::Begins,
        40 => What::Forked {
            input: values::read_optional(r)?,
            assigned: read_assigned(r)?,
        },
        41 => read_used(r)?,
        found => return Err(r.unknown("event", found.into())),
    })
}

/// Every event of an attempt begins with its resource.
fn write_attempt(w: &mut Writer, what: &What) {
    if let What::Scheduled(scheduled) = what {
        write_scheduled(w, scheduled);
    } else if let What::Started { resource, by } = what {
        resource::write(w, resource);
        w.optional_text(by.as_ref());
    } else if let What::Submitted { resource, output } | What::Succeeded { resource, output } = what
    {
        resource::write(w, resource);
        values::write(w, output);
    } else if let What::Failed {
        resource,
        stage,
        error,
        cause,
    } = what
    {
        resource::write(w, resource);
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
        resource::write(w, resource);
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
    resource::write(w, resource);
    values::write(w, parameters);
    w.text(region);
    w.optional_u32(*timeout_s);
    w.optional_u32(*heartbeat_s);
    w.optional_text(role_arn.as_ref());
    w.optional_text(token.as_ref().map(|token| &token.0));
}

fn read_attempt(r: &mut Reader, tag: u8) -> Result<What, CodecError> {
    let resource = resource::read(r)?;
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
