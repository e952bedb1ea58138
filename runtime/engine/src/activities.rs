//! Activities: their records, the queue of each in memory, and the long polls of their workers. Hides that the truth
//! is the store's open-task rows: the queue is filled from there once, and then by what this node opens.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sha2::{Digest, Sha256};
use stepwell_interp::{FailedAt, TaskId, TaskOutcome};
use stepwell_query::Value;
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use crate::{
    api::{Activity, ActivityTask, Caller, Page, PageRequest},
    arn, dispatch,
    engine::Engine,
    error::{Code, Error},
    journal::{CatalogKey, CatalogRecord, ExecutionId, Journal, ScopeId, TokenHash},
    limits::{ACTIVITIES_KNOWN_MAX, ACTIVITY_POLLERS_MAX, ACTIVITY_QUEUE_MAX, ROWS_MAX},
    node, reader,
    record::{self, ActivityRecord, TaskKey},
    shard::{ActivityGrant, In},
    tags,
};

/// Kind of the catalog's records.
const KIND: &str = "activity";

/// A tenant and the ARN of one of its activities.
type Named = (Arc<str>, Arc<str>);

/// The queues of all activities of this node.
#[derive(Default)]
pub(crate) struct Activities {
    queues: Mutex<HashMap<Named, Arc<Queue>>>,
    there: Mutex<There>,
}

/// Activities that were found to be there and that this node has not deleted since.
#[derive(Default)]
struct There {
    known: HashSet<Named>,
    deletions: u64,
}

/// One activity's queue.
#[derive(Default)]
struct Queue {
    state: Mutex<QueueState>,
    arrived: Notify,
}

#[derive(Default)]
struct QueueState {
    waiting: VecDeque<(ExecutionId, TaskId)>,
    /// The same, so that nothing is queued twice.
    known: BTreeSet<(ExecutionId, TaskId)>,
    look: Look,
    /// One was left in the store behind where it is read on.
    left_behind: bool,
    pollers: usize,
}

/// Where a reading of the store's open tasks goes on.
type Place = (stepwell_interp::Timestamp, TokenHash);

/// Whether the store must be read before the queue can be said to be empty.
#[derive(PartialEq, Eq)]
enum Look {
    /// Behind that place, or from the first one on: it may hold tasks that are not in `waiting`. Those under way are read as
    /// well, so a reading that always began anew would never come past as many as are queued at a time.
    Behind(Option<Place>),
    Done,
}

impl Default for Look {
    fn default() -> Look {
        Look::Behind(None)
    }
}

impl QueueState {
    fn pop(&mut self) -> Option<(ExecutionId, TaskId)> {
        let next = self.waiting.pop_front()?;
        self.known.remove(&next);
        Some(next)
    }
}

impl Activities {
    fn queue(&self, tenant: &Arc<str>, activity: &Arc<str>) -> Arc<Queue> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues
            .entry((tenant.clone(), activity.clone()))
            .or_default()
            .clone()
    }

    /// The store may hold tasks that this node knows nothing of: it serves executions that it did not serve before.
    pub(crate) fn look_again(&self) {
        let queues: Vec<Arc<Queue>> = {
            let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
            queues.values().cloned().collect()
        };
        for queue in queues {
            queue.look_again();
        }
    }

    fn there(&self) -> MutexGuard<'_, There> {
        self.there.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an activity is there as far as this node knows without asking the store.
    pub(crate) fn is_known(&self, tenant: &Arc<str>, activity: &Arc<str>) -> bool {
        let named = (tenant.clone(), activity.clone());
        self.there().known.contains(&named)
    }

    fn forget(&self, tenant: &Arc<str>, activity: &str) {
        let mut there = self.there();
        there.deletions += 1;
        let named = (tenant.clone(), activity.into());
        there.known.remove(&named);
        drop(there);
        // One that nobody polls is not needed: if the activity is made anew, the store has the tasks.
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if queues
            .get(&named)
            .is_some_and(|queue| Arc::strong_count(queue) == 1)
        {
            queues.remove(&named);
        }
    }

    /// Whether an activity is there. While the store cannot be read it counts as there: its tasks wait, as for a
    /// worker.
    pub(crate) async fn exists(
        &self,
        journal: &dyn Journal,
        tenant: &Arc<str>,
        activity: &Arc<str>,
    ) -> bool {
        let Some((region, name)) = arn::own_activity(tenant, activity) else {
            return false;
        };
        let deletions = self.there().deletions;
        let stored = journal.get(&activity_key(tenant, region, name)).await;
        let Ok(stored) = stored else { return true };
        let mut there = self.there();
        // What was read before a deletion says nothing of what is there after it.
        if stored.is_some()
            && there.deletions == deletions
            && there.known.len() < ACTIVITIES_KNOWN_MAX
        {
            there.known.insert((tenant.clone(), activity.clone()));
        }
        stored.is_some()
    }

    /// A task was opened and is durable.
    pub(crate) fn opened(
        &self,
        tenant: &Arc<str>,
        activity: &Arc<str>,
        execution: ExecutionId,
        task: TaskId,
    ) {
        let queue = self.queue(tenant, activity);
        let mut state = queue.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.waiting.len() >= ACTIVITY_QUEUE_MAX {
            match state.look {
                Look::Done => state.look = Look::Behind(None),
                // It is behind that place, unless the clock went back.
                Look::Behind(_) => state.left_behind = true,
            }
        } else if state.known.insert((execution, task)) {
            state.waiting.push_back((execution, task));
        }
        drop(state);
        queue.arrived.notify_one();
    }
}

