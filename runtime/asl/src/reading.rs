//! What the readers of all state types share: one state's fields in its language, transitions, input and output
//! processing, values given in several ways. Hides which field belongs to which language.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::codes::Code;
use crate::expr::Slot;
use crate::hint::nearest;
use crate::limits::VARIABLE_NAME_CHARS_MAX;
use crate::node::{Fields, Node, Place};
use crate::program::{
    Assign, ExecutionType, Given, Io, JsonataIo, PathIo, Payload, QueryLanguage, ResultPath,
    Selection, StateId, Then,
};

/// One state as it is read.
pub(crate) struct Reading<'a, 'd> {
    pub(crate) id: StateId,
    pub(crate) fields: &'a Fields<'d>,
    pub(crate) language: QueryLanguage,
    pub(crate) siblings: &'a Siblings,
    pub(crate) machine: ExecutionType,
}

/// The states of one flow by name, and what their reading finds out about the flow as a graph.
#[derive(Default)]
pub(crate) struct Siblings {
    pub(crate) ids: BTreeMap<Arc<str>, StateId>,
    pub(crate) graph: RefCell<Graph>,
}

#[derive(Default)]
pub(crate) struct Graph {
    /// From, to.
    pub(crate) edges: Vec<(StateId, StateId)>,
    /// Whether some state ends the flow.
    pub(crate) ends: bool,
    /// Whether a state could not be read far enough to know where it leads.
    pub(crate) broken: bool,
    /// Variables that the states assign, with the places of the assignments.
    pub(crate) assigned: Vec<(Arc<str>, Place)>,
    /// Whether the targets are not part of the text (a single state is tested).
    pub(crate) open: bool,
}

/// How the service begins to say that a target is missing; its name follows.
pub(crate) const MISSING_TARGET: &str = "Missing 'Next' target: ";

impl Siblings {
    /// The state that a `StartAt`, `Next` or `Default` names.
    pub(crate) fn target(&self, node: &Node) -> Option<StateId> {
        let Some(name) = node.text() else {
            self.graph.borrow_mut().broken = true;
            return None;
        };
        let found = self.ids.get(name).copied();
        if found.is_none() && node.is_unfinished() {
            self.graph.borrow_mut().broken = true;
        } else if found.is_none() {
            let mut diagnostic =
                node.diagnostic(Code::MissingTarget, format!("{MISSING_TARGET}{name}"));
            let detail = match (self.ids.len(), self.ids.keys().next()) {
                (1, Some(only)) => {
                    format!(
                        "there is no \"{name}\": \"{only}\" is the only state of this state machine"
                    )
                }
                (count, _) => {
                    format!("\"{name}\" is not among the {count} states of this state machine")
                }
            };
            diagnostic.detail = Some(detail);
            diagnostic.hint = node
                .report
                .searched_hint(|| nearest(name, self.ids.keys().map(|name| &**name)));
            node.report.add(diagnostic);
        }
        found
    }
}

/// Which input and output fields a state type has, per the table of the states language.
pub(crate) struct Row {
    pub(crate) parameters: bool,
    pub(crate) result_selector: bool,
    pub(crate) result_path: bool,
    pub(crate) arguments: bool,
    pub(crate) assign: bool,
}

impl Row {
    pub(crate) const PASS: Row = Row {
        parameters: true,
        result_selector: false,
        result_path: true,
        arguments: false,
        assign: true,
    };
    pub(crate) const TASK: Row = Row {
        parameters: true,
        result_selector: true,
        result_path: true,
        arguments: true,
        assign: true,
    };
    pub(crate) const CHOICE: Row = Row {
        parameters: false,
        result_selector: false,
        result_path: false,
        arguments: false,
        assign: true,
    };
    pub(crate) const WAIT: Row = Row::CHOICE;
    pub(crate) const SUCCEED: Row = Row {
        assign: false,
        ..Row::CHOICE
    };
    pub(crate) const PARALLEL: Row = Row::TASK;
    /// A Map's `Parameters` are its `ItemSelector`.
    pub(crate) const MAP: Row = Row {
        parameters: false,
        result_selector: true,
        result_path: true,
        arguments: false,
        assign: true,
    };
}

