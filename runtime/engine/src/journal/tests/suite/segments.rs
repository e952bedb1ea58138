//! Reads of logs.

use super::super::support::{begin, epoch, id, land, proceed, segment, wait};
use crate::journal::{Append, ExecutionId, Journal, SegmentRange, Write};

/// Segments of 2, 1, 3, 1 and 2 events: positions 1-2, 3, 4-6, 7, 8-9; public ids 1, none, 2-4, none, 5-6.
fn log(journal: &dyn Journal) -> ExecutionId {
    let (epoch, id) = (epoch(journal), id(4, 1));
    land(journal, Write::Append(begin(id, epoch, "log")));
    for (next, segment) in [
        (3, segment(1, 2, 0)),
        (4, segment(3, 2, 3)),
        (7, segment(1, 5, 0)),
        (8, segment(2, 5, 2)),
    ] {
        land(
            journal,
            Write::Append(Append {
                segment,
                ..proceed(id, epoch, next, 0)
            }),
        );
    }
    id
}

fn firsts(
    journal: &dyn Journal,
    id: ExecutionId,
    range: SegmentRange,
    bytes_max: usize,
) -> Vec<u64> {
    wait(journal.segments(id, range, bytes_max))
        .expect("readable")
        .iter()
        .map(|stored| stored.first)
        .collect()
}

pub(super) fn by_position(journal: &dyn Journal) {
    let log = log(journal);
    let from = |first| firsts(journal, log, SegmentRange::From { first }, 1_000);
    for (first, expected) in [
        (0, vec![1, 3, 4, 7, 8]),
        (1, vec![1, 3, 4, 7, 8]),
        (2, vec![1, 3, 4, 7, 8]),
        (3, vec![3, 4, 7, 8]),
        (4, vec![4, 7, 8]),
        (6, vec![4, 7, 8]),
        (7, vec![7, 8]),
        (9, vec![8]),
        (10, vec![]),
        (99, vec![]),
    ] {
        assert_eq!(from(first), expected, "from {first}");
    }
    assert_eq!(firsts(journal, log, SegmentRange::Last, 1_000), [8]);
    assert_eq!(
        firsts(journal, id(99, 0), SegmentRange::Last, 1_000),
        [0; 0]
    );
    assert_eq!(
        firsts(journal, id(99, 0), SegmentRange::From { first: 1 }, 1_000),
        [0; 0]
    );
    let stored = wait(journal.segments(log, SegmentRange::Last, 0)).expect("readable");
    assert_eq!(stored[0].segment, segment(2, 5, 2));
}

pub(super) fn by_public_id(journal: &dyn Journal) {
    let log = log(journal);
    for (public, forward, backward) in [
        (0, vec![1, 3, 4, 7, 8], vec![]),
        (1, vec![1, 3, 4, 7, 8], vec![1]),
        (2, vec![4, 7, 8], vec![4, 3, 1]),
        (4, vec![4, 7, 8], vec![4, 3, 1]),
        (5, vec![8], vec![8, 7, 4, 3, 1]),
        (6, vec![8], vec![8, 7, 4, 3, 1]),
        (7, vec![], vec![8, 7, 4, 3, 1]),
        (u64::from(u32::MAX), vec![], vec![8, 7, 4, 3, 1]),
    ] {
        assert_eq!(
            firsts(journal, log, SegmentRange::Forward { public }, 1_000),
            forward,
            "forward from {public}"
        );
        assert_eq!(
            firsts(journal, log, SegmentRange::Backward { public }, 1_000),
            backward,
            "backward from {public}"
        );
    }
    assert_eq!(
        firsts(
            journal,
            id(99, 0),
            SegmentRange::Backward { public: 3 },
            1_000
        ),
        [0; 0]
    );
}

pub(super) fn bounded(journal: &dyn Journal) {
    let log = log(journal);
    // Each segment's text has 8 bytes.
    for (bytes_max, count) in [(0, 1), (8, 1), (15, 1), (16, 2), (31, 3), (40, 5)] {
        assert_eq!(
            firsts(journal, log, SegmentRange::From { first: 1 }, bytes_max).len(),
            count,
            "{bytes_max} bytes"
        );
        assert_eq!(
            firsts(
                journal,
                log,
                SegmentRange::Backward { public: 9 },
                bytes_max
            )
            .len(),
            count
        );
    }
}
