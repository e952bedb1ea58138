//! Map runs: how their items are read and their results written, and what they, their parents and their children tell
//! each other. Hides object storage from the shards and the names of children from everyone.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};
use stepwell_asl::{Distributed, ExecutionType, Kind, Map, Mode as MapMode, Program};
use stepwell_interp::{
    ChildId, ChildResult, ChildStatus, Event, Failure, FailureClass, MapRunEnding, MapRunEvent,
    MapRunInput, MapRunStart, NewChild, Place, TaskId, Timestamp, What, decode, encode,
};
use uuid::Uuid;

use crate::{
    children::{self, Dates},
    journal::{ExecutionId, NewExecution, Outgoing, ScopeId},
    record::{
        self, Child, ChildEnd, ChildEnding, ChildStart, InboxItem, MapRunBegin, Meta, Parent,
        RunEnding,
    },
    shard::Info,
};

/// The list of the map runs of one Map state's label: found by ARN there.
pub(crate) fn label_scope(map_run_arn: &str) -> ScopeId {
    let stem = map_run_arn
        .rsplit_once(':')
        .map_or(map_run_arn, |(stem, _)| stem);
    hashed(stem)
}

/// The list of the child executions of a map run.
pub(crate) fn children_scope(map_run_arn: &str) -> ScopeId {
    hashed(map_run_arn)
}

/// The list of the map runs of an execution.
pub(crate) fn execution_scope(execution_arn: &str) -> ScopeId {
    hashed(&format!("mapRuns:{execution_arn}"))
}

/// The first eight bytes of a SHA-256, the top bit clear.
fn hashed(text: &str) -> ScopeId {
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    ScopeId(u64::from_be_bytes(first) >> 1)
}

/// The name of a child: a UUID of version 8 that says in which list it is and its number there, so that an ARN, which
/// has the label but not the map run, is enough to find it.
pub(crate) fn child_name(scope: ScopeId, index: u64) -> Arc<str> {
    let scope = u128::from(scope.0);
    let number = u128::from(index & CHILD_INDEX_MASK);
    let bits = (scope >> 15) << 80
        | 8 << 76
        | (scope >> 3 & 0xfff) << 64
        | 0b10 << 62
        | (scope & 0b111) << 59
        | number;
    Uuid::from_u128(bits).to_string().into()
}

/// The list that a child of that name is in; none when it is no child's name.
pub(crate) fn scope_of_child(name: &str) -> Option<ScopeId> {
    let bits = Uuid::try_parse(name).ok()?.as_u128();
    if bits >> 76 & 0xf != 8 || bits >> 62 & 0b11 != 0b10 {
        return None;
    }
    let scope = (bits >> 80) << 15 | (bits >> 64 & 0xfff) << 3 | bits >> 59 & 0b111;
    u64::try_from(scope).ok().map(ScopeId)
}

/// Numbers of children have this many bits in their names.
const CHILD_INDEX_MASK: u64 = (1 << 48) - 1;

/// The name of a map run: the UUID at the end of its ARN.
fn run_name(arn: &str) -> Arc<str> {
    arn.rsplit(':').next().unwrap_or(arn).into()
}

/// `<state machine>/<label>` of a map run's ARN.
fn machine_and_label(arn: &str) -> &str {
    arn.splitn(7, ':')
        .nth(6)
        .map_or("", |rest| rest.split(':').next().unwrap_or_default())
}

/// The message that begins a map run.
pub(crate) fn begin(
    parent: ExecutionId,
    info: &Info,
    to: ExecutionId,
    at: Timestamp,
    redrives: u32,
    start: MapRunStart,
) -> Outgoing {
    let TaskId { entry, attempt } = start.run;
    let meta = Meta {
        machine_arn: info.machine_arn.clone(),
        parent: Some(Parent {
            log: parent.0,
            of: Child::MapRun { entry, attempt },
        }),
        map_run: Some(start.arn.clone()),
        // Its children's spans hang below that of the Map state.
        trace_header: info
            .trace_header_below(start.entered_id, redrives)
            .map(Into::into),
        ..meta(info)
    };
    let arn = start.arn.clone();
    let event = Event {
        at,
        previous: 0,
        place: Place::default(),
        what: What::MapRun(Box::new(MapRunEvent::Began(Box::new(start)))),
    };
    let begin = MapRunBegin {
        meta,
        name: run_name(&arn),
        parent_arn: info.execution_arn.clone(),
        started_ms: at.0,
        event: STANDARD.encode(encode(&[event])),
    };
    Outgoing {
        to,
        payload: record::encode(&InboxItem::BeginMapRun(Box::new(begin))),
    }
}

