//! An execution in memory: its run, the inputs that wait for a turn, and the appends that are not yet durable.

mod append;
mod blobs;
mod flight;
mod spent;
mod telling;
mod turn;

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use stepwell_asl::Program;
use stepwell_interp::{Effect, Event, Input, MapRunView, Run, TaskId, Timestamp};
use tokio::sync::oneshot;

use super::{
    border::{Info, Mode, StartReply, SyncEnd},
    subject::Subject,
    waiting::{Given, Waiting},
};
use crate::{
    api::HistoryEntry,
    journal::{Charges, MessageId, NewExecution},
    limits::SEEN_MESSAGES_MAX,
    near::Noticed,
    quotas::StartPlace,
    reader,
};

pub(super) use append::Next;
use append::Origin;
use blobs::Kept;
pub(super) use flight::Flight;
use spent::Spent;
pub(super) use spent::key as usage_key;
pub(super) use turn::Taken;

/// See the module.
pub(super) struct Loaded {
    pub(super) info: Arc<Info>,
    pub(super) program: Arc<Program>,
    pub(super) run: Subject,
    pub(super) mode: Mode,
    pub(super) inbox: VecDeque<Waiting>,
    /// It goes on without an input: the last step stopped at its bound, or it was folded in the middle of its work.
    pub(super) goes_on: bool,
    /// It waits before its first state until it is admitted.
    held: bool,
    /// What admitted it, where the store has to keep that: an EXPRESS execution has nothing else there that tells of it.
    admission: Option<MessageId>,
    /// While a timer is due: how many of the inputs that were there before it have yet to be taken.
    before_timers: Option<usize>,
    pub(super) in_flight: VecDeque<Flight>,
    /// Until the first append: what it declares and who waits for it.
    pub(super) create: Option<(NewExecution, StartReply)>,
    /// The registered timer of the run.
    pub(super) timer: Option<Timestamp>,
    /// Recorded, not yet appended: starts of attempts and what they used, which need no commit of their own.
    unflushed: Vec<Event>,
    /// The inputs they came from.
    unflushed_inputs: Vec<Given>,
    /// Public id of the first of `unflushed`, or of the next event.
    unflushed_public: u64,
    /// Public id of the next event that is told of and not kept.
    pub(super) next_logged: u64,
    /// Position of the next event in the store.
    next_position: u64,
    /// Messages taken up; the store may show them again until their append is durable.
    seen: BTreeSet<MessageId>,
    /// Open tasks of activities that may not be there.
    unsure: Vec<(TaskId, Arc<str>)>,
    /// A heartbeat moved a deadline that only memory knows.
    heartbeat_seen: bool,
    /// Who waits for the end of a synchronous execution, and its place.
    sync_reply: Option<(oneshot::Sender<SyncEnd>, Option<StartPlace>)>,
    /// Large values that the store has, or gets by an append that is on its way.
    kept: Kept,
    /// The limits that it was noticed to be near.
    noticed: Noticed,
    /// The first append of a durable execution that has been in memory since.
    origin: Option<Box<Origin>>,
    spent: Spent,
}

impl Loaded {
    pub(super) fn new(info: Arc<Info>, program: Arc<Program>, mode: Mode, run: Subject) -> Loaded {
        let line = info.line.as_ref();
        let held = line.is_some_and(|line| line.is_unbegun(run.next_position()));
        Loaded {
            info,
            program,
            mode,
            inbox: VecDeque::new(),
            goes_on: false,
            held,
            admission: None,
            before_timers: None,
            in_flight: VecDeque::new(),
            create: None,
            timer: None,
            unflushed: Vec::new(),
            unflushed_inputs: Vec::new(),
            unflushed_public: run.next_public_id(),
            next_logged: run.next_public_id(),
            next_position: run.next_position(),
            seen: BTreeSet::new(),
            unsure: Vec::new(),
            heartbeat_seen: false,
            sync_reply: None,
            kept: Kept::default(),
            noticed: Noticed::default(),
            origin: None,
            spent: Spent::default(),
            run,
        }
    }

    /// Takes up a folded log. An EXPRESS execution that a crash interrupted begins again from its input.
    pub(super) fn fold(
        info: Arc<Info>,
        program: Arc<Program>,
        mut folded: Subject,
        opened_at: Timestamp,
        now: Timestamp,
    ) -> Loaded {
        let start = folded.execution().and_then(Run::start);
        let express = start.filter(|start| start.express);
        if express.is_some() && folded.is_closed() {
            // It is to be redriven: nothing of its log but its start is there to go on from.
            return Loaded::new(info, program, Mode::ExpressAsync, folded);
        }
        // One that was redriven goes on from there, with the same attempts as before the crash.
        if express.is_some() && folded.redrives() > 0 {
            if let Subject::Execution(run) = &mut folded {
                run.restart_clock(now);
            }
            let mut loaded = Loaded::new(info, program, Mode::ExpressAsync, folded);
            loaded.goes_on = true;
            return loaded;
        }
        if let Some(start) = express {
            let again = Input::Started(Box::new(start.clone()));
            let mut loaded = Loaded::new(info, program, Mode::ExpressAsync, Subject::default());
            loaded.next_position = folded.next_position();
            loaded.inbox.push_back(Waiting::plain(again));
            return loaded;
        }
        if let Subject::Execution(run) = &mut folded {
            run.renew_heartbeats(opened_at);
        }
        Loaded::new(info, program, Mode::Durable, folded)
    }

