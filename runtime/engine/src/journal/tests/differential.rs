//! One random sequence of calls on all stores: equal answers. Ids of messages may differ and are compared by the order
//! in which they were given.

use std::{collections::BTreeMap, sync::Arc};

use proptest::{prelude::*, test_runner::TestRunner};
use stepwell_interp::Timestamp;

use super::{
    server::with_postgres,
    support::{
        SCOPE, begin, bytes, close, commit, cursors, epoch, id, inline, key, memory, message,
        proceed, record, task, token, wait,
    },
};
use crate::journal::{
    Append, CodeWrite, Epoch, ExecutionId, Journal, Landed, List, ListQuery, MessageId,
    NewExecution, Partition, Refused, ScopeId, Segment, SegmentRange, Status, View, Write,
};

/// Executions, names, tokens and records that the sequences choose from: few, so that they meet.
const FEW: u64 = 5;

/// One write, with messages named by the order of their sending.
#[derive(Clone, Debug)]
enum Act {
    Append {
        execution: u64,
        /// Whether the append begins a log that is there already, or goes on with one that is not.
        misplaced: bool,
        name: u8,
        unique: bool,
        stale: bool,
        /// Numbers of the lists of its version and its alias.
        lists: (Option<u8>, Option<u8>),
        /// Added to the right position.
        shift: u64,
        events: u32,
        public: u32,
        view: (u8, bool, Option<u64>),
        open: Vec<(u8, Option<u8>)>,
        close: Vec<(u8, bool)>,
        send: Vec<u64>,
        consume: Vec<usize>,
    },
    Answer(u8, u64),
    Post(u64),
    Discard(Vec<usize>),
    Catalog(Vec<(u8, Option<u64>, Option<u8>)>),
    Blob(u8),
    /// A record, a blob that is kept and one that goes.
    Code((u8, Option<u64>), Option<u8>, Option<u8>),
}

fn appends() -> impl Strategy<Value = Act> {
    let head = (
        0..FEW,
        prop::bool::weighted(0.05),
        0..4u8,
        prop::bool::weighted(0.8),
        prop::bool::weighted(0.05),
    );
    // Beyond what a batch may add, or a second append would land with the public ids of another place.
    let log = (
        prop_oneof![9 => Just(0u64), 1 => 20..23u64],
        1..4u32,
        0..4u32,
    );
    let view = (0..5u8, any::<bool>(), prop::option::of(0..50u64));
    let open = prop::collection::vec((0..6u8, prop::option::of(0..2u8)), 0..3);
    let close = prop::collection::vec((0..6u8, prop::bool::weighted(0.3)), 0..3);
    let send = prop::collection::vec(0..FEW, 0..3);
    let consume = prop::collection::vec(0..6usize, 0..2);
    let lists = (prop::option::of(0..2u8), prop::option::of(0..2u8));
    (head, lists, log, view, open, close, send, consume).prop_map(
        |(head, lists, log, view, open, close, send, consume)| {
            let (execution, misplaced, name, unique, stale) = head;
            let (shift, events, public) = log;
            let public = public.min(events);
            Act::Append {
                execution,
                misplaced,
                name,
                unique,
                stale,
                lists,
                shift,
                events,
                public,
                view,
                open,
                close,
                send,
                consume,
            }
        },
    )
}

fn acts() -> impl Strategy<Value = Act> {
    let records = (
        0..4u8,
        prop::option::of(0..3u64),
        prop::option::of(any::<u8>()),
    );
    prop_oneof![
        8 => appends(),
        2 => (0..6u8, 0..FEW).prop_map(|(token, to)| Act::Answer(token, to)),
        1 => (0..FEW).prop_map(Act::Post),
        1 => prop::collection::vec(0..20usize, 0..3).prop_map(Act::Discard),
        2 => prop::collection::vec(records, 1..4).prop_map(Act::Catalog),
        1 => (0..3u8).prop_map(Act::Blob),
        2 => (
            (0..4u8, prop::option::of(0..3u64)),
            prop::option::of(0..3u8),
            prop::option::of(0..3u8),
        )
            .prop_map(|(record, keep, remove)| Act::Code(record, keep, remove)),
    ]
}

fn place(number: u64) -> ExecutionId {
    id(number, u16::try_from(number % 3).expect("small"))
}

/// A store with what is needed to speak to it: its epoch and the ids it gave to messages.
struct Store {
    journal: Arc<dyn Journal>,
    epoch: Epoch,
    sent: Vec<MessageId>,
}

impl Store {
    fn new(journal: Arc<dyn Journal>) -> Store {
        let epoch = epoch(&*journal);
        Store {
            journal,
            epoch,
            sent: Vec::new(),
        }
    }

    /// A message's id here; one never given where there are not so many.
    fn message(&self, index: usize) -> MessageId {
        self.sent
            .get(index)
            .copied()
            .unwrap_or(MessageId(u64::from(u32::MAX) << 20))
    }

