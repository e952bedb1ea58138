//! What runs a shard: a look brings it its inputs and does what it says. Hides the runtime on which reads and task
//! attempts are waited for.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Instant,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use stepwell_interp::{Effect, Input, TaskId, TaskRequest, Timestamp};
use tokio::{
    runtime,
    sync::{oneshot, watch},
    task::AbortHandle,
};

use super::{
    Node,
    dispatched::Dispatched,
    leases::FRESH_MS,
    now, os_seed,
    seat::{Inboxes, Seat},
    since,
};
use crate::{
    activities,
    attempt::{AttemptEnd, AttemptSignals},
    attempt_logs::LogSlot,
    counters::Counters,
    dispatch,
    integration::{self, Served},
    journal::{Answer, ExecutionId, Verdict},
    lines,
    notes::AttemptNotes,
    pulse::Pulse,
    reader,
    record::LineMachine,
    shard::{
        CrashRules, Environment, In, Info, MapRunRequest, Out, Shard, Stored, StoredOpen, Ticket,
    },
};

/// Turns between two looks at the clock and the queue.
const TURNS_PER_LOOK: usize = 64;

/// Commits on their way with which a caller still looks at the shard itself. With more there are many callers, whose
/// work the shard's thread does in fewer commits.
const LIGHT_COMMITS_MAX: usize = 2;

/// How far a look goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// All that came in, and turns.
    Whole,
    /// What verdicts let go. A turn may take as long as an expression may.
    Verdicts,
}

/// See the module.
pub(super) struct ShardLoop {
    node: Arc<Node>,
    seat: Arc<Seat>,
    /// That of the shard's thread, whoever looks.
    runtime: runtime::Handle,
    shard: Shard,
    inboxes: Inboxes,
    commits: FuturesUnordered<Answer<(Vec<Ticket>, Vec<Verdict>)>>,
    attempts: HashMap<(ExecutionId, TaskId), AbortHandle>,
    /// Attempts that were dispatched again and whose guests wait to be let begin.
    gates: HashMap<(ExecutionId, TaskId), oneshot::Sender<()>>,
    counters: Arc<Counters>,
    counted_busy: bool,
    /// Until then the shard is thought to have more than a moment's work at a time.
    pub(super) heavy_until: Option<Instant>,
}

impl ShardLoop {
    pub(super) fn new(
        node: Arc<Node>,
        seat: Arc<Seat>,
        runtime: runtime::Handle,
        inboxes: Inboxes,
        counters: Arc<Counters>,
    ) -> ShardLoop {
        let (activities_node, new_id_node) = (Arc::downgrade(&node), Arc::downgrade(&node));
        let began = Instant::now();
        let environment = Environment {
            opened_at: now(),
            new_id: Box::new(move |of, at| {
                let node = new_id_node.upgrade();
                node.map_or(of, |node| node.ids.fresh(of.partition(), at))
            }),
            seed: Box::new(|_, _| os_seed()),
            clock: Box::new(move || since(began)),
            fresh_ms: FRESH_MS,
            knows_activity: Box::new(move |info, activity| {
                let node = activities_node.upgrade();
                node.is_some_and(|node| node.activities.is_known(&info.tenant, activity))
            }),
            recent: node.recent.clone(),
            feed: node.feed.clone(),
            observer: node.observer.clone(),
            outbox: node.outboxes.outbox.clone(),
            allowances: node.allowances.clone(),
            lines: node.lines.clone(),
        };
        let shard = Shard::new(environment, counters.clone());
        ShardLoop {
            node,
            seat,
            runtime,
            shard,
            inboxes,
            commits: FuturesUnordered::new(),
            attempts: HashMap::new(),
            gates: HashMap::new(),
            counters,
            counted_busy: false,
            heavy_until: None,
        }
    }

