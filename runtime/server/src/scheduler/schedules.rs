//! CreateSchedule and its kin. Wire types, REST JSON.

use serde::{Deserialize, Serialize};
use serde_json::json as object;
use stepwell_engine::{Missed, Schedule, ScheduleFilter, ScheduleSpec, ScheduleTarget};

use super::{Answer, Call, Fault, json};
use crate::{
    aws::Seconds,
    limits::{SCHEDULE_AGE_S, SCHEDULE_DATE_S_MAX, SCHEDULE_DATE_S_MIN, SCHEDULE_RETRIES},
};

const DEFAULT_GROUP: &str = "default";

/// Wire form of a schedule, in requests and answers.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct WireSchedule {
    #[serde(skip_serializing_if = "Option::is_none")]
    arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_name: Option<String>,
    schedule_expression: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    schedule_expression_timezone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_date: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_date: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flexible_time_window: Option<WireWindow>,
    target: WireTarget,
    #[serde(skip_serializing_if = "Option::is_none")]
    action_after_completion: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kms_key_arn: Option<String>,
    #[serde(skip_serializing)]
    client_token: Option<String>,
    /// Ours: `ONCE`, `ALL` or `SKIP`.
    #[serde(skip_serializing)]
    missed_runs: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    creation_date: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_modification_date: Option<f64>,
}

/// Wire form of a flexible time window.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct WireWindow {
    mode: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    maximum_window_in_minutes: Option<u32>,
}

/// Wire form of a target. What is not offered is read to be refused.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct WireTarget {
    arn: String,
    role_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_policy: Option<WireRetry>,
    #[serde(skip_serializing)]
    dead_letter_config: Option<WireDeadLetters>,
}

/// Wire form of a retry policy.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct WireRetry {
    #[serde(skip_serializing_if = "Option::is_none")]
    maximum_event_age_in_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    maximum_retry_attempts: Option<u32>,
}

/// Wire form of where what fails goes.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct WireDeadLetters {
    arn: Option<String>,
}

/// The schedule that a request asks for, under the name that its path has.
///
/// # Errors
/// Says which member is wrong.
pub(crate) fn spec_of(wire: WireSchedule, name: &str) -> Result<ScheduleSpec, String> {
    if wire.schedule_expression.is_empty() {
        return Err("ScheduleExpression is missing.".to_owned());
    }
    let window_minutes = match wire.flexible_time_window {
        None => {
            return Err("FlexibleTimeWindow is missing; {\"Mode\": \"OFF\"} is none.".to_owned());
        }
        Some(window) => match (window.mode.as_str(), window.maximum_window_in_minutes) {
            ("OFF", None) => None,
            ("FLEXIBLE", Some(minutes)) => Some(minutes),
            ("OFF", Some(_)) => {
                return Err("MaximumWindowInMinutes is for the mode FLEXIBLE.".to_owned());
            }
            ("FLEXIBLE", None) => {
                return Err("the mode FLEXIBLE takes MaximumWindowInMinutes.".to_owned());
            }
            (mode, _) => {
                return Err(format!(
                    "FlexibleTimeWindow.Mode is OFF or FLEXIBLE, and not `{mode}`"
                ));
            }
        },
    };
    let enabled = word(
        "State",
        wire.state.as_deref(),
        &[("ENABLED", true), ("DISABLED", false)],
    )?;
    let delete_after = word(
        "ActionAfterCompletion",
        wire.action_after_completion.as_deref(),
        &[("NONE", false), ("DELETE", true)],
    )?;
    let policies = [
        ("ONCE", Missed::Once),
        ("ALL", Missed::All),
        ("SKIP", Missed::Skip),
    ];
    let missed = match &wire.missed_runs {
        Some(told) => Some(word("MissedRuns", Some(told), &policies)?),
        None => None,
    };
    Ok(ScheduleSpec {
        name: name.to_owned(),
        group: wire.group_name.unwrap_or_else(|| DEFAULT_GROUP.to_owned()),
        expression: wire.schedule_expression,
        timezone: wire
            .schedule_expression_timezone
            .unwrap_or_else(|| "UTC".to_owned()),
        start_s: date("StartDate", wire.start_date)?,
        end_s: date("EndDate", wire.end_date)?,
        description: wire.description.unwrap_or_default(),
        enabled,
        window_minutes,
        target: target_of(wire.target)?,
        delete_after,
        key_arn: wire.kms_key_arn,
        missed,
        client_token: wire.client_token,
    })
}

