//! Tasks of activities: after a crash, and what workers are told.

use stepwell_interp::TaskId;
use tokio::sync::oneshot;

use super::rig::{AT, TURNS, decode, shard, start, take_up, work};
use crate::{
    journal::{Landed, Refused, StoredSegment, Write},
    shard::{In, Out, Shard},
};

/// Asks for a worker of an activity.
fn waits_for(activity: &str) -> String {
    let resource = format!("arn:aws:states:us-east-1:000000000000:activity:{activity}");
    format!(
        r#"{{"StartAt": "A", "States": {{"A": {{"Type": "Task", "Resource": "{resource}", "End": true}}}}}}"#
    )
}

#[test]
fn an_activity_that_was_not_looked_up_is_after_a_crash() {
    for (activity, known) in [("known", true), ("strange", false)] {
        let definition = waits_for(activity);
        let mut shard = shard(0);
        let (id, _started) = start(&mut shard, 1, &definition);
        shard.work(AT, TURNS);
        let outs = shard.take_out();
        let [
            Out::Commit {
                write: Write::Append(append),
                ..
            },
        ] = outs.as_slice()
        else {
            panic!("one append");
        };
        assert_eq!(append.view.hot, !known, "loaded at the next start");
        // Nobody learns of the commit: the process is gone.
        let mut next = self::shard(0);
        next.handle(AT, In::Wake(id));
        assert!(matches!(next.take_out().as_slice(), [Out::Load { .. }]));
        let stored = StoredSegment {
            first: append.expected_next,
            segment: append.segment.clone(),
        };
        take_up(&mut next, id, &definition, &decode(id, &stored), Vec::new());
        let looked_up = next
            .take_out()
            .iter()
            .any(|out| matches!(out, Out::ActivityOpened { .. }));
        assert_eq!(looked_up, !known);
    }
}

#[test]
fn a_worker_is_told_that_a_task_is_gone_only_when_it_is() {
    // With a deadline so near it stays in memory.
    let near = r#""TimeoutSeconds": 1, "End""#;
    let definition = waits_for("known").replace(r#""End""#, near);
    for refused in [true, false] {
        let mut shard = shard(0);
        let (execution, _started) = start(&mut shard, 1, &definition);
        work(&mut shard);
        // What its start let go.
        work(&mut shard);
        let (entry, attempt) = (2, 1);
        let task = TaskId { entry, attempt };
        let take = |shard: &mut Shard| {
            let (reply, granted) = oneshot::channel();
            let worker = None;
            shard.handle(
                AT,
                In::Take {
                    execution,
                    task,
                    worker,
                    reply,
                },
            );
            shard.work(AT, TURNS);
            granted
        };
        let mut granted = take(&mut shard);
        let outs = shard.take_out();
        let [Out::Commit { ticket, .. }] = outs.as_slice() else {
            panic!("that it began is appended");
        };
        let verdict = match refused {
            true => Err(Refused::Full("no space".to_owned())),
            false => Ok(Landed::default()),
        };
        let ticket = *ticket;
        shard.handle(AT, In::Committed { ticket, verdict });
        if refused {
            let nothing = granted.try_recv().err();
            assert_eq!(nothing, Some(oneshot::error::TryRecvError::Closed));
        } else {
            assert!(matches!(granted.try_recv(), Ok(Some(_))));
            let gone = take(&mut shard).try_recv();
            assert!(matches!(gone, Ok(None)), "it has begun");
        }
    }
}