    /// Takes what came in, makes turns, and does what they led to, as far as the look goes; true when there is more
    /// to do at once. What is waited for wakes `waker`.
    pub(super) fn look(&mut self, reach: Reach, waker: &Waker) -> bool {
        self.counters.pulse.works();
        // Before anything is taken out of the queue, where it was seen.
        self.note_busy(true);
        let mut context = Context::from_waker(waker);
        self.shard.pass(self.node.monotonic());
        self.take_verdicts(&mut context);
        if reach == Reach::Whole {
            self.take_queued();
            if !self.node.shutdown.is_halted() {
                self.shard.work(now(), TURNS_PER_LOOK);
            }
        }
        self.act();
        // What is under way since then is polled once, or it would wake nobody.
        let more = self.take_verdicts(&mut context);
        self.count_busy();
        self.counters.pulse.waits();
        let left = reach == Reach::Verdicts && !self.inboxes.news.is_empty();
        more || left || self.makes_turns() || !self.inboxes.queue.is_empty()
    }

    /// Whether a look is a moment's work, as far as can be seen.
    pub(super) fn is_light(&self) -> bool {
        self.commits.len() <= LIGHT_COMMITS_MAX
            && self.heavy_until.is_none_or(|until| until < Instant::now())
    }

    /// When the next look has to be though nothing came.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        let due = self.shard.next_due();
        due.filter(|_| !self.node.shutdown.is_halted())
    }

    /// Becomes true when the shard is to end.
    pub(super) fn closed(&self) -> watch::Receiver<bool> {
        self.node.shutdown.closed()
    }

    pub(super) fn pulse(&self) -> Arc<Pulse> {
        self.counters.pulse.clone()
    }

    /// Whether a commit had ended.
    fn take_verdicts(&mut self, context: &mut Context<'_>) -> bool {
        let mut any = false;
        while let Poll::Ready(Some((tickets, verdicts))) = self.commits.poll_next_unpin(context) {
            self.committed(tickets, verdicts);
            any = true;
        }
        any
    }

    /// Takes what else has arrived, so that it shares the turn and the commit.
    fn take_queued(&mut self) {
        let at = now();
        while let Ok(input) = self.inboxes.news.try_recv() {
            self.news(at, input);
        }
        for _ in 0..TURNS_PER_LOOK {
            let Ok(input) = self.inboxes.queue.try_recv() else {
                break;
            };
            self.shard.handle(at, input);
        }
    }

    fn news(&mut self, at: Timestamp, input: In) {
        if let In::Input {
            execution,
            input: Input::TaskEnded { task, .. } | Input::TaskSubmitted { task, .. },
        }
        | In::Ended {
            execution, task, ..
        }
        | In::Served { execution, task } = &input
        {
            self.attempts.remove(&(*execution, *task));
            self.gates.remove(&(*execution, *task));
        }
        self.shard.handle(at, input);
    }

    fn committed(&mut self, tickets: Vec<Ticket>, verdicts: Vec<Verdict>) {
        self.node.health.note(&verdicts);
        let at = now();
        for (ticket, verdict) in tickets.into_iter().zip(verdicts) {
            self.shard.handle(at, In::Committed { ticket, verdict });
        }
    }

    fn act(&mut self) {
        let mut tickets = Vec::new();
        let mut writes = Vec::new();
        let outs = self.shard.take_out();
        let runs = outs.iter().filter(|out| matches!(out, Out::Run { .. }));
        // Where several run, each has what it needs of a core.
        let alone = self.attempts.is_empty() && runs.count() == 1;
        for out in outs {
            match out {
                Out::Commit { ticket, write } => {
                    tickets.push(ticket);
                    writes.push(write);
                }
                Out::Load {
                    execution,
                    closed_too,
                } => self.load(execution, closed_too),
                Out::LoadLine { line, machine } => self.load_line(line, machine),
                Out::Run {
                    execution,
                    info,
                    request,
                } => self.dispatch(execution, &info, *request, alone),
                Out::Begin { execution, task } => {
                    if let Some(gate) = self.gates.remove(&(execution, task)) {
                        // The attempt may have ended.
                        let _ = gate.send(());
                    }
                }
                Out::Cancel { execution, task } => {
                    self.gates.remove(&(execution, task));
                    if let Some(attempt) = self.attempts.remove(&(execution, task)) {
                        attempt.abort();
                    }
                }
                Out::ActivityOpened {
                    execution,
                    info,
                    task,
                    activity,
                } => {
                    self.offer(execution, info, task, activity);
                }
                Out::WakeAt(at) => self.node.wake_at(at),
                Out::Announce(message) => self.node.announce(message),
                Out::Doubt(execution) => self.node.outboxes.doubt(execution),
                Out::MapRun { map_run, request } => self.serve_map_run(map_run, request),
                Out::MapRunOver(map_run) => {
                    self.node.items.close(map_run);
                    self.node.backlog.over(map_run);
                }
            }
        }
        if !writes.is_empty() {
            let verdicts = self.node.journal.commit(writes);
            let (asked, counters) = (Instant::now(), self.counters.clone());
            self.commits.push(Box::pin(async move {
                let verdicts = verdicts.await;
                counters.commit(asked.elapsed());
                (tickets, verdicts)
            }));
        }
    }

    fn load(&self, execution: ExecutionId, closed_too: bool) {
        let (node, seat) = (self.node.clone(), self.seat.clone());
        self.runtime.spawn(async move {
            let (journal, programs) = (node.journal.as_ref(), &node.programs);
            let result = reader::stored(journal, programs, execution, closed_too).await;
            // Here and not in a look: the runner may read the plugins' directory for it.
            let on_crash = match &result {
                Ok(Stored::Open(open)) => crash_rules(&node, open),
                Ok(Stored::New { .. } | Stored::Closed { .. }) | Err(_) => CrashRules::new(),
            };
            seat.tell(In::Loaded {
                execution,
                result,
                on_crash,
            });
        });
    }

    fn load_line(&self, line: ExecutionId, machine: Option<LineMachine>) {
        let (node, seat) = (self.node.clone(), self.seat.clone());
        self.runtime.spawn(async move {
            let (journal, allowances) = (node.journal.as_ref(), &node.allowances);
            let result = lines::stored(journal, allowances, line, machine).await;
            seat.tell(In::LineLoaded { line, result });
        });
    }

    /// Reads items or writes results.
    fn serve_map_run(&self, map_run: ExecutionId, request: Box<MapRunRequest>) {
        let (node, seat) = (self.node.clone(), self.seat.clone());
        let mut turn = node.items.write_turn(map_run, &request);
        let backlogged = self.backlogged(map_run, &request);
        self.node.spawn_io(async move {
            if let Some(turn) = backlogged
                && turn.await.is_err()
            {
                // It ended before its turn came.
                return;
            }
            if let Some(turn) = &mut turn {
                turn.comes().await;
            }
            let ids = |count| node.child_ids(count);
            let answer = node.items.serve(map_run, &request, ids).await;
            let input = Input::MapRun(Box::new(answer));
            seat.leave(In::Input {
                execution: map_run,
                input,
            });
        });
    }

    /// The turn of a map run that is to wait until others have ended.
    fn backlogged(
        &self,
        map_run: ExecutionId,
        request: &MapRunRequest,
    ) -> Option<oneshot::Receiver<()>> {
        match request {
            MapRunRequest::Read {
                tenant,
                first,
                start,
                ..
            } => {
                let raised = start.parent.raised_limits;
                self.node.backlog.turn(tenant, map_run, *first > 0, raised)
            }
            MapRunRequest::WritePart { .. } | MapRunRequest::WriteManifest { .. } => None,
        }
    }

    /// Queues an activity's task; fails it when there is no such activity.
    fn offer(&self, execution: ExecutionId, info: Arc<Info>, task: TaskId, activity: Arc<str>) {
        let (node, seat) = (self.node.clone(), self.seat.clone());
        self.runtime.spawn(async move {
            let (journal, activities) = (node.journal.as_ref(), &node.activities);
            if activities.exists(journal, &info.tenant, &activity).await {
                activities.opened(&info.tenant, &activity, execution, task);
                return;
            }
            let outcome = activities::missing(&activity);
            let input = Input::TaskEnded { task, outcome };
            seat.tell(In::Input { execution, input });
        });
    }

    /// `alone`: no other attempt of the shard is under way.
    fn dispatch(
        &mut self,
        execution: ExecutionId,
        info: &Arc<Info>,
        request: TaskRequest,
        alone: bool,
    ) {
        let task = request.task;
        if integration::is_own(&request.resource.target) {
            return self.serve(execution, info.clone(), request);
        }
        let plan = match dispatch::plan(info, &request) {
            Ok(plan) => plan,
            Err(outcome) => {
                self.seat.leave(In::Input {
                    execution,
                    input: Input::TaskEnded { task, outcome },
                });
                return;
            }
        };
        let place = self.node.allowances.begin_task(&info.tenant);
        let signals = Arc::new(AttemptSignals {
            execution,
            task,
            info: info.clone(),
            plugin: plan.plugin.clone(),
            seat: self.seat.clone(),
            log: LogSlot::default(),
            progress: AttemptNotes::new(
                self.node.notes.clone(),
                execution,
                &request,
                plan.plugin.clone(),
            ),
            spent: Mutex::default(),
        });
        let mut call = dispatch::call(info, &request, &plan, now(), signals.clone());
        call.alone = alone;
        if request.again {
            let (gate, permit) = oneshot::channel();
            self.gates.insert((execution, task), gate);
            call.permit = Some(permit);
        }
        let dispatched = Dispatched {
            node: self.node.clone(),
            execution,
            info: info.clone(),
            request,
            plan,
            signals,
            end: self.attempt_end(execution, task),
        };
        let attempt = self.runtime.spawn(dispatched.run(call, place));
        self.attempts
            .insert((execution, task), attempt.abort_handle());
    }

    /// Serves a task that calls the engine's own API.
    fn serve(&mut self, execution: ExecutionId, info: Arc<Info>, request: TaskRequest) {
        let (node, task) = (self.node.clone(), request.task);
        let end = self.attempt_end(execution, task);
        let apart = integration::needs_network(&request.resource.target);
        if apart {
            // It takes a while: that it runs is seen meanwhile.
            let (by, at) = (None, now());
            let input = Input::TaskStarted { task, by, at };
            self.seat.leave(In::Input { execution, input });
        }
        let attempt = async move {
            let Some(engine) = node.engine().await else {
                // The process ends: the next one takes the task up.
                return end.wait();
            };
            match integration::serve(&engine, execution, &info, &request).await {
                Served::Ended(outcome) => end.tell(Input::TaskEnded { task, outcome }),
                Served::Submitted(output) => end.tell(Input::TaskSubmitted { task, output }),
                Served::Told => end.wait(),
            }
        };
        let handle = match apart {
            true => self.node.spawn_io(attempt),
            false => Some(self.runtime.spawn(attempt).abort_handle()),
        };
        self.attempts
            .extend(handle.map(|handle| ((execution, task), handle)));
    }

    fn attempt_end(&self, execution: ExecutionId, task: TaskId) -> AttemptEnd {
        AttemptEnd::new(execution, task, self.seat.clone())
    }

    fn makes_turns(&self) -> bool {
        self.shard.is_busy() && !self.node.shutdown.is_halted()
    }

    /// Keeps the node's count of shards with appends on their way.
    fn count_busy(&mut self) {
        let busy = self.makes_turns() || self.shard.has_flights();
        self.note_busy(busy);
    }

    fn note_busy(&mut self, busy: bool) {
        if busy != self.counted_busy {
            self.counted_busy = busy;
            self.node.shutdown.shard_is_busy(busy);
        }
    }
}

impl Drop for ShardLoop {
    /// Who waits for idle shards does not wait for one that has ended.
    fn drop(&mut self) {
        if self.counted_busy {
            self.node.shutdown.shard_is_busy(false);
        }
    }
}

/// What a crash means for the attempts that an execution waits for.
fn crash_rules(node: &Node, open: &StoredOpen) -> CrashRules {
    let info = &open.info;
    let rule = |request: TaskRequest| {
        let plan = dispatch::plan(info, &request).ok()?;
        let rule = node.runner.on_crash(&info.tenant, &plan.plugin);
        Some((request.task, rule))
    };
    let pending = open.subject.pending().into_iter();
    let requests = pending.filter_map(Effect::into_attempt);
    requests.filter_map(rule).collect()
}
