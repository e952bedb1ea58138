//! Whether what is due is being looked at. Hides how that is told from outside, while a look is under way or none comes.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use crate::limits::TRIGGERS_SILENT_MAX;

/// See the module.
#[derive(Default)]
pub(crate) struct LookPulse(Mutex<Beat>);

struct Beat {
    /// When the last look began or ended.
    at: Instant,
    stage: Stage,
}

#[derive(PartialEq, Eq)]
enum Stage {
    Looks,
    Rests,
    /// The last look panicked.
    Broke,
}

impl Default for Beat {
    fn default() -> Beat {
        Beat {
            at: Instant::now(),
            stage: Stage::Rests,
        }
    }
}

impl LookPulse {
    /// A look begins.
    pub(crate) fn looks(&self) {
        let mut beat = self.beat();
        beat.at = Instant::now();
        // That the last one broke down is told until one does not.
        if beat.stage == Stage::Rests {
            beat.stage = Stage::Looks;
        }
    }

    /// A look ended, or there is nothing for this node to look at.
    pub(crate) fn rests(&self) {
        self.put(Stage::Rests);
    }

    /// A look panicked.
    pub(crate) fn broke(&self) {
        self.put(Stage::Broke);
    }

    /// What is wrong, if something is.
    pub(crate) fn wrong(&self) -> Option<String> {
        let beat = self.beat();
        let silent = beat.at.elapsed();
        if silent > TRIGGERS_SILENT_MAX {
            let seconds = silent.as_secs();
            return Some(format!(
                "triggers do not fire: nobody has looked for {seconds} seconds at what they have due; start the server again"
            ));
        }
        (beat.stage == Stage::Broke).then(|| {
            "triggers may not fire: the last look at what they have due broke down, and the log says where; it is tried again"
                .to_owned()
        })
    }

    fn put(&self, stage: Stage) {
        *self.beat() = Beat {
            at: Instant::now(),
            stage,
        };
    }

    fn beat(&self) -> MutexGuard<'_, Beat> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_look_that_does_not_end_or_does_not_come_is_told() {
        let pulse = LookPulse::default();
        let past = TRIGGERS_SILENT_MAX + Duration::from_secs(1);
        let turn_back = || {
            pulse.beat().at = Instant::now().checked_sub(past).unwrap();
        };
        assert_eq!(pulse.wrong(), None);
        pulse.looks();
        assert_eq!(pulse.wrong(), None, "it has only begun");
        turn_back();
        let wrong = pulse.wrong().unwrap();
        assert!(wrong.contains("triggers do not fire"), "{wrong}");
        pulse.rests();
        assert_eq!(pulse.wrong(), None);
        turn_back();
        assert!(pulse.wrong().is_some(), "another one should have come");
        pulse.broke();
        pulse.looks();
        assert!(pulse.wrong().unwrap().contains("broke down"));
        pulse.rests();
        assert_eq!(pulse.wrong(), None);
    }
}
