//! From a path to an operation and what it is about. What it hides: paths, versions of the API in them, and the forms in which
//! a function is named.

use axum::http::{Method, Uri};
use serde::Deserialize;
use stepwell_engine::Caller;

use super::fault::Fault;
use crate::{
    auth::{CHANGE, LOOK, Right, STEER},
    limits::QUALIFIER_CHARS_MAX,
    rest::{Operation as _, Query, operations, segments},
};

/// What of the service is not there, by a part of its paths.
const UNSERVED: [(&str, &str); 14] = [
    ("account-settings", "account settings are"),
    ("capacity-providers", "capacity providers are"),
    ("code-signing-configs", "configurations of code signing are"),
    ("durable-executions", "durable functions are"),
    (
        "event-invoke-config",
        "configurations of Event invocations are",
    ),
    ("event-source-mappings", "event source mappings are"),
    ("function-scaling-config", "scaling of functions is"),
    ("layers", "layers are"),
    ("provisioned-concurrency", "provisioned concurrency is"),
    ("recursion-config", "detection of recursive calls is"),
    (
        "response-streaming-invocations",
        "answers that come in a stream are",
    ),
    ("runtime-management-config", "management of runtimes is"),
    ("url", "function URLs are"),
    ("urls", "function URLs are"),
];

/// Whether a path is this API's: they all begin with the date of a version, and nobody else's do.
pub(crate) fn is_own_path(path: &str) -> bool {
    let first = path.trim_start_matches('/').split('/').next();
    first.is_some_and(is_date)
}

/// `2015-03-31`.
fn is_date(text: &str) -> bool {
    let form = |(at, byte): (usize, u8)| match at {
        4 | 7 => byte == b'-',
        0..=9 => byte.is_ascii_digit(),
        _ => false,
    };
    text.len() == 10 && text.bytes().enumerate().all(form)
}

operations! {
    "lambda"
    AddPermission CHANGE
    CreateAlias CHANGE
    CreateFunction CHANGE
    DeleteAlias CHANGE
    DeleteFunction CHANGE
    DeleteFunctionConcurrency CHANGE
    GetAlias LOOK
    GetFunction LOOK
    GetFunctionCodeSigningConfig LOOK
    GetFunctionConcurrency LOOK
    GetFunctionConfiguration LOOK
    GetPolicy LOOK
    Invoke STEER
    ListAliases LOOK
    ListFunctions LOOK
    ListTags LOOK
    ListVersionsByFunction LOOK
    PublishVersion CHANGE
    PutFunctionConcurrency CHANGE
    RemovePermission CHANGE
    TagResource CHANGE
    UntagResource CHANGE
    UpdateAlias CHANGE
    UpdateFunctionCode CHANGE
    UpdateFunctionConfiguration CHANGE
}

/// Names for the metrics, in the order of the operations.
pub(crate) fn names() -> Vec<&'static str> {
    OPERATIONS.iter().map(|(name, _)| *name).collect()
}

/// What a request asks for, and of what.
#[derive(Debug)]
pub(crate) struct Route {
    pub(super) operation: Operation,
    /// The function as the request names it.
    function: Option<Named>,
    /// The alias or the statement in the path.
    pub(super) part: Option<String>,
    pub(super) query: Query,
}

/// A function by its name, a partial or a whole ARN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    text: String,
    account: Option<String>,
    pub(super) name: String,
    pub(super) qualifier: Option<String>,
}

impl Named {
    /// `NAME`, `NAME:QUALIFIER`, `ACCOUNT:function:NAME`, `arn:aws:lambda:REGION:ACCOUNT:function:NAME:QUALIFIER`, ….
    pub(super) fn of(text: &str) -> Named {
        let (before, tail) = match text.rsplit_once("function:") {
            Some((before, tail)) => (before, tail),
            None => ("", text),
        };
        let mut parts = tail.splitn(2, ':');
        let name = parts.next().unwrap_or_default().to_owned();
        let qualifier = parts.next().map(str::to_owned);
        let account = before.trim_end_matches(':').rsplit(':').next();
        Named {
            text: text.to_owned(),
            account: account
                .filter(|account| !account.is_empty())
                .map(str::to_owned),
            name,
            qualifier,
        }
    }
}

