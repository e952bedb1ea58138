//! The threads of the embedded journal. Hides queues, grouping and when the write-ahead log is moved.
//!
//! The writer takes all that was queued while the last commit ran, without waiting for more. Checkpoints run beside
//! it on a connection of their own; only their last few frames are moved while the writer stands still, since SQLite
//! starts its log anew only when all of it has been moved.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{
    Access,
    place::Place,
    queue::{Queue, Taker},
    schema,
    store::{SqliteStore, checkpoint, wal_bytes},
    unreadable,
};
use crate::journal::{
    Answer, OpenError, ReadError, Refused, Verdict, Write,
    limits::{
        CHECKPOINT_PASSES_MAX, CHECKPOINT_REST_FRAMES, CHECKPOINT_WAL_BYTES, GROUP_BYTES_MAX,
        GROUP_WRITES_MAX, IDLE_MS, IDLE_WAL_BYTES, QUEUE_BYTES_MAX, READERS, READS_QUEUED_MAX,
    },
    weight,
};

/// The running threads; dropping it ends them, the writer last, after all that is queued.
pub(super) struct Threads {
    batches: Arc<Queue<Batch>>,
    queued_bytes: Arc<AtomicUsize>,
    reads: Arc<Queue<Read>>,
    writer: Option<JoinHandle<()>>,
    others: Vec<JoinHandle<()>>,
    /// Held until the file is closed.
    _place: Arc<Place>,
}

struct Batch {
    writes: Vec<Write>,
    bytes: usize,
    answer: oneshot::Sender<Vec<Verdict>>,
}

/// How many verdicts a batch waits for, and where.
type Waiting = (usize, oneshot::Sender<Vec<Verdict>>);

type Read = Box<dyn FnOnce(&Connection) + Send>;

/// Locked by the writer for each transaction, and by the end of a checkpoint.
type Gate = Arc<Mutex<()>>;

impl Threads {
    pub(super) fn start(
        store: SqliteStore,
        path: &Path,
        vfs: Option<String>,
        place: Place,
    ) -> Result<Threads, OpenError> {
        let place = Arc::new(place);
        let gate = Gate::default();
        let queued_bytes = Arc::new(AtomicUsize::new(0));
        let batches = Arc::new(Queue::unbounded());
        let reads = Arc::new(Queue::bounded(READS_QUEUED_MAX));
        let (wake_checkpointer, checkpointer_woken) = sync_channel(1);
        let failed = |error: rusqlite::Error| schema::explain(path, &error);

        let mut others = Vec::new();
        for _ in 0..READERS {
            let conn = schema::open_reader(path, vfs.as_deref()).map_err(failed)?;
            let reader = Reader {
                conn,
                path: path.to_owned(),
                vfs: vfs.clone(),
                queue: reads.taker(),
            };
            others.push(spawn("journal-reader", path, move || reader.run())?);
        }
        let checkpointer = Checkpointer {
            conn: schema::open_checkpointer(path, vfs.as_deref()).map_err(failed)?,
            wal_pages: store.wal_pages(),
            gate: gate.clone(),
            woken: checkpointer_woken,
        };
        others.push(spawn("journal-checkpoint", path, move || {
            checkpointer.run()
        })?);
        let writer = Writer {
            store,
            place: place.clone(),
            queue: batches.taker(),
            queued_bytes: queued_bytes.clone(),
            gate,
            wake_checkpointer,
        };
        let writer = Some(spawn("journal-writer", path, move || writer.run())?);
        Ok(Threads {
            batches,
            queued_bytes,
            reads,
            writer,
            others,
            _place: place,
        })
    }
}

fn spawn(
    name: &str,
    path: &Path,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, OpenError> {
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(run);
    spawned.map_err(|error| OpenError::Unreadable {
        path: path.display().to_string(),
        why: format!("no thread could be started: {error}"),
    })
}

impl Access for Threads {
    fn write(&self, writes: Vec<Write>) -> Answer<Vec<Verdict>> {
        let bytes = writes.iter().map(weight).sum();
        let count = writes.len();
        if self.queued_bytes.fetch_add(bytes, Ordering::Relaxed) > QUEUE_BYTES_MAX {
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Box::pin(async move {
                refuse(
                    count,
                    &Refused::Full("too much waits to be written".to_owned()),
                )
            });
        }
        let (answer, answered) = oneshot::channel();
        self.batches.put(Batch {
            writes,
            bytes,
            answer,
        });
        Box::pin(async move { answered.await.unwrap_or_else(|_| refuse(count, &ended())) })
    }

    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Answer<Result<T, ReadError>> {
        let (answer, answered) = oneshot::channel();
        self.reads.put(Box::new(move |conn| {
            // The caller may have gone.
            let _ = answer.send(read(conn).map_err(|error| unreadable(conn.path(), &error)));
        }));
        Box::pin(async move {
            answered
                .await
                .unwrap_or_else(|_| Err(ReadError::Unreadable("the journal is closed".to_owned())))
        })
    }
}

fn ended() -> Refused {
    Refused::Broken("the journal is closed".to_owned())
}

fn refuse(count: usize, refused: &Refused) -> Vec<Verdict> {
    vec![Err(refused.clone()); count]
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.batches.close();
        self.reads.close();
        let writer = self.writer.take();
        for thread in writer.into_iter().chain(self.others.drain(..)) {
            if thread.join().is_err() {
                tracing::error!("a thread of the journal had panicked");
            }
        }
    }
}

