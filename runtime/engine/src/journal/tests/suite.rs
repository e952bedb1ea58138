//! The promises of the trait, each as a case that runs on every store.

use std::sync::Arc;

use stepwell_interp::Timestamp;

use super::{
    server::{Server, with_postgres},
    support::{
        SCOPE, TestClock, begin, bytes, close, commit, cursors, epoch, id, inline, key, land,
        memory, message, one, options, proceed, record, refusal, segment, sqlite, task, texts,
        token, wait,
    },
};
use crate::journal::{
    Append, Epoch, ExecutionId, Journal, List, ListQuery, MemoryJournal, MessageId, NewExecution,
    OpenError, Partition, Refused, ScopeId, SegmentRange, SqliteJournal, Status, View, Write,
};

type Case = (&'static str, fn(&dyn Journal));

const CASES: [Case; 24] = [
    ("an execution's row is what its appends say", row),
    ("the log refuses gaps, overlaps and doubles", positions),
    ("names are unique where asked", names),
    (
        "a refused write spares its neighbours and leaves no trace",
        neighbours,
    ),
    ("later writes of a batch see earlier ones", sequence),
    ("an unknown epoch is refused", fencing),
    ("segments by position", segments_from),
    ("segments by public id, both ways", segments_public),
    (
        "pages of segments are bounded by bytes, but never empty",
        segments_bounded,
    ),
    ("messages keep their order and are read by cursor", messages),
    ("a message is consumed once", consumption),
    (
        "a discarded message is gone, twice discarded too",
        discarding,
    ),
    ("an answer and a timeout: exactly one wins", answer_wins),
    ("a timeout and an answer: exactly one wins", timeout_wins),
    ("tasks opened and closed in one append", open_and_close),
    ("activity tasks come oldest first", activities),
    ("lists are keyset pages, newest first", lists),
    (
        "versions and aliases have lists of their own",
        lists_of_versions_and_aliases,
    ),
    ("hot executions and due ones", hot_and_due),
    ("catalog records change by revision", catalog),
    (
        "several records change together or not at all",
        catalog_atomic,
    ),
    ("records are scanned by prefix in pages", catalog_scan),
    ("blobs are kept once", blobs),
    (
        "blobs of an append are there with it, or not at all",
        blobs_of_appends,
    ),
];

fn run(mut open: impl FnMut() -> Arc<dyn Journal>) {
    for (name, case) in CASES {
        println!("case: {name}");
        case(&*open());
    }
}

#[test]
fn memory_keeps_the_promises() {
    run(memory);
}

#[test]
fn sqlite_keeps_the_promises() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut count = 0;
    run(|| {
        count += 1;
        sqlite(&directory.path().join(count.to_string()))
    });
}

#[test]
fn inline_sqlite_keeps_the_promises() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut count = 0;
    run(|| {
        count += 1;
        inline(&directory.path().join(format!("{count}.sqlite")))
    });
}

#[test]
fn postgres_keeps_the_promises() {
    with_postgres(|server: &Server| run(|| server.journal()));
}

fn row(journal: &dyn Journal) {
    let (epoch, id) = (epoch(journal), id(1, 2));
    assert_eq!(wait(journal.execution(id)), Ok(None));
    land(journal, Write::Append(begin(id, epoch, "one")));
    let row = wait(journal.execution(id))
        .expect("readable")
        .expect("there");
    assert_eq!((row.id, row.next, row.next_public), (id, 3, 2));
    assert_eq!(
        (&*row.new.name, row.new.scope, row.new.unique_name),
        ("one", SCOPE, true)
    );
    assert_eq!(
        (row.new.started_at, &*row.new.meta),
        (Timestamp(5), b"meta".as_slice())
    );
    assert_eq!(row.view, View::default());

    let view = View {
        status: Status::TimedOut,
        stopped_at: Some(Timestamp(77)),
        wake_at: Some(Timestamp(u64::from(u32::MAX) * 1_000)),
        hot: true,
        redrive_count: 3,
        redriven_at: Some(Timestamp(78)),
    };
    land(
        journal,
        Write::Append(Append {
            view: view.clone(),
            ..proceed(id, epoch, 3, 2)
        }),
    );
    let row = wait(journal.execution(id))
        .expect("readable")
        .expect("there");
    assert_eq!((row.next, row.next_public, &row.view), (4, 3, &view));
    land(journal, Write::Append(proceed(id, epoch, 4, 3)));
    let row = wait(journal.execution(id))
        .expect("readable")
        .expect("there");
    assert_eq!((row.next, &row.view), (5, &View::default()));
    assert_eq!(&*row.new.name, "one");
}

fn positions(journal: &dyn Journal) {
    let (epoch, id) = (epoch(journal), id(1, 0));
    let first = Write::Append(begin(id, epoch, "one"));
    assert_eq!(
        refusal(journal, Write::Append(proceed(id, epoch, 1, 1))),
        Refused::WrongPosition { next: 1 }
    );
    let late = Append {
        expected_next: 2,
        ..begin(id, epoch, "one")
    };
    assert_eq!(
        refusal(journal, Write::Append(late)),
        Refused::WrongPosition { next: 1 }
    );
    land(journal, first.clone());
    assert_eq!(refusal(journal, first), Refused::WrongPosition { next: 3 });
    for wrong in [1, 2, 4] {
        let refused = refusal(journal, Write::Append(proceed(id, epoch, wrong, 2)));
        assert_eq!(refused, Refused::WrongPosition { next: 3 });
    }
    let next = Write::Append(proceed(id, epoch, 3, 2));
    land(journal, next.clone());
    assert_eq!(refusal(journal, next), Refused::WrongPosition { next: 4 });
    let empty = Append {
        segment: segment(0, 3, 0),
        ..proceed(id, epoch, 4, 3)
    };
    assert!(matches!(
        refusal(journal, Write::Append(empty)),
        Refused::Broken(_)
    ));
    land(journal, Write::Append(proceed(id, epoch, 4, 3)));
}

