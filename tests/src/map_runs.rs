//! Map runs on the bare interpreter in virtual time. Children begin when their map run asks for them, and each is driven
//! to its end at once; the map run hears of the ends in the order of their times.

use std::collections::BTreeMap;

use stepwell_asl::Program;
use stepwell_engine::sim;
use stepwell_interp::{
    ChildId, Effect, Env, Input, MapRun, MapRunEffect, MapRunEnding, MapRunInput, MapRunStart,
    Part, Run, Start, Timestamp, step_map_run,
};

use crate::driver;

/// Steps after which a map run that does not end is given up.
const STEPS_MAX: usize = 10_000;

/// Drives a map run to its end, and says when that is; `child` drives an execution. Nothing when it never ends, or reads
/// what is not there.
pub(crate) fn drive(
    program: &Program,
    at: Timestamp,
    start: MapRunStart,
    child: &mut dyn FnMut(Timestamp, Start) -> Run,
) -> Option<(Timestamp, MapRunEnding)> {
    let mut run = MapRun::default();
    let mut agenda = Agenda {
        at,
        planned: BTreeMap::new(),
        entries: 0,
    };
    agenda.plan(
        at,
        Input::MapRun(Box::new(MapRunInput::Started(Box::new(start)))),
    );
    for number in 0..STEPS_MAX {
        if let Some(ending) = run.ending() {
            return Some((run.last_at(), ending.clone()));
        }
        let ((at, _), input) = agenda.planned.pop_first()?;
        agenda.at = agenda.at.max(at);
        let env = Env {
            at: agenda.at,
            seed: driver::seed(number),
        };
        for effect in step_map_run(program, &mut run, input, env) {
            match effect {
                Effect::MapRun(effect) => agenda.act(program, &run, *effect, child)?,
                Effect::Again => agenda.plan(agenda.at, Input::Continue),
                Effect::Record(_)
                | Effect::RunTask(_)
                | Effect::OpenToken { .. }
                | Effect::CancelTask { .. }
                | Effect::StartMapRun(_)
                | Effect::Finish => {}
            }
        }
    }
    None
}

/// What comes when; what comes at one time comes in the order in which it was planned.
struct Agenda {
    at: Timestamp,
    planned: BTreeMap<(Timestamp, u64), Input>,
    entries: u64,
}

impl Agenda {
    fn plan(&mut self, at: Timestamp, input: Input) {
        self.entries += 1;
        self.planned.insert((at, self.entries), input);
    }

    fn tell(&mut self, at: Timestamp, input: MapRunInput) {
        self.plan(at, Input::MapRun(Box::new(input)));
    }

    fn act(
        &mut self,
        program: &Program,
        run: &MapRun,
        effect: MapRunEffect,
        child: &mut dyn FnMut(Timestamp, Start) -> Run,
    ) -> Option<()> {
        let start = run.start()?;
        match effect {
            MapRunEffect::Read { first, .. } => {
                self.tell(self.at, sim::state_items(start, first)?);
            }
            MapRunEffect::Start(new) => {
                let (index, id) = (new.index, new.child);
                let begins = sim::item_start(program, start, self.at, new);
                let ran = child(self.at, begins);
                self.tell(ran.last_at(), sim::item_ended(index, id, &ran)?);
            }
            MapRunEffect::Stop(child) => self.stop(child),
            MapRunEffect::WritePart {
                kind,
                number,
                results,
                executions,
                items,
            } => {
                let part = Part {
                    kind,
                    key: format!("{kind:?}_{number}").into(),
                    bytes: results
                        .iter()
                        .map(|result| result.json_bytes() as u64)
                        .sum(),
                    results: results.len() as u64,
                    executions,
                    items,
                };
                self.tell(self.at, MapRunInput::PartWritten(part));
            }
            MapRunEffect::WriteManifest { .. } => {
                let (bucket, key) = ("bucket".into(), "manifest.json".into());
                self.tell(self.at, MapRunInput::ManifestWritten { bucket, key });
            }
            MapRunEffect::Tell(_) | MapRunEffect::TellBegun => {}
        }
        Some(())
    }

    /// A child that is stopped ends now, and in no other way.
    fn stop(&mut self, child: ChildId) {
        let now = self.at;
        let later: Vec<_> = self.planned.keys().copied().collect();
        for key in later {
            let Some(Input::MapRun(input)) = self.planned.get_mut(&key) else {
                continue;
            };
            let MapRunInput::ChildEnded(ended) = &mut **input else {
                continue;
            };
            if ended.child == child {
                ended.status = stepwell_interp::ChildStatus::Aborted;
                ended.output = None;
                if let Some(input) = self.planned.remove(&key) {
                    self.plan(now, input);
                }
            }
        }
    }
}
