//! Calls that tell what was used: by day, a page at a time, and by an execution, from its history.

use stepwell_asl::{Reply, Target};
use stepwell_interp::{Event, Stage, What};
use stepwell_query::Value;

use crate::{
    api::Caller,
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

    /// What a STANDARD execution used, as far as its history tells: neither CPU time nor memory. Large values, which may be
    /// others' as well, are not among what it stores. Its children are executions of their own. Reads all of its history.
    pub async fn execution_usage(&self, caller: &Caller, arn: &str) -> Result<Amounts, Error> {
        let (row, _) = self.execution_row(caller, arn).await?;
        let journal = self.node().journal.as_ref();
        let named = |error| reader::named(arn, error);
        let mut used = Amounts::default();
        let counted = reader::each_event(journal, &row, |event| count(&mut used, event));
        counted.await.map_err(named)?;
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
        Ok(used)
    }
}

fn count(used: &mut Amounts, event: &Event) {
    match &event.what {
        What::ExecutionStarted { .. } => used.add(Meter::Executions, 1),
        // What it begins with was done by the execution that it comes from.
        What::Forked { .. } => *used = Amounts::of(&[(Meter::Executions, 1)]),
        What::ExecutionRedriven { .. } => used.add(Meter::Redrives, 1),
        What::ExecutionSucceeded { .. }
        | What::ExecutionFailed { .. }
        | What::ExecutionTimedOut { .. }
        | What::ExecutionAborted { .. } => used.add(Meter::Ended, 1),
        What::StateEntered { .. } | What::RetryPlanned { .. } => used.add(Meter::Transitions, 1),
        What::Scheduled(scheduled) => {
            if let Some(part) = Part::of(&scheduled.resource.target) {
                used.add(Meter::BytesIn, part.bytes(&scheduled.parameters));
            }
        }
        What::Submitted { resource, output } => {
            answered(used, &resource.target, true, Some(output))
        }
        What::Succeeded { resource, output } => {
            answered(used, &resource.target, false, Some(output));
        }
        What::Failed {
            resource,
            stage: Stage::Run,
            ..
        }
        | What::TimedOut {
            resource,
            heartbeat: false,
            ..
        } => answered(used, &resource.target, false, None),
        What::Failed {
            resource,
            stage: Stage::Submit,
            ..
        } => answered(used, &resource.target, true, None),
        What::Failed { .. }
        | What::TimedOut { .. }
        | What::WaitPlanned { .. }
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

/// The end of an attempt, of its request alone when it was `submitted`; of a callback that is the plugin's end.
fn answered(used: &mut Amounts, target: &Target, submitted: bool, output: Option<&Value>) {
    if let Some(part) = Part::of(target).filter(|part| part.calls_back == submitted) {
        used.add(Meter::Tasks, 1);
        used.add(
            Meter::BytesOut,
            output.map_or(0, |output| part.bytes(output)),
        );
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