fn target_of(wire: WireTarget) -> Result<ScheduleTarget, String> {
    let dead = wire.dead_letter_config.and_then(|dead| dead.arn);
    if dead.is_some() {
        return Err(
            "DeadLetterConfig is not offered: there is no queue that what fails could go to. `stepwell trigger show` and the metrics tell of it."
                .to_owned(),
        );
    }
    if wire.arn.is_empty() {
        return Err("Target.Arn is missing; it is the ARN of a state machine.".to_owned());
    }
    let retry = wire.retry_policy.unwrap_or_default();
    Ok(ScheduleTarget {
        arn: wire.arn,
        role_arn: wire.role_arn,
        input: wire.input,
        age_s_max: retry.maximum_event_age_in_seconds.unwrap_or(SCHEDULE_AGE_S),
        retries_max: retry.maximum_retry_attempts.unwrap_or(SCHEDULE_RETRIES),
    })
}

/// What a word of an enumeration means; its first one when nothing is said.
fn word<T: Copy>(member: &str, told: Option<&str>, words: &[(&str, T)]) -> Result<T, String> {
    let told = told.unwrap_or(words[0].0);
    let found = words.iter().find(|(word, _)| *word == told);
    found.map(|(_, meaning)| *meaning).ok_or_else(|| {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        format!("{member} is one of {}, and not `{told}`", known.join(", "))
    })
}

/// A date in whole seconds.
fn date(member: &str, told: Option<f64>) -> Result<Option<i64>, String> {
    let Some(told) = told else {
        return Ok(None);
    };
    if (SCHEDULE_DATE_S_MIN..=SCHEDULE_DATE_S_MAX).contains(&told) {
        return Ok(Some(told.round() as i64));
    }
    Err(format!(
        "{member} is a date from the year 1 to the year 9999, in seconds since 1970, and not {told:e}"
    ))
}

fn seconds(at: i64) -> f64 {
    at as f64
}

impl From<Schedule> for WireSchedule {
    fn from(schedule: Schedule) -> WireSchedule {
        let spec = schedule.spec;
        let state = if spec.enabled { "ENABLED" } else { "DISABLED" };
        let action = if spec.delete_after { "DELETE" } else { "NONE" };
        let mode = match spec.window_minutes {
            Some(_) => "FLEXIBLE",
            None => "OFF",
        };
        WireSchedule {
            arn: Some(schedule.arn),
            name: Some(spec.name),
            group_name: Some(spec.group),
            schedule_expression: spec.expression,
            schedule_expression_timezone: Some(spec.timezone),
            start_date: spec.start_s.map(seconds),
            end_date: spec.end_s.map(seconds),
            description: Some(spec.description).filter(|text| !text.is_empty()),
            state: Some(state.to_owned()),
            flexible_time_window: Some(WireWindow {
                mode: mode.to_owned(),
                maximum_window_in_minutes: spec.window_minutes,
            }),
            target: WireTarget {
                arn: spec.target.arn,
                role_arn: spec.target.role_arn,
                input: spec.target.input,
                retry_policy: Some(WireRetry {
                    maximum_event_age_in_seconds: Some(spec.target.age_s_max),
                    maximum_retry_attempts: Some(spec.target.retries_max),
                }),
                dead_letter_config: None,
            },
            action_after_completion: Some(action.to_owned()),
            kms_key_arn: spec.key_arn,
            client_token: None,
            missed_runs: None,
            creation_date: Some(schedule.created_at.0 as f64 / 1_000.0),
            last_modification_date: Some(schedule.modified_at.0 as f64 / 1_000.0),
        }
    }
}

impl Call<'_> {
    fn spec(&self) -> Result<ScheduleSpec, Fault> {
        spec_of(self.input()?, self.named()).map_err(Fault::validation)
    }

    fn group(&self) -> &str {
        self.route.query.get("groupName").unwrap_or(DEFAULT_GROUP)
    }
}

pub(super) async fn create(call: Call<'_>) -> Result<Answer, Fault> {
    let engine = &call.state.engine;
    let made = engine.create_schedule(&call.caller, call.spec()?).await?;
    json(&object!({"ScheduleArn": made}))
}

pub(super) async fn update(call: Call<'_>) -> Result<Answer, Fault> {
    let engine = &call.state.engine;
    let changed = engine.update_schedule(&call.caller, call.spec()?).await?;
    json(&object!({"ScheduleArn": changed}))
}

pub(super) async fn get(call: Call<'_>) -> Result<Answer, Fault> {
    let engine = &call.state.engine;
    let found = engine.schedule(&call.caller, call.group(), call.named());
    json(&WireSchedule::from(found.await?))
}

pub(super) async fn delete(call: Call<'_>) -> Result<Answer, Fault> {
    let engine = &call.state.engine;
    engine
        .delete_schedule(&call.caller, call.group(), call.named())
        .await?;
    json(&object!({}))
}

