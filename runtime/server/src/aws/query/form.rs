//! A call's parameters: read from the form, and judged. What it hides: the encoding, and the words of AWS's validation.

use std::{collections::BTreeMap, ops::RangeInclusive};

use axum::http::StatusCode;
use percent_encoding::percent_decode;

use super::Fault;

/// The parameters by name; of two of one name the first counts.
#[derive(Default)]
pub(super) struct Form {
    parameters: BTreeMap<String, String>,
    /// Something in it is no UTF-8.
    garbled: bool,
}

impl Form {
    pub(super) fn read(text: &[u8]) -> Form {
        Form::default().and(text)
    }

    /// With the parameters of another place.
    pub(super) fn and(mut self, text: &[u8]) -> Form {
        for pair in text.split(|byte| *byte == b'&') {
            let mut parts = pair.splitn(2, |byte| *byte == b'=');
            let name = self.decoded(parts.next().unwrap_or_default());
            let value = self.decoded(parts.next().unwrap_or_default());
            if !pair.is_empty() {
                self.parameters.entry(name).or_insert(value);
            }
        }
        self
    }

    fn decoded(&mut self, text: &[u8]) -> String {
        let spaced: Vec<u8> = text
            .iter()
            .map(|byte| if *byte == b'+' { b' ' } else { *byte })
            .collect();
        let decoded = percent_decode(&spaced).collect();
        String::from_utf8(decoded).unwrap_or_else(|garbled| {
            self.garbled = true;
            String::from_utf8_lossy(garbled.as_bytes()).into_owned()
        })
    }

    /// Refuses what is no text: read as one, two parameters would be the same.
    pub(super) fn check(&self) -> Result<(), Fault> {
        if !self.garbled {
            return Ok(());
        }
        let text = "a parameter is not percent-encoded UTF-8; send it as the SDKs do";
        Err(Fault::refused("MalformedQueryString", text).with(StatusCode::NOT_FOUND))
    }

    /// A parameter that was given; an empty one was not.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let found = self.parameters.get(name).map(String::as_str);
        found.filter(|text| !text.is_empty())
    }

    /// Whether a parameter was given, or one of its members (`NAME.member.1`).
    pub(super) fn has(&self, name: &str) -> bool {
        let within = format!("{name}.");
        self.parameters.iter().any(|(found, value)| {
            !value.is_empty() && (found == name || found.starts_with(&within))
        })
    }

    pub(super) fn need(&self, name: &str, wrong: &mut Wrong) -> Option<&str> {
        let found = self.text(name);
        if found.is_none() {
            wrong.add("null", &lower(name), "Member must not be null");
        }
        found
    }

    /// `DurationSeconds`, or what it is when absent.
    pub(super) fn seconds(&self, usual: i64, range: RangeInclusive<i64>, wrong: &mut Wrong) -> i64 {
        let Some(text) = self.text("DurationSeconds") else {
            return usual;
        };
        let quoted = format!("'{text}'");
        let Ok(seconds) = text.parse::<i64>() else {
            wrong.add(&quoted, "durationSeconds", "Member must be an integer");
            return usual;
        };
        if seconds < *range.start() {
            let least = format!(
                "Member must have value greater than or equal to {}",
                range.start()
            );
            wrong.add(&quoted, "durationSeconds", &least);
        } else if seconds > *range.end() {
            let most = format!(
                "Member must have value less than or equal to {}",
                range.end()
            );
            wrong.add(&quoted, "durationSeconds", &most);
        }
        seconds
    }
}

/// What is wrong with the parameters, all of it.
#[derive(Default)]
pub(super) struct Wrong(Vec<String>);

impl Wrong {
    fn add(&mut self, value: &str, member: &str, constraint: &str) {
        self.0.push(format!(
            "Value {value} at '{member}' failed to satisfy constraint: {constraint}"
        ));
    }

