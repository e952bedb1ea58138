//! How many cells of a terminal a text takes. Hides which characters take two of them, and which none.

use unicode_width::UnicodeWidthChar as _;

/// Cells of a text, on a terminal that shows in two what Unicode calls wide.
pub(crate) fn cells(text: &str) -> usize {
    text.chars().map(of).sum()
}

/// Cells of a character; one that controls is shown as something that takes one.
pub(crate) fn of(c: char) -> usize {
    c.width().unwrap_or(1)
}

/// The text, cut with an ellipsis so that it takes at most `cells_max` cells.
pub(crate) fn clip(text: &str, cells_max: usize) -> String {
    if cells(text) <= cells_max {
        return text.to_owned();
    }
    let mut taken = 1;
    let fits = |c: &char| {
        taken += of(*c);
        taken <= cells_max
    };
    let short: String = text.chars().take_while(fits).collect();
    format!("{}…", short.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_characters_take_two_cells_and_marks_none() {
        for (text, taken) in [
            ("", 0),
            ("größe", 5),
            ("gro\u{308}ße", 5),
            ("注文", 4),
            ("주문", 4),
            ("ｗ", 2),
            ("✅ ok", 5),
            ("🚀", 2),
            ("a\u{200b}b", 2),
            ("…—“”", 4),
        ] {
            assert_eq!(cells(text), taken, "{text}");
        }
    }

    #[test]
    fn cuts_no_character_in_half() {
        assert_eq!(clip("注文を受ける", 12), "注文を受ける");
        assert_eq!(clip("注文を受ける", 8), "注文を…");
        assert_eq!(clip("注文を受ける", 9), "注文を受…");
        assert_eq!(clip("abcdef", 4), "abc…");
        assert_eq!(clip("ab cdef", 4), "ab…");
    }
}
