//! Map runs on the bare interpreter in virtual time. Children begin when their map run asks for them, and each is driven
//! to its end at once; the map run hears of the ends in the order of their times.

use std::collections::BTreeMap;

use stepwell_asl::Program;
use stepwell_engine::sim;
use stepwell_interp::{
    ChildId, Effect, Env, Input, MapRun, MapRunEffect, MapRunInput, Part, ResultWrite, Run, Start,
    Timestamp, step_map_run,
};

use crate::driver;

/// Steps after which a map run that does not end is given up.
const STEPS_MAX: usize = 10_000;

/// Who runs the executions of items, each to its end.
pub(crate) trait Children {
    /// When the Map state's execution is stopped, and with it all that runs then.
    fn stop_at(&self) -> Option<Timestamp>;
    fn begin(&mut self, at: Timestamp, start: Start) -> Run;
    fn redrive(&mut self, at: Timestamp, run: Run) -> Run;
}

/// A map run with its children, at its last end.
#[derive(Default)]
pub(crate) struct Ran {
    run: MapRun,
    children: BTreeMap<ChildId, (u64, Run)>,
}

impl Ran {
    /// Drives a map run on from that input to its end, and says when its Map state hears of what. Nothing when it never
    /// ends, or reads what is not there.
    pub(crate) fn drive(
        &mut self,
        program: &Program,
        at: Timestamp,
        input: MapRunInput,
        children: &mut dyn Children,
    ) -> Option<(Timestamp, Input)> {
        let mut agenda = Agenda {
            at,
            planned: BTreeMap::new(),
            entries: 0,
        };
        agenda.plan(at, Input::MapRun(Box::new(input)));
        if let Some(stop_at) = children.stop_at().filter(|stop_at| *stop_at >= at) {
            let stop = Input::StopAsked {
                error: None,
                cause: None,
            };
            agenda.plan(stop_at, stop);
        }
        for number in 0..STEPS_MAX {
            let ((at, _), input) = agenda.planned.pop_first()?;
            agenda.at = agenda.at.max(at);
            let env = Env {
                at: agenda.at,
                seed: driver::seed(number),
            };
            self.step(program, &mut agenda, input, env, children)?;
            if let (Some(ending), Some(start)) = (self.run.ending(), self.run.start()) {
                let ended = Input::MapRunEnded {
                    run: start.run,
                    redrive: self.run.redrives(),
                    ending: ending.clone(),
                };
                return Some((self.run.last_at(), ended));
            }
        }
        None
    }

    fn step(
        &mut self,
        program: &Program,
        agenda: &mut Agenda,
        input: Input,
        env: Env,
        children: &mut dyn Children,
    ) -> Option<()> {
        for effect in step_map_run(program, &mut self.run, input, env) {
            match effect {
                Effect::MapRun(effect) => agenda.act(program, self, *effect, children)?,
                Effect::Again => agenda.plan(agenda.at, Input::Continue),
                Effect::Record(_)
                | Effect::RunTask(_)
                | Effect::Begin { .. }
                | Effect::OpenToken { .. }
                | Effect::CancelTask { .. }
                | Effect::StartMapRun(_)
                | Effect::RedriveMapRun { .. }
                | Effect::Finish => {}
            }
        }
        Some(())
    }
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
        map_run: &mut Ran,
        effect: MapRunEffect,
        children: &mut dyn Children,
    ) -> Option<()> {
        let start = map_run.run.start()?;
        let write = ResultWrite::of(&effect, map_run.run.redrives());
        match effect {
            MapRunEffect::Read { first, .. } => {
                self.tell(self.at, sim::state_items(start, first)?);
            }
            MapRunEffect::Start(new) => {
                let (index, id) = (new.index, new.child);
                let begins = sim::item_start(program, start, self.at, new);
                let ran = children.begin(self.at, begins);
                self.tell(ran.last_at(), sim::item_ended(index, id, &ran)?);
                map_run.children.insert(id, (index, ran));
            }
            MapRunEffect::Redrive(id) => {
                let (index, ran) = map_run.children.remove(&id)?;
                let ran = children.redrive(self.at, ran);
                self.tell(ran.last_at(), sim::item_ended(index, id, &ran)?);
                map_run.children.insert(id, (index, ran));
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
                let write = write?;
                self.tell(self.at, MapRunInput::PartWritten { write, part });
            }
            MapRunEffect::WriteManifest { .. } => {
                let written = MapRunInput::ManifestWritten {
                    write: write?,
                    bucket: "bucket".into(),
                    key: "manifest.json".into(),
                };
                self.tell(self.at, written);
            }
            MapRunEffect::Tell { .. } | MapRunEffect::TellBegun => {}
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
