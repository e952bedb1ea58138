//! Signs a request that leaves for a service. Hides the turn between its plain headers and those that are signed.

use hyper::{
    HeaderMap, Method, Uri,
    header::{self, HeaderName, HeaderValue},
};

use super::{Signer, Unsignable};
use crate::exchange::Request;

/// An access key that requests are signed with.
#[derive(Clone)]
pub struct Credentials {
    pub key_id: String,
    pub secret: String,
    /// Of a key that holds for some hours.
    pub session_token: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({})", self.key_id)
    }
}

/// What a signature holds for.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    pub region: &'a str,
    /// As the service is called in signatures.
    pub service: &'a str,
    /// Seconds since 1970.
    pub at_s: i64,
}

/// Adds the time, the session token and the signature to a request's headers. It covers all headers that the request
/// has, its `Host`, its query and its body: nothing may be changed afterwards.
///
/// # Errors
/// When the request or the key is none that can be sent.
pub fn sign(
    request: &mut Request,
    credentials: &Credentials,
    scope: Scope<'_>,
) -> Result<(), Unsignable> {
    let malformed = Unsignable("request");
    let method = Method::from_bytes(request.method.as_bytes()).map_err(|_| malformed)?;
    let uri: Uri = request.url.as_str().parse().map_err(|_| malformed)?;
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| malformed)?;
        headers.append(name, HeaderValue::from_str(value).map_err(|_| malformed)?);
    }
    let signer = Signer {
        key_id: credentials.key_id.clone(),
        secret: credentials.secret.clone(),
        session_token: credentials.session_token.clone(),
        region: scope.region.to_owned(),
        service: scope.service.to_owned(),
    };
    let body = request.body.as_deref().unwrap_or_default();
    signer.sign(&method, &uri, &mut headers, body, scope.at_s)?;
    // The exchange writes the `Host` itself, as it follows from the URL.
    headers.remove(header::HOST);
    request.headers = headers
        .iter()
        .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
        .collect();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outgoing_request_is_signed_as_the_verifier_reads_it() {
        let mut request = Request {
            method: "POST".to_owned(),
            url: url::Url::parse("http://127.0.0.1:4566/").expect("a URL"),
            headers: vec![("X-Amz-Target".to_owned(), "A.B".to_owned())],
            body: Some(b"{}".to_vec()),
        };
        let credentials = Credentials {
            key_id: "AKID".to_owned(),
            secret: "secret".to_owned(),
            session_token: Some("session".to_owned()),
        };
        let scope = Scope {
            region: "us-east-1",
            service: "sqs",
            at_s: 1_440_938_160,
        };
        sign(&mut request, &credentials, scope).expect("signs");
        let header = |wanted: &str| {
            let found = request.headers.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!(header("x-amz-date"), Some("20150830T123600Z"));
        assert_eq!(header("x-amz-security-token"), Some("session"));
        assert_eq!(header("host"), None);
        let authorization = header("authorization").expect("signed");
        assert!(authorization.starts_with(
            "AWS4-HMAC-SHA256 Credential=AKID/20150830/us-east-1/sqs/aws4_request, SignedHeaders=host;x-amz-date;x-amz-security-token;x-amz-target, Signature="
        ));
    }
}
