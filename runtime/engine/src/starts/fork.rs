//! ForkExecution: a new STANDARD execution that goes on from any point of another one. Hides how the point is found in the
//! other one's log, and that a second call under the same name is the same fork.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use stepwell_interp::{
    Assigned, Event, Fork, ForkPoint, ForkedFrom, Limits, NotForkable, Run, Start, What,
};
use stepwell_query::Value;
use uuid::Uuid;

use super::{Begun, Starting, wrong_type};
use crate::{
    api::{Caller, ForkRequest, ForkedExecution},
    arn::{self, MachineArn},
    dispatch::hex,
    engine::Engine,
    error::{Code, Error},
    functions,
    journal::{ExecutionId, ExecutionRow},
    limits::FORK_BYTES_MAX,
    node,
    programs::Programs,
    reader,
    record::{self, InLine, Meta},
    redrive,
    startable::{Chosen, Startable},
};

/// What a fork begins with, but for its own start.
pub(super) struct Forking {
    past: Arc<[Event]>,
    input: Option<Value>,
    assigned: Assigned,
    pub(super) from: Arc<ForkedFrom>,
    /// The caller named the event.
    named: bool,
}

impl Forking {
    pub(super) fn fork(&self, start: Start) -> Fork {
        Fork {
            start,
            past: self.past.clone(),
            input: self.input.clone(),
            assigned: self.assigned.clone(),
        }
    }

    /// Whether another call has begun this fork.
    pub(super) fn is_again(&self, known: &ForkedFrom) -> bool {
        known.execution_arn == self.from.execution_arn
            && known.changes == self.from.changes
            && (known.event == self.from.event || !self.named)
    }
}

/// What the caller changes, read.
struct Changes {
    input: Option<Value>,
    assigned: Assigned,
}

/// What the fork runs.
struct Runs {
    chosen: Chosen,
    /// A definition that the store may not have.
    fresh: Option<Arc<str>>,
}

impl Runs {
    fn of(chosen: Chosen, startable: Startable, fresh: Option<Arc<str>>) -> Runs {
        Runs {
            chosen: Chosen {
                startable: Arc::new(startable),
                ..chosen
            },
            fresh,
        }
    }
}

/// The events of the other execution up to the point, and what they fold to.
struct Past {
    run: Run,
    events: Vec<Event>,
    /// Id of the last one.
    event: u64,
    point: ForkPoint,
}

impl Engine {
    /// Starts an execution that goes on from an event of another one, which may run or have ended; durable when this
    /// answers. What happened up to there is recorded again and not done again. The same name and changes while the fork
    /// runs answer the same execution.
    ///
    /// # Errors
    /// [`Code::ExecutionNotForkable`] with the reason where it cannot go on there; those of [`Engine::start`].
    pub async fn fork(
        &self,
        caller: &Caller,
        request: ForkRequest,
    ) -> Result<ForkedExecution, Error> {
        let origin = &*request.execution_arn;
        let (row, machine) = self.forkable(caller, origin).await?;
        let meta: Meta =
            record::decode(&row.new.meta).map_err(|error| reader::named(origin, error))?;
        let changes = self.changes(caller, &request)?;
        let runs = self.runs(caller, &request, &meta, &machine).await?;
        self.admit(&caller.tenant, "StartExecution")?;
        let past = self.past(&row, origin, request.event_id).await?;
        let raised = self.raised_limits(&caller.tenant);
        check(origin, &past, &changes, &runs.chosen.startable, raised)?;
        let new_variables = past.run.without(&changes.assigned);
        if let Some(definition) = runs.fresh {
            let machine = &runs.chosen.startable.arn;
            self.keep_definition(&caller.tenant, machine, &definition)
                .await?;
        }
        let from = ForkedFrom {
            execution_arn: origin.into(),
            event: past.event,
            changes: digest(&request, &changes).into(),
        };
        let starting = self
            .forking(caller, request, runs.chosen, past, changes, from)
            .await?;
        match self.begun(caller, &starting).await? {
            Begun::Now(started) => Ok(ForkedExecution {
                execution_arn: started.execution_arn,
                started_at: started.started_at,
                event_id: starting.fork.map_or(0, |fork| fork.from.event),
                new_variables,
            }),
            Begun::Before(id, arn) => {
                let before = self.forked_before(id, &arn, &starting).await?;
                Ok(ForkedExecution {
                    new_variables,
                    ..before
                })
            }
        }
    }

