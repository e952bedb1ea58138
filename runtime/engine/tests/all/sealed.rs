//! What tenants keep sealed: secrets of tasks and connections, with the operator's keys and without them.

use std::{
    collections::BTreeMap,
    future::Future,
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex},
};

use stepwell_engine::{
    AllowForm, Code, ConnectionForm, Engine, Error, Extras, KeptConnection, MachineKind, Options,
    PluginCall, PluginEnd, Resealed, Role, Store, TaskRunner, TaskSecrets, Vault, WhyClosed,
};
use stepwell_interp::OnCrash;

use crate::support::{at, caller_of, machine, start_of};

const OWN: &str = "000000000000";
const A: &str = "111111111111";
const B: &str = "222222222222";

/// Gives back the secrets that its attempts find, and keeps the ceilings that it is told.
#[derive(Default)]
struct Runner {
    ceilings: Mutex<BTreeMap<String, String>>,
}

impl TaskRunner for Runner {
    fn run(&self, call: PluginCall) -> Pin<Box<dyn Future<Output = PluginEnd> + Send>> {
        Box::pin(async move {
            let secrets: Arc<dyn TaskSecrets> = call.secrets.expect("an attempt has a source");
            let names = ["KEY", "ABSENT"].map(str::to_owned).to_vec();
            match secrets.open(names).await {
                Ok(found) => PluginEnd::Succeeded {
                    output: serde_json::to_string(&found).unwrap(),
                    log: None,
                },
                Err(cause) => PluginEnd::Internal { cause },
            }
        })
    }

    fn on_crash(&self, _: &str, _: &str) -> OnCrash {
        OnCrash::Redispatch
    }

    fn has_secret(&self, tenant: &str, name: &str) -> bool {
        tenant == OWN && name == "OPERATORS"
    }

    fn check_ceiling(&self, _: &str, text: &str) -> Result<(), String> {
        match text {
            "wrong" => Err("it is wrong".to_owned()),
            _ => Ok(()),
        }
    }

    fn set_ceiling(&self, tenant: &str, text: Option<&str>) {
        let mut ceilings = self.ceilings.lock().unwrap();
        match text {
            Some(text) => ceilings.insert(tenant.to_owned(), text.to_owned()),
            None => ceilings.remove(tenant),
        };
    }
}

fn options(store: Store) -> Options {
    Options {
        shards: 1,
        ..Options::of(store)
    }
}

fn open_with(store: Store, vault: Option<Vault>, runner: Arc<Runner>) -> Engine {
    let extras = Extras {
        vault,
        ..Extras::default()
    };
    Engine::open_with(options(store), extras, runner).expect("the store is free")
}

fn open(directory: &Path, vault: Option<Vault>) -> Engine {
    open_with(at(directory), vault, Arc::default())
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Error>) -> (Code, String) {
    match answer {
        Err(Error::Rejected { code, message }) => (code, message),
        other => panic!("not refused: {other:?}"),
    }
}