fn names(journal: &dyn Journal) {
    let epoch = epoch(journal);
    let shared = |number| {
        let mut append = begin(id(number, 1), epoch, "name");
        if let Some(new) = &mut append.create {
            new.unique_name = false;
        }
        Write::Append(append)
    };
    assert_eq!(wait(journal.find(SCOPE, "name")), Ok(None));
    land(journal, Write::Append(begin(id(1, 0), epoch, "name")));
    let refused = refusal(journal, Write::Append(begin(id(2, 3), epoch, "name")));
    assert_eq!(
        refused,
        Refused::NameTaken {
            execution: id(1, 0)
        }
    );
    assert_eq!(wait(journal.execution(id(2, 3))), Ok(None));
    assert_eq!(wait(journal.find(SCOPE, "name")), Ok(Some(id(1, 0))));
    land(journal, shared(5));
    land(journal, shared(3));
    assert_eq!(wait(journal.find(SCOPE, "name")), Ok(Some(id(5, 1))));
    assert_eq!(wait(journal.find(ScopeId(1), "name")), Ok(None));
    let mut elsewhere = begin(id(6, 0), epoch, "name");
    if let Some(new) = &mut elsewhere.create {
        new.scope = ScopeId(1);
    }
    land(journal, Write::Append(elsewhere));
    land(journal, Write::Append(begin(id(7, 0), epoch, "Name")));
    // Taken within the same batch.
    let verdicts = commit(
        journal,
        vec![
            Write::Append(begin(id(8, 0), epoch, "both")),
            Write::Append(begin(id(9, 0), epoch, "both")),
        ],
    );
    assert_eq!(
        verdicts[1],
        Err(Refused::NameTaken {
            execution: id(8, 0)
        })
    );
}

fn neighbours(journal: &dyn Journal) {
    let epoch = epoch(journal);
    land(
        journal,
        Write::Append(Append {
            open: vec![task(1, id(1, 0), None, 1)],
            ..begin(id(1, 0), epoch, "a")
        }),
    );
    let blob = Write::Blob {
        hash: [1; 32],
        bytes: bytes("blob"),
    };
    let bad = |append: Append| {
        // Everything that the refused append would have left behind.
        let view = View {
            hot: true,
            wake_at: Some(Timestamp(1)),
            ..View::default()
        };
        let open = vec![task(9, append.execution, Some(ScopeId(9)), 1)];
        Write::Append(Append {
            view,
            open,
            send: vec![message(id(1, 0), "trace")],
            ..append
        })
    };
    let verdicts = commit(
        journal,
        vec![
            Write::Append(begin(id(2, 0), epoch, "b")),
            bad(begin(id(3, 0), epoch, "a")),
            bad(proceed(id(1, 0), Epoch(epoch.0 + 1), 3, 2)),
            bad(proceed(id(1, 0), epoch, 7, 2)),
            bad(Append {
                consume: vec![MessageId(77)],
                ..proceed(id(1, 0), epoch, 3, 2)
            }),
            bad(Append {
                close: vec![close(1, true), close(5, true)],
                ..proceed(id(1, 0), epoch, 3, 2)
            }),
            Write::Answer {
                token: token(8),
                message: message(id(1, 0), "trace"),
            },
            Write::Catalog(vec![
                record("x", None, Some("x")),
                record("y", Some(4), Some("y")),
            ]),
            blob,
            Write::Append(proceed(id(1, 0), epoch, 3, 2)),
            Write::Post(message(id(2, 0), "posted")),
        ],
    );
    let landed: Vec<bool> = verdicts.iter().map(Result::is_ok).collect();
    assert_eq!(
        landed,
        [
            true, false, false, false, false, false, false, false, true, true, true
        ]
    );
    assert_eq!(
        verdicts[1],
        Err(Refused::NameTaken {
            execution: id(1, 0)
        })
    );
    assert_eq!(verdicts[2], Err(Refused::LeaseLost));
    assert_eq!(verdicts[3], Err(Refused::WrongPosition { next: 3 }));
    assert_eq!(verdicts[4], Err(Refused::MessageGone));
    assert_eq!(verdicts[5], Err(Refused::TokenGone));
    assert_eq!(verdicts[6], Err(Refused::TokenGone));
    assert_eq!(
        verdicts[7],
        Err(Refused::Conflict {
            record: 1,
            revision: None
        })
    );

    let all = [0, 1, 2, 3].map(Partition);
    assert_eq!(
        texts(&wait(journal.messages(&cursors(&[0, 1, 2, 3]), 10)).expect("readable")),
        ["posted"]
    );
    assert_eq!(wait(journal.hot(&all, None, 10)), Ok(vec![]));
    assert_eq!(wait(journal.next_due(&all)), Ok(None));
    assert_eq!(wait(journal.open_task(token(9))), Ok(None));
    assert!(
        wait(journal.open_task(token(1)))
            .expect("readable")
            .is_some()
    );
    assert_eq!(wait(journal.get(&key("machine", "x"))), Ok(None));
    assert_eq!(wait(journal.execution(id(3, 0))), Ok(None));
    assert_eq!(
        wait(journal.segments(id(1, 0), SegmentRange::From { first: 1 }, 1_000))
            .expect("readable")
            .len(),
        2
    );
}

fn sequence(journal: &dyn Journal) {
    let epoch = epoch(journal);
    let verdicts = commit(
        journal,
        vec![
            Write::Append(Append {
                open: vec![task(1, id(1, 0), None, 1)],
                ..begin(id(1, 0), epoch, "a")
            }),
            Write::Append(proceed(id(1, 0), epoch, 3, 2)),
            Write::Append(proceed(id(1, 0), epoch, 4, 3)),
            Write::Answer {
                token: token(1),
                message: message(id(1, 0), "answer"),
            },
            Write::Answer {
                token: token(1),
                message: message(id(1, 0), "again"),
            },
            Write::Catalog(vec![record("x", Some(0), Some("1"))]),
            Write::Catalog(vec![record("x", Some(1), Some("2"))]),
        ],
    );
    let landed: Vec<bool> = verdicts.iter().map(Result::is_ok).collect();
    assert_eq!(landed, [true, true, true, true, false, true, true]);
    assert_eq!(
        texts(&wait(journal.inbox(id(1, 0))).expect("readable")),
        ["answer"]
    );
    assert_eq!(
        wait(journal.get(&key("machine", "x")))
            .expect("readable")
            .map(|record| record.revision),
        Some(2)
    );
    assert_eq!(commit(journal, Vec::new()), Vec::new());
}

