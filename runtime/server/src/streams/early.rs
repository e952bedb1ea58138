//! Notes on progress that came before what they are about was told: notes are in memory, while the history is read from the
//! store. Hides which of them may be told by now.

use stepwell_engine::ProgressNote;

/// The latest note of each attempt whose state's entry was not told yet.
#[derive(Default)]
pub(super) struct Early(Vec<ProgressNote>);

impl Early {
    /// Takes notes, each in the place of its attempt's one before.
    pub(super) fn put(&mut self, notes: Vec<ProgressNote>) {
        for note in notes {
            let attempt = (note.entered_id, note.attempt);
            self.0
                .retain(|kept| (kept.entered_id, kept.attempt) != attempt);
            self.0.push(note);
        }
    }

    /// Gives those whose state's entry is among the events up to that id.
    pub(super) fn take(&mut self, told: u64) -> Vec<ProgressNote> {
        let notes = std::mem::take(&mut self.0);
        let (due, early) = notes.into_iter().partition(|note| note.entered_id <= told);
        self.0 = early;
        due
    }
}

#[cfg(test)]
mod tests {
    use stepwell_interp::Timestamp;

    use super::*;

    fn note(entered_id: u64, attempt: u32, text: &str) -> ProgressNote {
        ProgressNote {
            state: "Import".into(),
            entered_id,
            attempt,
            plugin: "import".into(),
            at: Timestamp(0),
            note: text.into(),
        }
    }

    #[test]
    fn a_note_follows_the_entry_of_its_state() {
        let mut early = Early::default();
        early.put(vec![note(2, 1, "a"), note(7, 1, "b")]);
        early.put(vec![note(7, 1, "c"), note(7, 2, "d")]);
        let mut told = |id| {
            let notes = early.take(id).into_iter();
            notes.map(|note| note.note.to_string()).collect::<Vec<_>>()
        };
        assert!(told(0).is_empty());
        assert_eq!(told(3), ["a"]);
        assert!(told(6).is_empty());
        assert_eq!(told(7), ["c", "d"], "the latest of each attempt");
        assert!(told(7).is_empty(), "each is told once");
    }
}