impl Route {
    /// The function's name.
    pub(super) fn function(&self) -> &str {
        self.function.as_ref().map_or("", |named| &named.name)
    }

    /// The version or alias that is meant, which name and query may both tell.
    pub(super) fn qualifier(&self) -> Result<Option<&str>, Fault> {
        let named = self.function.as_ref();
        let own = named.and_then(|named| named.qualifier.as_deref());
        match (own, self.query.get("Qualifier")) {
            (Some(own), Some(other)) if own != other => Err(Fault::invalid(
                "The derived qualifier from the function name does not match the specified qualifier.",
            )),
            (own, other) => own.or(other).map(check_qualifier).transpose(),
        }
    }

    /// What the audit log says that a request is about.
    pub(super) fn about(&self, body: &[u8]) -> String {
        #[derive(Default, Deserialize)]
        struct About {
            #[serde(rename = "FunctionName", default)]
            name: String,
        }
        match (&self.function, self.alias(body)) {
            (Some(named), Some(alias)) => format!("{}:{alias}", named.text),
            (Some(named), None) => named.text.clone(),
            (None, _) if self.operation == Operation::CreateFunction => {
                serde_json::from_slice::<About>(body)
                    .unwrap_or_default()
                    .name
            }
            (None, _) => String::new(),
        }
    }

    /// The alias that is made, changed or deleted.
    fn alias(&self, body: &[u8]) -> Option<String> {
        #[derive(Default, Deserialize)]
        struct Fresh {
            #[serde(rename = "Name", default)]
            name: String,
        }
        if self.operation == Operation::CreateAlias {
            let fresh: Fresh = serde_json::from_slice(body).unwrap_or_default();
            return Some(fresh.name).filter(|name| !name.is_empty());
        }
        let has_one = matches!(
            self.operation,
            Operation::UpdateAlias | Operation::DeleteAlias
        );
        self.part.clone().filter(|_| has_one)
    }

    /// Refuses a function of another account.
    pub(super) fn check_account(&self, caller: &Caller) -> Result<(), Fault> {
        match &self.function {
            Some(named) => check_account(named, caller, self.operation),
            None => Ok(()),
        }
    }
}

pub(super) fn check_account(
    named: &Named,
    caller: &Caller,
    operation: Operation,
) -> Result<(), Fault> {
    if named
        .account
        .as_deref()
        .is_none_or(|account| account == &*caller.tenant)
    {
        return Ok(());
    }
    let (action, text) = (operation.name(), &named.text);
    Err(Fault::denied(format!(
        "the caller's account {} is not authorized to perform: lambda:{action} on resource: {text} because it is another account's",
        caller.tenant
    )))
}

/// Refuses what names no version and no alias, as the API's model does.
fn check_qualifier(qualifier: &str) -> Result<&str, Fault> {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'$' | b'-' | b'_');
    let wrong = if qualifier.len() > QUALIFIER_CHARS_MAX {
        format!("Member must have length less than or equal to {QUALIFIER_CHARS_MAX}")
    } else if qualifier.is_empty() || !qualifier.bytes().all(allowed) {
        "Member must satisfy regular expression pattern: [a-zA-Z0-9$_-]+".to_owned()
    } else {
        return Ok(qualifier);
    };
    Err(Fault::validation(&format!(
        "Value '{qualifier}' at 'qualifier' failed to satisfy constraint: {wrong}"
    )))
}

