//! Counts as people write them: how many of a list are asked for. Hides the bounds.

/// The most that is asked for at once (ours): what is a number to every machine.
const COUNT_MAX: usize = u32::MAX as usize;

/// How many entries of a list are asked for, of which none is no question.
pub(super) fn entries(text: &str) -> Result<usize, String> {
    let count = text.trim().parse::<usize>().ok();
    count
        .filter(|count| (1..=COUNT_MAX).contains(count))
        .ok_or_else(|| format!("it is a whole number from 1 to {COUNT_MAX}"))
}

#[cfg(test)]
mod tests {
    use super::entries;

    #[test]
    fn a_count_is_at_least_one() {
        for (text, meant) in [
            ("1", Some(1)),
            ("4294967295", Some(4_294_967_295)),
            ("4294967296", None),
            ("0", None),
            ("-1", None),
            ("ten", None),
            ("1.5", None),
            ("", None),
        ] {
            assert_eq!(entries(text).ok(), meant, "{text}");
        }
    }
}
