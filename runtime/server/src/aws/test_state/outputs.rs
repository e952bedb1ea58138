//! What the operations of AWS services answer, and the check of a mocked answer against it. Hides the table
//! (`outputs.txt`); what it does not hold is not checked.

use std::collections::BTreeMap;

use stepwell_asl::{Pattern, Target};
use stepwell_query::Value;

const TABLE: &str = include_str!("outputs.txt");

/// How much is asked of a mocked answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strictness {
    /// What is always there must be there.
    Strict,
    /// What is there must be right.
    Present,
}

/// A member's shape.
enum Shape<'t> {
    Text(Range),
    Number(Range),
    Boolean,
    Any,
    Words(Vec<&'t str>),
    List(Box<Shape<'t>>),
    Map(Box<Shape<'t>>),
    Structure(&'t str),
}

/// Bounds of a length or a number, both included.
#[derive(Clone, Copy, Default)]
struct Range {
    least: Option<f64>,
    most: Option<f64>,
}

struct Member<'t> {
    name: &'t str,
    required: bool,
    shape: Shape<'t>,
}

struct Table<'t> {
    structures: BTreeMap<&'t str, Vec<Member<'t>>>,
}

/// The operation whose answer a task with that resource has, as the table names it.
pub(super) fn operation(target: &Target) -> Option<String> {
    match target {
        Target::LambdaInvoke(_) => Some("lambda:invoke".to_owned()),
        Target::StartExecution(pattern) => Some(job("states", "startExecution", *pattern)),
        Target::Service {
            service,
            action,
            pattern,
        } => Some(job(service, action, *pattern)),
        Target::AwsSdk {
            service, action, ..
        } => {
            let service = match &**service {
                "sfn" => "states",
                "eventbridge" => "events",
                other => other,
            };
            Some(format!("{service}:{action}"))
        }
        Target::LambdaFunction { .. }
        | Target::Activity { .. }
        | Target::HttpInvoke
        | Target::Wasm { .. } => None,
    }
}

/// A job's answer is that of the call that asks for its state.
fn job(service: &str, action: &str, pattern: Pattern) -> String {
    let action = match (pattern, service, action) {
        (Pattern::RequestResponse | Pattern::WaitForTaskToken, _, action) => action,
        (Pattern::Sync | Pattern::Sync2, "states", "startExecution") => "describeExecution",
        (Pattern::Sync | Pattern::Sync2, "ecs", "runTask") => "describeTasks",
        (Pattern::Sync | Pattern::Sync2, "glue", "startJobRun") => "getJobRun",
        (Pattern::Sync | Pattern::Sync2, _, action) => return format!("{service}:{action}.sync"),
    };
    format!("{service}:{action}")
}

/// Checks an answer of that operation; `Err` says what is wrong with which field.
pub(super) fn check(operation: &str, answer: &Value, how: Strictness) -> Result<(), String> {
    let Some(structure) = TABLE.lines().find_map(|line| {
        let (name, structure) = line.strip_prefix("operation ")?.split_once(' ')?;
        (name == operation).then_some(structure)
    }) else {
        return Ok(());
    };
    Table::parse(TABLE).check("", &Shape::Structure(structure), answer, how)
}

impl<'t> Table<'t> {
    fn parse(text: &'t str) -> Table<'t> {
        let mut structures: BTreeMap<&str, Vec<Member<'t>>> = BTreeMap::new();
        let mut current = "";
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("structure ") {
                current = name;
                structures.entry(name).or_default();
            } else if let Some((name, shape)) = line
                .strip_prefix("  ")
                .and_then(|line| line.split_once(' '))
            {
                let member = Member {
                    name: name.trim_end_matches('*'),
                    required: name.ends_with('*'),
                    shape: Shape::parse(shape),
                };
                structures.entry(current).or_default().push(member);
            }
        }
        Table { structures }
    }

    fn check(
        &self,
        field: &str,
        shape: &Shape,
        value: &Value,
        how: Strictness,
    ) -> Result<(), String> {
        let wanted = |what: &str| Err(format!("Field '{field}' must be {what}"));
        match shape {
            Shape::Any => Ok(()),
            Shape::Text(range) => match value.as_str() {
                Some(text) => range.check(field, text.chars().count() as f64, "length"),
                None => wanted("a string"),
            },
            Shape::Words(words) => match value.as_str() {
                Some(text) if words.contains(&text) => Ok(()),
                Some(_) => Err(format!("Field '{field}' is not an expected value")),
                None => wanted("a string"),
            },
            Shape::Number(range) => match value.as_f64() {
                Some(number) => range.check(field, number, "value"),
                None => wanted("a number"),
            },
            Shape::Boolean if value.as_bool().is_none() => wanted("a boolean"),
            Shape::Boolean => Ok(()),
            Shape::List(of) => match value.as_array() {
                Some(items) => items
                    .iter()
                    .try_for_each(|item| self.check(field, of, item, how)),
                None => wanted("an array"),
            },
            Shape::Map(of) => match value.as_object() {
                Some(members) => members
                    .values()
                    .try_for_each(|member| self.check(field, of, member, how)),
                None => wanted("an object"),
            },
            Shape::Structure(name) => self.check_structure(field, name, value, how),
        }
    }

    /// Members that the structure does not have are let through: services grow.
    fn check_structure(
        &self,
        field: &str,
        name: &str,
        value: &Value,
        how: Strictness,
    ) -> Result<(), String> {
        let Some(object) = value.as_object() else {
            return Err(format!("Field '{field}' must be an object"));
        };
        let members = self.structures.get(name).map_or(&[][..], Vec::as_slice);
        let missing = |member: &&Member| member.required && !object.contains_key(member.name);
        if how == Strictness::Strict
            && let Some(member) = members.iter().find(missing)
        {
            return Err(format!("Required field '{}' is missing", member.name));
        }
        for (name, value) in object.iter() {
            if let Some(member) = members.iter().find(|member| *member.name == **name) {
                self.check(name, &member.shape, value, how)?;
            }
        }
        Ok(())
    }
}

impl<'t> Shape<'t> {
    fn parse(text: &'t str) -> Shape<'t> {
        let within = |open: &str, close: char| text.strip_prefix(open)?.strip_suffix(close);
        if let Some(of) = within("[", ']') {
            return Shape::List(Box::new(Shape::parse(of)));
        }
        if let Some(of) = within("{", '}') {
            return Shape::Map(Box::new(Shape::parse(of)));
        }
        if let Some(words) = within("enum(", ')') {
            return Shape::Words(words.split('|').collect());
        }
        if let Some(range) = within("string(", ')') {
            return Shape::Text(Range::parse(range));
        }
        if let Some(range) = within("number(", ')') {
            return Shape::Number(Range::parse(range));
        }
        match text {
            "string" => Shape::Text(Range::default()),
            "number" => Shape::Number(Range::default()),
            "boolean" => Shape::Boolean,
            "any" => Shape::Any,
            structure => Shape::Structure(structure),
        }
    }
}

impl Range {
    fn parse(text: &str) -> Range {
        let (least, most) = text.split_once("..").unwrap_or((text, text));
        Range {
            least: least.parse().ok(),
            most: most.parse().ok(),
        }
    }

    /// `of` is "length" or "value".
    fn check(self, field: &str, number: f64, of: &str) -> Result<(), String> {
        if self.most.is_some_and(|most| number > most) {
            return Err(format!("Field '{field}' exceeds the maximum {of}"));
        }
        if self.least.is_some_and(|least| number < least) {
            return Err(format!("Field '{field}' is smaller than the minimum {of}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_structure_of_the_table_is_in_it() {
        let table = Table::parse(TABLE);
        let mut named = Vec::new();
        fn names<'t>(shape: &Shape<'t>, named: &mut Vec<&'t str>) {
            match shape {
                Shape::List(of) | Shape::Map(of) => names(of, named),
                Shape::Structure(name) => named.push(name),
                Shape::Text(_)
                | Shape::Number(_)
                | Shape::Boolean
                | Shape::Any
                | Shape::Words(_) => {}
            }
        }
        for member in table.structures.values().flatten() {
            names(&member.shape, &mut named);
        }
        let operations = TABLE
            .lines()
            .filter_map(|line| line.strip_prefix("operation "));
        named.extend(operations.filter_map(|line| Some(line.split_once(' ')?.1)));
        assert!(named.len() > 50);
        for name in named {
            assert!(table.structures.contains_key(name), "{name}");
        }
    }

    #[test]
    fn an_answer_is_judged_by_types_bounds_and_words() {
        let judge = |operation: &str, answer: &str, how| {
            let answer = Value::parse(answer).unwrap();
            check(operation, &answer, how).err().unwrap_or_default()
        };
        let strict = Strictness::Strict;
        let start = "states:startExecution";
        assert_eq!(
            judge(start, "{}", strict),
            "Required field 'ExecutionArn' is missing"
        );
        assert_eq!(judge(start, "{}", Strictness::Present), "");
        assert_eq!(
            judge(start, r#"{"ExecutionArn": ""}"#, Strictness::Present),
            "Field 'ExecutionArn' is smaller than the minimum length"
        );
        let put = "dynamodb:putItem";
        let nested = r#"{"Attributes": {"a": {"L": [{"M": {"b": {"N": 1}}}]}}}"#;
        assert_eq!(judge(put, nested, strict), "Field 'N' must be a string");
        assert_eq!(judge("nobody:knows", r#"{"a": 1}"#, strict), "");
    }
}
