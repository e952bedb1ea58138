//! The promises of the trait, each as a case that runs on every store.

mod appends;
mod catalog;
mod files;
mod leases;
mod lists;
mod messages;
mod segments;
mod usage;
mod values;

use std::sync::Arc;

use super::{
    server::{Server, with_postgres},
    support::{inline, memory, sqlite},
};
use crate::journal::Journal;

type Case = (&'static str, fn(&dyn Journal));

const CASES: [Case; 28] = [
    ("an execution's row is what its appends say", appends::row),
    (
        "the log refuses gaps, overlaps and doubles",
        appends::positions,
    ),
    ("names are unique where asked", appends::names),
    (
        "a refused write spares its neighbours and leaves no trace",
        appends::neighbours,
    ),
    (
        "later writes of a batch see earlier ones",
        appends::sequence,
    ),
    ("an unknown epoch is refused", appends::fencing),
    ("segments by position", segments::by_position),
    ("segments by public id, both ways", segments::by_public_id),
    (
        "pages of segments are bounded by bytes, but never empty",
        segments::bounded,
    ),
    (
        "messages keep their order and are read by cursor",
        messages::in_order,
    ),
    ("a message is consumed once", messages::consumption),
    (
        "a discarded message is gone, twice discarded too",
        messages::discarding,
    ),
    (
        "an answer and a timeout: exactly one wins",
        messages::answer_wins,
    ),
    (
        "a timeout and an answer: exactly one wins",
        messages::timeout_wins,
    ),
    (
        "tasks opened and closed in one append",
        messages::open_and_close,
    ),
    ("activity tasks come oldest first", messages::activities),
    ("lists are keyset pages, newest first", lists::pages),
    (
        "versions and aliases have lists of their own",
        lists::of_versions_and_aliases,
    ),
    ("hot executions and due ones", lists::hot_and_due),
    ("catalog records change by revision", catalog::revisions),
    (
        "several records change together or not at all",
        catalog::together,
    ),
    ("records are scanned by prefix in pages", catalog::by_prefix),
    (
        "records are given back whatever they begin with",
        catalog::of_any_form,
    ),
    ("blobs are kept once", catalog::blobs),
    (
        "blobs of an append are there with it, or not at all",
        catalog::blobs_of_appends,
    ),
    (
        "code goes with its records, or not at all",
        catalog::code_with_records,
    ),
    (
        "usage is added by writes that land, and by no others",
        usage::lands_with_its_write,
    ),
    ("usage is read by day and tenant, in pages", usage::pages),
];

fn run(mut open: impl FnMut() -> Arc<dyn Journal>) {
    for (name, case) in CASES {
        println!("case: {name}");
        case(&*open());
    }
}

#[test]
fn memory_keeps_the_promises() {
    run(memory);
}

#[test]
fn sqlite_keeps_the_promises() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut count = 0;
    run(|| {
        count += 1;
        sqlite(&directory.path().join(count.to_string()))
    });
}

#[test]
fn inline_sqlite_keeps_the_promises() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut count = 0;
    run(|| {
        count += 1;
        inline(&directory.path().join(format!("{count}.sqlite")))
    });
}

#[test]
fn postgres_keeps_the_promises() {
    with_postgres(|server: &Server| run(|| server.journal()));
}
