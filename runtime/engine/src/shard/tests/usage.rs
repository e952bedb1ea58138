//! What attempts used: charged in the append of their outcome, or soon after.

use std::{collections::BTreeMap, sync::Arc};

use stepwell_interp::{Event, Input, Measure, Measures, TaskId, TaskOutcome, Timestamp, What};
use stepwell_query::Value;

use super::rig::{AT, CHEAP, ONE, TURNS, decode, info, shard, start, start_as, take_up};
use crate::{
    attempt::amounts,
    journal::{
        Amounts, Append, Charges, ExecutionId, Landed, Meter, Refused, StoredSegment, Write,
    },
    limits::{OWED_MS_MAX, RELOAD_AFTER_MS},
    shard::{CrashRules, In, LoadError, Mode, Monotonic, Out, Shard, Spending, Stored, Ticket},
};

/// An attempt ends, for which the plugin `t` used something.
fn ends(execution: ExecutionId, task: TaskId, used: Option<Arc<Measures>>) -> In {
    let output = Value::empty_object();
    let spending = |measures| {
        Box::new(Spending {
            info: info("e1"),
            plugin: "t".into(),
            measures,
        })
    };
    In::Ended {
        execution,
        task,
        spent: used.map(spending),
        input: Input::TaskEnded {
            task,
            outcome: TaskOutcome::Succeeded { output },
        },
    }
}

#[test]
fn what_an_attempt_used_is_recorded_and_charged_in_the_append_of_its_outcome() {
    let mut shard = shard(0);
    let (execution, _started) = start(&mut shard, 1, CHEAP);
    let measures = Arc::new(Measures::of(&[(Measure::Cpu, 7), (Measure::Files, 2)]));
    let (mut attempts, mut appends) = (0, 0);
    loop {
        shard.work(AT, TURNS);
        let outs = shard.take_out();
        if outs.is_empty() {
            break;
        }
        for out in outs {
            match out {
                Out::Commit {
                    ticket,
                    write: Write::Append(append),
                } => {
                    appends += 1;
                    let stored = StoredSegment {
                        first: append.expected_next,
                        segment: append.segment,
                    };
                    let events = decode(execution, &stored);
                    let at = |wanted: fn(&What) -> bool| {
                        events.iter().position(|event| wanted(&event.what))
                    };
                    let used = at(|what| matches!(what, What::Used { .. }));
                    let outcome = at(|what| matches!(what, What::Succeeded { .. }));
                    assert_eq!(used.map(|used| used + 2), outcome, "{events:?}");
                    let charged = append.charges.iter();
                    let charged = charged.filter(|(key, _)| &*key.plugin == "t");
                    let charged: Vec<_> = charged.map(|(_, used)| *used).collect();
                    let wanted = used.map(|_| amounts(&measures));
                    assert_eq!(charged, Vec::from_iter(wanted));
                    let verdict = Ok(Landed::default());
                    shard.handle(AT, In::Committed { ticket, verdict });
                }
                Out::Run { request, .. } => {
                    attempts += 1;
                    let used = Some(measures.clone());
                    shard.handle(AT, ends(execution, request.task, used));
                }
                _ => panic!("nothing else is needed here"),
            }
        }
    }
    // One for the start, and one for each attempt.
    assert_eq!((attempts, appends), (3, 4));
}

/// What an attempt of a plugin used.
fn used(shard: &mut Shard, execution: ExecutionId) -> Amounts {
    let measures = Arc::new(Measures::of(&[(Measure::Cpu, 7)]));
    let usage = amounts(&measures);
    let task = TaskId {
        entry: 2,
        attempt: 1,
    };
    shard.handle(AT, ends(execution, task, Some(measures)));
    usage
}

/// The next commit, which has usage alone; none when nothing is committed.
fn charged(shard: &mut Shard, at: Timestamp) -> Option<(Ticket, Vec<Amounts>)> {
    shard.work(at, TURNS);
    let outs = shard.take_out();
    let [Out::Commit { ticket, write }] = outs.as_slice() else {
        assert!(outs.is_empty(), "nothing else is committed");
        return None;
    };
    let Write::Charge(charges) = write else {
        panic!("usage is committed");
    };
    let plugins = charges.iter().filter(|(key, _)| &*key.plugin == "t");
    Some((*ticket, plugins.map(|(_, usage)| *usage).collect()))
}

