//! How executions of one shard share it. Commits and tasks are answered at once, in the order in which the shard asks.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use futures_util::FutureExt;
use stepwell_interp::{
    Event, Input, Measure, Measures, Start, StateKind, TaskId, TaskOutcome, Timestamp, What,
    event_type,
};
use stepwell_query::Value;
use tokio::sync::oneshot;

use super::{
    Begin, CrashRules, Environment, In, Info, LoadError, Mode, Monotonic, Out, Shard, Spending,
    StartReply, Stored, StoredOpen, Subject, Ticket,
};
use crate::{
    attempt::amounts,
    journal::{
        Amounts, Epoch, ExecutionId, Landed, MemoryJournal, Message, MessageId, NewExecution,
        Partition, Refused, ScopeId, Status, StoredSegment, Write,
    },
    limits::{OWED_MS_MAX, TURN_MS_MAX},
    logging::{LogLevel, Logging},
    observer::{Observed, Observer},
    outbox::{Outbox, StatusEvent},
    reader::Decoder,
    record::{self, InboxItem},
};

const AT: Timestamp = Timestamp(1_769_860_800_000);
const TURNS: usize = 64;

/// Each iteration evaluates what may take as long as an expression may.
const EXPENSIVE: &str = r#"{"QueryLanguage": "JSONata", "StartAt": "All", "States": {"All": {"Type": "Map",
    "Items": "{% [1..200] %}", "End": true, "ItemProcessor": {"StartAt": "One", "States": {"One": {"Type": "Pass",
        "Output": "{% $sum($map([1..3], function($n) { $n * $states.input })) %}", "End": true}}}}}}"#;

/// Goes round for ever, and each time round may take as long as an expression may.
const LOOP: &str = r#"{"QueryLanguage": "JSONata", "TimeoutSeconds": 60, "StartAt": "A", "States": {"A": {
    "Type": "Pass", "Output": "{% $sum($map([1..3], function($n) { $n * 2 })) %}", "Next": "A"}}}"#;

/// The same beside a task that has less time than the execution and is never done.
const LOOP_BESIDE_A_TASK: &str = r#"{"StartAt": "Both", "States": {"Both": {"Type": "Parallel", "End": true, "Branches": [
    {"StartAt": "A", "States": {"A": {"Type": "Pass", "QueryLanguage": "JSONata",
        "Output": "{% $sum($map([1..3], function($n) { $n * 2 })) %}", "Next": "A"}}},
    {"StartAt": "T", "States": {"T": {"Type": "Task", "TimeoutSeconds": 30, "End": true,
        "Resource": "arn:aws:states:us-east-1:000000000000:activity:known"}}}]}}}"#;

/// Needs its turns one after the other, and no time.
const CHEAP: &str = r#"{"StartAt": "A", "States": {
    "A": {"Type": "Task", "Resource": "wasm:t", "Next": "B"}, "B": {"Type": "Task", "Resource": "wasm:t", "Next": "C"},
    "C": {"Type": "Task", "Resource": "wasm:t", "End": true}}}"#;

/// A shard of which each step takes so many milliseconds.
fn shard(step_ms: u64) -> Shard {
    observed(step_ms, None)
}

/// The same, which tells somebody of what is logged.
fn observed(step_ms: u64, observer: Option<Arc<dyn Observer>>) -> Shard {
    told(step_ms, observer, None)
}

/// The same, which must tell somebody of changes of status.
fn told(
    step_ms: u64,
    observer: Option<Arc<dyn Observer>>,
    outbox: Option<Arc<dyn Outbox>>,
) -> Shard {
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
        knows_activity: Box::new(|_, activity| activity.ends_with("known")),
        recent: Arc::default(),
        feed: Arc::default(),
        observer,
        outbox,
        allowances: Arc::default(),
        lines: Arc::default(),
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
        logging: Some(Logging {
            level: LogLevel::All,
            with_data: false,
            group: "g".into(),
        }),
        line: None,
        traced: false,
    })
}

fn start(shard: &mut Shard, number: u64, definition: &str) -> (ExecutionId, Started) {
    start_as(shard, number, definition, Mode::Durable)
}

