//! The threads of an engine. What it hides: which thread does what. Each shard has a thread with a small runtime of
//! its own, on which it waits for inputs, commits, reads and the ends of its task attempts; the waker and the keeper
//! of leases share one more.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use stepwell_interp::{ChildId, Input, OnCrash, TaskId, TaskRequest, Timestamp};
use stepwell_items::Storage;
use tokio::{
    sync::{Notify, mpsc, watch},
    task::AbortHandle,
};

use crate::{
    activities::{self, Activities},
    attempt::{AttemptEnd, AttemptSignals},
    connections::Connections,
    counters::Counters,
    deletion, dispatch,
    engine::{Engine, Options, WeakEngine},
    error::Error,
    executions,
    health::StoreHealth,
    integration::{self, Served},
    items::Items,
    journal::{
        Answer, Epoch, ExecutionId, ExecutionRow, Journal, Look, Message, MessageId, Partition,
        ReadError, Refused, ScopeId, Verdict, Write, ready,
    },
    limits::{
        LEASE_MS, LEASE_RENEW, PARTITIONS, ROWS_MAX, SHARD_QUEUE_MAX, SHUTDOWN_WORK,
        WAKER_REST_MAX, WAKER_REST_MIN, WAKER_REST_STUCK,
    },
    programs::Programs,
    reader,
    recent::Recent,
    runner::TaskRunner,
    shard::{Environment, In, Info, MapRunRequest, Monotonic, Out, Shard, Ticket},
};

/// How often `drain` looks whether the shards are idle, beside being told.
const SHUTDOWN_LOOK: Duration = Duration::from_millis(20);

/// Turns between two looks at the clock and the queue.
const TURNS_PER_LOOK: usize = 64;

/// How long after asking for its leases a node acts as if it had them: less than they last.
const FRESH_MS: u64 = LEASE_MS * 2 / 3;

/// What the threads share.
pub(crate) struct Node {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) programs: Programs,
    pub(crate) activities: Activities,
    pub(crate) runner: Arc<dyn TaskRunner>,
    pub(crate) raised_limits: bool,
    pub(crate) connections: Connections,
    pub(crate) health: StoreHealth,
    take_up: bool,
    shards: Vec<mpsc::Sender<In>>,
    counters: Vec<Arc<Counters>>,
    owner: String,
    held: Mutex<BTreeMap<Partition, Epoch>>,
    /// When the leases were asked for, by its monotonic time.
    leased_at_ms: AtomicU64,
    recent: Arc<Recent>,
    /// The origin of its monotonic time.
    began: Instant,
    last_id: AtomicU64,
    next_partition: AtomicU64,
    waker: Notify,
    next_wake_ms: AtomicU64,
    closing: AtomicBool,
    /// Executions get no more turns: only commits in flight are waited for.
    halted: AtomicBool,
    /// True once the threads are to end.
    closed: watch::Sender<bool>,
    /// Threads that have not ended.
    threads: Arc<watch::Sender<usize>>,
    idle: Notify,
    busy_shards: AtomicU64,
    /// The engine that this node is of: tasks may call its API.
    engine: watch::Sender<Option<WeakEngine>>,
    items: Items,
    /// Reads items, writes results, makes requests: shards do no I/O of their own.
    io_runtime: IoRuntime,
    /// Executions with a message that their shard had no room for.
    untold: Mutex<BTreeSet<ExecutionId>>,
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn since(began: Instant) -> Monotonic {
    Monotonic(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX))
}

/// 32 fresh bytes from the operating system.
pub(crate) fn os_seed() -> [u8; 32] {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).expect("the operating system gives random bytes");
    seed
}

