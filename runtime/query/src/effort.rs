//! How much work the expressions of one state are, and how that work is done in pieces. Hides how it is told before
//! and counted after each of them, and how what is done is remembered until the state goes on.
//!
//! The unit of work is about a microsecond, at worst and roughly; it says enough to be fair by, and equal evaluations
//! are equal work wherever and whenever they are done.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use crate::{
    jsonata::JsonataFailureKind,
    limits::{JSONATA_TIME_MS_MAX, STATE_BYTES_MAX},
    path::PathErrorKind,
    value::Value,
};

/// The work of an expression that may take as long as its time bound lets it.
pub(crate) const LONG: u64 = JSONATA_TIME_MS_MAX * 1_000;
/// Values that a path visits for one unit of work.
const VISITS_A_UNIT: u64 = 32;
/// Bytes of JSON that are made ready for the engine for one unit of work.
const BYTES_A_UNIT: usize = 128;
/// Bytes that an intrinsic function reads or makes for one unit of work.
const CALL_BYTES_A_UNIT: usize = 32;

/// What the expressions of a state have come to so far, and what that took: [`Effort`] goes on from it.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    paths: Log<Result<Value, PathErrorKind>>,
    calls: Log<Result<Value, String>>,
    expressions: Log<Result<Option<Value>, JsonataFailureKind>>,
    /// Work of paths and intrinsic functions.
    work: u64,
    /// Bytes that were made.
    bytes: usize,
    /// Time of JSONata expressions.
    time: Duration,
}

/// Results in the order of their evaluations, and how many of them were given again.
#[derive(Clone, Debug)]
struct Log<T> {
    done: Vec<T>,
    next: usize,
}

impl<T> Default for Log<T> {
    fn default() -> Log<T> {
        Log {
            done: Vec::new(),
            next: 0,
        }
    }
}

impl<T: Clone> Log<T> {
    fn again(&mut self) -> Option<T> {
        let done = self.done.get(self.next)?.clone();
        self.next += 1;
        Some(done)
    }

    fn keep(&mut self, done: &T) {
        self.done.push(done.clone());
        self.next = self.done.len();
    }
}

impl Ledger {
    /// Whether nothing was evaluated that is worth remembering.
    pub fn is_empty(&self) -> bool {
        self.paths.done.is_empty() && self.calls.done.is_empty() && self.expressions.done.is_empty()
    }

    /// The evaluations begin anew, each of which was done is given again.
    pub fn rewind(&mut self) {
        self.paths.next = 0;
        self.calls.next = 0;
        self.expressions.next = 0;
    }
}

/// What the expressions of one state may be in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Work of paths and intrinsic functions, in about microseconds at worst.
    pub work: u64,
    /// Milliseconds that JSONata expressions take, with all that is done for them.
    pub time_ms: u64,
}

/// How much may be evaluated before the rest is put off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// All of it.
    Whole,
    /// What is no more than so much work, and one expression whatever it is.
    First(u64),
    /// What is no more than so much work.
    Left(u64),
}

/// Why nothing more is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Halt {
    PutOff,
    Exhausted,
}

/// Counts the work of evaluations, and stops between two of them. See [`crate::Scope::effort`].
#[derive(Debug)]
pub struct Effort {
    ledger: RefCell<Ledger>,
    room: Cell<Room>,
    allowance: Allowance,
    /// Work since the effort began, what the ledger had before not included.
    work: Cell<u64>,
    halt: Cell<Option<Halt>>,
}

impl Effort {
    /// Goes on from a ledger, towards what the state may be in all.
    pub fn new(ledger: Ledger, allowance: Allowance, room: Room) -> Effort {
        Effort {
            ledger: RefCell::new(ledger),
            room: Cell::new(room),
            allowance,
            work: Cell::new(0),
            halt: Cell::new(None),
        }
    }

    /// The work done under this effort, in about microseconds.
    pub fn work(&self) -> u64 {
        self.work.get()
    }

    /// Whether something was put off: what came of the evaluation means nothing, and it is to be done again with this
    /// effort's ledger.
    pub fn is_put_off(&self) -> bool {
        self.halt.get() == Some(Halt::PutOff)
    }

    /// Whether the paths and intrinsic functions were too much: what came of the evaluation means nothing.
    pub fn is_exhausted(&self) -> bool {
        self.halt.get() == Some(Halt::Exhausted)
    }

    /// What is done by now.
    pub fn into_ledger(self) -> Ledger {
        self.ledger.into_inner()
    }

