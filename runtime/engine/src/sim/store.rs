//! The store of a world: in memory, or on a disk that loses what was not synced.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use futures_util::FutureExt;
use stepwell_interp::{Event, Timestamp};

use super::{World, now};
use crate::{
    journal::{
        ExecutionId, FaultPlan, InlineJournal, Journal, MemoryJournal, SegmentRange, SimDisk,
        SqliteOptions, Status,
    },
    limits::READ_BYTES_MAX,
    programs::Programs,
    reader::{self, Decoder},
    shard::{LoadError, Stored},
};

/// Where the simulated engine keeps its executions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimStore {
    Memory,
    /// SQLite on a disk in memory that loses what was not synced.
    Disk,
}

pub(super) enum SimJournal {
    Memory(MemoryJournal),
    Disk {
        disk: SimDisk,
        journal: Option<Arc<InlineJournal>>,
    },
}

impl SimJournal {
    pub(super) fn new(store: SimStore, seed: u64, clock: &Arc<AtomicU64>) -> SimJournal {
        match store {
            SimStore::Memory => {
                let time = clock.clone();
                SimJournal::Memory(MemoryJournal::new(Arc::new(move || {
                    Timestamp(time.load(SeqCst))
                })))
            }
            SimStore::Disk => SimJournal::Disk {
                disk: SimDisk::new(seed),
                journal: None,
            },
        }
    }

    /// The power is lost: so is what a disk had not synced.
    pub(super) fn crash(&mut self) {
        if let SimJournal::Disk { disk, journal } = self {
            disk.crash();
            *journal = None;
        }
    }
}

impl World {
    /// Sets what the disk does wrong from now on, and again after each crash; nothing on the memory store.
    pub fn disk_faults(&mut self, plan: FaultPlan) {
        self.faults = plan;
        self.plan_faults();
    }

    pub(super) fn plan_faults(&self) {
        if let SimJournal::Disk { disk, .. } = &self.journal {
            disk.faults(self.faults.clone());
        }
    }

    pub(super) fn power_is_lost(&self) -> bool {
        matches!(&self.journal, SimJournal::Disk { disk, .. } if disk.is_dead())
    }

    pub(super) fn journal(&mut self) -> Result<Arc<dyn Journal>, String> {
        match &mut self.journal {
            SimJournal::Memory(memory) => Ok(Arc::new(memory.clone())),
            SimJournal::Disk { disk, journal } => {
                if let Some(journal) = journal {
                    return Ok(journal.clone());
                }
                let time = self.clock.clone();
                let options = SqliteOptions {
                    vfs: Some(disk.vfs_name().to_owned()),
                    clock: Arc::new(move || Timestamp(time.load(SeqCst))),
                };
                let opened = InlineJournal::open(Path::new("journal.sqlite"), options)
                    .map_err(|error| error.to_string())?;
                let opened = Arc::new(opened);
                *journal = Some(opened.clone());
                Ok(opened)
            }
        }
    }

    pub(super) fn load(
        &mut self,
        execution: ExecutionId,
        closed_too: bool,
    ) -> Result<Stored, LoadError> {
        let journal = self.journal().map_err(LoadError::Unreadable)?;
        let programs = Programs::new(journal.clone());
        reader::stored(journal.as_ref(), &programs, execution, closed_too)
            .now_or_never()
            .expect("the simulated stores answer at once")
    }

    /// The status and all stored events of an execution; `None` when the store does not know it.
    pub fn execution(&mut self, id: ExecutionId) -> Result<Option<(Status, Vec<Event>)>, String> {
        let journal = self.journal()?;
        let Some(row) = now(journal.execution(id)).map_err(|error| error.to_string())? else {
            return Ok(None);
        };
        let mut decoder = Decoder::new(journal.as_ref());
        let mut events = Vec::new();
        let mut first = 1;
        loop {
            let page = now(journal.segments(id, SegmentRange::From { first }, READ_BYTES_MAX))
                .map_err(|error| error.to_string())?;
            let Some(last) = page.last() else { break };
            first = last.first + u64::from(last.segment.events);
            for segment in &page {
                let read = decoder.events(id, segment).now_or_never();
                let read = read.expect("the simulated stores answer at once");
                events.extend(read.map_err(|error| error.to_string())?);
            }
        }
        Ok(Some((row.view.status, events)))
    }

    /// Messages left in an execution's inbox.
    pub fn inbox(&mut self, id: ExecutionId) -> Result<usize, String> {
        let journal = self.journal()?;
        now(journal.inbox(id))
            .map(|messages| messages.len())
            .map_err(|error| error.to_string())
    }
}
