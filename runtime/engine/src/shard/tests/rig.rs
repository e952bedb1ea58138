//! A shard without threads and store: its commits and tasks are answered at once, in the order in which it asks. Hides the
//! fields of what it is given.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::FutureExt;
use stepwell_interp::{Event, Input, Start, StateKind, TaskOutcome, Timestamp, What};
use stepwell_query::Value;
use tokio::sync::oneshot;

use crate::{
    journal::{
        Epoch, ExecutionId, Landed, MemoryJournal, Message, MessageId, NewExecution, Partition,
        ScopeId, StoredSegment, Write,
    },
    logging::{LogLevel, Logging},
    observer::Observer,
    outbox::Outbox,
    reader::Decoder,
    record::{self, InboxItem},
    shard::{
        Begin, CrashRules, Environment, In, Info, Mode, Monotonic, Out, Shard, StartReply, Stored,
        StoredOpen, Subject,
    },
};

pub(super) const AT: Timestamp = Timestamp(1_769_860_800_000);
pub(super) const TURNS: usize = 64;

/// Each iteration evaluates what may take as long as an expression may.
pub(super) const EXPENSIVE: &str = r#"{"QueryLanguage": "JSONata", "StartAt": "All", "States": {"All": {"Type": "Map",
    "Items": "{% [1..200] %}", "End": true, "ItemProcessor": {"StartAt": "One", "States": {"One": {"Type": "Pass",
        "Output": "{% $sum($map([1..3], function($n) { $n * $states.input })) %}", "End": true}}}}}}"#;

/// Goes round for ever, and each time round may take as long as an expression may.
pub(super) const LOOP: &str = r#"{"QueryLanguage": "JSONata", "TimeoutSeconds": 60, "StartAt": "A", "States": {"A": {
    "Type": "Pass", "Output": "{% $sum($map([1..3], function($n) { $n * 2 })) %}", "Next": "A"}}}"#;

/// The same beside a task that has less time than the execution and is never done.
pub(super) const LOOP_BESIDE_A_TASK: &str = r#"{"StartAt": "Both", "States": {"Both": {"Type": "Parallel", "End": true, "Branches": [
    {"StartAt": "A", "States": {"A": {"Type": "Pass", "QueryLanguage": "JSONata",
        "Output": "{% $sum($map([1..3], function($n) { $n * 2 })) %}", "Next": "A"}}},
    {"StartAt": "T", "States": {"T": {"Type": "Task", "TimeoutSeconds": 30, "End": true,
        "Resource": "arn:aws:states:us-east-1:000000000000:activity:known"}}}]}}}"#;

/// Needs its turns one after the other, and no time.
pub(super) const CHEAP: &str = r#"{"StartAt": "A", "States": {
    "A": {"Type": "Task", "Resource": "wasm:t", "Next": "B"}, "B": {"Type": "Task", "Resource": "wasm:t", "Next": "C"},
    "C": {"Type": "Task", "Resource": "wasm:t", "End": true}}}"#;

/// Over in one step.
pub(super) const ONE: &str = r#"{"StartAt": "A", "States": {"A": {"Type": "Pass", "End": true}}}"#;

/// A shard of which each step takes so many milliseconds.
pub(super) fn shard(step_ms: u64) -> Shard {
    observed(step_ms, None)
}

/// The same, which tells somebody of what is logged.
pub(super) fn observed(step_ms: u64, observer: Option<Arc<dyn Observer>>) -> Shard {
    told(step_ms, observer, None)
}

/// The same, which must tell somebody of changes of status.
pub(super) fn told(
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

pub(super) fn info(name: &str) -> Arc<Info> {
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

pub(super) fn start(shard: &mut Shard, number: u64, definition: &str) -> (ExecutionId, Started) {
    start_as(shard, number, definition, Mode::Durable)
}

pub(super) fn start_as(
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
pub(super) fn decode(id: ExecutionId, stored: &StoredSegment) -> Vec<Event> {
    let journal = MemoryJournal::new(Arc::new(|| AT));
    let events = Decoder::new(&journal).events(id, stored).now_or_never();
    events.expect("memory answers at once").unwrap()
}

pub(super) type Started = oneshot::Receiver<Result<(), crate::journal::Refused>>;

/// Lets the shard work once and does what it asks; what was appended, in order.
pub(super) fn work(shard: &mut Shard) -> Vec<(ExecutionId, Vec<What>)> {
    work_at(shard, AT)
        .into_iter()
        .map(|(id, events)| (id, events.into_iter().map(|event| event.what).collect()))
        .collect()
}

/// The same at that time, with all that an event has.
pub(super) fn work_at(shard: &mut Shard, at: Timestamp) -> Vec<(ExecutionId, Vec<Event>)> {
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
pub(super) fn take_up(
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
pub(super) fn stop(to: ExecutionId) -> Message {
    let (error, cause) = (Some("Enough".into()), None);
    Message {
        id: MessageId(1),
        to,
        payload: record::encode(&InboxItem::Stop { error, cause }),
    }
}

/// Evaluations among these events that may have taken long.
pub(super) fn evaluations(events: &[What]) -> usize {
    let evaluated =
        |event: &&What| matches!(event, What::StateExited { kind, .. } if *kind == StateKind::Pass);
    events.iter().filter(evaluated).count()
}

pub(super) fn is_over(events: &[What]) -> bool {
    matches!(events.last(), Some(What::ExecutionSucceeded { .. }))
}
