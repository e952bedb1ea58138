//! Quotas over the wire. What it hides: that a request with a word that is none is refused, since what it meant to bound
//! would be bounded by nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stepwell_engine::{Exceeding, Quotas, Rate, Rates};

use crate::{
    aws::{self, Fault},
    lambda, scheduler,
};

/// Wire form of a tenant's quotas, in requests and answers. What is absent is not bounded, or as the server says.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct WireQuotas {
    #[serde(skip_serializing_if = "Option::is_none")]
    raised_limits: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rates: Option<WireRates>,
    #[serde(skip_serializing_if = "Option::is_none")]
    open_executions: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    running_tasks: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stored_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_machines: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    activities: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    machine_concurrency: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    machine_concurrency_mode: Option<Exceeding>,
    /// In answers: its record cannot be read, and these count until others are set.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    damaged: bool,
}

/// Wire form of rates: `"off"`, `"aws"` or `{"set": {OPERATION: …}}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WireRates {
    Off,
    Aws,
    Set(BTreeMap<String, WireRate>),
}

/// Wire form of a rate.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct WireRate {
    bucket: u32,
    per_second: u32,
}

impl WireQuotas {
    /// Refuses rates of operations that there are not.
    pub(super) fn check(&self) -> Result<(), Fault> {
        let Some(WireRates::Set(rates)) = &self.rates else {
            return Ok(());
        };
        for operation in rates.keys() {
            check_rated(operation).map_err(Fault::validation)?;
        }
        Ok(())
    }
}

/// Whether requests of an operation can be given a rate.
///
/// # Errors
/// Says what the name is not, for people.
pub fn check_rated(operation: &str) -> Result<(), String> {
    let of_steps = aws::operation_names();
    let others = [
        lambda::RATED,
        scheduler::RATED,
        super::RATED,
        &[aws::PUT_EVENTS],
    ];
    if of_steps.contains(&operation) || others.concat().contains(&operation) {
        return Ok(());
    }
    Err(format!(
        "`{operation}` is no operation that a rate can be set for: those are the operations of Step Functions, such as StartExecution, those of the function service as lambda:NAME, such as lambda:Invoke, those of the scheduler as scheduler:NAME, events:PutEvents, and our own as stepwell:NAME, such as stepwell:GetUsage"
    ))
}

impl From<Quotas> for WireQuotas {
    fn from(quotas: Quotas) -> WireQuotas {
        let Quotas {
            raised_limits,
            rates,
            open_executions,
            running_tasks,
            stored_bytes,
            state_machines,
            activities,
            weight,
            machine_concurrency,
            machine_concurrency_mode,
            damaged,
        } = quotas;
        WireQuotas {
            raised_limits,
            rates: rates.map(Into::into),
            open_executions,
            running_tasks,
            stored_bytes,
            state_machines,
            activities,
            weight,
            machine_concurrency,
            machine_concurrency_mode,
            damaged,
        }
    }
}

impl From<WireQuotas> for Quotas {
    fn from(quotas: WireQuotas) -> Quotas {
        let WireQuotas {
            raised_limits,
            rates,
            open_executions,
            running_tasks,
            stored_bytes,
            state_machines,
            activities,
            weight,
            machine_concurrency,
            machine_concurrency_mode,
            damaged,
        } = quotas;
        Quotas {
            raised_limits,
            rates: rates.map(Into::into),
            open_executions,
            running_tasks,
            stored_bytes,
            state_machines,
            activities,
            weight,
            machine_concurrency,
            machine_concurrency_mode,
            damaged,
        }
    }
}

impl From<Rates> for WireRates {
    fn from(rates: Rates) -> WireRates {
        let wire =
            |(operation, Rate { bucket, per_second })| (operation, WireRate { bucket, per_second });
        match rates {
            Rates::Off => WireRates::Off,
            Rates::Aws => WireRates::Aws,
            Rates::Set(rates) => WireRates::Set(rates.into_iter().map(wire).collect()),
        }
    }
}

impl From<WireRates> for Rates {
    fn from(rates: WireRates) -> Rates {
        let own =
            |(operation, WireRate { bucket, per_second })| (operation, Rate { bucket, per_second });
        match rates {
            WireRates::Off => Rates::Off,
            WireRates::Aws => Rates::Aws,
            WireRates::Set(rates) => Rates::Set(rates.into_iter().map(own).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let text = r#"{"raisedLimits":true,"rates":{"set":{"StartExecution":{"bucket":2,"perSecond":1}}},"openExecutions":1,"runningTasks":2,"storedBytes":3,"stateMachines":4,"activities":5,"weight":6,"machineConcurrency":7,"machineConcurrencyMode":"refuse"}"#;
        let quotas: WireQuotas = serde_json::from_str(text).unwrap();
        let quotas = WireQuotas::from(Quotas::from(quotas));
        assert!(quotas.check().is_ok());
        assert_eq!(serde_json::to_string(&quotas).unwrap(), text);
    }

    #[test]
    fn a_word_that_is_none_bounds_nothing_and_is_refused() {
        for text in [
            r#"{"openExecution": 1}"#,
            r#"{"open_executions": 1}"#,
            r#"{"weight": -1}"#,
            r#"{"rates": "none"}"#,
            r#"{"machineConcurrencyMode": "drop"}"#,
            r#"{"rates": {"set": {"StartExecution": {"bucket": 1}}}}"#,
            r#"{"rates": {"set": {"StartExecution": {"bucket": 1, "perSecond": 1, "burst": 2}}}}"#,
        ] {
            assert!(serde_json::from_str::<WireQuotas>(text).is_err(), "{text}");
        }
        for operation in ["StartExecutions", "Invoke", "lambda:Invokes", ""] {
            assert!(check_rated(operation).is_err(), "{operation}");
        }
        for operation in ["StartExecution", "lambda:Invoke", "stepwell:GetUsage"] {
            assert_eq!(check_rated(operation), Ok(()));
        }
    }
}
