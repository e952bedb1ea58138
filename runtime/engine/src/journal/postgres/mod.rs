//! The journal of several nodes: a PostgreSQL database. Hides SQL, connections and the runtime they need: answers can
//! be awaited on any executor.

mod commit;
mod delta;
mod lease;
mod read;
mod schema;
mod session;
mod value;

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use stepwell_interp::Timestamp;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use super::{
    Amounts, Answer, Catalog, CatalogKey, CatalogRecord, ExecutionId, ExecutionRow, Journal, Lease,
    ListQuery, Look, Message, MessageId, OpenError, OpenTask, Partition, ReadError, Refused,
    ScopeId, SegmentRange, StoredSegment, TokenHash, UsageKey, UsageOfTenants, UsageQuery, Verdict,
    Write,
    limits::{GROUP_BYTES_MAX, GROUP_WRITES_MAX, QUEUE_BYTES_MAX},
    weight,
};
use session::{Link, Target};

/// Where the database is.
#[derive(Clone, Debug)]
pub(crate) struct PostgresOptions {
    /// `postgres://user@host/database`, or PostgreSQL's `key=value` form.
    pub url: String,
    /// The schema that holds the tables; made when it is missing.
    pub schema: String,
}

/// A journal in PostgreSQL. Its connections live on the given runtime and come back after they were lost.
pub(crate) struct PostgresJournal {
    runtime: Handle,
    queue: mpsc::UnboundedSender<Batch>,
    queued_bytes: Arc<AtomicUsize>,
    reads: Arc<Link>,
    leases: Arc<Link>,
}

struct Batch {
    writes: Vec<Write>,
    bytes: usize,
    answer: oneshot::Sender<Vec<Verdict>>,
}

impl PostgresJournal {
    /// Connects and makes the tables where they are missing. Must be awaited on `runtime`.
    pub(crate) async fn connect(
        options: PostgresOptions,
        runtime: Handle,
    ) -> Result<PostgresJournal, OpenError> {
        let at = format!("schema {}", options.schema);
        let unreachable = |why: String| OpenError::Unreachable {
            at: at.clone(),
            why,
        };
        let config = options
            .url
            .parse()
            .map_err(|error: tokio_postgres::Error| unreachable(error.to_string()))?;
        let target = Target {
            config,
            schema: options.schema,
        };
        let failed = |error: tokio_postgres::Error| unreachable(commit::described(&error));
        let client = session::connect(&target).await.map_err(failed)?;
        let found = schema::prepare(&client, &target.schema)
            .await
            .map_err(failed)?;
        if found > schema::FORMAT {
            return Err(OpenError::Newer {
                path: at,
                found,
                known: schema::FORMAT,
            });
        }
        let (queue, queued) = mpsc::unbounded_channel();
        let queued_bytes = Arc::new(AtomicUsize::new(0));
        runtime.spawn(serve(
            Link::new(target.clone()),
            queued,
            queued_bytes.clone(),
        ));
        let (reads, leases) = (
            Arc::new(Link::new(target.clone())),
            Arc::new(Link::new(target)),
        );
        Ok(PostgresJournal {
            runtime,
            queue,
            queued_bytes,
            reads,
            leases,
        })
    }

    /// Runs a read on the journal's runtime.
    fn run<T, F>(&self, read: F) -> Answer<Result<T, ReadError>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ReadError>> + Send + 'static,
    {
        let running = self.runtime.spawn(read);
        Box::pin(async move {
            running
                .await
                .unwrap_or_else(|error| Err(ReadError::Unreadable(error.to_string())))
        })
    }
}

/// Commits what is queued, group by group, until the journal is dropped.
async fn serve(
    link: Link,
    mut queue: mpsc::UnboundedReceiver<Batch>,
    queued_bytes: Arc<AtomicUsize>,
) {
    while let Some(first) = queue.recv().await {
        let mut bytes = first.bytes;
        let mut answers = vec![(first.writes.len(), first.answer)];
        let mut writes = first.writes;
        while bytes < GROUP_BYTES_MAX && writes.len() < GROUP_WRITES_MAX {
            let Ok(batch) = queue.try_recv() else { break };
            bytes += batch.bytes;
            answers.push((batch.writes.len(), batch.answer));
            writes.extend(batch.writes);
        }
        queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        let verdicts = commit::commit(&link, &writes).await;
        let failed = verdicts
            .iter()
            .any(|verdict| matches!(verdict, Err(Refused::Broken(_))));
        if failed {
            // Before the answers: what comes after them is written by those who know.
            refuse_queued(&mut queue, &queued_bytes);
        }
        let mut verdicts = verdicts.into_iter();
        for (count, answer) in answers {
            // Callers who no longer wait are no concern.
            let _ = answer.send(verdicts.by_ref().take(count).collect());
        }
    }
}

/// What was queued behind a failed commit was written by those who believed in it.
fn refuse_queued(queue: &mut mpsc::UnboundedReceiver<Batch>, queued_bytes: &AtomicUsize) {
    let refused = Refused::Broken("an earlier commit failed".to_owned());
    while let Ok(batch) = queue.try_recv() {
        queued_bytes.fetch_sub(batch.bytes, Ordering::Relaxed);
        let _ = batch
            .answer
            .send(vec![Err(refused.clone()); batch.writes.len()]);
    }
}

