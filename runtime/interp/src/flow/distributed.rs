//! Distributed Map: what its fields come to, and the map run that is started with it. Hides the order in which they
//! are looked at; what becomes of the items is the map run's.

use std::sync::Arc;

use stepwell_asl::{BatchBound, Distributed, Kind, Map, Mode, Payload};
use stepwell_query::{Random, Value};

use super::flows::{items, max_concurrency};
use crate::{
    border::{Effect, TaskId},
    data,
    event::{Assigned, Failure, FailureClass, What},
    fault::{Fault, Outcome},
    given,
    limits::MAP_RUN_REDRIVES_MAX,
    map_run::{Form, MapRunEnding, MapRunStart, Reading},
    run::{FrameId, Phase},
    scope::Moment,
    step::Turn,
};

/// Characters of a label (AWS).
const LABEL_CHARS_MAX: usize = 40;

impl<'a> Turn<'a> {
    /// The history has the Map's start before anything that can go wrong with the map run.
    pub(super) fn start_distributed(&mut self, id: FrameId, map: &Map, distributed: &Distributed) {
        if distributed.reader.is_some() {
            return self.record(id, What::DistributedMapStarted { items: None });
        }
        let items = self.evaluate(id, |moment, random, _| items(map, moment, random));
        match items {
            Some(Ok(items)) => self.record(id, What::DistributedMapStarted { items: Some(items) }),
            Some(Err(fault)) => self.fail(id, fault),
            None => {}
        }
    }

    /// Starts the map run of a Map state that has begun.
    pub(crate) fn start_map_run(&mut self, id: FrameId) {
        let Some(visit) = self.run.frame(id).and_then(|frame| frame.visit()) else {
            return;
        };
        let Phase::MapRunOpening { items } = &visit.phase else {
            return;
        };
        let items = items.clone();
        let Some((map, distributed)) = self.distributed(id) else {
            return;
        };
        let planned = self.evaluate(id, |moment, random, _| {
            plan(map, distributed, items, moment, random)
        });
        match planned {
            Some(Ok(start)) => {
                let arn = start.arn.clone();
                self.record(id, What::MapRunStarted { arn });
                if self.run.ending().is_none() {
                    self.effects.push(Effect::StartMapRun(Box::new(start)));
                }
            }
            Some(Err(fault)) => self.fail(id, fault),
            None => {}
        }
    }

    fn distributed(&self, id: FrameId) -> Option<(&'a Map, &'a Distributed)> {
        let Kind::Map(map) = &self.state(id)?.kind else {
            return None;
        };
        match &map.mode {
            Mode::Distributed(distributed) => Some((map, distributed)),
            Mode::Inline => None,
        }
    }

    /// Redrives the map run of a Map state that goes on.
    pub(crate) fn redrive_map_run(&mut self, id: FrameId) {
        let visit = self.run.frame(id).and_then(|frame| frame.visit());
        let Some(Phase::MapRunReopening { child }) = visit.map(|visit| &visit.phase) else {
            return;
        };
        let (map_run, of) = (*child, self.run.map_run_of(id));
        let Some((arn, count)) = of.map(|of| (of.arn.clone(), of.redrives + 1)) else {
            return;
        };
        if count > MAP_RUN_REDRIVES_MAX {
            let text = format!(
                "The Map Run has exceeded the maximum number of redrives ({MAP_RUN_REDRIVES_MAX})."
            );
            return self.fail(id, Fault::Runtime(text));
        }
        self.record(id, What::MapRunRedriven { arn, count });
        if self.run.ending().is_none() {
            self.effects.push(Effect::RedriveMapRun {
                map_run,
                redrive: count,
            });
        }
    }

    /// The map run that a state waits for has ended. One that was redriven before it had is not waited for any more.
    pub(crate) fn map_run_ended(&mut self, run: TaskId, redrive: u32, ending: MapRunEnding) {
        let Some(id) = self.run.map_run_frame(run) else {
            return;
        };
        if self
            .run
            .map_run_of(id)
            .is_none_or(|of| of.redrives != redrive)
        {
            return;
        }
        match ending {
            MapRunEnding::Succeeded { result } => self.record(id, What::MapRunSucceeded { result }),
            MapRunEnding::Failed { failure } => self.record(id, What::MapRunFailed { failure }),
            MapRunEnding::Aborted => {
                let failure = Failure {
                    error: Some("States.TaskFailed".into()),
                    cause: Some("The map run was aborted".into()),
                    class: FailureClass::Named,
                };
                self.record(id, What::MapRunFailed { failure });
            }
        }
    }
}

