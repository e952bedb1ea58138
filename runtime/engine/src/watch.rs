//! The events of one execution, as they become durable. Hides that some come from the store and some from memory: a watcher
//! that is slow, or whose execution another node serves, finds in the store what it was not told.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::AcqRel},
};

use tokio::sync::mpsc;

use crate::{
    api::{Caller, HistoryEntry, Status},
    engine::Engine,
    error::Error,
    journal::ExecutionId,
    limits::{WATCH_BATCHES_MAX, WATCH_LOOK, WATCH_PAGE_BYTES_MAX, WATCH_PAGE_MAX},
    notes::NoteWatch,
    shard::{In, Watcher},
};

/// See the module.
pub struct Watch {
    engine: Engine,
    execution: ExecutionId,
    live: mpsc::Receiver<Vec<HistoryEntry>>,
    behind: Arc<AtomicBool>,
    /// Id of the next event to give.
    next: u64,
    /// The store is read first, then what comes live.
    caught_up: bool,
    /// Nothing comes live any more.
    let_go: bool,
    closed: bool,
}

impl Engine {
    /// The durable public events of an execution after the one of that id, as they come; 0 is before the first.
    pub async fn watch(&self, caller: &Caller, arn: &str, after: u64) -> Result<Watch, Error> {
        let (row, _) = self.execution_row(caller, arn).await?;
        let (sender, live) = mpsc::channel(WATCH_BATCHES_MAX);
        let behind = Arc::new(AtomicBool::new(false));
        // The store has all of a closed one.
        if row.view.status == Status::Running {
            let execution = row.id;
            let watcher = Watcher {
                sender,
                behind: behind.clone(),
            };
            self.node()
                .send(execution, In::Watch { execution, watcher })?;
            self.taken(execution).await?;
        }
        Ok(Watch {
            engine: self.clone(),
            execution: row.id,
            live,
            behind,
            next: after.saturating_add(1),
            caught_up: false,
            let_go: false,
            closed: false,
        })
    }
}

impl Watch {
    /// The next events; `None` when the execution is closed and all were given, or when it cannot be told any more what
    /// becomes of it. Nothing is lost when it is dropped before it answers.
    pub async fn next(&mut self) -> Option<Vec<HistoryEntry>> {
        loop {
            if !self.caught_up {
                let entries = self.stored().await?;
                if let Some(last) = entries.last() {
                    self.next = last.id + 1;
                    return Some(entries);
                }
                self.caught_up = true;
                if self.is_at_the_end().await? {
                    self.closed = true;
                    return None;
                }
                if self.let_go && self.caught_up {
                    return None;
                }
            }
            if let Some(fresh) = self.told().await {
                return Some(fresh);
            }
        }
    }

    /// What running attempts say of their progress meanwhile.
    pub fn notes(&self) -> NoteWatch {
        NoteWatch::new(self.engine.node().notes.clone(), self.execution)
    }

    /// Whether the execution is closed and all its events were given.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// The next events that are told live; none when the store is to be read first.
    async fn told(&mut self) -> Option<Vec<HistoryEntry>> {
        let Ok(told) = tokio::time::timeout(WATCH_LOOK, self.live.recv()).await else {
            self.caught_up = false;
            return None;
        };
        let Some(entries) = told else {
            self.let_go = true;
            self.caught_up = false;
            return None;
        };
        let missed = self.behind.swap(false, AcqRel) || entries.is_empty();
        let (next, entries) = (self.next, entries.into_iter());
        let fresh: Vec<_> = entries.filter(|entry| entry.id >= next).collect();
        // A gap means that the subscription began amid a commit, or that a batch found no room.
        let follows = fresh.first().is_some_and(|first| first.id == next);
        self.caught_up = !missed && (follows || fresh.is_empty());
        let last = fresh.last().filter(|_| follows)?;
        self.next = last.id + 1;
        Some(fresh)
    }

    async fn stored(&self) -> Option<Vec<HistoryEntry>> {
        let read = self.engine.entries(
            self.execution,
            self.next,
            WATCH_PAGE_MAX,
            WATCH_PAGE_BYTES_MAX,
        );
        Some(read.await.ok()?.entries)
    }

    /// Whether the execution is closed and the store has no more of it; it may have closed after it was read.
    async fn is_at_the_end(&mut self) -> Option<bool> {
        let row = self.engine.node().journal.execution(self.execution).await;
        let row = row.ok()??;
        self.caught_up = row.next_public <= self.next;
        Some(row.view.status != Status::Running && self.caught_up)
    }
}
