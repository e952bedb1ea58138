//! The name that somebody meant who wrote it wrongly. Hides how likeness is measured.

/// Of three letters one may be wrong.
const LETTERS_A_SLIP: usize = 3;

/// The name most like the one written, in any case; none when no name is like it.
pub(crate) fn nearest<'a>(
    written: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let written = written.to_lowercase();
    let slips_max = written.chars().count() / LETTERS_A_SLIP;
    names
        .into_iter()
        .map(|name| (slips(&written, &name.to_lowercase()), name))
        .filter(|(slips, _)| *slips <= slips_max)
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, name)| name)
}

/// Letters to change, add, leave out or change with their neighbour.
fn slips(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    let mut previous = None;
    for (row, letter) in one.chars().enumerate() {
        let mut now = Vec::with_capacity(other.len() + 1);
        now.push(row + 1);
        for (column, meant) in other.iter().enumerate() {
            let changed = last[column] + usize::from(letter != *meant);
            let mut least = changed.min(last[column + 1] + 1).min(now[column] + 1);
            let swapped = column > 0 && previous == Some(*meant) && other[column - 1] == letter;
            if let (true, Some(slips)) = (swapped, before.get(column.wrapping_sub(1))) {
                least = least.min(slips + 1);
            }
            now.push(least);
        }
        before = std::mem::replace(&mut last, now);
        previous = Some(letter);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_is_seen_through_and_another_word_is_not() {
        let names = ["States.TaskFailed", "States.Timeout", "ASL012"];
        for (written, meant) in [
            ("States.TaskFaild", Some("States.TaskFailed")),
            ("states.tiemout", Some("States.Timeout")),
            ("ASL021", Some("ASL012")),
            ("CardDeclined", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, names), meant, "{written}");
        }
    }
}
