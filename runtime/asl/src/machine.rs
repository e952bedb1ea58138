//! The state machine and those within it: names to ids, one reading for each state. Hides the arena and the order in
//! which states are read.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::advice::advise;
use crate::choice::choice;
use crate::codes::Code;
use crate::graph::{self, Scopes, Start};
use crate::handlers::handlers;
use crate::limits::{FLOW_DEPTH_MAX, SECONDS_MAX, STATE_NAME_CHARS_MAX};
use crate::map::map;
use crate::node::{Fields, Node, Report};
use crate::program::{ExecutionType, Flow, Kind, Parallel, Program, QueryLanguage, State, StateId};
use crate::reading::{Reading, Row, Siblings};
use crate::simple;
use crate::task::task;

/// The state machine as it is read.
pub(crate) struct Machine<'d> {
    pub(crate) report: &'d Report,
    /// Type of the executions that the states being read belong to.
    pub(crate) kind: ExecutionType,
    pub(crate) labels: BTreeSet<Arc<str>>,
    language: QueryLanguage,
    /// `None` where a state could not be read.
    states: Vec<Option<State>>,
    by_name: BTreeMap<Arc<str>, StateId>,
    scopes: Scopes,
    /// Levels of flows around the one being read.
    depth: usize,
    /// Whether a single state is read, whose targets are not part of the text.
    single: bool,
}

/// What is read: a state machine, or one state made into one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    Whole,
    /// A whole one that was accepted before: nothing is said of what is accepted.
    Stored,
    SingleState,
}

/// Reads the definition. `None` when a part of it cannot be represented; all faults are in the node's report.
pub(crate) fn machine(node: &Node, kind: ExecutionType, extent: Extent) -> Option<Program> {
    let fields = node.fields()?;
    let mut machine = Machine {
        report: node.report,
        kind,
        labels: BTreeSet::new(),
        language: query_language(&fields)
            .or_else(|| language_among_states(&fields))
            .unwrap_or_default(),
        states: Vec::new(),
        by_name: BTreeMap::new(),
        scopes: Scopes::new(),
        depth: 0,
        single: extent == Extent::SingleState,
    };
    let comment = comment(&fields);
    let timeout_s = fields
        .get("TimeoutSeconds")
        .and_then(|node| node.integer(1..=SECONDS_MAX))
        .and_then(NonZeroU32::new);
    if let Some(version) = fields.get("Version") {
        version.word("Version", &[("1.0", ())]);
    }
    let root = machine.flow(&fields, None);
    node.report
        .tell_flows(|name| machine.by_name.contains_key(name));
    let states: Option<Vec<State>> = machine.states.into_iter().collect();
    let program = Program {
        states: states?,
        by_name: machine.by_name,
        root: root?,
        query_language: machine.language,
        timeout_s,
        comment,
    };
    graph::check_scopes(&program, &machine.scopes, node.report);
    if extent == Extent::Whole && !node.report.has_errors() {
        advise(node, &program, &machine.scopes, kind);
    }
    Some(program)
}

impl<'d> Machine<'d> {
    /// A Parallel's branch or a Map's processor; `kind` is the type of the executions its states belong to.
    pub(crate) fn nested(
        &mut self,
        fields: &Fields<'d>,
        parent: StateId,
        kind: ExecutionType,
    ) -> Option<Flow> {
        if self.depth >= FLOW_DEPTH_MAX {
            let message = format!("State machines are nested more than {FLOW_DEPTH_MAX} levels");
            fields.node.fault(Code::TooDeep, message);
            return None;
        }
        let outer = std::mem::replace(&mut self.kind, kind);
        self.depth += 1;
        comment(fields);
        let flow = self.flow(fields, Some(parent));
        self.depth -= 1;
        self.kind = outer;
        flow
    }

    /// `StartAt` and `States`.
    fn flow(&mut self, fields: &Fields<'d>, parent: Option<StateId>) -> Option<Flow> {
        let start_at = fields.get("StartAt");
        let states = fields.get("States");
        let missing: Vec<&str> = [
            ("StartAt", start_at.is_none()),
            ("States", states.is_none()),
        ]
        .into_iter()
        .filter_map(|(name, missing)| missing.then_some(name))
        .collect();
        if !missing.is_empty() {
            fields.missing(&missing);
        }
        fields.finish(self.language);
        let states = states?.fields()?;
        if states.is_empty() {
            states.node.fault(Code::Empty, "Value cannot be empty");
            return None;
        }
        let siblings = self.name_states(&states);
        let begins = start_at.is_some();
        let start = start_at.and_then(|node| siblings.target(&node));
        for (name, node) in states.all().filter(|(name, node)| !is_language(name, node)) {
            let id = siblings.ids[name];
            let state = self.state(&node, name, id, parent, &siblings);
            self.states[id.index()] = state;
        }
        let from = match start {
            Some(start) => Start::State(start),
            None if begins => Start::Nowhere,
            None => Start::Unknown,
        };
        graph::check_flow(&states, &siblings, from, parent.is_some());
        let assigned = std::mem::take(&mut siblings.graph.borrow_mut().assigned);
        self.scopes.entry(parent).or_default().extend(assigned);
        let mut states: Vec<StateId> = siblings.ids.into_values().collect();
        states.sort_unstable();
        Some(Flow {
            start: start?,
            states,
        })
    }

