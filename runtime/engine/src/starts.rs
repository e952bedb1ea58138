//! Calls that start executions. Hides what a second start under a taken name comes to.

mod fork;
mod starting;
mod sync;

use std::sync::Arc;

use stepwell_interp::{Input, Start};
use stepwell_query::Value;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::{
    api::{Caller, StartRequest, StartedExecution, Status},
    arn,
    engine::Engine,
    error::{Code, Error},
    executions::refusal,
    journal::{ExecutionId, NewExecution, Refused},
    limits::{PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MAX_RAISED},
    lines::Reservation,
    node, reader,
    record::{self, Child, Meta, Parent},
    shard::{Begin, In, Mode, StartReply},
    startable::Chosen,
};
use starting::Starting;

/// A start under a name that is its own: whoever has the name was started by the same.
pub(crate) struct StartedOnce {
    pub(crate) started: StartedExecution,
    /// The execution that had the name.
    pub(crate) before: Option<ExecutionId>,
}

/// What became of a start.
enum Begun {
    Now(StartedExecution),
    /// That execution has the name; the ARN is the one both have.
    Before(ExecutionId, Arc<str>),
}

impl Engine {
    /// Starts an execution; it is durable when this answers. STANDARD: the same name and input while it runs answers
    /// the same execution.
    pub async fn start(
        &self,
        caller: &Caller,
        request: StartRequest,
    ) -> Result<StartedExecution, Error> {
        let mut starting = self.starting(caller, request).await?;
        self.admit(&caller.tenant, starting.operation())?;
        self.line_up(caller, &mut starting).await?;
        match self.begun(caller, &starting).await? {
            Begun::Now(started) => Ok(started),
            Begun::Before(execution, arn) => self.started_before(execution, &arn, &starting).await,
        }
    }

    /// Starts an execution whose name says all that makes it this start: one of that name is the same, whatever became of
    /// it. Of EXPRESS ones too, as long as it is known.
    pub(crate) async fn start_once(
        &self,
        caller: &Caller,
        request: StartRequest,
    ) -> Result<StartedOnce, Error> {
        let starting = self.starting(caller, request).await?;
        self.admit(&caller.tenant, starting.operation())?;
        self.begun_once(caller, starting).await
    }

    /// The same for a start that was counted against the rates before.
    pub(crate) async fn start_once_admitted(
        &self,
        caller: &Caller,
        request: StartRequest,
    ) -> Result<StartedOnce, Error> {
        let starting = self.starting(caller, request).await?;
        self.begun_once(caller, starting).await
    }

    async fn begun_once(
        &self,
        caller: &Caller,
        mut starting: Starting,
    ) -> Result<StartedOnce, Error> {
        self.line_up(caller, &mut starting).await?;
        if starting.startable.express {
            let scope = starting.startable.scope;
            let found = self.node().journal.find(scope, &starting.name).await;
            if let Some(before) = found.map_err(reader::broken)? {
                return self.named_before(before).await;
            }
        }
        match self.begun(caller, &starting).await? {
            Begun::Now(started) => Ok(StartedOnce {
                started,
                before: None,
            }),
            Begun::Before(before, _) => self.named_before(before).await,
        }
    }

