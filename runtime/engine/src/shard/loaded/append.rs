//! What a turn is made durable by: the append, with its row, tokens and messages, and what waits for it.

use stepwell_interp::{Cancelled, ChildId, Effect, Event, TaskToken, Timestamp, encode_with};

use super::{
    super::{
        border::{Mode, StartReply},
        waiting::Given,
    },
    Loaded,
    flight::Flight,
    telling::NewId,
    turn::Taken,
};
use crate::{
    activities,
    journal::{
        Append, CloseTask, Epoch, ExecutionId, ExecutionRow, Look, MessageId, Meter, NewExecution,
        OpenTask, Segment, Status, StoredSegment, View,
    },
    limits::EVICT_AFTER_MS,
    outbox::Outbox,
    reader,
    record::{self, TaskKey},
    tokens,
};

/// What follows a turn.
pub(in crate::shard) enum Next {
    Append {
        append: Box<Append>,
        flight: Box<Flight>,
    },
    /// Nothing to make durable: the effects are free at once.
    Release(Box<Flight>),
    Nothing,
}

/// What the first append of an execution declared and held.
pub(super) struct Origin {
    new: NewExecution,
    first: StoredSegment,
}

impl Loaded {
    /// Turns what was taken into an append, or into effects that need none.
    pub(in crate::shard) fn next_append(
        &mut self,
        now: Timestamp,
        id: ExecutionId,
        epoch: Epoch,
        taken: Taken,
        new_id: &mut NewId,
        outbox: Option<&dyn Outbox>,
    ) -> Next {
        match self.mode {
            Mode::Durable => self.durable_append(now, id, epoch, taken, new_id, outbox),
            Mode::ExpressAsync => self.express_append(now, id, epoch, taken),
            Mode::ExpressSync => {
                if let Some((_, StartReply::Ended(reply, place))) = self.create.take() {
                    self.sync_reply = Some((reply, place));
                }
                self.spent.note(&taken.events);
                let moot = messages_of(&taken.inputs);
                let next = self.without_events(taken, moot);
                self.charged_at_the_end(next)
            }
        }
    }

    /// A synchronous execution appends nothing: what it used is told with its end.
    fn charged_at_the_end(&mut self, next: Next) -> Next {
        match next {
            Next::Release(mut flight) if self.run.ending().is_some() => {
                self.spent.one(Meter::Executions);
                self.spent.one(Meter::Ended);
                flight.charges = self.spent.take(&self.info, self.run.last_at());
                Next::Release(flight)
            }
            next @ (Next::Release(_) | Next::Append { .. } | Next::Nothing) => next,
        }
    }

    /// What recorded nothing still follows what did: with appends on their way, even a message that changed nothing
    /// is only then known to be moot when they are durable.
    fn without_events(&mut self, taken: Taken, moot: Vec<MessageId>) -> Next {
        let Taken {
            effects,
            orphans,
            redrives,
            ..
        } = taken;
        if effects.is_empty() && moot.is_empty() && redrives.is_empty() {
            return Next::Nothing;
        }
        if let Some(last) = self.in_flight.back_mut() {
            last.effects.extend(effects);
            last.moot.extend(moot);
            last.orphans.extend(orphans);
            last.redrives.extend(redrives);
            return Next::Nothing;
        }
        Next::Release(Box::new(Flight {
            effects,
            moot,
            orphans,
            redrives,
            durable: true,
            ..Flight::default()
        }))
    }

