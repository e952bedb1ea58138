//! What a picture of a state machine shows: boxes, lines, nested boxes, marks. Hides the definition's own shape.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use stepwell_asl::{
    Catcher, ErrorEquals, Flow, Given, Kind, Mode, Pattern, Program, Resource, Rules, State,
    StateId, Target, Then, Until, Wait,
};

use super::condition;

/// A whole picture.
#[derive(Debug)]
pub(crate) struct Chart {
    pub(crate) scope: Scope,
    /// Whether states carry marks of an execution (those without one were not reached).
    pub(crate) marked: bool,
}

/// The states of one flow.
#[derive(Debug)]
pub(crate) struct Scope {
    /// Caption of a nested flow; empty for the top level.
    pub(crate) caption: String,
    pub(crate) nodes: Vec<Node>,
    pub(crate) edges: Vec<Edge>,
    /// Index of the first state.
    pub(crate) start: usize,
}

/// One state.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: Arc<str>,
    pub(crate) look: Look,
    /// What it does, in a few words: the plugin, the waiting time.
    pub(crate) detail: String,
    /// Comment of the state; shown when the pointer rests on it.
    pub(crate) comment: Option<Arc<str>>,
    /// Branches, or the processor of a Map.
    pub(crate) inner: Vec<Scope>,
    pub(crate) mark: Option<Mark>,
}

/// The colour and icon of a state: one a state type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Task,
    Pass,
    Choice,
    Wait,
    Succeed,
    Fail,
    Parallel,
    Map,
}

/// A transition between two states of one scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Edge {
    pub(crate) from: usize,
    pub(crate) to: Goal,
    /// Empty for a plain transition.
    pub(crate) label: String,
    pub(crate) caught: bool,
}

/// Where a transition leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    Node(usize),
    /// The end of the flow.
    End,
}

/// What an execution did with a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) status: MarkStatus,
    /// Visits, attempts and time in a few words.
    pub(crate) note: String,
    /// The ways it was left by.
    pub(crate) left: BTreeSet<Way>,
}

/// How a visit of a state was left.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Way {
    /// The next state's name; `None` at the end of the flow.
    pub(crate) to: Option<String>,
    /// By a catcher.
    pub(crate) caught: bool,
}

/// The colour of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MarkStatus {
    Running,
    Succeeded,
    Failed,
    Caught,
    Stopped,
}

impl Chart {
    /// The picture of a state machine.
    pub(crate) fn of(program: &Program) -> Chart {
        Chart {
            scope: scope(program, &program.root, String::new()),
            marked: false,
        }
    }

    /// The picture with an execution's marks, by the states' names.
    pub(crate) fn with_marks(mut self, marks: &BTreeMap<String, Mark>) -> Chart {
        self.marked = true;
        put_marks(&mut self.scope, marks);
        self
    }
}

impl Scope {
    /// Whether an execution went along the edge.
    pub(crate) fn taken(&self, edge: &Edge) -> bool {
        let to = match edge.to {
            Goal::Node(node) => Some(self.nodes[node].name.to_string()),
            Goal::End => None,
        };
        let way = Way {
            to,
            caught: edge.caught,
        };
        let mark = self.nodes[edge.from].mark.as_ref();
        mark.is_some_and(|mark| mark.left.contains(&way))
    }
}

fn put_marks(scope: &mut Scope, marks: &BTreeMap<String, Mark>) {
    for node in &mut scope.nodes {
        node.mark = marks.get(&*node.name).cloned();
        for inner in &mut node.inner {
            put_marks(inner, marks);
        }
    }
}

fn scope(program: &Program, flow: &Flow, caption: String) -> Scope {
    let place: BTreeMap<StateId, usize> = flow
        .states
        .iter()
        .enumerate()
        .map(|(at, id)| (*id, at))
        .collect();
    let mut edges = Vec::new();
    for (from, id) in flow.states.iter().enumerate() {
        transitions(&program[*id].kind, from, &place, &mut edges);
    }
    Scope {
        caption,
        nodes: flow
            .states
            .iter()
            .map(|id| node(program, &program[*id]))
            .collect(),
        edges,
        start: place[&flow.start],
    }
}

fn node(program: &Program, state: &State) -> Node {
    let inner = match &state.kind {
        Kind::Parallel(parallel) => {
            let caption = |at| {
                if parallel.branches.len() > 1 {
                    format!("branch {at}")
                } else {
                    String::new()
                }
            };
            parallel
                .branches
                .iter()
                .enumerate()
                .map(|(at, flow)| scope(program, flow, caption(at)))
                .collect()
        }
        Kind::Map(map) => vec![scope(program, &map.processor, String::new())],
        Kind::Pass(_)
        | Kind::Task(_)
        | Kind::Choice(_)
        | Kind::Wait(_)
        | Kind::Succeed(_)
        | Kind::Fail(_) => Vec::new(),
    };
    let (look, detail) = appearance(&state.kind);
    Node {
        name: state.name.clone(),
        look,
        detail,
        comment: state.comment.clone(),
        inner,
        mark: None,
    }
}

