//! What SQLite has in a column that nothing of ours put there: it concerns what it is a part of, and nothing beside it.

use std::{path::Path, sync::Arc};

use stepwell_interp::Timestamp;

use super::super::{
    server::{Server, with_postgres},
    support::{
        SCOPE, begin, bytes, commit, cursors, epoch, id, key, land, message, proceed, record,
        sqlite, task, wait,
    },
};
use crate::{
    journal::{
        Amounts, Append, CatalogKey, CatalogRecord, CatalogWrite, Journal, List, ListQuery, Meter,
        Partition, ReadError, Refused, ScopeId, UsageKey, UsageQuery, Write,
    },
    seal,
};

const ACTIVITY: ScopeId = ScopeId(9);
/// The name of what has none that can be read.
const UNNAMED: &str = "\u{10ffff}";

/// A store with three of each thing, `a`, `b` and `c`, and a fourth record.
fn filled(directory: &Path) {
    let journal = sqlite(directory);
    let epoch = epoch(&*journal);
    for (number, name) in [(1_u8, "a"), (2, "b"), (3, "c")] {
        let execution = id(number.into(), 0);
        let key = UsageKey {
            day: 1,
            tenant: name.into(),
            machine: "m".into(),
            plugin: "".into(),
        };
        let mut used = Amounts::default();
        used.add(Meter::Tasks, 4);
        let append = Append {
            open: vec![task(number, execution, Some(ACTIVITY), number.into())],
            charges: vec![(key, used)],
            ..begin(execution, epoch, name)
        };
        land(&*journal, Write::Append(append));
        land(&*journal, Write::Post(message(id(1, 0), name)));
    }
    for name in ["a", "b", "c", "d"] {
        let write = Write::Catalog(vec![record(name, Some(0), Some("x"))]);
        land(&*journal, write);
    }
}

/// The store after changes behind its back.
fn changed(directory: &Path, changes: &[&str]) -> Arc<dyn Journal> {
    filled(directory);
    let conn = rusqlite::Connection::open(directory.join("journal.sqlite")).expect("opens");
    for change in changes {
        let count = conn.execute(change, []).expect("runs");
        assert_eq!(count, 1, "{change}");
    }
    drop(conn);
    sqlite(directory)
}

#[test]
fn sqlite_lists_a_damaged_record_beside_the_others() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let changes = [
        "UPDATE records SET bytes = 17 WHERE name = 'b'",
        "UPDATE records SET revision = 'none' WHERE name = 'c'",
        "UPDATE records SET name = x'ff' WHERE name = 'd'",
    ];
    let journal = changed(directory.path(), &changes);
    let scan = |prefix: &str, after: Option<&str>, limit| -> Vec<CatalogRecord> {
        let found = journal.scan("000000000000", "machine", prefix, after, limit);
        wait(found).expect("readable")
    };
    let (whole, damaged) = (bytes("x"), seal::unreadable());
    let told = |found: Vec<CatalogRecord>| -> Vec<(String, bool)> {
        let told = found.into_iter().map(|record| {
            assert!(record.bytes == whole || record.bytes == damaged);
            (record.key.name.to_string(), record.bytes == whole)
        });
        told.collect()
    };
    let expected = [("a", true), ("b", false), ("c", true), (UNNAMED, false)];
    let expected = expected.map(|(name, whole)| (name.to_owned(), whole));
    assert_eq!(told(scan("", None, 9)), expected);
    // Page by page it ends, and what has no name is told once.
    let (mut pages, mut after) = (Vec::new(), None::<String>);
    loop {
        let page = scan("", after.as_deref(), 1);
        let Some(last) = page.last() else { break };
        after = Some(last.key.name.to_string());
        pages.extend(page);
        assert!(pages.len() <= expected.len(), "it does not end");
    }
    assert_eq!(told(pages), expected);
    assert_eq!(told(scan("a", None, 9)), expected[..1]);

    let get = |name: &str| -> Option<CatalogRecord> {
        let key = CatalogKey {
            tenant: "000000000000".into(),
            kind: "machine".into(),
            name: name.into(),
        };
        wait(journal.get(&key)).expect("readable")
    };
    assert_eq!(get("b").map(|record| record.bytes), Some(damaged));
    // Both are mended as they were seen.
    for name in ["b", "c"] {
        let seen = get(name).map(|record| record.revision);
        let write = Write::Catalog(vec![record(name, seen, Some("y"))]);
        assert_eq!(land(&*journal, write).revisions, [2]);
        let mended = get(name).map(|record| (record.revision, record.bytes));
        assert_eq!(mended, Some((2, bytes("y"))));
    }
    let write = Write::Catalog(vec![record("c", Some(2), None)]);
    land(&*journal, write);
    assert_eq!(get("c"), None);
}

