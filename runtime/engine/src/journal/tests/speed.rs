//! What an append to the embedded journal costs; printed, for those who compare. The bound is generous: it fails when
//! an append takes ten times what it should, not when the machine is busy.

use std::{fs, sync::Arc, time::Instant};

use super::support::{begin, epoch, id, options, proceed, sqlite, wait};
use crate::journal::sqlite::SqliteStore;
use crate::journal::{Append, Epoch, Segment, Write};

/// Processor time for one append of 1 KB in a group, microseconds; 40 are allowed in an optimised build.
const APPEND_US_MAX: f64 = if cfg!(debug_assertions) {
    1_000.0
} else {
    400.0
};

fn append(epoch: Epoch, execution: u64, round: u64) -> Write {
    let segment = Segment {
        events: 1,
        first_public: round,
        public: 1,
        bytes: Arc::from([7u8; 1_000]),
    };
    let append = match round {
        1 => begin(
            id(execution, 0),
            epoch,
            &format!("5f0c1d7e-8f53-4d4c-9a3c-{execution:012}"),
        ),
        round => proceed(id(execution, 0), epoch, round, round),
    };
    Write::Append(Append { segment, ..append })
}

/// Time of this thread on a processor, nanoseconds; 0 where the system does not say.
fn processor_ns() -> u64 {
    let told = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    told.split_whitespace()
        .next()
        .and_then(|ns| ns.parse().ok())
        .unwrap_or(0)
}

fn rounds() -> u64 {
    if cfg!(debug_assertions) { 12 } else { 300 }
}

#[test]
fn an_append_costs_little() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for group in [1u64, 64, 512] {
        let path = directory.path().join(format!("{group}.sqlite"));
        let mut store = SqliteStore::open(&path, options(None)).expect("opens");
        let epoch = store.epoch();
        let (began, before) = (Instant::now(), processor_ns());
        for round in 1..=rounds() {
            let writes: Vec<Write> = (0..group)
                .map(|execution| append(epoch, execution, round))
                .collect();
            assert!(store.apply(&writes).iter().all(Result::is_ok));
            if store.wants_checkpoint() {
                store.checkpoint(false).expect("runs");
            }
        }
        let count = (rounds() * group) as f64;
        let processor_us = (processor_ns() - before) as f64 / 1e3 / count;
        println!(
            "groups of {group}: {processor_us:.1} us of processor an append, checkpoints included; {:.0} appends/s",
            count / began.elapsed().as_secs_f64()
        );
        assert!(
            group < 64 || processor_us < APPEND_US_MAX,
            "{processor_us} us"
        );
    }
}

/// Executions of four appends each, as one task makes them: 64 at a time, each waiting for its last append.
#[test]
fn appends_are_grouped() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let journal = sqlite(directory.path());
    let epoch = epoch(&*journal);
    let began = Instant::now();
    for wave in 0..rounds() / 4 {
        for round in 1..=4 {
            let answers: Vec<_> = (0..64)
                .map(|number| journal.commit(vec![append(epoch, wave * 64 + number, round)]))
                .collect();
            for answer in answers {
                assert!(wait(answer).iter().all(Result::is_ok));
            }
        }
    }
    let count = (rounds() / 4 * 4 * 64) as f64;
    println!(
        "64 at a time, short executions: {:.0} appends/s",
        count / began.elapsed().as_secs_f64()
    );
}