impl Node {
    /// Takes the leases, starts the threads and recovers what was running.
    pub(crate) fn start(
        journal: Arc<dyn Journal>,
        runner: Arc<dyn TaskRunner>,
        options: &Options,
        shards: usize,
    ) -> Result<Arc<Node>, Error> {
        let mut senders = Vec::new();
        let mut receivers = Vec::new();
        for _ in 0..shards.max(1) {
            let (sender, receiver) = mpsc::channel(SHARD_QUEUE_MAX);
            senders.push(sender);
            receivers.push(receiver);
        }
        let counters: Vec<Arc<Counters>> = receivers.iter().map(|_| Arc::default()).collect();
        let node = Arc::new(Node {
            programs: Programs::new(journal.clone()),
            activities: Activities::default(),
            journal,
            runner,
            raised_limits: options.raised_limits,
            connections: options.connections.clone(),
            health: StoreHealth::default(),
            take_up: options.take_up,
            shards: senders,
            counters: counters.clone(),
            owner: uuid::Uuid::new_v4().to_string(),
            held: Mutex::default(),
            leased_at_ms: AtomicU64::new(0),
            recent: Arc::default(),
            began: Instant::now(),
            last_id: AtomicU64::new(0),
            next_partition: AtomicU64::new(0),
            waker: Notify::new(),
            next_wake_ms: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            halted: AtomicBool::new(false),
            closed: watch::Sender::new(false),
            threads: Arc::new(watch::Sender::new(0)),
            idle: Notify::new(),
            busy_shards: AtomicU64::new(0),
            engine: watch::Sender::new(None),
            items: Items::new(options.storage.clone()),
            io_runtime: IoRuntime::new()?,
            untold: Mutex::default(),
        });
        let threads = node.threads.clone();
        for (index, (receiver, counters)) in receivers.into_iter().zip(counters).enumerate() {
            let node = node.clone();
            spawn_thread(&threads, format!("stepwell-shard-{index}"), move || {
                node.run_shard(receiver, counters)
            })?;
        }
        let (ready, opened) = std::sync::mpsc::channel();
        let keeper = node.clone();
        spawn_thread(&threads, "stepwell-keeper".to_owned(), move || {
            keeper.keep(&ready)
        })?;
        opened
            .recv()
            .map_err(|_| Error::Broken("the engine's keeper ended".to_owned()))??;
        Ok(node)
    }

    pub(crate) fn counters(&self) -> impl Iterator<Item = &Counters> {
        self.counters.iter().map(Arc::as_ref)
    }

    /// What is wrong with the shards, if something is.
    pub(crate) fn wrong_shards(&self) -> Option<String> {
        let counters = self.counters.iter().enumerate();
        let wrong: Vec<String> = counters
            .filter_map(|(shard, counters)| counters.pulse.wrong(shard))
            .collect();
        (!wrong.is_empty() && !self.closing.load(Relaxed)).then(|| wrong.join("; "))
    }

    pub(crate) fn queue_depth(&self) -> u64 {
        self.shards
            .iter()
            .map(|shard| (shard.max_capacity() - shard.capacity()) as u64)
            .sum()
    }

