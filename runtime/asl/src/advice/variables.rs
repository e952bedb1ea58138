//! Variables that nobody reads, and those that are read and nobody assigns. Hides which scopes a state sees.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Advised;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::expr::each_string;
use crate::graph::Scopes;
use crate::hint::nearest;
use crate::node::{Node, Place, Report};
use crate::program::{Kind, Mode, Program, StateId};

/// A scope: the state around it, none for the outermost.
type Scope = Option<StateId>;

/// Which variables the states seen so far read.
pub(super) struct Usage<'p> {
    program: &'p Program,
    scopes: &'p Scopes,
    /// What each scope assigns.
    names: BTreeMap<Scope, BTreeSet<&'p str>>,
    /// What each state reads.
    reads: BTreeMap<Arc<str>, Vec<Arc<str>>>,
    used: BTreeSet<(Scope, &'p str)>,
    /// Unknown variables that were looked for in the text of their states.
    located: usize,
}

/// Unknown variables of a definition that are looked for in the text, and known ones like them: nobody reads the
/// hundredth, and each is a walk over a state (ours).
const LOCATED_MAX: usize = 20;

impl<'p> Usage<'p> {
    pub(super) fn of(program: &'p Program, scopes: &'p Scopes) -> Usage<'p> {
        let names = scopes
            .iter()
            .map(|(scope, assigned)| (*scope, assigned.iter().map(|(name, _)| &**name).collect()))
            .collect();
        Usage {
            program,
            scopes,
            names,
            reads: program.variable_references(),
            used: BTreeSet::new(),
            located: 0,
        }
    }

    /// Notes what a state reads, and warns of what no state assigns that it could read.
    pub(super) fn check(&mut self, advised: &Advised<'_, '_>) {
        let Some(reads) = self.reads.remove(&advised.state.name) else {
            return;
        };
        let visible = self.visible(advised.id);
        for name in &reads {
            let mut known = false;
            for scope in &visible {
                let names = self.names.get(scope);
                let found = names.and_then(|names| names.get(&**name)).copied();
                if let Some(found) = found {
                    self.used.insert((*scope, found));
                    known = true;
                }
            }
            if !known {
                self.located += 1;
                self.unknown(advised.node, &visible, name);
            }
        }
    }

    /// The scopes whose variables a state sees, its own first. A distributed Map's children see none from without.
    fn visible(&self, id: StateId) -> Vec<Scope> {
        let mut visible = Vec::new();
        let mut state = Some(id);
        while let Some(id) = state {
            let scope = self.program[id].parent;
            visible.push(scope);
            let distributed = scope.is_some_and(|around| {
                matches!(&self.program[around].kind, Kind::Map(map) if matches!(map.mode, Mode::Distributed(_)))
            });
            state = scope.filter(|_| !distributed);
        }
        visible
    }

    fn unknown(&self, state: &Node<'_>, visible: &[Scope], name: &str) {
        let located = self.located <= LOCATED_MAX;
        let elsewhere = self.names.values().any(|names| names.contains(name));
        let message = if elsewhere {
            format!("Variable '{name}' is read, and no state assigns it where this one can see it")
        } else {
            format!("Variable '{name}' is read, and no state assigns it")
        };
        let hint = if elsewhere {
            Some(
                "branches and iterations keep their variables to themselves, and a distributed Map's children see \
                 none from without"
                    .to_owned(),
            )
        } else if !located {
            None
        } else {
            let names = visible.iter().filter_map(|scope| self.names.get(scope));
            nearest(name, names.flatten().copied())
        };
        let at = located.then(|| first_use(state, name)).flatten();
        at.as_ref()
            .unwrap_or(state)
            .fault_with_hint(Code::UnknownVariable, message, hint);
    }

    /// Warns of the variables that no state has read.
    pub(super) fn finish(self, report: &Report) {
        for (scope, assigned) in self.scopes {
            let mut told: BTreeSet<&str> = BTreeSet::new();
            for (name, place) in assigned {
                if !self.used.contains(&(*scope, &**name)) && told.insert(name) {
                    report.add(unused(name, place));
                }
            }
        }
    }
}

/// The first text of a state that has the variable in it.
fn first_use<'d>(state: &Node<'d>, name: &str) -> Option<Node<'d>> {
    let written = format!("${name}");
    let mut first = None;
    each_string(state, None, &mut |_, node, text| {
        if first.is_none() && text.contains(&written) {
            first = Some(node.clone());
        }
    });
    first
}

fn unused(name: &str, place: &Place) -> Diagnostic {
    let message = format!("Variable '{name}' is assigned and never read");
    let mut diagnostic = Diagnostic::at(place, Code::UnusedVariable, message);
    diagnostic.hint = Some("remove it, or read it as $".to_owned() + name);
    diagnostic
}
