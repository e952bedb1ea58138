//! What the operator sets of tenants, kept as the store has it: quotas, and ceilings of plugins. Hides that another node on the same
//! database may have set it.

use std::{collections::BTreeMap, sync::Arc};

use super::Node;
use crate::{ceilings, error::Error, limits::TENANTS_REREAD, quotas::Quotas, tenants};

/// What is set of tenants, as this node last read it.
#[derive(Default)]
pub(super) struct Settings {
    quotas: BTreeMap<Arc<str>, Quotas>,
    ceilings: BTreeMap<Arc<str>, String>,
}

impl Node {
    /// Reads what is set, and has that count which is not as `known` has it.
    pub(super) async fn settle_tenants(&self, known: &Settings) -> Result<Settings, Error> {
        let (journal, told) = (self.journal.as_ref(), &self.damaged_records);
        let now = Settings {
            quotas: tenants::all_quotas(journal, told)
                .await?
                .into_iter()
                .collect(),
            ceilings: ceilings::all(journal, told).await?.into_iter().collect(),
        };
        for (tenant, quotas) in changes(&known.quotas, &now.quotas) {
            self.set_quotas(tenant, quotas.cloned().unwrap_or_default());
        }
        for (tenant, ceiling) in changes(&known.ceilings, &now.ceilings) {
            self.runner.set_ceiling(tenant, ceiling.map(String::as_str));
        }
        Ok(now)
    }

    /// Goes on reading it where other nodes may write.
    pub(super) async fn keep_tenants(&self) {
        if !self.is_shared {
            return;
        }
        let mut known = Settings::default();
        while !self.shutdown.is_closing() {
            match self.settle_tenants(&known).await {
                Ok(now) => known = now,
                Err(error) => tracing::error!(
                    %error,
                    "what is set of tenants cannot be read; what was read last counts"
                ),
            }
            tokio::time::sleep(TENANTS_REREAD).await;
        }
    }
}

/// What is another value now, or gone.
fn changes<'a, T: PartialEq>(
    before: &'a BTreeMap<Arc<str>, T>,
    now: &'a BTreeMap<Arc<str>, T>,
) -> impl Iterator<Item = (&'a Arc<str>, Option<&'a T>)> {
    let gone = before.keys().filter(|tenant| !now.contains_key(*tenant));
    let other = now
        .iter()
        .filter(|(tenant, value)| before.get(*tenant) != Some(*value));
    other
        .map(|(tenant, value)| (tenant, Some(value)))
        .chain(gone.map(|tenant| (tenant, None)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_node_set_is_seen_and_what_it_took_away() {
        let of = |all: &[(&str, u32)]| -> BTreeMap<Arc<str>, u32> {
            all.iter()
                .map(|(key, value)| ((*key).into(), *value))
                .collect()
        };
        let before = of(&[("same", 1), ("other", 2), ("gone", 3)]);
        let now = of(&[("same", 1), ("other", 20), ("new", 4)]);
        let found: Vec<_> = changes(&before, &now)
            .map(|(key, value)| (&**key, value.copied()))
            .collect();
        let expected = [("new", Some(4)), ("other", Some(20)), ("gone", None)];
        assert_eq!(found, expected);
        assert_eq!(changes(&now, &now).count(), 0);
    }
}
