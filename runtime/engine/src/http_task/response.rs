//! From a response to the task's outcome.

use stepwell_egress::Response;
use stepwell_interp::{FailedAt, TaskOutcome};
use stepwell_query::{ObjectBuilder, Value};

use super::Trouble;

/// Media types whose bodies are no text, as the service lists them.
const UNSUPPORTED: &str = "application/octet-stream";
const UNSUPPORTED_KINDS: [&str; 3] = ["image/", "video/", "audio/"];

/// What the response means for the task.
pub(super) fn outcome(response: &Response) -> Result<TaskOutcome, Trouble> {
    if !(200..300).contains(&response.status) {
        // The body is not told: the service has it in no history.
        return Ok(TaskOutcome::Failed {
            error: Some(format!("States.Http.StatusCode.{}", response.status).into()),
            cause: (!response.reason.is_empty()).then(|| response.reason.as_str().into()),
            at: FailedAt::Run,
        });
    }
    let mut output = ObjectBuilder::with_capacity(4);
    output.insert("Headers", headers(response));
    if let Some(body) = body(response)? {
        output.insert("ResponseBody", body);
    }
    output
        .insert("StatusCode", i64::from(response.status))
        .insert("StatusText", response.reason.as_str());
    Ok(TaskOutcome::Succeeded {
        output: output.into(),
    })
}

/// Each name with all its values.
fn headers(response: &Response) -> Value {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in &response.headers {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let values = |wanted: &str| {
        let of_name = response.headers.iter().filter(|(name, _)| name == wanted);
        Value::array(of_name.map(|(_, value)| Value::from(value.as_str())))
    };
    Value::object(names.into_iter().map(|name| (name, values(name))))
}

/// JSON where the response says so, else text; none when there is none.
fn body(response: &Response) -> Result<Option<Value>, Trouble> {
    if response.body.is_empty() {
        return Ok(None);
    }
    let kind = media_type(response);
    let unsupported = |kind: &str| {
        kind == UNSUPPORTED || UNSUPPORTED_KINDS.iter().any(|all| kind.starts_with(all))
    };
    if unsupported(&kind) {
        return Err(Trouble::Runtime(format!(
            "Unsupported response content-type '{kind}'. Please see documentation for list of unsupported content-types."
        )));
    }
    let text = std::str::from_utf8(&response.body).map_err(|_| {
        Trouble::Runtime("The response cannot be read as a text: it is not UTF-8.".to_owned())
    })?;
    let is_json = kind == "application/json" || kind.ends_with("+json");
    if !is_json {
        return Ok(Some(Value::string(text)));
    }
    // RFC 8259, section 8.1: a reader may pass over a byte order mark.
    match Value::parse(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        Ok(value) => Ok(Some(value)),
        // As a text it would be another response than the one that was sent.
        Err(error) if error.beyond => Err(Trouble::Runtime(format!(
            "The response is JSON that cannot be kept: {error}."
        ))),
        Err(_) => Ok(Some(Value::string(text))),
    }
}

/// The `Content-Type` without its parameters, in lower case.
fn media_type(response: &Response) -> String {
    let typed = |(name, _): &&(String, String)| name.eq_ignore_ascii_case("content-type");
    let kind = response.headers.iter().find(typed);
    let kind = kind.map_or("", |(_, value)| value.as_str());
    let kind = kind.split(';').next().unwrap_or_default();
    kind.trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use stepwell_egress::Response;
    use stepwell_query::Value;

    use super::{Trouble, body};

    fn read(kind: &str, text: &str) -> Result<Option<Value>, Trouble> {
        body(&Response {
            status: 200,
            reason: "OK".to_owned(),
            headers: vec![("Content-Type".to_owned(), kind.to_owned())],
            body: text.as_bytes().to_vec(),
        })
    }

    #[test]
    fn json_is_read_as_what_it_says_or_not_at_all() {
        let json = "application/json; charset=utf-8";
        let read_as = |kind, text| read(kind, text).ok().flatten();
        let parsed = |text| Value::parse(text).ok();
        assert_eq!(read_as(json, "{\"a\":1}"), parsed("{\"a\":1}"));
        assert_eq!(read_as(json, "\u{feff}[1]"), parsed("[1]"));
        assert_eq!(
            read_as("text/plain", "\u{feff}[1]"),
            Some(Value::string("\u{feff}[1]"))
        );
        assert_eq!(read_as(json, "<oops>"), Some(Value::string("<oops>")));
        let deep = "[".repeat(2_000);
        for beyond in ["{\"a\":1e999}", &deep] {
            let read = read(json, beyond);
            let Err(Trouble::Runtime(why)) = read else {
                panic!("{beyond} was read");
            };
            assert!(why.contains("cannot be kept"), "{why}");
        }
    }
}
