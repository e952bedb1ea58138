//! How near executions are to their limits: told by their stored histories, and noticed while they run. Hides that the one
//! folds the log and the other remembers what was told.

use std::collections::BTreeSet;

use stepwell_interp::{Event, Limit, Run, Usage, usage};

use crate::{
    api::{Caller, ExecutionLimits},
    engine::Engine,
    error::Error,
    limits::NEAR_EVENTS_MAX,
    reader,
};

impl Engine {
    /// How near a STANDARD execution is to its limits. Reads its whole history.
    pub async fn limits(&self, caller: &Caller, arn: &str) -> Result<ExecutionLimits, Error> {
        let (row, _) = self.execution_row(caller, arn).await?;
        let mut account = Account::default();
        let journal = self.node().journal.as_ref();
        reader::each_event(journal, &row, |event| account.add(event)).await?;
        Ok(ExecutionLimits {
            raised: account.run.start().is_some_and(|start| start.raised_limits),
            usage: account.most,
            near: account.near,
        })
    }
}

/// What a history used of the limits.
#[derive(Default)]
struct Account {
    run: Run,
    most: Vec<Usage>,
    near: Vec<(u64, Usage)>,
    noticed: Noticed,
}

impl Account {
    fn add(&mut self, event: &Event) {
        self.run.evolve(event);
        let id = self.run.next_public_id().saturating_sub(1);
        let whole = self.run.usage();
        for usage in usage(event, self.run.limits()).into_iter().chain(whole) {
            match self.most.iter_mut().find(|most| most.limit == usage.limit) {
                Some(most) if most.used < usage.used => *most = usage,
                Some(_) => {}
                None => self.most.push(usage),
            }
            let once = matches!(usage.limit, Limit::History | Limit::Variables);
            let told = once && !self.noticed.is_new(&usage);
            if usage.is_near() && !told && self.near.len() < NEAR_EVENTS_MAX {
                self.near.push((id, usage));
            }
        }
    }
}

/// The limits that an execution was noticed to be near.
#[derive(Default)]
pub(crate) struct Noticed(BTreeSet<Limit>);

impl Noticed {
    /// The limits that these events, the last of the run, or the run itself came near and that were not noticed before.
    pub(crate) fn news<'a>(
        &mut self,
        events: impl Iterator<Item = &'a Event>,
        run: &Run,
    ) -> Vec<Usage> {
        let limits = run.limits();
        let of_events = events.flat_map(|event| usage(event, limits));
        of_events
            .chain(run.usage())
            .filter(|usage| self.is_new(usage))
            .collect()
    }

    fn is_new(&mut self, usage: &Usage) -> bool {
        usage.is_near() && self.0.insert(usage.limit)
    }
}