    fn durable_append(
        &mut self,
        now: Timestamp,
        id: ExecutionId,
        epoch: Epoch,
        mut taken: Taken,
        new_id: &mut NewId,
        outbox: Option<&dyn Outbox>,
    ) -> Next {
        let messages = messages_of(&taken.inputs);
        if taken.events.is_empty() {
            return self.without_events(taken, messages);
        }
        if taken.lazy && messages.is_empty() && self.create.is_none() {
            self.unflushed.extend(taken.events);
            self.unflushed_inputs.extend(taken.inputs);
            return Next::Nothing;
        }
        let first_public = self.unflushed_public;
        let mut events = std::mem::take(&mut self.unflushed);
        events.extend(taken.events);
        let mut inputs = std::mem::take(&mut self.unflushed_inputs);
        inputs.extend(taken.inputs);
        self.spent.note(&events);
        let view = self.view(now);
        let evict = (!view.hot && view.status == Status::Running).then_some(view.wake_at);
        let send = self.messages_of_map_runs(id, &mut taken.effects, new_id);
        let mut append = self.append(
            id,
            epoch,
            &events,
            view,
            (&taken.effects, &taken.unanswered, &taken.orphans),
            messages,
        );
        append.send.extend(send);
        if let Some(outbox) = outbox {
            append
                .send
                .extend(self.messages_to_outbox(id, &events, first_public, outbox));
        }
        let flight = Flight {
            closed: self.closed(&append),
            history: reader::public_entries(&events, first_public),
            sent: append.send.clone(),
            effects: taken.effects,
            inputs,
            started: self.create.take().map(|(_, reply)| reply),
            takes: taken.takes,
            redrives: taken.redrives,
            evict,
            ..Flight::default()
        };
        self.unflushed_public = self.run.next_public_id();
        Next::Append {
            append: Box::new(append),
            flight: Box::new(flight),
        }
    }

    /// What the store holds after an append that closes the execution, if all of it is known. Remembers the first one.
    fn closed(&mut self, append: &Append) -> Option<Box<Look>> {
        let stored = StoredSegment {
            first: append.expected_next,
            segment: append.segment.clone(),
        };
        if let Some(new) = &append.create {
            let (new, first) = (new.clone(), stored.clone());
            self.origin = Some(Box::new(Origin { new, first }));
        }
        let origin = self.origin.as_ref()?;
        if append.view.status == Status::Running {
            return None;
        }
        let row = ExecutionRow {
            id: append.execution,
            new: origin.new.clone(),
            view: append.view.clone(),
            next: self.next_position,
            next_public: self.run.next_public_id(),
        };
        Some(Box::new(Look {
            row,
            first: Some(origin.first.clone()),
            last: (stored.first != origin.first.first).then_some(stored),
        }))
    }

    /// The first append holds the start alone, the last one the end alone; between them nothing is kept.
    fn express_append(
        &mut self,
        now: Timestamp,
        id: ExecutionId,
        epoch: Epoch,
        taken: Taken,
    ) -> Next {
        let first = self.create.is_some();
        let ended = self.run.ending().is_some();
        let mut messages = messages_of(&taken.inputs);
        // It stays where it is until the end: what begins anew after a crash is told by it that it need not wait.
        messages.retain(|message| Some(*message) != self.admission);
        messages.extend(self.admission.filter(|_| ended));
        // A redrive begins it, too.
        let begins = first || taken.redriven;
        let earlier = self.spent.take_plugins(&self.info, self.run.last_at());
        self.spent.note(&taken.events);
        let mut kept = taken.events;
        let last = kept.pop().filter(|_| ended || (begins && kept.is_empty()));
        kept.truncate(usize::from(begins));
        kept.extend(last);
        if kept.is_empty() {
            self.spent.put_back(earlier);
            let taken = Taken {
                effects: taken.effects,
                ..Taken::default()
            };
            return self.without_events(taken, messages);
        }
        let view = View {
            hot: !ended,
            wake_at: None,
            ..self.view(now)
        };
        let mut append = self.append(id, epoch, &kept, view, (&[], &[], &[]), messages);
        append.charges.extend(earlier.iter().cloned());
        let flight = Flight {
            earlier,
            sent: append.send.clone(),
            effects: taken.effects,
            inputs: taken.inputs,
            started: self.create.take().map(|(_, reply)| reply),
            ..Flight::default()
        };
        Next::Append {
            append: Box::new(append),
            flight: Box::new(flight),
        }
    }