    /// A fresh id on a partition of this node, greater than all it gave before.
    pub(crate) fn new_execution_id(&self, at: Timestamp) -> Result<ExecutionId, Error> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = self.next_partition.fetch_add(1, Relaxed);
        let index = usize::try_from(turn % held.len().max(1) as u64).unwrap_or(0);
        let partition = *held
            .keys()
            .nth(index)
            .ok_or_else(|| Error::Busy("this engine serves no executions now".to_owned()))?;
        drop(held);
        Ok(self.new_id_on(partition, at))
    }

    fn new_id_on(&self, partition: Partition, at: Timestamp) -> ExecutionId {
        let fresh = ExecutionId::new(at.0, 0, partition).0 >> 10;
        let previous = self
            .last_id
            .fetch_update(SeqCst, SeqCst, |last| {
                Some(last.saturating_add(1).max(fresh))
            })
            .unwrap_or_else(|last| last);
        let stem = previous.saturating_add(1).max(fresh);
        ExecutionId(stem << 10 | u64::from(partition.0))
    }

    /// Fresh ids for the children of a map run, on all partitions of this node in turn; fewer, when it lost them all.
    fn child_ids(&self, count: usize) -> Vec<ChildId> {
        let at = now();
        let ids = (0..count).map_while(|_| self.new_execution_id(at).ok());
        ids.map(|id| ChildId(id.0)).collect()
    }

    fn shard_of(&self, execution: ExecutionId) -> &mpsc::Sender<In> {
        &self.shards[self.shard_index(execution)]
    }

    fn shard_index(&self, execution: ExecutionId) -> usize {
        // Bits above the partition, so that one partition's executions spread over the shards too.
        let spread = (execution.0 >> 10) ^ (execution.0 & 0x3ff);
        usize::try_from(spread % self.shards.len() as u64).unwrap_or(0)
    }

    /// Takes note of an execution that is left out of a list: what is stored of it is damaged.
    pub(crate) fn note_damaged(&self, row: &ExecutionRow, why: &Error) {
        if self.counters[self.shard_index(row.id)].damaged(row.id) {
            tracing::error!(
                execution = row.id.0,
                name = &*row.new.name,
                %why,
                "an execution is left out of lists"
            );
        }
    }

    /// Hands an input to the execution's shard; refused as busy when its queue is full or the engine is closing.
    pub(crate) fn send(&self, execution: ExecutionId, input: In) -> Result<(), Error> {
        if self.closing.load(Relaxed) && matches!(input, In::Start(_)) {
            return Err(Error::Busy("the server is shutting down".to_owned()));
        }
        self.shard_of(execution)
            .try_send(input)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => {
                    Error::Busy("too many calls are waiting".to_owned())
                }
                mpsc::error::TrySendError::Closed(_) => {
                    Error::Busy("the server is shutting down".to_owned())
                }
            })
    }

    /// Commits one write whose refusal means something; a full or broken store is an error all the same.
    pub(crate) async fn write(&self, write: Write) -> Result<Verdict, Error> {
        let mut verdicts = self.journal.commit(vec![write]).await;
        self.health.note(&verdicts);
        match verdicts.pop() {
            Some(Err(refused @ (Refused::Full(_) | Refused::Broken(_)))) => {
                Err(executions::refusal(refused))
            }
            Some(verdict) => Ok(verdict),
            None => Err(Error::Broken("the store gave no verdict".to_owned())),
        }
    }

    /// Why a shard let go of who waited for an execution's end.
    pub(crate) fn let_go(&self) -> Error {
        if self.closing.load(Relaxed) {
            return Error::Busy("the server is shutting down".to_owned());
        }
        let why =
            "what is stored of the execution is damaged; an earlier line of this log says where";
        Error::Damaged(why.to_owned())
    }

    /// Tells the execution of a message that is in its inbox. When the queue is full the waker brings it later.
    pub(crate) fn announce(&self, message: Message) {
        let execution = message.to;
        if self.send(execution, In::Message(message)).is_err() {
            let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
            untold.insert(execution);
            self.waker.notify_one();
        }
    }

    /// Names the engine whose API this node's tasks call.
    pub(crate) fn serve_by(&self, engine: WeakEngine) {
        self.engine.send_replace(Some(engine));
    }

    /// That engine, once it is open; `None` when it is gone.
    async fn engine(&self) -> Option<Engine> {
        let mut named = self.engine.subscribe();
        let engine = named.wait_for(Option::is_some).await.ok()?.clone();
        engine?.upgrade()
    }

    /// Refuses new executions, lets those that have something to do go on for a moment, waits until no append is on its
    /// way, and ends the threads: the store is free again once the last handle is dropped.
    pub(crate) async fn drain(&self, patience: Duration) {
        self.closing.store(true, SeqCst);
        if !self.idle_within(SHUTDOWN_WORK.min(patience)).await {
            // Work may go on for ever, each step of it durable.
            self.halted.store(true, SeqCst);
            if self.idle_within(patience).await {
                tracing::info!(
                    "executions still had something to do; they go on at the next start, and task attempts whose end was not recorded run again"
                );
            } else {
                tracing::warn!(
                    "commits were still in flight when the engine closed; recovery takes them up"
                );
            }
        }
        let _ = self.journal.release(&self.owner).await;
        self.close();
        // A thread that does not end holds the store open; that is no reason to wait for ever.
        let mut threads = self.threads.subscribe();
        let _ = tokio::time::timeout(patience, threads.wait_for(|threads| *threads == 0)).await;
    }

    /// Whether no shard has turns to make or appends on their way, at one moment of that time.
    async fn idle_within(&self, time: Duration) -> bool {
        let idle = async {
            while self.busy_shards.load(SeqCst) > 0 || self.queue_depth() > 0 {
                let woken = self.idle.notified();
                // The last shard may have become idle between the look and the wait.
                let _ = tokio::time::timeout(SHUTDOWN_LOOK, woken).await;
            }
        };
        tokio::time::timeout(time, idle).await.is_ok()
    }

    /// Ends the threads without waiting for anything.
    pub(crate) fn close(&self) {
        self.closing.store(true, SeqCst);
        self.closed.send_replace(true);
    }

    fn run_shard(self: Arc<Node>, receiver: mpsc::Receiver<In>, counters: Arc<Counters>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        match runtime {
            Ok(runtime) => runtime.block_on(ShardLoop::new(self, receiver, counters).run()),
            Err(error) => tracing::error!(%error, "a shard's runtime cannot be built"),
        }
    }

    fn keep(self: Arc<Node>, ready: &std::sync::mpsc::Sender<Result<(), Error>>) {
        let runtime = match tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
        {
            Ok(runtime) => runtime,
            Err(error) => {
                let _ = ready.send(Err(Error::Broken(format!(
                    "no runtime for the keeper: {error}"
                ))));
                return;
            }
        };
        if !self.take_up {
            // Without leases there is nothing to serve, and nothing to keep.
            let _ = ready.send(Ok(()));
            return;
        }
        runtime.block_on(async {
            let first = self.renew_leases().await;
            let failed = first.is_err();
            let _ = ready.send(first);
            if failed {
                return;
            }
            let mut closed = self.closed.subscribe();
            tokio::select! {
                ((), (), ()) = async {
                    tokio::join!(self.keep_leases(), self.keep_waking(), self.finish_deletions())
                } => {}
                _ = closed.changed() => {}
            }
        });
    }

    /// Ends what a process that died had begun to delete.
    async fn finish_deletions(&self) {
        let Some(engine) = self.engine().await else {
            return;
        };
        if let Err(error) = deletion::finish_all(&engine).await {
            tracing::error!(%error, "the deletion of a state machine is not finished; the next start tries again");
        }
    }

    async fn keep_leases(&self) {
        while !self.closing.load(Relaxed) {
            tokio::time::sleep(LEASE_RENEW).await;
            if let Err(error) = self.renew_leases().await {
                tracing::error!(%error, "leases cannot be renewed");
            }
        }
    }

    /// Renews the leases; what is new is recovered.
    async fn renew_leases(&self) -> Result<(), Error> {
        let wanted: Vec<Partition> = (0..PARTITIONS).map(Partition).collect();
        let asked = self.monotonic();
        let leases = self
            .journal
            .lease(&self.owner, &wanted, LEASE_MS)
            .await
            .map_err(|error| Error::Broken(error.to_string()))?;
        let now_held: BTreeMap<Partition, Epoch> = leases
            .iter()
            .map(|lease| (lease.partition, lease.epoch))
            .collect();
        let before = std::mem::replace(
            &mut *self.held.lock().unwrap_or_else(PoisonError::into_inner),
            now_held.clone(),
        );
        self.leased_at_ms.store(asked.0, SeqCst);
        for shard in &self.shards {
            // A shard that has ended needs no leases.
            let _ = shard
                .send(In::Leases {
                    held: now_held.clone(),
                    asked,
                })
                .await;
        }
        if before == now_held {
            return Ok(());
        }
        let new: Vec<Partition> = now_held
            .iter()
            .filter(|(partition, epoch)| before.get(partition) != Some(epoch))
            .map(|(partition, _)| *partition)
            .collect();
        self.recover(&new).await
    }

    /// What the store holds of the execution of that name: from memory when it closed a moment ago.
    pub(crate) fn look(
        &self,
        scope: ScopeId,
        name: &str,
    ) -> Answer<Result<Option<Look>, ReadError>> {
        match self.recent(scope, name) {
            Some(look) => ready(Ok(Some(look))),
            None => self.journal.look(scope, name),
        }
    }

    /// Nobody else has written it as long as this node has the lease under which it closed.
    fn recent(&self, scope: ScopeId, name: &str) -> Option<Look> {
        let (epoch, look) = self.recent.get(scope, name)?;
        let age_ms = self
            .monotonic()
            .0
            .saturating_sub(self.leased_at_ms.load(SeqCst));
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = held.get(&look.row.id.partition()) == Some(&epoch) && age_ms < FRESH_MS;
        (counts && !self.closing.load(Relaxed)).then(|| Look::clone(&look))
    }

    fn monotonic(&self) -> Monotonic {
        since(self.began)
    }

    /// Wakes what was in memory when these partitions were last served, and what has unread messages.
    async fn recover(&self, partitions: &[Partition]) -> Result<(), Error> {
        let broken = |error: crate::journal::ReadError| Error::Broken(error.to_string());
        let mut after = None;
        loop {
            let hot = self
                .journal
                .hot(partitions, after, ROWS_MAX)
                .await
                .map_err(broken)?;
            for execution in &hot {
                self.wake(*execution).await;
            }
            after = hot.last().copied();
            if hot.len() < ROWS_MAX as usize {
                break;
            }
        }
        for partition in partitions {
            let mut after = MessageId(0);
            loop {
                let messages = self
                    .journal
                    .messages(&[(*partition, after)], ROWS_MAX)
                    .await
                    .map_err(broken)?;
                for message in &messages {
                    self.wake(message.to).await;
                    after = after.max(message.id);
                }
                if messages.len() < ROWS_MAX as usize {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn wake(&self, execution: ExecutionId) {
        // Waiting for room is right here: recovery must not drop anyone.
        let _ = self.shard_of(execution).send(In::Wake(execution)).await;
    }

    /// Loads executions from disk as they become due.
    async fn keep_waking(&self) {
        let mut woken = BTreeSet::new();
        while !self.closing.load(Relaxed) {
            let partitions: Vec<Partition> = self
                .held
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .keys()
                .copied()
                .collect();
            self.next_wake_ms.store(u64::MAX, SeqCst);
            let untold = {
                let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
                std::mem::take(&mut *untold)
            };
            for execution in untold {
                self.wake(execution).await;
            }
            let rest = match self.wake_due(&partitions, &mut woken).await {
                Ok(rest) => rest,
                Err(error) => {
                    tracing::error!(%error, "due executions cannot be read");
                    WAKER_REST_MAX.min(Duration::from_secs(1))
                }
            };
            let _ = tokio::time::timeout(rest, self.waker.notified()).await;
        }
    }

    /// `woken` is what was due at the last look: what is still due is on its way, or cannot be loaded.
    async fn wake_due(
        &self,
        partitions: &[Partition],
        woken: &mut BTreeSet<ExecutionId>,
    ) -> Result<Duration, crate::journal::ReadError> {
        let at = now();
        let due = self.journal.due(partitions, at, ROWS_MAX).await?;
        let due: BTreeSet<ExecutionId> = due.into_iter().map(|(execution, _)| execution).collect();
        for execution in &due {
            self.wake(*execution).await;
        }
        let fresh = due.difference(woken).next().is_some();
        *woken = due;
        if fresh {
            return Ok(WAKER_REST_MIN);
        }
        if !woken.is_empty() {
            return Ok(WAKER_REST_STUCK);
        }
        let next = self.journal.next_due(partitions).await?;
        let rest = next.map_or(WAKER_REST_MAX, |next| {
            Duration::from_millis(next.since_ms(at))
        });
        self.next_wake_ms
            .fetch_min(next.map_or(u64::MAX, |next| next.0), SeqCst);
        Ok(rest.clamp(WAKER_REST_MIN, WAKER_REST_MAX))
    }

    /// An execution went to sleep until then.
    fn wake_at(&self, at: Timestamp) {
        if self.next_wake_ms.fetch_min(at.0, SeqCst) > at.0 {
            self.waker.notify_one();
        }
    }

    fn on_crash(&self, info: &Info, request: &TaskRequest) -> OnCrash {
        match dispatch::plan(info, request) {
            Ok(plan) => self.runner.on_crash(&info.tenant, &plan.plugin),
            Err(_) => OnCrash::Redispatch,
        }
    }
}

impl Node {
    /// The object storage as an account sees it, where there is one.
    pub(crate) fn storage(&self, tenant: &Arc<str>) -> Option<Storage> {
        self.items.storage(tenant)
    }
}

/// A runtime of its own, that is shut down wherever the last handle is dropped.
struct IoRuntime(Option<tokio::runtime::Runtime>);

impl IoRuntime {
    fn new() -> Result<IoRuntime, Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("stepwell-io")
            .enable_all()
            .build()
            .map_err(|error| Error::Broken(format!("no runtime for input and output: {error}")))?;
        Ok(IoRuntime(Some(runtime)))
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> Option<AbortHandle> {
        let runtime = self.0.as_ref()?;
        Some(runtime.spawn(work).abort_handle())
    }
}

impl Drop for IoRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // The last handle may be dropped on a runtime's thread, where waiting is forbidden.
            runtime.shutdown_background();
        }
    }
}

