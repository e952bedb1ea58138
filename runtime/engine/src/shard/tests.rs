//! How executions of one shard share it. Commits and tasks are answered at once, in the order in which the shard asks.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::FutureExt;
use stepwell_interp::{Event, Input, OnCrash, Start, StateKind, TaskOutcome, Timestamp, What};
use stepwell_query::Value;
use tokio::sync::oneshot;

use super::{
    Begin, Environment, In, Info, Mode, Monotonic, Out, Shard, StartReply, Stored, StoredOpen,
    Subject,
};
use crate::{
    journal::{
        Epoch, ExecutionId, Landed, MemoryJournal, NewExecution, Partition, ScopeId, StoredSegment,
        Write,
    },
    limits::TURN_MS_MAX,
    reader::Decoder,
};

const AT: Timestamp = Timestamp(1_769_860_800_000);
const TURNS: usize = 64;

/// Each iteration evaluates what may take as long as an expression may.
const EXPENSIVE: &str = r#"{"QueryLanguage": "JSONata", "StartAt": "All", "States": {"All": {"Type": "Map",
    "Items": "{% [1..200] %}", "End": true, "ItemProcessor": {"StartAt": "One", "States": {"One": {"Type": "Pass",
        "Output": "{% $sum($map([1..3], function($n) { $n * $states.input })) %}", "End": true}}}}}}"#;

/// Needs its turns one after the other, and no time.
const CHEAP: &str = r#"{"StartAt": "A", "States": {
    "A": {"Type": "Task", "Resource": "wasm:t", "Next": "B"}, "B": {"Type": "Task", "Resource": "wasm:t", "Next": "C"},
    "C": {"Type": "Task", "Resource": "wasm:t", "End": true}}}"#;

/// A shard of which each step takes so many milliseconds.
fn shard(step_ms: u64) -> Shard {
    let mut passed = 0;
    let environment = Environment {
        opened_at: AT,
        seed: Box::new(|execution, position| {
            let mut seed = [0; 32];
            seed[..8].copy_from_slice(&execution.0.to_le_bytes());
            seed[8..16].copy_from_slice(&position.to_le_bytes());
            seed
        }),
        new_id: Box::new(|of, _| ExecutionId(of.0 + 1_024)),
        clock: Box::new(move || {
            passed += step_ms;
            Monotonic(passed)
        }),
        fresh_ms: u64::MAX,
        on_crash: Box::new(|_, _| OnCrash::Redispatch),
        knows_activity: Box::new(|_, activity| activity.ends_with("known")),
        recent: Arc::default(),
    };
    let mut shard = Shard::new(environment, Arc::default());
    let held = BTreeMap::from([(Partition(0), Epoch(1))]);
    let asked = Monotonic(0);
    shard.handle(AT, In::Leases { held, asked });
    shard
}

fn info(name: &str) -> Arc<Info> {
    Arc::new(Info {
        tenant: "000000000000".into(),
        execution_arn: name.into(),
        machine_arn: "m".into(),
        trace_header: None,
        parent: None,
        definition: "".into(),
        revision_id: None,
        revised_ms: 0,
    })
}

fn start(shard: &mut Shard, number: u64, definition: &str) -> (ExecutionId, Started) {
    let id = ExecutionId(number << 10);
    let name: Arc<str> = format!("e{number}").into();
    let start = Start {
        execution_arn: name.clone(),
        execution_name: name.clone(),
        machine_arn: "m".into(),
        machine_name: "m".into(),
        role_arn: "r".into(),
        version_arn: None,
        alias_arn: None,
        express: false,
        raised_limits: false,
        processor_of: None,
        input: Value::empty_object(),
    };
    let (reply, started) = oneshot::channel();
    let begin = Begin {
        id,
        info: info(&name),
        program: Arc::new(stepwell_asl::load_stored(definition).unwrap()),
        start: Box::new(start),
        new: NewExecution {
            scope: ScopeId(1),
            version: None,
            alias: None,
            name,
            unique_name: true,
            started_at: AT,
            meta: Arc::from([]),
        },
        mode: Mode::Durable,
        reply: StartReply::Started(reply),
    };
    shard.handle(AT, In::Start(Box::new(begin)));
    (id, started)
}

/// The events of a segment that has no large values.
fn decode(id: ExecutionId, stored: &StoredSegment) -> Vec<Event> {
    let journal = MemoryJournal::new(Arc::new(|| AT));
    let events = Decoder::new(&journal).events(id, stored).now_or_never();
    events.expect("memory answers at once").unwrap()
}

