//! Forks: a new execution that begins with the events of another one. Hides at which of these it can go on, and with which
//! definitions.
//!
//! The events up to a point are recorded again, at the time of the fork: they carry their outcomes, so folding them
//! brings the results without the work. An internal event ends them and has what the caller changed. A point is one at
//! which nothing is under way: every flow of the run goes on from its state alone.

use std::sync::Arc;

use stepwell_asl::{Flow, Kind, Mode, Program};
use stepwell_query::Value;

use crate::{
    Timestamp,
    border::{Effect, Start},
    event::{Assigned, Event, StateKind, What},
    limits::Limits,
    run::{FrameId, Phase, Run, Stage, Visit},
    step::Turn,
};

/// Where a forked execution comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForkedFrom {
    pub execution_arn: Arc<str>,
    /// Id of the last one of its events that the fork begins with.
    pub event: u64,
    /// What the caller changed, as a hash of his: two calls with equal ones are one.
    pub changes: Arc<str>,
}

/// What a fork begins with.
#[derive(Clone, Debug, PartialEq)]
pub struct Fork {
    /// The fork's own; says where it comes from.
    pub start: Start,
    /// The other execution's events from its start up to the point.
    pub past: Arc<[Event]>,
    /// Takes the place of the input of the state that is entered next; of a point between states.
    pub input: Option<Value>,
    /// Variables of the outermost scope with new values.
    pub assigned: Assigned,
}

/// Where a fork goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForkPoint {
    /// The execution's own flow is about to enter a state.
    Between,
    /// It is within that state: nothing is under way there.
    Within(Arc<str>),
    /// Its last state is left: what is left to do is to succeed.
    AtTheEnd,
}

/// Why an execution cannot be forked at an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotForkable {
    #[error("the execution has ended there")]
    Ended,
    #[error("a task of the state '{0}' is in flight there")]
    TaskInFlight(Arc<str>),
    #[error("the state '{0}' waits there")]
    Waiting(Arc<str>),
    #[error("the state '{0}' waits there for another attempt")]
    Retrying(Arc<str>),
    #[error("the state '{0}' has begun a map run, which is of this execution alone")]
    MapRun(Arc<str>),
    #[error("the state '{0}' has failed there, or is being stopped")]
    Failing(Arc<str>),
    #[error("nothing is left to do there")]
    Idle,
}

/// Why a forked execution cannot go on with a definition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    #[error("the execution has got to the state '{state}', which the definition has not{place}")]
    NoState { state: Arc<str>, place: String },
    #[error(
        "the execution is in the state '{state}', a {was} state, which is of type {is} in the definition"
    )]
    OtherType {
        state: Arc<str>,
        was: &'static str,
        is: &'static str,
    },
    #[error(
        "the execution is in the state '{state}' with {was} branches, and the definition has {is}"
    )]
    OtherBranches {
        state: Arc<str>,
        was: u32,
        is: usize,
    },
    #[error(
        "the execution is in the iterations of the state '{0}', and the definition runs them as a map run"
    )]
    Distributed(Arc<str>),
}

impl Run {
    /// Whether a fork can go on from the events that were folded so far, and where.
    pub fn fork_point(&self) -> Result<ForkPoint, NotForkable> {
        if self.ending().is_some() {
            return Err(NotForkable::Ended);
        }
        for visit in self.visits() {
            is_at_rest(visit)?;
        }
        if self.next_ready().is_none() {
            return Err(NotForkable::Idle);
        }
        Ok(match self.frame(FrameId::ROOT).map(|root| &root.stage) {
            Some(Stage::In(visit)) => ForkPoint::Within(visit.state.clone()),
            Some(Stage::Next { .. }) => ForkPoint::Between,
            Some(Stage::Done { .. }) | None => ForkPoint::AtTheEnd,
        })
    }

    /// Whether its flows can go on with another definition: the states that they have got to are there, in their places.
    pub fn fits(&self, program: &Program) -> Result<(), Misfit> {
        self.flow_fits(FrameId::ROOT, program, &program.root, None)
    }

