//! From a path to an operation and what it is about. What it hides: paths and queries.

use axum::http::{Method, Uri};

use super::fault::Fault;
use crate::{
    auth::{CHANGE, LOOK, Right},
    rest::{Query, operations, segments},
};

/// What the paths of this API begin with.
const STEMS: [&str; 3] = ["schedules", "schedule-groups", "tags"];

/// Whether a path is this API's.
pub(crate) fn is_own_path(path: &str) -> bool {
    let first = path.trim_start_matches('/').split('/').next();
    first.is_some_and(|first| STEMS.contains(&first))
}

operations! {
    "scheduler"
    CreateSchedule CHANGE
    CreateScheduleGroup CHANGE
    DeleteSchedule CHANGE
    DeleteScheduleGroup CHANGE
    GetSchedule LOOK
    GetScheduleGroup LOOK
    ListScheduleGroups LOOK
    ListSchedules LOOK
    ListTagsForResource LOOK
    TagResource CHANGE
    UntagResource CHANGE
    UpdateSchedule CHANGE
}

/// Names for the metrics, in the order of the operations. Those that another API has too say whose they are.
pub(crate) fn names() -> Vec<&'static str> {
    RATED.to_vec()
}

/// What a request asks for, and of what.
#[derive(Debug)]
pub(crate) struct Route {
    pub(super) operation: Operation,
    /// The name or ARN in the path.
    pub(super) named: Option<String>,
    pub(super) query: Query,
}

/// The operation of a method and path.
pub(super) fn find(method: &Method, uri: &Uri) -> Result<Route, Fault> {
    let segments = segments(uri);
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (operation, named) = match (method.as_str(), &segments[..]) {
        ("GET", ["schedules"]) => (Operation::ListSchedules, None),
        ("POST", ["schedules", name]) => (Operation::CreateSchedule, Some(*name)),
        ("GET", ["schedules", name]) => (Operation::GetSchedule, Some(*name)),
        ("PUT", ["schedules", name]) => (Operation::UpdateSchedule, Some(*name)),
        ("DELETE", ["schedules", name]) => (Operation::DeleteSchedule, Some(*name)),
        ("GET", ["schedule-groups"]) => (Operation::ListScheduleGroups, None),
        ("POST", ["schedule-groups", name]) => (Operation::CreateScheduleGroup, Some(*name)),
        ("GET", ["schedule-groups", name]) => (Operation::GetScheduleGroup, Some(*name)),
        ("DELETE", ["schedule-groups", name]) => (Operation::DeleteScheduleGroup, Some(*name)),
        ("GET", ["tags", arn]) => (Operation::ListTagsForResource, Some(*arn)),
        ("POST", ["tags", arn]) => (Operation::TagResource, Some(*arn)),
        ("DELETE", ["tags", arn]) => (Operation::UntagResource, Some(*arn)),
        _ => return Err(unknown(method, uri)),
    };
    Ok(Route {
        operation,
        named: named.map(str::to_owned),
        query: Query::of(uri),
    })
}

fn unknown(method: &Method, uri: &Uri) -> Fault {
    Fault::unknown(format!(
        "{method} {} is no operation of the scheduler that this version of Stepwell serves; docs/triggers.md lists them",
        uri.path()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_operations() {
        for (method, uri, operation) in [
            ("POST", "/schedules/a", Some(Operation::CreateSchedule)),
            (
                "GET",
                "/schedules?MaxResults=2",
                Some(Operation::ListSchedules),
            ),
            (
                "DELETE",
                "/schedules/a?groupName=b",
                Some(Operation::DeleteSchedule),
            ),
            ("PATCH", "/schedules/a", None),
            ("POST", "/schedules", None),
            (
                "GET",
                "/schedule-groups/",
                Some(Operation::ListScheduleGroups),
            ),
        ] {
            let found = find(&method.parse().unwrap(), &uri.parse().unwrap()).ok();
            assert_eq!(
                found.map(|route| route.operation),
                operation,
                "{method} {uri}"
            );
        }
        let uri =
            "/tags/arn%3Aaws%3Ascheduler%3Ar%3A1%3Aschedule-group%2Fa?TagKeys=x&TagKeys=y%20z";
        let route = find(&Method::DELETE, &uri.parse().unwrap()).unwrap();
        assert_eq!(
            route.named.as_deref(),
            Some("arn:aws:scheduler:r:1:schedule-group/a")
        );
        assert_eq!(route.query.all("TagKeys"), ["x", "y z"]);
        assert!(is_own_path("/schedules/a") && !is_own_path("/schedule"));
    }
}
