//! Rates of requests: token buckets. Hides their arithmetic, and AWS's table.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

/// Refused requests are told to the log once in this time.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// Parts of a request that buckets are counted in.
const PARTS: u64 = 1_000;

/// A bucket of requests: so many at once, and so many more a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rate {
    pub bucket: u32,
    pub per_second: u32,
}

/// How many requests of an operation a tenant may make.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rates {
    /// Any number.
    #[default]
    Off,
    /// As AWS has it for an account in its large regions.
    Aws,
    /// These, and any number of other operations.
    Set(BTreeMap<String, Rate>),
}

/// AWS's buckets (developer guide, "Quotas related to API action throttling" and "Other quotas": us-east-1, us-west-2,
/// eu-west-1). Operations that are not in it are not throttled. On AWS they count for each region; here for all of them,
/// since a region is what the caller says.
const AWS: &[(&str, u32, u32)] = &[
    ("CreateActivity", 100, 1),
    ("CreateStateMachine", 100, 1),
    ("CreateStateMachineAlias", 100, 1),
    ("DeleteActivity", 100, 1),
    ("DeleteStateMachine", 100, 1),
    ("DeleteStateMachineAlias", 100, 1),
    ("DeleteStateMachineVersion", 100, 1),
    ("DescribeActivity", 200, 1),
    ("DescribeExecution", 300, 15),
    ("DescribeMapRun", 200, 1),
    ("DescribeStateMachine", 200, 20),
    ("DescribeStateMachineAlias", 200, 1),
    ("DescribeStateMachineForExecution", 200, 1),
    ("GetActivityTask", 3_000, 500),
    ("GetExecutionHistory", 400, 20),
    ("ListActivities", 100, 10),
    ("ListExecutions", 200, 5),
    ("ListMapRuns", 100, 1),
    ("ListStateMachineAliases", 100, 1),
    ("ListStateMachineVersions", 100, 1),
    ("ListStateMachines", 100, 5),
    ("ListTagsForResource", 100, 1),
    ("PublishStateMachineVersion", 100, 1),
    ("RedriveExecution", 1_300, 300),
    ("SendTaskFailure", 3_000, 500),
    ("SendTaskHeartbeat", 3_000, 500),
    ("SendTaskSuccess", 3_000, 500),
    ("StartExecution", 1_300, 300),
    ("StopExecution", 1_000, 200),
    ("TagResource", 200, 1),
    ("TestState", 1, 1),
    ("UntagResource", 200, 1),
    ("UpdateMapRun", 100, 1),
    ("UpdateStateMachine", 100, 1),
    ("UpdateStateMachineAlias", 100, 1),
];

/// StartExecution of an EXPRESS state machine, which has a bucket of its own in AWS's table.
pub(crate) const START_EXPRESS: &str = "StartExecution of EXPRESS";
const START: &str = "StartExecution";
const START_EXPRESS_RATE: Rate = Rate {
    bucket: 6_000,
    per_second: 6_000,
};

/// What the names of the function service's operations begin with, and the bucket that most of them share.
const LAMBDA: &str = "lambda:";
/// AWS's rates of the function service (its developer guide, "Lambda API requests"; calls for the usual quota of 1,000
/// concurrent executions). The other operations share a rate.
const LAMBDA_AWS: [(&str, Rate); 3] = [
    ("lambda:GetFunction", even(100)),
    ("lambda:GetPolicy", even(15)),
    ("lambda:Invoke", even(10_000)),
];
const LAMBDA_REST: Rate = even(15);

/// What the names of our own operations begin with, and the bucket that they share (ours, AWS has none of them): scripts that
/// set up tenants make hundreds of calls.
const STEPWELL: &str = "stepwell:";
const STEPWELL_RATE: Rate = Rate {
    bucket: 1_000,
    per_second: 50,
};

/// So many a second, and no more of them at once.
const fn even(per_second: u32) -> Rate {
    Rate {
        bucket: per_second,
        per_second,
    }
}

impl Rates {
    /// An operation's rate and the bucket that it is counted in, which operations may share; `None` when it is not bounded.
    pub(super) fn of(&self, operation: &'static str) -> Option<(&'static str, Rate)> {
        match self {
            Rates::Off => None,
            Rates::Aws if operation == START_EXPRESS => Some((operation, START_EXPRESS_RATE)),
            Rates::Aws if operation.starts_with(LAMBDA) => {
                let own = LAMBDA_AWS.iter().find(|(name, _)| *name == operation);
                Some(own.copied().unwrap_or((LAMBDA, LAMBDA_REST)))
            }
            Rates::Aws if operation.starts_with(STEPWELL) => Some((STEPWELL, STEPWELL_RATE)),
            Rates::Aws => {
                let found = AWS.binary_search_by(|(name, _, _)| (*name).cmp(operation));
                found.ok().map(|index| {
                    let (_, bucket, per_second) = AWS[index];
                    (operation, Rate { bucket, per_second })
                })
            }
            Rates::Set(rates) => {
                // One rate is one bucket, whatever is started.
                let operation = match operation {
                    START_EXPRESS => START,
                    other => other,
                };
                rates.get(operation).map(|rate| (operation, *rate))
            }
        }
    }
}