/// Starts a thread and counts it. The body owns what it needs of the node, so that nothing is held once it is counted
/// as ended.
fn spawn_thread(
    threads: &Arc<watch::Sender<usize>>,
    name: String,
    body: impl FnOnce() + Send + 'static,
) -> Result<(), Error> {
    let threads = threads.clone();
    threads.send_modify(|threads| *threads += 1);
    let spawned = thread::Builder::new().name(name).spawn(move || {
        body();
        threads.send_modify(|threads| *threads -= 1);
    });
    spawned
        .map(drop)
        .map_err(|error| Error::Broken(format!("a thread cannot be started: {error}")))
}

/// The body of a shard's thread.
struct ShardLoop {
    node: Arc<Node>,
    shard: Shard,
    receiver: mpsc::Receiver<In>,
    closed: watch::Receiver<bool>,
    /// News from this shard's own attempts and reads; unbounded, since each answers something bounded.
    news: mpsc::UnboundedReceiver<In>,
    news_sender: mpsc::UnboundedSender<In>,
    commits: FuturesUnordered<Answer<(Vec<Ticket>, Vec<Verdict>)>>,
    attempts: HashMap<(ExecutionId, TaskId), AbortHandle>,
    counters: Arc<Counters>,
    counted_busy: bool,
}

