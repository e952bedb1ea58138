//! Records and blobs.

use std::sync::Arc;

use super::super::support::{
    begin, bytes, commit, epoch, id, key, land, one, proceed, record, wait,
};
use crate::journal::{Append, CatalogWrite, CodeWrite, Journal, Landed, Refused, Write};

pub(super) fn revisions(journal: &dyn Journal) {
    let write = |expected, text| one(journal, Write::Catalog(vec![record("m", expected, text)]));
    let revisions = |revisions: &[u64]| {
        let landed = Landed {
            revisions: revisions.to_vec(),
            ..Default::default()
        };
        Ok::<_, Refused>(landed)
    };
    assert_eq!(
        write(Some(1), Some("a")),
        Err(Refused::Conflict {
            record: 0,
            revision: None
        })
    );
    assert_eq!(write(Some(0), Some("a")), revisions(&[1]));
    assert_eq!(
        write(Some(0), Some("b")),
        Err(Refused::Conflict {
            record: 0,
            revision: Some(1)
        })
    );
    assert_eq!(write(Some(1), Some("b")), revisions(&[2]));
    assert_eq!(write(None, Some("c")), revisions(&[3]));
    let record = wait(journal.get(&key("machine", "m")))
        .expect("readable")
        .expect("there");
    assert_eq!((record.revision, &*record.bytes), (3, b"c".as_slice()));
    assert_eq!(record.key, key("machine", "m"));
    assert_eq!(wait(journal.get(&key("alias", "m"))), Ok(None));
    assert_eq!(
        write(Some(2), None),
        Err(Refused::Conflict {
            record: 0,
            revision: Some(3)
        })
    );
    assert_eq!(write(Some(3), None), revisions(&[0]));
    assert_eq!(write(None, None), revisions(&[0]));
    assert_eq!(wait(journal.get(&key("machine", "m"))), Ok(None));
    assert_eq!(write(Some(0), Some("")), revisions(&[1]));
    assert_eq!(
        wait(journal.get(&key("machine", "m")))
            .expect("readable")
            .map(|record| record.bytes.len()),
        Some(0)
    );
}

pub(super) fn together(journal: &dyn Journal) {
    let write = |records| one(journal, Write::Catalog(records));
    let first = write(vec![
        record("a", Some(0), Some("1")),
        record("b", Some(0), Some("1")),
    ])
    .expect("lands");
    assert_eq!(first.revisions, [1, 1]);
    let refused = write(vec![
        record("a", Some(1), Some("2")),
        record("b", Some(9), Some("2")),
    ]);
    assert_eq!(
        refused,
        Err(Refused::Conflict {
            record: 1,
            revision: Some(1)
        })
    );
    assert_eq!(
        wait(journal.get(&key("machine", "a")))
            .expect("readable")
            .map(|record| record.revision),
        Some(1)
    );
    // Later records of one write see the earlier ones.
    let chain = vec![
        record("a", Some(1), Some("2")),
        record("a", Some(2), None),
        record("a", Some(0), Some("3")),
    ];
    assert_eq!(write(chain).expect("lands").revisions, [2, 0, 1]);
    let stored = wait(journal.get(&key("machine", "a")))
        .expect("readable")
        .expect("there");
    assert_eq!((stored.revision, &*stored.bytes), (1, b"3".as_slice()));
    let broken = vec![
        record("c", Some(0), Some("1")),
        record("c", Some(0), Some("2")),
    ];
    assert_eq!(
        write(broken),
        Err(Refused::Conflict {
            record: 1,
            revision: Some(1)
        })
    );
    assert_eq!(wait(journal.get(&key("machine", "c"))), Ok(None));
}

