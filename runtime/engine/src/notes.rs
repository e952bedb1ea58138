//! What running attempts say of their progress, for who looks: the latest note of each. Hides where notes are kept.
//!
//! Heartbeats are no history: notes are in memory alone, of attempts of this process, and gone when their attempt ends. One
//! that nobody looks at costs its own copy.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use stepwell_interp::{TaskId, TaskRequest, Timestamp};
use tokio::{sync::watch, time::Instant};

use crate::{
    api::Caller,
    engine::Engine,
    error::Error,
    journal::ExecutionId,
    limits::{NOTE_BYTES_MAX, NOTES_EVERY, NOTES_TOLD_MAX},
    node::now,
};

/// The latest note of a running attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgressNote {
    /// Name of the state.
    pub state: Arc<str>,
    /// Public id of the event that entered the state.
    pub entered_id: u64,
    /// Counts the attempts of that visit from 1, those after a redrive too.
    pub attempt: u32,
    /// The plugin's name.
    pub plugin: Arc<str>,
    /// When the attempt said so.
    pub at: Timestamp,
    /// At most 1 KiB.
    pub note: Arc<str>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Notes {
    executions: Mutex<HashMap<ExecutionId, Told>>,
    /// Notes so far: each has a number of its own. Held until the note has its place, so that whoever was told of a number was
    /// told of all before it.
    last: Mutex<u64>,
}

/// What of an execution is there: its attempts that gave a note, and who listens.
struct Told {
    attempts: BTreeMap<TaskId, Arc<Slot>>,
    news: Arc<watch::Sender<()>>,
}

/// Of one attempt.
struct Slot {
    latest: Mutex<(u64, ProgressNote)>,
    news: Arc<watch::Sender<()>>,
}

impl Slot {
    fn latest(&self) -> (u64, ProgressNote) {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.clone()
    }
}

impl Notes {
    fn executions(&self) -> MutexGuard<'_, HashMap<ExecutionId, Told>> {
        self.executions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn last(&self) -> MutexGuard<'_, u64> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those after that number, in the order in which they were given, and not too many at a time.
    fn after(&self, execution: ExecutionId, number: u64) -> Vec<(u64, ProgressNote)> {
        let slots: Vec<Arc<Slot>> = match self.executions().get(&execution) {
            Some(told) => told.attempts.values().cloned().collect(),
            None => return Vec::new(),
        };
        let last = self.last();
        let latest = slots.iter().map(|slot| slot.latest());
        let mut fresh: Vec<_> = latest.filter(|(of, _)| *of > number).collect();
        drop(last);
        fresh.sort_by_key(|(of, _)| *of);
        fresh.truncate(NOTES_TOLD_MAX);
        fresh
    }

    fn listen(&self, execution: ExecutionId) -> watch::Receiver<()> {
        let mut executions = self.executions();
        let told = executions.entry(execution).or_insert_with(Told::new);
        told.news.subscribe()
    }

    /// Forgets an attempt; one that was dispatched again has another slot by now.
    fn end(&self, execution: ExecutionId, task: TaskId, slot: &Arc<Slot>) {
        self.leave(execution, |told| {
            let kept = told.attempts.get(&task);
            if kept.is_some_and(|kept| Arc::ptr_eq(kept, slot)) {
                told.attempts.remove(&task);
            }
        });
    }

    /// Takes something away, and the execution's entry when it was the last of it.
    fn leave(&self, execution: ExecutionId, take: impl FnOnce(&mut Told)) {
        let mut executions = self.executions();
        let Some(told) = executions.get_mut(&execution) else {
            return;
        };
        take(told);
        if told.attempts.is_empty() && told.news.receiver_count() == 0 {
            executions.remove(&execution);
        }
    }
}

impl Told {
    fn new() -> Told {
        Told {
            attempts: BTreeMap::new(),
            news: Arc::new(watch::Sender::new(())),
        }
    }
}

/// Takes the notes of one attempt until it ends, or is dropped.
pub(crate) struct AttemptNotes {
    notes: Arc<Notes>,
    execution: ExecutionId,
    task: TaskId,
    state: Arc<str>,
    entered_id: u64,
    attempt: u32,
    plugin: Arc<str>,
    slot: OnceLock<Arc<Slot>>,
}

