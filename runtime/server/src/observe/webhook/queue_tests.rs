//! Which event is sent next, under receivers that are slow, away, or refuse some.

use std::collections::{BTreeMap, BTreeSet};

use stepwell_engine::{Status, StatusEvent};
use stepwell_interp::Timestamp;

use super::queue::{Now, Outcome, Queue, Sending};
use crate::limits::{
    WEBHOOK_AGE_MAX, WEBHOOK_FAILING_AFTER, WEBHOOK_PAUSE_MAX, WEBHOOK_REQUESTS_MAX,
    WEBHOOK_RETRIES_MAX, WEBHOOK_TENANT_REQUESTS_MAX,
};

/// Events began at this time.
const BEGIN_MS: u64 = 1_000_000_000;

fn event(tenant: &str, execution: u64, id: u64) -> StatusEvent {
    StatusEvent {
        id,
        queue: "q".into(),
        tenant: tenant.into(),
        execution,
        partition: u16::try_from(execution % 16).unwrap(),
        event: id,
        status: Status::Running,
        at: Timestamp(BEGIN_MS + id),
        redrives: 0,
        redriven_at: None,
    }
}

fn at(steady_ms: u64) -> Now {
    Now {
        steady_ms,
        wall_ms: BEGIN_MS + steady_ms,
    }
}

/// All that may be sent at that time.
fn all(queue: &mut Queue, now: Now) -> Vec<Sending> {
    let mut expired = Vec::new();
    let sendings = std::iter::from_fn(|| queue.next(now, &mut expired).ok()).collect();
    assert_eq!(expired, []);
    sendings
}

fn ids(sendings: &[Sending]) -> Vec<u64> {
    sendings.iter().map(|sending| sending.event.id).collect()
}

fn queue(events: impl IntoIterator<Item = StatusEvent>) -> Queue {
    let mut queue = Queue::default();
    events.into_iter().for_each(|event| queue.put(event));
    queue
}

/// Sends for a while of virtual time: each request takes as long, and ends, as `receiver` says. Gives the ids that were
/// settled with the time.
fn run(
    queue: &mut Queue,
    until_ms: u64,
    receiver: impl Fn(&StatusEvent) -> (u64, Outcome),
) -> Vec<(u64, u64)> {
    let mut under_way = BTreeMap::<(u64, u64), Sending>::new();
    let (mut settled, mut now_ms, mut expired) = (Vec::new(), 0, Vec::new());
    while now_ms <= until_ms {
        let due = loop {
            match queue.next(at(now_ms), &mut expired) {
                Ok(sending) => {
                    let (takes_ms, _) = receiver(&sending.event);
                    under_way.insert((now_ms + takes_ms, sending.event.id), sending);
                }
                Err(due) => break due,
            }
        };
        let ends = under_way.first_key_value().map(|((ends, _), _)| *ends);
        let Some(next) = ends.into_iter().chain(due).min() else {
            break;
        };
        now_ms = next.max(now_ms);
        while let Some(entry) = under_way.first_entry() {
            let (ends, id) = *entry.key();
            if ends > now_ms {
                break;
            }
            let sending = entry.remove();
            let (_, outcome) = receiver(&sending.event);
            queue.done(&sending, outcome, at(now_ms));
            if outcome == Outcome::Settled {
                settled.push((id, now_ms));
            }
        }
    }
    settled
}

#[test]
fn events_of_an_execution_go_one_after_the_other_and_others_beside_them() {
    let mut queue = queue([event("a", 1, 1), event("a", 1, 2), event("a", 2, 3)]);
    let first = all(&mut queue, at(0));
    assert_eq!(ids(&first), [1, 3]);
    queue.put(event("a", 2, 4));
    assert_eq!(ids(&all(&mut queue, at(0))), [0; 0]);
    queue.done(&first[0], Outcome::Settled, at(1));
    assert_eq!(ids(&all(&mut queue, at(1))), [2]);
    queue.done(&first[1], Outcome::Failed, at(1));
    assert_eq!(ids(&all(&mut queue, at(2))), [0; 0], "it pauses");
    let again = all(&mut queue, at(60_000));
    assert_eq!(ids(&again), [3], "and goes before what came after it");
    queue.done(&again[0], Outcome::Settled, at(60_000));
    assert_eq!(ids(&all(&mut queue, at(60_000))), [4]);
}

#[test]
fn what_comes_twice_is_there_once_and_late_ones_are_put_in_their_places() {
    let mut queue = queue([event("a", 1, 2), event("a", 1, 2)]);
    assert_eq!(queue.len(), 1);
    queue.hold(1);
    queue.hold(2);
    let sending = all(&mut queue, at(0));
    assert_eq!(ids(&sending), [2], "it was not in doubt when it came");
    queue.put(event("a", 1, 5));
    queue.put(event("a", 2, 7));
    queue.put(event("a", 1, 4));
    queue.done(&sending[0], Outcome::Settled, at(0));
    assert_eq!(ids(&all(&mut queue, at(0))), [0; 0], "all else is in doubt");
    queue.put(event("a", 2, 6));
    queue.release(1);
    queue.release(2);
    let sending = all(&mut queue, at(0));
    assert_eq!(ids(&sending), [4, 6]);
    for sending in &sending {
        queue.done(sending, Outcome::Settled, at(0));
    }
    assert_eq!(ids(&all(&mut queue, at(0))), [5, 7]);
}

