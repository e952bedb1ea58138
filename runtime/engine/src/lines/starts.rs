//! The engine's side of lines: what a start has to say to one, and that limits were changed. Hides the texts of refusals.

use std::sync::Arc;

use stepwell_query::Value;
use tokio::sync::oneshot;

use super::{Concurrency, NoRoom, Reservation, address, key, record_key, within};
use crate::{
    api::{Caller, LineCount, MachineKind},
    arn::MachineArn,
    engine::Engine,
    error::{Code, Error},
    journal::{ExecutionId, Outgoing, Write},
    record::{self, InLine, InboxItem, LineItem, LineMachine},
    shard::In,
    startable::Startable,
};

/// A line that was brought into memory may be let go of before a place in it is taken.
const OPENING_ATTEMPTS_MAX: u32 = 3;

impl Engine {
    /// The line that an execution of that input joins; none where there is no limit.
    pub(crate) async fn in_line(
        &self,
        caller: &Caller,
        startable: &Startable,
        input: &Value,
    ) -> Result<Option<InLine>, Error> {
        let Some(concurrency) = self.concurrency(caller, startable) else {
            return Ok(None);
        };
        let key = match &concurrency.key {
            Some(expression) => {
                let (expression, input) = (expression.clone(), input.clone());
                // It may compute for a quarter of a second, on a thread that serves others.
                let found = tokio::task::spawn_blocking(move || key::of(&expression, &input)).await;
                let found = found.map_err(|error| Error::Broken(error.to_string()))?;
                found.map_err(|why| {
                    let text = format!("Invalid State Machine Execution Input: '{why}'");
                    Error::rejected(Code::InvalidExecutionInput, text)
                })?
            }
            None => Arc::from(""),
        };
        let line = address(startable.scope).0;
        let begins = 0;
        Ok(Some(InLine { line, key, begins }))
    }

    /// What bounds the executions of a state machine, by its tags and by what is usual.
    fn concurrency(&self, caller: &Caller, startable: &Startable) -> Option<Concurrency> {
        let usual = self.node().allowances.machine_concurrency(&caller.tenant);
        within(startable.concurrency.clone(), usual)
    }

    /// Whether an execution may begin, and the place that it has until what is durable tells of it: a synchronous one, and one
    /// where what exceeds is refused, takes it at once. The others wait, as long as there is room for that.
    pub(crate) async fn reserve(
        &self,
        caller: &Caller,
        startable: &Startable,
        in_line: &InLine,
        execution: ExecutionId,
        synchronous: bool,
    ) -> Result<Option<Reservation>, Error> {
        let Some(concurrency) = &self.concurrency(caller, startable) else {
            return Ok(None);
        };
        let (line, lines) = (ExecutionId(in_line.line), &self.node().lines);
        let refused = |why| no_room(startable, concurrency, &in_line.key, &why);
        if !synchronous && !concurrency.refuses() {
            lines.has_room_to_wait(line).map_err(refused)?;
            return Ok(None);
        }
        for _ in 0..OPENING_ATTEMPTS_MAX {
            if !lines.knows(line) && !self.open_line(caller, startable, line).await? {
                // It is another node's, which decides: the execution waits there if it has to.
                return Ok(None);
            }
            let reserved = lines.reserve(line, execution, &in_line.key);
            if let Some(reserved) = reserved.map_err(refused)? {
                return Ok(Some(reserved));
            }
        }
        // It is let go of again and again, as one is that has no limit by now.
        Ok(None)
    }

    /// Has a line brought into memory; false when it is another node's.
    async fn open_line(
        &self,
        caller: &Caller,
        startable: &Startable,
        line: ExecutionId,
    ) -> Result<bool, Error> {
        let (reply, opened) = oneshot::channel();
        let machine = LineMachine {
            tenant: caller.tenant.clone(),
            arn: startable.arn.clone(),
        };
        let open = In::OpenLine {
            line,
            machine,
            reply,
        };
        self.node().send(line, open)?;
        Ok(opened.await.is_ok())
    }

    /// Tells the line of a state machine that its limits are others.
    pub(crate) async fn limits_changed(
        &self,
        caller: &Caller,
        arn: &MachineArn,
        kind: MachineKind,
    ) -> Result<(), Error> {
        let Some(scope) = self.scope(caller, arn, kind, true).await? else {
            return Ok(());
        };
        let machine = LineMachine {
            tenant: caller.tenant.clone(),
            arn: arn.to_string().into(),
        };
        self.tell_line(address(scope), LineItem::Changed { machine })
            .await
    }

    /// Tells the lines of a state machine the same, where there are any: it is made, or going to be gone.
    pub(crate) async fn reconsider_lines(
        &self,
        caller: &Caller,
        arn: &MachineArn,
    ) -> Result<(), Error> {
        for kind in [MachineKind::Standard, MachineKind::Express] {
            let Some(scope) = self.scope(caller, arn, kind, false).await? else {
                continue;
            };
            let line = address(scope);
            if self.node().lines.knows(line) || self.record(&record_key(line)).await?.is_some() {
                self.limits_changed(caller, arn, kind).await?;
            }
        }
        Ok(())
    }

    /// Tells the lines of an account that this node keeps that what is usual is another limit.
    pub(crate) async fn usual_limits_changed(&self, tenant: &str) -> Result<(), Error> {
        for (line, machine) in self.node().lines.of_tenant(tenant) {
            self.tell_line(line, LineItem::Changed { machine }).await?;
        }
        Ok(())
    }

    async fn tell_line(&self, to: ExecutionId, item: LineItem) -> Result<(), Error> {
        let payload = record::encode(&InboxItem::Line(item));
        let post = Outgoing {
            to,
            payload: payload.clone(),
        };
        let landed = self.verdict(Write::Post(post)).await?;
        self.announce(landed, to, payload)
    }

    /// How many executions wait before each state machine with a concurrency limit that this node keeps the line of, the longest
    /// line first.
    pub fn lines(&self) -> Vec<LineCount> {
        self.node().lines.counts()
    }
}

/// The refusal of a start.
fn no_room(
    startable: &Startable,
    concurrency: &Concurrency,
    key: &Arc<str>,
    why: &NoRoom,
) -> Error {
    let arn = &startable.arn;
    let hint = match (startable.express, concurrency.refuses()) {
        (_, true) => "try again when one of them has ended",
        (true, false) => "synchronous executions do not wait: try again when one of them has ended",
        (false, false) => "try again when the line is shorter",
    };
    let text = match why {
        NoRoom::All(most) => {
            let whose = match concurrency.usual {
                true => "`machine-concurrency` of the account or the server",
                false => "tag `stepwell:concurrency`",
            };
            format!(
                "The limit of {most} executions at a time ({whose}) is reached; {hint}: '{arn}'"
            )
        }
        NoRoom::Key(most) => format!(
            "The limit of {most} executions of one key at a time (tag `stepwell:concurrency-per-key`) is reached for the key '{key}'; {hint}: '{arn}'"
        ),
        NoRoom::Waiting(waiting) => {
            format!("{waiting} executions wait for their turn, and no more can; {hint}: '{arn}'")
        }
    };
    Error::rejected(Code::ThrottlingException, text)
}
