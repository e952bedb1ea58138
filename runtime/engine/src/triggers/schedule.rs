//! A schedule: as it is asked for, kept and shown. Hides its stored form, and what its times are computed from.

use serde::{Deserialize, Serialize};
use stepwell_interp::Timestamp;
use uuid::Uuid;

use super::{
    run_uuid,
    timing::{self, Expression, Timing},
};
use crate::api::Caller;

/// What becomes of runs that were due while nobody looked: the server was down, or busy for more than a minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missed {
    /// The last of them is started.
    #[default]
    Once,
    /// Each is started, in order.
    All,
    /// None is.
    Skip,
}

impl Missed {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Missed::Once => "once",
            Missed::All => "all",
            Missed::Skip => "skip",
        }
    }
}

/// What a schedule starts. Stored form, codec v1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleTarget {
    /// A state machine, a version or an alias.
    pub arn: String,
    /// Told back as it came.
    pub role_arn: String,
    /// JSON with `<aws.scheduler.…>` in it; an event that tells of the schedule when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Seconds after its time that a run may still be started in.
    pub age_s_max: u32,
    /// How often a start that failed is tried again.
    pub retries_max: u32,
}

/// A schedule as it is asked for. Stored form, codec v1. Times are seconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleSpec {
    pub name: String,
    pub group: String,
    pub expression: String,
    /// As the IANA database names it.
    pub timezone: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_s: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_s: Option<i64>,
    #[serde(default)]
    pub description: String,
    pub enabled: bool,
    /// Minutes of a flexible time window; told back as they came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_minutes: Option<u32>,
    pub target: ScheduleTarget,
    /// Deleted with its last run.
    #[serde(default)]
    pub delete_after: bool,
    /// Told back as it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_arn: Option<String>,
    /// As before, or [`Missed::Once`], when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<Missed>,
    /// A creation that is sent again is the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_token: Option<String>,
}

/// How a run went. Stored form, codec v1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastRun {
    /// When it was due, seconds since the Unix epoch.
    pub due_s: i64,
    pub at_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_arn: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A schedule as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    pub arn: String,
    pub spec: ScheduleSpec,
    pub created_at: Timestamp,
    pub modified_at: Timestamp,
    /// Seconds since the Unix epoch; `None` when it runs no more.
    pub next_s: Option<i64>,
    /// The start that failed is tried again then.
    pub retry_at: Option<Timestamp>,
    pub last: Option<LastRun>,
    pub last_failed: Option<LastRun>,
    pub started: u64,
    pub failed: u64,
    pub missed: u64,
    anchor_s: i64,
}

impl Schedule {
    /// When it runs next, as far as it is known now; seconds since the Unix epoch.
    pub fn next_runs(&self, most: usize) -> Vec<i64> {
        let timing = timing_of(&self.spec, self.anchor_s).ok();
        let after = |at: &i64| timing.as_ref().and_then(|timing| timing.after(*at));
        std::iter::successors(self.next_s, after)
            .take(most)
            .collect()
    }
}

/// A start that failed and is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Retry {
    pub(super) attempts: u32,
    pub(super) next_ms: u64,
}

/// Stored form, codec v1: a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ScheduleRecord {
    /// Tells it from others that had its name.
    pub(super) uid: String,
    pub(super) spec: ScheduleSpec,
    #[serde(deserialize_with = "crate::record::date_ms")]
    pub(super) created_ms: u64,
    #[serde(deserialize_with = "crate::record::date_ms")]
    pub(super) modified_ms: u64,
    pub(super) anchor_s: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) next_s: Option<i64>,
    /// The last run that was dealt with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_s: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) retry: Option<Retry>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last: Option<LastRun>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_failed: Option<LastRun>,
    #[serde(default)]
    pub(super) started: u64,
    #[serde(default)]
    pub(super) failed: u64,
    #[serde(default)]
    pub(super) missed: u64,
}

