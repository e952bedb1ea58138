//! Retriers and catchers that never take an error. Hides which names stand for others.

use std::collections::BTreeSet;

use super::Advised;
use crate::codes::Code;
use crate::node::Node;

/// What `States.TaskFailed` does not stand for.
const NOT_TASK_FAILED: &[&str] = &[
    "States.ALL",
    "States.BranchFailed",
    "States.DataLimitExceeded",
    "States.HeartbeatTimeout",
    "States.Runtime",
    "States.Timeout",
];

pub(super) fn check(advised: &Advised<'_, '_>) {
    if advised.state.kind.handlers().is_none() {
        return;
    }
    for list in ["Retry", "Catch"] {
        let Some(handlers) = advised.node.below(list) else {
            continue;
        };
        let mut taken = Taken::default();
        for handler in handlers.elements() {
            let names = handler.below("ErrorEquals");
            for name in names.iter().flat_map(Node::elements) {
                taken.take(list, &name);
            }
        }
    }
}

/// The errors that the elements before take.
#[derive(Default)]
struct Taken<'d>(BTreeSet<&'d str>);

impl<'d> Taken<'d> {
    fn take(&mut self, list: &str, node: &Node<'d>) {
        let Some(name) = node.value.as_str() else {
            return;
        };
        if name == "States.Runtime" {
            node.fault_with_hint(
                Code::Unhandled,
                "'States.Runtime' is neither retried nor caught",
                Some("see to it that the data fits the state's fields".to_owned()),
            );
        } else if let Some(by) = self.taker(name) {
            let message = if by == name {
                format!("'{name}' stands in '{list}' before: here it never matches")
            } else {
                format!("'{name}' is matched by '{by}' before in '{list}': here it never matches")
            };
            node.fault_with_hint(
                Code::TakenError,
                message,
                Some(
                    "the first element that matches decides: put the narrower one first".to_owned(),
                ),
            );
        }
        self.0.insert(name);
    }

    /// The name before that matches all that this one matches.
    fn taker(&self, name: &'d str) -> Option<&'d str> {
        if self.0.contains(name) {
            return Some(name);
        }
        if name == "States.HeartbeatTimeout" && self.0.contains("States.Timeout") {
            // A missed heartbeat is reported as States.Timeout.
            return Some("States.Timeout");
        }
        let failed = "States.TaskFailed";
        (self.0.contains(failed) && !NOT_TASK_FAILED.contains(&name)).then_some(failed)
    }
}
