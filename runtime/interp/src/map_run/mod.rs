//! A map run: what a distributed Map state hands its items to. It is an entity of its own with its own log, as pure as
//! an execution: [`MapRun::evolve`] folds its events, [`step_map_run`] decides the next.
//!
//! It reads items, starts a child execution for each (or each batch), counts how they end, and gathers or writes their
//! results. It holds the children that run and the results that are not yet written, never the items that are done.

mod border;
mod choose;
mod event;
mod evolve;
mod pending;
mod redrive;
mod results;
mod step;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use stepwell_query::Value;

use crate::{
    Timestamp,
    border::ChildId,
    event::Failure,
    limits::{Limits, READ_AHEAD_BYTES_MAX},
    run::{Run, Unfinished},
};

pub use border::{
    ChildResult, ChildStatus, Form, Item, MapRunChange, MapRunEffect, MapRunEnding, MapRunInput,
    MapRunStart, NewChild, Part, PartKind, Reading, ResultWrite,
};
pub use event::MapRunEvent;
pub use step::step_map_run;

use redrive::Unsuccessful;
use results::Results;

/// A map run as far as its events tell.
#[derive(Clone, Debug, Default)]
pub struct MapRun {
    start: Option<Arc<MapRunStart>>,
    /// The Map state as it was when it started the map run: what expressions for items read.
    origin: Run,
    started_at: Timestamp,
    last_at: Timestamp,
    position: u64,
    concurrency: u32,
    tolerated_count: Option<u64>,
    tolerated_percentage: Option<f64>,
    /// A place in the source, and the number of the item that it stands before: none that no child has is further on.
    cursor: Arc<str>,
    cursor_at: u64,
    next_item: u64,
    next_child: u64,
    /// Items after these that PENDING files list, since they are not going to be started.
    listed_items: u64,
    /// All items there are, once reading has ended.
    total: Option<u64>,
    running: BTreeMap<u64, Running>,
    /// Children that ended without success, by number: those that a redrive may let go on.
    unsuccessful: BTreeMap<u64, Unsuccessful>,
    /// Those of them that wait for it.
    pending_redrive: BTreeSet<u64>,
    redrives: u32,
    redriven_at: Option<Timestamp>,
    /// A redrive that waits for its end.
    redrive_asked: Option<u32>,
    items: Counts,
    executions: Counts,
    results: Results,
    /// Why it is going to fail; set while the children that run are being stopped.
    failing: Option<Failure>,
    stopping: bool,
    ending: Option<MapRunEnding>,
    // What follows is memory alone: it is asked for again after a crash.
    read: Read,
    /// The part, or the manifest, that is being written.
    writing: Option<ResultWrite>,
}

/// A child that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Running {
    child: ChildId,
    items: u32,
}

/// Items that were read and not yet given to children.
#[derive(Clone, Debug, Default)]
struct Read {
    /// Each with a fresh id, for the child that may begin with it.
    items: VecDeque<(Item, ChildId)>,
    bytes: usize,
    /// What the selector made of the first of them.
    chosen: VecDeque<Value>,
    /// What it makes of the next one, as far as that is done.
    choosing: Option<Box<Unfinished>>,
    /// Cursors with the number of the item that each stands before, oldest first.
    marks: VecDeque<(u64, Arc<str>)>,
    /// A page was asked for.
    asked: bool,
    ended: bool,
    /// The source gives no more.
    broken: bool,
    /// Items that were read and given to no child, but to PENDING files.
    passed: u64,
    /// How many items there seem to be in all.
    expected: Option<u64>,
}

impl Read {
    fn push(&mut self, item: Item, id: ChildId) {
        self.bytes += item.value.json_bytes();
        self.items.push_back((item, id));
    }

    fn drop_front(&mut self, items: u32) {
        for _ in 0..items {
            if let Some((item, _)) = self.items.pop_front() {
                self.bytes = self.bytes.saturating_sub(item.value.json_bytes());
            }
            self.chosen.pop_front();
        }
    }

    /// Drops cursors that no place from there on needs.
    fn forget_before(&mut self, at: u64) {
        while self.marks.front().is_some_and(|(mark, _)| *mark < at) {
            self.marks.pop_front();
        }
    }

    /// Whether no more is read ahead, however many items a batch wants.
    fn is_full(&self) -> bool {
        self.bytes >= READ_AHEAD_BYTES_MAX
    }
}

/// How many ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub succeeded: u64,
    pub failed: u64,
    pub timed_out: u64,
    pub aborted: u64,
}

