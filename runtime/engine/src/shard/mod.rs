//! One shard: the executions it serves, as a state machine without I/O. Inputs and the time go in, [`Out`]s come
//! out; threads, stores and clocks are the driver's. So one code runs in production and, driven by a seed, in the
//! simulation.
//!
//! An execution's turn takes all its waiting inputs, steps them and makes one append. The next turn does not wait
//! for that append's commit; effects and replies of a turn are released in order, each when its append is durable.
//! After a failed append the run in memory is dropped, folded anew from the store, and given its inputs again:
//! steps are total, so an input that had its effect already changes nothing.

mod attempts;
mod audience;
mod border;
mod changes;
mod due;
mod leases;
mod lines;
mod loaded;
mod loading;
mod logged;
mod owed;
mod ready;
mod release;
mod subject;
#[cfg(test)]
mod tests;
mod waiting;
mod writes;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use stepwell_interp::{Input, TaskId, Timestamp, Usage};

use crate::{
    attempt::amounts,
    counters::Counters,
    journal::{Amounts, Charges, Epoch, ExecutionId, Message, Refused, Write},
    limits::{TURN_INPUTS_MAX, TURN_MS_MAX},
};

use attempts::Attempts;
use audience::Audience;
#[cfg(feature = "sim")]
pub(crate) use border::RedriveAnswer;
pub(crate) use border::{
    ActivityGrant, Begin, CrashRules, Environment, In, Info, LoadError, MapRunRequest, Mode,
    Monotonic, Out, RedriveReply, Spending, StartReply, Stored, StoredOpen, SyncEnd, Ticket,
    Watcher,
};
use border::{TakeReply, message_input};
use due::Due;
use leases::Leases;
use loaded::{Loaded, Next, Taken};
use owed::Owed;
use ready::Ready;
pub(crate) use subject::Subject;
use waiting::Waiting;
use writes::Writes;

/// See the module.
pub(crate) struct Shard {
    environment: Environment,
    counters: Arc<Counters>,
    leases: Leases,
    loaded: HashMap<ExecutionId, Loaded>,
    /// Executions being folded, with the inputs that wait for it.
    loading: HashMap<ExecutionId, Vec<Waiting>>,
    /// Executions that cannot be folded.
    damaged: BTreeSet<ExecutionId>,
    /// Executions to fold anew at a time, after a failed append or read.
    reloads: Due,
    ready: Ready,
    timers: Due,
    attempts: Attempts,
    writes: Writes,
    audience: Audience,
    owed: Owed,
    lines: lines::Kept,
    out: Vec<Out>,
}

impl Shard {
    pub(crate) fn new(environment: Environment, counters: Arc<Counters>) -> Shard {
        Shard {
            leases: Leases::new(environment.fresh_ms),
            attempts: Attempts::new(counters.clone()),
            environment,
            counters,
            loaded: HashMap::new(),
            loading: HashMap::new(),
            damaged: BTreeSet::new(),
            reloads: Due::default(),
            ready: Ready::default(),
            timers: Due::default(),
            writes: Writes::default(),
            audience: Audience::default(),
            owed: Owed::default(),
            lines: lines::Kept::default(),
            out: Vec::new(),
        }
    }

    /// Takes one input. What it brings about is seen after [`Shard::work`].
    pub(crate) fn handle(&mut self, now: Timestamp, input: In) {
        match input {
            In::Start(begin) => self.start(*begin),
            In::Input { execution, input } => self.attempt_input(execution, input),
            In::Ended {
                execution,
                task,
                spent,
                input,
            } => {
                if let Some(spent) = spent {
                    self.spent(now, execution, task, *spent);
                }
                self.attempt_input(execution, input);
            }
            In::Used { key, usage } => self.owed.add(now, vec![(key, usage)]),
            In::Heartbeat { execution, input } => {
                self.deliver(execution, Waiting::plain(input), true)
            }
            In::Message(message) if message.to.is_line() => self.line_message(message),
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
            In::Wake(line) if line.is_line() => self.wake_line(line),
            In::Wake(execution) => self.wake(execution),
            In::OpenLine {
                line,
                machine,
                reply,
            } => self.call_line(line, machine, reply),
            In::LineLoaded { line, result } => self.line_loaded(now, line, result),
            In::Loaded {
                execution,
                result,
                on_crash,
            } => self.fold(now, execution, result, &on_crash),
            In::Committed { ticket, verdict } => self.committed(now, ticket, verdict),
            In::Wait { execution, .. } if self.damaged.contains(&execution) => {}
            In::Wait { execution, reply } => self.audience.wait(execution, reply),
            In::Watch { execution, watcher } => self.audience.watch(execution, watcher),
            In::Live { execution, reply } => {
                let live = self.loaded.get(&execution).map(Loaded::live);
                // A reader that went away needs no answer.
                let _ = reply.send(live.unwrap_or_default());
            }
            // Its attempt counts as running until the message comes.
            In::Served { .. } => {}
            In::ViewMapRun { map_run, reply } => {
                let loaded = self.loaded.get(&map_run);
                // A reader that went away needs no answer.
                let _ = reply.send(loaded.and_then(Loaded::map_run_view));
            }
            In::Leases { held, asked } => self.renew_leases(now, held, asked),
        }
    }

