//! Who is connected and what each connection waits for. What it hides: which connection has to go when there are too
//! many. A client that holds connections open without asking anything never keeps another one out.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::http::Version;
use tokio::{sync::Notify, time::Instant};

use super::unread::Patience;
use crate::metrics::ConnectionCounts;

/// How many connections there may be and how long they may be silent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) connections: usize,
    pub(super) of_one_peer: usize,
    /// For a request's head, from its first byte, or from the connection's start.
    pub(super) head: Duration,
    /// For a client to take something of an answer.
    pub(super) stall: Duration,
    /// Between an answer and the next request.
    pub(super) idle: Duration,
    /// TLS handshakes at a time.
    pub(super) handshakes: usize,
    /// For a TLS handshake.
    pub(super) handshake: Duration,
    /// With bodies that nobody reads.
    pub(super) patience: Patience,
}

/// All open connections.
pub(super) struct Table {
    bounds: Bounds,
    counts: ConnectionCounts,
    began: Instant,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    /// By number; numbers ascend.
    lines: BTreeMap<u64, Arc<Line>>,
    of_peer: BTreeMap<IpAddr, usize>,
    /// Those in a TLS handshake, by number.
    shaking: BTreeMap<u64, Arc<Line>>,
    last: u64,
}

/// A connection's place in the table, given back when it is dropped.
pub(super) struct Admitted {
    table: Arc<Table>,
    line: Arc<Line>,
}

impl Admitted {
    pub(super) fn line(&self) -> &Arc<Line> {
        &self.line
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.table.forget(&mut self.table.open(), &self.line);
    }
}

/// One connection.
pub(super) struct Line {
    number: u64,
    peer: IpAddr,
    began: Instant,
    /// Requests whose head has come and that are not answered whole.
    asked: AtomicUsize,
    /// Those of them that have come whole: the client waits for us, not we for it.
    whole: AtomicUsize,
    /// When it last began to wait for the client, in milliseconds of the table's time.
    waiting_since: AtomicU64,
    /// When the first byte of a request's head came; 0 while none has.
    head_since: AtomicU64,
    /// When its client began to take nothing of what is written; 0 while it takes it.
    stalled_since: AtomicU64,
    /// Answered a request before: it may rest between two.
    known: AtomicBool,
    /// HTTP/2, whose frames tell nothing about heads from here.
    http2: AtomicBool,
    dropped: Notify,
}

impl Table {
    pub(super) fn new(bounds: Bounds, counts: ConnectionCounts) -> Table {
        Table {
            bounds,
            counts,
            began: Instant::now(),
            open: Mutex::default(),
        }
    }

    /// Takes a connection in. When there are too many, of this peer or of all, the one that has waited longest for its
    /// client goes; `None` when all of them wait for us.
    pub(super) fn admit(table: &Arc<Table>, peer: IpAddr) -> Option<Admitted> {
        let mut open = table.open();
        let of_peer = open.of_peer.get(&peer).copied().unwrap_or(0);
        if of_peer >= table.bounds.of_one_peer {
            table.shed_one(&mut open, Some(peer))?;
        } else if open.lines.len() >= table.bounds.connections {
            table.shed_one(&mut open, None)?;
        }
        open.last += 1;
        let line = Arc::new(Line {
            number: open.last,
            peer,
            began: table.began,
            asked: AtomicUsize::new(0),
            whole: AtomicUsize::new(0),
            waiting_since: AtomicU64::new(millis(table.began.elapsed())),
            head_since: AtomicU64::new(0),
            stalled_since: AtomicU64::new(0),
            known: AtomicBool::new(false),
            http2: AtomicBool::new(false),
            dropped: Notify::new(),
        });
        open.lines.insert(line.number, line.clone());
        *open.of_peer.entry(peer).or_default() += 1;
        table.counts.open.inc();
        Some(Admitted {
            table: table.clone(),
            line,
        })
    }

    /// Drops so many of those that have waited longest for their clients; answers how many there were.
    pub(super) fn shed(&self, count: usize) -> usize {
        let mut open = self.open();
        (0..count)
            .take_while(|_| self.shed_one(&mut open, None).is_some())
            .count()
    }

    /// Drops every connection that has asked nothing.
    pub(super) fn shed_silent(&self) {
        let mut open = self.open();
        let silent: Vec<Arc<Line>> = open
            .lines
            .values()
            .filter(|line| line.asked.load(Relaxed) == 0)
            .cloned()
            .collect();
        for line in silent {
            self.drop_line(&mut open, &line);
        }
    }

    /// A TLS handshake begins. When there are too many, the connection whose own began first goes: an honest client takes
    /// moments.
    pub(super) fn shake(&self, line: &Arc<Line>) {
        let mut open = self.open();
        if open.shaking.len() >= self.bounds.handshakes
            && let Some((_, oldest)) = open.shaking.pop_first()
        {
            self.drop_line(&mut open, &oldest);
        }
        open.shaking.insert(line.number, line.clone());
    }

