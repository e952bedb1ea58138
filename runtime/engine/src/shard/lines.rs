//! Keeping lines: their inboxes, the record of those that have a place, and the messages that tell them. Hides that a round
//! of a line takes two commits: who gets a place is written first, and told when that is durable.
//!
//! The record is written at the revision at which it was read, in each round that lets somebody in or go. So a node that has
//! lost a line to another without knowing gives no place any more, and drops no news: the write is refused, and the line is read
//! anew. What a round has dealt with leaves the inbox when those that it let in are told; a crash before that has them told once
//! more, which changes nothing.
//!
//! A line in which nobody stands and whose state machine has no limit, or is gone, leaves nothing behind: neither a record nor
//! memory. Whoever comes later finds it as a line that never was.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use stepwell_interp::Timestamp;
use tokio::sync::oneshot;

use super::{
    Shard,
    border::{LoadError, Out, Ticket},
};
use crate::{
    journal::{
        CatalogWrite, Epoch, ExecutionId, Message, MessageId, Outgoing, Partition, Refused,
        Verdict, Write,
    },
    limits::{ADMITTED_A_ROUND_MAX, LINE_MESSAGES_SEEN_MAX, LINES_AT_REST_MAX, RELOAD_AFTER_MS},
    lines::{Asked, Line, StoredLine, record_key},
    record::{self, InboxItem, LineItem, LineMachine},
};

/// The lines of a shard.
#[derive(Default)]
pub(super) struct Kept {
    open: HashMap<ExecutionId, Open>,
    writes: HashMap<Ticket, (ExecutionId, Written)>,
    /// Messages that lines had taken up of which nothing is left: they may be announced once more, too.
    past: BTreeSet<MessageId>,
}

/// A line in memory. Who has a place and who waits stands in `Environment::lines`.
#[derive(Default)]
struct Open {
    stage: Stage,
    /// Whose it is, once that is known: a line that nobody stands in has nothing stored that tells.
    machine: Option<LineMachine>,
    /// Of the record of those that have a place.
    revision: u64,
    /// Messages that no round has dealt with.
    news: BTreeMap<MessageId, LineItem>,
    /// Messages that were taken up: they may be announced once more.
    seen: BTreeSet<MessageId>,
    /// Who wants to know when it is in memory.
    callers: Vec<oneshot::Sender<()>>,
}

/// What a line is waiting for.
#[derive(Default)]
enum Stage {
    /// What the store holds of it.
    #[default]
    Loading,
    /// News.
    Rests,
    /// The record of a round.
    Writing(Round),
    /// So many of the writes that tell of a round.
    Telling { left: usize, reloads: bool },
    /// What is stored of it is damaged: it stays where it is until another start of the program.
    Damaged,
}

/// What a round came to.
#[derive(Default)]
struct Round {
    admitted: Vec<ExecutionId>,
    /// Messages that it has dealt with.
    done: Vec<MessageId>,
    /// The limits are others.
    reloads: bool,
    /// Somebody has a place now or has none any more.
    writes: bool,
}

/// What a write of a line was.
enum Written {
    Record,
    Told(Outgoing),
    Discarded,
}

impl Kept {
    /// Whether a write has no verdict yet.
    pub(super) fn has_writes(&self) -> bool {
        !self.writes.is_empty()
    }
}

impl Round {
    /// Takes news of a line.
    fn take(&mut self, line: &mut Line, message: MessageId, item: LineItem) {
        match item {
            LineItem::Asks {
                execution,
                key,
                since_ms,
                ..
            } => {
                let execution = ExecutionId(execution);
                match line.ask(execution, key, message, Timestamp(since_ms)) {
                    Asked::Waits => {}
                    Asked::Twice => self.done.push(message),
                    asked @ (Asked::Reserved | Asked::Admitted) => {
                        self.writes |= asked == Asked::Reserved;
                        self.admitted.push(execution);
                        self.done.push(message);
                    }
                }
            }
            LineItem::Rejoins { execution, key, .. } => {
                line.hold(ExecutionId(execution), key);
                self.writes = true;
                self.done.push(message);
            }
            LineItem::Leaves { execution } => {
                let execution = ExecutionId(execution);
                self.done.push(message);
                self.done.extend(line.leave(execution));
                self.admitted.retain(|admitted| *admitted != execution);
                // Even if it had no place: that it had none is only sure when the record is the one that was read.
                self.writes = true;
            }
            LineItem::Changed { .. } => {
                self.reloads = true;
                self.done.push(message);
            }
        }
    }

