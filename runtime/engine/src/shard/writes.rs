//! Writes on their way to the store, and what its verdict on each means.

use std::collections::HashMap;

use stepwell_interp::Timestamp;

use super::{
    Shard,
    border::{Out, StartReply, Ticket},
};
use crate::{
    journal::{Charges, ExecutionId, Message, MessageId, Outgoing, Refused, Verdict, Write},
    limits::RELOAD_AFTER_MS,
};

/// Whose the writes are that have no verdict.
#[derive(Default)]
pub(super) struct Writes {
    appends: HashMap<Ticket, ExecutionId>,
    /// Messages that no append carries, and those that are of no more use once they are sent.
    posts: HashMap<Ticket, (Outgoing, Vec<MessageId>)>,
    /// Usage that no append carries.
    pub(super) charges: HashMap<Ticket, Charges>,
    /// What appends charge for attempts whose execution is no longer in memory.
    spent: HashMap<Ticket, Charges>,
    last: u64,
}

impl Writes {
    pub(super) fn ticket(&mut self) -> Ticket {
        self.last += 1;
        Ticket(self.last)
    }

    /// The ticket of an execution's append.
    pub(super) fn append(&mut self, execution: ExecutionId) -> Ticket {
        let ticket = self.ticket();
        self.appends.insert(ticket, execution);
        ticket
    }

    /// Whether an append has no verdict yet.
    pub(super) fn is_under_way(&self, append: Ticket) -> bool {
        self.appends.contains_key(&append)
    }

    /// What an append charges for attempts, to be owed if it does not land.
    pub(super) fn keep_spent(&mut self, append: Ticket, spent: Charges) {
        if !spent.is_empty() {
            self.spent.insert(append, spent);
        }
    }

    /// Whether an append, or usage, is not yet acknowledged.
    pub(super) fn has_records(&self) -> bool {
        !self.appends.is_empty() || !self.charges.is_empty()
    }
}

impl Shard {
    pub(super) fn discard(&mut self, messages: Vec<MessageId>) {
        if !messages.is_empty() {
            let ticket = self.writes.ticket();
            self.out.push(Out::Commit {
                ticket,
                write: Write::Discard(messages),
            });
        }
    }

    /// Sends a message that no append carries; `moot` are discarded once it is sent.
    pub(super) fn post(&mut self, outgoing: Outgoing, moot: Vec<MessageId>) {
        let ticket = self.writes.ticket();
        self.writes.posts.insert(ticket, (outgoing.clone(), moot));
        self.out.push(Out::Commit {
            ticket,
            write: Write::Post(outgoing),
        });
    }

    pub(super) fn committed(&mut self, now: Timestamp, ticket: Ticket, verdict: Verdict) {
        let Some(execution) = self.writes.appends.remove(&ticket) else {
            let Some(verdict) = self.line_written(now, ticket, verdict) else {
                return;
            };
            return match self.writes.charges.remove(&ticket) {
                Some(charges) => self.paid(now, charges, verdict),
                None => self.posted(ticket, verdict),
            };
        };
        if let Some(spent) = self.writes.spent.remove(&ticket)
            && verdict.as_ref().is_err_and(has_not_landed)
        {
            self.owed.add(now, spent);
        }
        let Some(loaded) = self.loaded.get_mut(&execution) else {
            // Nobody waits for it any more, but for whom it sent messages to: they are in their inboxes.
            return;
        };
        match verdict {
            Ok(landed) => {
                let Some(flight) = loaded
                    .in_flight
                    .iter_mut()
                    .find(|flight| flight.ticket == ticket)
                else {
                    return;
                };
                flight.durable = true;
                let place = flight.take_place();
                let allowances = &self.environment.allowances;
                allowances.landed(&loaded.info.tenant, &flight.counted, place);
                flight.landed = landed.messages;
                let mut durable = Vec::new();
                while loaded
                    .in_flight
                    .front()
                    .is_some_and(|flight| flight.durable)
                {
                    durable.extend(loaded.in_flight.pop_front());
                }
                self.release(now, execution, durable);
                // What it could not go on with until then.
                if let Some(loaded) = self.loaded.get(&execution)
                    && loaded.has_work()
                {
                    self.ready.push(&loaded.info.tenant, execution);
                }
            }
            Err(refused) => self.append_failed(now, execution, refused),
        }
    }

