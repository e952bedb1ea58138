//! What tenants used, and what that costs. What it hides: how usage is multiplied by prices.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stepwell_engine::{Amounts, Caller, Meter, UsageKey};

use super::{Call, json};
use crate::{aws::Fault, limits::USAGE_ROWS_MAX};

/// What usage costs, per unit. What is absent costs nothing. The keys of the file of `--prices`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Prices {
    /// Shown beside amounts, such as `EUR`.
    pub currency: String,
    pub execution: f64,
    pub transition: f64,
    pub task: f64,
    pub cpu_second: f64,
    pub memory_gib_second: f64,
    pub gib_in: f64,
    pub gib_out: f64,
    /// Of what was stored that day: once, not for each day that it is kept.
    pub gib_stored: f64,
    pub million_fuel: f64,
    pub host_call: f64,
    /// Over HTTP and TCP.
    pub gib_sent: f64,
    pub gib_received: f64,
}

const GIB: f64 = 1_073_741_824.0;
const MILLION: f64 = 1_000_000.0;

impl Prices {
    /// Refuses what is no price: what is less than nothing, endless or no number. `Err` says which it is.
    pub fn check(&self) -> Result<(), String> {
        let all = [
            ("execution", self.execution),
            ("transition", self.transition),
            ("task", self.task),
            ("cpu_second", self.cpu_second),
            ("memory_gib_second", self.memory_gib_second),
            ("gib_in", self.gib_in),
            ("gib_out", self.gib_out),
            ("gib_stored", self.gib_stored),
            ("million_fuel", self.million_fuel),
            ("host_call", self.host_call),
            ("gib_sent", self.gib_sent),
            ("gib_received", self.gib_received),
        ];
        let wrong = all
            .into_iter()
            .find(|(_, price)| !price.is_finite() || *price < 0.0);
        match wrong {
            None => Ok(()),
            Some((name, price)) => Err(format!(
                "`{name}` is {price}, and a price is 0 or more: give another one, or leave it out, which costs nothing"
            )),
        }
    }

    fn cost(&self, used: &Amounts) -> f64 {
        let of = |meter| used.get(meter) as f64;
        self.execution * of(Meter::Executions)
            + self.transition * of(Meter::Transitions)
            + self.task * of(Meter::Tasks)
            + self.cpu_second * of(Meter::CpuMicros) / 1_000_000.0
            + self.memory_gib_second * of(Meter::MemoryTime) / 1_024.0 / 1_000.0
            + self.gib_in * of(Meter::BytesIn) / GIB
            + self.gib_out * of(Meter::BytesOut) / GIB
            + self.gib_stored * of(Meter::BytesStored) / GIB
            + self.million_fuel * of(Meter::Fuel) / MILLION
            + self.host_call * of(Meter::HostCalls)
            + self.gib_sent * of(Meter::BytesSent) / GIB
            + self.gib_received * of(Meter::BytesReceived) / GIB
    }
}

/// Request: a page of days as `2026-01-31`, both included; one account, or all.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Asked {
    account: Option<String>,
    from: Option<String>,
    to: Option<String>,
    max_results: Option<u32>,
    /// Where the page before ended.
    after: Option<String>,
}

/// Wire form of the answer.
#[derive(Serialize)]
struct Answer {
    #[serde(skip_serializing_if = "Option::is_none")]
    currency: Option<String>,
    usage: Vec<Row>,
    /// Of this page, by account.
    totals: Vec<Total>,
    /// Where the next page begins, if there may be one.
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
}

/// Wire form of what was used on a day.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    day: String,
    account: String,
    state_machine_arn: String,
    /// Absent for what is the state machine's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin: Option<String>,
    #[serde(flatten)]
    used: Used,
}

/// Wire form of what a tenant used in all.
#[derive(Serialize)]
struct Total {
    account: String,
    #[serde(flatten)]
    used: Used,
}

/// Wire form of counts.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Used {
    executions: u64,
    redrives: u64,
    ended: u64,
    transitions: u64,
    tasks: u64,
    cpu_micros: u64,
    memory_mib_millis: u64,
    bytes_in: u64,
    bytes_out: u64,
    bytes_stored: u64,
    fuel: u64,
    host_calls: u64,
    bytes_sent: u64,
    bytes_received: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<f64>,
}