#[test]
fn what_is_used_while_an_execution_is_loaded_is_charged_however_that_ends() {
    const WAITS: &str =
        r#"{"StartAt": "A", "States": {"A": {"Type": "Wait", "Seconds": 3600, "End": true}}}"#;
    let mut first = shard(0);
    let (execution, _started) = start(&mut first, 1, WAITS);
    first.work(AT, TURNS);
    let outs = first.take_out();
    let [
        Out::Commit {
            write: Write::Append(append),
            ..
        },
    ] = outs.as_slice()
    else {
        panic!("one append");
    };
    let stored = StoredSegment {
        first: append.expected_next,
        segment: append.segment.clone(),
    };
    let events = decode(execution, &stored);
    let closed = Ok(Stored::Closed {
        messages: Vec::new(),
        exists: true,
    });
    let damaged = Err(LoadError::Damaged("a byte".to_owned()));
    // The attempt is none of those that are open where it is there.
    for result in [Some(closed), Some(damaged), None] {
        let mut shard = shard(0);
        shard.handle(AT, In::Wake(execution));
        assert!(matches!(shard.take_out().as_slice(), [Out::Load { .. }]));
        let usage = used(&mut shard, execution);
        assert!(!shard.has_flights(), "what becomes of it is not known");
        match result {
            Some(result) => shard.handle(
                AT,
                In::Loaded {
                    execution,
                    result,
                    on_crash: CrashRules::new(),
                },
            ),
            None => take_up(&mut shard, execution, WAITS, &events, Vec::new()),
        }
        shard.work(AT, TURNS);
        assert!(shard.take_out().is_empty());
        let (_, charges) = charged(&mut shard, AT.plus_ms(OWED_MS_MAX)).expect("it is owed");
        assert_eq!(charges, [usage]);
    }
}

#[test]
fn what_is_used_beside_the_last_append_is_charged_and_a_refused_charge_again() {
    let mut shard = shard(0);
    let (execution, mut started) = start(&mut shard, 1, ONE);
    shard.work(AT, TURNS);
    let outs = shard.take_out();
    let [Out::Commit { ticket, .. }] = outs.as_slice() else {
        panic!("its only append");
    };
    let (ticket, verdict) = (*ticket, Ok(Landed::default()));
    let usage = used(&mut shard, execution);
    shard.handle(AT, In::Committed { ticket, verdict });
    assert!(started.try_recv().unwrap().is_ok());
    let later = |times: u64| AT.plus_ms(times * OWED_MS_MAX);
    let (ticket, charges) = charged(&mut shard, later(1)).expect("it is owed");
    assert_eq!(charges, [usage]);
    assert!(shard.has_flights(), "a shutdown waits for it");
    let at = later(1);
    let verdict = Err(Refused::Full("no space".to_owned()));
    shard.handle(at, In::Committed { ticket, verdict });
    assert!(charged(&mut shard, at).is_none(), "the store is full");
    assert!(shard.has_flights());
    let (ticket, charges) = charged(&mut shard, later(2)).expect("it is owed still");
    assert_eq!(charges, [usage]);
    let verdict = Ok(Landed::default());
    shard.handle(later(2), In::Committed { ticket, verdict });
    assert!(!shard.has_flights());
    assert!(charged(&mut shard, later(9)).is_none());
}

/// The only append among what the shard asks for.
fn only_append(shard: &mut Shard) -> (Ticket, Append) {
    shard.work(AT, TURNS);
    let mut appends = shard.take_out().into_iter().filter_map(|out| match out {
        Out::Commit {
            ticket,
            write: Write::Append(append),
        } => Some((ticket, append)),
        _ => None,
    });
    let found = appends.next().expect("an append");
    assert!(appends.next().is_none(), "one append");
    found
}

/// What an append charges for the plugin.
fn of_plugin(charges: &Charges) -> Vec<Amounts> {
    let plugins = charges.iter().filter(|(key, _)| &*key.plugin == "t");
    plugins.map(|(_, usage)| *usage).collect()
}

/// The attempts that the shard asks for once an append has landed.
fn landed(shard: &mut Shard, ticket: Ticket) -> Vec<TaskId> {
    let verdict = Ok(Landed::default());
    shard.handle(AT, In::Committed { ticket, verdict });
    let runs = shard.take_out().into_iter().filter_map(|out| match out {
        Out::Run { request, .. } => Some(request.task),
        _ => None,
    });
    runs.collect()
}

/// An execution of which the first attempt has ended: the events before, the append that records what it used, and how much.
fn ended(shard: &mut Shard) -> (ExecutionId, Vec<Event>, Ticket, Amounts) {
    let (execution, _started) = start(shard, 1, CHEAP);
    let (ticket, append) = only_append(shard);
    let stored = StoredSegment {
        first: append.expected_next,
        segment: append.segment,
    };
    let events = decode(execution, &stored);
    let [task] = landed(shard, ticket)[..] else {
        panic!("one attempt");
    };
    let measures = Arc::new(Measures::of(&[(Measure::Cpu, 7)]));
    let usage = amounts(&measures);
    shard.handle(AT, ends(execution, task, Some(measures)));
    let (ticket, append) = only_append(shard);
    assert_eq!(of_plugin(&append.charges), [usage]);
    (execution, events, ticket, usage)
}

fn refusals() -> [(Refused, bool); 4] {
    [
        (Refused::Full("no space".to_owned()), true),
        (Refused::WrongPosition { next: 1 }, true),
        (Refused::LeaseLost, true),
        // It may have landed.
        (Refused::Broken("the disk is gone".to_owned()), false),
    ]
}

