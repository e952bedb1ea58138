//! Results of a map run: gathered for the Map state's output, or kept until they are written to part files.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use stepwell_asl::Transformation;
use stepwell_query::Value;

use super::border::{ChildResult, ChildStatus, Form, MapRunEffect, Part, PartKind};
use crate::limits::RESULT_PART_BYTES;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Results {
    form: Form,
    kept: Kept,
}

#[derive(Clone, Debug)]
enum Kept {
    /// By the child's number. Once they are too large for an output they are dropped, for good.
    Gathered {
        results: BTreeMap<u64, Arc<[Value]>>,
        bytes: usize,
        bytes_max: usize,
    },
    Written {
        succeeded: Waiting,
        failed: Waiting,
        pending: Waiting,
        parts: Vec<Part>,
        /// Writing failed: there is no use in trying on.
        broken: bool,
    },
}

/// Status of a child that was never started, in the files that list it.
const PENDING: &str = "PENDING";

/// Results that no part file has, in the order in which their children ended.
#[derive(Clone, Debug, Default)]
struct Waiting {
    children: VecDeque<(u32, Arc<[Value]>)>,
    bytes: usize,
    /// Parts written.
    parts: u32,
}

impl Default for Results {
    fn default() -> Results {
        Results::gathered(Form::COMPACT, 0)
    }
}

impl Results {
    /// Results for an output of so many bytes at most.
    pub(super) fn gathered(form: Form, bytes_max: usize) -> Results {
        Results {
            form,
            kept: Kept::Gathered {
                results: BTreeMap::new(),
                bytes: 0,
                bytes_max,
            },
        }
    }

    /// Results for part files.
    pub(super) fn written(form: Form) -> Results {
        Results {
            form,
            kept: Kept::Written {
                succeeded: Waiting::default(),
                failed: Waiting::default(),
                pending: Waiting::default(),
                parts: Vec::new(),
                broken: false,
            },
        }
    }

    pub(super) fn describes(&self, status: ChildStatus) -> bool {
        status != ChildStatus::Succeeded || self.form.transformation == Transformation::None
    }

    /// What a child's end adds.
    pub(super) fn of(&self, child: &ChildResult) -> Arc<[Value]> {
        let described = || child.description.clone().unwrap_or_default();
        if self.describes(child.status) {
            return [described()].into();
        }
        match (&child.output, self.form.transformation) {
            (Some(Value::Array(spread)), Transformation::Flatten) => {
                spread.iter().cloned().collect()
            }
            (output, _) => [output.clone().unwrap_or_default()].into(),
        }
    }

    pub(super) fn add(
        &mut self,
        index: u64,
        items: u32,
        status: ChildStatus,
        added: &Arc<[Value]>,
    ) {
        let more: usize = added.iter().map(|value| value.json_bytes() + 1).sum();
        match &mut self.kept {
            Kept::Gathered {
                results,
                bytes,
                bytes_max,
            } => {
                *bytes = bytes.saturating_add(more);
                if *bytes > bytes_max.saturating_add(1) {
                    results.clear();
                } else {
                    results.insert(index, added.clone());
                }
            }
            Kept::Written {
                succeeded, failed, ..
            } => {
                let waiting = match status {
                    ChildStatus::Succeeded => succeeded,
                    ChildStatus::Failed | ChildStatus::TimedOut | ChildStatus::Aborted => failed,
                };
                waiting.bytes += more;
                waiting.children.push_back((items, added.clone()));
            }
        }
    }

    /// The Map state's output; `None` when it is too large. Of written results it is what the writer says.
    pub(super) fn gather(&self) -> Option<Value> {
        match &self.kept {
            Kept::Gathered {
                results,
                bytes,
                bytes_max,
            } => {
                // Two brackets, and a comma less than there are values.
                let fits = *bytes <= bytes_max.saturating_sub(1);
                fits.then(|| {
                    Value::array(results.values().flat_map(|values| values.iter().cloned()))
                })
            }
            Kept::Written { .. } => None,
        }
    }

    /// What a child that is never started would have got.
    pub(super) fn add_pending(&mut self, items: u32, input: &Value) {
        if let Kept::Written { pending, .. } = &mut self.kept {
            let described = Value::object([
                ("Input", Value::from(input.to_json())),
                (
                    "InputDetails",
                    Value::object([("Included", Value::Bool(true))]),
                ),
                ("Status", Value::from(PENDING)),
            ]);
            pending.bytes += described.json_bytes() + 1;
            pending.children.push_back((items, [described].into()));
        }
    }

    /// Whether a whole file of what was never started waits to be written.
    pub(super) fn pending_is_full(&self) -> bool {
        match &self.kept {
            Kept::Written { pending, .. } => pending.bytes >= RESULT_PART_BYTES,
            Kept::Gathered { .. } => true,
        }
    }

