//! What the arguments of `http:invoke` may be. Hides the service's words and its list of headers.

use stepwell_query::Value;

/// Methods of an HTTP task.
const METHODS: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"];
const ENCODINGS: [&str; 2] = ["NONE", "URL_ENCODED"];
const ARRAY_FORMATS: [&str; 4] = ["INDICES", "REPEAT", "COMMAS", "BRACKETS"];

/// Headers that a task may not set, in lower case (developer guide, "HTTP Task fields").
const HEADERS_REFUSED: [&str; 32] = [
    "a-im",
    "accept-charset",
    "accept-datetime",
    "accept-encoding",
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-md5",
    "date",
    "expect",
    "forwarded",
    "from",
    "host",
    "http2-settings",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "max-forwards",
    "origin",
    "pragma",
    "proxy-authorization",
    "referer",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "warning",
];
const PREFIXES_REFUSED: [&str; 3] = ["x-forwarded-", "x-amz-", "x-amzn-"];

/// Why a task with these evaluated arguments cannot be started, in the service's words; nothing when it can.
pub fn http_refusals(arguments: &Value) -> Vec<String> {
    let mut refusals = Vec::new();
    for name in ["ApiEndpoint", "Method"] {
        match arguments.get(name) {
            None | Some(Value::Null) => refusals.push(missing(name)),
            Some(Value::String(_)) => {}
            Some(_) => refusals.push(bad_format(name)),
        }
    }
    refusals.extend(connection(arguments));
    refusals.extend(constants(arguments, &|_| false));
    refusals
}

/// What is wrong with the arguments whatever the others evaluate to. `computed` tells of a text that is an expression.
pub(crate) fn constants(arguments: &Value, computed: &dyn Fn(&str) -> bool) -> Vec<String> {
    let mut refusals = Vec::new();
    let one_of = |of: Option<&Value>, name: &str, words: &[&str]| {
        let word = of.and_then(|of| of.get(name))?.as_str()?;
        let wrong = !computed(word) && !words.contains(&word);
        wrong.then(|| {
            let words = words.join(", ");
            format!("The field '{name}' should have one of these values: [{words}]")
        })
    };
    let transform = arguments.get("Transform");
    let options = transform.and_then(|transform| transform.get("RequestEncodingOptions"));
    refusals.extend(one_of(Some(arguments), "Method", &METHODS));
    refusals.extend(one_of(transform, "RequestBodyEncoding", &ENCODINGS));
    refusals.extend(one_of(options, "ArrayFormat", &ARRAY_FORMATS));
    match arguments.get("Headers") {
        None | Some(Value::Null) => {}
        Some(Value::String(text)) if computed(text) => {}
        Some(headers) => refusals.extend(headers_refused(headers)),
    }
    refusals
}

fn headers_refused(headers: &Value) -> Option<String> {
    let Some(headers) = headers.as_object() else {
        return Some(bad_format("Headers"));
    };
    let plain = |value: &Value| value.as_object().is_none() && value.as_array().is_none();
    let fits = |value: &Value| {
        plain(value)
            || value
                .as_array()
                .is_some_and(|items| items.iter().all(plain))
    };
    if !headers.values().all(fits) {
        return Some(bad_format("Headers"));
    }
    let names = headers.keys().map(|name| {
        let name = name.strip_suffix(".$").unwrap_or(name);
        name.to_ascii_lowercase()
    });
    let refused: Vec<String> = names
        .filter(|name| {
            HEADERS_REFUSED.contains(&name.as_str())
                || PREFIXES_REFUSED
                    .iter()
                    .any(|prefix| name.starts_with(prefix))
        })
        .collect();
    (!refused.is_empty()).then(|| {
        let refused = refused.join(", ");
        format!("The 'Headers' field contains unsupported values: [{refused}]")
    })
}

fn connection(arguments: &Value) -> Option<String> {
    let given = ["InvocationConfig", "Authentication"];
    let Some(holder) = given.iter().find_map(|name| arguments.get(name)) else {
        return Some(missing("Authentication"));
    };
    match holder.get("ConnectionArn") {
        Some(Value::String(_)) => None,
        Some(_) => Some(bad_format("ConnectionArn")),
        None => Some(missing("ConnectionArn")),
    }
}

fn missing(name: &str) -> String {
    format!("The field '{name}' is required but was missing")
}

fn bad_format(name: &str) -> String {
    format!("The value of the field '{name}' has an invalid format")
}

#[cfg(test)]
mod tests {
    use super::http_refusals;
    use stepwell_query::Value;

    fn refusals(arguments: &str) -> String {
        http_refusals(&Value::parse(arguments).unwrap()).join("; ")
    }

    #[test]
    fn arguments_are_refused_in_the_services_words() {
        let base =
            r#""ApiEndpoint": "https://a.example", "InvocationConfig": {"ConnectionArn": "c"}"#;
        assert_eq!(refusals(&format!("{{{base}, \"Method\": \"GET\"}}")), "");
        for (more, why) in [
            (
                r#""Method": "GET", "Headers": {"Authorization": "x", "X-Amz-Date": "y", "ok": "z"}"#,
                "The 'Headers' field contains unsupported values: [authorization, x-amz-date]",
            ),
            (
                r#""Method": "FETCH""#,
                "The field 'Method' should have one of these values: [GET, POST, PUT, DELETE, PATCH, OPTIONS, HEAD]",
            ),
            (
                r#""Method": "GET", "Headers": "no""#,
                "The value of the field 'Headers' has an invalid format",
            ),
            (
                r#""Method": "GET", "Transform": {"RequestEncodingOptions": {"ArrayFormat": "NONE"}}"#,
                "The field 'ArrayFormat' should have one of these values: [INDICES, REPEAT, COMMAS, BRACKETS]",
            ),
        ] {
            assert_eq!(refusals(&format!("{{{base}, {more}}}")), why);
        }
        assert_eq!(
            refusals("{}"),
            "The field 'ApiEndpoint' is required but was missing; The field 'Method' is required but was missing; \
             The field 'Authentication' is required but was missing"
        );
    }
}
