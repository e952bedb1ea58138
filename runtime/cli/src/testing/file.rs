//! The files of `stepwell test`. Mocked tasks are in the form that Step Functions Local reads; what a case starts from and
//! has to come to stands in members of our own beside it. Hides the form: all that is wrong is told at once, each with
//! its place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stepwell_asl::Program;
use stepwell_query::{Object, Value};

/// What a mocked task does at one attempt.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Response {
    Return(Value),
    Throw {
        error: Option<Arc<str>>,
        cause: Option<Arc<str>>,
    },
}

/// The attempts of a mocked response: first, last and what they do.
pub(crate) type Attempts = Vec<(u32, u32, Response)>;

/// An execution with mocked tasks.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// The mocked response of each state, by its name and what it does.
    pub(crate) mocked: BTreeMap<String, (String, Attempts)>,
    pub(crate) input: Value,
    pub(crate) expected: Expected,
}

/// A state alone.
#[derive(Clone, Debug)]
pub(crate) struct StateCase {
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) input: Value,
    pub(crate) variables: Vec<(Arc<str>, Value)>,
    pub(crate) context: Option<Value>,
    pub(crate) mock: Option<Response>,
    pub(crate) retries: u32,
    pub(crate) failed_iterations: Option<u32>,
    pub(crate) error_caused_by: Option<String>,
    pub(crate) read_items: Option<Value>,
    pub(crate) expected: Expected,
}

/// What has to come of a case; what is none may be anything.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) status: String,
    pub(crate) output: Option<Value>,
    pub(crate) error: Option<String>,
    pub(crate) cause: Option<String>,
    /// The states entered, in order.
    pub(crate) states: Option<Vec<String>>,
    /// Of a state alone.
    pub(crate) next: Option<String>,
}

/// All tests of one state machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tests {
    pub(crate) cases: Vec<Case>,
    pub(crate) states: Vec<StateCase>,
}

/// What is read: the file with the mocks, and one with what is expected where that is not in the same file.
pub(crate) struct Read<'a> {
    pub(crate) mocks: (&'a Path, &'a Value),
    pub(crate) expected: Option<(&'a Path, &'a Value)>,
    pub(crate) machine: &'a str,
    pub(crate) program: &'a Program,
}

/// The members of such files; the last two are for people and editors.
const MEMBERS: [&str; 6] = [
    "StateMachines",
    "MockedResponses",
    "Expectations",
    "StateTests",
    "Comment",
    "$schema",
];

/// The tests of the machine, or all that is wrong with them, a line each.
pub(crate) fn read(from: &Read<'_>) -> Result<Tests, Vec<String>> {
    let mut reader = Reader {
        file: from.mocks.0,
        program: from.program,
        faults: Vec::new(),
    };
    reader.known_members(from.mocks.1, "", &MEMBERS);
    let responses = reader.responses(from.mocks.1);
    let mut cases = reader.cases(from.mocks.1, from.machine, &responses);
    let (file, value) = from.expected.unwrap_or(from.mocks);
    reader.file = file;
    if from.expected.is_some() {
        reader.known_members(value, "", &MEMBERS);
    }
    reader.known_machines(value, from.mocks.1);
    let at = format!("/Expectations/{}", pointer(from.machine));
    let expectations = reader.members(value, &["Expectations", from.machine]);
    for (name, value) in expectations {
        let at = format!("{at}/{}", pointer(&name));
        match cases.iter_mut().find(|case| case.name == *name) {
            Some(case) => reader.expectation(case, &value, &at),
            None => reader.fault(&at, "is not among the test cases".to_owned()),
        }
    }
    let at = format!("/StateTests/{}", pointer(from.machine));
    let states = reader.members(value, &["StateTests", from.machine]);
    let states = states
        .into_iter()
        .filter_map(|(name, value)| {
            let at = format!("{at}/{}", pointer(&name));
            reader.state_case(&name, &value, &at)
        })
        .collect();
    if reader.faults.is_empty() {
        Ok(Tests { cases, states })
    } else {
        Err(reader.faults)
    }
}

struct Reader<'a> {
    file: &'a Path,
    program: &'a Program,
    faults: Vec<String>,
}

