//! The weights of tenants: whose turns are how many. Hides where they are kept.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// A tenant's part of what several want, in proportion to the others'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weight(u32);

impl Weight {
    /// Of a tenant that nobody gave another one.
    pub const USUAL: Self = Self(100);
    /// The greatest.
    pub const MAX: Self = Self(1_000);

    /// A weight from 1 to [`Weight::MAX`].
    pub fn new(weight: u32) -> Option<Self> {
        (1..=Self::MAX.0).contains(&weight).then_some(Self(weight))
    }

    /// By how many nanoseconds the time of a tenant of this weight goes on with a turn that costs so much; of one of the
    /// greatest weight it goes on by what the turn costs.
    pub(crate) fn time(self, cost: Duration) -> u128 {
        cost.as_nanos() * u128::from(Self::MAX.0) / u128::from(self.0)
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self::USUAL
    }
}

/// The weights of all tenants that have another than the usual one. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Weights(Arc<Unusual>);

#[derive(Default)]
struct Unusual {
    /// Whether there are any: each call asks, and then takes no lock for nothing.
    any: AtomicBool,
    by_tenant: RwLock<HashMap<Arc<str>, Weight>>,
}

impl Weights {
    pub(crate) fn of(&self, tenant: &str) -> Weight {
        if !self.0.any.load(Ordering::Relaxed) {
            return Weight::USUAL;
        }
        let weights = &self.0.by_tenant;
        let weights = weights.read().unwrap_or_else(PoisonError::into_inner);
        weights.get(tenant).copied().unwrap_or_default()
    }

    /// Counts from the next turn that somebody asks for on.
    pub(crate) fn set(&self, tenant: &str, weight: Weight) {
        let weights = &self.0.by_tenant;
        let mut weights = weights.write().unwrap_or_else(PoisonError::into_inner);
        if weight == Weight::USUAL {
            weights.remove(tenant);
        } else {
            weights.insert(tenant.into(), weight);
        }
        self.0.any.store(!weights.is_empty(), Ordering::Relaxed);
    }
}
