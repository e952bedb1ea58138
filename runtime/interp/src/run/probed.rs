//! What a state that is tried alone is set up with, beside the fold: no events say so, and nothing of it is kept.

use std::sync::Arc;

use stepwell_query::Value;

use super::{Frame, FrameId, Phase, Run};

impl Run {
    /// Variables of the outermost scope, as if states before had assigned them.
    pub(crate) fn give_variables(&mut self, variables: Vec<(Arc<str>, Value)>) {
        self.assign(FrameId::ROOT, &variables.into());
    }

    /// So many retries, as if each of the state's retriers had made them.
    pub(crate) fn preset_retries(&mut self, retries: u32, retriers: usize) {
        if let Some(visit) = self
            .frames
            .get_mut(FrameId::ROOT)
            .and_then(Frame::visit_mut)
        {
            visit.retriers = vec![retries; retriers];
            visit.retries = retries;
        }
    }

    /// The state's work is done with that result.
    pub(crate) fn conclude_with(&mut self, result: Value) {
        self.drop_flows(FrameId::ROOT);
        self.set_phase(FrameId::ROOT, Phase::Worked { result });
    }
}
