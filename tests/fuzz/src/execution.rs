//! Executions out of bytes: a definition, then inputs one after the other, whether they fit or not. The run stays
//! consistent (its own assertion) and the fold of the events that were recorded is the run.

use stepwell_asl::{Options, load};
use stepwell_interp::{
    Effect, Env, Event, FailedAt, Input, OnCrash, RedrivenBy, Run, Start, TaskId, TaskOutcome,
    TimerId, Timestamp, decode, encode, step as advance,
};
use stepwell_query::Value;

use crate::definition::{self, Bytes};

/// Steps of one execution: it may go round for ever.
const STEPS_MAX: usize = 60;
/// Events after which no further step is taken: each may carry a payload as large as there may be.
const EVENTS_MAX: usize = 200;

/// The target.
pub(crate) fn step(data: &[u8]) {
    let mut bytes = Bytes::of(data);
    let text = definition::from(&mut bytes);
    let Some(program) = load(&text, &Options::default()).program else {
        return;
    };
    let (mut run, mut events) = (Run::default(), Vec::<Event>::new());
    let mut at = Timestamp(1_700_000_000_000);
    let mut has_beaten = false;
    let mut next = Some(Input::Started(Box::new(start())));
    for _ in 0..STEPS_MAX {
        let Some(input) = next
            .take()
            .or_else(|| (!bytes.is_empty()).then(|| input(&run, &mut bytes, &mut at)))
        else {
            break;
        };
        if events.len() > EVENTS_MAX {
            break;
        }
        has_beaten |= matches!(input, Input::Heartbeat { .. } | Input::TaskWaits { .. });
        let env = Env {
            at,
            seed: [bytes.next(); 32],
        };
        let effects = advance(&program, &mut run, input, env);
        next = Effect::keep_events(effects, &mut events).then_some(Input::Continue);
    }
    // Heartbeats are no history, nor is what an attempt waits for, nor how far an evaluation has come that goes on.
    if has_beaten || run.is_unfinished() {
        return;
    }
    let stored = decode(&encode(&events)).expect("what was encoded can be decoded");
    let mut folded = Run::default();
    stored.iter().for_each(|event| folded.evolve(event));
    assert_eq!(
        format!("{folded:?}"),
        format!("{run:?}"),
        "the fold is another run: {text}"
    );
}

fn start() -> Start {
    Start {
        execution_arn: "arn:aws:states:us-east-1:000000000000:execution:m:e".into(),
        execution_name: "e".into(),
        machine_arn: "arn:aws:states:us-east-1:000000000000:stateMachine:m".into(),
        machine_name: "m".into(),
        role_arn: "arn:aws:iam::000000000000:role/r".into(),
        version_arn: None,
        alias_arn: None,
        express: false,
        raised_limits: false,
        processor_of: None,
        forked_from: None,
        input: Value::parse(r#"{"a":{"b":1},"s":"text","n":2,"list":[1,{"a":true},"x"]}"#)
            .expect("the input is JSON"),
    }
}

fn input(run: &Run, bytes: &mut Bytes, at: &mut Timestamp) -> Input {
    *at = at.plus_ms(u64::from(bytes.next()) * 40);
    let open: Vec<TaskId> = run.open_tasks().map(|open| open.task).collect();
    let which = usize::from(bytes.next());
    let task = match open.len() {
        0 => TaskId {
            entry: which as u64 % 20,
            attempt: 1,
        },
        count => open[which % count],
    };
    match bytes.next() % 16 {
        choice @ 0..=10 => news(choice, run, task, which as u64, at),
        choice => Input::TaskEnded {
            task,
            outcome: outcome(choice),
        },
    }
}

/// Anything but the end of a task.
fn news(choice: u8, run: &Run, task: TaskId, entry: u64, at: &mut Timestamp) -> Input {
    match choice {
        0 => Input::TaskStarted {
            task,
            by: None,
            at: *at,
        },
        1 => Input::TaskSubmitted {
            task,
            output: Value::from(1),
        },
        2 => Input::TaskLost {
            task,
            on_crash: OnCrash::Redispatch,
        },
        3 => Input::TaskLost {
            task,
            on_crash: OnCrash::Fail,
        },
        4 => Input::Heartbeat { task },
        5 => Input::StopAsked {
            error: None,
            cause: Some("stop".into()),
        },
        6 => Input::Started(Box::new(start())),
        7 => Input::TimerDue {
            timer: TimerId::Wait { entry },
        },
        8 => Input::RedriveAsked {
            token: None,
            by: RedrivenBy::Caller,
        },
        _ => match run.next_timer() {
            Some((due, timer)) => {
                *at = (*at).max(due);
                Input::TimerDue { timer }
            }
            None => Input::Continue,
        },
    }
}

fn outcome(choice: u8) -> TaskOutcome {
    let failed = |error: &str, at| TaskOutcome::Failed {
        error: Some(error.into()),
        cause: None,
        at,
    };
    match choice {
        11 => failed("E", FailedAt::Run),
        12 => failed("Once", FailedAt::Start),
        13 => failed("States.Runtime", FailedAt::Schedule),
        14 => failed("Slow", FailedAt::Timeout),
        _ => TaskOutcome::Succeeded {
            output: Value::object([("value", Value::from(7))]),
        },
    }
}
