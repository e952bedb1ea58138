//! What an execution did, state by state, folded from its history as GetExecutionHistory gives it. Hides how events
//! of branches and iterations hang together; progress, pictures and waterfalls read visits and attempts.

mod event;
mod fold;
mod used;

pub(crate) use event::{HistoryEvent, Note};
pub(crate) use used::Used;

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A failure as history tells it; either part may be absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) error: Option<String>,
    pub(crate) cause: Option<String>,
}

/// How a visit or the execution stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Running,
    Succeeded,
    Failed,
    /// It failed and a catcher took over.
    Caught,
    /// It was aborted, or left open when the execution ended.
    Stopped,
    TimedOut,
}

/// The `Type` of a state, as event names carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StateType {
    Pass,
    Task,
    Choice,
    Wait,
    Succeed,
    Fail,
    Parallel,
    Map,
}

/// One visit of a state.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    pub(crate) state: String,
    pub(crate) kind: StateType,
    /// Index among [`Timeline::frames`].
    pub(crate) frame: usize,
    /// Milliseconds since the Unix epoch, here and below.
    pub(crate) entered_ms: u64,
    /// Id of the event that entered it.
    pub(crate) entered_id: u64,
    pub(crate) ended_ms: Option<u64>,
    pub(crate) status: Status,
    /// Attempts at a task; runs of the branches or iterations of a Parallel or Map.
    pub(crate) attempts: Vec<Attempt>,
    /// The last failure of the state itself.
    pub(crate) failure: Option<Failure>,
    /// Id of the event that told of the last failure, or that entered a Fail state; 0 before there is one.
    pub(crate) failed_by: u64,
    pub(crate) items: Items,
    /// ARN of the last map run of a distributed Map.
    pub(crate) map_run: Option<String>,
}

/// One attempt at a state's work.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) scheduled_ms: u64,
    pub(crate) started_ms: Option<u64>,
    pub(crate) ended_ms: Option<u64>,
    pub(crate) failure: Option<Failure>,
    /// It was open when its state was aborted, and had no end of its own.
    pub(crate) is_stopped: bool,
    /// What it used, where that is told.
    pub(crate) used: Option<Used>,
}

/// The iterations of a Map, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Items {
    pub(crate) total: u64,
    pub(crate) running: u64,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
}

/// A flow that states are visited in: the top level, a branch, an iteration.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// The visit of the Parallel or Map it belongs to; `None` for the top level.
    pub(crate) owner: Option<usize>,
    /// Number of the branch or index of the iteration.
    pub(crate) index: u64,
    pub(crate) depth: usize,
    /// Whether it is, or lies within, an iteration of a Map.
    pub(crate) in_map: bool,
}

/// How the execution ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) status: Status,
    pub(crate) at_ms: u64,
    pub(crate) failure: Failure,
}

/// What an event meant, for those who tell it as it happens. Numbers are indices of visits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Entered(usize),
    AttemptFailed(usize),
    Ended(usize),
    ItemsMoved,
    Closed,
    /// The execution goes on after its end.
    Redriven,
}

/// The fold of a history.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    pub(crate) visits: Vec<Visit>,
    pub(crate) frames: Vec<Frame>,
    pub(crate) started_ms: Option<u64>,
    /// Time of the last event.
    pub(crate) last_ms: u64,
    pub(crate) ending: Option<Ending>,
    /// When the execution was redriven, in order.
    pub(crate) redriven_ms: Vec<u64>,
    places: HashMap<u64, Place>,
}

/// Where an event happened: what the events that follow it in its chain build upon.
#[derive(Clone, Copy, Debug)]
struct Place {
    visit: Option<usize>,
    frame: usize,
    /// The event opened the branches of a Parallel.
    forks: bool,
}

impl Timeline {
    pub(crate) fn new() -> Timeline {
        Timeline {
            visits: Vec::new(),
            frames: vec![Frame {
                owner: None,
                index: 0,
                depth: 0,
                in_map: false,
            }],
            started_ms: None,
            last_ms: 0,
            ending: None,
            redriven_ms: Vec::new(),
            places: HashMap::new(),
        }
    }

    /// The timeline of a whole history.
    pub(crate) fn of(events: &[HistoryEvent]) -> Timeline {
        let mut timeline = Timeline::new();
        for event in events {
            timeline.fold(event);
        }
        timeline
    }

    /// The visit at which the execution failed: the one that failed last, of itself and not by what it holds.
    pub(crate) fn failing(&self) -> Option<&Visit> {
        let failed = |visit: &&Visit| matches!(visit.status, Status::Failed | Status::TimedOut);
        let owners: BTreeSet<usize> = self
            .visits
            .iter()
            .filter(failed)
            .filter_map(|visit| self.frames[visit.frame].owner)
            .collect();
        let of_itself = |(at, visit): &(usize, &Visit)| failed(visit) && !owners.contains(at);
        self.visits
            .iter()
            .enumerate()
            .filter(of_itself)
            .max_by_key(|(at, visit)| (visit.failed_by, *at))
            .map(|(_, visit)| visit)
    }

