//! A store whose content is not what was stored: noticed when it is read, told with what to do, and no one else's
//! concern. Here its file and the executions in it.

mod records;

use std::{path::Path, sync::Arc};

use rusqlite::{Connection, params};
use stepwell_engine::{Engine, Error, MachineKind, Options, PageRequest, Status};
use tokio::runtime::Runtime;

use crate::support::{Echo, at, caller, machine, named, named_with, runtime};

const PASSES: &str = r#"{"StartAt":"A","States":{"A":{"Type":"Pass","End":true}}}"#;
const TASKS: &str = r#"{"StartAt":"A","States":{"A":{"Type":"Task","Resource":"wasm:echo","Next":"B"},
    "B":{"Type":"Task","Resource":"wasm:echo","Next":"C"},"C":{"Type":"Task","Resource":"wasm:echo","End":true}}}"#;
/// Its output is beyond what stands in a segment.
const LARGE: &str = r#"{"QueryLanguage":"JSONata","StartAt":"A","States":{"A":{"Type":"Pass",
    "Output":"{% $range(1, 20000, 1) %}","End":true}}}"#;
const HANGS: &str =
    r#"{"StartAt":"A","States":{"A":{"Type":"Task","Resource":"wasm:hang","End":true}}}"#;

fn options(directory: &Path, take_up: bool) -> Options {
    Options {
        take_up,
        shards: 1,
        ..Options::of(at(directory))
    }
}

