//! What must hold whatever bytes come: the readers of text and the interpreter, as functions that panic when it does not.
//! Hides how bytes become definitions, documents and inputs.

mod definition;
mod execution;
#[cfg(feature = "plugins")]
mod plugins;

use stepwell_asl::{Options, load, load_state, load_stored};
use stepwell_query::{
    Bindings, Bounds, Expression, JsonataTemplate, NoScope, Path, PathExpr, Random, ReferencePath,
    Sources, Template, Value,
};

/// Takes the fuzzer's bytes; panics when something does not hold.
pub type Target = fn(&[u8]);

/// The targets by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("json", json),
    ("path", path),
    ("intrinsic", intrinsic),
    ("jsonata", jsonata),
    ("asl", asl),
    ("step", execution::step),
    #[cfg(feature = "plugins")]
    ("package", plugins::package),
    #[cfg(feature = "plugins")]
    ("manifest", plugins::manifest),
    #[cfg(feature = "plugins")]
    ("ceilings", plugins::ceilings),
    #[cfg(feature = "plugins")]
    ("wasm", plugins::wasm),
];

/// A document that has something of everything.
fn document() -> Value {
    let text = r#"{"a":{"b":[1,2.5,"x",null,true,{"c":[[],{}]}]},"s":"Hello","n":-3,"list":[3,1,2],"o":{"k":"v"},"é":"😀"}"#;
    Value::parse(text).expect("the document is JSON")
}

fn random() -> Random {
    Random::from_seed([7; 32])
}

/// What the reader takes it prints, and reads back as the same.
fn json(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(value) = Value::parse(text) else {
        return;
    };
    let printed = value.to_json();
    assert_eq!(
        value.json_bytes(),
        printed.len(),
        "its size is told wrongly"
    );
    let again = Value::parse(&printed).expect("what was printed is JSON");
    assert_eq!(again, value, "it reads back as another value");
    assert_eq!(
        again.to_json(),
        printed,
        "it prints otherwise the second time"
    );
}

/// Paths find something or say why; what a reference path sets, it gets.
fn path(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let document = document();
    if let Ok(path) = Path::parse(text) {
        let _ = path.select(&document);
    }
    if let Ok(path) = ReferencePath::parse(text)
        && let Ok(set) = path.set(&document, Value::from("set"))
    {
        let got = path.get(&set).expect("it is there");
        assert_eq!(got, Value::from("set"));
    }
}

/// Intrinsic functions and payload templates.
fn intrinsic(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let document = document();
    let sources = Sources::new(&document, &NoScope);
    if let Ok(call) = PathExpr::parse(text) {
        let _ = call.evaluate(&sources, &mut random());
    }
    if let Ok(value) = Value::parse(text)
        && let Ok(template) = Template::build(&value)
    {
        let _ = template.evaluate(&sources, &mut random());
    }
}

/// JSONata expressions and templates: equal evaluations, equal results.
fn jsonata(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let document = document();
    let bounds = Bounds {
        time_ms: 300,
        sequence: 20_000,
        string_bytes: 200_000,
        memory_bytes: 20_000_000,
        result_bytes: 2_000_000,
        ..Bounds::default()
    };
    let bindings = Bindings::new(&document, &NoScope, 1_700_000_000_000)
        .with_root(&document)
        .with_bounds(bounds);
    if let Ok(expression) = Expression::parse(text) {
        let first = expression.evaluate(&bindings, &mut random());
        let second = expression.evaluate(&bindings, &mut random());
        let ran_out = [&first, &second].iter().any(|result| {
            result
                .as_ref()
                .is_err_and(|failure| failure.to_string().contains("timeout"))
        });
        assert!(first == second || ran_out, "{first:?}, then {second:?}");
    }
    if let Ok(value) = Value::parse(text)
        && let Ok(template) = JsonataTemplate::build(&value)
    {
        let _ = template.evaluate(&bindings, &mut random());
    }
}

/// A definition is refused with reasons, or loads and then always loads.
fn asl(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for allow_substitutions in [false, true] {
        let options = Options {
            allow_substitutions,
            ..Options::default()
        };
        let loaded = load(text, &options);
        loaded
            .diagnostics
            .iter()
            .for_each(|diagnostic| drop(diagnostic.to_string()));
        let refused = stepwell_asl::refusal(&loaded.diagnostics).is_some();
        assert!(
            allow_substitutions || refused == loaded.program.is_none(),
            "refused and loaded must exclude each other"
        );
        if !allow_substitutions && loaded.program.is_some() {
            load_stored(text).expect("what was accepted always loads");
        }
        let _ = load_state(text, "StateName", &options);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The targets hold on what they start from, and on bytes that follow from a seed.
    #[test]
    fn targets_hold_on_their_seeds() {
        let mut random = random();
        for (_, target) in TARGETS {
            for length in [0, 1, 7, 60, 400] {
                let mut bytes = vec![0; length];
                random.fill(&mut bytes);
                target(&bytes);
                bytes.iter_mut().for_each(|byte| *byte = 32 + *byte % 95);
                target(&bytes);
            }
        }
        for seed in [
            include_str!("../seeds/path/paths.txt"),
            include_str!("../seeds/intrinsic/calls.txt"),
            include_str!("../seeds/jsonata/expressions.txt"),
        ] {
            for line in seed.lines() {
                path(line.as_bytes());
                intrinsic(line.as_bytes());
                jsonata(line.as_bytes());
            }
        }
    }

    /// Bytes make definitions that load, else the target would test nothing.
    #[test]
    fn most_definitions_from_bytes_load() {
        let mut random = random();
        let mut loaded = 0;
        for _ in 0..200 {
            let mut bytes = vec![0; 120];
            random.fill(&mut bytes);
            let text = definition::from(&mut definition::Bytes::of(&bytes));
            loaded += usize::from(load(&text, &Options::default()).program.is_some());
            execution::step(&bytes);
        }
        assert!(loaded > 150, "{loaded} of 200");
    }
}
