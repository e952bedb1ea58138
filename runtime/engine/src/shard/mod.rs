//! One shard: the executions it serves, as a state machine without I/O. Inputs and the time go in, [`Out`]s come
//! out; threads, stores and clocks are the driver's. So one code runs in production and, driven by a seed, in the
//! simulation.
//!
//! An execution's turn takes all its waiting inputs, steps them and makes one append. The next turn does not wait
//! for that append's commit; effects and replies of a turn are released in order, each when its append is durable.
//! After a failed append the run in memory is dropped, folded anew from the store, and given its inputs again:
//! steps are total, so an input that had its effect already changes nothing.

mod blobs;
mod border;
mod loaded;
mod ready;
mod subject;
mod telling;
#[cfg(test)]
mod tests;
mod waiting;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use stepwell_interp::{Effect, Input, TaskId, TaskRequest, Timestamp};
use tokio::sync::{mpsc, oneshot};

use crate::{
    api::HistoryEntry,
    children,
    counters::Counters,
    journal::{
        Epoch, ExecutionId, Look, Message, MessageId, Outgoing, Partition, Refused, Verdict, Write,
    },
    limits::{RELOAD_AFTER_MS, TURN_INPUTS_MAX, TURN_MS_MAX},
};

#[cfg(feature = "sim")]
pub(crate) use border::RedriveAnswer;
use border::TakeReply;
pub(crate) use border::{
    Begin, Environment, In, Info, LoadError, MapRunRequest, Mode, Monotonic, Out, StartReply,
    Stored, StoredOpen, Ticket,
};
use loaded::{Flight, Loaded};
pub(crate) use loaded::{activity_scope, public_entries, token_hash};
use ready::Ready;
pub(crate) use subject::Subject;
use waiting::Waiting;

/// See the module.
pub(crate) struct Shard {
    environment: Environment,
    counters: Arc<Counters>,
    /// Partitions this node holds, with their epochs. Appends of others are not attempted.
    held: BTreeMap<Partition, Epoch>,
    /// When the leases were asked for, and the time now: dispatching stops before another node may have taken them.
    leased_at: Monotonic,
    monotonic: Monotonic,
    /// Dispatches that wait for the leases to be renewed.
    withheld: Vec<(ExecutionId, Arc<Info>, Box<TaskRequest>)>,
    loaded: HashMap<ExecutionId, Loaded>,
    /// Executions being folded, with the inputs that wait for it.
    loading: HashMap<ExecutionId, Vec<Waiting>>,
    /// Executions that cannot be folded.
    damaged: BTreeSet<ExecutionId>,
    /// Executions to fold anew at a time, after a failed append or read.
    reloads: BTreeSet<(Timestamp, ExecutionId)>,
    ready: Ready,
    timers: BTreeSet<(Timestamp, ExecutionId)>,
    /// Attempts that were dispatched and have not ended.
    running: BTreeSet<(ExecutionId, TaskId)>,
    tickets: HashMap<Ticket, ExecutionId>,
    /// Messages that no append carries, and those that are of no more use once they are sent.
    posts: HashMap<Ticket, (Outgoing, Vec<MessageId>)>,
    next_ticket: u64,
    closed_waiters: HashMap<ExecutionId, Vec<oneshot::Sender<()>>>,
    watchers: HashMap<ExecutionId, Vec<mpsc::UnboundedSender<Vec<HistoryEntry>>>>,
    out: Vec<Out>,
}

impl Shard {
    pub(crate) fn new(environment: Environment, counters: Arc<Counters>) -> Shard {
        Shard {
            environment,
            counters,
            held: BTreeMap::new(),
            leased_at: Monotonic(0),
            monotonic: Monotonic(0),
            withheld: Vec::new(),
            loaded: HashMap::new(),
            loading: HashMap::new(),
            damaged: BTreeSet::new(),
            reloads: BTreeSet::new(),
            ready: Ready::default(),
            timers: BTreeSet::new(),
            running: BTreeSet::new(),
            tickets: HashMap::new(),
            posts: HashMap::new(),
            next_ticket: 0,
            closed_waiters: HashMap::new(),
            watchers: HashMap::new(),
            out: Vec::new(),
        }
    }