    fn flow_fits(
        &self,
        id: FrameId,
        program: &Program,
        flow: &Flow,
        within: Option<&Arc<str>>,
    ) -> Result<(), Misfit> {
        let Some(frame) = self.frame(id) else {
            return Ok(());
        };
        let visit = match &frame.stage {
            Stage::Next { state, .. } => return has_state(program, flow, state, within),
            Stage::Done { .. } => return Ok(()),
            Stage::In(visit) => visit,
        };
        has_state(program, flow, &visit.state, within)?;
        let Some(id) = program.find(&visit.state) else {
            return Ok(());
        };
        let kind = &program[id].kind;
        if StateKind::from(kind) != visit.kind {
            return Err(Misfit::OtherType {
                state: visit.state.clone(),
                was: kind_name(visit.kind),
                is: kind.type_name(),
            });
        }
        self.flows_fit(visit, program, kind)
    }

    /// The branches or iterations that run.
    fn flows_fit(&self, visit: &Visit, program: &Program, kind: &Kind) -> Result<(), Misfit> {
        let (Phase::Flows, Some(flows)) = (&visit.phase, visit.flows.as_deref()) else {
            return Ok(());
        };
        let state = &visit.state;
        match kind {
            Kind::Parallel(parallel) => {
                let is = parallel.branches.len();
                if usize::try_from(flows.total) != Ok(is) {
                    return Err(Misfit::OtherBranches {
                        state: state.clone(),
                        was: flows.total,
                        is,
                    });
                }
                let branch = |index: u32| parallel.branches.get(index as usize);
                let mut children = flows
                    .children
                    .iter()
                    .filter_map(|(index, child)| Some((branch(*index)?, *child)));
                children.try_for_each(|(branch, child)| {
                    self.flow_fits(child, program, branch, Some(state))
                })
            }
            Kind::Map(map) => {
                if matches!(map.mode, Mode::Distributed(_)) {
                    return Err(Misfit::Distributed(state.clone()));
                }
                if let Some(first) = flows.items.first() {
                    has_state(program, &map.processor, first, Some(state))?;
                }
                let mut children = flows.children.values();
                children.try_for_each(|child| {
                    self.flow_fits(*child, program, &map.processor, Some(state))
                })
            }
            Kind::Pass(_)
            | Kind::Task(_)
            | Kind::Choice(_)
            | Kind::Wait(_)
            | Kind::Succeed(_)
            | Kind::Fail(_) => Ok(()),
        }
    }

    /// Those of these names that no variable of the outermost scope has.
    pub fn without(&self, assigned: &Assigned) -> Vec<Arc<str>> {
        let names = assigned.iter().map(|(name, _)| name);
        let new = names.filter(|name| self.variable(FrameId::ROOT, name).is_none());
        new.cloned().collect()
    }

    /// Whether these variables may take the place of those that it has, or which limit is in the way.
    pub fn may_assign(&self, assigned: &Assigned, limits: &Limits) -> Result<(), String> {
        let mut total = self.variables_bytes();
        for (name, value) in assigned.iter() {
            let bytes = value.json_bytes();
            let most = limits.variable_bytes_max;
            if bytes > most {
                return Err(format!(
                    "the variable '{name}' has {bytes} bytes, the maximum is {most}"
                ));
            }
            let before = self.variable(FrameId::ROOT, name);
            total = (total + bytes).saturating_sub(before.map_or(0, Value::json_bytes));
        }
        let most = limits.variables_bytes_max;
        if total > most {
            return Err(format!(
                "the variables of the execution have {total} bytes, the maximum is {most}"
            ));
        }
        Ok(())
    }
}

fn has_state(
    program: &Program,
    flow: &Flow,
    state: &Arc<str>,
    within: Option<&Arc<str>>,
) -> Result<(), Misfit> {
    let found = program.find(state);
    if found.is_some_and(|id| flow.states.contains(&id)) {
        return Ok(());
    }
    let place = match within {
        Some(outer) => format!(" at that place within '{outer}'"),
        None if found.is_some() => " at the top level".to_owned(),
        None => String::new(),
    };
    Err(Misfit::NoState {
        state: state.clone(),
        place,
    })
}