    /// Gives each state of a flow its id.
    fn name_states(&mut self, states: &Fields<'d>) -> Siblings {
        let mut siblings = Siblings::default();
        siblings.graph.get_mut().open = self.single;
        for (name, node) in states.all().filter(|(name, node)| !is_language(name, node)) {
            let id = StateId::at(self.states.len());
            self.states.push(None);
            siblings.ids.insert(name.clone(), id);
            if self.by_name.insert(name.clone(), id).is_some() {
                let mut diagnostic = node.diagnostic(
                    Code::DuplicateState,
                    format!("Duplicate State name: {name}"),
                );
                diagnostic.hint = Some(
                    "state names are unique in the whole state machine: rename one".to_owned(),
                );
                node.report.add(diagnostic);
            }
            check_state_name(name, &node);
        }
        siblings
    }

    fn state(
        &mut self,
        node: &Node<'d>,
        name: &Arc<str>,
        id: StateId,
        parent: Option<StateId>,
        siblings: &Siblings,
    ) -> Option<State> {
        let broken = || siblings.graph.borrow_mut().broken = true;
        let Some(fields) = node.fields() else {
            broken();
            return None;
        };
        let language = self.state_language(&fields);
        let comment = comment(&fields);
        let Some(read) = fields
            .required("Type")
            .and_then(|node| node.word("Type", TYPES))
        else {
            broken();
            return None;
        };
        let reading = Reading {
            id,
            fields: &fields,
            language,
            siblings,
            machine: self.kind,
        };
        let kind = read(&reading, self);
        fields.finish(language);
        if (language, self.language) == (QueryLanguage::JsonPath, QueryLanguage::Jsonata) {
            // That the state has another language is said; what follows from it is not said besides.
            node.report.drop_language_faults(&node.place);
        }
        Some(State {
            name: name.clone(),
            comment,
            language,
            parent,
            kind: kind?,
        })
    }

    /// The state's own `QueryLanguage`, else the state machine's: a Map's or Parallel's does not reach within.
    fn state_language(&self, fields: &Fields) -> QueryLanguage {
        match (query_language(fields), self.language) {
            (Some(QueryLanguage::JsonPath), QueryLanguage::Jsonata) => {
                let message = "'QueryLanguage' can not be 'JSONPath' if set to 'JSONata' for whole state machine";
                fields.node.fault(Code::Downgrade, message);
                QueryLanguage::JsonPath
            }
            (Some(own), _) => own,
            (None, whole) => whole,
        }
    }
}

type ReadKind = for<'d> fn(&Reading<'_, 'd>, &mut Machine<'d>) -> Option<Kind>;

/// The state types, in the order in which the service lists them.
const TYPES: &[(&str, ReadKind)] = &[
    ("Task", |state, _| task(state).map(Box::new).map(Kind::Task)),
    ("Wait", |state, _| simple::wait(state).map(Kind::Wait)),
    ("Pass", |state, _| simple::pass(state).map(Kind::Pass)),
    ("Succeed", |state, _| {
        simple::succeed(state).map(Kind::Succeed)
    }),
    ("Fail", |state, _| simple::fail(state).map(Kind::Fail)),
    ("Choice", |state, _| choice(state).map(Kind::Choice)),
    ("Parallel", |state, machine| {
        parallel(state, machine).map(Kind::Parallel)
    }),
    ("Map", |state, machine| {
        map(state, machine).map(Box::new).map(Kind::Map)
    }),
];

fn parallel<'d>(state: &Reading<'_, 'd>, machine: &mut Machine<'d>) -> Option<Parallel> {
    let io = state.io(&Row::PARALLEL);
    let then = state.then();
    let handlers = handlers(state);
    let nodes = state
        .fields
        .required("Branches")
        .and_then(|node| node.some_items())?;
    let kind = machine.kind;
    let branches: Vec<Option<Flow>> = nodes
        .iter()
        .map(|node| machine.nested(&node.fields()?, state.id, kind))
        .collect();
    let branches: Option<Vec<Flow>> = branches.into_iter().collect();
    Some(Parallel {
        io,
        branches: branches?,
        handlers,
        then: then?,
    })
}

fn query_language(fields: &Fields) -> Option<QueryLanguage> {
    let languages = [
        ("JSONPath", QueryLanguage::JsonPath),
        ("JSONata", QueryLanguage::Jsonata),
    ];
    let node = fields.get("QueryLanguage")?;
    let word = node.word("QueryLanguage", &languages);
    // The service takes all but the one word for JSONata.
    word.or((!node.is_substitution()).then_some(QueryLanguage::Jsonata))
}

/// The state machine's language where it stands within `States`: published workflows have it there.
fn language_among_states(fields: &Fields) -> Option<QueryLanguage> {
    let states = fields
        .member("States")
        .filter(|node| node.value.as_object().is_some())?
        .fields()?;
    let node = states
        .member("QueryLanguage")
        .filter(|node| node.value.as_str().is_some())?;
    let hint = Some("move \"QueryLanguage\" out of \"States\", to the state machine".to_owned());
    node.fault_with_hint(
        Code::LanguagePlace,
        "Field 'QueryLanguage' belongs to the state machine, not to its states",
        hint,
    );
    query_language(&states)
}

/// Whether a member of `States` is the query language and no state.
fn is_language(name: &str, node: &Node) -> bool {
    name == "QueryLanguage" && node.value.as_str().is_some()
}

fn comment(fields: &Fields) -> Option<Arc<str>> {
    fields.get("Comment")?.text().map(Arc::from)
}

fn check_state_name(name: &str, node: &Node) {
    if name.is_empty() {
        node.fault(Code::StateName, "State name cannot be empty");
    } else if name.chars().count() > STATE_NAME_CHARS_MAX {
        node.fault(
            Code::StateName,
            format!("State name exceeds {STATE_NAME_CHARS_MAX} characters"),
        );
    }
}
