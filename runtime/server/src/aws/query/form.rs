//! A call's parameters: read from the form, and judged. What it hides: the encoding, and the words of AWS's validation.

use std::{collections::BTreeMap, ops::RangeInclusive};

use stepwell_egress::sigv4::canonical;

use super::Fault;

/// The parameters by name; of two of one name the first counts.
pub(super) struct Form(BTreeMap<String, String>);

impl Form {
    pub(super) fn read(body: &[u8]) -> Form {
        let body = String::from_utf8_lossy(body);
        let decoded = |text: &str| {
            let bytes = canonical::decode(&text.replace('+', " "));
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let mut found = BTreeMap::new();
        for pair in body.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            found.entry(decoded(name)).or_insert_with(|| decoded(value));
        }
        Form(found)
    }

    /// A parameter that was given; an empty one was not.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.get(name).map(String::as_str);
        found.filter(|text| !text.is_empty())
    }

    /// Whether a parameter was given, or one of its members (`NAME.member.1`).
    pub(super) fn has(&self, name: &str) -> bool {
        let within = format!("{name}.");
        self.0.iter().any(|(found, value)| {
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
