//! The way of data through a state: InputPath, Parameters, ResultSelector, ResultPath and OutputPath, or Arguments and
//! Output, with Assign beside both. Hides their order and what each field reads.

use std::sync::Arc;

use stepwell_asl::{Assign, Io, JsonataIo, JsonataRule, PathIo, ResultPath, Selection};
use stepwell_query::{Bindings, JsonataTemplate, PathRoot, Random, Template, Value};

use crate::{
    event::Assigned,
    fault::{Fault, Outcome},
    limits::{Limits, OUTPUT_DEPTH_MAX},
    scope::Moment,
};

/// A state's output and the variables it assigns.
pub(crate) struct Yield {
    pub(crate) output: Value,
    pub(crate) assigned: Assigned,
}

/// What a state's work makes of its data.
pub(crate) enum Made {
    /// Its work has a result.
    Result(Value),
    /// Its work has none: the input goes on.
    Nothing,
}

/// The effective input: what the state's work and its `…Path` fields read. The raw input in JSONata.
pub(crate) fn effective_input(io: &Io, moment: &Moment) -> Outcome<Value> {
    match io {
        Io::Path(io) => input_path(io, moment),
        Io::Jsonata(_) => Ok(moment.visit.input.clone()),
    }
}

/// What the work gets: Parameters or Arguments, else the effective input.
pub(crate) fn work_input(
    io: &Io,
    effective: &Value,
    moment: &Moment,
    random: &mut Random,
) -> Outcome<Value> {
    match io {
        Io::Path(io) => {
            let input = match &io.parameters {
                Some(parameters) if effective.is_null() && parameters.reads_input() => {
                    return Err(nothing_to_read());
                }
                Some(parameters) => template(parameters, effective, moment, random)?,
                None => effective.clone(),
            };
            moment.note(|data| data.after_parameters = Some(input.clone()));
            Ok(input)
        }
        Io::Jsonata(io) => {
            let input = match &io.arguments {
                Some(arguments) => jsonata(arguments, "Arguments", moment, random)?,
                None => effective.clone(),
            };
            moment.note(|data| data.after_arguments = Some(input.clone()));
            Ok(input)
        }
    }
}

/// The raw input as InputPath has it.
fn input_path(io: &PathIo, moment: &Moment) -> Outcome<Value> {
    let effective = select(&io.input_path, &moment.visit.input, moment)?;
    moment.note(|data| data.after_input_path = Some(effective.clone()));
    Ok(effective)
}

/// The state's output and assignments once its work is done.
pub(crate) fn conclude(
    io: &Io,
    made: &Made,
    moment: &Moment,
    random: &mut Random,
    limits: &Limits,
) -> Outcome<Yield> {
    let done = match io {
        Io::Path(io) => conclude_path(io, io.assign.as_ref(), made, moment, random)?,
        Io::Jsonata(io) => {
            conclude_jsonata(io.output.as_ref(), io.assign.as_ref(), made, moment, random)?
        }
    };
    check(done, moment, limits)
}

/// As [`conclude`] for a JSONPath Choice rule with its own Assign.
pub(crate) fn conclude_path_rule(
    io: &PathIo,
    assign: Option<&Assign<Template>>,
    moment: &Moment,
    random: &mut Random,
    limits: &Limits,
) -> Outcome<Yield> {
    let done = conclude_path(
        io,
        assign.or(io.assign.as_ref()),
        &Made::Nothing,
        moment,
        random,
    )?;
    check(done, moment, limits)
}

/// As [`conclude`] for a JSONata Choice rule with its own Assign or Output; `place` is the rule's (`Choices[0]`).
pub(crate) fn conclude_jsonata_rule(
    io: &JsonataIo,
    rule: &JsonataRule,
    place: &str,
    moment: &Moment,
    random: &mut Random,
    limits: &Limits,
) -> Outcome<Yield> {
    let output = placed(rule.output.as_ref(), place).or(placed(io.output.as_ref(), ""));
    let assign = placed(rule.assign.as_ref(), place).or(placed(io.assign.as_ref(), ""));
    let unchanged = &moment.visit.input;
    let done = conclude_bound(output, assign, unchanged, &moment.bindings(), random)?;
    check(done, moment, limits)
}

/// A field with the place in the state of what it belongs to: empty for the state itself.
pub(crate) type Placed<'a, T> = (&'a T, &'a str);

pub(crate) fn placed<'a, T>(field: Option<&'a T>, place: &'a str) -> Option<Placed<'a, T>> {
    field.map(|field| (field, place))
}

fn conclude_path(
    io: &PathIo,
    assign: Option<&Assign<Template>>,
    made: &Made,
    moment: &Moment,
    random: &mut Random,
) -> Outcome<Yield> {
    let (combined, dollar) = match made {
        Made::Nothing => {
            let effective = input_path(io, moment)?;
            (effective.clone(), effective)
        }
        Made::Result(result) => {
            let selected = match &io.result_selector {
                Some(selector) => template(selector, result, moment, random)?,
                None => result.clone(),
            };
            moment.note(|data| data.after_result_selector = Some(selected.clone()));
            let placed = place(&io.result_path, &moment.visit.input, &selected)?;
            moment.note(|data| data.after_result_path = Some(placed.clone()));
            (placed, result.clone())
        }
    };
    let assigned = match assign {
        Some(assign) => variables(assign, template(&assign.values, &dollar, moment, random)?),
        None => Assigned::default(),
    };
    Ok(Yield {
        output: select(&io.output_path, &combined, moment)?,
        assigned,
    })
}

