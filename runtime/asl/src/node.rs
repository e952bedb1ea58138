//! A cursor over the definition's JSON: a value, where it stands, and the report its faults go to. Hides how places
//! are written (JSON Pointer here, the service's own form on the wire) and the checks that every field shares.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::sync::Arc;

use stepwell_query::{Array, Object, Value, ValueKind};

use crate::codes::{Code, Severity};
use crate::diagnostic::{Diagnostic, shortened};
use crate::hint::nearest;
use crate::limits::SEARCHED_HINTS_MAX;
use crate::program::QueryLanguage;
use crate::reading::MISSING_TARGET;

/// Collects the diagnostics of one load.
pub(crate) struct Report {
    diagnostics: RefCell<Vec<Diagnostic>>,
    /// Whether `${…}` may stand for a value that is substituted later.
    pub(crate) allow_substitutions: bool,
}

impl Report {
    pub(crate) fn new(allow_substitutions: bool) -> Report {
        Report {
            diagnostics: RefCell::default(),
            allow_substitutions,
        }
    }

    pub(crate) fn add(&self, diagnostic: Diagnostic) {
        self.diagnostics.borrow_mut().push(diagnostic);
    }

    /// Whether the definition is refused by what was reported so far.
    pub(crate) fn has_errors(&self) -> bool {
        let diagnostics = self.diagnostics.borrow();
        diagnostics
            .iter()
            .any(|diagnostic| diagnostic.severity() == Severity::Error)
    }

    /// A hint that takes a search, as long as there are few diagnostics: nobody reads the hundredth.
    pub(crate) fn searched_hint(&self, search: impl FnOnce() -> Option<String>) -> Option<String> {
        if self.diagnostics.borrow().len() < SEARCHED_HINTS_MAX {
            search()
        } else {
            None
        }
    }

    /// Takes back what was said of fields of the other query language in the state at that place.
    pub(crate) fn drop_language_faults(&self, state: &Place) {
        let pointer = state.pointer();
        self.diagnostics.borrow_mut().retain(|diagnostic| {
            let within = diagnostic.pointer.strip_prefix(&pointer);
            let own =
                within.is_some_and(|rest| rest.starts_with('/') && !rest.contains("/States/"));
            diagnostic.code != Code::OtherLanguage || !own
        });
    }

    /// Tells of missing targets that are states all the same, but of another flow. `is_state` knows all states.
    pub(crate) fn tell_flows(&self, is_state: impl Fn(&str) -> bool) {
        for diagnostic in self.diagnostics.borrow_mut().iter_mut() {
            let name = diagnostic.message.strip_prefix(MISSING_TARGET);
            let Some(name) = name.filter(|name| is_state(name)) else {
                continue;
            };
            diagnostic.detail = Some(format!(
                "\"{name}\" is a state of this definition, but not of this flow: nothing leads into or out of the \
                 states of a Map or a Parallel"
            ));
            diagnostic.hint = Some(
                "a flow within ends with \"End\": true, and the Next of its Map or Parallel leads on"
                    .to_owned(),
            );
        }
    }

    pub(crate) fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.diagnostics.into_inner()
    }
}

/// Where a value stands, as a chain up to the root.
#[derive(Clone)]
pub(crate) struct Place(Option<Rc<Step>>);

struct Step {
    parent: Place,
    token: Token,
}

enum Token {
    Member(Arc<str>),
    Item(usize),
}

impl Place {
    pub(crate) fn root() -> Place {
        Place(None)
    }

    pub(crate) fn member(&self, name: &str) -> Place {
        Place(Some(Rc::new(Step {
            parent: self.clone(),
            token: Token::Member(name.into()),
        })))
    }

    pub(crate) fn item(&self, index: usize) -> Place {
        Place(Some(Rc::new(Step {
            parent: self.clone(),
            token: Token::Item(index),
        })))
    }

    /// The place below this one that a JSON Pointer names.
    pub(crate) fn below(&self, pointer: &str, value: &Value) -> Place {
        let (mut place, mut value) = (self.clone(), Some(value));
        for token in pointer.split('/').skip(1) {
            let name = token.replace("~1", "/").replace("~0", "~");
            if let Some(Value::Array(items)) = value {
                let index = name.parse().unwrap_or(0);
                place = place.item(index);
                value = items.get(index);
            } else {
                place = place.member(&name);
                value = value.and_then(|value| value.get(&name));
            }
        }
        place
    }

    /// The name of the member that stands here; `None` for elements and the root.
    pub(crate) fn name(&self) -> Option<&str> {
        match &self.0.as_ref()?.token {
            Token::Member(name) => Some(name),
            Token::Item(_) => None,
        }
    }

