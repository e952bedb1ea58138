//! The embedded journal on a disk that fails: what was acknowledged is there, and nothing is there by half.

use std::{collections::BTreeMap, path::Path};

use super::support::{begin, commit, id, key, message, options, proceed, record, token, wait};
use crate::journal::sqlite::SqliteStore;
use crate::journal::{
    Append, Catalog, Epoch, ExecutionId, FaultPlan, InlineJournal, Journal, Refused, Segment,
    SegmentRange, SimDisk, Status, Verdict, View, Write,
};

const FILE: &str = "journal.sqlite";

/// Power losses in a row on one disk.
const LIVES: u64 = 4;

fn open(disk: &SimDisk) -> SqliteStore {
    SqliteStore::open(Path::new(FILE), options(Some(disk.vfs_name()))).expect("what survived opens")
}

/// A generator of its own, so that the test's choices do not depend on the disk's.
struct Choices(u64);

impl Choices {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// What must be there (acknowledged) and what may (asked for when the disk failed).
#[derive(Default)]
struct Expected {
    /// Acknowledged position of each execution.
    next: BTreeMap<ExecutionId, u64>,
    /// Position that an append without an acknowledgement may have reached.
    maybe: BTreeMap<ExecutionId, u64>,
}

impl Expected {
    /// A batch of appends to random executions, each with segments that follow from their place.
    fn batch(&self, epoch: Epoch, choices: &mut Choices) -> Vec<(Append, Write)> {
        let mut next = self.next.clone();
        let mut batch = Vec::new();
        for _ in 0..=choices.below(6) {
            let execution = id(choices.below(12), 0);
            let position = next.get(&execution).copied().unwrap_or(1);
            let append = match position {
                1 => begin(execution, epoch, &format!("{execution:?}")),
                next => proceed(execution, epoch, next, next),
            };
            let status = if choices.below(3) == 0 {
                Status::Succeeded
            } else {
                Status::Running
            };
            let view = View {
                status,
                hot: choices.below(2) == 0,
                ..View::default()
            };
            let size = choices.below(9_000);
            let segment = Segment {
                bytes: content(execution, position, size),
                ..append.segment.clone()
            };
            next.insert(execution, position + u64::from(segment.events));
            let append = Append {
                view,
                segment,
                ..append
            };
            batch.push((append.clone(), Write::Append(append)));
        }
        batch
    }

    fn note(&mut self, append: &Append, verdict: &Verdict) {
        let end = append.expected_next + u64::from(append.segment.events);
        match verdict {
            Ok(_) => self.next.insert(append.execution, end),
            Err(Refused::Broken(_) | Refused::Full(_)) => self.maybe.insert(append.execution, end),
            Err(other) => panic!("refused without reason: {other}"),
        };
    }