    /// The value of a path, evaluated once: it tells the values that it visited.
    pub(crate) fn path(
        &self,
        evaluate: impl FnOnce() -> (Result<Value, PathErrorKind>, u64),
    ) -> Result<Value, PathErrorKind> {
        if let Some(done) = self.ledger.borrow_mut().paths.again() {
            return done;
        }
        if !self.begins(0) {
            let message = "The evaluation does not go on".to_owned();
            return Err(PathErrorKind::Failed { message });
        }
        let (found, visits) = evaluate();
        // The list of what was found is new, its items are not.
        let items = found.as_ref().ok().and_then(Value::as_array);
        let bytes = items.map_or(0, |items| items.len() * size_of::<Value>());
        self.spend(1 + visits / VISITS_A_UNIT, bytes);
        self.ledger.borrow_mut().paths.keep(&found);
        found
    }

    /// The result of an intrinsic function whose arguments have so many bytes, called once.
    pub(crate) fn call(
        &self,
        bytes: usize,
        call: impl FnOnce() -> Result<Value, String>,
    ) -> Result<Value, String> {
        if let Some(done) = self.ledger.borrow_mut().calls.again() {
            return done;
        }
        if !self.begins(0) {
            return Err("The evaluation does not go on".to_owned());
        }
        let result = call();
        let made = result.as_ref().map_or(0, Value::json_bytes);
        let work = 1 + (bytes.saturating_add(made) / CALL_BYTES_A_UNIT) as u64;
        self.spend(work, made);
        self.ledger.borrow_mut().calls.keep(&result);
        result
    }

    /// The result of a JSONata expression that is about so much work, evaluated once.
    pub(crate) fn expression(
        &self,
        work: u64,
        evaluate: impl FnOnce() -> (Result<Option<Value>, JsonataFailureKind>, Duration),
    ) -> Result<Option<Value>, JsonataFailureKind> {
        if let Some(done) = self.ledger.borrow_mut().expressions.again() {
            return done;
        }
        if !self.begins(work) {
            return Err(JsonataFailureKind::put_off());
        }
        self.add(work);
        let (mut result, took) = evaluate();
        let made = match &result {
            Ok(Some(value)) => value.json_bytes(),
            Ok(None) | Err(_) => 0,
        };
        let mut ledger = self.ledger.borrow_mut();
        ledger.time = ledger.time.saturating_add(took);
        ledger.bytes = ledger.bytes.saturating_add(made);
        if ledger.bytes > STATE_BYTES_MAX {
            result = Err(JsonataFailureKind::memory_exceeded());
        }
        ledger.expressions.keep(&result);
        result
    }

    /// Takes account of a value made ready for the engine. It takes no room: it would be made ready again for what is
    /// put off.
    pub(crate) fn converted(&self, bytes: usize) {
        let work = (bytes / BYTES_A_UNIT) as u64;
        self.add(work);
        match self.room.get() {
            Room::Whole => {}
            Room::First(left) => self.room.set(Room::First(left.saturating_add(work))),
            Room::Left(left) => self.room.set(Room::Left(left.saturating_add(work))),
        }
    }

    /// Milliseconds left of the time that all expressions of the state together may take.
    pub(crate) fn time_left_ms(&self) -> u64 {
        let most = Duration::from_millis(self.allowance.time_ms);
        let left = most.saturating_sub(self.ledger.borrow().time);
        u64::try_from(left.as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether something that is about so much work is evaluated now.
    fn begins(&self, work: u64) -> bool {
        if self.halt.get().is_some() {
            return false;
        }
        let fits = |left: u64| work < LONG && self.work.get() < left;
        match self.room.get() {
            Room::Whole => true,
            Room::First(left) | Room::Left(left) if fits(left) => true,
            Room::First(left) if self.work.get() < left => {
                self.room.set(Room::Left(left));
                true
            }
            Room::First(_) | Room::Left(_) => {
                self.halt.set(Some(Halt::PutOff));
                false
            }
        }
    }

    /// Takes account of what a path or an intrinsic function was.
    fn spend(&self, work: u64, bytes: usize) {
        self.add(work);
        let mut ledger = self.ledger.borrow_mut();
        ledger.work = ledger.work.saturating_add(work);
        ledger.bytes = ledger.bytes.saturating_add(bytes);
        if ledger.work > self.allowance.work || ledger.bytes > STATE_BYTES_MAX {
            self.halt.set(Some(Halt::Exhausted));
        }
    }

    fn add(&self, work: u64) {
        self.work.set(self.work.get().saturating_add(work));
    }
}