    /// RFC 6901: `/States/A~1B/Catch/0/Next`; empty for the root.
    pub(crate) fn pointer(&self) -> String {
        self.write(|text, token| match token {
            Token::Member(name) => {
                text.push('/');
                text.push_str(&name.replace('~', "~0").replace('/', "~1"));
            }
            Token::Item(index) => text.push_str(&format!("/{index}")),
        })
    }

    /// As the service writes it: `/States/A/Catch[0]/Next`; `/` for the root.
    pub(crate) fn location(&self) -> String {
        let text = self.write(|text, token| match token {
            Token::Member(name) => {
                text.push('/');
                text.push_str(name);
            }
            Token::Item(index) => text.push_str(&format!("[{index}]")),
        });
        if text.is_empty() {
            "/".to_owned()
        } else {
            text
        }
    }

    fn write(&self, push: impl Fn(&mut String, &Token)) -> String {
        let (mut steps, mut place) = (Vec::new(), self);
        while let Some(step) = &place.0 {
            steps.push(&step.token);
            place = &step.parent;
        }
        let mut text = String::new();
        for token in steps.into_iter().rev() {
            push(&mut text, token);
        }
        text
    }
}

/// A value of the definition, where it stands, and where its faults go.
#[derive(Clone)]
pub(crate) struct Node<'d> {
    pub(crate) value: &'d Value,
    pub(crate) place: Place,
    pub(crate) report: &'d Report,
}

impl<'d> Node<'d> {
    /// Reports a fault of this value.
    pub(crate) fn fault(&self, code: Code, message: impl Into<String>) {
        self.report.add(self.diagnostic(code, message));
    }

    /// Reports a fault of this value with a hint.
    pub(crate) fn fault_with_hint(
        &self,
        code: Code,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        self.report.add(Diagnostic {
            hint,
            ..self.diagnostic(code, message)
        });
    }

    /// A fault of this value, to be added to.
    pub(crate) fn diagnostic(&self, code: Code, message: impl Into<String>) -> Diagnostic {
        let mut diagnostic = Diagnostic::at(&self.place, code, message);
        diagnostic.value = match self.value.kind() {
            ValueKind::Object | ValueKind::Array => None,
            ValueKind::Null | ValueKind::Boolean | ValueKind::Number | ValueKind::String => {
                Some(shortened(&self.value.to_json()))
            }
        };
        diagnostic
    }

