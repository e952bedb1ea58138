//! Calls about executions: start, stop, describe, list, history, wait, watch. Hides which of them need the
//! execution's shard and which read the store.

use std::sync::Arc;

use stepwell_interp::{Ending, Limits, NotRedrivable, Start, Timestamp};
use stepwell_query::Value;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::{
    api::{
        Caller, Execution, ExecutionSummary, HistoryEntry, MachineKind, Page, PageRequest,
        Redrivable, StartRequest, StartedExecution, Status, SyncResult,
    },
    arn::{self, MachineArn},
    engine::{Engine, Watch},
    error::{Code, Error},
    journal::{
        ExecutionId, ExecutionRow, ListQuery, Message, NewExecution, Outgoing, Refused, ScopeId,
        SegmentRange, Write,
    },
    limits::{HISTORY_PAGE_BYTES_MAX, PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MAX_RAISED, READ_BYTES_MAX},
    map_run, node, pages,
    reader::{self, Decoder},
    record::{self, Child, InboxItem, Meta, Parent},
    redrive,
    shard::{Begin, In, Info, Mode, StartReply, public_entries},
    startable::{Qualified, Startable},
};

/// Milliseconds of wall time that a synchronous execution is billed in steps of.
const BILLED_STEP_MS: u64 = 100;
/// Megabytes of memory that a synchronous execution is billed in steps of.
const BILLED_STEP_MB: u64 = 64;

/// An execution about to start.
struct Starting {
    machine: MachineArn,
    startable: Arc<Startable>,
    alias: Option<Qualified>,
    name: Arc<str>,
    input: Value,
    trace_header: Option<Arc<str>>,
    parent: Option<Parent>,
    at: Timestamp,
    id: ExecutionId,
}

impl Starting {
    fn version_arn(&self) -> Option<Arc<str>> {
        let version = self.startable.version.as_ref();
        version.map(|version| version.arn.clone())
    }

    fn info(&self, caller: &Caller, execution_arn: &Arc<str>) -> Info {
        let startable = &self.startable;
        Info {
            tenant: caller.tenant.clone(),
            execution_arn: execution_arn.clone(),
            machine_arn: startable.arn.clone(),
            trace_header: self.trace_header.clone(),
            parent: self.parent,
            definition: startable.definition.as_str().into(),
            revision_id: startable.revision_id.clone(),
            revised_ms: startable.revised_ms,
        }
    }

    fn alias_arn(&self) -> Option<Arc<str>> {
        self.alias.as_ref().map(|alias| alias.arn.clone())
    }
}

impl Engine {
    /// Starts an execution; it is durable when this answers. STANDARD: the same name and input while it runs answers
    /// the same execution.
    pub async fn start(
        &self,
        caller: &Caller,
        request: StartRequest,
    ) -> Result<StartedExecution, Error> {
        let starting = self.starting(caller, request).await?;
        let mode = if starting.startable.express {
            Mode::ExpressAsync
        } else {
            Mode::Durable
        };
        let (reply, started) = oneshot::channel();
        let (execution_arn, begin) =
            self.begin(caller, &starting, mode, StartReply::Started(reply));
        self.node().send(starting.id, In::Start(Box::new(begin)))?;
        match started.await {
            Ok(Ok(())) => Ok(StartedExecution {
                execution_arn,
                started_at: starting.at,
            }),
            Ok(Err(Refused::NameTaken { execution })) => {
                self.started_before(execution, &execution_arn, &starting.input)
                    .await
            }
            Ok(Err(refused)) => Err(refusal(refused)),
            Err(_) => Err(Error::Busy("the server is shutting down".to_owned())),
        }
    }