    /// `ends` holds position and public id at which each log goes on, as the sequence itself counts them.
    fn write(&self, act: &Act, ends: &BTreeMap<u64, (u64, u64)>) -> Write {
        match act {
            Act::Append { .. } => Write::Append(self.append(act, ends)),
            Act::Answer(number, to) => Write::Answer {
                token: token(*number),
                message: message(place(*to), "answer"),
            },
            Act::Post(to) => Write::Post(message(place(*to), "post")),
            Act::Discard(indexes) => {
                Write::Discard(indexes.iter().map(|index| self.message(*index)).collect())
            }
            Act::Catalog(records) => Write::Catalog(
                records
                    .iter()
                    .map(|(name, expected, text)| {
                        let text = text.map(|text| text.to_string());
                        record(&format!("record/{name}"), *expected, text.as_deref())
                    })
                    .collect(),
            ),
            Act::Blob(number) => Write::Blob {
                hash: [*number; 32],
                bytes: bytes(&number.to_string()),
            },
            Act::Code((name, expected), keep, remove) => Write::Code(CodeWrite {
                records: vec![record(&format!("record/{name}"), *expected, Some("code"))],
                keep: keep.map(|number| ([number; 32], bytes(&number.to_string()))),
                remove: remove.map(|number| [number; 32]),
                charges: Vec::new(),
            }),
        }
    }

    fn append(&self, act: &Act, ends: &BTreeMap<u64, (u64, u64)>) -> Append {
        let Act::Append {
            execution,
            misplaced,
            name,
            unique,
            stale,
            lists,
            shift,
            events,
            public,
            view,
            open,
            close: closes,
            send,
            consume,
        } = act
        else {
            unreachable!("asked for appends only");
        };
        let (next, next_public) = ends.get(execution).copied().unwrap_or((1, 1));
        let epoch = if *stale {
            Epoch(self.epoch.0 + 1)
        } else {
            self.epoch
        };
        let text: String =
            format!("{execution}-{next}").repeat(usize::try_from(next).expect("small"));
        let (status, hot, wake_at) = *view;
        let status = Status::ALL[usize::from(status)];
        let view = View {
            status,
            hot,
            wake_at: wake_at.map(Timestamp),
            stopped_at: wake_at.map(Timestamp),
            ..View::default()
        };
        let place_here = place(*execution);
        let new = begin(place_here, epoch, &name.to_string())
            .create
            .map(|new| NewExecution {
                unique_name: *unique,
                version: lists.0.map(|number| ScopeId(u64::from(number))),
                alias: lists.1.map(|number| ScopeId(u64::from(number))),
                ..new
            });
        Append {
            create: new.filter(|_| ends.contains_key(execution) == *misplaced),
            segment: Segment {
                events: *events,
                first_public: next_public,
                public: *public,
                bytes: bytes(&text),
            },
            view,
            open: open
                .iter()
                .map(|(number, activity)| {
                    task(
                        *number,
                        place_here,
                        activity.map(|activity| ScopeId(u64::from(activity))),
                        next,
                    )
                })
                .collect(),
            close: closes
                .iter()
                .map(|(number, must_exist)| close(*number, *must_exist))
                .collect(),
            send: send.iter().map(|to| message(place(*to), "sent")).collect(),
            consume: consume.iter().map(|index| self.message(*index)).collect(),
            ..proceed(place_here, epoch, next + shift, 0)
        }
    }

    /// Commits a batch and answers verdicts that can be compared.
    fn commit(
        &mut self,
        batch: &[Act],
        ends: &BTreeMap<u64, (u64, u64)>,
    ) -> Vec<Result<(usize, Vec<u64>), Refused>> {
        let writes = batch.iter().map(|act| self.write(act, ends)).collect();
        let verdicts = commit(&*self.journal, writes);
        let mut answers = Vec::new();
        for verdict in verdicts {
            answers.push(verdict.map(
                |Landed {
                     messages,
                     revisions,
                 }| {
                    self.sent.extend(&messages);
                    (messages.len(), revisions)
                },
            ));
        }
        answers
    }