fn fencing(journal: &dyn Journal) {
    let epoch = epoch(journal);
    for wrong in [Epoch(epoch.0 - 1), Epoch(epoch.0 + 1)] {
        assert_eq!(
            refusal(journal, Write::Append(begin(id(1, 0), wrong, "a"))),
            Refused::LeaseLost
        );
    }
    land(journal, Write::Append(begin(id(1, 0), epoch, "a")));
    // Holding on and letting go by the same owner keeps or raises the epoch, never lowers it.
    let again = wait(journal.lease("node", &[Partition(0)], 10_000)).expect("readable");
    assert_eq!((again.len(), again[0].epoch), (4, epoch));
    assert!(
        again
            .windows(2)
            .all(|pair| pair[0].partition < pair[1].partition)
    );
    assert_eq!(wait(journal.release("node")), Ok(()));
    let after = wait(journal.lease("node", &[Partition(0)], 10_000)).expect("readable");
    assert_eq!(after.len(), 1);
    assert!(after[0].epoch >= epoch);
}

/// Segments of 2, 1, 3, 1 and 2 events: positions 1-2, 3, 4-6, 7, 8-9; public ids 1, none, 2-4, none, 5-6.
fn log(journal: &dyn Journal) -> ExecutionId {
    let (epoch, id) = (epoch(journal), id(4, 1));
    land(journal, Write::Append(begin(id, epoch, "log")));
    for (next, segment) in [
        (3, segment(1, 2, 0)),
        (4, segment(3, 2, 3)),
        (7, segment(1, 5, 0)),
        (8, segment(2, 5, 2)),
    ] {
        land(
            journal,
            Write::Append(Append {
                segment,
                ..proceed(id, epoch, next, 0)
            }),
        );
    }
    id
}

fn firsts(
    journal: &dyn Journal,
    id: ExecutionId,
    range: SegmentRange,
    bytes_max: usize,
) -> Vec<u64> {
    wait(journal.segments(id, range, bytes_max))
        .expect("readable")
        .iter()
        .map(|stored| stored.first)
        .collect()
}

fn segments_from(journal: &dyn Journal) {
    let log = log(journal);
    let from = |first| firsts(journal, log, SegmentRange::From { first }, 1_000);
    for (first, expected) in [
        (0, vec![1, 3, 4, 7, 8]),
        (1, vec![1, 3, 4, 7, 8]),
        (2, vec![1, 3, 4, 7, 8]),
        (3, vec![3, 4, 7, 8]),
        (4, vec![4, 7, 8]),
        (6, vec![4, 7, 8]),
        (7, vec![7, 8]),
        (9, vec![8]),
        (10, vec![]),
        (99, vec![]),
    ] {
        assert_eq!(from(first), expected, "from {first}");
    }
    assert_eq!(firsts(journal, log, SegmentRange::Last, 1_000), [8]);
    assert_eq!(
        firsts(journal, id(99, 0), SegmentRange::Last, 1_000),
        [0; 0]
    );
    assert_eq!(
        firsts(journal, id(99, 0), SegmentRange::From { first: 1 }, 1_000),
        [0; 0]
    );
    let stored = wait(journal.segments(log, SegmentRange::Last, 0)).expect("readable");
    assert_eq!(stored[0].segment, segment(2, 5, 2));
}

fn segments_public(journal: &dyn Journal) {
    let log = log(journal);
    for (public, forward, backward) in [
        (0, vec![1, 3, 4, 7, 8], vec![]),
        (1, vec![1, 3, 4, 7, 8], vec![1]),
        (2, vec![4, 7, 8], vec![4, 3, 1]),
        (4, vec![4, 7, 8], vec![4, 3, 1]),
        (5, vec![8], vec![8, 7, 4, 3, 1]),
        (6, vec![8], vec![8, 7, 4, 3, 1]),
        (7, vec![], vec![8, 7, 4, 3, 1]),
        (u64::from(u32::MAX), vec![], vec![8, 7, 4, 3, 1]),
    ] {
        assert_eq!(
            firsts(journal, log, SegmentRange::Forward { public }, 1_000),
            forward,
            "forward from {public}"
        );
        assert_eq!(
            firsts(journal, log, SegmentRange::Backward { public }, 1_000),
            backward,
            "backward from {public}"
        );
    }
    assert_eq!(
        firsts(
            journal,
            id(99, 0),
            SegmentRange::Backward { public: 3 },
            1_000
        ),
        [0; 0]
    );
}

fn segments_bounded(journal: &dyn Journal) {
    let log = log(journal);
    // Each segment's text has 8 bytes.
    for (bytes_max, count) in [(0, 1), (8, 1), (15, 1), (16, 2), (31, 3), (40, 5)] {
        assert_eq!(
            firsts(journal, log, SegmentRange::From { first: 1 }, bytes_max).len(),
            count,
            "{bytes_max} bytes"
        );
        assert_eq!(
            firsts(
                journal,
                log,
                SegmentRange::Backward { public: 9 },
                bytes_max
            )
            .len(),
            count
        );
    }
}

