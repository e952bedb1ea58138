//! Branches and iterations, as events tell of them.

use std::sync::Arc;

use stepwell_query::{Array, Value};

use super::{Flows, Frame, FrameId, Items, Phase, Run, Stage, index::IN_TURN};
use crate::event::StateKind;

impl Run {
    pub(super) fn start_branches(&mut self, id: FrameId, firsts: &Arc<[Arc<str>]>, input: &Value) {
        let total = u32::try_from(firsts.len()).unwrap_or(u32::MAX);
        let flows = Flows {
            next: total,
            active: total,
            ..Flows::of(Items::Branches, total, Some(total))
        };
        self.start_flows(id, flows);
        for (index, first) in (0..total).zip(firsts.iter()) {
            self.open_child(id, index, first.clone(), input.clone(), IN_TURN);
        }
    }

    pub(super) fn start_map(
        &mut self,
        id: FrameId,
        items: &Value,
        first: &Arc<str>,
        concurrency: Option<u32>,
    ) {
        let first = first.clone();
        let (items, len) = match items {
            Value::Array(items) => (
                Items::Array {
                    first,
                    items: items.clone(),
                },
                items.len(),
            ),
            Value::Object(object) => {
                let keys = object.keys().cloned().collect();
                (
                    Items::Object {
                        first,
                        keys,
                        items: object.values().cloned().collect::<Array>(),
                    },
                    object.len(),
                )
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return,
        };
        let total = u32::try_from(len).unwrap_or(u32::MAX);
        self.start_flows(id, Flows::of(items, total, concurrency));
    }

    fn start_flows(&mut self, id: FrameId, flows: Flows) {
        self.drop_flows(id);
        if let Some(visit) = self.frames.get_mut(id).and_then(Frame::visit_mut) {
            visit.flows = Some(Box::new(flows));
        }
        self.set_phase(id, Phase::Flows);
    }

    pub(super) fn start_iteration(&mut self, id: FrameId, index: u32, input: Option<&Value>) {
        let Some(flows) = self.flows_mut(id) else {
            return;
        };
        let Some(first) = flows.items.first().cloned() else {
            return;
        };
        let input = input
            .or_else(|| flows.items.item(index))
            .cloned()
            .unwrap_or_default();
        flows.next = index + 1;
        flows.active += 1;
        self.open_child(id, index, first, input, IN_TURN);
        self.refresh_flows(id);
    }

    pub(super) fn succeed_child(&mut self, id: FrameId, index: u32) {
        let Some(child) = self
            .flows_mut(id)
            .and_then(|flows| flows.children.remove(&index))
        else {
            return;
        };
        let Some(child) = self.close_frame(child) else {
            return;
        };
        if let Some(frame) = self.frames.get_mut(id) {
            frame.last = child.last;
        }
        let Some(flows) = self.flows_mut(id) else {
            return;
        };
        if let (Stage::Done { output }, Some(result)) =
            (child.stage, flows.results.get_mut(index as usize))
        {
            *result = Some(output);
        }
        flows.active = flows.active.saturating_sub(1);
        flows.left = flows.left.saturating_sub(1);
        self.refresh_flows(id);
    }

    pub(super) fn stop_child(&mut self, id: FrameId, index: u32) {
        let Some(flows) = self.flows_mut(id) else {
            return;
        };
        flows.active = flows.active.saturating_sub(1);
        let Some(child) = flows.children.get(&index).copied() else {
            return;
        };
        self.release(child);
        let Some(child) = self.frames.get_mut(child) else {
            return;
        };
        child.stopped = true;
    }

    pub(super) fn collect(&mut self, id: FrameId) {
        let visit = self.frames.get(id).and_then(Frame::visit);
        if let Some(Phase::MapRunDone { result }) = visit.map(|visit| &visit.phase) {
            let result = result.clone();
            return self.set_phase(id, Phase::Worked { result });
        }
        let Some(flows) = self.flows_mut(id) else {
            return;
        };
        let results = std::mem::take(&mut flows.results);
        let result = Value::array(results.into_iter().map(Option::unwrap_or_default));
        self.drop_flows(id);
        self.set_phase(id, Phase::Worked { result });
    }

    pub(super) fn flows_mut(&mut self, id: FrameId) -> Option<&mut Flows> {
        self.frames.get_mut(id)?.visit_mut()?.flows.as_deref_mut()
    }

    pub(super) fn is_parallel(&self, id: FrameId) -> bool {
        self.frames
            .get(id)
            .and_then(Frame::visit)
            .is_some_and(|visit| visit.kind == StateKind::Parallel)
    }

    /// A Parallel or Map state takes turns while an iteration can start, its concurrency is unknown, or all is done.
    pub(super) fn refresh_flows(&mut self, id: FrameId) {
        let Some(frame) = self.frames.get(id) else {
            return;
        };
        let Some(visit) = frame.visit() else { return };
        let Some(flows) = visit.flows.as_deref() else {
            return;
        };
        let busy = flows.takes_turns();
        if matches!(visit.phase, Phase::Flows) {
            match (busy, frame.ready) {
                (true, None) => self.make_ready(id, IN_TURN, 0),
                (false, Some(_)) => self.unready(id),
                (true, Some(_)) | (false, None) => {}
            }
        }
    }

    fn open_child(&mut self, id: FrameId, index: u32, first: Arc<str>, input: Value, urgency: u8) {
        let Some(place) = self.frames.get(id).map(|frame| frame.place.child(index)) else {
            return;
        };
        let last = self.public;
        let child = self.open_frame(
            place,
            Some((id, index)),
            Stage::Next {
                state: first,
                input,
            },
            last,
        );
        if let Some(flows) = self.flows_mut(id) {
            flows.children.insert(index, child);
        }
        self.make_ready(child, urgency, index);
    }

    pub(super) fn drop_flows(&mut self, id: FrameId) {
        let Some(visit) = self.frames.get_mut(id).and_then(Frame::visit_mut) else {
            return;
        };
        let Some(flows) = visit.flows.take() else {
            return;
        };
        for child in flows.children.into_values() {
            self.drop_flows(child);
            self.close_frame(child);
        }
    }
}

impl Flows {
    fn of(items: Items, total: u32, concurrency: Option<u32>) -> Flows {
        let results = vec![None; total as usize];
        Flows {
            items,
            total,
            next: 0,
            active: 0,
            left: total,
            concurrency,
            children: Default::default(),
            results,
        }
    }
}
