//! Expressions that an attacker would send end as errors of their own, on a small stack, and the process lives on.

use stepwell_query::{Bindings, Expression, NoScope, Random, Value};

/// As the smallest of the threads that expressions are evaluated on.
const STACK_BYTES: usize = 2 << 20;

#[test]
fn each_ends_as_an_error() {
    for text in include_str!("data/jsonata-hostile.txt").lines() {
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let shown: String = text.chars().take(200).collect();
        // The last one is the culprit when the process ends.
        println!("{shown}");
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        let ended = thread.spawn(move || ends(text)).unwrap().join();
        assert_eq!(ended.ok(), Some(true), "{shown} gave a value");
    }
}

/// Whether it ends as an error.
fn ends(text: &str) -> bool {
    let Ok(expression) = Expression::parse(text) else {
        return true;
    };
    let bindings = Bindings::new(&Value::Null, &NoScope, 0);
    let mut random = Random::from_seed([7; 32]);
    expression.evaluate(&bindings, &mut random).is_err()
}
