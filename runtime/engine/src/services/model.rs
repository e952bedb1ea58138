//! What is known of AWS services: which operations each has, what its errors are called, and how members of requests and
//! answers stand on the wire. Hides the table (`models.txt`).

use std::sync::Arc;

use stepwell_asl::parse_timestamp;
use stepwell_interp::Timestamp;
use stepwell_query::{Object, Value};

const TABLE: &str = include_str!("models.txt");

/// A service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Service {
    /// As endpoints and optimized integrations name it: `dynamodb`, `events`.
    pub(super) name: &'static str,
    /// As the AWS SDK calls its client: `DynamoDb`.
    pub(super) id: &'static str,
    pub(super) target: &'static str,
    /// Version of the JSON protocol.
    pub(super) version: &'static str,
    pub(super) signing_name: &'static str,
    pub(super) host: &'static str,
    /// Whether members' names begin with a lower letter on the wire.
    lower: bool,
    /// Its lines of the table.
    lines: &'static str,
}

/// An operation of a service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operation {
    pub(super) service: Service,
    /// `PutItem`.
    pub(super) name: &'static str,
    input: &'static str,
    output: &'static str,
}

/// Which way a value is turned.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    ToWire,
    FromWire,
}

/// The name that endpoints have for what `aws-sdk:NAME` calls.
pub(super) fn plain_name(name: &str) -> &str {
    match name {
        "eventbridge" => "events",
        "cloudwatchlogs" => "logs",
        other => other,
    }
}

/// What `aws-sdk:NAME` calls what endpoints have under that name.
pub(super) fn resource_name(name: &str) -> &str {
    match name {
        "events" => "eventbridge",
        "logs" => "cloudwatchlogs",
        other => other,
    }
}

/// The names of all services of the table.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    TABLE
        .lines()
        .filter_map(|line| line.strip_prefix("service ")?.split(' ').next())
}

impl Service {
    /// The service of that name.
    pub(super) fn find(name: &str) -> Option<Service> {
        let name = plain_name(name);
        TABLE.split("\nservice ").skip(1).find_map(|block| {
            let (head, lines) = block.split_once('\n')?;
            let parts: Vec<&'static str> = head.split(' ').collect();
            let [of, id, target, version, signing_name, host, letter] = parts[..] else {
                return None;
            };
            (of == name).then_some(Service {
                name: of,
                id,
                target,
                version,
                signing_name,
                host,
                lower: letter == "lower",
                lines,
            })
        })
    }

    /// The operation that a resource calls `action`: `putItem`.
    pub(super) fn operation(self, action: &str) -> Option<Operation> {
        let wanted = first_letter(action, char::to_ascii_uppercase);
        self.operations().find(|operation| operation.name == wanted)
    }

    pub(super) fn operations(self) -> impl Iterator<Item = Operation> {
        self.lines.lines().filter_map(move |line| {
            let mut parts = line.strip_prefix("  ")?.split(' ');
            Some(Operation {
                service: self,
                name: parts.next()?,
                input: parts.next()?,
                output: parts.next()?,
            })
        })
    }

    /// Whether the service's model has an error of that name; others are told as the service's own exception.
    pub(super) fn has_error(self, name: &str) -> bool {
        let mut lines = self.lines.lines();
        let errors = lines.find_map(|line| line.strip_prefix("errors "));
        errors.is_some_and(|errors| errors.split(' ').any(|error| error == name))
    }

    /// The members of a structure that are not plain: name on the wire and type.
    fn structure(self, name: &str) -> impl Iterator<Item = (&'static str, &'static str)> + use<> {
        let mut lines = self.lines.lines();
        let wanted = name.to_owned();
        let members = lines.find_map(move |line| {
            let (of, members) = line.strip_prefix("structure ")?.split_once(' ')?;
            (of == wanted).then_some(members)
        });
        let members = members.into_iter().flat_map(|members| members.split(' '));
        members.filter_map(|member| member.split_once('='))
    }

    fn turn(self, kind: &str, value: &Value, way: Way) -> Value {
        if kind == "-" {
            return value.clone();
        }
        if kind == "time" {
            return time(value, way);
        }
        let within = |open, close| kind.strip_prefix(open)?.strip_suffix(close);
        if let Some(of) = within('[', ']') {
            let Some(items) = value.as_array() else {
                return value.clone();
            };
            return Value::array(items.iter().map(|item| self.turn(of, item, way)));
        }
        let Some(object) = value.as_object() else {
            return value.clone();
        };
        match within('{', '}') {
            Some(of) => Value::object(
                object
                    .iter()
                    .map(|(key, member)| (key.clone(), self.turn(of, member, way))),
            ),
            None => self.turn_structure(kind, object, way),
        }
    }

    fn turn_structure(self, kind: &str, object: &Object, way: Way) -> Value {
        let known: Vec<_> = self.structure(kind).collect();
        let members = object.iter().map(|(name, member)| {
            let found = known.iter().find(|(wire, _)| match way {
                Way::ToWire => first_letter(wire, char::to_ascii_uppercase) == **name,
                Way::FromWire => **wire == **name,
            });
            let of = found.map_or("-", |(_, of)| of);
            let name: Arc<str> = match (way, found) {
                (Way::ToWire, Some((wire, _))) => (*wire).into(),
                (Way::ToWire, None) if self.lower => {
                    first_letter(name, char::to_ascii_lowercase).into()
                }
                (Way::FromWire, _) => first_letter(name, char::to_ascii_uppercase).into(),
                (Way::ToWire, None) => name.clone(),
            };
            (name, self.turn(of, member, way))
        });
        Value::object(members)
    }
}

