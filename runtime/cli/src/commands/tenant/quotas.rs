//! Quotas of a tenant and the ceiling of its plugins: `tenant set` and `tenant show`. Hides how flags become quotas, and how both are
//! shown.

use std::collections::BTreeMap;

use anyhow::anyhow;
use serde_json::{Value, json};
use stepwell_engine::{Engine, Exceeding, Quotas, Rates, Taken};
use stepwell_server::WireQuotas;

use super::{audit::noted, told};
use crate::args::{CeilingArgs, Most, QuotaArgs, TenantPlace};
use crate::commands::{at_rest, print, print_json};
use crate::exit::{Blame, Outcome, Stop};
use crate::given;
use crate::sizes;
use crate::table::Table;

pub(super) async fn set(
    account: &str,
    changed: &QuotaArgs,
    asked: &CeilingArgs,
    place: &TenantPlace,
) -> Outcome {
    let ceiling = new_ceiling(asked)?;
    let host = at_rest::open(place).await?;
    let set = set_in(&host.engine, account, changed, ceiling).await;
    let described = describe(&host.engine, account).await;
    host.close().await;
    let is_changed = set.map_err(|stop| in_file(asked, stop))?;
    tell(account, is_changed, &described?)
}

/// Whether anything was changed.
async fn set_in(
    engine: &Engine,
    account: &str,
    changed: &QuotaArgs,
    ceiling: Option<Option<String>>,
) -> Outcome<bool> {
    if let Some(text) = &ceiling {
        let change = engine.set_ceiling(account, text.as_deref());
        noted(engine, account, "stepwell:SetCeiling", account, change).await?;
    }
    let (quotas, _) = engine.quotas(account).await.map_err(told)?;
    let were_damaged = quotas.damaged;
    let Some(quotas) = changed_quotas(quotas, changed) else {
        return Ok(ceiling.is_some());
    };
    let change = engine.set_quotas(account, quotas);
    noted(engine, account, "stepwell:SetQuotas", account, change).await?;
    say_mended(account, were_damaged);
    Ok(true)
}

/// That quotas were set in the place of damaged ones, of which nothing is known.
pub(super) fn say_mended(account: &str, were_damaged: bool) {
    if were_damaged {
        say!(
            "the quotas of tenant {account} were damaged, and what they were is not known: it has those named now, and no other"
        );
    }
}

/// What is set now, after a change.
pub(super) fn tell(account: &str, is_changed: bool, described: &Value) -> Outcome {
    match is_changed {
        true => say!("changed tenant {account}; now it has"),
        false => say!(
            "nothing of tenant {account} was changed; `stepwell tenant set --help` lists what can be set, and it has"
        ),
    }
    show(described, false)
}

pub(super) async fn show_here(account: &str, json: bool, place: &TenantPlace) -> Outcome {
    let host = at_rest::open(place).await?;
    let described = describe(&host.engine, account).await;
    host.close().await;
    show(&described?, json)
}

/// Quotas, what is taken of them and the ceiling, as the API has them.
async fn describe(engine: &Engine, account: &str) -> Outcome<Value> {
    let (quotas, taken) = engine.quotas(account).await.map_err(told)?;
    let ceiling = engine.ceiling(account).await.map_err(told)?;
    let quotas = serde_json::to_value(WireQuotas::from(quotas)).runtime()?;
    let Taken {
        open_executions,
        running_tasks,
        stored_bytes,
    } = taken;
    let taken = json!({"openExecutions": open_executions, "runningTasks": running_tasks, "storedBytes": stored_bytes});
    Ok(json!({"account": account, "quotas": quotas, "taken": taken, "ceiling": ceiling}))
}

/// The text of the ceiling that the arguments name, or that there shall be none; nothing when they name neither.
pub(super) fn new_ceiling(args: &CeilingArgs) -> Outcome<Option<Option<String>>> {
    match (&args.ceiling, args.no_ceiling) {
        (Some(path), _) => Ok(Some(Some(given::read(path)?))),
        (None, true) => Ok(Some(None)),
        (None, false) => Ok(None),
    }
}

/// What is wrong with a ceiling, with the file that it was read from: whoever reads its text knows of none.
pub(super) fn in_file(args: &CeilingArgs, stop: Stop) -> Stop {
    match (stop, &args.ceiling) {
        (Stop::Usage(error), Some(file)) => {
            let named = format!("{}:", file.display());
            Stop::Usage(anyhow!(
                format!("{error:#}").replace("the ceiling:", &named)
            ))
        }
        (other, _) => other,
    }
}

/// The quotas with those changed that the arguments name; `None` when they stay as they are. In the place of damaged ones stand
/// those that are named, alone.
pub(super) fn changed_quotas(before: Quotas, changed: &QuotaArgs) -> Option<Quotas> {
    if *changed == QuotaArgs::default() {
        return None;
    }
    let mut quotas = match before.damaged {
        true => Quotas::default(),
        false => before.clone(),
    };
    if let Some(limits) = &changed.limits {
        quotas.raised_limits = match limits.as_str() {
            "raised" => Some(true),
            "strict" => Some(false),
            _ => None,
        };
    }
    if let Some(rates) = &changed.rates {
        quotas.rates = match rates.as_str() {
            "off" => Some(Rates::Off),
            "aws" => Some(Rates::Aws),
            _ => None,
        };
    }
    if !changed.rate.is_empty() {
        let mut set = match quotas.rates.take() {
            Some(Rates::Set(set)) => set,
            Some(Rates::Off | Rates::Aws) | None => BTreeMap::new(),
        };
        set.extend(changed.rate.iter().cloned());
        quotas.rates = Some(Rates::Set(set));
    }
    let counts = [
        (&mut quotas.open_executions, changed.open_executions),
        (&mut quotas.running_tasks, changed.running_tasks),
        (&mut quotas.stored_bytes, changed.stored_bytes),
        (&mut quotas.state_machines, changed.state_machines),
        (&mut quotas.activities, changed.activities),
        (&mut quotas.machine_concurrency, changed.machine_concurrency),
    ];
    for (quota, changed) in counts {
        if let Some(Most(most)) = changed {
            *quota = most;
        }
    }
    if let Some(Most(weight)) = changed.weight {
        quotas.weight = weight.and_then(|weight| u32::try_from(weight).ok());
    }
    if let Some(mode) = &changed.machine_concurrency_mode {
        quotas.machine_concurrency_mode = match mode.as_str() {
            "wait" => Some(Exceeding::Wait),
            "refuse" => Some(Exceeding::Refuse),
            _ => None,
        };
    }
    (quotas != before).then_some(quotas)
}

