//! Calls that start an EXPRESS execution and wait for its end. Hides that nothing durable tells of it, and what it is billed.

use std::sync::Arc;

use stepwell_interp::{Ending, NotRedrivable};
use tokio::sync::oneshot;

use super::{starting::Starting, wrong_type};
use crate::{
    api::{Caller, Execution, Redrivable, StartRequest, Status, SyncResult},
    engine::Engine,
    error::Error,
    quotas::{Allowances, StartPlace},
    shard::{In, Mode, StartReply, SyncEnd},
};

/// Milliseconds of wall time that a synchronous execution is billed in steps of.
const BILLED_STEP_MS: u64 = 100;
/// Megabytes of memory that a synchronous execution is billed in steps of.
const BILLED_STEP_MB: u64 = 64;

/// How a synchronous execution takes its place.
type TakePlace = fn(&Arc<Allowances>, &Arc<str>) -> Result<StartPlace, Error>;

impl Engine {
    /// Runs an EXPRESS execution and answers with its end. A failed workflow is an answer, not an error.
    pub async fn start_sync(
        &self,
        caller: &Caller,
        request: StartRequest,
    ) -> Result<SyncResult, Error> {
        self.run_sync(caller, request, Allowances::start).await
    }

    /// The same for a task of another execution, which waits for it.
    pub(crate) async fn start_sync_nested(
        &self,
        caller: &Caller,
        request: StartRequest,
    ) -> Result<SyncResult, Error> {
        self.admit(&caller.tenant, "StartSyncExecution")?;
        self.run_sync(caller, request, Allowances::start_nested)
            .await
    }

    async fn run_sync(
        &self,
        caller: &Caller,
        request: StartRequest,
        place: TakePlace,
    ) -> Result<SyncResult, Error> {
        let mut starting = self.starting(caller, request).await?;
        if !starting.startable.express {
            return Err(wrong_type());
        }
        self.line_up(caller, &mut starting).await?;
        let reservation = self.place_in_line(caller, &starting, true).await?;
        // It does not wait, and nothing durable is to tell of it.
        starting.line = None;
        let place = place(&self.node().allowances, &caller.tenant)?.with(reservation);
        let (reply, ended) = oneshot::channel();
        let (execution_arn, begin) = self.begin(
            caller,
            &starting,
            Mode::ExpressSync,
            StartReply::Ended(reply, Some(place)),
        );
        self.node().send(starting.id, In::Start(Box::new(begin)))?;
        let end = ended
            .await
            .map_err(|_| Error::Busy("the server is shutting down".to_owned()))?;
        let duration_ms = end.stopped_at.since_ms(starting.at);
        let memory_steps = end.memory_bytes_max.div_ceil(BILLED_STEP_MB << 20).max(1);
        Ok(SyncResult {
            execution: starting.ended(execution_arn, end),
            billed_duration_ms: duration_ms.div_ceil(BILLED_STEP_MS).max(1) * BILLED_STEP_MS,
            billed_memory_mb: memory_steps * BILLED_STEP_MB,
        })
    }
}

impl Starting {
    /// A synchronous execution as it ended.
    fn ended(self, arn: Arc<str>, end: SyncEnd) -> Execution {
        let (status, output, error, cause) = match end.ending {
            Ending::Succeeded { output } => (Status::Succeeded, Some(output), None, None),
            Ending::Failed { error, cause } => (Status::Failed, None, error, cause),
            Ending::TimedOut { error, cause } => (Status::TimedOut, None, error, cause),
            Ending::Aborted { error, cause } => (Status::Aborted, None, error, cause),
        };
        Execution {
            arn,
            machine_arn: self.startable.arn.clone(),
            version_arn: self.version_arn(),
            alias_arn: self.alias_arn(),
            name: self.name,
            status,
            started_at: self.at,
            stopped_at: Some(end.stopped_at),
            input: self.input,
            output,
            error,
            cause,
            trace_header: self.trace_header,
            map_run_arn: None,
            forked_from: None,
            redrive_count: 0,
            redriven_at: None,
            redrivable: Redrivable::No(NotRedrivable::Express),
            pending_redrive: false,
            waiting: None,
        }
    }
}