    /// Compares with what is stored, and takes that as the new truth.
    fn check(&mut self, journal: &dyn Journal, seed: u64) {
        for number in 0..12 {
            let id = id(number, 0);
            let stored = wait(journal.execution(id))
                .expect("readable")
                .map_or(1, |row| row.next);
            let least = self.next.get(&id).copied().unwrap_or(1);
            let most = self.maybe.get(&id).copied().unwrap_or(1).max(least);
            assert!(
                (least..=most).contains(&stored),
                "seed {seed}: {id:?} at {stored}, not in {least}..={most}"
            );
            let segments = wait(journal.segments(id, SegmentRange::From { first: 1 }, usize::MAX))
                .expect("readable");
            let mut next = 1;
            for stored in &segments {
                assert_eq!(stored.first, next, "seed {seed}: no gap");
                let size = stored.segment.bytes.len() as u64;
                assert_eq!(
                    stored.segment.bytes,
                    content(id, next, size),
                    "seed {seed}: no damage"
                );
                next += u64::from(stored.segment.events);
            }
            assert_eq!(next, stored, "seed {seed}: the row agrees with the log");
            if stored > 1 {
                self.next.insert(id, stored);
            }
        }
        self.maybe.clear();
    }
}

fn content(execution: ExecutionId, position: u64, size: u64) -> std::sync::Arc<[u8]> {
    (0..size)
        .map(|index| (execution.0 ^ (position * 31) ^ index) as u8)
        .collect()
}

fn check_whole(disk: &SimDisk, seed: u64) {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
    let conn =
        rusqlite::Connection::open_with_flags_and_vfs(FILE, flags, disk.vfs_name()).expect("opens");
    let verdict: String = conn
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .expect("runs");
    assert_eq!(verdict, "ok", "seed {seed}");
}

fn live_and_die(seed: u64, plan: impl Fn(&mut Choices) -> FaultPlan, kill_too: bool) {
    let disk = SimDisk::new(seed);
    let mut choices = Choices(seed);
    let mut expected = Expected::default();
    for life in 0..LIVES {
        let mut store = open(&disk);
        let epoch = store.epoch();
        disk.faults(plan(&mut choices));
        for _ in 0..40 {
            if store.broken().is_some() && choices.below(2) == 0 && store.reopen().is_ok() {
                // Whoever met the failure folds anew; so does this test.
                let position = |id| store.execution_next(id);
                expected.next = (0..12)
                    .map(|number| id(number, 0))
                    .filter_map(|id| Some((id, position(id)?)))
                    .collect();
                expected.maybe.clear();
            }
            let was_broken = store.broken().is_some();
            let (appends, writes): (Vec<_>, Vec<_>) =
                expected.batch(epoch, &mut choices).into_iter().unzip();
            let verdicts = store.apply(&writes);
            for (append, verdict) in appends.iter().zip(&verdicts) {
                assert!(
                    !was_broken || verdict.is_err(),
                    "seed {seed}: nothing is acknowledged while broken"
                );
                if !was_broken {
                    expected.note(append, verdict);
                }
            }
            if choices.below(10) == 0 && store.broken().is_none() {
                // Its failure is no concern of those who write.
                let _ = store.checkpoint(choices.below(2) == 0);
            }
            if disk.is_dead() {
                break;
            }
        }
        if kill_too && life % 2 == 0 && !disk.is_dead() {
            disk.kill();
            disk.faults(FaultPlan::default());
        } else {
            disk.crash();
        }
        drop(store);
        let journal = InlineJournal::open(Path::new(FILE), options(Some(disk.vfs_name())))
            .expect("what survived opens");
        expected.check(&journal, seed);
        drop(journal);
        check_whole(&disk, seed);
    }
}

#[test]
fn power_losses_lose_nothing_acknowledged() {
    for seed in 0..200 {
        live_and_die(
            seed,
            |choices| FaultPlan {
                power_loss_at: Some(1 + choices.below(400)),
                ..FaultPlan::default()
            },
            false,
        );
    }
}

#[test]
fn failed_syncs_and_writes_lose_nothing_acknowledged() {
    for seed in 1_000..1_100 {
        live_and_die(
            seed,
            |choices| FaultPlan {
                power_loss_at: Some(200 + choices.below(400)),
                sync_fails_at: Some(1 + choices.below(30)),
                write_fails_at: (choices.below(2) == 0).then(|| 1 + choices.below(200)),
                failures_per_mille: u16::try_from(choices.below(10)).expect("small"),
                ..FaultPlan::default()
            },
            true,
        );
    }
}

#[test]
fn a_failed_sync_stops_acknowledgements_until_reopened() {
    let disk = SimDisk::new(7);
    let mut store = open(&disk);
    let epoch = store.epoch();
    let first = Write::Append(begin(id(1, 0), epoch, "a"));
    assert!(store.apply(std::slice::from_ref(&first))[0].is_ok());
    disk.faults(FaultPlan {
        sync_fails_at: Some(1),
        ..FaultPlan::default()
    });
    let post = Write::Post(message(id(1, 0), "lost"));
    assert!(matches!(
        store.apply(std::slice::from_ref(&post))[0],
        Err(Refused::Broken(_))
    ));
    disk.take_synced();
    assert!(matches!(
        store.apply(std::slice::from_ref(&post))[0],
        Err(Refused::Broken(_))
    ));
    assert_eq!(
        disk.take_synced(),
        [],
        "a broken store does not touch the disk"
    );
    store.reopen().expect("the disk is well again");
    assert!(store.apply(&[post])[0].is_ok());
    assert!(matches!(
        store.apply(&[first])[0],
        Err(Refused::WrongPosition { next: 3 })
    ));
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let disk = SimDisk::new(9);
    let journal =
        InlineJournal::open(Path::new(FILE), options(Some(disk.vfs_name()))).expect("opens");
    let blob = |number: u8| Write::Blob {
        hash: [number; 32],
        bytes: vec![number; 20_000].into(),
    };
    disk.faults(FaultPlan {
        capacity_bytes: Some(400_000),
        ..FaultPlan::default()
    });
    let fits = (0..255)
        .take_while(|number| commit(&journal, vec![blob(*number)])[0].is_ok())
        .count();
    assert!((2..60).contains(&fits), "{fits}");
    let verdicts = commit(
        &journal,
        vec![
            blob(200),
            Write::Catalog(vec![record("a", None, Some("a"))]),
            blob(201),
        ],
    );
    assert!(
        verdicts
            .iter()
            .all(|verdict| matches!(verdict, Err(Refused::Full(_)))),
        "{verdicts:?}"
    );
    assert_eq!(wait(journal.get(&key("machine", "a"))), Ok(None));
    assert_eq!(
        wait(journal.blob([0; 32])),
        Ok(Some(vec![0; 20_000].into()))
    );
    disk.faults(FaultPlan::default());
    assert!(
        commit(
            &journal,
            vec![blob(200), Write::Post(message(id(1, 0), "a"))]
        )
        .iter()
        .all(Result::is_ok)
    );
    disk.crash();
    drop(journal);
    let journal =
        InlineJournal::open(Path::new(FILE), options(Some(disk.vfs_name()))).expect("opens");
    assert_eq!(
        wait(journal.blob([200; 32]))
            .expect("readable")
            .map(|blob| blob.len()),
        Some(20_000)
    );
}

#[test]
fn one_commit_is_one_sync() {
    let disk = SimDisk::new(3);
    let mut store = open(&disk);
    let epoch = store.epoch();
    disk.take_synced();
    for number in 0..100 {
        let send = vec![message(id(number, 0), "m")];
        let append = Append {
            send,
            ..begin(id(number, 0), epoch, &number.to_string())
        };
        assert!(store.apply(&[Write::Append(append)])[0].is_ok());
        if store.wants_checkpoint() {
            store.checkpoint(false).expect("runs");
        }
    }
    let synced = disk.take_synced().len();
    assert!(synced <= 110, "{synced} syncs for 100 commits");
    let refused = store.apply(&[
        Write::Append(begin(id(1, 0), epoch, "1")),
        Write::Answer {
            token: token(1),
            message: message(id(1, 0), "late"),
        },
    ]);
    assert!(refused.iter().all(Result::is_err));
    assert_eq!(
        disk.take_synced().len(),
        0,
        "nothing written, nothing synced"
    );
}

#[test]
fn equal_seeds_fail_alike() {
    let run = |seed| {
        let disk = SimDisk::new(seed);
        let mut store = open(&disk);
        let epoch = store.epoch();
        disk.faults(FaultPlan {
            power_loss_at: Some(60),
            ..FaultPlan::default()
        });
        let verdicts: Vec<bool> = (0..30)
            .map(|number| {
                store.apply(&[Write::Append(begin(
                    id(number, 0),
                    epoch,
                    &number.to_string(),
                ))])[0]
                    .is_ok()
            })
            .collect();
        disk.crash();
        drop(store);
        let count = (0..30)
            .filter(|number| open(&disk).execution_next(id(*number, 0)).is_some())
            .count();
        (verdicts, count, disk.operations())
    };
    assert_eq!(run(5), run(5));
}
