//! What each tenant may have and ask for: the numbers, and what is wrong with some. Hides how much of them is taken
//! ([`Allowances`]) and AWS's table of rates.

mod allowances;
mod rates;

use serde::{Deserialize, Serialize};

use crate::{
    error::{Code, Error},
    limits::{CONCURRENCY_MAX, WEIGHT_MAX, WEIGHT_USUAL},
    lines::Exceeding,
};
pub(crate) use allowances::{Allowances, StartPlace, TaskPlace};
pub(crate) use rates::START_EXPRESS;
pub use rates::{Rate, Rates};

/// A number of bytes in the words of a refusal: `10 GiB` where that is exact, else `1.5 MiB (1572865 B)`, `120 B`.
pub(crate) fn sized(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let fits = |(bits, _): &(u32, &str)| bytes >= 1_u64 << *bits;
    let Some((bits, unit)) = units.into_iter().find(fits) else {
        return format!("{bytes} B");
    };
    match bytes.is_multiple_of(1_u64 << bits) {
        true => format!("{} {unit}", bytes >> bits),
        false => {
            let rounded = bytes as f64 / (1_u64 << bits) as f64;
            format!("{rounded:.1} {unit} ({bytes} B)")
        }
    }
}

/// A tenant's quotas. What is absent is not bounded, or as the server says. Stored form, codec v1.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Quotas {
    /// Sizes, counts and durations beyond AWS's (`true`) or AWS's; as the server's when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raised_limits: Option<bool>,
    /// Requests by operation; as the server's when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rates: Option<Rates>,
    /// Executions that have not ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_executions: Option<u64>,
    /// Attempts of plugins that run at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running_tasks: Option<u64>,
    /// Bytes of events and large values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_machines: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activities: Option<u64>,
    /// Executions of one state machine that have a place at a time; its tags may say less.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine_concurrency: Option<u64>,
    /// What becomes of those that exceed: they wait when this is absent. A state machine's tag counts first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine_concurrency_mode: Option<Exceeding>,
    /// Its part, in proportion to the others', of what several tenants want at a time: [`WEIGHT_USUAL`] when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// They could not be read: what stands here counts until others are set, and is none of what was.
    #[serde(skip)]
    pub damaged: bool,
}

impl Quotas {
    /// What counts for a tenant whose quotas cannot be read: it starts and keeps nothing more, and calls no function. The tasks of
    /// its open executions go on, as the server's usual quotas have it: they would fail for good.
    pub(crate) fn closed() -> Quotas {
        Quotas {
            open_executions: Some(0),
            stored_bytes: Some(0),
            state_machines: Some(0),
            activities: Some(0),
            damaged: true,
            ..Quotas::default()
        }
    }

    /// Refuses numbers that are none.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let wrong = |text: String| Err(Error::rejected(Code::ValidationException, text));
        let most = u64::from(CONCURRENCY_MAX);
        if let Some(number) = self.machine_concurrency.filter(|n| !(1..=most).contains(n)) {
            return wrong(format!(
                "the executions of a state machine that have a place at a time are a number from 1 to {most}, or no quota; {number} was given"
            ));
        }
        match self.weight {
            Some(weight) if !(1..=WEIGHT_MAX).contains(&weight) => wrong(format!(
                "{weight} is no weight: it is a number from 1 to {WEIGHT_MAX}, and {WEIGHT_USUAL} when none is set"
            )),
            Some(_) | None => Ok(()),
        }
    }
}

/// How much of its quotas a tenant has taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    pub open_executions: u64,
    pub running_tasks: u64,
    pub stored_bytes: u64,
}

/// Why an attempt has no place, for people.
pub(crate) fn tasks_full(most: u64) -> String {
    format!("the tenant's quota of {most} running tasks is reached")
}

/// Why a call has no place where the quotas cannot be read, for people.
const CALLS_CLOSED: &str =
    "the tenant's quotas are damaged, so it calls no function until the operator sets them again";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_concurrency_that_is_none_is_refused() {
        let quotas = |machine_concurrency| Quotas {
            machine_concurrency,
            ..Quotas::default()
        };
        for wrong in [0, 10_001] {
            assert!(quotas(Some(wrong)).check().is_err(), "{wrong}");
        }
        for right in [None, Some(1), Some(10_000)] {
            assert!(quotas(right).check().is_ok(), "{right:?}");
        }
    }
}