    /// The handshake ended.
    pub(super) fn shaken(&self, line: &Line) {
        self.open().shaking.remove(&line.number);
    }

    pub(super) fn bounds(&self) -> Bounds {
        self.bounds
    }

    pub(super) fn counts(&self) -> &ConnectionCounts {
        &self.counts
    }

    /// When this connection has waited long enough for its client, unless something happens before.
    pub(super) fn deadline(&self, line: &Line) -> Instant {
        let now = millis(self.began.elapsed());
        let head_since = line.head_since.load(Relaxed);
        let waiting_since = line.waiting_since.load(Relaxed);
        let (since, patience) = if line.whole.load(Relaxed) > 0 {
            (now, self.bounds.idle)
        } else if line.asked.load(Relaxed) > 0 || line.http2.load(Relaxed) {
            // A body has a bound of its own, whose end is told to the client.
            (waiting_since, self.bounds.idle)
        } else if head_since > 0 {
            (head_since, self.bounds.head)
        } else if line.known.load(Relaxed) {
            (waiting_since, self.bounds.idle)
        } else {
            (waiting_since, self.bounds.head)
        };
        let deadline = self.began + Duration::from_millis(since) + patience;
        match line.stalled_since.load(Relaxed) {
            0 => deadline,
            since => deadline.min(self.began + Duration::from_millis(since) + self.bounds.stall),
        }
    }

    /// When to look at the deadline: it moves nearer when a head begins or a client stalls, of which nobody is told.
    pub(super) fn next_look(&self, line: &Line) -> Instant {
        let soon = self.bounds.head.min(self.bounds.stall);
        self.deadline(line).min(Instant::now() + soon)
    }

    fn shed_one(&self, open: &mut Open, of: Option<IpAddr>) -> Option<()> {
        let oldest = open
            .lines
            .values()
            .filter(|line| of.is_none_or(|peer| line.peer == peer))
            .filter(|line| line.whole.load(Relaxed) == 0)
            .min_by_key(|line| (line.waiting_since.load(Relaxed), line.number))?
            .clone();
        self.drop_line(open, &oldest);
        Some(())
    }

    fn drop_line(&self, open: &mut Open, line: &Line) {
        self.forget(open, line);
        self.counts.dropped.inc();
        line.dropped.notify_one();
    }

    fn forget(&self, open: &mut Open, line: &Line) {
        open.shaking.remove(&line.number);
        if open.lines.remove(&line.number).is_none() {
            return;
        }
        self.counts.open.dec();
        if let Some(count) = open.of_peer.get_mut(&line.peer) {
            *count -= 1;
            if *count == 0 {
                open.of_peer.remove(&line.peer);
            }
        }
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    pub(super) fn peer(&self) -> IpAddr {
        self.peer
    }

    /// Completes when the connection has to go.
    pub(super) async fn dropped(&self) {
        self.dropped.notified().await;
    }

    /// Bytes came.
    pub(super) fn heard(&self) {
        if self.asked.load(Relaxed) == 0 && self.head_since.load(Relaxed) == 0 {
            self.head_since.store(self.now().max(1), Relaxed);
        }
    }

    /// Something was written, or found no room.
    pub(super) fn wrote(&self, found_room: bool) {
        if found_room {
            self.stalled_since.store(0, Relaxed);
        } else if self.stalled_since.load(Relaxed) == 0 {
            self.stalled_since.store(self.now().max(1), Relaxed);
        }
    }

    /// A request's head came.
    pub(super) fn asked(self: &Arc<Line>, version: Version) -> Arc<Exchange> {
        self.http2.store(version == Version::HTTP_2, Relaxed);
        self.asked.fetch_add(1, Relaxed);
        self.head_since.store(0, Relaxed);
        self.known.store(true, Relaxed);
        self.waiting_since.store(self.now(), Relaxed);
        Arc::new(Exchange {
            line: self.clone(),
            whole: AtomicBool::new(false),
        })
    }

    fn now(&self) -> u64 {
        millis(self.began.elapsed())
    }
}

/// A request from its head to the end of its answer, which is when the last handle is dropped.
pub(super) struct Exchange {
    line: Arc<Line>,
    whole: AtomicBool,
}

impl Exchange {
    /// The request has come whole.
    pub(super) fn whole(&self) {
        if !self.whole.swap(true, Relaxed) {
            self.line.whole.fetch_add(1, Relaxed);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.line.waiting_since.store(self.line.now(), Relaxed);
        self.line.asked.fetch_sub(1, Relaxed);
        if *self.whole.get_mut() {
            self.line.whole.fetch_sub(1, Relaxed);
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
