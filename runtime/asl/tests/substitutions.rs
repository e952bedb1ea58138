//! Definitions with values that are filled in when they are deployed: `${…}` for a value or a part of one.

use stepwell_asl::{Code, Options, load};

fn codes(text: &str, allow_substitutions: bool) -> Vec<Code> {
    let options = Options {
        allow_substitutions,
        ..Options::default()
    };
    let loaded = load(text, &options);
    let diagnostics = loaded.diagnostics.iter();
    diagnostics.map(|diagnostic| diagnostic.code).collect()
}

/// A field of a state, and what is said of it where nothing is filled in.
const FIELDS: [(&str, Code); 15] = [
    (r#""Type":"Wait","Seconds":"${S}""#, Code::WrongType),
    (
        r#""Type":"Wait","Timestamp":"20${Year}-01-01T00:00:00Z""#,
        Code::BadTimestamp,
    ),
    (
        r#""Type":"Wait","SecondsPath":"$.${Field}[*]""#,
        Code::BadReference,
    ),
    (
        r#""Type":"Wait","Seconds":1,"InputPath":"${Path}""#,
        Code::BadPath,
    ),
    (
        r#""Type":"Pass","Parameters":{"x.$":"${Expression}"}"#,
        Code::BadTemplate,
    ),
    (
        r#""Type":"Pass","QueryLanguage":"JSONata","Output":"{% ${Expression} + %}""#,
        Code::BadExpression,
    ),
    (
        r#""Type":"Pass","QueryLanguage":"${Language}""#,
        Code::NotOneOf,
    ),
    (
        r#""Type":"Pass","ResultPath":"$.${Name}[?(@.x)]""#,
        Code::BadReference,
    ),
    (
        r#""Type":"Task","Resource":"${Function}:nothing""#,
        Code::BadResource,
    ),
    (
        r#""Type":"Task","Resource":"wasm:f","TimeoutSeconds":"${T}""#,
        Code::WrongType,
    ),
    (
        r#""Type":"Task","Resource":"wasm:f","Retry":[{"ErrorEquals":["E"],"MaxAttempts":"${N}"}]"#,
        Code::WrongType,
    ),
    (
        r#""Type":"Task","Resource":"wasm:f","Retry":[{"ErrorEquals":["E"],"JitterStrategy":"${J}"}]"#,
        Code::NotOneOf,
    ),
    (
        r#""Type":"Task","Resource":"wasm:f","Catch":[{"ErrorEquals":["E"],"Next":"${State}"}]"#,
        Code::MissingTarget,
    ),
    (
        r#""Type":"Task","Resource":"wasm:f","Catch":"${Catch}""#,
        Code::WrongType,
    ),
    (
        r#""Type":"Pass","Comment":{"Fn::Sub":"x"}"#,
        Code::WrongType,
    ),
];

#[test]
fn what_is_filled_in_is_not_checked() {
    for (fields, code) in FIELDS {
        let text = format!(r#"{{"StartAt":"A","States":{{"A":{{{fields},"End":true}}}}}}"#);
        let plainly = codes(&text, false);
        assert!(plainly.contains(&code), "{fields}: {plainly:?}");
        assert_eq!(codes(&text, true), [], "{fields}");
    }
}

#[test]
fn everything_else_is_checked_all_the_same() {
    let text =
        r#"{"StartAt":"${First}","States":{"A":{"Type":"Wait","Seconds":"x","Next":"Nowhere"}}}"#;
    assert_eq!(codes(text, true), [Code::WrongType, Code::MissingTarget]);
}