impl<'a, 'd> Reading<'a, 'd> {
    /// A reading of an object within the state, in the same language.
    pub(crate) fn within<'b>(&'b self, fields: &'b Fields<'d>) -> Reading<'b, 'd> {
        Reading { fields, ..*self }
    }

    /// The state that this field names, noted as one that this state leads to.
    pub(crate) fn target(&self, node: &Node<'d>) -> Option<StateId> {
        let target = self.siblings.target(node)?;
        self.siblings
            .graph
            .borrow_mut()
            .edges
            .push((self.id, target));
        Some(target)
    }

    /// The required `Next` of a rule or catcher.
    pub(crate) fn next(&self) -> Option<StateId> {
        let next = self.fields.required("Next");
        if next.is_none() {
            self.siblings.graph.borrow_mut().broken = true;
        }
        self.target(&next?)
    }

    /// `Next` or `End`.
    pub(crate) fn then(&self) -> Option<Then> {
        let ends = self.fields.get("End").and_then(|node| node.boolean()) == Some(true);
        let next = self.fields.get("Next");
        match (next, ends) {
            (Some(next), false) => self.target(&next).map(Then::Next),
            (None, true) => {
                self.end();
                Some(Then::End)
            }
            (Some(next), true) => {
                self.fields.node.fault(
                    Code::Exclusive,
                    "Only one of these fields is allowed: [Next, End]",
                );
                self.end();
                self.target(&next).map(Then::Next)
            }
            (None, false) => {
                self.fields.node.fault_with_hint(
                    Code::Missing,
                    "One of these fields is required: [Next, End]",
                    Some(
                        "add \"Next\" with the state that follows, or \"End\": true where the flow ends"
                            .to_owned(),
                    ),
                );
                self.siblings.graph.borrow_mut().broken = true;
                None
            }
        }
    }

    /// Notes that this state ends its flow.
    pub(crate) fn end(&self) {
        self.siblings.graph.borrow_mut().ends = true;
    }

    /// The input and output processing of a state type.
    pub(crate) fn io(&self, row: &Row) -> Io {
        let when = |has: bool, name: &'static str| has.then(|| self.fields.get(name)).flatten();
        match self.language {
            QueryLanguage::JsonPath => Io::Path(Box::new(PathIo {
                input_path: self.selection("InputPath"),
                parameters: when(row.parameters, "Parameters").and_then(|node| node.template()),
                result_selector: when(row.result_selector, "ResultSelector")
                    .filter(|node| !node.value.is_null())
                    .and_then(|node| node.template()),
                result_path: if row.result_path {
                    self.result_path()
                } else {
                    ResultPath::Replace
                },
                output_path: self.selection("OutputPath"),
                assign: row.assign.then(|| self.assign_path()).flatten(),
            })),
            QueryLanguage::Jsonata => Io::Jsonata(Box::new(JsonataIo {
                arguments: when(row.arguments, "Arguments")
                    .and_then(|node| node.jsonata_template(Slot::State)),
                output: self
                    .fields
                    .get("Output")
                    .and_then(|node| node.jsonata_template(Slot::State)),
                assign: row
                    .assign
                    .then(|| self.assign_jsonata(Slot::State))
                    .flatten(),
            })),
        }
    }

    fn selection(&self, name: &'static str) -> Selection {
        match self.fields.get(name) {
            None => Selection::All,
            Some(node) if node.value.is_null() => Selection::Nothing,
            Some(node) if node.value.as_str() == Some("$") => Selection::All,
            Some(node) => node.path().map_or(Selection::All, Selection::Path),
        }
    }

    /// `ResultPath`.
    pub(crate) fn result_path(&self) -> ResultPath {
        match self.fields.get("ResultPath") {
            None => ResultPath::Replace,
            Some(node) if node.value.is_null() => ResultPath::Discard,
            Some(node) => match node.input_reference_path() {
                Some(path) if !path.is_root() => ResultPath::Insert(path),
                Some(_) | None => ResultPath::Replace,
            },
        }
    }

    /// `Assign` in JSONPath.
    pub(crate) fn assign_path(&self) -> Option<Assign<stepwell_query::Template>> {
        let (names, node) = self.assigned_names()?;
        Some(Assign {
            names,
            values: node.template()?,
        })
    }

    /// `Assign` in JSONata.
    pub(crate) fn assign_jsonata(
        &self,
        slot: Slot,
    ) -> Option<Assign<stepwell_query::JsonataTemplate>> {
        let (names, node) = self.assigned_names()?;
        Some(Assign {
            names,
            values: node.jsonata_template(slot)?,
        })
    }

    fn assigned_names(&self) -> Option<(Vec<Arc<str>>, Node<'d>)> {
        let node = self.fields.get("Assign")?;
        let members = node.fields()?;
        let names = members.all().map(|(name, value)| {
            let name = match self.language {
                QueryLanguage::JsonPath => name.strip_suffix(".$").unwrap_or(name),
                QueryLanguage::Jsonata => name,
            };
            check_variable_name(name, &value);
            let name: Arc<str> = name.into();
            self.siblings
                .graph
                .borrow_mut()
                .assigned
                .push((name.clone(), value.place));
            name
        });
        Some((names.collect(), node))
    }

    /// A payload in the state's language: the first field in JSONPath, the second in JSONata.
    pub(crate) fn payload(&self, path: &'static str, jsonata: &'static str) -> Option<Payload> {
        match self.language {
            QueryLanguage::JsonPath => self.fields.get(path)?.template().map(Payload::Path),
            QueryLanguage::Jsonata => self
                .fields
                .get(jsonata)?
                .jsonata_template(Slot::State)
                .map(Payload::Jsonata),
        }
    }

    /// A number of that range, given plainly, by a `…Path` field, or by an expression.
    pub(crate) fn given(
        &self,
        plain: &'static str,
        path: &'static str,
        range: RangeInclusive<u32>,
    ) -> Option<Given<u32>> {
        self.given_by(plain, path, |node| node.integer(range))
    }

    /// As [`Reading::given`], for numbers from 1.
    pub(crate) fn given_positive(
        &self,
        plain: &'static str,
        path: &'static str,
        most: u32,
    ) -> Option<Given<NonZeroU32>> {
        self.given_by(plain, path, |node| {
            node.integer(1..=most).and_then(NonZeroU32::new)
        })
    }

    /// A value given plainly, by a `…Path` field, or by an expression.
    pub(crate) fn given_by<T>(
        &self,
        plain: &'static str,
        path: &'static str,
        read: impl FnOnce(&Node<'d>) -> Option<T>,
    ) -> Option<Given<T>> {
        if self.language == QueryLanguage::JsonPath {
            self.fields.at_most_one(&[plain, path]);
        }
        self.first_given(plain, path, read)
    }

    /// As [`Reading::given_by`], where it was seen to that only one of the fields is there.
    pub(crate) fn first_given<T>(
        &self,
        plain: &'static str,
        path: &'static str,
        read: impl FnOnce(&Node<'d>) -> Option<T>,
    ) -> Option<Given<T>> {
        let fixed = self.fields.get(plain);
        match (self.language, fixed) {
            (QueryLanguage::JsonPath, Some(node)) => {
                node.warn_of_path();
                read(&node).map(Given::Fixed)
            }
            (QueryLanguage::JsonPath, None) => {
                self.fields.get(path)?.reference_path().map(Given::Path)
            }
            (QueryLanguage::Jsonata, Some(node)) if node.is_jsonata() => {
                node.expression(Slot::State).map(Given::Jsonata)
            }
            (QueryLanguage::Jsonata, Some(node)) => read(&node).map(Given::Fixed),
            (QueryLanguage::Jsonata, None) => None,
        }
    }
}

/// Reports a name that no variable can have.
fn check_variable_name(name: &str, node: &Node) {
    if let Some(message) = variable_name_fault(name) {
        node.fault(Code::VariableName, message);
    }
}

/// Why no workflow variable can have that name; `None` when one can.
pub fn variable_name_fault(name: &str) -> Option<String> {
    let mut characters = name.chars();
    let begins = characters
        .next()
        .is_some_and(|c| c.is_alphabetic() || c == '_');
    let sound = begins && characters.all(|c| c.is_alphanumeric() || c == '_');
    if !sound {
        Some(format!(
            "Variable name '{name}' must be an identifier: letters, digits and '_', not beginning with a digit"
        ))
    } else if name.chars().count() > VARIABLE_NAME_CHARS_MAX {
        Some(format!(
            "Variable name '{name}' exceeds {VARIABLE_NAME_CHARS_MAX} characters"
        ))
    } else if name == "states" {
        Some("Variable name 'states' is reserved".to_owned())
    } else {
        None
    }
}
