//! What several events have: starts, assigned variables, failures, kinds of states and stages of attempts.

use std::sync::Arc;

use super::{
    CodecError,
    bytes::{Reader, Writer},
    values,
};
use crate::{
    border::{Start, TaskId},
    event::{Assigned, Failure, FailureClass, Stage, StateKind, What},
    fork::ForkedFrom,
    measure::{Measure, Measures},
};

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
        forked_from,
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
    let origin = forked_from.as_deref();
    w.byte(
        u8::from(*express)
            | u8::from(*raised_limits) << 1
            | u8::from(within.is_some()) << 2
            | u8::from(origin.is_some()) << 3,
    );
    values::write(w, input);
    if let Some(state) = within {
        w.text(state);
    }
    if let Some(origin) = origin {
        let ForkedFrom {
            execution_arn,
            event,
            changes,
        } = origin;
        w.text(execution_arn);
        w.varint(*event);
        w.text(changes);
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
        forked_from: if flags & 8 == 0 {
            None
        } else {
            Some(Arc::new(ForkedFrom {
                execution_arn: r.text()?,
                event: r.varint()?,
                changes: r.text()?,
            }))
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

/// Measures by their numbers, those that are not 0.
pub(super) fn write_used(w: &mut Writer, task: TaskId, plugin: &Arc<str>, measures: &Measures) {
    w.varint(task.entry);
    w.varint(u64::from(task.attempt));
    w.text(plugin);
    w.count(measures.iter().count());
    for (measure, value) in measures.iter() {
        w.byte(measure.number());
        w.varint(value);
    }
}

/// What a newer program measured besides is passed over.
pub(super) fn read_used(r: &mut Reader) -> Result<What, CodecError> {
    let task = TaskId {
        entry: r.varint()?,
        attempt: r.u32()?,
    };
    let plugin = r.text()?;
    let mut measures = Measures::default();
    for _ in 0..r.count()? {
        let (number, value) = (r.byte()?, r.varint()?);
        if let Some(measure) = Measure::numbered(number) {
            measures.set(measure, value);
        }
    }
    Ok(What::Used {
        task,
        plugin,
        measures: Arc::new(measures),
    })
}

pub(super) fn stage_number(stage: Stage) -> u8 {
    match stage {
        Stage::Schedule => 0,
        Stage::Start => 1,
        Stage::Submit => 2,
        Stage::Run => 3,
    }
}

pub(super) fn read_stage(r: &mut Reader) -> Result<Stage, CodecError> {
    match r.byte()? {
        0 => Ok(Stage::Schedule),
        1 => Ok(Stage::Start),
        2 => Ok(Stage::Submit),
        3 => Ok(Stage::Run),
        found => Err(r.unknown("stage of a failure", found.into())),
    }
}

pub(super) fn kind_number(kind: StateKind) -> u8 {
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

pub(super) fn read_kind(r: &mut Reader) -> Result<StateKind, CodecError> {
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
