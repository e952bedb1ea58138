//! Who is told of what is durable: what logs hear, and what is posted to outboxes.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use stepwell_interp::event_type;

use super::rig::{AT, CHEAP, ONE, TURNS, observed, start, start_as, told};
use crate::{
    journal::{Landed, Refused, Status, Write},
    observer::{Observed, Observer},
    outbox::{Outbox, StatusEvent},
    record::{self, InboxItem},
    shard::{In, Mode, Out},
};

/// What was logged, by the names of the events' types.
#[derive(Debug, Default)]
struct Log(Mutex<Vec<&'static str>>);

impl Log {
    fn all(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().clone()
    }
}

impl Observer for Log {
    fn observe(&self, logged: &Arc<Observed>) {
        let names = logged.entries.iter();
        let names = names.filter_map(|entry| event_type(&entry.event.what));
        self.0.lock().unwrap().extend(names);
    }
}

#[test]
fn an_express_execution_is_logged_once_its_start_is_durable() {
    for refused in [true, false] {
        let log = Arc::new(Log::default());
        let mut shard = observed(0, Some(log.clone()));
        let (_, mut started) = start_as(&mut shard, 1, CHEAP, Mode::ExpressAsync);
        shard.work(AT, TURNS);
        let outs = shard.take_out();
        let [Out::Commit { ticket, .. }] = outs.as_slice() else {
            panic!("the start is appended");
        };
        assert_eq!(log.all(), [""; 0], "it is not durable");
        let verdict = match refused {
            true => Err(Refused::Full("no space".to_owned())),
            false => Ok(Landed::default()),
        };
        let ticket = *ticket;
        shard.handle(AT, In::Committed { ticket, verdict });
        assert_eq!(started.try_recv().unwrap().is_err(), refused);
        let first = log.all().first().copied();
        assert_eq!(first, (!refused).then_some("ExecutionStarted"));
    }
}

/// Two who want to hear of the end, one of the beginning.
#[derive(Debug)]
struct Wanting;

impl Outbox for Wanting {
    fn queues(&self, tenant: &str, status: Status) -> Vec<Arc<str>> {
        assert_eq!(tenant, "000000000000");
        match status {
            Status::Running => vec!["one".into()],
            Status::Succeeded | Status::Failed | Status::TimedOut | Status::Aborted => {
                vec!["one".into(), "two".into()]
            }
        }
    }

    fn put(&self, _: StatusEvent) {}
    fn keep(&self, _: &BTreeSet<u16>) {}
    fn hold(&self, _: u64) {}
    fn release(&self, _: u64) {}
}

/// What the first append of an execution sends to outboxes: the queue, the event and the status.
fn posted(outbox: Option<Arc<dyn Outbox>>, mode: Mode) -> Vec<(String, u64, u8)> {
    let mut shard = told(0, None, outbox);
    let (execution, _) = start_as(&mut shard, 1, ONE, mode);
    shard.work(AT, TURNS);
    let mut posted = Vec::new();
    for out in shard.take_out() {
        let Out::Commit {
            write: Write::Append(append),
            ..
        } = out
        else {
            continue;
        };
        for message in append.send {
            assert_eq!(message.to, execution.outbox());
            assert!(message.to.is_outbox() && !message.to.is_line());
            assert_eq!(message.to.partition(), execution.partition());
            let item = record::decode(&message.payload).expect("a message");
            let InboxItem::Status(item) = item else {
                panic!("it tells of no status: {item:?}");
            };
            assert_eq!(item.execution, execution.0);
            posted.push((item.queue.to_string(), item.event, item.status));
        }
    }
    posted
}

#[test]
fn changes_of_status_are_posted_in_the_append_that_makes_them_and_only_for_who_wants_them() {
    let wanting = || Some(Arc::new(Wanting) as Arc<dyn Outbox>);
    let of_all = posted(wanting(), Mode::Durable);
    let expected = [("one", 1, 0), ("one", 4, 1), ("two", 4, 1)];
    let expected = expected.map(|(queue, event, status)| (queue.to_owned(), event, status));
    assert_eq!(of_all, expected);
    assert_eq!(posted(None, Mode::Durable), []);
    assert_eq!(posted(wanting(), Mode::ExpressAsync), []);
}

#[test]
fn after_an_append_of_unknown_fate_the_outbox_is_looked_up() {
    for (refused, doubted) in [
        (Refused::Broken("the store is gone".to_owned()), true),
        (Refused::Full("no space".to_owned()), false),
    ] {
        let mut shard = told(0, None, Some(Arc::new(Wanting)));
        let (execution, _) = start(&mut shard, 1, ONE);
        shard.work(AT, TURNS);
        let outs = shard.take_out();
        let [Out::Commit { ticket, .. }] = outs.as_slice() else {
            panic!("its only append");
        };
        let (ticket, verdict) = (*ticket, Err(refused));
        shard.handle(AT, In::Committed { ticket, verdict });
        let outs = shard.take_out();
        let mut doubts = outs.iter();
        let found = doubts.any(|out| matches!(out, Out::Doubt(other) if *other == execution));
        assert_eq!(found, doubted);
    }
}