    /// Lets in whose turn it is.
    fn admit(&mut self, line: &mut Line) {
        for waiter in line.admit(ADMITTED_A_ROUND_MAX) {
            self.admitted.push(waiter.execution);
            self.done.push(waiter.message);
            self.writes = true;
        }
    }
}

impl Shard {
    /// A message in a line's inbox.
    pub(super) fn line_message(&mut self, message: Message) {
        let (line, id) = (message.to, message.id);
        if !self.leases.hold(line) {
            return;
        }
        let Some(item) = line_item(&message) else {
            tracing::error!(
                message = id.0,
                "a message in a line's inbox cannot be read; it is dropped"
            );
            return self.discard(vec![id]);
        };
        if self.lines.past.contains(&id) {
            return;
        }
        match self.lines.open.get_mut(&line) {
            None => self.open_line(line, None),
            Some(open) => {
                if open.sees(id) {
                    open.news.insert(id, item);
                }
                self.line_round(line);
            }
        }
    }

    /// A line has messages, or room of which no message tells.
    pub(super) fn wake_line(&mut self, line: ExecutionId) {
        if self.lines.open.contains_key(&line) {
            self.line_round(line);
            self.let_line_go(line, true);
        } else if self.leases.hold(line) {
            self.open_line(line, None);
        }
    }

    /// Somebody wants it in memory.
    pub(super) fn call_line(
        &mut self,
        line: ExecutionId,
        machine: LineMachine,
        reply: oneshot::Sender<()>,
    ) {
        if !self.leases.hold(line) {
            return;
        }
        if !self.lines.open.contains_key(&line) {
            self.open_line(line, Some(machine));
        }
        let Some(open) = self.lines.open.get_mut(&line) else {
            return;
        };
        match open.stage {
            Stage::Loading => open.callers.push(reply),
            Stage::Rests | Stage::Writing(_) | Stage::Telling { .. } => {
                // Who went away needs no answer.
                let _ = reply.send(());
            }
            Stage::Damaged => {}
        }
    }

    fn open_line(&mut self, line: ExecutionId, machine: Option<LineMachine>) {
        self.lines.open.insert(line, Open::default());
        self.out.push(Out::LoadLine { line, machine });
    }

    /// Has a line read that waits for that.
    pub(super) fn read_line(&mut self, line: ExecutionId) {
        let open = self.lines.open.get(&line);
        let machine = open.and_then(|open| open.machine.clone());
        self.out.push(Out::LoadLine { line, machine });
    }

    /// A read of a line came back.
    pub(super) fn line_loaded(
        &mut self,
        now: Timestamp,
        line: ExecutionId,
        result: Result<StoredLine, LoadError>,
    ) {
        let Some(open) = self.lines.open.get_mut(&line) else {
            return;
        };
        if !matches!(open.stage, Stage::Loading) {
            return;
        }
        let stored = match result {
            Ok(stored) => stored,
            Err(LoadError::Unreadable(error)) => {
                tracing::error!(
                    line = line.0,
                    error,
                    "a line cannot be loaded; trying again"
                );
                return self.reloads.insert(now.plus_ms(RELOAD_AFTER_MS), line);
            }
            Err(LoadError::Damaged(why)) => {
                tracing::error!(line = line.0, why, "the executions of a line do not begin");
                open.stage = Stage::Damaged;
                open.callers.clear();
                return;
            }
        };
        let Some(machine) = stored.machine else {
            // What came meanwhile lies in the inbox by now, and says whose it is.
            open.machine = open.news.values().find_map(machine_of).cloned();
            match open.machine {
                Some(_) => self.read_line(line),
                // Nothing is stored of it: nobody waits.
                None => drop(self.lines.open.remove(&line)),
            }
            return;
        };
        open.machine = Some(machine.clone());
        let mut kept = Line::new(machine, stored.limits);
        for (execution, key) in stored.running {
            kept.hold(ExecutionId(execution), key);
        }
        self.environment.lines.put(line, kept);
        open.revision = stored.revision;
        open.stage = Stage::Rests;
        let mut unread = Vec::new();
        for message in &stored.messages {
            open.sees(message.id);
            match line_item(message) {
                Some(item) => drop(open.news.insert(message.id, item)),
                None => unread.push(message.id),
            }
        }
        for caller in open.callers.drain(..) {
            // Who went away needs no answer.
            let _ = caller.send(());
        }
        self.discard(unread);
        self.line_round(line);
        // Somebody may have called it to take a place.
        self.let_line_go(line, false);
    }

