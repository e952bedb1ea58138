//! The deciding half of a map run: which items are read, which children start, when it is over.

use std::sync::Arc;

use stepwell_asl::Program;
use stepwell_query::{Random, Value};

use super::{
    MapRun,
    border::{MapRunEffect, MapRunEnding, MapRunInput, NewChild, ResultWrite},
    event::MapRunEvent,
};
use crate::{
    Timestamp,
    border::{ChildId, Effect, Env, Input},
    event::{Event, Failure, FailureClass, Place, What},
    fault::{self, DATA_LIMIT_EXCEEDED},
    limits::{CHILDREN_A_STEP_MAX, Limits, READ_AHEAD, STEP_WORK_MAX},
};

const ITEM_READER_FAILED: &str = "States.ItemReaderFailed";
const RESULT_WRITER_FAILED: &str = "States.ResultWriterFailed";
const THRESHOLD: &str = "States.ExceedToleratedFailureThreshold";

/// Advances one map run, as [`crate::step`] does an execution. Inputs that are not a map run's change nothing.
pub fn step_map_run(program: &Program, run: &mut MapRun, input: Input, env: Env) -> Vec<Effect> {
    let at = env.at.max(run.last_at);
    let mut turn = MapTurn {
        program,
        at,
        random: Random::from_seed(env.seed),
        limits: run.limits(),
        run,
        effects: Vec::new(),
        work: 0,
        put_off: false,
        taken: 0,
    };
    turn.take(input);
    turn.run_on();
    turn.effects
}

/// One call of [`step_map_run`].
pub(super) struct MapTurn<'a> {
    pub(super) program: &'a Program,
    pub(super) run: &'a mut MapRun,
    pub(super) at: Timestamp,
    pub(super) random: Random,
    pub(super) limits: &'static Limits,
    pub(super) effects: Vec<Effect>,
    /// Work of evaluations so far.
    pub(super) work: u64,
    /// There is more to do than the step takes.
    pub(super) put_off: bool,
    /// Items at hand that the children about to start have.
    pub(super) taken: usize,
}

