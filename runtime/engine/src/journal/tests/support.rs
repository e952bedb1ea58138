//! What the tests of the stores share: small writes, waiting for answers, opening each kind of store.

use std::{
    path::Path,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

use stepwell_interp::Timestamp;

use crate::journal::{
    Answer, Append, CatalogKey, CatalogWrite, Clock, CloseTask, Epoch, ExecutionId, InlineJournal,
    Journal, Landed, MemoryJournal, MessageId, NewExecution, OpenTask, Outgoing, Partition,
    Refused, ScopeId, Segment, SqliteJournal, SqliteOptions, TokenHash, Verdict, View, Write,
};

pub(super) const SCOPE: ScopeId = ScopeId(u64::MAX - 7);

/// A clock that moves when it is told to.
#[derive(Clone, Default)]
pub(super) struct TestClock(Arc<AtomicU64>);

impl TestClock {
    pub(super) fn advance(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }

    pub(super) fn clock(&self) -> Clock {
        let now = self.0.clone();
        Arc::new(move || Timestamp(now.load(Ordering::SeqCst)))
    }
}

pub(super) fn memory() -> Arc<dyn Journal> {
    Arc::new(MemoryJournal::new(TestClock::default().clock()))
}

pub(super) fn options(vfs: Option<&str>) -> SqliteOptions {
    SqliteOptions {
        vfs: vfs.map(str::to_owned),
        clock: TestClock::default().clock(),
    }
}

pub(super) fn sqlite(directory: &Path) -> Arc<dyn Journal> {
    Arc::new(SqliteJournal::open(directory, options(None)).expect("a fresh directory opens"))
}

pub(super) fn inline(path: &Path) -> Arc<dyn Journal> {
    Arc::new(InlineJournal::open(path, options(None)).expect("a fresh file opens"))
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for an answer on this thread.
pub(super) fn wait<T>(answer: Answer<T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut answer = pin!(answer);
    loop {
        match answer.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

pub(super) fn commit(journal: &dyn Journal, batch: Vec<Write>) -> Vec<Verdict> {
    wait(journal.commit(batch))
}

pub(super) fn one(journal: &dyn Journal, write: Write) -> Verdict {
    let mut verdicts = commit(journal, vec![write]);
    assert_eq!(verdicts.len(), 1, "one verdict a write");
    verdicts.remove(0)
}

pub(super) fn land(journal: &dyn Journal, write: Write) -> Landed {
    one(journal, write).expect("the write lands")
}

pub(super) fn refusal(journal: &dyn Journal, write: Write) -> Refused {
    one(journal, write).expect_err("the write is refused")
}

/// Leases partitions 0 to 3, whose epochs are equal in a fresh store.
pub(super) fn epoch(journal: &dyn Journal) -> Epoch {
    let wanted = [0, 1, 2, 3].map(Partition);
    // Long enough for a machine that is busy with something else.
    let leases = wait(journal.lease("node", &wanted, 600_000)).expect("leases are readable");
    assert_eq!(leases.len(), 4);
    leases[0].epoch
}

/// The `number`th execution of a partition.
pub(super) fn id(number: u64, partition: u16) -> ExecutionId {
    ExecutionId::new(1_700_000_000_000 + number, 0, Partition(partition))
}

pub(super) fn bytes(text: &str) -> Arc<[u8]> {
    text.as_bytes().into()
}

pub(super) fn segment(events: u32, first_public: u64, public: u32) -> Segment {
    Segment {
        events,
        first_public,
        public,
        bytes: format!("{events} from {first_public}").into_bytes().into(),
    }
}

/// The first append: two events, one of them public.
pub(super) fn begin(execution: ExecutionId, epoch: Epoch, name: &str) -> Append {
    let new = NewExecution {
        scope: SCOPE,
        version: None,
        alias: None,
        name: name.into(),
        unique_name: true,
        started_at: Timestamp(5),
        meta: bytes("meta"),
    };
    Append {
        create: Some(new),
        segment: segment(2, 1, 1),
        ..proceed(execution, epoch, 1, 1)
    }
}

/// A later append of one public event.
pub(super) fn proceed(
    execution: ExecutionId,
    epoch: Epoch,
    expected_next: u64,
    public: u64,
) -> Append {
    Append {
        execution,
        epoch,
        expected_next,
        create: None,
        segment: segment(1, public, 1),
        blobs: Vec::new(),
        view: View::default(),
        open: Vec::new(),
        close: Vec::new(),
        send: Vec::new(),
        consume: Vec::new(),
        charges: Vec::new(),
    }
}

pub(super) fn token(number: u8) -> TokenHash {
    TokenHash([number; 32])
}

pub(super) fn task(
    number: u8,
    execution: ExecutionId,
    activity: Option<ScopeId>,
    at: u64,
) -> OpenTask {
    OpenTask {
        token: token(number),
        execution,
        task: Arc::new([number]),
        activity,
        scheduled_at: Timestamp(at),
    }
}

pub(super) fn close(number: u8, must_exist: bool) -> CloseTask {
    CloseTask {
        token: token(number),
        must_exist,
    }
}

pub(super) fn message(to: ExecutionId, text: &str) -> Outgoing {
    Outgoing {
        to,
        payload: bytes(text),
    }
}

pub(super) fn key(kind: &str, name: &str) -> CatalogKey {
    CatalogKey {
        tenant: "000000000000".into(),
        kind: kind.into(),
        name: name.into(),
    }
}

pub(super) fn record(name: &str, expected: Option<u64>, text: Option<&str>) -> CatalogWrite {
    CatalogWrite {
        key: key("machine", name),
        expected,
        bytes: text.map(bytes),
    }
}

/// Payloads of messages, for comparing.
pub(super) fn texts(messages: &[crate::journal::Message]) -> Vec<String> {
    messages
        .iter()
        .map(|message| String::from_utf8_lossy(&message.payload).into_owned())
        .collect()
}

pub(super) fn cursors(partitions: &[u16]) -> Vec<(Partition, MessageId)> {
    partitions
        .iter()
        .map(|partition| (Partition(*partition), MessageId(0)))
        .collect()
}
