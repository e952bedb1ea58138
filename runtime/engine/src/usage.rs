//! Calls that tell what was used: by day, a page at a time, and by an execution, from its history.

use std::collections::BTreeMap;

use stepwell_asl::{Reply, Target};
use stepwell_interp::{Event, Place, Stage, What};
use stepwell_query::Value;

use crate::{
    api::Caller,
    attempt::amounts,
    engine::Engine,
    error::Error,
    journal::{Amounts, Meter, SegmentRange, UsageKey, UsageQuery},
    limits::READ_BYTES_MAX,
    reader,
};

impl Engine {
    /// What was used from one day to another, both included, by a tenant or by all: days since 1970-01-01, UTC. In order of
    /// day, tenant, state machine and plugin, from behind `after` on; fewer than `limit` when there is no more.
    pub async fn usage(
        &self,
        tenant: Option<&str>,
        (from, to): (u32, u32),
        after: Option<UsageKey>,
        limit: u32,
    ) -> Result<Vec<(UsageKey, Amounts)>, Error> {
        let query = UsageQuery {
            tenant: tenant.map(Into::into),
            from,
            to,
            after,
            limit,
        };
        let page = self.node().journal.usage(query).await;
        page.map_err(reader::broken)
    }

    /// What a STANDARD execution used, as far as its history tells. Large values, which may be others' as well, are not
    /// among what it stores. Its children are executions of their own. Reads all of its history.
    pub async fn execution_usage(&self, caller: &Caller, arn: &str) -> Result<ExecutionUse, Error> {
        let (row, _) = self.execution_row(caller, arn).await?;
        let journal = self.node().journal.as_ref();
        let named = |error| reader::named(arn, error);
        let mut account = Account::default();
        let counted = reader::each_event(journal, &row, |event| account.count(event));
        counted.await.map_err(named)?;
        let Account {
            mut used,
            unmeasured,
            ..
        } = account;
        let mut first = 1;
        while first < row.next {
            let range = SegmentRange::From { first };
            let page = journal.segments(row.id, range, READ_BYTES_MAX).await;
            let page = page.map_err(reader::broken)?;
            let of_it = page.iter().filter(|segment| segment.first < row.next);
            let before = first;
            for stored in of_it {
                used.add(Meter::BytesStored, stored.segment.bytes.len() as u64);
                first = stored.first + u64::from(stored.segment.events);
            }
            if first == before {
                break;
            }
        }
        Ok(ExecutionUse { used, unmeasured })
    }
}

/// What an execution used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExecutionUse {
    pub used: Amounts,
    /// Attempts that are counted and of which the history tells neither time nor memory: no plugin came to run, they were
    /// cut off, or a version ran them that did not measure.
    pub unmeasured: u64,
}

/// The fold of a history to what was used.
#[derive(Default)]
struct Account {
    used: Amounts,
    unmeasured: u64,
    /// Bytes of the input of the attempt at a place; none once it was measured.
    given: BTreeMap<Place, u64>,
}

