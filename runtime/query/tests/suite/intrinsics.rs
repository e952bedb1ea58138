//! Intrinsic functions, from a table.

use stepwell_query::{NoScope, PathExpr, Random, Sources, Value};

/// Lines `call => JSON of the result`, `call => ! part of the error` or `call => ? part of the syntax error`.
#[test]
fn table() {
    let input = Value::parse(include_str!("data/intrinsics.input.json")).unwrap();
    let mut faults = Vec::new();
    let lines = include_str!("data/intrinsics.txt").lines();
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (call, expected) = line.split_once(" => ").expect("call => result");
        let result = match PathExpr::parse(call) {
            Err(error) => format!("? {error}"),
            Ok(call) => match call.evaluate(
                &Sources::new(&input, &NoScope),
                &mut Random::from_seed([7; 32]),
            ) {
                Ok(value) => value.to_json(),
                Err(error) => format!("! {error}"),
            },
        };
        let same = match expected.chars().next() {
            Some('!' | '?') => {
                result.starts_with(&expected[..1]) && result.contains(&expected[2..])
            }
            _ => result == expected,
        };
        if !same {
            faults.push(format!(
                "{call}\n    expected {expected}\n    but was  {result}"
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn random_numbers_stay_in_range_and_follow_the_seed() {
    let draw = |call: &str, seed: u8| {
        let mut random = Random::from_seed([seed; 32]);
        let call = PathExpr::parse(call).unwrap();
        call.evaluate(&Sources::new(&Value::Null, &NoScope), &mut random)
            .unwrap()
            .as_i64()
            .unwrap()
    };
    for seed in 0..50 {
        assert!((3..6).contains(&draw("States.MathRandom(3, 6)", seed)));
        assert_eq!(
            draw("States.MathRandom(0, 999, 3)", seed),
            draw("States.MathRandom(0, 999, 3)", 0)
        );
    }
    let uuid = PathExpr::parse("States.UUID()").unwrap();
    let first = uuid
        .evaluate(
            &Sources::new(&Value::Null, &NoScope),
            &mut Random::from_seed([1; 32]),
        )
        .unwrap();
    let again = uuid
        .evaluate(
            &Sources::new(&Value::Null, &NoScope),
            &mut Random::from_seed([1; 32]),
        )
        .unwrap();
    assert_eq!(first, again);
    assert_eq!(&first.as_str().unwrap()[14..15], "4");
}

/// What a call gives, shortened: its length, or its error.
fn given(call: &str, input: &Value) -> String {
    let call = PathExpr::parse(call).unwrap();
    let sources = Sources::new(input, &NoScope);
    match call.evaluate(&sources, &mut Random::from_seed([7; 32])) {
        Ok(value) => match (value.as_str(), value.as_array()) {
            (Some(text), _) => format!("{} characters", text.chars().count()),
            (_, Some(items)) => format!("{} items", items.len()),
            _ => value.to_json(),
        },
        Err(error) => error.to_string(),
    }
}

#[test]
fn limits_hold_to_the_unit() {
    let text = |length: usize| Value::object([("t", Value::from("x".repeat(length)))]);
    let emoji = |count: usize| Value::object([("t", Value::from("😀".repeat(count)))]);
    for (call, at, beyond) in [
        ("States.Base64Encode($.t)", text(10_000), text(10_001)),
        ("States.Base64Decode($.t)", text(10_000), text(10_001)),
        ("States.Hash($.t, 'SHA-1')", text(10_000), text(10_001)),
        // A character beyond the Basic Multilingual Plane counts as two, as in Java.
        ("States.Base64Encode($.t)", emoji(5_000), emoji(5_001)),
    ] {
        assert!(given(call, &at).ends_with(" characters"), "{call}");
        let refused = given(call, &beyond);
        assert!(refused.ends_with("at most 10000 are allowed"), "{refused}");
    }
    let partition = "States.ArrayPartition(States.Array($.t), 1)";
    assert_eq!(given(partition, &text(262_144 - 6)), "1 items");
    let refused = given(partition, &text(262_144 - 5));
    assert!(
        refused.ends_with("The result has 262145 bytes; at most 262144 are allowed"),
        "{refused}"
    );
    let range = |last: u32| given(&format!("States.ArrayRange(1, {last}, 1)"), &Value::Null);
    assert_eq!(range(1_000), "1000 items");
    assert!(range(1_001).ends_with("The range has 1001 elements; at most 1000 are allowed"));
}
