//! Damaged records: of state machines, tenants, their access keys and quotas. A list goes on without them, and none of them opens what
//! was closed.

use std::{path::Path, sync::Arc};

use rusqlite::Connection;
use stepwell_engine::{
    CodeCollection, Engine, Error, MachineKind, PageRequest, Quotas, Role, Status, Vault,
};

use super::{HANGS, PASSES, TASKS, assert_damaged, flip, options, start, store};
use crate::support::{Echo, caller, caller_of, machine, runtime};

#[test]
fn a_damaged_definition_or_record_ends_no_list() {
    let runtime = runtime();
    let directory = tempfile::tempdir().unwrap();
    let machines = runtime.block_on(async {
        let engine = Engine::open(options(directory.path(), true), Arc::new(Echo)).unwrap();
        let mut machines = Vec::new();
        for (name, definition) in [("a", PASSES), ("b", TASKS), ("c", HANGS)] {
            let execution = start(&engine, name, definition).await;
            let machine = execution.replace(":execution:", ":stateMachine:");
            machines.push(machine.replace(":one", ""));
        }
        for name in ["x", "y"] {
            let created = engine.create_activity(caller(), name, None, Vec::new());
            created.await.unwrap();
            let group = engine.create_schedule_group(caller(), name, Vec::new(), None);
            group.await.unwrap();
        }
        engine.add_tenant("111111111111", "one").await.unwrap();
        engine.add_tenant("222222222222", "two").await.unwrap();
        engine.shutdown().await;
        machines
    });
    let conn = Connection::open(directory.path().join("journal.sqlite")).unwrap();
    let damage = [
        // The definition of b alone, and whole records.
        "UPDATE blobs SET bytes = CAST(replace(CAST(bytes AS TEXT), 'echo', 'ECHO') AS BLOB)",
        "UPDATE records SET bytes = x'00' WHERE kind = 'state-machine' AND name LIKE '%/c'",
        "UPDATE records SET bytes = 'text' WHERE kind = 'activity' AND name LIKE '%/y'",
        "UPDATE records SET bytes = 17 WHERE kind LIKE '%group%' AND name LIKE '%/y'",
        "UPDATE records SET bytes = x'00' WHERE kind = 'tenant' AND name = '222222222222'",
    ];
    for change in damage {
        assert!(conn.execute(change, []).unwrap() > 0, "{change}");
    }
    drop(conn);
    runtime.block_on(async {
        let engine = Engine::open(options(directory.path(), false), Arc::new(Echo)).unwrap();
        for _ in 0..2 {
            let page = PageRequest::default;
            let listed = engine.machines(caller(), page()).await.unwrap();
            let names: Vec<_> = listed.items.iter().map(|item| &*item.name).collect();
            assert_eq!(names, ["a", "b"], "a list takes no definition");
            let listed = engine.activities(caller(), page()).await.unwrap();
            let names: Vec<_> = listed.items.iter().map(|item| &*item.name).collect();
            assert_eq!(names, ["x"]);
            let listed = engine.schedule_groups(caller(), "", page()).await.unwrap();
            let names: Vec<_> = listed.items.iter().map(|item| &*item.name).collect();
            assert_eq!(names, ["default", "x"]);
            let tenants = engine.tenants().await.unwrap();
            let names: Vec<_> = tenants.iter().map(|tenant| &*tenant.name).collect();
            assert_eq!(names, ["one"]);
            assert_eq!(engine.metrics().records_damaged, 4);
        }
        engine.machine(caller(), &machines[0]).await.unwrap();
        for (machine, part) in [(&machines[1], "the definition"), (&machines[2], "record")] {
            let described = engine.machine(caller(), machine).await;
            assert_damaged(described, &[machine, part]);
        }
        engine.shutdown().await;
    });
}

#[test]
fn a_state_machine_does_not_become_another_tenants_by_a_change_of_its_row() {
    let runtime = runtime();
    let (directory, _, _) = store(&runtime);
    let conn = Connection::open(directory.path().join("journal.sqlite")).unwrap();
    let moved = "UPDATE records SET tenant = '111111111111' WHERE kind = 'state-machine' AND name LIKE '%/passes'";
    assert_eq!(conn.execute(moved, []), Ok(1));
    drop(conn);
    runtime.block_on(async {
        let engine = Engine::open(options(directory.path(), false), Arc::new(Echo)).unwrap();
        let other = caller_of("111111111111");
        for _ in 0..2 {
            let listed = engine.machines(&other, PageRequest::default()).await;
            assert!(listed.unwrap().items.is_empty());
            assert_eq!(engine.metrics().records_damaged, 1);
        }
        let arn = "arn:aws:states:us-east-1:111111111111:stateMachine:passes";
        assert_damaged(engine.machine(&other, arn).await, &[arn, "its checksum"]);
        engine.shutdown().await;
    });
}

