//! What waits for an execution's turn, and who waits for what it comes to.

use std::sync::Arc;

use stepwell_interp::{Input, MapRunInput, NotRedrivable, RedrivenBy, TaskId, Timestamp};

use super::border::{RedriveReply, TakeReply};
use crate::journal::{Amounts, MessageId, Refused, UsageKey};

/// An input with what hangs on it.
pub(super) struct Waiting {
    pub(super) input: Input,
    pub(super) message: Option<MessageId>,
    pub(super) take: Option<(TaskId, TakeReply)>,
    pub(super) redrive: Option<RedriveReply>,
    /// Of what an attempt used: what is charged for it if its execution does not record it. An input that is given again has
    /// it no more where the append that it went with before may have carried it.
    pub(super) spent: Option<Box<(UsageKey, Amounts)>>,
}

/// An input that was taken, for another try.
pub(super) struct Given {
    pub(super) input: Input,
    pub(super) message: Option<MessageId>,
    /// As in [`Waiting`], when the append carries it.
    pub(super) spent: Option<Box<(UsageKey, Amounts)>>,
}

impl Given {
    pub(super) fn again(self) -> Waiting {
        Waiting {
            spent: self.spent,
            ..Waiting::plain(self.input)
        }
    }
}

impl Waiting {
    pub(super) fn plain(input: Input) -> Waiting {
        Waiting {
            input,
            message: None,
            take: None,
            redrive: None,
            spent: None,
        }
    }

    /// Whether a stop has to wait for it: the execution begins with it, or it is a stop that was asked for before.
    pub(super) fn goes_before_stop(&self) -> bool {
        let begins = match &self.input {
            Input::MapRun(input) => matches!(**input, MapRunInput::Started(_)),
            input => matches!(input, Input::Started(_) | Input::Forked(_)),
        };
        begins || matches!(self.input, Input::StopAsked { .. })
    }

    /// A caller wants to redrive the execution.
    pub(super) fn redrive(token: Option<Arc<str>>, reply: RedriveReply) -> Waiting {
        let by = RedrivenBy::Caller;
        Waiting {
            redrive: Some(reply),
            ..Waiting::plain(Input::RedriveAsked { token, by })
        }
    }

    /// Whether it is worth to fold a closed execution for it.
    pub(super) fn is_redrive(&self) -> bool {
        let of_map_run = |own: &MapRunInput| matches!(own, MapRunInput::RedriveAsked { .. });
        matches!(&self.input, Input::RedriveAsked { .. })
            || matches!(&self.input, Input::MapRun(own) if of_map_run(own))
    }

    /// Another node serves the execution.
    pub(super) fn lose(mut self) {
        if let Some(reply) = self.redrive.take() {
            reply.tell(Err(Refused::LeaseLost));
        }
        self.refuse();
    }

    /// Nobody will take it: its execution is closed, damaged or another node's. Who waits for a redrive is let go.
    pub(super) fn refuse(self) {
        if let Some((_, reply)) = self.take {
            let _ = reply.send(None);
        }
    }
}

/// Who called for a redrive, with which token, and what it came to.
pub(super) struct Redriving {
    pub(super) reply: RedriveReply,
    pub(super) token: Option<Arc<str>>,
    pub(super) answer: Result<Timestamp, NotRedrivable>,
}
