//! What verifies and what does not: AWS's own example of a chunked body, and requests that were changed on the way. AWS's
//! test suite of the signature itself is `stepwell-egress`'s.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use bytes::Bytes;
use stepwell_egress::sigv4::{Signer, SigningKey, canonical, digest, scope, to_sign};

use super::{services, sigv4::Signed};
use crate::triggers::EVENTS_PATH;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
/// When the suite was signed: 2015-08-30T12:36:00Z.
const SUITE_S: i64 = 1_440_938_160;

/// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html: its headers, seed signature and chunks.
fn streamed() -> (HeaderMap, Uri, Bytes) {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("host", "s3.amazonaws.com"),
        ("x-amz-date", "20130524T000000Z"),
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        (
            "authorization",
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class,Signature=4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
        ),
        ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
        ("content-encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", "66560"),
        ("content-length", "66824"),
    ] {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    let mut body = Vec::new();
    for (size, signature) in [
        (
            65_536,
            "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
        ),
        (
            1_024,
            "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
        ),
        (
            0,
            "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
        ),
    ] {
        body.extend(format!("{size:x};chunk-signature={signature}\r\n").into_bytes());
        body.extend(vec![b'a'; size]);
        body.extend(b"\r\n");
    }
    (
        headers,
        Uri::from_static("/examplebucket/chunkObject.txt"),
        body.into(),
    )
}

#[test]
fn a_body_in_signed_chunks_verifies_whole_or_not_at_all() {
    let (headers, uri, body) = streamed();
    let key = SigningKey::derive(
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "20130524",
        "us-east-1",
        "s3",
    );
    let signed = Signed::read(&headers, &uri).expect("a signature");
    let verify = |body: Bytes| signed.verify(&key, &Method::PUT, &uri, &headers, body);
    let payload = verify(body.clone()).expect("AWS's own example");
    assert_eq!(payload.len(), 66_560);
    let mut tampered = body.to_vec();
    tampered[1_000] = b'b';
    assert!(verify(tampered.into()).is_err(), "a byte of a chunk");
    for length in [body.len() - 1, body.len() - 100, 66_000, 10, 0] {
        assert!(verify(body.slice(..length)).is_err(), "cut at {length}");
    }
    let more = [&body[..], b"x"].concat();
    assert!(verify(more.into()).is_err(), "something after the end");
}

#[test]
fn what_the_signer_signs_verifies_and_nothing_else() {
    let signer = Signer {
        key_id: "AKIDEXAMPLE".to_owned(),
        secret: SECRET.to_owned(),
        session_token: None,
        region: "eu-west-1".to_owned(),
        service: "states".to_owned(),
    };
    let request =
        Request::post("http://localhost:8083/api/executions/arn:aws:x%20y/events?b=%2F&a")
            .header("x-amz-target", "AWSStepFunctions.StartExecution");
    let (mut parts, ()) = request.body(()).expect("a request").into_parts();
    signer
        .sign(
            &parts.method,
            &parts.uri,
            &mut parts.headers,
            b"body",
            SUITE_S,
        )
        .expect("a key that can be sent");
    let signed = Signed::read(&parts.headers, &parts.uri).expect("a signature");
    let key = |secret: &str| SigningKey::derive(secret, "20150830", "eu-west-1", "states");
    let verify =
        |key: &SigningKey, method: &Method, uri: &Uri, headers: &HeaderMap, body: &'static [u8]| {
            signed
                .verify(key, method, uri, headers, Bytes::from_static(body))
                .is_ok()
        };
    let (uri, headers) = (&parts.uri, &parts.headers);
    assert!(verify(&key(SECRET), &Method::POST, uri, headers, b"body"));
    assert_eq!(signed.covers(headers), Ok(()));
    assert!(
        !verify(&key("another"), &Method::POST, uri, headers, b"body"),
        "another secret"
    );
    assert!(
        !verify(&key(SECRET), &Method::PUT, uri, headers, b"body"),
        "another method"
    );
    assert!(
        !verify(&key(SECRET), &Method::POST, uri, headers, b"Body"),
        "another body"
    );
    let other: Uri = "http://localhost:8083/api/executions/arn:aws:x%20z/events?b=%2F&a"
        .parse()
        .expect("a URI");
    assert!(
        !verify(&key(SECRET), &Method::POST, &other, headers, b"body"),
        "another path"
    );
    let mut changed = headers.clone();
    changed.insert(
        "x-amz-target",
        HeaderValue::from_static("AWSStepFunctions.StopExecution"),
    );
    assert!(
        !verify(&key(SECRET), &Method::POST, uri, &changed, b"body"),
        "another operation"
    );
    changed.remove("x-amz-target");
    assert!(
        !verify(&key(SECRET), &Method::POST, uri, &changed, b"body"),
        "a header is gone"
    );
    changed = headers.clone();
    changed.insert("x-amz-more", HeaderValue::from_static("1"));
    assert!(signed.covers(&changed).is_err(), "a header more");
}

#[test]
fn times_are_told_as_the_service_tells_them() {
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-date", HeaderValue::from_static("20150830T123600Z"));
    headers.insert("authorization", HeaderValue::from_static("AWS4-HMAC-SHA256 Credential=K/20150830/us-east-1/states/aws4_request, SignedHeaders=host;x-amz-date, Signature=00"));
    let signed = Signed::read(&headers, &Uri::from_static("/")).expect("a signature");
    let text = |now_s| {
        signed
            .timely(now_s)
            .map_err(|wrong| wrong.message.into_owned())
    };
    assert_eq!(text(SUITE_S + 300), Ok(()));
    assert_eq!(text(SUITE_S - 300), Ok(()));
    assert_eq!(
        text(SUITE_S + 301).expect_err("too late"),
        "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T124101Z - 5 min.)"
    );
    assert_eq!(
        text(SUITE_S - 301).expect_err("too early"),
        "Signature not yet current: 20150830T123600Z is still later than 20150830T123559Z (20150830T123059Z + 5 min.)"
    );
}

