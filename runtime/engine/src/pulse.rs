//! What a shard is at. Hides how it is told from outside, while the shard itself is too busy to answer.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::limits::SHARD_SILENT_MAX;

/// See the module.
#[derive(Default)]
pub(crate) struct Pulse(Mutex<Beat>);

#[derive(Default)]
enum Beat {
    /// At its queue, or not yet begun.
    #[default]
    Waits,
    /// Since it was at its queue it does what it found there; `execution` had the last turn.
    Works {
        since: Instant,
        execution: Option<Arc<str>>,
    },
    /// Its thread is gone.
    Ended,
}

impl Pulse {
    /// It leaves its queue to work.
    pub(crate) fn works(&self) {
        *self.beat() = Beat::Works {
            since: Instant::now(),
            execution: None,
        };
    }

    /// It gives a turn to an execution.
    pub(crate) fn turns_to(&self, arn: &Arc<str>) {
        if let Beat::Works { execution, .. } = &mut *self.beat() {
            *execution = Some(arn.clone());
        }
    }

    /// It is at its queue again.
    pub(crate) fn waits(&self) {
        *self.beat() = Beat::Waits;
    }

    /// Says that the shard is gone when its thread ends, however it does.
    pub(crate) fn ends(self: Arc<Pulse>) -> impl Drop {
        struct Ends(Arc<Pulse>);
        impl Drop for Ends {
            fn drop(&mut self) {
                *self.0.beat() = Beat::Ended;
            }
        }
        Ends(self)
    }

    /// What is wrong with the shard of that number, if something is.
    pub(crate) fn wrong(&self, shard: usize) -> Option<String> {
        match &*self.beat() {
            Beat::Waits => None,
            Beat::Ended => Some(format!(
                "shard {shard} has ended: an earlier line of the log says why, and its executions go on when the server is started again"
            )),
            Beat::Works { since, execution } => {
                let busy = since.elapsed();
                (busy > SHARD_SILENT_MAX).then(|| silent(shard, busy, execution.as_deref()))
            }
        }
    }

    fn beat(&self) -> MutexGuard<'_, Beat> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn silent(shard: usize, busy: Duration, execution: Option<&str>) -> String {
    let seconds = busy.as_secs();
    let at = match execution {
        Some(arn) => format!("a turn of the execution {arn}"),
        None => "what came in".to_owned(),
    };
    format!(
        "shard {shard} has been busy for {seconds} seconds with {at}; the executions it serves wait for that"
    )
}

#[cfg(test)]
mod tests {
    use std::{
        sync::Arc,
        time::{Duration, Instant},
    };

    use super::{Beat, Pulse};
    use crate::limits::SHARD_SILENT_MAX;

    #[test]
    fn a_shard_that_does_not_come_back_to_its_queue_is_named() {
        let pulse = Arc::new(Pulse::default());
        pulse.turns_to(&"idle".into());
        assert_eq!(pulse.wrong(3), None);
        pulse.works();
        pulse.turns_to(&"arn:e".into());
        assert_eq!(pulse.wrong(3), None, "it has only begun");
        let past = SHARD_SILENT_MAX + Duration::from_secs(1);
        if let Beat::Works { since, .. } = &mut *pulse.beat() {
            *since = Instant::now().checked_sub(past).unwrap();
        }
        let wrong = pulse.wrong(3).unwrap();
        assert!(
            wrong.starts_with("shard 3 has been busy for 11 seconds"),
            "{wrong}"
        );
        assert!(wrong.contains("arn:e"), "{wrong}");
        pulse.waits();
        assert_eq!(pulse.wrong(3), None);
        drop(pulse.clone().ends());
        assert!(pulse.wrong(3).unwrap().contains("has ended"));
    }
}