#[test]
fn a_poisonous_event_delays_neither_other_executions_nor_other_tenants() {
    let poison = (1..=200).map(|n| event("bad", 1, n));
    let others = (1_000..1_100).map(|n| event("bad", n, n));
    let tenants = (2_000..2_100).map(|n| event("good", n, n));
    let mut queue = queue(poison.chain(others).chain(tenants));
    let settled = run(&mut queue, 3_600_000, |event| match event.execution {
        1 => (15_000, Outcome::Failed),
        _ => (10, Outcome::Settled),
    });
    assert_eq!(settled.len(), 200, "all but those of the one execution");
    let last = settled.iter().map(|(_, ms)| *ms).max().unwrap();
    assert!(last <= 1_000, "{last}");
    assert_eq!(queue.len(), 200);
}

#[test]
fn tenants_whose_events_hang_take_a_part_of_the_requests_and_no_more() {
    // Twenty tenants of whose events none is taken, each after the longest time there is.
    let bad = (0..20).flat_map(|t| (0..50).map(move |n| (format!("bad{t}"), 1_000 * t + n)));
    let mut queue = queue(bad.map(|(tenant, n)| event(&tenant, n, n)));
    let receiver = |event: &StatusEvent| match event.tenant.starts_with("bad") {
        true => (15_000, Outcome::Failed),
        false => (10, Outcome::Settled),
    };
    let begun = all(&mut queue, at(0));
    assert_eq!(begun.len(), WEBHOOK_REQUESTS_MAX);
    let most = begun
        .iter()
        .filter(|sending| &*sending.event.tenant == "bad0");
    assert!(most.count() <= WEBHOOK_TENANT_REQUESTS_MAX);
    for sending in &begun {
        queue.done(sending, Outcome::Failed, at(15_000));
    }
    run(&mut queue, 600_000, receiver);
    let tried = all(&mut queue, at(3_600_000));
    assert!(tried.len() <= WEBHOOK_RETRIES_MAX, "{}", tried.len());
    queue.put(event("good", 900_001, 900_001));
    let next = all(&mut queue, at(3_600_000));
    assert_eq!(ids(&next), [900_001], "there is room for who does not fail");
}

#[test]
fn a_receiver_that_is_away_is_asked_seldom_and_gets_all_when_it_comes() {
    let mut queue = queue((1..=500).map(|n| event("a", n, n)));
    let tries = std::cell::Cell::new(0);
    let away = |_: &StatusEvent| {
        tries.set(tries.get() + 1);
        (1, Outcome::Failed)
    };
    run(&mut queue, 3_600_000, away);
    // Two calls of the receiver a try.
    let tries = tries.get() / 2;
    let pauses = 3_600_000 / WEBHOOK_PAUSE_MAX.as_millis();
    let most = u128::from(WEBHOOK_FAILING_AFTER) + pauses + 40;
    assert!(u128::from(tries as u32) <= most, "{tries} tries, {most}");
    let mut later = Vec::new();
    let mut now = at(7_200_000);
    while queue.len() > 0 {
        for sending in all(&mut queue, now) {
            later.push(sending.event.id);
            queue.done(&sending, Outcome::Settled, now);
        }
        now = at(now.steady_ms + 10);
        assert!(now.steady_ms < 7_300_000, "{} are left", queue.len());
    }
    let distinct: BTreeSet<u64> = later.iter().copied().collect();
    assert_eq!((later.len(), distinct.len()), (500, 500));
}

#[test]
fn what_waited_too_long_is_given_up_and_the_rest_goes_on() {
    let mut queue = queue([event("a", 1, 1), event("b", 2, 60_000)]);
    let day = u64::try_from(WEBHOOK_AGE_MAX.as_millis()).unwrap();
    assert_eq!(queue.oldest_ms(), Some(BEGIN_MS + 1));
    let mut expired = Vec::new();
    let next = queue.next(at(day + 30_000), &mut expired).unwrap();
    let ids: Vec<u64> = expired.iter().map(|event| event.id).collect();
    assert_eq!((next.event.id, ids), (60_000, vec![1]));
    assert_eq!(queue.len(), 1);
    queue.done(&next, Outcome::Failed, at(day + 30_000));
    expired.clear();
    assert!(queue.next(at(day + 120_000), &mut expired).is_err());
    assert_eq!((expired.len(), queue.len()), (1, 0));
    assert_eq!(queue.oldest_ms(), None);
}

#[test]
fn events_of_partitions_that_are_lost_are_another_nodes() {
    let mut queue = queue((1..=32).map(|n| event("a", n, n)));
    let sending = queue.next(at(0), &mut Vec::new()).unwrap();
    assert_eq!(sending.event.partition, 1);
    queue.keep(&BTreeSet::from([2, 3]));
    assert_eq!(queue.len(), 4);
    queue.done(&sending, Outcome::Settled, at(0));
    assert_eq!(queue.len(), 4);
    let left = run(&mut queue, 1_000, |_| (1, Outcome::Settled));
    assert_eq!(left.len(), 4);
    assert_eq!(queue.len(), 0);
}
