//! Which workflow variables each state reads. Hides the walk over all the places where a variable can stand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use stepwell_query::{
    Expression, JsonataTemplate, Path, PathExpr, PathRoot, ReferencePath, Template,
};

use crate::program::{
    Assign, BatchBound, CatchIo, Condition, Distributed, Given, Handlers, Io, Items, Kind, Map,
    Mode, Operand, Operator, Payload, Program, Rules, Selection, State, Test, Until,
};

impl Program {
    /// The variables that each state reads, both sorted; states that read none are left out. What
    /// DescribeStateMachine returns as `variableReferences`.
    pub fn variable_references(&self) -> BTreeMap<Arc<str>, Vec<Arc<str>>> {
        let mut all = BTreeMap::new();
        for (_, state) in self.states() {
            let mut found = Found::default();
            state.read(&mut found);
            if !found.0.is_empty() {
                all.insert(state.name.clone(), found.0.into_iter().collect());
            }
        }
        all
    }
}

#[derive(Default)]
struct Found(BTreeSet<Arc<str>>);

/// What may read variables.
trait Reads {
    fn read(&self, found: &mut Found);
}

impl Reads for Path {
    fn read(&self, found: &mut Found) {
        if let PathRoot::Variable(name) = self.root() {
            found.0.insert(name.clone());
        }
    }
}

impl Reads for ReferencePath {
    fn read(&self, found: &mut Found) {
        self.as_path().read(found);
    }
}

impl Reads for PathExpr {
    fn read(&self, found: &mut Found) {
        found.0.extend(self.variables());
    }
}

impl Reads for Template {
    fn read(&self, found: &mut Found) {
        found.0.extend(self.variables());
    }
}

impl Reads for JsonataTemplate {
    fn read(&self, found: &mut Found) {
        found.0.extend(self.variables());
    }
}

impl Reads for Expression {
    fn read(&self, found: &mut Found) {
        found.0.extend(self.references().variables.iter().cloned());
    }
}

impl<T: Reads> Reads for Option<T> {
    fn read(&self, found: &mut Found) {
        self.iter().for_each(|item| item.read(found));
    }
}

impl<T: Reads> Reads for Vec<T> {
    fn read(&self, found: &mut Found) {
        self.iter().for_each(|item| item.read(found));
    }
}

impl<T: Reads> Reads for Assign<T> {
    fn read(&self, found: &mut Found) {
        self.values.read(found);
    }
}

impl<T, P: Reads> Reads for Given<T, P> {
    fn read(&self, found: &mut Found) {
        match self {
            Given::Fixed(_) => {}
            Given::Path(path) => path.read(found),
            Given::Jsonata(expression) => expression.read(found),
        }
    }
}

impl Reads for Payload {
    fn read(&self, found: &mut Found) {
        match self {
            Payload::Path(template) => template.read(found),
            Payload::Jsonata(template) => template.read(found),
        }
    }
}

impl Reads for Selection {
    fn read(&self, found: &mut Found) {
        if let Selection::Path(path) = self {
            path.read(found);
        }
    }
}

impl Reads for Io {
    fn read(&self, found: &mut Found) {
        match self {
            Io::Path(io) => {
                io.input_path.read(found);
                io.parameters.read(found);
                io.result_selector.read(found);
                io.output_path.read(found);
                io.assign.read(found);
            }
            Io::Jsonata(io) => {
                io.arguments.read(found);
                io.output.read(found);
                io.assign.read(found);
            }
        }
    }
}

impl Reads for Handlers {
    fn read(&self, found: &mut Found) {
        for catcher in &self.catch {
            match &catcher.io {
                CatchIo::Path {
                    result_path: _,
                    assign,
                } => assign.read(found),
                CatchIo::Jsonata { output, assign } => {
                    output.read(found);
                    assign.read(found);
                }
            }
        }
    }
}

impl Reads for State {
    fn read(&self, found: &mut Found) {
        self.kind.io().into_iter().for_each(|io| io.read(found));
        self.kind
            .handlers()
            .into_iter()
            .for_each(|handlers| handlers.read(found));
        match &self.kind {
            Kind::Pass(_) | Kind::Succeed(_) | Kind::Parallel(_) => {}
            Kind::Task(task) => {
                task.timeout_s.read(found);
                task.heartbeat_s.read(found);
                task.credentials
                    .iter()
                    .for_each(|credentials| credentials.role_arn.read(found));
            }
            Kind::Choice(choice) => choice.rules.read(found),
            Kind::Wait(wait) => match &wait.until {
                Until::Seconds(seconds) => seconds.read(found),
                Until::Timestamp(timestamp) => timestamp.read(found),
            },
            Kind::Fail(fail) => {
                fail.error.read(found);
                fail.cause.read(found);
            }
            Kind::Map(map) => map.read(found),
        }
    }
}

impl Reads for Rules {
    fn read(&self, found: &mut Found) {
        match self {
            Rules::Path(rules) => {
                for rule in rules {
                    rule.test.read(found);
                    rule.assign.read(found);
                }
            }
            Rules::Jsonata(rules) => {
                for rule in rules {
                    if let Condition::Jsonata(condition) = &rule.condition {
                        condition.read(found);
                    }
                    rule.assign.read(found);
                    rule.output.read(found);
                }
            }
        }
    }
}

impl Reads for Test {
    fn read(&self, found: &mut Found) {
        match self {
            Test::And(tests) | Test::Or(tests) => tests.read(found),
            Test::Not(test) => test.read(found),
            Test::Compare(comparison) => {
                comparison.variable.read(found);
                comparison.operator.read(found);
            }
        }
    }
}

impl Reads for Operator {
    fn read(&self, found: &mut Found) {
        match self {
            Operator::String(_, operand) => operand.read(found),
            Operator::Numeric(_, operand) => operand.read(found),
            Operator::Timestamp(_, operand) => operand.read(found),
            Operator::BooleanEquals(operand) => operand.read(found),
            Operator::StringMatches(_)
            | Operator::IsNull(_)
            | Operator::IsPresent(_)
            | Operator::IsNumeric(_)
            | Operator::IsString(_)
            | Operator::IsBoolean(_)
            | Operator::IsTimestamp(_) => {}
        }
    }
}

impl<T> Reads for Operand<T> {
    fn read(&self, found: &mut Found) {
        if let Operand::Path(path) = self {
            path.read(found);
        }
    }
}

impl Reads for Map {
    fn read(&self, found: &mut Found) {
        match &self.items {
            Items::Input => {}
            Items::Path(path) => path.read(found),
            Items::Jsonata(template) => template.read(found),
        }
        self.item_selector.read(found);
        self.max_concurrency.read(found);
        self.tolerated_failure_count.read(found);
        self.tolerated_failure_percentage.read(found);
        if let Mode::Distributed(distributed) = &self.mode {
            distributed.read(found);
        }
    }
}

impl Reads for Distributed {
    fn read(&self, found: &mut Found) {
        if let Some(reader) = &self.reader {
            reader.arguments.read(found);
            reader.max_items.read(found);
        }
        if let Some(batcher) = &self.batcher {
            batcher.batch_input.read(found);
            match &batcher.bound {
                BatchBound::Items(items) => items.read(found),
                BatchBound::Bytes(bytes) => bytes.read(found),
                BatchBound::Both { items, bytes } => {
                    items.read(found);
                    bytes.read(found);
                }
            }
        }
        if let Some(writer) = &self.writer {
            writer.destination.read(found);
        }
    }
}