    /// `Prices[3] › Price line`: the state with the branches and iterations around it.
    pub(crate) fn path(&self, visit: &Visit) -> String {
        let mut path = visit.state.clone();
        let mut frame = &self.frames[visit.frame];
        while let Some(owner) = frame.owner {
            path = format!("{}[{}] › {path}", self.visits[owner].state, frame.index);
            frame = &self.frames[self.visits[owner].frame];
        }
        path
    }

    /// Takes what attempts used, as the API lists it: `state`, `enteredEventId`, `attempt` and `usage` of each.
    pub(crate) fn take_usage(&mut self, attempts: &[serde_json::Value]) {
        let entered = self.visits.iter().enumerate();
        let visits: HashMap<u64, usize> =
            entered.map(|(at, visit)| (visit.entered_id, at)).collect();
        for told in attempts {
            let number = |key: &str| told.get(key).and_then(serde_json::Value::as_u64);
            let visit = number("enteredEventId").and_then(|id| visits.get(&id));
            let attempt = number("attempt").and_then(|number| usize::try_from(number).ok());
            let (Some(visit), Some(attempt)) = (visit, attempt) else {
                continue;
            };
            let attempts = &mut self.visits[*visit].attempts;
            let Some(attempt) = attempts.get_mut(attempt.wrapping_sub(1)) else {
                continue;
            };
            // One that was dispatched again used something each time.
            let more = told.get("usage").and_then(Used::read);
            attempt.used = attempt.used.into_iter().chain(more).reduce(Used::and);
        }
    }

    /// The visits of each state by its name, in order.
    pub(crate) fn by_state(&self) -> BTreeMap<&str, Vec<&Visit>> {
        let mut states: BTreeMap<&str, Vec<&Visit>> = BTreeMap::new();
        for visit in &self.visits {
            states.entry(&visit.state).or_default().push(visit);
        }
        states
    }
}

impl Visit {
    /// Whether its last attempt has failed, and the next one has not begun: what is tried next forgets the failure.
    pub(crate) fn waits_for_retry(&self) -> bool {
        self.status == Status::Running && self.failure.is_some()
    }

    /// What its attempts used together; none when that of none is told.
    pub(crate) fn used(&self) -> Option<Used> {
        let told = self.attempts.iter().filter_map(|attempt| attempt.used);
        told.reduce(Used::and)
    }

    /// Milliseconds from the entry to the end, or to `now_ms` while it runs.
    pub(crate) fn duration_ms(&self, now_ms: u64) -> u64 {
        self.ended_ms
            .unwrap_or(now_ms)
            .saturating_sub(self.entered_ms)
    }
}

impl StateType {
    pub(crate) fn name(self) -> &'static str {
        match self {
            StateType::Pass => "Pass",
            StateType::Task => "Task",
            StateType::Choice => "Choice",
            StateType::Wait => "Wait",
            StateType::Succeed => "Succeed",
            StateType::Fail => "Fail",
            StateType::Parallel => "Parallel",
            StateType::Map => "Map",
        }
    }

    fn parse(name: &str) -> Option<StateType> {
        const ALL: [StateType; 8] = [
            StateType::Pass,
            StateType::Task,
            StateType::Choice,
            StateType::Wait,
            StateType::Succeed,
            StateType::Fail,
            StateType::Parallel,
            StateType::Map,
        ];
        ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// `Error: cause`, as far as both are there, the cause on one line.
impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let error = self.error.as_deref().filter(|text| !text.is_empty());
        // A function may fail without a message.
        let cause = self.cause.as_deref().map(readable_cause);
        let cause = cause.filter(|text| !text.is_empty());
        match (error, cause) {
            (Some(error), Some(cause)) => write!(f, "{error}: {cause}"),
            (Some(error), None) => f.write_str(error),
            (None, Some(cause)) => f.write_str(&cause),
            (None, None) => f.write_str("no error given"),
        }
    }
}

/// The cause on one line; of a function's JSON error object its message.
fn readable_cause(cause: &str) -> String {
    let message = serde_json::from_str::<serde_json::Value>(cause)
        .ok()
        .and_then(|object| object.get("errorMessage")?.as_str().map(str::to_owned));
    message
        .as_deref()
        .unwrap_or(cause)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

/// `0 ms`, `12 ms`, `1.25 s`, `2 min 5 s`, `3 h 4 min`, `2 d 3 h`.
pub(crate) fn duration_text(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{:.2} s", ms as f64 / 1_000.0),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms / 1_000 % 60),
        3_600_000..86_400_000 => format!("{} h {} min", ms / 3_600_000, ms / 60_000 % 60),
        _ => format!("{} d {} h", ms / 86_400_000, ms / 3_600_000 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::Failure;

    #[test]
    fn no_colon_ends_a_failure() {
        let report = r#"{"errorMessage":"","errorType":"CustomException","stackTrace":[]}"#;
        for (error, cause, told) in [
            ("CustomException", report, "CustomException"),
            ("CustomException", " \n", "CustomException"),
            ("CustomException", "", "CustomException"),
            (
                "Declined",
                r#"{"errorMessage":"no\nmoney"}"#,
                "Declined: no money",
            ),
            ("", "no money", "no money"),
            ("", report, "no error given"),
        ] {
            let failure = Failure {
                error: Some(error.to_owned()),
                cause: Some(cause.to_owned()),
            };
            assert_eq!(failure.to_string(), told, "{error}, {cause}");
        }
    }
}