#[test]
fn a_presigned_request_holds_until_it_expires() {
    let query = "/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=K%2F20150830%2Fus-east-1%2Fstates%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-Expires=600&X-Amz-SignedHeaders=host&X-Amz-Signature=00";
    let read = |query: &str| Signed::read(&HeaderMap::new(), &query.parse().expect("a URI"));
    let signed = read(query).expect("a signature");
    assert_eq!(signed.timely(SUITE_S + 600), Ok(()));
    assert!(signed.timely(SUITE_S + 601).is_err());
    for wrong in ["0", "-1", "604801", "x", ""] {
        let query = query.replace("Expires=600", &format!("Expires={wrong}"));
        assert!(read(&query).is_err(), "{wrong}");
    }
    assert!(read("/?X-Amz-Algorithm=AWS4-HMAC-SHA256").is_err());
    assert!(read("/").is_err());
}

#[test]
fn what_is_no_signature_is_told_apart() {
    let code = |authorization: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-date", HeaderValue::from_static("20150830T123600Z"));
        if !authorization.is_empty() {
            headers.insert("authorization", authorization.parse().expect("a value"));
        }
        Signed::read(&headers, &Uri::from_static("/"))
            .map(drop)
            .map_err(|wrong| wrong.code)
    };
    let scope = "20150830/us-east-1/states/aws4_request";
    for text in ["", "Bearer x", "Basic eDp5"] {
        assert_eq!(code(text), Err("MissingAuthenticationTokenException"));
    }
    for text in [
        "AWS4-HMAC-SHA256".to_owned(),
        format!("AWS4-ECDSA-P256-SHA256 Credential=K/{scope}, SignedHeaders=host, Signature=00"),
        format!("AWS4-HMAC-SHA256 Credential=K/{scope}, SignedHeaders=host"),
        format!("AWS4-HMAC-SHA256 Credential=K/{scope}, SignedHeaders=host;date, Signature=00"),
        "AWS4-HMAC-SHA256 Credential=K/x, SignedHeaders=host, Signature=00".to_owned(),
    ] {
        assert_eq!(code(&text), Err("IncompleteSignatureException"), "{text}");
    }
    for text in [
        format!("AWS4-HMAC-SHA256 Credential=K/{scope}, SignedHeaders=x-amz-date, Signature=00"),
        "AWS4-HMAC-SHA256 Credential=K/20150831/us-east-1/states/aws4_request, SignedHeaders=host, Signature=00".to_owned(),
        "AWS4-HMAC-SHA256 Credential=K/20150830/us-east-1/states/other, SignedHeaders=host, Signature=00".to_owned(),
    ] {
        assert_eq!(code(&text), Err("InvalidSignatureException"), "{text}");
    }
}

/// Over HTTP/2 some clients sign `:authority`, as the pseudo-header is called, and send no `Host`.
#[test]
fn the_authority_stands_for_the_host() {
    let uri = Uri::from_static("http://localhost:8083/");
    let at = "20150830T123600Z";
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-date", HeaderValue::from_static(at));
    let names = [":authority", "x-amz-date"];
    let lines = canonical::headers(&headers, &uri, &names).expect("the URI names it");
    assert_eq!(
        lines,
        ":authority:localhost:8083\nx-amz-date:20150830T123600Z\n"
    );
    let hash = digest(b"");
    let request = canonical::request("POST", "/", "", &lines, &names.join(";"), &hash);
    let key = SigningKey::derive(SECRET, "20150830", "us-east-1", "states");
    let scope = scope("20150830", "us-east-1", "states");
    let signature = key.sign(&to_sign(at, &scope, &request));
    let text = format!(
        "AWS4-HMAC-SHA256 Credential=K/{scope}, SignedHeaders=:authority;x-amz-date, Signature={signature}"
    );
    headers.insert("authorization", text.parse().expect("a value"));
    let signed = Signed::read(&headers, &uri).expect("a signature");
    let verify = |uri: &Uri| {
        signed
            .verify(&key, &Method::POST, uri, &headers, Bytes::new())
            .is_ok()
    };
    assert!(verify(&uri));
    assert!(
        !verify(&Uri::from_static("http://elsewhere:8083/")),
        "another host"
    );
}

/// An `Action` behind the `?`, or a form, is of the query protocol at `/` alone.
#[test]
fn the_query_protocol_is_spoken_at_the_root_alone() {
    const FORM: &str = "application/x-www-form-urlencoded";
    let events = format!("{EVENTS_PATH}?Action=x");
    let cases: [(&str, &str, &[&str]); 8] = [
        ("/?Action=GetCallerIdentity", "", &["sts", "iam"]),
        ("/", FORM, &["sts", "iam"]),
        ("/", "application/x-amz-json-1.0", &["states"]),
        ("/api/executions?Action=x", "", &["states"]),
        ("/api/executions", FORM, &["states"]),
        ("/metrics?Action=x", "", &["states"]),
        (&events, "", &["events"]),
        (EVENTS_PATH, FORM, &["events"]),
    ];
    for (uri, kind, expected) in cases {
        let request = Request::get(uri).header("content-type", kind).body(());
        let (parts, ()) = request.expect("a request").into_parts();
        assert_eq!(services(&parts), expected, "{uri} {kind}");
    }
}
