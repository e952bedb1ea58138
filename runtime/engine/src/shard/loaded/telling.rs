//! What an execution or a map run tells others in an append: parents, children, map runs. Hides which effects are
//! messages.

use stepwell_interp::{ChildId, Effect, Event, MapRun, MapRunEffect, Run, Timestamp, What};

use super::{Loaded, spent::own};
use crate::{
    children,
    journal::{ExecutionId, Outgoing, Status},
    map_run,
    observer::is_repeated,
    outbox::Outbox,
    record::{self, InLine, InboxItem, LineItem, LineMachine, StatusItem},
};

/// Draws a fresh id on the partition of an execution.
pub(in crate::shard) type NewId = dyn FnMut(ExecutionId, Timestamp) -> ExecutionId + Send;

impl Loaded {
    /// What the execution tells others: its parent of its start and end, its children of their tasks' end.
    pub(super) fn messages_to_send(
        &self,
        id: ExecutionId,
        effects: &[Effect],
        orphans: &[ChildId],
    ) -> Vec<Outgoing> {
        let started = self.create.is_some();
        let run = self.run.execution();
        let news = run.map(|run| children::news(id, &self.info, run, started));
        let mut send = news.unwrap_or_default();
        let stopped = effects.iter().filter_map(|effect| match effect {
            Effect::CancelTask { child, .. } => *child,
            Effect::Record(_)
            | Effect::RunTask(_)
            | Effect::Begin { .. }
            | Effect::OpenToken { .. }
            | Effect::StartMapRun(_)
            | Effect::RedriveMapRun { .. }
            | Effect::MapRun(_)
            | Effect::Again
            | Effect::Finish => None,
        });
        send.extend(stopped.chain(orphans.iter().copied()).map(children::stop));
        send
    }

    /// What the line that it stands in is told by these events.
    pub(super) fn messages_to_line(&self, id: ExecutionId, events: &[Event]) -> Vec<Outgoing> {
        let Some(InLine { line, key, .. }) = &self.info.line else {
            return Vec::new();
        };
        let (execution, key) = (id.0, key.clone());
        let machine = || LineMachine {
            tenant: self.info.tenant.clone(),
            arn: self.info.machine_arn.clone(),
        };
        let asks = self.create.is_some().then(|| LineItem::Asks {
            execution,
            key: key.clone(),
            since_ms: self.run.last_at().0,
            machine: machine(),
        });
        let redriven = |event: &Event| matches!(event.what, What::ExecutionRedriven { .. });
        let rejoins = own(events).iter().any(redriven).then(|| LineItem::Rejoins {
            execution,
            key: key.clone(),
            machine: machine(),
        });
        let leaves = self
            .run
            .is_closed()
            .then_some(LineItem::Leaves { execution });
        let news = [asks, rejoins, leaves].into_iter().flatten();
        news.map(|item| Outgoing {
            to: ExecutionId(*line),
            payload: record::encode(&InboxItem::Line(item)),
        })
        .collect()
    }

    /// What the outbox is told: each change of the status that somebody wants to hear of. What a fork repeats is none.
    pub(super) fn messages_to_outbox(
        &self,
        id: ExecutionId,
        events: &[Event],
        first_public: u64,
        outbox: &dyn Outbox,
    ) -> Vec<Outgoing> {
        let Some(start) = self.run.execution().and_then(Run::start) else {
            return Vec::new();
        };
        let public = events.iter().filter(|event| event.what.is_public());
        let numbered = public.zip(first_public..);
        let changes = numbered.filter_map(|(event, number)| {
            let status = status_after(&event.what)?;
            (!is_repeated(start, number)).then_some((status, number, event.at))
        });
        let mut send = Vec::new();
        for (status, event, at) in changes {
            let queues = outbox.queues(&self.info.tenant, status).into_iter();
            send.extend(queues.map(|queue| {
                let item = StatusItem {
                    queue,
                    tenant: self.info.tenant.clone(),
                    execution: id.0,
                    event,
                    status: status as u8,
                    at_ms: at.0,
                    redrives: self.run.redrives(),
                    redriven_ms: self.run.redriven_at().map(|at| at.0),
                };
                Outgoing {
                    to: id.outbox(),
                    payload: record::encode(&InboxItem::Status(item)),
                }
            }));
        }
        send
    }

    /// What these effects tell map runs, their children and their parents, taken out of them.
    pub(super) fn messages_of_map_runs(
        &self,
        id: ExecutionId,
        effects: &mut Vec<Effect>,
        new_id: &mut NewId,
    ) -> Vec<Outgoing> {
        let (at, info) = (self.run.last_at(), &self.info);
        let start = self.run.map_run().and_then(MapRun::start);
        let mut send = Vec::new();
        let mut kept = Vec::new();
        for effect in std::mem::take(effects) {
            match effect {
                Effect::StartMapRun(start) => {
                    let to = new_id(id, at);
                    send.push(map_run::begin(
                        id,
                        info,
                        to,
                        at,
                        self.run.redrives(),
                        *start,
                    ));
                }
                Effect::RedriveMapRun { map_run, redrive } => {
                    send.push(map_run::redrive(map_run, redrive));
                }
                Effect::MapRun(effect) => match *effect {
                    MapRunEffect::Start(child) => send.extend(start.map(|start| {
                        map_run::begin_child(id, info, &self.program, start, at, child)
                    })),
                    MapRunEffect::Stop(child) => send.push(children::stop(child)),
                    MapRunEffect::Redrive(child) => send.push(children::redrive(child)),
                    MapRunEffect::TellBegun => send.extend(map_run::tell_begun(id, info, at)),
                    MapRunEffect::Tell { ending, redrive } => {
                        send.extend(map_run::tell_ended(info, &ending, redrive));
                    }
                    own @ (MapRunEffect::Read { .. }
                    | MapRunEffect::WritePart { .. }
                    | MapRunEffect::WriteManifest { .. }) => {
                        kept.push(Effect::MapRun(Box::new(own)));
                    }
                },
                other @ (Effect::Record(_)
                | Effect::RunTask(_)
                | Effect::Begin { .. }
                | Effect::OpenToken { .. }
                | Effect::CancelTask { .. }
                | Effect::Again
                | Effect::Finish) => kept.push(other),
            }
        }
        *effects = kept;
        send
    }
}

/// The status that an event changes an execution's to.
fn status_after(what: &What) -> Option<Status> {
    let begins = matches!(
        what,
        What::ExecutionStarted { .. } | What::ExecutionRedriven { .. }
    );
    begins.then_some(Status::Running).or_else(|| ended_as(what))
}

fn ended_as(what: &What) -> Option<Status> {
    if matches!(what, What::ExecutionSucceeded { .. }) {
        Some(Status::Succeeded)
    } else if matches!(what, What::ExecutionFailed { .. }) {
        Some(Status::Failed)
    } else if matches!(what, What::ExecutionTimedOut { .. }) {
        Some(Status::TimedOut)
    } else if matches!(what, What::ExecutionAborted { .. }) {
        Some(Status::Aborted)
    } else {
        None
    }
}