    async fn named_before(&self, before: ExecutionId) -> Result<StartedOnce, Error> {
        let row = self.node().journal.execution(before).await;
        let row = row.map_err(reader::broken)?;
        let row = row.ok_or_else(|| Error::Busy("the execution is being deleted".to_owned()))?;
        let meta: Meta = record::decode(&row.new.meta)?;
        Ok(StartedOnce {
            started: StartedExecution {
                execution_arn: reader::execution_arn(&meta, &row.new.name),
                started_at: row.new.started_at,
            },
            before: Some(before),
        })
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
            return Err(wrong_type());
        }
        self.admit(&caller.tenant, starting.operation())?;
        self.line_up(caller, &mut starting).await?;
        if express && let Some(started) = self.own_express(&starting, parent).await? {
            return Ok(started);
        }
        let (execution, arn) = match self.begun(caller, &starting).await? {
            Begun::Now(started) => return Ok(started),
            Begun::Before(execution, arn) => (execution, arn),
        };
        if let Some(started) = self.own_child(execution, parent).await? {
            return Ok(started);
        }
        if waited_for {
            return Err(already_exists(&arn));
        }
        self.started_before(execution, &arn, &starting).await
    }

    /// Starts an execution of what the engine chose itself, under a name of its own; gives its ARN.
    pub(crate) async fn start_chosen(
        &self,
        caller: &Caller,
        chosen: Chosen,
        name: &str,
        input: &str,
    ) -> Result<Arc<str>, Error> {
        let at = node::now();
        let starting = Starting {
            machine: chosen.machine,
            startable: chosen.startable,
            alias: chosen.alias,
            name: name.into(),
            input: parse_input(input)?,
            trace_header: None,
            parent: None,
            at,
            id: self.node().new_execution_id(at)?,
            line: None,
            fork: None,
        };
        match self.begun(caller, &starting).await? {
            Begun::Now(started) => Ok(started.execution_arn),
            Begun::Before(_, arn) => Err(already_exists(&arn)),
        }
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
        let input = self.checked_input(caller, text)?;
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
            line: None,
            fork: None,
        })
    }

    /// Finds the line that it stands in, once the rates let it start: its key may take long to compute.
    async fn line_up(&self, caller: &Caller, starting: &mut Starting) -> Result<(), Error> {
        starting.line = self
            .in_line(caller, &starting.startable, &starting.input)
            .await?;
        Ok(())
    }

    /// The input of an execution, within its bound.
    fn checked_input(&self, caller: &Caller, text: &str) -> Result<Value, Error> {
        let most = if self.raised_limits(&caller.tenant) {
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
        parse_input(text)
    }

    /// Begins an execution; answers when its start is durable, or its name is found to be taken.
    async fn begun(&self, caller: &Caller, starting: &Starting) -> Result<Begun, Error> {
        let mode = if starting.startable.express {
            Mode::ExpressAsync
        } else {
            Mode::Durable
        };
        let reservation = match self.place_in_line(caller, starting, false).await {
            Ok(reservation) => reservation,
            // The same start again is none.
            Err(refused) => return self.begun_before(starting).await?.ok_or(refused),
        };
        // It goes with the start, whatever becomes of who called.
        let place = match self.node().allowances.start(&caller.tenant) {
            Ok(place) => place,
            // A start under a taken name begins nothing, whatever is full.
            Err(full) => return self.begun_before(starting).await?.ok_or(full),
        };
        let (reply, started) = oneshot::channel();
        let reply = StartReply::Started(reply, Some(place));
        let (execution_arn, begin) = self.begin(caller, starting, mode, reply);
        self.node().send(starting.id, In::Start(Box::new(begin)))?;
        match started.await {
            Ok(Ok(())) => {
                // Its line hears of it from its first append.
                reservation.into_iter().for_each(Reservation::settle);
                Ok(Begun::Now(StartedExecution {
                    execution_arn,
                    started_at: starting.at,
                }))
            }
            Ok(Err(Refused::NameTaken { execution })) => {
                Ok(Begun::Before(execution, execution_arn))
            }
            Ok(Err(refused)) => Err(refusal(refused)),
            Err(_) => Err(Error::Busy("the server is shutting down".to_owned())),
        }
    }

    /// The execution that has the name, where that is unique.
    async fn begun_before(&self, starting: &Starting) -> Result<Option<Begun>, Error> {
        if starting.startable.express {
            return Ok(None);
        }
        let scope = starting.startable.scope;
        let found = self.node().journal.find(scope, &starting.name).await;
        let arn = starting.machine.execution(&starting.name);
        Ok(found
            .map_err(reader::broken)?
            .map(|execution| Begun::Before(execution, arn)))
    }

    /// The place that it has until what is durable tells of it, where it must have one at once.
    async fn place_in_line(
        &self,
        caller: &Caller,
        starting: &Starting,
        synchronous: bool,
    ) -> Result<Option<Reservation>, Error> {
        let Some(line) = &starting.line else {
            return Ok(None);
        };
        self.reserve(caller, &starting.startable, line, starting.id, synchronous)
            .await
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
        let start = Start {
            execution_arn: execution_arn.clone(),
            execution_name: starting.name.clone(),
            machine_arn: startable.arn.clone(),
            machine_name: startable.name.clone(),
            role_arn: startable.role_arn.clone(),
            version_arn: starting.version_arn(),
            alias_arn: starting.alias_arn(),
            express: startable.express,
            raised_limits: self.raised_limits(&caller.tenant),
            processor_of: None,
            forked_from: starting.fork.as_ref().map(|fork| fork.from.clone()),
            input: starting.input.clone(),
        };
        let first = match &starting.fork {
            Some(fork) => Input::Forked(Arc::new(fork.fork(start))),
            None => Input::Started(Box::new(start)),
        };
        let info = starting.info(caller, &execution_arn);
        let new = NewExecution {
            scope: startable.scope,
            version: startable.version.as_ref().map(|version| version.list),
            alias: starting.alias.as_ref().map(|alias| alias.list),
            name: starting.name.clone(),
            unique_name: !startable.express,
            started_at: starting.at,
            meta: record::encode(&starting.meta(caller, express_run)),
        };
        let begin = Begin {
            id: starting.id,
            info: Arc::new(info),
            program: startable.program.clone(),
            first,
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
        starting: &Starting,
    ) -> Result<StartedExecution, Error> {
        let journal = self.node().journal.as_ref();
        let row = journal.execution(id).await.map_err(reader::broken)?;
        if let Some(row) = row.filter(|row| row.view.status == Status::Running)
            && let Some(known) = reader::start_of_execution(journal, id).await?
            && starting.is_again(&known)
        {
            return Ok(StartedExecution {
                execution_arn: arn.clone(),
                started_at: row.new.started_at,
            });
        }
        Err(already_exists(arn))
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
}

fn already_exists(arn: &str) -> Error {
    Error::rejected(
        Code::ExecutionAlreadyExists,
        format!("Execution Already Exists: '{arn}'"),
    )
}

/// The call is none for machines of this type.
pub(crate) fn wrong_type() -> Error {
    let text = "This operation is not supported by this type of state machine";
    Error::rejected(Code::StateMachineTypeNotSupported, text)
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