fn meta(info: &Info) -> Meta {
    Meta {
        tenant: info.tenant.clone(),
        machine_arn: info.machine_arn.clone(),
        definition: info.definition.to_string(),
        express_run: None,
        version_arn: None,
        alias_arn: None,
        revision_id: info.revision_id.clone(),
        revised_ms: info.revised_ms,
        trace_header: info.trace_header.clone(),
        parent: None,
        map_run: None,
        logging: info.logging.clone(),
        traced: info.traced,
        items: 0,
        // Their number is the map run's to bound.
        line: None,
    }
}

/// The row of a map run that a message begins.
pub(crate) fn new_map_run(begin: &MapRunBegin) -> NewExecution {
    let arn = begin.meta.map_run.as_deref().unwrap_or_default();
    NewExecution {
        scope: label_scope(arn),
        version: Some(execution_scope(&begin.parent_arn)),
        alias: None,
        name: begin.name.clone(),
        unique_name: true,
        started_at: Timestamp(begin.started_ms),
        meta: record::encode(&begin.meta),
    }
}

/// What a message says that a map run begins with.
pub(crate) fn start_of(begin: &MapRunBegin) -> Option<Box<MapRunStart>> {
    let events = decode(&STANDARD.decode(&begin.event).ok()?).ok()?;
    let What::MapRun(event) = events.into_iter().next()?.what else {
        return None;
    };
    let MapRunEvent::Began(start) = *event else {
        return None;
    };
    Some(start)
}

/// The message that begins a child of a map run.
pub(crate) fn begin_child(
    id: ExecutionId,
    info: &Info,
    program: &Program,
    start: &MapRunStart,
    at: Timestamp,
    child: NewChild,
) -> Outgoing {
    let of = Child::Item {
        index: child.index,
        redrive: 0,
    };
    let meta = Meta {
        parent: Some(Parent { log: id.0, of }),
        map_run: Some(start.arn.clone()),
        ..meta(info)
    };
    let to = ExecutionId(child.child.0);
    let begin = child_start(meta, program, start, at, child);
    Outgoing {
        to,
        payload: record::encode(&InboxItem::Begin(Box::new(begin))),
    }
}

/// What a child of a map run begins with; `meta` is the map run's.
pub(crate) fn child_start(
    meta: Meta,
    program: &Program,
    start: &MapRunStart,
    at: Timestamp,
    child: NewChild,
) -> ChildStart {
    let scope = children_scope(&start.arn);
    let place: Vec<&str> = start.arn.splitn(6, ':').take(5).collect();
    let machine = machine_and_label(&start.arn);
    let express = distributed(program, &start.state)
        .is_some_and(|(_, distributed)| distributed.execution_type == ExecutionType::Express);
    let run = children::derived_uuid(&[start.arn.as_bytes(), &child.index.to_be_bytes()]);
    ChildStart {
        meta: Meta {
            machine_arn: format!("{}:stateMachine:{machine}", place.join(":")).into(),
            express_run: express.then(|| run.into()),
            items: child.items,
            ..meta
        },
        scope: scope.0,
        name: child_name(scope, child.index),
        unique_name: !express,
        started_ms: at.0,
        machine_name: machine.into(),
        role_arn: start.parent.role_arn.clone(),
        express,
        raised_limits: start.parent.raised_limits,
        processor_of: Some(start.state.clone()),
        input: child.input,
    }
}

/// The message by which a map run tells its parent that it began: who it is, to be stopped.
pub(crate) fn tell_begun(id: ExecutionId, info: &Info, at: Timestamp) -> Option<Outgoing> {
    let parent = info.parent?;
    let begun = InboxItem::ChildStarted {
        of: parent.of,
        child: id.0,
        arn: info.execution_arn.clone(),
        started_ms: at.0,
    };
    Some(Outgoing {
        to: ExecutionId(parent.log),
        payload: record::encode(&begun),
    })
}

/// The message by which a map run tells its parent that it ended.
pub(crate) fn tell_ended(info: &Info, ending: &MapRunEnding, redrive: u32) -> Option<Outgoing> {
    let parent = info.parent?;
    let ending = match ending.clone() {
        MapRunEnding::Succeeded { result } => RunEnding::Succeeded { result },
        MapRunEnding::Failed { failure } => RunEnding::Failed {
            error: failure.error,
            cause: failure.cause,
            caught: match failure.class {
                FailureClass::Named | FailureClass::Heartbeat => 0,
                FailureClass::NamedOnly => 1,
                FailureClass::Terminal => 2,
            },
        },
        MapRunEnding::Aborted => RunEnding::Aborted,
    };
    let ended = InboxItem::MapRunEnded {
        of: parent.of,
        ending,
        redrive,
    };
    Some(Outgoing {
        to: ExecutionId(parent.log),
        payload: record::encode(&ended),
    })
}