#[test]
fn sqlite_takes_no_record_for_one_of_another_key() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let changes = [
        "UPDATE records SET tenant = '111111111111' WHERE name = 'a'",
        "UPDATE records SET kind = 'alias' WHERE name = 'b'",
        "UPDATE records SET name = 'e' WHERE name = 'c'",
    ];
    let journal = changed(directory.path(), &changes);
    let foreign = CatalogKey {
        tenant: "111111111111".into(),
        ..key("machine", "a")
    };
    let moved = [
        ("a", foreign),
        ("b", key("alias", "b")),
        ("c", key("machine", "e")),
    ];
    for (was, key) in moved {
        let damaged = CatalogRecord {
            key: key.clone(),
            revision: 1,
            bytes: self::key("machine", was).sealed(b"x").into(),
        };
        assert_eq!(seal::open(&[], &damaged.bytes), Err(seal::Broken));
        assert_eq!(wait(journal.get(&key)), Ok(Some(damaged.clone())));
        let scan = journal.scan(&key.tenant, &key.kind, &key.name, None, 9);
        assert_eq!(wait(scan), Ok(vec![damaged]));
        // Who writes it anew mends it.
        let write = CatalogWrite {
            key: key.clone(),
            expected: Some(1),
            bytes: Some(bytes("y")),
        };
        land(&*journal, Write::Catalog(vec![write]));
        let mended = wait(journal.get(&key)).expect("readable");
        assert_eq!(mended.map(|record| record.bytes), Some(bytes("y")));
    }
}

/// As they stand where a program wrote them that sealed records for no key. What they begin with is no matter: some are random bytes.
#[test]
fn sqlite_reads_records_that_were_stored_before_they_were_sealed_for_their_key() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let changes = [
        "UPDATE records SET bytes = CAST('x' AS BLOB) WHERE name = 'a'",
        "UPDATE records SET bytes = x'c6' WHERE name = 'b'",
        "UPDATE records SET bytes = x'c6000102030405060708' WHERE name = 'c'",
        "UPDATE records SET bytes = x'' WHERE name = 'd'",
    ];
    let journal = changed(directory.path(), &changes);
    let before: [(&str, &[u8]); 4] = [
        ("a", b"x"),
        ("b", b"\xc6"),
        ("c", b"\xc6\0\x01\x02\x03\x04\x05\x06\x07\x08"),
        ("d", b""),
    ];
    let listed = wait(journal.scan("000000000000", "machine", "", None, 9)).expect("readable");
    assert_eq!(listed.len(), before.len());
    for ((name, stored), listed) in before.into_iter().zip(listed) {
        assert_eq!((&*listed.key.name, &*listed.bytes), (name, stored));
        let found = wait(journal.get(&listed.key)).expect("readable");
        assert_eq!(found, Some(listed.clone()));
        let anew = record(name, Some(listed.revision), Some("y"));
        land(&*journal, Write::Catalog(vec![anew]));
        let found = wait(journal.get(&listed.key)).expect("readable");
        let found = found.map(|record| (record.revision, record.bytes));
        assert_eq!(found, Some((2, bytes("y"))), "{name}");
        let gone = record(name, Some(2), None);
        land(&*journal, Write::Catalog(vec![gone]));
        assert_eq!(wait(journal.get(&listed.key)), Ok(None));
    }
}

/// As a later version may write them.
#[test]
fn postgres_reads_records_that_are_sealed_for_their_key() {
    with_postgres(|server: &Server| {
        let journal = server.journal();
        let sealed = key("machine", "m").sealed(b"x");
        let digits: String = sealed.iter().map(|byte| format!("{byte:02x}")).collect();
        for name in ["m", "n"] {
            server.run(&format!(
                "INSERT INTO records VALUES ('000000000000', 'machine', '{name}', 1, '\\x{digits}')"
            ));
        }
        assert_eq!(seal::open(&[], &sealed), Err(seal::Broken));
        for (name, expected) in [("m", bytes("x")), ("n", sealed.into())] {
            let found = wait(journal.get(&key("machine", name))).expect("readable");
            assert_eq!(found.map(|record| record.bytes), Some(expected), "{name}");
        }
    });
}

