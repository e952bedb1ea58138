//! Events of a map run's log in a segment: the number of each and the order of its fields, for good.

use std::sync::Arc;

use stepwell_asl::{OutputType, Transformation};
use stepwell_query::Value;

use super::{
    CodecError,
    bytes::{Reader, Writer},
    parts, values,
};
use crate::{
    border::{ChildId, TaskId},
    map_run::{
        ChildStatus, Form, MapRunChange, MapRunEnding, MapRunEvent, MapRunStart, Part, PartKind,
        Reading,
    },
};

pub(super) fn write(w: &mut Writer, event: &MapRunEvent) {
    match event {
        MapRunEvent::Began(start) => {
            w.byte(1);
            write_start(w, start);
        }
        MapRunEvent::ChildrenStarted {
            first,
            children,
            cursor,
            cursor_at,
        } => {
            w.byte(2);
            w.varint(*first);
            write_children(w, children);
            w.text(cursor);
            w.varint(*cursor_at);
        }
        MapRunEvent::ItemsCounted { total } => {
            w.byte(3);
            w.varint(*total);
        }
        MapRunEvent::ChildEnded {
            index,
            status,
            results,
        } => {
            w.byte(4);
            w.varint(*index);
            w.byte(status_number(*status));
            write_results(w, results);
        }
        MapRunEvent::Failing { failure } => {
            w.byte(5);
            parts::write_failure(w, failure);
        }
        MapRunEvent::Stopping => w.byte(6),
        MapRunEvent::Changed(change) => {
            w.byte(7);
            w.optional_u32(change.concurrency);
            optional(w, change.tolerated_count);
            optional(w, change.tolerated_percentage.map(f64::to_bits));
        }
        MapRunEvent::PartWritten(part) => {
            w.byte(8);
            write_part(w, part);
        }
        MapRunEvent::Closed(ending) => {
            w.byte(9);
            write_ending(w, ending);
        }
        MapRunEvent::ChildFull { index } => {
            w.byte(10);
            w.varint(*index);
        }
        MapRunEvent::RedriveAsked { count } => {
            w.byte(11);
            w.varint(u64::from(*count));
        }
        MapRunEvent::Redriven { count, left } => {
            w.byte(12);
            w.varint(u64::from(*count));
            write_numbers(w, left);
        }
        MapRunEvent::ChildrenRedriven { children } => {
            w.byte(13);
            write_numbers(w, children);
        }
    }
}

pub(super) fn read(r: &mut Reader) -> Result<MapRunEvent, CodecError> {
    Ok(match r.byte()? {
        1 => MapRunEvent::Began(Box::new(read_start(r)?)),
        2 => {
            let first = r.varint()?;
            let count = r.count()?;
            let children: Result<_, CodecError> = (0..count)
                .map(|_| Ok((ChildId(r.varint()?), r.u32()?)))
                .collect();
            MapRunEvent::ChildrenStarted {
                first,
                children: children?,
                cursor: r.text()?,
                cursor_at: r.varint()?,
            }
        }
        3 => MapRunEvent::ItemsCounted { total: r.varint()? },
        4 => {
            let (index, status) = (r.varint()?, read_status(r)?);
            let count = r.count()?;
            let results: Result<Arc<[Value]>, CodecError> =
                (0..count).map(|_| values::read(r)).collect();
            MapRunEvent::ChildEnded {
                index,
                status,
                results: results?,
            }
        }
        5 => MapRunEvent::Failing {
            failure: parts::read_failure(r)?,
        },
        6 => MapRunEvent::Stopping,
        7 => MapRunEvent::Changed(MapRunChange {
            concurrency: r.optional_u32()?,
            tolerated_count: read_optional(r)?,
            tolerated_percentage: read_optional(r)?.map(f64::from_bits),
        }),
        8 => MapRunEvent::PartWritten(read_part(r)?),
        9 => MapRunEvent::Closed(read_ending(r)?),
        10 => MapRunEvent::ChildFull { index: r.varint()? },
        11 => MapRunEvent::RedriveAsked { count: r.u32()? },
        12 => MapRunEvent::Redriven {
            count: r.u32()?,
            left: read_numbers(r)?,
        },
        13 => MapRunEvent::ChildrenRedriven {
            children: read_numbers(r)?,
        },
        found => return Err(r.unknown("event of a map run", found.into())),
    })
}

fn write_start(w: &mut Writer, start: &MapRunStart) {
    let MapRunStart {
        arn,
        parent,
        parent_started_at,
        run,
        state,
        entered_at,
        entered_id,
        input,
        retries,
        variables,
        source,
        destination,
        concurrency,
        tolerated_count,
        tolerated_percentage,
        batch_items,
        batch_bytes,
        batch_input,
        form,
    } = start;
    w.text(arn);
    parts::write_start(w, parent);
    w.time(*parent_started_at);
    w.varint(run.entry);
    w.varint(u64::from(run.attempt));
    w.text(state);
    w.time(*entered_at);
    w.varint(*entered_id);
    values::write(w, input);
    w.varint(u64::from(*retries));
    parts::write_assigned(w, variables);
    match source {
        Reading::State(items) => {
            w.byte(0);
            values::write(w, items);
        }
        Reading::Storage {
            parameters,
            items_max,
        } => {
            w.byte(1);
            values::write(w, parameters);
            w.varint(items_max.cast_unsigned());
        }
    }
    values::optional(w, destination.as_ref());
    w.varint(u64::from(*concurrency));
    w.optional_u32(*tolerated_count);
    optional(w, tolerated_percentage.map(f64::to_bits));
    w.optional_u32(*batch_items);
    w.optional_u32(*batch_bytes);
    values::optional(w, batch_input.as_ref());
    w.byte(match form.transformation {
        Transformation::None => 0,
        Transformation::Compact => 1,
        Transformation::Flatten => 2,
    });
    w.byte(match form.output_type {
        OutputType::Json => 0,
        OutputType::JsonLines => 1,
    });
}

