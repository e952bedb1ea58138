//! Parallel and inline Map: starting flows, and what becomes of them.

use std::sync::Arc;

use stepwell_asl::{Io, Items, Kind, Map, Mode, Parallel, Payload};
use stepwell_query::{JsonataTemplate, Random, Value};

use crate::{
    border::Cancelled,
    data,
    event::{StateKind, What},
    fault::{Fault, Outcome},
    given,
    limits::Limits,
    run::{FrameId, Phase, Stage, map_run_cancelled},
    scope::Moment,
    step::Turn,
};

impl<'a> Turn<'a> {
    pub(crate) fn start_branches(&mut self, id: FrameId, parallel: &Parallel) {
        let input = self.evaluate(id, |moment, random, _| {
            let effective = data::effective_input(&parallel.io, moment)?;
            data::work_input(&parallel.io, &effective, moment, random)
        });
        match input {
            Some(Ok(input)) => {
                let program = self.program;
                let firsts = parallel
                    .branches
                    .iter()
                    .map(|flow| program[flow.start].name.clone())
                    .collect();
                self.record(id, What::ParallelStarted { firsts, input });
            }
            Some(Err(fault)) => self.fail(id, fault),
            None => {}
        }
    }

    pub(super) fn start_map(&mut self, id: FrameId, map: &Map) {
        if let Mode::Distributed(distributed) = &map.mode {
            return self.start_distributed(id, map, distributed);
        }
        let items = self.evaluate(id, |moment, random, _| items(map, moment, random));
        match items {
            Some(Ok(items)) => {
                let first = self.program[map.processor.start].name.clone();
                let concurrency = self.concurrency(id, map).and_then(Result::ok);
                self.record(
                    id,
                    What::MapStarted {
                        items,
                        first,
                        concurrency,
                    },
                );
            }
            Some(Err(fault)) => self.fail(id, fault),
            None => {}
        }
    }

    fn concurrency(&mut self, id: FrameId, map: &Map) -> Option<Outcome<u32>> {
        self.evaluate(id, |moment, random, limits| {
            concurrency(map, moment, random, limits)
        })
    }

    /// One turn of a Parallel or Map state whose flows run.
    pub(crate) fn advance_flows(&mut self, id: FrameId) {
        let Some(visit) = self.run.frame(id).and_then(|frame| frame.visit()) else {
            return;
        };
        let Some(flows) = visit.flows.as_deref() else {
            return;
        };
        let (kind, name, index) = (visit.kind, visit.state.clone(), flows.next);
        if flows.can_start() {
            self.start_iteration(id, name, index);
        } else if flows.left == 0 && flows.concurrency.is_some() {
            self.record(id, What::FlowsSucceeded { kind });
        } else if let Some(map) = self.map(id) {
            // The concurrency could not be told; the history has the Map's start before the failure.
            if let Some(Err(fault)) = self.concurrency(id, map) {
                self.fail(id, fault);
            }
        }
    }

    fn start_iteration(&mut self, id: FrameId, name: Arc<str>, index: u32) {
        let Some(map) = self.map(id) else { return };
        let Some(selector) = &map.item_selector else {
            return self.record(
                id,
                What::IterationStarted {
                    name,
                    index,
                    input: None,
                },
            );
        };
        let input = self.evaluate(id, |moment, random, limits| {
            let moment = Moment {
                iteration: Some(index),
                ..*moment
            };
            select_item(map, selector, &moment, random, limits)
        });
        match input {
            Some(Ok(input)) => self.record(
                id,
                What::IterationStarted {
                    name,
                    index,
                    input: Some(input),
                },
            ),
            Some(Err(fault)) => self.fail(id, fault),
            None => {}
        }
    }

