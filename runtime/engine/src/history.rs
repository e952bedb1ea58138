//! Pages of an execution's public events. Hides segments, and the events that only memory has.

use stepwell_interp::Limits;
use tokio::sync::oneshot;

use crate::{
    api::{Caller, HistoryEntry, Page, PageRequest, Status},
    engine::Engine,
    error::Error,
    journal::{ExecutionId, ExecutionRow, SegmentRange},
    limits::{HISTORY_PAGE_BYTES_MAX, READ_BYTES_MAX},
    pages,
    reader::{self, Decoder},
    shard::In,
};

impl Engine {
    /// A page of an execution's public events, ascending by id or descending.
    pub async fn history(
        &self,
        caller: &Caller,
        arn: &str,
        reverse: bool,
        page: PageRequest,
    ) -> Result<Page<HistoryEntry>, Error> {
        let (row, _) = self.execution_row(caller, arn).await?;
        let size = pages::size(&page);
        let direction = if reverse { "backward" } else { "forward" };
        let list = self.list(caller, &["history", arn, direction]);
        let start = list.number(&page).await?;
        let entries = if reverse {
            self.backward(&row, start, size).await
        } else {
            let (from, most) = (start.unwrap_or(1), size as usize + 1);
            self.entries(row.id, from, most, HISTORY_PAGE_BYTES_MAX)
                .await
        };
        let filling = entries.map_err(|error| reader::named(arn, error))?;
        let (full, mut entries) = (filling.is_full(), filling.entries);
        let next = entries.last().map_or(1, |last| last.id + 1);
        if !reverse && !full && next < row.next_public {
            return Err(reader::named(arn, reader::lacks(row.id, next)));
        }
        if !reverse && !full && row.view.status == Status::Running {
            self.append_live(row.id, start.unwrap_or(1), &mut entries)
                .await?;
        }
        // The last entry of a full page is the first of the next one.
        let shown = if full {
            entries.len() - 1
        } else {
            entries.len().min(size as usize)
        };
        let next_token = match entries.get(shown) {
            Some(next) => Some(list.token(&next.id.to_string()).await?),
            None => None,
        };
        entries.truncate(shown);
        Ok(Page {
            items: entries,
            next_token,
        })
    }

    /// Durable public events from that id on, until there are so many or they are too large.
    pub(crate) async fn entries(
        &self,
        id: ExecutionId,
        from: u64,
        most: usize,
        bytes_max: u64,
    ) -> Result<Filling, Error> {
        let mut decoder = Decoder::new(self.node().journal.as_ref());
        let mut filling = Filling::new(most, bytes_max);
        let mut public = from;
        while !filling.is_full() {
            let range = SegmentRange::Forward { public };
            let segments = self
                .node()
                .journal
                .segments(id, range, READ_BYTES_MAX)
                .await
                .map_err(reader::broken)?;
            let found = segments.len();
            for stored in &segments {
                if filling.is_full() {
                    break;
                }
                let all = reader::public_entries(
                    &decoder.events(id, stored).await?,
                    stored.segment.first_public,
                );
                for entry in all.into_iter().filter(|entry| entry.id >= public) {
                    reader::follows(id, &entry, from + filling.entries.len() as u64)?;
                    if !filling.push(entry) {
                        break;
                    }
                }
            }
            let next = filling.entries.last().map_or(public, |entry| entry.id + 1);
            if found == 0 || next == public {
                break;
            }
            public = next;
        }
        Ok(filling)
    }

    async fn backward(
        &self,
        row: &ExecutionRow,
        start: Option<u64>,
        size: u32,
    ) -> Result<Filling, Error> {
        let mut decoder = Decoder::new(self.node().journal.as_ref());
        let mut filling = Filling::new(size as usize + 1, HISTORY_PAGE_BYTES_MAX);
        let newest = start.unwrap_or(row.next_public.saturating_sub(1));
        let mut public = newest;
        while !filling.is_full() && public > 0 {
            let range = SegmentRange::Backward { public };
            let segments = self
                .node()
                .journal
                .segments(row.id, range, READ_BYTES_MAX)
                .await
                .map_err(reader::broken)?;
            let before = filling.entries.len();
            for stored in &segments {
                if filling.is_full() {
                    break;
                }
                let all = reader::public_entries(
                    &decoder.events(row.id, stored).await?,
                    stored.segment.first_public,
                );
                for entry in all.into_iter().rev().filter(|entry| entry.id <= public) {
                    reader::follows(row.id, &entry, newest - filling.entries.len() as u64)?;
                    if !filling.push(entry) {
                        break;
                    }
                }
            }
            if filling.entries.len() == before {
                return Err(reader::lacks(row.id, public));
            }
            public = filling.entries.last().map_or(0, |entry| entry.id - 1);
        }
        Ok(filling)
    }

    /// Adds the starts of attempts that are in memory and not yet in the store.
    async fn append_live(
        &self,
        id: ExecutionId,
        from: u64,
        entries: &mut Vec<HistoryEntry>,
    ) -> Result<(), Error> {
        let (reply, live) = oneshot::channel();
        self.node().send(
            id,
            In::Live {
                execution: id,
                reply,
            },
        )?;
        let next = entries.last().map_or(from, |entry| entry.id + 1);
        let live = live.await.unwrap_or_default();
        // Events that were appended meanwhile are not taken twice; a gap means another page will show them.
        if live.first().is_some_and(|entry| entry.id <= next) {
            entries.extend(live.into_iter().filter(|entry| entry.id >= next));
        }
        Ok(())
    }
}

/// Entries of a page being filled, up to a number of them and of bytes.
pub(crate) struct Filling {
    pub(crate) entries: Vec<HistoryEntry>,
    most: usize,
    bytes: u64,
    bytes_max: u64,
}

impl Filling {
    fn new(most: usize, bytes_max: u64) -> Filling {
        Filling {
            entries: Vec::new(),
            most,
            bytes: 0,
            bytes_max,
        }
    }

    /// Takes an entry; false when it was the last one. A page has two at least, so that going on gets on.
    fn push(&mut self, entry: HistoryEntry) -> bool {
        let usage = stepwell_interp::usage(&entry.event, Limits::of(false));
        self.bytes += usage.first().map_or(0, |payload| payload.used);
        self.entries.push(entry);
        !self.is_full()
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= self.most || (self.bytes > self.bytes_max && self.entries.len() > 1)
    }
}
