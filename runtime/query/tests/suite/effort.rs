//! Which expressions may take long, and how their work is counted.

use stepwell_query::{
    Allowance, Bindings, Effort, Expression, Ledger, Path, Random, Room, STATE_BYTES_MAX, Scope,
    Sources, Template, Value,
};

/// What a state may be here.
const ALLOWANCE: Allowance = Allowance {
    work: 1_000_000,
    time_ms: 10_000,
};

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

fn counted(room: Room) -> Counted {
    Counted(Effort::new(Ledger::default(), ALLOWANCE, room))
}

fn input() -> Value {
    Value::parse(r#"{"list":[{"n":1},{"n":2}],"text":"a b"}"#).unwrap()
}

/// Evaluates where what may take long is put off.
fn put_off(text: &str) -> bool {
    let (input, scope) = (input(), counted(Room::Left(1_000)));
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
        let (input, scope) = (Value::object([("list", list)]), counted(Room::Whole));
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

/// Rows of two numbers each, equal in every third one.
fn rows(count: usize) -> Value {
    let row = |index: usize| {
        let second = if index.is_multiple_of(3) {
            index
        } else {
            index + 1
        };
        Value::array([Value::from(index as i64), Value::from(second as i64)])
    };
    Value::object([("rows", Value::array((0..count).map(row)))])
}

/// So many fields of that text.
fn fields(count: usize, text: &str) -> Template {
    let fields = (0..count).map(|index| (format!("f{index}.$"), Value::from(text)));
    let fields: Vec<(String, Value)> = fields.collect();
    let fields = fields
        .iter()
        .map(|(name, text)| (name.as_str(), text.clone()));
    Template::build(&Value::object(fields)).unwrap()
}

#[test]
fn a_template_is_evaluated_in_pieces_to_the_same_value() {
    let input = rows(50);
    let template = fields(
        40,
        "States.Array(States.UUID(), States.ArrayLength($..[?(@[0]==@[1])]))",
    );
    let random = || Random::from_seed([5; 32]);
    let scope = counted(Room::Whole);
    let whole = template.evaluate(&Sources::new(&input, &scope), &mut random());
    let (mut ledger, mut random, mut pieces) = (Ledger::default(), random(), 0);
    let value = loop {
        let scope = Counted(Effort::new(ledger, ALLOWANCE, Room::First(20)));
        let value = template.evaluate(&Sources::new(&input, &scope), &mut random);
        pieces += 1;
        if !scope.0.is_put_off() {
            break value;
        }
        ledger = scope.0.into_ledger();
        ledger.rewind();
    };
    assert_eq!(value, whole);
    assert!(value.is_ok());
    assert!(pieces > 5, "{pieces} pieces");
}

#[test]
fn paths_and_functions_of_a_state_are_bounded_together() {
    let exhausts = |input: &Value, template: &Template| {
        let scope = counted(Room::Whole);
        let made = template.evaluate(
            &Sources::new(input, &scope),
            &mut Random::from_seed([1; 32]),
        );
        assert_eq!(made.is_err(), scope.0.is_exhausted());
        scope.0.is_exhausted()
    };
    let costly = "States.ArrayLength($..[?(@[0]==@[1])])";
    assert!(!exhausts(&rows(5_000), &fields(10, costly)));
    assert!(exhausts(&rows(5_000), &fields(14_000, costly)));
    // Ten thousand plain fields are nothing.
    assert!(!exhausts(&rows(5_000), &fields(10_000, "$.rows[4999]")));
    let text = Value::from("a".repeat(200_000));
    assert!(!exhausts(&text, &fields(10, "States.StringSplit($, 'b')")));
    assert!(exhausts(
        &text,
        &fields(1_000, "States.StringSplit($, 'b')")
    ));
    const { assert!(STATE_BYTES_MAX > 1_000 * 262_144) };
}

#[test]
fn what_filters_compare_counts() {
    let list = |from: i64| Value::array((from..from + 5_000).map(Value::from));
    let input = Value::object([
        ("a", list(0)),
        ("b", list(10_000)),
        ("text", Value::from("a".repeat(100_000))),
    ]);
    let (scope, input) = (counted(Room::Whole), Value::array([input]));
    for path in ["$[?(@.a anyof @.b)]", "$[?(@.a subsetof @.b)]"] {
        let error = Path::parse(path)
            .unwrap()
            .evaluate(&Sources::new(&input, &scope));
        let error = error.expect_err("25 million pairs").to_string();
        assert!(error.contains("make it more specific"), "{error}");
    }
    let before = scope.0.work();
    let matched = Path::parse("$[?(@.text =~ /(a|b)*c/)]").unwrap();
    matched.evaluate(&Sources::new(&input, &scope)).unwrap();
    assert!(
        scope.0.work() > before + 3_000,
        "100,000 characters are matched"
    );
}
