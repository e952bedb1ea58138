//! Secrets that a call brings along, and ceilings that change while plugins are served.

use crate::rig::{Rig, TENANT, call};
use futures_util::future::BoxFuture;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use stepwell_sandbox::{
    Allowance, CallSecrets, Ceilings, Outcome, SecretSource, StoredSecrets, TaskCall,
};

struct Operators;

impl SecretSource for Operators {
    fn secret(&self, tenant: &str, name: &str) -> Option<String> {
        (tenant == TENANT && name == "BOTH").then(|| "the operator's".to_owned())
    }
}

/// Knows some secrets, and keeps what it was asked for.
#[derive(Clone, Default)]
struct Stored {
    asked: Arc<Mutex<Vec<Vec<String>>>>,
    broken: bool,
}

impl StoredSecrets for Stored {
    fn open(
        &self,
        names: Vec<String>,
    ) -> BoxFuture<'static, Result<BTreeMap<String, String>, String>> {
        self.asked.lock().unwrap().push(names.clone());
        let broken = self.broken;
        Box::pin(async move {
            if broken {
                return Err("the store is closed".to_owned());
            }
            let known = names.into_iter().filter(|name| name != "ABSENT");
            Ok(known.map(|name| (name, "the store's".to_owned())).collect())
        })
    }
}

fn with(stored: &Stored, plugin: &str, name: &str) -> TaskCall {
    TaskCall {
        secrets: Some(CallSecrets::new(stored.clone())),
        ..call(plugin, json!({"do": "secret", "name": name}))
    }
}

const GRANTS: &str = "[grants]\nsecrets = [\"KEY\", \"BOTH\", \"ABSENT\"]";

#[tokio::test]
async fn a_call_brings_the_secrets_that_the_operator_has_not() {
    let rig = Rig::with(|config| config.secrets = Arc::new(Operators));
    rig.put_with("task", "behave", GRANTS).put("bare", "behave");
    let stored = Stored::default();
    for (name, value) in [("KEY", "\"the store's\""), ("BOTH", "\"the operator's\"")] {
        let end = rig.sandbox.call(with(&stored, "task", name)).await;
        assert_eq!(end.outcome, Outcome::Ok(value.into()), "{name}");
    }
    let absent = rig.sandbox.call(with(&stored, "task", "ABSENT")).await;
    assert!(matches!(absent.outcome, Outcome::Failed { .. }));
    // Not for the operator's, and not for a plugin that may use none.
    let bare = rig.sandbox.call(with(&stored, "bare", "KEY")).await;
    assert!(matches!(bare.outcome, Outcome::Failed { .. }));
    let asked = stored.asked.lock().unwrap().clone();
    assert_eq!(asked, vec![vec!["ABSENT".to_owned(), "KEY".to_owned()]; 3]);
}

#[tokio::test]
async fn a_store_that_does_not_open_ends_the_attempt_before_the_guest() {
    let rig = Rig::new();
    rig.put_with("task", "behave", GRANTS);
    let stored = Stored {
        broken: true,
        ..Stored::default()
    };
    let end = rig.sandbox.call(with(&stored, "task", "KEY")).await;
    let cause = "the store is closed".to_owned();
    assert_eq!(end.outcome, Outcome::HostFault { cause });
    assert!(end.started.is_none());
}

#[tokio::test]
async fn an_instance_that_is_kept_has_the_secrets_of_its_attempt() {
    let rig = Rig::new();
    let manifest = format!("[instance]\nreuse = \"tenant\"\n{GRANTS}");
    rig.put_with("task", "behave", &manifest);
    let first = rig
        .sandbox
        .call(with(&Stored::default(), "task", "KEY"))
        .await;
    assert_eq!(first.outcome, Outcome::Ok("\"the store's\"".into()));
    let without = call("task", json!({"do": "secret", "name": "KEY"}));
    let second = rig.sandbox.call(without).await;
    assert!(second.usage.reused);
    assert!(
        matches!(second.outcome, Outcome::Failed { .. }),
        "{:?}",
        second.outcome
    );
}

#[tokio::test]
async fn ceilings_count_for_the_next_attempt() {
    let rig = Rig::with(|config| config.secrets = Arc::new(Operators));
    rig.put_with("task", "behave", GRANTS);
    let reads = || async {
        let read = json!({"do": "secret", "name": "BOTH"});
        matches!(rig.outcome("task", read).await, Outcome::Ok(_))
    };
    assert!(reads().await);
    let own = rig
        .sandbox
        .parse_ceiling(TENANT, "own", "grants = \"nothing\"");
    rig.sandbox.set_ceiling(TENANT, Some(own.unwrap()));
    assert!(!reads().await, "its own ceiling grants nothing");
    rig.sandbox.set_ceiling(TENANT, None);
    assert!(reads().await, "as before");
    let file = |text: &str| Ceilings::parse("file", text).unwrap();
    rig.sandbox
        .set_ceilings(file("[default]\ngrants = \"nothing\""));
    assert!(!reads().await, "the file grants nothing");
    let own: Allowance = rig
        .sandbox
        .parse_ceiling(TENANT, "own", "grants = \"as asked\"")
        .unwrap();
    rig.sandbox.set_ceiling(TENANT, Some(own));
    assert!(!reads().await, "the smaller of both");
    rig.sandbox.set_ceilings(file(""));
    assert!(reads().await, "the file says nothing of it any more");
}

#[tokio::test]
async fn slips_of_an_own_ceiling_have_their_place() {
    let rig = Rig::new();
    let text = "grants = \"all\"\n[limit]\n";
    let slips = rig.sandbox.parse_ceiling(TENANT, "own", text).unwrap_err();
    for part in [
        "own:1:10: grants: `all` is none of",
        "own:2:2: limit: there is no such key",
    ] {
        assert!(slips.contains(part), "{part} in {slips}");
    }
}
