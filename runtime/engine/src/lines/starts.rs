//! The engine's side of lines: what a start has to say to one, and that limits were changed. Hides the texts of refusals.

use std::sync::Arc;

use stepwell_query::Value;
use tokio::sync::oneshot;

use super::{Concurrency, NoRoom, Reservation, address, key};
use crate::{
    api::{Caller, LineCount, MachineKind},
    arn::MachineArn,
    engine::Engine,
    error::{Code, Error},
    journal::{ExecutionId, Outgoing, ScopeId, Write},
    record::{self, InLine, InboxItem, LineItem, LineMachine},
    shard::In,
    startable::Startable,
};

impl Engine {
    /// The line that an execution of that input joins; none where there is no limit.
    pub(crate) async fn in_line(
        &self,
        startable: &Startable,
        input: &Value,
    ) -> Result<Option<InLine>, Error> {
        let Some(concurrency) = &startable.concurrency else {
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
        let Some(concurrency) = &startable.concurrency else {
            return Ok(None);
        };
        let (line, lines) = (ExecutionId(in_line.line), &self.node().lines);
        let refused = |why| no_room(startable, concurrency, &in_line.key, &why);
        if !synchronous && !concurrency.refuses {
            lines.has_room_to_wait(line).map_err(refused)?;
            return Ok(None);
        }
        if !lines.knows(line) {
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
            // When it is another node's, that one decides: the execution waits there if it has to.
            let _ = opened.await;
        }
        let reserved = lines.reserve(line, execution, &in_line.key);
        reserved.map_err(refused)
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
        self.tell_line(scope, LineItem::Changed { machine }).await
    }

    async fn tell_line(&self, scope: ScopeId, item: LineItem) -> Result<(), Error> {
        let to = address(scope);
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
    let hint = match (startable.express, concurrency.refuses) {
        (_, true) => "try again when one of them has ended",
        (true, false) => "synchronous executions do not wait: try again when one of them has ended",
        (false, false) => "try again when the line is shorter",
    };
    let text = match why {
        NoRoom::All(most) => format!(
            "The limit of {most} executions at a time (tag `stepwell:concurrency`) is reached; {hint}: '{arn}'"
        ),
        NoRoom::Key(most) => format!(
            "The limit of {most} executions of one key at a time (tag `stepwell:concurrency-per-key`) is reached for the key '{key}'; {hint}: '{arn}'"
        ),
        NoRoom::Waiting(waiting) => {
            format!("{waiting} executions wait for their turn, and no more can; {hint}: '{arn}'")
        }
    };
    Error::rejected(Code::ThrottlingException, text)
}