fn conclude_jsonata(
    output: Option<&JsonataTemplate>,
    assign: Option<&Assign<JsonataTemplate>>,
    made: &Made,
    moment: &Moment,
    random: &mut Random,
) -> Outcome<Yield> {
    let (bindings, unchanged) = match made {
        Made::Result(result) => (moment.bindings().with_result(result), result),
        Made::Nothing => (moment.bindings(), &moment.visit.input),
    };
    let (output, assign) = (placed(output, ""), placed(assign, ""));
    conclude_bound(output, assign, unchanged, &bindings, random)
}

/// Assign and Output with these bindings; without an Output it is `unchanged`.
pub(crate) fn conclude_bound(
    output: Option<Placed<JsonataTemplate>>,
    assign: Option<Placed<Assign<JsonataTemplate>>>,
    unchanged: &Value,
    bindings: &Bindings,
    random: &mut Random,
) -> Outcome<Yield> {
    let mut evaluate = |template: &JsonataTemplate, place: &str, field: &str| {
        template.evaluate(bindings, random).map_err(|failure| {
            let separator = if place.is_empty() { "" } else { "/" };
            Fault::jsonata(failure, &format!("{place}{separator}{field}"))
        })
    };
    let assigned = match assign {
        Some((assign, place)) => variables(assign, evaluate(&assign.values, place, "Assign")?),
        None => Assigned::default(),
    };
    let output = match output {
        Some((output, place)) => evaluate(output, place, "Output")?,
        None => unchanged.clone(),
    };
    Ok(Yield { output, assigned })
}

/// Puts a result where ResultPath says, into the raw input.
pub(crate) fn place(path: &ResultPath, input: &Value, result: &Value) -> Outcome<Value> {
    match path {
        ResultPath::Replace => Ok(result.clone()),
        ResultPath::Discard => Ok(input.clone()),
        ResultPath::Insert(path) => path.set(input, result.clone()).map_err(Fault::ResultPath),
    }
}

/// The assignments that a template's value stands for.
pub(crate) fn variables<T>(assign: &Assign<T>, values: Value) -> Assigned {
    let value = |name: &Arc<str>| values.get(name).cloned().unwrap_or_default();
    assign
        .names
        .iter()
        .map(|name| (name.clone(), value(name)))
        .collect()
}

/// Refuses what is beyond the limits.
pub(crate) fn check(done: Yield, moment: &Moment, limits: &Limits) -> Outcome<Yield> {
    if done.output.json_bytes() > limits.payload_bytes_max || done.output.depth() > OUTPUT_DEPTH_MAX
    {
        return Err(Fault::DataLimit {
            of: moment.visit.state.clone(),
        });
    }
    let mut total = 0;
    for (name, value) in done.assigned.iter() {
        let bytes = value.json_bytes();
        if bytes > limits.variable_bytes_max || value.depth() > OUTPUT_DEPTH_MAX {
            let most = limits.variable_bytes_max;
            return Err(Fault::Variables(format!(
                "The variable '{name}' exceeds the maximum size of {most} bytes."
            )));
        }
        total += bytes;
    }
    if total > limits.assign_bytes_max {
        let most = limits.assign_bytes_max;
        return Err(Fault::Variables(format!(
            "The variables assigned exceed the maximum size of {most} bytes."
        )));
    }
    if total > 0 && total + moment.run.variables_bytes() > limits.variables_bytes_max {
        let most = limits.variables_bytes_max;
        return Err(Fault::Variables(format!(
            "The execution's variables exceed the maximum size of {most} bytes."
        )));
    }
    Ok(done)
}

/// InputPath or OutputPath.
pub(crate) fn select(selection: &Selection, value: &Value, moment: &Moment) -> Outcome<Value> {
    match selection {
        Selection::All => Ok(value.clone()),
        Selection::Nothing => Ok(Value::empty_object()),
        Selection::Path(path) if value.is_null() && *path.root() == PathRoot::Input => {
            Err(nothing_to_read())
        }
        Selection::Path(path) => path
            .evaluate(&moment.sources(value))
            .map_err(|error| Fault::path(&error)),
    }
}

/// A path that reads a null, in the service's words.
fn nothing_to_read() -> Fault {
    Fault::Runtime("Unable to apply Path transformation to null or empty input.".to_owned())
}

/// A JSONPath template with this `$`.
pub(crate) fn template(
    template: &Template,
    input: &Value,
    moment: &Moment,
    random: &mut Random,
) -> Outcome<Value> {
    template
        .evaluate(&moment.sources(input), random)
        .map_err(|failure| Fault::template(failure, input))
}

/// A JSONata template in that field, before the state's work.
pub(crate) fn jsonata(
    template: &JsonataTemplate,
    field: &str,
    moment: &Moment,
    random: &mut Random,
) -> Outcome<Value> {
    template
        .evaluate(&moment.bindings(), random)
        .map_err(|failure| Fault::jsonata(failure, field))
}
