//! Cases on the durable engine in virtual time: straight through, and crashed after an append. Hides how a case's
//! script becomes signs of attempts, and what two histories of one case may differ in.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc};

use stepwell_engine::sim::{self, ExecutionId, Signal, Signals, SimStore, World, WorldOptions};
use stepwell_interp::{Event, FailedAt, Fork, TaskId, TaskOutcome, TaskRequest, What};

use crate::{
    case::Case,
    driver, print,
    script::{Act, Script},
};

/// A case's run on the engine: longer than a year, since a Wait may be.
const RUN_MS: u64 = 400 * 24 * 3_600 * 1_000;

/// What a case came to.
pub struct Outcome {
    pub events: Vec<Event>,
    /// Those of the executions that it led to, by ARN.
    pub others: Vec<(Arc<str>, Vec<Event>)>,
    /// Appends that were made durable.
    pub appends: u64,
}

/// Runs a case on a store; crashes after that many appends when asked.
pub fn run(case: &Case, store: SimStore, crash_after: Option<u64>) -> Result<Outcome, String> {
    let start = driver::start(case.input.clone(), false);
    begin(case, &case.script, store, crash_after, |world| {
        world.start(0, &case.definition, start)
    })
}

/// Runs a fork of a case, whose tasks do what is left of its script.
pub fn fork(
    case: &Case,
    script: &Script,
    fork: Fork,
    store: SimStore,
    crash_after: Option<u64>,
) -> Result<Outcome, String> {
    begin(case, script, store, crash_after, |world| {
        world.fork(0, &case.definition, fork)
    })
}

fn begin(
    case: &Case,
    script: &Script,
    store: SimStore,
    crash_after: Option<u64>,
    begun: impl FnOnce(&mut World) -> Result<ExecutionId, String>,
) -> Result<Outcome, String> {
    let acts = Acts {
        script: script.clone(),
        known: BTreeMap::new(),
    };
    let options = WorldOptions {
        store,
        crash_after,
        latency_ms: 0,
        ..WorldOptions::default()
    };
    let mut world = World::new(options, Box::new(Shared(Rc::new(RefCell::new(acts)))));
    for (arn, definition) in &case.machines {
        world.machine(arn, definition)?;
    }
    let id = begun(&mut world)?;
    if let Some(stop) = &script.stop {
        let text = |text: &Option<String>| text.as_deref().map(Into::into);
        world.stop_after(id, stop.after_ms, text(&stop.error), text(&stop.cause));
    }
    world.redrive_after(id, &script.redrives_ms);
    world.pass_quickly();
    world.run(RUN_MS)?;
    let (_, events) = world
        .execution(id)?
        .ok_or("the execution is not in the store")?;
    let mut others = Vec::new();
    for (arn, other) in world.executions()? {
        if other != id
            && let Some((_, events)) = world.execution(other)?
        {
            others.push((arn, events));
        }
    }
    Ok(Outcome {
        events,
        others,
        appends: world.appends(),
    })
}

/// The history of an execution that another one started, without the start of an attempt amid which it was stopped. That
/// waits for the next append to be written: a crash before the stop may take it away, and the stop may come before the
/// attempt begins again.
pub fn told(events: &[Event]) -> Vec<Event> {
    let aborted = |event: &&Event| matches!(event.what, What::ExecutionAborted { .. });
    let mut told = events.to_vec();
    let end = told.len().saturating_sub(1);
    if told.last().as_ref().is_some_and(aborted) {
        let before = told[..end].iter().rposition(|event| event.what.is_public());
        if let Some(at) = before.filter(|at| matches!(told[*at].what, What::Started { .. })) {
            told.remove(at);
        }
    }
    told
}

