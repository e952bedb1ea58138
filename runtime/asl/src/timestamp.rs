//! The language's timestamps: RFC 3339 with an upper-case `T` and `Z` or an offset. Hides the difference to what
//! general parsers accept.

use jiff::Timestamp;

/// The instant that a text names; `None` unless it is RFC 3339 with `T` and `Z` (or `±hh:mm`) as the states language
/// asks. Digits of the second beyond nanoseconds are dropped.
pub fn parse_timestamp(text: &str) -> Option<Timestamp> {
    if !is_rfc3339(text.as_bytes()) {
        return None;
    }
    let zone = if text.ends_with('Z') {
        text.len() - 1
    } else {
        text.len() - "+00:00".len()
    };
    let end = zone.min("2016-03-14T01:59:00.123456789".len());
    format!("{}{}", &text[..end], &text[zone..]).parse().ok()
}

/// `dddd-dd-ddTdd:dd:dd[.d+](Z|±dd:dd)`
fn is_rfc3339(text: &[u8]) -> bool {
    let fits = |text: &[u8], form: &[u8]| {
        text.len() == form.len()
            && text.iter().zip(form).all(|(byte, form)| match form {
                b'0' => byte.is_ascii_digit(),
                _ => byte == form,
            })
    };
    let Some((instant, rest)) = text.split_at_checked("2016-03-14T01:59:00".len()) else {
        return false;
    };
    let zone = match rest.split_first() {
        Some((b'.', fraction)) => {
            let digits = fraction
                .iter()
                .take_while(|byte| byte.is_ascii_digit())
                .count();
            if digits == 0 {
                return false;
            }
            &fraction[digits..]
        }
        _ => rest,
    };
    fits(instant, b"0000-00-00T00:00:00")
        && (zone == b"Z" || fits(zone, b"+00:00") || fits(zone, b"-00:00"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_strict_form_is_a_timestamp() {
        for good in [
            "2016-03-14T01:59:00Z",
            "2016-03-14T01:59:00.00Z",
            "2016-03-14T01:59:00.000000Z",
            "2016-03-14T01:59:00.1234567891234Z",
            "2016-03-14T01:59:00.5+02:00",
            "2016-03-14T01:59:00-07:30",
        ] {
            assert!(parse_timestamp(good).is_some(), "{good}");
        }
        for bad in [
            "2016-12-05 21:29:29Z",
            "2016-12-05T21:29:29",
            "2016-13-05T21:29:29Z",
            "2016-12-05T25:29:29Z",
            "05-12-2016T21:29:29Z",
            "2016-12-05t21:29:29z",
            "2016-12-05T21:29:29.Z",
            "{% '2016-03-14T01:59:00Z' %}",
            "2016-12-05T21:29é",
            "",
        ] {
            assert!(parse_timestamp(bad).is_none(), "{bad}");
        }
    }
}
