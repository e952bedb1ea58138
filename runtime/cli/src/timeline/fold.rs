//! The fold: one event at a time. Hides which event types open, move and close what.

use super::{
    Attempt, Change, Ending, Failure, Frame, HistoryEvent, Items, Place, StateType, Status,
    Timeline, Visit,
};

/// What an event type means to a visit, by the end of its name.
enum Meaning<'a> {
    Entered(StateType),
    Exited,
    Aborted,
    Execution(&'a str),
    Iteration(&'a str),
    /// A Parallel, a Map or a map run begins its work.
    Opened,
    Scheduled,
    Started,
    Submitted,
    Succeeded,
    Failed,
    TimedOut,
    /// A Parallel, a Map or a map run is done; the exit or the end follows.
    Inner,
    EvaluationFailed,
    Other,
}

fn meaning(kind: &str) -> Meaning<'_> {
    if let Some(state) = kind.strip_suffix("StateEntered").and_then(StateType::parse) {
        return Meaning::Entered(state);
    }
    if let Some(what) = kind.strip_prefix("Execution") {
        return Meaning::Execution(what);
    }
    if let Some(what) = kind.strip_prefix("MapIteration") {
        return Meaning::Iteration(what);
    }
    let grouped = ["MapState", "ParallelState", "MapRun"]
        .iter()
        .any(|prefix| kind.starts_with(prefix));
    match kind {
        "EvaluationFailed" => Meaning::EvaluationFailed,
        "MapStateStarted" | "ParallelStateStarted" => Meaning::Opened,
        kind if kind.ends_with("StateExited") => Meaning::Exited,
        kind if kind.ends_with("Aborted") => Meaning::Aborted,
        kind if grouped && kind.ends_with("Failed") => Meaning::Failed,
        _ if grouped => Meaning::Inner,
        kind if kind.ends_with("Scheduled") => Meaning::Scheduled,
        kind if kind.ends_with("Started") => Meaning::Started,
        kind if kind.ends_with("Submitted") => Meaning::Submitted,
        kind if kind.ends_with("Succeeded") => Meaning::Succeeded,
        kind if kind.ends_with("TimedOut") => Meaning::TimedOut,
        kind if kind.ends_with("Failed") => Meaning::Failed,
        _ => Meaning::Other,
    }
}

impl Timeline {
    /// Takes the next event; events must come in order of their ids.
    pub(crate) fn fold(&mut self, event: &HistoryEvent) -> Vec<Change> {
        self.last_ms = self.last_ms.max(event.at_ms);
        let before = self.places.get(&event.previous).copied().unwrap_or(Place {
            visit: None,
            frame: 0,
            forks: false,
        });
        let mut place = Place {
            forks: false,
            ..before
        };
        let mut changes = Vec::new();
        match meaning(&event.kind) {
            Meaning::Entered(kind) => place = self.enter(kind, event, before, &mut changes),
            Meaning::Execution("Redriven") => place = self.redriven(event, &mut changes),
            Meaning::Execution(what) => self.execution(what, event, &mut changes),
            Meaning::Iteration(what) => place = self.iteration(what, event, before, &mut changes),
            Meaning::Opened => {
                place = self.around(before, |visit| event.kind.starts_with(visit.kind.name()));
                place.forks = event.kind.starts_with("Parallel");
                if let Some(index) = place.visit {
                    // It is done all over again, what a redrive had opened in it too.
                    self.close_frames_of(index, event.at_ms, &mut changes);
                }
                if let Some(visit) = self.at(place) {
                    visit.failure = None;
                    visit.items = Items {
                        total: event.number("length").unwrap_or(0),
                        ..Items::default()
                    };
                    visit.attempts.push(Attempt::at(event.at_ms));
                }
            }
            Meaning::Inner => {
                if let (Some(arn), Some(visit)) = (event.text("mapRunArn"), self.at(place)) {
                    visit.map_run = Some(arn.to_owned());
                }
            }
            Meaning::Submitted | Meaning::Other => {}
            meant => {
                if let Some(index) = self.meant_visit(before, event) {
                    place = Place {
                        visit: Some(index),
                        frame: self.visits[index].frame,
                        forks: false,
                    };
                    self.visit_event(index, &meant, event, &mut changes);
                }
            }
        }
        self.places.insert(event.id, place);
        changes
    }

    fn at(&mut self, place: Place) -> Option<&mut Visit> {
        place.visit.map(|index| &mut self.visits[index])
    }

