//! The value: text in, text out, sizes, errors.

use stepwell_query::{JSON_DEPTH_MAX, Object, Value};

#[test]
fn texts_come_back_as_the_service_prints_them() {
    for (text, printed) in [
        ("1", "1"),
        ("1.0", "1.0"),
        ("1e10", "1.0E10"),
        ("1.10", "1.1"),
        ("-0", "0"),
        ("-0.0", "-0.0"),
        ("12345678901234567890", "12345678901234567890"),
        (
            r#" { "b" : [ ] , "a" : { } , "b" : null } "#,
            r#"{"b":null,"a":{}}"#,
        ),
        (r#""\u00e9\ud83d\ude00\/\n\u0001""#, "\"é😀/\\n\\u0001\""),
    ] {
        let value = Value::parse(text).unwrap();
        assert_eq!(value.to_json(), printed);
        assert_eq!(value.json_bytes(), printed.len());
        assert_eq!(
            serde_json::to_string(&value).unwrap().to_lowercase(),
            printed.to_lowercase()
        );
    }
}

#[test]
fn errors_say_what_and_where() {
    for (text, error) in [
        (
            "not json",
            "Unrecognized token 'not': was expecting (JSON String, Number, Array, Object or token 'null', 'true' or 'false') at line 1, column 4",
        ),
        (
            "{'a'}",
            "Unexpected character (''' (code 39)): was expecting double-quote to start field name at line 1, column 3",
        ),
        (
            "",
            "No content to map due to end-of-input at line 1, column 1",
        ),
        (
            "{\"a\":1,\n\"b\" 2}",
            "Unexpected character ('2' (code 50)): was expecting a colon to separate field name and value at line 2, column 6",
        ),
        (
            "[1 2]",
            "Unexpected character ('2' (code 50)): was expecting comma to separate Array entries at line 1, column 5",
        ),
        (
            "[01]",
            "Invalid numeric value: Leading zeroes not allowed at line 1, column 3",
        ),
    ] {
        assert_eq!(Value::parse(text).unwrap_err().to_string(), error);
    }
    let deep = |levels: u32| "[".repeat(levels as usize) + &"]".repeat(levels as usize);
    assert_eq!(
        Value::parse(&deep(JSON_DEPTH_MAX)).unwrap().depth(),
        JSON_DEPTH_MAX
    );
    assert!(Value::parse(&deep(JSON_DEPTH_MAX + 1)).is_err());
}

#[test]
fn equality_is_that_of_json() {
    let equal =
        |left: &str, right: &str| Value::parse(left).unwrap() == Value::parse(right).unwrap();
    assert!(equal("1", "1.0") && equal("0.0", "-0.0") && equal("100", "1e2"));
    assert!(equal(r#"{"a":1,"b":[2]}"#, r#"{"b":[2.0],"a":1}"#));
    assert!(!equal("9007199254740993", "9007199254740992.0"));
    assert!(!equal("[1,2]", "[2,1]") && !equal("null", "false") && !equal("1", "\"1\""));
    assert!(!equal("12345678901234567890", "12345678901234567891"));
}

#[test]
fn large_objects_find_their_members() {
    let mut object: Object = (0..100)
        .map(|index| (format!("k{index}"), Value::from(index)))
        .collect();
    object = object.with("k50", Value::from("new"));
    assert_eq!(object.len(), 100);
    assert_eq!(object.get("k50").and_then(Value::as_str), Some("new"));
    assert_eq!(object.get("k99").and_then(Value::as_i64), Some(99));
    assert!(object.get("k100").is_none());
    assert_eq!(object.keys().nth(50).map(|key| &**key), Some("k50"));
    assert_eq!(
        Value::from(object).pointer("/k7").and_then(Value::as_i64),
        Some(7)
    );
}
