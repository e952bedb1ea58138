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