impl ShardLoop {
    fn new(node: Arc<Node>, receiver: mpsc::Receiver<In>, counters: Arc<Counters>) -> ShardLoop {
        let (news_sender, news) = mpsc::unbounded_channel();
        let (on_crash_node, activities_node) = (Arc::downgrade(&node), Arc::downgrade(&node));
        let began = Instant::now();
        let new_id_node = Arc::downgrade(&node);
        let environment = Environment {
            opened_at: now(),
            new_id: Box::new(move |of, at| {
                let node = new_id_node.upgrade();
                node.map_or(of, |node| node.new_id_on(of.partition(), at))
            }),
            seed: Box::new(|_, _| os_seed()),
            clock: Box::new(move || since(began)),
            fresh_ms: FRESH_MS,
            on_crash: Box::new(move |info, request| {
                on_crash_node
                    .upgrade()
                    .map_or(OnCrash::Redispatch, |node| node.on_crash(info, request))
            }),
            knows_activity: Box::new(move |info, activity| {
                let node = activities_node.upgrade();
                node.is_some_and(|node| node.activities.is_known(&info.tenant, activity))
            }),
            recent: node.recent.clone(),
        };
        let shard = Shard::new(environment, counters.clone());
        let closed = node.closed.subscribe();
        ShardLoop {
            node,
            shard,
            receiver,
            closed,
            news,
            news_sender,
            commits: FuturesUnordered::new(),
            attempts: HashMap::new(),
            counters,
            counted_busy: false,
        }
    }

