//! JSONPath against what Jayway's JsonPath 2.10 answers, and the texts of errors.

use stepwell_query::{NoScope, Path, ReferencePath, Sources, Value};

use crate::corpus;

#[test]
fn jayway() {
    let Some(cases) = corpus::lines("jsonpath/jayway.jsonl") else {
        return;
    };
    let listed = corpus::exceptions(include_str!("data/jayway.exceptions"));
    let outcomes = cases.iter().map(|case| {
        let text = |key: &str| case.get(key).and_then(Value::as_str).unwrap().to_owned();
        let found =
            Path::parse(&text("selector")).map(|path| path.select(case.get("document").unwrap()));
        let same = match (text("outcome").as_str(), &found) {
            ("NOT_SUPPORTED", Err(_)) | ("NOT_FOUND", Ok(Err(_))) => true,
            ("VALUE", Ok(Ok(found))) => same(found, case.get("value").unwrap()),
            _ => false,
        };
        let expected = case
            .get("value")
            .map_or_else(|| text("outcome"), Value::to_json);
        let difference = || format!("{} gave {found:?}, expected {expected}", text("selector"));
        (text("id"), if same { Ok(()) } else { Err(difference()) })
    });
    corpus::verdict("jayway", outcomes.collect(), &listed);
}

/// The recorded lists are sorted, since the suite's consensus leaves the order of members open.
fn same(left: &Value, right: &Value) -> bool {
    let sorted = |value: &Value| {
        let mut items: Vec<String> = value.as_array()?.iter().map(canonical).collect();
        items.sort();
        Some(items)
    };
    left == right || (sorted(left).is_some() && sorted(left) == sorted(right))
}