impl Reader<'_> {
    fn fault(&mut self, at: &str, what: String) {
        self.faults
            .push(format!("{}: {at} {what}", self.file.display()));
    }

    /// The members of the object at that path; absent ones are none.
    fn members(&mut self, value: &Value, path: &[&str]) -> Vec<(Arc<str>, Value)> {
        let mut found = Some(value);
        for name in path {
            found = found.and_then(|value| value.get(name));
        }
        match found {
            None => Vec::new(),
            Some(Value::Object(object)) => object
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            Some(other) => {
                let at: String = path
                    .iter()
                    .map(|name| format!("/{}", pointer(name)))
                    .collect();
                self.fault(&at, format!("must be an object, and is {}", shown(other)));
                Vec::new()
            }
        }
    }

    /// `MockedResponses`.
    fn responses(&mut self, file: &Value) -> BTreeMap<Arc<str>, Attempts> {
        let mut responses = BTreeMap::new();
        for (name, value) in self.members(file, &["MockedResponses"]) {
            let at = format!("/MockedResponses/{}", pointer(&name));
            let mut attempts = Attempts::new();
            for (range, value) in self.members(file, &["MockedResponses", &name]) {
                let at = format!("{at}/{}", pointer(&range));
                let Some((first, last)) = range_of(&range) else {
                    let what = "must be the number of an attempt such as \"0\", or a range such as \"1-2\"";
                    self.fault(&at, what.to_owned());
                    continue;
                };
                if attempts
                    .iter()
                    .any(|(from, to, _)| first <= *to && *from <= last)
                {
                    self.fault(&at, "overlaps with another member".to_owned());
                }
                if let Some(response) = self.response(&value, &at) {
                    attempts.push((first, last, response));
                }
            }
            if attempts.is_empty() && value.as_object().is_some_and(Object::is_empty) {
                self.fault(&at, "has no attempt; the first one is \"0\"".to_owned());
            }
            responses.insert(name, attempts);
        }
        responses
    }

    /// `{"Return": …}` or `{"Throw": {"Error", "Cause"}}`.
    fn response(&mut self, value: &Value, at: &str) -> Option<Response> {
        match (value.get("Return"), value.get("Throw")) {
            (Some(result), None) => Some(Response::Return(result.clone())),
            (None, Some(thrown)) => {
                let text = |name: &str| thrown.get(name).and_then(Value::as_str).map(Arc::from);
                let (error, cause) = (text("Error"), text("Cause"));
                if error.is_none() {
                    self.fault(
                        &format!("{at}/Throw"),
                        "needs the text \"Error\"".to_owned(),
                    );
                }
                Some(Response::Throw { error, cause })
            }
            (Some(_), Some(_)) | (None, None) => {
                self.fault(at, "must have either \"Return\" or \"Throw\"".to_owned());
                None
            }
        }
    }

    /// `StateMachines.NAME.TestCases`.
    fn cases(
        &mut self,
        file: &Value,
        machine: &str,
        responses: &BTreeMap<Arc<str>, Attempts>,
    ) -> Vec<Case> {
        let mut cases = Vec::new();
        let path = ["StateMachines", machine, "TestCases"];
        for (name, _) in self.members(file, &path) {
            let mut mocked = BTreeMap::new();
            let at = format!(
                "/StateMachines/{}/TestCases/{}",
                pointer(machine),
                pointer(&name)
            );
            let path = ["StateMachines", machine, "TestCases", &name];
            for (state, response) in self.members(file, &path) {
                let at = format!("{at}/{}", pointer(&state));
                self.known_state(&state, &at);
                let found = response
                    .as_str()
                    .and_then(|name| responses.get_key_value(name));
                match found {
                    Some((name, attempts)) => {
                        mocked.insert(state.to_string(), (name.to_string(), attempts.clone()));
                    }
                    None => {
                        let what = format!("{} is not among the MockedResponses", shown(&response));
                        self.fault(&at, what);
                    }
                }
            }
            cases.push(Case {
                name: name.to_string(),
                mocked,
                input: Value::empty_object(),
                expected: Expected::success(),
            });
        }
        cases
    }

    fn known_state(&mut self, state: &str, at: &str) {
        if self.program.find(state).is_none() {
            self.fault(at, "is no state of the state machine".to_owned());
        }
    }

    /// What a case starts from and has to come to.
    fn expectation(&mut self, case: &mut Case, value: &Value, at: &str) {
        const KNOWN: &[&str] = &[
            "Input",
            "InputFile",
            "Status",
            "Output",
            "OutputFile",
            "Error",
            "Cause",
            "States",
        ];
        const STATUS: &[&str] = &["SUCCEEDED", "FAILED", "TIMED_OUT"];
        self.known_members(value, at, KNOWN);
        if let Some(input) = self.given(value, "Input", at) {
            case.input = input;
        }
        case.expected = self.expected(value, at, STATUS);
        if let Some(states) = value.get("States") {
            let names = states.as_array().map(|states| {
                let name = |state: &Value| state.as_str().unwrap_or_default().to_owned();
                states.iter().map(name).collect::<Vec<String>>()
            });
            let at = format!("{at}/States");
            match names {
                Some(names) => {
                    names.iter().for_each(|name| self.known_state(name, &at));
                    case.expected.states = Some(names);
                }
                None => self.fault(&at, "must be an array of names of states".to_owned()),
            }
        }
    }

    fn expected(&mut self, value: &Value, at: &str, known: &[&str]) -> Expected {
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let status = text("Status").unwrap_or_else(|| known[0].to_owned());
        if !known.contains(&status.as_str()) {
            let what = format!("must be one of {}", known.join(", "));
            self.fault(&format!("{at}/Status"), what);
        }
        Expected {
            status,
            output: self.given(value, "Output", at),
            error: text("Error"),
            cause: text("Cause"),
            states: None,
            next: text("NextState"),
        }
    }

    /// A single state and what it has to come to.
    fn state_case(&mut self, name: &str, value: &Value, at: &str) -> Option<StateCase> {
        const KNOWN: &[&str] = &[
            "State",
            "Input",
            "InputFile",
            "Variables",
            "Context",
            "Mock",
            "RetrierRetryCount",
            "ErrorCausedByState",
            "MapIterationFailureCount",
            "MapItemReaderData",
            "Status",
            "Output",
            "OutputFile",
            "Error",
            "Cause",
            "NextState",
        ];
        const STATUS: &[&str] = &["SUCCEEDED", "FAILED", "RETRIABLE", "CAUGHT_ERROR"];
        self.known_members(value, at, KNOWN);
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let Some(state) = text("State") else {
            self.fault(at, "needs \"State\", the name of a state".to_owned());
            return None;
        };
        self.known_state(&state, &format!("{at}/State"));
        let mock = match value.get("Mock") {
            Some(mock) => self.response(mock, &format!("{at}/Mock")),
            None => None,
        };
        let mut count = |name: &str| {
            let number = value.get(name)?;
            let count = number
                .as_i64()
                .and_then(|number| u32::try_from(number).ok());
            if count.is_none() {
                self.fault(
                    &format!("{at}/{name}"),
                    "must be a number from 0".to_owned(),
                );
            }
            count
        };
        let retries = count("RetrierRetryCount").unwrap_or(0);
        let failed_iterations = count("MapIterationFailureCount");
        let variables = value.get("Variables").and_then(Value::as_object);
        Some(StateCase {
            name: name.to_owned(),
            state,
            input: self
                .given(value, "Input", at)
                .unwrap_or_else(Value::empty_object),
            variables: variables
                .into_iter()
                .flat_map(Object::iter)
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            context: value.get("Context").cloned(),
            mock,
            retries,
            failed_iterations,
            error_caused_by: text("ErrorCausedByState"),
            read_items: value.get("MapItemReaderData").cloned(),
            expected: self.expected(value, at, STATUS),
        })
    }

    fn known_members(&mut self, value: &Value, at: &str, known: &[&str]) {
        let Some(object) = value.as_object() else {
            return self.fault(at, format!("must be an object, and is {}", shown(value)));
        };
        for name in object.keys().filter(|name| !known.contains(&&***name)) {
            let what = format!("is not known; known are {}", known.join(", "));
            self.fault(&format!("{at}/{}", pointer(name)), what);
        }
    }

    /// What is expected of a state machine that has no test cases is a slip in its name.
    fn known_machines(&mut self, value: &Value, mocks: &Value) {
        let machines = mocks.get("StateMachines");
        for member in ["Expectations", "StateTests"] {
            for (name, _) in self.members(value, &[member]) {
                if machines.is_none_or(|machines| machines.get(&name).is_none()) {
                    let at = format!("/{member}/{}", pointer(&name));
                    self.fault(&at, "is not among the StateMachines".to_owned());
                }
            }
        }
    }

    /// The member itself, or the JSON in the file that `NAMEFile` names, seen from this file.
    fn given(&mut self, value: &Value, name: &str, at: &str) -> Option<Value> {
        let by_file = format!("{name}File");
        let at = format!("{at}/{by_file}");
        match (value.get(name), value.get(&by_file)) {
            (given, None) => given.cloned(),
            (Some(_), Some(_)) => {
                self.fault(&at, format!("and \"{name}\" are both there"));
                None
            }
            (None, Some(file)) => {
                let folder = self.file.parent().unwrap_or(Path::new(""));
                let path: PathBuf = folder.join(file.as_str().unwrap_or_default());
                let read = std::fs::read_to_string(&path).map_err(|error| error.to_string());
                let parsed =
                    read.and_then(|text| Value::parse(&text).map_err(|error| error.to_string()));
                if let Err(why) = &parsed {
                    let what = format!("names `{}`, which cannot be used: {why}", path.display());
                    self.fault(&at, what);
                }
                parsed.ok()
            }
        }
    }
}

impl Expected {
    fn success() -> Expected {
        Expected {
            status: "SUCCEEDED".to_owned(),
            output: None,
            error: None,
            cause: None,
            states: None,
            next: None,
        }
    }
}

fn range_of(text: &str) -> Option<(u32, u32)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

/// A name as a part of a JSON Pointer.
pub(super) fn pointer(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// A value cut to a readable length.
pub(super) fn shown(value: &Value) -> String {
    const CHARS_MAX: usize = 120;
    let text = value.to_json();
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
