//! Nested executions in the simulation: the machines that tasks may start, and the starts on their way. What a call of
//! the service's own API does in production with the catalog, this does with the machines that a test named.

use std::sync::Arc;

use stepwell_asl::{Pattern, Program, Target};
use stepwell_interp::{
    ChildId, Input, MapRunInput, MapRunStart, NewChild, Reading, Run, Start, TaskId, TaskOutcome,
    TaskRequest, Timestamp,
};
use stepwell_query::Value;
use tokio::sync::oneshot;

use super::{Item, RETRY_MS, World, now, starts::meta};
use crate::{
    activities, children,
    integration::{self, Api},
    items,
    journal::{ExecutionId, NewExecution, Outgoing, Refused, Write},
    map_run,
    programs::Programs,
    reader,
    record::{self, Child, ChildStart, InboxItem, Meta, Parent},
    shard::{Begin, In, Info, Mode, StartReply},
};

/// The execution that a task's attempt asks for, or the task's outcome when it asks for none that can be.
pub fn asked_child(
    parent_arn: &str,
    request: &TaskRequest,
    is_machine: impl Fn(&str) -> bool,
) -> Result<Start, TaskOutcome> {
    let pattern = request.resource.target.pattern();
    let asked =
        integration::start_request(parent_arn, None, request).map_err(integration::missing)?;
    let refuse = |code: &str, text: String| {
        integration::refused(Api::Optimized, pattern, code, &text, parent_arn)
    };
    if !is_machine(&asked.machine_arn) {
        let text = format!("State Machine Does Not Exist: '{}'", asked.machine_arn);
        return Err(refuse("StateMachineDoesNotExist", text));
    }
    let input = Value::parse(asked.input.as_deref().unwrap_or("{}")).map_err(|error| {
        let text = format!("Invalid State Machine Execution Input: '{}'", error.message);
        refuse("InvalidExecutionInput", text)
    })?;
    let name: Arc<str> = asked.name.unwrap_or_default().into();
    let machine_arn: Arc<str> = asked.machine_arn.into();
    let meta = meta(&[0; 32], machine_arn.clone(), None);
    Ok(Start {
        execution_arn: crate::reader::execution_arn(&meta, &name),
        execution_name: name,
        machine_name: machine_arn.rsplit(':').next().unwrap_or_default().into(),
        machine_arn,
        role_arn: "arn:aws:iam::000000000000:role/test".into(),
        version_arn: None,
        alias_arn: None,
        express: false,
        raised_limits: false,
        processor_of: None,
        forked_from: None,
        input,
    })
}

/// The task's outcome when the name of its child is taken.
pub fn name_taken(parent_arn: &str, request: &TaskRequest, child_arn: &str) -> TaskOutcome {
    let pattern = request.resource.target.pattern();
    let (code, text) = (
        "ExecutionAlreadyExists",
        format!("Execution Already Exists: '{child_arn}'"),
    );
    integration::refused(Api::Optimized, pattern, code, &text, parent_arn)
}

/// What a task gets to see of the start of its child.
pub fn child_response(start: &Start, at: Timestamp) -> Value {
    children::response(&start.execution_arn, at)
}

/// The outcome of the task that waits for this run; none while it runs.
pub fn child_outcome(request: &TaskRequest, child: &Run) -> Option<TaskOutcome> {
    let of = integration::child_of(request, request.resource.target.pattern());
    let end = children::end(&child.start()?.execution_arn, child)?;
    Some(children::outcome(of, &end))
}

/// What a child of a map run begins with.
pub fn item_start(program: &Program, start: &MapRunStart, at: Timestamp, child: NewChild) -> Start {
    let begin = map_run::child_start(meta(&[0; 32], "".into(), None), program, start, at, child);
    let arn = reader::execution_arn(&begin.meta, &begin.name);
    begin.start(arn)
}

/// What a map run hears of the end of that run, its child; none while it runs.
pub fn item_ended(index: u64, child: ChildId, run: &Run) -> Option<MapRunInput> {
    let end = children::end(&run.start()?.execution_arn, run)?;
    Some(map_run::child_ended(index, child.0, &end))
}

