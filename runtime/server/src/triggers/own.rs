//! Calls of our own about triggers of all kinds. AWS JSON 1.0 under the target `StepwellTriggers.`, signed like all others. What it
//! hides: their wire forms.

use axum::http::request::Parts;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use stepwell_engine::{
    Caller, Engine, EventInput, HttpMode, HttpTrigger, LastRun, NewHttpTrigger, PageRequest, Rule,
    Schedule, ScheduleFilter, SecretChange, TriggerError,
};

use super::{iso, iso_ms};
use crate::{
    auth::{CHANGE, Identity, LOOK, Permit, Right},
    aws::{self, Fault},
    limits::{RULES_PAGE_MAX, SCHEDULES_PAGE_MAX},
    objects,
    scheduler::{WireSchedule, spec_of},
    serve::ServerState,
};

/// Before the operation's name in `X-Amz-Target`.
const TARGET_PREFIX: &str = "StepwellTriggers.";
const DEFAULT_GROUP: &str = "default";
/// Times that a schedule is shown to run next.
const NEXT_SHOWN: usize = 5;

/// Operations by name, with what each takes and what it is counted as against rates: there is no way around those.
const OPERATIONS: &[(&str, Right, &str)] = &[
    ("DeleteTrigger", CHANGE, "scheduler:DeleteSchedule"),
    ("DescribeTrigger", LOOK, "scheduler:GetSchedule"),
    ("DisableTrigger", CHANGE, "scheduler:UpdateSchedule"),
    ("EnableTrigger", CHANGE, "scheduler:UpdateSchedule"),
    ("ListTriggers", LOOK, "scheduler:ListSchedules"),
    ("PutHttpTrigger", CHANGE, "scheduler:CreateSchedule"),
    ("PutSchedule", CHANGE, "scheduler:CreateSchedule"),
];

/// Wire form of what names a trigger.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Named {
    kind: String,
    /// As the scheduler's API writes it, of a schedule.
    #[serde(alias = "Name")]
    name: String,
    next_token: Option<String>,
}

/// Wire form of PutHttpTrigger.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct PutHttp {
    name: String,
    state_machine_arn: String,
    /// Seconds to wait for the end; the execution is answered at once when absent.
    wait_seconds: Option<u32>,
    /// `keep`, `draw` or `none`.
    #[serde(default)]
    secret: Option<String>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    disabled: bool,
}

/// Whether a target is one of ours.
pub(crate) fn is_ours(target: &str) -> bool {
    target.starts_with(TARGET_PREFIX)
}

/// Answers one call; `Ok` is the JSON text of the answer.
pub(crate) async fn answer(
    state: &ServerState,
    target: &str,
    parts: &Parts,
    body: &[u8],
    request_id: &str,
) -> Result<Vec<u8>, Fault> {
    let operation = target.strip_prefix(TARGET_PREFIX).unwrap_or_default();
    let found = OPERATIONS.binary_search_by(|(name, _, _)| (*name).cmp(operation));
    let (_, right, rated) = OPERATIONS[found.map_err(|_| Fault::unknown_operation(target))?];
    let identity = parts.extensions.get::<Identity>();
    let caller = aws::caller(&state.config, &parts.headers, identity);
    state.engine.admit(&caller.tenant, rated)?;
    let permit = match identity {
        Some(identity) => {
            let named: Named = serde_json::from_slice(body).unwrap_or_default();
            let action = format!("triggers:{operation}");
            let about = named.name;
            Some(Permit::ask_for(state, identity, &action, right, &about, request_id).await?)
        }
        None => None,
    };
    let call = Call {
        engine: &state.engine,
        caller: &caller,
        body,
    };
    let served = call.serve(operation).await;
    if let (Some(permit), Err(fault)) = (permit, &served) {
        permit.failed(fault.code()).await?;
    }
    Ok(served?.to_string().into_bytes())
}

struct Call<'a> {
    engine: &'a Engine,
    caller: &'a Caller,
    body: &'a [u8],
}

/// A trigger by what it is and its name.
enum Which {
    Schedule { group: String, name: String },
    Http(String),
    Rule(String),
}