fn messages(journal: &dyn Journal) {
    let epoch = epoch(journal);
    let sends = vec![
        message(id(1, 0), "a"),
        message(id(1, 1), "b"),
        message(id(2, 0), "c"),
    ];
    let first = land(
        journal,
        Write::Append(Append {
            send: sends,
            ..begin(id(9, 0), epoch, "sender")
        }),
    );
    assert_eq!(first.messages.len(), 3);
    assert!(first.messages[0] > MessageId(0));
    let second = land(journal, Write::Post(message(id(1, 0), "d")));
    assert!(
        second.messages[0] > first.messages[2],
        "ids ascend within a partition"
    );
    let read = |after: &[(Partition, MessageId)], limit| {
        wait(journal.messages(after, limit)).expect("readable")
    };
    assert_eq!(texts(&read(&cursors(&[0]), 10)), ["a", "c", "d"]);
    assert_eq!(texts(&read(&cursors(&[1]), 10)), ["b"]);
    assert_eq!(texts(&read(&cursors(&[2, 3]), 10)), [""; 0]);
    assert_eq!(read(&cursors(&[0, 1]), 10).len(), 4);
    assert_eq!(texts(&read(&[], 10)), [""; 0]);
    assert_eq!(texts(&read(&cursors(&[0]), 2)), ["a", "c"]);
    let page = read(&cursors(&[0]), 1);
    assert_eq!((page[0].id, page[0].to), (first.messages[0], id(1, 0)));
    let mixed = [
        (Partition(0), first.messages[2]),
        (Partition(1), MessageId(0)),
    ];
    let mut found = texts(&read(&mixed, 10));
    found.sort();
    assert_eq!(found, ["b", "d"]);
    assert_eq!(
        texts(&wait(journal.inbox(id(1, 0))).expect("readable")),
        ["a", "d"]
    );
    assert_eq!(
        texts(&wait(journal.inbox(id(3, 0))).expect("readable")),
        [""; 0]
    );
}

fn consumption(journal: &dyn Journal) {
    let epoch = epoch(journal);
    land(journal, Write::Append(begin(id(1, 0), epoch, "a")));
    let sent = land(journal, Write::Post(message(id(1, 0), "a"))).messages;
    let consume = |next, consume| {
        Write::Append(Append {
            consume,
            ..proceed(id(1, 0), epoch, next, next - 1)
        })
    };
    assert_eq!(
        refusal(journal, consume(3, vec![sent[0], sent[0]])),
        Refused::MessageGone
    );
    land(journal, consume(3, sent.clone()));
    assert_eq!(
        refusal(journal, consume(4, sent.clone())),
        Refused::MessageGone
    );
    assert_eq!(
        texts(&wait(journal.inbox(id(1, 0))).expect("readable")),
        [""; 0]
    );
    let next = land(journal, Write::Post(message(id(1, 0), "b"))).messages;
    assert!(next[0] > sent[0], "ids are not given twice");
}

fn discarding(journal: &dyn Journal) {
    let sent = land(journal, Write::Post(message(id(1, 0), "a"))).messages;
    let kept = land(journal, Write::Post(message(id(1, 0), "b"))).messages;
    land(journal, Write::Discard(sent.clone()));
    land(
        journal,
        Write::Discard(vec![sent[0], sent[0], MessageId(0)]),
    );
    let inbox = wait(journal.inbox(id(1, 0))).expect("readable");
    assert_eq!((inbox.len(), inbox[0].id), (1, kept[0]));
}

fn waiting(journal: &dyn Journal) -> Epoch {
    let epoch = epoch(journal);
    let open = vec![task(1, id(1, 0), None, 1)];
    land(
        journal,
        Write::Append(Append {
            open,
            ..begin(id(1, 0), epoch, "a")
        }),
    );
    epoch
}

fn timeout(epoch: Epoch) -> Write {
    Write::Append(Append {
        close: vec![close(1, true)],
        ..proceed(id(1, 0), epoch, 3, 2)
    })
}

fn answer_wins(journal: &dyn Journal) {
    let epoch = waiting(journal);
    assert!(
        wait(journal.open_task(token(1)))
            .expect("readable")
            .is_some()
    );
    let answer = Write::Answer {
        token: token(1),
        message: message(id(1, 0), "answer"),
    };
    let verdicts = commit(
        journal,
        vec![answer.clone(), timeout(epoch), answer.clone()],
    );
    assert_eq!(
        (&verdicts[1], &verdicts[2]),
        (&Err(Refused::TokenGone), &Err(Refused::TokenGone))
    );
    assert!(verdicts[0].is_ok());
    assert_eq!(one(journal, answer), Err(Refused::TokenGone));
    assert_eq!(
        texts(&wait(journal.inbox(id(1, 0))).expect("readable")),
        ["answer"]
    );
}

fn timeout_wins(journal: &dyn Journal) {
    let epoch = waiting(journal);
    land(journal, timeout(epoch));
    assert_eq!(wait(journal.open_task(token(1))), Ok(None));
    let answer = Write::Answer {
        token: token(1),
        message: message(id(1, 0), "answer"),
    };
    assert_eq!(refusal(journal, answer), Refused::TokenGone);
    assert_eq!(
        texts(&wait(journal.inbox(id(1, 0))).expect("readable")),
        [""; 0]
    );
}

fn open_and_close(journal: &dyn Journal) {
    let epoch = waiting(journal);
    let again = task(1, id(1, 0), Some(ScopeId(3)), 9);
    let append = Append {
        open: vec![again.clone(), task(2, id(1, 0), None, 2)],
        close: vec![close(2, true), close(7, false)],
        ..proceed(id(1, 0), epoch, 3, 2)
    };
    land(journal, Write::Append(append));
    assert_eq!(wait(journal.open_task(token(1))), Ok(Some(again.clone())));
    assert_eq!(wait(journal.open_task(token(2))), Ok(None));
    assert_eq!(
        wait(journal.activity_tasks(ScopeId(3), None, 10)),
        Ok(vec![again])
    );
    let twice = Append {
        close: vec![close(1, false), close(1, true)],
        ..proceed(id(1, 0), epoch, 4, 3)
    };
    assert_eq!(refusal(journal, Write::Append(twice)), Refused::TokenGone);
    let back = Append {
        open: vec![task(1, id(1, 0), None, 1)],
        ..proceed(id(1, 0), epoch, 4, 3)
    };
    land(journal, Write::Append(back));
    assert_eq!(
        wait(journal.activity_tasks(ScopeId(3), None, 10)),
        Ok(vec![])
    );
}