    /// Queues an input; false when it is a message that was taken already. A stop waits for nothing but the start,
    /// a redrive and other stops: what each input sets going may be work for long.
    pub(super) fn accept(&mut self, waiting: Waiting) -> bool {
        if let Some(message) = waiting.message {
            if !self.seen.insert(message) {
                return false;
            }
            // Of the oldest the appends are durable long since.
            if self.seen.len() > SEEN_MESSAGES_MAX {
                self.seen.pop_first();
            }
        }
        let mut at = self.inbox.len();
        if matches!(waiting.input, Input::StopAsked { .. }) {
            let redriven = self.inbox.iter().rposition(Waiting::is_redrive);
            let from = redriven.map_or(0, |redrive| redrive + 1);
            let mut after = self.inbox.iter().skip(from);
            let first = after.position(|before| !before.goes_before_stop());
            at = first.map_or(at, |first| from + first);
        }
        self.inbox.insert(at, waiting);
        true
    }

    /// Whether it goes on without an input, as folded.
    pub(super) fn is_unfinished(&self) -> bool {
        self.run.is_unfinished() && !self.held
    }

    /// Whether there is something to take in another turn.
    pub(super) fn has_work(&self) -> bool {
        // An asynchronous EXPRESS execution runs once its start is durable.
        let takes_something = self.goes_on || !self.inbox.is_empty();
        takes_something && !self.awaits_start() && !self.awaits_end()
    }

    /// It is closed once its last append is durable. What comes until then is too late, or begins with what is stored.
    fn awaits_end(&self) -> bool {
        self.run.is_closed() && !self.in_flight.is_empty()
    }

    /// It was folded to be redriven, and was not.
    pub(super) fn is_left_closed(&self) -> bool {
        self.run.is_closed() && self.is_idle()
    }

    fn awaits_start(&self) -> bool {
        matches!(self.mode, Mode::ExpressAsync) && !self.in_flight.is_empty()
    }

    /// Nothing waits, nothing is on its way.
    pub(super) fn is_idle(&self) -> bool {
        let takes_nothing = self.inbox.is_empty() && !self.goes_on;
        takes_nothing && self.in_flight.is_empty() && self.unflushed.is_empty()
    }

    /// Public events in memory that the store does not have and that caused nothing outside.
    pub(super) fn live(&self) -> Vec<HistoryEntry> {
        reader::public_entries(&self.unflushed, self.unflushed_public)
    }

    /// What a map run tells of itself.
    pub(super) fn map_run_view(&self) -> Option<MapRunView> {
        self.run.map_run()?.view()
    }

    /// Takes note of opened tasks whose activity is not known to be there, and forgets those that are settled.
    pub(super) fn look_at_activities(
        &mut self,
        taken: &Taken,
        knows: &dyn Fn(&Info, &Arc<str>) -> bool,
    ) {
        for effect in &taken.effects {
            if let Effect::OpenToken {
                task,
                activity: Some(activity),
                ..
            } = effect
            {
                self.unsure.push((*task, activity.clone()));
            }
        }
        let (run, info) = (&self.run, &self.info);
        self.unsure.retain(|(task, activity)| {
            run.open_task(*task).is_some_and(|open| !open.started) && !knows(info, activity)
        });
    }

    /// What attempts of plugins used that no append carries.
    pub(super) fn take_used(&mut self, now: Timestamp) -> Charges {
        self.spent.take_plugins(&self.info, now)
    }

    /// Open tasks whose activity has to be looked up, after the run was folded.
    pub(super) fn unsure_activities(
        &mut self,
        knows: &dyn Fn(&Info, &Arc<str>) -> bool,
    ) -> Vec<(TaskId, Arc<str>)> {
        let unbegun = self.run.open_tasks().filter(|open| !open.started);
        self.unsure = unbegun
            .filter_map(|open| Some((open.task, open.activity()?.clone())))
            .filter(|(_, activity)| !knows(&self.info, activity))
            .collect();
        self.unsure.clone()
    }

    /// The execution is closed and durable where it should be: answers who waits for a synchronous one.
    pub(super) fn end(self) {
        if let (Some((reply, place)), Some(ending)) = (self.sync_reply, self.run.ending()) {
            // Whoever is told finds it free.
            drop(place);
            let _ = reply.send(SyncEnd {
                ending: ending.clone(),
                stopped_at: self.run.last_at(),
                memory_bytes_max: self.spent.memory_bytes_max(),
            });
        }
    }
}