    /// The innermost open visit at or around a place of which `own` holds; the place itself when there is none.
    fn around(&self, before: Place, own: impl Fn(&Visit) -> bool) -> Place {
        let mut visit = before.visit;
        let mut frame = before.frame;
        loop {
            if let Some(index) = visit
                .filter(|index| self.visits[*index].ended_ms.is_none() && own(&self.visits[*index]))
            {
                return Place {
                    visit: Some(index),
                    frame: self.visits[index].frame,
                    forks: false,
                };
            }
            let Some(owner) = self.frames[frame].owner else {
                return Place {
                    forks: false,
                    ..before
                };
            };
            visit = Some(owner);
            frame = self.visits[owner].frame;
        }
    }

    fn enter(
        &mut self,
        kind: StateType,
        event: &HistoryEvent,
        before: Place,
        changes: &mut Vec<Change>,
    ) -> Place {
        let frame = if before.forks {
            self.frame(before.visit, None)
        } else {
            before.frame
        };
        self.visits.push(Visit {
            state: event.text("name").unwrap_or("?").to_owned(),
            kind,
            frame,
            entered_ms: event.at_ms,
            entered_id: event.id,
            ended_ms: None,
            status: Status::Running,
            attempts: Vec::new(),
            failure: None,
            failed_by: if kind == StateType::Fail { event.id } else { 0 },
            items: Items::default(),
            map_run: None,
        });
        let index = self.visits.len() - 1;
        changes.push(Change::Entered(index));
        if kind == StateType::Fail {
            self.close(index, Status::Failed, event.at_ms, changes);
        }
        Place {
            visit: Some(index),
            frame,
            forks: false,
        }
    }

    /// A new branch (numbered by its turn) or iteration of a visit.
    fn frame(&mut self, owner: Option<usize>, iteration: Option<u64>) -> usize {
        let around = owner.map_or(0, |visit| self.visits[visit].frame);
        let attempt_start = owner
            .and_then(|visit| self.visits[visit].attempts.last())
            .map_or(0, |a| a.scheduled_ms);
        let index = iteration.unwrap_or_else(|| {
            let siblings = self
                .frames
                .iter()
                .enumerate()
                .filter(|(_, frame)| frame.owner == owner && owner.is_some());
            let recent = |at: usize| {
                self.visits
                    .iter()
                    .any(|v| v.frame == at && v.entered_ms >= attempt_start)
            };
            siblings.filter(|(at, _)| recent(*at)).count() as u64
        });
        let (depth, in_map) = (
            self.frames[around].depth + 1,
            self.frames[around].in_map || iteration.is_some(),
        );
        self.frames.push(Frame {
            owner,
            index,
            depth,
            in_map,
        });
        self.frames.len() - 1
    }

    fn iteration(
        &mut self,
        what: &str,
        event: &HistoryEvent,
        before: Place,
        changes: &mut Vec<Change>,
    ) -> Place {
        let index = event.number("index").unwrap_or(0);
        let named = event.text("name");
        let own = |visit: &Visit| {
            visit.kind == StateType::Map && named.is_none_or(|name| visit.state == name)
        };
        let owner = self.owner_of(before, own);
        let Some(owner) = owner else { return before };
        changes.push(Change::ItemsMoved);
        if what == "Started" {
            self.visits[owner].items.running += 1;
            let frame = self.frame(Some(owner), Some(index));
            return Place {
                visit: None,
                frame,
                forks: false,
            };
        }
        let items = &mut self.visits[owner].items;
        items.running = items.running.saturating_sub(1);
        match what {
            "Succeeded" => items.succeeded += 1,
            "Failed" => items.failed += 1,
            _ => {}
        }
        let ended = self
            .frames
            .iter()
            .rposition(|frame| frame.owner == Some(owner) && frame.index == index);
        if let Some(frame) = ended {
            self.close_frame(frame, event.at_ms, changes);
        }
        before
    }

    /// The visit an event is about. What ends a Parallel or a Map follows the last event within it, so the place
    /// before is not the visit's own: the event's type names the kind of the state, an exit its name as well.
    fn meant_visit(&self, before: Place, event: &HistoryEvent) -> Option<usize> {
        let kind = event
            .kind
            .split_once("State")
            .and_then(|(kind, _)| StateType::parse(kind));
        let Some(kind) = kind else {
            return before.visit;
        };
        let name = event.text("name");
        let own = |visit: &Visit| {
            visit.kind == kind
                && visit.ended_ms.is_none()
                && name.is_none_or(|name| visit.state == name)
        };
        self.owner_of(before, own).or(before.visit)
    }

