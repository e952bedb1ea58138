//! The Map state, inline and distributed. Hides its legacy names and which fields belong to which mode.

use std::sync::Arc;

use crate::codes::Code;
use crate::expr::Slot;
use crate::handlers::handlers;
use crate::item_reader::item_reader;
use crate::limits::{BATCH_BYTES_MAX, LABEL_CHARS_MAX};
use crate::machine::Machine;
use crate::node::{Fields, Node};
use crate::program::{
    BatchBound, Distributed, ExecutionType, Flow, ItemBatcher, Items, Map, Mode, OutputType,
    Payload, QueryLanguage, ResultWriter, Transformation,
};
use crate::reading::{Reading, Row};

pub(crate) fn map<'d>(state: &Reading<'_, 'd>, machine: &mut Machine<'d>) -> Option<Map> {
    let io = state.io(&Row::MAP);
    let then = state.then();
    let handlers = handlers(state);
    let items = items(state);
    let item_selector = item_selector(state);
    let max_concurrency = state.given("MaxConcurrency", "MaxConcurrencyPath", 0..=u32::MAX);
    let tolerated_failure_count = state.given(
        "ToleratedFailureCount",
        "ToleratedFailureCountPath",
        0..=u32::MAX,
    );
    let tolerated_failure_percentage = state.given_by(
        "ToleratedFailurePercentage",
        "ToleratedFailurePercentagePath",
        |node| node.number(0.0..=100.0),
    );
    let (processor, execution_type) = processor(state, machine);
    let mode = match execution_type {
        Some(execution_type) => {
            Mode::Distributed(Box::new(distributed(state, machine, execution_type)))
        }
        None => {
            inline(state, machine);
            Mode::Inline
        }
    };
    Some(Map {
        io,
        items,
        item_selector,
        processor: processor?,
        mode,
        max_concurrency,
        tolerated_failure_count,
        tolerated_failure_percentage,
        handlers,
        then: then?,
    })
}

fn items(state: &Reading) -> Items {
    let items = match state.language {
        QueryLanguage::JsonPath => state
            .fields
            .get("ItemsPath")
            .and_then(|node| node.path())
            .map(Items::Path),
        QueryLanguage::Jsonata => state.fields.get("Items").and_then(|node| {
            let given = node.value.as_array().is_some()
                || node.value.as_object().is_some()
                || node.is_jsonata();
            if !given && !node.is_substitution() {
                node.fault(
                    Code::WrongType,
                    "Expected value of type Array, Object or a JSONata expression",
                );
            }
            node.jsonata_template(Slot::State).map(Items::Jsonata)
        }),
    };
    items.unwrap_or(Items::Input)
}

/// `ItemSelector`, or `Parameters` as it was called before.
fn item_selector(state: &Reading) -> Option<Payload> {
    if state.language == QueryLanguage::JsonPath {
        let present = state.fields.at_most_one(&["ItemSelector", "Parameters"]);
        if present.first() == Some(&"Parameters") {
            return state.payload("Parameters", "ItemSelector");
        }
    }
    state.payload("ItemSelector", "ItemSelector")
}

/// The nested state machine, and the type of its executions when they are executions of their own.
fn processor<'d>(
    state: &Reading<'_, 'd>,
    machine: &mut Machine<'d>,
) -> (Option<Flow>, Option<ExecutionType>) {
    let Some(&name) = state
        .fields
        .exactly_one(&["ItemProcessor", "Iterator"])
        .first()
    else {
        return (None, None);
    };
    let Some(fields) = state.fields.get(name).and_then(|node| node.fields()) else {
        return (None, None);
    };
    let execution_type = fields
        .get("ProcessorConfig")
        .and_then(|node| node.fields())
        .and_then(|config| processor_config(&config, machine.kind));
    if execution_type.is_some() && machine.kind == ExecutionType::Express {
        let message = "Express state machine does not support a Map state in DISTRIBUTED mode";
        state.fields.node.fault(Code::Express, message);
    }
    let inner = execution_type.unwrap_or(machine.kind);
    let flow = machine.nested(&fields, state.id, inner);
    (flow, execution_type)
}

/// `Some` when the mode is DISTRIBUTED.
fn processor_config(config: &Fields, outer: ExecutionType) -> Option<ExecutionType> {
    let distributed = config
        .get("Mode")
        .and_then(|node| node.word("Mode", &[("INLINE", false), ("DISTRIBUTED", true)]))
        .unwrap_or(false);
    let types = [
        ("STANDARD", ExecutionType::Standard),
        ("EXPRESS", ExecutionType::Express),
    ];
    let execution_type = config
        .get("ExecutionType")
        .and_then(|node| node.word("ExecutionType", &types));
    config.finish(QueryLanguage::JsonPath);
    if distributed && execution_type.is_none() && !config.has("ExecutionType") {
        config.missing(&["ExecutionType"]);
    }
    distributed.then(|| execution_type.unwrap_or(outer))
}

/// Fields that a distributed Map alone heeds.
const DISTRIBUTED_ONLY: &[&str] = &[
    "ItemReader",
    "ItemBatcher",
    "ResultWriter",
    "Label",
    "ToleratedFailureCount",
    "ToleratedFailureCountPath",
    "ToleratedFailurePercentage",
    "ToleratedFailurePercentagePath",
];

/// Warns of the fields that only a distributed Map has: the service takes them, and its inline maps do not use them.
fn inline(state: &Reading, machine: &Machine) {
    for name in DISTRIBUTED_ONLY {
        if let Some(node) = state.fields.get(name) {
            let hint = Some("set ItemProcessor.ProcessorConfig.Mode to \"DISTRIBUTED\"".to_owned());
            let message = format!(
                "Field '{name}' is of no use to a Map state that is not in DISTRIBUTED mode"
            );
            let mut diagnostic = state.fields.node.diagnostic(Code::InlineOnly, message);
            diagnostic.pointer = node.place.pointer();
            diagnostic.hint = hint;
            machine.report.add(diagnostic);
        }
    }
}