impl ScheduleRecord {
    /// A schedule that begins now.
    pub(super) fn new(spec: ScheduleSpec, now_ms: u64) -> Result<ScheduleRecord, String> {
        let now_s = seconds(now_ms);
        let mut record = ScheduleRecord {
            uid: Uuid::new_v4().simple().to_string(),
            spec,
            created_ms: now_ms,
            modified_ms: now_ms,
            anchor_s: now_s,
            next_s: None,
            last_s: None,
            retry: None,
            last: None,
            last_failed: None,
            started: 0,
            failed: 0,
            missed: 0,
        };
        record.next_s = record.timing()?.after(now_s - 1);
        Ok(record)
    }

    /// The same schedule as it is asked for now. What is due stays due unless its times are others; what was due while it
    /// was disabled does not come back.
    pub(super) fn changed(
        &self,
        spec: ScheduleSpec,
        now_ms: u64,
    ) -> Result<ScheduleRecord, String> {
        let same_times = self.spec.expression == spec.expression
            && self.spec.timezone == spec.timezone
            && self.spec.start_s == spec.start_s
            && self.spec.end_s == spec.end_s;
        let goes_on = same_times && self.spec.enabled && spec.enabled;
        let now_s = seconds(now_ms);
        let mut changed = ScheduleRecord {
            spec,
            modified_ms: now_ms,
            anchor_s: if same_times { self.anchor_s } else { now_s },
            retry: None,
            ..self.clone()
        };
        if !goes_on {
            // Never before a run that there was, whatever the clock says.
            let after = self.last_s.map_or(now_s - 1, |last| last.max(now_s - 1));
            changed.next_s = changed.timing()?.after(after);
        }
        Ok(changed)
    }

    pub(super) fn timing(&self) -> Result<Timing, String> {
        timing_of(&self.spec, self.anchor_s)
    }

    /// When something is to be done about it.
    pub(super) fn due_ms(&self) -> Option<u64> {
        if !self.spec.enabled {
            return None;
        }
        let next_ms = u64::try_from(self.next_s?).ok()?.checked_mul(1_000)?;
        Some(self.retry.as_ref().map_or(next_ms, |retry| retry.next_ms))
    }

    /// The input of a run's execution.
    pub(super) fn input(&self, caller: &Caller, due_s: i64, run: &str, attempt: u32) -> String {
        let arn = schedule_arn(caller, &self.spec.group, &self.spec.name);
        let (time, id) = (super::iso(due_s), run_uuid(run));
        match &self.spec.target.input {
            Some(input) => input
                .replace("<aws.scheduler.schedule-arn>", &arn)
                .replace("<aws.scheduler.scheduled-time>", &time)
                .replace("<aws.scheduler.execution-id>", &id)
                .replace("<aws.scheduler.attempt-number>", &attempt.to_string()),
            None => serde_json::json!({
                "version": "0",
                "id": id,
                "detail-type": "Scheduled Event",
                "source": "aws.scheduler",
                "account": &*caller.tenant,
                "time": time,
                "region": &*caller.region,
                "resources": [arn],
                "detail": "{}",
            })
            .to_string(),
        }
    }

    pub(super) fn shown(self, caller: &Caller) -> Schedule {
        let retry_at = self.retry.as_ref().map(|retry| Timestamp(retry.next_ms));
        Schedule {
            arn: schedule_arn(caller, &self.spec.group, &self.spec.name),
            created_at: Timestamp(self.created_ms),
            modified_at: Timestamp(self.modified_ms),
            next_s: self.next_s.filter(|_| self.spec.enabled),
            retry_at,
            last: self.last,
            last_failed: self.last_failed,
            started: self.started,
            failed: self.failed,
            missed: self.missed,
            anchor_s: self.anchor_s,
            spec: self.spec,
        }
    }
}

fn timing_of(spec: &ScheduleSpec, anchor_s: i64) -> Result<Timing, String> {
    Ok(Timing {
        expression: Expression::parse(&spec.expression)?,
        zone: timing::zone(&spec.timezone)?,
        anchor_s,
        start_s: spec.start_s,
        end_s: spec.end_s,
    })
}

fn seconds(ms: u64) -> i64 {
    i64::try_from(ms / 1_000).unwrap_or(i64::MAX)
}

pub(super) fn schedule_arn(caller: &Caller, group: &str, name: &str) -> String {
    let Caller { tenant, region } = caller;
    format!("arn:aws:scheduler:{region}:{tenant}:schedule/{group}/{name}")
}
