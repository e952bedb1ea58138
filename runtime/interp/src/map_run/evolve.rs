//! The fold of a map run: what each of its events does. Total: an event that fits nothing changes nothing.

use std::sync::Arc;

use super::{
    MapRun, Running,
    border::{ChildStatus, MapRunChange, MapRunStart, PartKind},
    event::MapRunEvent,
    redrive::Unsuccessful,
    results::Results,
};
use crate::{
    Timestamp,
    border::ChildId,
    event::{Event, What},
    limits::Limits,
    run::Run,
};

impl MapRun {
    /// Folds one event of its log.
    pub fn evolve(&mut self, event: &Event) {
        self.position += 1;
        self.last_at = self.last_at.max(event.at);
        let What::MapRun(what) = &event.what else {
            return;
        };
        match &**what {
            MapRunEvent::Began(start) => self.begin(start, event.at),
            MapRunEvent::ChildrenStarted {
                first,
                children,
                cursor,
                cursor_at,
            } => self.children_started(*first, children, cursor, *cursor_at),
            MapRunEvent::ItemsCounted { total } => self.total = Some(*total),
            MapRunEvent::ChildEnded {
                index,
                status,
                results,
            } => self.child_ended(*index, *status, results, event.at),
            MapRunEvent::Failing { failure } => {
                self.failing.get_or_insert_with(|| failure.clone());
            }
            MapRunEvent::Stopping => self.stopping = true,
            MapRunEvent::Changed(change) => self.change(change),
            MapRunEvent::PartWritten(part) => {
                if part.kind == PartKind::Pending {
                    self.listed_items += part.items;
                }
                self.results.part_written(part);
            }
            MapRunEvent::Closed(ending) => {
                self.ending = Some(ending.clone());
                self.read = Default::default();
                self.leave_waiting();
            }
            MapRunEvent::ChildFull { index } => self.child_is_full(*index),
            MapRunEvent::RedriveAsked { count } => self.redrive_asked = Some(*count),
            MapRunEvent::Redriven { count, left } => self.redriven(*count, left, event.at),
            MapRunEvent::ChildrenRedriven { children } => self.children_redriven(children),
        }
    }

    fn begin(&mut self, start: &MapRunStart, at: Timestamp) {
        if self.start.is_some() {
            return;
        }
        let limits = Limits::of(start.parent.raised_limits);
        self.origin = Run::at_map(start);
        self.started_at = at;
        self.concurrency = start.concurrency;
        self.tolerated_count = start.tolerated_count.map(u64::from);
        self.tolerated_percentage = start.tolerated_percentage;
        self.results = match start.destination {
            Some(_) => Results::written(start.form),
            None => Results::gathered(start.form, limits.payload_bytes_max),
        };
        self.start = Some(Arc::new(start.clone()));
    }

    fn children_started(
        &mut self,
        first: u64,
        children: &[(ChildId, u32)],
        cursor: &Arc<str>,
        cursor_at: u64,
    ) {
        for (index, (child, items)) in (first..).zip(children) {
            let (child, items) = (*child, *items);
            self.running.insert(index, Running { child, items });
            self.next_child = index + 1;
            self.next_item += u64::from(items);
            self.read.drop_front(items);
        }
        self.cursor = cursor.clone();
        self.cursor_at = cursor_at;
        self.read.forget_before(cursor_at);
    }

    fn child_ended(
        &mut self,
        index: u64,
        status: ChildStatus,
        results: &Arc<[stepwell_query::Value]>,
        at: Timestamp,
    ) {
        let Some(Running { child, items }) = self.running.remove(&index) else {
            return;
        };
        if status != ChildStatus::Succeeded {
            let ended = Unsuccessful::new(child, items, status, at);
            self.unsuccessful.insert(index, ended);
        }
        self.items.add(status, u64::from(items));
        self.executions.add(status, 1);
        self.results.add(index, items, status, results);
    }

    fn change(&mut self, change: &MapRunChange) {
        if let Some(concurrency) = change.concurrency {
            self.concurrency = concurrency;
        }
        if change.tolerated_count.is_some() {
            self.tolerated_count = change.tolerated_count;
        }
        if change.tolerated_percentage.is_some() {
            self.tolerated_percentage = change.tolerated_percentage;
        }
    }
}