pub(super) async fn list(call: Call<'_>) -> Result<Answer, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Target {
        arn: String,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Summary {
        arn: String,
        name: String,
        group_name: String,
        state: &'static str,
        creation_date: Seconds,
        last_modification_date: Seconds,
        target: Target,
    }
    let query = |name: &str| call.route.query.get(name);
    let enabled = match query("State") {
        Some(told) => {
            let words = [("ENABLED", true), ("DISABLED", false)];
            Some(word("State", Some(told), &words).map_err(Fault::validation)?)
        }
        None => None,
    };
    let filter = ScheduleFilter {
        group: query("ScheduleGroup").map(str::to_owned),
        name_prefix: query("NamePrefix").unwrap_or_default().to_owned(),
        enabled,
    };
    let engine = &call.state.engine;
    let found = engine
        .schedules(&call.caller, &filter, call.page()?)
        .await?;
    let summary = |schedule: Schedule| Summary {
        arn: schedule.arn,
        name: schedule.spec.name,
        group_name: schedule.spec.group,
        state: if schedule.spec.enabled {
            "ENABLED"
        } else {
            "DISABLED"
        },
        creation_date: Seconds(schedule.created_at.0),
        last_modification_date: Seconds(schedule.modified_at.0),
        target: Target {
            arn: schedule.spec.target.arn,
        },
    };
    let schedules: Vec<Summary> = found.items.into_iter().map(summary).collect();
    let mut answer = object!({"Schedules": schedules});
    if let Some(next) = found.next_token {
        answer["NextToken"] = next.into();
    }
    json(&answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> Result<ScheduleSpec, String> {
        let wire = serde_json::from_str(text).map_err(|error| error.to_string());
        spec_of(wire?, "s")
    }

    #[test]
    fn what_is_not_said_is_as_the_model_has_it() {
        let text = r#"{"ScheduleExpression":"rate(1 day)","FlexibleTimeWindow":{"Mode":"OFF"},"Target":{"Arn":"a"}}"#;
        let spec = spec(text).unwrap();
        assert_eq!(
            (spec.group.as_str(), spec.timezone.as_str()),
            ("default", "UTC")
        );
        assert_eq!(
            (spec.target.age_s_max, spec.target.retries_max),
            (86_400, 185)
        );
        assert!(spec.enabled && !spec.delete_after && spec.missed.is_none());
    }

    #[test]
    fn dates_are_whole_seconds_to_the_year_9999() {
        let dates = |start: &str, end: &str| {
            let text = format!(
                r#"{{"ScheduleExpression":"rate(1 day)","FlexibleTimeWindow":{{"Mode":"OFF"}},"Target":{{"Arn":"a"}},"StartDate":{start},"EndDate":{end}}}"#
            );
            let spec = spec(&text).unwrap();
            (spec.start_s, spec.end_s)
        };
        assert_eq!(
            dates("1769860800.4", "253402300799"),
            (Some(1_769_860_800), Some(253_402_300_799))
        );
        assert_eq!(dates("-62135596800", "0"), (Some(-62_135_596_800), Some(0)));
    }

    #[test]
    fn members_that_are_wrong_are_named() {
        let window = r#""FlexibleTimeWindow":{"Mode":"OFF"}"#;
        let target = r#""Target":{"Arn":"a"}"#;
        let rate = r#""ScheduleExpression":"rate(1 day)""#;
        for (members, told) in [
            (vec![window, target], "ScheduleExpression"),
            (vec![rate, target], "FlexibleTimeWindow"),
            (vec![rate, window], "Target.Arn"),
            (
                vec![rate, target, r#""FlexibleTimeWindow":{"Mode":"FLEXIBLE"}"#],
                "MaximumWindowInMinutes",
            ),
            (
                vec![rate, target, r#""FlexibleTimeWindow":{"Mode":"ON"}"#],
                "OFF or FLEXIBLE",
            ),
            (
                vec![rate, window, target, r#""State":"ON""#],
                "ENABLED, DISABLED",
            ),
            (
                vec![rate, window, target, r#""ActionAfterCompletion":"GO""#],
                "NONE, DELETE",
            ),
            (
                vec![rate, window, target, r#""MissedRuns":"SOME""#],
                "ONCE, ALL, SKIP",
            ),
            (
                vec![
                    rate,
                    window,
                    r#""Target":{"Arn":"a","DeadLetterConfig":{"Arn":"q"}}"#,
                ],
                "DeadLetterConfig",
            ),
            (
                vec![rate, window, target, r#""StartDate":9e18"#],
                "StartDate is a date from the year 1 to the year 9999",
            ),
            (
                vec![rate, window, target, r#""EndDate":253402300800"#],
                "EndDate is a date",
            ),
            (
                vec![rate, window, target, r#""EndDate":-9e18"#],
                "EndDate is a date",
            ),
        ] {
            let wrong = spec(&format!("{{{}}}", members.join(","))).unwrap_err();
            assert!(wrong.contains(told), "{members:?}: {wrong}");
        }
    }
}