    /// Everything that can be read, as text.
    fn dump(&self) -> String {
        let journal = &self.journal;
        let partitions = [0, 1, 2].map(Partition);
        let mut dump = String::new();
        let mut add = |what: &str, value: &dyn std::fmt::Debug| {
            dump.push_str(&format!("{what}: {value:?}\n"))
        };
        for number in 0..FEW {
            self.dump_execution(number, &mut add);
        }
        for partition in 0..3 {
            let found = wait(journal.messages(&cursors(&[partition]), 7)).expect("readable");
            add(
                "messages",
                &found
                    .iter()
                    .map(|message| (self.order(message.id), message.to))
                    .collect::<Vec<_>>(),
            );
        }
        for (list, status, limit) in [
            (List::Scope(SCOPE), None, 3),
            (List::Scope(SCOPE), Some(Status::Running), 9),
            (List::Scope(SCOPE), Some(Status::Failed), 2),
            (List::Version(ScopeId(1)), None, 9),
            (List::Version(ScopeId(0)), Some(Status::Running), 9),
            (List::Alias(ScopeId(1)), None, 9),
            (List::Alias(ScopeId(0)), Some(Status::Failed), 9),
        ] {
            let query = ListQuery {
                list,
                status,
                before: Some(place(4)),
                limit,
            };
            add("list", &wait(journal.list(query)));
        }
        add("hot", &wait(journal.hot(&partitions[..2], None, 9)));
        add(
            "due",
            &wait(journal.due(&partitions[1..], Timestamp(30), 9)),
        );
        add("next due", &wait(journal.next_due(&partitions)));
        for number in 0..6 {
            add("task", &wait(journal.open_task(token(number))));
            add(
                "activity",
                &wait(journal.activity_tasks(ScopeId(u64::from(number)), None, 3)),
            );
            add(
                "record",
                &wait(journal.get(&key("machine", &format!("record/{number}")))),
            );
            add("blob", &wait(journal.blob([number; 32])));
        }
        add(
            "scan",
            &wait(journal.scan("000000000000", "machine", "record/", Some("record/0"), 2)),
        );
        dump
    }

    fn dump_execution(&self, number: u64, add: &mut dyn FnMut(&str, &dyn std::fmt::Debug)) {
        let journal = &self.journal;
        let id = place(number);
        add("execution", &wait(journal.execution(id)));
        add("find", &wait(journal.find(SCOPE, &number.to_string())));
        add("look", &wait(journal.look(SCOPE, &number.to_string())));
        for start in [0, 1, 2, 4, 9] {
            for bytes_max in [0, 40, usize::MAX] {
                for range in [
                    SegmentRange::From { first: start },
                    SegmentRange::Forward { public: start },
                    SegmentRange::Backward { public: start },
                ] {
                    add("segments", &wait(journal.segments(id, range, bytes_max)));
                }
            }
        }
        add("last", &wait(journal.segments(id, SegmentRange::Last, 0)));
        let inbox = wait(journal.inbox(id)).expect("readable");
        add(
            "inbox",
            &inbox
                .iter()
                .map(|message| self.order(message.id))
                .collect::<Vec<_>>(),
        );
    }

    fn order(&self, id: MessageId) -> Option<usize> {
        self.sent.iter().position(|sent| *sent == id)
    }
}

/// Where the logs go on after a batch, by what the first store said.
fn advance(
    batch: &[Act],
    verdicts: &[Result<(usize, Vec<u64>), Refused>],
    ends: &mut BTreeMap<u64, (u64, u64)>,
) {
    for (act, verdict) in batch.iter().zip(verdicts) {
        if let (
            Act::Append {
                execution,
                events,
                public,
                ..
            },
            Ok(_),
        ) = (act, verdict)
        {
            let (next, next_public) = ends.get(execution).copied().unwrap_or((1, 1));
            ends.insert(
                *execution,
                (next + u64::from(*events), next_public + u64::from(*public)),
            );
        }
    }
}

fn compare(cases: u32, open: impl Fn() -> Vec<Arc<dyn Journal>>) {
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    };
    let sequence = prop::collection::vec(prop::collection::vec(acts(), 1..4), 1..25);
    let run = TestRunner::new(config).run(&sequence, |batches| {
        let mut stores: Vec<Store> = open().into_iter().map(Store::new).collect();
        let mut ends = BTreeMap::new();
        for batch in &batches {
            let answers: Vec<_> = stores
                .iter_mut()
                .map(|store| store.commit(batch, &ends))
                .collect();
            for other in &answers[1..] {
                prop_assert_eq!(&answers[0], other, "batch {:?}", batch);
            }
            advance(batch, &answers[0], &mut ends);
        }
        let dumps: Vec<String> = stores.iter().map(Store::dump).collect();
        for other in &dumps[1..] {
            for (one, other) in dumps[0].lines().zip(other.lines()) {
                prop_assert_eq!(one, other);
            }
        }
        Ok(())
    });
    run.expect("all stores answer alike");
}

#[test]
fn memory_and_sqlite_answer_alike() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let disk = crate::journal::SimDisk::new(1);
    let counter = std::cell::Cell::new(0);
    compare(150, || {
        let count = counter.get() + 1;
        counter.set(count);
        let path = directory.path().join(format!("{count}.sqlite"));
        let options = super::support::options(Some(disk.vfs_name()));
        let simulated = crate::journal::InlineJournal::open(&path, options).expect("opens");
        let mut stores: Vec<Arc<dyn Journal>> = vec![memory(), Arc::new(simulated)];
        if count == 1 {
            stores.push(inline(&path));
        }
        stores
    });
}

#[test]
fn memory_and_postgres_answer_alike() {
    with_postgres(|server| compare(25, || vec![memory(), server.journal()]));
}
