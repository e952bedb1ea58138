//! The pure crates alone: expressions, the checker, the fold of a history. No server runs.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use stepwell_asl::{Options, load};
use stepwell_interp::{Effect, Env, Event, Input, Run, Start, Timestamp, decode, encode, step};
use stepwell_query::{Bindings, Expression, NoScope, PathExpr, Random, Sources, Value};

use crate::table::Target;
use crate::{Bench, median};

const GROUP: &str = "languages";

/// Items of the order that the expressions read: about 0.8 kB of JSON.
const ORDERED: usize = 12;
/// Size of the definition, bytes: the service's limit is 1,048,576.
const DEFINITION_BYTES: usize = 1_000_000;
/// Events of the history: the service's limit.
const EVENTS: usize = 25_000;

/// JSONata as it stands in workflows: a member, a sum with a condition, an object made of lists.
const JSONATA: [(&str, &str); 3] = [
    ("a member", "$states.input.order.id"),
    (
        "a filter and a sum",
        "$sum($states.input.order.items[quantity > 1].(price * quantity))",
    ),
    (
        "an object of lists",
        "{'id': $states.input.order.id, 'names': $states.input.order.items.name, 'large': $map($filter($states.input.order.items, function($i){$i.price > 5}), function($i){$uppercase($i.name)}), 'count': $count($states.input.order.items)}",
    ),
];

/// The same in JSONPath and intrinsic functions.
const JSONPATH: [(&str, &str); 3] = [
    ("a member", "$.order.id"),
    ("a filter", "$.order.items[?(@.quantity > 1)].price"),
    (
        "nested calls",
        "States.Format('{} has {} items: {}', $.order.id, States.ArrayLength($.order.items), States.JsonToString($.order.items[*].name))",
    ),
];

pub(crate) fn measure(bench: &mut Bench) -> Result<()> {
    if bench.wants(GROUP, "JSONata") {
        jsonata(bench)?;
    }
    if bench.wants(GROUP, "JSONPath") {
        jsonpath(bench)?;
    }
    if bench.wants(GROUP, "load") {
        definition(bench)?;
    }
    if bench.wants(GROUP, "fold") {
        fold(bench)?;
    }
    Ok(())
}

fn input() -> Value {
    let items = (0..ORDERED).map(|index| {
        Value::object([
            ("name", Value::from(format!("item {index}"))),
            ("price", Value::from(index as u32)),
            ("quantity", Value::from(index as u32 % 3)),
        ])
    });
    let order = [("id", Value::from("o-1")), ("items", Value::array(items))];
    Value::object([("order", Value::object(order))])
}

fn jsonata(bench: &mut Bench) -> Result<()> {
    let input = input();
    let mut random = Random::from_seed([1; 32]);
    for (what, text) in JSONATA {
        let expression = Expression::parse(text).context("the expression parses")?;
        let micros = micros_of(bench, || {
            // A state's expressions share their bindings; here each has its own, as the only one of a state has.
            let bindings = Bindings::new(&input, &NoScope, 0);
            black_box(expression.require(&bindings, &mut random)).is_ok()
        })?;
        row(bench, "JSONata", what, micros, text);
    }
    Ok(())
}

fn jsonpath(bench: &mut Bench) -> Result<()> {
    let input = input();
    let mut random = Random::from_seed([1; 32]);
    for (what, text) in JSONPATH {
        let expression = PathExpr::parse(text).context("the expression parses")?;
        let micros = micros_of(bench, || {
            let sources = Sources::new(&input, &NoScope);
            black_box(expression.evaluate(&sources, &mut random)).is_ok()
        })?;
        row(bench, "JSONPath", what, micros, text);
    }
    Ok(())
}

fn row(bench: &mut Bench, language: &str, what: &str, micros: f64, text: &str) {
    let beside = vec![format!("{} characters, parsed before", text.len())];
    let name = format!("{language}, {what}");
    bench.row(GROUP, &name, (micros, "µs"), Target::None, beside);
}