#[test]
fn sqlite_lists_a_damaged_execution_beside_the_others() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let changes = [
        "UPDATE executions SET meta = 'text' WHERE name = 'b'",
        "UPDATE executions SET wake_at = 1.5 WHERE name = 'c'",
    ];
    let journal = changed(directory.path(), &changes);
    let query = ListQuery {
        list: List::Scope(SCOPE),
        status: None,
        before: None,
        limit: 9,
    };
    let listed = wait(journal.list(query)).expect("readable");
    let listed: Vec<_> = listed
        .iter()
        .map(|row| (row.id, row.new.meta == bytes("meta")))
        .collect();
    let expected = [(id(3, 0), false), (id(2, 0), false), (id(1, 0), true)];
    assert_eq!(listed, expected);
    let due = wait(journal.due(&[Partition(0)], Timestamp(5), 9));
    assert_eq!(due, Ok(vec![(id(3, 0), Timestamp(1))]));
    // Who writes in the same transaction is spared, and the store goes on.
    let epoch = epoch(&*journal);
    for name in ["e", "f"] {
        let verdicts = commit(
            &*journal,
            vec![
                Write::Append(proceed(id(3, 0), epoch, 3, 2)),
                Write::Catalog(vec![record(name, Some(0), Some("x"))]),
            ],
        );
        assert_eq!(verdicts[0], Err(Refused::WrongPosition { next: 0 }));
        assert!(verdicts[1].is_ok(), "{:?}", verdicts[1]);
    }
}

#[test]
fn sqlite_takes_no_number_for_a_date_that_no_client_can_read() {
    let query = ListQuery {
        list: List::Scope(SCOPE),
        status: None,
        before: None,
        limit: 9,
    };
    for column in ["started_at", "stopped_at", "redriven_at"] {
        // Before 1970, and the first moment of the year 10000.
        for ms in [-1, 253_402_300_800_000_i64] {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let change = format!("UPDATE executions SET {column} = {ms} WHERE name = 'b'");
            let journal = changed(directory.path(), &[change.as_str()]);
            let listed = wait(journal.list(query)).expect("readable");
            let listed: Vec<_> = listed
                .iter()
                .map(|row| (row.id, row.new.meta == bytes("meta")))
                .collect();
            let expected = [(id(3, 0), true), (id(2, 0), false), (id(1, 0), true)];
            assert_eq!(listed, expected, "{change}");
            let alone = wait(journal.execution(id(2, 0)));
            assert!(matches!(alone, Err(ReadError::Damaged(_))), "{alone:?}");
        }
    }
}

#[test]
fn sqlite_reads_messages_tasks_and_usage_beside_damaged_ones() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let changes = [
        "UPDATE messages SET payload = 'text' WHERE id = (SELECT min(id) FROM messages)",
        "UPDATE messages SET recipient = 'nobody' WHERE id = (SELECT max(id) FROM messages)",
        "UPDATE tasks SET execution = 'none' WHERE scheduled_at = 2",
        "UPDATE tasks SET task = 'text' WHERE scheduled_at = 3",
        "UPDATE usage SET tasks = 'many' WHERE tenant = 'b'",
        "UPDATE usage SET bytes_stored = 9223372036854775807, redrives = -5 WHERE tenant = 'a'",
        "UPDATE usage SET tenant = x'00' WHERE tenant = 'c'",
    ];
    let journal = changed(directory.path(), &changes);
    let expected = [seal::unreadable(), bytes("b")];
    let messages = wait(journal.messages(&cursors(&[0]), 9)).expect("readable");
    let inbox = wait(journal.inbox(id(1, 0))).expect("readable");
    for found in [messages, inbox] {
        let payloads: Vec<_> = found.into_iter().map(|message| message.payload).collect();
        assert_eq!(payloads, expected);
    }
    let tasks = wait(journal.activity_tasks(ACTIVITY, None, 2)).expect("readable");
    let tasks: Vec<_> = tasks.into_iter().map(|open| open.task).collect();
    assert_eq!(tasks, [Arc::from([1]), seal::unreadable()]);

    let query = UsageQuery {
        to: u32::MAX,
        limit: 9,
        ..UsageQuery::default()
    };
    let usage = wait(journal.usage(query)).expect("readable");
    let sums = wait(journal.usage_of_tenants()).expect("readable");
    assert!(sums.is_partial);
    for used in [&usage[0].1, &sums.sums[0].1] {
        for none in [Meter::BytesStored, Meter::Redrives] {
            assert_eq!(used.get(none), 0, "{none:?}");
        }
    }
    let usage = usage.into_iter();
    let usage = usage.map(|(key, amounts)| (key.tenant, amounts.get(Meter::Tasks)));
    let sums = sums.sums.into_iter();
    let sums = sums.map(|(tenant, amounts)| (tenant, amounts.get(Meter::Tasks)));
    let expected = [(Arc::<str>::from("a"), 4), (Arc::from("b"), 0)];
    assert_eq!(usage.collect::<Vec<_>>(), expected);
    assert_eq!(sums.collect::<Vec<_>>(), expected);
}