    /// Starts an execution on behalf of another. The same parent's same child is started once, however often this is
    /// called; one that was started by somebody else is as for [`Engine::start`], but for a child whose end is waited
    /// for.
    pub(crate) async fn start_child(
        &self,
        caller: &Caller,
        request: StartRequest,
        parent: Parent,
    ) -> Result<StartedExecution, Error> {
        let mut starting = self.starting(caller, request).await?;
        starting.parent = Some(parent);
        let express = starting.startable.express;
        let waited_for = matches!(parent.of, Child::Job { .. });
        if express && waited_for {
            let text = "This operation is not supported by this type of state machine";
            return Err(Error::rejected(Code::StateMachineTypeNotSupported, text));
        }
        if express && let Some(started) = self.own_express(&starting, parent).await? {
            return Ok(started);
        }
        let mode = if express {
            Mode::ExpressAsync
        } else {
            Mode::Durable
        };
        let (reply, started) = oneshot::channel();
        let (execution_arn, begin) =
            self.begin(caller, &starting, mode, StartReply::Started(reply));
        self.node().send(starting.id, In::Start(Box::new(begin)))?;
        match started.await {
            Ok(Ok(())) => Ok(StartedExecution {
                execution_arn,
                started_at: starting.at,
            }),
            Ok(Err(Refused::NameTaken { execution })) => {
                if let Some(started) = self.own_child(execution, parent).await? {
                    return Ok(started);
                }
                if waited_for {
                    return Err(already_exists(&execution_arn));
                }
                self.started_before(execution, &execution_arn, &starting.input)
                    .await
            }
            Ok(Err(refused)) => Err(refusal(refused)),
            Err(_) => Err(Error::Busy("the server is shutting down".to_owned())),
        }
    }

    /// That execution, if it is that child of that parent.
    async fn own_child(
        &self,
        id: ExecutionId,
        parent: Parent,
    ) -> Result<Option<StartedExecution>, Error> {
        let row = self.node().journal.execution(id).await;
        let Some(row) = row.map_err(reader::broken)? else {
            return Ok(None);
        };
        let meta: Meta = record::decode(&row.new.meta)?;
        Ok((meta.parent == Some(parent)).then(|| StartedExecution {
            execution_arn: reader::execution_arn(&meta, &row.new.name),
            started_at: row.new.started_at,
        }))
    }

    /// Names of EXPRESS executions are not unique: the newest one of the name is looked at.
    async fn own_express(
        &self,
        starting: &Starting,
        parent: Parent,
    ) -> Result<Option<StartedExecution>, Error> {
        let scope = starting.startable.scope;
        let found = self.node().journal.find(scope, &starting.name).await;
        match found.map_err(reader::broken)? {
            Some(id) => self.own_child(id, parent).await,
            None => Ok(None),
        }
    }

    /// Runs an EXPRESS execution and answers with its end. A failed workflow is an answer, not an error.
    pub async fn start_sync(
        &self,
        caller: &Caller,
        request: StartRequest,
    ) -> Result<SyncResult, Error> {
        let starting = self.starting(caller, request).await?;
        if !starting.startable.express {
            let text = "This operation is not supported by this type of state machine";
            return Err(Error::rejected(Code::StateMachineTypeNotSupported, text));
        }
        let (reply, ended) = oneshot::channel();
        let (execution_arn, begin) = self.begin(
            caller,
            &starting,
            Mode::ExpressSync,
            StartReply::Ended(reply),
        );
        self.node().send(starting.id, In::Start(Box::new(begin)))?;
        let end = ended
            .await
            .map_err(|_| Error::Busy("the server is shutting down".to_owned()))?;
        let duration_ms = end.stopped_at.since_ms(starting.at);
        let (status, output, error, cause) = match end.ending {
            Ending::Succeeded { output } => (Status::Succeeded, Some(output), None, None),
            Ending::Failed { error, cause } => (Status::Failed, None, error, cause),
            Ending::TimedOut { error, cause } => (Status::TimedOut, None, error, cause),
            Ending::Aborted { error, cause } => (Status::Aborted, None, error, cause),
        };
        let execution = Execution {
            arn: execution_arn,
            machine_arn: starting.startable.arn.clone(),
            version_arn: starting.version_arn(),
            alias_arn: starting.alias_arn(),
            name: starting.name,
            status,
            started_at: starting.at,
            stopped_at: Some(end.stopped_at),
            input: starting.input,
            output,
            error,
            cause,
            trace_header: starting.trace_header,
            map_run_arn: None,
            redrive_count: 0,
            redriven_at: None,
            redrivable: Redrivable::No(NotRedrivable::Express),
            pending_redrive: false,
        };
        Ok(SyncResult {
            execution,
            billed_duration_ms: duration_ms.div_ceil(BILLED_STEP_MS).max(1) * BILLED_STEP_MS,
            billed_memory_mb: BILLED_STEP_MB,
        })
    }