/// Microseconds of one evaluation: the median over repetitions, each of which goes on for a part of a load's time.
fn micros_of(bench: &Bench, mut evaluate: impl FnMut() -> bool) -> Result<f64> {
    let time = bench.size.time / 12;
    let mut micros = Vec::new();
    for _ in 0..bench.size.repeats {
        let (begun, mut count) = (Instant::now(), 0u32);
        while begun.elapsed() < time {
            for _ in 0..100 {
                ensure!(evaluate(), "an expression failed");
            }
            count += 100;
        }
        micros.push(begun.elapsed().as_secs_f64() * 1e6 / f64::from(count));
    }
    Ok(median(micros))
}

fn definition(bench: &mut Bench) -> Result<()> {
    let mut states = String::new();
    let mut count = 0;
    while states.len() < DEFINITION_BYTES {
        count += 1;
        let next = count + 1;
        states.push_str(&format!(
            r#""S{count}":{{"Type":"Task","Resource":"wasm:f","Parameters":{{"id.$":"$.order.id","text.$":"States.Format('{{}}', $.s)","constant":{count}}},"ResultPath":"$.r","Retry":[{{"ErrorEquals":["States.ALL"]}}],"Next":"S{next}"}},"#
        ));
    }
    let last = count + 1;
    let text = format!(r#"{{"StartAt":"S1","States":{{{states}"S{last}":{{"Type":"Succeed"}}}}}}"#);
    let mut millis = Vec::new();
    for _ in 0..bench.size.repeats {
        let begun = Instant::now();
        let loaded = load(&text, &Options::default());
        millis.push(begun.elapsed().as_secs_f64() * 1e3);
        ensure!(loaded.program.is_some(), "the definition does not load");
    }
    let beside = vec![format!(
        "{} states, {:.2} MB",
        last,
        text.len() as f64 / 1e6
    )];
    bench.row(
        GROUP,
        "load of a definition of 1 MB",
        (median(millis), "ms"),
        Target::None,
        beside,
    );
    Ok(())
}

fn fold(bench: &mut Bench) -> Result<()> {
    let events = history()?;
    let bytes = encode(&events);
    let (mut folding, mut decoding) = (Vec::new(), Vec::new());
    for _ in 0..bench.size.repeats {
        let (decoded, took) = timed(|| decode(&bytes));
        decoding.push(took.as_secs_f64() * 1e3);
        let decoded = decoded.context("the history decodes")?;
        let mut run = Run::default();
        let ((), took) = timed(|| decoded.iter().for_each(|event| run.evolve(event)));
        folding.push(took.as_secs_f64() * 1e3);
        ensure!(run.ending().is_some(), "the fold is no finished execution");
    }
    let beside = vec![format!(
        "{} events; decoding them {:.1} ms more, {:.1} MB stored",
        events.len(),
        median(decoding),
        bytes.len() as f64 / 1e6
    )];
    let name = "fold of a history of 25,000 events";
    bench.row(GROUP, name, (median(folding), "ms"), Target::None, beside);
    Ok(())
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    (work(), begun.elapsed())
}

/// The events of an execution that goes round until its history is full.
fn history() -> Result<Vec<Event>> {
    let text = r#"{"StartAt":"A","States":{"A":{"Type":"Pass","Assign":{"v.$":"$.order.id"},"Next":"B"},"B":{"Type":"Choice","Choices":[{"Variable":"$.order.id","IsString":true,"Next":"A"}],"Default":"C"},"C":{"Type":"Succeed"}}}"#;
    let program = load(text, &Options::default())
        .program
        .context("the definition loads")?;
    let start = Start {
        execution_arn: "arn:aws:states:us-east-1:000000000000:execution:m:e".into(),
        execution_name: "e".into(),
        machine_arn: "arn:aws:states:us-east-1:000000000000:stateMachine:m".into(),
        machine_name: "m".into(),
        role_arn: "arn:aws:iam::000000000000:role/r".into(),
        version_arn: None,
        alias_arn: None,
        express: false,
        raised_limits: false,
        processor_of: None,
        forked_from: None,
        input: input(),
    };
    let mut run = Run::default();
    let mut events = Vec::with_capacity(EVENTS);
    let mut next = Some(Input::Started(Box::new(start)));
    while let Some(input) = next.take() {
        let env = Env {
            at: Timestamp(1_700_000_000_000),
            seed: [1; 32],
        };
        let effects = step(&program, &mut run, input, env);
        next = Effect::keep_events(effects, &mut events).then_some(Input::Continue);
    }
    ensure!(events.len() >= EVENTS, "only {} events", events.len());
    Ok(events)
}