/// The operation of a method and path.
pub(super) fn find(method: &Method, uri: &Uri) -> Result<Route, Fault> {
    let segments = segments(uri);
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let of = |operation, name: &str| Some((operation, Some(Named::of(name)), None));
    let found = match (method.as_str(), &segments[..]) {
        ("POST", ["2015-03-31", "functions"]) => Some((Operation::CreateFunction, None, None)),
        ("GET", ["2015-03-31", "functions"]) => Some((Operation::ListFunctions, None, None)),
        (_, ["2015-03-31", "functions", name, rest @ ..]) => {
            let found = of_function(method, rest);
            found.map(|(operation, part)| (operation, Some(Named::of(name)), part))
        }
        ("PUT", ["2017-10-31", "functions", name, "concurrency"]) => {
            of(Operation::PutFunctionConcurrency, name)
        }
        ("DELETE", ["2017-10-31", "functions", name, "concurrency"]) => {
            of(Operation::DeleteFunctionConcurrency, name)
        }
        ("GET", ["2019-09-30", "functions", name, "concurrency"]) => {
            of(Operation::GetFunctionConcurrency, name)
        }
        ("GET", ["2020-06-30", "functions", name, "code-signing-config"]) => {
            of(Operation::GetFunctionCodeSigningConfig, name)
        }
        ("POST", ["2017-03-31", "tags", arn]) => of(Operation::TagResource, arn),
        ("DELETE", ["2017-03-31", "tags", arn]) => of(Operation::UntagResource, arn),
        ("GET", ["2017-03-31", "tags", arn]) => of(Operation::ListTags, arn),
        _ => None,
    };
    let (operation, function, part) = found.ok_or_else(|| unknown(method, uri))?;
    Ok(Route {
        operation,
        function,
        part: part.map(str::to_owned),
        query: Query::of(uri),
    })
}

/// What is asked of a function, and the alias or statement that it is about.
fn of_function<'a>(method: &Method, rest: &[&'a str]) -> Option<(Operation, Option<&'a str>)> {
    let method = method.as_str();
    let of = |operation| Some((operation, None));
    match (method, rest) {
        ("GET", []) => of(Operation::GetFunction),
        ("DELETE", []) => of(Operation::DeleteFunction),
        ("PUT", ["code"]) => of(Operation::UpdateFunctionCode),
        ("PUT", ["configuration"]) => of(Operation::UpdateFunctionConfiguration),
        ("GET", ["configuration"]) => of(Operation::GetFunctionConfiguration),
        ("GET", ["policy"]) => of(Operation::GetPolicy),
        ("POST", ["policy"]) => of(Operation::AddPermission),
        ("DELETE", ["policy", id]) => Some((Operation::RemovePermission, Some(id))),
        ("POST", ["invocations"]) => of(Operation::Invoke),
        ("POST", ["versions"]) => of(Operation::PublishVersion),
        ("GET", ["versions"]) => of(Operation::ListVersionsByFunction),
        ("POST", ["aliases"]) => of(Operation::CreateAlias),
        ("GET", ["aliases"]) => of(Operation::ListAliases),
        ("GET", ["aliases", alias]) => Some((Operation::GetAlias, Some(alias))),
        ("PUT", ["aliases", alias]) => Some((Operation::UpdateAlias, Some(alias))),
        ("DELETE", ["aliases", alias]) => Some((Operation::DeleteAlias, Some(alias))),
        _ => None,
    }
}