    async fn run(mut self) {
        let pulse = self.counters.pulse.clone();
        let _ends = pulse.clone().ends();
        loop {
            self.count_busy();
            pulse.waits();
            let goes_on = match self.makes_turns() {
                true => !*self.closed.borrow(),
                false => self.wait().await,
            };
            if !goes_on {
                return;
            }
            pulse.works();
            self.shard.pass(self.node.monotonic());
            self.take_queued();
            if !self.node.halted.load(Relaxed) {
                self.shard.work(now(), TURNS_PER_LOOK);
            }
            self.act();
            tokio::task::yield_now().await;
        }
    }

    /// Waits for something to happen; false when the engine is gone.
    async fn wait(&mut self) -> bool {
        let due = self
            .shard
            .next_due()
            .filter(|_| !self.node.halted.load(Relaxed));
        let pause = due.map_or(WAKER_REST_MAX, |due| {
            Duration::from_millis(due.since_ms(now()))
        });
        tokio::select! {
            biased;
            Some((tickets, verdicts)) = self.commits.next(), if !self.commits.is_empty() => self.committed(tickets, verdicts),
            Some(input) = self.news.recv() => self.news(now(), input),
            input = self.receiver.recv() => match input {
                Some(input) => self.shard.handle(now(), input),
                None => return false,
            },
            _ = self.closed.changed() => return false,
            () = tokio::time::sleep(pause) => {}
        }
        true
    }