impl Which {
    fn of(named: Named) -> Result<Which, Fault> {
        match named.kind.as_str() {
            "schedule" => {
                let (group, name) = match named.name.split_once('/') {
                    Some((group, name)) => (group.to_owned(), name.to_owned()),
                    None => (DEFAULT_GROUP.to_owned(), named.name),
                };
                Ok(Which::Schedule { group, name })
            }
            "http" => Ok(Which::Http(named.name)),
            "rule" => Ok(Which::Rule(named.name)),
            other => Err(Fault::validation(format!(
                "`{other}` is no kind of triggers: those are schedule, http and rule"
            ))),
        }
    }
}

impl Call<'_> {
    fn input<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        objects::read(self.body).map_err(|error| Fault::unreadable(&error))
    }

    async fn serve(&self, operation: &str) -> Result<Value, Fault> {
        match operation {
            "PutSchedule" => self.put_schedule().await,
            "PutHttpTrigger" => self.put_http().await,
            "ListTriggers" => self.list().await,
            "DescribeTrigger" => self.describe(Which::of(self.input()?)?).await,
            "DeleteTrigger" => self.delete(Which::of(self.input()?)?).await,
            _ => {
                let enabled = operation == "EnableTrigger";
                self.enable(Which::of(self.input()?)?, enabled).await
            }
        }
    }

    /// CreateSchedule, or UpdateSchedule when there is one.
    async fn put_schedule(&self) -> Result<Value, Fault> {
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "PascalCase")]
        struct Name {
            name: String,
        }
        let Name { name } = self.input()?;
        let wire: WireSchedule = self.input()?;
        let spec = spec_of(wire, &name).map_err(Fault::validation)?;
        let made = self.engine.create_schedule(self.caller, spec.clone()).await;
        let (arn, created) = match made {
            Err(TriggerError::Conflict(_)) => {
                (self.engine.update_schedule(self.caller, spec).await?, false)
            }
            made => (made?, true),
        };
        Ok(json!({"arn": arn, "created": created}))
    }

    async fn put_http(&self) -> Result<Value, Fault> {
        let put: PutHttp = self.input()?;
        let secret = match put.secret.as_deref().unwrap_or("keep") {
            "keep" => SecretChange::Keep,
            "draw" => SecretChange::Draw,
            "none" => SecretChange::Nothing,
            other => {
                return Err(Fault::validation(format!(
                    "secret is keep, draw or none, and not `{other}`"
                )));
            }
        };
        let mode = put
            .wait_seconds
            .map_or(HttpMode::Start, |seconds| HttpMode::Wait { seconds });
        let new = NewHttpTrigger {
            name: put.name.clone(),
            machine_arn: put.state_machine_arn,
            mode,
            secret,
            description: put.description,
            enabled: !put.disabled,
        };
        let drawn = self.engine.put_http_trigger(self.caller, new).await?;
        let mut answer = json!({"path": path(self.caller, &put.name)});
        if let Some(secret) = drawn {
            answer["secret"] = secret.into();
        }
        Ok(answer)
    }

    /// A page of schedules; the triggers of the other kinds, which are few, are on the first.
    async fn list(&self) -> Result<Value, Fault> {
        let named: Named = self.input()?;
        let first = named.next_token.is_none();
        let page = PageRequest {
            max_results: SCHEDULES_PAGE_MAX,
            next_token: named.next_token,
        };
        let filter = ScheduleFilter::default();
        let schedules = self.engine.schedules(self.caller, &filter, page).await?;
        let mut triggers: Vec<Value> = schedules.items.iter().map(schedule_line).collect();
        if first {
            for http in self.all_http().await? {
                triggers.push(http_line(self.caller, &http));
            }
            for rule in self.all_rules().await? {
                let runs = self.engine.rule_runs(self.caller, &rule.name).await?;
                triggers.push(rule_line(&rule, &runs));
            }
        }
        let mut answer = json!({"triggers": triggers});
        if let Some(next) = schedules.next_token {
            answer["nextToken"] = next.into();
        }
        Ok(answer)
    }

    async fn all_http(&self) -> Result<Vec<HttpTrigger>, Fault> {
        let mut all = Vec::new();
        let mut page = PageRequest::default();
        loop {
            let found = self.engine.http_triggers(self.caller, page).await?;
            all.extend(found.items);
            match found.next_token {
                Some(token) => {
                    page = PageRequest {
                        max_results: 0,
                        next_token: Some(token),
                    }
                }
                None => return Ok(all),
            }
        }
    }

    async fn all_rules(&self) -> Result<Vec<Rule>, Fault> {
        let mut all = Vec::new();
        let mut next_token = None;
        loop {
            let page = PageRequest {
                max_results: RULES_PAGE_MAX,
                next_token,
            };
            let found = self.engine.rules(self.caller, "", page).await?;
            all.extend(found.items);
            next_token = found.next_token;
            if next_token.is_none() {
                return Ok(all);
            }
        }
    }

    async fn describe(&self, which: Which) -> Result<Value, Fault> {
        let (engine, caller) = (self.engine, self.caller);
        match which {
            Which::Schedule { group, name } => {
                let schedule = engine.schedule(caller, &group, &name).await?;
                Ok(schedule_whole(&schedule))
            }
            Which::Http(name) => {
                let http = engine.http_trigger(&caller.tenant, &name).await?;
                let mut shown = http_line(caller, &http);
                shown["description"] = http.description.as_str().into();
                runs(&mut shown, &(http.last, http.last_failed));
                Ok(shown)
            }
            Which::Rule(name) => {
                let rule = engine.rule(caller, &name).await?;
                let told = engine.rule_runs(caller, &name).await?;
                let mut shown = rule_line(&rule, &told);
                let targets = rule.targets.iter().map(|target| {
                    json!({"id": target.id, "stateMachineArn": target.arn, "input": input_shown(&target.input)})
                });
                shown["targets"] = targets.collect();
                shown["description"] = rule.description.as_str().into();
                runs(&mut shown, &told);
                Ok(shown)
            }
        }
    }

    async fn delete(&self, which: Which) -> Result<Value, Fault> {
        let (engine, caller) = (self.engine, self.caller);
        match which {
            Which::Schedule { group, name } => {
                engine.delete_schedule(caller, &group, &name).await?
            }
            Which::Http(name) => engine.delete_http_trigger(caller, &name).await?,
            Which::Rule(name) => {
                let rule = engine.rule(caller, &name).await?;
                let ids: Vec<String> = rule.targets.into_iter().map(|target| target.id).collect();
                engine.remove_targets(caller, &name, &ids).await?;
                engine.delete_rule(caller, &name).await?;
            }
        }
        Ok(json!({}))
    }

    async fn enable(&self, which: Which, enabled: bool) -> Result<Value, Fault> {
        let (engine, caller) = (self.engine, self.caller);
        match which {
            Which::Schedule { group, name } => {
                engine
                    .enable_schedule(caller, &group, &name, enabled)
                    .await?;
            }
            Which::Http(name) => engine.enable_http_trigger(caller, &name, enabled).await?,
            Which::Rule(name) => engine.enable_rule(caller, &name, enabled).await?,
        }
        Ok(json!({}))
    }
}