fn unknown(method: &Method, uri: &Uri) -> Fault {
    let path = uri.path();
    let mut named = false;
    // A function may be called as one of them is.
    let mut parts = path
        .split('/')
        .filter(|part| !std::mem::replace(&mut named, *part == "functions"));
    let unserved = parts.find_map(|part| UNSERVED.iter().find(|(known, _)| *known == part));
    Fault::unknown(match unserved {
        Some((_, what)) => format!(
            "{what} not served by this version of Stepwell ({method} {path}); docs/functions.md lists what is, under Operations"
        ),
        None => format!(
            "{method} {path} is no operation of the function service that this version of Stepwell serves; docs/functions.md lists them, under Operations"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(method: &str, uri: &str) -> Option<Route> {
        find(&method.parse().unwrap(), &uri.parse().unwrap()).ok()
    }

    #[test]
    fn functions_are_named_in_many_ways() {
        for (text, account, name, qualifier) in [
            ("pay", None, "pay", None),
            ("pay:3", None, "pay", Some("3")),
            (
                "111111111111:function:pay",
                Some("111111111111"),
                "pay",
                None,
            ),
            ("function:pay", None, "pay", None),
            (
                "arn:aws:lambda:us-east-1:111111111111:function:pay:live",
                Some("111111111111"),
                "pay",
                Some("live"),
            ),
        ] {
            let named = Named::of(text);
            assert_eq!(named.account.as_deref(), account, "{text}");
            assert_eq!(named.name, name, "{text}");
            assert_eq!(named.qualifier.as_deref(), qualifier, "{text}");
        }
    }

    #[test]
    fn paths_are_operations() {
        for (method, uri, operation) in [
            (
                "POST",
                "/2015-03-31/functions",
                Some(Operation::CreateFunction),
            ),
            (
                "GET",
                "/2015-03-31/functions/",
                Some(Operation::ListFunctions),
            ),
            (
                "POST",
                "/2015-03-31/functions/pay/invocations",
                Some(Operation::Invoke),
            ),
            ("PATCH", "/2015-03-31/functions/pay", None),
            ("GET", "/2015-03-31/layers", None),
            (
                "DELETE",
                "/2015-03-31/functions/pay/policy/s",
                Some(Operation::RemovePermission),
            ),
            (
                "PUT",
                "/2017-10-31/functions/pay/concurrency",
                Some(Operation::PutFunctionConcurrency),
            ),
            ("GET", "/2017-10-31/functions/pay/concurrency", None),
            (
                "DELETE",
                "/2015-03-31/functions/pay/aliases/a",
                Some(Operation::DeleteAlias),
            ),
        ] {
            assert_eq!(
                found(method, uri).map(|route| route.operation),
                operation,
                "{method} {uri}"
            );
        }
        let arn = "arn%3Aaws%3Alambda%3Aus-east-1%3A111111111111%3Afunction%3Apay%3A2";
        let route = found("GET", &format!("/2015-03-31/functions/{arn}?Qualifier=2")).unwrap();
        assert_eq!(route.function(), "pay");
        assert_eq!(route.qualifier().ok().flatten(), Some("2"));
        let route = found(
            "GET",
            &format!("/2015-03-31/functions/{arn}?Qualifier=%24LATEST"),
        )
        .unwrap();
        assert!(route.qualifier().is_err());
    }

    #[test]
    fn a_qualifier_has_the_characters_of_the_model() {
        let long = "v".repeat(QUALIFIER_CHARS_MAX + 1);
        for (qualifier, sound) in [
            ("%24LATEST", true),
            ("live_2-b", true),
            (&long[1..], true),
            (long.as_str(), false),
            ("", false),
            ("1.2", false),
            ("%C3%A9", false),
            ("x%22%2C%22End%22%3Atrue%7D%2C%22E%22%3A%7B", false),
        ] {
            for uri in [
                format!("/2015-03-31/functions/pay/invocations?Qualifier={qualifier}"),
                format!("/2015-03-31/functions/pay:{qualifier}/invocations"),
            ] {
                let route = found("POST", &uri).unwrap();
                assert_eq!(route.qualifier().is_ok(), sound, "{uri}");
            }
        }
    }

    #[test]
    fn a_path_that_begins_with_a_date_is_this_services() {
        for (path, own) in [
            ("/2015-03-31/functions", true),
            ("/2021-10-31/functions/pay/url", true),
            ("/2030-01-01", true),
            ("/2015-03-3/functions", false),
            ("/2015-03-311/functions", false),
            ("/2015_03_31/functions", false),
            ("/functions/2015-03-31", false),
            ("/", false),
        ] {
            assert_eq!(is_own_path(path), own, "{path}");
        }
    }

    #[test]
    fn operations_are_in_the_order_of_their_names() {
        assert!(names().is_sorted());
    }
}