/// What is left of a rate.
pub(super) struct Bucket {
    parts: u64,
    at: Instant,
    /// Refused since it was last told, and when that was.
    refused: u64,
    told: Option<Instant>,
}

impl Bucket {
    pub(super) fn full(rate: Rate, now: Instant) -> Bucket {
        Bucket {
            parts: u64::from(rate.bucket) * PARTS,
            at: now,
            refused: 0,
            told: None,
        }
    }

    /// Takes one request out; false when there is none left.
    pub(super) fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let millis = now.saturating_duration_since(self.at).as_millis();
        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
        if millis > 0 {
            let more = millis.saturating_mul(u64::from(rate.per_second));
            let most = u64::from(rate.bucket) * PARTS;
            self.parts = self.parts.saturating_add(more).min(most);
            // What is less than a millisecond goes on counting.
            self.at += Duration::from_millis(millis);
        }
        if self.parts < PARTS {
            self.refused += 1;
            return false;
        }
        self.parts -= PARTS;
        true
    }

    /// How many were refused, when it is time to tell.
    pub(super) fn next_telling(&mut self, now: Instant) -> Option<u64> {
        let due = self
            .told
            .is_none_or(|told| now.saturating_duration_since(told) >= TELL_EVERY);
        due.then(|| {
            self.told = Some(now);
            std::mem::take(&mut self.refused)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order() {
        assert!(AWS.is_sorted_by(|a, b| a.0 < b.0));
        let rate = |operation| {
            Rates::Aws
                .of(operation)
                .map(|(_, rate)| (rate.bucket, rate.per_second))
        };
        assert_eq!(rate("StartExecution"), Some((1_300, 300)));
        assert_eq!(rate(START_EXPRESS), Some((6_000, 6_000)));
        assert_eq!(rate("StartSyncExecution"), None);
        assert_eq!(Rates::Off.of("StartExecution"), None);
        assert_eq!(rate("lambda:Invoke"), Some((10_000, 10_000)));
        assert_eq!(rate("lambda:TagResource"), Some((15, 15)));
        assert_eq!(rate("stepwell:GetUsage"), Some((1_000, 50)));
    }

    #[test]
    fn operations_share_the_bucket_of_one_rate() {
        let bucket = |rates: &Rates, operation| rates.of(operation).map(|(bucket, _)| bucket);
        let rate = even(3);
        let set = Rates::Set([(START.to_owned(), rate)].into());
        assert_eq!(bucket(&set, START_EXPRESS), bucket(&set, START));
        assert_ne!(
            bucket(&Rates::Aws, START_EXPRESS),
            bucket(&Rates::Aws, START)
        );
        let of_aws = |operation| bucket(&Rates::Aws, operation);
        assert_eq!(
            of_aws("lambda:CreateFunction"),
            of_aws("lambda:ListFunctions")
        );
        assert_ne!(of_aws("lambda:GetFunction"), of_aws("lambda:ListFunctions"));
    }

    #[test]
    fn a_bucket_empties_and_fills() {
        let rate = Rate {
            bucket: 3,
            per_second: 2,
        };
        let began = Instant::now();
        let at = |millis| began + Duration::from_millis(millis);
        let mut bucket = Bucket::full(rate, began);
        for (millis, taken) in [
            (0, true),
            (0, true),
            (0, true),
            (0, false),
            // Half a second is one request; the odd milliseconds are not lost.
            (499, false),
            (500, true),
            (500, false),
            (750, false),
            (1_000, true),
            (1_000, false),
            // No more than the bucket holds.
            (60_000, true),
            (60_000, true),
            (60_000, true),
            (60_000, false),
        ] {
            assert_eq!(bucket.take(rate, at(millis)), taken, "at {millis}");
        }
        assert_eq!(bucket.next_telling(at(60_000)), Some(6));
        bucket.take(rate, at(60_000));
        assert_eq!(bucket.next_telling(at(60_001)), None, "told a moment ago");
        assert_eq!(bucket.next_telling(at(70_000)), Some(1));
    }
}