    /// Deals with a line's news, and lets in whose turn it is.
    fn line_round(&mut self, line: ExecutionId) {
        let Some(open) = self.lines.open.get_mut(&line) else {
            return;
        };
        if !matches!(open.stage, Stage::Rests) {
            return;
        }
        let news = std::mem::take(&mut open.news);
        let revision = open.revision;
        let decided = self.environment.lines.change(line, |kept| {
            let mut round = Round::default();
            for (message, item) in news {
                round.take(kept, message, item);
            }
            if !round.reloads {
                round.admit(kept);
            }
            let over = !round.reloads && kept.is_empty() && kept.is_unlimited();
            let record = match (over, round.writes) {
                // Also where there is none: what was dealt with counts only if this node has the line.
                (true, writes) => (writes || revision > 0).then_some(None),
                (false, writes) => writes.then(|| Some(kept.record())),
            };
            (round, record)
        });
        match decided {
            Some((round, Some(record))) => {
                let write = Write::Catalog(vec![CatalogWrite {
                    key: record_key(line),
                    expected: Some(revision),
                    bytes: record.map(|record| record::encode(&record)),
                }]);
                open.stage = Stage::Writing(round);
                self.write_for_line(line, Written::Record, write);
            }
            Some((round, None)) => self.tell_round(line, round),
            None => {}
        }
    }

    /// Tells those that were let in, and drops the messages that were dealt with.
    fn tell_round(&mut self, line: ExecutionId, round: Round) {
        let payload = record::encode(&InboxItem::Admitted);
        let mut left = round.admitted.len();
        for to in round.admitted {
            let payload = payload.clone();
            let told = Outgoing { to, payload };
            self.write_for_line(line, Written::Told(told.clone()), Write::Post(told));
        }
        if !round.done.is_empty() {
            left += 1;
            self.write_for_line(line, Written::Discarded, Write::Discard(round.done));
        }
        let reloads = round.reloads;
        if let Some(open) = self.lines.open.get_mut(&line) {
            open.stage = match left {
                0 => Stage::Rests,
                left => Stage::Telling { left, reloads },
            };
        }
    }

    /// Lets go of a line that rests and in which nobody stands: where the state machine has no limit by now, and of others
    /// `at_rest` when there are many of them. What is stored of such a line is nothing, or that nobody stands in it.
    fn let_line_go(&mut self, line: ExecutionId, at_rest: bool) {
        let many = self.lines.open.len() > LINES_AT_REST_MAX;
        let Some(open) = self.lines.open.get(&line) else {
            return;
        };
        if !matches!(open.stage, Stage::Rests) || !open.news.is_empty() {
            return;
        }
        let lines = &self.environment.lines;
        let unlimited = lines.change(line, |kept| kept.is_unlimited()) == Some(true);
        let over = unlimited && open.revision == 0;
        if (over || (at_rest && many)) && lines.remove_empty(line) {
            let open = self.lines.open.remove(&line).unwrap_or_default();
            self.lines.past.extend(open.seen);
            while self.lines.past.len() > LINE_MESSAGES_SEEN_MAX {
                self.lines.past.pop_first();
            }
        }
    }

    fn write_for_line(&mut self, line: ExecutionId, written: Written, write: Write) {
        let ticket = self.writes.ticket();
        self.lines.writes.insert(ticket, (line, written));
        self.out.push(Out::Commit { ticket, write });
    }

