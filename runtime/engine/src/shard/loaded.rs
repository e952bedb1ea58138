//! An execution in memory: its run, the inputs that wait for a turn, and the appends that are not yet durable.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use sha2::{Digest, Sha256};
use stepwell_asl::Program;
use stepwell_interp::{
    Cancelled, ChildId, Effect, Env, Event, Input, MapRunEffect, MapRunView, Redrive, Run,
    STEP_EVENTS_MAX, TaskId, TaskToken, Timestamp, Usage, What, encode_with,
};
use tokio::sync::oneshot;

use super::{
    blobs::Kept,
    border::{ActivityGrant, Info, MapRunRequest, Mode, StartReply, SyncEnd, TakeReply, Ticket},
    subject::Subject,
    telling::NewId,
    waiting::{Redriving, Waiting},
};
use crate::{
    api::HistoryEntry,
    journal::{
        Append, CloseTask, Epoch, ExecutionId, ExecutionRow, Look, MessageId, NewExecution,
        OpenTask, Outgoing, Refused, ScopeId, Segment, Status, StoredSegment, TokenHash, View,
    },
    limits::{EVICT_AFTER_MS, SEEN_MESSAGES_MAX},
    near::Noticed,
    reader,
    record::{self, TaskKey},
};

/// See the module.
pub(super) struct Loaded {
    pub(super) info: Arc<Info>,
    pub(super) program: Arc<Program>,
    pub(super) run: Subject,
    pub(super) mode: Mode,
    pub(super) inbox: VecDeque<Waiting>,
    /// It goes on without an input: the last step stopped at its bound, or it was folded in the middle of its work.
    pub(super) goes_on: bool,
    /// While a timer is due: how many of the inputs that were there before it have yet to be taken.
    before_timers: Option<usize>,
    pub(super) in_flight: VecDeque<Flight>,
    /// Until the first append: what it declares and who waits for it.
    pub(super) create: Option<(NewExecution, StartReply)>,
    /// The registered timer of the run.
    pub(super) timer: Option<Timestamp>,
    /// Recorded, not yet appended: starts of attempts, which need no commit of their own.
    unflushed: Vec<Event>,
    /// The inputs they came from.
    unflushed_inputs: Vec<(Input, Option<MessageId>)>,
    /// Public id of the first of `unflushed`, or of the next event.
    unflushed_public: u64,
    /// Position of the next event in the store.
    next_position: u64,
    /// Messages taken up; the store may show them again until their append is durable.
    seen: BTreeSet<MessageId>,
    /// Open tasks of activities that may not be there.
    unsure: Vec<(TaskId, Arc<str>)>,
    /// A heartbeat moved a deadline that only memory knows.
    heartbeat_seen: bool,
    sync_reply: Option<oneshot::Sender<SyncEnd>>,
    /// Large values that the store has, or gets by an append that is on its way.
    kept: Kept,
    /// The limits that it was noticed to be near.
    noticed: Noticed,
    /// The first append of a durable execution that has been in memory since.
    origin: Option<Box<Origin>>,
}

/// What the first append of an execution declared and held.
struct Origin {
    new: NewExecution,
    first: StoredSegment,
}

/// An append on its way, with what waits for it.
#[derive(Default)]
pub(super) struct Flight {
    pub(super) ticket: Ticket,
    pub(super) durable: bool,
    pub(super) effects: Vec<Effect>,
    /// The inputs it came from, for another try.
    inputs: Vec<(Input, Option<MessageId>)>,
    pub(super) started: Option<StartReply>,
    pub(super) takes: Vec<(TakeReply, ActivityGrant)>,
    pub(super) redrives: Vec<Redriving>,
    pub(super) history: Vec<HistoryEntry>,
    /// Messages that changed nothing, given what these events made of the run.
    pub(super) moot: Vec<MessageId>,
    /// Children whose start changed nothing: no task waits for them.
    pub(super) orphans: Vec<ChildId>,
    /// Messages that the append carries, and the ids they got.
    pub(super) sent: Vec<Outgoing>,
    pub(super) landed: Vec<MessageId>,
    /// Set when the execution may leave memory, with its wake-up time.
    pub(super) evict: Option<Option<Timestamp>>,
    /// What the store holds once this is durable, when it is the end of the execution.
    pub(super) closed: Option<Box<Look>>,
}