    async fn starting(&self, caller: &Caller, request: StartRequest) -> Result<Starting, Error> {
        let chosen = self.startable(caller, &request.machine_arn).await?;
        let name: Arc<str> = match request.name {
            Some(name) => {
                arn::check_name(&name)?;
                name.into()
            }
            None => Uuid::new_v4().to_string().into(),
        };
        let text = request.input.as_deref().unwrap_or("{}");
        let most = if self.node().raised_limits {
            PAYLOAD_BYTES_MAX_RAISED
        } else {
            PAYLOAD_BYTES_MAX
        };
        if text.len() > most {
            let why = format!(
                "Invalid State Machine Execution Input: 'Input exceeds the maximum of {most} bytes.'"
            );
            return Err(Error::rejected(Code::InvalidExecutionInput, why));
        }
        let input = parse_input(text)?;
        let at = node::now();
        let id = self.node().new_execution_id(at)?;
        Ok(Starting {
            machine: chosen.machine,
            startable: chosen.startable,
            alias: chosen.alias,
            name,
            input,
            trace_header: request.trace_header.map(Into::into),
            parent: None,
            at,
            id,
        })
    }

    fn begin(
        &self,
        caller: &Caller,
        starting: &Starting,
        mode: Mode,
        reply: StartReply,
    ) -> (Arc<str>, Begin) {
        let express_run: Option<Arc<str>> = starting
            .startable
            .express
            .then(|| Uuid::new_v4().to_string().into());
        let execution_arn = match &express_run {
            Some(run) => starting.machine.express(&starting.name, run),
            None => starting.machine.execution(&starting.name),
        };
        let startable = &starting.startable;
        let meta = Meta {
            tenant: caller.tenant.clone(),
            machine_arn: startable.arn.clone(),
            definition: startable.definition.clone(),
            express_run,
            version_arn: starting.version_arn(),
            alias_arn: starting.alias_arn(),
            revision_id: startable.revision_id.clone(),
            revised_ms: startable.revised_ms,
            trace_header: starting.trace_header.clone(),
            parent: starting.parent,
            map_run: None,
            items: 0,
        };
        let start = Start {
            execution_arn: execution_arn.clone(),
            execution_name: starting.name.clone(),
            machine_arn: startable.arn.clone(),
            machine_name: startable.name.clone(),
            role_arn: startable.role_arn.clone(),
            version_arn: starting.version_arn(),
            alias_arn: starting.alias_arn(),
            express: startable.express,
            raised_limits: self.node().raised_limits,
            processor_of: None,
            input: starting.input.clone(),
        };
        let info = starting.info(caller, &execution_arn);
        let new = NewExecution {
            scope: startable.scope,
            version: startable.version.as_ref().map(|version| version.list),
            alias: starting.alias.as_ref().map(|alias| alias.list),
            name: starting.name.clone(),
            unique_name: !startable.express,
            started_at: starting.at,
            meta: record::encode(&meta),
        };
        let begin = Begin {
            id: starting.id,
            info: Arc::new(info),
            program: startable.program.clone(),
            start: Box::new(start),
            new,
            mode,
            reply,
        };
        (execution_arn, begin)
    }