    /// The execution by that ARN, if its kind can be forked.
    async fn forkable(
        &self,
        caller: &Caller,
        origin: &str,
    ) -> Result<(ExecutionRow, MachineArn), Error> {
        if origin.split(':').nth(5) == Some("express") {
            let why = "an execution of an EXPRESS state machine keeps no history to go on from; start it again with its input";
            return Err(refused(origin, why));
        }
        let (row, machine) = self.execution_row(caller, origin).await?;
        if functions::is_of_events(&machine) {
            let why = "it is a call of a function that nobody waits for, which has no other state to go on from; redrive it if it failed, or call the function again";
            return Err(refused(origin, why));
        }
        let meta: Meta =
            record::decode(&row.new.meta).map_err(|error| reader::named(origin, error))?;
        if redrive::is_item(&meta) {
            let why = "it is a child of a map run, whose results go there; fork the execution of its parent before the Map state";
            return Err(refused(origin, why));
        }
        Ok((row, machine))
    }

    fn changes(&self, caller: &Caller, request: &ForkRequest) -> Result<Changes, Error> {
        let input = request.input.as_deref();
        let input = input
            .map(|text| self.checked_input(caller, text))
            .transpose()?;
        let Some(text) = request.variables.as_deref() else {
            return Ok(Changes {
                input,
                assigned: Arc::new([]),
            });
        };
        let wrong = |why: String| Error::rejected(Code::ValidationException, why);
        let read =
            Value::parse(text).map_err(|error| wrong(format!("variables: {}", error.message)))?;
        let Value::Object(variables) = read else {
            let why =
                "variables: a JSON object of names and values is expected, such as {\"count\": 1}";
            return Err(wrong(why.to_owned()));
        };
        if let Some(why) = variables
            .keys()
            .find_map(|name| stepwell_asl::variable_name_fault(name))
        {
            return Err(wrong(format!("variables: {why}")));
        }
        let assigned = variables.iter();
        let assigned = assigned.map(|(name, value)| (name.clone(), value.clone()));
        Ok(Changes {
            input,
            assigned: assigned.collect(),
        })
    }

    /// What the fork runs: what the caller names, or else what the other execution does.
    async fn runs(
        &self,
        caller: &Caller,
        request: &ForkRequest,
        meta: &Meta,
        machine: &MachineArn,
    ) -> Result<Runs, Error> {
        let origin = &*request.execution_arn;
        if request.definition.is_some() && request.machine_arn.is_some() {
            let why = "Give either a definition or the stateMachineArn of a state machine, version or alias that has it, not both";
            return Err(Error::rejected(Code::ValidationException, why));
        }
        let asked = request.machine_arn.as_deref().unwrap_or(&meta.machine_arn);
        let chosen = self.startable(caller, asked).await?;
        if chosen.machine != *machine {
            let why = format!(
                "it is no execution of {}; name its own state machine, or a version or alias of that",
                chosen.machine
            );
            return Err(refused(origin, &why));
        }
        if chosen.startable.express {
            return Err(wrong_type());
        }
        if request.machine_arn.is_some() {
            return Ok(Runs {
                chosen,
                fresh: None,
            });
        }
        match request.definition.as_deref() {
            Some(text) => self.runs_text(caller, chosen, text),
            None => self.runs_on(chosen, meta).await,
        }
    }

    /// The definition that the other execution runs.
    async fn runs_on(&self, chosen: Chosen, meta: &Meta) -> Result<Runs, Error> {
        let (_, program) = self.definition(&meta.definition).await?;
        let startable = Startable {
            definition: meta.definition.clone(),
            program,
            revision_id: meta.revision_id.clone(),
            revised_ms: meta.revised_ms,
            ..(*chosen.startable).clone()
        };
        Ok(Runs::of(chosen, startable, None))
    }

