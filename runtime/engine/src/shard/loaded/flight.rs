//! Appends on their way, and what becomes of all that hangs on them when they do not land.

use stepwell_interp::{ChildId, Effect, Input, Timestamp};

use super::{
    super::{
        border::{ActivityGrant, StartReply, TakeReply, Ticket},
        waiting::{Given, Redriving, Waiting},
    },
    Loaded,
};
use crate::{
    api::HistoryEntry,
    feed::MachineChange,
    journal::{Amounts, Charges, Look, MessageId, Outgoing, Refused, UsageKey},
    quotas::StartPlace,
};

/// An append on its way, with what waits for it.
#[derive(Default)]
pub(in crate::shard) struct Flight {
    pub(in crate::shard) ticket: Ticket,
    pub(in crate::shard) durable: bool,
    pub(in crate::shard) effects: Vec<Effect>,
    /// The inputs it came from, for another try.
    pub(super) inputs: Vec<Given>,
    /// What its append charges for attempts that ended with none of these inputs.
    pub(in crate::shard) earlier: Charges,
    pub(in crate::shard) started: Option<StartReply>,
    pub(in crate::shard) takes: Vec<(TakeReply, ActivityGrant)>,
    pub(in crate::shard) redrives: Vec<Redriving>,
    pub(in crate::shard) history: Vec<HistoryEntry>,
    /// Events that are not kept, and that are logged all the same.
    pub(in crate::shard) logged: Vec<HistoryEntry>,
    /// What listeners to its state machine are told.
    pub(in crate::shard) changes: Vec<MachineChange>,
    /// Messages that changed nothing, given what these events made of the run.
    pub(in crate::shard) moot: Vec<MessageId>,
    /// Children whose start changed nothing: no task waits for them.
    pub(in crate::shard) orphans: Vec<ChildId>,
    /// Messages that the append carries, and the ids they got.
    pub(in crate::shard) sent: Vec<Outgoing>,
    pub(in crate::shard) landed: Vec<MessageId>,
    /// Set when the execution may leave memory, with its wake-up time.
    pub(in crate::shard) evict: Option<Option<Timestamp>>,
    /// What the store holds once this is durable, when it is the end of the execution.
    pub(in crate::shard) closed: Option<Box<Look>>,
    /// What its append adds to its tenant's usage.
    pub(in crate::shard) counted: Amounts,
    /// Usage of a synchronous execution, at its end.
    pub(in crate::shard) charges: Charges,
}

impl Flight {
    /// The place of an execution that began with it, or goes on: what is durable counts it from now on. Calls that are the
    /// same one keep theirs until they are answered.
    pub(in crate::shard) fn take_place(&mut self) -> Option<StartPlace> {
        if let Some(started) = &mut self.started {
            return started.take_place();
        }
        let mut calls = self.redrives.iter_mut();
        calls.find_map(|call| call.reply.take_place())
    }

    /// All that its append charges for attempts. It is owed when the append has not landed.
    pub(in crate::shard) fn take_spent(&mut self) -> Charges {
        let mut spent = std::mem::take(&mut self.earlier);
        spent.extend(spent_of(&mut self.inputs));
        spent
    }
}

/// What these inputs tell of attempts, taken from them.
fn spent_of(inputs: &mut [Given]) -> impl Iterator<Item = (UsageKey, Amounts)> {
    let spent = inputs.iter_mut().filter_map(|given| given.spent.take());
    spent.map(|spent| *spent)
}

impl Loaded {
    /// What attempts used that is recorded in memory alone.
    pub(in crate::shard) fn take_unflushed_spent(&mut self) -> Charges {
        spent_of(&mut self.unflushed_inputs).collect()
    }

    /// The reply of a first append that never left memory.
    pub(in crate::shard) fn take_reply(&mut self) -> Option<StartReply> {
        self.create.take().map(|(_, reply)| reply)
    }

    /// All messages that it has taken and not accounted for.
    pub(in crate::shard) fn messages(&self) -> Vec<MessageId> {
        let flights = self.in_flight.iter();
        let inputs = flights
            .flat_map(|flight| &flight.inputs)
            .chain(&self.unflushed_inputs);
        let taken = inputs.filter_map(|given| given.message);
        let waiting = self.inbox.iter().filter_map(|waiting| waiting.message);
        taken.chain(waiting).collect()
    }

    /// Nobody knows whether what is on its way landed: who waits for it to be told of a redrive is told so.
    pub(in crate::shard) fn refuse_redrives(&mut self, refused: &Refused) {
        let flights = self.in_flight.iter_mut();
        for call in flights.flat_map(|flight| flight.redrives.drain(..)) {
            call.reply.tell(Err(refused.clone()));
        }
    }

    /// All inputs whose effects are not durable, in order, to be given to the folded run again.
    pub(in crate::shard) fn inputs_again(self) -> Vec<Waiting> {
        let (mut again, mut redrives_again) = (Vec::new(), Vec::new());
        for flight in self.in_flight {
            // Who takes a task and gets no answer knows that it may be open still.
            again.extend(flight.inputs);
            let redrives = flight.redrives.into_iter();
            redrives_again.extend(redrives.map(|call| Waiting::redrive(call.token, call.reply)));
        }
        again.extend(self.unflushed_inputs);
        let taken = again.into_iter().filter(|given| {
            !matches!(
                given.input,
                Input::Continue | Input::Started(_) | Input::Forked(_) | Input::TimerDue { .. }
            )
        });
        // Messages come back from the store itself.
        let taken = taken
            .filter(|given| given.message.is_none())
            .map(Given::again);
        let waiting = self.inbox.into_iter().filter(|waiting| {
            waiting.message.is_none()
                && !matches!(waiting.input, Input::Started(_) | Input::Forked(_))
        });
        taken.chain(redrives_again).chain(waiting).collect()
    }

    /// Everyone who waits for this node's answer gets a refusal.
    pub(in crate::shard) fn refuse_all(self) {
        let mut this = self;
        this.refuse_redrives(&Refused::LeaseLost);
        if let Some(reply) = this.take_reply() {
            reply.refuse(Refused::LeaseLost);
        }
        for flight in this.in_flight {
            if let Some(reply) = flight.started {
                reply.refuse(Refused::LeaseLost);
            }
        }
        for waiting in this.inbox {
            waiting.lose();
        }
    }
}
