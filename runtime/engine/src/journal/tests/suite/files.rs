//! What a store is that was there before.

use super::super::{
    server::{Server, with_postgres},
    support::{SCOPE, begin, epoch, id, land, message, options, proceed, refusal, sqlite, wait},
};
use crate::journal::{List, ListQuery, OpenError, Refused, ScopeId, SqliteJournal, Write};

#[test]
fn sqlite_outlives_its_process() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let journal = sqlite(directory.path());
    let first = epoch(&*journal);
    land(&*journal, Write::Append(begin(id(1, 0), first, "a")));
    let sent = land(&*journal, Write::Post(message(id(1, 0), "a"))).messages;
    land(&*journal, Write::Discard(sent.clone()));
    match SqliteJournal::open(directory.path(), options(None)) {
        Err(OpenError::Locked(_)) => {}
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("one process at a time"),
    }
    drop(journal);

    let journal = sqlite(directory.path());
    let second = epoch(&*journal);
    assert!(second > first);
    assert_eq!(
        refusal(&*journal, Write::Append(proceed(id(1, 0), first, 3, 2))),
        Refused::LeaseLost
    );
    land(&*journal, Write::Append(proceed(id(1, 0), second, 3, 2)));
    let again = land(&*journal, Write::Post(message(id(1, 0), "b"))).messages;
    assert!(again[0] > sent[0], "ids are not given twice");
}

#[test]
fn sqlite_says_what_it_cannot_open() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("journal.sqlite");
    let open = || SqliteJournal::open(directory.path(), options(None)).err();

    std::fs::write(
        &path,
        "this is no database, it is a longer text than a header",
    )
    .expect("writable");
    assert!(matches!(open(), Some(OpenError::Foreign(_))));
    let beside = std::fs::read_dir(directory.path()).expect("readable");
    assert_eq!(beside.count(), 1, "nothing is made beside it");
    std::fs::remove_file(&path).expect("there");

    let foreign = rusqlite::Connection::open(&path).expect("opens");
    foreign
        .execute_batch("CREATE TABLE other (x)")
        .expect("runs");
    drop(foreign);
    assert!(matches!(open(), Some(OpenError::Foreign(_))));
    std::fs::remove_file(&path).expect("there");

    drop(sqlite(directory.path()));
    let newer = rusqlite::Connection::open(&path).expect("opens");
    newer
        .execute("UPDATE meta SET value = 6 WHERE key = 'format'", [])
        .expect("runs");
    drop(newer);
    assert!(matches!(
        open(),
        Some(OpenError::Newer {
            found: 6,
            known: 5,
            ..
        })
    ));

    let file = directory.path().join("LOCK").join("below-a-file");
    assert!(matches!(
        SqliteJournal::open(&file, options(None)).err(),
        Some(OpenError::Unreadable { .. })
    ));
}

#[test]
fn sqlite_gives_no_message_the_number_of_another() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let journal = sqlite(directory.path());
    land(&*journal, Write::Post(message(id(1, 0), "a")));
    drop(journal);
    let conn = rusqlite::Connection::open(directory.path().join("journal.sqlite")).expect("opens");
    let changed = conn.execute("UPDATE meta SET value = 1 WHERE key = 'next_message'", []);
    assert_eq!(changed, Ok(1));
    drop(conn);
    match SqliteJournal::open(directory.path(), options(None)) {
        Err(error @ OpenError::Damaged { .. }) => {
            let text = error.to_string();
            let said =
                "`next_message` in its table `meta` is 1, and it has a message with the number 1";
            assert!(text.contains(said), "{text}");
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("the next message takes the place of the first"),
    }
}