impl Journal for PostgresJournal {
    fn commit(&self, writes: Vec<Write>) -> Answer<Vec<Verdict>> {
        let bytes = writes.iter().map(weight).sum();
        let count = writes.len();
        let (answer, answered) = oneshot::channel();
        if self.queued_bytes.fetch_add(bytes, Ordering::Relaxed) > QUEUE_BYTES_MAX {
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            let full = Refused::Full("too much waits to be written".to_owned());
            return super::ready(vec![Err(full); count]);
        }
        // A failure drops the sender of the answer, which the future below sees.
        let _ = self.queue.send(Batch {
            writes,
            bytes,
            answer,
        });
        let ended = move |_| vec![Err(Refused::Broken("the journal is closed".to_owned())); count];
        Box::pin(async move { answered.await.unwrap_or_else(ended) })
    }

    fn execution(&self, id: ExecutionId) -> Answer<Result<Option<ExecutionRow>, ReadError>> {
        let link = self.reads.clone();
        self.run(async move { read::execution(&link, id).await })
    }

    fn find(&self, scope: ScopeId, name: &str) -> Answer<Result<Option<ExecutionId>, ReadError>> {
        let (link, name) = (self.reads.clone(), name.to_owned());
        self.run(async move { read::find(&link, scope, &name).await })
    }

    fn look(&self, scope: ScopeId, name: &str) -> Answer<Result<Option<Look>, ReadError>> {
        let (link, name) = (self.reads.clone(), name.to_owned());
        self.run(async move { read::look(&link, scope, &name).await })
    }

    fn list(&self, query: ListQuery) -> Answer<Result<Vec<ExecutionRow>, ReadError>> {
        let link = self.reads.clone();
        self.run(async move { read::list(&link, query).await })
    }

    fn segments(
        &self,
        id: ExecutionId,
        range: SegmentRange,
        bytes_max: usize,
    ) -> Answer<Result<Vec<StoredSegment>, ReadError>> {
        let link = self.reads.clone();
        self.run(async move { read::segments(&link, id, range, bytes_max).await })
    }

    fn messages(
        &self,
        after: &[(Partition, MessageId)],
        limit: u32,
    ) -> Answer<Result<Vec<Message>, ReadError>> {
        let (link, after) = (self.reads.clone(), after.to_vec());
        self.run(async move { read::messages(&link, &after, limit).await })
    }

    fn inbox(&self, id: ExecutionId) -> Answer<Result<Vec<Message>, ReadError>> {
        let link = self.reads.clone();
        self.run(async move { read::inbox(&link, id).await })
    }

    fn hot(
        &self,
        partitions: &[Partition],
        after: Option<ExecutionId>,
        limit: u32,
    ) -> Answer<Result<Vec<ExecutionId>, ReadError>> {
        let (link, partitions) = (self.reads.clone(), partitions.to_vec());
        self.run(async move { read::hot(&link, &partitions, after, limit).await })
    }

    fn due(
        &self,
        partitions: &[Partition],
        until: Timestamp,
        limit: u32,
    ) -> Answer<Result<Vec<(ExecutionId, Timestamp)>, ReadError>> {
        let (link, partitions) = (self.reads.clone(), partitions.to_vec());
        self.run(async move { read::due(&link, &partitions, until, limit).await })
    }

    fn next_due(&self, partitions: &[Partition]) -> Answer<Result<Option<Timestamp>, ReadError>> {
        let (link, partitions) = (self.reads.clone(), partitions.to_vec());
        self.run(async move {
            let first = read::due(&link, &partitions, Timestamp(u64::MAX), 1).await?;
            Ok(first.first().map(|(_, at)| *at))
        })
    }

    fn open_task(&self, token: TokenHash) -> Answer<Result<Option<OpenTask>, ReadError>> {
        let link = self.reads.clone();
        self.run(async move { read::open_task(&link, token).await })
    }

    fn activity_tasks(
        &self,
        activity: ScopeId,
        after: Option<(Timestamp, TokenHash)>,
        limit: u32,
    ) -> Answer<Result<Vec<OpenTask>, ReadError>> {
        let link = self.reads.clone();
        self.run(async move { read::activity_tasks(&link, activity, after, limit).await })
    }

    fn blob(&self, hash: [u8; 32]) -> Answer<Result<Option<Arc<[u8]>>, ReadError>> {
        let link = self.reads.clone();
        self.run(async move { read::blob(&link, hash).await })
    }

    fn lease(
        &self,
        owner: &str,
        wanted: &[Partition],
        ttl_ms: u64,
    ) -> Answer<Result<Vec<Lease>, ReadError>> {
        let (link, owner, wanted) = (self.leases.clone(), owner.to_owned(), wanted.to_vec());
        self.run(async move { lease::lease(&link, &owner, &wanted, ttl_ms).await })
    }

    fn release(&self, owner: &str) -> Answer<Result<(), ReadError>> {
        let (link, owner) = (self.leases.clone(), owner.to_owned());
        self.run(async move { lease::release(&link, &owner).await })
    }

    fn usage(&self, query: UsageQuery) -> Answer<Result<Vec<(UsageKey, Amounts)>, ReadError>> {
        let link = self.reads.clone();
        self.run(async move { read::usage(&link, &query).await })
    }

    fn usage_of_tenants(&self) -> Answer<Result<UsageOfTenants, ReadError>> {
        let link = self.reads.clone();
        self.run(async move { read::usage_of_tenants(&link).await })
    }
}

impl Catalog for PostgresJournal {
    fn get(&self, key: &CatalogKey) -> Answer<Result<Option<CatalogRecord>, ReadError>> {
        let (link, key) = (self.reads.clone(), key.clone());
        self.run(async move { read::record(&link, &key).await })
    }

    fn scan(
        &self,
        tenant: &str,
        kind: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Answer<Result<Vec<CatalogRecord>, ReadError>> {
        let (link, prefix) = (self.reads.clone(), prefix.to_owned());
        let (start, included) = CatalogKey::scanned_first(tenant, kind, &prefix, after);
        self.run(async move { read::scan(&link, &start, &prefix, included, limit).await })
    }
}