fn start_as(
    shard: &mut Shard,
    number: u64,
    definition: &str,
    mode: Mode,
) -> (ExecutionId, Started) {
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
        express: mode != Mode::Durable,
        raised_limits: false,
        processor_of: None,
        forked_from: None,
        input: Value::empty_object(),
    };
    let (reply, started) = oneshot::channel();
    let begin = Begin {
        id,
        info: info(&name),
        program: Arc::new(stepwell_asl::load_stored(definition).unwrap()),
        first: Input::Started(Box::new(start)),
        new: NewExecution {
            scope: ScopeId(1),
            version: None,
            alias: None,
            name,
            unique_name: mode == Mode::Durable,
            started_at: AT,
            meta: Arc::from([]),
        },
        mode,
        reply: StartReply::Started(reply, None),
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
    work_at(shard, AT)
        .into_iter()
        .map(|(id, events)| (id, events.into_iter().map(|event| event.what).collect()))
        .collect()
}

/// The same at that time, with all that an event has.
fn work_at(shard: &mut Shard, at: Timestamp) -> Vec<(ExecutionId, Vec<Event>)> {
    let mut appended = Vec::new();
    shard.work(at, TURNS);
    for out in shard.take_out() {
        match out {
            Out::Commit { ticket, write } => {
                if let Write::Append(append) = write {
                    let stored = StoredSegment {
                        first: append.expected_next,
                        segment: append.segment,
                    };
                    appended.push((append.execution, decode(append.execution, &stored)));
                }
                let verdict = Ok(Landed::default());
                shard.handle(at, In::Committed { ticket, verdict });
            }
            Out::Run {
                execution, request, ..
            } => {
                let (task, output) = (request.task, Value::empty_object());
                let outcome = TaskOutcome::Succeeded { output };
                let input = Input::TaskEnded { task, outcome };
                shard.handle(at, In::Input { execution, input });
            }
            // Nobody works for it.
            Out::ActivityOpened { .. } => {}
            Out::Load { .. }
            | Out::LoadLine { .. }
            | Out::Begin { .. }
            | Out::Cancel { .. }
            | Out::WakeAt(_)
            | Out::MapRun { .. }
            | Out::MapRunOver(_)
            | Out::Announce(_)
            | Out::Doubt(_) => {
                panic!("nothing of the kind is needed here")
            }
        }
    }
    appended
}

/// Gives an execution to a shard that has asked for it: what is stored of it, and its inbox.
fn take_up(
    shard: &mut Shard,
    id: ExecutionId,
    definition: &str,
    events: &[Event],
    messages: Vec<Message>,
) {
    let mut subject = Subject::default();
    for event in events {
        subject.evolve(event);
    }
    let open = StoredOpen {
        info: info("e1"),
        program: Arc::new(stepwell_asl::load_stored(definition).unwrap()),
        subject,
        messages,
    };
    let result = Ok(Stored::Open(Box::new(open)));
    let execution = id;
    let on_crash = CrashRules::new();
    shard.handle(
        AT,
        In::Loaded {
            execution,
            result,
            on_crash,
        },
    );
}

/// Somebody asks for an end of the execution.
fn stop(to: ExecutionId) -> Message {
    let (error, cause) = (Some("Enough".into()), None);
    Message {
        id: MessageId(1),
        to,
        payload: record::encode(&InboxItem::Stop { error, cause }),
    }
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

/// An execution in the middle of work that has no end, and all its events so far.
fn in_the_middle(definition: &str) -> (Shard, ExecutionId, Vec<Event>) {
    let mut shard = shard(TURN_MS_MAX);
    let (id, _started) = start(&mut shard, 1, definition);
    let mut events = Vec::new();
    while events.len() < 100 {
        events.extend(
            work_at(&mut shard, AT)
                .into_iter()
                .flat_map(|(_, events)| events),
        );
    }
    (shard, id, events)
}

/// A state of thousands of costly paths, over rows of which it reads each one every time.
fn costly_paths(fields: usize) -> String {
    let fields: Vec<String> = (0..fields)
        .map(|field| format!(r#""f{field}.$": "States.ArrayLength($..[?(@[0]==@[1])])""#))
        .collect();
    let rows: Vec<String> = (0..500).map(|row| format!("[{row}, {row}]")).collect();
    let (fields, rows) = (fields.join(","), rows.join(","));
    format!(
        r#"{{"TimeoutSeconds": 60, "StartAt": "Rows", "States": {{
            "Rows": {{"Type": "Pass", "Result": [{rows}], "Next": "All"}},
            "All": {{"Type": "Pass", "Parameters": {{{fields}}}, "End": true}}}}}}"#
    )
}

/// What the next append holds.
fn next_append(shard: &mut Shard, at: Timestamp) -> Vec<Event> {
    for _ in 0..4 {
        if let Some((_, events)) = work_at(shard, at).pop() {
            return events;
        }
    }
    panic!("nothing is appended");
}

