//! Lists of executions.

use stepwell_interp::Timestamp;

use super::super::support::{SCOPE, begin, epoch, id, land, proceed, wait};
use crate::journal::{
    Append, Journal, List, ListQuery, NewExecution, Partition, ScopeId, Status, View, Write,
};

pub(super) fn pages(journal: &dyn Journal) {
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

pub(super) fn of_versions_and_aliases(journal: &dyn Journal) {
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

pub(super) fn hot_and_due(journal: &dyn Journal) {
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