    /// A definition that the caller brings.
    fn runs_text(&self, caller: &Caller, chosen: Chosen, text: &str) -> Result<Runs, Error> {
        let program = Arc::new(self.check_standard(caller, text)?);
        let (hash, _) = Programs::store(text);
        self.node()
            .programs
            .remember(hash, text.into(), program.clone());
        let startable = Startable {
            definition: hex(&hash),
            program,
            revision_id: None,
            revised_ms: 0,
            ..(*chosen.startable).clone()
        };
        Ok(Runs::of(chosen, startable, Some(text.into())))
    }

    /// The other execution's events up to that one, or up to the last after which it was about to enter a state.
    async fn past(
        &self,
        row: &ExecutionRow,
        origin: &str,
        wanted: Option<u64>,
    ) -> Result<Past, Error> {
        let mut search = Search::new(wanted);
        let journal = self.node().journal.as_ref();
        let read = reader::each_event(journal, row, |event| search.take(event)).await;
        read.map_err(|error| reader::named(origin, error))?;
        search.found(origin)
    }

    async fn forking(
        &self,
        caller: &Caller,
        request: ForkRequest,
        chosen: Chosen,
        past: Past,
        changes: Changes,
        from: ForkedFrom,
    ) -> Result<Starting, Error> {
        let name: Arc<str> = match request.name {
            Some(name) => {
                arn::check_name(&name)?;
                name.into()
            }
            None => Uuid::new_v4().to_string().into(),
        };
        let input = past.run.start().map(|start| start.input.clone());
        // Nothing has read the execution's own input yet.
        let fresh = past.event == 1;
        let (input, next) = match changes.input {
            Some(changed) if fresh => (Some(changed), None),
            changed => (input, changed),
        };
        let input = input.unwrap_or_default();
        let line = self.in_line(caller, &chosen.startable, &input).await?;
        // Its past, and the event that ends it.
        let begins = past.events.len() as u64 + 1;
        let line = line.map(|line| InLine { begins, ..line });
        let at = node::now();
        Ok(Starting {
            machine: chosen.machine,
            startable: chosen.startable,
            alias: chosen.alias,
            name,
            input,
            trace_header: request.trace_header.map(Into::into),
            parent: None,
            at,
            id: self.node().new_execution_id(at)?,
            line,
            fork: Some(Box::new(Forking {
                past: past.events.into(),
                input: next,
                assigned: changes.assigned,
                from: Arc::new(from),
                named: request.event_id.is_some(),
            })),
        })
    }

    /// A second fork under a taken name: the same call again, or a mistake.
    async fn forked_before(
        &self,
        id: ExecutionId,
        arn: &Arc<str>,
        starting: &Starting,
    ) -> Result<ForkedExecution, Error> {
        let started = self.started_before(id, arn, starting).await?;
        let start = reader::start_of_execution(self.node().journal.as_ref(), id).await?;
        let from = start.and_then(|start| start.forked_from);
        Ok(ForkedExecution {
            execution_arn: started.execution_arn,
            started_at: started.started_at,
            event_id: from.map_or(0, |from| from.event),
            new_variables: Vec::new(),
        })
    }
}

/// Whether the fork can go on from there with what it is to run and what is changed.
fn check(
    origin: &str,
    past: &Past,
    changes: &Changes,
    startable: &Startable,
    raised: bool,
) -> Result<(), Error> {
    let (event, limits) = (past.event, Limits::of(raised));
    if past.run.next_public_id() >= limits.history_events_max {
        let most = limits.history_events_max;
        let why = format!(
            "the {event} events up to there fill its history of at most {most} events; fork at an earlier one"
        );
        return Err(refused(origin, &why));
    }
    let why = changes.input.as_ref().and_then(|_| match &past.point {
        ForkPoint::Between => None,
        ForkPoint::Within(state) => Some(format!(
            "at event {event} it is within the state '{state}', which has its input; its input is changed by a fork before it is entered"
        )),
        ForkPoint::AtTheEnd => Some(format!(
            "at event {event} it has left its last state, and none is entered that would have an input; fork at an earlier event"
        )),
    });
    if let Some(why) = why {
        return Err(refused(origin, &why));
    }
    // At its start it begins with whatever state the definition begins with.
    if event > 1 {
        let fits = past.run.fits(&startable.program);
        fits.map_err(|why| refused(origin, &format!("at event {event} {why}; fork at an earlier event, or keep that state in the definition")))?;
    }
    let assigned = past.run.may_assign(&changes.assigned, limits);
    assigned.map_err(|why| Error::rejected(Code::ValidationException, format!("variables: {why}")))
}