fn activities(journal: &dyn Journal) {
    let epoch = epoch(journal);
    let (one, other) = (ScopeId(u64::MAX), ScopeId(3));
    let open = vec![
        task(5, id(1, 0), Some(one), 30),
        task(4, id(1, 0), Some(one), 20),
        task(3, id(1, 0), Some(one), 20),
        task(2, id(1, 0), Some(other), 10),
        task(1, id(1, 0), None, 5),
    ];
    land(
        journal,
        Write::Append(Append {
            open,
            ..begin(id(1, 0), epoch, "a")
        }),
    );
    let tokens = |after, limit| {
        let tasks = wait(journal.activity_tasks(one, after, limit)).expect("readable");
        tasks.iter().map(|task| task.token.0[0]).collect::<Vec<_>>()
    };
    assert_eq!(tokens(None, 10), [3, 4, 5]);
    assert_eq!(tokens(None, 2), [3, 4]);
    assert_eq!(tokens(Some((Timestamp(20), token(3))), 10), [4, 5]);
    assert_eq!(tokens(Some((Timestamp(30), token(5))), 10), [0; 0]);
    land(
        journal,
        Write::Answer {
            token: token(4),
            message: message(id(1, 0), "done"),
        },
    );
    assert_eq!(tokens(None, 10), [3, 5]);
}

fn lists(journal: &dyn Journal) {
    let epoch = epoch(journal);
    for number in 1..=6 {
        let status = if number % 2 == 0 {
            Status::Succeeded
        } else {
            Status::Running
        };
        let view = View {
            status,
            ..View::default()
        };
        land(
            journal,
            Write::Append(Append {
                view,
                ..begin(id(number, 3), epoch, &number.to_string())
            }),
        );
    }
    let list = |status, before: Option<u64>, limit| {
        let query = ListQuery {
            list: List::Scope(SCOPE),
            status,
            before: before.map(|number| id(number, 3)),
            limit,
        };
        let rows = wait(journal.list(query)).expect("readable");
        rows.iter()
            .map(|row| row.new.name.parse::<u64>().expect("a number"))
            .collect::<Vec<_>>()
    };
    assert_eq!(list(None, None, 10), [6, 5, 4, 3, 2, 1]);
    assert_eq!(list(None, None, 2), [6, 5]);
    assert_eq!(list(None, Some(5), 2), [4, 3]);
    assert_eq!(list(None, Some(1), 2), [0; 0]);
    assert_eq!(list(Some(Status::Succeeded), None, 2), [6, 4]);
    assert_eq!(list(Some(Status::Succeeded), Some(4), 2), [2]);
    assert_eq!(list(Some(Status::Failed), None, 2), [0; 0]);
    let failed = View {
        status: Status::Failed,
        ..View::default()
    };
    land(
        journal,
        Write::Append(Append {
            view: failed,
            ..proceed(id(4, 3), epoch, 3, 2)
        }),
    );
    assert_eq!(list(Some(Status::Failed), None, 2), [4]);
    assert_eq!(list(Some(Status::Succeeded), None, 9), [6, 2]);
    assert_eq!(list(None, None, 3), [6, 5, 4]);
    let elsewhere = ListQuery {
        list: List::Scope(ScopeId(0)),
        status: None,
        before: None,
        limit: 5,
    };
    assert_eq!(wait(journal.list(elsewhere)), Ok(vec![]));
}

fn lists_of_versions_and_aliases(journal: &dyn Journal) {
    let epoch = epoch(journal);
    let (first, second, live) = (ScopeId(11), ScopeId(12), ScopeId(13));
    for (number, version, alias) in [
        (1, None, None),
        (2, Some(first), None),
        (3, Some(first), Some(live)),
        (4, Some(second), Some(live)),
        (5, Some(first), None),
    ] {
        let started = begin(id(number, 3), epoch, &number.to_string());
        let create = started.create.map(|new| NewExecution {
            version,
            alias,
            ..new
        });
        land(journal, Write::Append(Append { create, ..started }));
    }
    let list = |list, status, before: Option<u64>, limit| {
        let query = ListQuery {
            list,
            status,
            before: before.map(|number| id(number, 3)),
            limit,
        };
        let rows = wait(journal.list(query)).expect("readable");
        rows.iter()
            .map(|row| row.new.name.parse::<u64>().expect("a number"))
            .collect::<Vec<_>>()
    };
    assert_eq!(list(List::Scope(SCOPE), None, None, 9), [5, 4, 3, 2, 1]);
    assert_eq!(list(List::Version(first), None, None, 9), [5, 3, 2]);
    assert_eq!(list(List::Version(first), None, None, 2), [5, 3]);
    assert_eq!(list(List::Version(first), None, Some(3), 2), [2]);
    assert_eq!(list(List::Version(second), None, None, 9), [4]);
    assert_eq!(list(List::Alias(live), None, None, 9), [4, 3]);
    assert_eq!(list(List::Alias(first), None, None, 9), [0; 0]);
    let failed = View {
        status: Status::Failed,
        ..View::default()
    };
    let end = Append {
        view: failed,
        ..proceed(id(3, 3), epoch, 3, 2)
    };
    land(journal, Write::Append(end));
    let running = Some(Status::Running);
    assert_eq!(list(List::Version(first), running, None, 9), [5, 2]);
    assert_eq!(
        list(List::Version(first), Some(Status::Failed), None, 9),
        [3]
    );
    assert_eq!(list(List::Alias(live), running, None, 9), [4]);
    let row = wait(journal.execution(id(3, 3))).expect("readable");
    let new = row.expect("it began").new;
    assert_eq!((new.version, new.alias), (Some(first), Some(live)));
}

