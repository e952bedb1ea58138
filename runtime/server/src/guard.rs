//! Keeps web pages of other sites away. Without authentication the only thing between a page in the user's browser
//! and the API is the browser: a page on a name that is rebound to 127.0.0.1 is same-origin for it. Such requests carry
//! that name as Host and a header that SDKs never send.

use std::net::IpAddr;

use axum::http::{HeaderMap, Method, Uri, header};

use crate::triggers;

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

/// The same of another page than this server's own, which is its console. That a name is not rebound is [`check`]'s business.
pub(crate) fn is_of_other_page(headers: &HeaderMap, uri: &Uri) -> bool {
    is_of_page(headers) && !is_of_own_page(headers, uri)
}

/// What a browser says of the page that asks, and the page cannot change: how near it is, or, if the browser is an old one or the
/// connection is plain and not of this machine, where it is from.
fn is_of_own_page(headers: &HeaderMap, uri: &Uri) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site.as_bytes() == b"same-origin";
    }
    let from = headers.get("origin").or_else(|| headers.get("referer"));
    let from = from.and_then(|from| from.to_str().ok()?.split_once("://"));
    let Some((_, from)) = from else { return false };
    let from = from.split('/').next().unwrap_or_default();
    authority_of(headers, uri).is_some_and(|own| own.eq_ignore_ascii_case(from))
}

/// Lets a request pass unless it comes from a web page and its Host is neither loopback nor one of `hosts`. What only reads is
/// checked by Host alone, whatever it reads: to a page on a rebound name the server is its own, it may send a GET without any of
/// the headers, and it may read the answer. With every other method a browser says where the page is from. Triggers read
/// nothing, and are called under any name.
pub(crate) fn check(
    method: &Method,
    headers: &HeaderMap,
    uri: &Uri,
    hosts: &[String],
) -> Result<(), ForeignHost> {
    let page = is_of_page(headers);
    let host = host_of(headers, uri);
    // Browsers always name a host; calls within the process name none.
    let read = matches!(*method, Method::GET | Method::HEAD) && !triggers::is_endpoint(uri.path());
    let readable = read && host.is_some();
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

/// The host a request names, without port.
fn host_of<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    authority_of(headers, uri).map(without_port)
}

/// The same with its port, where the client names one; HTTP/2 has it in the URI.
fn authority_of<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    match headers.get(header::HOST) {
        Some(value) => value.to_str().ok(),
        None => Some(uri.authority()?.as_str()),
    }
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
                let verdict = check(&Method::POST, &headers, &Uri::from_static("/"), &hosts);
                assert_eq!(
                    verdict.is_ok(),
                    passes,
                    "{host} {header} from a page: {page}"
                );
            }
        }
    }

    #[test]
    fn what_only_reads_is_checked_by_host_alone() {
        let asked = |method: Method, host: &str, path: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().expect("a header value"));
            check(&method, &headers, &Uri::from_static(path), &[]).is_ok()
        };
        for path in [
            "/",
            "/?Action=GetCallerIdentity&Version=2011-06-15",
            "/metrics",
            "/api/executions/x/events",
            "/api/plugins",
            "/console",
            "/console/",
            "/console/assets/a.js",
            "/2015-03-31/functions",
            "/2017-03-31/tags/arn:aws:lambda:us-east-1:000000000000:function:a",
            "/schedules/a",
            "/tags/a",
            "/nowhere",
        ] {
            for method in [Method::GET, Method::HEAD] {
                assert!(asked(method.clone(), "localhost:8083", path), "{path}");
                assert!(!asked(method, "evil.example", path), "{path}");
            }
        }
        // SDKs put a word before the host.
        assert!(asked(Method::POST, "sync-localhost", "/"));
        assert!(asked(Method::PUT, "evil.example", "/schedules/a"));
        assert!(asked(
            Method::GET,
            "evil.example",
            "/trigger/000000000000/a"
        ));
        let unnamed = check(
            &Method::GET,
            &HeaderMap::new(),
            &Uri::from_static("/api/x"),
            &[],
        );
        assert!(unnamed.is_ok(), "a call within the process");
    }

    #[test]
    fn the_servers_own_page_is_told_from_others() {
        let own = "127.0.0.1:8083";
        for (host, says, expected) in [
            (own, &[("sec-fetch-site", "same-origin")][..], true),
            (own, &[("sec-fetch-site", "same-site")], false),
            (own, &[("sec-fetch-site", "cross-site")], false),
            (own, &[("sec-fetch-site", "none")], false),
            (own, &[("sec-fetch-site", "")], false),
            (own, &[("origin", "http://127.0.0.1:8083")], true),
            (own, &[("origin", "http://127.0.0.1:3000")], false),
            (own, &[("origin", "http://127.0.0.1")], false),
            (own, &[("origin", "http://evil.example")], false),
            (
                own,
                &[("origin", "http://127.0.0.1:8083.evil.example")],
                false,
            ),
            (own, &[("origin", "null")], false),
            (
                own,
                &[("referer", "http://127.0.0.1:8083/console/plugins")],
                true,
            ),
            (
                own,
                &[("referer", "http://evil.example/127.0.0.1:8083")],
                false,
            ),
            // What is nearest counts, whatever else is said.
            (
                own,
                &[
                    ("sec-fetch-site", "same-site"),
                    ("origin", "http://127.0.0.1:8083"),
                ],
                false,
            ),
            (
                own,
                &[
                    ("origin", "http://evil.example"),
                    ("referer", "http://127.0.0.1:8083/"),
                ],
                false,
            ),
            (
                "Flows.example",
                &[("origin", "https://flows.example")],
                true,
            ),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().expect("a header value"));
            assert!(!is_of_other_page(&headers, &Uri::from_static("/")));
            for (name, value) in says {
                headers.insert(*name, value.parse().expect("a header value"));
            }
            let other = is_of_other_page(&headers, &Uri::from_static("/"));
            assert_eq!(!other, expected, "{host} {says:?}");
        }
    }

    #[test]
    fn http2_names_the_host_in_the_uri() {
        let mut headers = HeaderMap::new();
        headers.insert(
            "origin",
            "http://evil.example".parse().expect("a header value"),
        );
        assert!(
            check(
                &Method::POST,
                &headers,
                &Uri::from_static("http://localhost:1/"),
                &[]
            )
            .is_ok()
        );
        assert!(
            check(
                &Method::POST,
                &headers,
                &Uri::from_static("http://evil.example/"),
                &[]
            )
            .is_err()
        );
        assert!(check(&Method::POST, &headers, &Uri::from_static("/"), &[]).is_err());
    }
}