impl Queue {
    /// The store may hold tasks that are not queued: whoever polls reads it again.
    fn look_again(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.look = Look::Behind(None);
        drop(state);
        self.arrived.notify_one();
    }
}

/// Something that is under way and was taken out of the queue, or not yet put into it. Unless it is settled, be it that it failed or
/// that the poller went away, the store is read again: a task must not be lost to all who poll.
struct UnderWay<'a> {
    queue: &'a Queue,
    settled: bool,
}

impl<'a> UnderWay<'a> {
    fn new(queue: &'a Queue) -> UnderWay<'a> {
        UnderWay {
            queue,
            settled: false,
        }
    }

    fn settled(mut self) {
        self.settled = true;
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.queue.look_again();
        }
    }
}

/// What a worker's call for a task came to.
enum Taking {
    Granted(ActivityTask),
    /// Another worker has it, or it is closed.
    Gone,
    /// Its start did not become durable: it may be open still.
    Unknown,
}

/// Counts a poller for as long as it lives.
struct Poller(Arc<Queue>);

impl Poller {
    fn enter(queue: Arc<Queue>, arn: &str) -> Result<Poller, Error> {
        let mut state = queue.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.pollers >= ACTIVITY_POLLERS_MAX {
            let text = format!(
                "The maximum number of workers concurrently polling for activity tasks has been reached: '{arn}'"
            );
            return Err(Error::rejected(Code::ActivityWorkerLimitExceeded, text));
        }
        state.pollers += 1;
        drop(state);
        Ok(Poller(queue))
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.0
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pollers -= 1;
    }
}

impl Engine {
    /// Creates an activity, or gives the one of that name; its tags may be others, its encryption may not.
    pub async fn create_activity(
        &self,
        caller: &Caller,
        name: &str,
        encryption: Option<Value>,
        tags: Vec<(String, String)>,
    ) -> Result<Activity, Error> {
        arn::check_name(name)?;
        let key = activity_key(&caller.tenant, &caller.region, name);
        self.require_activity(caller, &key).await?;
        let activity = ActivityRecord {
            arn: arn::activity(&caller.region, &caller.tenant, name),
            tags: tags::with(Vec::new(), &tags)?,
            encryption,
            created_ms: node::now().0,
        };
        let bytes = record::encode(&activity);
        loop {
            if self.put(&key, Some(0), Some(bytes.clone())).await?.is_ok() {
                return Ok(shown(activity, name));
            }
            // One that was deleted in between leaves the name free.
            if let Some(stored) = self.record(&key).await? {
                let stored: ActivityRecord = record::decode(&stored.bytes)?;
                if stored.encryption != activity.encryption {
                    let text = format!("Activity Already Exists: '{}'", stored.arn);
                    return Err(Error::rejected(Code::ActivityAlreadyExists, text));
                }
                return Ok(shown(stored, name));
            }
        }
    }

    /// Refuses one activity more than the tenant may have; one that is there already is not another one.
    async fn require_activity(&self, caller: &Caller, key: &CatalogKey) -> Result<(), Error> {
        let Some(most) = self.node().allowances.activities(&caller.tenant) else {
            return Ok(());
        };
        if self.record(key).await?.is_some()
            || self.count(&caller.tenant, &key.kind, most).await? < most
        {
            return Ok(());
        }
        let text = format!(
            "The maximum number of activities has been reached. Existing activities must be deleted before a new activity can be created. (the tenant's quota is {most})"
        );
        Err(Error::rejected(Code::ActivityLimitExceeded, text))
    }

