//! Whether the store takes writes. Hides how that is known between two writes.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    journal::{CatalogKey, CatalogWrite, Refused, Verdict, Write},
    limits::{HEALTH_AGE_MAX, HEALTH_RETRY_MIN, HEALTH_WAIT_MAX},
};

/// What the last write said of the store.
#[derive(Default)]
pub(crate) struct StoreHealth(Mutex<Option<Known>>);

struct Known {
    at: Instant,
    wrong: Option<String>,
}

impl StoreHealth {
    /// Takes note of what became of some writes.
    pub(crate) fn note(&self, verdicts: &[Verdict]) {
        let wrong = verdicts.iter().find_map(|verdict| match verdict {
            Err(refused @ (Refused::Full(_) | Refused::Broken(_))) => Some(refused.to_string()),
            Err(
                Refused::NameTaken { .. }
                | Refused::WrongPosition { .. }
                | Refused::LeaseLost
                | Refused::TokenGone
                | Refused::MessageGone
                | Refused::Conflict { .. },
            )
            | Ok(_) => None,
        });
        self.set(wrong);
    }

    /// Takes note of what is wrong with the store.
    pub(crate) fn set(&self, wrong: Option<String>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.as_ref().and_then(|known| known.wrong.as_deref());
        match (before, &wrong) {
            (None, Some(why)) => {
                tracing::error!(
                    why,
                    "the store refuses writes; what runs waits, and goes on when it takes them again"
                );
            }
            (Some(_), None) => tracing::info!("the store takes writes again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        let at = Instant::now();
        *known = Some(Known { at, wrong });
    }

    /// The last verdict while it is fresh: a bad one only for a moment, so that a store that has mended is seen.
    pub(crate) fn fresh(&self) -> Option<Result<(), String>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Known { at, wrong } = known.as_ref()?;
        let (age_max, verdict): (Duration, _) = match wrong {
            None => (HEALTH_AGE_MAX, Ok(())),
            Some(why) => (HEALTH_RETRY_MIN, Err(why.clone())),
        };
        (at.elapsed() < age_max).then_some(verdict)
    }
}

/// A write that changes nothing anyone reads.
pub(crate) fn probe() -> Write {
    Write::Catalog(vec![CatalogWrite {
        key: CatalogKey {
            tenant: "".into(),
            kind: "health".into(),
            name: "probe".into(),
        },
        expected: None,
        bytes: Some(crate::record::encode(&())),
    }])
}

/// What is said of a store that does not answer.
pub(crate) fn silent() -> String {
    let seconds = HEALTH_WAIT_MAX.as_secs();
    format!("the store has not answered for {seconds} seconds")
}

#[cfg(test)]
mod tests {
    use super::StoreHealth;
    use crate::journal::{Landed, Refused};

    #[test]
    fn the_last_write_says_how_the_store_is() {
        let health = StoreHealth::default();
        assert_eq!(health.fresh(), None, "nobody wrote yet");
        health.note(&[Ok(Landed::default())]);
        assert_eq!(health.fresh(), Some(Ok(())));
        let full = || Err(Refused::Full("no room".to_owned()));
        health.note(&[Ok(Landed::default()), full()]);
        let why = "the store is full: no room".to_owned();
        assert_eq!(health.fresh(), Some(Err(why)));
        health.note(&[Err(Refused::TokenGone)]);
        assert_eq!(health.fresh(), Some(Ok(())), "a refusal of its own");
    }
}
