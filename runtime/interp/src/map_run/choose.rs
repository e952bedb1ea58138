//! What the next child gets: an item, or a batch of them. Hides the selector and the bounds of a batch.

use stepwell_asl::{Kind, Map};
use stepwell_query::{Effort, ObjectBuilder, Room, Value};

use super::{border::Item, step::MapTurn};
use crate::{
    event::Failure,
    fault::{Fault, Outcome},
    flow,
    limits::STEP_WORK_MAX,
    run::{FrameId, Unfinished},
    scope::Moment,
};

impl<'a> MapTurn<'a> {
    /// How many items the next child gets and its input; `None` when items have to be read first, or when to choose them
    /// is more work than the step takes: see `put_off`.
    pub(super) fn next_child(&mut self) -> Option<Result<(u32, Value), Failure>> {
        let start = self.run.start.clone()?;
        if !start.is_batched() {
            self.run.read.items.get(self.taken)?;
            let input = self.chosen(self.taken)?;
            return Some(input.map(|input| (1, input)));
        }
        let most = start.batch_items.unwrap_or(u32::MAX);
        let bytes_max = start
            .batch_bytes
            .map_or(self.limits.payload_bytes_max, |bytes| bytes as usize);
        let mut bytes = batch(start.batch_input.as_ref(), Vec::new()).json_bytes();
        let (mut items, mut full) = (Vec::new(), false);
        while !full && self.taken + items.len() < self.run.read.items.len() {
            let item = match self.chosen(self.taken + items.len())? {
                Ok(item) => item,
                Err(failure) => return Some(Err(failure)),
            };
            bytes += item.json_bytes() + usize::from(!items.is_empty());
            if bytes > bytes_max && !items.is_empty() {
                full = true;
            } else {
                items.push(item);
                full = items.len() as u64 >= u64::from(most);
            }
        }
        let complete = full || self.run.read.ended || self.run.read.is_full();
        if items.is_empty() || !complete {
            return None;
        }
        let count = u32::try_from(items.len()).unwrap_or(u32::MAX);
        let input = batch(start.batch_input.as_ref(), items);
        if input.json_bytes() > self.limits.payload_bytes_max {
            return Some(Err(self.too_large()));
        }
        Some(Ok((count, input)))
    }

    /// What the selector makes of the item at that place among those that were read. Made once.
    fn chosen(&mut self, at: usize) -> Option<Result<Value, Failure>> {
        while self.run.read.chosen.len() <= at {
            let next = self.run.read.chosen.len();
            let Some((item, _)) = self.run.read.items.get(next).cloned() else {
                return Some(Ok(Value::Null));
            };
            let index = self.run.front() + next as u64;
            match self.choose(index, &item)? {
                Ok(value) => self.run.read.chosen.push_back(value),
                Err(failure) => return Some(Err(failure)),
            }
        }
        Some(Ok(self
            .run
            .read
            .chosen
            .get(at)
            .cloned()
            .unwrap_or_default()))
    }

    /// `None` when it is more work than the step takes.
    fn choose(&mut self, index: u64, item: &Item) -> Option<Result<Value, Failure>> {
        let Some(map) = self.map() else {
            return Some(Ok(item.value.clone()));
        };
        let Some(selector) = &map.item_selector else {
            if item.value.json_bytes() > self.limits.payload_bytes_max {
                return Some(Err(self.too_large()));
            }
            return Some(Ok(item.value.clone()));
        };
        let item = context_item(index, item);
        let before = self.run.read.choosing.take();
        let mut choosing = before.unwrap_or_else(|| Box::new(Unfinished::new(self.at)));
        choosing.ledger.rewind();
        if let Some(random) = choosing.random.take() {
            self.random = random;
        }
        let left = STEP_WORK_MAX.saturating_sub(self.work);
        let ledger = std::mem::take(&mut choosing.ledger);
        let effort = Effort::new(ledger, self.limits.expressions, Room::First(left));
        let made = match Moment::of(&self.run.origin, FrameId::ROOT, choosing.at, &effort) {
            Some(moment) => {
                let moment = Moment {
                    item: Some(&item),
                    ..moment
                };
                flow::select_item(map, selector, &moment, &mut self.random, self.limits)
            }
            None => Ok(Value::Null),
        };
        self.work = self.work.saturating_add(effort.work());
        if effort.is_put_off() {
            choosing.ledger = effort.into_ledger();
            choosing.random = Some(self.random.clone());
            self.run.read.choosing = Some(choosing);
            self.put_off = true;
            return None;
        }
        let too_much = effort.is_exhausted();
        Some(self.outcome(if too_much {
            Err(Fault::TooMuchWork)
        } else {
            made
        }))
    }

    fn map(&self) -> Option<&'a Map> {
        let program = self.program;
        let state = program.find(&self.run.start.as_ref()?.state)?;
        match &program[state].kind {
            Kind::Map(map) => Some(map),
            Kind::Pass(_)
            | Kind::Task(_)
            | Kind::Choice(_)
            | Kind::Wait(_)
            | Kind::Succeed(_)
            | Kind::Fail(_)
            | Kind::Parallel(_) => None,
        }
    }

    fn too_large(&self) -> Failure {
        let of = self.run.start.as_ref().map(|start| start.state.clone());
        self.failure(Fault::DataLimit {
            of: of.unwrap_or_default(),
        })
    }

    fn outcome<T>(&self, made: Outcome<T>) -> Result<T, Failure> {
        made.map_err(|fault| self.failure(fault))
    }

    /// A fault of the Map state as the map run's failure.
    fn failure(&self, fault: Fault) -> Failure {
        let visit = self
            .run
            .origin
            .frame(FrameId::ROOT)
            .and_then(|frame| frame.visit());
        fault.into_failure(visit)
    }
}

/// `{"BatchInput", "Items"}`.
pub(super) fn batch(input: Option<&Value>, items: Vec<Value>) -> Value {
    let mut batch = ObjectBuilder::with_capacity(2);
    if let Some(input) = input {
        batch.insert("BatchInput", input.clone());
    }
    batch.insert("Items", Value::from(items));
    batch.into()
}

/// `Map.Item` of the context object.
fn context_item(index: u64, item: &Item) -> Value {
    let mut context = ObjectBuilder::with_capacity(4);
    context
        .insert("Index", Value::from(index))
        .insert("Value", item.value.clone());
    if let Some(key) = &item.key {
        context.insert("Key", Value::from(key.clone()));
    }
    context.insert("Source", Value::from(item.source.clone()));
    context.into()
}