impl AttemptNotes {
    pub(crate) fn new(
        notes: Arc<Notes>,
        execution: ExecutionId,
        request: &TaskRequest,
        plugin: Arc<str>,
    ) -> AttemptNotes {
        AttemptNotes {
            notes,
            execution,
            task: request.task,
            state: request.state.clone(),
            entered_id: request.entered_id,
            attempt: request.task.attempt,
            plugin,
            slot: OnceLock::new(),
        }
    }

    /// Takes a note in the place of the one before.
    pub(crate) fn note(&self, note: &str) {
        let note = &note[..note.floor_char_boundary(NOTE_BYTES_MAX)];
        let mut last = self.notes.last();
        *last += 1;
        let number = *last;
        let latest = ProgressNote {
            state: self.state.clone(),
            entered_id: self.entered_id,
            attempt: self.attempt,
            plugin: self.plugin.clone(),
            at: now(),
            note: note.into(),
        };
        let slot = match self.slot.get() {
            Some(slot) => {
                let mut kept = slot.latest.lock().unwrap_or_else(PoisonError::into_inner);
                *kept = (number, latest);
                slot
            }
            None => self.slot.get_or_init(|| self.begin(number, latest)),
        };
        drop(last);
        slot.news.send_replace(());
    }

    fn begin(&self, number: u64, latest: ProgressNote) -> Arc<Slot> {
        let mut executions = self.notes.executions();
        let told = executions.entry(self.execution).or_insert_with(Told::new);
        let slot = Arc::new(Slot {
            latest: Mutex::new((number, latest)),
            news: told.news.clone(),
        });
        told.attempts.insert(self.task, slot.clone());
        slot
    }

    /// The last note, if there was one.
    pub(crate) fn last(&self) -> Option<Arc<str>> {
        Some(self.slot.get()?.latest().1.note)
    }

    /// The attempt has ended: nobody is told of its progress any more.
    pub(crate) fn end(&self) {
        if let Some(slot) = self.slot.get() {
            self.notes.end(self.execution, self.task, slot);
        }
    }
}

impl Drop for AttemptNotes {
    fn drop(&mut self) {
        self.end();
    }
}

/// The notes of an execution's attempts as they come; see [`crate::Watch::notes`].
pub struct NoteWatch {
    notes: Arc<Notes>,
    execution: ExecutionId,
    /// `None` once it is dropped.
    news: Option<watch::Receiver<()>>,
    /// Number of the last note that was told.
    told: u64,
    /// How long what comes is gathered after something was told.
    every: Duration,
    rests_until: Option<Instant>,
}

impl NoteWatch {
    pub(crate) fn new(notes: Arc<Notes>, execution: ExecutionId) -> NoteWatch {
        let news = Some(notes.listen(execution));
        NoteWatch {
            notes,
            execution,
            news,
            told: 0,
            every: NOTES_EVERY,
            rests_until: None,
        }
    }