/// What a turn made of the inputs.
#[derive(Default)]
pub(super) struct Turn {
    pub(super) refused: Vec<TakeReply>,
    pub(super) taken: Taken,
}

/// The recorded part of a turn.
#[derive(Default)]
pub(super) struct Taken {
    events: Vec<Event>,
    effects: Vec<Effect>,
    inputs: Vec<(Input, Option<MessageId>)>,
    takes: Vec<(TakeReply, ActivityGrant)>,
    redrives: Vec<Redriving>,
    /// Tokens of tasks that ended without their answer.
    unanswered: Vec<TaskToken>,
    /// Children that no task waits for.
    orphans: Vec<ChildId>,
    /// Limits that it came near.
    pub(super) near: Vec<Usage>,
    /// It was redriven.
    pub(super) redriven: bool,
    /// Only starts of attempts were recorded.
    lazy: bool,
}

/// What follows a turn.
pub(super) enum Next {
    Append {
        append: Box<Append>,
        flight: Box<Flight>,
    },
    /// Nothing to make durable: the effects are free at once.
    Release(Box<Flight>),
    Nothing,
}

impl Loaded {
    pub(super) fn new(info: Arc<Info>, program: Arc<Program>, mode: Mode, run: Subject) -> Loaded {
        Loaded {
            info,
            program,
            mode,
            inbox: VecDeque::new(),
            goes_on: false,
            before_timers: None,
            in_flight: VecDeque::new(),
            create: None,
            timer: None,
            unflushed: Vec::new(),
            unflushed_inputs: Vec::new(),
            unflushed_public: run.next_public_id(),
            next_position: run.next_position(),
            seen: BTreeSet::new(),
            unsure: Vec::new(),
            heartbeat_seen: false,
            sync_reply: None,
            kept: Kept::default(),
            noticed: Noticed::default(),
            origin: None,
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
        public_entries(&self.unflushed, self.unflushed_public)
    }

    /// What a map run tells of itself.
    pub(super) fn map_run_view(&self) -> Option<MapRunView> {
        self.run.map_run()?.view()
    }

    /// Steps waiting inputs and timers that are due, and goes on with what is left to do once there is neither, until
    /// there were enough steps or events, or the time is over. A new execution's start is not held up by what may take long after it.
    pub(super) fn step_inputs(
        &mut self,
        now: Timestamp,
        inputs_max: usize,
        seed: &mut dyn FnMut(u64) -> [u8; 32],
        time_is_over: &mut dyn FnMut() -> bool,
    ) -> Turn {
        let mut turn = Turn::default();
        turn.taken.lazy = true;
        if self.awaits_start() || self.awaits_end() {
            return turn;
        }
        for _ in 0..inputs_max {
            let Some(mut waiting) = self.next_input(now) else {
                break;
            };
            let grant = waiting
                .take
                .as_ref()
                .and_then(|(task, _)| self.grant(*task));
            let env = Env {
                at: now,
                seed: seed(self.run.next_position()),
            };
            let redriving = self.redriving(&mut waiting, now);
            turn.taken.redrives.extend(redriving);
            let before = turn.taken.events.len();
            let again = self.step_one(&waiting, env, &mut turn.taken);
            let recorded = turn.taken.events.len() > before;
            match (waiting.take, grant) {
                (Some((_, reply)), Some(grant)) if recorded => {
                    turn.taken.takes.push((reply, grant))
                }
                (Some((_, reply)), _) => turn.refused.push(reply),
                (None, _) => {}
            }
            self.goes_on = again;
            let enough = turn.taken.events.len() >= STEP_EVENTS_MAX as usize;
            if enough
                || (recorded && self.run.is_closed())
                || (again && self.create.is_some())
                || time_is_over()
            {
                break;
            }
        }
        turn
    }

    /// Who waits for the answer to this input, when it is a call for a redrive.
    fn redriving(&self, waiting: &mut Waiting, now: Timestamp) -> Option<Redriving> {
        let reply = waiting.redrive.take()?;
        let Input::RedriveAsked { token, .. } = &waiting.input else {
            return None;
        };
        let at = now.max(self.run.last_at());
        let answer = match self.run.may_redrive(token.as_deref(), at) {
            Ok(Redrive::Now) => Ok(at),
            Ok(Redrive::Before(before)) => Ok(before),
            Err(why) => Err(why),
        };
        Some(Redriving {
            reply,
            token: token.clone(),
            answer,
        })
    }

    /// The next input: messages and news; a timer that is due after those that came before it; and last what is left
    /// to do. So neither work without an end nor an inbox that is never empty holds up a stop or a deadline.
    fn next_input(&mut self, now: Timestamp) -> Option<Waiting> {
        let due = self.run.next_timer().filter(|(due, _)| *due <= now);
        let Some((_, timer)) = due else {
            self.before_timers = None;
            return self.inbox.pop_front().or_else(|| {
                std::mem::take(&mut self.goes_on).then(|| Waiting::plain(Input::Continue))
            });
        };
        let before = self.before_timers.unwrap_or(self.inbox.len());
        if before > 0
            && let Some(waiting) = self.inbox.pop_front()
        {
            self.before_timers = Some(before - 1);
            return Some(waiting);
        }
        self.before_timers = None;
        Some(Waiting::plain(Input::TimerDue { timer }))
    }

    /// Steps one input; true when the interpreter wants to go on in another turn.
    fn step_one(&mut self, waiting: &Waiting, env: Env, taken: &mut Taken) -> bool {
        let is_start = matches!(waiting.input, Input::TaskStarted { .. }) && waiting.take.is_none();
        self.heartbeat_seen |= matches!(waiting.input, Input::Heartbeat { .. });
        let mut again = false;
        let token = self.token_without_answer(waiting);
        let effects = self.run.step(&self.program, waiting.input.clone(), env);
        taken.lazy &= is_start || effects.is_empty();
        self.notice_limits(&effects, taken);
        for effect in effects {
            match effect {
                Effect::Record(event) => {
                    taken.redriven |= matches!(event.what, What::ExecutionRedriven { .. });
                    taken.events.push(event);
                }
                Effect::Again => again = true,
                effect @ (Effect::RunTask(_)
                | Effect::OpenToken { .. }
                | Effect::CancelTask { .. }
                | Effect::StartMapRun(_)
                | Effect::RedriveMapRun { .. }
                | Effect::MapRun(_)
                | Effect::Finish) => {
                    taken.effects.push(effect);
                }
            }
        }
        if let Input::ChildStarted { task, child, .. } = waiting.input
            && !self.run.waits_for(task, child)
        {
            taken.orphans.push(child);
        }
        if let Some((task, token)) = token
            && self.run.open_task(task).is_none()
        {
            taken.unanswered.push(token);
        }
        // A worker that was never answered must not count as one that began, and a caller calls again.
        if waiting.take.is_none() && !(waiting.is_redrive() && waiting.message.is_none()) {
            taken.inputs.push((waiting.input.clone(), waiting.message));
        }
        again
    }

    /// Takes note of the limits that an execution came near.
    fn notice_limits(&mut self, effects: &[Effect], taken: &mut Taken) {
        let Some(run) = self.run.execution() else {
            return;
        };
        let recorded = effects.iter().filter_map(|effect| match effect {
            Effect::Record(event) => Some(event),
            Effect::RunTask(_)
            | Effect::OpenToken { .. }
            | Effect::CancelTask { .. }
            | Effect::StartMapRun(_)
            | Effect::RedriveMapRun { .. }
            | Effect::MapRun(_)
            | Effect::Again
            | Effect::Finish => None,
        });
        taken.near.extend(self.noticed.news(recorded, run));
    }

    /// The token of the task that an input other than its answer may end: its request failed, or its job is done.
    fn token_without_answer(&self, waiting: &Waiting) -> Option<(TaskId, TaskToken)> {
        let task = match (&waiting.input, waiting.message) {
            (Input::TaskEnded { task, .. } | Input::TaskLost { task, .. }, None)
            | (Input::ChildEnded { task, .. }, _) => *task,
            _ => return None,
        };
        Some((task, self.run.open_task(task)?.token?.clone()))
    }

    fn grant(&self, task: TaskId) -> Option<ActivityGrant> {
        let open = self
            .run
            .open_task(task)
            .filter(|open| !open.started && open.activity().is_some())?;
        Some(ActivityGrant {
            token: open.token?.0.clone(),
            input: open.parameters.clone(),
        })
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

    /// Turns what was taken into an append, or into effects that need none.
    pub(super) fn next_append(
        &mut self,
        now: Timestamp,
        id: ExecutionId,
        epoch: Epoch,
        taken: Taken,
        new_id: &mut NewId,
    ) -> Next {
        match self.mode {
            Mode::Durable => self.durable_append(now, id, epoch, taken, new_id),
            Mode::ExpressAsync => self.express_append(now, id, epoch, taken),
            Mode::ExpressSync => {
                if let Some((_, StartReply::Ended(reply))) = self.create.take() {
                    self.sync_reply = Some(reply);
                }
                let moot = messages_of(&taken.inputs);
                self.without_events(taken, moot)
            }
        }
    }

    /// What recorded nothing still follows what did: with appends on their way, even a message that changed nothing
    /// is only then known to be moot when they are durable.
    fn without_events(&mut self, taken: Taken, moot: Vec<MessageId>) -> Next {
        let Taken {
            effects,
            orphans,
            redrives,
            ..
        } = taken;
        if effects.is_empty() && moot.is_empty() && redrives.is_empty() {
            return Next::Nothing;
        }
        if let Some(last) = self.in_flight.back_mut() {
            last.effects.extend(effects);
            last.moot.extend(moot);
            last.orphans.extend(orphans);
            last.redrives.extend(redrives);
            return Next::Nothing;
        }
        Next::Release(Box::new(Flight {
            effects,
            moot,
            orphans,
            redrives,
            durable: true,
            ..Flight::default()
        }))
    }

    fn durable_append(
        &mut self,
        now: Timestamp,
        id: ExecutionId,
        epoch: Epoch,
        mut taken: Taken,
        new_id: &mut NewId,
    ) -> Next {
        let messages = messages_of(&taken.inputs);
        if taken.events.is_empty() {
            return self.without_events(taken, messages);
        }
        if taken.lazy && messages.is_empty() && self.create.is_none() {
            self.unflushed.extend(taken.events);
            self.unflushed_inputs.extend(taken.inputs);
            return Next::Nothing;
        }
        let first_public = self.unflushed_public;
        let mut events = std::mem::take(&mut self.unflushed);
        events.extend(taken.events);
        let mut inputs = std::mem::take(&mut self.unflushed_inputs);
        inputs.extend(taken.inputs);
        let view = self.view(now);
        let evict = (!view.hot && view.status == Status::Running).then_some(view.wake_at);
        let send = self.messages_of_map_runs(id, &mut taken.effects, new_id);
        let mut append = self.append(
            id,
            epoch,
            &events,
            view,
            (&taken.effects, &taken.unanswered, &taken.orphans),
            messages,
        );
        append.send.extend(send);
        let flight = Flight {
            closed: self.closed(&append),
            history: public_entries(&events, first_public),
            sent: append.send.clone(),
            effects: taken.effects,
            inputs,
            started: self.create.take().map(|(_, reply)| reply),
            takes: taken.takes,
            redrives: taken.redrives,
            evict,
            ..Flight::default()
        };
        self.unflushed_public = self.run.next_public_id();
        Next::Append {
            append: Box::new(append),
            flight: Box::new(flight),
        }
    }

    /// What the store holds after an append that closes the execution, if all of it is known. Remembers the first one.
    fn closed(&mut self, append: &Append) -> Option<Box<Look>> {
        let stored = StoredSegment {
            first: append.expected_next,
            segment: append.segment.clone(),
        };
        if let Some(new) = &append.create {
            let (new, first) = (new.clone(), stored.clone());
            self.origin = Some(Box::new(Origin { new, first }));
        }
        let origin = self.origin.as_ref()?;
        if append.view.status == Status::Running {
            return None;
        }
        let row = ExecutionRow {
            id: append.execution,
            new: origin.new.clone(),
            view: append.view.clone(),
            next: self.next_position,
            next_public: self.run.next_public_id(),
        };
        Some(Box::new(Look {
            row,
            first: Some(origin.first.clone()),
            last: (stored.first != origin.first.first).then_some(stored),
        }))
    }

    /// The first append holds the start alone, the last one the end alone; between them nothing is kept.
    fn express_append(
        &mut self,
        now: Timestamp,
        id: ExecutionId,
        epoch: Epoch,
        taken: Taken,
    ) -> Next {
        let first = self.create.is_some();
        let ended = self.run.ending().is_some();
        let messages = messages_of(&taken.inputs);
        // A redrive begins it, too.
        let begins = first || taken.redriven;
        let mut kept = taken.events;
        let last = kept.pop().filter(|_| ended || (begins && kept.is_empty()));
        kept.truncate(usize::from(begins));
        kept.extend(last);
        if kept.is_empty() {
            let taken = Taken {
                effects: taken.effects,
                ..Taken::default()
            };
            return self.without_events(taken, messages);
        }
        let view = View {
            hot: !ended,
            wake_at: None,
            ..self.view(now)
        };
        let append = self.append(id, epoch, &kept, view, (&[], &[], &[]), messages);
        let flight = Flight {
            sent: append.send.clone(),
            effects: taken.effects,
            inputs: taken.inputs,
            started: self.create.take().map(|(_, reply)| reply),
            ..Flight::default()
        };
        Next::Append {
            append: Box::new(append),
            flight: Box::new(flight),
        }
    }

    fn append(
        &mut self,
        id: ExecutionId,
        epoch: Epoch,
        events: &[Event],
        view: View,
        (effects, unanswered, orphans): (&[Effect], &[TaskToken], &[ChildId]),
        consume: Vec<MessageId>,
    ) -> Append {
        let public = events.iter().filter(|event| event.what.is_public()).count();
        let mut segment = Segment {
            events: u32::try_from(events.len()).expect("a turn records fewer than 2^32 events"),
            first_public: self.unflushed_public,
            public: u32::try_from(public).expect("a turn records fewer than 2^32 events"),
            bytes: encode_with(events, &mut self.kept).into(),
        };
        reader::seal_segment(id, self.next_position, &mut segment);
        let (open, close) = self.tokens(id, effects, unanswered);
        let send = self.messages_to_send(id, effects, orphans);
        let append = Append {
            execution: id,
            epoch,
            expected_next: self.next_position,
            create: self.create.as_ref().map(|(new, _)| new.clone()),
            segment,
            blobs: self.kept.take_fresh(),
            view,
            open,
            close,
            send,
            consume,
        };
        self.next_position += events.len() as u64;
        append
    }

    /// What a map run wants of the object storage.
    pub(super) fn request(&self, effect: MapRunEffect) -> Option<MapRunRequest> {
        let start = self.run.map_run()?.start()?.clone();
        let tenant = self.info.tenant.clone();
        match effect {
            MapRunEffect::Read {
                cursor,
                skip,
                first,
            } => Some(MapRunRequest::Read {
                start,
                program: self.program.clone(),
                tenant,
                cursor,
                skip,
                first,
            }),
            MapRunEffect::WritePart {
                kind,
                number,
                results,
                executions,
                items,
            } => Some(MapRunRequest::WritePart {
                start,
                tenant,
                kind,
                number,
                results,
                executions,
                items,
            }),
            MapRunEffect::WriteManifest { parts } => Some(MapRunRequest::WriteManifest {
                start,
                tenant,
                parts,
            }),
            MapRunEffect::Start(_)
            | MapRunEffect::Stop(_)
            | MapRunEffect::Redrive(_)
            | MapRunEffect::Tell { .. }
            | MapRunEffect::TellBegun => None,
        }
    }

    /// Rows of tokens that these effects open and close. One that opens and closes in the same turn has none. Whatever
    /// ends a task instead of its answer does so only while its row is there: an accepted answer is never lost.
    fn tokens(
        &self,
        id: ExecutionId,
        effects: &[Effect],
        unanswered: &[TaskToken],
    ) -> (Vec<OpenTask>, Vec<CloseTask>) {
        let mut open: Vec<OpenTask> = Vec::new();
        let mut close = Vec::new();
        for effect in effects {
            match effect {
                Effect::OpenToken {
                    task,
                    token,
                    activity,
                } => open.push(OpenTask {
                    token: token_hash(token),
                    execution: id,
                    task: record::encode(&TaskKey::from(*task)),
                    activity: activity.as_deref().map(activity_scope),
                    scheduled_at: self.run.last_at(),
                }),
                Effect::CancelTask {
                    token: Some(token),
                    why,
                    ..
                } => {
                    let token = token_hash(token);
                    let opened = open.len();
                    open.retain(|task| task.token != token);
                    if open.len() == opened {
                        close.push(CloseTask {
                            token,
                            must_exist: matches!(why, Cancelled::TimedOut),
                        });
                    }
                }
                Effect::CancelTask { token: None, .. }
                | Effect::Record(_)
                | Effect::RunTask(_)
                | Effect::StartMapRun(_)
                | Effect::RedriveMapRun { .. }
                | Effect::MapRun(_)
                | Effect::Again
                | Effect::Finish => {}
            }
        }
        for token in unanswered.iter().map(token_hash) {
            // What ended the task may have cancelled its token as well.
            if close.iter().all(|closed| closed.token != token) {
                close.push(CloseTask {
                    token,
                    must_exist: true,
                });
            }
        }
        (open, close)
    }

    /// The row after this turn. What stays in memory is hot: it must be loaded at the next start. What may sleep on
    /// disk has its wake-up time there instead.
    fn view(&self, now: Timestamp) -> View {
        let status = self.run.status();
        let closed = status != Status::Running;
        let timer = self.run.next_timer().map(|(due, _)| due);
        let far = timer.is_none_or(|due| due.since_ms(now) > EVICT_AFTER_MS);
        let settled = self.inbox.is_empty()
            && !self.goes_on
            && self.unsure.is_empty()
            && !self.run.is_unfinished()
            && !self.run.is_hot();
        let sleeps = !closed && far && settled && !self.heartbeat_seen;
        View {
            status,
            stopped_at: closed.then(|| self.run.last_at()),
            wake_at: if sleeps { timer } else { None },
            hot: !closed && !sleeps,
            redrive_count: self.run.redrives(),
            // The service tells it of STANDARD executions alone.
            redriven_at: self
                .run
                .redriven_at()
                .filter(|_| matches!(self.mode, Mode::Durable)),
        }
    }

    /// The reply of a first append that never left memory.
    pub(super) fn take_reply(&mut self) -> Option<StartReply> {
        self.create.take().map(|(_, reply)| reply)
    }

    /// All messages that it has taken and not accounted for.
    pub(super) fn messages(&self) -> Vec<MessageId> {
        let flights = self.in_flight.iter();
        let inputs = flights
            .flat_map(|flight| &flight.inputs)
            .chain(&self.unflushed_inputs);
        let taken = inputs.filter_map(|(_, message)| *message);
        let waiting = self.inbox.iter().filter_map(|waiting| waiting.message);
        taken.chain(waiting).collect()
    }

    /// Nobody knows whether what is on its way landed: who waits for it to be told of a redrive is told so.
    pub(super) fn refuse_redrives(&mut self, refused: &Refused) {
        let flights = self.in_flight.iter_mut();
        for call in flights.flat_map(|flight| flight.redrives.drain(..)) {
            let _ = call.reply.send(Err(refused.clone()));
        }
    }

    /// All inputs whose effects are not durable, in order, to be given to the folded run again.
    pub(super) fn inputs_again(self) -> Vec<Waiting> {
        let (mut again, mut redrives_again) = (Vec::new(), Vec::new());
        for flight in self.in_flight {
            for (reply, _) in flight.takes {
                let _ = reply.send(None);
            }
            again.extend(flight.inputs);
            let redrives = flight.redrives.into_iter();
            redrives_again.extend(redrives.map(|call| Waiting::redrive(call.token, call.reply)));
        }
        again.extend(self.unflushed_inputs);
        let taken = again.into_iter().filter(|(input, _)| {
            !matches!(
                input,
                Input::Continue | Input::Started(_) | Input::TimerDue { .. }
            )
        });
        // Messages come back from the store itself.
        let taken = taken
            .filter(|(_, message)| message.is_none())
            .map(|(input, _)| Waiting::plain(input));
        let waiting = self.inbox.into_iter().filter(|waiting| {
            waiting.message.is_none() && !matches!(waiting.input, Input::Started(_))
        });
        taken.chain(redrives_again).chain(waiting).collect()
    }

    /// Everyone who waits for this node's answer gets a refusal.
    pub(super) fn refuse_all(self) {
        let mut this = self;
        this.refuse_redrives(&Refused::LeaseLost);
        if let Some(reply) = this.take_reply() {
            reply.refuse(Refused::LeaseLost);
        }
        for flight in this.in_flight {
            if let Some(reply) = flight.started {
                reply.refuse(Refused::LeaseLost);
            }
            for (reply, _) in flight.takes {
                let _ = reply.send(None);
            }
        }
        for waiting in this.inbox {
            waiting.lose();
        }
    }

    /// The execution is closed and durable where it should be: answers who waits for a synchronous one.
    pub(super) fn end(self) {
        if let (Some(reply), Some(ending)) = (self.sync_reply, self.run.ending()) {
            let _ = reply.send(SyncEnd {
                ending: ending.clone(),
                stopped_at: self.run.last_at(),
            });
        }
    }
}

fn messages_of(inputs: &[(Input, Option<MessageId>)]) -> Vec<MessageId> {
    inputs.iter().filter_map(|(_, message)| *message).collect()
}

/// The row key of a token: its SHA-256.
pub(crate) fn token_hash(token: &TaskToken) -> TokenHash {
    TokenHash(Sha256::digest(token.0.as_bytes()).into())
}

/// The queue of an activity: the first eight bytes of its ARN's SHA-256, the top bit clear.
pub(crate) fn activity_scope(arn: &str) -> ScopeId {
    let digest: [u8; 32] = Sha256::digest(arn.as_bytes()).into();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    ScopeId(u64::from_be_bytes(first) >> 1)
}

/// The public ones of these events with their ids.
pub(crate) fn public_entries(events: &[Event], first_public: u64) -> Vec<HistoryEntry> {
    let public = events.iter().filter(|event| event.what.is_public());
    public
        .zip(first_public..)
        .map(|(event, id)| HistoryEntry {
            id,
            event: event.clone(),
        })
        .collect()
}