    /// The visit of the Map around a place, or the place's own.
    fn owner_of(&self, before: Place, own: impl Fn(&Visit) -> bool) -> Option<usize> {
        if let Some(visit) = before.visit.filter(|visit| own(&self.visits[*visit])) {
            return Some(visit);
        }
        let mut frame = before.frame;
        while let Some(owner) = self.frames[frame].owner {
            if own(&self.visits[owner]) {
                return Some(owner);
            }
            frame = self.visits[owner].frame;
        }
        self.visits.iter().rposition(own)
    }

    fn visit_event(
        &mut self,
        index: usize,
        meant: &Meaning,
        event: &HistoryEvent,
        changes: &mut Vec<Change>,
    ) {
        let failure = || Failure {
            error: event.text("error").map(str::to_owned),
            cause: event.text("cause").map(str::to_owned),
        };
        let visit = &mut self.visits[index];
        match meant {
            Meaning::Scheduled => {
                visit.failure = None;
                visit.attempts.push(Attempt::at(event.at_ms));
            }
            Meaning::Started => {
                if let Some(attempt) = visit.attempts.last_mut() {
                    attempt.started_ms = Some(event.at_ms);
                }
            }
            Meaning::Succeeded => {
                if let Some(attempt) = visit.attempts.last_mut() {
                    attempt.ended_ms = Some(event.at_ms);
                    attempt.used = event.used.or(attempt.used);
                }
            }
            Meaning::Failed | Meaning::TimedOut => {
                let failed = if event.details.is_null() {
                    self.failure_within(index)
                } else {
                    failure()
                };
                let visit = &mut self.visits[index];
                if let Some(attempt) = visit.attempts.last_mut() {
                    attempt.ended_ms = Some(event.at_ms);
                    attempt.used = event.used.or(attempt.used);
                    attempt.failure = Some(failed.clone());
                }
                visit.failure = Some(failed);
                visit.failed_by = event.id;
                changes.push(Change::AttemptFailed(index));
            }
            Meaning::EvaluationFailed => {
                visit.failure = Some(failure());
                visit.failed_by = event.id;
                changes.push(Change::AttemptFailed(index));
            }
            Meaning::Exited => {
                let status = if visit.failure.is_some() {
                    Status::Caught
                } else {
                    Status::Succeeded
                };
                self.close(index, status, event.at_ms, changes);
            }
            Meaning::Aborted => self.close(index, Status::Stopped, event.at_ms, changes),
            Meaning::Entered(_)
            | Meaning::Execution(_)
            | Meaning::Iteration(_)
            | Meaning::Opened
            | Meaning::Submitted
            | Meaning::Inner
            | Meaning::Other => {}
        }
    }

    /// The failure in the branches or iterations of a visit that came last, which is the one that nothing caught: an
    /// earlier one of another branch may wait for its next attempt. That of a Fail state is told at the end.
    fn failure_within(&self, owner: usize) -> Failure {
        let inside = |visit: &&Visit| {
            self.frames[visit.frame].owner == Some(owner) && visit.status != Status::Caught
        };
        let last = self
            .visits
            .iter()
            .filter(inside)
            .max_by_key(|visit| visit.failed_by);
        last.and_then(|visit| visit.failure.clone())
            .unwrap_or_default()
    }

    fn close(&mut self, index: usize, status: Status, at_ms: u64, changes: &mut Vec<Change>) {
        let visit = &mut self.visits[index];
        if visit.ended_ms.is_some() {
            return;
        }
        visit.ended_ms = Some(at_ms);
        visit.status = status;
        if let Some(attempt) = visit
            .attempts
            .last_mut()
            .filter(|attempt| attempt.ended_ms.is_none())
        {
            attempt.ended_ms = Some(at_ms);
            attempt.is_stopped = status == Status::Stopped;
        }
        self.close_frames_of(index, at_ms, changes);
        changes.push(Change::Ended(index));
    }

    /// Closes what is open in the branches or iterations of a visit.
    fn close_frames_of(&mut self, index: usize, at_ms: u64, changes: &mut Vec<Change>) {
        for frame in self.frames_of(index) {
            self.close_frame(frame, at_ms, changes);
        }
    }

    fn frames_of(&self, index: usize) -> Vec<usize> {
        (0..self.frames.len())
            .filter(|at| self.frames[*at].owner == Some(index))
            .collect()
    }