fn hot_and_due(journal: &dyn Journal) {
    let epoch = epoch(journal);
    for (number, partition, hot, wake_at) in [
        (1, 0, true, None),
        (2, 1, true, Some(30)),
        (3, 0, true, Some(20)),
        (4, 1, false, Some(10)),
        (5, 0, false, None),
    ] {
        let view = View {
            hot,
            wake_at: wake_at.map(Timestamp),
            ..View::default()
        };
        let name = number.to_string();
        land(
            journal,
            Write::Append(Append {
                view,
                ..begin(id(number, partition), epoch, &name)
            }),
        );
    }
    let (zero, both, none) = (
        vec![Partition(0)],
        vec![Partition(0), Partition(1)],
        Vec::new(),
    );
    let hot = |partitions: &[Partition], after, limit| {
        wait(journal.hot(partitions, after, limit)).expect("readable")
    };
    assert_eq!(hot(&both, None, 10), [id(1, 0), id(2, 1), id(3, 0)]);
    assert_eq!(hot(&zero, None, 10), [id(1, 0), id(3, 0)]);
    assert_eq!(hot(&both, Some(id(1, 0)), 1), [id(2, 1)]);
    assert_eq!(hot(&none, None, 10), []);
    let due = |partitions: &[Partition], until, limit| {
        wait(journal.due(partitions, Timestamp(until), limit)).expect("readable")
    };
    assert_eq!(due(&both, 9, 10), []);
    assert_eq!(
        due(&both, 20, 10),
        [(id(4, 1), Timestamp(10)), (id(3, 0), Timestamp(20))]
    );
    assert_eq!(due(&both, u64::MAX, 1), [(id(4, 1), Timestamp(10))]);
    assert_eq!(due(&zero, 99, 10), [(id(3, 0), Timestamp(20))]);
    assert_eq!(wait(journal.next_due(&both)), Ok(Some(Timestamp(10))));
    assert_eq!(wait(journal.next_due(&zero)), Ok(Some(Timestamp(20))));
    assert_eq!(wait(journal.next_due(&none)), Ok(None));

    land(journal, Write::Append(proceed(id(3, 0), epoch, 3, 2)));
    assert_eq!(hot(&both, None, 10), [id(1, 0), id(2, 1)]);
    assert_eq!(wait(journal.next_due(&zero)), Ok(None));
    let view = View {
        wake_at: Some(Timestamp(5)),
        ..View::default()
    };
    land(
        journal,
        Write::Append(Append {
            view,
            ..proceed(id(2, 1), epoch, 3, 2)
        }),
    );
    assert_eq!(
        due(&both, 99, 10),
        [(id(2, 1), Timestamp(5)), (id(4, 1), Timestamp(10))]
    );
    assert_eq!(hot(&both, None, 10), [id(1, 0)]);
}

fn catalog(journal: &dyn Journal) {
    let write = |expected, text| one(journal, Write::Catalog(vec![record("m", expected, text)]));
    let revisions = |revisions: &[u64]| {
        let landed = crate::journal::Landed {
            revisions: revisions.to_vec(),
            ..Default::default()
        };
        Ok::<_, Refused>(landed)
    };
    assert_eq!(
        write(Some(1), Some("a")),
        Err(Refused::Conflict {
            record: 0,
            revision: None
        })
    );
    assert_eq!(write(Some(0), Some("a")), revisions(&[1]));
    assert_eq!(
        write(Some(0), Some("b")),
        Err(Refused::Conflict {
            record: 0,
            revision: Some(1)
        })
    );
    assert_eq!(write(Some(1), Some("b")), revisions(&[2]));
    assert_eq!(write(None, Some("c")), revisions(&[3]));
    let record = wait(journal.get(&key("machine", "m")))
        .expect("readable")
        .expect("there");
    assert_eq!((record.revision, &*record.bytes), (3, b"c".as_slice()));
    assert_eq!(record.key, key("machine", "m"));
    assert_eq!(wait(journal.get(&key("alias", "m"))), Ok(None));
    assert_eq!(
        write(Some(2), None),
        Err(Refused::Conflict {
            record: 0,
            revision: Some(3)
        })
    );
    assert_eq!(write(Some(3), None), revisions(&[0]));
    assert_eq!(write(None, None), revisions(&[0]));
    assert_eq!(wait(journal.get(&key("machine", "m"))), Ok(None));
    assert_eq!(write(Some(0), Some("")), revisions(&[1]));
    assert_eq!(
        wait(journal.get(&key("machine", "m")))
            .expect("readable")
            .map(|record| record.bytes.len()),
        Some(0)
    );
}

fn catalog_atomic(journal: &dyn Journal) {
    let write = |records| one(journal, Write::Catalog(records));
    let first = write(vec![
        record("a", Some(0), Some("1")),
        record("b", Some(0), Some("1")),
    ])
    .expect("lands");
    assert_eq!(first.revisions, [1, 1]);
    let refused = write(vec![
        record("a", Some(1), Some("2")),
        record("b", Some(9), Some("2")),
    ]);
    assert_eq!(
        refused,
        Err(Refused::Conflict {
            record: 1,
            revision: Some(1)
        })
    );
    assert_eq!(
        wait(journal.get(&key("machine", "a")))
            .expect("readable")
            .map(|record| record.revision),
        Some(1)
    );
    // Later records of one write see the earlier ones.
    let chain = vec![
        record("a", Some(1), Some("2")),
        record("a", Some(2), None),
        record("a", Some(0), Some("3")),
    ];
    assert_eq!(write(chain).expect("lands").revisions, [2, 0, 1]);
    let stored = wait(journal.get(&key("machine", "a")))
        .expect("readable")
        .expect("there");
    assert_eq!((stored.revision, &*stored.bytes), (1, b"3".as_slice()));
    let broken = vec![
        record("c", Some(0), Some("1")),
        record("c", Some(0), Some("2")),
    ];
    assert_eq!(
        write(broken),
        Err(Refused::Conflict {
            record: 1,
            revision: Some(1)
        })
    );
    assert_eq!(wait(journal.get(&key("machine", "c"))), Ok(None));
}

