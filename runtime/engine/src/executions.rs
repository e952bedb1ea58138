//! Calls about executions: describe, list, stop, wait. Hides which of them need the
//! execution's shard and which read the store.

use std::sync::Arc;

use stepwell_interp::Timestamp;
use tokio::sync::oneshot;

use crate::{
    api::{Caller, Execution, ExecutionSummary, MachineKind, Page, PageRequest, Status},
    arn::{self, MachineArn},
    engine::Engine,
    error::{Code, Error},
    functions,
    journal::{
        ExecutionId, ExecutionRow, List, ListQuery, Message, Outgoing, Refused, ScopeId, Verdict,
        Write,
    },
    map_run, node, pages, reader,
    record::{self, Child, InboxItem, Meta},
    redrive,
    shard::In,
    starts::wrong_type,
};

impl Engine {
    /// Where an execution is to be found by its ARN, with its machine's.
    async fn named(
        &self,
        caller: &Caller,
        arn_text: &str,
    ) -> Result<(ScopeId, String, MachineArn), Error> {
        let (machine, name) = arn::execution(caller, arn_text)?;
        let scope = match machine.label() {
            Some(_) => map_run::scope_of_child(&name),
            // An ARN with `execution:` is that of a STANDARD one, whatever has the machine's name by now.
            None => {
                self.scope(caller, &machine, MachineKind::Standard, false)
                    .await?
            }
        };
        Ok((scope.ok_or_else(|| absent(arn_text))?, name, machine))
    }

    /// The row of an execution by its ARN, with its machine's.
    pub(crate) async fn execution_row(
        &self,
        caller: &Caller,
        arn_text: &str,
    ) -> Result<(ExecutionRow, MachineArn), Error> {
        let (scope, name, machine) = self.named(caller, arn_text).await?;
        let journal = &self.node().journal;
        let id = journal
            .find(scope, &name)
            .await
            .map_err(reader::broken)?
            .ok_or_else(|| absent(arn_text))?;
        let row = journal
            .execution(id)
            .await
            .map_err(reader::broken)?
            .ok_or_else(|| absent(arn_text))?;
        if !is_at(&row, arn_text)? {
            return Err(absent(arn_text));
        }
        Ok((row, machine))
    }

    /// An execution by its ARN.
    pub async fn execution(&self, caller: &Caller, arn: &str) -> Result<Execution, Error> {
        let (scope, name, _) = self.named(caller, arn).await?;
        let look = self.node().look(scope, &name);
        let look = look.await.map_err(reader::broken)?;
        let look = look.ok_or_else(|| absent(arn))?;
        if !is_at(&look.row, arn)? {
            return Err(absent(arn));
        }
        let described = reader::describe(self.node().journal.as_ref(), &look).await;
        let mut described = described.map_err(|error| reader::named(arn, error))?;
        let meta: Meta = record::decode(&look.row.new.meta)?;
        let standing = redrive::standing(&look.row, self.raised_limits(&caller.tenant));
        described.redrivable = self.redrivable(caller, &meta, standing).await?;
        described.waiting = self.node().lines.waiting(&look.row, &meta);
        described.pending_redrive = self.waits_for_redrive(&look.row, &meta).await?;
        Ok(described)
    }

    /// Executions of a state machine, or those that a version or an alias started, newest first.
    pub async fn executions(
        &self,
        caller: &Caller,
        machine_arn: &str,
        status: Option<Status>,
        page: PageRequest,
    ) -> Result<Page<ExecutionSummary>, Error> {
        let Some(listed) = self.listed(caller, machine_arn).await? else {
            return Ok(Page {
                items: Vec::new(),
                next_token: None,
            });
        };
        let status_text = status
            .map(|status| format!("{status:?}"))
            .unwrap_or_default();
        let list = self.list(caller, &["executions", machine_arn, &status_text]);
        let before = list.number(&page).await?.map(ExecutionId);
        let size = pages::size(&page);
        let rows = self.node().journal.list(ListQuery {
            list: listed,
            status,
            before,
            limit: size + 1,
        });
        let rows = rows.await.map_err(reader::broken)?;
        let mut found = list.cut(rows, size, |row| row.id.0.to_string()).await?;
        // Stores of earlier builds have EXPRESS executions in the list of their machine's name, which may be STANDARD now.
        found.items.retain(|row| row.new.unique_name);
        self.shown_rows(found, |row| self.summary(row))
    }

    /// A page of what rows of executions show, without the damaged ones: the others are shown, and whoever asks for such a one
    /// is told.
    pub(crate) fn shown_rows<T>(
        &self,
        page: Page<ExecutionRow>,
        mut show: impl FnMut(&ExecutionRow) -> Result<T, Error>,
    ) -> Result<Page<T>, Error> {
        let mut items = Vec::with_capacity(page.items.len());
        for row in &page.items {
            match show(row) {
                Ok(shown) => items.push(shown),
                Err(why @ Error::Damaged(_)) => self.node().note_damaged(row, &why),
                Err(error) => return Err(error),
            }
        }
        Ok(Page {
            items,
            next_token: page.next_token,
        })
    }