/// What an attempt of an account's task finds.
async fn found_by_a_task(engine: &Engine, account: &str) -> Result<String, String> {
    let caller = caller_of(account);
    let request = machine(
        "reads",
        MachineKind::Express,
        r#"{"StartAt":"T","States":{"T":{"Type":"Task","Resource":"wasm:task","End":true}}}"#,
    );
    let made = engine.create_machine(&caller, request).await.unwrap();
    let request = start_of(&made.machine.arn);
    let ended = engine.start_sync(&caller, request).await.unwrap().execution;
    match ended.output {
        Some(output) => Ok(output.to_json()),
        None => Err(ended.cause.unwrap_or_default().to_string()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_finds_its_accounts_secrets_as_they_are_then() {
    let directory = tempfile::tempdir().unwrap();
    let vault = Vault::fresh();
    let engine = open(directory.path(), Some(vault.clone()));
    for account in [A, B] {
        engine.add_tenant(account, "").await.unwrap();
    }
    assert!(engine.put_secret(A, "KEY", "of-a-hidden").await.unwrap());
    let found = found_by_a_task(&engine, A).await;
    assert_eq!(found, Ok(r#"{"KEY":"of-a-hidden"}"#.into()));
    assert_eq!(found_by_a_task(&engine, B).await, Ok("{}".into()));
    assert!(!engine.put_secret(A, "KEY", "another-hidden").await.unwrap());
    let found = found_by_a_task(&engine, A).await;
    assert_eq!(found, Ok(r#"{"KEY":"another-hidden"}"#.into()));
    let page = engine.secrets(A, None).await.unwrap();
    assert_eq!((&*page.items[0].name, page.after), ("KEY", None));
    assert!(engine.secrets(B, None).await.unwrap().items.is_empty());
    // The operator's own comes first, and whoever lists is told.
    engine.put_secret(OWN, "OPERATORS", "x").await.unwrap();
    assert!(engine.secrets(OWN, None).await.unwrap().items[0].hidden);

    // With another key, or none, it does not open; what is told shows nothing of it.
    engine.shutdown().await;
    drop(engine);
    for vault in [None, Some(Vault::fresh())] {
        let engine = open(directory.path(), vault);
        let cause = found_by_a_task(&engine, A).await.unwrap_err();
        assert!(cause.contains("`KEY` cannot be had"), "{cause}");
        // Names are told all the same.
        assert_eq!(engine.secrets(A, None).await.unwrap().items.len(), 1);
        engine.shutdown().await;
    }
    let engine = open(directory.path(), Some(vault));
    engine.delete_secret(A, "KEY").await.unwrap();
    assert_eq!(found_by_a_task(&engine, A).await, Ok("{}".into()));
    let (code, _) = refused(engine.delete_secret(A, "KEY").await);
    assert_eq!(code, Code::ResourceNotFound);
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_kept_is_refused_with_why() {
    let engine = open_with(Store::Memory, None, Arc::default());
    let (code, why) = refused(engine.put_secret(OWN, "KEY", "hidden").await);
    assert_eq!(code, Code::ValidationException);
    assert!(why.contains("`stepwell tenant key-file` makes one") && !why.contains("hidden"));
    assert!(!engine.has_sealed().await.unwrap());

    let engine = open_with(Store::Memory, Some(Vault::fresh()), Arc::default());
    let large = "x".repeat(65_536);
    assert!(engine.put_secret(OWN, "LARGE", &large).await.unwrap());
    assert!(engine.has_sealed().await.unwrap());
    for (account, name, value, part) in [
        (OWN, "", "x", "is no name"),
        (OWN, "a/b", "x", "is no name"),
        (OWN, &"n".repeat(65), "x", "is no name"),
        (OWN, "EMPTY", "", "is empty"),
        (OWN, "LARGER", &format!("{large}x"), "at most 65536 bytes"),
        (A, "KEY", "x", "no tenant"),
    ] {
        let (_, why) = refused(engine.put_secret(account, name, value).await);
        assert!(why.contains(part), "{part} in {why}");
    }
    for index in 1..500 {
        let name = format!("KEY-{index}");
        engine.put_secret(OWN, &name, "x").await.unwrap();
    }
    let (code, why) = refused(engine.put_secret(OWN, "ONE-MORE", "x").await);
    assert_eq!(code, Code::ServiceQuotaExceededException, "{why}");
    assert!(!engine.put_secret(OWN, "KEY-1", "another").await.unwrap());
    let (mut names, mut after) = (0, None);
    loop {
        let page = engine.secrets(OWN, after.as_deref()).await.unwrap();
        names += page.items.len();
        after = page.after;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(names, 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_seals_all_of_it_anew() {
    let directory = tempfile::tempdir().unwrap();
    let old = Vault::fresh();
    let engine = open(directory.path(), Some(old.clone()));
    engine.add_tenant(A, "").await.unwrap();
    engine.put_secret(A, "KEY", "kept").await.unwrap();
    engine.put_secret(OWN, "KEY", "own").await.unwrap();
    let put = engine.put_connection(A, "api", |_| Ok(connection()));
    assert!(put.await.unwrap());
    let both = old.rotated();
    for (sealed, already) in [(3, 0), (0, 3)] {
        let all = Resealed {
            sealed,
            already,
            ..Resealed::default()
        };
        assert_eq!(engine.reseal(&both).await, Ok(all));
    }
    engine.shutdown().await;
    drop(engine);
    let engine = open(directory.path(), Some(both.newest()));
    let found = found_by_a_task(&engine, A).await;
    assert_eq!(found, Ok(r#"{"KEY":"kept"}"#.into()));
    assert!(engine.connection(A, "api").await.unwrap().is_some());
    engine.shutdown().await;
    drop(engine);
    let engine = open(directory.path(), Some(old));
    assert!(found_by_a_task(&engine, A).await.is_err());
    // What is told of one that does not open is its name and that; the others are listed beside it.
    let closed = engine.connection(A, "api").await.unwrap().unwrap();
    assert!(closed.connection.is_none() && closed.kept.closed == Some(WhyClosed::NoKey));
    engine
        .put_connection(A, "later", |_| Ok(connection()))
        .await
        .unwrap();
    let page = engine.connections(A, None).await.unwrap();
    let listed = page.items.iter();
    let listed: Vec<(&str, bool)> = listed
        .map(|one| (&*one.kept.name, one.connection.is_some()))
        .collect();
    assert_eq!(listed, [("api", false), ("later", true)]);
    let put = engine.put_connection(A, "api", |old| {
        assert!(matches!(old, Some(Err(Error::Broken(_)))), "it is closed");
        Ok(connection())
    });
    assert!(!put.await.unwrap(), "it is replaced");
    let opened = engine.connection(A, "api").await.unwrap().unwrap();
    assert!(opened.connection.is_some() && opened.kept.closed.is_none());
    let page = engine.secrets(A, None).await.unwrap();
    assert_eq!(page.items[0].closed, Some(WhyClosed::NoKey));
    engine.put_secret(A, "KEY", "anew").await.unwrap();
    let page = engine.secrets(A, None).await.unwrap();
    assert_eq!(page.items[0].closed, None, "what is put anew opens");
    engine.shutdown().await;
}

/// The bytes of all sealed records, by kind and name.
fn records(directory: &Path) -> BTreeMap<(String, String), Vec<u8>> {
    let conn = rusqlite::Connection::open(directory.join("journal.sqlite")).unwrap();
    let sql = "SELECT kind, name, bytes FROM records WHERE kind IN ('secret', 'connection', 'access-key')";
    let mut rows = conn.prepare(sql).unwrap();
    let rows = rows.query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

/// Changes a byte of what is stored of a record.
fn damage(directory: &Path, kind: &str, name: &str) {
    let mut bytes = records(directory)[&(kind.to_owned(), name.to_owned())].clone();
    bytes[20] ^= 0x04;
    let conn = rusqlite::Connection::open(directory.join("journal.sqlite")).unwrap();
    let sql = "UPDATE records SET bytes = ?1 WHERE kind = ?2 AND name = ?3";
    let changed = conn.execute(sql, rusqlite::params![bytes, kind, name]);
    assert_eq!(changed, Ok(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_passes_by_what_does_not_open_and_leaves_it_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let old = Vault::fresh();
    let engine = open(directory, Some(Vault::fresh()));
    engine.add_tenant(A, "").await.unwrap();
    engine
        .put_secret(A, "FOREIGN", "of another key")
        .await
        .unwrap();
    engine.shutdown().await;
    drop(engine);
    let engine = open(directory, Some(old.clone()));
    for name in ["BEFORE", "KEY"] {
        engine.put_secret(A, name, "kept").await.unwrap();
    }
    let put = engine.put_connection(A, "api", |_| Ok(connection()));
    put.await.unwrap();
    let mut keys = Vec::new();
    for _ in 0..2 {
        let made = engine.add_access_key(&old, A, Role::Read, "").await;
        keys.push(made.unwrap().key.id);
    }
    engine.shutdown().await;
    drop(engine);
    let left = [
        ("secret", format!("{A}/BEFORE"), "BEFORE"),
        ("secret", format!("{A}/FOREIGN"), "FOREIGN"),
        ("access-key", keys[0].to_string(), &*keys[0]),
    ];
    damage(directory, left[0].0, &left[0].1);
    damage(directory, left[2].0, &left[2].1);
    let before = records(directory);

    let engine = open(directory, Some(Vault::fresh()));
    let all = engine.reseal(&Vault::fresh().rotated()).await.unwrap();
    assert!(all.is_of_other_keys() && all.sealed == 0, "{:?}", all.told);
    engine.shutdown().await;
    drop(engine);
    assert_eq!(
        records(directory),
        before,
        "nothing is changed by other keys"
    );

    let both = old.rotated();
    let engine = open(directory, Some(both.clone()));
    for sealed in [3, 0] {
        let all = engine.reseal(&both).await.unwrap();
        assert_eq!((all.sealed, all.left), (sealed, 3), "{:?}", all.told);
        assert_eq!((all.no_key, all.is_of_other_keys()), (1, false));
        let internal = all.told.iter().any(|told| told.contains("internal"));
        assert!(!internal, "{:?}", all.told);
        for (told, (_, _, name)) in all.told.iter().zip(&left) {
            assert!(told.contains(name), "{name}: {told}");
        }
    }
    let found = found_by_a_task(&engine, A).await;
    assert_eq!(found, Ok(r#"{"KEY":"kept"}"#.into()));
    let credentials = engine.credentials(&both.newest(), &keys[1]).await;
    assert!(credentials.unwrap().is_some());
    // A list names what can be read, and what is put takes the place of what cannot.
    let listed = engine.secrets(A, None).await.unwrap().items;
    let names: Vec<&str> = listed.iter().map(|kept| &*kept.name).collect();
    assert_eq!(names, ["FOREIGN", "KEY"]);
    engine.shutdown().await;
    drop(engine);
    let after = records(directory);
    for (kind, name, _) in &left {
        let key = ((*kind).to_owned(), name.clone());
        assert_eq!(before[&key], after[&key], "{key:?} is as it was");
    }

    let engine = open(directory, Some(both.clone()));
    engine.put_secret(A, "BEFORE", "again").await.unwrap();
    engine.delete_secret(A, "FOREIGN").await.unwrap();
    let all = engine.reseal(&both).await.unwrap();
    assert_eq!((all.sealed, all.left), (0, 1), "{:?}", all.told);
    engine.shutdown().await;
}

/// A store with something sealed is not taken up where its keys are missing and have to be there.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_with_something_sealed_is_refused_without_its_keys() {
    const WHY: &str = "there is no key file";
    let needs = |directory: &Path, vault: Option<Vault>| {
        // Who had it before lets go of it in a moment.
        for _ in 0..100 {
            let options = options(at(directory));
            let extras = Extras {
                vault: vault.clone(),
                no_vault: Some(WHY.to_owned()),
                ..Extras::default()
            };
            match Engine::open_with(options, extras, Arc::new(Runner::default())) {
                Err(Error::Held(_)) => {}
                opened => return opened,
            }
        }
        panic!("the store stays held")
    };
    let vault = Vault::fresh();
    for what in ["nothing", "secret", "connection", "access key"] {
        let directory = tempfile::tempdir().unwrap();
        let engine = open(directory.path(), Some(vault.clone()));
        engine.add_tenant(A, "").await.unwrap();
        match what {
            "secret" => assert!(engine.put_secret(A, "KEY", "kept").await.unwrap()),
            "connection" => {
                let put = engine.put_connection(A, "api", |_| Ok(connection()));
                assert!(put.await.unwrap());
            }
            "access key" => {
                let added = engine.add_access_key(&vault, A, Role::Read, "");
                added.await.unwrap();
            }
            _ => {}
        }
        engine.shutdown().await;
        drop(engine);
        match needs(directory.path(), None) {
            Ok(_) => assert_eq!(what, "nothing"),
            Err(error) => {
                assert_ne!(what, "nothing");
                assert_eq!(error, Error::Unusable(WHY.to_owned()), "{what}");
            }
        }
        let opened = needs(directory.path(), Some(vault.clone()));
        assert!(opened.is_ok(), "{what}");
    }
}

fn connection() -> KeptConnection {
    KeptConnection {
        form: ConnectionForm {
            allow: vec![AllowForm::Origin("https://api.example".into())],
            api_key: None,
            basic: None,
            oauth: None,
            headers: [("X-Key".to_owned(), "hidden".to_owned())].into(),
            query: BTreeMap::new(),
            body: BTreeMap::new(),
        },
        description: String::new(),
        private: false,
        shown: Default::default(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_place_in_a_list_leads_to_another_account() {
    let engine = open_with(Store::Memory, Some(Vault::fresh()), Arc::default());
    for account in [A, B] {
        engine.add_tenant(account, "").await.unwrap();
        engine.put_secret(account, account, "x").await.unwrap();
        let put = engine.put_connection(account, account, |_| Ok(connection()));
        put.await.unwrap();
    }
    let others = format!("{B}/");
    for after in ["", "/", "0", "~", "../", A, B, &others] {
        let secrets = engine.secrets(A, Some(after)).await.unwrap().items;
        assert!(secrets.iter().all(|kept| &*kept.name == A), "{after}");
        let connections = engine.connections(A, Some(after)).await.unwrap().items;
        assert!(
            connections.iter().all(|found| &*found.kept.name == A),
            "{after}"
        );
    }
    let first = engine.secrets(A, Some("")).await.unwrap();
    assert_eq!(first.items.len(), 1, "what is the account's is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_is_removed_leaves_nothing_behind() {
    let runner = Arc::new(Runner::default());
    let vault = Some(Vault::fresh());
    let engine = open_with(Store::Memory, vault, runner.clone());
    engine.add_tenant(A, "").await.unwrap();
    engine.put_secret(A, "KEY", "kept").await.unwrap();
    let put = engine.put_connection(A, "api", |_| Ok(connection()));
    put.await.unwrap();
    engine.set_ceiling(A, Some("limits = {}")).await.unwrap();
    let (_, why) = refused(engine.set_ceiling(A, Some("wrong")).await);
    assert_eq!(why, "it is wrong");
    assert_eq!(engine.ceiling(A).await, Ok(Some("limits = {}".into())));
    let told = |account: &str| runner.ceilings.lock().unwrap().get(account).cloned();
    assert_eq!(told(A).as_deref(), Some("limits = {}"));
    engine.remove_tenant(A).await.unwrap();
    assert_eq!(told(A), None);
    assert!(!engine.has_sealed().await.unwrap());
    engine.add_tenant(A, "").await.unwrap();
    assert!(engine.secrets(A, None).await.unwrap().items.is_empty());
    assert_eq!(engine.ceiling(A).await, Ok(None));
}

#[tokio::test(flavor = "multi_thread")]
async fn ceilings_are_told_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path(), None);
    engine.add_tenant(A, "").await.unwrap();
    engine
        .set_ceiling(A, Some("reuse = \"never\""))
        .await
        .unwrap();
    engine.shutdown().await;
    drop(engine);
    let runner = Arc::new(Runner::default());
    let store = Store::Directory(directory.path().to_owned());
    let engine = open_with(store, None, runner.clone());
    let told = runner.ceilings.lock().unwrap().clone();
    assert_eq!(
        told,
        [(A.to_owned(), "reuse = \"never\"".to_owned())].into()
    );
    engine.shutdown().await;
}
