//! The pattern of `StringMatches`. Hides its escapes and how it is matched.

use std::fmt;

use crate::program::Wildcard;

/// The pattern as a definition has it; escapes stand only where they are needed.
impl fmt::Display for Wildcard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, piece) in self.pieces.iter().enumerate() {
            if at > 0 {
                f.write_str("*")?;
            }
            f.write_str(&piece.replace('\\', "\\\\").replace('*', "\\*"))?;
        }
        Ok(())
    }
}

impl Wildcard {
    /// Reads a pattern: `*` stands for any characters, `\*` and `\\` for themselves. A backslash before anything else
    /// stands for itself; the flag says whether there is one.
    pub(crate) fn parse(text: &str) -> (Wildcard, bool) {
        let (mut pieces, mut piece, mut rest) =
            (Vec::new(), String::new(), text.chars().peekable());
        let mut stray = false;
        while let Some(c) = rest.next() {
            match c {
                '*' => pieces.push(std::mem::take(&mut piece).into_boxed_str()),
                '\\' => match rest.next_if(|c| matches!(c, '*' | '\\')) {
                    Some(c) => piece.push(c),
                    None => {
                        stray = true;
                        piece.push('\\');
                    }
                },
                _ => piece.push(c),
            }
        }
        pieces.push(piece.into_boxed_str());
        (Wildcard { pieces }, stray)
    }

    /// Whether the whole text fits the pattern. Takes at most text length times pattern length steps.
    pub fn matches(&self, text: &str) -> bool {
        let (first, others) = self
            .pieces
            .split_first()
            .expect("a pattern has a piece more than it has stars");
        let Some((last, middle)) = others.split_last() else {
            return **first == *text;
        };
        let Some(mut rest) = text
            .strip_prefix(&**first)
            .and_then(|rest| rest.strip_suffix(&**last))
        else {
            return false;
        };
        for piece in middle {
            match rest.find(&**piece) {
                Some(at) => rest = &rest[at + piece.len()..],
                None => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_the_language_says() {
        for (pattern, text, expected) in [
            ("foo*.log", "foo23.log", true),
            ("*.log", "zebra.log", true),
            ("foo*bar*", "foobar", true),
            ("a*a", "a", false),
            ("*ab*bc*", "abc", false),
            ("", "", true),
            ("*", "", true),
            (r"\*", "*", true),
            (r"\*", "x", false),
            (r"\\*", r"\anything", true),
            ("t*", "été", false),
            ("é*é", "été", true),
        ] {
            let (wildcard, stray) = Wildcard::parse(pattern);
            assert!(!stray, "{pattern}");
            assert_eq!(wildcard.matches(text), expected, "{pattern} on {text}");
        }
        let (wildcard, stray) = Wildcard::parse(r"a\b*");
        assert!(stray && wildcard.matches(r"a\bc"));
    }
}
