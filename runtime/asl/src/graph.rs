//! Checks of a flow as a whole: that it ends, that every state is reached, that no variable hides another. Hides the
//! walks over states and scopes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::node::{Fields, Place, Report};
use crate::program::{Kind, Mode, Program, StateId};
use crate::reading::Siblings;

/// Where a flow begins.
#[derive(Clone, Copy)]
pub(crate) enum Start {
    State(StateId),
    /// At a state that does not exist.
    Nowhere,
    /// There is no `StartAt`.
    Unknown,
}

/// Reports a state machine that never ends, else each state that no way from the start leads to. A branch or iteration
/// may go round for ever (measured on the service). A flow of which a part is not known is left alone: what could be
/// said of it would follow from faults reported already.
pub(crate) fn check_flow(states: &Fields, siblings: &Siblings, start: Start, nested: bool) {
    let graph = siblings.graph.borrow();
    if graph.broken || graph.open {
        return;
    }
    if !graph.ends && !nested {
        let mut diagnostic = Diagnostic::of_whole(Code::NoEnd, "Workflow has no terminal state");
        diagnostic.pointer = states.node.place.pointer();
        diagnostic.hint =
            Some("let a state have \"End\": true, or add a Succeed or Fail state".to_owned());
        states.node.report.add(diagnostic);
        return;
    }
    let start = match start {
        Start::State(start) => Some(start),
        Start::Nowhere => None,
        Start::Unknown => return,
    };
    let mut next: BTreeMap<StateId, Vec<StateId>> = BTreeMap::new();
    for (from, to) in &graph.edges {
        next.entry(*from).or_default().push(*to);
    }
    let mut open: Vec<StateId> = start.into_iter().collect();
    let mut reached: BTreeSet<StateId> = start.into_iter().collect();
    while let Some(state) = open.pop() {
        open.extend(
            next.get(&state)
                .into_iter()
                .flatten()
                .filter(|to| reached.insert(**to)),
        );
    }
    for (name, node) in states.all() {
        if siblings
            .ids
            .get(name)
            .is_some_and(|id| !reached.contains(id))
        {
            node.fault_with_hint(
                Code::Unreachable,
                format!("State \"{name}\" is not reachable."),
                Some(
                    "lead to it with \"Next\", \"Default\", a rule or a catcher, or remove it"
                        .to_owned(),
                ),
            );
        }
    }
}

/// The variables assigned by the states of each scope, with the places of their assignments. A scope is known by the
/// state around it: all branches of a Parallel state are listed together.
pub(crate) type Scopes = BTreeMap<Option<StateId>, Vec<(Arc<str>, Place)>>;

/// Reports variables of an outer scope that are assigned within a branch or an inline iteration.
pub(crate) fn check_scopes(program: &Program, scopes: &Scopes, report: &Report) {
    let names: BTreeMap<Option<StateId>, BTreeSet<&str>> = scopes
        .iter()
        .map(|(scope, assigned)| (*scope, assigned.iter().map(|(name, _)| &**name).collect()))
        .collect();
    for (scope, assigned) in scopes {
        let mut inner = *scope;
        while let Some(around) = inner {
            let state = &program[around];
            // A distributed Map's children are executions of their own.
            if matches!(&state.kind, Kind::Map(map) if matches!(map.mode, Mode::Distributed(_))) {
                break;
            }
            inner = state.parent;
            let Some(outer) = names.get(&inner) else {
                continue;
            };
            for (name, place) in assigned.iter().filter(|(name, _)| outer.contains(&**name)) {
                let message = format!(
                    "Variable '{name}' is assigned in an outer scope and cannot be assigned here"
                );
                report.add(Diagnostic::at(place, Code::Shadowing, message));
            }
        }
    }
}
