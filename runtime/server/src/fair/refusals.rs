//! When a refusal is told. Who is refused now and then hears so at once; who goes on asking all the same hears so after a
//! pause, so that all of his connections together ask no more than so often. What it hides: the arithmetic, and that whoever
//! pauses is counted.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use prometheus_client::metrics::gauge::Gauge;

use super::Whose;
use crate::limits::{
    REFUSAL_EVERY, REFUSAL_PAUSE_MAX, REFUSALS_AT_ONCE, REFUSALS_PAUSED_MAX, REFUSED_KEPT_MAX,
};
use crate::metrics::TurnCounts;

/// See the module.
pub(crate) struct Refusals {
    told: Mutex<Told>,
    paused: Gauge,
}

#[derive(Default)]
struct Told {
    /// When each would have been told of all its refusals, had it been told of them one after another.
    by: BTreeMap<Whose, Instant>,
    /// When those were last forgotten that have been told of all.
    swept: Option<Instant>,
}

/// Counts one that pauses, until it is dropped.
struct Paused<'a>(&'a Gauge);

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Refusals {
    pub(crate) fn new(counts: TurnCounts) -> Refusals {
        Refusals {
            told: Mutex::default(),
            paused: counts.paused,
        }
    }

    /// Waits until a refusal may be told, or `over` is. More than may wait at a time are told at once.
    pub(crate) async fn pause(&self, whose: &Whose, over: impl Future<Output = ()>) {
        let pause = self.next(whose, Instant::now());
        if pause.is_zero() {
            return;
        }
        let others = self.paused.inc();
        let _paused = Paused(&self.paused);
        if others >= REFUSALS_PAUSED_MAX {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = over => {}
        }
    }

    /// The pause before the next refusal of these.
    fn next(&self, whose: &Whose, now: Instant) -> Duration {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.by.len() >= REFUSED_KEPT_MAX && !told.by.contains_key(whose) {
            told.sweep(now);
            if told.by.len() >= REFUSED_KEPT_MAX {
                // So many ask at once what they are not given: none of them is told apart.
                return REFUSAL_PAUSE_MAX;
            }
        }
        let by = told.by.entry(whose.clone()).or_insert(now);
        let at_once = REFUSALS_AT_ONCE * REFUSAL_EVERY;
        *by = ((*by).max(now) + REFUSAL_EVERY).min(now + at_once + REFUSAL_PAUSE_MAX);
        by.duration_since(now).saturating_sub(at_once)
    }
}

impl Told {
    /// Forgets whoever has been told of all, once in a while: there are many to look at.
    fn sweep(&mut self, now: Instant) {
        let swept = self.swept.map(|swept| now.saturating_duration_since(swept));
        if swept.is_none_or(|since| since >= REFUSAL_EVERY) {
            self.swept = Some(now);
            self.by.retain(|_, by| *by > now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cmp::Reverse, collections::BinaryHeap};

    use futures_util::FutureExt;

    use super::*;

    fn account(name: &str) -> Whose {
        Whose::Account(name.into())
    }

    fn refusals() -> Refusals {
        Refusals::new(TurnCounts::default())
    }

    fn never() -> impl Future<Output = ()> {
        std::future::pending()
    }

    /// Refusals that are told to so many connections, each of which asks again at once, and the longest pause.
    fn told(
        refusals: &Refusals,
        connections: usize,
        from: Instant,
        time: Duration,
    ) -> (u32, Duration) {
        let whose = account("a");
        let mut asking: BinaryHeap<_> = (0..connections).map(|_| Reverse(from)).collect();
        let (mut told, mut longest) = (0, Duration::ZERO);
        while let Some(Reverse(now)) = asking.pop().filter(|asks| asks.0 < from + time) {
            let pause = refusals.next(&whose, now);
            longest = longest.max(pause);
            told += 1;
            asking.push(Reverse(now + pause));
        }
        (told, longest)
    }

    #[test]
    fn who_asks_again_at_once_is_told_so_often_over_all_connections() {
        let (began, time) = (Instant::now(), Duration::from_secs(10));
        let paced = (time.as_millis() / REFUSAL_EVERY.as_millis()) as u32;
        for connections in [1, 10, 64] {
            let (told, longest) = told(&refusals(), connections, began, time);
            let most = paced + REFUSALS_AT_ONCE + connections as u32;
            assert!((paced..=most).contains(&told), "{connections}: {told}");
            assert!(longest <= connections as u32 * REFUSAL_EVERY, "{longest:?}");
        }
        // More of them wait no longer than the longest pause, and so are told more often.
        let (told, longest) = told(&refusals(), 1_000, began, time);
        assert_eq!(longest, REFUSAL_PAUSE_MAX);
        assert!(told <= REFUSALS_AT_ONCE + 11 * 1_000, "{told}");
    }

    #[test]
    fn who_is_refused_now_and_then_is_told_at_once() {
        let (refusals, began) = (refusals(), Instant::now());
        let quiet = account("quiet");
        told(&refusals, 64, began, Duration::from_secs(1));
        let pause = |now: Instant| refusals.next(&quiet, now);
        for _ in 0..REFUSALS_AT_ONCE {
            assert_eq!(pause(began), Duration::ZERO, "another's are its own");
        }
        assert_eq!(pause(began), REFUSAL_EVERY);
        let rested = began + (REFUSALS_AT_ONCE + 1) * REFUSAL_EVERY;
        for _ in 0..REFUSALS_AT_ONCE {
            assert_eq!(pause(rested), Duration::ZERO);
        }
        // Who rests for longer is told no more of them at once.
        let later = rested + Duration::from_secs(3_600);
        let at_once = (0..1_000).take_while(|_| pause(later).is_zero()).count();
        assert_eq!(at_once, REFUSALS_AT_ONCE as usize);
    }

    #[tokio::test]
    async fn those_that_pause_are_bounded_and_end_with_the_server_and_their_connections() {
        let refusals = refusals();
        let a = account("a");
        let mut pausing = Vec::new();
        for _ in 0..REFUSALS_PAUSED_MAX + 1_000 {
            let mut pause = Box::pin(refusals.pause(&a, never()));
            if pause.as_mut().now_or_never().is_none() {
                pausing.push(pause);
            }
        }
        assert_eq!(pausing.len() as i64, REFUSALS_PAUSED_MAX);
        // Their clients go away.
        drop(pausing);
        assert_eq!(refusals.paused.get(), 0);
        assert_eq!(refusals.pause(&a, never()).now_or_never(), None);
        let shut_down = refusals.pause(&a, async {}).now_or_never();
        assert_eq!(
            shut_down,
            Some(()),
            "a server that shuts down waits for none"
        );
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (refusals, began) = (refusals(), Instant::now());
        for number in 0..2 * REFUSED_KEPT_MAX {
            refusals.next(&account(&number.to_string()), began);
        }
        let kept = || refusals.told.lock().unwrap().by.len();
        assert_eq!(kept(), REFUSED_KEPT_MAX);
        refusals.next(&account("later"), began + 2 * REFUSAL_EVERY);
        assert_eq!(kept(), 1);
    }
}
