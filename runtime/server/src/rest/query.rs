//! Paths and queries of a URI, taken apart. Hides percent-encoding.

use axum::http::Uri;
use percent_encoding::percent_decode_str;

/// Whether path and query are percent-encoded UTF-8. Read all the same, two that are not would be one.
pub(super) fn is_text(uri: &Uri) -> bool {
    let parts = [uri.path(), uri.query().unwrap_or_default()];
    let mut parts = parts.into_iter().map(percent_decode_str);
    parts.all(|part| part.decode_utf8().is_ok())
}

/// The parts of a path, decoded each by itself: an encoded slash parts nothing.
pub(crate) fn segments(uri: &Uri) -> Vec<String> {
    let segments = uri.path().split('/').filter(|segment| !segment.is_empty());
    segments.map(decoded).collect()
}

/// Names and values behind the `?`, in their order.
#[derive(Debug)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn of(uri: &Uri) -> Query {
        let plain = |text: &str| decoded(&text.replace('+', " "));
        let parts = uri.query().unwrap_or_default().split('&');
        let pairs = parts.filter(|part| !part.is_empty()).map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (plain(name), plain(value))
        });
        Query(pairs.collect())
    }

    /// The first value of a name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// All values of a name.
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        let found = self.0.iter().filter(|(key, _)| key == name);
        found.map(|(_, value)| value.clone()).collect()
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::{Query, is_text, segments};

    #[test]
    fn what_is_no_utf_8_is_found_in_path_and_query() {
        for (uri, text) in [
            ("/a/%C3%A9?b=%C3%A9", true),
            ("/a?b=%", true),
            ("/%ff", false),
            ("/a/%C3/%A9", false),
            ("/a?b=%ff", false),
            ("/a?%ff=b", false),
        ] {
            assert_eq!(is_text(&uri.parse().unwrap()), text, "{uri}");
        }
    }

    #[test]
    fn a_uri_is_taken_apart_before_it_is_decoded() {
        let uri = "/tags/arn%3Aa%2Fb/?k=x+y&k=z%26&last".parse().unwrap();
        assert_eq!(segments(&uri), ["tags", "arn:a/b"]);
        let query = Query::of(&uri);
        assert_eq!(query.get("k"), Some("x y"));
        assert_eq!(query.all("k"), ["x y", "z&"]);
        assert_eq!((query.get("last"), query.get("none")), (Some(""), None));
    }
}
