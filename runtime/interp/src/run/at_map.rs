//! A Map state as a map run sees it: the run of its execution at the moment when it started the map run, as far as
//! expressions for items read it.

use super::{FrameId, Phase, Run, Stage, Visit};
use crate::{
    event::{Place, StateKind},
    map_run::MapRunStart,
};

impl Run {
    /// A run that stands in the Map state and nowhere else.
    pub(crate) fn at_map(start: &MapRunStart) -> Run {
        let visit = Visit {
            state: start.state.clone(),
            kind: StateKind::Map,
            entry: start.run.entry,
            entered_id: start.entered_id,
            entered_previous: 0,
            entered_at: start.entered_at,
            input: start.input.clone(),
            attempts: start.run.attempt,
            retries: start.retries,
            retriers: Vec::new(),
            phase: Phase::Aborted,
            flows: None,
            result: None,
            map_run: None,
        };
        let mut run = Run {
            start: Some(start.parent.clone()),
            started_at: start.parent_started_at,
            ..Run::default()
        };
        let stage = Stage::In(Box::new(visit));
        run.open_frame(Place::default(), None, stage, 0);
        run.assign(FrameId::ROOT, &start.variables);
        run
    }
}