/// Shows quotas and what is taken of them, in the form of the API.
pub(super) fn show(described: &Value, json: bool) -> Outcome {
    if json {
        return print_json(described);
    }
    let (quotas, taken) = (&described["quotas"], &described["taken"]);
    let mut table = Table::new(&["quota", "most", "taken"]);
    let text = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let limits = match quotas["raisedLimits"].as_bool() {
        Some(true) => "raised",
        Some(false) => "strict",
        None => "the server's",
    };
    table.row(["limits".to_owned(), limits.to_owned(), String::new()]);
    let rates = match (&quotas["rates"], quotas["rates"]["set"].as_object()) {
        (_, Some(set)) => {
            let rate = |(operation, rate): (&String, &Value)| {
                format!("{operation}={}/{}", rate["bucket"], rate["perSecond"])
            };
            set.iter().map(rate).collect::<Vec<_>>().join(" ")
        }
        (Value::Null, None) => "the server's".to_owned(),
        (other, None) => text(other),
    };
    table.row(["rates".to_owned(), rates, String::new()]);
    for (name, key) in [
        ("open executions", "openExecutions"),
        ("running tasks", "runningTasks"),
    ] {
        let taken = taken.get(key).map_or_else(String::new, text);
        table.row([name.to_owned(), text(&quotas[key]), taken]);
    }
    table.row(stored(&quotas["storedBytes"], &taken["storedBytes"]));
    for (name, key) in [
        ("state machines", "stateMachines"),
        ("activities", "activities"),
        ("machine concurrency", "machineConcurrency"),
        ("what exceeds it", "machineConcurrencyMode"),
    ] {
        table.row([name.to_owned(), text(&quotas[key]), String::new()]);
    }
    let weight = match &quotas["weight"] {
        Value::Null => "100, the usual one".to_owned(),
        other => text(other),
    };
    table.row(["weight".to_owned(), weight, String::new()]);
    let mut shown = table.take(None);
    if quotas["damaged"].as_bool() == Some(true) {
        shown.push_str("\nits quotas are damaged: it starts and keeps nothing more until `stepwell tenant set` sets them again\n");
    }
    match described["ceiling"].as_str() {
        Some(text) => {
            shown.push_str("\nceiling of its plugins\n");
            for line in text.trim_end().lines() {
                shown.push_str(&format!("    {line}\n"));
            }
        }
        None => shown.push_str("\nits plugins have no ceiling of their own\n"),
    }
    print(&shown)
}

/// What is stored, and how much of it may be.
fn stored(most: &Value, taken: &Value) -> [String; 3] {
    let shown = |bytes: &Value, of: fn(u64) -> String| bytes.as_u64().map(of);
    [
        "stored bytes".to_owned(),
        shown(most, sizes::set).unwrap_or_else(|| "-".to_owned()),
        shown(taken, sizes::measured).unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_told_with_its_unit() {
        for (most, taken, told) in [
            (json!(10_u64 << 30), json!(1_536), ["10 GiB", "1.5 KiB"]),
            (json!(1), json!(0), ["1 B", "0 B"]),
            (Value::Null, Value::Null, ["-", ""]),
        ] {
            assert_eq!(stored(&most, &taken)[1..], told);
        }
    }

    fn damaged() -> Quotas {
        Quotas {
            open_executions: Some(0),
            stored_bytes: Some(0),
            damaged: true,
            ..Quotas::default()
        }
    }

    fn open(most: Option<u64>) -> QuotaArgs {
        QuotaArgs {
            open_executions: Some(Most(most)),
            ..QuotaArgs::default()
        }
    }

    #[test]
    fn in_the_place_of_damaged_quotas_stand_those_that_are_named() {
        for most in [Some(5), Some(0), None] {
            let expected = Quotas {
                open_executions: most,
                ..Quotas::default()
            };
            assert_eq!(changed_quotas(damaged(), &open(most)), Some(expected));
        }
        let nothing = QuotaArgs::default();
        assert_eq!(
            changed_quotas(damaged(), &nothing),
            None,
            "nothing is named"
        );
    }

    #[test]
    fn what_is_named_as_it_is_changes_nothing() {
        let quotas = Quotas {
            open_executions: Some(5),
            stored_bytes: Some(7),
            ..Quotas::default()
        };
        assert_eq!(changed_quotas(quotas.clone(), &open(Some(5))), None);
        let changed = changed_quotas(quotas, &open(Some(6))).unwrap();
        assert_eq!(
            (changed.open_executions, changed.stored_bytes),
            (Some(6), Some(7))
        );
    }
}