/// Changes one byte of a record of the installation.
fn flip_record(directory: &Path, kind: &str, name: &str) {
    let conn = Connection::open(directory.join("journal.sqlite")).unwrap();
    let sql = "SELECT rowid FROM records WHERE tenant = '' AND kind = ?1 AND name = ?2";
    let row = conn.query_row(sql, [kind, name], |row| row.get(0));
    drop(conn);
    flip(directory, "records", "bytes", row.unwrap(), 10);
}

#[test]
fn a_damaged_access_key_lets_nobody_in_and_ends_no_list() {
    let runtime = runtime();
    let directory = tempfile::tempdir().unwrap();
    let (account, vault) = ("111111111111", Vault::fresh());
    let ids: Vec<Arc<str>> = runtime.block_on(async {
        let engine = Engine::open(options(directory.path(), true), Arc::new(Echo)).unwrap();
        engine.add_tenant(account, "one").await.unwrap();
        let mut ids = Vec::new();
        for sealed_by in [&vault, &vault, &Vault::fresh()] {
            let made = engine.add_access_key(sealed_by, account, Role::Admin, "");
            ids.push(made.await.unwrap().key.id);
        }
        engine.shutdown().await;
        ids
    });
    let [damaged, whole, foreign] = &ids[..] else {
        panic!("three keys: {ids:?}");
    };
    flip_record(directory.path(), "access-key", damaged);
    runtime.block_on(async {
        let engine = Engine::open(options(directory.path(), true), Arc::new(Echo)).unwrap();
        let mut listed = engine.listed_access_keys(Some(&vault), None).await.unwrap();
        listed.sort_by_key(|listed| ids.iter().position(|id| *id == listed.id));
        let told: Vec<_> = listed
            .iter()
            .map(|listed| (listed.key.is_some(), listed.closed.is_some()))
            .collect();
        assert_eq!(told, [(false, true), (true, false), (true, true)]);
        // Whose the damaged one was is not known, so no tenant is shown it.
        let own = engine.access_keys(Some(account)).await.unwrap();
        assert!(own.iter().all(|key| key.id != *damaged) && own.len() == 2);
        for (id, opens) in [(damaged, false), (whole, true), (foreign, false)] {
            let found = engine.credentials(&vault, id).await.unwrap();
            assert_eq!(found.is_some(), opens, "{id}");
        }
        // The foreign one is whole: it is the vault that lacks a key.
        assert_eq!(engine.metrics().records_damaged, 1);
        let changed = engine.disable_access_key(damaged, true).await;
        assert!(
            matches!(changed, Err(Error::Rejected { .. })),
            "{changed:?}"
        );
        assert_eq!(engine.remove_access_key(damaged).await, Ok(None));
        let again = engine.remove_access_key(damaged).await;
        assert!(matches!(again, Err(Error::Rejected { .. })), "{again:?}");
        let removed = engine.remove_access_key(foreign).await.unwrap();
        assert_eq!(removed.map(|key| key.id).as_ref(), Some(foreign));
        assert_eq!(engine.access_keys(None).await.unwrap().len(), 1);
        engine.shutdown().await;
    });
}

