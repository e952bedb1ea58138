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

/// A function that is handed on is the one that is called by its name, as long as the name is the function's.
#[test]
fn what_is_handed_on_answers_as_what_is_called() {
    for (handed, called) in [
        (r#"($f := $pad; $f("a", 3))"#, r#"$pad("a", 3)"#),
        (r#"($f := $pad; $f("a", -3, "-"))"#, r#"$pad("a", -3, "-")"#),
        (r#""a" ~> $pad(?, 3, "-")"#, r#"$pad("a", 3, "-")"#),
        (r#"$pad(?, 3)("a")"#, r#"$pad("a", 3)"#),
        (r#"$map(["a", "b"], $uppercase)"#, r#"["A", "B"]"#),
        (
            r#"$map(["a-b", "c-d"], $substringBefore(?, "-"))"#,
            r#"["a", "c"]"#,
        ),
        (r#"["a", "b"] ~> $join"#, r#""ab""#),
        (r#"["a", "b"] ~> $join(?, "-")"#, r#""a-b""#),
        (r#"$reduce([[1], [2], [3]], $append)"#, "[1, 2, 3]"),
        (r#"[[1, 2], [3]] ~> $map($reverse)"#, "[[2, 1], [3]]"),
        (r#"($f := $trim ~> $uppercase; $f(" a "))"#, r#""A""#),
        (r#"($f := $split; $f("a b", " "))"#, r#"["a", "b"]"#),
        (r#"($f := $replace; $f("abc", /b/, "-"))"#, r#""a-c""#),
        (r#"($f := $formatNumber; $f(1.5, "0.00"))"#, r#""1.50""#),
        (r#"($f := $formatInteger; $f(4, "I"))"#, r#""IV""#),
        (r#"($f := $toMillis; $f("1970-01-01", "[Y]-[M]-[D]"))"#, "0"),
        (r#"($f := $fromMillis; $f(0))"#, r#"$fromMillis(0)"#),
        (
            r#"($pad := function($x){ $x & "!" }; $f := $pad; $f("a"))"#,
            r#""a!""#,
        ),
        (r#"($f := function($trim){ $trim }; $f(7))"#, "7"),
        (r#"($trim := 5; $map([1], function(){ $trim }))"#, "5"),
        (
            r#"($f := function($m){ "<" & $m.match & ">" }; $replace("abc", /b/, $f))"#,
            r#""a<b>c""#,
        ),
        (r#"($r := "x"; $replace("abab", "a", $r))"#, r#""xbxb""#),
        (r#"($n := 1; $replace("abab", "a", "x", $n))"#, r#""xbab""#),
        ("$type($uppercase)", r#""function""#),
        ("$exists($uppercase)", "true"),
    ] {
        assert_eq!(value(handed), value(called), "{handed}");
    }
    let shadowed = Expression::parse("$trim & $join").unwrap();
    let bindings = Bindings::new(&Value::Null, &Named, 0);
    let found = shadowed.evaluate(&bindings, &mut Random::from_seed([7; 32]));
    assert_eq!(found.unwrap(), Some(Value::from("of trimof join")));
}

/// A workflow whose variables have the names of functions.
struct Named;

impl stepwell_query::Scope for Named {
    fn variable(&self, name: &str) -> Option<Value> {
        Some(Value::from(format!("of {name}")))
    }

    fn context(&self) -> Value {
        Value::Null
    }
}

fn value(text: &str) -> Option<Value> {
    let expression = Expression::parse(text).unwrap();
    let bindings = Bindings::new(&Value::Null, &NoScope, 0);
    let mut random = Random::from_seed([7; 32]);
    let found = expression.evaluate(&bindings, &mut random);
    found.unwrap_or_else(|error| panic!("{text}: {error:?}"))
}