fn path(caller: &Caller, name: &str) -> String {
    format!("/trigger/{}/{name}", caller.tenant)
}

fn schedule_line(schedule: &Schedule) -> Value {
    let spec = &schedule.spec;
    let name = match spec.group.as_str() {
        DEFAULT_GROUP => spec.name.clone(),
        group => format!("{group}/{}", spec.name),
    };
    let zone = match spec.timezone.as_str() {
        "UTC" => String::new(),
        zone => format!(" {zone}"),
    };
    let mut line = json!({
        "kind": "schedule",
        "name": name,
        "enabled": spec.enabled,
        "when": format!("{}{zone}", spec.expression),
        "stateMachineArn": spec.target.arn,
    });
    if let Some(next) = schedule.next_s {
        line["nextRun"] = iso(next).into();
    }
    lasts(&mut line, schedule.last.as_ref());
    line
}

fn schedule_whole(schedule: &Schedule) -> Value {
    let spec = &schedule.spec;
    let mut shown = schedule_line(schedule);
    let missed = spec.missed.unwrap_or_default();
    let next: Vec<String> = schedule
        .next_runs(NEXT_SHOWN)
        .into_iter()
        .map(iso)
        .collect();
    let more = json!({
        "arn": schedule.arn,
        "expression": spec.expression,
        "timezone": spec.timezone,
        "description": spec.description,
        "missedRuns": missed.name(),
        "maximumEventAgeInSeconds": spec.target.age_s_max,
        "maximumRetryAttempts": spec.target.retries_max,
        "deletedAfterLastRun": spec.delete_after,
        "nextRuns": next,
        "started": schedule.started,
        "failed": schedule.failed,
        "missed": schedule.missed,
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        shown[name] = value.clone();
    }
    let optional = [
        ("start", spec.start_s.map(iso)),
        ("end", spec.end_s.map(iso)),
        ("input", spec.target.input.clone()),
        ("retryAt", schedule.retry_at.map(|at| iso_ms(at.0))),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            shown[name] = value.into();
        }
    }
    runs(
        &mut shown,
        &(schedule.last.clone(), schedule.last_failed.clone()),
    );
    shown
}

