//! Keeps web pages of other sites away. Without authentication the only thing between a page in the user's browser
//! and the API is the browser: a page on a name that is rebound to 127.0.0.1 is same-origin for it. Such requests carry
//! that name as Host and a header that SDKs never send.

use std::net::IpAddr;

use axum::http::{HeaderMap, Uri, header};

/// Headers that browsers send and SDKs do not.
const BROWSER_HEADERS: [&str; 3] = ["origin", "referer", "sec-fetch-site"];

/// Why a request is refused: the host it was sent to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ForeignHost(pub(crate) String);

/// Whether a browser sent a request for a page.
pub(crate) fn is_of_page(headers: &HeaderMap) -> bool {
    BROWSER_HEADERS
        .iter()
        .any(|name| headers.contains_key(*name))
}

/// Lets a request pass unless it comes from a web page and its Host is neither loopback nor one of `hosts`. What a
/// plain GET can read is checked by Host alone: a page on a rebound name can send one without any of the headers.
pub(crate) fn check(headers: &HeaderMap, uri: &Uri, hosts: &[String]) -> Result<(), ForeignHost> {
    let page = is_of_page(headers);
    let host = host_of(headers, uri);
    // Browsers always name a host; calls within the process name none.
    let readable = (uri.path().starts_with("/api/") || uri.path() == "/metrics") && host.is_some();
    if !page && !readable {
        return Ok(());
    }
    let known = host.is_some_and(|host| {
        is_loopback(host) || hosts.iter().any(|known| known.eq_ignore_ascii_case(host))
    });
    if known {
        Ok(())
    } else {
        Err(ForeignHost(host.unwrap_or_default().to_owned()))
    }
}

/// The host a request names, without port; HTTP/2 has it in the URI.
fn host_of<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    let authority = match headers.get(header::HOST) {
        Some(value) => value.to_str().ok()?,
        None => uri.authority()?.as_str(),
    };
    Some(without_port(authority))
}

fn without_port(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    authority.split(':').next().unwrap_or(authority)
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_reach_loopback_and_configured_hosts_alone() {
        let hosts = ["flows.example".to_owned()];
        for (host, page, passes) in [
            ("evil.example", false, true),
            ("evil.example", true, false),
            ("evil.example:8083", true, false),
            ("localhost", true, true),
            ("LOCALHOST:8083", true, true),
            ("127.0.0.1:8083", true, true),
            ("127.9.9.9", true, true),
            ("[::1]:8083", true, true),
            ("[2001:db8::1]:8083", true, false),
            ("localhost.evil.example", true, false),
            ("127.0.0.1.evil.example", true, false),
            ("Flows.Example:80", true, true),
            ("", true, false),
        ] {
            for header in BROWSER_HEADERS.iter().take(if page { 3 } else { 1 }) {
                let mut headers = HeaderMap::new();
                headers.insert(header::HOST, host.parse().expect("a header value"));
                if page {
                    headers.insert(
                        *header,
                        "http://evil.example".parse().expect("a header value"),
                    );
                }
                let verdict = check(&headers, &Uri::from_static("/"), &hosts);
                assert_eq!(
                    verdict.is_ok(),
                    passes,
                    "{host} {header} from a page: {page}"
                );
            }
        }
    }

    #[test]
    fn what_a_get_can_read_is_checked_by_host_alone() {
        let read = |host: &str, path: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().expect("a header value"));
            check(&headers, &Uri::from_static(path), &[]).is_ok()
        };
        for path in ["/metrics", "/api/executions/x/events"] {
            assert!(read("localhost:8083", path), "{path}");
            assert!(!read("evil.example", path), "{path}");
        }
        assert!(read("sync-localhost", "/"));
        let unnamed = check(&HeaderMap::new(), &Uri::from_static("/api/x"), &[]);
        assert!(unnamed.is_ok(), "a call within the process");
    }

    #[test]
    fn http2_names_the_host_in_the_uri() {
        let mut headers = HeaderMap::new();
        headers.insert(
            "origin",
            "http://evil.example".parse().expect("a header value"),
        );
        assert!(check(&headers, &Uri::from_static("http://localhost:1/"), &[]).is_ok());
        assert!(check(&headers, &Uri::from_static("http://evil.example/"), &[]).is_err());
        assert!(check(&headers, &Uri::from_static("/"), &[]).is_err());
    }
}
