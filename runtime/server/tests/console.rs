//! The web console at `/console/`, through the router without a socket, from a table of files that a test makes up.

#![allow(clippy::unwrap_used, reason = "a test's helpers panic as its cases do")]

mod support;

use std::{io::Write, sync::Arc};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request},
};
use flate2::{Compression, write::GzEncoder};
use stepwell_engine::{Engine, Role, Vault};
use stepwell_server::{Authentication, Console, ConsoleFile, ServerConfig, ServerState, router};
use tower::ServiceExt;

const PAGE: &str =
    "<!doctype html><script type=module src=/console/assets/index-B4x_9fQa.js></script>";
const SCRIPT: &str = "console.log('a script that is long enough to be packed, packed, packed')";
const HERE: &str = "127.0.0.1:8083";

/// A page and a picture as they are, a script that is packed.
fn console() -> Console {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(SCRIPT.as_bytes()).unwrap();
    // The program's own are in its data.
    let packed: &'static [u8] = packed.finish().unwrap().leak();
    let file = |path, bytes, packed| ConsoleFile {
        path,
        bytes,
        packed,
    };
    Console::new([
        file("index.html", PAGE.as_bytes(), false),
        file("assets/index-B4x_9fQa.js", packed, true),
        file("icon.svg", b"<svg/>", false),
    ])
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

struct Served {
    engine: Engine,
    router: Router,
}

impl Served {
    fn new(console: Console) -> Served {
        Served::over(support::engine(false, None), console, None)
    }

    fn over(engine: Engine, console: Console, authentication: Option<Authentication>) -> Served {
        let config = ServerConfig {
            console,
            authentication,
            ..ServerConfig::default()
        };
        let state = ServerState::new(config, engine.clone(), support::sandbox());
        let router = router(Arc::new(state));
        Served { engine, router }
    }

    async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = answer.into_parts();
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: to_bytes(body, usize::MAX).await.unwrap().to_vec(),
        }
    }

    /// As a browser on this machine asks.
    async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[("host", HERE)]).await
    }
}

#[tokio::test]
async fn files_have_types_tags_and_times() {
    let served = Served::new(console());
    for (path, kind, caching) in [
        ("/console/", "text/html; charset=utf-8", "no-cache"),
        (
            "/console/index.html",
            "text/html; charset=utf-8",
            "no-cache",
        ),
        ("/console/icon.svg", "image/svg+xml", "no-cache"),
        (
            "/console/assets/index-B4x_9fQa.js",
            "text/javascript; charset=utf-8",
            "public, max-age=31536000, immutable",
        ),
    ] {
        let answer = served.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-type"), kind, "{path}");
        assert_eq!(answer.header("cache-control"), caching, "{path}");
        let length = answer.body.len().to_string();
        assert_eq!(answer.header("content-length"), length, "{path}");
        let tag = answer.header("etag").to_owned();
        assert!(tag.starts_with('"') && tag.ends_with('"'), "{path}: {tag}");
        for known in [
            tag.clone(),
            format!("W/{tag}"),
            format!("\"x\", {tag}"),
            "*".to_owned(),
        ] {
            let headers = [("host", HERE), ("if-none-match", known.as_str())];
            let again = served.ask(Method::GET, path, &headers).await;
            assert_eq!(again.status, 304, "{path}: {known}");
            assert!(again.body.is_empty(), "{path}: {known}");
            assert_eq!(again.header("etag"), tag, "{path}");
            assert_eq!(again.header("cache-control"), caching, "{path}");
        }
        let headers = [("host", HERE), ("if-none-match", "\"x\"")];
        let other = served.ask(Method::GET, path, &headers).await;
        assert_eq!((other.status, other.body), (200, answer.body), "{path}");
    }
    served.engine.shutdown().await;
}

#[tokio::test]
async fn a_packed_file_goes_as_it_is_to_who_takes_gzip() {
    let served = Served::new(console());
    let path = "/console/assets/index-B4x_9fQa.js";
    let plain = served.get(path).await;
    assert_eq!(
        (plain.text(), plain.header("content-encoding")),
        (SCRIPT, "")
    );
    assert_eq!(plain.header("vary"), "accept-encoding");
    let takes = [("host", HERE), ("accept-encoding", "gzip, br")];
    let packed = served.ask(Method::GET, path, &takes).await;
    assert_eq!(packed.header("content-encoding"), "gzip");
    assert_eq!(packed.header("vary"), "accept-encoding");
    assert_ne!(packed.header("etag"), plain.header("etag"));
    let mut unpacked = String::new();
    let mut reader = flate2::bufread::GzDecoder::new(&packed.body[..]);
    std::io::Read::read_to_string(&mut reader, &mut unpacked).unwrap();
    assert_eq!(unpacked, SCRIPT);
    // What was small enough is sent plain to everyone.
    let page = served.ask(Method::GET, "/console/", &takes).await;
    assert_eq!((page.text(), page.header("content-encoding")), (PAGE, ""));
    served.engine.shutdown().await;
}

#[tokio::test]
async fn views_are_the_page_and_other_files_are_not_there() {
    let served = Served::new(console());
    for path in [
        "/console/plugins",
        "/console/plugins/pay/",
        "/console/executions/my.run?tab=events",
        "/console/executions/arn%3Aaws%3Astates%3Aus-east-1%3A000000000000%3Aexecution%3Aa%2Fb%3Arun.js",
    ] {
        let answer = served.get(path).await;
        assert_eq!((answer.status, answer.text()), (200, PAGE), "{path}");
        assert_eq!(answer.header("cache-control"), "no-cache", "{path}");
    }
    for path in [
        "/console/assets/index-00000000.js",
        "/console/assets%2Findex-B4x_9fQa.js",
        "/console/../api/executions/x/events",
        "/console/..",
        "/console/%2e%2e/metrics",
        "/console/..%2f..%2f..%2fetc%2fpasswd",
        "/console/..%5cCargo.toml",
        "/console/plugins%00",
        "/console/index.html%00.js",
        "/console/%ff",
        "/console//etc/passwd.txt",
    ] {
        let answer = served.get(path).await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
        assert!(answer.text().starts_with("{\"error\":"), "{path}");
    }
    let redirect = served.get("/console").await;
    assert_eq!(redirect.status, 307);
    assert_eq!(redirect.header("location"), "/console/");
    served.engine.shutdown().await;
}