impl Counts {
    fn of(&mut self, status: ChildStatus) -> &mut u64 {
        match status {
            ChildStatus::Succeeded => &mut self.succeeded,
            ChildStatus::Failed => &mut self.failed,
            ChildStatus::TimedOut => &mut self.timed_out,
            ChildStatus::Aborted => &mut self.aborted,
        }
    }

    fn add(&mut self, status: ChildStatus, count: u64) {
        *self.of(status) += count;
    }

    fn take(&mut self, status: ChildStatus, count: u64) {
        let slot = self.of(status);
        *slot = slot.saturating_sub(count);
    }

    fn ended(&self) -> u64 {
        self.succeeded + self.failed + self.timed_out + self.aborted
    }
}

/// What DescribeMapRun tells.
#[derive(Clone, Debug, PartialEq)]
pub struct MapRunView {
    pub start: Arc<MapRunStart>,
    pub started_at: Timestamp,
    pub stopped_at: Option<Timestamp>,
    pub ending: Option<MapRunEnding>,
    pub concurrency: u32,
    pub tolerated_count: u64,
    pub tolerated_percentage: f64,
    pub items: Progress,
    pub executions: Progress,
    /// How many items there are in all, or seem to be while they are read; none while that cannot be told.
    pub expected_items: Option<u64>,
    /// Numbers of the children that wait for their redrive.
    pub waiting: Arc<[u64]>,
}

/// Counts of items or of child executions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Known and not started. While items are read these are only those that were read.
    pub pending: u64,
    pub running: u64,
    pub ended: Counts,
    pub total: u64,
    pub results_written: u64,
    /// Of those that ended without success: that can never be redriven, and that wait for it.
    pub not_redrivable: u64,
    pub pending_redrive: u64,
}

impl MapRun {
    /// What was fixed at the start; `None` before the first input.
    pub fn start(&self) -> Option<&Arc<MapRunStart>> {
        self.start.as_ref()
    }

    /// How it ended; `None` while it runs.
    pub fn ending(&self) -> Option<&MapRunEnding> {
        self.ending.as_ref()
    }

    pub fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// Time of the last event.
    pub fn last_at(&self) -> Timestamp {
        self.last_at
    }

    /// Position that the next event takes in the log, from 1.
    pub fn next_position(&self) -> u64 {
        self.position + 1
    }

    /// Whether its results hold what DescribeExecution says of a child that ended so, beside or in place of its output.
    pub fn describes(&self, status: ChildStatus) -> bool {
        self.results.describes(status)
    }

    /// What is told of it.
    pub fn view(&self) -> Option<MapRunView> {
        let start = self.start.clone()?;
        let running: u64 = self
            .running
            .values()
            .map(|child| u64::from(child.items))
            .sum();
        let known = self
            .total
            .unwrap_or(self.front() + self.read.items.len() as u64);
        let (waiting, lost) = (self.waiting_to_be_redriven(), self.lost());
        let items = Progress {
            pending: known.saturating_sub(running + self.items.ended() + waiting.items),
            running,
            ended: self.items,
            total: known,
            results_written: self.results.items_written(),
            not_redrivable: lost.items,
            pending_redrive: waiting.items,
        };
        let running = self.running.len() as u64;
        let executions = Progress {
            // How many there will be is not known before batches are made; without batches each item is one.
            pending: if start.is_batched() { 0 } else { items.pending },
            running,
            ended: self.executions,
            total: running
                + self.executions.ended()
                + waiting.children
                + if start.is_batched() { 0 } else { items.pending },
            results_written: self.results.executions_written(),
            not_redrivable: lost.children,
            pending_redrive: waiting.children,
        };
        Some(MapRunView {
            started_at: self.started_at,
            stopped_at: self.ending.is_some().then_some(self.last_at),
            ending: self.ending.clone(),
            concurrency: self.concurrency,
            tolerated_count: self.tolerated_count.unwrap_or(0),
            tolerated_percentage: self.tolerated_percentage.unwrap_or(0.0),
            items,
            executions,
            expected_items: self.total.or(self.read.expected),
            waiting: self.pending_redrive.iter().copied().collect(),
            start,
        })
    }

    fn limits(&self) -> &'static Limits {
        Limits::of(
            self.start
                .as_ref()
                .is_some_and(|start| start.parent.raised_limits),
        )
    }

    /// Number of the first item at hand, or of the one to be read next. Those before it have a child or are listed as
    /// pending.
    fn front(&self) -> u64 {
        self.next_item + self.read.passed.max(self.listed_items)
    }

    /// Whether nothing more is going to be started.
    fn is_winding_down(&self) -> bool {
        self.failing.is_some() || self.stopping
    }
}