pub(super) fn by_prefix(journal: &dyn Journal) {
    let names = ["a", "ab/1", "ab/2", "ab/3", "ab0", "b", "Z", "ü"];
    land(
        journal,
        Write::Catalog(
            names
                .iter()
                .map(|name| record(name, None, Some(name)))
                .collect(),
        ),
    );
    let other = CatalogWrite {
        key: key("machinf", "ab/4"),
        expected: None,
        bytes: Some(bytes("x")),
    };
    land(journal, Write::Catalog(vec![other]));
    let scan = |prefix: &str, after, limit| {
        let records =
            wait(journal.scan("000000000000", "machine", prefix, after, limit)).expect("readable");
        records
            .iter()
            .map(|record| record.key.name.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        scan("", None, 99),
        ["Z", "a", "ab/1", "ab/2", "ab/3", "ab0", "b", "ü"]
    );
    assert_eq!(scan("ab/", None, 99), ["ab/1", "ab/2", "ab/3"]);
    assert_eq!(scan("ab/", None, 2), ["ab/1", "ab/2"]);
    assert_eq!(scan("ab/", Some("ab/2"), 2), ["ab/3"]);
    assert_eq!(scan("ab/", Some("ab/3"), 2), [""; 0]);
    assert_eq!(scan("ab/", Some("a"), 1), ["ab/1"]);
    assert_eq!(scan("", Some("b"), 9), ["ü"]);
    assert_eq!(scan("x", None, 9), [""; 0]);
    assert_eq!(
        wait(journal.scan("other", "machine", "", None, 9)),
        Ok(vec![])
    );
}

/// The key of page tokens is random bytes; a store that seals records for no key has them as they are.
pub(super) fn of_any_form(journal: &dyn Journal) {
    for begin in [0x00, b'{', 0xc5, 0xc6, 0xff] {
        let stored = CatalogWrite {
            key: key("machine", "m"),
            expected: None,
            bytes: Some([begin; 32].into()),
        };
        land(journal, Write::Catalog(vec![stored]));
        let found = wait(journal.get(&key("machine", "m"))).expect("readable");
        assert_eq!(&*found.expect("there").bytes, &[begin; 32]);
        let found = wait(journal.scan("000000000000", "machine", "m", None, 1)).expect("readable");
        assert_eq!(&*found[0].bytes, &[begin; 32]);
    }
}

pub(super) fn blobs_of_appends(journal: &dyn Journal) {
    let (epoch, id) = (epoch(journal), id(1, 2));
    let with = |append: Append, number: u8| {
        let blobs = vec![([number; 32], bytes("large"))];
        Write::Append(Append { blobs, ..append })
    };
    land(journal, with(begin(id, epoch, "one"), 1));
    // One that refers to the same value, and one that comes too late.
    let verdicts = commit(
        journal,
        vec![
            with(proceed(id, epoch, 3, 2), 1),
            with(proceed(id, epoch, 3, 2), 2),
        ],
    );
    assert!(verdicts[0].is_ok(), "{verdicts:?}");
    assert_eq!(verdicts[1], Err(Refused::WrongPosition { next: 4 }));
    assert_eq!(wait(journal.blob([1; 32])), Ok(Some(bytes("large"))));
    assert_eq!(wait(journal.blob([2; 32])), Ok(None));
}

pub(super) fn blobs(journal: &dyn Journal) {
    let blob = |text: &str| Write::Blob {
        hash: [7; 32],
        bytes: bytes(text),
    };
    assert_eq!(wait(journal.blob([7; 32])), Ok(None));
    assert!(
        commit(journal, vec![blob("one"), blob("one")])
            .iter()
            .all(Result::is_ok)
    );
    land(journal, blob("one"));
    assert_eq!(wait(journal.blob([7; 32])), Ok(Some(bytes("one"))));
    let large: Arc<[u8]> = vec![5; 3 << 20].into();
    land(
        journal,
        Write::Blob {
            hash: [8; 32],
            bytes: large.clone(),
        },
    );
    assert_eq!(wait(journal.blob([8; 32])), Ok(Some(large)));
}

pub(super) fn code_with_records(journal: &dyn Journal) {
    let hash = [9; 32];
    let code = |expected, text: Option<&str>, keep: bool| {
        Write::Code(CodeWrite {
            records: vec![record("hold", Some(expected), text)],
            keep: keep.then(|| (hash, bytes("code"))),
            remove: (!keep).then_some(hash),
            charges: Vec::new(),
        })
    };
    assert_eq!(land(journal, code(0, Some("a"), true)).revisions, [1]);
    assert_eq!(wait(journal.blob(hash)), Ok(Some(bytes("code"))));
    // Somebody else changed the record: nothing of it is done.
    let verdicts = commit(journal, vec![code(7, None, false)]);
    let conflict = Refused::Conflict {
        record: 0,
        revision: Some(1),
    };
    assert_eq!(verdicts, [Err(conflict)]);
    assert_eq!(wait(journal.blob(hash)), Ok(Some(bytes("code"))));
    assert_eq!(land(journal, code(1, None, false)).revisions, [0]);
    assert_eq!(wait(journal.blob(hash)), Ok(None));
    // In one batch the last one counts.
    let verdicts = commit(
        journal,
        vec![
            code(0, Some("a"), true),
            code(1, None, false),
            code(0, Some("b"), true),
        ],
    );
    assert!(verdicts.iter().all(Result::is_ok), "{verdicts:?}");
    assert_eq!(wait(journal.blob(hash)), Ok(Some(bytes("code"))));
}
