//! How much an append to the embedded journal costs; printed, for those who compare.

use std::{sync::Arc, thread, time::Instant};

use super::support::{begin, epoch, id, proceed, sqlite, wait};
use crate::journal::{Append, Segment, Write};

/// Appends of 1 KB from 64 executions at a time, each waiting for its last one.
#[test]
fn appends_are_grouped() {
    let (rounds, batch) = if cfg!(debug_assertions) { (20, 64) } else { (400, 64) };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let journal = sqlite(directory.path());
    let epoch = epoch(&*journal);
    let segment = |public| Segment { events: 1, first_public: public, public: 1, bytes: Arc::from([7u8; 1_000]) };
    let began = Instant::now();
    for number in 0..batch {
        let append = Append { segment: segment(1), ..begin(id(number, 0), epoch, &number.to_string()) };
        assert!(wait(journal.commit(vec![Write::Append(append)]))[0].is_ok());
    }
    let single = began.elapsed();
    let began = Instant::now();
    for round in 0..rounds {
        let answers: Vec<_> = (0..batch)
            .map(|number| {
                let append = Append { segment: segment(round + 2), ..proceed(id(number, 0), epoch, round + 2, 0) };
                journal.commit(vec![Write::Append(append)])
            })
            .collect();
        for answer in answers {
            assert!(wait(answer)[0].is_ok());
        }
    }
    let grouped = began.elapsed();
    let count = rounds * batch;
    println!(
        "one at a time: {:.0} appends/s; {batch} at a time: {:.0} appends/s, {:.1} us each ({} threads)",
        f64::from(u32::try_from(batch).expect("small")) / single.as_secs_f64(),
        f64::from(u32::try_from(count).expect("small")) / grouped.as_secs_f64(),
        grouped.as_secs_f64() * 1e6 / f64::from(u32::try_from(count).expect("small")),
        thread::available_parallelism().map_or(1, usize::from),
    );
}