    /// Takes one input. What it brings about is seen after [`Shard::work`].
    pub(crate) fn handle(&mut self, now: Timestamp, input: In) {
        match input {
            In::Start(begin) => self.start(*begin),
            In::Input { execution, input } => self.attempt_input(execution, input),
            In::Heartbeat { execution, input } => {
                self.deliver(execution, Waiting::plain(input), true)
            }
            In::Message(message) => self.message(message),
            In::Take {
                execution,
                task,
                worker,
                reply,
            } => self.take(now, execution, task, worker, reply),
            In::Redrive {
                execution,
                token,
                reply,
            } => self.redrive(execution, Waiting::redrive(token, reply)),
            In::Wake(execution) => self.wake(execution),
            In::Loaded { execution, result } => self.fold(now, execution, result),
            In::Committed { ticket, verdict } => self.committed(now, ticket, verdict),
            In::Wait { execution, .. } if self.damaged.contains(&execution) => {}
            In::Wait { execution, reply } => {
                let waiters = self.closed_waiters.entry(execution).or_default();
                // Callers that went away leave nothing behind but their last entry.
                waiters.retain(|waiter| !waiter.is_closed());
                waiters.push(reply);
            }
            In::Watch { execution, sender } => {
                self.watchers.entry(execution).or_default().push(sender)
            }
            In::Live { execution, reply } => {
                let live = self
                    .loaded
                    .get(&execution)
                    .map(Loaded::live)
                    .unwrap_or_default();
                // A reader that went away needs no answer.
                let _ = reply.send(live);
            }
            // Its attempt counts as running until the message comes.
            In::Served { .. } => {}
            In::ViewMapRun { map_run, reply } => {
                let loaded = self.loaded.get(&map_run);
                // A reader that went away needs no answer.
                let _ = reply.send(loaded.and_then(Loaded::map_run_view));
            }
            In::Leases { held, asked } => {
                self.leased_at = asked;
                self.leases(held);
            }
        }
    }

    /// Brings the monotonic time. While the leases are old by it, nothing is dispatched.
    pub(crate) fn pass(&mut self, monotonic: Monotonic) {
        self.monotonic = monotonic;
        if self.is_fresh() {
            for (execution, info, request) in std::mem::take(&mut self.withheld) {
                // It may have been cancelled meanwhile.
                if self.running.contains(&(execution, request.task)) {
                    self.out.push(Out::Run {
                        execution,
                        info,
                        request,
                    });
                }
            }
        }
    }

    fn is_fresh(&self) -> bool {
        self.monotonic.0.saturating_sub(self.leased_at.0) < self.environment.fresh_ms
    }

    /// Steps executions that have something to do, fairly by tenant, at most `turns` of them or for [`TURN_MS_MAX`], and
    /// fires what is due. What goes on may take long: it has its turn when all that is owed has been taken out.
    pub(crate) fn work(&mut self, now: Timestamp, turns: usize) {
        while let Some((due, execution)) = self.timers.first().copied() {
            if due > now {
                break;
            }
            self.timers.remove(&(due, execution));
            if let Some(loaded) = self.loaded.get_mut(&execution) {
                loaded.timer = None;
                self.ready.push(&loaded.info.tenant, execution);
            }
        }
        while let Some((due, execution)) = self.reloads.first().copied() {
            if due > now {
                break;
            }
            self.reloads.remove(&(due, execution));
            self.read(execution);
        }
        let began = (self.environment.clock)();
        let mut before = began;
        for _ in 0..turns {
            if self.ready.next_goes_on() && !self.out.is_empty() {
                break;
            }
            let Some((tenant, execution)) = self.ready.pop() else {
                break;
            };
            self.turn(now, execution);
            let after = (self.environment.clock)();
            self.ready.took(&tenant, after.0.saturating_sub(before.0));
            if after.0.saturating_sub(began.0) >= TURN_MS_MAX {
                break;
            }
            before = after;
        }
    }

    /// What the driver must do, in order; empties the list.
    pub(crate) fn take_out(&mut self) -> Vec<Out> {
        std::mem::take(&mut self.out)
    }