/// The answer to a map run that reads items of its state's data; none when they lie elsewhere.
pub fn state_items(start: &MapRunStart, first: u64) -> Option<MapRunInput> {
    let ids = |count: usize| (0..count as u64).map(|n| ChildId(first + n + 1)).collect();
    match &start.source {
        Reading::State(items) => Some(items::state_page(items, first, ids)),
        Reading::Storage { .. } => None,
    }
}

/// A start on its way, for the task that asked for it.
pub(super) struct Starting {
    node: usize,
    execution: ExecutionId,
    info: Arc<Info>,
    request: TaskRequest,
    pattern: Pattern,
    parent: Parent,
    arn: Arc<str>,
    at: Timestamp,
    reply: oneshot::Receiver<Result<(), Refused>>,
}

impl World {
    /// Names a STANDARD state machine that tasks may start. Without any, the script answers for their children.
    pub fn machine(&mut self, arn: &str, definition: &str) -> Result<(), String> {
        let (_, blob) = Programs::store(definition);
        let journal = self.journal()?;
        for verdict in now(journal.commit(vec![blob])) {
            verdict.map_err(|refused| refused.to_string())?;
        }
        self.machines.insert(arn.into(), definition.to_owned());
        Ok(())
    }

    /// All executions that are in the store, by ARN.
    pub fn executions(&mut self) -> Result<Vec<(Arc<str>, ExecutionId)>, String> {
        let journal = self.journal()?;
        let mut found = Vec::new();
        for (id, arn) in &self.started {
            let row = now(journal.execution(*id)).map_err(|error| error.to_string())?;
            found.extend(row.map(|row| (arn.clone(), row.id)));
        }
        found.sort();
        Ok(found)
    }

    /// Starts an execution by a message, as a map run does: item `index` of the log `parent`.
    pub fn begin_by_message(
        &mut self,
        parent: ExecutionId,
        index: u64,
        definition: &str,
        start: &Start,
    ) -> Result<ExecutionId, String> {
        let (hash, blob) = Programs::store(definition);
        let partition = self.nodes[0]
            .partition(self.counter)
            .ok_or("the node holds no partition")?;
        let id = self.next_id(partition);
        let message = ChildStart {
            meta: meta(&hash, start.machine_arn.clone(), {
                let of = Child::Item { index, redrive: 0 };
                Some(Parent { log: parent.0, of })
            }),
            scope: 2,
            name: start.execution_name.clone(),
            unique_name: true,
            started_ms: self.now().0,
            machine_name: start.machine_name.clone(),
            role_arn: start.role_arn.clone(),
            express: start.express,
            raised_limits: start.raised_limits,
            processor_of: start.processor_of.clone(),
            input: start.input.clone(),
        };
        let payload = record::encode(&InboxItem::Begin(Box::new(message)));
        let post = Write::Post(Outgoing { to: id, payload });
        let journal = self.journal()?;
        for verdict in now(journal.commit(vec![blob, post])) {
            verdict.map_err(|refused| refused.to_string())?;
        }
        self.started.insert(id, start.execution_arn.clone());
        Ok(id)
    }

    /// Whether the world serves that task itself.
    pub(super) fn serves(&self, request: &TaskRequest) -> bool {
        matches!(request.resource.target, Target::StartExecution(_)) && !self.machines.is_empty()
    }

    /// Starts the child that a task asks for.
    pub(super) fn serve(
        &mut self,
        node: usize,
        execution: ExecutionId,
        info: Arc<Info>,
        request: TaskRequest,
    ) {
        let pattern = request.resource.target.pattern();
        let known = |arn: &str| self.machines.contains_key(arn);
        let start = match asked_child(&info.execution_arn, &request, known) {
            Ok(start) => start,
            Err(outcome) => return self.ended(node, execution, request.task, outcome),
        };
        let Some(partition) = self.nodes[node].partition(self.counter) else {
            return self.serve_again(node, execution, info, request);
        };
        let id = self.next_id(partition);
        let parent = Parent {
            log: execution.0,
            of: integration::child_of(&request, pattern),
        };
        let (reply, started) = oneshot::channel();
        let arn = start.execution_arn.clone();
        let Some(begin) = self.child(id, start, parent, reply) else {
            return self.serve_again(node, execution, info, request);
        };
        self.started.insert(id, arn.clone());
        self.children.push(Starting {
            node,
            execution,
            info,
            request,
            pattern,
            parent,
            arn,
            at: self.now(),
            reply: started,
        });
        self.hand(node, In::Start(Box::new(begin)));
    }