fn read_start(r: &mut Reader) -> Result<MapRunStart, CodecError> {
    Ok(MapRunStart {
        arn: r.text()?,
        parent: Arc::new(parts::read_start(r)?),
        parent_started_at: r.time()?,
        run: TaskId {
            entry: r.varint()?,
            attempt: r.u32()?,
        },
        state: r.text()?,
        entered_at: r.time()?,
        entered_id: r.varint()?,
        input: values::read(r)?,
        retries: r.u32()?,
        variables: parts::read_assigned(r)?,
        source: match r.byte()? {
            0 => Reading::State(values::read(r)?),
            1 => Reading::Storage {
                parameters: values::read(r)?,
                items_max: r.varint()?.cast_signed(),
            },
            found => return Err(r.unknown("source of items", found.into())),
        },
        destination: values::read_optional(r)?,
        concurrency: r.u32()?,
        tolerated_count: r.optional_u32()?,
        tolerated_percentage: read_optional(r)?.map(f64::from_bits),
        batch_items: r.optional_u32()?,
        batch_bytes: r.optional_u32()?,
        batch_input: values::read_optional(r)?,
        form: Form {
            transformation: match r.byte()? {
                0 => Transformation::None,
                1 => Transformation::Compact,
                2 => Transformation::Flatten,
                found => return Err(r.unknown("transformation of results", found.into())),
            },
            output_type: match r.byte()? {
                0 => OutputType::Json,
                1 => OutputType::JsonLines,
                found => return Err(r.unknown("type of results", found.into())),
            },
        },
    })
}

fn write_part(w: &mut Writer, part: &Part) {
    let Part {
        kind,
        key,
        bytes,
        results,
        executions,
        items,
    } = part;
    w.byte(match kind {
        PartKind::Succeeded => 0,
        PartKind::Failed => 1,
        PartKind::Pending => 2,
    });
    w.text(key);
    for number in [bytes, results, executions, items] {
        w.varint(*number);
    }
}

fn read_part(r: &mut Reader) -> Result<Part, CodecError> {
    Ok(Part {
        kind: match r.byte()? {
            0 => PartKind::Succeeded,
            1 => PartKind::Failed,
            2 => PartKind::Pending,
            found => return Err(r.unknown("kind of results", found.into())),
        },
        key: r.text()?,
        bytes: r.varint()?,
        results: r.varint()?,
        executions: r.varint()?,
        items: r.varint()?,
    })
}

fn write_ending(w: &mut Writer, ending: &MapRunEnding) {
    match ending {
        MapRunEnding::Succeeded { result } => {
            w.byte(0);
            values::write(w, result);
        }
        MapRunEnding::Failed { failure } => {
            w.byte(1);
            parts::write_failure(w, failure);
        }
        MapRunEnding::Aborted => w.byte(2),
    }
}

fn read_ending(r: &mut Reader) -> Result<MapRunEnding, CodecError> {
    Ok(match r.byte()? {
        0 => MapRunEnding::Succeeded {
            result: values::read(r)?,
        },
        1 => MapRunEnding::Failed {
            failure: parts::read_failure(r)?,
        },
        2 => MapRunEnding::Aborted,
        found => return Err(r.unknown("ending of a map run", found.into())),
    })
}

fn status_number(status: ChildStatus) -> u8 {
    match status {
        ChildStatus::Succeeded => 0,
        ChildStatus::Failed => 1,
        ChildStatus::TimedOut => 2,
        ChildStatus::Aborted => 3,
    }
}

fn read_status(r: &mut Reader) -> Result<ChildStatus, CodecError> {
    match r.byte()? {
        0 => Ok(ChildStatus::Succeeded),
        1 => Ok(ChildStatus::Failed),
        2 => Ok(ChildStatus::TimedOut),
        3 => Ok(ChildStatus::Aborted),
        found => Err(r.unknown("status of a child", found.into())),
    }
}

fn write_results(w: &mut Writer, results: &[Value]) {
    w.count(results.len());
    results.iter().for_each(|result| values::write(w, result));
}

fn write_children(w: &mut Writer, children: &[(ChildId, u32)]) {
    w.count(children.len());
    for (child, items) in children {
        w.varint(child.0);
        w.varint(u64::from(*items));
    }
}

fn write_numbers(w: &mut Writer, numbers: &[u64]) {
    w.count(numbers.len());
    numbers.iter().for_each(|number| w.varint(*number));
}

fn read_numbers(r: &mut Reader) -> Result<Arc<[u64]>, CodecError> {
    let count = r.count()?;
    (0..count).map(|_| r.varint()).collect()
}

fn optional(w: &mut Writer, number: Option<u64>) {
    w.byte(u8::from(number.is_some()));
    if let Some(number) = number {
        w.varint(number);
    }
}

fn read_optional(r: &mut Reader) -> Result<Option<u64>, CodecError> {
    Ok(match r.byte()? {
        0 => None,
        _ => Some(r.varint()?),
    })
}
