//! Input and output processing that loses data. Hides how two paths are compared.

use stepwell_query::{PathRoot, ReferencePath, Template, Value};

use super::Advised;
use crate::codes::Code;
use crate::program::{Io, Kind, PathIo, ResultPath, Selection};

pub(super) fn check(advised: &Advised<'_, '_>) {
    let Some(Io::Path(io)) = advised.state.kind.io() else {
        return;
    };
    check_lost_result(advised, io);
    check_empty_input(advised, io);
}

/// A result that was shaped and that nothing takes over.
fn check_lost_result(advised: &Advised<'_, '_>, io: &PathIo) {
    // An assignment reads the result before it is dropped.
    if io.assign.is_some() {
        return;
    }
    let tell = |field: &str, message: &str, hint: &str| {
        if let Some(node) = advised.node.below(field) {
            node.fault_with_hint(Code::LostResult, message, Some(hint.to_owned()));
        }
    };
    if matches!(io.result_path, ResultPath::Discard) && io.result_selector.is_some() {
        tell(
            "ResultSelector",
            "ResultSelector shapes a result that 'ResultPath': null drops",
            "remove one of them",
        );
    }
    let ResultPath::Insert(into) = &io.result_path else {
        return;
    };
    match &io.output_path {
        Selection::All => {}
        Selection::Nothing => tell(
            "OutputPath",
            "OutputPath is null: the output is empty, and what ResultPath keeps is dropped",
            "remove \"OutputPath\", or \"ResultPath\" if nothing is to go on",
        ),
        Selection::Path(output) => {
            let output = ReferencePath::parse(output.text()).ok();
            if output.is_some_and(|output| parts_from(into, &output)) {
                tell(
                    "OutputPath",
                    "OutputPath does not select what ResultPath has put into the output: the result is \
                     dropped",
                    "select the whole output or the result, or write \"ResultPath\": null",
                );
            }
        }
    }
}

/// Whether neither path leads through the other.
fn parts_from(into: &ReferencePath, output: &ReferencePath) -> bool {
    if *output.root() != PathRoot::Input {
        return false;
    }
    let made = |path: &ReferencePath| path.set(&Value::empty_object(), Value::from(true)).ok();
    let (Some(with_result), Some(with_output)) = (made(into), made(output)) else {
        // Elements of arrays are not compared.
        return false;
    };
    output.get(&with_result).is_err() && into.get(&with_output).is_err()
}

/// Fields that read the input of a state whose `InputPath` is null.
fn check_empty_input(advised: &Advised<'_, '_>, io: &PathIo) {
    if !matches!(io.input_path, Selection::Nothing) {
        return;
    }
    let reads = |template: &Option<Template>| template.as_ref().is_some_and(Template::reads_input);
    let selector = match &advised.state.kind {
        Kind::Map(_) => advised.node.below("ItemsPath"),
        Kind::Pass(_)
        | Kind::Task(_)
        | Kind::Choice(_)
        | Kind::Wait(_)
        | Kind::Succeed(_)
        | Kind::Fail(_)
        | Kind::Parallel(_) => None,
    };
    let parameters = reads(&io.parameters).then(|| advised.node.below("Parameters"));
    for node in selector
        .filter(|node| {
            node.value
                .as_str()
                .is_some_and(|path| path.starts_with("$."))
        })
        .into_iter()
        .chain(parameters.flatten())
    {
        let field = node.place.name().unwrap_or_default();
        node.fault_with_hint(
            Code::EmptyInput,
            format!("InputPath is null: the input is empty, and '{field}' reads from it"),
            Some("remove \"InputPath\"".to_owned()),
        );
    }
}
