//! What is accepted and probably not meant: rules that never hold, results that nobody takes over, variables that nobody
//! reads. Hides the walk over all states; every finding is a warning, and none changes the program.

mod choice;
mod data;
mod handlers;
mod languages;
mod tasks;
mod variables;

use stepwell_query::Value;

use crate::graph::Scopes;
use crate::node::Node;
use crate::program::{ExecutionType, Kind, Mode, Program, State, StateId};

/// One state with its text.
struct Advised<'a, 'd> {
    program: &'a Program,
    id: StateId,
    state: &'a State,
    node: &'a Node<'d>,
    /// Type of the executions that the state belongs to.
    kind: ExecutionType,
}

/// Warns of what a whole state machine holds. `whole` is its text, in which nothing is refused.
pub(crate) fn advise(whole: &Node, program: &Program, scopes: &Scopes, kind: ExecutionType) {
    let mut variables = variables::Usage::of(program, scopes);
    flow(whole, program, kind, &mut |advised| {
        choice::check(advised);
        data::check(advised);
        handlers::check(advised);
        languages::check(advised);
        tasks::check(advised);
        variables.check(advised);
    });
    variables.finish(whole.report);
}

/// Calls `visit` with each state of a flow and of those nested in it.
fn flow(
    node: &Node,
    program: &Program,
    kind: ExecutionType,
    visit: &mut dyn FnMut(&Advised<'_, '_>),
) {
    let Some(states) = node.below("States") else {
        return;
    };
    for (name, state) in states.members() {
        let Some(id) = program.find(name) else {
            continue;
        };
        let advised = Advised {
            program,
            id,
            state: &program[id],
            node: &state,
            kind,
        };
        visit(&advised);
        nested(&advised, visit);
    }
}

fn nested(advised: &Advised<'_, '_>, visit: &mut dyn FnMut(&Advised<'_, '_>)) {
    let Advised {
        program,
        state,
        node,
        kind,
        ..
    } = *advised;
    match &state.kind {
        Kind::Parallel(_) => {
            for branch in node.below("Branches").iter().flat_map(Node::elements) {
                flow(&branch, program, kind, visit);
            }
        }
        Kind::Map(map) => {
            let kind = match &map.mode {
                Mode::Inline => kind,
                Mode::Distributed(distributed) => distributed.execution_type,
            };
            for name in ["ItemProcessor", "Iterator"] {
                if let Some(processor) = node.below(name) {
                    flow(&processor, program, kind, visit);
                }
            }
        }
        Kind::Pass(_)
        | Kind::Task(_)
        | Kind::Choice(_)
        | Kind::Wait(_)
        | Kind::Succeed(_)
        | Kind::Fail(_) => {}
    }
}

/// Whether `found` holds of a text somewhere in a value.
fn some_text(value: &Value, found: &mut dyn FnMut(&str) -> bool) -> bool {
    match value {
        Value::String(text) => found(text),
        Value::Array(items) => items.iter().any(|item| some_text(item, found)),
        Value::Object(members) => members.values().any(|member| some_text(member, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