    /// A second start under a taken name: the same call again, or a mistake.
    async fn started_before(
        &self,
        id: ExecutionId,
        arn: &Arc<str>,
        input: &Value,
    ) -> Result<StartedExecution, Error> {
        let journal = self.node().journal.as_ref();
        let row = journal.execution(id).await.map_err(reader::broken)?;
        if let Some(row) = row.filter(|row| row.view.status == Status::Running)
            && reader::input_of(journal, id).await?.as_ref() == Some(input)
        {
            return Ok(StartedExecution {
                execution_arn: arn.clone(),
                started_at: row.new.started_at,
            });
        }
        Err(already_exists(arn))
    }

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
        let standing = redrive::standing(&look.row, self.node().raised_limits);
        described.redrivable = self.redrivable(caller, &meta, standing).await?;
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
        let chosen = self.startable(caller, machine_arn).await?;
        if chosen.startable.express {
            let text = "This operation is not supported by this type of state machine";
            return Err(Error::rejected(Code::StateMachineTypeNotSupported, text));
        }
        let status_text = status
            .map(|status| format!("{status:?}"))
            .unwrap_or_default();
        let list = self.list(caller, &["executions", machine_arn, &status_text]);
        let before = list.number(&page).await?.map(ExecutionId);
        let size = pages::size(&page);
        let rows = self.node().journal.list(ListQuery {
            list: chosen.list(),
            status,
            before,
            limit: size + 1,
        });
        let rows = rows.await.map_err(reader::broken)?;
        let found = list.cut(rows, size, |row| row.id.0.to_string()).await?;
        let mut items = Vec::new();
        // Stores of earlier builds have EXPRESS executions in the list of their machine's name, which may be STANDARD now.
        for row in found.items.into_iter().filter(|row| row.new.unique_name) {
            match reader::summary(&row) {
                Ok(summary) => items.push(summary),
                // The others are shown; whoever asks for this one is told.
                Err(why @ Error::Damaged(_)) => self.node().note_damaged(&row, &why),
                Err(error) => return Err(error),
            }
        }
        Ok(Page {
            items,
            next_token: found.next_token,
        })
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
            let closed = self.closed(row.id)?;
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
        landed: crate::journal::Verdict,
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

