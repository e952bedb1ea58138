//! The world outside: people who answer task tokens, workers of an activity, and whoever starts executions. Hides how
//! they live through the server's absences.

use std::{
    collections::HashMap,
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::Path,
    sync::{
        Mutex, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use stepwell_tests::server::{CallError, Client, Dice};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(25);

/// What all outside share.
pub(super) struct World {
    /// The server of now; none while there is none.
    pub(super) server: RwLock<Option<Client>>,
    pub(super) over: AtomicBool,
    /// Executions that were started, the first of all.
    pub(super) started: AtomicU64,
    /// Calls that got no answer.
    pub(super) lost: AtomicU64,
    /// Task tokens and what became of the answer to them.
    pub(super) answers: Mutex<HashMap<String, Answer>>,
    /// What went against the rules.
    pub(super) wrong: Mutex<Vec<String>>,
}

/// An answer to a task token.
#[derive(Clone)]
pub(super) struct Answer {
    pub(super) execution: String,
    pub(super) call: String,
    pub(super) nonce: u64,
    /// The server said that it has it.
    pub(super) accepted: bool,
}

impl World {
    pub(super) fn new() -> World {
        World {
            server: RwLock::new(None),
            over: AtomicBool::new(false),
            started: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            answers: Mutex::default(),
            wrong: Mutex::default(),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    pub(super) fn complain(&self, wrong: String) {
        self.wrong
            .lock()
            .expect("nobody panics holding it")
            .push(wrong);
    }

    /// Calls until there is an answer; `None` when all is over.
    pub(super) fn call(
        &self,
        operation: &str,
        request: &Value,
    ) -> Option<Result<Value, CallError>> {
        let mut first = true;
        while !self.is_over() {
            let server = *self.server.read().expect("nobody panics holding it");
            if let Some(client) = server {
                match client.call(operation, request) {
                    Err(CallError::Lost(_)) => drop(self.lost.fetch_add(1, Ordering::Relaxed)),
                    // A repeated call may find that it was carried out already.
                    Err(refused) if first => return Some(Err(refused)),
                    other => return Some(other.or(Ok(Value::Null))),
                }
                first = false;
            }
            std::thread::sleep(LOOK);
        }
        None
    }

    fn answer(&self, token: &str, answer: Answer) {
        let output = json!({ "call": answer.call, "nonce": answer.nonce }).to_string();
        let request = json!({ "taskToken": token, "output": output });
        let mut answer = answer;
        match self.call("SendTaskSuccess", &request) {
            Some(Ok(reply)) => answer.accepted = !reply.is_null(),
            // The attempt may have been given up in a crash; the next one has a token of its own.
            Some(Err(CallError::Refused { code, .. })) if code == "TaskTimedOut" => {}
            Some(Err(error)) => {
                self.complain(format!(
                    "{}: {}: the answer: {error}",
                    answer.execution, answer.call
                ));
            }
            None => {}
        }
        let mut answers = self.answers.lock().expect("nobody panics holding it");
        answers.insert(token.to_owned(), answer);
    }
}

/// Answers each token that a task wrote down, some time later.
pub(super) fn people(world: &World, calls: &Path, mut dice: Dice) {
    let mut read = 0;
    let mut due: Vec<(Instant, String, Answer)> = Vec::new();
    let mut seen = HashMap::new();
    while !world.is_over() {
        for line in lines_from(calls, &mut read) {
            let Some(token) = line["token"].as_str() else {
                continue;
            };
            if seen.insert(token.to_owned(), ()).is_some() {
                continue;
            }
            let answer = Answer {
                execution: text(&line, "execution"),
                call: text(&line, "call"),
                nonce: dice.roll(0..1 << 40),
                accepted: false,
            };
            let later = Duration::from_millis(dice.roll(0..2_000));
            due.push((Instant::now() + later, token.to_owned(), answer));
        }
        let now = Instant::now();
        let (ready, waiting) = due.into_iter().partition(|(at, _, _)| *at <= now);
        due = waiting;
        let ready: Vec<_> = ready;
        for (_, token, answer) in ready {
            world.answer(&token, answer);
        }
        std::thread::sleep(LOOK);
    }
}

/// Works on an activity's tasks.
pub(super) fn worker(world: &World, activity: &str, mut dice: Dice) {
    while !world.is_over() {
        let request = json!({ "activityArn": activity, "workerName": "outside" });
        let Some(given) = world.call("GetActivityTask", &request) else {
            return;
        };
        let given = match given {
            Ok(given) => given,
            Err(error) => {
                world.complain(format!("GetActivityTask: {error}"));
                return;
            }
        };
        let Some(token) = given["taskToken"].as_str() else {
            continue;
        };
        let input: Value =
            serde_json::from_str(given["input"].as_str().unwrap_or("null")).unwrap_or_default();
        let answer = Answer {
            execution: text(&input, "execution"),
            call: text(&input, "call"),
            nonce: dice.roll(0..1 << 40),
            accepted: false,
        };
        let known = world
            .answers
            .lock()
            .expect("nobody panics holding it")
            .contains_key(token);
        if known {
            world.complain(format!(
                "{}: {}: a worker got its task twice",
                answer.execution, answer.call
            ));
            continue;
        }
        std::thread::sleep(Duration::from_millis(input["ms"].as_u64().unwrap_or(5)));
        world.answer(token, answer);
    }
}

/// The whole lines of a file from a place on, which moves on.
pub(super) fn lines_from(file: &Path, read: &mut u64) -> Vec<Value> {
    let mut text = String::new();
    let opened = File::open(file).and_then(|mut file| {
        file.seek(SeekFrom::Start(*read))?;
        file.read_to_string(&mut text)
    });
    if opened.is_err() {
        return Vec::new();
    }
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    *read += whole as u64;
    let parse = |line| serde_json::from_str(line).expect("guests write a JSON line in one write");
    text[..whole].lines().map(parse).collect()
}

fn text(value: &Value, member: &str) -> String {
    value[member].as_str().unwrap_or_default().to_owned()
}
