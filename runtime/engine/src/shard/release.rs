//! What follows when events are durable: answers, dispatches, messages, and that an execution leaves memory.

use stepwell_interp::{Effect, Input, MapRunEffect, TaskRequest, Timestamp};

use super::{
    Shard,
    border::{MapRunRequest, Out},
    loaded::{Flight, Loaded},
};
use crate::{
    children,
    journal::{ExecutionId, Look},
};

impl Shard {
    /// Acts on durable events: dispatches, answers, tells watchers; forgets what is closed or may sleep on disk.
    pub(super) fn release(&mut self, now: Timestamp, execution: ExecutionId, flights: Vec<Flight>) {
        for flight in flights {
            // Before anyone hears of it.
            self.remember(execution, flight.closed);
            for change in flight.changes {
                self.environment.feed.push(change);
            }
            if let Some(reply) = flight.started {
                reply.started();
            }
            for (reply, grant) in flight.takes {
                let _ = reply.send(Some(grant));
            }
            for call in flight.redrives {
                call.reply.tell(Ok(call.answer));
            }
            self.audience.show(execution, &flight.history);
            self.log(execution, flight.history);
            self.log(execution, flight.logged);
            for effect in flight.effects {
                self.act(now, execution, effect);
            }
            self.announce(&flight.sent, flight.landed);
            match flight.orphans.as_slice() {
                [] => self.discard(flight.moot),
                [orphans @ .., last] => {
                    for child in orphans {
                        self.post(children::stop(*child), Vec::new());
                    }
                    self.post(children::stop(*last), flight.moot);
                }
            }
            if let Some(wake_at) = flight.evict {
                self.evict(now, execution, wake_at);
            }
        }
    }

    /// Keeps what the store holds of an execution that is closed.
    fn remember(&mut self, execution: ExecutionId, closed: Option<Box<Look>>) {
        let recent = &self.environment.recent;
        match (closed, self.leases.epoch(execution)) {
            (Some(look), Some(epoch)) => recent.put(epoch, *look),
            (Some(_), None) | (None, _) => recent.forget(execution),
        }
    }

    fn act(&mut self, now: Timestamp, execution: ExecutionId, effect: Effect) {
        match effect {
            Effect::RunTask(request) => self.dispatch(execution, request),
            Effect::Begin { task } => self.out.push(Out::Begin { execution, task }),
            Effect::OpenToken { task, activity, .. } => {
                if let (Some(activity), Some(loaded)) = (activity, self.loaded.get(&execution)) {
                    let info = loaded.info.clone();
                    self.out.push(Out::ActivityOpened {
                        execution,
                        info,
                        task,
                        activity,
                    });
                }
            }
            Effect::CancelTask { task, .. } => {
                if self.attempts.end(execution, task) {
                    self.out.push(Out::Cancel { execution, task });
                }
            }
            Effect::MapRun(effect) => {
                let request = self
                    .loaded
                    .get(&execution)
                    .and_then(|map_run| request(map_run, *effect));
                self.out.extend(request.map(|request| Out::MapRun {
                    map_run: execution,
                    request: Box::new(request),
                }));
            }
            Effect::Finish => self.finish(now, execution),
            // The append carried the message.
            Effect::StartMapRun(_) | Effect::RedriveMapRun { .. } => {}
            // Recorded events were acted upon by the append itself; `Again` by the turn.
            Effect::Record(_) | Effect::Again => {}
        }
    }

    fn dispatch(&mut self, execution: ExecutionId, request: TaskRequest) {
        let Some(loaded) = self.loaded.get(&execution) else {
            return;
        };
        // The run is ahead of what is durable: a later turn may have ended the attempt already.
        if loaded.run.open_task(request.task).is_none() {
            return;
        }
        let (info, request) = (loaded.info.clone(), Box::new(request));
        let fresh = self.leases.are_fresh();
        let out = self.attempts.begin(execution, info, request, fresh);
        self.out.extend(out);
    }

    fn finish(&mut self, now: Timestamp, execution: ExecutionId) {
        let Some(mut loaded) = self.forget(now, execution) else {
            return;
        };
        if loaded.run.map_run().is_some() {
            self.out.push(Out::MapRunOver(execution));
        } else {
            self.counters.closed(loaded.run.ending());
        }
        let inbox = Vec::from(std::mem::take(&mut loaded.inbox));
        let mut moot = Vec::new();
        for waiting in inbox.iter().filter(|waiting| !waiting.is_redrive()) {
            match (&waiting.input, waiting.message) {
                (Input::ChildStarted { child, .. }, Some(id)) => {
                    self.post(children::stop(*child), vec![id]);
                }
                (_, message) => moot.extend(message),
            }
        }
        loaded.end();
        self.discard(moot);
        self.audience.close(execution);
        self.refuse_or_reopen(now, execution, inbox, true);
    }

    fn evict(&mut self, now: Timestamp, execution: ExecutionId, wake_at: Option<Timestamp>) {
        let idle = self.loaded.get(&execution).is_some_and(Loaded::is_idle);
        if idle {
            self.forget(now, execution);
        }
        if let Some(wake_at) = wake_at {
            self.out.push(Out::WakeAt(wake_at));
        }
    }

    /// Forgets an execution that was folded to be redriven and is still closed.
    pub(super) fn put_away(&mut self, now: Timestamp, execution: ExecutionId) {
        let left = self.loaded.get(&execution);
        if left.is_some_and(Loaded::is_left_closed) {
            self.forget(now, execution);
            self.audience.close(execution);
        }
    }
}

/// What a map run wants of the object storage.
fn request(map_run: &Loaded, effect: MapRunEffect) -> Option<MapRunRequest> {
    let run = map_run.run.map_run()?;
    let (start, redrive) = (run.start()?.clone(), run.redrives());
    let tenant = map_run.info.tenant.clone();
    match effect {
        MapRunEffect::Read {
            cursor,
            skip,
            first,
        } => Some(MapRunRequest::Read {
            start,
            program: map_run.program.clone(),
            tenant,
            cursor,
            skip,
            first,
        }),
        MapRunEffect::WritePart {
            kind,
            number,
            results,
            executions,
            items,
        } => Some(MapRunRequest::WritePart {
            start,
            tenant,
            kind,
            number,
            results,
            executions,
            items,
            redrive,
        }),
        MapRunEffect::WriteManifest { parts } => Some(MapRunRequest::WriteManifest {
            start,
            tenant,
            parts,
            redrive,
        }),
        MapRunEffect::Start(_)
        | MapRunEffect::Stop(_)
        | MapRunEffect::Redrive(_)
        | MapRunEffect::Tell { .. }
        | MapRunEffect::TellBegun => None,
    }
}