    fn append(
        &mut self,
        id: ExecutionId,
        epoch: Epoch,
        events: &[Event],
        view: View,
        (effects, unanswered, orphans): (&[Effect], &[TaskToken], &[ChildId]),
        consume: Vec<MessageId>,
    ) -> Append {
        let public = events.iter().filter(|event| event.what.is_public()).count();
        let mut segment = Segment {
            events: u32::try_from(events.len()).expect("a turn records fewer than 2^32 events"),
            first_public: self.unflushed_public,
            public: u32::try_from(public).expect("a turn records fewer than 2^32 events"),
            bytes: encode_with(events, &mut self.kept).into(),
        };
        reader::seal_segment(id, self.next_position, &mut segment);
        let (open, close) = self.tokens(id, effects, unanswered);
        let mut send = self.messages_to_send(id, effects, orphans);
        send.extend(self.messages_to_line(id, events));
        let mut append = Append {
            execution: id,
            epoch,
            expected_next: self.next_position,
            create: self.create.as_ref().map(|(new, _)| new.clone()),
            segment,
            blobs: self.kept.take_fresh(),
            view,
            open,
            close,
            send,
            consume,
            charges: Vec::new(),
        };
        let is_execution = self.run.execution().is_some();
        self.spent.append(events, &append, is_execution);
        append.charges = self.spent.take(&self.info, self.run.last_at());
        self.next_position += events.len() as u64;
        append
    }

    /// Rows of tokens that these effects open and close. One that opens and closes in the same turn has none. Whatever
    /// ends a task instead of its answer does so only while its row is there: an accepted answer is never lost.
    fn tokens(
        &self,
        id: ExecutionId,
        effects: &[Effect],
        unanswered: &[TaskToken],
    ) -> (Vec<OpenTask>, Vec<CloseTask>) {
        let mut open: Vec<OpenTask> = Vec::new();
        let mut close = Vec::new();
        for effect in effects {
            match effect {
                Effect::OpenToken {
                    task,
                    token,
                    activity,
                } => open.push(OpenTask {
                    token: tokens::hash(token),
                    execution: id,
                    task: record::encode(&TaskKey::from(*task)),
                    activity: activity.as_deref().map(activities::scope),
                    scheduled_at: self.run.last_at(),
                }),
                Effect::CancelTask {
                    token: Some(token),
                    why,
                    ..
                } => {
                    let token = tokens::hash(token);
                    let opened = open.len();
                    open.retain(|task| task.token != token);
                    if open.len() == opened {
                        close.push(CloseTask {
                            token,
                            must_exist: matches!(why, Cancelled::TimedOut),
                        });
                    }
                }
                Effect::CancelTask { token: None, .. }
                | Effect::Record(_)
                | Effect::RunTask(_)
                | Effect::Begin { .. }
                | Effect::StartMapRun(_)
                | Effect::RedriveMapRun { .. }
                | Effect::MapRun(_)
                | Effect::Again
                | Effect::Finish => {}
            }
        }
        for token in unanswered.iter().map(tokens::hash) {
            // What ended the task may have cancelled its token as well.
            if close.iter().all(|closed| closed.token != token) {
                close.push(CloseTask {
                    token,
                    must_exist: true,
                });
            }
        }
        (open, close)
    }

    /// The row after this turn. What stays in memory is hot: it must be loaded at the next start. What may sleep on
    /// disk has its wake-up time there instead.
    fn view(&self, now: Timestamp) -> View {
        let status = self.run.status();
        let closed = status != Status::Running;
        let timer = self.run.next_timer().map(|(due, _)| due);
        let far = timer.is_none_or(|due| due.since_ms(now) > EVICT_AFTER_MS);
        let settled = self.inbox.is_empty()
            && !self.goes_on
            && self.unsure.is_empty()
            && !self.is_unfinished()
            && !self.run.is_hot();
        let sleeps = !closed && far && settled && !self.heartbeat_seen;
        View {
            status,
            stopped_at: closed.then(|| self.run.last_at()),
            wake_at: if sleeps { timer } else { None },
            hot: !closed && !sleeps,
            redrive_count: self.run.redrives(),
            // The service tells it of STANDARD executions alone.
            redriven_at: self
                .run
                .redriven_at()
                .filter(|_| matches!(self.mode, Mode::Durable)),
        }
    }
}

fn messages_of(inputs: &[Given]) -> Vec<MessageId> {
    inputs.iter().filter_map(|given| given.message).collect()
}