    fn closed(&self, execution: ExecutionId) -> Result<oneshot::Receiver<()>, Error> {
        let (reply, closed) = oneshot::channel();
        self.node().send(execution, In::Wait { execution, reply })?;
        Ok(closed)
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
            let closed = self.closed(row.id)?;
            self.await_closed(row.id, closed).await?;
        }
        self.execution(caller, arn).await
    }

    /// A page of an execution's public events, ascending by id or descending.
    pub async fn history(
        &self,
        caller: &Caller,
        arn: &str,
        reverse: bool,
        page: PageRequest,
    ) -> Result<Page<HistoryEntry>, Error> {
        let (row, _) = self.execution_row(caller, arn).await?;
        let size = pages::size(&page);
        let direction = if reverse { "backward" } else { "forward" };
        let list = self.list(caller, &["history", arn, direction]);
        let start = list.number(&page).await?;
        let entries = if reverse {
            self.backward(&row, start, size).await
        } else {
            self.entries(row.id, start.unwrap_or(1), size as usize + 1)
                .await
        };
        let filling = entries.map_err(|error| reader::named(arn, error))?;
        let (full, mut entries) = (filling.is_full(), filling.entries);
        let next = entries.last().map_or(1, |last| last.id + 1);
        if !reverse && !full && next < row.next_public {
            return Err(reader::named(arn, reader::lacks(row.id, next)));
        }
        if !reverse && !full && row.view.status == Status::Running {
            self.append_live(row.id, start.unwrap_or(1), &mut entries)
                .await?;
        }
        // The last entry of a full page is the first of the next one.
        let shown = if full {
            entries.len() - 1
        } else {
            entries.len().min(size as usize)
        };
        let next_token = match entries.get(shown) {
            Some(next) => Some(list.token(&next.id.to_string()).await?),
            None => None,
        };
        entries.truncate(shown);
        Ok(Page {
            items: entries,
            next_token,
        })
    }

    /// Durable public events from that id on, until there are so many or they are too large.
    pub(crate) async fn entries(
        &self,
        id: ExecutionId,
        from: u64,
        most: usize,
    ) -> Result<Filling, Error> {
        let mut decoder = Decoder::new(self.node().journal.as_ref());
        let mut filling = Filling::new(most);
        let mut public = from;
        while !filling.is_full() {
            let range = SegmentRange::Forward { public };
            let segments = self
                .node()
                .journal
                .segments(id, range, READ_BYTES_MAX)
                .await
                .map_err(reader::broken)?;
            let found = segments.len();
            for stored in &segments {
                if filling.is_full() {
                    break;
                }
                let all = public_entries(
                    &decoder.events(id, stored).await?,
                    stored.segment.first_public,
                );
                for entry in all.into_iter().filter(|entry| entry.id >= public) {
                    reader::follows(id, &entry, from + filling.entries.len() as u64)?;
                    if !filling.push(entry) {
                        break;
                    }
                }
            }
            let next = filling.entries.last().map_or(public, |entry| entry.id + 1);
            if found == 0 || next == public {
                break;
            }
            public = next;
        }
        Ok(filling)
    }

    async fn backward(
        &self,
        row: &ExecutionRow,
        start: Option<u64>,
        size: u32,
    ) -> Result<Filling, Error> {
        let mut decoder = Decoder::new(self.node().journal.as_ref());
        let mut filling = Filling::new(size as usize + 1);
        let newest = start.unwrap_or(row.next_public.saturating_sub(1));
        let mut public = newest;
        while !filling.is_full() && public > 0 {
            let range = SegmentRange::Backward { public };
            let segments = self
                .node()
                .journal
                .segments(row.id, range, READ_BYTES_MAX)
                .await
                .map_err(reader::broken)?;
            let before = filling.entries.len();
            for stored in &segments {
                if filling.is_full() {
                    break;
                }
                let all = public_entries(
                    &decoder.events(row.id, stored).await?,
                    stored.segment.first_public,
                );
                for entry in all.into_iter().rev().filter(|entry| entry.id <= public) {
                    reader::follows(row.id, &entry, newest - filling.entries.len() as u64)?;
                    if !filling.push(entry) {
                        break;
                    }
                }
            }
            if filling.entries.len() == before {
                return Err(reader::lacks(row.id, public));
            }
            public = filling.entries.last().map_or(0, |entry| entry.id - 1);
        }
        Ok(filling)
    }

    /// Adds the starts of attempts that are in memory and not yet in the store.
    async fn append_live(
        &self,
        id: ExecutionId,
        from: u64,
        entries: &mut Vec<HistoryEntry>,
    ) -> Result<(), Error> {
        let (reply, live) = oneshot::channel();
        self.node().send(
            id,
            In::Live {
                execution: id,
                reply,
            },
        )?;
        let next = entries.last().map_or(from, |entry| entry.id + 1);
        let live = live.await.unwrap_or_default();
        // Events that were appended meanwhile are not taken twice; a gap means another page will show them.
        if live.first().is_some_and(|entry| entry.id <= next) {
            entries.extend(live.into_iter().filter(|entry| entry.id >= next));
        }
        Ok(())
    }

    /// The durable public events of an execution from its first to its last, as they come.
    pub async fn watch(&self, caller: &Caller, arn: &str) -> Result<Watch, Error> {
        let (row, _) = self.execution_row(caller, arn).await?;
        let (sender, live) = mpsc::unbounded_channel();
        self.node().send(
            row.id,
            In::Watch {
                execution: row.id,
                sender,
            },
        )?;
        Ok(Watch::new(self.clone(), row.id, live))
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

fn already_exists(arn: &str) -> Error {
    Error::rejected(
        Code::ExecutionAlreadyExists,
        format!("Execution Already Exists: '{arn}'"),
    )
}

fn parse_input(text: &str) -> Result<Value, Error> {
    let refuse = |why: &str| {
        let text = format!("Invalid State Machine Execution Input: '{why}'");
        Error::rejected(Code::InvalidExecutionInput, text)
    };
    // What is no JSON at all has no place to complain of.
    if text.trim().is_empty() {
        return Err(refuse("Invalid execution input."));
    }
    Value::parse(text).map_err(|error| refuse(&error.message))
}

/// Entries of a page being filled, up to a number of them and of bytes.
pub(crate) struct Filling {
    pub(crate) entries: Vec<HistoryEntry>,
    most: usize,
    bytes: u64,
}

impl Filling {
    fn new(most: usize) -> Filling {
        Filling {
            entries: Vec::new(),
            most,
            bytes: 0,
        }
    }

    /// Takes an entry; false when it was the last one. A page has two at least, so that going on gets on.
    fn push(&mut self, entry: HistoryEntry) -> bool {
        let usage = stepwell_interp::usage(&entry.event, Limits::of(false));
        self.bytes += usage.first().map_or(0, |payload| payload.used);
        self.entries.push(entry);
        !self.is_full()
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= self.most
            || (self.bytes > HISTORY_PAGE_BYTES_MAX && self.entries.len() > 1)
    }
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
