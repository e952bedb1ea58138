//! Whether an answer is as a case expects it. Hides the special forms of expectations; `tests/clients/cases/README.md`
//! has them.

use std::time::{Duration, SystemTime};

use anyhow::{Result, bail, ensure};
use aws_sdk_sfn::primitives::{DateTime, DateTimeFormat};
use serde_json::Value;

/// How far a time may lie from now.
const AGE_MAX: Duration = Duration::from_secs(600);

/// Objects hold at least what is expected, lists exactly that.
pub(crate) fn matches(found: &Value, expected: &Value, at: &str) -> Result<()> {
    match expected {
        Value::Object(members) => {
            let alone = members.iter().next().filter(|_| members.len() == 1);
            if let Some((form, argument)) = alone
                && let Some(verdict) = special(found, form, argument, at)
            {
                return verdict;
            }
            ensure!(
                found.is_object(),
                "{at}: an object is expected, not {found}"
            );
            for (name, inner) in members {
                matches(&found[name], inner, &format!("{at}.{name}"))?;
            }
        }
        Value::Array(items) => {
            let list = found.as_array().filter(|list| list.len() == items.len());
            let Some(list) = list else {
                bail!("{at}: {} items are expected, not {found}", items.len());
            };
            for (index, (one, other)) in list.iter().zip(items).enumerate() {
                matches(one, other, &format!("{at}[{index}]"))?;
            }
        }
        Value::Number(number) => ensure!(
            found.as_f64() == number.as_f64(),
            "{at}: {expected} is expected, not {found}"
        ),
        Value::Null | Value::Bool(_) | Value::String(_) => {
            ensure!(
                found == expected,
                "{at}: {expected} is expected, not {found}"
            );
        }
    }
    Ok(())
}

fn special(found: &Value, form: &str, argument: &Value, at: &str) -> Option<Result<()>> {
    let holds = match form {
        "json" => found
            .as_str()
            .and_then(|text| serde_json::from_str::<Value>(text).ok())
            .is_some_and(|value| value == *argument),
        "absent" => found.is_null(),
        "time" => found.as_str().is_some_and(is_recent),
        "holds" => found
            .as_str()
            .zip(argument.as_str())
            .is_some_and(|(text, part)| text.contains(part)),
        _ => return None,
    };
    Some(if holds {
        Ok(())
    } else {
        Err(anyhow::anyhow!(
            "{at}: {form} {argument} is expected, not {found}"
        ))
    })
}

fn is_recent(text: &str) -> bool {
    let Ok(time) = DateTime::from_str(text, DateTimeFormat::DateTime) else {
        return false;
    };
    let Ok(time) = SystemTime::try_from(time) else {
        return false;
    };
    let age = SystemTime::now().duration_since(time);
    age.unwrap_or_else(|ahead| ahead.duration()) < AGE_MAX
}