struct Writer {
    store: SqliteStore,
    place: Arc<Place>,
    queue: Taker<Batch>,
    queued_bytes: Arc<AtomicUsize>,
    gate: Gate,
    wake_checkpointer: SyncSender<()>,
}

impl Writer {
    fn run(mut self) {
        while let Some(first) = self.queue.take() {
            let (writes, answers) = self.group(first);
            let verdicts = self.commit(&writes);
            if self.store.broken().is_some() {
                // Before the answers: what comes after them is written by those who know.
                self.fail_queued();
            }
            answer(answers, verdicts);
            if self.store.wants_checkpoint() {
                // A full channel means that the checkpointer is awake already.
                let _ = self.wake_checkpointer.try_send(());
            }
        }
    }

    /// All that is queued by now, up to the bounds, joined into one list of writes.
    fn group(&self, first: Batch) -> (Vec<Write>, Vec<Waiting>) {
        let mut bytes = first.bytes;
        let mut answers = vec![(first.writes.len(), first.answer)];
        let mut writes = first.writes;
        while bytes < GROUP_BYTES_MAX && writes.len() < GROUP_WRITES_MAX {
            let Some(batch) = self.queue.try_take() else {
                break;
            };
            bytes += batch.bytes;
            answers.push((batch.writes.len(), batch.answer));
            writes.extend(batch.writes);
        }
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        (writes, answers)
    }

    fn commit(&mut self, writes: &[Write]) -> Vec<Verdict> {
        let _gate = enter(&self.gate);
        if self.store.broken().is_some() {
            match self.store.reopen() {
                Ok(()) => tracing::info!("the journal was reopened and takes work again"),
                Err(why) => tracing::error!(error = %why, "the journal stays broken"),
            }
        }
        let gone = |why| refuse(writes.len(), &Refused::Broken(why));
        if let Err(why) = self.place.check() {
            return gone(why);
        }
        let verdicts = self.store.apply(writes);
        // It may have gone meanwhile, and these writes with it.
        self.place.check().map_or_else(gone, |()| verdicts)
    }

    /// What was queued behind a failed commit was written by those who believed in it.
    fn fail_queued(&self) {
        let refused = Refused::Broken("an earlier commit failed".to_owned());
        while let Some(batch) = self.queue.try_take() {
            self.queued_bytes.fetch_sub(batch.bytes, Ordering::Relaxed);
            let _ = batch.answer.send(refuse(batch.writes.len(), &refused));
        }
    }
}

/// Deals the verdicts of a group out to its batches. Callers who no longer wait are no concern.
fn answer(answers: Vec<Waiting>, mut verdicts: Vec<Verdict>) {
    if let [_] = answers.as_slice() {
        for (_, answer) in answers {
            let _ = answer.send(std::mem::take(&mut verdicts));
        }
        return;
    }
    let mut verdicts = verdicts.into_iter();
    for (count, answer) in answers {
        let _ = answer.send(verdicts.by_ref().take(count).collect());
    }
}

struct Reader {
    conn: Connection,
    path: PathBuf,
    vfs: Option<String>,
    queue: Taker<Read>,
}

impl Reader {
    fn run(mut self) {
        while let Some(read) = self.queue.take() {
            read(&self.conn);
            if !self.conn.is_autocommit() {
                // A panic or a failed end of a read must not pin the log: its connection is given up.
                if let Ok(conn) = schema::open_reader(&self.path, self.vfs.as_deref()) {
                    self.conn = conn;
                }
            }
        }
    }
}

struct Checkpointer {
    conn: Connection,
    wal_pages: Arc<AtomicU32>,
    gate: Gate,
    woken: Receiver<()>,
}

impl Checkpointer {
    fn run(self) {
        loop {
            let pages = self.wal_pages.load(Ordering::Relaxed);
            let moved = match self.woken.recv_timeout(Duration::from_millis(IDLE_MS)) {
                Ok(()) if wal_bytes(&self.wal_pages) >= CHECKPOINT_WAL_BYTES => self.restart(),
                Ok(()) => Ok(()),
                Err(RecvTimeoutError::Timeout) => self.truncate_when_idle(pages),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if let Err(error) = moved {
                tracing::warn!(%error, "a checkpoint of the journal failed; the next one tries again");
            }
        }
    }

    /// Moves the whole log, most of it beside the writer.
    fn restart(&self) -> rusqlite::Result<()> {
        for _ in 0..CHECKPOINT_PASSES_MAX {
            let (frames, moved) = checkpoint(&self.conn, false)?;
            if frames - moved <= CHECKPOINT_REST_FRAMES
                && i64::from(self.wal_pages.load(Ordering::Relaxed)) - i64::from(moved)
                    <= i64::from(CHECKPOINT_REST_FRAMES)
            {
                break;
            }
        }
        let _gate = enter(&self.gate);
        checkpoint(&self.conn, false)?;
        // The next commit begins the log anew.
        self.wal_pages.store(0, Ordering::Relaxed);
        Ok(())
    }

    fn truncate_when_idle(&self, pages_before: u32) -> rusqlite::Result<()> {
        let idle = self.wal_pages.load(Ordering::Relaxed) == pages_before;
        if !idle || wal_bytes(&self.wal_pages) < IDLE_WAL_BYTES {
            return Ok(());
        }
        let _gate = enter(&self.gate);
        checkpoint(&self.conn, true)?;
        self.wal_pages.store(0, Ordering::Relaxed);
        Ok(())
    }
}

fn enter(gate: &Gate) -> MutexGuard<'_, ()> {
    gate.lock().unwrap_or_else(PoisonError::into_inner)
}
