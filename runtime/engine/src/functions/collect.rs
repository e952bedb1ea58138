//! The collection of code that no function has any more. Hides its order, by which nothing goes that something may still
//! need: what a function, a version or an alias has is looked for first; what none has is noted, and goes when it was still
//! so a grace time later; what an attempt of this process runs stays until it has ended.
//!
//! Each hold ends in one write with the bytes and with what the account pays for, so a crash leaves it whole or gone. An
//! upload of the same code meanwhile changes the hold, and the write that would end it is refused.

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
        node.collect_code(how, now(), bounds, &mut None).await
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
        for (tenant, _) in used.map_err(reader::broken)? {
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

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        future::Future,
        pin::Pin,
        sync::{Mutex, PoisonError},
    };

    use futures_util::future::BoxFuture;

    use super::*;
    use crate::{
        Caller, Change, FunctionSettings, FunctionVersion, NewFunction, Options, Package,
        PluginCall, PluginEnd, PublishFunction, Store, TaskRunner, journal::Write,
        programs::sha256,
    };

    const ALL: Bounds = Bounds {
        codes: 100,
        tenants: 100,
    };
    const GRACE: Duration = Duration::from_secs(100);
    const AFTER_MS: u64 = 100_000;

    /// Takes all code, and notes what it is told to forget.
    #[derive(Default)]
    struct Notes(Mutex<Vec<String>>);

    impl TaskRunner for Notes {
        fn run(&self, _: PluginCall) -> Pin<Box<dyn Future<Output = PluginEnd> + Send>> {
            Box::pin(std::future::pending())
        }

        fn check(
            &self,
            _: &str,
            _: &str,
            _: Arc<FunctionVersion>,
        ) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> {
            Box::pin(async { Ok(()) })
        }

        fn forget(&self, sha256: &str) -> BoxFuture<'static, ()> {
            let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            notes.push(sha256.to_owned());
            Box::pin(async {})
        }
    }

    struct Rig {
        engine: Engine,
        notes: Arc<Notes>,
        runtime: tokio::runtime::Runtime,
    }

    impl Rig {
        fn new(store: Store) -> Rig {
            let options = Options {
                take_up: false,
                shards: 1,
                ..Options::of(store)
            };
            let notes = Arc::new(Notes::default());
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .unwrap();
            Rig {
                engine: Engine::open(options, notes.clone()).unwrap(),
                notes,
                runtime,
            }
        }

        fn create(&self, tenant: &str, name: &str, code: &[u8]) {
            let new = NewFunction {
                name: name.to_owned(),
                settings: FunctionSettings {
                    role: String::new(),
                    runtime: None,
                    handler: None,
                    architecture: "wasm32".to_owned(),
                    description: String::new(),
                    timeout_s: 3,
                    memory_mb: 128,
                    environment: BTreeMap::new(),
                    told: BTreeMap::new(),
                },
                package: package(code),
                tags: Vec::new(),
                publish: false,
            };
            let caller = caller(tenant);
            let created = self.engine.create_function(&caller, new);
            self.runtime.block_on(created).unwrap();
        }

        fn update(&self, name: &str, code: &[u8]) {
            let (caller, wanted) = (caller("1"), Change::default());
            let updated = self
                .engine
                .update_function_code(&caller, name, package(code), wanted);
            self.runtime.block_on(updated).unwrap();
        }

        fn delete(&self, tenant: &str, name: &str, version: Option<&str>) {
            let caller = caller(tenant);
            let deleted = self.engine.delete_function(&caller, name, version);
            self.runtime.block_on(deleted).unwrap();
        }

        /// A pass at that time, in milliseconds from an arbitrary one.
        fn collect(&self, at_ms: u64, dry_run: bool) -> CollectedCode {
            let how = CodeCollection {
                grace: GRACE,
                dry_run,
            };
            let (node, mut cursor) = (self.engine.node(), None);
            let pass = node.collect_code(how, Timestamp(at_ms), ALL, &mut cursor);
            self.runtime.block_on(pass).unwrap()
        }

        fn has(&self, code: &[u8]) -> bool {
            let blob = self.engine.node().journal.blob(sha256(code));
            self.runtime.block_on(blob).unwrap().is_some()
        }

        fn stored(&self, tenant: &str) -> u64 {
            let taken = self.engine.node().allowances.taken(&tenant.into());
            taken.stored_bytes
        }

        fn forgotten(&self) -> Vec<String> {
            self.notes.0.lock().unwrap().clone()
        }
    }

    fn caller(tenant: &str) -> Caller {
        Caller {
            tenant: tenant.into(),
            region: "us-east-1".into(),
        }
    }

    fn package(code: &[u8]) -> Package {
        Package {
            wasm: code.into(),
            sha256: hex(&sha256(code)),
            bytes: code.len() as u64,
        }
    }

    fn hashes(collected: &CollectedCode) -> Vec<String> {
        let codes = collected.codes.iter();
        codes.map(|code| code.sha256.clone()).collect()
    }

    #[test]
    fn code_goes_when_nothing_has_it_for_the_grace_time() {
        let rig = Rig::new(Store::Memory);
        rig.create("1", "pay", b"one");
        let (caller, publish) = (caller("1"), PublishFunction::default());
        let published = rig.engine.publish_function(&caller, "pay", publish);
        rig.runtime.block_on(published).unwrap();
        rig.update("pay", b"second");
        rig.update("pay", b"third");
        assert_eq!(rig.stored("1"), 3 + 6 + 5);
        // The version has the first, the latest the third.
        let first = rig.collect(0, false);
        assert_eq!((first.codes.len(), first.waiting), (0, 1));
        assert_eq!(rig.collect(AFTER_MS - 1, false).codes, []);
        let told = rig.collect(AFTER_MS, true);
        assert!(rig.has(b"second"), "a dry run removes nothing");
        let gone = rig.collect(AFTER_MS, false);
        let second = hex(&sha256(b"second"));
        assert_eq!(hashes(&told), hashes(&gone));
        assert_eq!(hashes(&gone), std::slice::from_ref(&second));
        assert!(gone.codes[0].removed && gone.codes[0].bytes == 6);
        assert_eq!(
            [&b"one"[..], b"second", b"third"].map(|code| rig.has(code)),
            [true, false, true]
        );
        assert_eq!(rig.stored("1"), 3 + 5);
        assert_eq!(rig.forgotten(), [second]);
        rig.delete("1", "pay", Some("1"));
        rig.collect(AFTER_MS, false);
        assert_eq!(rig.collect(2 * AFTER_MS, false).codes.len(), 1);
        rig.delete("1", "pay", None);
        rig.collect(2 * AFTER_MS, false);
        assert_eq!(rig.collect(3 * AFTER_MS, false).codes.len(), 1);
        assert_eq!(rig.stored("1"), 0);
        assert_eq!(rig.collect(9 * AFTER_MS, false), CollectedCode::default());
    }

    #[test]
    fn an_upload_meanwhile_keeps_the_code() {
        let rig = Rig::new(Store::Memory);
        rig.create("1", "pay", b"one");
        rig.update("pay", b"two");
        rig.collect(0, false);
        let node = rig.engine.node();
        let read = rig.runtime.block_on(node.holds("1", None, 9)).unwrap();
        let idle = read.iter().find(|hold| hold.record.idle_ms.is_some());
        // Back to the first code, while a collection is about to remove it.
        rig.update("pay", b"one");
        let ended = rig.runtime.block_on(node.end_hold(idle.unwrap())).unwrap();
        assert_eq!(ended, None);
        assert_eq!(rig.collect(AFTER_MS, false).codes, []);
        assert!(rig.has(b"one") && rig.has(b"two"));
        let gone = rig.collect(2 * AFTER_MS, false);
        assert_eq!(hashes(&gone), [hex(&sha256(b"two"))]);
        assert_eq!(rig.stored("1"), 3);
    }

    #[test]
    fn code_that_runs_stays() {
        let rig = Rig::new(Store::Memory);
        rig.create("1", "pay", b"one");
        let (tenant, name): (Arc<str>, Arc<str>) = ("1".into(), "pay".into());
        let node = rig.engine.node();
        let resolved = node.resolve_function(&tenant, &name, None);
        let resolved = rig.runtime.block_on(resolved).ok().unwrap();
        rig.delete("1", "pay", None);
        rig.collect(0, false);
        assert_eq!(rig.collect(AFTER_MS, false).codes, []);
        drop(resolved);
        // The grace time begins when it has ended.
        assert_eq!(rig.collect(AFTER_MS, false).waiting, 1);
        assert_eq!(rig.collect(2 * AFTER_MS, false).codes.len(), 1);
    }

    #[test]
    fn the_bytes_go_with_the_last_account() {
        let rig = Rig::new(Store::Memory);
        rig.create("1", "pay", b"one");
        rig.create("1", "again", b"one");
        rig.create("2", "pay", b"one");
        assert_eq!((rig.stored("1"), rig.stored("2")), (3, 3), "paid for once");
        rig.delete("1", "pay", None);
        rig.collect(0, false);
        assert_eq!(rig.collect(AFTER_MS, false).codes, [], "another one has it");
        rig.delete("1", "again", None);
        rig.collect(AFTER_MS, false);
        let gone = rig.collect(2 * AFTER_MS, false);
        assert!(!gone.codes[0].removed && rig.has(b"one"));
        assert_eq!((rig.stored("1"), rig.stored("2")), (0, 3));
        assert!(rig.forgotten().is_empty());
        rig.delete("2", "pay", None);
        rig.collect(2 * AFTER_MS, false);
        assert!(rig.collect(3 * AFTER_MS, false).codes[0].removed);
        assert!(!rig.has(b"one"));
    }

    #[test]
    fn code_from_before_there_were_holds_is_held_by_all_who_have_it() {
        let rig = Rig::new(Store::Memory);
        for tenant in ["1", "2"] {
            rig.create(tenant, "pay", b"one");
        }
        // As an older version left it.
        let node = rig.engine.node();
        let keys = ["code/HASH", "code-hold/1/HASH", "code-hold/2/HASH"];
        let hash = hex(&sha256(b"one"));
        let gone = keys.map(|key| {
            let (kind, name) = key.split_once('/').unwrap();
            crate::journal::CatalogWrite {
                key: crate::journal::CatalogKey {
                    tenant: "".into(),
                    kind: kind.into(),
                    name: name.replace("HASH", &hash).into(),
                },
                expected: Some(1 + u64::from(kind == "code")),
                bytes: None,
            }
        });
        let written = node.write(Write::Catalog(gone.into()));
        rig.runtime.block_on(written).unwrap().unwrap();
        rig.delete("1", "pay", None);
        rig.collect(0, false);
        rig.collect(AFTER_MS, false);
        assert!(rig.has(b"one"), "the other account's function has it");
        rig.delete("2", "pay", None);
        rig.collect(AFTER_MS, false);
        assert!(rig.collect(2 * AFTER_MS, false).codes[0].removed);
    }

    #[test]
    fn what_was_freed_is_known_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let store = || Store::Directory(directory.path().to_owned());
        let rig = Rig::new(store());
        rig.create("1", "pay", b"one");
        rig.update("pay", b"second");
        rig.collect(0, false);
        assert_eq!(rig.collect(AFTER_MS, false).codes.len(), 1);
        rig.runtime.block_on(rig.engine.shutdown());
        drop(rig);
        let rig = Rig::new(store());
        assert_eq!(rig.stored("1"), 6);
        assert!(!rig.has(b"one") && rig.has(b"second"));
        rig.runtime.block_on(rig.engine.shutdown());
    }

    #[test]
    fn a_step_is_bounded_and_goes_on_where_it_ended() {
        let rig = Rig::new(Store::Memory);
        let tenants = ["1", "2", "3"];
        for tenant in tenants {
            rig.create(tenant, "pay", tenant.as_bytes());
            rig.delete(tenant, "pay", None);
        }
        rig.collect(0, false);
        let node = rig.engine.node();
        let how = CodeCollection {
            grace: GRACE,
            dry_run: false,
        };
        let mut cursor = None;
        let mut ended = Vec::new();
        for more in [true, true, false] {
            let bounds = Bounds {
                codes: 1,
                tenants: 2,
            };
            let step = node.collect_code(how, Timestamp(AFTER_MS), bounds, &mut cursor);
            let step = rig.runtime.block_on(step).unwrap();
            assert_eq!(step.more, more, "{ended:?}");
            ended.extend(step.codes.iter().map(|code| code.tenant.to_string()));
        }
        assert_eq!(ended, tenants);
    }
}
