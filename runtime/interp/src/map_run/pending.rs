//! What a map run that fails or is stopped never started: the PENDING files list it, as its children would have got it.
//! Hides how far that went. Nothing of it is started, so a redrive begins with these items.

use stepwell_query::Value;

use super::{MapRun, choose::batch, step::MapTurn};
use crate::{
    border::Effect,
    limits::{CHILDREN_A_STEP_MAX, STEP_WORK_MAX},
};

impl MapRun {
    /// The items at the front, so many, are listed as what one child would have got.
    fn pass(&mut self, items: u32, input: &Value) {
        self.read.passed = self.read.passed.max(self.listed_items) + u64::from(items);
        self.read.drop_front(items);
        let front = self.front();
        // The last cursor before the front is where reading goes on after the rest of the page.
        let marks = &mut self.read.marks;
        while marks.len() > 1 && marks[1].0 <= front {
            marks.pop_front();
        }
        self.results.add_pending(items, input);
    }
}

impl MapTurn<'_> {
    /// Whether there are items that no child is going to get and that no file lists yet. A redrive that waits starts
    /// them, and needs no list.
    pub(super) fn lists_pending(&self) -> bool {
        let run = &self.run;
        let readable = run
            .start
            .as_ref()
            .is_some_and(|start| start.source.is_readable());
        run.is_winding_down()
            && run.results.are_written()
            && run.redrive_asked.is_none()
            && readable
            && !(run.read.broken && run.read.items.is_empty())
            && run.total != Some(run.front())
    }

    /// Goes on with the list until a file of it is full, more is to be read, or the step has done enough.
    pub(super) fn list_pending(&mut self) {
        self.taken = 0;
        self.put_off = false;
        let mut listed = 0;
        while !self.run.results.pending_is_full() {
            self.put_off = listed >= CHILDREN_A_STEP_MAX || self.work >= STEP_WORK_MAX;
            if self.put_off {
                break;
            }
            let Some((items, input)) = self.next_pending() else {
                break;
            };
            self.run.pass(items, &input);
            listed += 1;
        }
        if self.put_off {
            self.effects.push(Effect::Again);
        } else if !self.run.read.broken {
            self.read();
        }
    }

    /// What the next child would have got. An item that the selector cannot take stands for itself: it may be the reason
    /// of the failure.
    fn next_pending(&mut self) -> Option<(u32, Value)> {
        match self.next_child() {
            Some(Ok(next)) => return Some(next),
            Some(Err(_)) => {}
            // What is at hand is all there is, be it less than a batch.
            None if self.run.read.broken && !self.put_off => {}
            None => return None,
        }
        let value = self.run.read.items.front()?.0.value.clone();
        let start = self.run.start.as_ref()?;
        let input = match start.is_batched() {
            true => batch(start.batch_input.as_ref(), vec![value]),
            false => value,
        };
        Some((1, input))
    }
}
