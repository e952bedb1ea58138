//! RedriveExecution, and what describing an execution says of it. Hides which part of the rule a row can tell and which
//! takes the execution's log.

use std::sync::Arc;

use stepwell_interp::{NotRedrivable, Redrive, RedrivenBy, Standing, Timestamp};
use tokio::sync::oneshot;

use crate::{
    api::{Caller, Redrivable, Status},
    arn,
    engine::Engine,
    error::{Code, Error},
    executions, functions,
    journal::ExecutionRow,
    node, reader,
    record::{self, Child, Meta},
    shard::{In, RedriveReply},
};

/// Why a caller cannot redrive the child of a map run.
const OF_MAP_RUN: &str = "Execution is a child of a Map Run and is redriven with it: redrive the execution of its parent";

impl Engine {
    /// Lets an execution that failed, timed out or was aborted go on with the states that did not succeed. Durable when
    /// this answers with the time of the redrive. The same token again within 15 minutes is the same call.
    pub async fn redrive(
        &self,
        caller: &Caller,
        arn: &str,
        token: Option<&str>,
    ) -> Result<Timestamp, Error> {
        let (row, _) = self.execution_row(caller, arn).await?;
        let meta: Meta = record::decode(&row.new.meta)?;
        // Only the log knows the tokens: the call may be one that was made before.
        let repeated = token.is_some() && row.view.redrive_count > 0 && !is_item(&meta);
        let standing = standing(&row, self.raised_limits(&caller.tenant));
        match self.redrivable(caller, &meta, standing).await? {
            Redrivable::Yes => {}
            Redrivable::No(why) if repeated && why != NotRedrivable::Deleting => {}
            Redrivable::ByMapRun => return Err(refused(OF_MAP_RUN)),
            Redrivable::No(why) => return Err(refused(&why.to_string())),
        }
        // It goes with the call, whatever becomes of who called.
        let place = match self.node().allowances.start(&caller.tenant) {
            Ok(place) => place,
            // What was redriven with the token has its place, or had it.
            Err(full) => {
                let before = match token {
                    Some(token) if repeated => self.redriven_before(&row, &meta, token).await?,
                    Some(_) | None => None,
                };
                return before.ok_or(full);
            }
        };
        let (reply, redriven) = oneshot::channel();
        let redrive = In::Redrive {
            execution: row.id,
            token: token.map(Into::into),
            reply: RedriveReply::new(reply, Some(place)),
        };
        self.node().send(row.id, redrive)?;
        match redriven.await {
            Ok(Ok(Ok(at))) => Ok(at),
            Ok(Ok(Err(why))) => Err(refused(&why.to_string())),
            Ok(Err(why)) => Err(executions::refusal(why)),
            Err(_) => Err(self.node().let_go()),
        }
    }

    /// When an execution was redriven by the same call. Reads its whole log.
    async fn redriven_before(
        &self,
        row: &ExecutionRow,
        meta: &Meta,
        token: &str,
    ) -> Result<Option<Timestamp>, Error> {
        let run = reader::folded(self.node().journal.as_ref(), row, meta).await?;
        let run = run.execution();
        let answer = run.map(|run| run.may_redrive(Some(token), RedrivenBy::Caller, node::now()));
        match answer {
            Some(Ok(Redrive::Before(at))) => Ok(Some(at)),
            Some(Ok(Redrive::Now) | Err(_)) | None => Ok(None),
        }
    }

    /// What describing an execution says of redriving it.
    pub(crate) async fn redrivable(
        &self,
        caller: &Caller,
        meta: &Meta,
        standing: Standing,
    ) -> Result<Redrivable, Error> {
        let of_map_run = is_item(meta);
        let check = match (of_map_run, &meta.express_run) {
            // It is started anew, whatever it has behind it.
            (true, Some(_)) => standing.failed_at.map(drop),
            (true, None) => standing.check(node::now()),
            (false, _) if standing.failed_at.is_ok() && self.is_gone(caller, meta).await? => {
                Err(NotRedrivable::Deleting)
            }
            (false, _) => standing.check(node::now()),
        };
        Ok(match check {
            Ok(()) if of_map_run => Redrivable::ByMapRun,
            Ok(()) => Redrivable::Yes,
            Err(why) => Redrivable::No(why),
        })
    }

    /// Whether its state machine is being deleted, or is by now.
    async fn is_gone(&self, caller: &Caller, meta: &Meta) -> Result<bool, Error> {
        let machine: Arc<str> = meta.machine_arn.clone();
        // That of a function's calls has no record: it is always there.
        if functions::is_of_events(&arn::machine(caller, &machine)?) {
            return Ok(false);
        }
        match self.startable(caller, &machine).await {
            Ok(_) => Ok(false),
            Err(Error::Rejected {
                code: Code::StateMachineDeleting | Code::StateMachineDoesNotExist,
                ..
            }) => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// Whether it is a child of a map run.
pub(crate) fn is_item(meta: &Meta) -> bool {
    let of = meta.parent.map(|parent| parent.of);
    matches!(of, Some(Child::Item { .. }))
}

/// What decides on the redrive of an execution, by its row.
pub(crate) fn standing(row: &ExecutionRow, raised_limits: bool) -> Standing {
    Standing {
        started_at: row.new.started_at,
        failed_at: match row.view.status {
            Status::Running => Err(NotRedrivable::Running),
            Status::Succeeded => Err(NotRedrivable::Succeeded),
            Status::Failed | Status::TimedOut | Status::Aborted => {
                Ok(row.view.stopped_at.unwrap_or(row.new.started_at))
            }
        },
        events: row.next_public.saturating_sub(1),
        raised_limits,
    }
}

fn refused(why: &str) -> Error {
    Error::rejected(Code::ExecutionNotRedrivable, why)
}