fn canonical(value: &Value) -> String {
    match value {
        Value::Object(object) => {
            let mut members: Vec<_> = object
                .iter()
                .map(|(key, member)| format!("{key}:{}", canonical(member)))
                .collect();
            members.sort();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(items) => format!(
            "[{}]",
            items.iter().map(canonical).collect::<Vec<_>>().join(",")
        ),
        Value::Number(number) => format!("{}", number.as_f64()),
        other => other.to_json(),
    }
}

fn read(path: &str, input: &str) -> String {
    let input = Value::parse(input).unwrap();
    match Path::parse(path) {
        Err(error) => format!("syntax: {error}"),
        Ok(path) => match path.evaluate(&Sources::new(&input, &NoScope)) {
            Ok(value) => value.to_json(),
            Err(error) => error.to_string(),
        },
    }
}

#[test]
fn errors_are_worded_as_the_service_words_them() {
    for (path, input, text) in [
        (
            "$.x",
            "{}",
            "Invalid path '$.x' : No results for path: $['x']",
        ),
        (
            "$.no.such.path",
            "{}",
            "Invalid path '$.no.such.path' : Missing property in path $['no']",
        ),
        (
            "$.a.b",
            r#"{"a":{}}"#,
            "Invalid path '$.a.b' : No results for path: $['a']['b']",
        ),
        (
            "$.a[3]",
            r#"{"a":[1]}"#,
            "Invalid path '$.a[3]' : No results for path: $['a'][3]",
        ),
        (
            "$x",
            "{}",
            "Invalid path '$x' : The variable 'x' is not defined",
        ),
    ] {
        assert_eq!(read(path, input), text);
    }
}

#[test]
fn paths_of_state_machines() {
    let input = r#"{"a-b":1,"1a":2,"a:b":3,"a.b":4,"q'":5,"q\\":6,"q\\\"\"":7,"q\\'":8,"list":[{"x":1},{"x":2},{"x":3}],"n":{"x":[]}}"#;
    for (path, value) in [
        ("$.a-b", "1"),
        ("$.1a", "2"),
        ("$.a:b", "3"),
        (r"$.a\.b", "4"),
        ("$['a.b']", "4"),
        (r"$['q\'']", "5"),
        (r"$['q\\']", "6"),
        (r#"$['q\""']"#, "7"),
        (r#"$["q\'"]"#, "8"),
        ("$.list[0]", r#"{"x":1}"#),
        ("$.list[-1].x", "3"),
        ("$.list[*].x", "[1,2,3]"),
        ("$.list[?(@.x > 1)].x", "[2,3]"),
        ("$.list[?(@.x>1&&@.x<3)].x", "[2]"),
        ("$.list[?(@.x in [1, 3])].x", "[1,3]"),
        ("$.list[?(@.x == 9)]", "[]"),
        ("$.list[5:9]", "[]"),
        ("$..x", "[1,2,3,[]]"),
        ("$.list.length()", "3"),
        ("$.list[*].x.sum()", "6.0"),
        ("$.list[0,2].x", "[1,3]"),
    ] {
        assert_eq!(read(path, input), value, "{path}");
    }
}

#[test]
fn reference_paths_write() {
    for (path, root, value, result) in [
        ("$", r#"{"a":1}"#, "2", "2"),
        ("$.a", r#"{"a":1,"b":2}"#, "3", r#"{"a":3,"b":2}"#),
        ("$.x.y", r#"{"a":1}"#, "3", r#"{"a":1,"x":{"y":3}}"#),
        ("$.l[1]", r#"{"l":[1,2]}"#, "3", r#"{"l":[1,3]}"#),
        (
            "$.l[2]",
            r#"{"l":[1,2]}"#,
            "3",
            r#"Unable to apply ReferencePath $.l[2] to input {"l":[1,2]}"#,
        ),
        (
            "$.a.b",
            r#"{"a":1}"#,
            "3",
            r#"Unable to apply ReferencePath $.a.b to input {"a":1}"#,
        ),
        (
            "$.a",
            "\"s\"",
            "3",
            "Unable to apply ReferencePath $.a to input \"s\"",
        ),
    ] {
        let set = ReferencePath::parse(path)
            .unwrap()
            .set(&Value::parse(root).unwrap(), Value::parse(value).unwrap());
        assert_eq!(
            set.map_or_else(|error| error.to_string(), |value| value.to_json()),
            result,
            "{path}"
        );
    }
    for path in [
        "$.a[*]",
        "$..a",
        "$.a[0:1]",
        "$.a[?(@.b)]",
        "$['a','b']",
        "$.a[0,1]",
        "$.a.length()",
        "a",
        "",
    ] {
        assert!(ReferencePath::parse(path).is_err(), "{path}");
    }
}

#[test]
fn filters_and_functions() {
    let input =
        r#"[{"k":1,"s":"Hello","t":["a","b"]},{"k":"1","s":"bye","t":[]},{"s":null,"t":"ab"}]"#;
    for (path, value) in [
        ("$[?(@.k == 1)].k", r#"[1,"1"]"#),
        ("$[?(@.k === 1)].k", "[1]"),
        ("$[?(!@.k)].t", r#"["ab"]"#),
        ("$[?(@.s == null)].t", r#"["ab"]"#),
        ("$[?(@.s =~ /hel.*/i)].k", "[1]"),
        ("$[?(@.t size 2)].s", r#"["Hello",null]"#),
        ("$[?(@.t empty true)].s", r#"["bye"]"#),
        ("$[?(@.t contains 'a')].s", r#"["Hello",null]"#),
        ("$[?(@.s nin ['bye'])].t", r#"[["a","b"],"ab"]"#),
        ("$[?(@.t subsetof ['a','b','c'])].s", r#"["Hello","bye"]"#),
        ("$[?(@.t anyof ['a','z'])].s", r#"["Hello"]"#),
        (
            "$[?((@.k == 1 || @.s == null) && @.t)].t",
            r#"[["a","b"],[],"ab"]"#,
        ),
        ("$[?(@.k<-0.5e1)]", "[]"),
        ("$[0].t.first()", "\"a\""),
        ("$[0].t.index(-1)", "\"b\""),
        ("$[0].keys()", r#"["k","s","t"]"#),
        ("$[0].t.concat('c', @[1].s)", "\"abcbye\""),
        ("$[*].k.max()", "1.0"),
        ("$..k.length()", "2"),
        // A function right after `..`: the scan has no step to try.
        ("$..concat($[0].s)", "\"Hello\""),
        ("$[0]['s','k']", r#"{"s":"Hello","k":1}"#),
        (
            "$.x",
            "Invalid path '$.x' : Expected to find an object with property ['x'] in path $ but found 'java.util.ArrayList'. This is not a json object according to the JsonProvider: 'com.jayway.jsonpath.spi.json.JacksonJsonProvider'.",
        ),
    ] {
        assert_eq!(read(path, input), value, "{path}");
    }
    for path in [
        "$.",
        "$..",
        "$[",
        "$[?(@.a]",
        "$[?(@.a ==)]",
        "$['a'",
        "$.a()",
        "$.a b",
        "$[1:2:3:4]",
        "$[a]",
        "$.a[?(true)]",
    ] {
        assert!(Path::parse(path).is_err(), "{path}");
    }
}