type Started = oneshot::Receiver<Result<(), crate::journal::Refused>>;

/// Lets the shard work once and does what it asks; what was appended, in order.
fn work(shard: &mut Shard) -> Vec<(ExecutionId, Vec<What>)> {
    let mut appended = Vec::new();
    shard.work(AT, TURNS);
    for out in shard.take_out() {
        match out {
            Out::Commit { ticket, write } => {
                if let Write::Append(append) = write {
                    let stored = StoredSegment {
                        first: append.expected_next,
                        segment: append.segment,
                    };
                    let events = decode(append.execution, &stored);
                    let events = events.into_iter().map(|event| event.what).collect();
                    appended.push((append.execution, events));
                }
                let verdict = Ok(Landed::default());
                shard.handle(AT, In::Committed { ticket, verdict });
            }
            Out::Run {
                execution, request, ..
            } => {
                let (task, output) = (request.task, Value::empty_object());
                let outcome = TaskOutcome::Succeeded { output };
                let input = Input::TaskEnded { task, outcome };
                shard.handle(AT, In::Input { execution, input });
            }
            Out::Load(_)
            | Out::Cancel { .. }
            | Out::ActivityOpened { .. }
            | Out::WakeAt(_)
            | Out::MapRun { .. }
            | Out::MapRunOver(_)
            | Out::Announce(_) => {
                panic!("nothing of the kind is needed here")
            }
        }
    }
    appended
}

/// Evaluations among these events that may have taken long.
fn evaluations(events: &[What]) -> usize {
    let evaluated =
        |event: &&What| matches!(event, What::StateExited { kind, .. } if *kind == StateKind::Pass);
    events.iter().filter(evaluated).count()
}

fn is_over(events: &[What]) -> bool {
    matches!(events.last(), Some(What::ExecutionSucceeded { .. }))
}

#[test]
fn an_expensive_map_leaves_others_their_turns() {
    let mut shard = shard(TURN_MS_MAX);
    let (expensive, mut started) = start(&mut shard, 1, EXPENSIVE);
    let mut evaluated = 0;
    while started.try_recv().is_err() {
        for (_, events) in work(&mut shard) {
            evaluated += evaluations(&events);
        }
        assert_eq!(evaluated, 0, "the caller waits for what may take long");
    }
    // It is in the middle of its work when the other one begins.
    while evaluated < 10 {
        for (_, events) in work(&mut shard) {
            evaluated += evaluations(&events);
        }
    }
    let (cheap, _started) = start(&mut shard, 2, CHEAP);
    let (mut since, mut turns) = (0, 0);
    loop {
        for (execution, events) in work(&mut shard) {
            assert!(
                execution == cheap || !is_over(&events),
                "the expensive one came first"
            );
            if execution == expensive {
                since += evaluations(&events);
                continue;
            }
            assert!(since <= 1, "{since} evaluations before turn {turns}");
            (since, turns) = (0, turns + 1);
            if is_over(&events) {
                return;
            }
        }
    }
}

#[test]
fn evaluations_that_turn_out_short_share_an_append() {
    let mut shard = shard(0);
    let (_, _started) = start(&mut shard, 1, EXPENSIVE);
    let mut appends = 0;
    loop {
        let appended = work(&mut shard);
        appends += appended.len();
        if appended.iter().any(|(_, events)| is_over(events)) {
            break;
        }
    }
    // The start's own, and one for each thousand of its 1,000 events.
    assert!(appends <= 4, "{appends} appends");
}

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
        assert!(matches!(next.take_out().as_slice(), [Out::Load(_)]));
        let stored = StoredSegment {
            first: append.expected_next,
            segment: append.segment.clone(),
        };
        let mut subject = Subject::default();
        for event in &decode(id, &stored) {
            subject.evolve(event);
        }
        let open = StoredOpen {
            info: info("e1"),
            program: Arc::new(stepwell_asl::load_stored(&definition).unwrap()),
            subject,
            messages: Vec::new(),
        };
        let result = Ok(Stored::Open(Box::new(open)));
        next.handle(
            AT,
            In::Loaded {
                execution: id,
                result,
            },
        );
        let looked_up = next
            .take_out()
            .iter()
            .any(|out| matches!(out, Out::ActivityOpened { .. }));
        assert_eq!(looked_up, !known);
    }
}