    /// A message that no append carried is in its inbox. One that is not is sent again when what led to it is seen
    /// again.
    fn posted(&mut self, ticket: Ticket, verdict: Verdict) {
        let Some((outgoing, moot)) = self.writes.posts.remove(&ticket) else {
            return;
        };
        match verdict {
            Ok(landed) => {
                self.announce(&[outgoing], landed.messages);
                self.discard(moot);
            }
            Err(refused) => tracing::error!(%refused, "a message could not be sent"),
        }
    }

    pub(super) fn announce(&mut self, sent: &[Outgoing], landed: Vec<MessageId>) {
        let messages = sent.iter().zip(landed);
        self.out.extend(messages.map(|(outgoing, id)| {
            Out::Announce(Message {
                id,
                to: outgoing.to,
                payload: outgoing.payload.clone(),
            })
        }));
    }

    /// The run in memory is ahead of the store: drop it, and unless the partition is lost, fold it anew and give it
    /// its inputs again.
    fn append_failed(&mut self, now: Timestamp, execution: ExecutionId, refused: Refused) {
        let Some(mut loaded) = self.forget(now, execution) else {
            return;
        };
        let has_not_landed = has_not_landed(&refused);
        for flight in &mut loaded.in_flight {
            self.writes.appends.remove(&flight.ticket);
            if has_not_landed && !flight.durable {
                self.owed.add(now, std::mem::take(&mut flight.earlier));
            } else {
                // It may have been charged.
                drop(flight.take_spent());
            }
        }
        if matches!(refused, Refused::Broken(_)) {
            loaded.refuse_redrives(&refused);
            self.environment.feed.doubt(&loaded.info.machine_arn);
            if self.environment.outbox.is_some() {
                self.out.push(Out::Doubt(execution));
            }
        }
        let first = loaded
            .in_flight
            .iter_mut()
            .find_map(|flight| flight.started.take())
            .or(loaded.take_reply());
        if let Some(StartReply::Nobody) = first {
            // The message that began it is there: it begins again, unless its name is taken for good.
            if matches!(refused, Refused::NameTaken { .. }) {
                tracing::error!(execution = execution.0, %refused, "an execution cannot begin");
                self.discard(loaded.messages());
                return;
            }
        } else if let Some(reply) = first {
            let unknown = matches!(refused, Refused::Broken(_));
            reply.refuse(refused);
            if unknown {
                // It may have landed all the same: the store knows.
                self.loading.insert(execution, Vec::new());
                self.reloads.insert(now.plus_ms(RELOAD_AFTER_MS), execution);
            }
            return;
        }
        let delay_ms = match refused {
            Refused::LeaseLost if !self.leases.hold(execution) => {
                self.drop_execution(now, execution, loaded);
                return;
            }
            // A lease that was lost and taken again has a new epoch by now.
            Refused::LeaseLost | Refused::Full(_) | Refused::Broken(_) => RELOAD_AFTER_MS,
            Refused::NameTaken { .. }
            | Refused::WrongPosition { .. }
            | Refused::TokenGone
            | Refused::MessageGone
            | Refused::Conflict { .. } => 0,
        };
        tracing::debug!(execution = execution.0, %refused, "an append was refused; folding anew");
        self.loading.insert(execution, loaded.inputs_again());
        self.reloads.insert(now.plus_ms(delay_ms), execution);
    }
}

/// Whether an append that was refused is known not to have landed; none that was behind it has, either.
fn has_not_landed(refused: &Refused) -> bool {
    match refused {
        Refused::Broken(_) => false,
        Refused::LeaseLost
        | Refused::Full(_)
        | Refused::NameTaken { .. }
        | Refused::WrongPosition { .. }
        | Refused::TokenGone
        | Refused::MessageGone
        | Refused::Conflict { .. } => true,
    }
}