    /// The list of a state machine, or of a function's calls that nobody waits for; `None` as long as there were none.
    async fn listed(&self, caller: &Caller, machine_arn: &str) -> Result<Option<List>, Error> {
        let machine = arn::machine(caller, machine_arn)?;
        if functions::is_of_events(&machine) {
            let scope = self.list_of_events(caller, &machine).await?;
            return Ok(scope.map(List::Scope));
        }
        let chosen = self.startable(caller, machine_arn).await?;
        match chosen.startable.express {
            true => Err(wrong_type()),
            false => Ok(Some(chosen.list())),
        }
    }

    /// An execution in the list of its machine.
    fn summary(&self, row: &ExecutionRow) -> Result<ExecutionSummary, Error> {
        let mut summary = reader::summary(row)?;
        if row.view.status == Status::Running {
            let meta: Meta = record::decode(&row.new.meta)?;
            summary.waiting = self.node().lines.waiting(row, &meta);
        }
        Ok(summary)
    }

    /// Stops a running execution and answers with the time it closed, once that is durable; of a closed one too.
    pub async fn stop(
        &self,
        caller: &Caller,
        arn: &str,
        error: Option<String>,
        cause: Option<String>,
    ) -> Result<Timestamp, Error> {
        let (row, _) = self.execution_row(caller, arn).await?;
        if row.view.status == Status::Running {
            let closed = self.closed(row.id).await?;
            self.post_stop(row.id, error.map(Into::into), cause.map(Into::into))
                .await?;
            // It answers at once when the execution is closed by now, or else when the shard has closed it.
            self.await_closed(row.id, closed).await?;
        }
        let (row, _) = self.execution_row(caller, arn).await?;
        Ok(row.view.stopped_at.unwrap_or_else(node::now))
    }

    pub(crate) async fn post_stop(
        &self,
        execution: ExecutionId,
        error: Option<Arc<str>>,
        cause: Option<Arc<str>>,
    ) -> Result<(), Error> {
        let payload = record::encode(&InboxItem::Stop { error, cause });
        let landed = self
            .verdict(Write::Post(Outgoing {
                to: execution,
                payload: payload.clone(),
            }))
            .await?;
        self.announce(landed, execution, payload)
    }

    /// Tells the shard of a message that a write left in an inbox.
    pub(crate) fn announce(
        &self,
        landed: Verdict,
        to: ExecutionId,
        payload: Arc<[u8]>,
    ) -> Result<(), Error> {
        let landed = landed.map_err(refusal)?;
        for id in landed.messages {
            self.node().announce(Message {
                id,
                to,
                payload: payload.clone(),
            });
        }
        Ok(())
    }

    async fn closed(&self, execution: ExecutionId) -> Result<oneshot::Receiver<()>, Error> {
        let (reply, closed) = oneshot::channel();
        self.node().send(execution, In::Wait { execution, reply })?;
        self.taken(execution).await?;
        Ok(closed)
    }

    /// Answers when the shard has taken what was sent to it before. A commit's verdict goes before what is queued, so a look into
    /// the store tells what a listener was not told only when it comes after this.
    pub(crate) async fn taken(&self, execution: ExecutionId) -> Result<(), Error> {
        let (reply, taken) = oneshot::channel();
        self.node().send(execution, In::Live { execution, reply })?;
        match taken.await {
            Ok(_) => Ok(()),
            Err(_) => Err(self.node().let_go()),
        }
    }

    async fn await_closed(
        &self,
        execution: ExecutionId,
        closed: oneshot::Receiver<()>,
    ) -> Result<(), Error> {
        let row = self
            .node()
            .journal
            .execution(execution)
            .await
            .map_err(reader::broken)?;
        if row.is_some_and(|row| row.view.status == Status::Running) {
            closed.await.map_err(|_| self.node().let_go())?;
        }
        Ok(())
    }

    /// Answers when the execution is closed.
    pub async fn wait(&self, caller: &Caller, arn: &str) -> Result<Execution, Error> {
        let (row, _) = self.execution_row(caller, arn).await?;
        if row.view.status == Status::Running {
            let closed = self.closed(row.id).await?;
            self.await_closed(row.id, closed).await?;
        }
        self.execution(caller, arn).await
    }
}

/// Whether an execution that was found by its name is the one of that ARN. EXPRESS executions have others, and are
/// described only as children of a map run; the names of those say more than their ARNs.
fn is_at(row: &ExecutionRow, arn: &str) -> Result<bool, Error> {
    let meta = record::decode::<Meta>(&row.new.meta).map_err(|error| reader::named(arn, error))?;
    let found = match (&meta.map_run, meta.parent.map(|parent| parent.of)) {
        (Some(_), Some(Child::Item { .. })) => *reader::execution_arn(&meta, &row.new.name) == *arn,
        (Some(_), _) => false,
        (None, _) => row.new.unique_name,
    };
    Ok(found)
}

fn absent(arn: &str) -> Error {
    Error::rejected(
        Code::ExecutionDoesNotExist,
        format!("Execution Does Not Exist: '{arn}'"),
    )
}

/// The error of a write that was refused for a reason the caller cannot mend.
pub(crate) fn refusal(refused: Refused) -> Error {
    match refused {
        Refused::Full(why) => Error::Busy(format!("the store is full: {why}")),
        Refused::LeaseLost => Error::Busy("the execution is served by another node now".to_owned()),
        refused @ (Refused::NameTaken { .. }
        | Refused::WrongPosition { .. }
        | Refused::TokenGone
        | Refused::MessageGone
        | Refused::Conflict { .. }
        | Refused::Broken(_)) => Error::Broken(refused.to_string()),
    }
}
