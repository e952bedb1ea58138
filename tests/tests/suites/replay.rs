//! What must hold of every run: its events alone rebuild it, from any of them on it goes the same way, and its
//! segments read back as they were written.

use stepwell_asl::Program;
use stepwell_interp::{Effect, Event, Input, Run, decode, encode, step};
use stepwell_tests::driver::Driven;

/// Events up to which every prefix is tried; of longer runs every 37th.
const EVERY_PREFIX_MAX: usize = 150;

/// Checks a run that was driven. `random`: the history shows random numbers, so within a step they may differ.
pub(crate) fn check(program: &Program, driven: &Driven, random: bool) -> Result<(), String> {
    folds(driven)?;
    segments(driven)?;
    let every = if driven.events.len() <= EVERY_PREFIX_MAX {
        1
    } else {
        37
    };
    for prefix in (1..=driven.events.len()).step_by(every) {
        goes_on(program, driven, prefix, random)?;
    }
    Ok(())
}

/// The fold of its events is the run itself.
pub(crate) fn folds(driven: &Driven) -> Result<(), String> {
    let folded = fold(&driven.events);
    let beats = driven
        .steps
        .iter()
        .any(|step| matches!(step.input, Input::Heartbeat { .. }));
    if !beats && format!("{folded:?}") != format!("{:?}", driven.run) {
        return Err(format!(
            "the fold of the events is another run\n{folded:?}\n{:?}",
            driven.run
        ));
    }
    Ok(())
}

/// Its segments read back as they were written.
pub(crate) fn segments(driven: &Driven) -> Result<(), String> {
    let mut start = 0;
    for step in &driven.steps {
        let events = &driven.events[start..step.events];
        let read = decode(&encode(events)).map_err(|error| error.to_string())?;
        if read != events {
            return Err(format!(
                "a segment reads back otherwise\n{events:#?}\n{read:#?}"
            ));
        }
        start = step.events;
    }
    Ok(())
}

/// Folds the first events and feeds what had not been fed, or not wholly.
fn goes_on(program: &Program, driven: &Driven, prefix: usize, random: bool) -> Result<(), String> {
    let mut run = fold(&driven.events[..prefix]);
    let mut events: Vec<Event> = driven.events[..prefix].to_vec();
    let first = driven
        .steps
        .iter()
        .position(|step| step.events >= prefix)
        .unwrap_or(driven.steps.len());
    let whole = driven
        .steps
        .get(first)
        .is_some_and(|step| step.events == prefix);
    if random && !whole {
        return Ok(());
    }
    for fed in driven.steps.iter().skip(first + usize::from(whole)) {
        if run.ending().is_some() && !matches!(fed.input, Input::RedriveAsked { .. }) {
            continue;
        }
        let effects = step(program, &mut run, fed.input.clone(), fed.env);
        Effect::keep_events(effects, &mut events);
    }
    // A token is drawn from a stream that begins with each step.
    if strip(&events) != strip(&driven.events) {
        let at = events
            .iter()
            .zip(&driven.events)
            .position(|(left, right)| left != right);
        let (left, right) = (
            at.and_then(|at| events.get(at)),
            at.and_then(|at| driven.events.get(at)),
        );
        let (is, was) = (events.len(), driven.events.len());
        return Err(format!(
            "after {prefix} of {was} events it goes another way ({is})\n{left:#?}\n{right:#?}"
        ));
    }
    Ok(())
}

fn strip(events: &[Event]) -> String {
    stepwell_tests::print::history(events)
}

/// What events fold to.
pub(crate) fn fold(events: &[Event]) -> Run {
    let mut run = Run::default();
    events.iter().for_each(|event| run.evolve(event));
    run
}