impl MapTurn<'_> {
    fn take(&mut self, input: Input) {
        if let Input::MapRun(own) = &input
            && let MapRunInput::RedriveAsked { count } = **own
        {
            return self.redrive_asked(count);
        }
        if self.run.ending.is_some() {
            return;
        }
        match input {
            Input::MapRun(input) => self.take_own(*input),
            Input::StopAsked { .. } => self.stop(),
            Input::Started(_)
            | Input::Forked(_)
            | Input::Continue
            | Input::TaskStarted { .. }
            | Input::TaskSubmitted { .. }
            | Input::ChildStarted { .. }
            | Input::TaskEnded { .. }
            | Input::ChildEnded { .. }
            | Input::TaskUsed { .. }
            | Input::TaskLost { .. }
            | Input::MapRunEnded { .. }
            | Input::TimerDue { .. }
            | Input::Heartbeat { .. }
            | Input::TaskWaits { .. }
            | Input::RedriveAsked { .. } => {}
        }
    }

    fn take_own(&mut self, input: MapRunInput) {
        if let MapRunInput::Started(start) = input {
            if self.run.start.is_none() {
                self.limits = Limits::of(start.parent.raised_limits);
                self.record(MapRunEvent::Began(start));
                self.effect(MapRunEffect::TellBegun);
            }
            return;
        }
        if self.run.start.is_none() {
            return;
        }
        match input {
            MapRunInput::Started(_) | MapRunInput::RedriveAsked { .. } => {}
            MapRunInput::ItemsRead {
                first,
                items,
                cursor,
                ended,
                ids,
                expected,
            } => {
                self.run.read.expected = expected;
                self.items_read(first, items.into_iter().zip(ids), cursor, ended);
            }
            MapRunInput::ReadFailed { cause } => {
                self.run.read.asked = false;
                self.run.read.broken = true;
                self.fail(named(ITEM_READER_FAILED, cause));
            }
            MapRunInput::ChildEnded(child) => {
                let runs = self.run.running.get(&child.index);
                if runs.is_some_and(|runs| runs.child == child.child) {
                    let results = self.run.results.of(&child);
                    let (index, status) = (child.index, child.status);
                    self.record(MapRunEvent::ChildEnded {
                        index,
                        status,
                        results,
                    });
                    if self.is_full(&child) {
                        self.record(MapRunEvent::ChildFull { index });
                    }
                }
            }
            MapRunInput::PartWritten { write, part } => {
                if self.is_awaited(write) {
                    self.record(MapRunEvent::PartWritten(part));
                }
            }
            MapRunInput::ManifestWritten { write, bucket, key } => {
                if self.is_awaited(write) {
                    self.close(Some((bucket, key)));
                }
            }
            MapRunInput::WriteFailed { write, cause } => {
                if self.is_awaited(write) {
                    self.run.results.give_up();
                    self.fail(named(RESULT_WRITER_FAILED, cause));
                }
            }
            MapRunInput::Changed(change) => self.record(MapRunEvent::Changed(change)),
        }
    }

    fn items_read(
        &mut self,
        first: u64,
        items: impl Iterator<Item = (super::Item, ChildId)>,
        cursor: Arc<str>,
        ended: bool,
    ) {
        let front = self.run.front();
        let read = &mut self.run.read;
        read.asked = false;
        if first != front + read.items.len() as u64 || read.ended {
            return;
        }
        for (item, id) in items {
            read.push(item, id);
        }
        let after = front + read.items.len() as u64;
        read.marks.push_back((after, cursor));
        read.ended = ended;
        if ended && self.run.total.is_none() {
            self.record(MapRunEvent::ItemsCounted { total: after });
        }
    }

    /// Does what follows from the state alone, until something has to be waited for.
    fn run_on(&mut self) {
        let Some(start) = self.run.start.clone() else {
            return;
        };
        if self.run.ending.is_some() {
            return;
        }
        if !start.source.is_readable() {
            let cause = "field MaxItems must be positive";
            self.fail(named(ITEM_READER_FAILED, cause.into()));
        }
        if self.is_breached() {
            let cause = "The specified tolerated failure threshold was exceeded";
            self.fail(named(THRESHOLD, cause.into()));
        }
        if !self.run.is_winding_down() {
            self.redrive_children();
            self.start_children();
            self.read();
        }
        self.finish();
    }

    /// Whether more items failed than are tolerated. A share of all items is told when all are known.
    fn is_breached(&self) -> bool {
        let failed = self.run.items.failed + self.run.items.timed_out;
        let (count, share) = (self.run.tolerated_count, self.run.tolerated_percentage);
        let by_count = match (count, share) {
            (Some(count), _) => failed > count,
            (None, Some(_)) => false,
            (None, None) => failed > 0,
        };
        let by_share = share.is_some_and(|share| match self.run.total {
            Some(total) => failed as f64 * 100.0 > share * total as f64,
            None => share == 0.0 && failed > 0,
        });
        by_count || by_share
    }

    fn start_children(&mut self) {
        let (mut children, mut inputs) = (Vec::new(), Vec::new());
        self.taken = 0;
        while self.has_room(children.len()) {
            self.put_off = children.len() >= CHILDREN_A_STEP_MAX || self.work >= STEP_WORK_MAX;
            if self.put_off {
                break;
            }
            let Some(next) = self.next_child() else {
                break;
            };
            let (items, input) = match next {
                Ok(next) => next,
                Err(failure) => {
                    self.children_started(children, inputs);
                    return self.fail(failure);
                }
            };
            let Some((_, child)) = self.run.read.items.get(self.taken) else {
                break;
            };
            children.push((*child, items));
            inputs.push(input);
            self.taken += items as usize;
        }
        self.children_started(children, inputs);
        if self.put_off {
            self.effects.push(Effect::Again);
        }
    }

    pub(super) fn has_room(&self, starting: usize) -> bool {
        let most = match self.run.concurrency {
            0 => self.limits.map_run_concurrency_max,
            most => most.min(self.limits.map_run_concurrency_max),
        };
        ((self.run.running.len() + starting) as u64) < u64::from(most)
            && !self.run.results.is_behind()
    }

    fn children_started(&mut self, children: Vec<(ChildId, u32)>, inputs: Vec<Value>) {
        if children.is_empty() {
            return;
        }
        let first = self.run.next_child;
        let next_item = self.run.next_item + self.taken as u64;
        let marks = self.run.read.marks.iter();
        let (cursor_at, cursor) = marks
            .take_while(|(mark, _)| *mark <= next_item)
            .last()
            .cloned()
            .unwrap_or_else(|| (self.run.cursor_at, self.run.cursor.clone()));
        for (index, ((child, items), input)) in (first..).zip(children.iter().zip(inputs)) {
            self.effect(MapRunEffect::Start(NewChild {
                child: *child,
                index,
                items: *items,
                input,
            }));
        }
        self.record(MapRunEvent::ChildrenStarted {
            first,
            children: children.into(),
            cursor,
            cursor_at,
        });
    }

    /// Asks for items when few are left.
    pub(super) fn read(&mut self) {
        let read = &self.run.read;
        let wanted = self.run.start.as_ref().and_then(|start| start.batch_items);
        let wanted = wanted.map_or(READ_AHEAD, |items| READ_AHEAD.max(items as usize));
        if read.asked || read.ended || read.items.len() >= wanted || read.is_full() {
            return;
        }
        let first = self.run.front() + read.items.len() as u64;
        let (at, cursor) = match read.marks.back() {
            Some((at, cursor)) => (*at, cursor.clone()),
            None => (self.run.cursor_at, self.run.cursor.clone()),
        };
        self.run.read.asked = true;
        self.effect(MapRunEffect::Read {
            cursor,
            skip: first - at,
            first,
        });
    }

    /// Writes what is to be written, and closes when nothing is left to do.
    fn finish(&mut self) {
        let begun = self.run.total == Some(self.run.next_item);
        let begun = begun && self.run.pending_redrive.is_empty();
        let over = self.run.is_winding_down() || begun;
        let over = over && self.run.running.is_empty();
        if self.run.writing.is_some() || self.run.ending.is_some() {
            return;
        }
        if over && self.lists_pending() {
            self.list_pending();
        }
        let listing = self.lists_pending();
        if let Some(part) = self.run.results.next_part(over, !listing) {
            self.write(part);
        } else if over && !listing {
            match self.run.results.manifest() {
                Some(parts) => self.write(MapRunEffect::WriteManifest { parts }),
                None => self.close(None),
            }
        }
    }

    fn write(&mut self, effect: MapRunEffect) {
        self.run.writing = ResultWrite::of(&effect, self.run.redrives);
        self.effect(effect);
    }

    /// Whether the end of that write is what is waited for. One that was asked for before the run was folded anew may end
    /// at any time: what it wrote is not what is being written now.
    fn is_awaited(&mut self, write: ResultWrite) -> bool {
        self.run
            .writing
            .take_if(|awaited| *awaited == write)
            .is_some()
    }

    /// Ends it. `manifest` is where the results are listed, when they were written.
    fn close(&mut self, manifest: Option<(Arc<str>, Arc<str>)>) {
        let ending = if self.run.stopping {
            MapRunEnding::Aborted
        } else if let Some(failure) = self.run.failing.clone() {
            MapRunEnding::Failed { failure }
        } else {
            self.result(manifest)
        };
        self.record(MapRunEvent::Closed(ending.clone()));
        let redrive = self.run.redrives;
        self.effect(MapRunEffect::Tell { ending, redrive });
        match self.run.redrive_asked {
            Some(count) => self.redrive(count),
            None => self.effects.push(Effect::Finish),
        }
    }

    fn result(&self, manifest: Option<(Arc<str>, Arc<str>)>) -> MapRunEnding {
        let Some(start) = &self.run.start else {
            return MapRunEnding::Aborted;
        };
        if let Some((bucket, key)) = manifest {
            let details = [("Bucket", Value::from(bucket)), ("Key", Value::from(key))];
            let result = Value::object([
                ("MapRunArn", Value::from(start.arn.clone())),
                ("ResultWriterDetails", Value::object(details)),
            ]);
            return MapRunEnding::Succeeded { result };
        }
        match self.run.results.gather() {
            Some(result) => MapRunEnding::Succeeded { result },
            None => MapRunEnding::Failed {
                failure: Failure {
                    error: Some(DATA_LIMIT_EXCEEDED.into()),
                    cause: Some(fault::data_limit_text(&start.state).into()),
                    class: FailureClass::NamedOnly,
                },
            },
        }
    }

    fn fail(&mut self, failure: Failure) {
        if !self.run.is_winding_down() {
            self.record(MapRunEvent::Failing { failure });
            self.stop_children();
        }
    }

    fn stop(&mut self) {
        if self.run.start.is_some() && !self.run.stopping {
            let stopped = self.run.failing.is_some();
            self.record(MapRunEvent::Stopping);
            if !stopped {
                self.stop_children();
            }
        }
    }

    fn stop_children(&mut self) {
        let running: Vec<ChildId> = self.run.running.values().map(|runs| runs.child).collect();
        for child in running {
            self.effect(MapRunEffect::Stop(child));
        }
    }

    pub(super) fn effect(&mut self, effect: MapRunEffect) {
        self.effects.push(Effect::MapRun(Box::new(effect)));
    }

    pub(super) fn record(&mut self, what: MapRunEvent) {
        let event = Event {
            at: self.at,
            previous: 0,
            place: Place::default(),
            what: What::MapRun(Box::new(what)),
        };
        self.run.evolve(&event);
        self.effects.push(Effect::Record(event));
    }
}

fn named(error: &str, cause: Arc<str>) -> Failure {
    Failure {
        error: Some(error.into()),
        cause: Some(fault::clip(&cause, crate::limits::CAUSE_CHARS_MAX).into()),
        class: FailureClass::Named,
    }
}