#[test]
fn nobody_is_told_to_remove_a_key_that_has_no_name() {
    let runtime = runtime();
    let directory = tempfile::tempdir().unwrap();
    let (account, vault) = ("111111111111", Vault::fresh());
    runtime.block_on(async {
        let engine = Engine::open(options(directory.path(), true), Arc::new(Echo)).unwrap();
        engine.add_tenant(account, "one").await.unwrap();
        let made = engine.add_access_key(&vault, account, Role::Admin, "");
        made.await.unwrap();
        engine.shutdown().await;
    });
    let conn = Connection::open(directory.path().join("journal.sqlite")).unwrap();
    let unnamed = "UPDATE records SET name = CAST(x'ff' AS TEXT) WHERE kind = 'access-key'";
    assert_eq!(conn.execute(unnamed, []), Ok(1));
    let secret = "INSERT INTO records (tenant, kind, name, revision, bytes)
        VALUES ('', 'secret', x'41', 1, x'00')";
    assert_eq!(conn.execute(secret, []), Ok(1));
    drop(conn);
    runtime.block_on(async {
        let engine = Engine::open(options(directory.path(), true), Arc::new(Echo)).unwrap();
        let listed = engine.listed_access_keys(None, None).await.unwrap();
        let [only] = &listed[..] else {
            panic!("one is told: {listed:?}");
        };
        let closed = only.closed.as_ref().unwrap().to_string();
        let rotated = engine.reseal(&vault.rotated()).await.unwrap();
        assert_eq!((rotated.left, rotated.told.len()), (2, 2));
        for told in [&closed, &rotated.told[0], &rotated.told[1]] {
            assert!(!told.contains(stepwell_engine::UNNAMED), "{told}");
            assert!(told.contains("restore the store from a backup"), "{told}");
            assert!(!told.contains("remove"), "{told}");
        }
        engine.shutdown().await;
    });
}

#[test]
fn a_record_that_nobody_can_name_may_be_anything() {
    let runtime = runtime();
    let vault = Vault::fresh();
    let changes = [
        "UPDATE records SET kind = CAST(kind AS BLOB) WHERE kind = 'access-key'",
        "UPDATE records SET kind = CAST(x'ff' AS TEXT) WHERE kind = 'access-key'",
        "UPDATE records SET tenant = x'' WHERE kind = 'access-key'",
        "UPDATE records SET name = CAST(name AS BLOB) WHERE kind = 'access-key'",
    ];
    for change in changes {
        let directory = tempfile::tempdir().unwrap();
        let options = || options(directory.path(), true);
        runtime.block_on(async {
            let engine = Engine::open(options(), Arc::new(Echo)).unwrap();
            let made = engine.add_tenant("111111111111", "one").await;
            made.unwrap();
            let made = engine.add_access_key(&vault, "111111111111", Role::Admin, "");
            made.await.unwrap();
            assert_eq!(engine.unnamed_records(), 0);
            engine
                .collect_code(CodeCollection::default())
                .await
                .unwrap();
            engine.shutdown().await;
        });
        let conn = Connection::open(directory.path().join("journal.sqlite")).unwrap();
        assert_eq!(conn.execute(change, []), Ok(1), "{change}");
        drop(conn);
        runtime.block_on(async {
            let engine = Engine::open(options(), Arc::new(Echo)).unwrap();
            assert_eq!(engine.unnamed_records(), 1, "{change}");
            let listed = engine.listed_access_keys(None, None).await.unwrap();
            assert!(listed.iter().all(|listed| listed.key.is_none()));
            assert_eq!(engine.metrics().records_damaged, 1, "{change}");
            assert!(engine.has_sealed().await.unwrap(), "{change}");
            let collected = engine.collect_code(CodeCollection::default()).await;
            assert!(matches!(collected, Err(Error::Damaged(_))), "{collected:?}");
            let rotated = engine.reseal(&vault.rotated()).await.unwrap();
            assert_eq!((rotated.left, rotated.told.len()), (1, 1), "{change}");
            assert!(rotated.told[0].contains("restore the store from a backup"));
            engine.shutdown().await;
        });
    }
}

#[test]
fn the_keys_of_a_damaged_tenant_are_refused_until_it_is_added_again() {
    let runtime = runtime();
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = ("111111111111", "222222222222");
    let vault = Vault::fresh();
    let ids: Vec<Arc<str>> = runtime.block_on(async {
        let engine = Engine::open(options(directory.path(), true), Arc::new(Echo)).unwrap();
        let mut ids = Vec::new();
        for account in [first, second] {
            engine.add_tenant(account, "one of two").await.unwrap();
            let made = engine.add_access_key(&vault, account, Role::Admin, "");
            ids.push(made.await.unwrap().key.id);
        }
        engine.shutdown().await;
        ids
    });
    flip_record(directory.path(), "tenant", first);
    runtime.block_on(async {
        let engine = Engine::open(options(directory.path(), true), Arc::new(Echo)).unwrap();
        let listed = engine.listed_tenants().await.unwrap();
        let told: Vec<_> = listed
            .iter()
            .map(|listed| (&*listed.account, listed.tenant.is_some()))
            .collect();
        assert_eq!(told, [(first, false), (second, true)]);
        let keys = engine.listed_access_keys(None, None).await.unwrap();
        for (id, opens) in ids.iter().zip([false, true]) {
            let found = engine.credentials(&vault, id).await.unwrap();
            assert_eq!(found.is_some(), opens);
            let listed = keys.iter().find(|listed| listed.id == *id).unwrap();
            let mend = listed.closed.as_ref().map(|closed| &*closed.mend);
            let adds = format!("`stepwell tenant add {first}` mends it");
            assert_eq!(mend, (!opens).then_some(&*adds), "{listed:?}");
        }
        engine.add_tenant(first, "anew").await.unwrap();
        let refused = engine.add_tenant(first, "twice").await;
        assert!(
            matches!(refused, Err(Error::Rejected { .. })),
            "{refused:?}"
        );
        let found = engine.credentials(&vault, &ids[0]).await.unwrap();
        assert!(found.is_some(), "its keys count again");
        engine.shutdown().await;
    });
}

