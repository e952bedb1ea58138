//! What appends and other writes change, and what refuses them.

use stepwell_interp::Timestamp;

use super::super::support::{
    SCOPE, begin, bytes, close, commit, cursors, epoch, id, key, land, message, proceed, record,
    refusal, segment, task, texts, token, wait,
};
use crate::journal::{
    Append, Epoch, Journal, MessageId, Partition, Refused, ScopeId, SegmentRange, Status, Verdict,
    View, Write,
};

pub(super) fn row(journal: &dyn Journal) {
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

pub(super) fn positions(journal: &dyn Journal) {
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

pub(super) fn names(journal: &dyn Journal) {
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

pub(super) fn neighbours(journal: &dyn Journal) {
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
    why_refused(&verdicts);
    left_no_trace(journal);
}

/// Each for its own reason.
fn why_refused(verdicts: &[Verdict]) {
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
}

/// Of all that was refused beside its neighbours.
fn left_no_trace(journal: &dyn Journal) {
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

pub(super) fn sequence(journal: &dyn Journal) {
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

pub(super) fn fencing(journal: &dyn Journal) {
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