#[test]
fn sqlite_does_not_begin_anew_where_a_store_was() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (path, mark) = (
        directory.path().join("journal.sqlite"),
        directory.path().join("STORE"),
    );
    let open = || SqliteJournal::open(directory.path(), options(None)).err();
    let gone = |what| match open() {
        Some(error @ OpenError::Gone { .. }) => {
            let text = error.to_string();
            assert!(text.contains(what), "{text}");
        }
        Some(other) => panic!("{other}"),
        None => panic!("a journal that is {what} opens as a new store"),
    };
    drop(sqlite(directory.path()));
    let whole = std::fs::read(&path).expect("readable");
    std::fs::write(&path, b"").expect("writable");
    gone("is empty, but");
    std::fs::remove_file(&path).expect("there");
    gone("is missing, but");
    // A store of an earlier build has no mark, but after a kill its log.
    std::fs::remove_file(&mark).expect("there");
    let log = directory.path().join("journal.sqlite-wal");
    std::fs::write(&log, "what was not yet moved").expect("writable");
    gone("is missing, but");
    std::fs::remove_file(&log).expect("there");
    // A backup that is put into an empty directory.
    std::fs::write(&path, whole).expect("writable");
    drop(sqlite(directory.path()));
    assert!(mark.exists());
}

/// What version 2 added, taken away again.
const BEFORE_LISTS: &str = "
    DROP TABLE usage; DROP INDEX executions_of_version; DROP INDEX executions_of_alias;
    ALTER TABLE executions DROP COLUMN version; ALTER TABLE executions DROP COLUMN alias;
    UPDATE meta SET value = 1 WHERE key = 'format';";

#[test]
fn sqlite_brings_an_older_file_up() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let journal = sqlite(directory.path());
    let epoch = epoch(&*journal);
    land(&*journal, Write::Append(begin(id(1, 3), epoch, "7")));
    drop(journal);
    let older = rusqlite::Connection::open(directory.path().join("journal.sqlite"));
    let older = older.expect("opens");
    older.execute_batch(BEFORE_LISTS).expect("runs");
    drop(older);
    let journal = sqlite(directory.path());
    let row = wait(journal.execution(id(1, 3))).expect("readable");
    let new = row.expect("it is there").new;
    assert_eq!((&*new.name, new.version, new.alias), ("7", None, None));
    let query = ListQuery {
        list: List::Version(ScopeId(1)),
        status: None,
        before: None,
        limit: 9,
    };
    assert_eq!(wait(journal.list(query)), Ok(vec![]));
}

#[test]
fn postgres_brings_an_older_schema_up() {
    with_postgres(|server: &Server| {
        let journal = server.journal();
        let epoch = epoch(&*journal);
        land(&*journal, Write::Append(begin(id(1, 3), epoch, "7")));
        drop(journal);
        // Dropping the columns drops their indexes.
        server.run(
            "DROP TABLE usage; ALTER TABLE executions DROP COLUMN version, DROP COLUMN alias;
             UPDATE meta SET value = 1 WHERE key = 'format'",
        );
        let journal = server.again();
        let row = wait(journal.execution(id(1, 3))).expect("readable");
        let new = row.expect("it is there").new;
        assert_eq!((&*new.name, new.version, new.alias), ("7", None, None));
        let query = ListQuery {
            list: List::Alias(ScopeId(1)),
            status: None,
            before: None,
            limit: 9,
        };
        assert_eq!(wait(journal.list(query)), Ok(vec![]));
    });
}

#[test]
fn sqlite_groups_what_waits() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let journal = sqlite(directory.path());
    let epoch = epoch(&*journal);
    let answers: Vec<_> = (0..500)
        .map(|number| {
            journal.commit(vec![Write::Append(begin(
                id(number, 0),
                epoch,
                &number.to_string(),
            ))])
        })
        .collect();
    for answer in answers {
        assert!(wait(answer).iter().all(Result::is_ok));
    }
    let query = ListQuery {
        list: List::Scope(SCOPE),
        status: None,
        before: None,
        limit: 1_000,
    };
    assert_eq!(wait(journal.list(query)).expect("readable").len(), 500);
}