fn http_line(caller: &Caller, http: &HttpTrigger) -> Value {
    let path = path(caller, &http.name);
    let mode = match http.mode {
        HttpMode::Start => String::new(),
        HttpMode::Wait { seconds } => format!(", waits {seconds} s"),
    };
    let secret = if http.has_secret {
        ""
    } else {
        ", without a secret"
    };
    let mut line = json!({
        "kind": "http",
        "name": http.name,
        "enabled": http.enabled,
        "when": format!("POST {path}{mode}{secret}"),
        "path": path,
        "stateMachineArn": http.machine_arn,
    });
    lasts(&mut line, http.last.as_ref());
    line
}

fn rule_line(rule: &Rule, told: &(Option<LastRun>, Option<LastRun>)) -> Value {
    let machines: Vec<&str> = rule
        .targets
        .iter()
        .map(|target| target.arn.as_str())
        .collect();
    let mut line = json!({
        "kind": "rule",
        "name": rule.name,
        "enabled": rule.enabled,
        "when": rule.pattern,
        "stateMachineArn": machines.join(" "),
    });
    lasts(&mut line, told.0.as_ref());
    line
}

fn input_shown(input: &EventInput) -> Value {
    match input {
        EventInput::Event => json!("event"),
        EventInput::Constant(text) => json!({"constant": text}),
        EventInput::Path(path) => json!({"path": path}),
        EventInput::Template { paths, template } => {
            json!({"paths": paths, "template": template})
        }
    }
}

/// How the last run went, in a line.
fn lasts(line: &mut Value, last: Option<&LastRun>) {
    let Some(last) = last else { return };
    line["lastRun"] = iso_ms(last.at_ms).into();
    if let Some(error) = &last.error {
        line["lastError"] = error.as_str().into();
    }
}

fn runs(shown: &mut Value, told: &(Option<LastRun>, Option<LastRun>)) {
    for (name, run) in [("last", &told.0), ("lastFailed", &told.1)] {
        let Some(run) = run else { continue };
        let mut told = json!({"due": iso(run.due_s), "at": iso_ms(run.at_ms)});
        if let Some(arn) = &run.execution_arn {
            told["executionArn"] = arn.as_str().into();
        }
        if let Some(error) = &run.error {
            told["error"] = error.as_str().into();
        }
        shown[name] = told;
    }
}

#[cfg(test)]
mod tests {
    use super::OPERATIONS;
    use crate::scheduler;

    #[test]
    fn the_table_is_in_order() {
        assert!(OPERATIONS.is_sorted_by(|a, b| a.0 < b.0));
        let mut rated = OPERATIONS.iter().map(|(_, _, rated)| rated);
        assert!(rated.all(|rated| scheduler::RATED.contains(rated)));
    }
}