impl Used {
    fn of(used: &Amounts, prices: Option<&Prices>) -> Used {
        Used {
            executions: used.get(Meter::Executions),
            redrives: used.get(Meter::Redrives),
            ended: used.get(Meter::Ended),
            transitions: used.get(Meter::Transitions),
            tasks: used.get(Meter::Tasks),
            cpu_micros: used.get(Meter::CpuMicros),
            memory_mib_millis: used.get(Meter::MemoryTime),
            bytes_in: used.get(Meter::BytesIn),
            bytes_out: used.get(Meter::BytesOut),
            bytes_stored: used.get(Meter::BytesStored),
            fuel: used.get(Meter::Fuel),
            host_calls: used.get(Meter::HostCalls),
            bytes_sent: used.get(Meter::BytesSent),
            bytes_received: used.get(Meter::BytesReceived),
            cost: prices.map(|prices| prices.cost(used)),
        }
    }
}

/// Request: what one execution used.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct AskedOfExecution {
    execution_arn: String,
}

/// Wire form of what an execution used: what its history tells.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OfExecution<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    currency: Option<&'a str>,
    execution_arn: &'a str,
    #[serde(flatten)]
    used: Used,
    /// Attempts of which the history does not tell what is in `notCounted`.
    unmeasured_tasks: u64,
    /// What it does not tell of all attempts, and what `cost` is without.
    not_counted: &'static [&'static str],
}

/// What of an attempt is known only by measuring it.
const MEASURED: [&str; 6] = [
    "cpuMicros",
    "memoryMibMillis",
    "fuel",
    "hostCalls",
    "bytesSent",
    "bytesReceived",
];

/// Region and account of an ARN; empty when it is none.
pub(super) fn place_of(arn: &str) -> (&str, &str) {
    let mut parts = arn.split(':').skip(3);
    let region = parts.next().unwrap_or_default();
    (region, parts.next().unwrap_or_default())
}

pub(super) async fn of_execution(call: Call<'_>) -> Result<Vec<u8>, Fault> {
    let AskedOfExecution { execution_arn } = call.read()?;
    let (region, account) = place_of(&execution_arn);
    let caller = Caller {
        tenant: account.into(),
        region: region.into(),
    };
    let engine = &call.state.engine;
    let found = engine.execution_usage(&caller, &execution_arn).await?;
    let prices = call.state.config.prices.as_ref();
    json(&OfExecution {
        currency: prices.map(|prices| prices.currency.as_str()),
        execution_arn: &execution_arn,
        used: Used::of(&found.used, prices),
        unmeasured_tasks: found.unmeasured,
        not_counted: match found.unmeasured {
            0 => &[],
            _ => &MEASURED,
        },
    })
}

pub(super) async fn get(call: Call<'_>) -> Result<Vec<u8>, Fault> {
    let Asked {
        account,
        from,
        to,
        max_results,
        after,
    } = call.read()?;
    let account = call.own_or_all(account);
    let from = from.map_or(Ok(0), |from| day(&from))?;
    let to = to.map_or(Ok(u32::MAX), |to| day(&to))?;
    let most = max_results.unwrap_or(USAGE_ROWS_MAX);
    if !(1..=USAGE_ROWS_MAX).contains(&most) {
        return Err(Fault::validation(format!(
            "maxResults is 1 to {USAGE_ROWS_MAX}, not {most}"
        )));
    }
    let after = after.as_deref().map(place).transpose()?;
    let is_first = after.is_none();
    let engine = &call.state.engine;
    let found = engine
        .usage(account.as_deref(), (from, to), after, most)
        .await?;
    if let Some(account) = account.filter(|_| is_first && found.is_empty()) {
        call.check_told_of(&account).await?;
    }
    let last = found.last().filter(|_| found.len() >= most as usize);
    let next = last.map(|(key, _)| token(key));
    let prices = call.state.config.prices.as_ref();
    json(&answer(&found, prices, next))
}

/// Where a page ends, as the next request names it.
fn token(key: &UsageKey) -> String {
    let place = (key.day, &*key.tenant, &*key.machine, &*key.plugin);
    serde_json::to_string(&place).expect("a list of texts is JSON")
}

