//! Who may write, when several nodes want to.

use super::super::{
    server::{Server, with_postgres},
    support::{TestClock, begin, cursors, id, land, message, proceed, record, refusal, wait},
};
use crate::journal::{Epoch, Journal, MemoryJournal, Partition, Refused, Write};

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
