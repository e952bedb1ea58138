//! Calls that tell what was used, a page at a time.

use crate::{
    engine::Engine,
    error::Error,
    journal::{Amounts, UsageKey, UsageQuery},
    reader,
};

impl Engine {
    /// What was used from one day to another, both included, by a tenant or by all: days since 1970-01-01, UTC. In order of
    /// day, tenant, state machine and plugin, from behind `after` on; fewer than `limit` when there is no more.
    pub async fn usage(
        &self,
        tenant: Option<&str>,
        (from, to): (u32, u32),
        after: Option<UsageKey>,
        limit: u32,
    ) -> Result<Vec<(UsageKey, Amounts)>, Error> {
        let query = UsageQuery {
            tenant: tenant.map(Into::into),
            from,
            to,
            after,
            limit,
        };
        let page = self.node().journal.usage(query).await;
        page.map_err(reader::broken)
    }
}