fn appearance(kind: &Kind) -> (Look, String) {
    match kind {
        Kind::Task(task) => (Look::Task, resource(&task.resource)),
        Kind::Pass(_) => (Look::Pass, "Pass".to_owned()),
        Kind::Choice(_) => (Look::Choice, "Choice".to_owned()),
        Kind::Wait(wait) => (Look::Wait, format!("Wait {}", waiting(wait))),
        Kind::Succeed(_) => (Look::Succeed, "Succeed".to_owned()),
        Kind::Fail(fail) => match &fail.error {
            Some(Given::Fixed(error)) => (Look::Fail, format!("Fail {error}")),
            Some(Given::Path(_) | Given::Jsonata(_)) | None => (Look::Fail, "Fail".to_owned()),
        },
        Kind::Parallel(_) => (Look::Parallel, "Parallel".to_owned()),
        Kind::Map(map) => match map.mode {
            Mode::Inline => (Look::Map, "Map".to_owned()),
            Mode::Distributed(_) => (Look::Map, "Distributed Map".to_owned()),
        },
    }
}

fn resource(resource: &Resource) -> String {
    let name = match &resource.target {
        Target::LambdaFunction { name, .. } => name.to_string(),
        Target::LambdaInvoke(_) => "lambda:invoke".to_owned(),
        Target::Activity { name } => format!("activity {name}"),
        Target::StartExecution(_) => "startExecution".to_owned(),
        Target::HttpInvoke => "http:invoke".to_owned(),
        Target::Service {
            service, action, ..
        }
        | Target::AwsSdk {
            service, action, ..
        } => format!("{service}:{action}"),
        Target::Wasm {
            name,
            version: Some(version),
        } => format!("{name}@{version}"),
        Target::Wasm {
            name,
            version: None,
        } => name.to_string(),
    };
    let how = match resource.target.pattern() {
        Pattern::RequestResponse => "",
        Pattern::Sync | Pattern::Sync2 => " (sync)",
        Pattern::WaitForTaskToken => " (callback)",
    };
    name + how
}

fn waiting(wait: &Wait) -> String {
    match &wait.until {
        Until::Seconds(Given::Fixed(seconds)) => seconds_text(*seconds),
        Until::Seconds(Given::Path(path)) => format!("{} s", path.text()),
        Until::Timestamp(Given::Fixed(at)) => format!("until {at}"),
        Until::Timestamp(Given::Path(path)) => format!("until {}", path.text()),
        Until::Seconds(Given::Jsonata(_)) => "computed time".to_owned(),
        Until::Timestamp(Given::Jsonata(_)) => "until computed time".to_owned(),
    }
}

/// `90 s` up to two minutes, then the largest unit that divides it.
fn seconds_text(seconds: u32) -> String {
    const UNITS: [(u32, &str); 3] = [(86_400, "d"), (3_600, "h"), (60, "min")];
    let unit = UNITS.iter().find(|(unit, _)| {
        seconds >= 120.min(unit * 2) && seconds >= *unit && seconds.is_multiple_of(*unit)
    });
    unit.map_or_else(
        || format!("{seconds} s"),
        |(unit, name)| format!("{} {name}", seconds / unit),
    )
}

/// Adds the transitions of one state, several between the same two states as one.
fn transitions(kind: &Kind, from: usize, place: &BTreeMap<StateId, usize>, edges: &mut Vec<Edge>) {
    let mut add = |to: Goal, label: String, caught: bool| {
        let same = edges
            .iter_mut()
            .find(|e| e.from == from && e.to == to && e.caught == caught && !e.label.is_empty());
        match same {
            Some(edge) if !label.is_empty() => edge.label = format!("{}\n{label}", edge.label),
            Some(_) | None => edges.push(Edge {
                from,
                to,
                label,
                caught,
            }),
        }
    };
    let goal = |id: &StateId| Goal::Node(place[id]);
    match kind {
        Kind::Choice(choice) => {
            match &choice.rules {
                Rules::Path(rules) => {
                    rules.iter().for_each(|rule| {
                        add(goal(&rule.next), condition::of_test(&rule.test), false)
                    });
                }
                Rules::Jsonata(rules) => {
                    rules.iter().for_each(|r| {
                        add(goal(&r.next), condition::of_condition(&r.condition), false)
                    });
                }
            }
            choice
                .default
                .iter()
                .for_each(|id| add(goal(id), "otherwise".to_owned(), false));
        }
        Kind::Succeed(_) | Kind::Fail(_) => add(Goal::End, String::new(), false),
        Kind::Pass(_) | Kind::Task(_) | Kind::Wait(_) | Kind::Parallel(_) | Kind::Map(_) => {
            match kind.then() {
                Some(Then::Next(id)) => add(goal(&id), String::new(), false),
                Some(Then::End) | None => add(Goal::End, String::new(), false),
            }
        }
    }
    let catchers = kind
        .handlers()
        .map_or(&[] as &[Catcher], |handlers| &handlers.catch);
    for catcher in catchers {
        add(goal(&catcher.next), errors(&catcher.errors), true);
    }
}

fn errors(errors: &ErrorEquals) -> String {
    match errors {
        ErrorEquals::All => "any error".to_owned(),
        ErrorEquals::Names(names) => names.iter().map(|n| &**n).collect::<Vec<_>>().join(", "),
    }
}