    /// Whether results go to files, as far as that succeeds.
    pub(super) fn are_written(&self) -> bool {
        matches!(self.kept, Kept::Written { broken: false, .. })
    }

    /// The part to write next: a full one, or whatever waits, of ended children with `all`, of others with `all_pending`.
    pub(super) fn next_part(&self, all: bool, all_pending: bool) -> Option<MapRunEffect> {
        let Kept::Written {
            succeeded,
            failed,
            pending,
            broken: false,
            ..
        } = &self.kept
        else {
            return None;
        };
        [
            (PartKind::Succeeded, succeeded, all),
            (PartKind::Failed, failed, all),
            (PartKind::Pending, pending, all && all_pending),
        ]
        .into_iter()
        .find(|(_, waiting, all)| {
            waiting.bytes >= RESULT_PART_BYTES || *all && !waiting.children.is_empty()
        })
        .map(|(kind, waiting, _)| waiting.part(kind))
    }

    /// Whether so much waits to be written that no more children should be started.
    pub(super) fn is_behind(&self) -> bool {
        match &self.kept {
            Kept::Gathered { .. } => false,
            Kept::Written {
                succeeded, failed, ..
            } => succeeded.bytes + failed.bytes > 4 * RESULT_PART_BYTES,
        }
    }

    pub(super) fn part_written(&mut self, part: &Part) {
        let Kept::Written {
            succeeded,
            failed,
            pending,
            parts,
            ..
        } = &mut self.kept
        else {
            return;
        };
        let waiting = match part.kind {
            PartKind::Succeeded => succeeded,
            PartKind::Failed => failed,
            PartKind::Pending => pending,
        };
        for _ in 0..part.executions {
            if let Some((_, values)) = waiting.children.pop_front() {
                let bytes: usize = values.iter().map(|value| value.json_bytes() + 1).sum();
                waiting.bytes = waiting.bytes.saturating_sub(bytes);
            }
        }
        waiting.parts += 1;
        parts.push(part.clone());
    }

    /// A child that did not succeed goes on: its failure is none of the results any more.
    pub(super) fn forget(&mut self, index: u64) {
        if let Kept::Gathered { results, bytes, .. } = &mut self.kept
            && let Some(forgotten) = results.remove(&index)
        {
            let less: usize = forgotten.iter().map(|value| value.json_bytes() + 1).sum();
            *bytes = bytes.saturating_sub(less);
        }
    }

    /// The map run goes on, and writing may succeed now: to a folder of its own, where parts count anew. Files of
    /// successes and of what was pending stay listed, as the service's do; those of failures do not when `all` children
    /// that did not succeed go on.
    pub(super) fn reopen(&mut self, all: bool) {
        if let Kept::Written {
            succeeded,
            failed,
            pending,
            parts,
            broken,
        } = &mut self.kept
        {
            *broken = false;
            succeeded.parts = 0;
            failed.parts = 0;
            *pending = Waiting::default();
            if all {
                failed.children.clear();
                failed.bytes = 0;
                parts.retain(|part| part.kind != PartKind::Failed);
            }
        }
    }

    /// Writing failed.
    pub(super) fn give_up(&mut self) {
        if let Kept::Written { broken, .. } = &mut self.kept {
            *broken = true;
        }
    }

    /// All parts, when the manifest is to be written.
    pub(super) fn manifest(&self) -> Option<Vec<Part>> {
        match &self.kept {
            Kept::Written {
                parts,
                broken: false,
                ..
            } => Some(parts.clone()),
            Kept::Written { .. } | Kept::Gathered { .. } => None,
        }
    }

    pub(super) fn executions_written(&self) -> u64 {
        self.parts_of_ended().map(|part| part.executions).sum()
    }

    pub(super) fn items_written(&self) -> u64 {
        self.parts_of_ended().map(|part| part.items).sum()
    }

    fn parts_of_ended(&self) -> impl Iterator<Item = &Part> {
        let parts: &[Part] = match &self.kept {
            Kept::Gathered { .. } => &[],
            Kept::Written { parts, .. } => parts,
        };
        parts.iter().filter(|part| part.kind != PartKind::Pending)
    }
}

impl Waiting {
    fn part(&self, kind: PartKind) -> MapRunEffect {
        let (mut results, mut bytes) = (Vec::new(), 0);
        let (mut executions, mut items) = (0, 0);
        for (of, values) in &self.children {
            if bytes >= RESULT_PART_BYTES {
                break;
            }
            bytes += values
                .iter()
                .map(|value| value.json_bytes() + 1)
                .sum::<usize>();
            results.extend(values.iter().cloned());
            executions += 1;
            items += u64::from(*of);
        }
        MapRunEffect::WritePart {
            kind,
            number: self.parts,
            results,
            executions,
            items,
        }
    }
}
