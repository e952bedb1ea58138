//! What values weigh when all of their leaves are counted. A value may share its parts many times over, so that a few
//! constructors make one that no walk ever ends on (`$a := [[$a],[$a]]`, sixty times); and the engine's own walks are told
//! to stop by nobody. Hides that parts are weighed once.

use std::collections::BTreeMap;

use jsonata_core::value::JValue;

use crate::limits::{JSON_DEPTH_MAX, JSONATA_WEIGHED_ITEMS_KEPT_MAX};

const DEPTH_MAX: usize = JSON_DEPTH_MAX as usize;

/// Items of a list or object that is weighed each time: looking it up would take as long.
const FLAT_MAX: usize = 4;
/// Bytes that a value without parts counts for.
const LEAF_BYTES: usize = 4;

/// What is known of the values of one evaluation.
#[derive(Default)]
pub(super) struct Weights {
    /// By the place of a value's parts, which stays its own as long as the value is kept here.
    known: BTreeMap<usize, Known>,
    /// Items of all that is kept.
    kept: usize,
}

struct Known {
    #[expect(dead_code, reason = "kept so that nothing else gets its place")]
    value: JValue,
    weight: Weight,
}

#[derive(Clone, Copy)]
struct Weight {
    /// Of its JSON, roughly.
    bytes: usize,
    /// Levels, its own included.
    depth: usize,
}

/// A value whose parts are being weighed.
struct Open<'v> {
    value: &'v JValue,
    parts: Vec<&'v JValue>,
    weight: Weight,
}

impl Open<'_> {
    fn take(&mut self, part: Weight) {
        self.weight.bytes = self.weight.bytes.saturating_add(part.bytes);
        self.weight.depth = self.weight.depth.max(part.depth + 1);
    }
}

impl Weights {
    /// Whether a value weighs no more than this and nests no deeper than JSON may.
    pub(super) fn bear(&mut self, value: &JValue, bytes_max: usize) -> bool {
        let Some(place) = place(value) else {
            return leaf_bytes(value) <= bytes_max;
        };
        if let Some(known) = self.known.get(&place) {
            return known.weight.bytes <= bytes_max;
        }
        let mut open = vec![opened(value)];
        while let Some(top) = open.last_mut() {
            if top.weight.bytes > bytes_max || top.weight.depth > DEPTH_MAX {
                return false;
            }
            match top.parts.pop() {
                Some(part) => match self.of(part) {
                    Some(weight) => top.take(weight),
                    None if open.len() > DEPTH_MAX => return false,
                    None => open.push(opened(part)),
                },
                None => {
                    if let Some(Open { value, weight, .. }) = open.pop() {
                        self.keep(value, weight);
                        if let Some(whole) = open.last_mut() {
                            whole.take(weight);
                        }
                    }
                }
            }
        }
        true
    }

    /// What is known of a part.
    fn of(&self, part: &JValue) -> Option<Weight> {
        match place(part) {
            Some(place) => self.known.get(&place).map(|known| known.weight),
            None => Some(Weight {
                bytes: leaf_bytes(part),
                depth: 1,
            }),
        }
    }

    fn keep(&mut self, value: &JValue, weight: Weight) {
        let Some(place) = place(value) else { return };
        self.kept += items(value);
        if self.kept > JSONATA_WEIGHED_ITEMS_KEPT_MAX {
            // Nothing is lost but time.
            self.known.clear();
            self.kept = items(value);
        }
        let value = value.clone();
        self.known.insert(place, Known { value, weight });
    }
}

/// Where the parts of a value are, for one that is worth being looked up.
fn place(value: &JValue) -> Option<usize> {
    match value {
        JValue::Array(items) if items.len() > FLAT_MAX || items.iter().any(has_parts) => {
            Some(items.as_ptr().addr())
        }
        JValue::Object(members) if members.len() > FLAT_MAX || members.values().any(has_parts) => {
            Some(std::ptr::from_ref(&**members).addr())
        }
        JValue::Lambda(function) => Some(std::ptr::from_ref(&**function).addr()),
        _ => None,
    }
}

fn has_parts(value: &JValue) -> bool {
    matches!(
        value,
        JValue::Array(_) | JValue::Object(_) | JValue::Lambda(_)
    )
}

fn items(value: &JValue) -> usize {
    match value {
        JValue::Array(items) => items.len() + 1,
        JValue::Object(members) => members.len() + 1,
        _ => 1,
    }
}

/// A value with what it weighs without its parts, and these.
fn opened(value: &JValue) -> Open<'_> {
    let mut parts = Vec::new();
    let mut bytes = LEAF_BYTES;
    let mut take = |part: &'_ JValue| bytes += leaf_bytes(part);
    match value {
        JValue::Array(items) => {
            items
                .iter()
                .filter(|item| !has_parts(item))
                .for_each(&mut take);
            parts.extend(items.iter().filter(|item| has_parts(item)));
        }
        JValue::Object(members) => {
            members
                .values()
                .filter(|member| !has_parts(member))
                .for_each(&mut take);
            parts.extend(members.values().filter(|member| has_parts(member)));
            bytes += members
                .keys()
                .map(|key| key.len() + LEAF_BYTES)
                .sum::<usize>();
        }
        // What a function keeps of where it was made.
        JValue::Lambda(function) => {
            let kept = function
                .captured_env
                .values()
                .chain(&function.captured_data);
            parts.extend(kept.filter(|value| has_parts(value)));
        }
        _ => {}
    }
    Open {
        value,
        parts,
        weight: Weight { bytes, depth: 1 },
    }
}

/// What weighs a value without parts, or one so small that they are counted with it.
fn leaf_bytes(value: &JValue) -> usize {
    match value {
        JValue::String(text) => text.len() + LEAF_BYTES,
        JValue::Array(items) => items.iter().map(leaf_bytes).sum::<usize>() + LEAF_BYTES,
        JValue::Object(members) => {
            let of = |(key, member): (&String, &JValue)| key.len() + leaf_bytes(member);
            members.iter().map(of).sum::<usize>() + LEAF_BYTES
        }
        _ => LEAF_BYTES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_parts_count_each_time() {
        let mut weights = Weights::default();
        let mut value = JValue::array(vec![JValue::Number(1.0)]);
        let mut levels = 0;
        while weights.bear(&value, 1 << 20) {
            value = JValue::array(vec![value.clone(), value]);
            levels += 1;
        }
        // Two to the eighteenth leaves of four bytes.
        assert!((16..=18).contains(&levels), "{levels}");
    }

    #[test]
    fn depth_is_bounded_as_that_of_json() {
        let mut weights = Weights::default();
        let mut value = JValue::array(vec![JValue::array(vec![JValue::Null])]);
        let mut levels = 2_usize;
        while weights.bear(&value, usize::MAX) {
            value = JValue::array(vec![value]);
            levels += 1;
        }
        assert!(levels.abs_diff(DEPTH_MAX) <= 2, "{levels}");
    }
}