    /// An activity by its ARN.
    pub async fn activity(&self, caller: &Caller, arn: &str) -> Result<Activity, Error> {
        let (region, name) = arn::activity_parts(caller, arn)?;
        let stored = self
            .record(&activity_key(&caller.tenant, &region, &name))
            .await?
            .ok_or_else(|| absent(arn))?;
        Ok(shown(record::decode(&stored.bytes)?, &name))
    }

    /// The caller's activities in its region, by name.
    pub async fn activities(
        &self,
        caller: &Caller,
        page: PageRequest,
    ) -> Result<Page<Activity>, Error> {
        let prefix = format!("{}/", caller.region);
        let found = self.scan_page(caller, KIND, &prefix, &page).await?;
        self.shown(found, |CatalogRecord { key, bytes, .. }| {
            let name = key.name.strip_prefix(&*prefix).unwrap_or(&key.name);
            Ok(shown(record::decode(bytes)?, name))
        })
    }

    /// Deletes an activity; deleting what is not there succeeds, as on AWS. Open tasks live on.
    pub async fn delete_activity(&self, caller: &Caller, arn: &str) -> Result<(), Error> {
        let (region, name) = arn::activity_parts(caller, arn)?;
        let activity = arn::activity(&region, &caller.tenant, &name);
        let activities = &self.node().activities;
        activities.forget(&caller.tenant, &activity);
        // Without an expected revision the deletion cannot conflict.
        let deleted = self
            .put(&activity_key(&caller.tenant, &region, &name), None, None)
            .await;
        activities.forget(&caller.tenant, &activity);
        deleted.map(drop)
    }

    /// Long poll: a task, or `None` when none came within `patience`. ActivityStarted is durable when it answers.
    pub async fn activity_task(
        &self,
        caller: &Caller,
        arn: &str,
        worker: Option<String>,
        patience: Duration,
    ) -> Result<Option<ActivityTask>, Error> {
        let activity = self.activity(caller, arn).await?;
        let queue = self.node().activities.queue(&caller.tenant, &activity.arn);
        let poller = Poller::enter(queue, arn)?;
        let deadline = Instant::now() + patience;
        let worker: Option<Arc<str>> = worker.map(Into::into);
        loop {
            let arrived = poller.0.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            while let Some((execution, task)) = self.next_queued(&poller.0, &activity.arn).await? {
                let under_way = UnderWay::new(&poller.0);
                match self.try_take(execution, task, worker.clone()).await? {
                    Taking::Granted(grant) => {
                        under_way.settled();
                        return Ok(Some(grant));
                    }
                    Taking::Gone => under_way.settled(),
                    Taking::Unknown => {}
                }
            }
            if tokio::time::timeout_at(deadline, arrived).await.is_err() {
                return Ok(None);
            }
        }
    }

    async fn try_take(
        &self,
        execution: ExecutionId,
        task: TaskId,
        worker: Option<Arc<str>>,
    ) -> Result<Taking, Error> {
        let (reply, granted) = oneshot::channel();
        self.node().send(
            execution,
            In::Take {
                execution,
                task,
                worker,
                reply,
            },
        )?;
        Ok(match granted.await {
            Ok(Some(ActivityGrant { token, input })) => {
                Taking::Granted(ActivityTask { token, input })
            }
            Ok(None) => Taking::Gone,
            Err(_) => Taking::Unknown,
        })
    }

    /// The next task of the queue, which is filled from the store when it may hold more.
    async fn next_queued(
        &self,
        queue: &Queue,
        activity: &str,
    ) -> Result<Option<(ExecutionId, TaskId)>, Error> {
        let after = {
            let mut state = queue.state.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(next) = state.pop() {
                return Ok(Some(next));
            }
            match std::mem::replace(&mut state.look, Look::Done) {
                Look::Done => return Ok(None),
                Look::Behind(place) => place,
            }
        };
        let under_way = UnderWay::new(queue);
        self.fill(queue, activity, after).await?;
        under_way.settled();
        let mut state = queue.state.lock().unwrap_or_else(PoisonError::into_inner);
        let next = state.pop();
        if !state.waiting.is_empty() {
            // Who came while it was read found nothing and waits.
            queue.arrived.notify_waiters();
        }
        Ok(next)
    }

