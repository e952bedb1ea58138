//! Names and values in queries and form bodies, as the service writes them: a space is `%20`, an array in one of four
//! ways.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use stepwell_egress::Url;
use stepwell_query::Value;

/// All but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// How an array is written: `Transform.RequestEncodingOptions.ArrayFormat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ArrayFormat {
    /// `a[0]=x&a[1]=y`
    Indices,
    /// `a=x&a=y`
    Repeat,
    /// `a=x,y`
    Commas,
    /// `a[]=x&a[]=y`
    Brackets,
}

/// The pairs in one text.
pub(crate) fn encode(pairs: &[(String, String)]) -> String {
    let quoted = |text: &str| utf8_percent_encode(text, RESERVED).to_string();
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{}={}", quoted(name), quoted(value)))
        .collect();
    pairs.join("&")
}

/// Puts pairs after what the URL's query has.
pub(crate) fn append_query(url: &mut Url, pairs: &[(String, String)]) {
    if pairs.is_empty() {
        return;
    }
    let more = encode(pairs);
    let query = match url.query().filter(|query| !query.is_empty()) {
        Some(query) => format!("{query}&{more}"),
        None => more,
    };
    url.set_query(Some(&query));
}

/// The members of a value as pairs; those of an object within come under `outer[inner]`.
pub(crate) fn pairs(value: &Value, format: ArrayFormat) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for (name, member) in value.as_object().into_iter().flat_map(|all| all.iter()) {
        collect(&mut pairs, name.to_string(), member, format);
    }
    pairs
}

fn collect(pairs: &mut Vec<(String, String)>, name: String, value: &Value, format: ArrayFormat) {
    if let Some(object) = value.as_object() {
        for (inner, member) in object.iter() {
            collect(pairs, format!("{name}[{inner}]"), member, format);
        }
        return;
    }
    let Some(items) = value.as_array() else {
        return pairs.push((name, scalar(value)));
    };
    if format == ArrayFormat::Commas {
        let items: Vec<String> = items.iter().map(scalar).collect();
        return pairs.push((name, items.join(",")));
    }
    for (index, item) in items.iter().enumerate() {
        let name = match format {
            ArrayFormat::Indices => format!("{name}[{index}]"),
            ArrayFormat::Brackets => format!("{name}[]"),
            ArrayFormat::Repeat | ArrayFormat::Commas => name.clone(),
        };
        collect(pairs, name, item, format);
    }
}

/// A text as it is, nothing as the empty text, other JSON as its text.
pub(crate) fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.to_string(),
        Value::Null => String::new(),
        other => other.to_json(),
    }
}

#[cfg(test)]
mod tests {
    use super::{ArrayFormat, encode, pairs};
    use stepwell_query::Value;

    /// The service's own bodies, recorded.
    #[test]
    fn arrays_are_written_in_four_ways() {
        let body = Value::parse(
            r#"{"items": ["red green", "blue+gold"], "nested": {"enabled": true, "count": 2}}"#,
        )
        .unwrap();
        let nested = "&nested%5Benabled%5D=true&nested%5Bcount%5D=2";
        for (format, items) in [
            (
                ArrayFormat::Indices,
                "items%5B0%5D=red%20green&items%5B1%5D=blue%2Bgold",
            ),
            (ArrayFormat::Repeat, "items=red%20green&items=blue%2Bgold"),
            (ArrayFormat::Commas, "items=red%20green%2Cblue%2Bgold"),
            (
                ArrayFormat::Brackets,
                "items%5B%5D=red%20green&items%5B%5D=blue%2Bgold",
            ),
        ] {
            assert_eq!(encode(&pairs(&body, format)), format!("{items}{nested}"));
        }
    }
}
