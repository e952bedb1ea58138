//! Parallel and Map states with a mocked outcome: everything around their branches and iterations, which do not run.

use std::sync::Arc;

use stepwell_asl::{Flow, Kind, Map, Mode, Parallel, Program};
use stepwell_query::{Random, Value};

use super::{Mock, Refusal, Setup};
use crate::{
    data,
    event::{Failure, FailureClass, What},
    fault::Outcome,
    flow::{items, max_concurrency, select_item},
    given,
    limits::Limits,
    run::{FrameId, Phase},
    scope::Moment,
    step::Turn,
};

const THRESHOLD_EXCEEDED: &str = "States.ExceedToleratedFailureThreshold";
const THRESHOLD_EXCEEDED_TEXT: &str = "The specified tolerated failure threshold was exceeded";

/// What a Map's fields say.
struct Planned {
    items: Option<Value>,
    tolerated_count: Option<u32>,
    tolerated_percentage: Option<f64>,
}

impl Turn<'_> {
    /// The branches start, so that a failure is that of a branch.
    pub(super) fn mock_parallel(&mut self, parallel: &Parallel, mock: &Mock, setup: &Setup) {
        self.start_branches(FrameId::ROOT, parallel);
        // The service tells nothing of what a Parallel state's branches get.
        if let Some(watch) = self.watch {
            watch.note(|data| (data.after_input_path, data.after_parameters) = (None, None));
        }
        let started = self
            .run
            .frame(FrameId::ROOT)
            .and_then(|frame| frame.visit());
        if !started.is_some_and(|visit| matches!(visit.phase, Phase::Flows)) {
            return;
        }
        match mock {
            Mock::Result(result) => self.run.conclude_with(result.clone()),
            Mock::Error { error, cause } => {
                let by = setup.error_caused_by.as_deref();
                let index = by.and_then(|name| branch_of(self.program, parallel, name));
                let failure = mocked(error.clone(), cause.clone());
                let index = index.unwrap_or(0);
                self.record(FrameId::ROOT, What::BranchFailed { index, failure });
            }
        }
    }

    pub(super) fn mock_map(&mut self, map: &Map, mock: &Mock, setup: &Setup) -> Option<Refusal> {
        let planned = self.evaluate(FrameId::ROOT, |moment, random, limits| {
            plan(map, setup, moment, random, limits)
        })?;
        let planned = match planned {
            Ok(planned) => planned,
            Err(fault) => {
                self.fail(FrameId::ROOT, fault);
                return None;
            }
        };
        let failed = setup.failed_iterations.unwrap_or(0);
        let total = planned.items.as_ref().map(count);
        if total.is_some_and(|total| failed as usize > total) {
            return Some(Refusal::FailedIterations);
        }
        let failure = match mock {
            Mock::Error { error, cause } => mocked(error.clone(), cause.clone()),
            Mock::Result(_) if planned.exceeded_by(failed, total) => mocked(
                Some(THRESHOLD_EXCEEDED.into()),
                Some(THRESHOLD_EXCEEDED_TEXT.into()),
            ),
            Mock::Result(result) => {
                self.run.conclude_with(result.clone());
                return None;
            }
        };
        self.record(FrameId::ROOT, What::StateFailed { failure });
        None
    }
}

impl Planned {
    /// Whether so many failed iterations are more than the Map tolerates. Without a tolerance of its own the mocked
    /// result stands.
    fn exceeded_by(&self, failed: u32, total: Option<usize>) -> bool {
        let percentage = total
            .filter(|total| *total > 0)
            .map(|total| f64::from(failed) * 100.0 / total as f64);
        self.tolerated_count.is_some_and(|most| failed > most)
            || self
                .tolerated_percentage
                .zip(percentage)
                .is_some_and(|(most, percentage)| percentage > most)
    }
}

fn plan(
    map: &Map,
    setup: &Setup,
    moment: &Moment,
    random: &mut Random,
    limits: &Limits,
) -> Outcome<Planned> {
    let input = data::effective_input(&map.io, moment)?;
    let items = match (&map.mode, &setup.read_items) {
        (Mode::Distributed(distributed), read) if distributed.reader.is_some() => read.clone(),
        (Mode::Inline | Mode::Distributed(_), _) => Some(items(map, moment, random)?),
    };
    if let (Some(selector), Some(items)) = (&map.item_selector, &items) {
        let inputs: Outcome<Vec<Value>> = (0..count(items))
            .map(|index| {
                let item = item(items, index);
                let moment = Moment {
                    item: item.as_ref(),
                    ..*moment
                };
                select_item(map, selector, &moment, random, limits)
            })
            .collect();
        let inputs = Value::array(inputs?);
        moment.note(|data| data.after_item_selector = Some(inputs));
    }
    let concurrency = max_concurrency(map, moment, random)?;
    moment.note(|data| data.max_concurrency = Some(concurrency));
    let mut planned = Planned {
        items,
        tolerated_count: None,
        tolerated_percentage: None,
    };
    if let Some(given) = &map.tolerated_failure_count {
        let count = given::count("ToleratedFailureCount", given, &input, moment, random)?;
        moment.note(|data| data.tolerated_failure_count = Some(count));
        planned.tolerated_count = Some(count);
    }
    if let Some(given) = &map.tolerated_failure_percentage {
        let field = "ToleratedFailurePercentage";
        let percentage = given::percentage(field, given, &input, moment, random)?;
        moment.note(|data| data.tolerated_failure_percentage = Some(percentage));
        planned.tolerated_percentage = Some(percentage);
    }
    Ok(planned)
}

fn count(items: &Value) -> usize {
    match items {
        Value::Array(items) => items.len(),
        Value::Object(items) => items.len(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// `Map.Item` of the context object.
fn item(items: &Value, index: usize) -> Option<Value> {
    let (key, value) = match items {
        Value::Array(items) => (None, items.get(index)?),
        Value::Object(items) => {
            let (key, value) = items.iter().nth(index)?;
            (Some(key), value)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
    };
    Some(crate::scope::map_item(
        u32::try_from(index).unwrap_or(u32::MAX),
        value,
        key,
    ))
}

/// The branch that holds a state, however deep.
fn branch_of(program: &Program, parallel: &Parallel, name: &str) -> Option<u32> {
    let holds = |flow: &Flow| flow_holds(program, flow, name);
    let index = parallel.branches.iter().position(holds)?;
    u32::try_from(index).ok()
}

fn flow_holds(program: &Program, flow: &Flow, name: &str) -> bool {
    flow.states.iter().any(|id| {
        let state = &program[*id];
        let below = match &state.kind {
            Kind::Parallel(parallel) => branch_of(program, parallel, name).is_some(),
            Kind::Map(map) => flow_holds(program, &map.processor, name),
            Kind::Pass(_)
            | Kind::Task(_)
            | Kind::Choice(_)
            | Kind::Wait(_)
            | Kind::Succeed(_)
            | Kind::Fail(_) => false,
        };
        below || *state.name == *name
    })
}

fn mocked(error: Option<Arc<str>>, cause: Option<Arc<str>>) -> Failure {
    Failure {
        error,
        cause,
        class: FailureClass::Named,
    }
}