/// Whether a state goes on from what the fold has of it.
fn is_at_rest(visit: &Visit) -> Result<(), NotForkable> {
    let state = || visit.state.clone();
    if visit.map_run.is_some() {
        return Err(NotForkable::MapRun(state()));
    }
    match &visit.phase {
        Phase::Entered | Phase::Flows | Phase::Worked { .. } | Phase::MapRunOpening { .. } => {
            Ok(())
        }
        Phase::Attempt(_) => Err(NotForkable::TaskInFlight(state())),
        Phase::Waiting { .. } => Err(NotForkable::Waiting(state())),
        Phase::Backoff { .. } => Err(NotForkable::Retrying(state())),
        Phase::MapRunReopening { .. }
        | Phase::MapRun { .. }
        | Phase::MapRunStopped
        | Phase::MapRunDone { .. } => Err(NotForkable::MapRun(state())),
        Phase::Failing { .. } | Phase::Aborted => Err(NotForkable::Failing(state())),
    }
}

fn kind_name(kind: StateKind) -> &'static str {
    match kind {
        StateKind::Pass => "Pass",
        StateKind::Task => "Task",
        StateKind::Choice => "Choice",
        StateKind::Wait => "Wait",
        StateKind::Succeed => "Succeed",
        StateKind::Fail => "Fail",
        StateKind::Parallel => "Parallel",
        StateKind::Map => "Map",
    }
}

