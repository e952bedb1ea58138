//! Arithmetic of the Java platform, where the service shows it: text of doubles, rounding, seeded randomness.

/// `Double.toString`: shortest digits, a point always, an exponent below 10^-3 and from 10^7 on.
pub(crate) fn double_to_string(value: f64) -> String {
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').expect("{:e} writes an exponent");
    let exponent: i32 = exponent.parse().expect("{:e} writes a decimal exponent");
    if value == 0.0 || (-3..7).contains(&exponent) {
        return format!("{value:?}");
    }
    let point = if mantissa.contains('.') { "" } else { ".0" };
    format!("{mantissa}{point}E{exponent}")
}

/// `Math.round`: to the nearest integer, halves up.
pub(crate) fn round(value: f64) -> i64 {
    (value + 0.5).floor() as i64
}

/// `java.util.Random`, a 48-bit linear congruential generator.
pub(crate) struct JavaRandom(u64);

const MULTIPLIER: u64 = 0x5_DEEC_E66D;
const MASK: u64 = (1 << 48) - 1;

impl JavaRandom {
    pub(crate) fn new(seed: i64) -> Self {
        Self((seed as u64 ^ MULTIPLIER) & MASK)
    }

    fn next(&mut self, bits: u32) -> i32 {
        self.0 = self.0.wrapping_mul(MULTIPLIER).wrapping_add(0xB) & MASK;
        (self.0 >> (48 - bits)) as i32
    }

    /// `nextDouble()`
    pub(crate) fn next_double(&mut self) -> f64 {
        let high = (self.next(26) as u64) << 27;
        (high + self.next(27) as u64) as f64 / (1u64 << 53) as f64
    }

    /// `nextInt(bound)`; the bound is positive.
    pub(crate) fn next_int(&mut self, bound: i32) -> i32 {
        if bound & (bound - 1) == 0 {
            return ((i64::from(bound) * i64::from(self.next(31))) >> 31) as i32;
        }
        loop {
            let bits = self.next(31);
            let value = bits % bound;
            if bits.wrapping_sub(value).wrapping_add(bound - 1) >= 0 {
                return value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_print_as_on_java() {
        for (value, text) in [
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (1e10, "1.0E10"),
            (1.5e300, "1.5E300"),
            (0.001, "0.001"),
            (0.0001, "1.0E-4"),
            (9_999_999.0, "9999999.0"),
            (1e7, "1.0E7"),
            (123.456, "123.456"),
        ] {
            assert_eq!(double_to_string(value), text);
        }
    }

    #[test]
    fn seeded_doubles_are_java_s() {
        assert_eq!(JavaRandom::new(42).next_double(), 0.727_563_680_032_868_1);
    }

    #[test]
    fn halves_round_up() {
        assert_eq!([round(2.5), round(-2.5), round(-2.6)], [3, -2, -3]);
    }
}
