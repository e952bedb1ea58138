//! Instances: how many guests may be alive at once, and who gets the next that is free.

use crate::rota::Rota;
use crate::weight::Weight;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::oneshot;

/// The instances that there are.
pub(crate) struct Slots(Mutex<State>);

struct State {
    free: u32,
    /// Empty while any is free.
    waiting: Rota<Next>,
}

/// Who waits for an instance.
struct Next {
    tenant: Arc<str>,
    weight: Weight,
    sender: oneshot::Sender<Slot>,
}

/// One of the instances; goes to the next who waits when dropped. What it costs is the time for which it is held: a tenant's
/// calls that take long are the fewer.
pub(crate) struct Slot {
    slots: Arc<Slots>,
    of: Holder,
}

/// Who holds an instance, and since when.
struct Holder {
    tenant: Arc<str>,
    weight: Weight,
    since: Instant,
}

impl Slots {
    pub(crate) fn new(slots: u32) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            free: slots,
            waiting: Rota::default(),
        })))
    }

    /// Calls that wait for an instance now.
    pub(crate) fn waiting(&self) -> usize {
        self.state().waiting.len()
    }

    /// Takes an instance, or a place in the queue for one.
    ///
    /// # Errors
    /// So many wait already, which is as many as may.
    pub(crate) fn take(
        self: &Arc<Self>,
        (tenant, weight): (&Arc<str>, Weight),
        waiting_max: usize,
    ) -> Result<Taken, usize> {
        let mut state = self.state();
        if let Some(left) = state.free.checked_sub(1) {
            state.free = left;
            drop(state);
            return Ok(Taken::Now(Slot::of(self, tenant, weight)));
        }
        let waiting = state.waiting.len();
        if waiting >= waiting_max {
            return Err(waiting);
        }
        let (sender, given) = oneshot::channel();
        let next = Next {
            tenant: tenant.clone(),
            weight,
            sender,
        };
        let ticket = state.waiting.push(tenant, weight, next);
        Ok(Taken::Later(Waiting {
            slots: self.clone(),
            tenant: tenant.clone(),
            ticket,
            given,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What [`Slots::take`] gives.
pub(crate) enum Taken {
    Now(Slot),
    Later(Waiting),
}

/// A place in the queue; given up when dropped.
pub(crate) struct Waiting {
    slots: Arc<Slots>,
    tenant: Arc<str>,
    ticket: u64,
    given: oneshot::Receiver<Slot>,
}

impl Waiting {
    /// Waits for the turn; none only when the sandbox is gone.
    pub(crate) async fn slot(mut self) -> Option<Slot> {
        (&mut self.given).await.ok()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // A slot that was sent meanwhile is dropped with the receiver, and so handed on.
        self.slots.state().waiting.remove(&self.tenant, self.ticket);
    }
}

impl Slot {
    /// One that is held from now on.
    fn of(slots: &Arc<Slots>, tenant: &Arc<str>, weight: Weight) -> Slot {
        Slot {
            slots: slots.clone(),
            of: Holder {
                tenant: tenant.clone(),
                weight,
                since: Instant::now(),
            },
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.slots.state();
        let Some(next) = state.waiting.pop() else {
            state.free += 1;
            return;
        };
        let Holder {
            tenant,
            weight,
            since,
        } = &self.of;
        state.waiting.charge(tenant, *weight, since.elapsed());
        drop(state);
        // Whoever gave up at this very moment drops it, and so hands it on.
        let slot = Slot::of(&self.slots, &next.tenant, next.weight);
        let _ = next.sender.send(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use std::time::Duration;

    fn now(slots: &Arc<Slots>, tenant: &Arc<str>) -> Slot {
        match slots.take((tenant, Weight::USUAL), 10) {
            Ok(Taken::Now(slot)) => slot,
            Ok(Taken::Later(_)) | Err(_) => panic!("none is free"),
        }
    }

    fn later(slots: &Arc<Slots>, tenant: &Arc<str>) -> Waiting {
        match slots.take((tenant, Weight::USUAL), 10) {
            Ok(Taken::Later(waiting)) => waiting,
            Ok(Taken::Now(_)) | Err(_) => panic!("one is free"),
        }
    }

    #[test]
    fn a_tenant_with_one_call_does_not_wait_behind_anothers_many() {
        let (many, one): (Arc<str>, Arc<str>) = ("many".into(), "one".into());
        let slots = Slots::new(1);
        let mut slot = now(&slots, &many);
        let mut waiting: Vec<_> = [&many, &many, &many, &one, &many]
            .map(|tenant| Some(Box::pin(later(&slots, tenant).slot())))
            .into();
        let mut order = Vec::new();
        while slots.waiting() > 0 {
            drop(slot);
            let (at, next) = waiting
                .iter_mut()
                .enumerate()
                .find_map(|(at, waiting)| {
                    let slot = waiting.as_mut()?.now_or_never()??;
                    Some((at, slot))
                })
                .unwrap();
            waiting[at] = None;
            order.push(at);
            slot = next;
        }
        assert_eq!(order, [0, 3, 1, 2, 4]);
    }

    #[test]
    fn a_tenant_whose_calls_take_long_has_fewer_of_them() {
        let (long, short): (Arc<str>, Arc<str>) = ("long".into(), "short".into());
        let slots = Slots::new(1);
        let mut slot = now(&slots, &long);
        slot.of.since = slot.of.since.checked_sub(Duration::from_secs(2)).unwrap();
        let mut waiting: Vec<_> = [&long, &long, &short, &short]
            .map(|tenant| Some(Box::pin(later(&slots, tenant).slot())))
            .into();
        let mut order = Vec::new();
        while slots.waiting() > 0 {
            drop(slot);
            let given = waiting.iter_mut().enumerate().find_map(|(at, waiting)| {
                let slot = waiting.as_mut()?.now_or_never()??;
                Some((at, slot))
            });
            let (at, next) = given.unwrap();
            waiting[at] = None;
            order.push(at);
            slot = next;
        }
        // The first one was chosen before it was known what the call before it had taken.
        assert_eq!(order, [0, 2, 3, 1]);
    }

    #[test]
    fn who_gives_up_holds_nobody_up() {
        let tenant: Arc<str> = "t".into();
        let slots = Slots::new(1);
        let slot = now(&slots, &tenant);
        let (given_up, sent, last) = (
            later(&slots, &tenant),
            later(&slots, &tenant),
            later(&slots, &tenant),
        );
        drop(given_up);
        assert_eq!(slots.waiting(), 2);
        drop(slot);
        // The slot is on its way to this one, who is gone before it looks.
        drop(sent);
        assert!(last.slot().now_or_never().flatten().is_some());
        assert_eq!(slots.waiting(), 0);
        drop(now(&slots, &tenant));
    }

    #[test]
    fn the_queue_is_bounded() {
        let tenant: Arc<str> = "t".into();
        let slots = Slots::new(1);
        let _slot = now(&slots, &tenant);
        let _waiting = slots.take((&tenant, Weight::USUAL), 1);
        assert!(matches!(slots.take((&tenant, Weight::USUAL), 1), Err(1)));
    }
}