    /// Whether `work` has turns to make at once.
    pub(crate) fn is_busy(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether an append is not yet acknowledged.
    pub(crate) fn has_flights(&self) -> bool {
        !self.tickets.is_empty()
    }

    /// When `work` has to be called again though no input came.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        let timer = self.timers.first().map(|(due, _)| *due);
        let reload = self.reloads.first().map(|(due, _)| *due);
        timer.into_iter().chain(reload).min()
    }

    fn start(&mut self, begin: Begin) {
        let Begin {
            id,
            info,
            program,
            start,
            new,
            mode,
            reply,
        } = begin;
        let durable = !matches!(mode, Mode::ExpressSync);
        if durable && !self.held.contains_key(&id.partition()) {
            reply.refuse(Refused::LeaseLost);
            return;
        }
        self.counters.started();
        let tenant = info.tenant.clone();
        let mut loaded = Loaded::new(info, program, mode, Subject::default());
        loaded.create = Some((new, reply));
        loaded
            .inbox
            .push_back(Waiting::plain(Input::Started(start)));
        self.loaded.insert(id, loaded);
        self.counters.loaded(self.loaded.len());
        self.ready.push(&tenant, id);
    }

    /// A call for a redrive. With leases that are old, what is in memory may be another node's by now, and no answer.
    fn redrive(&mut self, execution: ExecutionId, waiting: Waiting) {
        if self.is_fresh() {
            self.deliver(execution, waiting, true);
        } else {
            waiting.lose();
        }
    }

    /// An input of a running attempt. It ends with the attempt's own bookkeeping, whatever the run makes of it.
    fn attempt_input(&mut self, execution: ExecutionId, input: Input) {
        if let Input::TaskEnded { task, .. } | Input::TaskSubmitted { task, .. } = &input
            && self.running.remove(&(execution, *task))
        {
            self.counters.task_ended();
        }
        // An outcome is worth loading for: an activity that does not exist fails a task that may sleep by now.
        let load = matches!(input, Input::TaskEnded { .. });
        self.deliver(execution, Waiting::plain(input), load);
    }

    fn message(&mut self, message: Message) {
        let Some(input) = border::message_input(&message) else {
            tracing::error!(
                message = message.id.0,
                "a message in an inbox cannot be read; it is dropped"
            );
            self.discard(vec![message.id]);
            return;
        };
        self.served(message.to, &input);
        let waiting = Waiting {
            input,
            message: Some(message.id),
            take: None,
            redrive: None,
        };
        self.deliver(message.to, waiting, true);
    }

    /// The message that an attempt's end waited for.
    fn served(&mut self, execution: ExecutionId, input: &Input) {
        if let Input::ChildStarted { task, .. } = input
            && self.running.remove(&(execution, *task))
        {
            self.counters.task_ended();
        }
    }

    fn take(
        &mut self,
        now: Timestamp,
        execution: ExecutionId,
        task: TaskId,
        worker: Option<Arc<str>>,
        reply: TakeReply,
    ) {
        let input = Input::TaskStarted {
            task,
            by: worker,
            at: now,
        };
        self.deliver(
            execution,
            Waiting {
                take: Some((task, reply)),
                ..Waiting::plain(input)
            },
            true,
        );
    }

    fn wake(&mut self, execution: ExecutionId) {
        let known = self.loaded.contains_key(&execution) || self.loading.contains_key(&execution);
        if !known && self.held.contains_key(&execution.partition()) {
            self.load(execution, Vec::new());
        }
    }

    /// Gives an input to an execution; folds it first when it is not in memory and the input is worth it.
    fn deliver(&mut self, execution: ExecutionId, waiting: Waiting, load: bool) {
        if let Some(loaded) = self.loaded.get_mut(&execution) {
            if loaded.accept(waiting) {
                self.ready.push(&loaded.info.tenant, execution);
            }
        } else if let Some(queue) = self.loading.get_mut(&execution) {
            queue.push(waiting);
        } else if load && self.held.contains_key(&execution.partition()) {
            self.load(execution, vec![waiting]);
        } else {
            waiting.lose();
        }
    }

