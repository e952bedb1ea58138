//! What an alias of an uploaded plugin stands for: a version alone, or two by weights. Hides how the API writes it.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};

/// A version, and others with their part of all calls.
#[derive(Debug, PartialEq)]
pub(super) struct Target {
    version: String,
    weights: BTreeMap<String, f64>,
}

impl Target {
    pub(super) fn alone(version: &str) -> Target {
        Target {
            version: version.to_owned(),
            weights: BTreeMap::new(),
        }
    }

    /// Of an alias as the API tells it.
    pub(super) fn of(alias: &Value) -> Target {
        let weights = alias["RoutingConfig"]["AdditionalVersionWeights"].as_object();
        let weights = weights.into_iter().flatten();
        Target {
            version: super::text(alias, "FunctionVersion").to_owned(),
            weights: weights
                .filter_map(|(version, weight)| Some((version.clone(), weight.as_f64()?)))
                .collect(),
        }
    }

    /// As the header tells what an alias stood for: `2`, or `2;3=0.1`.
    pub(super) fn read(text: &str) -> Option<Target> {
        let mut parts = text.split(';');
        let version = parts.next().filter(|version| !version.is_empty())?;
        let weight = |part: &str| {
            let (version, weight) = part.split_once('=')?;
            Some((version.to_owned(), weight.parse().ok()?))
        };
        Some(Target {
            version: version.to_owned(),
            weights: parts.map(weight).collect::<Option<_>>()?,
        })
    }

    /// As the API takes it, in what creates or changes an alias.
    pub(super) fn wire(&self) -> Value {
        json!({
            "FunctionVersion": self.version,
            "RoutingConfig": {"AdditionalVersionWeights": self.weights}
        })
    }

    pub(super) fn has_weights(&self) -> bool {
        !self.weights.is_empty()
    }

    /// The part of all calls that a version has, where it has one.
    fn part(&self, version: &str) -> Option<f64> {
        let others: f64 = self.weights.values().sum();
        let own = (self.version == version).then_some(1.0 - others);
        own.or_else(|| self.weights.get(version).copied())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.version)?;
        for (version, weight) in &self.weights {
            write!(
                f,
                ", and for {version} in {} of its calls",
                percent(*weight)
            )?;
        }
        Ok(())
    }
}

/// The aliases that may choose a version, each with the part of its calls where that is not all.
pub(super) fn parts_of(aliases: &[Value], version: &str) -> Vec<String> {
    let of_it = aliases.iter().filter_map(|alias| {
        let (name, target) = (super::text(alias, "Name"), Target::of(alias));
        let part = target.part(version)?;
        Some(match target.has_weights() {
            true => format!("{name} {}", percent(part)),
            false => name.to_owned(),
        })
    });
    of_it.collect()
}

/// With two places at most.
fn percent(part: f64) -> String {
    format!("{} %", (part * 10_000.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_told_with_both_versions() {
        let mix = json!({
            "Name": "mix", "FunctionVersion": "1",
            "RoutingConfig": {"AdditionalVersionWeights": {"2": 0.1}}
        });
        let live = json!({"Name": "live", "FunctionVersion": "2"});
        let told = Target::of(&mix);
        assert_eq!(told.to_string(), "1, and for 2 in 10 % of its calls");
        let aliases = [live, mix];
        assert_eq!(parts_of(&aliases, "1"), ["mix 90 %"]);
        assert_eq!(parts_of(&aliases, "2"), ["live", "mix 10 %"]);
        assert!(parts_of(&aliases, "3").is_empty());
    }

    #[test]
    fn what_the_header_tells_is_what_is_asked_for() {
        let both = Target::read("2;3=0.1").unwrap();
        assert_eq!(
            both.wire(),
            json!({"FunctionVersion": "2", "RoutingConfig": {"AdditionalVersionWeights": {"3": 0.1}}})
        );
        assert_eq!(Target::read("$LATEST"), Some(Target::alone("$LATEST")));
        assert_eq!(
            Target::alone("1").wire()["RoutingConfig"],
            json!({"AdditionalVersionWeights": {}})
        );
        for unread in ["", ";3=0.1", "2;3", "2;3=x"] {
            assert_eq!(Target::read(unread), None, "{unread}");
        }
    }
}