fn catalog_scan(journal: &dyn Journal) {
    let names = ["a", "ab/1", "ab/2", "ab/3", "ab0", "b", "Z", "ü"];
    land(
        journal,
        Write::Catalog(
            names
                .iter()
                .map(|name| record(name, None, Some(name)))
                .collect(),
        ),
    );
    let other = crate::journal::CatalogWrite {
        key: key("machinf", "ab/4"),
        expected: None,
        bytes: Some(bytes("x")),
    };
    land(journal, Write::Catalog(vec![other]));
    let scan = |prefix: &str, after, limit| {
        let records =
            wait(journal.scan("000000000000", "machine", prefix, after, limit)).expect("readable");
        records
            .iter()
            .map(|record| record.key.name.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        scan("", None, 99),
        ["Z", "a", "ab/1", "ab/2", "ab/3", "ab0", "b", "ü"]
    );
    assert_eq!(scan("ab/", None, 99), ["ab/1", "ab/2", "ab/3"]);
    assert_eq!(scan("ab/", None, 2), ["ab/1", "ab/2"]);
    assert_eq!(scan("ab/", Some("ab/2"), 2), ["ab/3"]);
    assert_eq!(scan("ab/", Some("ab/3"), 2), [""; 0]);
    assert_eq!(scan("ab/", Some("a"), 1), ["ab/1"]);
    assert_eq!(scan("", Some("b"), 9), ["ü"]);
    assert_eq!(scan("x", None, 9), [""; 0]);
    assert_eq!(
        wait(journal.scan("other", "machine", "", None, 9)),
        Ok(vec![])
    );
}

fn blobs_of_appends(journal: &dyn Journal) {
    let (epoch, id) = (epoch(journal), id(1, 2));
    let with = |append: Append, number: u8| {
        let blobs = vec![([number; 32], bytes("large"))];
        Write::Append(Append { blobs, ..append })
    };
    land(journal, with(begin(id, epoch, "one"), 1));
    // One that refers to the same value, and one that comes too late.
    let verdicts = commit(
        journal,
        vec![
            with(proceed(id, epoch, 3, 2), 1),
            with(proceed(id, epoch, 3, 2), 2),
        ],
    );
    assert!(verdicts[0].is_ok(), "{verdicts:?}");
    assert_eq!(verdicts[1], Err(Refused::WrongPosition { next: 4 }));
    assert_eq!(wait(journal.blob([1; 32])), Ok(Some(bytes("large"))));
    assert_eq!(wait(journal.blob([2; 32])), Ok(None));
}

fn blobs(journal: &dyn Journal) {
    let blob = |text: &str| Write::Blob {
        hash: [7; 32],
        bytes: bytes(text),
    };
    assert_eq!(wait(journal.blob([7; 32])), Ok(None));
    assert!(
        commit(journal, vec![blob("one"), blob("one")])
            .iter()
            .all(Result::is_ok)
    );
    land(journal, blob("one"));
    assert_eq!(wait(journal.blob([7; 32])), Ok(Some(bytes("one"))));
    let large: Arc<[u8]> = vec![5; 3 << 20].into();
    land(
        journal,
        Write::Blob {
            hash: [8; 32],
            bytes: large.clone(),
        },
    );
    assert_eq!(wait(journal.blob([8; 32])), Ok(Some(large)));
}

/// Two owners and the course of time; `pass` makes at least so many milliseconds go by.
fn leases(one: &dyn Journal, other: &dyn Journal, ttl_ms: u64, pass: impl Fn(u64)) {
    let both = [Partition(0), Partition(1)];
    let lease = |journal: &dyn Journal, owner: &str, wanted: &[Partition]| {
        let leases = wait(journal.lease(owner, wanted, ttl_ms)).expect("readable");
        leases
            .iter()
            .map(|lease| (lease.partition.0, lease.epoch))
            .collect::<Vec<_>>()
    };
    assert_eq!(lease(one, "a", &both), [(0, Epoch(1)), (1, Epoch(1))]);
    assert_eq!(lease(other, "b", &both), []);
    land(one, Write::Append(begin(id(1, 0), Epoch(1), "one")));
    // Renewal keeps the epoch, also of what is not asked for again.
    assert_eq!(lease(one, "a", &[]), [(0, Epoch(1)), (1, Epoch(1))]);
    pass(ttl_ms + 1);
    // Expired, yet nobody took it: its holder may go on.
    land(one, Write::Append(proceed(id(1, 0), Epoch(1), 3, 2)));
    assert_eq!(lease(other, "b", &[Partition(0)]), [(0, Epoch(2))]);
    assert_eq!(
        refusal(one, Write::Append(proceed(id(1, 0), Epoch(1), 4, 3))),
        Refused::LeaseLost
    );
    land(other, Write::Append(proceed(id(1, 0), Epoch(2), 4, 3)));
    // Messages, answers and the catalog need no lease.
    land(one, Write::Post(message(id(1, 0), "hello")));
    assert_eq!(lease(one, "a", &both), [(1, Epoch(1))]);
    assert_eq!(wait(one.release("a")), Ok(()));
    assert_eq!(lease(other, "b", &both), [(0, Epoch(2)), (1, Epoch(2))]);
    assert_eq!(lease(one, "a", &both), []);
}

#[test]
fn memory_fences_by_lease() {
    let clock = TestClock::default();
    let journal = MemoryJournal::new(clock.clock());
    leases(&journal, &journal.clone(), 10_000, |ms| clock.advance(ms));
}

#[test]
fn postgres_fences_by_lease() {
    with_postgres(|server: &Server| {
        let (one, other) = server.pair();
        leases(&*one, &*other, 10_000, |ms| server.age_leases(ms));
    });
}

#[test]
fn postgres_nodes_do_not_lose_races() {
    with_postgres(|server: &Server| {
        let (one, other) = server.pair();
        let mine = wait(one.lease("a", &[Partition(0)], 60_000)).expect("readable")[0].epoch;
        let theirs = wait(other.lease("b", &[Partition(1)], 60_000)).expect("readable")[0].epoch;
        for round in 0..40 {
            let name = format!("round {round}");
            let first = one.commit(vec![
                Write::Append(begin(id(round, 0), mine, &name)),
                Write::Catalog(vec![
                    record("shared", None, Some("one")),
                    record(&name, Some(0), Some("one")),
                ]),
                Write::Post(message(id(1, 1), "from one")),
            ]);
            let second = other.commit(vec![
                Write::Post(message(id(1, 1), "from other")),
                Write::Catalog(vec![
                    record(&name, Some(0), Some("other")),
                    record("shared", None, Some("other")),
                ]),
                Write::Append(begin(id(round, 1), theirs, &name)),
            ]);
            let (first, second) = (wait(first), wait(second));
            assert!(
                first[0].is_ok() != second[2].is_ok(),
                "one name, one execution: {first:?} {second:?}"
            );
            assert!(
                first[1].is_ok() != second[1].is_ok(),
                "one record, one winner: {first:?} {second:?}"
            );
            assert!(first[2].is_ok() && second[0].is_ok());
        }
        assert_eq!(
            wait(one.messages(&cursors(&[1]), 1_000))
                .expect("readable")
                .len(),
            80
        );
    });
}

#[test]
fn sqlite_outlives_its_process() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let journal = sqlite(directory.path());
    let first = epoch(&*journal);
    land(&*journal, Write::Append(begin(id(1, 0), first, "a")));
    let sent = land(&*journal, Write::Post(message(id(1, 0), "a"))).messages;
    land(&*journal, Write::Discard(sent.clone()));
    match SqliteJournal::open(directory.path(), options(None)) {
        Err(OpenError::Locked(_)) => {}
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("one process at a time"),
    }
    drop(journal);

    let journal = sqlite(directory.path());
    let second = epoch(&*journal);
    assert!(second > first);
    assert_eq!(
        refusal(&*journal, Write::Append(proceed(id(1, 0), first, 3, 2))),
        Refused::LeaseLost
    );
    land(&*journal, Write::Append(proceed(id(1, 0), second, 3, 2)));
    let again = land(&*journal, Write::Post(message(id(1, 0), "b"))).messages;
    assert!(again[0] > sent[0], "ids are not given twice");
}