    fn load(&mut self, execution: ExecutionId, inputs: Vec<Waiting>) {
        if self.damaged.contains(&execution) {
            for input in inputs {
                input.refuse();
            }
            return;
        }
        self.loading.insert(execution, inputs);
        self.read(execution);
    }

    /// Has what is stored of an execution read for the inputs that wait for it.
    fn read(&mut self, execution: ExecutionId) {
        let waiting = self.loading.get(&execution);
        let closed_too = waiting.is_some_and(|waiting| waiting.iter().any(Waiting::is_redrive));
        self.out.push(Out::Load {
            execution,
            closed_too,
        });
    }

    fn discard(&mut self, messages: Vec<MessageId>) {
        if !messages.is_empty() {
            let ticket = self.ticket();
            self.out.push(Out::Commit {
                ticket,
                write: Write::Discard(messages),
            });
        }
    }

    /// Sends a message that no append carries; `moot` are discarded once it is sent.
    fn post(&mut self, outgoing: Outgoing, moot: Vec<MessageId>) {
        let ticket = self.ticket();
        self.posts.insert(ticket, (outgoing.clone(), moot));
        self.out.push(Out::Commit {
            ticket,
            write: Write::Post(outgoing),
        });
    }

    /// A message that finds its execution closed changes nothing; a child whose parent no longer waits is stopped.
    fn too_late(&mut self, messages: Vec<Message>) {
        let mut moot = Vec::new();
        for message in messages {
            match border::message_input(&message) {
                Some(Input::ChildStarted { child, .. }) => {
                    self.post(children::stop(child), vec![message.id]);
                }
                Some(_) | None => moot.push(message.id),
            }
        }
        self.discard(moot);
    }

    fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }

    /// A read of an execution came back: fold its events, take its inbox, and pick up what it was doing.
    fn fold(&mut self, now: Timestamp, execution: ExecutionId, result: Result<Stored, LoadError>) {
        let Some(waiting) = self.loading.remove(&execution) else {
            return;
        };
        let stored = match result {
            Ok(stored) => stored,
            Err(LoadError::Damaged(why)) => return self.give_up(execution, &why, waiting),
            Err(LoadError::Unreadable(error)) => {
                tracing::error!(
                    execution = execution.0,
                    error,
                    "an execution cannot be loaded; trying again"
                );
                self.loading.insert(execution, waiting);
                self.reloads
                    .insert((now.plus_ms(RELOAD_AFTER_MS), execution));
                return;
            }
        };
        match stored {
            Stored::Closed { messages, exists } => {
                self.too_late(messages);
                self.close_waiters(execution);
                self.refuse_or_reopen(execution, waiting, exists);
            }
            Stored::Open(open) => {
                let StoredOpen {
                    info,
                    program,
                    subject,
                    messages,
                } = *open;
                let loaded = Loaded::fold(info, program, subject, self.environment.opened_at, now);
                self.take_up(execution, loaded, messages, waiting);
            }
            Stored::New { open, new, mode } => {
                if matches!(open.subject, Subject::Execution(_)) {
                    self.counters.started();
                }
                let mut loaded = Loaded::new(open.info, open.program, mode, open.subject);
                loaded.create = Some((*new, StartReply::Nobody));
                self.take_up(execution, loaded, open.messages, waiting);
            }
        }
    }

    /// It is closed: only who wants to redrive it is of any use, and has it read once more.
    fn refuse_or_reopen(&mut self, execution: ExecutionId, waiting: Vec<Waiting>, exists: bool) {
        let reopens = |waiting: &Waiting| exists && waiting.is_redrive();
        let (redrives, others): (Vec<_>, Vec<_>) = waiting.into_iter().partition(reopens);
        for waiting in others {
            waiting.refuse();
        }
        if !redrives.is_empty() {
            self.load(execution, redrives);
        }
    }

    /// Takes an execution into memory with what its inbox holds and what came while it was read.
    fn take_up(
        &mut self,
        execution: ExecutionId,
        mut loaded: Loaded,
        messages: Vec<Message>,
        waiting: Vec<Waiting>,
    ) {
        self.environment.recent.forget(execution);
        let mut inbox = Vec::new();
        for message in messages {
            match border::message_input(&message) {
                Some(input) => inbox.push((message.id, input)),
                None => self.discard(vec![message.id]),
            }
        }
        // An answer to a task's token is accepted for good; the end of its child is not.
        inbox.sort_by_key(|(_, input)| matches!(input, Input::ChildEnded { .. }));
        for (id, input) in inbox {
            self.served(execution, &input);
            loaded.accept(Waiting {
                input,
                message: Some(id),
                take: None,
                redrive: None,
            });
        }
        for input in waiting {
            loaded.accept(input);
        }
        self.pick_up(execution, &mut loaded);
        let tenant = loaded.info.tenant.clone();
        self.loaded.insert(execution, loaded);
        self.counters.loaded(self.loaded.len());
        self.ready.push(&tenant, execution);
    }

    /// What is stored of it is damaged: it stays where it is until another start of the program. Who waits is let go.
    fn give_up(&mut self, execution: ExecutionId, why: &str, waiting: Vec<Waiting>) {
        tracing::error!(why, "an execution does not go on");
        self.damaged.insert(execution);
        self.counters.damaged(execution);
        for waiting in waiting {
            waiting.refuse();
        }
        self.closed_waiters.remove(&execution);
        self.watchers.remove(&execution);
    }

    /// Re-derives what a folded run was in the middle of. An attempt that still runs in this process goes on.
    fn pick_up(&mut self, execution: ExecutionId, loaded: &mut Loaded) {
        if matches!(loaded.mode, Mode::ExpressAsync) {
            return;
        }
        for (task, activity) in loaded.unsure_activities(&self.environment.knows_activity) {
            let info = loaded.info.clone();
            self.out.push(Out::ActivityOpened {
                execution,
                info,
                task,
                activity,
            });
        }
        for effect in loaded.run.pending() {
            match effect {
                Effect::RunTask(request) => {
                    if !self.running.contains(&(execution, request.task)) {
                        let on_crash = (self.environment.on_crash)(&loaded.info, &request);
                        loaded.inbox.push_back(Waiting::plain(Input::TaskLost {
                            task: request.task,
                            on_crash,
                        }));
                    }
                }
                // Tokens have their rows; the rest is never pending.
                Effect::Record(_)
                | Effect::OpenToken { .. }
                | Effect::CancelTask { .. }
                | Effect::StartMapRun(_)
                | Effect::RedriveMapRun { .. }
                | Effect::MapRun(_)
                | Effect::Again
                | Effect::Finish => {}
            }
        }
        loaded.goes_on = loaded.run.is_unfinished();
    }

    fn turn(&mut self, now: Timestamp, execution: ExecutionId) {
        let Some(loaded) = self.loaded.get_mut(&execution) else {
            return;
        };
        let epoch = self
            .held
            .get(&execution.partition())
            .copied()
            .unwrap_or(Epoch(0));
        let (seed, clock) = (&mut self.environment.seed, &mut self.environment.clock);
        self.counters.pulse.turns_to(&loaded.info.execution_arn);
        let began = clock();
        let turn = loaded.step_inputs(
            now,
            TURN_INPUTS_MAX,
            &mut |position| seed(execution, position),
            &mut || clock().0.saturating_sub(began.0) >= TURN_MS_MAX,
        );
        if loaded.has_work() {
            self.ready.push_again(&loaded.info.tenant, execution);
        }
        if turn.taken.redriven {
            self.counters.redriven();
        }
        for usage in &turn.taken.near {
            self.counters.neared(usage.limit);
            tracing::warn!(
                execution = &*loaded.info.execution_arn,
                limit = usage.limit.name(),
                used = usage.used,
                most = usage.most,
                left = usage.left(),
                "an execution is near a limit"
            );
        }
        for refused in turn.refused {
            // The activity task was taken or closed before: the worker asks for the next one.
            let _ = refused.send(None);
        }
        loaded.look_at_activities(&turn.taken, &self.environment.knows_activity);
        let new_id = &mut *self.environment.new_id;
        match loaded.next_append(now, execution, epoch, turn.taken, new_id) {
            loaded::Next::Append { append, flight } => {
                self.next_ticket += 1;
                let ticket = Ticket(self.next_ticket);
                let mut flight = *flight;
                flight.ticket = ticket;
                self.tickets.insert(ticket, execution);
                loaded.in_flight.push_back(flight);
                self.counters.append(append.segment.bytes.len());
                self.out.push(Out::Commit {
                    ticket,
                    write: Write::Append(*append),
                });
            }
            loaded::Next::Release(flight) => {
                let mut flights = VecDeque::from([*flight]);
                self.release(execution, &mut flights);
            }
            loaded::Next::Nothing => {}
        }
        self.register_timer(execution);
        self.put_away(execution);
    }

    /// Forgets an execution that was folded to be redriven and is still closed.
    fn put_away(&mut self, execution: ExecutionId) {
        let left = self.loaded.get(&execution);
        if left.is_some_and(Loaded::is_left_closed) {
            self.loaded.remove(&execution);
            self.counters.loaded(self.loaded.len());
            self.close_waiters(execution);
        }
    }

    fn register_timer(&mut self, execution: ExecutionId) {
        let Some(loaded) = self.loaded.get_mut(&execution) else {
            return;
        };
        let next = loaded.run.next_timer().map(|(due, _)| due);
        if loaded.timer != next {
            if let Some(old) = loaded.timer {
                self.timers.remove(&(old, execution));
            }
            if let Some(due) = next {
                self.timers.insert((due, execution));
            }
            loaded.timer = next;
        }
    }

    fn committed(&mut self, now: Timestamp, ticket: Ticket, verdict: Verdict) {
        let Some(execution) = self.tickets.remove(&ticket) else {
            return self.posted(ticket, verdict);
        };
        let Some(loaded) = self.loaded.get_mut(&execution) else {
            // Nobody waits for it any more, but for whom it sent messages to: they are in their inboxes.
            return;
        };
        match verdict {
            Ok(landed) => {
                let Some(flight) = loaded
                    .in_flight
                    .iter_mut()
                    .find(|flight| flight.ticket == ticket)
                else {
                    return;
                };
                flight.durable = true;
                flight.landed = landed.messages;
                let mut durable = VecDeque::new();
                while loaded
                    .in_flight
                    .front()
                    .is_some_and(|flight| flight.durable)
                {
                    durable.extend(loaded.in_flight.pop_front());
                }
                self.release(execution, &mut durable);
            }
            Err(refused) => self.append_failed(now, execution, refused),
        }
    }

    /// A message that no append carried is in its inbox. One that is not is sent again when what led to it is seen
    /// again.
    fn posted(&mut self, ticket: Ticket, verdict: Verdict) {
        let Some((outgoing, moot)) = self.posts.remove(&ticket) else {
            return;
        };
        match verdict {
            Ok(landed) => {
                self.announce(&[outgoing], landed.messages);
                self.discard(moot);
            }
            Err(refused) => tracing::error!(%refused, "a message could not be sent"),
        }
    }

    fn announce(&mut self, sent: &[Outgoing], landed: Vec<MessageId>) {
        let messages = sent.iter().zip(landed);
        self.out.extend(messages.map(|(outgoing, id)| {
            Out::Announce(Message {
                id,
                to: outgoing.to,
                payload: outgoing.payload.clone(),
            })
        }));
    }

    /// Acts on durable events: dispatches, answers, tells watchers; forgets what is closed or may sleep on disk.
    fn release(&mut self, execution: ExecutionId, flights: &mut VecDeque<Flight>) {
        for flight in flights.drain(..) {
            // Before anyone hears of it.
            self.remember(execution, flight.closed);
            if let Some(reply) = flight.started {
                reply.started();
            }
            for (reply, grant) in flight.takes {
                let _ = reply.send(Some(grant));
            }
            for call in flight.redrives {
                // Who went away needs no answer.
                let _ = call.reply.send(Ok(call.answer));
            }
            if !flight.history.is_empty()
                && let Some(watchers) = self.watchers.get_mut(&execution)
            {
                watchers.retain(|watcher| watcher.send(flight.history.clone()).is_ok());
            }
            for effect in flight.effects {
                self.act(execution, effect);
            }
            self.announce(&flight.sent, flight.landed);
            match flight.orphans.as_slice() {
                [] => self.discard(flight.moot),
                [orphans @ .., last] => {
                    for child in orphans {
                        self.post(children::stop(*child), Vec::new());
                    }
                    self.post(children::stop(*last), flight.moot);
                }
            }
            if let Some(wake_at) = flight.evict {
                self.evict(execution, wake_at);
            }
        }
    }

    /// Keeps what the store holds of an execution that is closed.
    fn remember(&mut self, execution: ExecutionId, closed: Option<Box<Look>>) {
        let recent = &self.environment.recent;
        match (closed, self.held.get(&execution.partition())) {
            (Some(look), Some(epoch)) => recent.put(*epoch, *look),
            (Some(_), None) | (None, _) => recent.forget(execution),
        }
    }

    fn act(&mut self, execution: ExecutionId, effect: Effect) {
        match effect {
            Effect::RunTask(request) => {
                let Some(loaded) = self.loaded.get(&execution) else {
                    return;
                };
                // The run is ahead of what is durable: a later turn may have ended the attempt already.
                if loaded.run.open_task(request.task).is_none() {
                    return;
                }
                self.running.insert((execution, request.task));
                self.counters.task_started();
                let (info, request) = (loaded.info.clone(), Box::new(request));
                if self.is_fresh() {
                    self.out.push(Out::Run {
                        execution,
                        info,
                        request,
                    });
                } else {
                    self.withheld.push((execution, info, request));
                }
            }
            Effect::OpenToken { task, activity, .. } => {
                if let (Some(activity), Some(loaded)) = (activity, self.loaded.get(&execution)) {
                    let info = loaded.info.clone();
                    self.out.push(Out::ActivityOpened {
                        execution,
                        info,
                        task,
                        activity,
                    });
                }
            }
            Effect::CancelTask { task, .. } => {
                if self.running.remove(&(execution, task)) {
                    self.counters.task_ended();
                    self.out.push(Out::Cancel { execution, task });
                }
            }
            Effect::MapRun(effect) => {
                let request = self
                    .loaded
                    .get(&execution)
                    .and_then(|map_run| map_run.request(*effect));
                self.out.extend(request.map(|request| Out::MapRun {
                    map_run: execution,
                    request: Box::new(request),
                }));
            }
            Effect::Finish => self.finish(execution),
            // The append carried the message.
            Effect::StartMapRun(_) | Effect::RedriveMapRun { .. } => {}
            // Recorded events were acted upon by the append itself; `Again` by the turn.
            Effect::Record(_) | Effect::Again => {}
        }
    }

    fn finish(&mut self, execution: ExecutionId) {
        let Some(mut loaded) = self.loaded.remove(&execution) else {
            return;
        };
        if let Some(due) = loaded.timer {
            self.timers.remove(&(due, execution));
        }
        if loaded.run.map_run().is_some() {
            self.out.push(Out::MapRunOver(execution));
        } else {
            self.counters.closed(loaded.run.ending());
        }
        self.counters.loaded(self.loaded.len());
        let inbox = Vec::from(std::mem::take(&mut loaded.inbox));
        let mut moot = Vec::new();
        for waiting in inbox.iter().filter(|waiting| !waiting.is_redrive()) {
            match (&waiting.input, waiting.message) {
                (Input::ChildStarted { child, .. }, Some(id)) => {
                    self.post(children::stop(*child), vec![id]);
                }
                (_, message) => moot.extend(message),
            }
        }
        loaded.end();
        self.discard(moot);
        self.close_waiters(execution);
        self.refuse_or_reopen(execution, inbox, true);
    }

    fn close_waiters(&mut self, execution: ExecutionId) {
        for waiter in self.closed_waiters.remove(&execution).unwrap_or_default() {
            let _ = waiter.send(());
        }
        // Dropping a watcher's sender is its end of stream.
        self.watchers.remove(&execution);
    }

    fn evict(&mut self, execution: ExecutionId, wake_at: Option<Timestamp>) {
        let idle = self.loaded.get(&execution).is_some_and(Loaded::is_idle);
        if idle && let Some(loaded) = self.loaded.remove(&execution) {
            if let Some(due) = loaded.timer {
                self.timers.remove(&(due, execution));
            }
            self.counters.loaded(self.loaded.len());
        }
        if let Some(wake_at) = wake_at {
            self.out.push(Out::WakeAt(wake_at));
        }
    }

    /// The run in memory is ahead of the store: drop it, and unless the partition is lost, fold it anew and give it
    /// its inputs again.
    fn append_failed(&mut self, now: Timestamp, execution: ExecutionId, refused: Refused) {
        let Some(mut loaded) = self.loaded.remove(&execution) else {
            return;
        };
        if let Some(due) = loaded.timer {
            self.timers.remove(&(due, execution));
        }
        for flight in &loaded.in_flight {
            self.tickets.remove(&flight.ticket);
        }
        if matches!(refused, Refused::Broken(_)) {
            loaded.refuse_redrives(&refused);
        }
        let first = loaded
            .in_flight
            .iter_mut()
            .find_map(|flight| flight.started.take())
            .or(loaded.take_reply());
        if let Some(StartReply::Nobody) = first {
            // The message that began it is there: it begins again, unless its name is taken for good.
            if matches!(refused, Refused::NameTaken { .. }) {
                tracing::error!(execution = execution.0, %refused, "an execution cannot begin");
                self.discard(loaded.messages());
                return;
            }
        } else if let Some(reply) = first {
            let unknown = matches!(refused, Refused::Broken(_));
            reply.refuse(refused);
            if unknown {
                // It may have landed all the same: the store knows.
                self.loading.insert(execution, Vec::new());
                self.reloads
                    .insert((now.plus_ms(RELOAD_AFTER_MS), execution));
            }
            return;
        }
        let delay_ms = match refused {
            Refused::LeaseLost if !self.held.contains_key(&execution.partition()) => {
                self.drop_execution(execution, loaded);
                return;
            }
            // A lease that was lost and taken again has a new epoch by now.
            Refused::LeaseLost | Refused::Full(_) | Refused::Broken(_) => RELOAD_AFTER_MS,
            Refused::NameTaken { .. }
            | Refused::WrongPosition { .. }
            | Refused::TokenGone
            | Refused::MessageGone
            | Refused::Conflict { .. } => 0,
        };
        tracing::debug!(execution = execution.0, %refused, "an append was refused; folding anew");
        self.loading.insert(execution, loaded.inputs_again());
        self.reloads.insert((now.plus_ms(delay_ms), execution));
    }

    fn drop_execution(&mut self, execution: ExecutionId, loaded: Loaded) {
        let mine: Vec<TaskId> = self
            .running
            .range(
                (
                    execution,
                    TaskId {
                        entry: 0,
                        attempt: 0,
                    },
                )..,
            )
            .take_while(|(owner, _)| *owner == execution)
            .map(|(_, task)| *task)
            .collect();
        for task in mine {
            self.running.remove(&(execution, task));
            self.out.push(Out::Cancel { execution, task });
        }
        loaded.refuse_all();
    }

    /// The node's leases changed: what is no longer held is dropped without another append. So is what was lost and
    /// taken again meanwhile (its epoch tells): another node may have gone on with it. Recovery folds it anew.
    fn leases(&mut self, held: BTreeMap<Partition, Epoch>) {
        let lost = |execution: &ExecutionId| {
            let partition = execution.partition();
            held.get(&partition)
                .is_none_or(|epoch| self.held.get(&partition) != Some(epoch))
        };
        let mut gone: Vec<ExecutionId> = self.loaded.keys().copied().filter(lost).collect();
        gone.sort_unstable();
        for execution in gone {
            if let Some(loaded) = self.loaded.remove(&execution) {
                if let Some(due) = loaded.timer {
                    self.timers.remove(&(due, execution));
                }
                self.drop_execution(execution, loaded);
            }
        }
        let lost = |execution: &ExecutionId| !held.contains_key(&execution.partition());
        let gone = self.loading.extract_if(|execution, _| lost(execution));
        for waiting in gone.flat_map(|(_, waiting)| waiting) {
            waiting.lose();
        }
        self.reloads
            .retain(|(_, execution)| held.contains_key(&execution.partition()));
        self.held = held;
    }
}