fn distributed(
    state: &Reading,
    machine: &mut Machine,
    execution_type: ExecutionType,
) -> Distributed {
    let label = state
        .fields
        .get("Label")
        .and_then(|node| label(&node, machine));
    let nested = |name| state.fields.get(name).and_then(|node: Node| node.fields());
    Distributed {
        execution_type,
        label,
        reader: nested("ItemReader").and_then(|fields| item_reader(&state.within(&fields))),
        batcher: nested("ItemBatcher").and_then(|fields| item_batcher(&state.within(&fields))),
        writer: nested("ResultWriter").and_then(|fields| result_writer(&state.within(&fields))),
    }
}

/// `Label`: 1 to 40 characters, since it is part of ARNs.
fn label(node: &Node, machine: &mut Machine) -> Option<Arc<str>> {
    const REFUSED: &str = "?*<>{}[]:;,\\|^~$#%&`\"";
    let text = node.text()?;
    let refused = text
        .chars()
        .find(|c| c.is_whitespace() || c.is_control() || REFUSED.contains(*c) || is_nonchar(*c));
    if let Some(refused) = refused {
        node.fault(
            Code::LabelName,
            format!("Label contains invalid character: {refused:?}"),
        );
    } else if text.is_empty() {
        node.fault(Code::LabelName, "Label cannot be empty");
    } else if text.chars().count() > LABEL_CHARS_MAX {
        node.fault(
            Code::LabelName,
            format!("Label cannot exceed {LABEL_CHARS_MAX} characters"),
        );
    }
    let label: Arc<str> = text.into();
    if !machine.labels.insert(label.clone()) {
        node.fault(
            Code::DuplicateLabel,
            format!("Duplicate Label name: {text}"),
        );
    }
    Some(label)
}

fn is_nonchar(c: char) -> bool {
    matches!(c, '\u{fffe}' | '\u{ffff}')
}

fn item_batcher(batcher: &Reading) -> Option<ItemBatcher> {
    let fields = batcher.fields;
    let items = batcher.given_positive("MaxItemsPerBatch", "MaxItemsPerBatchPath", u32::MAX);
    let bytes = batcher.given_positive(
        "MaxInputBytesPerBatch",
        "MaxInputBytesPerBatchPath",
        BATCH_BYTES_MAX,
    );
    let batch_input = batcher.payload("BatchInput", "BatchInput");
    fields.finish(batcher.language);
    let bound = match (items, bytes) {
        (Some(items), Some(bytes)) => BatchBound::Both { items, bytes },
        (Some(items), None) => BatchBound::Items(items),
        (None, Some(bytes)) => BatchBound::Bytes(bytes),
        (None, None) => {
            let names = [
                "MaxItemsPerBatch",
                "MaxItemsPerBatchPath",
                "MaxInputBytesPerBatch",
                "MaxInputBytesPerBatchPath",
            ];
            if !names.iter().any(|name| fields.has(name)) {
                let message =
                    "One of these fields is required: [MaxItemsPerBatch, MaxInputBytesPerBatch]";
                fields.node.fault(Code::Missing, message);
            }
            return None;
        }
    };
    Some(ItemBatcher { bound, batch_input })
}

fn result_writer(writer: &Reading) -> Option<ResultWriter> {
    let fields = writer.fields;
    if fields.is_empty() {
        fields.node.fault(Code::Empty, "Value cannot be empty");
        return None;
    }
    let resource = fields
        .get("Resource")
        .and_then(|node| node.text().map(|text| (node, text)));
    if let Some((node, text)) = &resource
        && !is_integration(text, "s3:putObject")
    {
        node.fault(
            Code::BadResource,
            "The Resource of a ResultWriter must be arn:aws:states:::s3:putObject",
        );
    }
    let arguments = writer.payload("Parameters", "Arguments");
    let config = fields.get("WriterConfig").and_then(|node| node.fields());
    fields.finish(writer.language);
    let (mut transformation, mut output_type) = (Transformation::default(), OutputType::default());
    if let Some(config) = &config {
        (transformation, output_type) = writer_config(config)?;
    }
    if resource.is_some() && arguments.is_none() {
        let name = if writer.language == QueryLanguage::Jsonata {
            "Arguments"
        } else {
            "Parameters"
        };
        if !fields.has(name) {
            fields.missing(&[name]);
        }
        return None;
    }
    if resource.is_none() && arguments.is_some() {
        fields.missing(&["Resource"]);
    }
    Some(ResultWriter {
        destination: arguments,
        transformation,
        output_type,
    })
}

fn writer_config(config: &Fields) -> Option<(Transformation, OutputType)> {
    let transformations = [
        ("NONE", Transformation::None),
        ("COMPACT", Transformation::Compact),
        ("FLATTEN", Transformation::Flatten),
    ];
    let types = [("JSON", OutputType::Json), ("JSONL", OutputType::JsonLines)];
    let transformation = config
        .get("Transformation")
        .map(|node| node.word("Transformation", &transformations));
    let output_type = config
        .required("OutputType")
        .and_then(|node| node.word("OutputType", &types));
    config.finish(QueryLanguage::JsonPath);
    Some((
        transformation.unwrap_or(Some(Transformation::default()))?,
        output_type?,
    ))
}

/// Whether a text is `arn:<partition>:states:…:<call>`.
pub(crate) fn is_integration(text: &str, call: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    matches!(parts[..], ["arn", _, "states", _, _, named] if named == call)
}