/// The message by which its execution redrives a map run.
pub(crate) fn redrive(map_run: ChildId, count: u32) -> Outgoing {
    Outgoing {
        to: ExecutionId(map_run.0),
        payload: record::encode(&InboxItem::RedriveMapRun { count }),
    }
}

/// The ending that a message tells of.
pub(crate) fn ending(ending: RunEnding) -> MapRunEnding {
    match ending {
        RunEnding::Succeeded { result } => MapRunEnding::Succeeded { result },
        RunEnding::Failed {
            error,
            cause,
            caught,
        } => MapRunEnding::Failed {
            failure: Failure {
                error,
                cause,
                class: match caught {
                    0 => FailureClass::Named,
                    1 => FailureClass::NamedOnly,
                    _ => FailureClass::Terminal,
                },
            },
        },
        RunEnding::Aborted => MapRunEnding::Aborted,
    }
}

/// A child's end as its map run takes it.
pub(crate) fn child_ended(index: u64, child: u64, end: &ChildEnd) -> MapRunInput {
    let (status, output) = match &end.ending {
        ChildEnding::Succeeded { output } => (ChildStatus::Succeeded, Some(output.clone())),
        ChildEnding::Failed { .. } => (ChildStatus::Failed, None),
        ChildEnding::TimedOut => (ChildStatus::TimedOut, None),
        ChildEnding::Aborted { .. } => (ChildStatus::Aborted, None),
    };
    MapRunInput::ChildEnded(Box::new(ChildResult {
        index,
        child: ChildId(child),
        status,
        events: end.events,
        output,
        description: Some(described(end)),
    }))
}

/// A child in a file of results: what DescribeExecution says of it.
fn described(end: &ChildEnd) -> stepwell_query::Value {
    let succeeded = matches!(end.ending, ChildEnding::Succeeded { .. });
    let described = children::description(end, Dates::Iso, false);
    let members = described.as_object().into_iter().flat_map(|all| all.iter());
    let members = members.map(|(name, value)| (name.clone(), value.clone()));
    let redrive = [
        (
            "RedriveCount",
            stepwell_query::Value::from(end.redrive_count),
        ),
        (
            "RedriveStatus",
            stepwell_query::Value::from(if succeeded {
                "NOT_REDRIVABLE"
            } else {
                "REDRIVABLE_BY_MAP_RUN"
            }),
        ),
    ];
    let redrive = redrive
        .into_iter()
        .map(|(name, value)| (Arc::from(name), value));
    let reason = succeeded.then(|| {
        let reason = "Execution is SUCCEEDED and cannot be redriven.";
        (
            Arc::from("RedriveStatusReason"),
            stepwell_query::Value::from(reason),
        )
    });
    stepwell_query::Value::object(members.chain(redrive).chain(reason))
}

/// The distributed Map state of that name.
pub(crate) fn distributed<'a>(
    program: &'a Program,
    state: &str,
) -> Option<(&'a Map, &'a Distributed)> {
    let Kind::Map(map) = &program[program.find(state)?].kind else {
        return None;
    };
    match &map.mode {
        MapMode::Distributed(distributed) => Some((map, distributed)),
        MapMode::Inline => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{child_name, children_scope, machine_and_label, scope_of_child};

    #[test]
    fn a_childs_name_says_in_which_list_it_is() {
        for arn in [
            "arn:aws:states:r:0:mapRun:m/l:1",
            "arn:aws:states:r:0:mapRun:m/l:2",
        ] {
            let scope = children_scope(arn);
            for index in [0, 1, 99_999_999, (1 << 48) - 1] {
                let name = child_name(scope, index);
                assert_eq!(scope_of_child(&name), Some(scope), "{name}");
            }
            assert_ne!(child_name(scope, 1), child_name(scope, 2));
        }
        assert_eq!(scope_of_child("2f0c1d9e-9a3b-4c57-8f5a-0d6a5a1f7f10"), None);
        assert_eq!(scope_of_child("child"), None);
    }

    #[test]
    fn an_arn_has_machine_and_label() {
        let arn = "arn:aws:states:us-east-1:000000000000:mapRun:orders/Each:5f";
        assert_eq!(machine_and_label(arn), "orders/Each");
    }
}