#[test]
fn sqlite_says_what_it_cannot_open() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("journal.sqlite");
    let open = || SqliteJournal::open(directory.path(), options(None)).err();

    std::fs::write(
        &path,
        "this is no database, it is a longer text than a header",
    )
    .expect("writable");
    assert!(matches!(open(), Some(OpenError::Foreign(_))));
    std::fs::remove_file(&path).expect("there");

    let foreign = rusqlite::Connection::open(&path).expect("opens");
    foreign
        .execute_batch("CREATE TABLE other (x)")
        .expect("runs");
    drop(foreign);
    assert!(matches!(open(), Some(OpenError::Foreign(_))));
    std::fs::remove_file(&path).expect("there");

    drop(sqlite(directory.path()));
    let newer = rusqlite::Connection::open(&path).expect("opens");
    newer
        .execute("UPDATE meta SET value = 3 WHERE key = 'format'", [])
        .expect("runs");
    drop(newer);
    assert!(matches!(
        open(),
        Some(OpenError::Newer {
            found: 3,
            known: 2,
            ..
        })
    ));

    let file = directory.path().join("LOCK").join("below-a-file");
    assert!(matches!(
        SqliteJournal::open(&file, options(None)).err(),
        Some(OpenError::Unreadable { .. })
    ));
}

/// What version 2 added, taken away again.
const BEFORE_LISTS: &str = "
    DROP INDEX executions_of_version; DROP INDEX executions_of_alias;
    ALTER TABLE executions DROP COLUMN version; ALTER TABLE executions DROP COLUMN alias;
    UPDATE meta SET value = 1 WHERE key = 'format';";

#[test]
fn sqlite_brings_an_older_file_up() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let journal = sqlite(directory.path());
    let epoch = epoch(&*journal);
    land(&*journal, Write::Append(begin(id(1, 3), epoch, "7")));
    drop(journal);
    let older = rusqlite::Connection::open(directory.path().join("journal.sqlite"));
    let older = older.expect("opens");
    older.execute_batch(BEFORE_LISTS).expect("runs");
    drop(older);
    let journal = sqlite(directory.path());
    let row = wait(journal.execution(id(1, 3))).expect("readable");
    let new = row.expect("it is there").new;
    assert_eq!((&*new.name, new.version, new.alias), ("7", None, None));
    let query = ListQuery {
        list: List::Version(ScopeId(1)),
        status: None,
        before: None,
        limit: 9,
    };
    assert_eq!(wait(journal.list(query)), Ok(vec![]));
}

#[test]
fn postgres_brings_an_older_schema_up() {
    with_postgres(|server: &Server| {
        let journal = server.journal();
        let epoch = epoch(&*journal);
        land(&*journal, Write::Append(begin(id(1, 3), epoch, "7")));
        drop(journal);
        // Dropping the columns drops their indexes.
        server.run(
            "ALTER TABLE executions DROP COLUMN version, DROP COLUMN alias;
             UPDATE meta SET value = 1 WHERE key = 'format'",
        );
        let journal = server.again();
        let row = wait(journal.execution(id(1, 3))).expect("readable");
        let new = row.expect("it is there").new;
        assert_eq!((&*new.name, new.version, new.alias), ("7", None, None));
        let query = ListQuery {
            list: List::Alias(ScopeId(1)),
            status: None,
            before: None,
            limit: 9,
        };
        assert_eq!(wait(journal.list(query)), Ok(vec![]));
    });
}

#[test]
fn sqlite_groups_what_waits() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let journal = sqlite(directory.path());
    let epoch = epoch(&*journal);
    let answers: Vec<_> = (0..500)
        .map(|number| {
            journal.commit(vec![Write::Append(begin(
                id(number, 0),
                epoch,
                &number.to_string(),
            ))])
        })
        .collect();
    for answer in answers {
        assert!(wait(answer).iter().all(Result::is_ok));
    }
    let query = ListQuery {
        list: List::Scope(SCOPE),
        status: None,
        before: None,
        limit: 1_000,
    };
    assert_eq!(wait(journal.list(query)).expect("readable").len(), 500);
}
