//! Messages and open tasks, and which of two that want one wins.

use stepwell_interp::Timestamp;

use super::super::support::{
    begin, close, commit, cursors, epoch, id, land, message, one, proceed, refusal, task, texts,
    token, wait,
};
use crate::journal::{Append, Epoch, Journal, MessageId, Partition, Refused, ScopeId, Write};

pub(super) fn in_order(journal: &dyn Journal) {
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

pub(super) fn consumption(journal: &dyn Journal) {
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

pub(super) fn discarding(journal: &dyn Journal) {
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

pub(super) fn answer_wins(journal: &dyn Journal) {
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

pub(super) fn timeout_wins(journal: &dyn Journal) {
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

pub(super) fn open_and_close(journal: &dyn Journal) {
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

pub(super) fn activities(journal: &dyn Journal) {
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