    /// The latest notes of attempts that gave one since the last call, each once, a few times a second at most. Waits for
    /// ever when none comes; nothing is lost when it is dropped before it answers.
    pub async fn next(&mut self) -> Vec<ProgressNote> {
        loop {
            if let Some(until) = self.rests_until {
                tokio::time::sleep_until(until).await;
                self.rests_until = None;
            }
            let Some(news) = &mut self.news else {
                return std::future::pending().await;
            };
            news.mark_unchanged();
            let fresh = self.notes.after(self.execution, self.told);
            if let Some((last, _)) = fresh.last() {
                self.told = *last;
                self.rests_until = Some(Instant::now() + self.every);
                return fresh.into_iter().map(|(_, note)| note).collect();
            }
            if news.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

impl Drop for NoteWatch {
    fn drop(&mut self) {
        drop(self.news.take());
        self.notes.leave(self.execution, |_| {});
    }
}

impl Engine {
    /// What the running attempts of an execution said last of their progress, in the order in which they did; those of
    /// [`NOTES_TOLD_MAX`] attempts at most. Of attempts of this process alone.
    ///
    /// # Errors
    /// There is no such execution of the caller's.
    pub async fn progress(&self, caller: &Caller, arn: &str) -> Result<Vec<ProgressNote>, Error> {
        let (row, _) = self.execution_row(caller, arn).await?;
        let notes = self.node().notes.after(row.id, 0);
        Ok(notes.into_iter().map(|(_, note)| note).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt;
    use stepwell_interp::TaskId;

    use super::*;

    fn attempt(notes: &Arc<Notes>, number: u32) -> AttemptNotes {
        AttemptNotes {
            notes: notes.clone(),
            execution: ExecutionId(7),
            task: TaskId {
                entry: 2,
                attempt: number,
            },
            state: "Work".into(),
            entered_id: 2,
            attempt: number,
            plugin: "p".into(),
            slot: OnceLock::new(),
        }
    }

    fn texts(notes: Vec<ProgressNote>) -> Vec<String> {
        notes.iter().map(|note| note.note.to_string()).collect()
    }

    /// One that gathers for so long.
    fn watch(notes: &Arc<Notes>, every: Duration) -> NoteWatch {
        let mut watch = NoteWatch::new(notes.clone(), ExecutionId(7));
        watch.every = every;
        watch
    }

    /// What is told without waiting.
    fn told(watch: &mut NoteWatch) -> Option<Vec<String>> {
        watch.next().now_or_never().map(texts)
    }

    #[tokio::test]
    async fn the_latest_of_each_attempt_is_told_once() {
        let notes = Arc::<Notes>::default();
        let mut at_once = watch(&notes, Duration::ZERO);
        let mut now_and_then = watch(&notes, Duration::from_secs(3_600));
        let (one, two) = (attempt(&notes, 1), attempt(&notes, 2));
        one.note("1 of 9");
        let both = |watches: [&mut NoteWatch; 2]| watches.map(told);
        let first = Some(vec!["1 of 9".to_owned()]);
        assert_eq!(
            both([&mut at_once, &mut now_and_then]),
            [first.clone(), first]
        );
        for step in 2..=9 {
            one.note(&format!("{step} of 9"));
        }
        two.note("begun");
        let latest = vec!["9 of 9".to_owned(), "begun".to_owned()];
        assert_eq!(texts(at_once.next().await), latest);
        assert_eq!(told(&mut at_once), None, "nothing new");
        assert_eq!(told(&mut now_and_then), None, "it gathers what comes");
        // Whoever comes late is told what is there.
        assert_eq!(told(&mut watch(&notes, Duration::ZERO)), Some(latest));
    }

    #[tokio::test]
    async fn nothing_is_left_of_attempts_and_listeners_that_are_gone() {
        let notes = Arc::<Notes>::default();
        let one = attempt(&notes, 1);
        one.note("begun");
        assert_eq!(one.last().as_deref(), Some("begun"));
        let listener = watch(&notes, Duration::ZERO);
        one.end();
        assert_eq!(notes.after(ExecutionId(7), 0), []);
        assert!(!notes.executions().is_empty(), "somebody listens");
        drop(listener);
        assert!(notes.executions().is_empty());
        // The same attempt, dispatched again before the first was dropped.
        let again = attempt(&notes, 1);
        again.note("begun anew");
        drop(one);
        assert_eq!(notes.after(ExecutionId(7), 0).len(), 1);
        drop(again);
        assert!(notes.executions().is_empty());
        // One that never gave a note was never there.
        drop(attempt(&notes, 3));
        assert!(notes.executions().is_empty());
    }

    #[test]
    fn a_note_is_short_and_what_is_told_at_a_time_is_bounded() {
        let notes = Arc::<Notes>::default();
        let attempts: Vec<_> = (0..2 * NOTES_TOLD_MAX)
            .map(|number| attempt(&notes, u32::try_from(number).expect("few")))
            .collect();
        attempts
            .iter()
            .for_each(|attempt| attempt.note(&"é".repeat(NOTE_BYTES_MAX)));
        let first = notes.after(ExecutionId(7), 0);
        assert_eq!(first.len(), NOTES_TOLD_MAX);
        assert!(
            first
                .iter()
                .all(|(_, note)| note.note.len() == NOTE_BYTES_MAX)
        );
        let rest = notes.after(ExecutionId(7), first.last().expect("some").0);
        assert_eq!(rest.len(), NOTES_TOLD_MAX);
    }
}
