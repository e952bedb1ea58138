//! Payload templates in both languages.

use stepwell_query::{
    Bindings, Bounds, Expression, JsonataTemplate, NoScope, Random, Scope, Sources, Template, Value,
};

struct Workflow;

impl Scope for Workflow {
    fn context(&self) -> Value {
        Value::parse(r#"{"Execution":{"Name":"run"}}"#).unwrap()
    }

    fn variable(&self, name: &str) -> Option<Value> {
        match name {
            "v" => Some(value(r#"{"k":[1.0,2]}"#)),
            "count" => Some(value("7")),
            _ => None,
        }
    }
}

fn random() -> Random {
    Random::from_seed([3; 32])
}

fn value(text: &str) -> Value {
    Value::parse(text).unwrap()
}

#[test]
fn jsonpath_templates() {
    let input = value(r#"{"a":{"b":[1,2]},"s":"x"}"#);
    for (template, expected) in [
        (
            r#"{"c":1,"d":["x",{"e.$":"$.s"}],"n.$":"$$.Execution.Name"}"#,
            r#"{"c":1,"d":["x",{"e":"x"}],"n":"run"}"#,
        ),
        (
            r#"{"v.$":"$v.k[0]","whole.$":"$"}"#,
            r#"{"v":1.0,"whole":{"a":{"b":[1,2]},"s":"x"}}"#,
        ),
        (
            r#"{"past.$":"$.a.b[7]","none.$":"$.a.b[5:]"}"#,
            r#"{"past":null,"none":[]}"#,
        ),
        (
            r#"{"f.$":"States.Format('{}-{}', $.s, $v.k[1])"}"#,
            r#"{"f":"x-2"}"#,
        ),
        (
            r#"{"v.$":"$.q"}"#,
            r#"The JSONPath '$.q' specified for the field 'v.$' could not be found in the input '{"a":{"b":[1,2]},"s":"x"}'"#,
        ),
    ] {
        let built = Template::build(&value(template)).unwrap();
        let result = built.evaluate(&Sources::new(&input, &Workflow), &mut random());
        assert_eq!(
            result.map_or_else(|failure| failure.text(&input), |value| value.to_json()),
            expected
        );
    }
}

#[test]
fn constant_templates_are_shared() {
    let template = value(r#"{"a":[1,{"b":2}]}"#);
    let built = Template::build(&template).unwrap();
    let result = built
        .evaluate(&Sources::new(&Value::Null, &NoScope), &mut random())
        .unwrap();
    assert_eq!(result.ptr_id(), template.ptr_id());
    let built = JsonataTemplate::build(&template).unwrap();
    let result = built
        .evaluate(&Bindings::new(&Value::Null, &NoScope, 0), &mut random())
        .unwrap();
    assert_eq!(result.ptr_id(), template.ptr_id());
}

#[test]
fn all_faults_of_a_template_are_found() {
    let faults =
        Template::build(&value(r#"{"x.$":"nope","a/b":{"y.$":5},"ok.$":"$"}"#)).unwrap_err();
    let found: Vec<_> = faults
        .iter()
        .map(|fault| (fault.pointer.as_str(), fault.to_string()))
        .collect();
    let text = |field: &str| {
        format!(
            "The value for the field '{field}' must be a valid JSONPath or a valid intrinsic function call"
        )
    };
    assert_eq!(found, [("/x.$", text("x.$")), ("/a~1b/y.$", text("y.$"))]);
    let faults =
        JsonataTemplate::build(&value(r#"{"x":"{% 1 + %}","l":["{% ( %}"]}"#)).unwrap_err();
    assert_eq!(
        faults
            .iter()
            .map(|fault| fault.pointer.as_str())
            .collect::<Vec<_>>(),
        ["/x", "/l/0"]
    );
}

#[test]
fn jsonata_templates() {
    let input = value(r#"{"a":{"b":[1,2]},"s":"x","n":1.0,"big":12345678901234567890}"#);
    for (template, expected) in [
        (
            r#"{"c":1,"l":["{% $states.input.s %}",2]}"#,
            r#"{"c":1,"l":["x",2]}"#,
        ),
        (
            r#""{% $states.input %}""#,
            r#"{"a":{"b":[1,2]},"s":"x","n":1.0,"big":12345678901234567890}"#,
        ),
        (r#"["{% $sum($states.input.a.b) + $v.k[1] %}"]"#, "[5]"),
        (
            r#""{% $states.context.Execution.Name & '!' %}""#,
            r#""run!""#,
        ),
        (r#""{% [1/0] %}""#, r#"["Infinity"]"#),
        (r#""{% $range(1, 9, 9) %}""#, "1"),
        (r#""{% $range(0, -4.9, -2) %}""#, "[0,-2,-4]"),
        (r#""{% $partition([0], 1) %}""#, "[[0]]"),
        (r#""{% $partition([0..4], 2) %}""#, "[[0,1],[2,3],[4]]"),
        (r#""{% $random(42) %}""#, "0.7275636800328681"),
        (
            r#""{% $hash('input data', 'MD5') %}""#,
            r#""812f45842bc6d66ee14572ce20db8e86""#,
        ),
        (r#""{% $parse('-0') %}""#, "0"),
        (r#""{% $parse('{\"a\":[1]}').a %}""#, "[1]"),
        (r#""{% $now() %}""#, r#""2001-09-09T01:46:40.000Z""#),
        (r#""{% $now('[Y]') %}""#, r#""2001""#),
        (r#""{% $millis() %}""#, "1000000000000"),
        (r#""{% $x := 2 %}""#, "2"),
        (
            r#"["{% $count %}","{% $count + 1 %}","{% $count([1,2]) %}","{% $map([1,2], $string) %}"]"#,
            r#"[7,8,2,["1","2"]]"#,
        ),
        (
            r#"{"r":{"x":["{% $no %}"]}}"#,
            "The JSONata expression '$no' specified for the field 'Output/r/x[0]' returned nothing (undefined).",
        ),
        (
            r#""{% function($x){$x} %}""#,
            "The JSONata expression 'function($x){$x}' specified for the field 'Output' returned an unsupported result type.",
        ),
        (
            r#"{"r":"{% $eval('1') %}"}"#,
            "The JSONata expression '$eval('1')' specified for the field 'Output/r' threw an error during evaluation. T1006: Attempted to invoke a non-function",
        ),
    ] {
        let built = JsonataTemplate::build(&value(template)).unwrap();
        let result = built.evaluate(
            &Bindings::new(&input, &Workflow, 1_000_000_000_000),
            &mut random(),
        );
        assert_eq!(
            result.map_or_else(|failure| failure.text("Output"), |value| value.to_json()),
            expected
        );
    }
}

#[test]
fn references() {
    let variables = |text: &str| {
        let expression = Expression::parse(text).unwrap();
        expression
            .references()
            .variables
            .iter()
            .map(|name| name.to_string())
            .collect::<Vec<_>>()
            .join(",")
    };
    assert_eq!(variables("$a + $b.c[$d = 1]"), "a,b,d");
    assert_eq!(
        variables("($x := $a; $f := function($y){ $y + $x + $z }; $f($x))"),
        "a,z"
    );
    assert_eq!(variables("$map($l, $string) + $count"), "l");
    assert_eq!(variables("$o@$p.q[$p.r = $s]"), "o,s");
    let of = |text: &str| Expression::parse(text).unwrap().references().clone();
    assert!(of("$states.input.a").input && !of("$states.input.a").whole_states);
    assert!(of("$states.errorOutput").error_output && of("$states.result.x").result);
    assert!(of("$keys($states)").whole_states && of("$states.context").context);
    assert!(of("$").unrooted.len() == 1 && of("$$").root && of("$$.a").root);
    assert!(
        of("$states.input[$ > 1]").unrooted.is_empty()
            && of("$states.input.($ + 1)").unrooted.is_empty()
    );
    assert_eq!(of("a + $states.input.b + c.d").unrooted.len(), 2);
    assert!(of("$states.input.{'a': b}").unrooted.is_empty());
    let built = Template::build(&value(
        r#"{"a.$":"$x.y","b":[{"c.$":"States.Array($z, $x)"}]}"#,
    ))
    .unwrap();
    assert_eq!(
        built
            .variables()
            .iter()
            .map(|name| name.to_string())
            .collect::<Vec<_>>(),
        ["x", "z"]
    );
}

#[test]
fn evaluations_stay_within_their_bounds() {
    let memory = "Expression evaluation memory limit exceeded: Check for excessive memory usage";
    let stack = "Stack overflow error: Check for non-terminating recursive function. Consider rewriting as tail-recursive";
    let time = "Expression evaluation timeout: Check for infinite loop";
    let sum = vec!["1"; 200].join("+");
    for (text, part) in [
        ("$count([1..873782])", "873782"),
        ("$count([1..873783])", memory),
        ("$pad('a', 1000000000)", memory),
        ("$length($pad('a', 4194304))", "4194304"),
        (
            "$replace($pad('a', 100000, 'a'), 'a', $pad('b', 100000, 'b'))",
            memory,
        ),
        (
            "$length($replace($pad('a', 10000, 'a'), 'a', 'bb'))",
            "20000",
        ),
        (
            "($f := function($s){ $f($s & $s) }; $f('aaaaaaaa'))",
            memory,
        ),
        ("($f := function($a){ $f([$a, $a]) }; $f([1, 2]))", memory),
        (
            "$join([1..1000].$pad('a', 10000), $pad(',', 10000))",
            memory,
        ),
        (
            "($f := function($x, $n){ $n = 0 ? $x : $f({'a': $x, 'b': $x}, $n - 1) }; $f('x', 40))",
            memory,
        ),
        (
            "($f := function($x, $n){ $n = 0 ? $x : $f({'a': $x, 'b': $x}, $n - 1) }; $string($f('x', 40)))",
            memory,
        ),
        ("($f := function($n){ $n + $f($n + 1) }; $f(1))", stack),
        ("($f := function($n){ $f($n + 1) }; $f(1))", time),
        (sum.as_str(), stack),
    ] {
        let expression = Expression::parse(text).unwrap();
        let bounds = Bounds {
            time_ms: if part == time { 200 } else { 20_000 },
            ..Bounds::default()
        };
        let bindings = Bindings::new(&Value::Null, &NoScope, 0).with_bounds(bounds);
        let result = match expression.require(&bindings, &mut random()) {
            Ok(value) => value.to_json(),
            Err(failure) => failure.to_string(),
        };
        assert!(
            result.ends_with(part),
            "{text} gave {}",
            &result[result.len().saturating_sub(200)..]
        );
    }
}
