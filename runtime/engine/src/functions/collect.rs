//! The collection of code that no function has any more. Hides its order, by which nothing goes that something may still
//! need: what a function, a version or an alias has is looked for first; what none has is noted, and goes when it was still
//! so a grace time later; what an attempt of this process runs stays until it has ended.
//!
//! Each hold ends in one write with the bytes and with what the account pays for, so a crash leaves it whole or gone. An
//! upload of the same code meanwhile changes the hold, and the write that would end it is refused.

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, ops::ControlFlow, sync::Arc, time::Duration};

use stepwell_interp::Timestamp;

use super::{
    KIND,
    holds::{CodeHash, Ended, Hold},
    record::FunctionRecord,
};
use crate::{
    dispatch::hex,
    engine::Engine,
    error::Error,
    journal::RESTORE,
    limits::{
        CODE_COLLECT_AFTER, CODE_COLLECT_EVERY, CODE_COLLECT_PAUSE, CODE_COLLECTED_MAX, CODE_GRACE,
        CODE_GRACE_MIN, CODE_STEP_MAX, CODE_STEP_TENANTS_MAX, FUNCTION_RECORDS_READ_MAX, ROWS_MAX,
    },
    node::{Node, now},
    programs::from_hex,
    reader, record as stored,
};

/// How code is collected.
#[derive(Clone, Copy, Debug)]
pub struct CodeCollection {
    /// How long no function must have had it. Where executions run, a minute at least.
    pub grace: Duration,
    /// Tells what would go, and changes nothing.
    pub dry_run: bool,
}

impl Default for CodeCollection {
    fn default() -> Self {
        CodeCollection {
            grace: CODE_GRACE,
            dry_run: false,
        }
    }
}

/// What a collection removed, or would.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CollectedCode {
    pub codes: Vec<UnusedCode>,
    /// Code that no function has, and that stays for its grace time.
    pub waiting: u64,
    /// Whether there is more: one collection removes so many at most.
    pub more: bool,
    /// The grace time that counted: it may be more than was asked for.
    pub grace: Duration,
}

/// Code that no function of an account has.
#[derive(Clone, Debug, PartialEq)]
pub struct UnusedCode {
    pub tenant: Arc<str>,
    /// SHA-256 of the `.wasm`, lower-case hex.
    pub sha256: String,
    /// What the account no longer pays for.
    pub bytes: u64,
    /// Since when it is known that no function has it.
    pub idle_since: Timestamp,
    /// Whether the bytes went as well: no other account holds them.
    pub removed: bool,
}

impl Engine {
    /// Removes code that no function of its account has had for the grace time.
    pub async fn collect_code(&self, how: CodeCollection) -> Result<CollectedCode, Error> {
        let node = self.node();
        let grace = match node.takes_up() {
            // An upload keeps its code before its function has it.
            true => how.grace.max(CODE_GRACE_MIN),
            false => how.grace,
        };
        let how = CodeCollection { grace, ..how };
        let bounds = Bounds {
            codes: CODE_COLLECTED_MAX,
            tenants: usize::MAX,
        };
        let found = node.collect_code(how, now(), bounds, &mut None).await?;
        Ok(CollectedCode { grace, ..found })
    }
}

/// How much one step does at most.
struct Bounds {
    /// Holds that it ends.
    codes: usize,
    /// Accounts that it looks at.
    tenants: usize,
}

/// One pass over holds.
struct Pass<'a> {
    node: &'a Node,
    how: CodeCollection,
    now: Timestamp,
    most: usize,
    found: CollectedCode,
}