/// A history without what a crash may change: times, the extra dispatches, and what was drawn at random.
pub fn comparable(events: &[Event], random: bool) -> String {
    let same_time: Vec<Event> = events
        .iter()
        .filter(|event| {
            let of_crashes = matches!(event.what, What::Redispatched { .. } | What::Begins);
            // Those that are compared with measure nothing.
            !of_crashes && !matches!(event.what, What::Used { .. })
        })
        .map(|event| Event {
            at: events[0].at,
            ..event.clone()
        })
        .collect();
    let text = print::history(&same_time);
    text.lines()
        .map(|line| mask(line, random) + "\n")
        .collect::<String>()
}

/// Times and drawn names inside values, and with `random` all that follows the event's name.
fn mask(line: &str, random: bool) -> String {
    if random {
        return line
            .split_whitespace()
            .take(5)
            .collect::<Vec<_>>()
            .join(" ");
    }
    let mut text = String::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let (put, taken) = match masked(rest) {
            Some((put, taken)) => (put, taken),
            None => (&rest[..first.len_utf8()], first.len_utf8()),
        };
        text.push_str(put);
        rest = &rest[taken..];
    }
    text
}

/// What stands for the time, the milliseconds since 1970 or the UUID that a text begins with, and its length.
fn masked(text: &str) -> Option<(&'static str, usize)> {
    let forms = [
        ("<time>", "dddd-dd-ddTdd:dd:dd.dddZ"),
        ("<uuid>", "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"),
        ("<ms>", "17ddddddddddd"),
    ];
    forms.into_iter().find_map(|(name, form)| {
        let begins = text.as_bytes().get(..form.len())?;
        let fits = begins
            .iter()
            .zip(form.bytes())
            .all(|(byte, class)| match class {
                b'd' => byte.is_ascii_digit(),
                b'x' => byte.is_ascii_hexdigit(),
                exact => *byte == exact,
            });
        fits.then_some((name, form.len()))
    })
}

/// The case's script; an attempt that is dispatched again does the same again.
struct Acts {
    script: Script,
    known: BTreeMap<(String, TaskId), Act>,
}

struct Shared(Rc<RefCell<Acts>>);

impl Acts {
    fn next(&mut self, execution: &str, request: &TaskRequest) -> Act {
        let script = &mut self.script;
        let act = self
            .known
            .entry((execution.to_owned(), request.task))
            .or_insert_with(|| script.next(&request.resource.text));
        let now = act.clone();
        act.lost = act.lost.saturating_sub(1);
        now
    }
}

impl sim::Script for Shared {
    fn dispatched(&mut self, execution: &str, request: &TaskRequest) -> Signals {
        let act = self.0.borrow_mut().next(execution, request);
        let by = act.by.clone().map(Into::into);
        if act.lost > 0 {
            let lost = (0, Signal::Lost(act.on_crash));
            return match act.lost_early {
                true => vec![lost],
                false => vec![(0, Signal::Started { by }), lost],
            };
        }
        let answered = act.submitted.is_some();
        signals(act, Signal::Started { by }, answered)
    }

    fn opened(&mut self, execution: &str, request: &TaskRequest) -> Signals {
        let act = self.0.borrow_mut().next(execution, request);
        let by = act.by.clone().map(Into::into);
        signals(act, Signal::Taken { by }, true)
    }
}

fn signals(act: Act, begins: Signal, answered: bool) -> Signals {
    let start = act.start_after_ms;
    let mut signals = Vec::new();
    let never_begins = matches!(
        &act.outcome,
        Some(TaskOutcome::Failed {
            at: FailedAt::Schedule | FailedAt::Start,
            ..
        })
    );
    if !never_begins {
        signals.push((start, begins));
    }
    if let Some(output) = act.submitted {
        signals.push((start, Signal::Submitted(output)));
    }
    signals.extend(
        act.heartbeats_ms
            .into_iter()
            .map(|ms| (ms, Signal::Heartbeat)),
    );
    if let Some(outcome) = act.outcome {
        let end = if answered && !never_begins {
            Signal::Answered(outcome)
        } else {
            Signal::Ended(outcome)
        };
        signals.push((start + act.after_ms, end));
    }
    signals
}