    /// Takes what else has arrived, so that it shares the turn and the commit.
    fn take_queued(&mut self) {
        while let Some(Some((tickets, verdicts))) = self.commits.next().now_or_never() {
            self.committed(tickets, verdicts);
        }
        let at = now();
        while let Ok(input) = self.news.try_recv() {
            self.news(at, input);
        }
        for _ in 0..TURNS_PER_LOOK {
            let Ok(input) = self.receiver.try_recv() else {
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
        | In::Served { execution, task } = &input
        {
            self.attempts.remove(&(*execution, *task));
        }
        self.shard.handle(at, input);
    }

    fn committed(&mut self, tickets: Vec<Ticket>, verdicts: Vec<Verdict>) {
        self.counters.commit();
        self.node.health.note(&verdicts);
        let at = now();
        for (ticket, verdict) in tickets.into_iter().zip(verdicts) {
            self.shard.handle(at, In::Committed { ticket, verdict });
        }
    }

    fn act(&mut self) {
        let mut tickets = Vec::new();
        let mut writes = Vec::new();
        for out in self.shard.take_out() {
            match out {
                Out::Commit { ticket, write } => {
                    tickets.push(ticket);
                    writes.push(write);
                }
                Out::Load {
                    execution,
                    closed_too,
                } => self.load(execution, closed_too),
                Out::Run {
                    execution,
                    info,
                    request,
                } => self.dispatch(execution, &info, *request),
                Out::Cancel { execution, task } => {
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
                Out::MapRun { map_run, request } => self.serve_map_run(map_run, request),
                Out::MapRunOver(map_run) => self.node.items.close(map_run),
            }
        }
        if !writes.is_empty() {
            let verdicts = self.node.journal.commit(writes);
            self.commits
                .push(Box::pin(async move { (tickets, verdicts.await) }));
        }
    }

    fn load(&self, execution: ExecutionId, closed_too: bool) {
        let (node, sender) = (self.node.clone(), self.news_sender.clone());
        tokio::spawn(async move {
            let (journal, programs) = (node.journal.as_ref(), &node.programs);
            let result = reader::stored(journal, programs, execution, closed_too).await;
            // The shard has ended when no one receives.
            let _ = sender.send(In::Loaded { execution, result });
        });
    }

    /// Reads items or writes results.
    fn serve_map_run(&self, map_run: ExecutionId, request: Box<MapRunRequest>) {
        let (node, sender) = (self.node.clone(), self.news_sender.clone());
        self.node.io_runtime.spawn(async move {
            let ids = |count| node.child_ids(count);
            let answer = node.items.serve(map_run, &request, ids).await;
            let input = Input::MapRun(Box::new(answer));
            // The shard has ended when no one receives.
            let _ = sender.send(In::Input {
                execution: map_run,
                input,
            });
        });
    }

    /// Queues an activity's task; fails it when there is no such activity.
    fn offer(&self, execution: ExecutionId, info: Arc<Info>, task: TaskId, activity: Arc<str>) {
        let (node, sender) = (self.node.clone(), self.news_sender.clone());
        tokio::spawn(async move {
            let (journal, activities) = (node.journal.as_ref(), &node.activities);
            if activities.exists(journal, &info.tenant, &activity).await {
                activities.opened(&info.tenant, &activity, execution, task);
                return;
            }
            let outcome = activities::missing(&activity);
            let input = Input::TaskEnded { task, outcome };
            // The shard has ended when no one receives.
            let _ = sender.send(In::Input { execution, input });
        });
    }

    fn dispatch(&mut self, execution: ExecutionId, info: &Arc<Info>, request: TaskRequest) {
        let task = request.task;
        if integration::is_own(&request.resource.target) {
            return self.serve(execution, info.clone(), request);
        }
        let plan = match dispatch::plan(info, &request) {
            Ok(plan) => plan,
            Err(outcome) => {
                let _ = self.news_sender.send(In::Input {
                    execution,
                    input: Input::TaskEnded { task, outcome },
                });
                return;
            }
        };
        let signals = Arc::new(AttemptSignals {
            execution,
            task,
            news: self.news_sender.clone(),
        });
        let call = dispatch::call(info, &request, &plan, now(), signals);
        let running = self.node.runner.run(call);
        let end = self.attempt_end(execution, task);
        let attempt = tokio::spawn(async move {
            end.tell(match dispatch::meaning(&plan.form, running.await) {
                dispatch::Meaning::Ended(outcome) => Input::TaskEnded { task, outcome },
                dispatch::Meaning::Submitted(output) => Input::TaskSubmitted { task, output },
            });
        });
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
            let _ = self.news_sender.send(In::Input { execution, input });
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
            true => self.node.io_runtime.spawn(attempt),
            false => Some(tokio::spawn(attempt).abort_handle()),
        };
        self.attempts
            .extend(handle.map(|handle| ((execution, task), handle)));
    }

    fn attempt_end(&self, execution: ExecutionId, task: TaskId) -> AttemptEnd {
        AttemptEnd::new(execution, task, self.news_sender.clone())
    }

    fn makes_turns(&self) -> bool {
        self.shard.is_busy() && !self.node.halted.load(Relaxed)
    }

    /// Keeps the node's count of shards with appends on their way.
    fn count_busy(&mut self) {
        let busy = self.makes_turns() || self.shard.has_flights();
        if busy != self.counted_busy {
            self.counted_busy = busy;
            if busy {
                self.node.busy_shards.fetch_add(1, SeqCst);
            } else if self.node.busy_shards.fetch_sub(1, SeqCst) == 1 {
                self.node.idle.notify_waiters();
            }
        }
    }
}