    /// Closes what is open in a flow that has ended.
    fn close_frame(&mut self, frame: usize, at_ms: u64, changes: &mut Vec<Change>) {
        let open: Vec<usize> = (0..self.visits.len())
            .filter(|at| self.visits[*at].frame == frame && self.visits[*at].ended_ms.is_none())
            .collect();
        for index in open {
            let failed = self.visits[index].failure.is_some();
            self.close(
                index,
                if failed {
                    Status::Failed
                } else {
                    Status::Stopped
                },
                at_ms,
                changes,
            );
        }
    }

    fn execution(&mut self, what: &str, event: &HistoryEvent, changes: &mut Vec<Change>) {
        let status = match what {
            "Started" => {
                self.started_ms = Some(event.at_ms);
                return;
            }
            "Succeeded" => Status::Succeeded,
            "TimedOut" => Status::TimedOut,
            "Aborted" => Status::Stopped,
            _ => Status::Failed,
        };
        let failure = Failure {
            error: event.text("error").map(str::to_owned),
            cause: event.text("cause").map(str::to_owned),
        };
        if status == Status::Failed {
            self.fail_owners(&failure);
        }
        self.close_frame(0, event.at_ms, changes);
        self.ending = Some(Ending {
            status,
            at_ms: event.at_ms,
            failure,
        });
        changes.push(Change::Closed);
    }

    /// The execution goes on in the states that it ended in.
    fn redriven(&mut self, event: &HistoryEvent, changes: &mut Vec<Change>) -> Place {
        self.ending = None;
        self.redriven_ms.push(event.at_ms);
        changes.push(Change::Redriven);
        self.reopen(0);
        let last = self.visits.iter().rposition(|visit| visit.frame == 0);
        Place {
            visit: last,
            frame: 0,
            forks: false,
        }
    }

    /// Opens the state again that a flow ended in, and those within it; a state that was exited stays as it is. False
    /// when there is none. A Fail state is entered anew.
    fn reopen(&mut self, frame: usize) -> bool {
        let last = self.visits.iter().rposition(|visit| visit.frame == frame);
        let Some(index) = last else { return false };
        let visit = &mut self.visits[index];
        let left = matches!(
            visit.status,
            Status::Failed | Status::Stopped | Status::TimedOut
        );
        if !left || visit.kind == StateType::Fail {
            return false;
        }
        (visit.status, visit.ended_ms, visit.failure) = (Status::Running, None, None);
        let opened_ms = visit.attempts.last().map_or(0, |last| last.scheduled_ms);
        let mut running = 0;
        for frame in self.frames_of(index) {
            let first = self.visits.iter().find(|visit| visit.frame == frame);
            // Those of earlier attempts are over.
            if first.is_some_and(|first| first.entered_ms >= opened_ms) && self.reopen(frame) {
                running += 1;
            }
        }
        let items = &mut self.visits[index].items;
        (items.running, items.failed) = (running, 0);
        true
    }

    /// A failure that nothing caught failed the states around it, too. A state that is last in the history and has no
    /// failure of its own (a Fail state has none, an output that did not fit) has the execution's.
    fn fail_owners(&mut self, failure: &Failure) {
        if let Some(fail) = self
            .visits
            .iter_mut()
            .rev()
            .find(|v| v.status == Status::Failed && v.failure.is_none())
        {
            fail.failure = Some(failure.clone());
        }
        let failed: Vec<usize> = (0..self.visits.len())
            .filter(|at| {
                self.visits[*at].failure.is_some() && self.visits[*at].status != Status::Caught
            })
            .collect();
        if failed.is_empty()
            && let Some(open) = self
                .visits
                .iter_mut()
                .rev()
                .find(|visit| visit.ended_ms.is_none())
        {
            open.failure = Some(failure.clone());
        }
        for index in failed {
            let mut frame = self.visits[index].frame;
            while let Some(owner) = self.frames[frame]
                .owner
                .filter(|owner| self.visits[*owner].ended_ms.is_none())
            {
                let told = self.visits[owner].failure.get_or_insert_default();
                if told.error.is_none() && told.cause.is_none() {
                    *told = failure.clone();
                }
                frame = self.visits[owner].frame;
            }
        }
    }
}

impl Attempt {
    fn at(ms: u64) -> Attempt {
        Attempt {
            scheduled_ms: ms,
            started_ms: None,
            ended_ms: None,
            failure: None,
            is_stopped: false,
            used: None,
        }
    }
}