    /// Steps executions that have something to do, fairly by tenant, at most `turns` of them or for [`TURN_MS_MAX`], and
    /// fires what is due. What goes on may take long: it has its turn when all that is owed has been taken out.
    pub(crate) fn work(&mut self, now: Timestamp, turns: usize) {
        while let Some(execution) = self.timers.pop(now) {
            if let Some(loaded) = self.loaded.get_mut(&execution) {
                loaded.timer = None;
                self.ready.push(&loaded.info.tenant, execution);
            }
        }
        while let Some(execution) = self.reloads.pop(now) {
            match execution.is_line() {
                true => self.read_line(execution),
                false => self.read(execution),
            }
        }
        if self.owed.due().is_some_and(|due| due <= now) {
            self.pay();
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

    /// Whether an append is not yet acknowledged, or usage not yet durable.
    pub(crate) fn has_flights(&self) -> bool {
        self.writes.has_records() || self.owed.due().is_some() || self.lines.has_writes()
    }

    /// When `work` has to be called again though no input came.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        let timer = self.timers.first();
        let first = timer.into_iter().chain(self.reloads.first());
        first.chain(self.owed.due()).min()
    }

    fn start(&mut self, begin: Begin) {
        let Begin {
            id,
            info,
            program,
            first,
            new,
            mode,
            reply,
        } = begin;
        let durable = !matches!(mode, Mode::ExpressSync);
        if durable && !self.leases.hold(id) {
            reply.refuse(Refused::LeaseLost);
            return;
        }
        self.counters.started();
        let mut loaded = Loaded::new(info, program, mode, Subject::default());
        loaded.create = Some((new, reply));
        loaded.inbox.push_back(Waiting::plain(first));
        self.keep(id, loaded);
    }

    /// A call for a redrive. With leases that are old, what is in memory may be another node's by now, and no answer.
    fn redrive(&mut self, execution: ExecutionId, waiting: Waiting) {
        if self.leases.are_fresh() {
            self.deliver(execution, waiting, true);
        } else {
            waiting.lose();
        }
    }

    /// An input of a running attempt. It ends with the attempt's own bookkeeping, whatever the run makes of it.
    fn attempt_input(&mut self, execution: ExecutionId, input: Input) {
        if let Input::TaskEnded { task, .. } | Input::TaskSubmitted { task, .. } = &input {
            self.attempts.end(execution, *task);
        }
        // An outcome is worth loading for: an activity that does not exist fails a task that may sleep by now.
        let load = matches!(input, Input::TaskEnded { .. });
        self.deliver(execution, Waiting::plain(input), load);
    }

    /// An attempt used something: its execution records it with the end that follows, and charges for it in the same
    /// append. Of an attempt that is not open any more nobody records anything: it is charged for on its own, and of one
    /// whose execution is being loaded so is what that does not record when it is there.
    fn spent(&mut self, now: Timestamp, execution: ExecutionId, task: TaskId, spent: Spending) {
        let Spending {
            info,
            plugin,
            measures,
        } = spent;
        let loaded = self.loaded.get(&execution);
        let charge = (loaded::usage_key(&info, &plugin, now), amounts(&measures));
        let recorded = loaded.is_some_and(|loaded| loaded.run.open_task(task).is_some())
            || self.loading.contains_key(&execution);
        if recorded {
            let used = Input::TaskUsed {
                task,
                plugin,
                measures,
            };
            let waiting = Waiting {
                spent: Some(Box::new(charge)),
                ..Waiting::plain(used)
            };
            return self.deliver(execution, waiting, false);
        }
        self.owed.add(now, vec![charge]);
    }

    /// These inputs will not be taken: what attempts used is charged for on its own.
    fn charge_untaken<'a>(
        &mut self,
        now: Timestamp,
        inputs: impl IntoIterator<Item = &'a mut Waiting>,
    ) {
        let spent = inputs
            .into_iter()
            .filter_map(|waiting| waiting.spent.take());
        self.owed.add(now, spent.map(|spent| *spent).collect());
    }