fn refuse(shard: &mut Shard, ticket: Ticket, refused: Refused) {
    let verdict = Err(refused);
    shard.handle(AT, In::Committed { ticket, verdict });
}

/// Has the execution read after a refusal.
fn read(shard: &mut Shard, at: Timestamp) {
    shard.work(at, TURNS);
    assert!(matches!(shard.take_out().as_slice(), [Out::Load { .. }]));
}

#[test]
fn what_a_refused_append_would_have_charged_is_charged_when_its_attempt_is_not_open_any_more() {
    for (refused, is_owed) in refusals() {
        let mut shard = shard(0);
        let (execution, _, ticket, usage) = ended(&mut shard);
        refuse(&mut shard, ticket, refused.clone());
        let later = AT.plus_ms(RELOAD_AFTER_MS);
        read(&mut shard, later);
        // Another one has ended it meanwhile.
        let result = Ok(Stored::Closed {
            messages: Vec::new(),
            exists: true,
        });
        let on_crash = CrashRules::new();
        let loaded = In::Loaded {
            execution,
            result,
            on_crash,
        };
        shard.handle(later, loaded);
        assert!(shard.take_out().is_empty());
        let charges = charged(&mut shard, later.plus_ms(OWED_MS_MAX));
        let charges = charges.map_or_else(Vec::new, |(_, charges)| charges);
        assert_eq!(
            charges,
            Vec::from_iter(is_owed.then_some(usage)),
            "{refused}"
        );
    }
}

#[test]
fn what_a_refused_append_would_have_charged_is_charged_once_by_the_next_one() {
    for (refused, _) in refusals() {
        let mut shard = shard(0);
        let (execution, events, ticket, usage) = ended(&mut shard);
        refuse(&mut shard, ticket, refused.clone());
        read(&mut shard, AT.plus_ms(RELOAD_AFTER_MS));
        take_up(&mut shard, execution, CHEAP, &events, Vec::new());
        let (ticket, append) = only_append(&mut shard);
        assert_eq!(of_plugin(&append.charges), [usage], "{refused}");
        assert_eq!(landed(&mut shard, ticket).len(), 1, "the next attempt");
        assert!(charged(&mut shard, AT.plus_ms(9 * OWED_MS_MAX)).is_none());
    }
}

#[test]
fn what_an_append_under_way_charges_outlives_the_loss_of_the_execution() {
    let lost = || In::Leases {
        held: BTreeMap::new(),
        asked: Monotonic(0),
    };
    for (refused, is_owed) in refusals() {
        let mut shard = shard(0);
        let (_, _, ticket, usage) = ended(&mut shard);
        shard.handle(AT, lost());
        assert!(shard.take_out().is_empty());
        refuse(&mut shard, ticket, refused.clone());
        let charges = charged(&mut shard, AT.plus_ms(OWED_MS_MAX));
        let charges = charges.map_or_else(Vec::new, |(_, charges)| charges);
        assert_eq!(
            charges,
            Vec::from_iter(is_owed.then_some(usage)),
            "{refused}"
        );
    }
    // What lands is charged by it.
    let mut shard = shard(0);
    let (_, _, ticket, _) = ended(&mut shard);
    shard.handle(AT, lost());
    assert!(landed(&mut shard, ticket).is_empty());
    assert!(charged(&mut shard, AT.plus_ms(OWED_MS_MAX)).is_none());
}

#[test]
fn what_an_express_execution_used_is_charged_though_its_end_is_refused() {
    let mut shard = shard(0);
    let (execution, _started) = start_as(&mut shard, 1, CHEAP, Mode::ExpressAsync);
    let (ticket, _) = only_append(&mut shard);
    let mut attempts = landed(&mut shard, ticket);
    let measures = Arc::new(Measures::of(&[(Measure::Cpu, 7)]));
    let mut sum = Amounts::default();
    let ending = loop {
        shard.work(AT, TURNS);
        let mut end = None;
        for out in shard.take_out() {
            match out {
                Out::Commit { ticket, .. } => end = Some(ticket),
                Out::Run { request, .. } => attempts.push(request.task),
                _ => panic!("nothing else is needed here"),
            }
        }
        if let Some(ticket) = end {
            break ticket;
        }
        assert!(!attempts.is_empty(), "it goes on");
        for task in attempts.drain(..) {
            sum += amounts(&measures);
            shard.handle(AT, ends(execution, task, Some(measures.clone())));
        }
    };
    assert_eq!(sum.get(Meter::CpuMicros), 21, "three attempts");
    refuse(&mut shard, ending, Refused::WrongPosition { next: 1 });
    read(&mut shard, AT);
    let result = Ok(Stored::Closed {
        messages: Vec::new(),
        exists: true,
    });
    let on_crash = CrashRules::new();
    let loaded = In::Loaded {
        execution,
        result,
        on_crash,
    };
    shard.handle(AT, loaded);
    let (_, charges) = charged(&mut shard, AT.plus_ms(OWED_MS_MAX)).expect("it is owed");
    assert_eq!(charges, [sum]);
}