    /// The verdict on a write, if it was one of a line.
    pub(super) fn line_written(
        &mut self,
        now: Timestamp,
        ticket: Ticket,
        verdict: Verdict,
    ) -> Option<Verdict> {
        let Some((line, written)) = self.lines.writes.remove(&ticket) else {
            return Some(verdict);
        };
        let landed = match verdict {
            Ok(landed) => landed,
            Err(refused) => {
                self.reload_line(now, line, &refused);
                return None;
            }
        };
        match written {
            Written::Record => {
                let open = self.lines.open.get_mut(&line)?;
                open.revision = landed.revisions.first().copied().unwrap_or(0);
                if let Stage::Writing(round) = std::mem::take(&mut open.stage) {
                    self.tell_round(line, round);
                }
            }
            Written::Told(outgoing) => {
                self.announce(&[outgoing], landed.messages);
                self.told_one(line);
            }
            Written::Discarded => self.told_one(line),
        }
        self.line_round(line);
        self.let_line_go(line, true);
        None
    }

    /// One of the writes that tell of a round is durable.
    fn told_one(&mut self, line: ExecutionId) {
        let Some(open) = self.lines.open.get_mut(&line) else {
            return;
        };
        let Stage::Telling { left, reloads } = &mut open.stage else {
            return;
        };
        *left -= 1;
        match (*left, *reloads) {
            (0, true) => {
                open.stage = Stage::Loading;
                self.read_line(line);
            }
            (0, false) => open.stage = Stage::Rests,
            (_, _) => {}
        }
    }

    /// What is in memory may not be what is stored: read it anew.
    fn reload_line(&mut self, now: Timestamp, line: ExecutionId, refused: &Refused) {
        tracing::debug!(line = line.0, %refused, "a write of a line was refused; reading it anew");
        self.lines.writes.retain(|_, (other, _)| *other != line);
        let Some(open) = self.lines.open.get_mut(&line) else {
            return;
        };
        open.stage = Stage::Loading;
        let delay_ms = match refused {
            Refused::Conflict { .. } => 0,
            Refused::LeaseLost
            | Refused::Full(_)
            | Refused::Broken(_)
            | Refused::NameTaken { .. }
            | Refused::WrongPosition { .. }
            | Refused::TokenGone
            | Refused::MessageGone => RELOAD_AFTER_MS,
        };
        self.reloads.insert(now.plus_ms(delay_ms), line);
    }

    /// Forgets the lines whose partition is lost, or was and is held again.
    pub(super) fn drop_lines(&mut self, held: &BTreeMap<Partition, Epoch>) {
        let lines = self.lines.open.keys().copied();
        let lost: Vec<ExecutionId> = lines
            .filter(|line| {
                let epoch = held.get(&line.partition()).copied();
                epoch.is_none() || epoch != self.leases.epoch(*line)
            })
            .collect();
        for line in lost {
            self.lines.open.remove(&line);
            self.lines.writes.retain(|_, (other, _)| *other != line);
            self.environment.lines.remove(line);
        }
    }
}

impl Open {
    /// Takes note of a message; false when it was taken up already.
    fn sees(&mut self, message: MessageId) -> bool {
        let fresh = self.seen.insert(message);
        if self.seen.len() > LINE_MESSAGES_SEEN_MAX {
            self.seen.pop_first();
        }
        fresh
    }
}

fn machine_of(item: &LineItem) -> Option<&LineMachine> {
    match item {
        LineItem::Asks { machine, .. }
        | LineItem::Rejoins { machine, .. }
        | LineItem::Changed { machine } => Some(machine),
        LineItem::Leaves { .. } => None,
    }
}

fn line_item(message: &Message) -> Option<LineItem> {
    match record::decode(&message.payload).ok()? {
        InboxItem::Line(item) => Some(item),
        InboxItem::Status(_)
        | InboxItem::Answer { .. }
        | InboxItem::Admitted
        | InboxItem::Redrive
        | InboxItem::RedriveMapRun { .. }
        | InboxItem::Stop { .. }
        | InboxItem::Begin(_)
        | InboxItem::ChildStarted { .. }
        | InboxItem::ChildEnded { .. }
        | InboxItem::BeginMapRun(_)
        | InboxItem::MapRunEnded { .. }
        | InboxItem::ChangeMapRun { .. } => None,
    }
}
