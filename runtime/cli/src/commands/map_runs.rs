//! The map runs of an execution, for people: their counts, and why the first children failed. Hides how children are
//! found.

use serde_json::{Value, json};

use crate::client::Client;
use crate::exit::Outcome;
use crate::terminal::shown;
use crate::timeline::{Failure, Timeline};

/// Children without success whose errors are shown.
const CHILDREN_SHOWN_MAX: usize = 3;
/// Statuses of children that ended without success, the usual one first.
const UNSUCCESSFUL: [&str; 3] = ["FAILED", "TIMED_OUT", "ABORTED"];

/// A map run and its first children without success.
pub(super) struct MapRun {
    /// The name of its Map state.
    state: String,
    /// As DescribeMapRun gives it.
    described: Value,
    /// As DescribeExecution gives them; of those of EXPRESS children what ListExecutions has.
    failed: Vec<Value>,
}

/// Whether it is the ARN of a map run: `arn:aws:states:REGION:ACCOUNT:mapRun:MACHINE/LABEL:ID`.
pub(super) fn is_arn(arn: &str) -> bool {
    arn.starts_with("arn:") && arn.contains(":mapRun:")
}

/// The map runs of an execution, in the order of their states.
pub(super) async fn of(client: &Client, timeline: &Timeline) -> Outcome<Vec<MapRun>> {
    let mut map_runs = Vec::new();
    for visit in &timeline.visits {
        let Some(arn) = &visit.map_run else { continue };
        let request = json!({"mapRunArn": arn});
        if let Ok(described) = client.try_call("DescribeMapRun", request).await? {
            map_runs.push(MapRun {
                state: timeline.path(visit),
                described,
                failed: failed(client, arn).await?,
            });
        }
    }
    Ok(map_runs)
}

async fn failed(client: &Client, arn: &str) -> Outcome<Vec<Value>> {
    let mut failed = Vec::new();
    for status in UNSUCCESSFUL {
        let left = CHILDREN_SHOWN_MAX.saturating_sub(failed.len());
        if left == 0 {
            break;
        }
        let request = json!({"mapRunArn": arn, "statusFilter": status, "maxResults": left});
        let listed = client.try_call("ListExecutions", request).await?;
        let children = listed
            .ok()
            .and_then(|mut page| page.get_mut("executions").map(Value::take));
        let Some(Value::Array(children)) = children else {
            continue;
        };
        for child in children {
            let request = json!({"executionArn": super::text(&child, "executionArn")});
            let described = client.try_call("DescribeExecution", request).await?;
            failed.push(described.unwrap_or(child));
        }
    }
    Ok(failed)
}

impl MapRun {
    /// As DescribeMapRun gives it, with its first children without success.
    pub(super) fn json(&self) -> Value {
        let mut told = self.described.clone();
        told["firstFailed"] = json!(self.failed);
        told
    }

    /// Its counts, its first errors and where the others are. `flags` reach the installation.
    pub(super) fn text(&self, flags: &str) -> String {
        let arn = super::text(&self.described, "mapRunArn");
        let mut out = format!(
            "\nmap run    {}\nstate      {}\nstatus     {}\nitems      {}\n",
            shown(arn),
            shown(&self.state),
            super::text(&self.described, "status"),
            counts(&self.described["itemCounts"])
        );
        for child in &self.failed {
            let part = |key: &str| child.get(key).and_then(Value::as_str).map(str::to_owned);
            let failure = Failure {
                error: part("error"),
                cause: part("cause"),
            };
            out.push_str(&format!(
                "{:<10} {}\n           {}\n",
                super::text(child, "status").to_lowercase(),
                shown(super::text(child, "executionArn")),
                shown(&failure.to_string())
            ));
        }
        if !self.failed.is_empty() {
            let status = super::text(&self.failed[0], "status").to_lowercase();
            out.push_str(&format!(
                "all        stepwell execution list {arn} --status {status}{flags}\n"
            ));
        }
        out
    }
}

/// `10 in all, 7 succeeded, 3 failed`: what there is none of is left out.
fn counts(counts: &Value) -> String {
    let count = |key: &str| counts.get(key).and_then(Value::as_u64).unwrap_or(0);
    let mut text = format!("{} in all", count("total"));
    for (key, word) in [
        ("pending", "pending"),
        ("running", "running"),
        ("succeeded", "succeeded"),
        ("failed", "failed"),
        ("timedOut", "timed out"),
        ("aborted", "aborted"),
        ("pendingRedrive", "pending redrive"),
    ] {
        let number = count(key);
        if number > 0 {
            text.push_str(&format!(", {number} {word}"));
        }
    }
    text
}