    /// Characters of a parameter, if it was given.
    pub(super) fn length(
        &mut self,
        member: &str,
        value: Option<&str>,
        range: RangeInclusive<usize>,
    ) {
        let Some(value) = value else { return };
        let count = value.chars().count();
        let constraint = if count < *range.start() {
            format!(
                "Member must have length greater than or equal to {}",
                range.start()
            )
        } else if count > *range.end() {
            format!(
                "Member must have length less than or equal to {}",
                range.end()
            )
        } else {
            return;
        };
        self.add(&format!("'{value}'"), member, &constraint);
    }

    /// The characters that names of sessions are made of.
    pub(super) fn characters(&mut self, member: &str, value: Option<&str>) {
        let Some(value) = value else { return };
        let named = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
        if !value.chars().all(named) {
            let constraint = r"Member must satisfy regular expression pattern: [\w+=,.@-]*";
            self.add(&format!("'{value}'"), member, constraint);
        }
    }

    /// Refuses the call when anything is wrong.
    pub(super) fn told(self) -> Result<(), Fault> {
        let plural = match self.0.len() {
            0 => return Ok(()),
            1 => "",
            _ => "s",
        };
        Err(Fault::validation(format!(
            "{} validation error{plural} detected: {}",
            self.0.len(),
            self.0.join("; ")
        )))
    }
}

/// A member as the model has it: `RoleArn` is `roleArn`.
pub(super) fn lower(name: &str) -> String {
    let mut chars = name.chars();
    let first = chars.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(chars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_decoded() {
        let form = Form::read(b"Action=AssumeRole&RoleArn=arn%3Aaws&Name=a+b%2Bc&Empty=&PolicyArns.member.1.arn=x&Name=2");
        assert_eq!(form.text("RoleArn"), Some("arn:aws"));
        assert_eq!(form.text("Name"), Some("a b+c"));
        assert_eq!((form.text("Empty"), form.text("None")), (None, None));
        assert!(form.has("PolicyArns") && !form.has("Policy") && !form.has("Empty"));
    }

    #[test]
    fn of_two_places_the_first_counts_and_both_are_text() {
        let form = Form::read(b"Action=A&x=1").and(b"Action=B&y=%C3%A9");
        assert_eq!(form.text("Action"), Some("A"));
        assert_eq!((form.text("x"), form.text("y")), (Some("1"), Some("é")));
        assert!(form.check().is_ok());
        for garbled in [&b"x=%ff"[..], b"%ff=x", b"x=\xff", b"a=b&&x=%C3%"] {
            let fault = Form::read(b"a=b").and(garbled).check();
            let fault = fault.expect_err("no text");
            assert_eq!(
                (fault.code(), fault.status.as_u16()),
                ("MalformedQueryString", 404)
            );
        }
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let form = Form::read(b"RoleSessionName=a%20b&DurationSeconds=899");
        let mut wrong = Wrong::default();
        let arn = form.need("RoleArn", &mut wrong);
        wrong.length("roleArn", arn, 20..=2048);
        let name = form.need("RoleSessionName", &mut wrong);
        wrong.characters("roleSessionName", name);
        form.seconds(3600, 900..=43_200, &mut wrong);
        let text = String::from_utf8(wrong.told().expect_err("wrong").body()).expect("text");
        for part in [
            "3 validation errors detected: Value null at 'roleArn' failed to satisfy constraint: Member must not be null; ",
            "Value 'a b' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: ",
            "Value '899' at 'durationSeconds' failed to satisfy constraint: Member must have value greater than or equal to 900",
        ] {
            assert!(text.contains(part), "{text}");
        }
        for (seconds, right) in [
            ("900", true),
            ("43200", true),
            ("43201", false),
            ("x", false),
        ] {
            let form = Form::read(format!("DurationSeconds={seconds}").as_bytes());
            let mut wrong = Wrong::default();
            form.seconds(3600, 900..=43_200, &mut wrong);
            assert_eq!(wrong.told().is_ok(), right, "{seconds}");
        }
    }
}
