//! Text in pictures: how wide it is, how it is cut and escaped. Hides the table of letter widths.

/// The widest of the usual sans-serif faces (DejaVu, Verdana) to the others, which is what boxes must hold.
const WIDEST_FACE: f64 = 1.12;

/// Approximate width in pixels of `text` at `size` pixels in a proportional sans-serif face; `bold` is wider by 14 %.
pub(crate) fn width(text: &str, size: f64, bold: bool) -> f64 {
    let ems: f64 = text.chars().map(ems).sum();
    ems * size * WIDEST_FACE * if bold { 1.14 } else { 1.0 }
}

/// The text, cut with an ellipsis so that it is at most `width_max` pixels wide at `size` pixels.
pub(crate) fn fit(text: &str, size: f64, width_max: f64) -> String {
    let mut chars = text.chars().count();
    let mut short = text.to_owned();
    while chars > 1 && width(&short, size, false) > width_max {
        chars -= 1;
        short = clip(text, chars);
    }
    short
}

/// Width of one character in ems, after the usual sans-serif faces.
fn ems(c: char) -> f64 {
    match c {
        'i' | 'j' | 'l' | '\'' | '|' => 0.25,
        '.' | ',' | ':' | ';' | 'I' | '!' | ' ' | '/' | '\\' => 0.3,
        'f' | 't' | 'r' | '(' | ')' | '[' | ']' | '{' | '}' | '-' | '`' => 0.36,
        'c' | 'k' | 's' | 'v' | 'x' | 'y' | 'z' | 'J' => 0.52,
        'm' | 'w' | 'M' | 'W' | '%' | '@' | '…' => 0.88,
        'A'..='Z' | '&' | '+' | '=' | '<' | '>' | '~' => 0.68,
        c if c.is_ascii() => 0.56,
        '\u{1100}'..='\u{11ff}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}' => 1.0,
        '\u{fe30}'..='\u{fe4f}' | '\u{ff00}'..='\u{ff60}' | '\u{1f300}'..='\u{1faff}' => 1.0,
        _ => 0.6,
    }
}

/// The text, cut with an ellipsis so that it has at most `chars_max` characters.
pub(crate) fn clip(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(chars_max.saturating_sub(1)).collect();
    short.truncate(short.trim_end().len());
    short.push('…');
    short
}

/// The text as XML character data or attribute value; characters that XML cannot hold become a replacement mark.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(' '),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_at_characters_and_escapes() {
        assert_eq!(clip("abcdef", 4), "abc…");
        assert_eq!(clip("größe", 5), "größe");
        assert_eq!(
            escape("a<b & \"c\"\u{1}"),
            "a&lt;b &amp; &quot;c&quot;\u{fffd}"
        );
        assert_eq!(fit("short", 10.0, 100.0), "short");
        let cut = fit("rather a long name", 10.0, 60.0);
        assert!(
            cut.ends_with('…') && width(&cut, 10.0, false) <= 60.0,
            "{cut}"
        );
        assert!(width("mmm", 10.0, false) > width("iii", 10.0, false));
    }
}