impl Node {
    /// Collects for as long as the process runs, a little at a time.
    pub(crate) async fn keep_collecting_code(&self) {
        tokio::time::sleep(CODE_COLLECT_AFTER).await;
        let mut cursor = None;
        loop {
            let how = CodeCollection::default();
            let bounds = Bounds {
                codes: CODE_STEP_MAX,
                tenants: CODE_STEP_TENANTS_MAX,
            };
            let pause = match self.collect_code(how, now(), bounds, &mut cursor).await {
                Ok(CollectedCode { codes, more, .. }) => {
                    if !codes.is_empty() {
                        let bytes: u64 = codes.iter().map(|code| code.bytes).sum();
                        tracing::info!(codes = codes.len(), bytes, "unused code was removed");
                    }
                    match more {
                        true => CODE_COLLECT_PAUSE,
                        false => CODE_COLLECT_EVERY,
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "unused code is not removed; it is tried again");
                    CODE_COLLECT_EVERY
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Goes on behind the account of `cursor`, which it moves; `None` is the beginning, and again the end.
    async fn collect_code(
        &self,
        how: CodeCollection,
        now: Timestamp,
        bounds: Bounds,
        cursor: &mut Option<Arc<str>>,
    ) -> Result<CollectedCode, Error> {
        let unnamed = self.journal.unnamed_records();
        if unnamed > 0 {
            return Err(Error::Damaged(format!(
                "the store has {unnamed} damaged records that nobody can name and that may be functions, so it is not known which code they have, and none is removed; {RESTORE}"
            )));
        }
        if !self.is_adopted().await? {
            self.adopt_all().await?;
        }
        let mut pass = Pass {
            node: self,
            how,
            now,
            most: bounds.codes,
            found: CollectedCode::default(),
        };
        for _ in 0..bounds.tenants {
            let Some(tenant) = self.next_holder(cursor.as_deref()).await? else {
                *cursor = None;
                return Ok(pass.found);
            };
            match pass.tenant(&tenant).await {
                Ok(ControlFlow::Break(())) => break,
                Ok(ControlFlow::Continue(())) => {}
                // What its functions have is not known, so all of its code stays; the others' is none the worse for it.
                Err(error @ Error::Damaged(_)) => {
                    tracing::error!(tenant = &*tenant, %error, "no code of the account is collected");
                }
                Err(error) => return Err(error),
            }
            *cursor = Some(tenant);
        }
        pass.found.more = true;
        Ok(pass.found)
    }

    /// Has all code held that was uploaded before there were holds: an account that holds it must not be the reason that
    /// it goes while another one's function has it.
    async fn adopt_all(&self) -> Result<(), Error> {
        // Whoever uploaded code has an entry: it was charged.
        let used = self.journal.usage_of_tenants().await;
        let used = used.map_err(reader::broken)?;
        if used.is_partial {
            return Err(Error::Damaged(format!(
                "a row of the usage in the store is damaged, so it is not known who has code, and none is removed; {RESTORE}"
            )));
        }
        for (tenant, _) in used.sums {
            for hash in self.code_of(&tenant).await? {
                self.adopt_code(&tenant, hash).await?;
            }
        }
        self.note_adopted().await
    }

    /// The code that functions of an account have, their versions included; an alias stands for one of these.
    async fn code_of(&self, tenant: &str) -> Result<BTreeSet<CodeHash>, Error> {
        let (mut hashes, mut after) = (BTreeSet::new(), None::<Arc<str>>);
        loop {
            let limit = FUNCTION_RECORDS_READ_MAX;
            let page = self
                .journal
                .scan(tenant, KIND, "", after.as_deref(), limit)
                .await;
            let page = page.map_err(reader::broken)?;
            for found in &page {
                let record: FunctionRecord = stored::decode(&found.bytes)?;
                hashes.extend(record.code().filter_map(from_hex));
            }
            after = page.last().map(|found| found.key.name.clone());
            if page.len() < limit as usize {
                return Ok(hashes);
            }
        }
    }
}

impl Pass<'_> {
    /// Looks at the holds of an account; breaks off when enough have ended.
    async fn tenant(&mut self, tenant: &Arc<str>) -> Result<ControlFlow<()>, Error> {
        let mut page = self.node.holds(tenant, None, ROWS_MAX).await?;
        if page.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        // After the first page of holds: what is uploaded from here on changes its hold.
        let mut used = self.node.code_of(tenant).await?;
        loop {
            for hold in &page {
                if self.hold(hold, &used).await?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            let last = match page.last() {
                Some(last) if page.len() == ROWS_MAX as usize => last.hash,
                Some(_) | None => return Ok(ControlFlow::Continue(())),
            };
            page = self.node.holds(tenant, Some(last), ROWS_MAX).await?;
            used = self.node.code_of(tenant).await?;
        }
    }

    async fn hold(
        &mut self,
        hold: &Hold,
        used: &BTreeSet<CodeHash>,
    ) -> Result<ControlFlow<()>, Error> {
        let noted = hold.record.idle_ms;
        if used.contains(&hold.hash) || self.node.code_in_use.has(&hold.hash) {
            if noted.is_some() && !self.how.dry_run {
                self.node.note_idle(hold, None).await?;
            }
            return Ok(ControlFlow::Continue(()));
        }
        let since_ms = noted.unwrap_or(self.now.0);
        let idle = Duration::from_millis(self.now.0.saturating_sub(since_ms));
        if idle < self.how.grace {
            self.found.waiting += 1;
            if noted.is_none() && !self.how.dry_run {
                self.node.note_idle(hold, Some(since_ms)).await?;
            }
            return Ok(ControlFlow::Continue(()));
        }
        if self.found.codes.len() >= self.most {
            return Ok(ControlFlow::Break(()));
        }
        let removed = match self.how.dry_run {
            true => false,
            false => match self.node.end_hold(hold).await? {
                Some(ended) => ended == Ended::WithBytes,
                // Somebody uploaded it again.
                None => return Ok(ControlFlow::Continue(())),
            },
        };
        let sha256 = hex(&hold.hash);
        if removed {
            self.node.runner.forget(&sha256).await;
        }
        self.found.codes.push(UnusedCode {
            tenant: hold.tenant.clone(),
            sha256,
            bytes: hold.record.bytes,
            idle_since: Timestamp(since_ms),
            removed,
        });
        Ok(ControlFlow::Continue(()))
    }
}
