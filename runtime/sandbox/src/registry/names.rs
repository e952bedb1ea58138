//! What a tenant has instead of a plugin that is not there, for people.

use std::collections::BTreeSet;

/// Plugins that a message names.
const NAMES_SHOWN_MAX: usize = 10;

/// The one of these that was meant, or all.
pub(super) fn instead(name: &str, names: &BTreeSet<&str>) -> String {
    if let Some(near) = names.iter().find(|other| is_near(name, other)) {
        return format!(" (did you mean `{near}`?)");
    }
    let shown = names.iter().take(NAMES_SHOWN_MAX);
    let shown: Vec<String> = shown.map(|name| format!("`{name}`")).collect();
    match (shown.len(), names.len()) {
        (0, _) => ", which holds none".to_owned(),
        (all, total) if all == total => format!(" (which holds {})", shown.join(", ")),
        (some, total) => format!(
            " (which holds {} and {} more)",
            shown.join(", "),
            total - some
        ),
    }
}

/// Whether one name may have been meant by another: but for case and for `-` and `_` they are the same, or a character is
/// missing, added, changed or in its neighbour's place.
fn is_near(one: &str, other: &str) -> bool {
    let plain = |name: &str| -> Vec<u8> {
        let lower = name.bytes().map(|b| b.to_ascii_lowercase());
        lower.map(|b| if b == b'_' { b'-' } else { b }).collect()
    };
    let (a, b) = (plain(one), plain(other));
    let same = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[same..], &b[same..]);
    match (a, b) {
        ([], []) => true,
        ([x, y, rest @ ..], [u, v, more @ ..]) if (x, y) == (v, u) && rest == more => true,
        ([_, rest @ ..], b) if rest == b => true,
        (a, [_, rest @ ..]) if a == rest => true,
        ([_, rest @ ..], [_, more @ ..]) => rest == more,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_near;

    #[test]
    fn names_that_were_meant_are_near() {
        for (one, other) in [
            ("score", "score"),
            ("Score", "score"),
            ("scroe", "score"),
            ("scor", "score"),
            ("scoree", "score"),
            ("skore", "score"),
            ("fetch_page", "fetch-page"),
            ("core", "score"),
        ] {
            assert!(is_near(one, other) && is_near(other, one), "{one} {other}");
        }
        for (one, other) in [
            ("score", "charge"),
            ("score", "scale"),
            ("a", "bcd"),
            ("", "ab"),
        ] {
            assert!(
                !is_near(one, other) && !is_near(other, one),
                "{one} {other}"
            );
        }
    }
}