#[tokio::test]
async fn answers_have_their_walls() {
    let served = Served::new(console());
    for path in [
        "/console",
        "/console/",
        "/console/plugins",
        "/console/assets/index-B4x_9fQa.js",
        "/console/none.js",
    ] {
        let answer = served.get(path).await;
        for (name, value) in [
            (
                "content-security-policy",
                "default-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'",
            ),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), value, "{path}");
        }
    }
    served.engine.shutdown().await;
}

#[tokio::test]
async fn it_is_read_and_nothing_else() {
    let served = Served::new(console());
    for path in ["/console/", "/console/assets/index-B4x_9fQa.js"] {
        let whole = served.get(path).await;
        let head = served.ask(Method::HEAD, path, &[("host", HERE)]).await;
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        for name in ["content-type", "content-length", "etag", "cache-control"] {
            assert_eq!(head.header(name), whole.header(name), "{path}: {name}");
        }
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            let answer = served.ask(method.clone(), path, &[("host", HERE)]).await;
            assert_eq!(answer.status, 405, "{method} {path}");
            assert_eq!(answer.header("allow"), "GET,HEAD", "{method} {path}");
            assert_eq!(answer.header("access-control-allow-origin"), "");
        }
    }
    served.engine.shutdown().await;
}

/// The files prove nothing and need no proof; all else needs one as before, and a name makes no difference.
#[tokio::test]
async fn with_access_keys_the_files_alone_are_everybodys() {
    let engine = support::engine(false, None);
    let vault = Vault::fresh();
    engine.add_tenant("111111111111", "").await.unwrap();
    let made = engine.add_access_key(&vault, "111111111111", Role::Admin, "");
    made.await.unwrap();
    let authentication = Authentication {
        vault,
        behind_proxy: false,
    };
    let served = Served::over(engine, console(), Some(authentication));
    for host in [HERE, "flows.example"] {
        let browser = [("host", host), ("sec-fetch-site", "same-origin")];
        for path in ["/console/", "/console/assets/index-B4x_9fQa.js"] {
            let answer = served.ask(Method::GET, path, &browser).await;
            assert_eq!(answer.status, 200, "{host} {path}");
        }
        for path in [
            "/metrics",
            "/api/executions/x/events",
            "/2015-03-31/functions",
            "/consoles/",
            "/consol",
        ] {
            let answer = served.ask(Method::GET, path, &browser).await;
            let refused = (400..=403).contains(&answer.status);
            assert!(refused, "{host} {path}: {}", answer.text());
        }
    }
    served.engine.shutdown().await;
}

/// Without access keys a page may ask only where it is this server's own.
#[tokio::test]
async fn without_access_keys_the_console_asks_and_no_other_page() {
    let served = Served::new(console());
    let functions = "/2015-03-31/functions";
    let schedules = "/schedules";
    let origin = format!("http://{HERE}");
    for (path, host, says, expected) in [
        (functions, HERE, ("sec-fetch-site", "same-origin"), 200),
        (schedules, HERE, ("sec-fetch-site", "same-origin"), 200),
        (functions, HERE, ("origin", origin.as_str()), 200),
        (functions, HERE, ("sec-fetch-site", "same-site"), 403),
        (functions, HERE, ("sec-fetch-site", "cross-site"), 403),
        (functions, HERE, ("sec-fetch-site", "none"), 403),
        (schedules, HERE, ("sec-fetch-site", "cross-site"), 403),
        (functions, HERE, ("origin", "http://127.0.0.1:3000"), 403),
        (functions, HERE, ("origin", "null"), 403),
        // A rebound name: the browser takes the page for the server's own.
        (
            functions,
            "evil.example",
            ("sec-fetch-site", "same-origin"),
            403,
        ),
        // There it may send a GET that has no sign of a page.
        (functions, "evil.example", ("accept", "*/*"), 403),
        (schedules, "evil.example", ("accept", "*/*"), 403),
        ("/console/", "evil.example", ("accept", "*/*"), 403),
        (
            "/console/assets/index-B4x_9fQa.js",
            "evil.example",
            ("sec-fetch-site", "same-origin"),
            403,
        ),
    ] {
        let answer = served.ask(Method::GET, path, &[("host", host), says]).await;
        assert_eq!(
            answer.status,
            expected,
            "{path} {host} {says:?}: {}",
            answer.text()
        );
    }
    served.engine.shutdown().await;
}

#[tokio::test]
async fn a_program_without_it_says_why() {
    let why = "this program was built without its web console: Node is missing";
    for (console, text) in [
        (Console::missing(why), why),
        (Console::default(), "without a web console"),
    ] {
        let served = Served::new(console);
        for path in ["/console/", "/console/plugins", "/console/a.js"] {
            let answer = served.get(path).await;
            assert_eq!(answer.status, 404, "{path}");
            assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
            assert!(answer.text().contains(text), "{path}: {}", answer.text());
        }
        assert_eq!(served.get("/console").await.status, 307);
        served.engine.shutdown().await;
    }
}
