//! AWS's own signatures: the Signature Version 4 test suite, a folder a case. Left out are its two form posts, which contradict
//! themselves (a signed header is missing; a body is signed as a query), and its folded header, which no server takes.

use std::{fs, path::Path};

use hyper::{
    HeaderMap, Method, Uri,
    header::{HeaderName, HeaderValue},
};

use super::{Signer, SigningKey, canonical, digest, scope, seconds, time, to_sign};

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
/// When the suite was signed: 2015-08-30T12:36:00Z.
const SUITE_S: i64 = 1_440_938_160;

struct Vector {
    method: String,
    path: String,
    query: String,
    headers: HeaderMap,
    body: String,
}

/// A request as the suite writes it: the path as it is, not encoded.
fn read(text: &str) -> Vector {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let first = lines.next().expect("a request line");
    let (method, rest) = first.split_once(' ').expect("a method");
    let target = rest.strip_suffix(" HTTP/1.1").expect("a version");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':').expect("a header");
        headers.append(
            HeaderName::from_bytes(name.to_lowercase().as_bytes()).expect("a name"),
            HeaderValue::from_bytes(value.as_bytes()).expect("a value"),
        );
    }
    Vector {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        body: body.to_owned(),
    }
}

#[test]
fn the_suite_of_aws_is_signed_as_aws_signs_it() {
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sigv4");
    let mut cases = 0;
    for folder in fs::read_dir(suite).expect("the suite is there") {
        let folder = folder.expect("a folder").path();
        if !folder.is_dir() {
            continue;
        }
        let name = folder.file_name().expect("a name").to_string_lossy();
        let text = |kind: &str| {
            fs::read_to_string(folder.join(format!("request.{kind}")))
                .expect("a file")
                .replace("\r\n", "\n")
        };
        let vector = read(&text("sreq"));
        let authorization = vector.headers["authorization"].to_str().expect("text");
        let part = |name: &str| {
            let rest = authorization.split(name).nth(1).expect("the part");
            rest.split(',').next().expect("its end")
        };
        let signed = part("SignedHeaders=");
        let names: Vec<&str> = signed.split(';').collect();
        let lines = canonical::headers(&vector.headers, &Uri::from_static("/"), &names);
        let canonical = canonical::request(
            &vector.method,
            &canonical::path(&vector.path),
            &canonical::query(&vector.query),
            &lines.unwrap_or_else(|| panic!("{name}: a signed header is missing")),
            signed,
            &digest(vector.body.as_bytes()),
        );
        let wanted = text("creq");
        assert_eq!(canonical, wanted.trim_end_matches('\n'), "{name}");
        let key = SigningKey::derive(SECRET, "20150830", "us-east-1", "service");
        let scope = scope("20150830", "us-east-1", "service");
        assert!(part("Credential=").ends_with(&scope), "{name}: the scope");
        let text = to_sign(&time(SUITE_S), &scope, &canonical);
        assert_eq!(key.sign(&text), part("Signature="), "{name}: the signature");
        assert!(key.verifies(&text, part("Signature=")), "{name}");
        cases += 1;
    }
    assert_eq!(cases, 28, "cases of the suite");
}

/// The suite's `get-vanilla`, made by the signer.
#[test]
fn the_signer_signs_as_the_suite() {
    let signer = Signer {
        key_id: "AKIDEXAMPLE".to_owned(),
        secret: SECRET.to_owned(),
        session_token: None,
        region: "us-east-1".to_owned(),
        service: "service".to_owned(),
    };
    let uri = Uri::from_static("http://example.amazonaws.com/");
    let mut headers = HeaderMap::new();
    let signed = signer.sign(&Method::GET, &uri, &mut headers, b"", SUITE_S);
    assert_eq!(signed, Ok(()));
    assert_eq!(headers["host"], "example.amazonaws.com");
    assert_eq!(headers["x-amz-date"], "20150830T123600Z");
    assert_eq!(
        headers["authorization"],
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
    );
    assert_eq!(
        format!("{signer:?}"),
        "Signer(AKIDEXAMPLE)",
        "no secret in a log"
    );
    let broken = Signer {
        session_token: Some("a\nb".to_owned()),
        ..signer
    };
    let refused = broken.sign(&Method::GET, &uri, &mut headers, b"", SUITE_S);
    assert!(refused.is_err(), "a token that no header holds");
}

#[test]
fn times_are_read_as_they_are_written() {
    assert_eq!(time(SUITE_S), "20150830T123600Z");
    assert_eq!(seconds("20150830T123600Z"), Some(SUITE_S));
    for wrong in [
        "",
        "20150830",
        "20150830T123600",
        "20150830T123660Z0",
        "20151330T123600Z",
        "+0150830T123600Z",
        "2015083OT123600Z",
        "20150830t123600Z",
    ] {
        assert_eq!(seconds(wrong), None, "{wrong}");
    }
}

#[test]
fn a_signature_of_another_form_verifies_nothing() {
    let key = SigningKey::derive(SECRET, "20150830", "us-east-1", "service");
    let right = key.sign("text");
    assert!(key.verifies("text", &right));
    assert!(!key.verifies("Text", &right));
    for wrong in [
        "",
        "00",
        &right[1..],
        &right.to_uppercase(),
        &format!("{right}0"),
    ] {
        assert!(!key.verifies("text", wrong), "{wrong}");
    }
}