fn place(token: &str) -> Result<UsageKey, Fault> {
    let read = serde_json::from_str::<(u32, String, String, String)>(token);
    let (day, tenant, machine, plugin) = read
        .map_err(|_| Fault::validation("`after` is what the page before said, and nothing else"))?;
    Ok(UsageKey {
        day,
        tenant: tenant.into(),
        machine: machine.into(),
        plugin: plugin.into(),
    })
}

fn answer(found: &[(UsageKey, Amounts)], prices: Option<&Prices>, after: Option<String>) -> Answer {
    let mut totals: BTreeMap<&str, Amounts> = BTreeMap::new();
    for (key, used) in found {
        *totals.entry(&key.tenant).or_default() += *used;
    }
    let rows = found.iter().map(|(key, used)| Row {
        day: date(key.day),
        account: key.tenant.to_string(),
        state_machine_arn: key.machine.to_string(),
        plugin: (!key.plugin.is_empty()).then(|| key.plugin.to_string()),
        used: Used::of(used, prices),
    });
    let totals = totals.iter().map(|(account, used)| Total {
        account: (*account).to_owned(),
        used: Used::of(used, prices),
    });
    Answer {
        currency: prices.map(|prices| prices.currency.clone()),
        usage: rows.collect(),
        totals: totals.collect(),
        after,
    }
}

/// Days from 1970-01-01 to a date as `2026-01-31`; what is before it is that day.
fn day(text: &str) -> Result<u32, Fault> {
    let date: jiff::civil::Date = text.parse().map_err(|_| {
        Fault::validation(format!("`{text}` is no day; a day is written 2026-01-31"))
    })?;
    let epoch = jiff::civil::date(1970, 1, 1);
    let days = date.since(epoch).map_or(0, |span| span.get_days());
    Ok(u32::try_from(days).unwrap_or(0))
}

fn date(day: u32) -> String {
    let seconds = i64::from(day) * 86_400;
    let at = jiff::Timestamp::from_second(seconds);
    at.map_or_else(
        |_| day.to_string(),
        |at| at.strftime("%Y-%m-%d").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates() {
        for (text, number) in [("1970-01-01", 0), ("1970-01-02", 1), ("2026-11-29", 20_786)] {
            assert_eq!((day(text), date(number)), (Ok(number), text.to_owned()));
        }
        assert_eq!(day("1969-12-31"), Ok(0));
        assert!(day("yesterday").is_err() && day("2026-13-01").is_err());
    }

    #[test]
    fn a_page_goes_on_where_the_one_before_ended() {
        let key = UsageKey {
            day: 20_786,
            tenant: "111111111111".into(),
            machine: r#"arn:aws:states:us-east-1:111111111111:stateMachine:a"b,c"#.into(),
            plugin: "".into(),
        };
        assert_eq!(place(&token(&key)), Ok(key));
        assert!(place("20786").is_err() && place("").is_err());
    }

    #[test]
    fn a_price_is_a_number_from_nothing_on() {
        let fine = Prices {
            execution: 0.5,
            ..Prices::default()
        };
        assert_eq!(fine.check(), Ok(()));
        for wrong in [-0.01, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let prices = Prices {
                gib_received: wrong,
                ..Prices::default()
            };
            let told = prices.check().unwrap_err();
            assert!(told.starts_with("`gib_received` is "), "{told}");
        }
    }

    #[test]
    fn costs_are_units_times_prices() {
        let prices = Prices {
            currency: "EUR".to_owned(),
            execution: 1.0,
            transition: 0.1,
            memory_gib_second: 2.0,
            ..Prices::default()
        };
        assert!(prices.cost(&Amounts::default()).abs() < f64::EPSILON);
        let used = Amounts::of(&[
            (Meter::Executions, 3),
            (Meter::Transitions, 10),
            // Half a GiB for four seconds.
            (Meter::MemoryTime, 512 * 4_000),
            (Meter::Tasks, 7),
        ]);
        assert!((prices.cost(&used) - 8.0).abs() < 1e-9);
        let of_hosts = Prices {
            million_fuel: 0.5,
            host_call: 0.01,
            gib_sent: 3.0,
            gib_received: 1.0,
            ..Prices::default()
        };
        let used = Amounts::of(&[
            (Meter::Fuel, 4_000_000),
            (Meter::HostCalls, 100),
            (Meter::BytesSent, 1 << 29),
            (Meter::BytesReceived, 1 << 31),
        ]);
        assert!((of_hosts.cost(&used) - 6.5).abs() < 1e-9);
    }
}