    fn map(&self, id: FrameId) -> Option<&'a Map> {
        let Kind::Map(map) = &self.state(id)?.kind else {
            return None;
        };
        Some(map)
    }

    /// Ends one flow that still runs below a failed Parallel or Map state; false when there is none.
    pub(super) fn abort_one(&mut self, id: FrameId) -> bool {
        let Some(visit) = self.run.frame(id).and_then(|frame| frame.visit()) else {
            return false;
        };
        let Some(flows) = visit.flows.as_deref() else {
            return false;
        };
        let running = flows
            .children
            .iter()
            .find(|(_, child)| self.run.frame(**child).is_some_and(|frame| !frame.stopped));
        let Some((index, child)) = running.map(|(index, child)| (*index, *child)) else {
            return false;
        };
        let (kind, name) = (visit.kind, visit.state.clone());
        self.abort_state(child);
        self.record(
            id,
            if kind == StateKind::Map {
                What::IterationAborted { name, index }
            } else {
                What::BranchAborted { index }
            },
        );
        true
    }

    /// Ends the state that a flow is in, the innermost flows first.
    fn abort_state(&mut self, id: FrameId) {
        while self.run.ending().is_none() && self.abort_one(id) {}
        let Some(frame) = self.run.frame(id) else {
            return;
        };
        let Stage::In(visit) = &frame.stage else {
            return;
        };
        let (kind, name) = (visit.kind, visit.state.clone());
        match &visit.phase {
            Phase::Aborted => return,
            Phase::Attempt(attempt) => self.effects.push(attempt.cancel(Cancelled::Abandoned)),
            Phase::MapRun { run, child } => {
                self.effects.push(map_run_cancelled(*run, *child));
                self.record(id, What::MapRunAborted);
            }
            Phase::Entered
            | Phase::Waiting { .. }
            | Phase::Backoff { .. }
            | Phase::Flows
            | Phase::MapRunOpening { .. }
            | Phase::MapRunReopening { .. }
            | Phase::MapRunStopped
            | Phase::MapRunDone { .. }
            | Phase::Worked { .. }
            | Phase::Failing { .. } => {}
        }
        match kind {
            StateKind::Task | StateKind::Wait | StateKind::Parallel | StateKind::Map => {
                self.record(id, What::StateAborted { kind, name });
            }
            // States that do not wait have no such event.
            StateKind::Pass | StateKind::Choice | StateKind::Succeed | StateKind::Fail => {}
        }
    }
}

/// The items of an inline Map: an array, or an object in JSONata.
pub(crate) fn items(map: &Map, moment: &Moment, random: &mut Random) -> Outcome<Value> {
    let effective = data::effective_input(&map.io, moment)?;
    let items = find_items(map, effective, moment, random)?;
    if let Io::Path(_) = map.io {
        moment.note(|data| data.after_items_path = Some(items.clone()));
    }
    Ok(items)
}

fn find_items(map: &Map, effective: Value, moment: &Moment, random: &mut Random) -> Outcome<Value> {
    match &map.items {
        Items::Input => match effective {
            items @ Value::Array(_) => Ok(items),
            other => match &map.io {
                Io::Path(_) => Err(not_an_array("$")),
                Io::Jsonata(_) => Err(Fault::Query {
                    text: format!("Map state input must be an array but was: {other}"),
                    location: "Items".to_owned(),
                }),
            },
        },
        Items::Path(path) => match path.evaluate(&moment.sources(&effective)) {
            Ok(items @ Value::Array(_)) => Ok(items),
            Ok(_) => Err(not_an_array(path.text())),
            Err(error) => Err(Fault::path(&error)),
        },
        Items::Jsonata(template) => match data::jsonata(template, "Items", moment, random)? {
            items @ Value::Array(_) => Ok(items),
            items @ Value::Object(_) if !has_expression(template) => Ok(items),
            other => {
                let expression = template
                    .expressions()
                    .next()
                    .map(|(_, expression)| expression.text().clone());
                Err(Fault::unexpected(
                    &expression.unwrap_or_default(),
                    "Items",
                    "array",
                    other,
                ))
            }
        },
    }
}

fn has_expression(template: &JsonataTemplate) -> bool {
    template
        .expressions()
        .any(|(pointer, _)| pointer.is_empty())
}

fn not_an_array(path: &str) -> Fault {
    Fault::Runtime(format!("Reference path \"{path}\" must point to array."))
}

fn concurrency(map: &Map, moment: &Moment, random: &mut Random, limits: &Limits) -> Outcome<u32> {
    let most = limits.map_concurrency_max;
    match max_concurrency(map, moment, random)? {
        0 => Ok(most),
        wanted => Ok(wanted.min(most)),
    }
}

/// MaxConcurrency as the state has it; 0 sets no limit.
pub(crate) fn max_concurrency(map: &Map, moment: &Moment, random: &mut Random) -> Outcome<u32> {
    let Some(given) = &map.max_concurrency else {
        return Ok(0);
    };
    let input = data::effective_input(&map.io, moment)?;
    given::count("MaxConcurrency", given, &input, moment, random)
}

/// The input of an iteration: the ItemSelector's value.
pub(crate) fn select_item(
    map: &Map,
    selector: &Payload,
    moment: &Moment,
    random: &mut Random,
    limits: &Limits,
) -> Outcome<Value> {
    let input = match selector {
        Payload::Path(template) => {
            let effective = data::effective_input(&map.io, moment)?;
            data::template(template, &effective, moment, random)?
        }
        Payload::Jsonata(template) => data::jsonata(template, "ItemSelector", moment, random)?,
    };
    if input.json_bytes() > limits.payload_bytes_max {
        return Err(Fault::DataLimit {
            of: moment.visit.state.clone(),
        });
    }
    Ok(input)
}