async fn start(engine: &Engine, name: &str, definition: &str) -> Arc<str> {
    let machine = machine(name, MachineKind::Standard, definition);
    let machine = engine.create_machine(caller(), machine).await.unwrap();
    let request = named_with("one", r#"{"text":"what was stored"}"#, &machine.machine.arn);
    let started = engine.start(caller(), request).await.unwrap();
    started.execution_arn
}

/// A closed and a running execution in a store of its own, and their ARNs.
fn store(runtime: &Runtime) -> (tempfile::TempDir, Arc<str>, Arc<str>) {
    let directory = tempfile::tempdir().unwrap();
    let arns = runtime.block_on(async {
        let engine = Engine::open(options(directory.path(), true), Arc::new(Echo)).unwrap();
        let closed = start(&engine, "passes", PASSES).await;
        engine.wait(caller(), &closed).await.unwrap();
        let running = start(&engine, "hangs", HANGS).await;
        engine.shutdown().await;
        (closed, running)
    });
    (directory, arns.0, arns.1)
}

/// Changes one byte of a value.
fn flip(directory: &Path, table: &str, column: &str, row: i64, at: usize) {
    let conn = Connection::open(directory.join("journal.sqlite")).unwrap();
    let sql = format!("SELECT {column} FROM {table} WHERE rowid = ?1");
    let mut bytes: Vec<u8> = conn.query_row(&sql, [row], |row| row.get(0)).unwrap();
    bytes[at] ^= 0x04;
    let sql = format!("UPDATE {table} SET {column} = ?1 WHERE rowid = ?2");
    assert_eq!(conn.execute(&sql, params![bytes, row]).unwrap(), 1);
}

/// What is said of a damaged execution.
fn assert_damaged<T: std::fmt::Debug>(answer: Result<T, Error>, parts: &[&str]) {
    let Err(Error::Damaged(text)) = &answer else {
        panic!("not noticed: {answer:?}");
    };
    for part in parts.iter().chain(&["restore its store from a backup"]) {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

#[test]
fn a_damaged_segment_is_told_and_nothing_is_made_of_it() {
    let runtime = runtime();
    let (directory, closed, _) = store(&runtime);
    let bytes = Connection::open(directory.path().join("journal.sqlite"))
        .unwrap()
        .query_row(
            "SELECT length(bytes) FROM segments WHERE rowid = 1",
            [],
            |row| row.get::<_, i64>(0),
        )
        .unwrap();
    for at in (0..usize::try_from(bytes).unwrap()).step_by(7) {
        flip(directory.path(), "segments", "bytes", 1, at);
        runtime.block_on(async {
            let engine = Engine::open(options(directory.path(), false), Arc::new(Echo)).unwrap();
            let parts = [&*closed, "begins with event 1"];
            assert_damaged(engine.execution(caller(), &closed).await, &parts);
            let page = PageRequest::default();
            let history = engine.history(caller(), &closed, false, page).await;
            assert_damaged(history, &parts);
            engine.shutdown().await;
        });
        flip(directory.path(), "segments", "bytes", 1, at);
    }
}

#[test]
fn a_row_that_says_otherwise_than_its_log_is_told() {
    let runtime = runtime();
    let changes = [
        "UPDATE executions SET status = 2 WHERE status = 1",
        "UPDATE executions SET next = next + 1 WHERE status = 1",
        "UPDATE segments SET public = public + 1",
        "UPDATE segments SET first_public = 2",
        "DELETE FROM segments",
    ];
    for change in changes {
        let (directory, closed, _) = store(&runtime);
        let conn = Connection::open(directory.path().join("journal.sqlite")).unwrap();
        assert!(conn.execute(change, []).unwrap() > 0, "{change}");
        drop(conn);
        runtime.block_on(async {
            let engine = Engine::open(options(directory.path(), false), Arc::new(Echo)).unwrap();
            assert_damaged(engine.execution(caller(), &closed).await, &[&closed]);
            engine.shutdown().await;
        });
    }
}

#[test]
fn a_large_value_that_is_damaged_or_gone_is_told() {
    let runtime = runtime();
    let directory = tempfile::tempdir().unwrap();
    let look = |part: Option<&str>| {
        runtime.block_on(async {
            let engine = Engine::open(options(directory.path(), true), Arc::new(Echo)).unwrap();
            let arn = match part {
                None => start(&engine, "large", LARGE).await,
                Some(_) => "arn:aws:states:us-east-1:000000000000:execution:large:one".into(),
            };
            match part {
                None => {
                    let ended = engine.wait(caller(), &arn).await.unwrap();
                    let output = ended.output.map(|output| output.to_json().len());
                    assert_eq!(output, Some(108_895));
                }
                Some(part) => {
                    let answer = engine.execution(caller(), &arn).await;
                    assert_damaged(answer, &[&arn, part]);
                }
            }
            engine.shutdown().await;
        });
    };
    look(None);
    let conn = Connection::open(directory.path().join("journal.sqlite")).unwrap();
    let sql = "SELECT rowid FROM blobs ORDER BY length(bytes) DESC LIMIT 1";
    let row: i64 = conn.query_row(sql, [], |row| row.get(0)).unwrap();
    flip(directory.path(), "blobs", "bytes", row, 1_000);
    look(Some("the checksum of a large value of it is wrong"));
    let deleted = conn.execute("DELETE FROM blobs WHERE rowid = ?1", [row]);
    assert_eq!(deleted, Ok(1));
    look(Some("a large value of it is missing"));
}

#[test]
fn a_log_with_a_hole_is_told() {
    let runtime = runtime();
    for hole in [1, 2, 3] {
        let directory = tempfile::tempdir().unwrap();
        let arn = runtime.block_on(async {
            let engine = Engine::open(options(directory.path(), true), Arc::new(Echo)).unwrap();
            let arn = start(&engine, "tasks", TASKS).await;
            engine.wait(caller(), &arn).await.unwrap();
            engine.shutdown().await;
            arn
        });
        let conn = Connection::open(directory.path().join("journal.sqlite")).unwrap();
        let deleted = conn.execute("DELETE FROM segments WHERE rowid = ?1", [hole]);
        assert_eq!(deleted, Ok(1));
        drop(conn);
        runtime.block_on(async {
            let engine = Engine::open(options(directory.path(), false), Arc::new(Echo)).unwrap();
            for reverse in [false, true] {
                let page = PageRequest::default();
                let history = engine.history(caller(), &arn, reverse, page).await;
                assert_damaged(history, &[]);
            }
            engine.shutdown().await;
        });
    }
}

#[test]
fn a_damaged_execution_ends_no_other() {
    let runtime = runtime();
    let (directory, closed, running) = store(&runtime);
    flip(directory.path(), "segments", "bytes", 2, 30);
    runtime.block_on(async {
        let engine = Engine::open(options(directory.path(), true), Arc::new(Echo)).unwrap();
        let waited = engine.wait(caller(), &running).await;
        assert!(matches!(waited, Err(Error::Damaged(_))), "{waited:?}");
        let other = engine.execution(caller(), &closed).await.unwrap();
        assert_eq!(other.status, Status::Succeeded);
        let fresh = start(&engine, "fresh", PASSES).await;
        let fresh = engine.wait(caller(), &fresh).await.unwrap();
        assert_eq!(fresh.status, Status::Succeeded);
        engine.shutdown().await;
    });
}

#[test]
fn a_damaged_record_is_told() {
    let runtime = runtime();
    let (directory, closed, _) = store(&runtime);
    flip(
        directory.path(),
        "executions",
        "meta",
        first_execution(directory.path()),
        20,
    );
    runtime.block_on(async {
        let engine = Engine::open(options(directory.path(), false), Arc::new(Echo)).unwrap();
        assert_damaged(engine.execution(caller(), &closed).await, &[]);
        engine.shutdown().await;
    });
}

#[test]
fn a_list_leaves_out_what_is_damaged_and_counts_it() {
    let runtime = runtime();
    let (directory, first) = runtime.block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let engine = Engine::open(options(directory.path(), true), Arc::new(Echo)).unwrap();
        let first = start(&engine, "passes", PASSES).await;
        let machine = first.replace(":execution:", ":stateMachine:");
        let machine = machine.replace(":one", "");
        for name in ["two", "three"] {
            let request = named(name, &machine);
            engine.start(caller(), request).await.unwrap();
        }
        engine.shutdown().await;
        (directory, first)
    });
    let row = first_execution(directory.path());
    let conn = Connection::open(directory.path().join("journal.sqlite")).unwrap();
    // One whose bytes changed, and one with something else in their place.
    let other = "UPDATE executions SET meta = 'text' WHERE name = 'two'";
    assert_eq!(conn.execute(other, []), Ok(1));
    drop(conn);
    flip(directory.path(), "executions", "meta", row, 20);
    let machine = first
        .replace(":execution:", ":stateMachine:")
        .replace(":one", "");
    runtime.block_on(async {
        let engine = Engine::open(options(directory.path(), false), Arc::new(Echo)).unwrap();
        for _ in 0..2 {
            let page = PageRequest::default();
            let listed = engine
                .executions(caller(), &machine, None, page)
                .await
                .unwrap();
            let names: Vec<_> = listed.items.iter().map(|item| &*item.name).collect();
            assert_eq!(names, ["three"]);
            assert_eq!(engine.metrics().executions_damaged, 2);
        }
        engine.shutdown().await;
    });
}

fn first_execution(directory: &Path) -> i64 {
    let conn = Connection::open(directory.join("journal.sqlite")).unwrap();
    conn.query_row("SELECT min(id) FROM executions", [], |row| row.get(0))
        .unwrap()
}

#[test]
fn a_file_damaged_in_the_middle_is_not_served() {
    let runtime = runtime();
    let (directory, _, _) = store(&runtime);
    let path = directory.path().join("journal.sqlite");
    let mut file = std::fs::read(&path).unwrap();
    let middle = file.len() / 2 / 4096 * 4096;
    file[middle..middle + 4096].fill(0xaa);
    std::fs::write(&path, &file).unwrap();
    let Err(Error::Unopened(text)) = Engine::open(options(directory.path(), true), Arc::new(Echo))
    else {
        panic!("it is served");
    };
    assert!(text.contains("restore it from a backup"), "{text}");
    assert!(text.contains("journal.sqlite is damaged"), "{text}");
}

#[test]
fn a_store_that_says_nothing_right_of_itself_is_damaged() {
    let runtime = runtime();
    // What is changed, and what is said of it.
    let changes = [
        (
            "value = 'x' WHERE key = 'next_message'",
            "`next_message` in",
        ),
        ("value = 0 WHERE key = 'next_message'", "meta` is 0, where"),
        (
            "value = 'x' WHERE key = 'epoch'",
            "`epoch` in its table `meta` is a value of the type Text",
        ),
        (
            "value = x'01' WHERE key = 'epoch'",
            "is a value of the type Blob",
        ),
        (
            "value = 1.5 WHERE key = 'epoch'",
            "is a value of the type Real",
        ),
        ("value = -1 WHERE key = 'epoch'", "meta` is -1, where"),
        (
            "value = 9223372036854775807 WHERE key = 'epoch'",
            "meta` is 9223372036854775807, where",
        ),
        (
            "key = 'epocx' WHERE key = 'epoch'",
            "`epoch` in its table `meta` is missing",
        ),
        (
            "value = 'x' WHERE key = 'format'",
            "`format` in its table `meta` is a value of the type Text",
        ),
        ("value = 0 WHERE key = 'format'", "meta` is 0, where"),
        (
            "value = 3 WHERE key = 'format'",
            "its tables are not of that format",
        ),
        (
            "key = 'formax' WHERE key = 'format'",
            "`format` in its table `meta` is missing",
        ),
    ];
    for (change, said) in changes {
        let (directory, _, _) = store(&runtime);
        let conn = Connection::open(directory.path().join("journal.sqlite")).unwrap();
        let sql = format!("UPDATE meta SET {change}");
        assert_eq!(conn.execute(&sql, []), Ok(1), "{change}");
        drop(conn);
        // The opening that says it has put nothing in its place.
        for _ in 0..2 {
            let opened = Engine::open(options(directory.path(), true), Arc::new(Echo));
            let Err(Error::Unopened(text)) = opened else {
                panic!("{change}: it is served, or not called damaged");
            };
            for part in [
                "journal.sqlite is damaged",
                said,
                "restore it from a backup",
            ] {
                assert!(text.contains(part), "{change}: {text}");
            }
        }
    }
}

#[test]
fn a_directory_is_free_after_an_opening_that_failed() {
    let runtime = runtime();
    let (directory, closed, _) = store(&runtime);
    let rename = |from: &str, to: &str| {
        let conn = Connection::open(directory.path().join("journal.sqlite")).unwrap();
        let sql = format!("ALTER TABLE usage RENAME COLUMN {from} TO {to}");
        conn.execute(&sql, []).unwrap();
    };
    rename("tasks", "was_tasks");
    let failed = Engine::open(options(directory.path(), true), Arc::new(Echo));
    assert!(failed.is_err(), "usage is read");
    rename("was_tasks", "tasks");
    runtime.block_on(async {
        // Its threads end without anyone waiting for them.
        let opened = (0..600).find_map(|_| {
            let opened = Engine::open(options(directory.path(), true), Arc::new(Echo));
            opened.ok()
        });
        let engine = opened.expect("the lock is let go");
        let execution = engine.execution(caller(), &closed).await.unwrap();
        assert_eq!(execution.status, Status::Succeeded);
        engine.shutdown().await;
    });
}
