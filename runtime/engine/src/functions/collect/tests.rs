//! Code that functions no longer have, at times that a test says: what goes, when, and what stays.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Mutex, PoisonError},
};

use futures_util::future::BoxFuture;
use stepwell_interp::OnCrash;

use super::*;
use crate::{
    Caller, Change, FunctionSettings, FunctionVersion, NewFunction, Options, Package, PluginCall,
    PluginEnd, PublishFunction, Store, TaskRunner, journal::Write, programs::sha256,
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

    fn on_crash(&self, _: &str, _: &str) -> OnCrash {
        OnCrash::Redispatch
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

/// Notes where a version looked for code.
fn note_places(rig: &Rig, noted: serde_json::Value) {
    let write = crate::journal::CatalogWrite {
        key: crate::journal::CatalogKey {
            tenant: "".into(),
            kind: "code-adopted".into(),
            name: "all".into(),
        },
        expected: None,
        bytes: Some(stored::encode(&noted)),
    };
    let written = rig.engine.node().write(Write::Catalog(vec![write]));
    rig.runtime.block_on(written).unwrap().unwrap();
}

#[test]
fn what_a_newer_version_beside_it_keeps_is_not_taken_for_unused() {
    let rig = Rig::new(Store::Memory);
    rig.create("1", "pay", b"one");
    rig.update("pay", b"two");
    rig.collect(0, false);
    note_places(&rig, serde_json::json!({"at_ms": 1, "places": 2}));
    let how = CodeCollection {
        grace: GRACE,
        dry_run: false,
    };
    let node = rig.engine.node();
    let mut cursor = None;
    let pass = node.collect_code(how, Timestamp(AFTER_MS), ALL, &mut cursor);
    let refused = rig.runtime.block_on(pass);
    assert!(
        matches!(refused, Err(Error::Rejected { .. })),
        "{refused:?}"
    );
    assert!(rig.has(b"one") && rig.has(b"two"));
    // One that was looking when the newer version came notes nothing over what that noted.
    let noted = rig.runtime.block_on(node.note_adopted());
    assert!(matches!(noted, Err(Error::Rejected { .. })), "{noted:?}");
    // What an earlier version noted is looked at once more, and noted anew.
    note_places(&rig, serde_json::json!({"at_ms": 1}));
    let adopted = || rig.runtime.block_on(node.is_adopted());
    assert_eq!(adopted(), Ok(false));
    assert_eq!(rig.collect(AFTER_MS, false).codes.len(), 1);
    assert_eq!(adopted(), Ok(true));
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
fn no_code_goes_when_it_is_not_known_who_has_some() {
    let directory = tempfile::tempdir().unwrap();
    let store = || Store::Directory(directory.path().to_owned());
    let rig = Rig::new(store());
    rig.create("1", "pay", b"one");
    rig.update("pay", b"two");
    rig.runtime.block_on(rig.engine.shutdown());
    drop(rig);
    let conn = rusqlite::Connection::open(directory.path().join("journal.sqlite")).unwrap();
    let damaged = conn.execute("UPDATE usage SET tenant = x'00' WHERE tenant = '1'", []);
    assert!(damaged.unwrap() > 0);
    drop(conn);
    let rig = Rig::new(store());
    let how = CodeCollection {
        grace: GRACE,
        dry_run: false,
    };
    let node = rig.engine.node();
    for at_ms in [0, AFTER_MS] {
        let mut seen = None;
        let pass = node.collect_code(how, Timestamp(at_ms), ALL, &mut seen);
        let refused = rig.runtime.block_on(pass);
        assert!(matches!(refused, Err(Error::Damaged(_))), "{refused:?}");
    }
    assert_eq!(rig.runtime.block_on(node.is_adopted()), Ok(false));
    assert!(rig.has(b"one") && rig.has(b"two"));
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