    /// Queues the store's open tasks of an activity. Those already begun are found out when they are taken.
    async fn fill(
        &self,
        queue: &Queue,
        activity: &str,
        mut after: Option<Place>,
    ) -> Result<(), Error> {
        loop {
            let rows = self
                .node()
                .journal
                .activity_tasks(scope(activity), after, ROWS_MAX)
                .await
                .map_err(reader::broken)?;
            let mut state = queue.state.lock().unwrap_or_else(PoisonError::into_inner);
            for row in &rows {
                let task: TaskKey = match record::decode(&row.task) {
                    Ok(task) => task,
                    // The others of the activity are handed out.
                    Err(error) => {
                        tracing::error!(execution = row.execution.0, activity, %error, "an open task cannot be read, and no worker gets it");
                        continue;
                    }
                };
                if state.known.insert((row.execution, task.into())) {
                    state.waiting.push_back((row.execution, task.into()));
                }
            }
            after = rows
                .last()
                .map(|row| (row.scheduled_at, row.token))
                .or(after);
            let whole = rows.len() < ROWS_MAX as usize;
            if whole && std::mem::take(&mut state.left_behind) {
                state.look = Look::Behind(None);
            }
            if !whole && state.waiting.len() >= ACTIVITY_QUEUE_MAX {
                // Unless it has to be read from the first one on by now.
                if let Look::Done = state.look {
                    state.look = Look::Behind(after);
                }
                return Ok(());
            }
            if whole {
                return Ok(());
            }
        }
    }
}

/// The queue of an activity: the first eight bytes of its ARN's SHA-256, the top bit clear.
pub(crate) fn scope(arn: &str) -> ScopeId {
    let digest: [u8; 32] = Sha256::digest(arn.as_bytes()).into();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    ScopeId(u64::from_be_bytes(first) >> 1)
}

/// The outcome of a task whose activity is not there, in AWS's words.
pub(crate) fn missing(arn: &str) -> TaskOutcome {
    let cause = format!("The activity {arn} does not exist.");
    dispatch::failed(FailedAt::Schedule, "States.Runtime", cause)
}

pub(crate) fn activity_key(tenant: &Arc<str>, region: &str, name: &str) -> CatalogKey {
    CatalogKey {
        tenant: tenant.clone(),
        kind: KIND.into(),
        name: format!("{region}/{name}").into(),
    }
}

fn shown(record: ActivityRecord, name: &str) -> Activity {
    Activity {
        arn: record.arn,
        name: name.into(),
        tags: record.tags,
        encryption: record.encryption,
        created_at: record::time(record.created_ms),
    }
}

fn absent(arn: &str) -> Error {
    Error::rejected(
        Code::ActivityDoesNotExist,
        format!("Activity Does Not Exist: '{arn}'"),
    )
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn named() -> Named {
        ("000000000000".into(), "arn:a".into())
    }

    #[test]
    fn what_came_to_nothing_is_looked_for_again() {
        let activities = Activities::default();
        let (tenant, activity) = named();
        let queue = activities.queue(&tenant, &activity);
        let is_done = || queue.state.lock().expect("nobody failed").look == Look::Done;
        let read = || queue.state.lock().expect("nobody failed").look = Look::Done;
        read();
        UnderWay::new(&queue).settled();
        assert!(is_done());
        let mut other_poller = Box::pin(queue.arrived.notified());
        assert!(other_poller.as_mut().now_or_never().is_none());
        drop(UnderWay::new(&queue));
        assert!(!is_done());
        assert!(other_poller.now_or_never().is_some(), "it reads the store");
        read();
        activities.look_again();
        assert!(!is_done());
    }

    #[test]
    fn the_queue_of_a_deleted_activity_goes_when_nobody_polls_it() {
        let activities = Activities::default();
        let (tenant, activity) = named();
        let there = || activities.queues.lock().expect("nobody failed").len();
        let poller = Poller::enter(activities.queue(&tenant, &activity), &activity);
        activities.forget(&tenant, &activity);
        assert_eq!(there(), 1);
        drop(poller);
        activities.forget(&tenant, "arn:b");
        assert_eq!(there(), 1);
        activities.forget(&tenant, &activity);
        assert_eq!(there(), 0);
    }
}