impl Account {
    fn count(&mut self, event: &Event) {
        match &event.what {
            What::ExecutionStarted { .. } => self.used.add(Meter::Executions, 1),
            // What it begins with was done by the execution that it comes from.
            What::Forked { .. } => {
                *self = Account {
                    used: Amounts::of(&[(Meter::Executions, 1)]),
                    ..Account::default()
                }
            }
            What::ExecutionRedriven { .. } => self.used.add(Meter::Redrives, 1),
            What::ExecutionSucceeded { .. }
            | What::ExecutionFailed { .. }
            | What::ExecutionTimedOut { .. }
            | What::ExecutionAborted { .. } => self.used.add(Meter::Ended, 1),
            What::StateEntered { .. } | What::RetryPlanned { .. } => {
                self.used.add(Meter::Transitions, 1);
            }
            What::Scheduled(_)
            | What::Used { .. }
            | What::Submitted { .. }
            | What::Succeeded { .. }
            | What::Failed { .. }
            | What::TimedOut { .. } => self.count_attempt(&event.place, &event.what),
            What::WaitPlanned { .. }
            | What::Redispatched { .. }
            | What::Begins
            | What::StateExited { .. }
            | What::StateAborted { .. }
            | What::StateFailed { .. }
            | What::EvaluationFailed { .. }
            | What::Started { .. }
            | What::ParallelStarted { .. }
            | What::MapStarted { .. }
            | What::FlowsSucceeded { .. }
            | What::FlowsFailed { .. }
            | What::IterationStarted { .. }
            | What::IterationSucceeded { .. }
            | What::IterationFailed { .. }
            | What::IterationAborted { .. }
            | What::BranchFailed { .. }
            | What::BranchAborted { .. }
            | What::ChildStarted { .. }
            | What::DistributedMapStarted { .. }
            | What::MapRunStarted { .. }
            | What::MapRunRedriven { .. }
            | What::MapRunSucceeded { .. }
            | What::MapRunFailed { .. }
            | What::MapRunAborted
            | What::MapRun(_) => {}
        }
    }

    /// An event of an attempt.
    fn count_attempt(&mut self, place: &Place, what: &What) {
        if let What::Scheduled(scheduled) = what {
            if let Some(part) = Part::of(&scheduled.resource.target) {
                let bytes = part.bytes(&scheduled.parameters);
                self.given.insert(place.clone(), bytes);
            }
        } else if let What::Used { measures, .. } = what {
            self.given.remove(place);
            self.used += amounts(measures);
        } else if let What::Submitted { resource, output } = what {
            self.answered(place, &resource.target, true, Some(output));
        } else if let What::Succeeded { resource, output } = what {
            self.answered(place, &resource.target, false, Some(output));
        } else if let What::Failed {
            resource,
            stage: stage @ (Stage::Run | Stage::Submit),
            ..
        } = what
        {
            let submitted = *stage == Stage::Submit;
            self.answered(place, &resource.target, submitted, None);
        } else if let What::TimedOut {
            resource,
            heartbeat: false,
            ..
        } = what
        {
            self.answered(place, &resource.target, false, None);
        }
    }

    /// The end of an attempt, of its request alone when it was `submitted`; of a callback that is the plugin's end. One
    /// that was measured is counted by then.
    fn answered(
        &mut self,
        place: &Place,
        target: &Target,
        submitted: bool,
        output: Option<&Value>,
    ) {
        let Some(part) = Part::of(target).filter(|part| part.calls_back == submitted) else {
            return;
        };
        let Some(given) = self.given.remove(place) else {
            return;
        };
        self.unmeasured += 1;
        self.used.add(Meter::Tasks, 1);
        self.used.add(Meter::BytesIn, given);
        let given_back = output.map_or(0, |output| part.bytes(output));
        self.used.add(Meter::BytesOut, given_back);
    }
}

/// What of a task's parameters and result a plugin got and gave.
#[derive(Clone, Copy)]
struct Part {
    /// It lies in an envelope.
    enveloped: bool,
    /// Its end is a callback's; the plugin's is that of the request.
    calls_back: bool,
}

impl Part {
    /// `None` of a task that no plugin serves.
    fn of(target: &Target) -> Option<Part> {
        match target {
            Target::LambdaFunction { .. } | Target::Wasm { .. } => Some(Part {
                enveloped: false,
                calls_back: false,
            }),
            Target::LambdaInvoke(reply) => Some(Part {
                enveloped: true,
                calls_back: matches!(reply, Reply::TaskToken),
            }),
            Target::Activity { .. }
            | Target::StartExecution(_)
            | Target::HttpInvoke
            | Target::Service { .. }
            | Target::AwsSdk { .. } => None,
        }
    }

    fn bytes(self, value: &Value) -> u64 {
        let value = match self.enveloped {
            true => value.get("Payload"),
            false => Some(value),
        };
        value.map_or(0, |value| value.json_bytes() as u64)
    }
}
