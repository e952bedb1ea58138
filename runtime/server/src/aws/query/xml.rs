//! Answers of the query protocol. What it hides: XML, and the codes of errors, which differ from those of AWS JSON.

use axum::http::StatusCode;
use stepwell_egress::sigv4;

use super::Fault;

/// One service of the protocol.
pub(crate) struct Api {
    /// What credentials are scoped to.
    pub(super) service: &'static str,
    pub(super) version: &'static str,
    pub(super) namespace: &'static str,
}

/// Codes that are not those of AWS JSON without `Exception`, and the status of refused callers.
const CODES: [(&str, &str, StatusCode); 6] = [
    (
        "AccessDeniedException",
        "AccessDenied",
        StatusCode::FORBIDDEN,
    ),
    (
        "ExpiredTokenException",
        "ExpiredToken",
        StatusCode::FORBIDDEN,
    ),
    (
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        StatusCode::FORBIDDEN,
    ),
    (
        "MissingAuthenticationTokenException",
        "MissingAuthenticationToken",
        StatusCode::FORBIDDEN,
    ),
    (
        "UnknownOperationException",
        "InvalidAction",
        StatusCode::NOT_FOUND,
    ),
    (
        "UnrecognizedClientException",
        "InvalidClientTokenId",
        StatusCode::FORBIDDEN,
    ),
];

/// A member of an answer.
pub(super) struct Element {
    name: &'static str,
    content: Content,
}

enum Content {
    Text(String),
    Members(Vec<Element>),
}

pub(super) fn text(name: &'static str, text: &str) -> Element {
    Element {
        name,
        content: Content::Text(text.to_owned()),
    }
}

/// A list, whose entries are all called `member`.
pub(super) fn list(name: &'static str, entries: impl Iterator<Item = Vec<Element>>) -> Element {
    nested(name, entries.map(|entry| nested("member", entry)).collect())
}

/// A list of texts.
pub(super) fn texts<'a>(name: &'static str, entries: impl Iterator<Item = &'a str>) -> Element {
    nested(name, entries.map(|entry| text("member", entry)).collect())
}

pub(super) fn nested(name: &'static str, members: Vec<Element>) -> Element {
    Element {
        name,
        content: Content::Members(members),
    }
}

/// The answer to a call: `<ACTIONResponse>` around `<ACTIONResult>`.
pub(super) fn reply(api: &Api, action: &str, result: &[Element], request_id: &str) -> Vec<u8> {
    let namespace = api.namespace;
    let mut xml = format!("<{action}Response xmlns=\"{namespace}\">\n  <{action}Result>\n");
    result.iter().for_each(|member| write(member, 2, &mut xml));
    xml.push_str(&format!(
        "  </{action}Result>\n  <ResponseMetadata>\n    <RequestId>{request_id}</RequestId>\n  </ResponseMetadata>\n</{action}Response>\n"
    ));
    xml.into_bytes()
}

/// Status and text of an error.
pub(super) fn error(api: &Api, fault: &Fault, request_id: &str) -> (StatusCode, Vec<u8>) {
    let namespace = api.namespace;
    let known = CODES.iter().find(|(json, _, _)| *json == fault.code());
    let (code, status) = match known {
        Some((_, code, status)) => (*code, *status),
        None if fault.code() == "ValidationException" => ("ValidationError", fault.status),
        None => {
            let code = fault.code();
            (code.strip_suffix("Exception").unwrap_or(code), fault.status)
        }
    };
    let kind = if status.is_server_error() {
        "Receiver"
    } else {
        "Sender"
    };
    let xml = format!(
        "<ErrorResponse xmlns=\"{namespace}\">\n  <Error>\n    <Type>{kind}</Type>\n    <Code>{code}</Code>\n    <Message>{}</Message>\n  </Error>\n  <RequestId>{request_id}</RequestId>\n</ErrorResponse>\n",
        escaped(&fault.message)
    );
    (status, xml.into_bytes())
}

/// Seconds of the Unix epoch as `2026-01-31T12:00:00Z`.
pub(super) fn time(seconds: i64) -> String {
    let basic = sigv4::time(seconds);
    let part = |from: usize, to: usize| basic.get(from..to).unwrap_or_default();
    format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0, 4),
        part(4, 6),
        part(6, 8),
        part(9, 11),
        part(11, 13),
        part(13, 15)
    )
}

fn write(element: &Element, depth: usize, xml: &mut String) {
    let (name, indent) = (element.name, "  ".repeat(depth));
    match &element.content {
        Content::Text(text) => {
            xml.push_str(&format!("{indent}<{name}>{}</{name}>\n", escaped(text)));
        }
        Content::Members(members) => {
            xml.push_str(&format!("{indent}<{name}>\n"));
            members
                .iter()
                .for_each(|member| write(member, depth + 1, xml));
            xml.push_str(&format!("{indent}</{name}>\n"));
        }
    }
}

/// Text as XML holds it; characters that it cannot hold become a question mark.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' | '\r' => escaped.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('?'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_nest_and_escape() {
        let member = nested("AssumedRoleUser", vec![text("Arn", "<a & \"b\">\u{1}")]);
        let reply = String::from_utf8(reply(&super::super::STS, "AssumeRole", &[member], "id"))
            .expect("text");
        assert_eq!(
            reply,
            "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  <AssumeRoleResult>\n    <AssumedRoleUser>\n      <Arn>&lt;a &amp; &quot;b&quot;&gt;?</Arn>\n    </AssumedRoleUser>\n  </AssumeRoleResult>\n  <ResponseMetadata>\n    <RequestId>id</RequestId>\n  </ResponseMetadata>\n</AssumeRoleResponse>\n"
        );
        assert_eq!(time(1_769_860_800), "2026-01-31T12:00:00Z");
    }

    #[test]
    fn errors_have_the_codes_of_sts() {
        for (fault, code, status) in [
            (Fault::denied("no".to_owned()), "AccessDenied", 403),
            (Fault::validation("no"), "ValidationError", 400),
            (Fault::refused("InvalidAction", "no"), "InvalidAction", 400),
            (
                Fault::unauthenticated("UnrecognizedClientException", "no"),
                "InvalidClientTokenId",
                403,
            ),
            (
                Fault::unauthenticated("IncompleteSignatureException", "no"),
                "IncompleteSignature",
                400,
            ),
        ] {
            let (found, text) = error(&super::super::STS, &fault, "id");
            let text = String::from_utf8(text).expect("text");
            assert!(text.contains(&format!("<Code>{code}</Code>")), "{text}");
            assert_eq!(found.as_u16(), status);
        }
    }
}