/// Looks for the point while the log is read.
struct Search {
    wanted: Option<u64>,
    run: Run,
    events: Vec<Event>,
    bytes: u64,
    /// How many events lead to the last point between two states, and its id.
    last: Option<(usize, u64)>,
    /// What was found at the event that is wanted.
    found: Option<Result<ForkPoint, NotForkable>>,
    /// All that belongs to it was taken.
    past: bool,
    /// The events hold too much.
    over: bool,
}

impl Search {
    fn new(wanted: Option<u64>) -> Search {
        Search {
            wanted,
            run: Run::default(),
            events: Vec::new(),
            bytes: 0,
            last: None,
            found: None,
            past: false,
            over: false,
        }
    }

    fn take(&mut self, event: &Event) {
        // What a fork of a fork went on with belongs to the point.
        let changed = matches!(event.what, What::Forked { .. });
        if self.over || self.past || (self.found.is_some() && !changed) {
            self.past |= self.found.is_some();
            return;
        }
        let usage = stepwell_interp::usage(event, Limits::of(false));
        self.bytes += usage.first().map_or(0, |payload| payload.used);
        self.over = self.bytes > FORK_BYTES_MAX;
        self.run.evolve(event);
        self.events.push(event.clone());
        if !event.what.is_public() {
            if let Some((events, _)) = &mut self.last
                && changed
            {
                *events += usize::from(*events + 1 == self.events.len());
            }
            return;
        }
        let id = self.run.next_public_id() - 1;
        let point = self.run.fork_point();
        if point == Ok(ForkPoint::Between) {
            self.last = Some((self.events.len(), id));
        }
        if self.wanted == Some(id) {
            self.found = Some(point);
        }
    }

    fn found(mut self, origin: &str) -> Result<Past, Error> {
        if self.over {
            let most = FORK_BYTES_MAX >> 20;
            let why = format!(
                "its events up to there hold more than {most} MiB of inputs and outputs; fork at an earlier event"
            );
            return Err(refused(origin, &why));
        }
        let before = self.last.map_or(0, |(_, id)| id);
        let (event, point) = match (self.wanted, self.found.take()) {
            (Some(event), Some(Ok(point))) => (event, point),
            (Some(event), Some(Err(why))) => {
                let why = format!(
                    "event {event} is no point to go on from: {why}; the last one before it is event {before}"
                );
                return Err(refused(origin, &why));
            }
            (Some(event), None) => {
                let last = self.run.next_public_id() - 1;
                let why = format!(
                    "it has no event {event}; its events are 1 to {last}, and the last one to go on from is event {before}"
                );
                return Err(refused(origin, &why));
            }
            (None, _) => {
                self.go_back();
                (before, ForkPoint::Between)
            }
        };
        Ok(Past {
            run: self.run,
            events: self.events,
            event,
            point,
        })
    }

    /// Forgets what came after the last point between two states.
    fn go_back(&mut self) {
        self.events
            .truncate(self.last.map_or(0, |(events, _)| events));
        self.run = Run::default();
        for event in &self.events {
            self.run.evolve(event);
        }
    }
}

/// What is changed, as a hash: the same call gives the same.
fn digest(request: &ForkRequest, changes: &Changes) -> String {
    let members = changes.assigned.iter();
    let variables = Value::object(members.map(|(name, value)| (name.clone(), value.clone())));
    let asked = [
        request.definition.clone(),
        request.machine_arn.clone(),
        changes.input.as_ref().map(Value::to_json),
        Some(variables.to_json()),
    ];
    let mut hash = Sha256::new();
    for text in asked {
        // Lengths keep apart what is beside each other.
        let text = text.map_or_else(|| "-".to_owned(), |text| format!("{}:{text}", text.len()));
        hash.update(text.as_bytes());
    }
    hex(&hash.finalize())
}

fn refused(origin: &str, why: &str) -> Error {
    let text = format!("Execution Not Forkable: '{origin}': {why}");
    Error::rejected(Code::ExecutionNotForkable, text)
}