    fn message(&mut self, message: Message) {
        let Some(input) = message_input(&message) else {
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
            spent: None,
        };
        self.deliver(message.to, waiting, true);
    }

    /// The message that an attempt's end waited for.
    fn served(&mut self, execution: ExecutionId, input: &Input) {
        if let Input::ChildStarted { task, .. } = input {
            self.attempts.end(execution, *task);
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
        if !known && self.leases.hold(execution) {
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
        } else if load && self.leases.hold(execution) {
            self.load(execution, vec![waiting]);
        } else {
            waiting.lose();
        }
    }

    fn turn(&mut self, now: Timestamp, execution: ExecutionId) {
        let Some(loaded) = self.loaded.get_mut(&execution) else {
            return;
        };
        let epoch = self.leases.epoch(execution).unwrap_or(Epoch(0));
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
        count(&turn.taken, &loaded.info, &self.counters);
        self.owed.add(now, turn.unrecorded);
        for refused in turn.refused {
            // The activity task was taken or closed before: the worker asks for the next one.
            let _ = refused.send(None);
        }
        loaded.look_at_activities(&turn.taken, &self.environment.knows_activity);
        let observer = self.environment.observer.as_ref();
        let logged = logged::log_unkept(observer, loaded, &turn.taken);
        let begins = turn.taken.redriven || loaded.create.is_some();
        let mut changes = changes::of(loaded, begins);
        if matches!(loaded.mode, Mode::ExpressSync) {
            // Nothing of it becomes durable.
            let told = changes.drain(..);
            told.for_each(|change| self.environment.feed.push(change));
        }
        let new_id = &mut *self.environment.new_id;
        let outbox = self.environment.outbox.as_deref();
        match loaded.next_append(now, execution, epoch, turn.taken, new_id, outbox) {
            Next::Append { append, flight } => {
                let ticket = self.writes.append(execution);
                let mut flight = *flight;
                flight.ticket = ticket;
                flight.counted = own(&append.charges);
                flight.logged = logged;
                flight.changes = changes;
                loaded.in_flight.push_back(flight);
                self.counters.append(append.segment.bytes.len());
                self.out.push(Out::Commit {
                    ticket,
                    write: Write::Append(*append),
                });
                self.pay();
            }
            Next::Release(mut flight) => {
                self.owed.add(now, std::mem::take(&mut flight.charges));
                self.release(now, execution, vec![*flight]);
            }
            Next::Nothing => {}
        }
        self.register_timer(execution);
        self.put_away(now, execution);
    }

    /// Takes an execution into memory; it has its turn.
    fn keep(&mut self, execution: ExecutionId, loaded: Loaded) {
        self.ready.push(&loaded.info.tenant, execution);
        self.loaded.insert(execution, loaded);
        self.counters.loaded(self.loaded.len());
    }

    /// Takes an execution out of memory, with its timer. What its attempts used since its last append stays owed.
    fn forget(&mut self, now: Timestamp, execution: ExecutionId) -> Option<Loaded> {
        let mut loaded = self.loaded.remove(&execution)?;
        self.owed.add(now, loaded.take_used(now));
        if let Some(due) = loaded.timer {
            self.timers.remove(due, execution);
        }
        self.counters.loaded(self.loaded.len());
        Some(loaded)
    }

    fn register_timer(&mut self, execution: ExecutionId) {
        let Some(loaded) = self.loaded.get_mut(&execution) else {
            return;
        };
        let next = loaded.run.next_timer().map(|(due, _)| due);
        if loaded.timer != next {
            if let Some(old) = loaded.timer {
                self.timers.remove(old, execution);
            }
            if let Some(due) = next {
                self.timers.insert(due, execution);
            }
            loaded.timer = next;
        }
    }
}

/// What charges add that are of no plugin.
fn own(charges: &Charges) -> Amounts {
    let mut sum = Amounts::default();
    let own = charges.iter().filter(|(key, _)| key.plugin.is_empty());
    own.for_each(|(_, amounts)| sum += *amounts);
    sum
}

/// Counts what the operator is told of in a turn.
fn count(taken: &Taken, info: &Info, counters: &Counters) {
    if taken.redriven {
        counters.redriven();
    }
    for usage in &taken.near {
        counters.neared(usage.limit);
        warn_of(usage, info);
    }
}

/// Tells the operator that an execution came near a limit.
fn warn_of(usage: &Usage, info: &Info) {
    tracing::warn!(
        execution = &*info.execution_arn,
        limit = usage.limit.name(),
        used = usage.used,
        most = usage.most,
        left = usage.left(),
        "an execution is near a limit"
    );
}