#[test]
fn what_was_freed_of_a_tenant_keeps_nobody_from_being_served_when_it_is_damaged() {
    let runtime = runtime();
    let (directory, closed, _) = store(&runtime);
    let conn = Connection::open(directory.path().join("journal.sqlite")).unwrap();
    let sql = "INSERT INTO records (tenant, kind, name, revision, bytes)
        VALUES ('', 'code-freed', '111111111111', 1, x'c5')";
    assert_eq!(conn.execute(sql, []), Ok(1));
    drop(conn);
    runtime.block_on(async {
        let engine = Engine::open(options(directory.path(), true), Arc::new(Echo)).unwrap();
        let execution = engine.execution(caller(), &closed).await.unwrap();
        assert_eq!(execution.status, Status::Succeeded);
        engine.shutdown().await;
    });
}

#[test]
fn damaged_quotas_keep_nobody_from_being_served() {
    let runtime = runtime();
    let (directory, closed, _) = store(&runtime);
    let (first, second) = ("111111111111", "222222222222");
    let quotas = Quotas {
        open_executions: Some(3),
        ..Quotas::default()
    };
    runtime.block_on(async {
        let engine = Engine::open(options(directory.path(), true), Arc::new(Echo)).unwrap();
        for account in [first, second] {
            engine.add_tenant(account, "one of two").await.unwrap();
            engine.set_quotas(account, quotas.clone()).await.unwrap();
        }
        engine.shutdown().await;
    });
    flip_record(directory.path(), "quotas", first);
    runtime.block_on(async {
        let engine = Engine::open(options(directory.path(), true), Arc::new(Echo)).unwrap();
        let execution = engine.execution(caller(), &closed).await.unwrap();
        assert_eq!(execution.status, Status::Succeeded);
        assert_eq!(engine.quotas(second).await.unwrap().0, quotas);
        // It has not become one without quotas.
        let closed = engine.quotas(first).await.unwrap().0;
        assert_eq!(
            (closed.open_executions, closed.stored_bytes),
            (Some(0), Some(0))
        );
        assert!(closed.damaged);
        assert_eq!(engine.metrics().records_damaged, 1);
        let theirs = caller_of(first);
        let passes = machine("passes", MachineKind::Standard, PASSES);
        let refused = engine.create_machine(&theirs, passes.clone()).await;
        assert!(
            matches!(refused, Err(Error::Rejected { .. })),
            "{refused:?}"
        );
        let again = Quotas {
            damaged: true,
            ..quotas.clone()
        };
        engine.set_quotas(first, again).await.unwrap();
        assert_eq!(engine.quotas(first).await.unwrap().0, quotas);
        engine.create_machine(&theirs, passes).await.unwrap();
        engine.shutdown().await;
    });
}

#[test]
fn where_it_is_not_known_which_executions_are_a_machines_that_is_told_and_counted() {
    let runtime = runtime();
    let (directory, closed, running) = store(&runtime);
    let conn = Connection::open(directory.path().join("journal.sqlite")).unwrap();
    let damage = "UPDATE records SET bytes = x'00' WHERE kind = 'scope' AND name LIKE '%passes'";
    assert_eq!(conn.execute(damage, []), Ok(1));
    drop(conn);
    runtime.block_on(async {
        let engine = Engine::open(options(directory.path(), false), Arc::new(Echo)).unwrap();
        for _ in 0..2 {
            assert_damaged(engine.execution(caller(), &closed).await, &[]);
            assert_eq!(engine.metrics().records_damaged, 1);
        }
        engine.execution(caller(), &running).await.unwrap();
        engine.shutdown().await;
    });
}
