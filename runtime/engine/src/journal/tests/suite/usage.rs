//! Amounts.

use super::super::support::{begin, commit, epoch, id, land, proceed, wait};
use crate::journal::{Amounts, Append, Journal, Meter, Refused, UsageKey, UsageQuery, Write};

fn key(day: u32, tenant: &str, machine: &str, plugin: &str) -> UsageKey {
    UsageKey {
        day,
        tenant: tenant.into(),
        machine: machine.into(),
        plugin: plugin.into(),
    }
}

fn used(meter: Meter, count: u64) -> Amounts {
    let mut usage = Amounts::default();
    usage.add(meter, count);
    usage
}

fn all(journal: &dyn Journal) -> Vec<(UsageKey, Amounts)> {
    let query = UsageQuery {
        to: u32::MAX,
        limit: 100,
        ..UsageQuery::default()
    };
    wait(journal.usage(query)).expect("readable")
}

pub(super) fn lands_with_its_write(journal: &dyn Journal) {
    let epoch = epoch(journal);
    let charged = |append: Append, count| {
        Write::Append(Append {
            charges: vec![
                (key(1, "a", "m", ""), used(Meter::Transitions, count)),
                (key(1, "a", "m", "p"), used(Meter::CpuMicros, count)),
            ],
            ..append
        })
    };
    let batch = vec![
        charged(begin(id(1, 0), epoch, "one"), 2),
        // Refused: the name is taken.
        charged(begin(id(2, 0), epoch, "one"), 100),
        charged(proceed(id(1, 0), epoch, 3, 2), 3),
        Write::Charge(vec![(key(1, "a", "m", ""), used(Meter::Executions, 5))]),
    ];
    let verdicts = commit(journal, batch);
    assert!(matches!(verdicts[1], Err(Refused::NameTaken { .. })));
    let mut own = used(Meter::Transitions, 5);
    own.add(Meter::Executions, 5);
    let once = vec![
        (key(1, "a", "m", ""), own),
        (key(1, "a", "m", "p"), used(Meter::CpuMicros, 5)),
    ];
    assert_eq!(all(journal), once);
    // Another transaction adds to the same rows; an append that landed before lands no second time.
    land(journal, charged(proceed(id(1, 0), epoch, 4, 3), 1));
    let again = commit(journal, vec![charged(proceed(id(1, 0), epoch, 4, 3), 1)]);
    assert!(matches!(again[0], Err(Refused::WrongPosition { .. })));
    assert_eq!(all(journal)[0].1.get(Meter::Transitions), 6);
    assert_eq!(all(journal)[1].1.get(Meter::CpuMicros), 6);
    assert_eq!(own.open(), 5);
}

pub(super) fn pages(journal: &dyn Journal) {
    let mut keys = Vec::new();
    for day in 1..=3 {
        for tenant in ["a", "b"] {
            for plugin in ["", "p"] {
                keys.push(key(day, tenant, "m", plugin));
            }
        }
    }
    let charges = keys
        .iter()
        .map(|key| (key.clone(), used(Meter::Tasks, u64::from(key.day))));
    land(journal, Write::Charge(charges.collect()));
    let read = |tenant: Option<&str>, from, to, limit| {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let query = UsageQuery {
                tenant: tenant.map(Into::into),
                from,
                to,
                after,
                limit,
            };
            let page = wait(journal.usage(query)).expect("readable");
            assert!(page.len() <= limit as usize);
            let Some((last, _)) = page.last() else {
                return found;
            };
            after = Some(last.clone());
            found.extend(page.into_iter().map(|(key, _)| key));
        }
    };
    for limit in [1, 3, 100] {
        assert_eq!(read(None, 0, u32::MAX, limit), keys);
        assert_eq!(read(None, 2, 2, limit), keys[4..8]);
        let of_b: Vec<UsageKey> = keys[4..]
            .iter()
            .filter(|key| &*key.tenant == "b")
            .cloned()
            .collect();
        assert_eq!(read(Some("b"), 2, 3, limit), of_b);
        assert_eq!(read(Some("c"), 0, u32::MAX, limit), []);
        assert_eq!(read(None, 4, u32::MAX, limit), []);
    }
    let sums = wait(journal.usage_of_tenants()).expect("readable");
    let sum = used(Meter::Tasks, 12);
    assert!(!sums.is_partial);
    assert_eq!(sums.sums, vec![("a".into(), sum), ("b".into(), sum)]);
}