#[test]
fn a_stop_is_taken_between_two_steps_of_endless_work() {
    let (mut shard, id, _) = in_the_middle(LOOP);
    shard.handle(AT, In::Message(stop(id)));
    let events = next_append(&mut shard, AT);
    let [stopped] = events.as_slice() else {
        panic!("it went on: {events:?}");
    };
    assert!(matches!(stopped.what, What::ExecutionAborted { .. }));
    assert!(!shard.is_busy(), "there is nothing left to do");
}

#[test]
fn others_have_their_turns_within_one_state_of_costly_paths() {
    let definition = costly_paths(3_000);
    let mut shard = shard(TURN_MS_MAX);
    let (costly, _started) = start(&mut shard, 1, &definition);
    for _ in 0..10 {
        work(&mut shard);
    }
    let (cheap, _started) = start(&mut shard, 2, CHEAP);
    loop {
        for (execution, events) in work(&mut shard) {
            assert_ne!(execution, costly, "it cannot be done by now");
            if execution == cheap && is_over(&events) {
                return;
            }
        }
    }
}

#[test]
fn a_state_of_costly_paths_can_be_stopped_and_times_out() {
    let definition = costly_paths(3_000);
    for (stopped, at) in [(true, AT), (false, AT.plus_ms(60_000))] {
        let mut shard = self::shard(TURN_MS_MAX);
        let (id, _started) = start(&mut shard, 1, &definition);
        for _ in 0..10 {
            work(&mut shard);
        }
        if stopped {
            shard.handle(AT, In::Message(stop(id)));
        }
        let events = next_append(&mut shard, at);
        let aborted = matches!(events[0].what, What::ExecutionAborted { .. });
        let timed_out = matches!(events[0].what, What::ExecutionTimedOut { .. });
        assert_eq!((aborted, timed_out), (stopped, !stopped), "{events:?}");
    }
}

#[test]
fn what_a_timer_sets_going_is_done_in_pieces() {
    let expression = r#""{% $sum($map([1..3], function($n) { $n })) %}""#;
    let output = vec![expression; 20].join(",");
    let definition = format!(
        r#"{{"QueryLanguage": "JSONata", "StartAt": "W", "States": {{
            "W": {{"Type": "Wait", "Seconds": 1, "Output": [{output}], "End": true}}}}}}"#
    );
    let mut shard = shard(TURN_MS_MAX);
    let (_, _started) = start(&mut shard, 1, &definition);
    let planned = |(_, events): &(ExecutionId, Vec<What>)| {
        matches!(events.last(), Some(What::WaitPlanned { .. }))
    };
    while !work(&mut shard).iter().any(planned) {}
    let mut pieces = 0;
    loop {
        pieces += 1;
        let appended = work_at(&mut shard, AT.plus_ms(1_000));
        let mut events = appended.into_iter().flat_map(|(_, events)| events);
        let ended = events.find_map(|event| match event.what {
            What::ExecutionSucceeded { output } => Some(output),
            _ => None,
        });
        if let Some(output) = ended {
            assert_eq!(output, Value::array(vec![Value::from(6); 20]));
            assert!(pieces > 5, "{pieces} pieces");
            return;
        }
    }
}