    fn child(
        &self,
        id: ExecutionId,
        start: Start,
        parent: Parent,
        reply: oneshot::Sender<Result<(), Refused>>,
    ) -> Option<Begin> {
        let definition = self.machines.get(&start.machine_arn)?;
        let program = stepwell_asl::load_stored(definition).ok()?;
        let (hash, _) = Programs::store(definition);
        let meta = meta(&hash, start.machine_arn.clone(), Some(parent));
        let info = Info {
            tenant: meta.tenant.clone(),
            execution_arn: start.execution_arn.clone(),
            machine_arn: start.machine_arn.clone(),
            trace_header: None,
            parent: Some(parent),
            definition: meta.definition.as_str().into(),
            revision_id: None,
            revised_ms: 0,
            logging: None,
            line: None,
            traced: false,
        };
        Some(Begin {
            id,
            info: Arc::new(info),
            program: Arc::new(program),
            new: NewExecution {
                scope: activities::scope(&start.machine_arn),
                version: None,
                alias: None,
                name: start.execution_name.clone(),
                unique_name: true,
                started_at: self.now(),
                meta: record::encode(&meta),
            },
            first: Input::Started(Box::new(start)),
            mode: Mode::Durable,
            reply: StartReply::Started(reply, None),
        })
    }

    /// Tells tasks of the starts that were answered.
    pub(super) fn collect_children(&mut self) {
        for mut starting in std::mem::take(&mut self.children) {
            match starting.reply.try_recv() {
                Ok(Ok(())) => {
                    let (arn, at) = (starting.arn.clone(), starting.at);
                    self.child_started(starting, arn, at);
                }
                Ok(Err(Refused::NameTaken { execution })) => self.name_taken(starting, execution),
                Ok(Err(_)) => {
                    let Starting {
                        node,
                        execution,
                        info,
                        request,
                        ..
                    } = starting;
                    self.serve_again(node, execution, info, request);
                }
                // Its node is gone, and with it the attempt.
                Err(oneshot::error::TryRecvError::Closed) => {}
                Err(oneshot::error::TryRecvError::Empty) => self.children.push(starting),
            }
        }
    }

    fn name_taken(&mut self, starting: Starting, child: ExecutionId) {
        let row = self
            .journal()
            .ok()
            .and_then(|journal| now(journal.execution(child)).ok().flatten());
        let meta: Option<Meta> = row
            .as_ref()
            .and_then(|row| record::decode(&row.new.meta).ok());
        let (Some(row), Some(meta)) = (row, meta) else {
            return;
        };
        if meta.parent == Some(starting.parent) {
            let arn = crate::reader::execution_arn(&meta, &row.new.name);
            return self.child_started(starting, arn, row.new.started_at);
        }
        let outcome = name_taken(
            &starting.info.execution_arn,
            &starting.request,
            &starting.arn,
        );
        self.ended(
            starting.node,
            starting.execution,
            starting.request.task,
            outcome,
        );
    }

    fn child_started(&mut self, starting: Starting, arn: Arc<str>, at: Timestamp) {
        let output = children::response(&arn, at);
        let task = starting.request.task;
        let input = match starting.pattern {
            Pattern::RequestResponse => Input::TaskEnded {
                task,
                outcome: TaskOutcome::Succeeded { output },
            },
            Pattern::WaitForTaskToken => Input::TaskSubmitted { task, output },
            // The child itself tells of its start.
            Pattern::Sync | Pattern::Sync2 => return,
        };
        let news = Item::News {
            node: starting.node,
            execution: starting.execution,
            input,
        };
        self.agenda.plan(self.now(), news);
    }

    fn ended(&mut self, node: usize, execution: ExecutionId, task: TaskId, outcome: TaskOutcome) {
        let news = Item::News {
            node,
            execution,
            input: Input::TaskEnded { task, outcome },
        };
        self.agenda.plan(self.now(), news);
    }

    fn serve_again(
        &mut self,
        node: usize,
        execution: ExecutionId,
        info: Arc<Info>,
        request: TaskRequest,
    ) {
        let item = Item::Child {
            node,
            execution,
            info,
            request: Box::new(request),
        };
        self.agenda.plan(self.now().plus_ms(RETRY_MS), item);
    }
}
