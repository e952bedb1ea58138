//! What the expressions of a state read besides its data: the context object and the variables, as of the state's
//! entry. Hides how the context object is put together; it is made only when an expression asks for it.

use std::sync::Arc;

use stepwell_query::{Bindings, Effort, ObjectBuilder, Scope, Sources, Value};

use crate::{
    Timestamp,
    border::TaskToken,
    event::StateKind,
    probe::{InspectionData, Watch},
    run::{FrameId, Items, Run, Visit},
};

/// One state at one moment.
pub(crate) struct Moment<'a> {
    pub(crate) run: &'a Run,
    pub(crate) frame: FrameId,
    pub(crate) visit: &'a Visit,
    pub(crate) at: Timestamp,
    /// The token of the attempt that is being scheduled.
    pub(crate) token: Option<&'a TaskToken>,
    /// The iteration that is about to start, in a Map's own frame.
    pub(crate) iteration: Option<u32>,
    pub(crate) effort: &'a Effort,
    /// `Map.Item` of the context object, where no iteration starts.
    pub(crate) item: Option<&'a Value>,
    /// Who looks on, when the state is tried alone.
    pub(crate) watch: Option<&'a Watch>,
}

impl<'a> Moment<'a> {
    /// The state that the frame is in.
    pub(crate) fn of(
        run: &'a Run,
        frame: FrameId,
        at: Timestamp,
        effort: &'a Effort,
    ) -> Option<Moment<'a>> {
        let visit = run.frame(frame)?.visit()?;
        Some(Moment {
            run,
            frame,
            visit,
            at,
            token: None,
            iteration: None,
            effort,
            item: None,
            watch: None,
        })
    }

    /// Tells who looks on.
    pub(crate) fn note(&self, note: impl FnOnce(&mut InspectionData)) {
        if let Some(watch) = self.watch {
            watch.note(note);
        }
    }

    /// JSONPath sources with this `$`.
    pub(crate) fn sources<'b>(&'b self, input: &'b Value) -> Sources<'b> {
        Sources::new(input, self)
    }

    /// JSONata bindings with the state's input.
    pub(crate) fn bindings(&self) -> Bindings<'_> {
        Bindings::new(
            &self.visit.input,
            self,
            i64::try_from(self.at.0).unwrap_or(i64::MAX),
        )
    }

    fn map_item(&self) -> Option<Value> {
        if let Some(item) = self.item {
            return Some(item.clone());
        }
        if let (Some(index), Some(flows)) = (self.iteration, self.visit.flows.as_deref()) {
            return item(&flows.items, index);
        }
        // The innermost iteration around this state.
        let mut frame = self.run.frame(self.frame)?;
        loop {
            let (parent, index) = frame.parent?;
            frame = self.run.frame(parent)?;
            let found = frame
                .visit()
                .and_then(|visit| visit.flows.as_deref())
                .and_then(|flows| item(&flows.items, index));
            if found.is_some() {
                return found;
            }
        }
    }
}

impl Scope for Moment<'_> {
    fn context(&self) -> Value {
        if let Some(given) = self.watch.and_then(|watch| watch.context.as_ref()) {
            return given_context(given, self.item);
        }
        let mut context = ObjectBuilder::with_capacity(5);
        context.insert("Execution", execution(self.run, self.watch.is_some()));
        context.insert("StateMachine", machine(self.run));
        context.insert("State", state(self.visit));
        if let Some(token) = self.token {
            context.insert(
                "Task",
                Value::object([("Token", Value::from(token.0.clone()))]),
            );
        }
        if let Some(item) = self.map_item() {
            context.insert("Map", Value::object([("Item", item)]));
        }
        context.into()
    }

    fn variable(&self, name: &str) -> Option<Value> {
        self.run.variable(self.frame, name).cloned()
    }

    fn effort(&self) -> Option<&Effort> {
        Some(self.effort)
    }
}

/// `alone` when there is no such execution: it cannot be redriven, and may have no role.
fn execution(run: &Run, alone: bool) -> Value {
    let Some(start) = run.start() else {
        return Value::empty_object();
    };
    let text = |text: &Arc<str>| Value::from(text.clone());
    let role_arn = match &start.role_arn {
        none if alone && none.is_empty() => Value::Null,
        role_arn => text(role_arn),
    };
    let mut execution = ObjectBuilder::with_capacity(6);
    execution
        .insert("Id", text(&start.execution_arn))
        .insert("Input", start.input.clone())
        .insert("StartTime", run.started_at().to_string())
        .insert("Name", text(&start.execution_name))
        .insert("RoleArn", role_arn);
    if !alone {
        // An EXPRESS execution does not go on, it starts anew.
        let redriven_at = run.redriven_at().filter(|_| !start.express);
        let redrives = redriven_at.map_or(0, |_| run.redrives());
        execution.insert("RedriveCount", redrives);
        if let Some(at) = redriven_at {
            execution.insert("RedriveTime", at.to_string());
        }
    }
    execution.into()
}

/// A context object that was given, with the item of the iteration at hand.
fn given_context(given: &Value, item: Option<&Value>) -> Value {
    match (given, item) {
        (Value::Object(members), Some(item)) => {
            Value::Object(members.with("Map", Value::object([("Item", item.clone())])))
        }
        (given, _) => given.clone(),
    }
}

fn machine(run: &Run) -> Value {
    let Some(start) = run.start() else {
        return Value::empty_object();
    };
    let text = |text: &Arc<str>| Value::from(text.clone());
    Value::object([
        ("Id", text(&start.machine_arn)),
        ("Name", text(&start.machine_name)),
    ])
}

fn state(visit: &Visit) -> Value {
    let mut state = ObjectBuilder::with_capacity(3);
    state
        .insert("Name", visit.state.clone())
        .insert("EnteredTime", visit.entered_at.to_string());
    // Only states that can be retried have it.
    if matches!(
        visit.kind,
        StateKind::Task | StateKind::Parallel | StateKind::Map
    ) {
        state.insert("RetryCount", visit.retries);
    }
    state.into()
}

fn item(items: &Items, index: u32) -> Option<Value> {
    Some(map_item(index, items.item(index)?, items.key(index)))
}

/// `Map.Item`.
pub(crate) fn map_item(index: u32, value: &Value, key: Option<&Arc<str>>) -> Value {
    let mut item = ObjectBuilder::with_capacity(4);
    item.insert("Index", Value::from(index))
        .insert("Value", value.clone());
    if let Some(key) = key {
        item.insert("Key", Value::from(key.clone()));
    }
    item.insert("Source", Value::from("STATE_DATA"));
    item.into()
}