#[test]
fn an_attempt_has_one_token_however_many_pieces_its_parameters_take() {
    let definition = costly_paths(1_000)
        .replace(
            r#""All": {"Type": "Pass", "Parameters": {"#,
            r#""All": {"Type": "Task", "Resource": "arn:aws:states:us-east-1:000000000000:activity:known",
                "Parameters": {"token.$": "$$.Task.Token", "#,
        );
    let mut shard = shard(TURN_MS_MAX);
    let (_, _started) = start(&mut shard, 1, &definition);
    for pieces in 0.. {
        let appended = work(&mut shard).into_iter().flat_map(|(_, events)| events);
        for event in appended {
            if let What::Scheduled(scheduled) = event {
                let told = scheduled.parameters.get("token").and_then(Value::as_str);
                let token = scheduled.token.as_ref().map(|token| &*token.0);
                assert!(token.is_some());
                assert_eq!(told, token);
                assert!(pieces > 3, "{pieces} pieces");
                return;
            }
        }
    }
}

#[test]
fn a_state_of_too_many_costly_paths_fails_with_what_to_do() {
    let definition = costly_paths(14_000).replace("[0, 0],", &"[0, 0],".repeat(4_500));
    let mut shard = shard(0);
    let (_, _started) = start(&mut shard, 1, &definition);
    loop {
        for (_, events) in work(&mut shard) {
            if let Some(What::ExecutionFailed { error, cause }) = events.last() {
                assert_eq!(error.as_deref(), Some("States.Runtime"));
                let cause = cause.as_deref().unwrap_or_default();
                assert!(cause.contains("Make their paths more specific"), "{cause}");
                return;
            }
            assert!(!is_over(&events), "{events:?}");
        }
    }
}

#[test]
fn a_stop_waits_for_no_news() {
    let (mut shard, id, _) = in_the_middle(LOOP_BESIDE_A_TASK);
    for entry in 0..1_000 {
        let task = TaskId { entry, attempt: 0 };
        let input = Input::Heartbeat { task };
        let execution = id;
        shard.handle(AT, In::Heartbeat { execution, input });
    }
    shard.handle(AT, In::Message(stop(id)));
    let events = next_append(&mut shard, AT);
    assert!(matches!(events[0].what, What::ExecutionAborted { .. }));
}

#[test]
fn deadlines_end_endless_work() {
    let (mut shard, ..) = in_the_middle(LOOP);
    let events = next_append(&mut shard, AT.plus_ms(60_000));
    let [over] = events.as_slice() else {
        panic!("it went on: {events:?}");
    };
    assert!(matches!(over.what, What::ExecutionTimedOut { .. }));
    assert_eq!(over.at, AT.plus_ms(60_000));

    let (mut shard, ..) = in_the_middle(LOOP_BESIDE_A_TASK);
    let events = next_append(&mut shard, AT.plus_ms(30_000));
    let first = &events.first().expect("an append has events").what;
    assert!(matches!(first, What::TimedOut { .. }), "{first:?}");
}

#[test]
fn a_deadline_waits_for_the_news_before_it_and_for_no_more() {
    let (mut shard, execution, _) = in_the_middle(LOOP_BESIDE_A_TASK);
    let late = AT.plus_ms(30_000);
    let beat = |shard: &mut Shard| {
        let task = TaskId {
            entry: 0,
            attempt: 0,
        };
        let input = Input::Heartbeat { task };
        shard.handle(late, In::Heartbeat { execution, input });
    };
    for _ in 0..3 {
        beat(&mut shard);
    }
    for _ in 0..20 {
        // There is always another one.
        beat(&mut shard);
        beat(&mut shard);
        let events = work_at(&mut shard, late)
            .into_iter()
            .flat_map(|(_, events)| events);
        if events
            .map(|event| event.what)
            .any(|what| matches!(what, What::TimedOut { .. }))
        {
            return;
        }
    }
    panic!("the deadline of the task was never taken");
}

#[test]
fn after_a_start_stops_and_deadlines_come_before_the_work_that_was_left() {
    for (stopped, at) in [(true, AT), (false, AT.plus_ms(61_000))] {
        let (_, id, events) = in_the_middle(LOOP);
        let mut shard = self::shard(TURN_MS_MAX);
        shard.handle(at, In::Wake(id));
        assert!(matches!(shard.take_out().as_slice(), [Out::Load { .. }]));
        let messages = stopped.then(|| stop(id)).into_iter().collect();
        take_up(&mut shard, id, LOOP, &events, messages);
        let events = next_append(&mut shard, at);
        let [over] = events.as_slice() else {
            panic!("it went on: {events:?}");
        };
        let aborted = matches!(over.what, What::ExecutionAborted { .. });
        let timed_out = matches!(over.what, What::ExecutionTimedOut { .. });
        assert_eq!((aborted, timed_out), (stopped, !stopped));
    }
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

#[test]
fn an_express_execution_goes_on_when_its_start_is_durable() {
    let mut shard = shard(0);
    let (_, mut started) = start_as(&mut shard, 1, EXPENSIVE, Mode::ExpressAsync);
    shard.work(AT, TURNS);
    let outs = shard.take_out();
    let [Out::Commit { ticket, .. }] = outs.as_slice() else {
        panic!("the start is appended");
    };
    // Its turns come while the commit is on its way, to no use.
    while shard.is_busy() {
        shard.work(AT, TURNS);
    }
    let ticket = *ticket;
    let verdict = Ok(Landed::default());
    shard.handle(AT, In::Committed { ticket, verdict });
    assert!(started.try_recv().unwrap().is_ok());
    assert!(shard.is_busy(), "it has all of its work to do");
    while !work(&mut shard).iter().any(|(_, events)| is_over(events)) {
        assert!(shard.is_busy());
    }
}

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
    const ONE: &str = r#"{"StartAt": "A", "States": {"A": {"Type": "Pass", "End": true}}}"#;
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
    const ONE: &str = r#"{"StartAt": "A", "States": {"A": {"Type": "Pass", "End": true}}}"#;
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
    const ONE: &str = r#"{"StartAt": "A", "States": {"A": {"Type": "Pass", "End": true}}}"#;
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