fn plan(
    map: &Map,
    distributed: &Distributed,
    items: Option<Value>,
    moment: &Moment,
    random: &mut Random,
) -> Outcome<MapRunStart> {
    let input = data::effective_input(&map.io, moment)?;
    let tolerated_count = match &map.tolerated_failure_count {
        Some(given) => Some(given::count(
            "ToleratedFailureCount",
            given,
            &input,
            moment,
            random,
        )?),
        None => None,
    };
    let tolerated_percentage = match &map.tolerated_failure_percentage {
        Some(given) => {
            let field = "ToleratedFailurePercentage";
            Some(given::percentage(field, given, &input, moment, random)?)
        }
        None => None,
    };
    let concurrency = max_concurrency(map, moment, random)?;
    let (batch_items, batch_bytes) = batch_bounds(distributed, &input, moment, random)?;
    let batch_input = match &distributed.batcher {
        Some(batcher) => payload(
            batcher.batch_input.as_ref(),
            "BatchInput",
            &input,
            moment,
            random,
        )?,
        None => None,
    };
    let source = match items {
        Some(items) => Reading::State(items),
        None => reading(distributed, &input, moment, random)?,
    };
    let writer = distributed.writer.as_ref();
    let destination = writer.and_then(|writer| writer.destination.as_ref());
    let destination = payload(destination, "ResultWriter", &input, moment, random)?;
    let form = writer.map_or(Form::COMPACT, |writer| Form {
        transformation: writer.transformation,
        output_type: writer.output_type,
    });
    Ok(MapRunStart {
        arn: arn(distributed, moment, random),
        variables: variables(map.item_selector.as_ref(), moment),
        source,
        destination,
        concurrency,
        tolerated_count,
        tolerated_percentage,
        batch_items,
        batch_bytes,
        batch_input,
        form,
        ..start_of(moment)
    })
}

/// What a map run remembers of its Map state.
fn start_of(moment: &Moment) -> MapRunStart {
    let visit = moment.visit;
    MapRunStart {
        arn: "".into(),
        parent: moment.run.shared_start(),
        parent_started_at: moment.run.started_at(),
        run: visit.next_map_run(),
        state: visit.state.clone(),
        entered_at: visit.entered_at,
        entered_id: visit.entered_id,
        input: visit.input.clone(),
        retries: visit.retries,
        variables: Assigned::default(),
        source: Reading::State(Value::Null),
        destination: None,
        concurrency: 0,
        tolerated_count: None,
        tolerated_percentage: None,
        batch_items: None,
        batch_bytes: None,
        batch_input: None,
        form: Form::COMPACT,
    }
}

fn batch_bounds(
    distributed: &Distributed,
    input: &Value,
    moment: &Moment,
    random: &mut Random,
) -> Outcome<(Option<u32>, Option<u32>)> {
    let (items, bytes) = match distributed.batcher.as_ref().map(|batcher| &batcher.bound) {
        None => (None, None),
        Some(BatchBound::Items(items)) => (Some(items), None),
        Some(BatchBound::Bytes(bytes)) => (None, Some(bytes)),
        Some(BatchBound::Both { items, bytes }) => (Some(items), Some(bytes)),
    };
    let mut bound = |field, given: Option<&_>| match given {
        Some(given) => given::positive(field, given, input, moment, random).map(Some),
        None => Ok(None),
    };
    Ok((
        bound("MaxItemsPerBatch", items)?,
        bound("MaxInputBytesPerBatch", bytes)?,
    ))
}

fn reading(
    distributed: &Distributed,
    input: &Value,
    moment: &Moment,
    random: &mut Random,
) -> Outcome<Reading> {
    let Some(reader) = &distributed.reader else {
        return Ok(Reading::State(Value::Null));
    };
    let arguments = reader.arguments.as_ref();
    let parameters = payload(arguments, "ItemReader", input, moment, random)?;
    let items_max = match &reader.max_items {
        Some(given) => given::whole_number("MaxItems", given, input, moment, random)?,
        None => 0,
    };
    Ok(Reading::Storage {
        parameters: parameters.unwrap_or_else(Value::empty_object),
        items_max,
    })
}

/// A payload of a field within the state.
fn payload(
    payload: Option<&Payload>,
    field: &str,
    input: &Value,
    moment: &Moment,
    random: &mut Random,
) -> Outcome<Option<Value>> {
    Ok(match payload {
        None => None,
        Some(Payload::Path(template)) => Some(data::template(template, input, moment, random)?),
        Some(Payload::Jsonata(template)) => Some(data::jsonata(template, field, moment, random)?),
    })
}

/// The variables that a selector reads, with their values.
fn variables(selector: Option<&Payload>, moment: &Moment) -> Assigned {
    let names = match selector {
        None => Vec::new(),
        Some(Payload::Path(template)) => template.variables(),
        Some(Payload::Jsonata(template)) => template.variables(),
    };
    let value = |name: Arc<str>| {
        let value = moment.run.variable(moment.frame, &name)?.clone();
        Some((name, value))
    };
    names.into_iter().filter_map(value).collect()
}

/// `arn:…:mapRun:<state machine>/<label>:<uuid>`.
fn arn(distributed: &Distributed, moment: &Moment, random: &mut Random) -> Arc<str> {
    let start = moment.run.shared_start();
    let place: Vec<&str> = start.machine_arn.splitn(6, ':').take(5).collect();
    // The state machine of a child has its own map run's label behind its name.
    let machine = start.machine_name.split('/').next().unwrap_or_default();
    let label = label(distributed, &moment.visit.state);
    format!(
        "{}:mapRun:{machine}/{label}:{}",
        place.join(":"),
        random.uuid()
    )
    .into()
}

/// `Label`, or the state's name where it can stand for one, else a name that follows from it.
fn label(distributed: &Distributed, state: &Arc<str>) -> Arc<str> {
    if let Some(label) = &distributed.label {
        return label.clone();
    }
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '@' | '=');
    if state.chars().count() <= LABEL_CHARS_MAX && state.chars().all(plain) {
        return state.clone();
    }
    // FNV-1a, which never changes.
    let hash = state.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("map-{hash:016x}").into()
}