impl Turn<'_> {
    /// Begins with the events of another execution. One that has only just begun begins at the start of its own
    /// definition.
    pub(crate) fn fork(&mut self, fork: &Fork) {
        let [began, past @ ..] = &fork.past[..] else {
            return;
        };
        let What::ExecutionStarted { first, .. } = &began.what else {
            return;
        };
        if !self.run.is_fresh() {
            return;
        }
        self.limits = Limits::of(fork.start.raised_limits);
        let program = self.program;
        let first = if past.iter().any(|event| event.what.is_public()) {
            first.clone()
        } else {
            program[program.root.start].name.clone()
        };
        let timeout_at = self.timeout_at(&fork.start, self.at);
        self.record(
            FrameId::ROOT,
            What::ExecutionStarted {
                start: Box::new(fork.start.clone()),
                first,
                timeout_at,
            },
        );
        for event in past {
            self.record_again(event, timeout_at);
        }
        self.record(
            FrameId::ROOT,
            What::Forked {
                input: fork.input.clone(),
                assigned: fork.assigned.clone(),
            },
        );
    }

    /// Records what happened in another execution, as of now. A redrive of that one is none that a caller of this one
    /// asked for.
    fn record_again(&mut self, event: &Event, timeout_at: Option<Timestamp>) {
        let mut event = Event {
            at: self.at,
            ..event.clone()
        };
        if let What::ExecutionRedriven {
            timeout_at: deadline,
            token,
            ..
        } = &mut event.what
        {
            *deadline = timeout_at;
            *token = None;
        }
        self.run.evolve(&event);
        self.effects.push(Effect::Record(event));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Place, decode, encode};

    const AT: Timestamp = Timestamp(1_769_860_800_000);

    fn event(what: What) -> Event {
        Event {
            at: AT,
            previous: 0,
            place: Place::default(),
            what,
        }
    }

    fn started(forked_from: Option<Arc<ForkedFrom>>, within: Option<Arc<str>>) -> Event {
        event(What::ExecutionStarted {
            start: Box::new(Start {
                execution_arn: "e".into(),
                processor_of: within,
                forked_from,
                input: Value::from(1),
                ..Start::default()
            }),
            first: "A".into(),
            timeout_at: None,
        })
    }

    fn program(text: &str) -> Program {
        stepwell_asl::load_stored(text).expect("it loads")
    }

    fn fold(events: &[Event]) -> Run {
        let mut run = Run::default();
        events.iter().for_each(|event| run.evolve(event));
        run
    }

    #[test]
    fn where_it_comes_from_and_what_was_changed_are_read_as_they_were_written() {
        let from = ForkedFrom {
            execution_arn: "arn:of:another".into(),
            event: 300,
            changes: "abc".into(),
        };
        let from = Some(Arc::new(from));
        let changed = |input: Option<Value>| What::Forked {
            input,
            assigned: Arc::new([
                ("rate".into(), Value::from(2)),
                ("none".into(), Value::Null),
            ]),
        };
        let events = [
            started(from.clone(), None),
            started(from, Some("Each".into())),
            event(changed(Some(Value::from("text")))),
            event(changed(None)),
            started(None, None),
        ];
        assert_eq!(decode(&encode(&events)).as_deref(), Ok(&events[..]));
    }

    #[test]
    fn what_is_changed_counts_from_the_point_on() {
        let changed = What::Forked {
            input: Some(Value::from(7)),
            assigned: Arc::new([("rate".into(), Value::from(2))]),
        };
        let run = fold(&[started(None, None), event(changed)]);
        assert_eq!(run.fork_point(), Ok(ForkPoint::Between));
        let variables: Vec<_> = run.variables().collect();
        assert_eq!(variables, [(&Arc::<str>::from("rate"), &Value::from(2))]);
        let Some(Stage::Next { input, .. }) = run.frame(FrameId::ROOT).map(|root| &root.stage)
        else {
            panic!("it is about to enter its first state")
        };
        assert_eq!(*input, Value::from(7));
        // The execution's own input is what it was.
        assert_eq!(run.start().map(|start| &start.input), Some(&Value::from(1)));
    }

    #[test]
    fn a_definition_fits_when_it_has_the_states_that_were_reached() {
        let run = fold(&[started(None, None)]);
        let with = |name: &str| {
            program(&format!(
                r#"{{"StartAt":"{name}","States":{{"{name}":{{"Type":"Pass","End":true}}}}}}"#
            ))
        };
        assert_eq!(run.fits(&with("A")), Ok(()));
        let missing = run.fits(&with("B")).expect_err("it has no such state");
        assert_eq!(
            missing.to_string(),
            "the execution has got to the state 'A', which the definition has not"
        );
        // A state of that name deeper within is another one.
        let deeper = program(
            r#"{"StartAt":"P","States":{"P":{"Type":"Parallel","End":true,"Branches":[
                {"StartAt":"A","States":{"A":{"Type":"Pass","End":true}}}]}}}"#,
        );
        let deeper = run.fits(&deeper).expect_err("it is at another place");
        assert!(deeper.to_string().ends_with("has not at the top level"));
    }

    #[test]
    fn names_that_no_variable_has_are_told() {
        let run = fold(&[started(None, None)]);
        let assigned: Assigned = Arc::new([("nope".into(), Value::from(1))]);
        assert_eq!(run.without(&assigned), [Arc::<str>::from("nope")]);
        let none: Assigned = Arc::new([]);
        assert!(run.without(&none).is_empty());
    }

    #[test]
    fn variables_have_their_limits() {
        let run = fold(&[started(None, None)]);
        let limits = Limits::of(false);
        let one =
            |bytes: usize| -> Assigned { Arc::new([("v".into(), Value::from("x".repeat(bytes)))]) };
        assert_eq!(run.may_assign(&one(10), limits), Ok(()));
        let why = run.may_assign(&one(limits.variable_bytes_max), limits);
        assert!(why.is_err_and(|why| why.contains("the variable 'v' has 262146 bytes")));
        let many = (0..60).map(|number| {
            let name: Arc<str> = format!("v{number}").into();
            (name, Value::from("x".repeat(200_000)))
        });
        let why = run.may_assign(&many.collect(), limits);
        assert!(why.is_err_and(|why| why.contains("the maximum is 10485760")));
    }
}