impl Operation {
    /// A task's parameters as the service reads them; what is null is not sent.
    pub(super) fn request(self, parameters: &Value) -> Value {
        self.turn(self.input, &without_nulls(parameters), Way::ToWire)
    }

    /// A service's answer as the task's result; what is null is not there, as in the AWS SDK's.
    pub(super) fn answer(self, answer: &Value) -> Value {
        self.turn(self.output, &without_nulls(answer), Way::FromWire)
    }

    fn turn(self, kind: &'static str, value: &Value, way: Way) -> Value {
        // A structure of which nothing is to be changed but perhaps the first letters.
        let plain = kind == "-" && self.service.lower;
        self.service.turn(if plain { "" } else { kind }, value, way)
    }
}

fn without_nulls(value: &Value) -> Value {
    let members = value.as_object().into_iter().flat_map(|all| all.iter());
    let there = members.filter(|(_, member)| !member.is_null());
    Value::object(there.map(|(name, member)| (name.clone(), member.clone())))
}

fn first_letter(name: &str, case: fn(&char) -> char) -> String {
    let mut letters = name.chars();
    let first = letters.next().map(|first| case(&first));
    first.into_iter().chain(letters).collect()
}

/// A time: ISO 8601 in a state machine, seconds on the wire.
fn time(value: &Value, way: Way) -> Value {
    let turned = match way {
        Way::FromWire => value
            .as_f64()
            .filter(|seconds| *seconds >= 0.0)
            .map(|seconds| {
                // To the millisecond, as services have it; after 1970 it fits for long.
                let at = Timestamp((seconds * 1_000.0).round() as u64);
                Value::from(at.to_string())
            }),
        Way::ToWire => value.as_str().and_then(parse_timestamp).map(|at| {
            let at = Timestamp::from(at);
            if at.0 % 1_000 == 0 {
                Value::from(at.0 / 1_000)
            } else {
                Value::parse(&format!("{}.{:03}", at.0 / 1_000, at.0 % 1_000)).unwrap_or_default()
            }
        }),
    };
    turned.unwrap_or_else(|| value.clone())
}

#[cfg(test)]
mod tests {
    use super::{Service, names, plain_name, resource_name};
    use stepwell_query::Value;

    fn value(text: &str) -> Value {
        Value::parse(text).unwrap()
    }

    #[test]
    fn all_services_are_found_and_their_structures_known() {
        assert!(names().count() > 10);
        for name in names() {
            let service = Service::find(name).unwrap();
            assert_eq!(plain_name(resource_name(name)), name);
            assert!(service.operations().count() > 5, "{name}");
            for operation in service.operations() {
                for kind in [operation.input, operation.output] {
                    let structure = format!("structure {kind} ");
                    let known = kind == "-" || service.lines.contains(&structure) || service.lower;
                    assert!(known, "{name} {kind}");
                }
            }
        }
        assert!(Service::find("sns").is_none());
        assert_eq!(Service::find("eventbridge").unwrap().name, "events");
    }

    #[test]
    fn times_are_told_in_iso_8601_and_sent_in_seconds() {
        let get = Service::find("secretsmanager").unwrap();
        let get = get.operation("getSecretValue").unwrap();
        let told = get.answer(&value(
            r#"{"Name":"n","CreatedDate":1700000000.123,"VersionId":null}"#,
        ));
        let expected = r#"{"Name":"n","CreatedDate":"2023-11-14T22:13:20.123Z"}"#;
        assert_eq!(told.to_json(), expected);
        let list = Service::find("kinesis").unwrap();
        let list = list.operation("listShards").unwrap();
        let sent = list.request(&value(
            r#"{"StreamName":"s","NextToken":null,"StreamCreationTimestamp":"2023-11-14T22:13:20Z"}"#,
        ));
        let expected = r#"{"StreamName":"s","StreamCreationTimestamp":1700000000}"#;
        assert_eq!(sent.to_json(), expected);
    }

    #[test]
    fn names_have_the_services_first_letter() {
        let run = Service::find("ecs").unwrap().operation("runTask").unwrap();
        let sent = run.request(&value(
            r#"{"Cluster":"c","Tags":[{"Key":"K"}],"Overrides":{"ContainerOverrides":[{"Name":"n"}]}}"#,
        ));
        assert_eq!(
            sent.to_json(),
            r#"{"cluster":"c","tags":[{"key":"K"}],"overrides":{"containerOverrides":[{"name":"n"}]}}"#
        );
        let told = run.answer(&value(r#"{"tasks":[{"taskArn":"a","createdAt":0}]}"#));
        let expected = r#"{"Tasks":[{"TaskArn":"a","CreatedAt":"1970-01-01T00:00:00.000Z"}]}"#;
        assert_eq!(told.to_json(), expected);
    }
}
