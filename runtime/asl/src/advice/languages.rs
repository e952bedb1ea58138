//! Texts of the other query language, which go on as the texts they are. Hides where payloads stand.

use super::Advised;
use crate::codes::Code;
use crate::expr::{each_string, looks_like_path};
use crate::node::Node;
use crate::program::QueryLanguage;

/// Members of a state that hold no payload of its own.
const NOT_PAYLOADS: &[&str] = &["Comment", "Branches", "ItemProcessor", "Iterator", "Result"];

/// Members of a JSONata state that hold payloads.
const PAYLOADS: &[&str] = &[
    "Arguments",
    "Assign",
    "BatchInput",
    "ItemSelector",
    "Items",
    "Output",
];

/// Members of a state whose elements or members hold payloads.
const HOLD_PAYLOADS: &[&str] = &[
    "Catch",
    "Choices",
    "ItemBatcher",
    "ItemReader",
    "ResultWriter",
];

pub(super) fn check(advised: &Advised<'_, '_>) {
    match advised.state.language {
        QueryLanguage::Jsonata => in_jsonata(advised.node),
        QueryLanguage::JsonPath => {
            for (_, node) in advised
                .node
                .members()
                .filter(|(name, _)| !NOT_PAYLOADS.contains(&&***name))
            {
                in_jsonpath(&node);
            }
        }
    }
}

/// Warns of paths in the payloads of an object.
fn in_jsonata(object: &Node<'_>) {
    for (name, node) in object.members() {
        if PAYLOADS.contains(&&**name) {
            each_string(&node, None, &mut |name, node, text| {
                path(name.map(|name| &**name), node, text)
            });
        } else if HOLD_PAYLOADS.contains(&&**name) {
            in_jsonata(&node);
            node.elements().iter().for_each(in_jsonata);
        }
    }
}

fn path(name: Option<&str>, node: &Node<'_>, text: &str) {
    if let Some(name) = name
        && let Some(plain) = name.strip_suffix(".$")
    {
        node.fault_with_hint(
            Code::PathInJsonata,
            format!(
                "Field '{name}' ends with '.$', which says nothing in JSONata: it goes on as it stands"
            ),
            Some(format!(
                "name it \"{plain}\" and write the value as \"{{% … %}}\""
            )),
        );
    } else if looks_like_path(text) {
        let hint = match text.strip_prefix("$.") {
            Some(rest) => Some(format!("write \"{{% $states.input.{rest} %}}\"")),
            None => text
                .strip_prefix("$$.")
                .map(|rest| format!("write \"{{% $states.context.{rest} %}}\"")),
        };
        node.fault_with_hint(
            Code::PathInJsonata,
            "Value looks like a JSONPath, but the state's query language is JSONata: it goes on as it \
             stands",
            hint,
        );
    }
}

/// Warns of JSONata in a JSONPath state.
fn in_jsonpath(node: &Node<'_>) {
    each_string(node, None, &mut |_, node, text| {
        if text.starts_with("{%") && text.ends_with("%}") {
            node.fault_with_hint(
                Code::JsonataInPath,
                "Value looks like JSONata, but the state's query language is JSONPath: it goes on as it \
                 stands",
                Some("add \"QueryLanguage\": \"JSONata\" to the state".to_owned()),
            );
        }
    });
}