    /// The value as one whose members are asked for by name.
    pub(crate) fn fields(&self) -> Option<Fields<'d>> {
        let members = self.expect(self.value.as_object(), "Object")?;
        Some(Fields {
            members,
            node: self.clone(),
            asked: RefCell::default(),
        })
    }

    /// The elements with their places.
    pub(crate) fn items(&self) -> Option<Vec<Node<'d>>> {
        let items: &Array = self.expect(self.value.as_array(), "Array")?;
        Some(
            items
                .iter()
                .enumerate()
                .map(|(index, value)| self.child(self.place.item(index), value))
                .collect(),
        )
    }

    /// The member of that name, when the value is an object that has one.
    pub(crate) fn below(&self, name: &str) -> Option<Node<'d>> {
        let value = self.value.as_object()?.get(name)?;
        Some(self.child(self.place.member(name), value))
    }

    /// The members with their places, none when the value is no object.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&'d Arc<str>, Node<'d>)> {
        let members = self.value.as_object().into_iter();
        members
            .flat_map(|members| members.iter())
            .map(|(name, value)| (name, self.child(self.place.member(name), value)))
    }

    /// The elements with their places, none when the value is no array.
    pub(crate) fn elements(&self) -> Vec<Node<'d>> {
        let items = self
            .value
            .as_array()
            .into_iter()
            .flat_map(|items| items.iter());
        items
            .enumerate()
            .map(|(index, value)| self.child(self.place.item(index), value))
            .collect()
    }

    /// The elements of an array that must have some.
    pub(crate) fn some_items(&self) -> Option<Vec<Node<'d>>> {
        let items = self.items()?;
        if items.is_empty() {
            self.fault(Code::Empty, "Value cannot be empty");
            return None;
        }
        Some(items)
    }

    pub(crate) fn text(&self) -> Option<&'d str> {
        self.expect(self.value.as_str(), "String")
    }

    pub(crate) fn boolean(&self) -> Option<bool> {
        self.expect(self.value.as_bool(), "Boolean")
    }

    /// An integer of that range. One out of range is reported and brought to the nearest bound.
    pub(crate) fn integer(&self, range: RangeInclusive<u32>) -> Option<u32> {
        let number = self.expect(self.value.as_i64(), "Integer")?;
        let (least, most) = (*range.start(), *range.end());
        if number < i64::from(least) {
            self.fault(Code::OutOfRange, format!("Minimum value is {least}"));
        } else if number > i64::from(most) {
            self.fault(Code::OutOfRange, format!("Maximum value is {most}"));
        }
        let clamped = number.clamp(i64::from(least), i64::from(most));
        Some(u32::try_from(clamped).expect("the bounds are u32"))
    }

    /// A number of that range. One out of range is reported and brought to the nearest bound.
    pub(crate) fn number(&self, range: RangeInclusive<f64>) -> Option<f64> {
        let number = self.expect(self.value.as_f64(), "Float")?;
        let (least, most) = (*range.start(), *range.end());
        if number < least {
            self.fault(Code::OutOfRange, format!("Minimum value is {least:?}"));
        } else if number > most {
            self.fault(Code::OutOfRange, format!("Maximum value is {most:?}"));
        }
        Some(number.clamp(least, most))
    }

    /// A string that must be one of the words; `field` names it in the message.
    pub(crate) fn word<T: Copy>(&self, field: &str, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.expect(self.value.as_str(), "[STRING]")?;
        let found = words
            .iter()
            .find(|(word, _)| *word == text)
            .map(|(_, meaning)| *meaning);
        if found.is_none() {
            let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let all_words = all.join(", ");
            // The service words the state's type, by which it tells states apart, in its own way.
            let message = match field {
                "Type" => {
                    format!("The field 'Type' should have one of these values: [{all_words}]")
                }
                _ => format!("Value should be one of the following: [{all_words}]"),
            };
            self.fault_with_hint(Code::NotOneOf, message, nearest(text, all));
        }
        found
    }

    /// Whether the value is a `${…}`, or a template's `{"Ref": …}` or `{"Fn::…": …}`, that something else fills in
    /// later (and the caller allows that).
    pub(crate) fn is_substitution(&self) -> bool {
        let stands_in = match self.value {
            Value::String(text) => text.starts_with("${") && text.ends_with('}'),
            Value::Object(members) => {
                members.len() == 1
                    && members
                        .keys()
                        .all(|name| &**name == "Ref" || name.starts_with("Fn::"))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => false,
        };
        self.report.allow_substitutions && stands_in
    }

    /// Whether a part of the text is a `${…}` (and the caller allows that): what it says is not known yet.
    pub(crate) fn is_unfinished(&self) -> bool {
        self.report.allow_substitutions && holds_substitution(self.value)
    }

    fn child(&self, place: Place, value: &'d Value) -> Node<'d> {
        Node {
            value,
            place,
            report: self.report,
        }
    }

    fn expect<T>(&self, value: Option<T>, kind: &str) -> Option<T> {
        if value.is_none() && !self.is_substitution() {
            self.fault(Code::WrongType, format!("Expected value of type {kind}"));
        }
        value
    }
}

/// Whether a value is a text with a `${…}` in it.
pub(crate) fn holds_substitution(value: &Value) -> bool {
    let after = value.as_str().and_then(|text| text.split_once("${"));
    after.is_some_and(|(_, rest)| rest.contains('}'))
}

/// The members of an object. Who reads them asks for each by name; what nobody asked for is not supported.
pub(crate) struct Fields<'d> {
    members: &'d Object,
    pub(crate) node: Node<'d>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'d> Fields<'d> {
    /// The member of that name, if it is there.
    pub(crate) fn get(&self, name: &'static str) -> Option<Node<'d>> {
        self.asked.borrow_mut().push(name);
        self.members
            .get(name)
            .map(|value| self.node.child(self.node.place.member(name), value))
    }

    /// The member of that name; its absence is reported.
    pub(crate) fn required(&self, name: &'static str) -> Option<Node<'d>> {
        let member = self.get(name);
        if member.is_none() {
            self.missing(&[name]);
        }
        member
    }

    /// Reports that these members must be there.
    pub(crate) fn missing(&self, names: &[&str]) {
        self.node.fault(
            Code::Missing,
            format!("These fields are required: [{}]", names.join(", ")),
        );
    }

    /// Reports members that stand together though only one of them may; gives the names of those present.
    pub(crate) fn at_most_one(&self, names: &[&'static str]) -> Vec<&'static str> {
        self.asked.borrow_mut().extend(names);
        let present: Vec<&'static str> = names
            .iter()
            .copied()
            .filter(|name| self.has(name))
            .collect();
        if present.len() > 1 {
            self.node.fault(
                Code::Exclusive,
                format!(
                    "Only one of these fields is allowed: [{}]",
                    names.join(", ")
                ),
            );
        }
        present
    }

    /// As [`Fields::at_most_one`], and reports when none of them is there.
    pub(crate) fn exactly_one(&self, names: &[&'static str]) -> Vec<&'static str> {
        let present = self.at_most_one(names);
        if present.is_empty() {
            self.node.fault(
                Code::Missing,
                format!("One of these fields is required: [{}]", names.join(", ")),
            );
        }
        present
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// All members with their places.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'d Arc<str>, Node<'d>)> {
        self.members
            .iter()
            .map(|(name, value)| (name, self.node.child(self.node.place.member(name), value)))
    }

    /// The member of a name that is not fixed.
    pub(crate) fn member(&self, name: &str) -> Option<Node<'d>> {
        self.members
            .get(name)
            .map(|value| self.node.child(self.node.place.member(name), value))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Reports every member that nobody asked for.
    pub(crate) fn finish(&self, language: QueryLanguage) {
        let asked = self.asked.borrow();
        for name in self
            .members
            .keys()
            .filter(|name| !asked.contains(&name.as_ref()))
        {
            let at = self.node.place.member(name);
            let (code, message, hint) = match foreign_language(name, language) {
                Some(message) => (Code::OtherLanguage, message, other_field(name, language)),
                None => {
                    let hint = nearest(name, asked.iter().copied());
                    (
                        Code::Unsupported,
                        format!("Field '{name}' is not supported"),
                        hint,
                    )
                }
            };
            let mut diagnostic = self.node.diagnostic(code, message);
            diagnostic.pointer = at.pointer();
            diagnostic.hint = hint;
            self.node.report.add(diagnostic);
        }
    }
}

/// Fields of JSONPath states that JSONata has not.
const JSONPATH_ONLY: &[&str] = &[
    "InputPath",
    "OutputPath",
    "ResultPath",
    "Parameters",
    "Result",
    "ResultSelector",
    "ItemsPath",
    "Variable",
    "SecondsPath",
    "TimestampPath",
    "TimeoutSecondsPath",
    "HeartbeatSecondsPath",
    "ErrorPath",
    "CausePath",
    "MaxConcurrencyPath",
    "ToleratedFailureCountPath",
    "ToleratedFailurePercentagePath",
    "MaxItemsPath",
    "MaxItemsPerBatchPath",
    "MaxInputBytesPerBatchPath",
];

/// Fields of JSONata states that JSONPath has not.
const JSONATA_ONLY: &[&str] = &["Arguments", "Output", "Items", "Condition"];

/// What does the work of a field in the state's own language.
fn other_field(name: &str, language: QueryLanguage) -> Option<String> {
    let whole = "or add \"QueryLanguage\": \"JSONata\" to the state";
    let hint = match (language, name) {
        (QueryLanguage::Jsonata, "InputPath" | "Parameters") => {
            "\"Arguments\" takes what a Task or Parallel is given, {% $states.input %} for the input"
                .to_owned()
        }
        (QueryLanguage::Jsonata, "ResultSelector" | "ResultPath" | "OutputPath" | "Result") => {
            "\"Output\" takes what goes on, {% $states.result %} for the result".to_owned()
        }
        (QueryLanguage::Jsonata, "Variable") => {
            "\"Condition\" takes the rule's test: {% $states.input.x = 1 %}".to_owned()
        }
        (QueryLanguage::Jsonata, name) => {
            let plain = name.strip_suffix("Path")?;
            format!("\"{plain}\" takes an expression: {{% $states.input.x %}}")
        }
        (QueryLanguage::JsonPath, "Arguments") => format!("write \"Parameters\", {whole}"),
        (QueryLanguage::JsonPath, "Output") => {
            format!("write \"ResultPath\" or \"OutputPath\", {whole}")
        }
        (QueryLanguage::JsonPath, "Items") => format!("write \"ItemsPath\", {whole}"),
        (QueryLanguage::JsonPath, "Condition") => {
            format!("write \"Variable\" with an operator, {whole}")
        }
        (QueryLanguage::JsonPath, _) => return None,
    };
    Some(hint)
}

fn foreign_language(name: &str, language: QueryLanguage) -> Option<String> {
    let (own, other, foreign) = match language {
        QueryLanguage::JsonPath => ("JSONPath", "JSONata", JSONATA_ONLY),
        QueryLanguage::Jsonata => ("JSONata", "JSONPath", JSONPATH_ONLY),
    };
    foreign.contains(&name).then(|| {
        format!(
            "The QueryLanguage is set to '{own}', but field '{name}' is only supported for the '{other}' QueryLanguage"
        )
    })
}
