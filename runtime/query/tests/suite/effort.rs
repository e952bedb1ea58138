//! Which expressions may take long, and how their work is counted.

use stepwell_query::{Bindings, Effort, Expression, Path, Random, Scope, Sources, Value};

struct Counted(Effort);

impl Scope for Counted {
    fn context(&self) -> Value {
        Value::empty_object()
    }

    fn variable(&self, _: &str) -> Option<Value> {
        None
    }

    fn effort(&self) -> Option<&Effort> {
        Some(&self.0)
    }
}

fn input() -> Value {
    Value::parse(r#"{"list":[{"n":1},{"n":2}],"text":"a b"}"#).unwrap()
}

/// Evaluates where what may take long is put off.
fn put_off(text: &str) -> bool {
    let (input, scope) = (input(), Counted(Effort::new(true)));
    let expression = Expression::parse(text).unwrap();
    let bindings = Bindings::new(&input, &scope, 0);
    let evaluated = expression.evaluate(&bindings, &mut Random::from_seed([1; 32]));
    assert!(evaluated.is_err() || !scope.0.is_put_off());
    scope.0.is_put_off()
}

#[test]
fn what_repeats_something_may_take_long() {
    let brief = [
        "$states.input.list[0].n + 1",
        "$states.input.list.n",
        "$sum($states.input.list.n)",
        "$states.input.text & '!'",
        "$count($states.input.list) > 1 ? $uppercase($states.input.text) : 'none'",
        "{ 'a': [1, 2, $states.input.text] }",
        "$merge([$states.input, { 'm': 1 }])",
    ];
    let long = [
        "[1..1000000]",
        "$map($states.input.list, function($v) { $v.n })",
        "($f := function($n) { $n = 0 ? 0 : $f($n - 1) }; $f(10))",
        "$states.input.list[n > 1]",
        "$states.input.list.(n + 1)",
        "$states.input.list{ $string(n): n }",
        "$states.input.list^(n)",
        "$sum($states.input.**.n)",
        "$match($states.input.text, /a+/)",
        "1 + $count($distinct($states.input.list))",
    ];
    for text in brief {
        assert!(!put_off(text), "{text}");
    }
    for text in long {
        assert!(put_off(text), "{text}");
    }
}

#[test]
fn work_grows_with_what_is_read() {
    let work = |items: usize| {
        let list: Value = vec![Value::from("0123456789"); items].into();
        let (input, scope) = (Value::object([("list", list)]), Counted(Effort::new(false)));
        let expression = Expression::parse("$count($states.input.list)").unwrap();
        let bindings = Bindings::new(&input, &scope, 0);
        expression
            .evaluate(&bindings, &mut Random::from_seed([1; 32]))
            .unwrap();
        let jsonata = scope.0.work();
        let path = Path::parse("$..list[*]").unwrap();
        path.evaluate(&Sources::new(&input, &scope)).unwrap();
        (jsonata, scope.0.work() - jsonata)
    };
    let (small, large) = (work(10), work(10_000));
    assert!(large.0 > small.0 * 10, "{small:?} {large:?}");
    assert!(large.1 > small.1 + 100, "{small:?} {large:?}");
    assert_eq!(work(10_000), large, "equal evaluations are equal work");
}
