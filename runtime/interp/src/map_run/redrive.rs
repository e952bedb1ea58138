//! Redriving a map run: which children go on, and when. Hides who of them waits.

use std::sync::Arc;

use stepwell_asl::{ExecutionType, Kind, Mode};

use super::{
    MapRun, Running,
    border::{ChildResult, ChildStatus, MapRunEffect},
    event::MapRunEvent,
    step::MapTurn,
};
use crate::{
    Timestamp,
    border::{ChildId, Effect},
    limits::{CHILDREN_A_STEP_MAX, REDRIVE_EVENTS},
};

/// A child that ended without success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unsuccessful {
    child: ChildId,
    items: u32,
    status: ChildStatus,
    ended_at: Timestamp,
    /// Its history is full.
    full: bool,
    /// A redrive has left it out: it never goes on.
    lost: bool,
}

impl Unsuccessful {
    pub(super) fn new(
        child: ChildId,
        items: u32,
        status: ChildStatus,
        ended_at: Timestamp,
    ) -> Unsuccessful {
        Unsuccessful {
            child,
            items,
            status,
            ended_at,
            full: false,
            lost: false,
        }
    }
}

/// How many children, and how many items they have.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Many {
    pub(super) children: u64,
    pub(super) items: u64,
}

impl Many {
    fn of<'a>(children: impl Iterator<Item = &'a Unsuccessful>) -> Many {
        children.fold(Many::default(), |many, child| Many {
            children: many.children + 1,
            items: many.items + u64::from(child.items),
        })
    }
}

impl MapRun {
    /// How often it was redriven.
    pub fn redrives(&self) -> u32 {
        self.redrives
    }

    /// When it was redriven last.
    pub fn redriven_at(&self) -> Option<Timestamp> {
        self.redriven_at
    }

    /// Children that wait for their redrive.
    pub(super) fn waiting_to_be_redriven(&self) -> Many {
        let waiting = self.pending_redrive.iter();
        Many::of(waiting.filter_map(|index| self.unsuccessful.get(index)))
    }

    /// Children that can never be redriven.
    pub(super) fn lost(&self) -> Many {
        let children = self.unsuccessful.values();
        Many::of(children.filter(|child| child.full || child.lost))
    }

    pub(super) fn child_is_full(&mut self, index: u64) {
        if let Some(child) = self.unsuccessful.get_mut(&index) {
            child.full = true;
        }
    }

    pub(super) fn redriven(&mut self, count: u32, left: &[u64], at: Timestamp) {
        if self.ending.take().is_none() {
            return;
        }
        self.redrives = count;
        self.redriven_at = Some(at);
        self.redrive_asked = None;
        self.failing = None;
        self.stopping = false;
        self.origin.note_redrive(count, at);
        for (index, child) in &mut self.unsuccessful {
            child.lost |= left.contains(index);
            if !child.lost {
                self.pending_redrive.insert(*index);
                self.items.take(child.status, u64::from(child.items));
                self.executions.take(child.status, 1);
                self.results.forget(*index);
            }
        }
        // What was listed as pending is started now.
        self.listed_items = 0;
        self.results.reopen(left.is_empty());
    }

    pub(super) fn children_redriven(&mut self, children: &[u64]) {
        for index in children {
            self.pending_redrive.remove(index);
            if let Some(Unsuccessful { child, items, .. }) = self.unsuccessful.remove(index) {
                self.running.insert(*index, Running { child, items });
            }
        }
    }

    /// It is closed: who waited for a redrive is as before it.
    pub(super) fn leave_waiting(&mut self) {
        for index in std::mem::take(&mut self.pending_redrive) {
            if let Some(child) = self.unsuccessful.get(&index) {
                self.items.add(child.status, u64::from(child.items));
                self.executions.add(child.status, 1);
            }
        }
    }
}

impl MapTurn<'_> {
    /// Its execution goes on: at once when it is closed, else when it will be.
    pub(super) fn redrive_asked(&mut self, count: u32) {
        if self.run.start.is_none() || count <= self.run.redrives {
            return;
        }
        if self.run.ending.is_some() {
            self.redrive(count);
        } else if self.run.redrive_asked.is_none_or(|asked| asked < count) {
            self.record(MapRunEvent::RedriveAsked { count });
        }
    }

    pub(super) fn redrive(&mut self, count: u32) {
        let express = self.is_express();
        let redrivable_ms = self.limits.redrivable_ms;
        let at = self.at;
        let left = |child: &Unsuccessful| {
            let late = redrivable_ms.is_some_and(|ms| at.since_ms(child.ended_at) >= ms);
            !express && (child.full || child.lost || late)
        };
        let all = self.run.unsuccessful.iter();
        let left: Arc<[u64]> = all
            .filter(|(_, child)| left(child))
            .map(|(index, _)| *index)
            .collect();
        self.record(MapRunEvent::Redriven { count, left });
        // It goes on in a step of its own.
        self.effects.push(Effect::Again);
    }

    /// Whether a child that did not succeed has no room for another event.
    pub(super) fn is_full(&self, child: &ChildResult) -> bool {
        let most = self.limits.history_events_max;
        child.status != ChildStatus::Succeeded
            && !self.is_express()
            && child.events + REDRIVE_EVENTS > most
    }

    /// Whether its children are of type EXPRESS.
    fn is_express(&self) -> bool {
        let state = self.run.start.as_ref().map(|start| &start.state);
        let state = state.and_then(|state| self.program.find(state));
        let Some(Kind::Map(map)) = state.map(|state| &self.program[state].kind) else {
            return false;
        };
        match &map.mode {
            Mode::Distributed(distributed) => distributed.execution_type == ExecutionType::Express,
            Mode::Inline => false,
        }
    }

    /// Lets children go on, as many as may run.
    pub(super) fn redrive_children(&mut self) {
        let mut children = Vec::new();
        for index in &self.run.pending_redrive {
            if !self.has_room(children.len()) || children.len() >= CHILDREN_A_STEP_MAX {
                break;
            }
            children.push(*index);
        }
        if children.is_empty() {
            return;
        }
        if children.len() >= CHILDREN_A_STEP_MAX {
            self.effects.push(Effect::Again);
        }
        for index in &children {
            if let Some(child) = self.run.unsuccessful.get(index) {
                self.effect(MapRunEffect::Redrive(child.child));
            }
        }
        self.record(MapRunEvent::ChildrenRedriven {
            children: children.into(),
        });
    }
}
