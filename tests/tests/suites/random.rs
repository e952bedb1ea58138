//! Whatever is fed in whatever order: the interpreter does not panic, and the fold of its events is its state.

use libtest_mimic::Trial;
use proptest::{
    prelude::{Just, Strategy, any, prop_oneof},
    test_runner::{Config, TestRunner},
};
use stepwell_interp::{
    Effect, Env, Event, FailedAt, Input, OnCrash, RedrivenBy, Run, TaskId, TaskOutcome, TimerId,
    Timestamp, decode, encode, step,
};
use stepwell_query::Value;
use stepwell_tests::{
    case::{self, Case},
    driver,
};

use super::trial;

const CASES: u32 = 2_000;
const INPUTS_MAX: usize = 40;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("interp::any inputs", check)]
}

fn check() -> Result<(), String> {
    let cases: Vec<Case> = case::cases().iter().map(|dir| Case::read(dir)).collect();
    let mut runner = TestRunner::new(Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    });
    let inputs = proptest::collection::vec((moves(), 0u64..120_000, any::<u64>()), 0..INPUTS_MAX);
    let strategy = (0..cases.len(), inputs);
    let outcome = runner.run(&strategy, |(which, moves)| {
        feed(&cases[which], &moves).map_err(proptest::test_runner::TestCaseError::fail)
    });
    outcome.map_err(|error| error.to_string())
}

/// What to do; which task or timer is chosen by number when it is done.
#[derive(Clone, Debug)]
enum Move {
    Start,
    Task(u8, usize),
    Timer,
    AnyTimer(u64, u32),
    Stop,
    Redrive(u8),
    Continue,
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        2 => Just(Move::Start),
        10 => (any::<u8>(), any::<usize>()).prop_map(|(what, which)| Move::Task(what, which)),
        6 => Just(Move::Timer),
        2 => (0u64..30, 0u32..4).prop_map(|(entry, attempt)| Move::AnyTimer(entry, attempt)),
        1 => Just(Move::Stop),
        3 => any::<u8>().prop_map(Move::Redrive),
        1 => Just(Move::Continue),
    ]
}

fn feed(case: &Case, moves: &[(Move, u64, u64)]) -> Result<(), String> {
    let mut run = Run::default();
    let mut events: Vec<Event> = Vec::new();
    let mut at = driver::STARTED_AT;
    let start = || Input::Started(Box::new(driver::start(case.input.clone(), false)));
    let first = (Move::Start, 0, 0);
    for (what, later_ms, seed) in std::iter::once(&first).chain(moves) {
        at = at.plus_ms(*later_ms);
        let input = match what {
            Move::Start => start(),
            Move::Task(what, which) => task(&run, *what, *which, at),
            Move::Timer => match run.next_timer() {
                Some((due, timer)) => {
                    at = at.max(due);
                    Input::TimerDue { timer }
                }
                None => Input::Continue,
            },
            Move::AnyTimer(entry, attempt) => any_timer(*entry, *attempt),
            Move::Stop => Input::StopAsked {
                error: None,
                cause: Some("stop".into()),
            },
            Move::Redrive(token) => Input::RedriveAsked {
                token: (token % 3 > 0).then(|| token.to_string().into()),
                by: RedrivenBy::Caller,
            },
            Move::Continue => Input::Continue,
        };
        let beats = matches!(input, Input::Heartbeat { .. });
        let mut next = Some(input);
        while let Some(input) = next.take() {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&seed.to_le_bytes());
            let effects = step(&case.program, &mut run, input, Env { at, seed: bytes });
            next = Effect::keep_events(effects, &mut events).then_some(Input::Continue);
        }
        if beats {
            return Ok(());
        }
    }
    let read = decode(&encode(&events)).map_err(|error| error.to_string())?;
    let mut folded = Run::default();
    read.iter().for_each(|event| folded.evolve(event));
    if format!("{folded:?}") != format!("{run:?}") {
        return Err(format!(
            "{}: the fold is another run\n{folded:#?}\n{run:#?}",
            case.name
        ));
    }
    Ok(())
}

fn task(run: &Run, what: u8, which: usize, at: Timestamp) -> Input {
    let open: Vec<TaskId> = run.open_tasks().map(|open| open.task).collect();
    let task = match open.len() {
        0 => TaskId {
            entry: which as u64 % 20,
            attempt: 1,
        },
        len => open[which % len],
    };
    let failed = |error: &str, at| TaskOutcome::Failed {
        error: Some(error.into()),
        cause: None,
        at,
    };
    let outcome = match what % 12 {
        0 => {
            return Input::TaskStarted {
                task,
                by: Some("w".into()),
                at,
            };
        }
        1 => {
            return Input::TaskSubmitted {
                task,
                output: Value::from(1),
            };
        }
        2 => {
            return Input::TaskLost {
                task,
                on_crash: OnCrash::Redispatch,
            };
        }
        3 => {
            return Input::TaskLost {
                task,
                on_crash: OnCrash::Fail,
            };
        }
        4 => return Input::Heartbeat { task },
        5 => failed("E", FailedAt::Run),
        6 => failed("Once", FailedAt::Start),
        7 => failed("States.Runtime", FailedAt::Schedule),
        8 => failed("Slow", FailedAt::Timeout),
        9 => TaskOutcome::Failed {
            error: None,
            cause: None,
            at: FailedAt::Submit,
        },
        10 => TaskOutcome::Succeeded {
            output: Value::from("x".repeat(300_000)),
        },
        _ => TaskOutcome::Succeeded {
            output: Value::object([("value", Value::from(7))]),
        },
    };
    Input::TaskEnded { task, outcome }
}

fn any_timer(entry: u64, attempt: u32) -> Input {
    let task = TaskId { entry, attempt };
    let timer = match entry % 5 {
        0 => TimerId::Execution,
        1 => TimerId::Wait { entry },
        2 => TimerId::Retry { task },
        3 => TimerId::Timeout { task },
        _ => TimerId::Heartbeat { task },
    };
    Input::TimerDue { timer }
}
