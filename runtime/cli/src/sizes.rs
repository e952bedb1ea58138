//! Sizes in bytes, for people. Hides which unit fits.

/// The units, each 1,024 of the one before.
const UNITS: [&str; 3] = ["KiB", "MiB", "GiB"];

/// What was measured: `120 B`, `3.0 KiB`, `1.5 MiB`, `2.0 GiB`.
pub(crate) fn measured(bytes: u64) -> String {
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1_024.0;
    let mut unit = 0;
    while value >= 1_024.0 && unit + 1 < UNITS.len() {
        value /= 1_024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// What somebody set: `10 GiB` where that is exact, and else as what was measured.
pub(crate) fn set(bytes: u64) -> String {
    let exact = (1..=3_u32).rev().find(|unit| {
        let one = 1_u64 << (10 * unit);
        bytes >= one && bytes.is_multiple_of(one)
    });
    match exact {
        Some(unit) => format!("{} {}", bytes >> (10 * unit), UNITS[unit as usize - 1]),
        None => measured(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_the_largest_that_fits() {
        for (bytes, as_measured, as_set) in [
            (0, "0 B", "0 B"),
            (1_023, "1023 B", "1023 B"),
            (1_024, "1.0 KiB", "1 KiB"),
            (1_536, "1.5 KiB", "1.5 KiB"),
            (100 << 20, "100.0 MiB", "100 MiB"),
            (1 << 30, "1.0 GiB", "1 GiB"),
            ((1 << 30) + (1 << 20), "1.0 GiB", "1025 MiB"),
            (1_500_000_000, "1.4 GiB", "1.4 GiB"),
            (5_000 << 30, "5000.0 GiB", "5000 GiB"),
        ] {
            assert_eq!(
                (measured(bytes), set(bytes)),
                (as_measured.to_owned(), as_set.to_owned())
            );
        }
    }
}
